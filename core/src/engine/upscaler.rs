//! The public object: a model on a device. One picture at a time; callers wait for their turn.

use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::inspect::{check_tensors, locate};
use super::layout::{Layout, Scene};
use super::memory;
use super::paint::TILE_SIDES;
use super::plans::{GridKey, Part, Plans, Tiling};
use super::progress::{Progress, ProgressFn};
use super::resident::{Pending, Resident};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{self, Executor};
use crate::model;
use crate::options::{Environment, Options};
use crate::pixels::canvas::Canvas;
use crate::pixels::{Frame, FrameMut, FrameRef};
use crate::tiles::{Order, TileGrid};
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

/// Tiles at once that are tried on a device with memory of its own. With eight the smallest maps of a network of 128x128 cells still have blocks for a
/// good part of a large GPU.
const AT_ONCE: [usize; 3] = [8, 4, 2];

/// Bytes that results of one tile may take at a time. Fixed, and not what the machine has free: another grid of tiles
/// is another picture, if only by a little. Where not even this is free, the tiles shrink.
const TILE_BYTES: u64 = 1 << 30;

/// Cells shared by neighbouring tiles. Half of it is context that is thrown away: 32 cells, at which tiles of
/// the shipped network agree to 47 dB before blending.
const OVERLAP: usize = 64;

/// Cells in the middle of an overlap over which tiles blend.
const RAMP: usize = 16;

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

    /// Whether this network works at tiles of any size.
    pub(super) fn may_shrink(&self, scale: usize) -> bool {
        model::fixed_tile(&self.manifest.network, scale).is_none()
    }

    /// Tiles for a picture of `h` x `w` latent cells, `asked` as in [`Upscaler::grid`].
    pub(super) fn tiling(
        &self,
        plans: &mut Plans,
        (h, w): (usize, usize),
        asked: usize,
        settings: &Settings,
    ) -> Result<Tiling> {
        plans.tiling(Self::grid_key((h, w), asked, settings), || {
            let grid = self.grid((h, w), asked, settings)?;
            let batch = self.batch(&grid)?;
            Ok(Tiling::new(grid, batch))
        })
    }

    /// Tiles at once: one, for processors gain nothing from more and the memory would double. On a device whose memory is its own so many
    /// that it has enough to do, as far as half of what is free goes, and calls about even: another number is another plan.
    fn batch(&self, grid: &TileGrid) -> Result<usize> {
        let executor = self.executor();
        let Some(free) = executor.free().filter(|_| grid.len() > 1) else { return Ok(1) };
        let room = free.saturating_add(executor.held()) / 2;
        for most in AT_ONCE {
            let batch = grid.len().div_ceil(grid.len().div_ceil(most));
            if batch > 1 && self.tile_bytes(grid, batch)?.is_some_and(|bytes| bytes <= room) {
                return Ok(batch);
            }
        }
        Ok(1)
    }

    /// What the tiles of such a picture follow from.
    pub(super) fn grid_key((h, w): (usize, usize), asked: usize, settings: &Settings) -> GridKey {
        (h, w, asked, settings.tile_overlap, settings.scale)
    }

    /// Tiles for `h` x `w` latent cells: of the side asked for (0: the whole where it fits the budget, else the
    /// largest side that does), or of the size the network was trained at where it needs that.
    pub(super) fn grid(&self, (h, w): (usize, usize), asked: usize, settings: &Settings) -> Result<TileGrid> {
        let network = &self.manifest.network;
        let lattice = model::lattice(network, &self.manifest.common);
        // Blended over a quarter of it, as the default is.
        let zoom = settings.scale / model::FACTOR;
        let shared = Some(settings.tile_overlap * zoom).filter(|o| *o > 0).map(|o| (o, o.div_ceil(4)));
        if let Some(side) = model::fixed_tile(network, settings.scale) {
            // Statistics over a tile enter the network: a quarter shared hides what tiles disagree on.
            let (overlap, ramp) = shared.unwrap_or((side / 4, side / 8));
            let overlap = overlap.min(side - lattice);
            return TileGrid::new((h, w), (side.min(h), side.min(w)), overlap, ramp, lattice);
        }
        let (overlap, ramp) = shared.unwrap_or((OVERLAP, RAMP));
        // A tile must reach beyond what it shares with its neighbours.
        let least = overlap.next_multiple_of(lattice) + lattice;
        let with_side = |side: usize| {
            let side = side.max(least);
            TileGrid::new((h, w), (side.min(h), side.min(w)), overlap, ramp, lattice)
        };
        if asked > 0 {
            return with_side(asked.next_multiple_of(lattice));
        }
        let sides = || std::iter::once(h.max(w)).chain(TILE_SIDES.into_iter().filter(|s| *s < h.max(w)));
        let mut chosen = None;
        for side in sides() {
            let grid = with_side(side)?;
            if self.tile_bytes(&grid, self.tune.batch.max(1))?.is_some_and(|bytes| bytes <= TILE_BYTES) {
                chosen = Some(grid);
                break;
            }
        }
        let chosen = match chosen {
            Some(grid) => grid,
            None => with_side(TILE_SIDES[TILE_SIDES.len() - 1])?,
        };
        self.within_memory(chosen, sides().filter(|s| *s < h.max(w)).map(with_side), settings)
    }

    /// `chosen`, or where the machine has not enough memory free, the first of the smaller ones that fits.
    fn within_memory(
        &self,
        chosen: TileGrid,
        smaller: impl Iterator<Item = Result<TileGrid>>,
        settings: &Settings,
    ) -> Result<TileGrid> {
        let executor = self.executor();
        let own = executor.free().map(|bytes| memory::Free { bytes, hard: true, of: "the GPU's memory" });
        // Where results lie on a device, frames do not lie beside them.
        let beside = own.is_none();
        let Some(free) = own.or_else(memory::free) else { return Ok(chosen) };
        let held = executor.held();
        let need = |grid: &TileGrid| -> Result<u64> {
            let tile = self.tile_bytes(grid, self.tune.batch.max(1))?.unwrap_or(u64::MAX);
            let frame = if beside { self.frame_bytes(grid, settings) } else { 0 };
            Ok(tile.saturating_sub(held).saturating_add(frame))
        };
        let wanted = need(&chosen)?;
        if wanted <= free.bytes {
            return Ok(chosen);
        }
        let area = |grid: &TileGrid| grid.tile_shape().0 * grid.tile_shape().1;
        let mut least = (wanted, chosen.clone());
        for grid in smaller {
            let grid = grid?;
            if area(&grid) >= area(&least.1) {
                continue;
            }
            let bytes = need(&grid)?;
            if bytes < least.0 {
                least = (bytes, grid);
            }
            if least.0 <= free.bytes {
                break;
            }
        }
        let mib = |bytes: u64| bytes >> 20;
        let (bytes, grid) = least;
        if bytes > free.bytes && free.hard {
            return Err(Error::limit(format!(
                "this picture needs {} MiB even in the smallest tiles, {} MiB are left of {}",
                mib(bytes),
                mib(free.bytes),
                free.of
            )));
        }
        log::warn!(
            "{} MiB are free of {}, tiles of {:?} cells want {}: going on with {:?}, which want {}",
            mib(free.bytes),
            free.of,
            chosen.tile_shape(),
            mib(wanted),
            grid.tile_shape(),
            mib(bytes)
        );
        Ok(grid)
    }

    /// The device with room for a picture, where it can hold one and has the memory; else its tiles come and go one by one.
    ///
    /// # Errors
    /// `Device` where the device fails.
    pub(super) fn resident(
        &self,
        plans: &mut Plans,
        scene: &Scene<'_>,
        settings: &Settings,
    ) -> Result<Option<Resident>> {
        if settings.independent {
            return Ok(None);
        }
        let executor = self.executor();
        let mut resident = match plans.resident.take() {
            Some(resident) => resident,
            None => match plans.maps() {
                Some(maps) => Resident::new(maps?),
                None => return Ok(None),
            },
        };
        let layout = Layout::of(scene);
        if layout.len > resident.held() {
            let values = (layout.len - resident.held()) + layout.sent + layout.back_len;
            let bytes = (values as u64).saturating_mul(size_of::<f32>() as u64);
            let tile = match executor.free() {
                Some(_) => self.tile_bytes(scene.job.grid, scene.job.batch)?.unwrap_or(u64::MAX),
                None => 0,
            };
            let need = bytes.saturating_add(tile.saturating_sub(executor.held()));
            if executor.free().is_some_and(|free| need > free) {
                return Ok(None);
            }
        }
        match resident.room(layout.len) {
            Ok(_) => Ok(Some(resident)),
            Err(e) if e.kind() == ErrorKind::Limit => {
                log::debug!("{e}; tiles come and go one by one");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Bytes that results of `batch` tiles of `grid` take at a time; nothing where it is too large to be recorded.
    pub(super) fn tile_bytes(&self, grid: &TileGrid, batch: usize) -> Result<Option<u64>> {
        let network = &self.manifest.network;
        let (h, w) = grid.tile_shape();
        let cells = (h as u64).saturating_mul(w as u64);
        if cells.saturating_mul(4 * model::latent_channels(network) as u64) > TILE_BYTES {
            return Ok(None);
        }
        let executor = self.executor();
        let mut most = 0;
        for part in [Part::Denoiser, Part::Decoder] {
            most = most.max(Plans::bytes(&*executor, network, (part, batch, h, w))?);
        }
        Ok(Some(most))
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
