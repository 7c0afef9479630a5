//! The numbers of a network, as `model.json` holds them.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Numbers of a network of the shipped family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeConfig {
    /// First stage.
    pub first_stage: FirstStageConfig,
    /// Condition encoder of the denoiser.
    pub condition: ConditionConfig,
    /// Denoiser.
    pub denoiser: DenoiserConfig,
    /// Decoder.
    pub decoder: DecoderConfig,
}

/// Residual first stage: 4x4 space-to-depth and a fixed matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstStageConfig {
    /// Channels of the latent.
    pub latent_channels: usize,
}

/// Encoder of the low-resolution picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionConfig {
    /// Channels.
    pub width: usize,
    /// Residual blocks.
    pub blocks: usize,
}

/// UNet on the low-resolution grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenoiserConfig {
    /// Channels per level.
    pub widths: Vec<usize>,
    /// Residual blocks per level.
    pub blocks: Vec<usize>,
    /// 1 where blocks are followed by window attention.
    pub attention: Vec<u8>,
    /// Channels per attention head.
    pub head_channels: usize,
    /// Side of the attention windows.
    pub window: usize,
    /// Width of the feed-forward layer over the channels.
    pub ffn_mult: usize,
}

/// Decoder from the latent and the low-resolution picture to the residual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Channels on the latent grid, at twice and at four times its size.
    pub widths: [usize; 3],
    /// Residual blocks at each of them.
    pub blocks: [usize; 3],
    /// Channels of the decoder's own low-resolution features.
    pub condition_width: usize,
    /// Residual blocks of their encoder.
    pub condition_blocks: usize,
    /// Weight of the fusion with them.
    pub fusion_weight: f32,
    /// Frequency blocks.
    pub aff: NativeAffConfig,
}

/// Windowed adaptive frequency blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeAffConfig {
    /// How many.
    pub blocks: usize,
    /// Side of the windows.
    pub window: usize,
    /// Diagonal blocks of the complex layers.
    pub groups: usize,
    /// Slope of the LeakyReLU on the spectrum.
    pub leaky_slope: f32,
    /// Soft-shrink threshold.
    pub softshrink: f32,
}

/// Largest width or count that a configuration may ask for: keeps hostile files from asking for terabytes.
const MAX_NUMBER: usize = 8192;

impl NativeConfig {
    /// Checks every number.
    ///
    /// # Errors
    /// `Model`, naming the number.
    pub fn check(&self) -> Result<()> {
        let d = &self.denoiser;
        let levels = d.widths.len();
        if !(1..=6).contains(&levels) || d.blocks.len() != levels || d.attention.len() != levels {
            return Err(Error::model(format!(
                "model.json: denoiser has {levels} widths, {} block counts and {} attention flags; 1 to 6 of each, equally many",
                d.blocks.len(),
                d.attention.len()
            )));
        }
        let e = &self.decoder;
        let mut numbers = vec![
            ("first_stage.latent_channels", self.first_stage.latent_channels),
            ("condition.width", self.condition.width),
            ("denoiser.head_channels", d.head_channels),
            ("denoiser.window", d.window),
            ("denoiser.ffn_mult", d.ffn_mult),
            ("decoder.condition_width", e.condition_width),
            ("decoder.aff.window", e.aff.window),
            ("decoder.aff.groups", e.aff.groups),
        ];
        numbers.extend(d.widths.iter().map(|&w| ("denoiser.widths", w)));
        numbers.extend(e.widths.iter().map(|&w| ("decoder.widths", w)));
        for (name, n) in numbers {
            if n == 0 || n > MAX_NUMBER {
                return Err(Error::model(format!("model.json: {name} is {n}, must be 1 to {MAX_NUMBER}")));
            }
        }
        let counts = d.blocks.iter().chain(&e.blocks).chain([
            &e.aff.blocks,
            &self.condition.blocks,
            &e.condition_blocks,
        ]);
        for &n in counts {
            if n > 64 {
                return Err(Error::model(format!("model.json: {n} blocks in a row, at most 64")));
            }
        }
        for (&w, &a) in d.widths.iter().zip(&d.attention) {
            if a > 0 && w % d.head_channels != 0 {
                return Err(Error::model(format!(
                    "model.json: {w} channels are not heads of {}",
                    d.head_channels
                )));
            }
        }
        if !(e.fusion_weight.is_finite() && e.aff.leaky_slope.is_finite() && e.aff.softshrink.is_finite()) {
            return Err(Error::model("model.json: decoder has a number that is not finite"));
        }
        Ok(())
    }
}
