//! Looking at model folders, and making them from published checkpoints.

use super::locate::model_roots;
use super::plans::{Files, Part, Plans};
use super::upscaler::ModelInfo;
use crate::error::{Error, Result};
use crate::graph::{Plan, dump};
use crate::model;
use crate::options::Environment;
use crate::weights::{
    self, ImportProgress, ImportReport, ImportRequest, Manifest, Network, PublishedConfig, StoredType,
    check_config, check_hashes, find_model,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Form of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DumpFormat {
    /// A table, one line per node.
    #[default]
    Text,
    /// Graphviz.
    Dot,
}

/// Finds the model folder for a name or path, as [`Upscaler::new`](super::Upscaler::new) does.
pub(super) fn locate(model: Option<&str>) -> Result<(PathBuf, Manifest)> {
    let environment = Environment::read()?;
    let folder = find_model(model, environment.model.as_deref(), &model_roots())?;
    let manifest = Manifest::read(&folder)?;
    Ok((folder, manifest))
}

/// What `model` (a name or folder; `None` for the default) says of itself. Reads its description only.
///
/// # Errors
/// `Model` where there is none or it is not understood.
pub fn model_info(model: Option<&str>) -> Result<ModelInfo> {
    let (folder, manifest) = locate(model)?;
    ModelInfo::of(&manifest, &folder)
}

/// Checks every file of a model against its hash and every tensor against the network. Reads all weights.
///
/// # Errors
/// `Model`, naming the first file or tensor that is missing or other than described.
pub fn check_model(model: Option<&str>) -> Result<ModelInfo> {
    let (folder, manifest) = locate(model)?;
    check_hashes(&folder, &manifest)?;
    check_tensors(&folder, &manifest)?;
    ModelInfo::of(&manifest, &folder)
}

/// Reads the header of every file and compares names and shapes with what the graphs need.
pub(super) fn check_tensors(folder: &Path, manifest: &Manifest) -> Result<()> {
    let files = Files::of(folder, manifest);
    let network = &manifest.network;
    let lattice = model::lattice(network, &manifest.common);
    let wanted = model::denoiser_weights(network, lattice)?;
    for expert in 0..files.experts() {
        let store = files.store(Part::Denoiser, expert)?;
        store.expect(wanted.iter().map(|w| (w.name.as_str(), w.shape.as_slice())))?;
    }
    let wanted = model::decoder_weights(network, lattice)?;
    let store = files.store(Part::Decoder, 0)?;
    store.expect(wanted.iter().map(|w| (w.name.as_str(), w.shape.as_slice())))
}

/// The graphs of a model for one tile of `height` x `width` latent cells, rounded up to its lattice: nodes,
/// shapes, operations and bytes.
///
/// # Errors
/// `Model` where the model is not understood, `Option` for an impossible size.
pub fn dump_model(
    model: Option<&str>,
    (height, width): (usize, usize),
    format: DumpFormat,
) -> Result<String> {
    let (_, manifest) = locate(model)?;
    let lattice = model::lattice(&manifest.network, &manifest.common);
    if height == 0 || width == 0 || height > MAX_DUMP_SIDE || width > MAX_DUMP_SIDE {
        return Err(Error::option(format!(
            "tile of {width}x{height} cells: sides must be 1 to {MAX_DUMP_SIDE}"
        )));
    }
    let (h, w) = (height.next_multiple_of(lattice), width.next_multiple_of(lattice));
    let mut out = String::new();
    for (title, part) in [("denoiser", Part::Denoiser), ("decoder", Part::Decoder)] {
        let graph = Plans::graph(&manifest.network, (part, 1, h, w))?;
        let plan = Plan::new(&graph);
        match format {
            DumpFormat::Text => {
                out.push_str(&format!("{title}, one tile of {h}x{w} latent cells\n"));
                out.push_str(&dump::text(&graph, &plan));
                out.push('\n');
            }
            DumpFormat::Dot => out.push_str(&dump::dot(&graph, &plan)),
        }
    }
    Ok(out)
}

/// Larger graphs can be planned but not run on any machine.
const MAX_DUMP_SIDE: usize = 4096;

/// Published checkpoints and where the model folder shall be.
#[derive(Clone, Debug, Default)]
pub struct ImportSources {
    /// Denoiser checkpoints, ascending in t.
    pub unet: Vec<PathBuf>,
    /// Checkpoint of the frequency-augmented first stage.
    pub decoder: PathBuf,
    /// Numbers of the network; `None` for the published 8x ones.
    pub config: Option<PathBuf>,
    /// Folder to make; must not exist.
    pub out: PathBuf,
    /// Store f32 and not f16.
    pub full_precision: bool,
}

/// Makes a model folder from published checkpoints. After a failure nothing is left behind.
///
/// # Errors
/// `Input` for files that are not such checkpoints (naming tensor, found, wanted), `Io`, `Cancelled`.
pub fn import_model(
    sources: &ImportSources,
    progress: &mut dyn FnMut(&ImportProgress<'_>) -> ControlFlow<()>,
) -> Result<ImportReport> {
    let config = match &sources.config {
        Some(path) => PublishedConfig::read(path)?,
        None => PublishedConfig::default_8x(),
    };
    check_config(&config)?;
    let network = Network::Published(config.network.clone());
    let pairs = |weights: Vec<crate::graph::Weight>| -> Vec<(String, Vec<usize>)> {
        weights.into_iter().map(|w| (w.name, w.shape)).collect()
    };
    let request = ImportRequest {
        unet: &sources.unet,
        decoder: &sources.decoder,
        config: &config,
        unet_tensors: &pairs(model::denoiser_weights(&network, 1)?),
        first_stage_tensors: &pairs(model::decoder_weights(&network, 1)?),
        out: &sources.out,
        stored: if sources.full_precision { StoredType::F32 } else { StoredType::F16 },
    };
    weights::import(&request, progress)
}
