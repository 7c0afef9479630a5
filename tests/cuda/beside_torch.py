"""What a GPU can do at most, and how long the same networks take in PyTorch on it. One line of JSON per figure.

    python beside_torch.py [--small] [--device cpu]

Times do not depend on weights: the published network has random ones. Networks run in bf16, the frequency filters inside in f32, as ours do.
"""
import argparse
import json
import os
import statistics
import sys
import time

import torch

ROOT = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(ROOT, "benches"), os.path.join(ROOT, "training")]

from peers import published  # noqa: E402
from ssmoesr_training.model import Model  # noqa: E402

BF16 = torch.bfloat16


def tell(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)


class Clock:
    """Median milliseconds of a function, after runs to warm up."""

    def __init__(self, device, seconds):
        self.device, self.seconds = device, seconds

    def wait(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def median(self, function):
        for _ in range(2):
            function()
        self.wait()
        times, end = [], time.perf_counter() + self.seconds
        while len(times) < 50 and (len(times) < 3 or time.perf_counter() < end):
            begin = time.perf_counter()
            function()
            self.wait()
            times.append(1e3 * (time.perf_counter() - begin))
        return round(statistics.median(times), 3)


def brain(network):
    """In bf16 but for what transforms multiply with."""
    kept = [m for m in network.modules() if hasattr(m, "b2") and hasattr(m, "w2")]
    network.to(BF16)
    for module in kept:
        for name in ("w1", "b1", "w2", "b2"):
            getattr(module, name).data = getattr(module, name).data.float()
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return network.eval()


def fit_to_brain():
    """The published modules are written for f32: two of them have to hand on what they were given."""
    embed, filtered = published.Unet.embed, published.Filter.forward

    def embed_as_weights(self, t):
        first = self.time_embed[0]
        keep = first.forward
        first.forward = lambda waves: keep(waves.to(first.weight.dtype))
        try:
            return embed(self, t)
        finally:
            del first.forward

    published.Unet.embed = embed_as_weights
    published.Filter.forward = lambda self, x: filtered(self, x).to(x.dtype)


def ceilings(clock, device, small):
    side = 512 if small else 8192
    a, b = (torch.randn(side, side, device=device, dtype=BF16) for _ in range(2))
    ms = clock.median(lambda: a @ b)
    tell("product of bf16 matrices", side=side, ms=ms, tflops=round(2e-9 * side**3 / ms, 1))
    source = torch.randn((1 << 20) if small else (1 << 28), device=device)
    target = torch.empty_like(source)
    ms = clock.median(lambda: target.copy_(source))
    tell("copy, read and written", ms=ms, gb_per_s=round(8e-6 * source.numel() / ms, 1))


def timed(clock, name, function, compile_too):
    tell(name, way="eager", ms=clock.median(function))
    if compile_too:
        tell(name, way="compiled", ms=clock.median(torch.compile(function)))


def networks(clock, device, small):
    fit_to_brain()
    cells = 16 if small else 128
    unet = brain(published.Unet(published.CONFIG["unet"]))
    for batch in (1,) if small else (1, 8):
        x, t = torch.randn(batch, 6, cells, cells, dtype=BF16), torch.full((batch,), 500)
        x = x.contiguous(memory_format=torch.channels_last)
        timed(clock, f"published denoiser {cells}x{cells}, {batch} at once", lambda: unet(x, t), device == "cuda")
    del unet
    stage = brain(published.FirstStage(published.CONFIG))
    z, features = torch.randn(1, 3, cells, cells, dtype=BF16), torch.randn(1, 256, 2 * cells, 2 * cells, dtype=BF16)
    timed(clock, f"published decoder {4 * cells}x{4 * cells}", lambda: stage.decode(z, features), False)
    del stage
    model = Model(os.path.join(ROOT, "share/ssmoesr/models/photo"))
    parts = [model.condition, model.decoder, *model.experts.values()]
    for part in parts:
        brain(part.to(device))
    width, height = (32, 32) if small else (480, 288)
    lr = torch.rand(1, 3, height, width, dtype=BF16)
    x = torch.randn(1, model.latent, height, width, dtype=BF16)
    last = model.schedule.steps
    timed(clock, f"shipped denoiser {width}x{height}", lambda: model.experts[last](x, model.condition(lr)), device == "cuda")
    timed(clock, f"shipped decoder {width}x{height}", lambda: model.decoder(x, lr), False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="sizes for a dry run")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    if options.device == "cuda":
        tell("torch", version=torch.__version__, gpu=torch.cuda.get_device_name())
    clock = Clock(options.device, 0.5 if options.small else 2.0)
    for part in (ceilings, networks):
        try:
            if hasattr(torch, "set_default_device"):
                torch.set_default_device(options.device)
            part(clock, options.device, options.small)
        except Exception as error:  # What is missing in one part must not cost the others.
            tell(part.__name__, failed=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
