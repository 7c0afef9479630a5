"""What every training run shares: networks, optimiser, averaged weights, checkpoints, curve."""
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
            text_share=o.text, blind_share=o.blind, halved_share=o.halved, plain_share=o.plain,
        )
        self.batches = {}
        self.dev = data.choosing_set(os.path.join(o.data, "dev"))
        self.schedule = Shift()
        latent, width = DEFAULT["first_stage"]["latent_channels"], DEFAULT["condition"]["width"]
        self.expert = nn.ModuleDict({
            "condition": Condition(width, DEFAULT["condition"]["blocks"]),
            "denoiser": Denoiser(latent, width, DEFAULT["denoiser"], o.experts),
        })
        start = self.networks(latent, width)
        if "transform.encode" in start:
            self.transform = Transform.from_tensors(start)
        else:
            self.transform = self.fitted(latent)
        self.perceptual = losses.Perceptual(o.perceptual).to(o.device) if o.perceptual else None
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

    def networks(self, latent, width):
        """Sets `trained` and gives `expert` its values; returns the tensors of the start."""
        o = self.o
        self.trained, start = self.expert, read_start(o.init, o.t or self.schedule.steps) if o.init else {}
        if o.stage == "decoder":
            config = dict(DEFAULT["decoder"], aff=dict(DEFAULT["decoder"]["aff"], blocks=o.filters))
            self.trained = nn.ModuleDict({"decoder": Decoder(latent, config)})
            start = dict(self.freeze_expert(), **start)
        if o.init:
            self.trained.load_state_dict(fit_in(start, self.trained))
        if o.stage == "expert" and o.t < self.schedule.steps:
            self.expert["condition"].requires_grad_(False)  # shared by all experts
        return start

    def freeze_expert(self):
        """Gives `expert` the weights of --expert, never to change; returns all that lies there."""
        state = read_start(self.o.expert, self.o.t)
        self.expert.load_state_dict(fit_in(state, self.expert))
        self.expert.requires_grad_(False).eval()
        return state

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
            return saved
        return None

    def save(self, **more):
        average = dict(self.average)
        average.update(self.transform.tensors())
        saved = {
            "state": self.trained.state_dict(), "average": average, "steps": self.steps,
            "optimiser": self.optimiser.state_dict(), "seconds": self.seconds, **more,
        }
        path = os.path.join(self.o.run, "last.pt")
        torch.save(saved, path + ".part")
        os.replace(path + ".part", path)

    def autocast(self):
        kind = torch.device(self.o.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.o.bf16)

    def predict(self, lr, residual=None):
        """Expert's residual latent, f32; `residual` [B, 3, 4h, 4w] gives x_t for t < T.

        Where `--t` is 0, one network is trained for all steps, and t is drawn anew each time.
        """
        t = self.o.t or int(torch.randint(1, self.schedule.steps + 1, ()))
        scale = self.schedule.input_scale(t)
        shape = (lr.shape[0], len(self.transform.sigma)) + tuple(lr.shape[-2:])
        if residual is None or scale == 0.0:
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

    def batch(self, late):
        """hr, up and lr of the next batch."""
        o = self.o
        count, patch = (o.late_batch, o.late_patch) if late else (o.batch, o.patch)
        if not o.ahead:
            drawn = self.sampler.batch(count, patch)
        else:
            if late not in self.batches:
                self.batches.clear()
                seed = [o.seed, self.steps]  # a run that goes on sees new crops
                self.batches[late] = data.ahead(self.sampler, count, patch, seed, o.ahead)
            drawn = next(self.batches[late])
        return (v.to(o.device) for v in drawn)

    def loss(self, late):
        """Loss of one batch and its parts for the log."""
        o = self.o
        hr, up, lr = self.batch(late)
        if o.stage == "expert":
            name = o.late_loss if late else o.loss
            z = self.predict(lr, hr - up)
            value = LATENT_LOSSES[name](z, self.transform.encode(hr - up), self.transform.sigma)
            return (100.0 if name == "mse" else 10.0) * value, {name: float(value.detach())}
        with torch.no_grad():
            z = self.predict(lr)
        y = self.decoded(z, lr, up)
        total, parts = self.faithful(y, hr)
        if o.pd:
            pd = self.distance(y, hr)
            total, parts["pd"] = total + o.pd * pd, float(pd.detach())
        return total, parts

    def faithful(self, y, hr):
        """L1 and focal frequency loss (Eq. 6), and both by name."""
        l1, ffl = (y - hr).abs().mean(), losses.focal_frequency(y, hr)
        return l1 + self.o.ffl * ffl, {"l1": float(l1.detach()), "ffl": float(ffl.detach())}

    def distance(self, y, hr):
        """Perceptual distance; a random shift, or the strided layers of it would teach a grid."""
        dy, dx = torch.randint(0, 8, (2,)).tolist()
        with self.autocast():
            return self.perceptual(y[..., dy:, dx:], hr[..., dy:, dx:]).mean()

    def result(self, lr, up, residual):
        """The stage's picture [B, 3, 4h, 4w] for measuring."""
        z = self.predict(lr, residual)
        if self.o.stage == "decoder":
            return self.decoded(z, lr, up)
        return up + self.transform.decode(z)

    @torch.no_grad()
    def results(self, pictures):
        """(result, original, bicubic, input) of the averaged weights, all 8 bit."""
        kept = {n: v.clone() for n, v in self.trained.state_dict().items()}
        random = torch.get_rng_state()
        self.trained.load_state_dict(self.average)
        self.trained.eval()
        torch.manual_seed(7)
        for _, hr, small in pictures:
            lr = torch.from_numpy(small.astype(np.float32))[None].to(self.o.device) / 255
            up, full = enlarge(lr), torch.tensor(hr).float()[None].to(self.o.device) / 255
            y = self.result(lr, up, full - up)
            sr, bicubic = (to_bytes(v[0].cpu().numpy() * 255.0) for v in (y, up))
            yield sr, hr, bicubic, small
        self.trained.load_state_dict(kept)
        self.trained.train()
        torch.set_rng_state(random)

    def figures(self):
        """Measures on the choosing set: PSNR-Y over bicubic and phase spread."""
        rows = [
            (psnr_y(sr, hr) - psnr_y(bicubic, hr), phase_spread(sr))
            for sr, hr, bicubic, _ in self.results(self.dev)
        ]
        return dict(zip(("gain_db", "phase_spread"), np.mean(rows, 0)))

    def rate(self, progress):
        """Learning rate: linear warm-up, then a cosine over the time, down to 2 %."""
        cosine = 0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        return self.o.lr * min(1.0, (self.steps + 1) / self.o.warm) * cosine

    def step(self, progress):
        """One optimiser step; returns the parts of the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(progress)
        loss, parts = self.loss(progress >= self.o.late_from)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.update()
        return parts

    def update(self):
        """Applies the gradients and lets the averaged weights follow."""
        o = self.o
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.steps += 1
        if not torch.isfinite(norm):
            print(f"step {self.steps}: gradient not finite, left out", flush=True)
            return
        self.optimiser.step()
        share_space_experts(self.trained, o.gamma)
        keep = min(o.average, (self.steps + 1) / (self.steps + 10))
        for name, value in self.trained.state_dict().items():
            self.average[name].lerp_(value, 1.0 - keep)

    def record(self, means):
        found = self.figures()
        parts = "\t".join(f"{n}={v:.5f}" for n, v in means.items())
        columns = "\t".join(f"{v:.4f}" for v in found.values())
        line = f"{self.seconds / 60:.2f}\t{self.steps}\t{columns}\t{parts}"
        print(line, flush=True)
        path = os.path.join(self.o.run, "curve.tsv")
        fresh = not os.path.exists(path)
        with open(path, "a", encoding="utf-8") as file:
            if fresh:
                file.write("\t".join(("minutes", "steps", *found, "losses")) + "\n")
            file.write(line + "\n")

    def run(self):
        o, means = self.o, {}
        self.trained.train()
        budget, mark = o.minutes * 60.0, self.seconds

        def progress():
            return self.steps / o.steps if o.steps else self.seconds / budget

        while progress() < 1.0:
            start = time.monotonic()
            for name, value in self.step(progress()).items():
                means[name] = means.get(name, value) * 0.98 + 0.02 * value
            self.seconds += min(10.0, time.monotonic() - start)  # a pause is not training
            if self.seconds - mark >= o.every:
                mark = self.seconds
                self.save()
                self.record(means)
        self.save()
        self.record(means)
