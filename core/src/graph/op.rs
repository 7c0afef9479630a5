//! The operations that the network is made of. Maps are `[N, C, H, W]`, f32, row-major.

use crate::graph::builder::WeightId;

/// Sizes of a map: batch, channels, height, width.
pub type Shape = [usize; 4];

/// What lies outside a map when a convolution reads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Zeros.
    Zero,
    /// The nearest sample of the map.
    Replicate,
}

/// Cells added around a map before a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
    /// What they hold.
    pub border: Border,
}

impl Padding {
    /// No padding.
    pub const NONE: Self = Self::same(0, Border::Zero);

    /// `n` cells on every side.
    pub const fn same(n: usize, border: Border) -> Self {
        Self { top: n, left: n, bottom: n, right: n, border }
    }

    /// True where nothing is added.
    pub fn is_none(&self) -> bool {
        self.top + self.left + self.bottom + self.right == 0
    }
}

/// Element-wise functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`, the exact form.
    GeluErf,
    /// `x` where positive, `slope * x` elsewhere.
    LeakyRelu(f32),
}

/// Per-pixel norms over the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelNorm {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `(x - mean) / sqrt(var + eps)`, biased variance.
    Layer,
}

/// Order of the channels of a joint query, key, value map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// `[3, heads, d]`: all queries, all keys, all values.
    PartFirst,
    /// `[heads, 3, d]`: per head its query, key and value (reference.md 2.3).
    HeadFirst,
}

/// One operation. Inputs stand in the node, in the order given here.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A map given from outside.
    Input,
    /// Convolution. Weight `[out, in / groups, k, k]` (any stored shape of that many elements), bias `[out]`.
    Conv2d {
        /// Kernel.
        weight: WeightId,
        /// Added per output channel.
        bias: Option<WeightId>,
        /// Side of the square kernel.
        kernel: usize,
        /// Step between outputs.
        stride: usize,
        /// Cells added around the input.
        padding: Padding,
        /// 1, or the number of channels (depthwise).
        groups: usize,
    },
    /// Norm over each of `groups` groups of channels and the whole map, then weight and bias `[C]`.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f32,
        /// Factor per channel.
        weight: WeightId,
        /// Added per channel.
        bias: WeightId,
    },
    /// Norm of each pixel over its channels, then weight and bias `[C]`.
    ChannelNorm {
        /// Which norm.
        kind: ChannelNorm,
        /// Added under the root.
        eps: f32,
        /// Factor per channel.
        weight: WeightId,
        /// Added per channel.
        bias: Option<WeightId>,
    },
    /// Batch norm with running statistics: `(x - mean) / sqrt(var + eps) * weight + bias`, all `[C]`.
    BatchNorm {
        /// Factor per channel.
        weight: WeightId,
        /// Added per channel.
        bias: WeightId,
        /// Running mean.
        mean: WeightId,
        /// Running variance.
        var: WeightId,
        /// Added to the variance.
        eps: f32,
    },
    /// An element-wise function.
    Activation(Activation),
    /// `a + scale * b`; `b` has `a`'s shape or is `[N, C, 1, 1]`.
    Add {
        /// Factor of the second input.
        scale: f32,
    },
    /// `x * gain[c]`.
    ScaleChannels {
        /// Factor per channel.
        gain: WeightId,
    },
    /// `mul * x + add`.
    Affine {
        /// Factor.
        mul: f32,
        /// Added after.
        add: f32,
    },
    /// Inputs one after the other along an axis (1 = channels, 3 = width).
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `[N, C * r * r, H, W]` to `[N, C, H * r, W * r]`; channel `(c * r + dy) * r + dx` goes to `(dy, dx)`.
    PixelShuffle {
        /// Factor `r`.
        factor: usize,
    },
    /// Each pixel twice in both directions.
    UpsampleNearest2,
    /// The largest of each 2x2 square.
    MaxPool2,
    /// Scaled dot-product attention on a joint map `[N, 3 C, H, W]`; scale `1 / sqrt(C / heads)`.
    Attention {
        /// Number of heads.
        heads: usize,
        /// Side of the windows, anchored at (0, 0); `None`: the whole map.
        window: Option<usize>,
        /// Channel order of the input.
        layout: QkvLayout,
        /// Learned `[heads, (2 w - 1)^2]`, index `(dy + w - 1) * (2 w - 1) + dx + w - 1`, query minus key.
        position_bias: Option<WeightId>,
    },
    /// Adaptive frequency filter `irfft2(M(X) * X)`, `X = rfft2(x)`, ortho norm (reference.md 8.4).
    /// `M`: block-diagonal complex layer, LeakyReLU per part, second layer, soft-shrink, optionally tanh.
    FrequencyFilter {
        /// Side of the windows, anchored at (0, 0); `None`: the whole map.
        window: Option<usize>,
        /// Number of diagonal blocks.
        blocks: usize,
        /// Channels between the two layers, per block channel.
        hidden_factor: usize,
        /// `w1 [2, blocks, in, hidden]`, `b1 [2, blocks, hidden]`, `w2 [2, blocks, hidden, in]`, `b2`.
        weights: [WeightId; 4],
        /// Slope of the LeakyReLU.
        leaky_slope: f32,
        /// Threshold of the soft-shrink.
        softshrink: f32,
        /// Whether the mask goes through tanh.
        bounded: bool,
    },
    /// Sinusoids of the raw timestep, `[N, 1, 1, 1]` to `[N, dim, 1, 1]` (reference.md 2.1).
    TimestepEmbedding {
        /// Channels of the result.
        dim: usize,
    },
    /// Index of the nearest codebook entry per pixel, lowest on ties, as f32: `[N, C, H, W]` to `[N, 1, H, W]`.
    CodebookIndex {
        /// Entries `[entries, C]`.
        embedding: WeightId,
    },
    /// Codebook entries by index: `[N, 1, H, W]` to `[N, C, H, W]`.
    CodebookLookup {
        /// Entries `[entries, C]`.
        embedding: WeightId,
    },
    /// Columns `start .. start + len`.
    Narrow {
        /// First column.
        start: usize,
        /// Number of columns.
        len: usize,
    },
    /// Second input `[1, 1, 1, H * W]` holds token numbers: `y[.., j] = x[.., perm[j]]`, `[N, C, 1, H * W]`.
    GatherTokens,
    /// The reverse: inputs tokens `[N, C, 1, L]` and numbers; `y[.., perm[j]] = x[.., j]`, `[N, C, H, W]`.
    ScatterTokens {
        /// Height of the result.
        height: usize,
        /// Width of the result.
        width: usize,
    },
}

impl Op {
    /// The operation's name as dumps show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Conv2d { .. } => "conv2d",
            Self::GroupNorm { .. } => "group_norm",
            Self::ChannelNorm { kind: ChannelNorm::Rms, .. } => "rms_norm",
            Self::ChannelNorm { kind: ChannelNorm::Layer, .. } => "layer_norm",
            Self::BatchNorm { .. } => "batch_norm",
            Self::Activation(Activation::Silu) => "silu",
            Self::Activation(Activation::GeluErf) => "gelu_erf",
            Self::Activation(Activation::LeakyRelu(_)) => "leaky_relu",
            Self::Add { .. } => "add",
            Self::ScaleChannels { .. } => "scale_channels",
            Self::Affine { .. } => "affine",
            Self::Concat { .. } => "concat",
            Self::PixelShuffle { .. } => "pixel_shuffle",
            Self::UpsampleNearest2 => "upsample_nearest2",
            Self::MaxPool2 => "max_pool2",
            Self::Attention { .. } => "attention",
            Self::FrequencyFilter { .. } => "frequency_filter",
            Self::TimestepEmbedding { .. } => "timestep_embedding",
            Self::CodebookIndex { .. } => "codebook_index",
            Self::CodebookLookup { .. } => "codebook_lookup",
            Self::Narrow { .. } => "narrow",
            Self::GatherTokens => "gather_tokens",
            Self::ScatterTokens { .. } => "scatter_tokens",
        }
    }

    /// Floating-point operations (two per multiply-add) for one input shape and the result's shape.
    /// Norms and element-wise functions are counted as one per element: they never dominate.
    pub fn flops(&self, input: Shape, output: Shape) -> u64 {
        let n = |s: Shape| s.iter().map(|&v| v as u64).product::<u64>();
        match self {
            Self::Conv2d { kernel, groups, .. } => {
                2 * n(output) * (kernel * kernel * (input[1] / groups)) as u64
            }
            Self::Attention { window, .. } => {
                let tokens = window.map_or(input[2] * input[3], |w| w * w) as u64;
                4 * n(output) * tokens
            }
            Self::FrequencyFilter { window, blocks, hidden_factor, .. } => {
                let (h, w) = window.map_or((input[2], input[3]), |s| (s, s));
                let half = (w / 2 + 1) as u64;
                let spectrum = n(input) / w as u64 * half;
                let block = (input[1] / blocks) as u64;
                // Two real-to-complex passes along W, two complex ones along H as matrix products,
                // and two complex layers of four real products each.
                4 * n(input) * half * 2
                    + 16 * spectrum * h as u64
                    + 16 * spectrum * block * *hidden_factor as u64
            }
            Self::CodebookIndex { .. } => 2 * n(input),
            Self::Input
            | Self::Concat { .. }
            | Self::PixelShuffle { .. }
            | Self::UpsampleNearest2
            | Self::Narrow { .. }
            | Self::GatherTokens
            | Self::ScatterTokens { .. }
            | Self::CodebookLookup { .. } => 0,
            _ => n(output),
        }
    }
}
