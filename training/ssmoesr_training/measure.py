"""Figures for 8-bit RGB planes [3, H, W] that need no network."""
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


def _ssim_parts(x, y):
    """Luminance and structure maps, 11x11 Gaussian of sigma 1.5, valid part, L = 255."""
    kernel = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    kernel /= kernel.sum()
    mx, my = _window(x, kernel), _window(y, kernel)
    vx = _window(x * x, kernel) - mx * mx
    vy = _window(y * y, kernel) - my * my
    cov = _window(x * y, kernel) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * mx * my + c1) / (mx * mx + my * my + c1), (2 * cov + c2) / (vx + vy + c2)


def ssim_y(a, b, border=SCALE):
    """SSIM of luma (IEEE TIP 13, 2004) without `border` pixels at each side."""
    cut = slice(border, -border)
    light, structure = _ssim_parts(luma(a)[cut, cut], luma(b)[cut, cut])
    return float(np.mean(light * structure))


def consistency(sr, lr, scale=SCALE):
    """PSNR over RGB between the input and the output put through the same shrink, dB."""
    return psnr(shrink(sr, scale), lr)


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


def _halved(y):
    y = y[: y.shape[0] // 2 * 2, : y.shape[1] // 2 * 2]
    return (y[::2, ::2] + y[1::2, ::2] + y[::2, 1::2] + y[1::2, 1::2]) / 4


def gmsd(a, b, border=SCALE):
    """Gradient magnitude similarity deviation of luma (IEEE TIP 23, 2014); 0 for equal pictures."""
    cut, constant = slice(border, -border), 170.0
    maps = []
    for planes in (a, b):
        y = luma(planes)[cut, cut]
        y = _halved(y)
        rows = (y[:-2] + y[1:-1] + y[2:]) / 3
        columns = (y[:, :-2] + y[:, 1:-1] + y[:, 2:]) / 3
        maps.append(np.hypot(rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]))
    x, y = maps
    return float(np.std((2 * x * y + constant) / (x * x + y * y + constant)))


def ms_ssim(a, b, border=SCALE):
    """Multi-scale SSIM of luma, five scales with the published weights; sides of 176 or more."""
    cut = slice(border, -border)
    x, y = luma(a)[cut, cut], luma(b)[cut, cut]
    weights, value = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 1.0
    for level, weight in enumerate(weights):
        light, structure = _ssim_parts(x, y)
        last = level == len(weights) - 1
        value *= max(float(np.mean(light * structure if last else structure)), 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return value


def log_spectral(a, b, border=SCALE, rings=32):
    """Difference of the luma spectra, dB: rms over rings of frequency of the mean log power.

    Blur and lacking texture show whatever their place; a Hann window keeps the borders out.
    """
    cut, found = slice(border, -border), []
    for planes in (a, b):
        y = luma(planes)[cut, cut]
        window = np.hanning(y.shape[0])[:, None] * np.hanning(y.shape[1])
        power = np.abs(np.fft.rfft2((y - y.mean()) * window)) ** 2
        fy, fx = np.fft.fftfreq(y.shape[0])[:, None], np.fft.rfftfreq(y.shape[1])
        ring = np.minimum((np.hypot(fy, fx) * 2 * rings).astype(int), rings)
        total = np.bincount(ring.ravel(), power.ravel())[:rings]
        found.append(10 * np.log10(total / np.bincount(ring.ravel())[:rings] + 1e-3))
    return float(np.sqrt(np.mean((found[0] - found[1]) ** 2)))
