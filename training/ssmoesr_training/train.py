"""Trains one part of the native model on one CPU thread or one GPU.

    python -m ssmoesr_training.train --run runs/e4 --stage expert --t 4 --minutes 50
    python -m ssmoesr_training.train --run runs/d --stage decoder --expert runs/e4 --minutes 15
    python -m ssmoesr_training.train --run runs/e3 --stage expert --t 3 --init runs/e4
    python -m ssmoesr_training.train --run runs/e1 --stage detail --expert runs/e4 --decoder runs/d

A run folder holds `last.pt` (resumable, written every `--every` seconds), `curve.tsv` and
`options.json`. Learning rate and phases follow the minutes spent, so a run ends on time on
any machine.
"""
import argparse
import json
import os

# The resizes are small products: threads of the linear algebra only wait for each other there.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .detail import Detail
from .trainer import LATENT_LOSSES, Trainer


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", required=True, help="folder of this run")
    add("--stage", choices=("expert", "decoder", "detail"), default="expert")
    add("--t", type=int, default=4,
        help="step of the expert, 4 = first; 0: one network for all steps, for comparison")
    add("--init", help="run or model folder to start from")
    add("--expert", help="decoder and detail stage: run (or model folder) of expert 4")
    add("--decoder", help="detail stage: run (or model folder) of the decoder to go on with")
    add("--data", default="photos", help="folder with train/ and dev/")
    add("--cache", help="decoded photographs (default: <run>/../photos.npy)")
    add("--fonts", default="/usr/share/fonts")
    add("--perceptual", help="SqueezeNet weights (.mat), needed if --pd is not 0")
    add("--minutes", type=float, default=10.0)
    add("--steps", type=int, default=0, help="run for so many steps, not for --minutes")
    add("--every", type=float, default=120.0, help="seconds between checkpoints")
    add("--batch", type=int, default=8)
    add("--patch", type=int, default=32, help="LR pixels, multiple of 32")
    add("--late-from", type=float, default=1.0, help="share of the time after which `late` holds")
    add("--late-batch", type=int, default=3)
    add("--late-patch", type=int, default=64)
    add("--loss", choices=sorted(LATENT_LOSSES), default="l1")
    add("--late-loss", choices=sorted(LATENT_LOSSES), default="rms")
    add("--lr", type=float, default=1e-3)
    add("--warm", type=int, default=50, help="steps of linear warm-up")
    add("--decay", type=float, default=1e-4, help="weight decay")
    add("--average", type=float, default=0.998, help="EMA factor after its ramp")
    add("--experts", type=int, default=4, help="space experts while training")
    add("--filters", type=int, default=2, help="decoder stage: frequency filters (2 is exported)")
    add("--gamma", type=float, default=0.999, help="Eq. 5 sharing")
    add("--text", type=float, default=0.1, help="share of rendered text")
    add("--blind", type=float, default=0.0, help="share of degraded inputs")
    add("--halved", type=float, default=0.0, help="share of inputs enlarged before, as in 8x")
    add("--plain", type=float, default=0.0, help="share of plain colours, gradients and patches")
    add("--ahead", type=int, default=0, help="processes that make batches beside the training")
    add("--ffl", type=float, default=10.0)
    add("--pd", type=float, default=0.0, help="weight of the perceptual distance")
    add("--adversarial", type=float, default=0.0,
        help="detail stage: norm of the adversarial gradient at the picture over the others'")
    add("--adversary-lr", type=float, default=2e-3, help="detail stage: its learning rate")
    add("--consistency", type=float, default=0.0, help="detail stage: weight of the input's L1")
    add("--colour", type=float, default=0.0, help="detail stage: weight of the mean colour's error")
    add("--grid", type=float, default=0.0, help="detail stage: weight of the phase spread")
    add("--faithful", type=float, default=0.25,
        help="detail stage: share of the steps that train the decoder on expert 4's own latents")
    add("--fidelity", type=float, default=0.0,
        help="detail stage: the exported model's default, at which most steps are judged")
    add("--bf16", action="store_true", help="bfloat16 autocast")
    add("--compile", action="store_true", help="torch.compile, channels last")
    add("--threads", type=int, default=1)
    add("--device", default="cpu")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main():
    options = parse()
    os.makedirs(options.run, exist_ok=True)
    with open(os.path.join(options.run, "options.json"), "w", encoding="utf-8") as file:
        json.dump(vars(options), file, indent=1)
    (Detail if options.stage == "detail" else Trainer)(options).run()


if __name__ == "__main__":
    main()
