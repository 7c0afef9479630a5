//! What goes into and comes out of a graph for a batch of tiles.

use crate::error::{Error, Result};
use crate::exec::{Prepared, Weights};
use crate::graph::{Graph, Value};
use std::sync::atomic::AtomicBool;

/// Inputs that a graph has at most.
const MAX_INPUTS: usize = 4;

/// Inputs and output of a graph; the memory serves call after call.
#[derive(Default)]
pub(super) struct TileBuffers {
    inputs: Vec<Vec<f32>>,
    output: Vec<f32>,
}

/// One tile's part of the inputs.
pub(super) struct Feed<'a> {
    graph: &'a Graph,
    inputs: &'a mut [Vec<f32>],
    /// Number of this tile in the batch, and tiles in all.
    index: usize,
    count: usize,
    /// A bit per input that was given.
    given: u32,
}

impl TileBuffers {
    /// Takes the sizes that `graph` wants.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had, `Internal` for a graph without output or with too many inputs.
    pub(super) fn fit(&mut self, graph: &Graph) -> Result<()> {
        let first = graph.outputs.first().filter(|_| graph.inputs.len() <= MAX_INPUTS);
        let first = first.ok_or_else(|| Error::internal("a graph without output or of many inputs"))?;
        self.inputs.resize_with(graph.inputs.len(), Vec::new);
        let buffers = self.inputs.iter_mut().zip(&graph.inputs);
        for (buffer, value) in buffers.chain([(&mut self.output, first)]) {
            let len = graph.shape(*value).iter().product::<usize>();
            if buffer.len() != len {
                buffer.clear();
                buffer.try_reserve_exact(len).map_err(|e| {
                    Error::limit(format!("the system has no {} MiB of memory for a tile", len >> 18))
                        .because(e)
                })?;
                buffer.resize(len, 0.0);
            }
        }
        Ok(())
    }

    /// The inputs of tile `index` of `count`.
    pub(super) fn feed<'a>(&'a mut self, graph: &'a Graph, index: usize, count: usize) -> Feed<'a> {
        Feed { graph, inputs: &mut self.inputs, index, count, given: 0 }
    }

    /// Runs the graph.
    ///
    /// # Errors
    /// As [`Prepared::run`].
    pub(super) fn run(
        &mut self,
        prepared: &mut dyn Prepared,
        weights: &Weights,
        stop: &AtomicBool,
    ) -> Result<()> {
        let mut inputs: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        inputs.iter_mut().zip(&self.inputs).for_each(|(slot, data)| *slot = data);
        let inputs = inputs.get(..self.inputs.len()).unwrap_or_default();
        prepared.run(weights, inputs, &mut [&mut self.output], stop, None)
    }

    /// The result for tile `index` of `count`.
    pub(super) fn output(&self, index: usize, count: usize) -> &[f32] {
        let len = self.output.len() / count.max(1);
        self.output.get(index * len..(index + 1) * len).unwrap_or_default()
    }
}

impl Feed<'_> {
    /// Fills the input called `name`, if this graph has one: families read different things.
    pub(super) fn input(&mut self, name: &str, fill: impl FnOnce(&mut [f32])) {
        let at = self.graph.inputs.iter().position(|v| self.graph.nodes[Value::index(*v)].name == name);
        if let Some((at, data)) = at.and_then(|at| Some((at, self.inputs.get_mut(at)?))) {
            let len = data.len() / self.count.max(1);
            if let Some(part) = data.get_mut(self.index * len..(self.index + 1) * len) {
                fill(part);
                self.given |= 1 << at;
            }
        }
    }

    /// Whether every input was given.
    ///
    /// # Errors
    /// `Internal`, naming one that was not.
    pub(super) fn check(&self) -> Result<()> {
        match self.graph.inputs.iter().enumerate().find(|(i, _)| self.given >> i & 1 == 0) {
            None => Ok(()),
            Some((_, v)) => {
                let name = &self.graph.nodes[Value::index(*v)].name;
                Err(Error::internal(format!("nothing was given for the input `{name}`")))
            }
        }
    }
}
