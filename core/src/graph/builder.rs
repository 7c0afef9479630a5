//! Records a network as a graph. The one place that knows how shapes follow from operations.

use crate::error::{Error, Result};
use crate::graph::op::{Activation, Border, ChannelNorm, Op, Padding, QkvLayout, Shape};

/// Id of a node's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

/// Id of a weight tensor in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub(crate) u32);

impl Value {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// Position in [`Graph::weights`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A weight tensor that the graph reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// Name in the weights file.
    pub name: String,
    /// Stored shape.
    pub shape: Vec<usize>,
}

/// One recorded operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<Value>,
    /// Shape of its result.
    pub shape: Shape,
    /// Where it stands in the network, for people.
    pub name: String,
}

/// A recorded network at one shape: nodes in an order in which they can run.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All weights.
    pub weights: Vec<Weight>,
    /// Maps given from outside, in the order of recording.
    pub inputs: Vec<Value>,
    /// Maps handed out.
    pub outputs: Vec<Value>,
}

impl Graph {
    /// Shape of a value.
    pub fn shape(&self, v: Value) -> Shape {
        self.nodes[v.index()].shape
    }
}

/// Adds nodes to a graph. Every method returns the id of the result, or an error where shapes do not fit.
#[derive(Debug, Default)]
pub struct Builder {
    graph: Graph,
}

/// Elements a map may have at most: 16 GiB of f32, far above any tile.
const MAX_ELEMENTS: usize = 1 << 32;

impl Builder {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shape of a value.
    pub fn shape(&self, v: Value) -> Shape {
        self.graph.shape(v)
    }

    /// Number of channels of a value.
    pub fn channels(&self, v: Value) -> usize {
        self.graph.shape(v)[1]
    }

    /// Ends the recording; `outputs` are handed out.
    pub fn finish(mut self, outputs: &[Value]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph
    }

    fn push(&mut self, name: &str, op: Op, inputs: &[Value], shape: Shape) -> Result<Value> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if !elements.is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
            return Err(misfit(name, &format!("a map of {shape:?} is empty or too large")));
        }
        let id = u32::try_from(self.graph.nodes.len()).map_err(|_| misfit(name, "too many nodes"))?;
        self.graph.nodes.push(Node { op, inputs: inputs.to_vec(), shape, name: name.to_owned() });
        Ok(Value(id))
    }

    fn weight(&mut self, name: String, shape: &[usize]) -> Result<WeightId> {
        if let Some(i) = self.graph.weights.iter().position(|w| w.name == name) {
            if self.graph.weights[i].shape != shape {
                return Err(misfit(
                    &name,
                    &format!("read as {:?} and {shape:?}", self.graph.weights[i].shape),
                ));
            }
            return Ok(WeightId(i as u32));
        }
        self.graph.weights.push(Weight { name, shape: shape.to_vec() });
        Ok(WeightId((self.graph.weights.len() - 1) as u32))
    }

    /// A map given from outside.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<Value> {
        let v = self.push(name, Op::Input, &[], shape)?;
        self.graph.inputs.push(v);
        Ok(v)
    }

    /// Square convolution over all channels with `name.weight` and `name.bias`.
    pub fn conv(
        &mut self,
        name: &str,
        x: Value,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
    ) -> Result<Value> {
        let stored = [out, self.channels(x), kernel, kernel];
        self.conv_stored(name, x, out, kernel, stride, padding, 1, &stored, true)
    }

    /// 3x3 convolution, stride 1, same size.
    pub fn conv3(&mut self, name: &str, x: Value, out: usize, border: Border) -> Result<Value> {
        self.conv(name, x, out, 3, 1, Padding::same(1, border))
    }

    /// 1x1 convolution with a weight stored as `[out, in, 1, 1]`.
    pub fn conv1(&mut self, name: &str, x: Value, out: usize) -> Result<Value> {
        self.conv(name, x, out, 1, 1, Padding::NONE)
    }

    /// 1x1 convolution with a weight stored in another shape: `[out, in]` of a linear layer, `[out, in, 1]`.
    pub fn pointwise(&mut self, name: &str, x: Value, out: usize, stored: &[usize]) -> Result<Value> {
        self.conv_stored(name, x, out, 1, 1, Padding::NONE, 1, stored, true)
    }

    /// 1x1 convolution without bias whose weight tensor is called `weight`, stored as `[out, in]`.
    pub fn project(&mut self, weight: &str, x: Value, out: usize) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        let id = self.weight(weight.to_owned(), &[out, c])?;
        let op =
            Op::Conv2d { weight: id, bias: None, kernel: 1, stride: 1, padding: Padding::NONE, groups: 1 };
        self.push(weight, op, &[x], [n, out, h, w])
    }

    /// The general convolution.
    #[allow(
        clippy::too_many_arguments,
        reason = "one layer has that many numbers; callers use the short forms"
    )]
    pub fn conv_stored(
        &mut self,
        name: &str,
        x: Value,
        out: usize,
        kernel: usize,
        stride: usize,
        padding: Padding,
        groups: usize,
        stored: &[usize],
        with_bias: bool,
    ) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        if kernel == 0 || stride == 0 || (groups != 1 && (groups != c || out != c)) {
            return Err(misfit(name, &format!("kernel {kernel}, stride {stride}, groups {groups} of {c}")));
        }
        let elements = out * (c / groups) * kernel * kernel;
        if stored.iter().product::<usize>() != elements {
            return Err(misfit(name, &format!("weight {stored:?} does not hold {elements} values")));
        }
        let (ph, pw) = (h + padding.top + padding.bottom, w + padding.left + padding.right);
        if ph < kernel || pw < kernel {
            return Err(misfit(name, &format!("a {h}x{w} map is smaller than the {kernel}x{kernel} kernel")));
        }
        let weight = self.weight(format!("{name}.weight"), stored)?;
        let bias = if with_bias { Some(self.weight(format!("{name}.bias"), &[out])?) } else { None };
        let shape = [n, out, (ph - kernel) / stride + 1, (pw - kernel) / stride + 1];
        self.push(name, Op::Conv2d { weight, bias, kernel, stride, padding, groups }, &[x], shape)
    }

    /// Group norm with `name.weight`, `name.bias`.
    pub fn group_norm(&mut self, name: &str, x: Value, groups: usize, eps: f32) -> Result<Value> {
        let shape = self.shape(x);
        if groups == 0 || !shape[1].is_multiple_of(groups) {
            return Err(misfit(name, &format!("{} channels do not split into {groups} groups", shape[1])));
        }
        let weight = self.weight(format!("{name}.weight"), &[shape[1]])?;
        let bias = self.weight(format!("{name}.bias"), &[shape[1]])?;
        self.push(name, Op::GroupNorm { groups, eps, weight, bias }, &[x], shape)
    }

    /// Per-pixel RMS norm with `name.gain`, eps 1e-6.
    pub fn rms_norm(&mut self, name: &str, x: Value) -> Result<Value> {
        let shape = self.shape(x);
        let weight = self.weight(format!("{name}.gain"), &[shape[1]])?;
        let op = Op::ChannelNorm { kind: ChannelNorm::Rms, eps: 1e-6, weight, bias: None };
        self.push(name, op, &[x], shape)
    }

    /// Per-pixel layer norm with `name.weight`, `name.bias`.
    pub fn layer_norm(&mut self, name: &str, x: Value, eps: f32) -> Result<Value> {
        let shape = self.shape(x);
        let weight = self.weight(format!("{name}.weight"), &[shape[1]])?;
        let bias = Some(self.weight(format!("{name}.bias"), &[shape[1]])?);
        let op = Op::ChannelNorm { kind: ChannelNorm::Layer, eps, weight, bias };
        self.push(name, op, &[x], shape)
    }

    /// Batch norm in its running form with `name.{weight,bias,running_mean,running_var}`.
    pub fn batch_norm(&mut self, name: &str, x: Value, eps: f32) -> Result<Value> {
        let shape = self.shape(x);
        let mut get = |part: &str| self.weight(format!("{name}.{part}"), &[shape[1]]);
        let op = Op::BatchNorm {
            weight: get("weight")?,
            bias: get("bias")?,
            mean: get("running_mean")?,
            var: get("running_var")?,
            eps,
        };
        self.push(name, op, &[x], shape)
    }

    /// An element-wise function.
    pub fn activation(&mut self, name: &str, x: Value, f: Activation) -> Result<Value> {
        let shape = self.shape(x);
        self.push(name, Op::Activation(f), &[x], shape)
    }

    /// SiLU.
    pub fn silu(&mut self, name: &str, x: Value) -> Result<Value> {
        self.activation(name, x, Activation::Silu)
    }

    /// `a + scale * b`.
    pub fn add_scaled(&mut self, name: &str, a: Value, b: Value, scale: f32) -> Result<Value> {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa != sb && sb != [sa[0], sa[1], 1, 1] {
            return Err(misfit(name, &format!("{sa:?} and {sb:?} cannot be added")));
        }
        self.push(name, Op::Add { scale }, &[a, b], sa)
    }

    /// `a + b`.
    pub fn add(&mut self, name: &str, a: Value, b: Value) -> Result<Value> {
        self.add_scaled(name, a, b, 1.0)
    }

    /// `x * gain[c]`, the weight called `gain`.
    pub fn scale_channels(&mut self, gain: &str, x: Value) -> Result<Value> {
        let shape = self.shape(x);
        let id = self.weight(gain.to_owned(), &[shape[1]])?;
        self.push(gain, Op::ScaleChannels { gain: id }, &[x], shape)
    }

    /// `mul * x + add`.
    pub fn affine(&mut self, name: &str, x: Value, mul: f32, add: f32) -> Result<Value> {
        let shape = self.shape(x);
        self.push(name, Op::Affine { mul, add }, &[x], shape)
    }

    /// Maps one after the other along the channels.
    pub fn concat(&mut self, name: &str, xs: &[Value]) -> Result<Value> {
        self.concat_axis(name, xs, 1)
    }

    /// Maps one after the other along axis 1 (channels) or 3 (width).
    pub fn concat_axis(&mut self, name: &str, xs: &[Value], axis: usize) -> Result<Value> {
        let Some(&first) = xs.first() else { return Err(misfit(name, "nothing to join")) };
        if axis != 1 && axis != 3 {
            return Err(misfit(name, &format!("axis {axis} cannot be joined")));
        }
        let mut shape = self.shape(first);
        for &x in &xs[1..] {
            let s = self.shape(x);
            if (0..4).any(|i| i != axis && s[i] != shape[i]) {
                return Err(misfit(name, &format!("{shape:?} and {s:?} cannot be joined along axis {axis}")));
            }
            shape[axis] += s[axis];
        }
        self.push(name, Op::Concat { axis }, xs, shape)
    }

    /// Channels to pixels.
    pub fn pixel_shuffle(&mut self, name: &str, x: Value, factor: usize) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        if factor == 0 || c % (factor * factor) != 0 {
            return Err(misfit(name, &format!("{c} channels cannot be shuffled by {factor}")));
        }
        let shape = [n, c / (factor * factor), h * factor, w * factor];
        self.push(name, Op::PixelShuffle { factor }, &[x], shape)
    }

    /// Each pixel twice in both directions.
    pub fn upsample_nearest2(&mut self, name: &str, x: Value) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        self.push(name, Op::UpsampleNearest2, &[x], [n, c, h * 2, w * 2])
    }

    /// The largest of each 2x2 square.
    pub fn max_pool2(&mut self, name: &str, x: Value) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        self.push(name, Op::MaxPool2, &[x], [n, c, h / 2, w / 2])
    }

    /// Attention on a joint query, key, value map; with `position_bias` a weight of that name.
    pub fn attention(
        &mut self,
        name: &str,
        qkv: Value,
        heads: usize,
        window: Option<usize>,
        layout: QkvLayout,
        position_bias: Option<&str>,
    ) -> Result<Value> {
        let [n, c3, h, w] = self.shape(qkv);
        if heads == 0 || c3 % (3 * heads) != 0 {
            return Err(misfit(name, &format!("{c3} channels are not three parts of {heads} heads")));
        }
        self.check_window(name, window, h, w)?;
        let position_bias = match (position_bias, window) {
            (Some(weight), Some(side)) => {
                Some(self.weight(weight.to_owned(), &[heads, (2 * side - 1) * (2 * side - 1)])?)
            }
            (Some(_), None) => return Err(misfit(name, "a position bias needs windows")),
            (None, _) => None,
        };
        let op = Op::Attention { heads, window, layout, position_bias };
        self.push(name, op, &[qkv], [n, c3 / 3, h, w])
    }

    /// Adaptive frequency filter with `name.{w1,b1,w2,b2}`, without the residual.
    #[allow(clippy::too_many_arguments, reason = "the numbers of one filter")]
    pub fn frequency_filter(
        &mut self,
        name: &str,
        x: Value,
        window: Option<usize>,
        blocks: usize,
        hidden_factor: usize,
        leaky_slope: f32,
        softshrink: f32,
        bounded: bool,
    ) -> Result<Value> {
        let shape = self.shape(x);
        if blocks == 0 || hidden_factor == 0 || !shape[1].is_multiple_of(blocks) {
            return Err(misfit(name, &format!("{} channels do not split into {blocks} blocks", shape[1])));
        }
        self.check_window(name, window, shape[2], shape[3])?;
        let inner = shape[1] / blocks;
        let hidden = inner * hidden_factor;
        let weights = [
            self.weight(format!("{name}.w1"), &[2, blocks, inner, hidden])?,
            self.weight(format!("{name}.b1"), &[2, blocks, hidden])?,
            self.weight(format!("{name}.w2"), &[2, blocks, hidden, inner])?,
            self.weight(format!("{name}.b2"), &[2, blocks, inner])?,
        ];
        let op =
            Op::FrequencyFilter { window, blocks, hidden_factor, weights, leaky_slope, softshrink, bounded };
        self.push(name, op, &[x], shape)
    }

    fn check_window(&self, name: &str, window: Option<usize>, h: usize, w: usize) -> Result<()> {
        match window {
            Some(side) if side == 0 || !h.is_multiple_of(side) || !w.is_multiple_of(side) => {
                Err(misfit(name, &format!("a {h}x{w} map does not split into windows of {side}")))
            }
            _ => Ok(()),
        }
    }

    /// Sinusoids of a timestep `[N, 1, 1, 1]`.
    pub fn timestep_embedding(&mut self, name: &str, t: Value, dim: usize) -> Result<Value> {
        let [n, c, h, w] = self.shape(t);
        if [c, h, w] != [1, 1, 1] || dim < 2 {
            return Err(misfit(name, "a timestep is [N, 1, 1, 1], its embedding at least 2 wide"));
        }
        self.push(name, Op::TimestepEmbedding { dim }, &[t], [n, dim, 1, 1])
    }

    /// Index of the nearest entry of the codebook `embedding`.
    pub fn codebook_index(&mut self, embedding: &str, z: Value, entries: usize) -> Result<Value> {
        let [n, c, h, w] = self.shape(z);
        // Indices travel as f32, exact up to 2^24.
        if entries == 0 || entries > 1 << 24 {
            return Err(misfit(embedding, &format!("a codebook of {entries} entries")));
        }
        let id = self.weight(embedding.to_owned(), &[entries, c])?;
        self.push(embedding, Op::CodebookIndex { embedding: id }, &[z], [n, 1, h, w])
    }

    /// Entries of the codebook `embedding` by index.
    pub fn codebook_lookup(
        &mut self,
        embedding: &str,
        index: Value,
        entries: usize,
        channels: usize,
    ) -> Result<Value> {
        let [n, c, h, w] = self.shape(index);
        if c != 1 {
            return Err(misfit(embedding, &format!("an index map has one channel, not {c}")));
        }
        let id = self.weight(embedding.to_owned(), &[entries, channels])?;
        self.push(embedding, Op::CodebookLookup { embedding: id }, &[index], [n, channels, h, w])
    }

    /// Columns `start .. start + len`.
    pub fn narrow(&mut self, name: &str, x: Value, start: usize, len: usize) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        if start.checked_add(len).is_none_or(|end| end > w) {
            return Err(misfit(name, &format!("columns {start}..+{len} of {w}")));
        }
        self.push(name, Op::Narrow { start, len }, &[x], [n, c, h, len])
    }

    /// Tokens of a map in the order of `perm`.
    pub fn gather_tokens(&mut self, name: &str, x: Value, perm: Value) -> Result<Value> {
        let [n, c, h, w] = self.shape(x);
        if self.shape(perm) != [1, 1, 1, h * w] {
            return Err(misfit(name, "the order must be [1, 1, 1, H * W]"));
        }
        self.push(name, Op::GatherTokens, &[x, perm], [n, c, 1, h * w])
    }

    /// Tokens back to where `perm` took them from.
    pub fn scatter_tokens(
        &mut self,
        name: &str,
        x: Value,
        perm: Value,
        height: usize,
        width: usize,
    ) -> Result<Value> {
        let [n, c, h, l] = self.shape(x);
        if h != 1 || l != height * width || self.shape(perm) != [1, 1, 1, l] {
            return Err(misfit(name, "tokens, order and map do not fit"));
        }
        self.push(name, Op::ScatterTokens { height, width }, &[x, perm], [n, c, height, width])
    }
}

fn misfit(name: &str, what: &str) -> Error {
    Error::model(format!("network node `{name}`: {what}"))
}
