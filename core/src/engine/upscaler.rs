//! The public object: a model on a device. One picture at a time; callers wait for their turn.

use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::inspect::{check_tensors, locate};
use super::plans::Plans;
use super::progress::{Progress, ProgressFn};
use super::resident::{Pending, Resident};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{self, Executor};
use crate::options::{Environment, Options};
use crate::pixels::canvas::Canvas;
use crate::pixels::{Frame, FrameMut, FrameRef};
use crate::tiles::Order;
use crate::weights::{MANIFEST_FILE, Manifest, file_hash};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// What hosts show of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Name.
    pub name: String,
    /// Version of the weights.
    pub version: String,
    /// `native` or `published`.
    pub family: String,
    /// SPDX expression of the weights.
    pub licence: String,
    /// Scales it can do.
    pub scales: Vec<u32>,
    /// Where it lies.
    pub folder: PathBuf,
    /// SHA-256 of its description, which holds the hashes of its weights; hexadecimal.
    pub hash: String,
}

impl ModelInfo {
    /// # Errors
    /// `Io` where the description cannot be read any more.
    pub(super) fn of(manifest: &Manifest, folder: &Path) -> Result<Self> {
        let common = &manifest.common;
        Ok(Self {
            name: common.name.clone(),
            version: common.version.clone(),
            family: common.family.clone(),
            licence: common.licence.clone(),
            scales: common.scales.clone(),
            folder: folder.to_path_buf(),
            hash: file_hash(&folder.join(MANIFEST_FILE))?,
        })
    }
}

/// A device as hosts show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Name as the `device` option takes it.
    pub name: String,
    /// One sentence.
    pub description: String,
}

/// The devices of this build. GPUs are looked for, not used.
pub fn devices() -> Vec<DeviceInfo> {
    exec::list().into_iter().map(|(name, description)| DeviceInfo { name, description }).collect()
}

/// A model on a device. Thread-safe: calls from several threads run one after the other.
///
/// ```
/// use ssmoesr_core::{CancelToken, ColorInfo, Frame, Options, PixelFormat, Upscaler};
/// # fn main() -> ssmoesr_core::Result<()> {
/// let options = Options::default();
/// let upscaler = Upscaler::new(&options)?;
/// let small = Frame::new(PixelFormat::Rgb8, 20, 12, ColorInfo::default())?;
/// let mut large = Frame::new(PixelFormat::Rgb8, 80, 48, ColorInfo::default())?;
/// let mut progress = |_| std::ops::ControlFlow::Continue(());
/// upscaler.run(&small.view(), &mut large.view_mut(), &options, &mut progress, &CancelToken::new())?;
/// # Ok(()) }
/// ```
pub struct Upscaler {
    pub(super) info: ModelInfo,
    pub(super) manifest: Manifest,
    /// What computes; another one from when a GPU fails that nobody asked for by name.
    executor: Mutex<Arc<dyn Executor>>,
    wanted: Wanted,
    pub(super) plans: Mutex<Plans>,
    /// What the last call asked for, and what came of it.
    settings: Mutex<Option<(Options, Arc<Settings>)>>,
    pub(super) tune: Tune,
}

/// The device that options and environment name together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) device: String,
    pub(super) threads: u32,
    /// Highest instruction set of the CPU's kernels.
    pub(super) level: Option<String>,
    pub(super) precision: String,
}

impl Wanted {
    /// # Errors
    /// `Option` where a variable holds a value that is not possible, or the device lacks the precision.
    pub(super) fn of(options: &Options) -> Result<Self> {
        let environment = Environment::read()?;
        let device = environment.device.filter(|_| options.device == "auto");
        let threads = environment.threads.filter(|_| options.threads == 0);
        let device = device.unwrap_or_else(|| options.device.clone());
        exec::check_precision(&device, &options.precision)?;
        Ok(Self {
            device,
            threads: threads.unwrap_or(options.threads),
            level: environment.cpu,
            // The same for every device; one name, so that those who ask for either share.
            precision: if options.precision == "f32" { "auto".to_owned() } else { options.precision.clone() },
        })
    }

    /// The executor called `name`, with the threads and kernels that are wanted.
    fn executor(&self, name: &str) -> Result<Arc<dyn Executor>> {
        #[cfg(feature = "twin")]
        if name == "twin" {
            let (counts, noise) = (Arc::default(), crate::sampler::gaussian as _);
            let inner = self.executor("cpu")?;
            return Ok(Arc::new(exec::naive_maps::WithMaps { inner, noise, counts, room: usize::MAX }));
        }
        exec::executor(name, self.threads as usize, self.level.as_deref(), &self.precision)
    }
}

/// What changes the order of work but not the picture.
pub(super) struct Tune {
    pub(super) order: Order,
    /// Tiles in one call of the network, 1 to 16; 0: as many as suit the device.
    pub(super) batch: usize,
}

impl Default for Tune {
    fn default() -> Self {
        Self { order: Order::Rows, batch: 0 }
    }
}

/// How long a caller sleeps between looks at its turn and its cancel token.
const TURN_WAIT: Duration = Duration::from_millis(2);

impl Upscaler {
    /// Finds and opens the model and the device that `options` name.
    ///
    /// # Errors
    /// `Model` where the model is missing or broken, `Device` where the device is not to be had, `Option` for
    /// values out of range.
    pub fn new(options: &Options) -> Result<Self> {
        options.validate()?;
        let (folder, manifest) = locate(options.model.as_deref())?;
        let wanted = Wanted::of(options)?;
        let executor = wanted.executor(&wanted.device)?;
        check_files(&folder, &manifest)?;
        // A missing tensor is found now and not in the middle of a film.
        check_tensors(&folder, &manifest)?;
        let plans = Mutex::new(Plans::new(&manifest, &folder, Arc::clone(&executor)));
        Ok(Self {
            info: ModelInfo::of(&manifest, &folder)?,
            manifest,
            executor: Mutex::new(executor),
            wanted,
            plans,
            settings: Mutex::new(None),
            tune: Tune::default(),
        })
    }

    /// What computes.
    pub(super) fn executor(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.executor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another device from now on.
    #[cfg(test)]
    pub(super) fn compute_on(&self, device: Arc<dyn Executor>) {
        *self.executor.lock().unwrap() = device;
    }

    /// The model.
    pub fn model(&self) -> &ModelInfo {
        &self.info
    }

    /// The device that computes. Where `auto` took a GPU and that fails, it is the CPU from then on.
    pub fn device(&self) -> &str {
        self.executor().name()
    }

    /// Size of the result.
    ///
    /// # Errors
    /// `Option` where the model cannot do `scale`, `Limit` where the result would be too large.
    pub fn output_size(&self, width: u32, height: u32, scale: u32) -> Result<(u32, u32)> {
        if !self.info.scales.contains(&scale) {
            return Err(Error::option(format!(
                "scale is {scale}, model `{}` can do {}",
                self.info.name,
                self.info.scales.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
            )));
        }
        match (width.checked_mul(scale), height.checked_mul(scale)) {
            (Some(w), Some(h)) if w <= Frame::MAX_SIDE && h <= Frame::MAX_SIDE => Ok((w, h)),
            _ => Err(Error::limit(format!(
                "{width}x{height} pixels are too large for {scale}x: at most {} a side",
                Frame::MAX_SIDE / scale
            ))),
        }
    }

    /// Enlarges `input` into `output`, whose format is the same and whose sides are `scale` times as long.
    /// `options` gives scale, steps, seed, fidelity, eta and tile size. After an error the contents of `output`
    /// are unspecified.
    ///
    /// # Errors
    /// `Input` for frames that do not fit, `Option` for values the model cannot do, `Limit` where memory is
    /// missing, `Cancelled` where `cancel` or `progress` asked for it, `Device` where computing failed.
    pub fn run(
        &self,
        input: &FrameRef<'_>,
        output: &mut FrameMut<'_>,
        options: &Options,
        progress: &mut ProgressFn<'_>,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.run_cached(input, output, options, None, progress, cancel)
    }

    /// As [`Upscaler::run`], with what a stream kept of its last frame.
    pub(super) fn run_cached(
        &self,
        input: &FrameRef<'_>,
        output: &mut FrameMut<'_>,
        options: &Options,
        mut cache: Option<&mut FrameCache>,
        progress: &mut ProgressFn<'_>,
        cancel: &CancelToken,
    ) -> Result<()> {
        let settings = self.settings(options)?;
        let size = self.output_size(input.width(), input.height(), options.scale)?;
        if (output.width(), output.height()) != size || output.format() != input.format() {
            return Err(Error::input(format!(
                "the output is {}x{} {:?}, it must be {}x{} {:?}",
                output.width(),
                output.height(),
                output.format(),
                size.0,
                size.1,
                input.format()
            )));
        }
        let mut plans = self.turn(cancel)?;
        let mut paint = |plans: &mut Plans, cache: Option<&mut FrameCache>| {
            self.paint(plans, (input, Some(&mut *output)), &settings, cache, progress, cancel).map(|_| ())
        };
        match paint(&mut plans, cache.as_deref_mut()) {
            Err(e) if self.fall_back(&mut plans, &e)? => paint(&mut plans, cache),
            done => done,
        }
    }

    /// Begins a picture whose turn comes later, on a device that can go on alone; nothing where there is none.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub(super) fn begin(
        &self,
        input: &FrameRef<'_>,
        options: &Options,
        cache: &mut FrameCache,
        cancel: &CancelToken,
    ) -> Result<Option<Pending>> {
        let settings = self.settings(options)?;
        self.output_size(input.width(), input.height(), options.scale)?;
        let mut silent = |_: Progress| ControlFlow::Continue(());
        let mut plans = self.turn(cancel)?;
        if plans.resident.is_none() {
            let Some(maps) = plans.maps() else { return Ok(None) };
            plans.resident = Some(Resident::new(maps?));
        }
        self.paint(&mut plans, (input, None), &settings, Some(cache), &mut silent, cancel)
    }

    /// Finishes what was begun; false where it is not to be had any more.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub(super) fn end(
        &self,
        pending: &Pending,
        output: &mut FrameMut<'_>,
        cancel: &CancelToken,
    ) -> Result<bool> {
        let mut plans = self.turn(cancel)?;
        match plans.resident.as_mut().filter(|r| r.has(pending)) {
            Some(resident) => resident.end(pending, output, &mut Canvas::default()).map(|()| true),
            None => Ok(false),
        }
    }

    /// Goes over to the CPU where `e` came of a GPU that was taken because it was there; whether that is so.
    fn fall_back(&self, plans: &mut Plans, e: &Error) -> Result<bool> {
        let of_device = matches!(e.kind(), ErrorKind::Device | ErrorKind::Limit);
        if !of_device || self.wanted.device != "auto" || self.device() == "cpu" {
            return Ok(false);
        }
        log::warn!("{e}; going on with the CPU");
        let cpu = self.wanted.executor("cpu")?;
        plans.compute_with(Arc::clone(&cpu));
        *self.executor.lock().unwrap_or_else(PoisonError::into_inner) = cpu;
        Ok(true)
    }

    /// What `options` come to for this model; the last ones are kept, for videos ask for the same again and again.
    fn settings(&self, options: &Options) -> Result<Arc<Settings>> {
        let mut last = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, settings)) = last.as_ref().filter(|(o, _)| o == options) {
            return Ok(Arc::clone(settings));
        }
        let settings = Arc::new(Settings::resolve(options, &self.manifest)?);
        *last = Some((options.clone(), Arc::clone(&settings)));
        Ok(settings)
    }

    /// Waits until no other call runs on this upscaler.
    pub(super) fn turn(&self, cancel: &CancelToken) -> Result<MutexGuard<'_, Plans>> {
        loop {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            match self.plans.try_lock() {
                Ok(guard) => return Ok(guard),
                // Plans hold no half-changed state: a panic elsewhere leaves them as they were.
                Err(TryLockError::Poisoned(guard)) => return Ok(guard.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN_WAIT),
            }
        }
    }
}

/// Every file of the folder that the description lists must be there.
pub(super) fn check_files(folder: &Path, manifest: &Manifest) -> Result<()> {
    for name in manifest.common.files.keys() {
        if !folder.join(name).is_file() {
            return Err(Error::model(format!(
                "{} is missing, model.json lists it: copy the whole model folder",
                folder.join(name).display()
            )));
        }
    }
    Ok(())
}
