//! From a graph to launches: every number is known here, so that a run only adds addresses. What a kernel takes
//! stands beside it in `kernels/`.

use super::fuse::{Pass, Passes};
use super::launch::{Kernel, Launch, Place, Precision};
use super::pack::{Blocks, DEEP, Form, OUTS, PIXELS, forms};
use super::tables::Tables;
use crate::error::{Error, Result};
use crate::graph::{Activation, Border, ChannelNorm, Graph, Node, Op, QkvLayout, Shape, Value, WeightId};

/// A graph as launches over one memory.
pub(super) struct Program {
    pub(super) launches: Vec<Launch>,
    /// Each node whose result is stored, in order, and the number of launches up to its end.
    pub(super) steps: Vec<(Value, usize)>,
    /// Place of each stored result in the memory of results.
    pub(super) offsets: Vec<Option<usize>>,
    /// Values in the memory of results, with the space that filters need.
    pub(super) len: usize,
    pub(super) tables: Tables,
    /// How each weight has to lie.
    pub(super) forms: Vec<Form>,
    precision: Precision,
}

/// Threads of a block where each works alone.
const THREADS: usize = 256;

/// Most blocks downwards, and values of shared memory of a block, that every GPU allows.
const ROWS: usize = 65_535;
const SHARED: usize = (48 << 10) / size_of::<f32>();

/// Queries of a block of `attention` and keys of a chunk: as many as there is room for.
const QUERIES: [(usize, usize); 2] = [(64, 32), (32, 16)];

/// Channels of the result that a thread of `conv` computes.
const FEW_OUTS: usize = 4;

/// Where a launch holds what follows in the same pass: number and slope of the function, the map that is added, the factors of the
/// convolution and of that map.
const FUNCTION: usize = 14;
const SLOPE: usize = 1;
const SUM: usize = 3;
const OWN: usize = 2;
const OF_MAP: usize = 3;

/// What a launch gets besides its kernel and size.
struct Arguments<const I: usize, const N: usize, const F: usize> {
    inputs: [Place; I],
    n: [usize; N],
    f: [f32; F],
}

impl Program {
    /// Plans `graph`.
    ///
    /// # Errors
    /// `Limit` where a map is beyond what a launch can cover.
    pub(super) fn new(graph: &Graph, precision: Precision) -> Result<Self> {
        let Passes { passes, offsets, len } = Passes::of(graph);
        let mut program = Self {
            launches: Vec::new(),
            steps: Vec::new(),
            offsets,
            len,
            tables: Tables::default(),
            forms: forms(graph, precision)?,
            precision,
        };
        for pass in &passes {
            let node = &graph.nodes[pass.node.index()];
            program.node(graph, node, program.place(pass.last)?, pass.space)?;
            program.follow(pass)?;
            program.steps.push((pass.last, program.launches.len()));
        }
        Ok(program)
    }

    /// What follows the last launch in the same pass.
    fn follow(&mut self, pass: &Pass) -> Result<()> {
        let sum = match pass.sum {
            Some((v, of_map, own)) => Some((Place::Arena(self.place(v)?), of_map, own)),
            None => None,
        };
        if let (Some(launch), Some(act)) = (self.launches.last_mut(), pass.act) {
            let (number, slope) = function(act);
            (launch.n[FUNCTION], launch.f[SLOPE]) = (number, slope);
        }
        if let (Some(launch), Some((map, of_map, own))) = (self.launches.last_mut(), sum) {
            launch.inputs[SUM] = map;
            (launch.f[OWN], launch.f[OF_MAP]) = (own, of_map);
        }
        Ok(())
    }

    fn place(&self, v: Value) -> Result<usize> {
        self.offsets[v.index()].ok_or_else(|| Error::internal("a result without a place"))
    }

    /// One thread for each of `count` values.
    fn each<const I: usize, const N: usize, const F: usize>(
        &mut self,
        kernel: Kernel,
        count: usize,
        out: usize,
        arguments: &Arguments<I, N, F>,
    ) -> Result<()> {
        self.push(kernel, [count.div_ceil(THREADS), 1], (THREADS, 0), out, arguments)
    }

    fn push<const I: usize, const N: usize, const F: usize>(
        &mut self,
        kernel: Kernel,
        [across, down]: [usize; 2],
        (threads, shared): (usize, usize),
        out: usize,
        arguments: &Arguments<I, N, F>,
    ) -> Result<()> {
        let grid = u32::try_from(across).ok().filter(|n| *n <= i32::MAX as u32);
        let (Some(across), true, true) = (grid, down <= ROWS, shared <= SHARED) else {
            return Err(Error::limit(format!(
                "cuda: {kernel:?} over {across}x{down} blocks with {shared} shared values is beyond any GPU"
            )));
        };
        let mut launch = Launch {
            kernel,
            grid: [across, down as u32],
            threads: threads as u32,
            shared,
            inputs: [Place::Nothing; 5],
            out,
            n: [0; 16],
            f: [0.0; 4],
        };
        launch.inputs.iter_mut().zip(arguments.inputs).for_each(|(to, v)| *to = v);
        launch.n.iter_mut().zip(arguments.n).for_each(|(to, v)| *to = v as i64);
        launch.f.iter_mut().zip(arguments.f).for_each(|(to, v)| *to = v);
        self.launches.push(launch);
        Ok(())
    }

    /// The launches of one node; `space` is where filters may keep what they need on the way.
    fn node(&mut self, graph: &Graph, node: &Node, out: usize, space: [usize; 2]) -> Result<()> {
        let mut inputs = Vec::new();
        for &v in &node.inputs {
            inputs.push((Place::Arena(self.place(v)?), graph.shape(v)));
        }
        let input = |i: usize| inputs.get(i).copied().ok_or_else(|| Error::internal("an input is missing"));
        let [_, channels, h, w] = node.shape;
        let (count, pixels) = (elements(node.shape), h * w);
        match node.op {
            Op::Input => Ok(()),
            Op::Conv2d { .. } => self.conv(node, input(0)?, out),
            Op::GroupNorm { groups, eps, weight, bias } => {
                let of_group = channels / groups;
                let threads = block(of_group * pixels);
                let arguments = Arguments {
                    inputs: [input(0)?.0, held(weight), held(bias)],
                    n: [groups, of_group, pixels],
                    f: [eps],
                };
                let blocks = [node.shape[0] * groups, 1];
                self.push(Kernel::GroupNorm, blocks, (threads, threads), out, &arguments)
            }
            Op::ChannelNorm { kind, eps, weight, bias } => {
                let all = node.shape[0] * pixels;
                let mean = usize::from(kind == ChannelNorm::Layer);
                let inputs = [input(0)?.0, held(weight), bias.map_or(Place::Nothing, held)];
                let arguments = Arguments { inputs, n: [channels, pixels, all, mean], f: [eps] };
                self.each(Kernel::ChannelNorm, all, out, &arguments)
            }
            Op::BatchNorm { weight, bias, mean, var, eps } => {
                let inputs = [input(0)?.0, held(weight), held(bias), held(mean), held(var)];
                let arguments = Arguments { inputs, n: [channels, pixels, count], f: [eps] };
                self.each(Kernel::BatchNorm, count, out, &arguments)
            }
            Op::Activation(f) => {
                self.each(
                    Kernel::Activation,
                    count,
                    out,
                    &Arguments { inputs: [input(0)?.0], n: [count], f: [] },
                )?;
                let (number, slope) = function(f);
                if let Some(launch) = self.launches.last_mut() {
                    (launch.n[FUNCTION], launch.f[SLOPE]) = (number, slope);
                }
                Ok(())
            }
            Op::Add { scale } => {
                let (b, shape) = input(1)?;
                let spread = count / elements(shape);
                let arguments = Arguments { inputs: [input(0)?.0, b], n: [count, spread], f: [scale] };
                self.each(Kernel::Add, count, out, &arguments)
            }
            Op::ScaleChannels { gain } => {
                let inputs = [input(0)?.0, held(gain)];
                let arguments = Arguments { inputs, n: [count, pixels, channels], f: [] };
                self.each(Kernel::ScaleChannels, count, out, &arguments)
            }
            Op::Affine { mul, add } => {
                let arguments = Arguments { inputs: [input(0)?.0], n: [count], f: [mul, add] };
                self.each(Kernel::Affine, count, out, &arguments)
            }
            Op::Concat { axis } => {
                let row = |shape: Shape| shape[axis..].iter().product::<usize>();
                let mut at = 0;
                for &(from, shape) in &inputs {
                    let moved = elements(shape);
                    let n = [moved, row(shape), row(shape), 0, row(node.shape), at];
                    self.each(Kernel::CopyRows, moved, out, &Arguments { inputs: [from], n, f: [] })?;
                    at += row(shape);
                }
                Ok(())
            }
            Op::Narrow { start, len } => {
                let (from, shape) = input(0)?;
                let arguments = Arguments { inputs: [from], n: [count, len, shape[3], start, len, 0], f: [] };
                self.each(Kernel::CopyRows, count, out, &arguments)
            }
            Op::PixelShuffle { factor } => {
                let arguments =
                    Arguments { inputs: [input(0)?.0], n: [count, channels, h, w, factor], f: [] };
                self.each(Kernel::PixelShuffle, count, out, &arguments)
            }
            Op::UpsampleNearest2 => {
                let arguments = Arguments { inputs: [input(0)?.0], n: [count, h, w], f: [] };
                self.each(Kernel::UpsampleNearest2, count, out, &arguments)
            }
            Op::MaxPool2 => {
                let (from, shape) = input(0)?;
                let arguments = Arguments { inputs: [from], n: [count, h, w, shape[2], shape[3]], f: [] };
                self.each(Kernel::MaxPool2, count, out, &arguments)
            }
            Op::Attention { .. } => self.attention(node, input(0)?.0, out),
            Op::FrequencyFilter { .. } => self.filter(node, input(0)?.0, out, space),
            Op::TimestepEmbedding { dim } => {
                let table = Place::Table(self.tables.frequencies(dim / 2));
                let arguments = Arguments { inputs: [input(0)?.0, table], n: [count, dim, dim / 2], f: [] };
                self.each(Kernel::TimestepEmbedding, count, out, &arguments)
            }
            Op::CodebookIndex { embedding } => {
                let (from, [_, of_entry, ..]) = input(0)?;
                let entries = elements_of(graph, embedding) / of_entry;
                let n = [count, pixels, of_entry, entries];
                let arguments = Arguments { inputs: [from, held(embedding)], n, f: [] };
                self.each(Kernel::CodebookIndex, count, out, &arguments)
            }
            Op::CodebookLookup { embedding } => {
                let n = [count, pixels, channels, elements_of(graph, embedding) / channels];
                let arguments = Arguments { inputs: [input(0)?.0, held(embedding)], n, f: [] };
                self.each(Kernel::CodebookLookup, count, out, &arguments)
            }
            Op::GatherTokens => {
                let ((from, shape), (numbers, _)) = (input(0)?, input(1)?);
                let n = [count, pixels, shape[2] * shape[3]];
                self.each(Kernel::GatherTokens, count, out, &Arguments { inputs: [from, numbers], n, f: [] })
            }
            Op::ScatterTokens { .. } => {
                let ((from, shape), (numbers, _)) = (input(0)?, input(1)?);
                let n = [count, shape[3], pixels];
                self.each(Kernel::ScatterTokens, count, out, &Arguments { inputs: [from, numbers], n, f: [] })
            }
        }
    }

    fn conv(&mut self, node: &Node, (from, shape): (Place, Shape), out: usize) -> Result<()> {
        let Op::Conv2d { weight, bias, kernel, stride, padding, groups } = node.op else {
            return Err(Error::internal("no convolution"));
        };
        let [batch, outs, rows, cols] = node.shape;
        let [_, channels, h, w] = shape;
        let replicate = usize::from(padding.border == Border::Replicate);
        let (top, left) = (padding.top, padding.left);
        let blocks = Blocks::of(&node.op, shape, node.shape, self.precision);
        let wide = blocks.map_or(0, |b| b.wide());
        let arguments = Arguments {
            inputs: [from, held(weight), bias.map_or(Place::Nothing, held)],
            n: [channels, h, w, outs, rows, cols, kernel, stride, top, left, replicate, groups, batch, wide],
            f: [],
        };
        let pixels = batch * rows * cols;
        if blocks.is_some() {
            // Two pieces of both sides, with what separates their rows.
            let piece = DEEP * (PIXELS + OUTS + 16);
            let (what, shared) = match self.precision {
                Precision::F32 => (Kernel::ConvExact, 2 * piece),
                Precision::Bf16 => (Kernel::ConvBf16, piece),
                Precision::F16 => (Kernel::ConvF16, piece),
            };
            let grid = [pixels.div_ceil(PIXELS), wide / OUTS];
            return self.push(what, grid, (THREADS, shared), out, &arguments);
        }
        let across = pixels.div_ceil(THREADS);
        let (what, down) =
            if groups == 1 { (Kernel::Conv, outs.div_ceil(FEW_OUTS)) } else { (Kernel::ConvGrouped, outs) };
        self.push(what, [across, down], (THREADS, 0), out, &arguments)
    }

    fn attention(&mut self, node: &Node, from: Place, out: usize) -> Result<()> {
        let Op::Attention { heads, window, layout, position_bias } = node.op else {
            return Err(Error::internal("no attention"));
        };
        let [batch, channels, h, w] = node.shape;
        if h * w > i32::MAX as usize - THREADS {
            return Err(Error::limit(format!("cuda: attention over {h}x{w} tokens")));
        }
        let of_head = channels / heads;
        let tokens = window.map_or(h * w, |side| side * side);
        let together = usize::from(layout == QkvLayout::HeadFirst);
        let arguments = |chunk| Arguments {
            inputs: [from, position_bias.map_or(Place::Nothing, held)],
            n: [channels, h, w, heads, window.unwrap_or(0), together, chunk],
            f: [1.0 / (of_head as f32).sqrt()],
        };
        for (threads, chunk) in QUERIES {
            let shared = 2 * of_head * (threads + chunk);
            if shared <= SHARED {
                let groups = h * w / tokens * tokens.div_ceil(threads);
                let grid = [groups, batch * heads];
                return self.push(Kernel::Attention, grid, (threads, shared), out, &arguments(chunk));
            }
        }
        let threads = block(tokens);
        let shared = 2 * of_head + 2 * threads;
        self.push(Kernel::AttentionWide, [h * w, batch * heads], (threads, shared), out, &arguments(0))
    }

    /// Rows to bins, bins down the columns, the two layers, and back. Three spectra on the way; the third needs the
    /// place of the first, which is not read any more then.
    fn filter(&mut self, node: &Node, from: Place, out: usize, [first, second]: [usize; 2]) -> Result<()> {
        let Op::FrequencyFilter { window, blocks, hidden_factor, weights, leaky_slope, softshrink, bounded } =
            node.op
        else {
            return Err(Error::internal("no filter"));
        };
        let [batch, channels, h, w] = node.shape;
        let (th, tw) = window.map_or((h, w), |side| (side, side));
        let row = w / tw * (tw / 2 + 1);
        let (plane, of_block) = (h * row, channels / blocks);
        let bins = batch * channels * plane;
        let hidden = bins * hidden_factor;
        let (across, along) = (Place::Table(self.tables.turns(tw)), Place::Table(self.tables.turns(th)));
        let ortho = 1.0 / ((th * tw) as f32).sqrt();
        let (one, two) = (Place::Arena(first), Place::Arena(second));
        let [w1, b1, w2, b2] = weights.map(held);

        let arguments = Arguments { inputs: [from, across], n: [bins, w, tw], f: [] };
        self.each(Kernel::RowsToSpectrum, bins, first, &arguments)?;
        let arguments = Arguments { inputs: [one, along], n: [bins, row, th, 0], f: [ortho] };
        self.each(Kernel::TurnColumns, bins, second, &arguments)?;
        let n = [hidden, plane, blocks, of_block, of_block * hidden_factor];
        let arguments = Arguments { inputs: [two, w1, b1], n, f: [leaky_slope] };
        self.each(Kernel::FilterHidden, hidden, first, &arguments)?;
        let n = [bins, plane, blocks, of_block * hidden_factor, of_block, usize::from(bounded)];
        let arguments = Arguments { inputs: [one, w2, b2, two], n, f: [softshrink] };
        self.each(Kernel::FilterMask, bins, second, &arguments)?;
        let arguments = Arguments { inputs: [two, along], n: [bins, row, th, 1], f: [ortho] };
        self.each(Kernel::TurnColumns, bins, first, &arguments)?;
        let count = elements(node.shape);
        let arguments = Arguments { inputs: [one, across], n: [count, w, tw], f: [] };
        self.each(Kernel::SpectrumToRows, count, out, &arguments)
    }
}

/// Number and slope of a function as kernels know it.
fn function(f: Activation) -> (i64, f32) {
    match f {
        Activation::Silu => (1, 0.0),
        Activation::GeluErf => (2, 0.0),
        Activation::LeakyRelu(slope) => (3, slope),
    }
}

fn elements(shape: Shape) -> usize {
    shape.iter().product()
}

fn elements_of(graph: &Graph, weight: WeightId) -> usize {
    graph.weights[weight.index()].shape.iter().product()
}

fn held(weight: WeightId) -> Place {
    Place::Weight(weight.index())
}

/// Threads of a block that works on `count` values together.
fn block(count: usize) -> usize {
    count.clamp(32, THREADS).next_power_of_two()
}
