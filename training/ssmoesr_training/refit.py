"""Fits experts 3..1 to a new condition encoder without training them.

    python -m ssmoesr_training.refit OLD_MODEL NEW_MODEL --data photos

The features of the condition encoder enter a denoiser only through its first convolution. Its
share of that convolution is replaced by the least-squares map from the new features to what
the old features gave there, over inputs drawn as in training. NEW_MODEL is changed in place.
"""
import argparse
import os

import torch
from torch.nn import functional as F

from . import export
from .data import Sampler
from .model import Model, load_tensors


def patches(features):
    """[B, C, h, w] -> [B h w, C * 9 + 1]: what a 3x3 kernel and its bias see."""
    columns = F.unfold(F.pad(features, (1, 1, 1, 1), mode="replicate"), 3)
    columns = columns.transpose(1, 2).reshape(-1, columns.shape[1])
    return torch.cat([columns, torch.ones(len(columns), 1)], 1).double()


@torch.no_grad()
def moments(old, new, pictures):
    """Second moments of new patches, of new with old ones, and of old ones."""
    gram = cross = total = 0.0
    for lr in pictures:
        a, b = patches(new.condition(lr)), patches(old.condition(lr))
        gram, cross, total = gram + a.T @ a, cross + a.T @ b, total + b.T @ b
    return gram, cross, total


def solved(gram, cross, total, kernel, ridge=1e-6):
    """New kernel for `kernel` [out, C * 9 + 1] and the share of its output energy kept."""
    wanted = cross @ kernel.double().T
    damped = gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    result = torch.linalg.solve(damped, wanted)
    energy = (kernel.double() @ total * kernel.double()).sum()
    error = energy - 2 * (result * wanted).sum() + (result * (gram @ result)).sum()
    return result.T.float(), float(1 - error / energy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("old")
    add("new")
    add("--data", required=True)
    add("--cache", required=True, help="decoded photographs of a training run (.npy)")
    add("--batches", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    old, new = Model(options.old), Model(options.new)
    sampler = Sampler(
        os.path.join(options.data, "train"), options.cache, 5, rendered=0, blind_share=0.15
    )
    sums = moments(old, new, (sampler.batch(8, 32)[2] for _ in range(options.batches)))
    for t in range(1, old.schedule.steps):
        path = os.path.join(options.old, f"expert{t}.safetensors")
        state = load_tensors(path)
        name = "denoiser.input"
        weight, bias = state[name + ".weight"], state[name + ".bias"]
        share = weight[:, old.latent :]
        kernel, explained = solved(*sums, torch.cat([share.flatten(1), bias[:, None]], 1))
        print(f"expert {t}: {100 * explained:.2f} % of the energy kept")
        weight[:, old.latent :] = kernel[:, :-1].view(share.shape)
        state.update({name + ".weight": weight, name + ".bias": kernel[:, -1]})
        export.write_file(options.new, f"expert{t}", state)
    config = new.config
    export.write_config(
        options.new, None, config["defaults"], name=config["name"], version=config["version"]
    )


if __name__ == "__main__":
    main()
