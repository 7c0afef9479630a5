//! Weights in the form that kernels want, read once per model and expert.

use crate::error::{Error, Result};
use crate::exec::cpu::attention::Attention;
use crate::exec::cpu::codebook::Codebook;
use crate::exec::cpu::conv::{Conv, ConvSpec};
use crate::exec::cpu::filter::Filter;
use crate::exec::cpu::lower::Tail;
use crate::exec::cpu::map::{Buffer, Ptr, padded};
use crate::exec::cpu::simd::Level;
use crate::graph::{Graph, Op, Value, WeightId};
use crate::weights::WeightSource;

/// Weights of one node.
pub(super) enum Pack {
    None,
    Conv(Conv),
    /// Rows of `padded(c)` values: taps and bias of a depthwise convolution, or factor and offset.
    Rows(Buffer),
    Attention(Attention),
    Filter(Filter),
    Codebook(Codebook),
}

impl Pack {
    /// Bytes of a convolution, which is what takes memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.bytes(),
            _ => 0,
        }
    }

    /// Start of row `row` of `lanes` values.
    pub(super) fn row(&self, row: usize, lanes: usize) -> Result<Ptr> {
        match self {
            Self::Rows(rows) if (row + 1) * lanes <= rows.len() => {
                Ok(Ptr::new(rows.start()).add(row * lanes))
            }
            _ => Err(Error::internal("weights of another operation")),
        }
    }
}

/// Rows of values, each followed by zeros up to whole vectors.
fn rows(channels: usize, values: &[&[f32]]) -> Result<Pack> {
    let lanes = padded(channels);
    let mut all =
        Buffer::zeroed(lanes * values.len()).ok_or_else(|| Error::limit("no memory for weights"))?;
    for (row, v) in all.as_mut_slice().chunks_exact_mut(lanes).zip(values) {
        row[..channels].copy_from_slice(v);
    }
    Ok(Pack::Rows(all))
}

/// Reads the tensors of one graph.
pub(super) struct Packer<'a> {
    pub(super) graph: &'a Graph,
    pub(super) source: &'a dyn WeightSource,
    pub(super) level: Level,
}

impl Packer<'_> {
    fn read(&self, id: WeightId) -> Result<Vec<f32>> {
        let weight = &self.graph.weights[id.index()];
        self.source.read_f32(&weight.name, &weight.shape)
    }

    /// Weights of `v`, with what follows it in the same pass.
    pub(super) fn pack(&self, v: Value, tail: Option<&Tail>) -> Result<Pack> {
        let node = &self.graph.nodes[v.index()];
        let channels = node.shape[1];
        match (&node.op, tail) {
            (Op::Conv2d { .. }, Some(tail)) => self.conv(v, tail),
            (Op::GroupNorm { weight, bias, .. }, _) => {
                rows(channels, &[&self.read(*weight)?, &self.read(*bias)?])
            }
            (Op::ChannelNorm { weight, bias, .. }, _) => {
                let bias = bias.map_or_else(|| Ok(vec![0.0; channels]), |b| self.read(b))?;
                rows(channels, &[&self.read(*weight)?, &bias])
            }
            (Op::BatchNorm { .. } | Op::ScaleChannels { .. }, _) => {
                let (factor, shift) = self.factor(v)?;
                rows(channels, &[&factor, &shift])
            }
            (Op::Affine { mul, add }, _) => rows(channels, &[&vec![*mul; channels], &vec![*add; channels]]),
            (Op::Attention { heads, window, layout, position_bias }, _) => {
                let bias = position_bias.map(|b| self.read(b)).transpose()?;
                Attention::new(self.level, channels, *heads, *window, *layout, bias.as_deref())
                    .map(Pack::Attention)
            }
            (
                Op::FrequencyFilter {
                    window,
                    blocks,
                    hidden_factor,
                    weights,
                    leaky_slope,
                    softshrink,
                    bounded,
                },
                _,
            ) => {
                let [w1, b1, w2, b2] = weights.map(|id| self.read(id));
                let (w1, b1, w2, b2) = (w1?, b1?, w2?, b2?);
                let all: [&[f32]; 4] = [&w1, &b1, &w2, &b2];
                let (level, slope, shrink) = (self.level, *leaky_slope, *softshrink);
                Filter::new(level, channels, *window, *blocks, *hidden_factor, all, slope, shrink, *bounded)
                    .map(Pack::Filter)
            }
            (Op::CodebookIndex { embedding } | Op::CodebookLookup { embedding }, _) => {
                let shape = &self.graph.weights[embedding.index()].shape;
                let (entries, width) = (shape[0], shape[1..].iter().product());
                Codebook::new(self.level, entries, width, &self.read(*embedding)?).map(Pack::Codebook)
            }
            _ => Ok(Pack::None),
        }
    }

    /// Factor and offset per channel of a batch norm or gain.
    fn factor(&self, node: Value) -> Result<(Vec<f32>, Vec<f32>)> {
        match &self.graph.nodes[node.index()].op {
            Op::BatchNorm { weight, bias, mean, var, eps } => {
                let (weight, bias) = (self.read(*weight)?, self.read(*bias)?);
                let (mean, var) = (self.read(*mean)?, self.read(*var)?);
                let one = |i: usize| {
                    let factor = f64::from(weight[i]) / (f64::from(var[i]) + f64::from(*eps)).sqrt();
                    (factor as f32, (f64::from(bias[i]) - f64::from(mean[i]) * factor) as f32)
                };
                Ok((0..weight.len()).map(one).unzip())
            }
            Op::ScaleChannels { gain } => {
                let gain = self.read(*gain)?;
                let zeros = vec![0.0; gain.len()];
                Ok((gain, zeros))
            }
            _ => Err(Error::internal("an operation without factors")),
        }
    }

    fn conv(&self, node: Value, tail: &Tail) -> Result<Pack> {
        let n = &self.graph.nodes[node.index()];
        let Op::Conv2d { weight, bias, kernel, stride, padding, groups } = &n.op else {
            return Err(Error::internal("no convolution"));
        };
        let (cin, cout) = (self.graph.shape(n.inputs[0])[1], n.shape[1]);
        let mut weight = self.read(*weight)?;
        let mut bias = bias.map(|b| self.read(b)).transpose()?;
        for fold in &tail.folds {
            let (factor, shift) = self.factor(*fold)?;
            let taps = weight.len() / cout;
            for (row, f) in weight.chunks_exact_mut(taps).zip(&factor) {
                row.iter_mut().for_each(|w| *w *= f);
            }
            let b = bias.get_or_insert_with(|| vec![0.0; cout]);
            b.iter_mut().zip(factor.iter().zip(&shift)).for_each(|(b, (f, s))| *b = *b * f + s);
        }
        if *groups == 1 {
            let spec = ConvSpec {
                cin,
                cout,
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
                shuffle: tail.shuffle,
            };
            return Conv::new(self.level, &spec, &weight, bias.as_deref()).map(Pack::Conv);
        }
        let taps = kernel * kernel;
        let mut all: Vec<Vec<f32>> =
            (0..taps).map(|t| (0..cout).map(|c| weight[c * taps + t]).collect()).collect();
        all.push(bias.unwrap_or_else(|| vec![0.0; cout]));
        rows(cout, &all.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}
