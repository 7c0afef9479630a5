"""The published network (arXiv 2310.12004) in plain PyTorch, under the published key names.

Layers, shapes and eps follow the published code; the space experts are folded. Attention uses
PyTorch's fused kernel, which the published code does not, so that the peer is at its best.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

CONFIG = {
    "format": 1,
    "scale": 8,
    "unet": {
        "in_channels": 6,
        "out_channels": 3,
        "model_channels": 160,
        "channel_mult": [1, 2, 2, 4],
        "num_res_blocks": 2,
        "attention_ds": [16, 8],
        "head_channels": 32,
        "norm_groups": 32,
        "ffn_mult": 4,
        "space_experts": 16,
    },
    "sampling": {
        "stages": 4, "train_steps": 1000, "linear_start": 0.0015, "linear_end": 0.0155
    },
    "vae": {
        "in_channels": 3,
        "out_channels": 3,
        "ch": 128,
        "ch_mult": [1, 2, 4],
        "num_res_blocks": 2,
        "z_channels": 3,
        "embed_dim": 3,
        "n_embed": 8192,
        "norm_groups": 32,
        "attn_resolutions": [],
    },
    "fusion": {"num_blocks": 2, "grow_channels": 32, "weight": 1.0},
    "aff": {
        "ch_mult": [1, 1, 2, 2],
        "num_blocks": 8,
        "hidden_factor": 1,
        "mlp_ratio": 4,
        "softshrink": 0.01,
        "leaky_slope": 0.1,
        "refine_blocks": 4,
    },
}


def conv(inputs, outputs, kernel=3, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


# The denoiser.


class Upsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = conv(channels, channels)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.op = conv(channels, channels, stride=2)

    def forward(self, x):
        return self.op(x)


class TimedBlock(nn.Module):
    """Residual block that adds the embedding of the timestep between its convolutions."""

    def __init__(self, inputs, outputs, embedding, groups):
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, inputs, 1e-5), nn.SiLU(), conv(inputs, outputs)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, outputs, 1e-5), nn.SiLU(), nn.Identity(), conv(outputs, outputs)
        )
        same = inputs == outputs
        self.skip_connection = nn.Identity() if same else conv(inputs, outputs, 1)

    def forward(self, x, embedding):
        h = self.in_layers(x) + self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Heads(nn.Module):
    """Self-attention over all positions; the channels are split by head first, then q, k, v."""

    def __init__(self, channels, depth, groups):
        super().__init__()
        self.depth = depth
        self.norm = nn.GroupNorm(groups, channels, 1e-5)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        tokens = x.flatten(2)
        batch, channels, length = tokens.shape
        qkv = self.qkv(self.norm(tokens)).view(batch, -1, 3, self.depth, length)
        q, k, v = qkv.transpose(-1, -2).unbind(2)
        y = F.scaled_dot_product_attention(q, k, v)
        y = self.proj_out(y.transpose(-1, -2).reshape(batch, channels, length))
        return x + y.view_as(x)


class FeedForward(nn.Module):
    """The folded space experts: one feed-forward on tokens."""

    def __init__(self, channels, factor):
        super().__init__()
        self.moe_norm = nn.LayerNorm(channels, 1e-5)
        hidden = factor * channels
        expert = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, channels)
        )
        self.moe_blocks = nn.ModuleList([expert])

    def forward(self, x):
        tokens = x.permute(0, 2, 3, 1)
        y = self.moe_blocks[0](self.moe_norm(tokens))
        return x + y.permute(0, 3, 1, 2)


class Timed(nn.Sequential):
    """Runs its parts in order and hands the embedding to those that want it."""

    def forward(self, x, embedding):
        for part in self:
            x = part(x, embedding) if isinstance(part, TimedBlock) else part(x)
        return x


class Unet(nn.Module):
    """Predicts the noise in the latent from latent and condition, `[B, 6, h, w]`."""

    def __init__(self, config):
        super().__init__()
        base, mult = config["model_channels"], config["channel_mult"]
        groups, count = config["norm_groups"], config["num_res_blocks"]
        self.base, embedding = base, 4 * base
        self.time_embed = nn.Sequential(
            nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )

        def attention(width):
            return [
                Heads(width, config["head_channels"], groups),
                FeedForward(width, config["ffn_mult"]),
            ]

        def block(inputs, outputs, level):
            parts = [TimedBlock(inputs, outputs, embedding, groups)]
            return parts + (attention(outputs) if 2**level in config["attention_ds"] else [])

        width, skips = base, [base]
        self.input_blocks = nn.ModuleList([Timed(conv(config["in_channels"], base))])
        for level, factor in enumerate(mult):
            for _ in range(count):
                self.input_blocks.append(Timed(*block(width, factor * base, level)))
                width = factor * base
                skips.append(width)
            if level + 1 < len(mult):
                self.input_blocks.append(Timed(Downsample(width)))
                skips.append(width)
        self.middle_block = Timed(
            TimedBlock(width, width, embedding, groups),
            *attention(width),
            TimedBlock(width, width, embedding, groups),
        )
        self.output_blocks = nn.ModuleList()
        for level, factor in reversed(list(enumerate(mult))):
            for i in range(count + 1):
                parts = block(width + skips.pop(), factor * base, level)
                width = factor * base
                if level and i == count:
                    parts.append(Upsample(width))
                self.output_blocks.append(Timed(*parts))
        self.out = nn.Sequential(
            nn.GroupNorm(groups, width, 1e-5), nn.SiLU(), conv(width, config["out_channels"])
        )

    def embed(self, t):
        half = self.base // 2
        frequency = torch.exp(-math.log(10000.0) * torch.arange(half).float() / half)
        angle = t.float()[:, None] * frequency
        waves = torch.cat([angle.cos(), angle.sin()], 1)
        return self.time_embed(F.pad(waves, (0, self.base % 2)))

    def forward(self, x, t):
        embedding, skips = self.embed(t), []
        for part in self.input_blocks:
            x = part(x, embedding)
            skips.append(x)
        x = self.middle_block(x, embedding)
        for part in self.output_blocks:
            x = part(torch.cat([x, skips.pop()], 1), embedding)
        return self.out(x)


# The first stage.


class PlainBlock(nn.Module):
    """Residual block of the first stage; `shortcut` names the convolution beside it."""

    def __init__(self, inputs, outputs, groups, shortcut="nin_shortcut"):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, 1e-6)
        self.conv1 = conv(inputs, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs, 1e-6)
        self.conv2 = conv(outputs, outputs)
        self.shortcut = shortcut if inputs != outputs else None
        if self.shortcut:
            setattr(self, shortcut, conv(inputs, outputs, 1))

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (getattr(self, self.shortcut)(x) if self.shortcut else x) + h


class OneHead(nn.Module):
    """Self-attention with a single head over all positions."""

    def __init__(self, channels, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, 1e-6)
        self.q, self.k, self.v, self.proj_out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        n = self.norm(x)
        tokens = [part(n).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v)]
        y = F.scaled_dot_product_attention(*tokens)
        return x + self.proj_out(y[:, 0].transpose(1, 2).reshape(x.shape))


class Middle(nn.Module):
    def __init__(self, channels, groups):
        super().__init__()
        self.block_1 = PlainBlock(channels, channels, groups)
        self.attn_1 = OneHead(channels, groups)
        self.block_2 = PlainBlock(channels, channels, groups)

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class CornerDownsample(nn.Module):
    """Halves with zeros on the right and at the bottom only."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, 2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """The blocks of one resolution; the encoder adds a downsampler, the decoder an upsampler."""

    def __init__(self, inputs, outputs, count, groups):
        super().__init__()
        widths = [inputs] + [outputs] * count
        self.block = nn.ModuleList(PlainBlock(a, b, groups) for a, b in zip(widths, widths[1:]))

    def forward(self, x):
        for block in self.block:
            x = block(x)
        return x


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        widths = [config["ch"] * m for m in config["ch_mult"]]
        groups = config["norm_groups"]
        self.conv_in = conv(config["in_channels"], config["ch"])
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[max(level - 1, 0)]
            stage = Level(before, width, config["num_res_blocks"], groups)
            if level + 1 < len(widths):
                stage.downsample = CornerDownsample(width)
            self.down.append(stage)
        self.mid = Middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], 1e-6)
        self.conv_out = conv(widths[-1], config["z_channels"])

    def features(self, x):
        """The one map that the decoder reads; no further layer runs."""
        return self.down[1](self.down[0].downsample(self.down[0](self.conv_in(x))))

    def forward(self, x):
        """(latent, features): everything, as the published code runs it for the features."""
        features = self.features(x)
        h = features
        for above, stage in zip(self.down[1:], self.down[2:]):
            h = stage(above.downsample(h))
        h = F.silu(self.norm_out(self.mid(h)))
        return self.conv_out(h), features


class Dense(nn.Module):
    """Five convolutions, each on all maps before it."""

    def __init__(self, channels, growth):
        super().__init__()
        for i in range(1, 6):
            outputs = channels if i == 5 else growth
            setattr(self, f"conv{i}", conv(channels + (i - 1) * growth, outputs))

    def forward(self, x):
        maps = [x]
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            maps.append(F.leaky_relu(layer(torch.cat(maps, 1)), 0.2))
        return x + 0.2 * self.conv5(torch.cat(maps, 1))


class DenseTriple(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(channels, growth) for _ in range(3))

    def forward(self, x):
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class Fusion(nn.Module):
    def __init__(self, channels, config, groups):
        super().__init__()
        self.weight = config["weight"]
        self.encode_enc_1 = PlainBlock(2 * channels, channels, groups, "conv_out")
        triples = (
            DenseTriple(channels, config["grow_channels"]) for _ in range(config["num_blocks"])
        )
        self.encode_enc_2 = nn.Sequential(*triples)
        self.encode_enc_3 = PlainBlock(channels, channels, groups)

    def forward(self, features, x):
        y = self.encode_enc_1(torch.cat([features, x], 1))
        return x + self.weight * self.encode_enc_3(self.encode_enc_2(y))


class Normed(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, inputs, outputs, kernel, groups=1):
        super().__init__()
        self.block = nn.ModuleDict({
            "conv": nn.Conv2d(
                inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False
            ),
            "norm": nn.BatchNorm2d(outputs),
        })

    def forward(self, x):
        return self.block["norm"](self.block["conv"](x))


class Inverted(nn.Module):
    """Widen, depthwise, narrow; the input is added where the widths agree."""

    def __init__(self, inputs, outputs, ratio, slope):
        super().__init__()
        hidden = max(8, (ratio * inputs + 4) // 8 * 8)
        self.slope, self.same = slope, inputs == outputs
        self.block = nn.ModuleDict({
            "exp_1x1": Normed(inputs, hidden, 1),
            "conv_3x3": Normed(hidden, hidden, 3, hidden),
            "red_1x1": Normed(hidden, outputs, 1),
        })

    def forward(self, x):
        y = F.leaky_relu(self.block["exp_1x1"](x), self.slope)
        y = F.leaky_relu(self.block["conv_3x3"](y), self.slope)
        y = self.block["red_1x1"](y)
        return x + y if self.same else y


class Filter(nn.Module):
    """x plus x filtered in the frequency domain by a mask made from its own spectrum."""

    def __init__(self, channels, config):
        super().__init__()
        blocks = config["num_blocks"]
        depth = channels // blocks
        hidden = depth * config["hidden_factor"]
        self.slope, self.threshold = config["leaky_slope"], config["softshrink"]
        self.w1 = nn.Parameter(torch.empty(2, blocks, depth, hidden))
        self.b1 = nn.Parameter(torch.empty(2, blocks, hidden))
        self.w2 = nn.Parameter(torch.empty(2, blocks, hidden, depth))
        self.b2 = nn.Parameter(torch.empty(2, blocks, depth))

    @staticmethod
    def layer(re, im, weight, bias):
        """A complex linear map per block; [blocks, places, depth], real and imaginary apart."""
        real, imag = weight
        return (
            torch.baddbmm(bias[0][:, None], re, real) - torch.bmm(im, imag),
            torch.baddbmm(bias[1][:, None], im, real) + torch.bmm(re, imag),
        )

    def forward(self, x):
        batch, channels, height, width = x.shape
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        blocks = self.w1.shape[1]
        flat = spectrum.view(batch, blocks, channels // blocks, -1)
        flat = flat.permute(1, 0, 3, 2).flatten(1, 2)
        re, im = self.layer(flat.real, flat.imag, self.w1, self.b1)
        re, im = F.leaky_relu(re, self.slope), F.leaky_relu(im, self.slope)
        re, im = self.layer(re, im, self.w2, self.b2)
        mask = torch.complex(
            F.softshrink(re, self.threshold), F.softshrink(im, self.threshold)
        )
        mask = mask.view(blocks, batch, -1, channels // blocks).permute(1, 0, 3, 2)
        masked = mask.reshape(spectrum.shape) * spectrum
        return torch.fft.irfft2(masked, s=(height, width), norm="ortho") + x


class Frequency(nn.Module):
    """Inverted residual beside a 1x1 convolution, then the filter."""

    def __init__(self, inputs, outputs, config, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, 1e-5)
        self.mlp = Inverted(inputs, outputs, config["mlp_ratio"], config["leaky_slope"])
        self.up_dim = conv(inputs, outputs, 1)
        self.norm2 = nn.GroupNorm(groups, outputs, 1e-5)
        self.filter = Filter(outputs, config)

    def forward(self, x):
        y = self.mlp(self.norm1(x)) + self.up_dim(x)
        return y + self.filter(self.norm2(y))


class FrequencyUnet(nn.Module):
    def __init__(self, channels, config, groups):
        super().__init__()
        one, two, three = (channels * m for m in config["ch_mult"][1:])

        def block(inputs, outputs):
            return Frequency(inputs, outputs, config, groups)

        def up(inputs, outputs):
            return nn.Sequential(conv(inputs, 4 * outputs, 1), nn.PixelShuffle(2))

        self.conv1, self.conv2 = block(channels, one), block(one, two)
        self.conv3 = block(two, three)
        refine = (block(three, three) for _ in range(config["refine_blocks"]))
        self.context_refine = nn.Sequential(*refine)
        self.up3, self.up_conv3 = up(three, two), block(2 * two, two)
        self.up2, self.up_conv2 = up(two, one), block(2 * one, channels)

    def forward(self, x):
        x1 = self.conv1(x)
        x2 = self.conv2(F.max_pool2d(x1, 2))
        x3 = self.context_refine(self.conv3(F.max_pool2d(x2, 2)))
        y = self.up_conv3(torch.cat([x2, self.up3(x3)], 1))
        return self.up_conv2(torch.cat([x1, self.up2(y)], 1))


class Decoder(nn.Module):
    """Quantised latent and features of the enlarged input to a picture in [-1, 1]."""

    def __init__(self, config):
        super().__init__()
        vae = config["vae"]
        groups = vae["norm_groups"]
        widths = [vae["ch"] * m for m in vae["ch_mult"]]
        self.conv_in = conv(vae["z_channels"], widths[-1])
        self.mid = Middle(widths[-1], groups)
        self.up = nn.ModuleList()
        for level, width in enumerate(widths):
            below = widths[min(level + 1, len(widths) - 1)]
            stage = Level(below, width, vae["num_res_blocks"] + 1, groups)
            if level:
                stage.upsample = Upsample(width)
            self.up.append(stage)
        self.fusion_layer_1 = Fusion(widths[1], config["fusion"], groups)
        self.unet_1 = FrequencyUnet(widths[0], config["aff"], groups)
        self.norm_out = nn.GroupNorm(groups, widths[0], 1e-6)
        self.conv_out = conv(widths[0], vae["out_channels"])

    def forward(self, z, features):
        h = self.mid(self.conv_in(z))
        for level in reversed(range(len(self.up))):
            h = self.up[level](h)
            if level == 1:
                h = self.fusion_layer_1(features, h)
            if level:
                h = self.up[level].upsample(h)
        return self.conv_out(F.silu(self.norm_out(self.unet_1(h))))


class FirstStage(nn.Module):
    """VQ-f4 with the decoder that sees the low-resolution picture and filters frequencies."""

    def __init__(self, config):
        super().__init__()
        vae = config["vae"]
        self.encoder, self.decoder = Encoder(vae), Decoder(config)
        self.quant_conv = conv(vae["z_channels"], vae["embed_dim"], 1)
        self.post_quant_conv = conv(vae["embed_dim"], vae["z_channels"], 1)
        self.quantize = nn.ModuleDict({
            "embedding": nn.Embedding(vae["n_embed"], vae["embed_dim"])
        })

    def nearest(self, z):
        """The code next to each cell of the latent, the first one where several are."""
        codes = self.quantize["embedding"].weight
        cells = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        distance = torch.addmm(codes.square().sum(1), cells, codes.t(), alpha=-2.0)
        distance += cells.square().sum(1, keepdim=True)
        chosen = codes[distance.argmin(1)]
        return chosen.view(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)

    def decode(self, z, features):
        """From a latent that is not quantised yet."""
        return self.decoder(self.post_quant_conv(self.nearest(z)), features)


def jobs(layout, side=512):
    """Name -> function to time: the parts of one picture of `side` x `side` pixels."""
    from . import make_published

    unet = make_published.unet().to(memory_format=layout)
    stage = make_published.first_stage().to(memory_format=layout)
    generator = torch.Generator().manual_seed(0)

    def noise(channels, size):
        map_ = torch.rand((1, channels, size, size), generator=generator)
        return map_.contiguous(memory_format=layout)

    cells = side // 4
    x, t = noise(6, cells), torch.tensor([1])
    z, features = noise(3, cells), noise(256, side // 2)
    picture = noise(3, side)
    return {
        "denoiser": lambda: unet(x, t),
        "features": lambda: stage.encoder.features(picture),
        "encoder": lambda: stage.encoder(picture),
        "decoder": lambda: stage.decode(z, features),
    }
