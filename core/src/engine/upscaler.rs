//! The public object: a model on a device. One picture at a time; callers wait for their turn.

use super::cancel::CancelToken;
use super::inspect::{check_tensors, locate};
use super::picture::Job;
use super::plans::{Part, Plans};
use super::progress::{Counter, Progress, ProgressFn};
use super::settings::{ColourFix, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{self, Executor};
use crate::model::{self, Base, ConditionResize};
use crate::options::{Environment, Options};
use crate::pixels::canvas::Canvas;
use crate::pixels::resample::bicubic_up;
use crate::pixels::{Frame, FrameMut, FrameRef, alpha, colorfix, convert, imresize};
use crate::tiles::TileGrid;
use crate::weights::Manifest;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
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
}

impl ModelInfo {
    pub(super) fn of(manifest: &Manifest, folder: &Path) -> Self {
        let common = &manifest.common;
        Self {
            name: common.name.clone(),
            version: common.version.clone(),
            family: common.family.clone(),
            licence: common.licence.clone(),
            scales: common.scales.clone(),
            folder: folder.to_path_buf(),
        }
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

/// The devices of this build.
pub fn devices() -> Vec<DeviceInfo> {
    exec::EXECUTORS
        .iter()
        .map(|&(name, description)| DeviceInfo { name: name.to_owned(), description: description.to_owned() })
        .collect()
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
    device: &'static str,
    executor: Arc<dyn Executor>,
    pub(super) plans: Mutex<Plans>,
}

/// Bytes that results of one tile may take at a time. Fixed, and not what the machine has free: another grid of tiles
/// would be another picture. Where not even this can be had, the tiles shrink.
const TILE_BYTES: u64 = 1 << 30;

/// Sides tried for tiles, in latent cells, when the whole picture is above the budget.
const TILE_SIDES: [usize; 6] = [512, 384, 256, 192, 128, 96];

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
        let environment = Environment::read()?;
        let device = match (options.device.as_str(), environment.device) {
            ("auto", Some(device)) => device,
            (device, _) => device.to_owned(),
        };
        let threads = match (options.threads, environment.threads) {
            (0, Some(threads)) => threads,
            (threads, _) => threads,
        };
        let executor = exec::executor(&device, threads as usize, environment.cpu.as_deref())?;
        check_files(&folder, &manifest)?;
        // A missing tensor is found now and not in the middle of a film.
        check_tensors(&folder, &manifest)?;
        let device = executor.name();
        let plans = Mutex::new(Plans::new(&manifest, &folder, Arc::clone(&executor)));
        Ok(Self { info: ModelInfo::of(&manifest, &folder), manifest, device, executor, plans })
    }

    /// What computes.
    pub(super) fn executor(&self) -> Arc<dyn Executor> {
        Arc::clone(&self.executor)
    }

    /// The model.
    pub fn model(&self) -> &ModelInfo {
        &self.info
    }

    /// The device that computes.
    pub fn device(&self) -> &str {
        self.device
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
        let settings = Settings::resolve(options, &self.manifest)?;
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
        let (mut lr, opacity) = convert::to_canvas(input)?;
        if let Some(opacity) = &opacity {
            alpha::bleed(&mut lr, opacity)?;
        }
        let picture = self.paint(&mut plans, &lr, &settings, progress, cancel)?;
        drop(plans);
        let opacity = opacity.map(|a| alpha::enlarge(&a, settings.scale)).transpose()?;
        convert::to_frame(&picture, opacity.as_ref(), output)
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

    fn paint(
        &self,
        plans: &mut Plans,
        lr: &Canvas,
        settings: &Settings,
        progress: &mut ProgressFn<'_>,
        cancel: &CancelToken,
    ) -> Result<Canvas> {
        let network = &self.manifest.network;
        let zoom = settings.scale / model::FACTOR;
        let way = model::condition_resize(network);
        let enlarged = if zoom == 1 { None } else { Some(resize(lr, zoom, way)?) };
        let fine = enlarged.as_ref().unwrap_or(lr);
        let lattice = model::lattice(network, &self.manifest.common);
        // The network was trained on samples that can be shown; the bicubic base keeps what lies beyond.
        let mut condition = fine.padded(lattice)?;
        condition.clamp01();
        // The published decoder reads the input at output size, enlarged in one go from the original.
        let guide = match way {
            ConditionResize::Imresize => Some(resize(lr, settings.scale, way)?),
            ConditionResize::Bicubic => None,
        };
        let guide_padded = guide.as_ref().map(|g| g.padded(lattice * model::FACTOR)).transpose()?;
        let (h, w) = (condition.height(), condition.width());
        let executor = self.executor();
        let mut side = settings.tile_size * zoom;
        let decoded = loop {
            let grid =
                plans.grid((h, w, side), |side| self.grid(&*executor, (h, w), side, settings.scale))?;
            let job = Job {
                condition: &condition,
                guide: guide_padded.as_ref(),
                steps: &settings.steps,
                start_noise: settings.start_noise,
                fidelity: settings.fidelity,
                seed: settings.seed,
                latent_channels: model::latent_channels(network),
                grid: &grid,
                stop: cancel.flag(),
            };
            let mut counter = Counter::new(progress, job.units())?;
            let all = job
                .sample(plans, &mut counter)
                .and_then(|z| job.decode(plans, &z, model::FACTOR, &mut counter));
            match (all, smaller(grid.tile_shape())) {
                (Err(e), Some(less)) if e.kind() == ErrorKind::Limit && self.may_shrink(settings.scale) => {
                    log::warn!("{e}; going on with tiles of {less} cells and not {:?}", grid.tile_shape());
                    plans.forget();
                    side = less;
                }
                (all, _) => break all?,
            }
        };
        let (width, height) = (fine.width() * model::FACTOR, fine.height() * model::FACTOR);
        let mut picture = match model::base(network) {
            Base::Nothing => Canvas::new(3, width, height)?,
            Base::Bicubic => bicubic_up(fine, model::FACTOR, 0..height)?,
        };
        add_cropped(&mut picture, &decoded);
        match settings.colour_fix {
            ColourFix::None => Ok(picture),
            ColourFix::Adain => match_colours(picture, |p| {
                colorfix::adain(p, &signed(fine.clone()));
                Ok(())
            }),
            ColourFix::Wavelet => {
                let reference = match guide {
                    Some(guide) => guide,
                    None => bicubic_up(fine, model::FACTOR, 0..height)?,
                };
                match_colours(picture, |p| colorfix::wavelet(p, &signed(reference)))
            }
        }
    }

    /// Whether this network works at tiles of any size.
    fn may_shrink(&self, scale: usize) -> bool {
        model::fixed_tile(&self.manifest.network, scale).is_none()
    }

    /// Tiles for `h` x `w` latent cells: of the side asked for (0: the whole where it fits the budget, else the
    /// largest side that does), or of the size the network was trained at where it needs that.
    pub(super) fn grid(
        &self,
        executor: &dyn Executor,
        (h, w): (usize, usize),
        asked: usize,
        scale: usize,
    ) -> Result<TileGrid> {
        let network = &self.manifest.network;
        let lattice = model::lattice(network, &self.manifest.common);
        if let Some(side) = model::fixed_tile(network, scale) {
            // Statistics over a tile enter the network: a quarter shared hides what tiles disagree on.
            let (overlap, ramp) = (side / 4, side / 8);
            return TileGrid::new((h, w), (side.min(h), side.min(w)), overlap, ramp, lattice);
        }
        let fits = |side: usize| -> Result<bool> {
            // The latent alone; where it does not fit, the graph may be too large to be recorded.
            let cells = (h.min(side) * w.min(side)) as u64;
            if cells * 4 * model::latent_channels(network) as u64 > TILE_BYTES {
                return Ok(false);
            }
            for part in [Part::Denoiser, Part::Decoder] {
                let key = (part, 1, h.min(side), w.min(side));
                if Plans::bytes(executor, network, key)? > TILE_BYTES {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let side = match asked {
            0 => {
                let mut side = TILE_SIDES[TILE_SIDES.len() - 1];
                for s in std::iter::once(h.max(w)).chain(TILE_SIDES) {
                    if fits(s)? {
                        side = s;
                        break;
                    }
                }
                side
            }
            // A tile must reach beyond what it shares with its neighbours.
            asked => asked.next_multiple_of(lattice).max(OVERLAP.next_multiple_of(lattice) + lattice),
        };
        TileGrid::new((h, w), (side.min(h), side.min(w)), OVERLAP, RAMP, lattice)
    }
}

/// The next smaller side to try for a tile, if there is one that is worth it.
fn smaller((h, w): (usize, usize)) -> Option<usize> {
    TILE_SIDES.into_iter().find(|&side| side < h.max(w))
}

/// The picture `factor` times larger, the way the network was trained with.
fn resize(lr: &Canvas, factor: usize, way: ConditionResize) -> Result<Canvas> {
    match way {
        ConditionResize::Bicubic => bicubic_up(lr, factor, 0..lr.height() * factor),
        ConditionResize::Imresize => imresize::enlarge_u8(lr, factor),
    }
}

/// From `[0, 1]` to `[-1, 1]`, the range in which colours are matched.
fn signed(mut canvas: Canvas) -> Canvas {
    canvas.data_mut().iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
    canvas
}

/// Matches colours in `[-1, 1]` and goes back to `[0, 1]`.
fn match_colours(picture: Canvas, fix: impl FnOnce(&mut Canvas) -> Result<()>) -> Result<Canvas> {
    let mut picture = signed(picture);
    fix(&mut picture)?;
    picture.data_mut().iter_mut().for_each(|v| *v = 0.5 * *v + 0.5);
    Ok(picture)
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

/// Adds the part of `decoded` that the picture covers.
fn add_cropped(picture: &mut Canvas, decoded: &Canvas) {
    for c in 0..3 {
        for y in 0..picture.height() {
            picture.row_mut(c, y).iter_mut().zip(decoded.row(c, y)).for_each(|(p, d)| *p += d);
        }
    }
}

/// Ordered frames of one video: one noise field for all of them, and no fresh noise unless it is asked for.
pub struct Stream {
    upscaler: Arc<Upscaler>,
}

impl Stream {
    /// A stream on `upscaler`, which other streams and pictures may use too.
    pub fn new(upscaler: Arc<Upscaler>) -> Self {
        Self { upscaler }
    }

    /// Enlarges the next frame; like [`Upscaler::run`], with an `eta` of 0 where the options leave it open.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub fn run(
        &mut self,
        input: &FrameRef<'_>,
        output: &mut FrameMut<'_>,
        options: &Options,
        cancel: &CancelToken,
    ) -> Result<()> {
        let mut options = options.clone();
        if options.eta < 0.0 {
            options.eta = 0.0;
        }
        let mut silent = |_: Progress| ControlFlow::Continue(());
        self.upscaler.run(input, output, &options, &mut silent, cancel)
    }

    /// Forgets earlier frames: after a seek, a cut or new caps. The picture of a frame does not depend on it.
    pub fn reset(&mut self) {}
}
