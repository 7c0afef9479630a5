"""Trains one part of the native model on one CPU thread or one GPU.

    python -m ssmoesr_training.train --run runs/e4 --stage expert --t 4 --minutes 50
    python -m ssmoesr_training.train --run runs/d --stage decoder --expert runs/e4 --minutes 15
    python -m ssmoesr_training.train --run runs/e3 --stage expert --t 3 --init runs/e4

A run folder holds `last.pt` (resumable, written every `--every` seconds), `curve.tsv` and
`options.json`. Learning rate and phases follow the minutes spent, so a run ends on time on
any machine.
"""
import argparse
import json
import math
import os
import time

import numpy as np
import torch
from torch import nn

from . import data, losses
from .decoder import Decoder
from .measure import phase_spread, psnr_y
from .model import load_tensors
from .network import DEFAULT, Condition, Denoiser, share_space_experts
from .resize import enlarge, to_bytes
from .schedule import Shift
from .transform import Transform

LATENT_LOSSES = {
    "l1": losses.latent_l1, "rms": losses.latent_rms, "mse": losses.latent_mse
}


def parse(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", required=True, help="folder of this run")
    add("--stage", choices=("expert", "decoder"), default="expert")
    add("--t", type=int, default=4, help="step of the expert, 4 = first")
    add("--init", help="run or model folder to start from")
    add("--expert", help="decoder stage: run (or model folder) of expert 4")
    add("--data", default="photos", help="folder with train/ and dev/")
    add("--cache", help="decoded photographs (default: <run>/../photos.npy)")
    add("--fonts", default="/usr/share/fonts")
    add("--perceptual", help="SqueezeNet weights (.mat), needed if --pd is not 0")
    add("--minutes", type=float, default=10.0)
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
    add("--gamma", type=float, default=0.999, help="Eq. 5 sharing")
    add("--text", type=float, default=0.1, help="share of rendered text")
    add("--blind", type=float, default=0.0, help="share of degraded inputs")
    add("--ffl", type=float, default=10.0)
    add("--pd", type=float, default=0.0)
    add("--bf16", action="store_true", help="bfloat16 autocast")
    add("--compile", action="store_true", help="torch.compile, channels last")
    add("--threads", type=int, default=1)
    add("--device", default="cpu")
    add("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def read_run(run):
    return torch.load(os.path.join(run, "last.pt"), map_location="cpu")


def read_start(place, t):
    """Averaged weights of a run folder, or the weights of an exported model with expert `t`."""
    if not os.path.exists(os.path.join(place, "model.json")):
        return read_run(place)["average"]
    state = {}
    for name in ("condition", f"expert{t}", "decoder"):
        state.update(load_tensors(os.path.join(place, name + ".safetensors")))
    return state


def fit_in(state, module):
    """Matches stored weights to `module`: folded FFNs are repeated with a little noise.

    Entries that the stored run lacks keep their initial values (AFF blocks added later).
    """
    result = module.state_dict()
    for name, have in result.items():
        value = state.get(name)
        if value is None:
            print(f"{name}: not in the start run, kept as initialised", flush=True)
        elif value.shape == have.shape:
            result[name] = value
        else:
            spread = 0.01 * value.float().std()
            result[name] = value.float() + spread * torch.randn(have.shape)
    return result


class Trainer:
    """Networks, optimiser, averaged weights and data of one run."""

    def __init__(self, options):
        self.o = o = options
        torch.manual_seed(o.seed)
        torch.set_num_threads(o.threads)
        os.makedirs(o.run, exist_ok=True)
        cache = o.cache or os.path.join(o.run, "..", "photos.npy")
        self.sampler = data.Sampler(
            os.path.join(o.data, "train"), cache, o.seed, fonts=o.fonts,
            text_share=o.text, blind_share=o.blind,
        )
        self.dev = data.choosing_set(os.path.join(o.data, "dev"))
        self.schedule = Shift()
        start = read_start(o.init, o.t) if o.init else {}
        latent, width = DEFAULT["first_stage"]["latent_channels"], DEFAULT["condition"]["width"]
        condition = Condition(width, DEFAULT["condition"]["blocks"])
        denoiser = Denoiser(latent, width, DEFAULT["denoiser"], o.experts)
        self.expert = nn.ModuleDict({"condition": condition, "denoiser": denoiser})
        self.trained = self.expert
        if o.stage == "decoder":
            self.trained = nn.ModuleDict({"decoder": Decoder(latent, DEFAULT["decoder"])})
            state = read_start(o.expert, o.t)
            self.expert.load_state_dict(fit_in(state, self.expert))
            self.expert.requires_grad_(False).eval()
            start = dict(state, **start)
        if o.init:
            self.trained.load_state_dict(fit_in(start, self.trained))
        if o.stage == "expert" and o.t < self.schedule.steps:
            condition.requires_grad_(False)  # shared by all experts
        if "transform.encode" in start:
            self.transform = Transform.from_tensors(start)
        else:
            self.transform = self.fitted(latent)
        self.perceptual = losses.Perceptual(o.perceptual).to(o.device) if o.pd else None
        self.expert.to(o.device)
        self.trained.to(o.device)
        for name in ("matrix_in", "matrix_out", "sigma"):
            setattr(self.transform, name, getattr(self.transform, name).to(o.device))
        self.run_denoiser, self.run_decoder = self.denoise, self.correct
        if o.compile:
            for module in (*self.expert.modules(), *self.trained.modules()):
                if isinstance(module, nn.Conv2d):
                    module.to(memory_format=torch.channels_last)
            self.run_denoiser = torch.compile(self.denoise, dynamic=False)
            self.run_decoder = torch.compile(self.correct, dynamic=False)
        self.parameters = [p for p in self.trained.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=o.lr, betas=(0.9, 0.99), weight_decay=o.decay
        )
        self.average = {n: v.detach().clone() for n, v in self.trained.state_dict().items()}
        self.steps, self.seconds = 0, 0.0
        self.resume()

    def fitted(self, latent):
        """The transform fitted on clean and degraded inputs."""
        batches = (self.sampler.batch(8, 64) for _ in range(20))
        return Transform.fit((hr - up for hr, up, _ in batches), latent)

    def resume(self):
        if os.path.exists(os.path.join(self.o.run, "last.pt")):
            saved = read_run(self.o.run)
            self.trained.load_state_dict(saved["state"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.average = {n: v.to(self.o.device) for n, v in saved["average"].items()
                            if n in self.average}
            self.steps, self.seconds = saved["steps"], saved["seconds"]

    def save(self):
        average = dict(self.average)
        average.update(self.transform.tensors())
        saved = {
            "state": self.trained.state_dict(), "average": average, "steps": self.steps,
            "optimiser": self.optimiser.state_dict(), "seconds": self.seconds,
        }
        path = os.path.join(self.o.run, "last.pt")
        torch.save(saved, path + ".part")
        os.replace(path + ".part", path)

    def autocast(self):
        kind = torch.device(self.o.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.o.bf16)

    def predict(self, lr, residual=None):
        """Expert's residual latent, f32; `residual` [B, 3, 4h, 4w] gives x_t for t < T."""
        t, scale = self.o.t, self.schedule.input_scale(self.o.t)
        shape = (lr.shape[0], len(self.transform.sigma)) + tuple(lr.shape[-2:])
        if self.o.stage == "decoder" or scale == 0.0:
            x = torch.zeros(shape, device=lr.device)
        else:
            noise = torch.randn(shape, device=lr.device)
            x = scale * self.schedule.noised(self.transform.encode(residual), t, noise)
        with self.autocast():
            run = self.run_denoiser if self.trained.training else self.denoise
            return run(x, lr).float()

    def denoise(self, x, lr):
        return self.expert["denoiser"](x, self.expert["condition"](lr))

    def correct(self, z, lr):
        return self.trained["decoder"](z, lr)

    def decoded(self, z, lr, up):
        with self.autocast():
            run = self.run_decoder if self.trained.training else self.correct
            correction = run(z, lr).float()
        return up + self.transform.decode(z) + correction

    def loss(self, late):
        """Loss of one batch and its parts for the log."""
        o = self.o
        count, patch = (o.late_batch, o.late_patch) if late else (o.batch, o.patch)
        hr, up, lr = (v.to(o.device) for v in self.sampler.batch(count, patch))
        if o.stage == "expert":
            name = o.late_loss if late else o.loss
            z = self.predict(lr, hr - up)
            value = LATENT_LOSSES[name](z, self.transform.encode(hr - up), self.transform.sigma)
            return (100.0 if name == "mse" else 10.0) * value, {name: float(value.detach())}
        with torch.no_grad():
            z = self.predict(lr)
        y = self.decoded(z, lr, up)
        l1, ffl = (y - hr).abs().mean(), losses.focal_frequency(y, hr)
        total, parts = l1 + o.ffl * ffl, {"l1": float(l1.detach()), "ffl": float(ffl.detach())}
        if o.pd:
            # A random shift: the strided layers of the loss would otherwise teach a grid.
            dy, dx = torch.randint(0, 8, (2,)).tolist()
            with self.autocast():
                pd = self.perceptual(y[..., dy:, dx:], hr[..., dy:, dx:]).mean()
            total, parts["pd"] = total + o.pd * pd, float(pd.detach())
        return total, parts

    @torch.no_grad()
    def gain(self):
        """PSNR-Y over bicubic of the averaged weights on the choosing set; phase spread."""
        kept = {n: v.clone() for n, v in self.trained.state_dict().items()}
        random = torch.get_rng_state()
        self.trained.load_state_dict(self.average)
        self.trained.eval()
        torch.manual_seed(7)
        gains, spreads = [], []
        for _, hr, small in self.dev:
            lr = torch.from_numpy(small).float()[None].to(self.o.device) / 255
            up, full = enlarge(lr), torch.tensor(hr).float()[None].to(self.o.device) / 255
            z = self.predict(lr, full - up)
            if self.o.stage == "decoder":
                y = self.decoded(z, lr, up)
            else:
                y = up + self.transform.decode(z)
            sr, bicubic = (to_bytes(v[0].cpu().numpy() * 255.0) for v in (y, up))
            gains.append(psnr_y(sr, hr) - psnr_y(bicubic, hr))
            spreads.append(phase_spread(sr))
        self.trained.load_state_dict(kept)
        self.trained.train()
        torch.set_rng_state(random)
        return float(np.mean(gains)), float(np.mean(spreads))

    def step(self, progress):
        """One optimiser step; returns the parts of the loss."""
        o = self.o
        cosine = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        for group in self.optimiser.param_groups:
            group["lr"] = o.lr * min(1.0, (self.steps + 1) / o.warm) * cosine
        loss, parts = self.loss(progress >= o.late_from)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.steps += 1
        if not torch.isfinite(norm):
            print(f"step {self.steps}: gradient not finite, left out", flush=True)
            return parts
        self.optimiser.step()
        share_space_experts(self.trained, o.gamma)
        keep = min(o.average, (self.steps + 1) / (self.steps + 10))
        for name, value in self.trained.state_dict().items():
            self.average[name].lerp_(value, 1.0 - keep)
        return parts

    def record(self, means):
        gain, spread = self.gain()
        parts = "\t".join(f"{n}={v:.5f}" for n, v in means.items())
        line = f"{self.seconds / 60:.2f}\t{self.steps}\t{gain:.4f}\t{spread:.4f}\t{parts}"
        print(line, flush=True)
        path = os.path.join(self.o.run, "curve.tsv")
        fresh = not os.path.exists(path)
        with open(path, "a", encoding="utf-8") as file:
            if fresh:
                file.write("minutes\tsteps\tgain_db\tphase_spread\tlosses\n")
            file.write(line + "\n")

    def run(self):
        o, means = self.o, {}
        self.trained.train()
        budget, mark = o.minutes * 60.0, self.seconds
        while self.seconds < budget:
            start = time.monotonic()
            for name, value in self.step(self.seconds / budget).items():
                means[name] = means.get(name, value) * 0.98 + 0.02 * value
            self.seconds += min(10.0, time.monotonic() - start)  # a pause is not training
            if self.seconds - mark >= o.every:
                mark = self.seconds
                self.save()
                self.record(means)
        self.save()
        self.record(means)


def main():
    options = parse()
    os.makedirs(options.run, exist_ok=True)
    with open(os.path.join(options.run, "options.json"), "w", encoding="utf-8") as file:
        json.dump(vars(options), file, indent=1)
    Trainer(options).run()


if __name__ == "__main__":
    main()
