//! The CPU executor: the graph lowered to fused steps over one arena, channels last, with kernels for the
//! instruction sets of [`simd::Level`] and a thread pool of its own.

#![allow(unsafe_code, reason = "hands the arena to the kernels")]

mod attention;
mod codebook;
mod conv;
mod depthwise;
mod fft;
mod filter;
mod flash;
mod fuse;
mod gemm;
mod im2col;
mod lanes;
mod lower;
mod map;
mod moves;
mod pack;
mod pointwise;
mod pool;
mod run;
mod simd;
mod spectrum;
mod steps;
mod strips;
mod winograd;

use crate::error::{Error, Result};
use crate::exec::{Executor, Prepared, Visit, Weights, check_io};
use crate::graph::{Graph, Value};
use crate::weights::WeightSource;
use lower::Step;
use map::{Buffer, Context, Ptr};
use pack::{Pack, Packer};
use pool::Pool;
use run::{Program, Runner};
pub(in crate::exec) use simd::Level;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
pub(in crate::exec) use strips::Size;

/// The CPU executor. Its threads end when it and all it prepared are dropped.
pub(crate) struct Cpu {
    shared: Arc<Shared>,
}

/// What all plans of one executor use, one run at a time.
struct Shared {
    level: Level,
    pool: Pool,
    strip: Size,
    memory: Mutex<Memory>,
}

/// Memory that grows to what the largest plan needs and stays.
#[derive(Default)]
struct Memory {
    arena: Option<Buffer>,
    common: Option<Buffer>,
    scratch: Vec<Buffer>,
}

fn grow(buffer: &mut Option<Buffer>, len: usize) -> Result<Ptr> {
    if buffer.as_ref().is_none_or(|b| b.len() < len) {
        // The old one goes first: both may not fit.
        *buffer = None;
        *buffer = Some(Buffer::zeroed(len).ok_or_else(|| out_of_memory(len))?);
    }
    Ok(buffer.as_ref().map_or(Ptr::new(std::ptr::null_mut()), |b| Ptr::new(b.start())))
}

fn out_of_memory(len: usize) -> Error {
    Error::limit(format!("the system has no {} MiB of memory for a tile", len / (1 << 18)))
}

impl Cpu {
    /// An executor with `threads` threads, 0 for one per processor that this process may use.
    pub(crate) fn new(level: Level, threads: usize) -> Self {
        Self::with_strips(level, threads, Size::CACHE)
    }

    /// The same with strips of another size.
    pub(in crate::exec) fn with_strips(level: Level, threads: usize, strip: Size) -> Self {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let (pool, memory) = (Pool::new(threads), Mutex::new(Memory::default()));
        Self { shared: Arc::new(Shared { level, pool, strip, memory }) }
    }
}

/// What `mutex` holds: a panic leaves nothing half done there.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Weights of one graph, per node.
struct Packs(Vec<Pack>);

impl Executor for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        let packer = Packer { graph, source, level: self.shared.level };
        let mut steps = lower::lower(graph).steps;
        // Statistics and the norm that reads them are of one node.
        steps.sort_by_key(|step| step.node.index());
        steps.dedup_by_key(|step| step.node.index());
        let packs: Vec<Mutex<Option<Pack>>> = graph.nodes.iter().map(|_| Mutex::default()).collect();
        // The first in order, whichever thread comes first.
        let failure: Mutex<Option<(usize, Error)>> = Mutex::default();
        let pack = |task: usize, _: usize| {
            let before = |f: &(usize, Error)| f.0 < task;
            if held(&failure).as_ref().is_some_and(before) {
                return;
            }
            let step: &Step = &steps[task];
            match packer.pack(step.node, step.tail()) {
                Ok(pack) => *held(&packs[step.node.index()]) = Some(pack),
                Err(error) => {
                    let mut failure = held(&failure);
                    if !failure.as_ref().is_some_and(before) {
                        *failure = Some((task, error));
                    }
                }
            }
        };
        let done = self.shared.pool.run(steps.len(), &pack);
        if let Some((_, error)) = held(&failure).take() {
            return Err(error);
        }
        done.map_err(|_| Error::internal("packing of weights panicked"))?;
        let inner = |pack: Mutex<Option<Pack>>| pack.into_inner().unwrap_or_else(PoisonError::into_inner);
        let packs: Vec<Pack> = packs.into_iter().map(|pack| inner(pack).unwrap_or(Pack::None)).collect();
        let bytes: usize = packs.iter().map(Pack::bytes).sum();
        log::debug!("{} MiB of packed weights for convolutions", bytes >> 20);
        Ok(Arc::new(Packs(packs)))
    }

    fn bytes(&self, graph: Graph) -> u64 {
        Program::new(Arc::new(graph), self.shared.strip).arena_len as u64 * size_of::<f32>() as u64
    }

    fn held(&self) -> u64 {
        let memory = held(&self.shared.memory);
        memory.arena.as_ref().map_or(0, |arena| arena.len() as u64 * size_of::<f32>() as u64)
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        let program = Program::new(graph, self.shared.strip);
        Ok(Box::new(Plan {
            program,
            shared: Arc::clone(&self.shared),
            scratch: None,
            measure: false,
            times: Vec::new(),
        }))
    }
}

/// A program with the executor's memory and threads.
struct Plan {
    program: Program,
    shared: Arc<Shared>,
    /// What kernels need per thread and in common: the same for all weights of one graph.
    scratch: Option<(usize, usize)>,
    measure: bool,
    times: Vec<(Value, Duration)>,
}

impl Prepared for Plan {
    fn graph(&self) -> &Graph {
        &self.program.graph
    }

    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        visit: Option<&mut Visit<'_>>,
    ) -> Result<()> {
        check_io(&self.program.graph, inputs, outputs)?;
        let packs = weights
            .downcast_ref::<Packs>()
            .filter(|p| p.0.len() == self.program.graph.nodes.len())
            .ok_or_else(|| Error::internal("weights of another graph or executor"))?;
        let shared = &*self.shared;
        // Memory holds nothing between runs: a panic elsewhere leaves nothing half done.
        let mut memory = held(&shared.memory);
        let threads = shared.pool.threads();
        let program = &self.program;
        let (own, common) = *self.scratch.get_or_insert_with(|| program.scratch(&packs.0, threads));
        if memory.scratch.len() < threads || memory.scratch.iter().any(|b| b.len() < own) {
            memory.scratch.clear();
            for _ in 0..threads {
                memory.scratch.push(Buffer::zeroed(own).ok_or_else(|| out_of_memory(own))?);
            }
        }
        let arena = grow(&mut memory.arena, self.program.arena_len)?;
        let common = grow(&mut memory.common, common)?;
        let cx = Context { level: shared.level, pool: &shared.pool, scratch: &memory.scratch, stop };
        self.times.clear();
        let times = self.measure.then_some(&mut self.times);
        Runner { program: &self.program, packs: &packs.0, arena, common, cx }
            .run(inputs, outputs, visit, times)
    }

    fn measure(&mut self, on: bool) {
        self.measure = on;
    }

    fn measured(&self) -> &[(Value, Duration)] {
        &self.times
    }
}
