"""The residual-shifting schedule and its steps (ResShift, arXiv 2307.12348 and 2403.07319).

Latents are residuals over the bicubic picture, so the low-resolution latent y is 0 and
x_t ~ N((1 - eta_t) r, kappa^2 eta_t).
"""
import math


class Shift:
    """Schedule "v3" of ResShift: sqrt(eta_t) = s_1 b^beta_t, t = 1..steps, eta_0 = 0."""

    def __init__(self, steps=4, kappa=2.0, min_noise=0.2, power=0.3, end=0.99):
        self.steps, self.kappa = steps, kappa
        first = min(min_noise / kappa, min_noise)
        base = (end / first) ** (1.0 / (steps - 1))
        self.eta = [0.0]
        for t in range(1, steps + 1):
            beta = ((t - 1) / (steps - 1)) ** power * (steps - 1)
            self.eta.append((first * base**beta) ** 2)

    def input_scale(self, t):
        """Factor that brings x_t to about unit variance before the denoiser.

        0 for t = T: sqrt(eta_T) is 0.99, so x_T holds no signal and expert T is a function
        of the condition alone.
        """
        if t == self.steps:
            return 0.0
        return 1.0 / math.sqrt(self.kappa**2 * self.eta[t] + 1.0)

    def noised(self, residual, t, noise):
        """x_t from the true residual latent [B, k, h, w] and unit noise."""
        eta = self.eta[t]
        return (1.0 - eta) * residual + self.kappa * math.sqrt(eta) * noise

    def step(self, x, x0, t, s, noise=None):
        """x_s from x_t and the predicted residual, for any s < t (skipping is exact).

        With `noise` the posterior is sampled; without it the implied noise is kept
        (deterministic, as SinSR, arXiv 2311.14760).
        """
        if s == 0:
            return x0
        eta_s, eta_t = self.eta[s], self.eta[t]
        if noise is None:
            keep = math.sqrt(eta_s / eta_t)
            return x0 * (1.0 - eta_s - keep * (1.0 - eta_t)) + keep * x
        ratio = eta_s / eta_t
        deviation = self.kappa * math.sqrt(eta_s * (eta_t - eta_s) / eta_t)
        return ratio * x + (1.0 - ratio) * x0 + deviation * noise
