//! The shipped family's part of `model.json`.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::weights::manifest::{Common, between, in_range, multiple, wrong};

/// Channels a layer may have: far above any trained width, low enough that products stay small.
const MAX_WIDTH: usize = 1024;
const MAX_BLOCKS: usize = 64;
const MAX_LEVELS: usize = 6;

/// The shipped family: residual first stage, window attention, one expert per step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// Residual to latent.
    pub first_stage: FirstStage,
    /// Encoder of the low-resolution picture.
    pub condition: Condition,
    /// The UNet of each expert.
    pub denoiser: Denoiser,
    /// Latent to residual.
    pub decoder: Decoder,
    /// The schedule the experts were trained with.
    pub sampler: NativeSampler,
}

/// Residual to latent: a fixed linear map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstStage {
    /// Channels of the latent.
    pub latent_channels: usize,
}

/// Encoder of the low-resolution picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Channels.
    pub width: usize,
    /// Residual blocks.
    pub blocks: usize,
}

/// The UNet of one expert; the last level is its middle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoiser {
    /// Channels per level.
    pub widths: Vec<usize>,
    /// Residual blocks per level and side.
    pub blocks: Vec<usize>,
    /// 1 where each block is followed by attention.
    pub attention: Vec<u8>,
    /// Channels of one attention head.
    pub head_channels: usize,
    /// Side of an attention window, in cells of its level.
    pub window: usize,
    /// Width of the feed-forward over the width of its level.
    pub ffn_mult: usize,
}

/// Latent to residual picture; levels at 1, 2 and 4 times the latent grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// Channels per level.
    pub widths: [usize; 3],
    /// Residual blocks per level.
    pub blocks: [usize; 3],
    /// Channels of its own condition encoder.
    pub condition_width: usize,
    /// Blocks of its own condition encoder.
    pub condition_blocks: usize,
    /// Weight of the low-resolution features.
    pub fusion_weight: f64,
    /// Frequency-augmented blocks of level 1.
    pub aff: Aff,
}

/// Frequency-augmented blocks in windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aff {
    /// How many.
    pub blocks: usize,
    /// Side of a window, in cells of level 1.
    pub window: usize,
    /// Diagonal blocks of the filter.
    pub groups: usize,
    /// Slope of the leaky rectifier.
    pub leaky_slope: f64,
    /// Threshold of the soft shrinkage.
    pub softshrink: f64,
}

/// Residual shifting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum NativeSampler {
    /// ResShift schedule (arXiv 2307.12348).
    Shift {
        /// Timesteps, and so experts.
        steps: u32,
        /// Noise strength.
        kappa: f64,
        /// Sets the first shift.
        min_noise: f64,
        /// Exponent of the growth.
        power: f64,
        /// Square root of the last shift.
        end: f64,
    },
}

impl Native {
    /// Timesteps of the schedule, which is the number of experts.
    pub fn experts(&self) -> u32 {
        let NativeSampler::Shift { steps, .. } = self.sampler;
        steps
    }

    pub(crate) fn validate(&self, common: &Common) -> Result<()> {
        let lattice = common.lattice;
        in_range("first_stage.latent_channels", self.first_stage.latent_channels, 1, 48)?;
        in_range("condition.width", self.condition.width, 1, MAX_WIDTH)?;
        in_range("condition.blocks", self.condition.blocks, 0, MAX_BLOCKS)?;

        let d = &self.denoiser;
        let levels = d.widths.len();
        in_range("denoiser.widths: number of levels", levels, 1, MAX_LEVELS)?;
        for (key, n) in [("blocks", d.blocks.len()), ("attention", d.attention.len())] {
            if n != levels {
                return Err(wrong(
                    &format!("denoiser.{key}: length"),
                    n,
                    format!("{levels}, that of widths"),
                ));
            }
        }
        in_range("denoiser.head_channels", d.head_channels, 1, MAX_WIDTH)?;
        in_range("denoiser.window", d.window, 1, 64)?;
        in_range("denoiser.ffn_mult", d.ffn_mult, 1, 16)?;
        for (l, ((&width, &blocks), &attention)) in
            d.widths.iter().zip(&d.blocks).zip(&d.attention).enumerate()
        {
            in_range(&format!("denoiser.widths[{l}]"), width, 1, MAX_WIDTH)?;
            in_range(&format!("denoiser.blocks[{l}]"), blocks, 0, MAX_BLOCKS)?;
            in_range(&format!("denoiser.attention[{l}]"), attention.into(), 0, 1)?;
            // Windows are anchored to the picture: a tile that starts between two would cut them elsewhere.
            multiple("lattice", lattice, if attention == 1 { d.window << l } else { 1 << l })?;
            if attention == 1 {
                multiple(&format!("denoiser.widths[{l}]"), width, d.head_channels)?;
            }
        }

        let d = &self.decoder;
        for l in 0..3 {
            in_range(&format!("decoder.widths[{l}]"), d.widths[l], 1, MAX_WIDTH)?;
            in_range(&format!("decoder.blocks[{l}]"), d.blocks[l], 0, MAX_BLOCKS)?;
        }
        in_range("decoder.condition_width", d.condition_width, 2, MAX_WIDTH)?;
        multiple("decoder.condition_width", d.condition_width, 2)?;
        in_range("decoder.condition_blocks", d.condition_blocks, 0, MAX_BLOCKS)?;
        between("decoder.fusion_weight", d.fusion_weight, 0.0, 1.0)?;
        in_range("decoder.aff.blocks", d.aff.blocks, 0, MAX_BLOCKS)?;
        in_range("decoder.aff.groups", d.aff.groups, 1, MAX_WIDTH)?;
        in_range("decoder.aff.window", d.aff.window, 1, 256)?;
        between("decoder.aff.leaky_slope", d.aff.leaky_slope, 0.0, 1.0)?;
        between("decoder.aff.softshrink", d.aff.softshrink, 0.0, 1.0)?;
        if d.aff.blocks > 0 {
            multiple("decoder.widths[1]", d.widths[1], d.aff.groups)?;
            // Level 1 has two cells per lattice unit's cell.
            multiple("twice the lattice", 2 * lattice, d.aff.window)?;
        }

        let NativeSampler::Shift { steps, kappa, min_noise, power, end } = self.sampler;
        in_range("sampler.steps", steps as usize, 1, 1000)?;
        between("sampler.kappa", kappa, 1e-3, 100.0)?;
        between("sampler.min_noise", min_noise, 1e-6, 1.0)?;
        between("sampler.power", power, 1e-3, 10.0)?;
        between("sampler.end", end, 1e-3, 1.0)?;
        if (min_noise / kappa).min(min_noise) >= end {
            return Err(wrong("sampler.min_noise", min_noise, "a first shift below sampler.end"));
        }
        in_range("defaults.steps", common.defaults.steps as usize, 1, steps as usize)
    }
}
