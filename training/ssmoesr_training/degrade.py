"""A mild blind degradation: blur, resize, noise, JPEG, then again in half of the cases.

Order as in Real-ESRGAN (arXiv 2107.10833) with milder ranges: a small network trained on the
full ranges learns to smooth everything.
"""
import io

import numpy as np
from PIL import Image

from .resize import SCALE, resize, to_bytes


def gaussian(sigma, ratio=1.0, angle=0.0):
    """[n, n] kernel; `ratio` is the second sigma relative to the first, `angle` in radians."""
    reach = max(1, int(np.ceil(3 * sigma * max(1.0, ratio))))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u = np.cos(angle) * x + np.sin(angle) * y
    v = -np.sin(angle) * x + np.cos(angle) * y
    kernel = np.exp(-0.5 * ((u / sigma) ** 2 + (v / (sigma * ratio)) ** 2))
    return kernel / kernel.sum()


def blur(planes, kernel):
    """Correlates [C, H, W] with a small kernel, borders mirrored."""
    reach = kernel.shape[0] // 2
    padded = np.pad(planes, ((0, 0), (reach, reach), (reach, reach)), "symmetric")
    height, width = planes.shape[-2:]
    result = np.zeros_like(planes)
    for dy, row in enumerate(kernel.astype(planes.dtype)):
        for dx, weight in enumerate(row):
            if weight > 1e-4:
                result += weight * padded[:, dy : dy + height, dx : dx + width]
    return result


def area(planes, height, width):
    """Box-filtered shrink by whole factors."""
    sy, sx = planes.shape[-2] // height, planes.shape[-1] // width
    return planes.reshape(-1, height, sy, width, sx).mean((2, 4))


def jpeg(planes, quality, subsampling):
    """[3, H, W] -> the same after a JPEG round trip; subsampling 0 is 4:4:4, 2 is 4:2:0."""
    file = io.BytesIO()
    picture = Image.fromarray(to_bytes(planes).transpose(1, 2, 0))
    picture.save(file, "JPEG", quality=int(quality), subsampling=subsampling)
    file.seek(0)
    return np.asarray(Image.open(file)).transpose(2, 0, 1).astype(np.float32)


def noisy(planes, rng, sigma):
    """Adds Gaussian noise of `sigma` (0..255 units), the same in all channels 2 times in 5."""
    channels = 1 if rng.random() < 0.4 else planes.shape[0]
    return planes + rng.normal(0, sigma, (channels,) + planes.shape[1:]).astype(np.float32)


def random_blur(planes, rng, low, high):
    ratio = rng.uniform(0.4, 1.0) if rng.random() < 0.4 else 1.0
    return blur(planes, gaussian(rng.uniform(low, high), ratio, rng.uniform(0, np.pi)))


def degrade(hr, rng):
    """8-bit [3, H, W] -> degraded 8-bit [3, H/4, W/4]."""
    x = hr.astype(np.float32)
    height, width = x.shape[-2] // SCALE, x.shape[-1] // SCALE
    if rng.random() < 0.7:
        x = random_blur(x, rng, 0.4, 2.0)
    if rng.random() < 0.5:
        factor = rng.uniform(0.5, 1.0)
        x = resize(x, round(x.shape[-2] * factor), round(x.shape[-1] * factor), "symmetric")
        if rng.random() < 0.5:
            x = noisy(x, rng, rng.uniform(1, 8))
        if rng.random() < 0.5:
            x = jpeg(x, rng.integers(60, 96), 2 if rng.random() < 0.5 else 0)
        x = resize(x, height, width, "symmetric")
    elif rng.random() < 0.3:
        x = area(x, height, width)
    else:
        x = resize(x, height, width, "symmetric")
    if rng.random() < 0.5:
        x = noisy(x, rng, rng.uniform(0.5, 5))
    if rng.random() < 0.7:
        x = jpeg(x, rng.integers(60, 96), 2 if rng.random() < 0.5 else 0)
    return to_bytes(x)
