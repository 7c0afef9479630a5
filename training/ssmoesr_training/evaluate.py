"""Measures 4x results on the evaluation pictures.

    python -m ssmoesr_training.evaluate --dev photos/dev --model ../models/photo
    python -m ssmoesr_training.evaluate --dev photos/dev --folder results/
    python -m ssmoesr_training.evaluate --dev photos/dev \\
        --command "ssmoesr upscale {in} {out} --scale 4 --fidelity 1"

One of the three makes the results: this package itself, PNG files named as the pictures, or
a command run per picture. Inputs are bicubic shrinks of the originals, or the PNG files of
`--inputs`. Prints one row per picture and the means; `--tsv` keeps them.
"""
import argparse
import glob
import os
import shlex
import subprocess
import tempfile

import numpy as np
import torch
from PIL import Image

from . import measure
from .data import CHOOSING, read
from .model import Model
from .resize import SCALE, resize, shrink, to_bytes

COLUMNS = (
    "gain", "psnr_y", "ssim_y", "pd", "lr_psnr", "energy", "phase",
    "bicubic_psnr_y", "bicubic_ssim_y", "bicubic_pd", "bicubic_lr_psnr",
)


def write(path, planes):
    Image.fromarray(planes.transpose(1, 2, 0)).save(path)


def by_model(options):
    """Function (name, lr) -> sr that runs a model folder in this process."""
    model = Model(options.model)
    steps = [int(t) for t in options.steps]

    def run(_, lr):
        tensor = torch.from_numpy(lr.astype(np.float32) / 255)[None]
        y = model.upscale(tensor, steps, options.fidelity, options.seed, not options.deterministic)
        return to_bytes(y[0].numpy() * 255.0)

    return run


def by_folder(options):
    return lambda name, _: read(os.path.join(options.folder, name + ".png"))


def by_command(options):
    """Runs the template without a shell; `{in}` and `{out}` stand for PNG paths."""

    def run(name, lr):
        with tempfile.TemporaryDirectory() as folder:
            source, target = (os.path.join(folder, f"{name}-{n}.png") for n in ("lr", "sr"))
            write(source, lr)
            words = shlex.split(options.command)
            words = [w.replace("{in}", source).replace("{out}", target) for w in words]
            subprocess.run(words, check=True)
            return read(target)

    return run


def distance(perceptual, a, b):
    """PD averaged over crop offsets 0..3, so that a pattern locked to a phase is not rewarded."""
    if perceptual is None:
        return (float("nan"),) * 2
    x, y = (torch.from_numpy(v.astype(np.float32) / 255)[None] for v in (a, b))
    with torch.no_grad():
        values = [float(perceptual(x[..., o:, o:], y[..., o:, o:])) for o in range(SCALE)]
    return float(np.mean(values)), values[0]


def figures(sr, hr, lr, perceptual):
    """Values of COLUMNS for one picture."""
    bicubic = to_bytes(resize(lr.astype(np.float64), *hr.shape[1:], "symmetric"))
    base = measure.psnr_y(bicubic, hr)
    own = measure.psnr_y(sr, hr)
    return (
        own - base, own, measure.ssim_y(sr, hr), distance(perceptual, sr, hr)[0],
        measure.consistency(sr, lr), measure.residual_energy(sr, hr, bicubic),
        measure.phase_spread(sr),
        base, measure.ssim_y(bicubic, hr), distance(perceptual, bicubic, hr)[1],
        measure.consistency(bicubic, lr),
    )


def check_baselines(path, rows):
    """Prints the largest deviation of our bicubic row from the published one."""
    expected = {}
    with open(path, encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
        for line in file:
            row = dict(zip(header, line.rstrip("\n").split("\t")))
            if row["scale"] == str(SCALE) and row["method"] == "bicubic":
                expected[row["file"]] = [float(row[k]) for k in header[3:]]
    worst = [0.0] * 4
    for name, values in rows.items():
        for i, (have, want) in enumerate(zip(values[7:], expected[name])):
            if not np.isnan(have):
                worst[i] = max(worst[i], abs(have - want))
    print("bicubic against BASELINES.tsv, largest difference: "
          + "  ".join(f"{c[8:]} {w:.5f}" for c, w in zip(COLUMNS[7:], worst)))


def line(name, values):
    return f"{name:22s}" + "".join(f"{v:11.4f}" for v in values)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dev", required=True, help="folder of originals")
    add("--inputs", help="folder of PNG inputs instead of bicubic shrinks")
    add("--model", help="model folder")
    add("--folder", help="folder of finished PNG results")
    add("--command", help="command template with {in} and {out}")
    add("--steps", default="4", help="with --model: experts in order, such as 4321")
    add("--fidelity", type=float, default=1.0)
    add("--seed", type=int, default=0)
    add("--deterministic", action="store_true")
    add("--perceptual", help="SqueezeNet weights (.mat) for PD")
    add("--names", nargs="*", help="only these pictures")
    add("--save", help="folder for the results as PNG")
    add("--tsv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.model:
        run = by_model(options)
    elif options.folder:
        run = by_folder(options)
    elif options.command:
        run = by_command(options)
    else:
        parser.error("one of --model, --folder, --command is needed")
    perceptual = None
    if options.perceptual:
        from .losses import Perceptual

        perceptual = Perceptual(options.perceptual)
    rows = {}
    print(f"{'picture':22s}" + "".join(f"{c[-10:]:>11s}" for c in COLUMNS))
    for path in sorted(glob.glob(os.path.join(options.dev, "*.webp"))):
        name = os.path.splitext(os.path.basename(path))[0]
        if options.names and name not in options.names:
            continue
        hr = read(path)
        if options.inputs:
            lr = read(os.path.join(options.inputs, name + ".png"))
            hr = hr[:, : lr.shape[1] * SCALE, : lr.shape[2] * SCALE]
        else:
            lr = shrink(hr)
        sr = run(name, lr)
        if options.save:
            os.makedirs(options.save, exist_ok=True)
            write(os.path.join(options.save, name + ".png"), sr)
        rows[name] = figures(sr, hr, lr, perceptual)
        print(line(name, rows[name]), flush=True)
    groups = {"mean": list(rows), "mean, not chosen on": [n for n in rows if n not in CHOOSING]}
    for title, names in groups.items():
        if names:
            print(line(f"{title} ({len(names)})", np.mean([rows[n] for n in names], 0)))
    baselines = os.path.join(options.dev, "BASELINES.tsv")
    if os.path.exists(baselines) and not options.inputs:
        check_baselines(baselines, rows)
    if options.tsv:
        with open(options.tsv, "w", encoding="utf-8") as file:
            file.write("picture\t" + "\t".join(COLUMNS) + "\n")
            for name, values in rows.items():
                file.write(name + "\t" + "\t".join(f"{v:.4f}" for v in values) + "\n")


if __name__ == "__main__":
    main()
