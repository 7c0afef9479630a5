"""The native networks: condition encoder, denoiser (one per step) and decoder.

Maps are [B, C, H, W] on the low-resolution grid unless said otherwise. Tensor names are the
ones of the exported model. Every residual branch starts at zero, so an untrained model
returns the bicubic picture.
"""
import torch
from torch import nn
from torch.nn import functional as F

DEFAULT = {
    "first_stage": {"latent_channels": 16},
    "condition": {"width": 32, "blocks": 1},
    "denoiser": {
        "widths": [32, 64, 96],
        "blocks": [1, 2, 2],
        "attention": [0, 1, 1],
        "head_channels": 16,
        "window": 8,
        "ffn_mult": 2,
    },
    "decoder": {
        "widths": [48, 24, 12],
        "blocks": [2, 1, 1],
        "condition_width": 32,
        "condition_blocks": 1,
        "fusion_weight": 1.0,
        "aff": {
            "blocks": 2, "window": 32, "groups": 8, "leaky_slope": 0.1, "softshrink": 0.01
        },
    },
}


class EdgeConv(nn.Conv2d):
    """3x3 convolution that repeats the edge.

    The border is joined on by hand while `torch.compile` traces: the compiled gradient of the
    replicating padding fails in channels-last layout (PyTorch 2.15).
    """

    def forward(self, x):
        if COMPILING():
            x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
            x = torch.cat([x[..., :1], x, x[..., -1:]], 3)
            return F.conv2d(x, self.weight, self.bias, self.stride)
        return super().forward(x)


# PyTorch before 2.1 has no compiler to ask.
COMPILING = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)


def conv(inputs, outputs, kernel=3, stride=1):
    """3x3 convolutions repeat the edge, 1x1 need no border."""
    if kernel == 1:
        return nn.Conv2d(inputs, outputs, 1, stride)
    return EdgeConv(inputs, outputs, kernel, stride, 1, padding_mode="replicate")


def zeroed(module):
    """Sets weight and bias to zero and returns the module."""
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


class RMS(nn.Module):
    """x / rms over channels at each pixel, times a gain: no statistics over space, no seams."""

    def __init__(self, channels):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        power = x.float().square().mean(1, keepdim=True)
        scale = torch.rsqrt(power + 1e-6).to(x.dtype)
        return x * scale * self.gain.to(x.dtype).view(1, -1, 1, 1)


class Block(nn.Module):
    """x + conv2(silu(conv1(silu(RMS(x)))))."""

    def __init__(self, channels):
        super().__init__()
        self.norm = RMS(channels)
        self.conv1 = conv(channels, channels)
        self.conv2 = zeroed(conv(channels, channels))

    def forward(self, x):
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class SpaceLinear(nn.Module):
    """`experts` 1x1 convolutions side by side: weight [N, out, in, 1, 1], bias [N, out]."""

    def __init__(self, inputs, outputs, experts, zero=False):
        super().__init__()
        plain = nn.Conv2d(inputs, outputs, 1)
        if zero:
            zeroed(plain)
        spread = 0.0 if zero else 1e-3  # breaks the symmetry between the experts
        shape = (experts,) + plain.weight.shape
        self.weight = nn.Parameter(plain.weight.detach() + spread * torch.randn(shape))
        self.bias = nn.Parameter(plain.bias.detach().repeat(experts, 1))

    def folded(self, x):
        """The plain mean of the experts, as exported."""
        return F.conv2d(x, self.weight.mean(0), self.bias.mean(0))

    def forward(self, tokens):
        """[N, n, in] -> [N, n, out]: expert i serves row i."""
        weight = self.weight.flatten(2).transpose(1, 2)
        return torch.matmul(tokens, weight) + self.bias[:, None]

    @torch.no_grad()
    def share(self, gamma):
        """Eq. 5 of arXiv 2310.12004: W_i <- gamma W_i + (1 - gamma) mean of the others."""
        for value in (self.weight, self.bias):
            count = value.shape[0]
            if count > 1:
                others = (value.sum(0, keepdim=True) - value) / (count - 1)
                value.mul_(gamma).add_(others, alpha=1.0 - gamma)


class Attention(nn.Module):
    """Self-attention in windows anchored at (0, 0) with a learned relative bias, then a FFN.

    While training, the FFN exists N times and every token goes to one of them at random
    (space mixture of experts, arXiv 2310.12004 section 3.3); otherwise their mean is used.
    """

    def __init__(self, channels, head_channels, window, ffn_mult, experts):
        super().__init__()
        self.heads, self.window, self.experts = channels // head_channels, window, experts
        self.norm1, self.norm2 = RMS(channels), RMS(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = zeroed(nn.Conv2d(channels, channels, 1))
        self.ffn1 = SpaceLinear(channels, ffn_mult * channels, experts)
        self.ffn2 = SpaceLinear(ffn_mult * channels, channels, experts, zero=True)
        reach = 2 * window - 1
        self.position_bias = nn.Parameter(torch.zeros(self.heads, reach * reach))
        axis = torch.arange(window)
        place = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
        offset = place[:, None] - place[None] + window - 1  # query minus key
        index = offset[..., 0] * reach + offset[..., 1]
        self.register_buffer("index", index, persistent=False)

    def attend(self, x):
        """[B, C, H, W] -> [B, C, H, W]; H and W are multiples of the window."""
        batch, channels, height, width = x.shape
        n, heads, depth = self.window, self.heads, channels // self.heads
        rows, columns = height // n, width // n
        qkv = self.qkv(x).view(batch, 3, heads, depth, rows, n, columns, n)
        qkv = qkv.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(3, -1, heads, n * n, depth)
        query, key, value = qkv
        scores = torch.matmul(query * depth**-0.5, key.transpose(-1, -2))
        scores = scores + self.position_bias[:, self.index].to(scores.dtype)
        y = torch.matmul(torch.softmax(scores, -1).to(value.dtype), value)
        y = y.view(batch, rows, columns, heads, n, n, depth).permute(0, 3, 6, 1, 4, 2, 5)
        return self.proj(y.reshape(batch, channels, height, width))

    def mixture(self, x):
        """The FFN; each token is served by one expert drawn at random, in equal shares."""
        if not (self.training and self.experts > 1):
            return self.ffn2.folded(F.silu(self.ffn1.folded(x)))
        batch, channels, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(-1, channels)
        order = torch.randperm(tokens.shape[0], device=x.device)
        back = torch.argsort(order)
        split = tokens[order].view(self.experts, -1, channels)
        y = self.ffn2(F.silu(self.ffn1(split))).reshape(-1, channels)[back]
        return y.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.mixture(self.norm2(x))


class Condition(nn.Module):
    """Features of the low-resolution picture [B, 3, h, w] in 0..1."""

    def __init__(self, width, blocks):
        super().__init__()
        self.input = conv(3, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, lr):
        x = self.input(2.0 * lr - 1.0)
        for block in self.blocks:
            x = block(x)
        return x


class Stage(nn.Module):
    """Residual blocks, each followed by attention where the level has it."""

    def __init__(self, width, level, config, experts):
        super().__init__()
        count = config["blocks"][level]
        self.blocks = nn.ModuleList(Block(width) for _ in range(count))
        if config["attention"][level]:
            self.attention = nn.ModuleList(
                Attention(
                    width, config["head_channels"], config["window"], config["ffn_mult"], experts
                )
                for _ in range(count)
            )
        else:
            self.attention = None

    def forward(self, x):
        for i, block in enumerate(self.blocks):
            x = block(x)
            if self.attention is not None:
                x = self.attention[i](x)
        return x


class Denoiser(nn.Module):
    """UNet that predicts the residual latent from x_t (scaled) and the condition features."""

    def __init__(self, latent, condition, config, experts=4):
        super().__init__()
        widths = config["widths"]
        self.input = conv(latent + condition, widths[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (here, below) in enumerate(zip(widths, widths[1:])):
            stage = Stage(here, level, config, experts)
            stage.downsample = conv(here, below, stride=2)
            self.down.append(stage)
            stage = Stage(here, level, config, experts)
            stage.upsample = conv(below, 4 * here, 1)
            stage.merge = conv(2 * here, here, 1)
            self.up.append(stage)
        self.middle = Stage(widths[-1], len(widths) - 1, config, experts)
        self.output_norm = RMS(widths[0])
        self.output = zeroed(conv(widths[0], latent))

    def forward(self, x, condition):
        h = self.input(torch.cat([x, condition], 1))
        skips = []
        for stage in self.down:
            h = stage(h)
            skips.append(h)
            h = stage.downsample(h)
        h = self.middle(h)
        for stage, skip in zip(reversed(self.up), reversed(skips)):
            h = F.pixel_shuffle(stage.upsample(h), 2)
            h = stage(stage.merge(torch.cat([h, skip], 1)))
        return self.output(F.silu(self.output_norm(h)))


def share_space_experts(module, gamma=0.999):
    """Applies Eq. 5 to every space expert of `module`; call after each optimiser step."""
    for part in module.modules():
        if isinstance(part, SpaceLinear):
            part.share(gamma)
