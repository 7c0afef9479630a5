"""Degraded inputs: the two-order blind pipeline, and pictures enlarged before (the first half of 8x).

Order and operations as in Real-ESRGAN (arXiv 2107.10833): blur, resize, noise, compression, twice,
with milder ranges: a small network trained on the full ranges learns to smooth everything.
"""
import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from .resize import SCALE, enlarge, resize, shrink, to_bytes


def gaussian(sigma, ratio=1.0, angle=0.0):
    """[n, n] kernel; `ratio` is the second sigma relative to the first, `angle` in radians."""
    reach = max(1, int(np.ceil(3 * sigma * max(1.0, ratio))))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u = np.cos(angle) * x + np.sin(angle) * y
    v = -np.sin(angle) * x + np.cos(angle) * y
    kernel = np.exp(-0.5 * ((u / sigma) ** 2 + (v / (sigma * ratio)) ** 2))
    return kernel / kernel.sum()


def lowpass(cutoff, reach=7):
    """[n, n] separable windowed sinc: passes up to `cutoff` of the Nyquist frequency and rings."""
    x = np.arange(-reach, reach + 1)
    row = np.sinc(cutoff * x) * np.hanning(2 * reach + 3)[1:-1]
    kernel = np.outer(row, row)
    return kernel / kernel.sum()


def blur(planes, kernel):
    """Correlates [C, H, W] with a small odd kernel, borders mirrored; f32."""
    reach = kernel.shape[0] // 2
    x = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[:, None]
    x = F.pad(x, (reach,) * 4, mode="reflect")
    weight = torch.from_numpy(kernel.astype(np.float32))[None, None]
    return F.conv2d(x, weight)[:, 0].numpy()


def scaled(planes, height, width, rng):
    """Resizes with a filter drawn at random: bicubic, linear, or box (as pooling does)."""
    kind = rng.random()
    if kind < 0.4:
        return resize(planes.astype(np.float32), height, width, "symmetric")
    x = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None]
    if kind < 0.7:
        y = F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    else:
        y = F.interpolate(x, (height, width), mode="area")
    return y[0].numpy()


def jpeg(planes, quality, subsampling):
    """[3, H, W] -> the same after a JPEG round trip; subsampling 0 is 4:4:4, 2 is 4:2:0."""
    file = io.BytesIO()
    picture = Image.fromarray(to_bytes(planes).transpose(1, 2, 0))
    picture.save(file, "JPEG", quality=int(quality), subsampling=subsampling)
    file.seek(0)
    return np.asarray(Image.open(file)).transpose(2, 0, 1).astype(np.float32)


def webp(planes, quality):
    """[3, H, W] -> the same after a lossy WebP round trip, which is a key frame of VP8.

    4:2:0, predicted blocks, transforms of 4x4, and the loop filter of video: soft edges and
    smeared texture rather than JPEG's rims.
    """
    file = io.BytesIO()
    Image.fromarray(to_bytes(planes).transpose(1, 2, 0)).save(file, "WEBP", quality=int(quality), method=0)
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1).astype(np.float32)


def noisy(planes, rng, sigma):
    """Adds noise of about `sigma` (0..255 units), the same in all channels 2 times in 5.

    Half of the time its variance follows the brightness, as that of light does.
    """
    channels = 1 if rng.random() < 0.4 else planes.shape[0]
    noise = rng.normal(0, sigma, (channels,) + planes.shape[1:]).astype(np.float32)
    if rng.random() < 0.5:
        noise = noise * np.sqrt(np.clip(planes, 0, 255) / 128.0).astype(np.float32)
    return planes + noise


def random_blur(planes, rng, low, high):
    if rng.random() < 0.1:
        return blur(planes, lowpass(rng.uniform(0.3, 0.9)))
    ratio = rng.uniform(0.4, 1.0) if rng.random() < 0.4 else 1.0
    return blur(planes, gaussian(rng.uniform(low, high), ratio, rng.uniform(0, np.pi)))


def compressed(planes, rng, low, video=0.25):
    """JPEG of at least quality `low`, or, in a share of `video`, a key frame of video."""
    if rng.random() < video:
        return webp(planes, rng.integers(low - 30, 91))
    return jpeg(planes, rng.integers(low, 96), 2 if rng.random() < 0.5 else 0)


def degrade(hr, rng):
    """8-bit [3, H, W] -> degraded 8-bit [3, H/4, W/4]."""
    x = hr.astype(np.float32)
    height, width = x.shape[-2] // SCALE, x.shape[-1] // SCALE
    if rng.random() < 0.85:
        x = random_blur(x, rng, 0.3, 2.6)
    if rng.random() < 0.85:
        factor = rng.uniform(0.4, 1.0)
        x = scaled(x, round(x.shape[-2] * factor), round(x.shape[-1] * factor), rng)
    if rng.random() < 0.8:
        x = noisy(x, rng, rng.uniform(0.5, 11))
    if rng.random() < 0.8:
        x = compressed(x, rng, 50)
    if rng.random() < 0.5:
        x = random_blur(x, rng, 0.2, 1.4)
    x = scaled(x, height, width, rng)
    if rng.random() < 0.6:
        x = noisy(x, rng, rng.uniform(0.3, 6))
    if rng.random() < 0.7:
        x = compressed(x, rng, 55)
    return to_bytes(x)


def halved(hr):
    """8-bit [3, H, W] -> [3, H/4, W/4] that holds the detail of H/8 only, 8 bit.

    8x enlarges by bicubic x2 and then by the networks: this is what they are given there.
    """
    small = torch.from_numpy(shrink(hr, 2 * SCALE)).float()
    return to_bytes(enlarge(small, 2).numpy())
