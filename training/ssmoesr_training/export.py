"""Writes a model folder from training runs: f16 weights, folded space experts, model.json.

    python -m ssmoesr_training.export ../models/photo --expert4 runs/e4 --decoder runs/d ...

A run that is not named keeps the file that the folder already holds. Several, parted by commas,
are averaged weight by weight (arXiv 2203.05482): runs or model folders that came one from another.
"""
import argparse
import copy
import json
import os

import numpy as np
import torch

from . import tensors
from .network import DEFAULT
from .trainer import read_start

HEADER = {
    "format": 1,
    "family": "native",
    "name": "photo",
    "version": "0.1.0",
    "licence": "CC0-1.0",
    "scales": [4, 8],
    "lattice": 32,
}
TRAILER = {
    "sampler": {
        "kind": "shift", "steps": 4, "kappa": 2.0, "min_noise": 0.2, "power": 0.3, "end": 0.99
    },
    "defaults": {"steps": 1, "fidelity": 1.0, "eta": 1.0, "colour_fix": "none"},
}
FILES = ["condition", "expert1", "expert2", "expert3", "expert4", "decoder"]


def folded(state):
    """Means over the space experts: weights [N, o, i, 1, 1] and biases [N, o] lose their N."""
    result = {}
    for name, value in state.items():
        stacked = ".ffn" in name and value.dim() == (5 if name.endswith("weight") else 2)
        result[name] = value.float().mean(0) if stacked else value
    return result


def to_numpy(state):
    """f16 for weights, f32 for the transform."""
    result = {}
    for name, value in state.items():
        kind = np.float32 if name.startswith("transform.") else np.float16
        array = value.detach().float().numpy().astype(kind)
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: not finite in {kind.__name__}")
        result[name] = array
    return result


def write_file(folder, name, state):
    """Writes `<name>.safetensors` from full tensor names."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name + ".safetensors")
    tensors.save(path, to_numpy(folded(state)), {"licence": HEADER["licence"]})


def write_config(folder, config=None, defaults=None, **header):
    """Writes `model.json` with the digest of every weight file; `header` replaces name, version."""
    header = dict(HEADER, **header)
    document = dict(header, **copy.deepcopy(config or DEFAULT), **copy.deepcopy(TRAILER))
    document["defaults"].update(defaults or {})
    document["files"] = {
        f"{n}.safetensors": tensors.sha256(os.path.join(folder, f"{n}.safetensors"))
        for n in FILES
    }
    path = os.path.join(folder, "model.json")
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
        file.write("\n")
    os.replace(path + ".part", path)


def averaged(places, t=4):
    """The weights of a run (EMA) or model folder by full tensor name, or the means of several.

    `t` is the expert that is taken from a model folder.
    """
    states = [folded(read_start(place, t)) for place in places.split(",")]
    names = [n for n in states[0] if all(n in s for s in states)]
    return {n: torch.stack([s[n].float() for s in states]).mean(0) for n in names}


def selected(state, *prefixes):
    return {n: v for n, v in state.items() if n.startswith(prefixes)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    for t in range(1, 5):
        parser.add_argument(f"--expert{t}", metavar="RUN[,RUN]")
    parser.add_argument("--decoder", metavar="RUN[,RUN]")
    parser.add_argument("--name", default=HEADER["name"])
    parser.add_argument("--version", default=HEADER["version"])
    parser.add_argument("--steps", type=int, default=1, help="steps where the user asks for none")
    parser.add_argument("--fidelity", type=float, default=1.0)
    options = parser.parse_args()
    if options.expert4:
        # The condition encoder is trained together with expert 4 and shared by the others.
        state = averaged(options.expert4)
        write_file(options.folder, "condition", selected(state, "condition."))
    for t in range(1, 5):
        run = getattr(options, f"expert{t}")
        if run:
            write_file(options.folder, f"expert{t}", selected(averaged(run, t), "denoiser."))
    if options.decoder:
        state = averaged(options.decoder)
        write_file(options.folder, "decoder", selected(state, "decoder.", "transform."))
    write_config(
        options.folder, None, {"steps": options.steps, "fidelity": options.fidelity},
        name=options.name, version=options.version,
    )


if __name__ == "__main__":
    main()
