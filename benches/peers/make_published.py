r"""Writes the published network at full width with pseudo-random weights, as safetensors.

    python -m peers.make_published FOLDER
    ssmoesr model import --unet FOLDER/unet.safetensors{,,,} \
        --decoder FOLDER/first_stage.safetensors -o published

No published weights are needed or used. A weight is a function of its name: the same rule as the
project's vectors have (`core/src/weights/hash.rs`), so that the network's activations stay of the
order of one and its outputs can be held against those vectors.
"""
import argparse
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file

from . import published

PREFIX = "model.diffusion_model."
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
CHUNK = 1 << 20


def seed_of(name):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return np.uint64(value)


def uniform(name, count):
    """`count` values in [-1, 1), f64, in chunks that stay small."""
    seed = seed_of(name)
    for start in range(0, count, CHUNK):
        index = np.arange(start + 1, min(start + CHUNK, count) + 1, dtype=np.uint64)
        with np.errstate(over="ignore"):
            z = seed + index * GOLDEN
            for shift, factor in MIX:
                z = (z ^ (z >> np.uint64(shift))) * factor
            z ^= z >> np.uint64(31)
        yield ((z >> np.uint64(40)).astype(np.int64) - (1 << 23)) / float(1 << 23)


def spread(key, shape):
    """(offset, scale) of a tensor, by its name and shape."""
    last = key.rsplit(".", 1)[-1]
    if last == "running_var":
        return 1.0, 0.25
    if last == "running_mean":
        return 0.0, 0.1
    if last in ("b1", "b2"):
        return 0.0, 0.05
    if last in ("w1", "w2"):
        return 0.0, 0.3 * math.sqrt(3.0 / shape[2])
    if key.endswith("embedding.weight"):
        return 0.0, 16.0
    if key == "post_quant_conv.weight":
        return 0.0, 0.125
    if len(shape) == 1:
        return (1.0 if last == "weight" else 0.0), 0.1
    return 0.0, math.sqrt(3.0 / math.prod(shape[1:]))


@torch.no_grad()
def fill(module, file):
    """Gives every tensor of `module` the values that belong to its name in `file`."""
    for key, tensor in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            tensor.zero_()
            continue
        offset, scale = spread(key, tensor.shape)
        flat, start = tensor.view(-1), 0
        for values in uniform(f"{file}/{key}", flat.numel()):
            values = (offset + scale * values).astype(np.float32)
            flat[start : start + len(values)] = torch.from_numpy(values)
            start += len(values)
    return module.eval()


def blank(build):
    """A module whose tensors hold nothing yet: the usual start would take longer than filling."""
    with torch.device("meta"):
        module = build()
    return module.to_empty(device="cpu")


def unet(file="unet_stage0", config=None):
    """The denoiser with its weights."""
    config = config or published.CONFIG
    return fill(blank(lambda: published.Unet(config["unet"])), file)


def first_stage(file="fa_vae", config=None):
    """The first stage with its weights."""
    return fill(blank(lambda: published.FirstStage(config or published.CONFIG)), file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    options = parser.parse_args()
    os.makedirs(options.folder, exist_ok=True)
    state = {PREFIX + key: value for key, value in unet().state_dict().items()}
    save_file(state, os.path.join(options.folder, "unet.safetensors"))
    state = first_stage().state_dict()
    save_file(state, os.path.join(options.folder, "first_stage.safetensors"))


if __name__ == "__main__":
    main()
