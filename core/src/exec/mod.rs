//! Executors: readers of a recorded graph. They know operations and plans, no network, no pictures.

#[cfg(feature = "reference")]
mod candle;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg_attr(
    not(feature = "cuda"),
    allow(
        dead_code,
        reason = "what devices do with maps is said whether or not this build has such a device"
    )
)]
pub mod maps;
#[cfg(test)]
mod naive;
#[cfg(any(test, feature = "twin"))]
pub(crate) mod naive_maps;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::graph::{Graph, Plan, Value};
use crate::weights::WeightSource;
use maps::Maps;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Weights of one graph in the form an executor wants; shared between runs, bound at each run.
pub type Weights = Arc<dyn Any + Send + Sync>;

/// Sees results while they exist: a node's id and samples.
pub type Visit<'a> = dyn FnMut(Value, &[f32]) -> Result<()> + 'a;

/// A device with kernels for every operation.
pub trait Executor: Send + Sync {
    /// Name as the `device` option takes it.
    fn name(&self) -> &'static str;

    /// Reads and packs the weights that `graph` names.
    ///
    /// # Errors
    /// `Model` where a tensor is missing or has another shape.
    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights>;

    /// Bytes that the results of one run of `graph` take at one time.
    fn bytes(&self, graph: Graph) -> u64 {
        Plan::new(&graph).arena_len as u64 * size_of::<f32>() as u64
    }

    /// Bytes that this executor holds already and will use for the results of the next run.
    fn held(&self) -> u64 {
        0
    }

    /// Bytes free for results where they do not lie in the machine's memory.
    fn free(&self) -> Option<u64> {
        None
    }

    /// The device as one on which whole pictures lie between runs of its plans; nothing where it works in the machine's memory.
    fn maps(&self) -> Option<Result<Box<dyn Maps>>> {
        None
    }

    /// Plans `graph` for this device. Graphs that differ only in weights share one plan.
    ///
    /// # Errors
    /// `Limit` where the device has no room for the plan.
    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>>;
}

/// A planned graph on a device.
pub trait Prepared: Send + Any {
    /// The graph.
    fn graph(&self) -> &Graph;

    /// Runs once: `inputs` and `outputs` in the graph's order, row-major `[N, C, H, W]`. `stop` is looked at
    /// between nodes. `visit` sees the result of every node that is stored; devices that do several nodes in one
    /// pass store the last one's.
    ///
    /// # Errors
    /// `Cancelled` where `stop` was set, `Internal` where a length does not fit, `Device` where a kernel failed.
    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        visit: Option<&mut Visit<'_>>,
    ) -> Result<()>;

    /// Whether later runs take the time of each step.
    fn measure(&mut self, _on: bool) {}

    /// Node and time of each step of the last run that was measured; nothing where the device cannot tell.
    fn measured(&self) -> &[(Value, Duration)] {
        &[]
    }
}

/// Checks the lengths of what a host hands to [`Prepared::run`].
fn check_io(graph: &Graph, inputs: &[&[f32]], outputs: &[&mut [f32]]) -> Result<()> {
    let fits = |values: &[Value], mut lens: &mut dyn Iterator<Item = usize>| {
        let wanted = values.iter().map(|&v| graph.shape(v).iter().product::<usize>());
        wanted.eq(&mut lens)
    };
    let (mut i, mut o) = (inputs.iter().map(|x| x.len()), outputs.iter().map(|x| x.len()));
    if fits(&graph.inputs, &mut i) && fits(&graph.outputs, &mut o) {
        Ok(())
    } else {
        let i: Vec<_> = inputs.iter().map(|x| x.len()).collect();
        let o: Vec<_> = outputs.iter().map(|x| x.len()).collect();
        Err(Error::internal(format!("maps of {i:?} and {o:?} values do not fit the graph")))
    }
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::cancelled()) } else { Ok(()) }
}

/// Names of the executors in this build.
const NAMES: &[&str] = &[
    "cpu",
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "cuda")]
    "cuda:N",
    #[cfg(feature = "reference")]
    "reference",
    #[cfg(feature = "twin")]
    "twin",
];

/// Name and description of each executor in this build; looks for GPUs.
pub fn list() -> Vec<(String, String)> {
    let entry = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let cpu = "own kernels for AVX-512, AVX2 or plain code: the default where there is no GPU";
    let all = std::iter::once(entry("cpu", cpu));
    #[cfg(feature = "cuda")]
    let all = all.chain(cuda::list());
    #[cfg(feature = "reference")]
    let all = all.chain([entry(
        "reference",
        "candle on the CPU, f32: the reference that every other executor is held against",
    )]);
    all.collect()
}

/// The executor called `name`; `auto` gives a GPU where there is one that works, else the CPU. `threads` is 0 for all
/// processors, `level` the highest instruction set for the CPU's kernels, `precision` one that [`check_precision`] takes.
///
/// # Errors
/// `Device` where this build has none of that name, or the GPU cannot be used; `Option` where the GPU lacks the precision.
pub fn executor(
    name: &str,
    threads: usize,
    level: Option<&str>,
    precision: &str,
) -> Result<Arc<dyn Executor>> {
    check_precision(name, precision)?;
    let cpu = || Arc::new(cpu::Cpu::new(cpu::Level::detect(level), threads));
    match name {
        #[cfg(feature = "cuda")]
        "auto" => match cuda::Cuda::new(0, precision) {
            Ok(gpu) => Ok(Arc::new(gpu)),
            Err(e) => {
                log::info!("{e}; the CPU computes");
                Ok(cpu())
            }
        },
        #[cfg(not(feature = "cuda"))]
        "auto" => Ok(cpu()),
        "cpu" => Ok(cpu()),
        #[cfg(feature = "reference")]
        "reference" => Ok(Arc::new(candle::Candle)),
        #[cfg(feature = "cuda")]
        _ if cuda::ordinal(name).is_some() => {
            Ok(Arc::new(cuda::Cuda::new(cuda::ordinal(name).unwrap_or_default(), precision)?))
        }
        _ => Err(unknown(name)),
    }
}

/// Whether this build has an executor called `name`, without making one.
///
/// # Errors
/// As [`executor`], but for GPUs that are not there.
pub fn check_name(name: &str) -> Result<()> {
    #[cfg(feature = "cuda")]
    if cuda::ordinal(name).is_some() {
        return Ok(());
    }
    if name == "auto" || NAMES.contains(&name) { Ok(()) } else { Err(unknown(name)) }
}

/// Whether the executor called `name` has such arithmetic: `auto` and `f32` for all, `bf16` and `f16` for GPUs. `auto` may be
/// the CPU.
///
/// # Errors
/// `Option` for others.
pub fn check_precision(name: &str, precision: &str) -> Result<()> {
    #[cfg(feature = "cuda")]
    if cuda::ordinal(name).is_some() && cuda::has_precision(precision) {
        return Ok(());
    }
    match precision {
        "auto" | "f32" => Ok(()),
        _ => {
            Err(Error::option(format!("precision is \"{precision}\", device `{name}` computes in f32 only")))
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::device(format!("device `{name}` is not in this build; there are: auto, {}", NAMES.join(", ")))
}

/// Every executor of this build, the CPU's once per instruction set of this machine; where tests are for a GPU, that alone.
#[cfg(test)]
pub(crate) fn all_executors() -> Vec<(String, Arc<dyn Executor>)> {
    let mut all: Vec<(String, Arc<dyn Executor>)> = Vec::new();
    #[cfg(feature = "cuda")]
    if cuda::tests::on_gpu() {
        all.push(("cuda".to_owned(), executor("cuda", 0, None, "f32").unwrap()));
        return all;
    }
    for level in cpu::Level::available() {
        all.push((format!("cpu {level}"), Arc::new(cpu::Cpu::new(level, 2))));
    }
    // Strips as thin as they can be, where other maps of tests are too small to be cut.
    for unit in [1, 3] {
        let (level, size) = (cpu::Level::detect(None), cpu::Size { values: 0, least: 0, unit, pass: 0 });
        all.push((format!("cpu by {unit} rows"), Arc::new(cpu::Cpu::with_strips(level, 2, size))));
    }
    #[cfg(feature = "reference")]
    all.push(("reference".to_owned(), Arc::new(candle::Candle)));
    all
}
