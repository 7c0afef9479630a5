//! The CUDA executor: the graph as launches of own kernels through the driver that is looked for at run time.
//!
//! Nothing of a GPU is touched before the first weights are loaded; its context then stays for as long as the process
//! lives. Weights are loaded once per executor; all plans of an executor share one memory of results.

mod copy;
mod device;
mod driver;
mod fault;
mod field;
mod fuse;
mod images;
mod launch;
mod lower;
mod maps;
mod pack;
mod run;
mod tables;
#[cfg(test)]
pub(in crate::exec) mod tests;

use crate::error::{Error, Result};
use crate::exec::maps::Maps;
use crate::exec::{Executor, Prepared, Weights};
use crate::graph::Graph;
use crate::weights::WeightSource;
use device::{Buffer, Device};
use launch::Precision;
use lower::Program;
use maps::CudaMaps;
use pack::{Form, forms};
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
    precision: Precision,
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

/// Where weights of these forms begin, and how many values all take.
fn places(forms: &[Form]) -> (Vec<usize>, usize) {
    let mut len = 0;
    let offsets = forms.iter().map(|form| {
        let at = len;
        len += form.len().next_multiple_of(ALIGN);
        at
    });
    (offsets.collect(), len)
}

/// What the option `precision` calls `name`.
fn precision(name: &str) -> Option<Precision> {
    match name {
        "auto" | "f32" => Some(Precision::F32),
        "bf16" => Some(Precision::Bf16),
        "f16" => Some(Precision::F16),
        _ => None,
    }
}

/// Whether GPUs may have arithmetic of that name.
pub(super) fn has_precision(name: &str) -> bool {
    precision(name).is_some()
}

/// First compute capability (times ten) with products of 16-bit matrices.
const PRODUCTS: u32 = 80;

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
        Ok(device) => (device.name.to_owned(), device.gpu.clone()),
        Err(e) => (format!("cuda:{n}"), format!("not usable: {e}")),
    };
    match device::count() {
        Ok(count) => (0..count).map(one).collect(),
        Err(e) => vec![("cuda".to_owned(), format!("not usable: {e}"))],
    }
}

impl Cuda {
    /// The GPU of that number, with arithmetic as the option `precision` calls it.
    ///
    /// # Errors
    /// `Device`, saying why it cannot be used; `Option` where it lacks the arithmetic.
    pub(super) fn new(ordinal: usize, precision_name: &str) -> Result<Self> {
        let device = device::find(ordinal)?;
        let precision = precision(precision_name)
            .filter(|p| *p == Precision::F32 || device.capability >= PRODUCTS)
            .ok_or_else(|| {
                let (major, minor) = (device.capability / 10, device.capability % 10);
                Error::option(format!(
                    "precision is \"{precision_name}\", {} (compute capability {major}.{minor}) computes in f32 only",
                    device.gpu
                ))
            })?;
        Ok(Self { shared: Arc::new(Shared { device, precision, arena: Mutex::new(None) }) })
    }
}

impl Executor for Cuda {
    fn name(&self) -> &'static str {
        self.shared.device.name
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        let forms = forms(graph, self.shared.precision)?;
        let (offsets, len) = places(&forms);
        let buffer = self.shared.device.turn()?.alloc(len)?;
        for ((w, form), &at) in graph.weights.iter().zip(&forms).zip(&offsets) {
            // Reading takes its time: others may have the GPU meanwhile.
            let values = form.make(source.read_f32(&w.name, &w.shape)?);
            self.shared.device.turn()?.upload(&buffer, at, &values)?;
        }
        log::debug!("{}: {} MiB of weights", self.name(), (len * size_of::<f32>()) >> 20);
        Ok(Arc::new(Loaded { buffer, offsets, forms, id: fresh_id() }))
    }

    fn bytes(&self, graph: Graph) -> u64 {
        // A graph that cannot be lowered is refused by `prepare`.
        Program::new(&graph, self.shared.precision).map_or(u64::MAX, |p| (p.len * size_of::<f32>()) as u64)
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

    fn maps(&self) -> Option<Result<Box<dyn Maps>>> {
        Some(CudaMaps::new(Arc::clone(&self.shared)).map(|maps| Box::new(maps) as Box<dyn Maps>))
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        let program = Program::new(&graph, self.shared.precision)?;
        let turn = self.shared.device.turn()?;
        let tables = turn.alloc(program.tables.values.len())?;
        turn.upload(&tables, 0, &program.tables.values)?;
        Ok(Box::new(Plan::new(graph, program, tables, Arc::clone(&self.shared))))
    }
}
