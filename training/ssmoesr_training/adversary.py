"""The discriminator of the detail stage and its losses (training only, never exported)."""
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Judges patches: picture and its bicubic base, both [B, 3, H, W] in 0..1 -> [B, 1, H/8, W/8].

    Spectral norms bound its slope (arXiv 1802.05957). It sees the base too: what is wrong is
    detail that does not belong there. Pixels are folded two by two before the first layer,
    which costs a quarter of layers at full size.
    """

    def __init__(self, width=48):
        super().__init__()
        self.first = nn.Conv2d(24, width, 3, padding=1)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(i, o, k, s, 1, bias=False))
            for i, o, k, s in (
                (width, width, 3, 1),
                (width, 2 * width, 4, 2),
                (2 * width, 2 * width, 3, 1),
                (2 * width, 2 * width, 4, 2),
            )
        )
        self.last = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, picture, base):
        x = torch.cat([picture - base, base - 0.5], 1)
        x = F.leaky_relu(self.first(F.pixel_unshuffle(x, 2)), 0.2)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return self.last(x).float()


def discriminator_loss(real, fake):
    """Hinge loss."""
    return F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean()


def generator_loss(fake):
    return -fake.mean()
