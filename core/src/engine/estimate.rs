//! What a frame will take, in plain numbers, before anything is computed.

use super::plans::{Part, Plans};
use super::settings::Settings;
use super::upscaler::Upscaler;
use crate::error::{Error, Result};
use crate::graph::{Plan, dump};
use crate::model;
use crate::options::Options;

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
    /// Bytes of the frame as planar f32: condition, latent fields, result.
    pub frame_bytes: u64,
    /// Floating-point operations in 10^9.
    pub gflop: f64,
}

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
        let grid = self.grid(&*executor, (h, w), settings.tile_size * zoom, settings.scale)?;
        let (th, tw) = grid.tile_shape();
        let steps = settings.steps.len();
        let (mut working_bytes, mut gflop) = (0, 0.0);
        for (part, runs) in [(Part::Denoiser, steps), (Part::Decoder, 1)] {
            let graph = Plans::graph(network, (part, 1, th, tw))?;
            gflop += dump::totals(&graph, &Plan::new(&graph)).flops as f64 / 1e9 * (runs * grid.len()) as f64;
            working_bytes = working_bytes.max(executor.bytes(graph));
        }
        // Planes of cells: the condition and three fields of the latent; of the result: picture and decoded.
        let latent = (3 + 3 * model::latent_channels(network)) * h * w;
        let large = 6 * h * w * model::FACTOR * model::FACTOR;
        let frame_bytes = ((latent + large) as u64).saturating_mul(size_of::<f32>() as u64);
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
}
