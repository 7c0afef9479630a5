"""The shipped model and the `ssmoesr` program, seen from the training side."""
import os
import subprocess
import tempfile
import unittest

import numpy as np
import torch

from ssmoesr_training import export, methods
from ssmoesr_training.decoder import Decoder
from ssmoesr_training.model import Model
from ssmoesr_training.network import DEFAULT, Condition, Denoiser
from ssmoesr_training.resize import shrink, to_bytes
from ssmoesr_training.transform import Transform

from .test_training import ROOT, randomised


def program():
    """The command that was built last, or what SSMOESR_PROGRAM names."""
    places = [os.path.join(ROOT, "target", kind, "ssmoesr") for kind in ("release", "debug")]
    places = [p for p in places if os.path.exists(p)]
    return os.environ.get("SSMOESR_PROGRAM") or max(places, key=os.path.getmtime, default=None)


def scene():
    """[1, 3, 64, 64] in 0..1: shapes, stripes and texture, drawn the same everywhere."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:256, 0:256].astype(np.float64)
    planes = np.stack([128 + 90 * np.sin(x / 5 + y / 17), 60 + 0.6 * y, 200 - 0.5 * x])
    planes[:, 60:120, 40:150] = rng.uniform(0, 255, (3, 1, 1))
    planes[:, (x - 180) ** 2 + (y - 170) ** 2 < 1600] = 30
    planes += rng.normal(0, 12, (1, 256, 256)) * (y > 128)
    small = shrink(to_bytes(planes)).astype(np.float32) / 255
    return torch.from_numpy(small)[None]


class Export(unittest.TestCase):
    @unittest.skipUnless(program(), "no ssmoesr was built")
    def test_the_program_computes_what_pytorch_computes(self):
        config, lr = DEFAULT, scene()[..., :40, :52]
        with tempfile.TemporaryDirectory() as folder, torch.no_grad():
            place = os.path.join(folder, "made")

            def write(name, prefix, module, more=()):
                state = {f"{prefix}.{n}": v for n, v in module.state_dict().items()}
                export.write_file(place, name, dict(state, **dict(more)))

            write("condition", "condition", randomised(Condition(32, 1), 1))
            for t in range(1, 5):
                denoiser = randomised(Denoiser(16, 32, config["denoiser"], 4), t + 1)
                write(f"expert{t}", "denoiser", denoiser)
            transform = Transform.fit([0.05 * torch.randn(4, 3, 32, 32)], 16)
            decoder = randomised(Decoder(16, config["decoder"]), 9)
            write("decoder", "decoder", decoder, transform.tensors())
            export.write_config(place, defaults={"steps": 1, "fidelity": 1.0})
            lr = torch.round(lr * 255) / 255
            want = Model(place).upscale(lr, (4,))[0].numpy() * 255
            source, target = (os.path.join(folder, f"{n}.png") for n in ("in", "out"))
            methods.write(source, to_bytes(lr[0].numpy() * 255))
            words = [program(), "upscale", source, target, "--model", place, "--device", "cpu"]
            subprocess.run([*words, "--quiet"], check=True)
            have = methods.read(target).astype(np.float64)
        self.assertGreater(want.std(), 20)
        # Rounding to 8 bit is within a half; 1e-3 of the range comes on top.
        self.assertLess(np.abs(have - np.clip(want, 0, 255)).max(), 0.5 + 0.255)


# Rms in levels of 255 on the drawn scene; each limit is about half of what was measured, or more.
LEAST = {
    "faithful": {"experts": {4: 0.2, 3: 0.4, 2: 1.2, 1: 2.0}, "fusion": 0.9, "filters": [0.4, 0.5]},
    "photo": {"experts": {4: 1.6, 3: 1.9, 2: 2.5, 1: 3.7}, "fusion": 2.7, "filters": [0.8, 0.5]},
}


class Shipped(unittest.TestCase):
    """Every part of the shipped models does something: without it the picture is another."""

    @classmethod
    def setUpClass(cls):
        cls.lr = scene()

    def change(self, name, alter, steps):
        """Rms change of the picture of model `name` when `alter` has been at it."""
        folder = os.path.join(ROOT, "models", name)
        want = Model(folder).upscale(self.lr, steps, fidelity=0.0)
        model = Model(folder)
        with torch.no_grad():
            alter(model)
        found = model.upscale(self.lr, steps, fidelity=0.0)
        return float((found - want).square().mean().sqrt() * 255)

    def test_each_expert(self):
        for name, least in LEAST.items():
            for t, limit in least["experts"].items():
                def none(model):
                    for value in model.experts[t].parameters():
                        value.zero_()

                with self.subTest(model=name, expert=t):
                    self.assertGreater(self.change(name, none, (4, 3, 2, 1)), limit)

    def test_fusion(self):
        def none(model):
            model.decoder.fusion_weight = 0.0

        for name, least in LEAST.items():
            with self.subTest(model=name):
                self.assertGreater(self.change(name, none, (4, 1)), least["fusion"])

    def test_each_filter(self):
        for name, least in LEAST.items():
            for i, limit in enumerate(least["filters"]):
                def none(model):
                    model.decoder.aff[i] = torch.nn.Identity()

                with self.subTest(model=name, filter=i):
                    self.assertGreater(self.change(name, none, (4, 1)), limit)
