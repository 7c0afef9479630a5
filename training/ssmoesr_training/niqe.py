"""NIQE (IEEE SPL 20, 2013): distance of a picture's statistics from those of pristine pictures.

Needs scipy and the published pristine model (`mu_pris_param`, `cov_pris_param`,
`gaussian_window` in one .npz). Lower is more like an undisturbed photograph; pictures with
large flat areas are outside of what it can judge.
"""
import numpy as np

from .measure import luma
from .resize import SCALE, resize

BLOCK = 96
SHAPES = np.arange(0.2, 10.001, 0.001)


class Niqe:
    """The measure with one pristine model."""

    def __init__(self, path):
        from scipy.special import gamma  # only measuring needs scipy

        model = np.load(path)
        self.mean = model["mu_pris_param"].reshape(-1)
        self.covariance = model["cov_pris_param"]
        self.window = model["gaussian_window"]
        self.gamma = gamma
        self.ratios = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))

    def fitted(self, values):
        """Shape, left and right scale of an asymmetric generalised Gaussian, by moments."""
        left = np.sqrt(np.mean(values[values < 0] ** 2))
        right = np.sqrt(np.mean(values[values > 0] ** 2))
        skew = left / right
        ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
        wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
        if not np.isfinite(wanted):
            return (np.nan,) * 3
        shape = SHAPES[np.argmin((self.ratios - wanted) ** 2)]
        spread = np.sqrt(self.gamma(1 / shape) / self.gamma(3 / shape))
        return shape, left * spread, right * spread

    def features(self, block):
        """18 numbers of one block of normalised luma: itself and products with four neighbours."""
        shape, left, right = self.fitted(block.ravel())
        found = [shape, (left + right) / 2]
        for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
            product = (block * np.roll(block, shift, (0, 1))).ravel()
            shape, left, right = self.fitted(product)
            mean = (right - left) * self.gamma(2 / shape) / self.gamma(1 / shape)
            found += [shape, mean, left, right]
        return found

    def normalised(self, y):
        """Luma minus its local mean, over its local deviation plus one."""
        from scipy.ndimage import convolve

        mean = convolve(y, self.window, mode="nearest")
        square = convolve(y * y, self.window, mode="nearest")
        return (y - mean) / (np.sqrt(np.abs(square - mean * mean)) + 1)

    def __call__(self, planes, border=SCALE):
        """8-bit RGB [3, H, W] with at least one block inside the border -> NIQE."""
        cut = slice(border, -border)
        y = np.round(luma(planes)[cut, cut])
        rows, columns = (n // BLOCK for n in y.shape)
        y, columns_of = y[: rows * BLOCK, : columns * BLOCK], []
        for size in (BLOCK, BLOCK // 2):
            z = self.normalised(y)
            columns_of.append([
                self.features(z[r * size : (r + 1) * size, c * size : (c + 1) * size])
                for c in range(columns) for r in range(rows)
            ])
            y = resize(y / 255.0, y.shape[0] // 2, y.shape[1] // 2, "symmetric") * 255.0
        table = np.concatenate(columns_of, 1)
        whole = table[~np.isnan(table).any(1)]
        difference = self.mean - np.nanmean(table, 0)
        mixed = (self.covariance + np.cov(whole, rowvar=False)) / 2
        return float(np.sqrt(difference @ np.linalg.pinv(mixed) @ difference))
