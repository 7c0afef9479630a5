//! Weights in the form that kernels want.

use super::launch::Precision;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Shape};
use half::{bf16, f16};

/// Channels of the map and of the result that a block of `kernels/gemm.cuh` takes at a time, and pixels.
pub(super) const DEEP: usize = 16;
pub(super) const OUTS: usize = 64;
pub(super) const PIXELS: usize = 128;

/// How one weight tensor lies on the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// So many values, as they are stored.
    Stored(usize),
    /// A convolution's, tap by tap, rows of channels of the result; whole blocks, filled up with zeros.
    Blocks(Blocks),
}

/// Sizes of a convolution whose weights lie in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) outs: usize,
    pub(super) channels: usize,
    pub(super) taps: usize,
    pub(super) precision: Precision,
}

impl Blocks {
    /// The blocks for a convolution of a map of `input`, where its kernel wants them: neither per channel, nor so narrow that most of a
    /// block would be zeros.
    pub(super) fn of(op: &Op, input: Shape, output: Shape, precision: Precision) -> Option<Self> {
        let Op::Conv2d { kernel, groups: 1, .. } = *op else { return None };
        let (channels, outs, taps) = (input[1], output[1], kernel * kernel);
        let worth = outs >= OUTS / 4 && channels * taps >= DEEP;
        worth.then_some(Self { outs, channels, taps, precision })
    }

    /// Channels of the result up to whole blocks.
    pub(super) fn wide(&self) -> usize {
        self.outs.next_multiple_of(OUTS)
    }

    /// Rows of a tap: channels of the map, or pairs of them.
    fn rows(&self) -> usize {
        let channels = self.channels.next_multiple_of(DEEP);
        if self.precision == Precision::F32 { channels } else { channels / 2 }
    }

    fn pack(&self, stored: &[f32]) -> Vec<f32> {
        let at = |o: usize, c: usize, tap: usize| {
            if c < self.channels { stored[(o * self.channels + c) * self.taps + tap] } else { 0.0 }
        };
        let word = |low: u16, high: u16| f32::from_bits(u32::from(high) << 16 | u32::from(low));
        let wide = self.wide();
        let mut all = vec![0.0; self.taps * self.rows() * wide];
        for (i, row) in all.chunks_exact_mut(wide).enumerate() {
            let (tap, r) = (i / self.rows(), i % self.rows());
            for (o, v) in row.iter_mut().take(self.outs).enumerate() {
                let pair = || (at(o, 2 * r, tap), at(o, 2 * r + 1, tap));
                *v = match self.precision {
                    Precision::F32 => at(o, r, tap),
                    Precision::Bf16 => {
                        let (low, high) = pair();
                        word(bf16::from_f32(low).to_bits(), bf16::from_f32(high).to_bits())
                    }
                    Precision::F16 => {
                        let (low, high) = pair();
                        word(f16::from_f32(low).to_bits(), f16::from_f32(high).to_bits())
                    }
                };
            }
        }
        all
    }
}

impl Form {
    /// Values of 32 bits.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Stored(len) => *len,
            Self::Blocks(b) => b.taps * b.rows() * b.wide(),
        }
    }

    /// `stored` in this form.
    pub(super) fn make(&self, stored: Vec<f32>) -> Vec<f32> {
        match self {
            Self::Stored(_) => stored,
            Self::Blocks(blocks) => blocks.pack(&stored),
        }
    }
}

/// The form of each weight of `graph`.
///
/// # Errors
/// `Internal` where two operations want a weight in two forms.
pub(super) fn forms(graph: &Graph, precision: Precision) -> Result<Vec<Form>> {
    let mut forms: Vec<Form> = graph.weights.iter().map(|w| Form::Stored(w.shape.iter().product())).collect();
    let mut seen = vec![None; forms.len()];
    for node in &graph.nodes {
        let Op::Conv2d { weight, .. } = node.op else { continue };
        let input = node.inputs.first().map_or([0; 4], |&v| graph.shape(v));
        let blocks = Blocks::of(&node.op, input, node.shape, precision);
        let i = weight.index();
        if seen[i].is_some_and(|other| other != blocks) {
            let name = &graph.weights[i].name;
            return Err(Error::internal(format!("two convolutions want {name} in two forms")));
        }
        seen[i] = Some(blocks);
        if let Some(blocks) = blocks {
            forms[i] = Form::Blocks(blocks);
        }
    }
    Ok(forms)
}
