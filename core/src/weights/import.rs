//! Published checkpoints into a model folder: averaged weights, space experts folded, tensor by tensor.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::fold::fold;
use crate::weights::manifest::{Common, Defaults, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, Network};
use crate::weights::names::{Layout, Source, resolve};
use crate::weights::published::PublishedConfig;
use crate::weights::writer::{StoredType, Writer};

/// Name of the file that holds the first stage of an imported model.
pub const FIRST_STAGE_FILE: &str = "first_stage.safetensors";
/// Steps, eta and colour match of the published script.
const PUBLISHED_STEPS: u32 = 200;
const PUBLISHED_ETA: f64 = 1.0;

/// Name of the file that holds a sampling expert of an imported model.
pub fn expert_file(stage: usize) -> String {
    format!("expert{stage}.safetensors")
}

/// What to import, and into which folder.
#[derive(Clone, Copy, Debug)]
pub struct ImportRequest<'a> {
    /// One checkpoint per sampling expert, rising in time.
    pub unet: &'a [PathBuf],
    /// The first stage with its frequency-augmented decoder.
    pub decoder: &'a Path,
    /// The network.
    pub config: &'a PublishedConfig,
    /// Names (without prefix, one space expert) and shapes of the tensors that a denoiser reads.
    pub unet_tensors: &'a [(String, Vec<usize>)],
    /// Names and shapes of the tensors that the first stage reads.
    pub first_stage_tensors: &'a [(String, Vec<usize>)],
    /// Folder to make; it must not be there yet.
    pub out: &'a Path,
    /// Type of the values. Running statistics and the codebook stay f32: steps between codes are small.
    pub stored: StoredType,
}

/// How far an import is.
#[derive(Clone, Copy, Debug)]
pub struct ImportProgress<'a> {
    /// File being written.
    pub file: &'a str,
    /// Tensors written, of all files.
    pub done: usize,
    /// Tensors of all files.
    pub total: usize,
}

/// What an import did.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    /// The files of the new folder.
    pub files: Vec<ImportedFile>,
}

/// One file of an import.
#[derive(Clone, Debug)]
pub struct ImportedFile {
    /// Its name in the folder.
    pub name: String,
    /// The checkpoint it came from.
    pub source: PathBuf,
    /// How that called its tensors.
    pub layout: Layout,
    /// Tensors written.
    pub tensors: usize,
    /// Tensors of the checkpoint that are not used: raw copies, optimizer, counters.
    pub ignored: usize,
    /// Space experts per feed-forward; 1 where there was nothing to fold.
    pub experts: usize,
    /// The largest distance of any expert's value from the mean, and the tensor it is in.
    pub largest_deviation: Option<(String, f64)>,
}

/// Makes a model folder from published checkpoints. Nothing is left where it fails or is stopped.
///
/// # Errors
/// `Input` where the folder is there already, `Model` for checkpoints that do not hold this network,
/// `Io`, and `Cancelled` where `progress` breaks.
pub fn import(
    request: &ImportRequest<'_>,
    progress: &mut dyn FnMut(&ImportProgress<'_>) -> ControlFlow<()>,
) -> Result<ImportReport> {
    let name = request.out.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| Error::input(format!("{} names no folder", request.out.display())))?;
    let mut manifest = manifest(request.config, name)?;
    let stages = request.config.network.sampling.stages as usize;
    if request.unet.len() != stages {
        let given = request.unet.len();
        return Err(Error::input(format!(
            "{given} denoiser checkpoints were given, this network has {stages}"
        )));
    }
    let out = request.out;
    if out.symlink_metadata().is_ok() {
        return Err(Error::input(format!("{} is there already; name a new folder", out.display())));
    }

    // Everything is found and checked before anything is written.
    let mut jobs = Vec::with_capacity(stages + 1);
    for (stage, path) in request.unet.iter().enumerate() {
        let file = Checkpoint::open(path)?;
        let layout = Layout::of_denoiser(&file);
        jobs.push(Job::new(expert_file(stage), path, file, layout, request.unet_tensors)?);
    }
    let file = Checkpoint::open(request.decoder)?;
    let tensors = request.first_stage_tensors;
    jobs.push(Job::new(FIRST_STAGE_FILE.to_owned(), request.decoder, file, Layout::FirstStage, tensors)?);

    let folder = Unfinished::create(out)?;
    let total = jobs.iter().map(|j| j.sources.len()).sum();
    let mut done = 0;
    let mut report = ImportReport::default();
    for job in jobs {
        let (hash, imported) = job.write(&folder.path, request.stored, &mut |file| {
            let step = progress(&ImportProgress { file, done, total });
            done += 1;
            step
        })?;
        manifest.common.files.insert(imported.name.clone(), hash);
        report.files.push(imported);
    }
    let path = folder.path.join(MANIFEST_FILE);
    std::fs::write(&path, manifest.to_json()?)
        .map_err(|e| Error::io(format!("cannot write {}", path.display()), e))?;
    folder.finish(out)?;
    Ok(report)
}

/// Checks every number of a configuration, before a network is made of it.
///
/// # Errors
/// `Model`, naming the key, what it holds and what is possible.
pub fn check_config(config: &PublishedConfig) -> Result<()> {
    manifest(config, "imported".to_owned()).map(|_| ())
}

fn manifest(config: &PublishedConfig, name: String) -> Result<Manifest> {
    let (network, scale) = (&config.network, config.scale);
    let lattice = network.lattice(scale);
    let manifest = Manifest {
        common: Common {
            format: MANIFEST_FORMAT,
            family: "published".to_owned(),
            name,
            version: "imported".to_owned(),
            // What SPDX writes where nobody has said: the checkpoints carry no licence.
            licence: "NOASSERTION".to_owned(),
            scales: vec![scale],
            lattice,
            defaults: Defaults {
                steps: PUBLISHED_STEPS.min(network.sampling.train_steps),
                fidelity: 0.0,
                eta: PUBLISHED_ETA,
                colour_fix: "adain".to_owned(),
            },
            files: BTreeMap::new(),
        },
        network: Network::Published(network.clone()),
    };
    manifest.validate()?;
    Ok(manifest)
}

/// One file to write.
struct Job {
    name: String,
    path: PathBuf,
    file: Checkpoint,
    layout: Layout,
    sources: Vec<Source>,
}

impl Job {
    fn new(
        name: String,
        path: &Path,
        file: Checkpoint,
        layout: Layout,
        expected: &[(String, Vec<usize>)],
    ) -> Result<Self> {
        let sources = resolve(&file, layout, expected)?;
        Ok(Self { name, path: path.to_owned(), file, layout, sources })
    }

    fn write(
        mut self,
        folder: &Path,
        stored: StoredType,
        progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(String, ImportedFile)> {
        let stored_of = |key: &str| if stays_f32(key) { StoredType::F32 } else { stored };
        // Four-byte values first, so that all of them are aligned.
        self.sources.sort_by_key(|s| stored_of(&s.key) == StoredType::F16);
        let announced = self.sources.iter().map(|s| (s.key.clone(), s.shape.clone(), stored_of(&s.key)));
        let mut writer = Writer::create(&folder.join(&self.name), announced.collect())?;
        let mut largest: Option<(String, f64)> = None;
        for source in &self.sources {
            if progress(&self.name).is_break() {
                return Err(Error::cancelled());
            }
            let count = source.stored.len();
            let read = |i: usize| match source.stored.get(i) {
                Some(name) => self.file.read_f32(name, &source.shape),
                None => Err(Error::internal(format!("{} has no expert {i}", source.key))),
            };
            let (values, deviation) = fold(count, read)?;
            writer.write(&source.key, &values)?;
            if count > 1 && largest.as_ref().is_none_or(|(_, d)| *d < deviation) {
                largest = Some((source.key.clone(), deviation));
            }
        }
        let used: usize = self.sources.iter().map(|s| s.stored.len()).sum();
        let imported = ImportedFile {
            name: self.name,
            source: self.path,
            layout: self.layout,
            tensors: self.sources.len(),
            ignored: self.file.names().count().saturating_sub(used),
            experts: self.sources.iter().map(|s| s.stored.len()).max().unwrap_or(1),
            largest_deviation: largest,
        };
        Ok((writer.finish()?, imported))
    }
}

fn stays_f32(key: &str) -> bool {
    ["running_mean", "running_var", "embedding.weight"].iter().any(|end| key.ends_with(end))
}

/// A folder beside its final place, removed unless it is finished.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn create(out: &Path) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(out.file_name().unwrap_or(out.as_os_str()));
        name.push(format!(".{}.part", std::process::id()));
        let path = out.with_file_name(name);
        std::fs::create_dir(&path).map_err(|e| Error::io(format!("cannot create {}", path.display()), e))?;
        Ok(Self { path })
    }

    fn finish(self, out: &Path) -> Result<()> {
        std::fs::rename(&self.path, out).map_err(|e| Error::io(format!("cannot create {}", out.display()), e))
        // Dropped after this: there is nothing left at the old place.
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone after a rename, and after a failure there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
