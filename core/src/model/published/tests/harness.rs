//! Vector folders, their weights, and the comparison.

use crate::error::Result;
use crate::exec::{Executor, Weights};
use crate::graph::{Builder, Graph, Shape, Value};
use crate::weights::{HashWeights, Published, PublishedConfig, Store, WeightSource};
use safetensors::Dtype;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(super) type Source = Box<dyn WeightSource>;
pub(super) type Attributes = serde_json::Map<String, serde_json::Value>;

/// A folder of vectors.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) config: Published,
    cases: Attributes,
}

impl Folder {
    /// The folder that the variable names, else the committed one.
    pub(super) fn open(variable: &str, committed: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let path = match std::env::var_os(variable).map(PathBuf::from) {
            // Tests run in the package's folder, users name the folder from the workspace's.
            Some(p) if p.is_relative() => root.join(p),
            Some(p) => p,
            None => root.join("tests/vectors/published").join(committed),
        };
        let config = PublishedConfig::read(&path.join("config.json")).unwrap();
        let cases = serde_json::from_slice(&std::fs::read(path.join("cases.json")).unwrap()).unwrap();
        Self { path, config: config.network, cases }
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn families(&self) -> Vec<String> {
        self.cases.keys().cloned().collect()
    }

    pub(super) fn cases(&self, family: &str) -> Vec<Attributes> {
        let list = self.cases[family].as_array().unwrap();
        list.iter().map(|c| c.as_object().unwrap().clone()).collect()
    }

    /// The same files with another network.
    pub(super) fn with_config(&self, config: Published) -> Self {
        Self { path: self.path.clone(), config, cases: self.cases.clone() }
    }

    /// Weights of one of the published files, stored or made from their names.
    pub(super) fn weights(&self, file: &str) -> Source {
        let stored = self.path.join("weights");
        if !stored.is_dir() {
            return Box::new(HashWeights::new(file));
        }
        let store = Store::open(&[stored.join(format!("{file}.safetensors"))]).unwrap();
        let add = if file.starts_with("unet") { "model.diffusion_model." } else { "" };
        Box::new(Renamed { inner: Box::new(store), strip: String::new(), add: add.to_owned() })
    }
}

/// Names with another beginning.
pub(super) struct Renamed {
    pub(super) inner: Source,
    pub(super) strip: String,
    pub(super) add: String,
}

impl WeightSource for Renamed {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = name.strip_prefix(&self.strip).unwrap_or(name);
        self.inner.read_f32(&format!("{}{name}", self.add), shape)
    }

    fn names(&self) -> Vec<String> {
        self.inner.names()
    }
}

/// A recorded tensor.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) shape: Vec<usize>,
    pub(super) dtype: Dtype,
    pub(super) values: Vec<f64>,
}

impl Recorded {
    pub(super) fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }

    pub(super) fn map(&self) -> Shape {
        self.shape.as_slice().try_into().unwrap()
    }
}

/// One family of a folder on one executor.
pub(super) struct Context<'a> {
    pub(super) folder: &'a Folder,
    pub(super) cases: Vec<Attributes>,
    file: Arc<Store>,
    device: Arc<dyn Executor>,
}

impl<'a> Context<'a> {
    pub(super) fn new(folder: &'a Folder, family: &str, device: &Arc<dyn Executor>) -> Self {
        let file = Arc::new(Store::open(&[folder.path.join(format!("{family}.safetensors"))]).unwrap());
        Self { folder, cases: folder.cases(family), file, device: Arc::clone(device) }
    }

    /// The same vectors with another folder's network.
    pub(super) fn with_folder<'b>(&self, folder: &'b Folder) -> Context<'b> {
        let (file, device) = (Arc::clone(&self.file), Arc::clone(&self.device));
        Context { folder, cases: self.cases.clone(), file, device }
    }

    pub(super) fn config(&self) -> &Published {
        &self.folder.config
    }

    /// The tensor `case.part`, where there is one.
    pub(super) fn find(&self, case: &Attributes, part: &str) -> Option<Recorded> {
        let t = self.file.tensor(&format!("{}.{part}", name(case)))?;
        let size = t.dtype.bitsize() / 8;
        let one = |b: &[u8]| match t.dtype {
            Dtype::U8 => f64::from(b[0]),
            Dtype::F16 => half::f16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            Dtype::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            Dtype::F64 => f64::from_le_bytes(b.try_into().unwrap()),
            Dtype::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
            Dtype::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
            other => panic!("{part} holds {other:?}"),
        };
        let values = t.bytes.chunks_exact(size).map(one).collect();
        Some(Recorded { shape: t.shape.to_vec(), dtype: t.dtype, values })
    }

    pub(super) fn get(&self, case: &Attributes, part: &str) -> Recorded {
        self.find(case, part).unwrap_or_else(|| panic!("{}.{part} is missing", name(case)))
    }

    /// The family's own file as a source of weights below `case.w.`.
    pub(super) fn own_weights(&self, case: &Attributes) -> Source {
        let stored = self.file.names().iter().any(|n| n.starts_with(&format!("{}.w.", name(case))));
        let (inner, add): (Source, _) = if stored {
            (Box::new(Shared(Arc::clone(&self.file))), format!("{}.w.", name(case)))
        } else {
            (Box::new(HashWeights::new("routed")), String::new())
        };
        Box::new(Renamed { inner, strip: "own.".to_owned(), add })
    }

    /// Runs a graph; results in the order of its outputs.
    pub(super) fn run(&self, graph: Graph, source: &dyn WeightSource, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        let mut loaded = self.load(graph, source);
        loaded.run(inputs)
    }

    /// A graph with its weights, to be run more than once.
    pub(super) fn load(&self, graph: Graph, source: &dyn WeightSource) -> Loaded {
        let graph = Arc::new(graph);
        let weights = self.device.load(&graph, source).unwrap();
        Loaded { prepared: self.device.prepare(graph).unwrap(), weights, device: Arc::clone(&self.device) }
    }
}

struct Shared(Arc<Store>);

impl WeightSource for Shared {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.0.read_f32(name, shape)
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }
}

/// A prepared graph with weights.
pub(super) struct Loaded {
    prepared: Box<dyn crate::exec::Prepared>,
    weights: Weights,
    device: Arc<dyn Executor>,
}

impl Loaded {
    /// The same graph with other weights; the old ones are gone before the new ones are read.
    pub(super) fn reload(&mut self, source: &dyn WeightSource) {
        self.weights = Arc::new(());
        self.weights = self.device.load(self.prepared.graph(), source).unwrap();
    }

    pub(super) fn run(&mut self, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
        let graph = self.prepared.graph();
        let len = |v: &Value| graph.shape(*v).iter().product();
        let mut out: Vec<Vec<f32>> = graph.outputs.iter().map(|v| vec![0.0; len(v)]).collect();
        let mut slots: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        self.prepared.run(&self.weights, inputs, &mut slots, &AtomicBool::new(false), None).unwrap();
        out
    }
}

/// Records a graph of inputs of these shapes.
pub(super) fn record(
    inputs: &[Shape],
    build: impl FnOnce(&mut Builder, &[Value]) -> Result<Vec<Value>>,
) -> Graph {
    let mut g = Builder::new();
    let values: Vec<Value> =
        inputs.iter().enumerate().map(|(i, &s)| g.input(&format!("in{i}"), s).unwrap()).collect();
    let outputs = build(&mut g, &values).unwrap();
    g.finish(&outputs)
}

pub(super) fn name(case: &Attributes) -> &str {
    text(case, "case")
}

pub(super) fn text<'a>(case: &'a Attributes, key: &str) -> &'a str {
    case.get(key).and_then(|v| v.as_str()).unwrap_or_else(|| panic!("{case:?} has no text {key}"))
}

pub(super) fn whole(case: &Attributes, key: &str) -> usize {
    case.get(key).and_then(|v| v.as_u64()).unwrap_or_else(|| panic!("{case:?} has no number {key}")) as usize
}

pub(super) fn real(case: &Attributes, key: &str) -> f64 {
    case.get(key).and_then(|v| v.as_f64()).unwrap_or_else(|| panic!("{case:?} has no number {key}"))
}

/// What comparing one family gave.
pub(super) struct Tally {
    device: String,
    family: String,
    /// Worst error and its limit, where errors are relative.
    worst: Option<(f64, f64)>,
    cases: usize,
    failures: Vec<String>,
}

impl Tally {
    pub(super) fn new(device: &str, family: &str) -> Self {
        Self { device: device.into(), family: family.into(), worst: None, cases: 0, failures: Vec::new() }
    }

    /// Counts a case as run.
    pub(super) fn case(&mut self) {
        self.cases += 1;
    }

    pub(super) fn cases(&self) -> usize {
        self.cases
    }

    /// Largest difference over the largest wanted value, held against `limit`; executors other than the
    /// reference have 1e-4 where that is more.
    pub(super) fn compare(&mut self, what: &str, found: &[f32], wanted: &[f64], limit: f64) {
        let limit = if self.device == "reference" { limit } else { limit.max(1e-4) };
        self.compare_exactly(what, found.iter().map(|&v| f64::from(v)), wanted, limit);
    }

    /// As `compare`, with the same limit everywhere.
    pub(super) fn compare_exactly(
        &mut self,
        what: &str,
        found: impl IntoIterator<Item = f64>,
        wanted: &[f64],
        limit: f64,
    ) {
        let found: Vec<f64> = found.into_iter().collect();
        if found.len() != wanted.len() {
            self.fail(&format!("{what} has {} values, wanted {}", found.len(), wanted.len()));
            return;
        }
        let top = wanted.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
        let mut error = 0.0f64;
        for (a, b) in found.iter().zip(wanted) {
            // A NaN must not be lost in a maximum.
            error = if (a - b).is_nan() { f64::INFINITY } else { error.max((a - b).abs() / top) };
        }
        if self.worst.is_none_or(|(e, l)| error / limit > e / l) {
            self.worst = Some((error, limit));
        }
        if error > limit {
            self.fail(&format!("{what} is {error:.2e} off, limit {limit:.0e}"));
        }
    }

    /// Holds a condition.
    pub(super) fn check(&mut self, what: &str, holds: bool) {
        if !holds {
            self.fail(what);
        }
    }

    pub(super) fn fail(&mut self, what: &str) {
        self.failures.push(format!("{} {}: {what}", self.device, self.family));
    }

    pub(super) fn line(&self) -> String {
        let (cases, failures) = (self.cases, self.failures.len());
        let error = match self.worst {
            Some((error, limit)) => format!("worst error {error:.1e}, limit {limit:.0e}"),
            None => "exact".to_owned(),
        };
        format!("{} {:<18} {cases:>3} cases, {error}, {failures} failures", self.device, self.family)
    }

    pub(super) fn into_failures(self) -> Vec<String> {
        self.failures
    }
}
