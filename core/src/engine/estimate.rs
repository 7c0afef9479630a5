//! What a frame will take, in plain numbers, before anything is computed.

use super::cancel::CancelToken;
use super::plans::{Part, Plans};
use super::settings::{ColourFix, Settings};
use super::upscaler::Upscaler;
use crate::error::{Error, Result};
use crate::graph::{Plan, dump};
use crate::model;
use crate::options::Options;
use crate::pixels::{ColorInfo, Frame, PixelFormat};
use crate::tiles::TileGrid;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// How a frame will be enlarged.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FramePlan {
    /// Width and height of the result in pixels.
    pub output: (u32, u32),
    /// Width and height of a tile in input pixels, with what neighbours share.
    pub tile: (u32, u32),
    /// Tiles of the frame, worked on one after the other.
    pub tiles: u64,
    /// Sampling steps; each runs the denoiser once per tile.
    pub steps: u64,
    /// Units of [`Progress`](super::Progress) in all.
    pub units: u64,
    /// Bytes that the largest graph's results take at one time.
    pub working_bytes: u64,
    /// Bytes that follow the frame's size: the input as f32, fields of the latent, bands of the result.
    pub frame_bytes: u64,
    /// Floating-point operations in 10^9.
    pub gflop: f64,
}

/// Side of the picture whose time is taken for an estimate: large enough for the kernels, too small to wait for.
const PROBE_SIDE: u32 = 96;

impl FramePlan {
    /// Bytes of a call besides frames as the host holds them and weights.
    pub fn bytes(&self) -> u64 {
        self.working_bytes.saturating_add(self.frame_bytes)
    }
}

impl Upscaler {
    /// Plans a frame of `width` x `height` pixels; nothing of its size is allocated.
    ///
    /// # Errors
    /// `Input` for a side of zero, `Option` for values the model cannot do, `Limit` for frames that are too large.
    pub fn plan(&self, width: u32, height: u32, options: &Options) -> Result<FramePlan> {
        let settings = Settings::resolve(options, &self.manifest)?;
        if width == 0 || height == 0 {
            return Err(Error::input(format!("{width}x{height} pixels: a side is zero")));
        }
        let output = self.output_size(width, height, options.scale)?;
        let network = &self.manifest.network;
        let lattice = model::lattice(network, &self.manifest.common);
        let zoom = settings.scale / model::FACTOR;
        let cells = |pixels: u32| (pixels as usize * zoom).next_multiple_of(lattice);
        let (h, w) = (cells(height), cells(width));
        let executor = self.executor();
        let grid = self.grid((h, w), settings.tile_size * zoom, &settings)?;
        let (th, tw) = grid.tile_shape();
        let steps = settings.steps.len();
        let (mut working_bytes, mut gflop) = (0, 0.0);
        for (part, runs) in [(Part::Denoiser, steps), (Part::Decoder, 1)] {
            let graph = Plans::graph(network, (part, 1, th, tw))?;
            gflop += dump::totals(&graph, &Plan::new(&graph)).flops as f64 / 1e9 * (runs * grid.len()) as f64;
            working_bytes = working_bytes.max(executor.bytes(graph));
        }
        let frame_bytes = self.frame_bytes(&grid, &settings);
        let pixels = |cells: usize| (cells / zoom) as u32;
        let (tiles, steps) = (grid.len() as u64, steps as u64);
        Ok(FramePlan {
            output,
            tile: (pixels(tw).min(width), pixels(th).min(height)),
            tiles,
            steps,
            units: tiles * (steps + 1),
            working_bytes,
            frame_bytes,
            gflop,
        })
    }

    /// How long the planned frame will take here: two small pictures are enlarged, and the time of the second is scaled
    /// by the operations. Nothing where the network needs tiles of one size, which may take minutes each.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub fn estimate(
        &self,
        plan: &FramePlan,
        options: &Options,
        cancel: &CancelToken,
    ) -> Result<Option<Duration>> {
        if !self.may_shrink(options.scale as usize) {
            return Ok(None);
        }
        let (side, large) = (PROBE_SIDE, PROBE_SIDE * options.scale);
        let small = Frame::new(PixelFormat::Rgb8, side, side, ColorInfo::default())?;
        let mut large = Frame::new(PixelFormat::Rgb8, large, large, ColorInfo::default())?;
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let started = Instant::now();
            let mut progress = |_| ControlFlow::Continue(());
            self.run(&small.view(), &mut large.view_mut(), options, &mut progress, cancel)?;
            took = started.elapsed();
        }
        let per_gflop = took.as_secs_f64() / self.plan(side, side, options)?.gflop.max(f64::MIN_POSITIVE);
        Ok(Duration::try_from_secs_f64(per_gflop * plan.gflop).ok())
    }

    /// Bytes of everything that follows the picture's size, at its peak, for a picture padded to the lattice.
    pub(super) fn frame_bytes(&self, grid: &TileGrid, settings: &Settings) -> u64 {
        let network = &self.manifest.network;
        let (h, w) = grid.picture_shape();
        let (th, tw) = grid.tile_shape();
        let factor = model::FACTOR;
        let zoom = settings.scale / factor;
        let latent = model::latent_channels(network);
        let (cells, fine) = (h * w, w * factor);
        let chain = settings.steps.len() > 1;
        // Input with alpha, condition, and the input at the latent grid where that is another.
        let input = 4 * cells / (zoom * zoom) + 3 * cells + if zoom > 1 { 3 * cells } else { 0 };
        let reads_start = settings.steps.first().is_some_and(|s| s.input_scale != 0.0 || s.coefs.x != 0.0);
        let fields = latent
            * cells
            * (1 + usize::from(chain || reads_start)
                + usize::from(settings.steps.len() > 2 && settings.fidelity > 0.0));
        // A row of tiles summed across, the sum downwards, and the band that becomes samples (with alpha).
        let tall = th * factor;
        let strips = if grid.len() > 1 { 2 * th * w * latent + 2 * 3 * tall * fine } else { 0 };
        let bands = 4 * tall * fine;
        // Inputs and results of a tile of each graph.
        let tile = self.tune.batch.max(1) * th * tw * (2 * (latent + 3) + latent + 3 * factor * factor);
        let whole = match (settings.colour_fix, model::condition_resize(network)) {
            (ColourFix::None, model::ConditionResize::Bicubic) => 0,
            (ColourFix::None, model::ConditionResize::Imresize) => 2,
            // The picture, what it is matched to, and two planes of a filter.
            _ => 4,
        };
        let whole = whole * 3 * cells * factor * factor;
        ((input + fields + strips + bands + tile + whole) as u64).saturating_mul(size_of::<f32>() as u64)
    }
}
