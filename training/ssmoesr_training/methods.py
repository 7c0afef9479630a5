"""Ways to a larger picture that the evaluation puts side by side: functions (lr, scale) -> sr.

All take and give 8-bit RGB planes [3, h, w]. The first three know no network.
"""
import os
import shlex
import subprocess
import tempfile

import numpy as np
from PIL import Image

from .data import read
from .resize import lanczos3, resize, to_bytes


def larger(x, scale, **kernel):
    height, width = (n * scale for n in x.shape[-2:])
    return resize(x.astype(np.float64), height, width, "symmetric", **kernel)


def bicubic(lr, scale):
    return to_bytes(larger(lr, scale))


def lanczos(lr, scale):
    return to_bytes(larger(lr, scale, kernel=lanczos3, radius=3.0))


def back_projection(lr, scale, rounds=5):
    """Bicubic, then what the shrunk result lacks against the input is added, `rounds` times."""
    result = larger(lr, scale)
    for _ in range(rounds):
        missing = lr - resize(result, *lr.shape[-2:], "symmetric")
        result = result + larger(missing, scale)
    return to_bytes(result)


def write(path, planes):
    Image.fromarray(planes.transpose(1, 2, 0)).save(path)


def command(template):
    """A program: `{in}`, `{out}` (PNG paths) and `{scale}` are filled in; no shell runs."""

    def run(lr, scale):
        with tempfile.TemporaryDirectory() as folder:
            source, target = (os.path.join(folder, f"{n}.png") for n in ("input", "output"))
            write(source, lr)
            places = {"{in}": source, "{out}": target, "{scale}": str(scale)}
            words = shlex.split(template)
            for place, value in places.items():
                words = [w.replace(place, value) for w in words]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            return read(target)

    return run


PLAIN = {"bicubic": bicubic, "Lanczos-3": lanczos, "back-projection": back_projection}


def templates(program, options=""):
    """The rows of the `ssmoesr` command: as it comes, and at three fidelities."""
    base = f"{shlex.quote(program)} upscale {{in}} {{out}} --scale {{scale}} {options}".strip()
    rows = {"ssmoesr, default": base}
    for value in ("0", "0.5", "1"):
        rows[f"ssmoesr, fidelity {value}"] = f"{base} --fidelity {value}"
    return rows
