"""A whole native model: loading an exported folder, sampling, padding, the final picture."""
import json
import os

import torch
from torch.nn import functional as F

from . import tensors
from .decoder import Decoder
from .network import Condition, Denoiser
from .resize import SCALE, enlarge
from .schedule import Shift
from .transform import Transform


def load_tensors(path):
    """A safetensors file as f32 torch tensors."""
    return {n: torch.from_numpy(a.astype("float32")) for n, a in tensors.load(path).items()}


def part(state, prefix):
    """The entries of `state` below `prefix.`, with the prefix removed."""
    return {n[len(prefix) + 1 :]: v for n, v in state.items() if n.startswith(prefix + ".")}


def unfolded(state, module):
    """Repeats exported FFN weights for modules that hold N space experts (the mean is exact)."""
    shapes = {n: v.shape for n, v in module.state_dict().items()}
    return {n: v.expand(shapes[n]) if v.shape != shapes[n] else v for n, v in state.items()}


class Model:
    """Networks, transform and schedule of one model folder; everything in f32."""

    def __init__(self, folder):
        with open(os.path.join(folder, "model.json"), encoding="utf-8") as file:
            self.config = config = json.load(file)
        latent = config["first_stage"]["latent_channels"]
        width = config["condition"]["width"]
        sampler = {k: v for k, v in config["sampler"].items() if k != "kind"}
        self.schedule, self.latent = Shift(**sampler), latent

        def read(name):
            return load_tensors(os.path.join(folder, name + ".safetensors"))

        self.condition = Condition(width, config["condition"]["blocks"])
        self.condition.load_state_dict(part(read("condition"), "condition"))
        self.experts = {}
        for t in range(1, self.schedule.steps + 1):
            expert = Denoiser(latent, width, config["denoiser"], experts=1)
            state = part(read(f"expert{t}"), "denoiser")
            expert.load_state_dict(unfolded(state, expert))
            self.experts[t] = expert.eval()
        state = read("decoder")
        self.decoder = Decoder(latent, config["decoder"])
        self.decoder.load_state_dict(part(state, "decoder"))
        self.transform = Transform.from_tensors(state)

    def denoise(self, x, features, t):
        """Predicted residual latent at step t from x_t (not yet scaled)."""
        return self.experts[t](x * self.schedule.input_scale(t), features)

    def chain(self, features, steps, generator=None, stochastic=True):
        """Predictions [x0(T), ...] along `steps`, for example (4, 3, 2, 1)."""
        batch, _, height, width = features.shape
        shape = (batch, self.latent, height, width)

        def noise():
            return torch.randn(shape, generator=generator)

        schedule, predictions = self.schedule, []
        x = schedule.kappa * schedule.eta[steps[0]] ** 0.5 * noise()
        for t, s in zip(steps, list(steps[1:]) + [0]):
            predictions.append(self.denoise(x, features, t))
            x = schedule.step(x, predictions[-1], t, s, noise() if stochastic else None)
        return predictions

    def picture(self, z, lr):
        """(output picture, decoder residual), both [B, 3, 4h, 4w]; not clamped."""
        residual = self.decoder(z, lr)
        return enlarge(lr) + self.transform.decode(z) + residual, residual

    @torch.no_grad()
    def upscale(self, lr, steps=(4,), fidelity=1.0, seed=0, stochastic=True):
        """[B, 3, h, w] in 0..1 -> [B, 3, 4h, 4w]; pads to the lattice by repeating the edge."""
        height, width = lr.shape[-2:]
        lattice = self.config["lattice"]
        padded = F.pad(lr, (0, -width % lattice, 0, -height % lattice), mode="replicate")
        generator = torch.Generator().manual_seed(seed)
        features = self.condition(padded)
        predictions = self.chain(features, steps, generator, stochastic)
        z = fidelity * predictions[0] + (1.0 - fidelity) * predictions[-1]
        picture, _ = self.picture(z, padded)
        return picture[..., : SCALE * height, : SCALE * width]
