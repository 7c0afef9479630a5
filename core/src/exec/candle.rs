//! The reference: one match from `Op` to candle's tensors, f32 on the CPU, any node readable.
//!
//! Debug builds keep every result in one arena at the planned offset and fill what is freed with NaN, so a
//! planner that frees too early or overlaps live results shows at once in the output.

use super::{Executor, Prepared, Visit, Weights, check_io, check_stop};
use crate::error::{Error, Result};
use crate::graph::{
    Activation, Border, ChannelNorm, Graph, Node, Op, Padding, Plan, QkvLayout, Shape, Value, WeightId,
    frequencies,
};
use crate::weights::WeightSource;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::Module;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The candle executor.
#[derive(Debug)]
pub(crate) struct Candle;

const CPU: Device = Device::Cpu;

/// Query rows of a global attention worked on at once: bounds the score matrix to this many rows.
const QUERY_ROWS: usize = 1024;

impl From<candle_core::Error> for Error {
    fn from(e: candle_core::Error) -> Self {
        Self::device(format!("the reference executor failed: {e}"))
    }
}

impl Executor for Candle {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        let mut all = Vec::with_capacity(graph.weights.len());
        for w in &graph.weights {
            let values = source.read_f32(&w.name, &w.shape)?;
            all.push(Tensor::from_vec(values, w.shape.as_slice(), &CPU)?);
        }
        Ok(Arc::new(all))
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        let plan = Plan::new(&graph);
        let arena = if cfg!(debug_assertions) { vec![f32::NAN; plan.arena_len] } else { Vec::new() };
        let live = vec![None; graph.nodes.len()];
        Ok(Box::new(Run { graph, plan, arena, live }))
    }
}

struct Run {
    graph: Arc<Graph>,
    plan: Plan,
    arena: Vec<f32>,
    live: Vec<Option<Tensor>>,
}

impl Run {
    fn place(&self, v: Value) -> Result<std::ops::Range<usize>> {
        let at = self.plan.offsets[v.index()].ok_or_else(|| Error::internal("a result without a place"))?;
        Ok(at..at + self.graph.shape(v).iter().product::<usize>())
    }

    fn put(&mut self, v: Value, t: Tensor) -> Result<()> {
        if cfg!(debug_assertions) {
            let range = self.place(v)?;
            self.arena[range].copy_from_slice(&t.flatten_all()?.to_vec1::<f32>()?);
        } else {
            self.live[v.index()] = Some(t);
        }
        Ok(())
    }

    fn get(&self, v: Value) -> Result<Tensor> {
        if cfg!(debug_assertions) {
            Ok(Tensor::from_slice(&self.arena[self.place(v)?], &self.graph.shape(v), &CPU)?)
        } else {
            self.live[v.index()].clone().ok_or_else(|| Error::internal("a result was freed too early"))
        }
    }

    fn free(&mut self, v: Value) -> Result<()> {
        if cfg!(debug_assertions) {
            let range = self.place(v)?;
            self.arena[range].fill(f32::NAN);
        }
        self.live[v.index()] = None;
        Ok(())
    }
}

impl Prepared for Run {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        mut visit: Option<&mut Visit<'_>>,
    ) -> Result<()> {
        let graph = Arc::clone(&self.graph);
        check_io(&graph, inputs, outputs)?;
        let weights = weights
            .downcast_ref::<Vec<Tensor>>()
            .filter(|w| w.len() == graph.weights.len())
            .ok_or_else(|| Error::internal("weights of another graph or executor"))?;
        for (&v, &data) in graph.inputs.iter().zip(inputs) {
            self.put(v, Tensor::from_slice(data, &graph.shape(v), &CPU)?)?;
        }
        let plan_steps = std::mem::take(&mut self.plan.steps);
        let mut all = || -> Result<()> {
            for step in &plan_steps {
                check_stop(stop)?;
                let node = &graph.nodes[step.node.index()];
                if node.op != Op::Input {
                    let args: Vec<Tensor> =
                        node.inputs.iter().map(|&v| self.get(v)).collect::<Result<_>>()?;
                    let result = eval(node, &args, weights)?;
                    if result.dims() != node.shape {
                        let text = format!("`{}` gave {:?}, not {:?}", node.name, result.dims(), node.shape);
                        return Err(Error::internal(text));
                    }
                    self.put(step.node, result)?;
                }
                if let Some(visit) = visit.as_mut() {
                    visit(step.node, &self.get(step.node)?.flatten_all()?.to_vec1::<f32>()?)?;
                }
                for &v in &step.free {
                    self.free(v)?;
                }
            }
            for (&v, out) in graph.outputs.iter().zip(outputs.iter_mut()) {
                out.copy_from_slice(&self.get(v)?.flatten_all()?.to_vec1::<f32>()?);
            }
            Ok(())
        };
        let result = all();
        self.plan.steps = plan_steps;
        self.live.fill(None);
        result
    }
}

fn eval(node: &Node, x: &[Tensor], weights: &[Tensor]) -> Result<Tensor> {
    let w = |id: WeightId| &weights[id.index()];
    let channel = |id: WeightId| w(id).reshape((1, (), 1, 1));
    Ok(match &node.op {
        Op::Input => return Err(Error::internal("an input is not computed")),
        Op::Conv2d { weight, bias, kernel, stride, padding, groups } => {
            let y = conv(&x[0], w(*weight), node.shape, *kernel, *stride, *padding, *groups)?;
            match bias {
                Some(b) => y.broadcast_add(&channel(*b)?)?,
                None => y,
            }
        }
        Op::GroupNorm { groups, eps, weight, bias } => {
            let (c, eps) = (node.shape[1], f64::from(*eps));
            let norm = candle_nn::GroupNorm::new(w(*weight).clone(), w(*bias).clone(), c, *groups, eps)?;
            norm.forward(&x[0])?
        }
        Op::ChannelNorm { kind, eps, weight, bias } => {
            let centred = match kind {
                ChannelNorm::Rms => x[0].clone(),
                ChannelNorm::Layer => x[0].broadcast_sub(&x[0].mean_keepdim(1)?)?,
            };
            let root = (centred.sqr()?.mean_keepdim(1)? + f64::from(*eps))?.sqrt()?;
            let y = centred.broadcast_div(&root)?.broadcast_mul(&channel(*weight)?)?;
            match bias {
                Some(b) => y.broadcast_add(&channel(*b)?)?,
                None => y,
            }
        }
        Op::BatchNorm { weight, bias, mean, var, eps } => {
            let factor = (channel(*weight)? / (channel(*var)? + f64::from(*eps))?.sqrt()?)?;
            x[0].broadcast_sub(&channel(*mean)?)?.broadcast_mul(&factor)?.broadcast_add(&channel(*bias)?)?
        }
        Op::Activation(Activation::Silu) => x[0].silu()?,
        Op::Activation(Activation::GeluErf) => x[0].gelu_erf()?,
        Op::Activation(Activation::LeakyRelu(slope)) => leaky(&x[0], *slope)?,
        Op::Add { scale } => x[0].broadcast_add(&x[1].affine(f64::from(*scale), 0.0)?)?,
        Op::ScaleChannels { gain } => x[0].broadcast_mul(&channel(*gain)?)?,
        Op::Affine { mul, add } => x[0].affine(f64::from(*mul), f64::from(*add))?,
        Op::Concat { axis } => Tensor::cat(x, *axis)?,
        Op::PixelShuffle { factor } => candle_nn::ops::pixel_shuffle(&x[0], *factor)?,
        Op::UpsampleNearest2 => x[0].upsample_nearest2d(node.shape[2], node.shape[3])?,
        Op::MaxPool2 => x[0].max_pool2d(2)?,
        Op::Attention { heads, window, layout, position_bias } => {
            let bias = match (position_bias, window) {
                (Some(id), Some(side)) => Some(window_bias(w(*id), *heads, *side)?),
                _ => None,
            };
            attention(&x[0], *heads, *window, *layout, bias.as_ref())?
        }
        Op::FrequencyFilter { window, weights: ids, leaky_slope, softshrink, bounded, .. } => {
            let ws = ids.map(|id| w(id).clone());
            let mask = Mask { leaky_slope: *leaky_slope, softshrink: *softshrink, bounded: *bounded };
            frequency_filter(&x[0], *window, &ws, mask)?
        }
        Op::TimestepEmbedding { dim } => timestep_embedding(&x[0], *dim)?,
        Op::CodebookIndex { embedding } => codebook_index(&x[0], w(*embedding))?,
        Op::CodebookLookup { embedding } => {
            let [n, c, h, wd] = node.shape;
            let entries = w(*embedding).dim(0)? as f64;
            let index = x[0].clamp(0.0, entries - 1.0)?.to_dtype(DType::U32)?.flatten_all()?;
            w(*embedding)
                .index_select(&index, 0)?
                .reshape((n, h, wd, c))?
                .permute((0, 3, 1, 2))?
                .contiguous()?
        }
        Op::Narrow { start, len } => x[0].narrow(3, *start, *len)?.contiguous()?,
        Op::GatherTokens => {
            let [n, c, _, l] = node.shape;
            let perm = x[1].flatten_all()?.to_dtype(DType::U32)?;
            x[0].reshape((n, c, l))?.index_select(&perm, 2)?.reshape(&node.shape)?
        }
        Op::ScatterTokens { .. } => {
            let perm = x[1].flatten_all()?.to_vec1::<f32>()?;
            let mut back = vec![0u32; perm.len()];
            for (j, &p) in perm.iter().enumerate() {
                let slot = back.get_mut(p as usize);
                *slot.ok_or_else(|| Error::input(format!("token {p} of {}", perm.len())))? = j as u32;
            }
            let [n, c, h, wd] = node.shape;
            let back = Tensor::from_vec(back, perm.len(), &CPU)?;
            x[0].reshape((n, c, h * wd))?.index_select(&back, 2)?.reshape(&node.shape)?
        }
    })
}

fn leaky(x: &Tensor, slope: f32) -> Result<Tensor> {
    // relu(x) - slope * relu(-x): exact for both signs.
    Ok((x.relu()? - x.neg()?.relu()?.affine(f64::from(slope), 0.0)?)?)
}

fn pad(x: &Tensor, p: Padding) -> Result<Tensor> {
    if p.is_none() {
        return Ok(x.clone());
    }
    Ok(match p.border {
        Border::Zero => x.pad_with_zeros(3, p.left, p.right)?.pad_with_zeros(2, p.top, p.bottom)?,
        Border::Replicate => x.pad_with_same(3, p.left, p.right)?.pad_with_same(2, p.top, p.bottom)?,
    })
}

fn conv(
    x: &Tensor,
    weight: &Tensor,
    out: Shape,
    kernel: usize,
    stride: usize,
    padding: Padding,
    groups: usize,
) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let x = pad(x, padding)?;
    if groups == 1 {
        let w = weight.reshape((out[1], channels, kernel, kernel))?;
        return Ok(x.conv2d(&w, 0, stride, 1, 1)?);
    }
    // candle runs one convolution per group; a sum over the kernel's taps is the same and many times faster.
    if stride != 1 {
        return Err(Error::internal("a depthwise convolution with a stride"));
    }
    let w = weight.reshape((1, channels, kernel, kernel))?;
    let mut sum: Option<Tensor> = None;
    for ky in 0..kernel {
        for kx in 0..kernel {
            let tap = w.narrow(2, ky, 1)?.narrow(3, kx, 1)?;
            let term = x.narrow(2, ky, out[2])?.narrow(3, kx, out[3])?.broadcast_mul(&tap)?;
            sum = Some(match sum {
                Some(s) => (s + term)?,
                None => term,
            });
        }
    }
    sum.ok_or_else(|| Error::internal("a convolution without taps"))
}

/// `[n, c, h, w]` to `[n * windows, c, side, side]`, windows row by row.
fn to_windows(x: &Tensor, side: usize) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    Ok(x.reshape(&[n, c, h / side, side, w / side, side][..])?
        .permute([0, 2, 4, 1, 3, 5].as_slice())?
        .contiguous()?
        .reshape((n * (h / side) * (w / side), c, side, side))?)
}

/// The reverse of [`to_windows`].
fn from_windows(x: &Tensor, n: usize, h: usize, w: usize) -> Result<Tensor> {
    let (_, c, side, _) = x.dims4()?;
    Ok(x.reshape(&[n, h / side, w / side, c, side, side][..])?
        .permute([0, 3, 1, 4, 2, 5].as_slice())?
        .contiguous()?
        .reshape((n, c, h, w))?)
}

/// `[heads, (2 s - 1)^2]` spread to `[heads, s^2, s^2]`.
fn window_bias(bias: &Tensor, heads: usize, side: usize) -> Result<Tensor> {
    let tokens = side * side;
    let index: Vec<u32> = (0..tokens * tokens)
        .map(|i| {
            let (q, k) = (i / tokens, i % tokens);
            let dy = q / side + side - 1 - k / side;
            let dx = q % side + side - 1 - k % side;
            (dy * (2 * side - 1) + dx) as u32
        })
        .collect();
    let index = Tensor::from_vec(index, tokens * tokens, &CPU)?;
    Ok(bias.index_select(&index, 1)?.reshape((heads, tokens, tokens))?)
}

fn attention(
    qkv: &Tensor,
    heads: usize,
    window: Option<usize>,
    layout: QkvLayout,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (n, c3, h, w) = qkv.dims4()?;
    let tiles = match window {
        Some(side) => to_windows(qkv, side)?,
        None => qkv.clone(),
    };
    let (b, _, th, tw) = tiles.dims4()?;
    let (d, l) = (c3 / 3 / heads, th * tw);
    let part = |i: usize| -> Result<Tensor> {
        let t = match layout {
            QkvLayout::PartFirst => tiles.reshape((b, 3, heads, d, l))?.narrow(1, i, 1)?.squeeze(1)?,
            QkvLayout::HeadFirst => tiles.reshape((b, heads, 3, d, l))?.narrow(2, i, 1)?.squeeze(2)?,
        };
        Ok(t.contiguous()?)
    };
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let q = q.transpose(2, 3)?.affine(1.0 / (d as f64).sqrt(), 0.0)?.contiguous()?;
    let v = v.transpose(2, 3)?.contiguous()?;
    let mut rows = Vec::new();
    for start in (0..l).step_by(QUERY_ROWS) {
        let len = QUERY_ROWS.min(l - start);
        let mut score = q.narrow(2, start, len)?.contiguous()?.matmul(&k)?;
        if let Some(bias) = bias {
            score = score.broadcast_add(&bias.narrow(1, start, len)?.unsqueeze(0)?)?;
        }
        rows.push(candle_nn::ops::softmax_last_dim(&score)?.matmul(&v)?);
    }
    let y = Tensor::cat(&rows, 2)?.transpose(2, 3)?.contiguous()?.reshape((b, c3 / 3, th, tw))?;
    match window {
        Some(_) => from_windows(&y, n, h, w),
        None => Ok(y),
    }
}

/// `[rows, cols]` of `f(row, col)`.
fn matrix(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
    let v: Vec<f32> = (0..rows * cols).map(|i| f(i / cols, i % cols) as f32).collect();
    Ok(Tensor::from_vec(v, (rows, cols), &CPU)?)
}

/// `x [.., n]` times a matrix `[n, m]`, as one product.
fn times(x: &Tensor, m: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let n = dims.pop().unwrap_or(1);
    dims.push(m.dim(1)?);
    Ok(x.contiguous()?.reshape(((), n))?.matmul(m)?.reshape(dims)?)
}

#[derive(Clone, Copy)]
struct Mask {
    leaky_slope: f32,
    softshrink: f32,
    bounded: bool,
}

fn frequency_filter(x: &Tensor, window: Option<usize>, weights: &[Tensor; 4], mask: Mask) -> Result<Tensor> {
    let (n, _, height, width) = x.dims4()?;
    let tiles = match window {
        Some(side) => to_windows(x, side)?,
        None => x.clone(),
    };
    let (_, _, h, w) = tiles.dims4()?;
    let k = w / 2 + 1;
    let (nh, nw) = ((h as f64).sqrt(), (w as f64).sqrt());
    // Angles are reduced before the cosine: f64 keeps 1e-16 for any size.
    let angle = |a: usize, b: usize, len: usize| TAU * ((a * b) % len) as f64 / len as f64;
    let cos_w = matrix(w, k, |a, b| angle(a, b, w).cos() / nw)?;
    let sin_w = matrix(w, k, |a, b| -angle(a, b, w).sin() / nw)?;
    let cos_h = matrix(h, h, |a, b| angle(a, b, h).cos() / nh)?;
    let sin_h = matrix(h, h, |a, b| angle(a, b, h).sin() / nh)?;
    // Along W real to complex, then along H with the maps turned so that both are products from the right.
    let turn = |t: Tensor| -> Result<Tensor> { Ok(t.transpose(2, 3)?.contiguous()?) };
    let (re, im) = (turn(times(&tiles, &cos_w)?)?, turn(times(&tiles, &sin_w)?)?);
    let fre = (times(&re, &cos_h)? + times(&im, &sin_h)?)?;
    let fim = (times(&im, &cos_h)? - times(&re, &sin_h)?)?;

    let (mre, mim) = spectral_mask(&fre, &fim, weights, mask)?;
    let gre = ((&mre * &fre)? - (&mim * &fim)?)?;
    let gim = ((&mre * &fim)? + (&mim * &fre)?)?;

    // Back: complex along H, then complex to real along W, which drops the imaginary parts of the first and,
    // for even widths, the last bin (reference.md 8.4).
    let re = turn((times(&gre, &cos_h)? - times(&gim, &sin_h)?)?)?;
    let im = turn((times(&gim, &cos_h)? + times(&gre, &sin_h)?)?)?;
    let weight = |a: usize| if a == 0 || 2 * a == w { 1.0 } else { 2.0 };
    let back_re = matrix(k, w, |a, b| weight(a) * angle(a, b, w).cos() / nw)?;
    let back_im =
        matrix(k, w, |a, b| if a == 0 || 2 * a == w { 0.0 } else { -2.0 * angle(a, b, w).sin() / nw })?;
    let y = (times(&re, &back_re)? + times(&im, &back_im)?)?;
    match window {
        Some(_) => from_windows(&y, n, height, width),
        None => Ok(y),
    }
}

/// The mask of the filter from a spectrum `[n, c, k, h]`.
fn spectral_mask(re: &Tensor, im: &Tensor, weights: &[Tensor; 4], mask: Mask) -> Result<(Tensor, Tensor)> {
    let (n, c, a, b) = re.dims4()?;
    let blocks = weights[0].dim(1)?;
    // [n, c, a, b] to [blocks, n * a * b, c / blocks] and back.
    let split = |t: &Tensor| -> Result<Tensor> {
        let t = t.reshape((n, blocks, c / blocks, a * b))?.permute((1, 0, 3, 2))?.contiguous()?;
        Ok(t.reshape((blocks, n * a * b, c / blocks))?)
    };
    let join = |t: Tensor| -> Result<Tensor> {
        let t = t.reshape((blocks, n, a * b, c / blocks))?.permute((1, 0, 3, 2))?.contiguous()?;
        Ok(t.reshape((n, c, a, b))?)
    };
    let layer = |re: &Tensor, im: &Tensor, w: &Tensor, bias: &Tensor| -> Result<(Tensor, Tensor)> {
        let part =
            |t: &Tensor, i: usize| -> Result<Tensor> { Ok(t.narrow(0, i, 1)?.squeeze(0)?.contiguous()?) };
        let (wr, wi) = (part(w, 0)?, part(w, 1)?);
        let (br, bi) = (part(bias, 0)?.unsqueeze(1)?, part(bias, 1)?.unsqueeze(1)?);
        Ok((
            (re.matmul(&wr)? - im.matmul(&wi)?)?.broadcast_add(&br)?,
            (re.matmul(&wi)? + im.matmul(&wr)?)?.broadcast_add(&bi)?,
        ))
    };
    let finish = |t: Tensor| -> Result<Tensor> {
        // sign(x) * max(|x| - lambda, 0) = relu(x - lambda) - relu(-x - lambda).
        let l = f64::from(mask.softshrink);
        let t = ((&t - l)?.relu()? - (t.neg()? - l)?.relu()?)?;
        Ok(if mask.bounded { t.tanh()? } else { t })
    };
    let (re, im) = layer(&split(re)?, &split(im)?, &weights[0], &weights[1])?;
    let (re, im) = (leaky(&re, mask.leaky_slope)?, leaky(&im, mask.leaky_slope)?);
    let (re, im) = layer(&re, &im, &weights[2], &weights[3])?;
    Ok((join(finish(re)?)?, join(finish(im)?)?))
}

/// Cosines, then sines, then a zero for odd widths; frequencies in f32 as published (reference.md 2.1).
fn timestep_embedding(t: &Tensor, dim: usize) -> Result<Tensor> {
    let ts = t.flatten_all()?.to_vec1::<f32>()?;
    let half = dim / 2;
    let frequency = frequencies(half);
    let mut out = Vec::with_capacity(ts.len() * dim);
    for t in &ts {
        out.extend(frequency.iter().map(|f| libm::cosf(t * f)));
        out.extend(frequency.iter().map(|f| libm::sinf(t * f)));
        out.extend(std::iter::repeat_n(0.0, dim - 2 * half));
    }
    Ok(Tensor::from_vec(out, (ts.len(), dim, 1, 1), &CPU)?)
}

/// The entry at the smallest `|z|^2 + |e|^2 - 2 z e` per pixel; candle's argmin takes the first of equals.
fn codebook_index(z: &Tensor, embedding: &Tensor) -> Result<Tensor> {
    let (n, c, h, w) = z.dims4()?;
    let pixels = z.permute((0, 2, 3, 1))?.contiguous()?.reshape((n * h * w, c))?;
    let entry_norm = embedding.sqr()?.sum(1)?.unsqueeze(0)?;
    let turned = embedding.t()?.contiguous()?;
    let mut index = Vec::new();
    for start in (0..n * h * w).step_by(QUERY_ROWS) {
        let p = pixels.narrow(0, start, QUERY_ROWS.min(n * h * w - start))?.contiguous()?;
        let dot = p.matmul(&turned)?.affine(2.0, 0.0)?;
        let distance = p.sqr()?.sum_keepdim(1)?.broadcast_add(&entry_norm)?.broadcast_sub(&dot)?;
        index.push(distance.argmin(D::Minus1)?);
    }
    Ok(Tensor::cat(&index, 0)?.to_dtype(DType::F32)?.reshape((n, 1, h, w))?)
}
