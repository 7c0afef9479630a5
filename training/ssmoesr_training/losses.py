"""Training losses; the perceptual distance and PSNR-Y also serve as measures."""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def focal_frequency(a, b):
    """Focal frequency loss (arXiv 2012.12821), alpha 1, orthonormal, whole picture as one patch.

    The weight |dF| is divided by its maximum per picture and carries no gradient.
    """
    difference = torch.fft.fft2(a.float() - b.float(), norm="ortho")
    power = difference.real**2 + difference.imag**2
    weight = power.detach().sqrt()
    peak = torch.amax(weight, (1, 2, 3), keepdim=True).clamp_min(1e-12)
    return (weight / peak * power).mean()


def latent_l1(predicted, residual, sigma):
    """L1 over latents, each channel weighted by its sigma: an L1 in pixels up to a rotation."""
    return ((predicted - residual).abs() * sigma.view(1, -1, 1, 1)).mean()


def latent_rms(predicted, residual, sigma):
    """Root mean square per crop, then the mean over crops.

    Its optimum is the posterior mean (as MSE), but a crop counts by relative error, as in a
    mean of PSNR over pictures.
    """
    error = (predicted - residual) * sigma.view(1, -1, 1, 1)
    return (error.square().mean((1, 2, 3)) + 1e-8).sqrt().mean()


def latent_mse(predicted, residual, sigma):
    """Mean square over latents in pixel units: posterior mean, as ResShift's experts use."""
    return ((predicted - residual) * sigma.view(1, -1, 1, 1)).square().mean()


class Perceptual(nn.Module):
    """PD: mean over seven SqueezeNet 1.1 taps of the distance of unit-normalised features.

    Weights: the MATLAB file of the convolutional part (names `conv1`, `fireK/...`; kernels
    H, W, in, out). Input 0..255 in B, G, R order minus the Caffe means. Unweighted, so the
    numbers are not LPIPS numbers.
    """

    def __init__(self, path):
        super().__init__()
        import scipy.io  # only this class needs scipy

        for name, cell in scipy.io.loadmat(path).items():
            if name.startswith("__"):
                continue
            key = name.replace("/", "_")
            kernel = torch.tensor(np.asarray(cell[0][0], np.float32)).permute(3, 2, 0, 1)
            self.register_buffer(key + "_w", kernel.contiguous())
            bias = np.asarray(cell[0][1], np.float32).reshape(-1)
            self.register_buffer(key + "_b", torch.tensor(bias))
        mean = torch.tensor([104.006, 116.669, 122.679]).view(1, 3, 1, 1)
        self.register_buffer("mean", mean)

    def layer(self, name, x, **options):
        kernel, bias = getattr(self, name + "_w"), getattr(self, name + "_b")
        return F.relu(F.conv2d(x, kernel, bias, **options))

    def fire(self, index, x):
        x = self.layer(f"fire{index}_squeeze1x1", x)
        wide = self.layer(f"fire{index}_expand3x3", x, padding=1)
        return torch.cat([self.layer(f"fire{index}_expand1x1", x), wide], 1)

    def features(self, rgb):
        """Seven normalised maps of a picture [B, 3, H, W] in 0..1, sides at least 31."""
        x = self.layer("conv1", rgb.flip(1) * 255.0 - self.mean, stride=2)
        taps = [x]
        for pair in ((2, 3), (4, 5)):
            x = F.max_pool2d(x, 3, 2)
            for index in pair:
                x = self.fire(index, x)
            taps.append(x)
        x = F.max_pool2d(x, 3, 2)
        for index in (6, 7, 8, 9):
            x = self.fire(index, x)
            taps.append(x)
        # The epsilon keeps the gradient finite where a whole channel vector is zero.
        return [t * torch.rsqrt(t.float().square().sum(1, keepdim=True) + 1e-8) for t in taps]

    def forward(self, a, b):
        """[B] distances in 0..2; the gradient flows to `a` only."""
        with torch.no_grad():
            reference = self.features(b)
        parts = [
            (x - y).square().sum(1).mean((1, 2)) for x, y in zip(self.features(a), reference)
        ]
        return torch.stack(parts, 1).mean(1)
