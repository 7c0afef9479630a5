//! The CUDA executor: the graph as launches of own kernels, f32, through the driver that is looked for at run time.
//!
//! Nothing of a GPU is touched before the first weights are loaded; its context then stays for as long as the process
//! lives. Weights are loaded once per executor; all plans of an executor share one memory of results.

mod device;
mod fault;
mod images;
mod launch;
mod lower;
mod run;
mod tables;
#[cfg(test)]
pub(in crate::exec) mod tests;

use crate::error::Result;
use crate::exec::{Executor, Prepared, Weights};
use crate::graph::Graph;
use crate::weights::WeightSource;
use device::{Buffer, Device};
use lower::Program;
use run::{Loaded, Plan};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Weights begin at multiples of this many values, whole sectors of a GPU's memory.
const ALIGN: usize = 64;

/// One GPU.
pub(crate) struct Cuda {
    shared: Arc<Shared>,
}

/// What all plans of one executor use.
struct Shared {
    device: &'static Device,
    /// Results, as much as the largest plan needs. Used within a turn of the device only.
    arena: Mutex<Option<Arena>>,
}

/// Memory of results.
struct Arena {
    buffer: Buffer,
    /// Told apart from every other memory of results.
    id: u64,
}

/// A number that no weights and no memory had before: addresses come again, numbers do not.
fn fresh_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Where each weight of `graph` begins, and how many values all take.
fn layout(graph: &Graph) -> (Vec<usize>, usize) {
    let mut len = 0;
    let offsets = graph.weights.iter().map(|w| {
        let at = len;
        len += w.shape.iter().product::<usize>().next_multiple_of(ALIGN);
        at
    });
    (offsets.collect(), len)
}

/// Number of the GPU that the device option calls `name`, if it is one.
pub(super) fn ordinal(name: &str) -> Option<usize> {
    match name.strip_prefix("cuda")? {
        "" => Some(0),
        rest => rest.strip_prefix(':')?.parse().ok(),
    }
}

/// Names and descriptions of the GPUs that can be used, or why there are none.
pub(super) fn list() -> Vec<(String, String)> {
    let one = |n: usize| match device::find(n) {
        Ok(device) => (device.name.to_owned(), format!("{}, f32", device.gpu)),
        Err(e) => (format!("cuda:{n}"), format!("not usable: {e}")),
    };
    match device::count() {
        Ok(count) => (0..count).map(one).collect(),
        Err(e) => vec![("cuda".to_owned(), format!("not usable: {e}"))],
    }
}

impl Cuda {
    /// The GPU of that number.
    ///
    /// # Errors
    /// `Device`, saying why it cannot be used.
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        let device = device::find(ordinal)?;
        Ok(Self { shared: Arc::new(Shared { device, arena: Mutex::new(None) }) })
    }
}

impl Executor for Cuda {
    fn name(&self) -> &'static str {
        self.shared.device.name
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        let (offsets, len) = layout(graph);
        let buffer = self.shared.device.turn()?.alloc(len)?;
        for (w, &at) in graph.weights.iter().zip(&offsets) {
            // Reading takes its time: others may have the GPU meanwhile.
            let values = source.read_f32(&w.name, &w.shape)?;
            self.shared.device.turn()?.upload(&buffer, at, &values)?;
        }
        log::debug!("{}: {} MiB of weights", self.name(), (len * size_of::<f32>()) >> 20);
        Ok(Arc::new(Loaded { buffer, offsets, len, id: fresh_id() }))
    }

    fn bytes(&self, graph: Graph) -> u64 {
        // A graph that cannot be lowered is refused by `prepare`.
        Program::new(&graph).map_or(u64::MAX, |p| (p.len * size_of::<f32>()) as u64)
    }

    fn held(&self) -> u64 {
        let arena = self.shared.arena.lock().unwrap_or_else(PoisonError::into_inner);
        arena.as_ref().map_or(0, |a| (a.buffer.len() * size_of::<f32>()) as u64)
    }

    fn free(&self) -> Option<u64> {
        // Where the GPU does not answer, the first launch says so.
        let free = self.shared.device.turn().and_then(|turn| turn.free_bytes()).ok()?;
        Some(free / 10 * 9)
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        let program = Program::new(&graph)?;
        let turn = self.shared.device.turn()?;
        let tables = turn.alloc(program.tables.values.len())?;
        turn.upload(&tables, 0, &program.tables.values)?;
        Ok(Box::new(Plan::new(graph, program, tables, Arc::clone(&self.shared))))
    }
}
