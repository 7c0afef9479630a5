"""Figures for 8-bit RGB planes [3, H, W]: PSNR-Y, SSIM-Y, consistency, energy, phase spread."""
import numpy as np

from .resize import SCALE, shrink


def luma(planes):
    """BT.601 luma 16..235 of 8-bit RGB planes, not rounded."""
    r, g, b = planes.astype(np.float64)
    return 16.0 + (65.481 * r + 128.553 * g + 24.966 * b) / 255.0


def psnr(a, b):
    """PSNR over all values, peak 255; 99 for equal pictures."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return 99.0 if error == 0 else float(10.0 * np.log10(255.0**2 / error))


def psnr_y(a, b, border=SCALE):
    """PSNR of luma without `border` pixels at each side."""
    cut = slice(border, -border)
    return psnr(luma(a)[cut, cut], luma(b)[cut, cut])


def _window(x, kernel):
    """Valid separable filtering of [H, W]."""
    n = len(kernel)
    rows = sum(w * x[i : x.shape[0] - n + 1 + i] for i, w in enumerate(kernel))
    return sum(w * rows[:, i : rows.shape[1] - n + 1 + i] for i, w in enumerate(kernel))


def ssim_y(a, b, border=SCALE):
    """SSIM of luma, 11x11 Gaussian of sigma 1.5, valid part, L = 255 (IEEE TIP 13, 2004)."""
    cut = slice(border, -border)
    x, y = luma(a)[cut, cut], luma(b)[cut, cut]
    kernel = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    kernel /= kernel.sum()
    mx, my = _window(x, kernel), _window(y, kernel)
    vx = _window(x * x, kernel) - mx * mx
    vy = _window(y * y, kernel) - my * my
    cov = _window(x * y, kernel) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def consistency(sr, lr):
    """PSNR over RGB between the input and the output put through the same shrink, dB."""
    return psnr(shrink(sr), lr)


def residual_energy(sr, hr, bicubic):
    """Energy the output adds over bicubic, relative to what the original adds."""
    added = np.mean((sr.astype(np.float64) - bicubic) ** 2)
    return float(added / np.mean((hr.astype(np.float64) - bicubic) ** 2))


def phase_spread(sr, period=SCALE):
    """Deviation over mean of |Laplacian| of luma by pixel phase: a grid shows as a large value."""
    y = luma(sr)
    lap = np.abs(4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:])
    lap = lap[: lap.shape[0] // period * period, : lap.shape[1] // period * period]
    blocks = lap.reshape(lap.shape[0] // period, period, lap.shape[1] // period, period)
    means = blocks.mean((0, 2))
    return float(means.std() / means.mean())
