//! Plans by shape and weights by expert, made when first needed and kept.

use super::paint::Workspace;
use super::resident::Resident;
use crate::error::{Error, Result};
use crate::exec::maps::Maps;
use crate::exec::{Executor, Prepared, Weights};
use crate::graph::Graph;
use crate::model;
use crate::tiles::TileGrid;
use crate::weights::{Manifest, Network, Stoppable, Store};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Which of a model's graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Denoiser,
    Decoder,
}

/// A part and, for the denoiser, its expert.
type WeightsKey = (Part, usize);

/// One graph at one shape: part, tiles, height and width in latent cells.
pub(super) type PlanKey = (Part, usize, usize, usize);

/// Everything of a model that a device holds.
pub(super) struct Plans {
    network: Network,
    files: Files,
    executor: Arc<dyn Executor>,
    prepared: HashMap<PlanKey, Box<dyn Prepared>>,
    weights: HashMap<WeightsKey, Weights>,
    /// Whether weights go as soon as others are needed: all at once would fill the memory of small machines.
    one_at_a_time: bool,
    tiling: Option<(GridKey, Tiling)>,
    pub(super) workspace: Workspace,
    /// What a device holds of pictures, where it can.
    pub(super) resident: Option<Resident>,
}

/// What a grid follows from: latent cells high and wide, side and overlap asked for, scale.
pub(super) type GridKey = (usize, usize, usize, usize, usize);

/// Tiles of the latent grid, and the same of the result.
#[derive(Clone)]
pub(super) struct Tiling {
    pub(super) grid: Arc<TileGrid>,
    pub(super) fine: Arc<TileGrid>,
    /// Tiles that go through a graph at once.
    pub(super) batch: usize,
}

impl Tiling {
    pub(super) fn new(grid: TileGrid, batch: usize) -> Self {
        Self { fine: Arc::new(grid.scale(model::FACTOR)), grid: Arc::new(grid), batch }
    }
}

/// Which files of the folder hold what: `expert*` one expert each in the order of their numbers, the rest shared.
pub(super) struct Files {
    experts: Vec<PathBuf>,
    shared: Vec<PathBuf>,
    decoder: Vec<PathBuf>,
}

impl Files {
    pub(super) fn of(folder: &Path, manifest: &Manifest) -> Self {
        let mut experts = Vec::new();
        let (mut shared, mut decoder) = (Vec::new(), Vec::new());
        for name in manifest.common.files.keys() {
            let path = folder.join(name);
            let number = name.strip_prefix("expert").and_then(|rest| rest.strip_suffix(".safetensors"));
            match number.map(str::parse::<u32>) {
                Some(Ok(n)) => experts.push((n, path)),
                _ if name.starts_with("condition") => shared.push(path),
                _ => decoder.push(path),
            }
        }
        experts.sort();
        Self { experts: experts.into_iter().map(|(_, path)| path).collect(), shared, decoder }
    }

    /// Bytes of all files; those that cannot be looked at count nothing.
    fn bytes(&self) -> u64 {
        let all = self.experts.iter().chain(&self.shared).chain(&self.decoder);
        all.filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
    }

    /// How many experts there are.
    pub(super) fn experts(&self) -> usize {
        self.experts.len()
    }

    /// Opens the files that hold `part` (of the given expert).
    pub(super) fn store(&self, part: Part, expert: usize) -> Result<Store> {
        match part {
            Part::Denoiser => {
                let own = self.experts.get(expert).ok_or_else(|| {
                    Error::model(format!(
                        "model.json lists {} experts, number {expert} is needed",
                        self.experts.len()
                    ))
                })?;
                Store::open(&[self.shared.as_slice(), std::slice::from_ref(own)].concat())
            }
            Part::Decoder => Store::open(&self.decoder),
        }
    }
}

/// Bytes of stored weights up to which all of a model stay loaded; kernels may want four times as much.
const ALL_LOADED: u64 = 256 << 20;

/// Plans kept at most; a video needs two or three, a folder of odd pictures must not fill the memory.
const MAX_PLANS: usize = 8;

impl Plans {
    pub(super) fn new(manifest: &Manifest, folder: &Path, executor: Arc<dyn Executor>) -> Self {
        let files = Files::of(folder, manifest);
        Self {
            network: manifest.network.clone(),
            one_at_a_time: files.bytes() > ALL_LOADED,
            files,
            executor,
            prepared: HashMap::new(),
            weights: HashMap::new(),
            tiling: None,
            workspace: Workspace::default(),
            resident: None,
        }
    }

    /// The tiles for `key`, made by `make`; the last ones are kept for the next frame.
    pub(super) fn tiling(&mut self, key: GridKey, make: impl FnOnce() -> Result<Tiling>) -> Result<Tiling> {
        if let Some((_, tiling)) = self.tiling.as_ref().filter(|(k, _)| *k == key) {
            return Ok(tiling.clone());
        }
        let tiling = make()?;
        self.tiling = Some((key, tiling.clone()));
        Ok(tiling)
    }

    /// Keeps tiles for later frames of `key`, for which others were found to be too large.
    pub(super) fn keep_tiling(&mut self, key: GridKey, tiling: Tiling) {
        self.tiling = Some((key, tiling));
    }

    /// Records the graph for a key.
    pub(super) fn graph(network: &Network, (part, n, h, w): PlanKey) -> Result<Graph> {
        match part {
            Part::Denoiser => model::denoiser(network, n, h, w),
            Part::Decoder => model::decoder(network, n, h, w),
        }
    }

    /// Bytes that results need at one time for `key`.
    pub(super) fn bytes(executor: &dyn Executor, network: &Network, key: PlanKey) -> Result<u64> {
        Ok(executor.bytes(Self::graph(network, key)?))
    }

    /// Forgets plans and tiles, whose memory was not to be had.
    pub(super) fn forget(&mut self) {
        self.prepared.clear();
        self.tiling = None;
        self.resident = None;
    }

    /// Another executor from now on; tiles stay as they are.
    pub(super) fn compute_with(&mut self, executor: Arc<dyn Executor>) {
        self.prepared.clear();
        self.weights.clear();
        self.resident = None;
        self.executor = executor;
    }

    /// Maps on the executor's device, where it has such.
    pub(super) fn maps(&self) -> Option<Result<Box<dyn Maps>>> {
        self.executor.maps()
    }

    /// The plan for `key` with the weights of `expert` (without meaning for the decoder).
    /// Stops between two tensors where they have to be read first and `stop` is set.
    pub(super) fn get(
        &mut self,
        key: PlanKey,
        expert: usize,
        stop: &AtomicBool,
    ) -> Result<(&mut dyn Prepared, &Weights)> {
        if !self.prepared.contains_key(&key) {
            if self.prepared.len() >= MAX_PLANS {
                self.prepared.clear();
            }
            let graph = Arc::new(Self::graph(&self.network, key)?);
            self.prepared.insert(key, self.executor.prepare(graph)?);
        }
        let own = (key.0, if key.0 == Part::Denoiser { expert } else { 0 });
        if !self.weights.contains_key(&own) {
            if self.one_at_a_time {
                self.weights.clear();
            }
            let store = self.files.store(key.0, expert)?;
            let graph = self.prepared.get(&key).map(|p| p.graph());
            let graph = graph.ok_or_else(|| Error::internal("a plan vanished"))?;
            let weights = self.executor.load(graph, &Stoppable { source: &store, stop })?;
            self.weights.insert(own, weights);
        }
        let weights = self.weights.get(&own);
        let prepared = self.prepared.get_mut(&key);
        match (prepared, weights) {
            (Some(p), Some(w)) => Ok((p.as_mut(), w)),
            _ => Err(Error::internal("a plan vanished")),
        }
    }
}
