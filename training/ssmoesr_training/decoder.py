"""The decoder: a correction added to the fixed inverse transform, guided by the input picture."""
import torch
from torch import nn
from torch.nn import functional as F

from .network import RMS, Block, Condition, conv, zeroed


class Fusion(nn.Module):
    """x + w * conv(silu(merge(concat[x, features]))): controllable feature wrapping."""

    def __init__(self, channels, features):
        super().__init__()
        self.merge = conv(channels + features, channels, 1)
        self.conv = zeroed(conv(channels, channels))

    def forward(self, x, features, weight):
        return x + weight * self.conv(F.silu(self.merge(torch.cat([x, features], 1))))


def complex_linear(re, im, weight, bias):
    """Block-diagonal complex linear map over the last axis of [..., g, d]."""
    weight, bias = weight.float(), bias.float()
    real, imag = weight

    def apply(part, kernel):
        return torch.einsum("...gd,gde->...ge", part, kernel)

    return (
        apply(re, real) - apply(im, imag) + bias[0],
        apply(re, imag) + apply(im, real) + bias[1],
    )


class AFF(nn.Module):
    """Adaptive frequency filter in windows of N x N anchored at (0, 0).

    The mask is computed from the spectrum, bounded by tanh (an unbounded one is quadratic in
    the amplitude) and multiplies the spectrum; then a per-pixel two-layer net.
    """

    def __init__(self, channels, window, groups, leaky_slope, softshrink):
        super().__init__()
        self.window, self.groups = window, groups
        self.leaky_slope, self.softshrink = leaky_slope, softshrink
        depth = channels // groups
        self.norm1, self.norm2 = RMS(channels), RMS(channels)
        deviation = (0.5 / depth) ** 0.5
        self.w1 = nn.Parameter(torch.randn(2, groups, depth, depth) * deviation)
        self.w2 = nn.Parameter(torch.randn(2, groups, depth, depth) * deviation)
        self.b1 = nn.Parameter(torch.zeros(2, groups, depth))
        self.b2 = nn.Parameter(torch.zeros(2, groups, depth))
        self.gain = nn.Parameter(torch.full((channels,), 0.1))
        self.ffn1 = conv(channels, channels, 1)
        self.ffn2 = zeroed(conv(channels, channels, 1))

    def filtered(self, x):
        """[B, C, H, W] -> [B, C, H, W], f32; H and W are multiples of the window."""
        batch, channels, height, width = x.shape
        n, groups = self.window, self.groups
        v = x.float().reshape(batch, groups, channels // groups, height // n, n, width // n, n)
        spectrum = torch.fft.rfft2(v.permute(0, 3, 5, 4, 6, 1, 2), dim=(3, 4), norm="ortho")
        re, im = complex_linear(spectrum.real, spectrum.imag, self.w1, self.b1)
        re, im = F.leaky_relu(re, self.leaky_slope), F.leaky_relu(im, self.leaky_slope)
        re, im = complex_linear(re, im, self.w2, self.b2)
        mask = torch.complex(
            torch.tanh(F.softshrink(re, self.softshrink)),
            torch.tanh(F.softshrink(im, self.softshrink)),
        )
        y = torch.fft.irfft2(mask * spectrum, s=(n, n), dim=(3, 4), norm="ortho")
        return y.permute(0, 5, 6, 1, 3, 2, 4).reshape(batch, channels, height, width)

    def forward(self, x):
        y = self.filtered(self.norm1(x)).to(x.dtype)
        x = x + y * self.gain.to(x.dtype).view(1, -1, 1, 1)
        return x + self.ffn2(F.silu(self.ffn1(self.norm2(x))))


class Level(nn.Module):
    """Residual blocks of one resolution and the way up to the next."""

    def __init__(self, width, blocks, above=None):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        if above is not None:
            self.upsample = conv(width, 4 * above, 1)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Decoder(nn.Module):
    """Residual latent [B, k, h, w] and picture [B, 3, h, w] -> correction [B, 3, 4h, 4w]."""

    def __init__(self, latent, config):
        super().__init__()
        widths, blocks = config["widths"], config["blocks"]
        features = config["condition_width"]
        aff = dict(config["aff"])
        count = aff.pop("blocks")
        self.fusion_weight = config["fusion_weight"]
        self.input = conv(latent, widths[0])
        self.condition = Condition(features, config["condition_blocks"])
        self.condition_upsample = conv(features, 4 * (features // 2), 1)
        self.fusion = nn.ModuleList(
            [Fusion(widths[0], features), Fusion(widths[1], features // 2)]
        )
        above = widths[1:] + [None]
        self.level = nn.ModuleList(map(Level, widths, blocks, above))
        self.aff = nn.ModuleList(AFF(widths[1], **aff) for _ in range(count))
        self.output = zeroed(conv(widths[2], 3))

    def forward(self, z, lr):
        features = self.condition(lr)
        x = self.level[0](self.input(z))
        x = self.fusion[0](x, features, self.fusion_weight)
        x = F.pixel_shuffle(self.level[0].upsample(x), 2)
        features = F.pixel_shuffle(self.condition_upsample(features), 2)
        x = self.level[1](self.fusion[1](x, features, self.fusion_weight))
        for block in self.aff:
            x = block(x)
        x = self.level[2](F.pixel_shuffle(self.level[1].upsample(x), 2))
        return self.output(F.silu(x))
