"""The shipped network in PyTorch: the code in `training/`, with the shipped weights."""
import os
import sys

import torch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "training"))

from ssmoesr_training.model import Model  # noqa: E402


class Shipped:
    """One frame of `width` x `height` pixels as one tile, and the parts of it."""

    def __init__(self, width, height, layout, folder=None):
        self.model = Model(folder or os.path.join(ROOT, "models", "photo"))
        parts = [self.model.condition, self.model.decoder, *self.model.experts.values()]
        for part in parts:
            part.eval()
            for weight in part.parameters():
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=layout)
        generator = torch.Generator().manual_seed(0)
        lattice = self.model.config["lattice"]
        padded = [n + -n % lattice for n in (height, width)]
        channels = self.model.latent

        def noise(depth, size):
            map_ = torch.rand((1, depth, *size), generator=generator)
            return map_.contiguous(memory_format=layout)

        self.frame = noise(3, (height, width))
        self.lr, self.x = noise(3, padded), noise(channels, padded)
        self.last = self.model.schedule.steps

    def denoiser(self):
        """One step. The features of the input are part of it, as in our graph."""
        return self.model.experts[self.last](self.x, self.model.condition(self.lr))

    def decoder(self):
        return self.model.decoder(self.x, self.lr)

    def frame_1(self):
        """A whole frame, conversion from and to bytes left out."""
        return self.model.upscale(self.frame, steps=(self.last,))

    def frame_4(self):
        """The same in four steps; the features of the input are computed once."""
        steps = tuple(range(self.last, 0, -1))
        return self.model.upscale(self.frame, steps=steps, fidelity=0.0)


def jobs(layout, width=480, height=270):
    """Name -> function to time."""
    peer = Shipped(width, height, layout)
    return {n: getattr(peer, n) for n in ("denoiser", "decoder", "frame_1", "frame_4")}
