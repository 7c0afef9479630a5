//! The obvious twin of every operation, in f64: what executors are tested against, written to be read.

use super::{Executor, Prepared, Visit, Weights, check_io, check_stop};
use crate::error::{Error, Result};
use crate::graph::{
    Activation, Border, ChannelNorm, Graph, Node, Op, Padding, QkvLayout, Shape, WeightId, frequencies,
};
use crate::weights::WeightSource;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The naive executor.
pub(crate) struct Naive;

impl Executor for Naive {
    fn name(&self) -> &'static str {
        "naive"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
        let all: Result<Vec<_>> =
            graph.weights.iter().map(|w| Ok(wide(source.read_f32(&w.name, &w.shape)?))).collect();
        Ok(Arc::new(all?))
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Run(graph)))
    }
}

struct Run(Arc<Graph>);

impl Prepared for Run {
    fn graph(&self) -> &Graph {
        &self.0
    }

    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        mut visit: Option<&mut Visit<'_>>,
    ) -> Result<()> {
        let graph = &self.0;
        check_io(graph, inputs, outputs)?;
        let weights = weights.downcast_ref::<Vec<Vec<f64>>>();
        let weights = weights.ok_or_else(|| Error::internal("weights of another executor"))?;
        let mut given = inputs.iter();
        let mut values: Vec<Map> = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            check_stop(stop)?;
            let map = match node.op {
                Op::Input => {
                    let data = given.next().ok_or_else(|| Error::internal("an input is missing"))?;
                    Map { shape: node.shape, data: data.iter().map(|&v| f64::from(v)).collect() }
                }
                _ => eval(node, &node.inputs.iter().map(|v| &values[v.index()]).collect::<Vec<_>>(), weights),
            };
            assert_eq!(map.data.len(), node.shape.iter().product::<usize>(), "{}", node.name);
            if let Some(visit) = visit.as_mut() {
                let narrow: Vec<f32> = map.data.iter().map(|&v| v as f32).collect();
                visit(crate::graph::Value(i as u32), &narrow)?;
            }
            values.push(map);
        }
        for (v, out) in graph.outputs.iter().zip(outputs) {
            out.iter_mut().zip(&values[v.index()].data).for_each(|(o, v)| *o = *v as f32);
        }
        Ok(())
    }
}

struct Map {
    shape: Shape,
    data: Vec<f64>,
}

impl Map {
    /// A map whose samples are `f([n, c, y, x])`.
    fn make(shape: Shape, f: impl Fn(Shape) -> f64) -> Self {
        let [n, c, h, w] = shape;
        let mut data = Vec::with_capacity(n * c * h * w);
        for n in 0..n {
            for c in 0..c {
                for y in 0..h {
                    for x in 0..w {
                        data.push(f([n, c, y, x]));
                    }
                }
            }
        }
        Self { shape, data }
    }

    fn at(&self, [n, c, y, x]: Shape) -> f64 {
        let [_, cs, h, w] = self.shape;
        self.data[((n * cs + c) * h + y) * w + x]
    }
}

fn eval(node: &Node, x: &[&Map], weights: &[Vec<f64>]) -> Map {
    let w = |id: WeightId| weights[id.index()].as_slice();
    let out = node.shape;
    let a = x[0];
    let [_, channels, h, width] = a.shape;
    match &node.op {
        Op::Input => unreachable!("inputs are given"),
        Op::Conv2d { weight, bias, kernel, stride, padding, groups } => {
            let (per_group, out_per_group) = (channels / groups, out[1] / groups);
            Map::make(out, |[n, o, y, x]| {
                let mut sum = bias.map_or(0.0, |b| w(b)[o]);
                for i in 0..per_group {
                    for ky in 0..*kernel {
                        for kx in 0..*kernel {
                            let tap = w(*weight)[((o * per_group + i) * kernel + ky) * kernel + kx];
                            let c = o / out_per_group * per_group + i;
                            sum += tap * padded(a, *padding, n, c, y * stride + ky, x * stride + kx);
                        }
                    }
                }
                sum
            })
        }
        Op::GroupNorm { groups, eps, weight, bias } => {
            let size = channels / groups;
            let moments: Vec<(f64, f64)> = (0..out[0] * groups)
                .map(|i| moments(&a.data[i * size * h * width..][..size * h * width]))
                .collect();
            Map::make(out, |p| {
                let (mean, var) = moments[p[0] * groups + p[1] / size];
                (a.at(p) - mean) / (var + f64::from(*eps)).sqrt() * w(*weight)[p[1]] + w(*bias)[p[1]]
            })
        }
        Op::ChannelNorm { kind, eps, weight, bias } => Map::make(out, |p| {
            let pixel: Vec<f64> = (0..channels).map(|c| a.at([p[0], c, p[2], p[3]])).collect();
            let (mean, var) = match kind {
                ChannelNorm::Layer => moments(&pixel),
                ChannelNorm::Rms => (0.0, pixel.iter().map(|v| v * v).sum::<f64>() / channels as f64),
            };
            let y = (a.at(p) - mean) / (var + f64::from(*eps)).sqrt() * w(*weight)[p[1]];
            y + bias.map_or(0.0, |b| w(b)[p[1]])
        }),
        Op::BatchNorm { weight, bias, mean, var, eps } => Map::make(out, |p| {
            let c = p[1];
            (a.at(p) - w(*mean)[c]) / (w(*var)[c] + f64::from(*eps)).sqrt() * w(*weight)[c] + w(*bias)[c]
        }),
        Op::Activation(f) => Map::make(out, |p| activate(*f, a.at(p))),
        Op::Add { scale } => Map::make(out, |p| {
            let b = x[1];
            let at = if b.shape == a.shape { p } else { [p[0], p[1], 0, 0] };
            a.at(p) + f64::from(*scale) * b.at(at)
        }),
        Op::ScaleChannels { gain } => Map::make(out, |p| a.at(p) * w(*gain)[p[1]]),
        Op::Affine { mul, add } => Map::make(out, |p| f64::from(*mul) * a.at(p) + f64::from(*add)),
        Op::Concat { axis } => Map::make(out, |mut p| {
            for part in x {
                if p[*axis] < part.shape[*axis] {
                    return part.at(p);
                }
                p[*axis] -= part.shape[*axis];
            }
            unreachable!("the sizes of the parts add up")
        }),
        Op::PixelShuffle { factor: r } => {
            Map::make(out, |[n, c, y, x]| a.at([n, (c * r + y % r) * r + x % r, y / r, x / r]))
        }
        Op::UpsampleNearest2 => Map::make(out, |[n, c, y, x]| a.at([n, c, y / 2, x / 2])),
        Op::MaxPool2 => Map::make(out, |[n, c, y, x]| {
            let square = [(0, 0), (0, 1), (1, 0), (1, 1)];
            square.iter().map(|(dy, dx)| a.at([n, c, 2 * y + dy, 2 * x + dx])).fold(f64::MIN, f64::max)
        }),
        Op::Attention { heads, window, layout, position_bias } => {
            attention(a, out, *heads, *window, *layout, position_bias.map(w))
        }
        Op::FrequencyFilter { window, blocks, hidden_factor, weights: ids, .. } => {
            let filter = Filter {
                op: &node.op,
                blocks: *blocks,
                hidden: hidden_factor * channels / blocks,
                w: ids.map(w),
            };
            filter.run(a, *window)
        }
        Op::TimestepEmbedding { dim } => {
            let f = frequencies(dim / 2);
            Map::make(out, |[n, c, ..]| {
                // The angle is rounded to f32 on purpose: the weights know it that way.
                let angle = |i: usize| f64::from(a.data[n] as f32 * f[i]);
                match c / f.len() {
                    0 => angle(c).cos(),
                    1 => angle(c - f.len()).sin(),
                    _ => 0.0,
                }
            })
        }
        Op::CodebookIndex { embedding } => Map::make(out, |[n, _, y, x]| {
            let distance = |e: &[f64]| -> f64 {
                e.iter().enumerate().map(|(c, v)| (v - a.at([n, c, y, x])).powi(2)).sum()
            };
            let mut best = (f64::INFINITY, 0);
            for (i, e) in w(*embedding).chunks(channels).enumerate() {
                let d = distance(e);
                if d < best.0 {
                    best = (d, i);
                }
            }
            best.1 as f64
        }),
        Op::CodebookLookup { embedding } => {
            Map::make(out, |[n, c, y, x]| w(*embedding)[a.at([n, 0, y, x]) as usize * out[1] + c])
        }
        Op::Narrow { start, .. } => Map::make(out, |[n, c, y, x]| a.at([n, c, y, start + x])),
        Op::GatherTokens => Map::make(out, |[n, c, _, j]| {
            let token = x[1].data[j] as usize;
            a.at([n, c, token / width, token % width])
        }),
        Op::ScatterTokens { width, .. } => Map::make(out, |[n, c, y, col]| {
            let token = (y * width + col) as f64;
            let j = x[1].data.iter().position(|&p| p == token).unwrap();
            a.at([n, c, 0, j])
        }),
    }
}

/// The sample at a place of the padded map.
fn padded(a: &Map, p: Padding, n: usize, c: usize, y: usize, x: usize) -> f64 {
    let (h, w) = (a.shape[2], a.shape[3]);
    let inside = (p.top..p.top + h).contains(&y) && (p.left..p.left + w).contains(&x);
    match p.border {
        Border::Zero if !inside => 0.0,
        _ => a.at([n, c, y.saturating_sub(p.top).min(h - 1), x.saturating_sub(p.left).min(w - 1)]),
    }
}

fn moments(v: &[f64]) -> (f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
}

fn activate(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluErf => x * 0.5 * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::LeakyRelu(slope) => {
            if x >= 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
    }
}

fn attention(
    a: &Map,
    out: Shape,
    heads: usize,
    window: Option<usize>,
    layout: QkvLayout,
    bias: Option<&[f64]>,
) -> Map {
    let [_, c, h, w] = out;
    let d = c / heads;
    let channel = |head: usize, part: usize, i: usize| match layout {
        QkvLayout::PartFirst => (part * heads + head) * d + i,
        QkvLayout::HeadFirst => (head * 3 + part) * d + i,
    };
    Map::make(out, |[n, ch, qy, qx]| {
        let (head, i) = (ch / d, ch % d);
        let (rows, cols) = match window {
            Some(s) => (qy / s * s..qy / s * s + s, qx / s * s..qx / s * s + s),
            None => (0..h, 0..w),
        };
        let mut scores = Vec::new();
        for ky in rows {
            for kx in cols.clone() {
                let dot: f64 = (0..d)
                    .map(|i| a.at([n, channel(head, 0, i), qy, qx]) * a.at([n, channel(head, 1, i), ky, kx]))
                    .sum();
                let extra = match (bias, window) {
                    (Some(b), Some(s)) => {
                        let side = 2 * s - 1;
                        b[head * side * side + (qy + s - 1 - ky) * side + qx + s - 1 - kx]
                    }
                    _ => 0.0,
                };
                scores.push((dot / (d as f64).sqrt() + extra, a.at([n, channel(head, 2, i), ky, kx])));
            }
        }
        let top = scores.iter().map(|s| s.0).fold(f64::MIN, f64::max);
        let total: f64 = scores.iter().map(|s| (s.0 - top).exp()).sum();
        scores.iter().map(|s| (s.0 - top).exp() * s.1).sum::<f64>() / total
    })
}

type Complex = (f64, f64);

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

/// `exp(i sign 2 pi k / n)`.
fn turn(k: usize, n: usize, sign: f64) -> Complex {
    let angle = sign * TAU * (k % n) as f64 / n as f64;
    (angle.cos(), angle.sin())
}

struct Filter<'a> {
    op: &'a Op,
    blocks: usize,
    hidden: usize,
    w: [&'a [f64]; 4],
}

impl Filter<'_> {
    fn run(&self, a: &Map, window: Option<usize>) -> Map {
        let [n, c, h, w] = a.shape;
        let (th, tw) = window.map_or((h, w), |s| (s, s));
        let mut out = Map::make(a.shape, |_| 0.0);
        for n in 0..n {
            for ty in (0..h).step_by(th) {
                for tx in (0..w).step_by(tw) {
                    let planes: Vec<Vec<f64>> = (0..c)
                        .map(|c| {
                            let pixel = |i: usize| a.at([n, c, ty + i / tw, tx + i % tw]);
                            (0..th * tw).map(pixel).collect()
                        })
                        .collect();
                    for (ch, plane) in self.tile(&planes, th, tw).into_iter().enumerate() {
                        for (i, v) in plane.into_iter().enumerate() {
                            out.data[((n * c + ch) * h + ty + i / tw) * w + tx + i % tw] = v;
                        }
                    }
                }
            }
        }
        out
    }

    fn tile(&self, planes: &[Vec<f64>], h: usize, w: usize) -> Vec<Vec<f64>> {
        let half = w / 2 + 1;
        let norm = 1.0 / ((h * w) as f64).sqrt();
        let spectra: Vec<Vec<Complex>> = planes
            .iter()
            .map(|p| {
                let bin = |i: usize| {
                    let (v, u) = (i / half, i % half);
                    let mut sum = (0.0, 0.0);
                    for (j, value) in p.iter().enumerate() {
                        let t = times(turn(v * (j / w), h, -1.0), turn(u * (j % w), w, -1.0));
                        sum = (sum.0 + value * t.0, sum.1 + value * t.1);
                    }
                    (sum.0 * norm, sum.1 * norm)
                };
                (0..h * half).map(bin).collect()
            })
            .collect();
        let masked = self.mask(&spectra);
        masked
            .iter()
            .map(|g| {
                let pixel = |i: usize| {
                    let (y, x) = (i / w, i % w);
                    let mut sum = 0.0;
                    for u in 0..half {
                        let mut column = (0.0, 0.0);
                        for v in 0..h {
                            let t = times(g[v * half + u], turn(v * y, h, 1.0));
                            column = (column.0 + t.0, column.1 + t.1);
                        }
                        // The mirrored bins are implied; the first, and for even widths the last, are their own
                        // mirrors and lose their imaginary part.
                        let t = turn(u * x, w, 1.0);
                        if u == 0 || 2 * u == w {
                            sum += column.0 * t.0;
                        } else {
                            sum += 2.0 * times(column, t).0;
                        }
                    }
                    sum * norm
                };
                (0..h * w).map(pixel).collect()
            })
            .collect()
    }

    fn mask(&self, spectra: &[Vec<Complex>]) -> Vec<Vec<Complex>> {
        let Op::FrequencyFilter { leaky_slope, softshrink, bounded, .. } = self.op else {
            unreachable!("only filters come here")
        };
        let inner = spectra.len() / self.blocks;
        let leaky = |v: f64| activate(Activation::LeakyRelu(*leaky_slope), v);
        let finish = |v: f64| {
            let s = v.signum() * (v.abs() - f64::from(*softshrink)).max(0.0);
            if *bounded { s.tanh() } else { s }
        };
        let mut out = vec![Vec::new(); spectra.len()];
        // By the bin over all channels, not by the channel.
        let pick = |channel: usize, bin: usize| spectra[channel][bin];
        for bin in 0..spectra.first().map_or(0, Vec::len) {
            for block in 0..self.blocks {
                let x: Vec<Complex> = (0..inner).map(|i| pick(block * inner + i, bin)).collect();
                let first = self.layer(&x, block, self.hidden, self.w[0], self.w[1]);
                let first: Vec<Complex> = first.into_iter().map(|(r, i)| (leaky(r), leaky(i))).collect();
                let second = self.layer(&first, block, inner, self.w[2], self.w[3]);
                for (i, (re, im)) in second.into_iter().enumerate() {
                    out[block * inner + i].push(times((finish(re), finish(im)), x[i]));
                }
            }
        }
        out
    }

    /// Weights `[2, blocks, in, out]`, bias `[2, blocks, out]`.
    fn layer(&self, x: &[Complex], block: usize, outs: usize, w: &[f64], b: &[f64]) -> Vec<Complex> {
        let weight =
            |part: usize, i: usize, o: usize| w[((part * self.blocks + block) * x.len() + i) * outs + o];
        let bias = |part: usize, o: usize| b[(part * self.blocks + block) * outs + o];
        (0..outs)
            .map(|o| {
                x.iter().enumerate().fold((bias(0, o), bias(1, o)), |sum, (i, &v)| {
                    let t = times(v, (weight(0, i, o), weight(1, i, o)));
                    (sum.0 + t.0, sum.1 + t.1)
                })
            })
            .collect()
    }
}
