"""The two bicubic resizers. Both use the Keys kernel with a = -0.5 and half-pixel centres.

`shrink` makes low-resolution inputs (MATLAB `imresize` rules: antialiased, symmetric borders);
`enlarge` is part of the model (no antialiasing, edge pixels repeated, f32, never rounded).
"""
import functools

import numpy as np
import torch

SCALE = 4


def keys(x):
    """Keys' cubic convolution kernel, a = -0.5 (IEEE TASSP 29, 1981, eq. 15)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))


def lanczos3(x):
    """Sinc windowed by a sinc three times as wide."""
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


@functools.lru_cache(maxsize=2048)
def matrix(n_in, n_out, border, kernel=keys, radius=2.0):
    """[n_out, n_in] f64 weights of a one-dimensional resize; `border` is symmetric or edge.

    When shrinking, the kernel is stretched by the factor (antialiasing).
    """
    scale = n_out / n_in
    squeeze = min(scale, 1.0)
    centre = (np.arange(n_out) + 0.5) / scale - 0.5
    reach = radius / squeeze
    first = np.floor(centre - reach).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    weights = kernel((taps - centre[:, None]) * squeeze)
    weights /= weights.sum(1, keepdims=True)
    if border == "symmetric":
        taps = taps % (2 * n_in)
        taps = np.where(taps < n_in, taps, 2 * n_in - 1 - taps)
    elif border == "edge":
        taps = np.clip(taps, 0, n_in - 1)
    else:
        raise ValueError(f"unknown border rule {border!r}")
    result = np.zeros((n_out, n_in))
    np.add.at(result, (np.arange(n_out)[:, None], taps), weights)
    return result


def resize(planes, height, width, border, kernel=keys, radius=2.0):
    """Resizes [..., H, W] to [..., height, width] in the type of `planes`, not rounded."""
    rows = matrix(planes.shape[-2], height, border, kernel, radius).astype(planes.dtype)
    columns = matrix(planes.shape[-1], width, border, kernel, radius).astype(planes.dtype)
    return rows @ planes @ columns.T


def to_bytes(planes):
    """Rounds half up to 8 bit, as MATLAB does."""
    return np.clip(np.floor(planes + 0.5), 0, 255).astype(np.uint8)


def shrink(planes, scale=SCALE):
    """8-bit [..., H, W] -> 8-bit [..., H/scale, W/scale]; f64 inside, rounded once."""
    height, width = planes.shape[-2] // scale, planes.shape[-1] // scale
    return to_bytes(resize(planes.astype(np.float64), height, width, "symmetric"))


def enlarge(lr, scale=SCALE):
    """The model's own bicubic on a torch tensor [..., h, w] -> [..., scale*h, scale*w], f32."""
    rows, columns = (
        torch.from_numpy(matrix(n, n * scale, "edge").astype(np.float32)).to(lr.device)
        for n in lr.shape[-2:]
    )
    return rows @ lr.float() @ columns.T
