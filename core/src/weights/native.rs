//! The shipped family's part of `model.json`.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::NativeConfig;
use crate::weights::manifest::{Common, between, in_range, multiple, wrong};

/// The shipped family: residual first stage, window attention, one expert per step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Native {
    /// The network.
    #[serde(flatten)]
    pub config: NativeConfig,
    /// The schedule its experts were trained with.
    pub sampler: NativeSampler,
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
        self.config.check()?;
        let lattice = common.lattice;
        in_range("first_stage.latent_channels", self.config.first_stage.latent_channels, 1, 48)?;
        let d = &self.config.denoiser;
        for (l, &attention) in d.attention.iter().enumerate() {
            in_range(&format!("denoiser.attention[{l}]"), attention.into(), 0, 1)?;
            // Windows are anchored to the picture: a tile that starts between two would cut them elsewhere.
            multiple("lattice", lattice, if attention == 1 { d.window << l } else { 1 << l })?;
        }
        let d = &self.config.decoder;
        multiple("decoder.condition_width", d.condition_width, 2)?;
        between("decoder.fusion_weight", d.fusion_weight.into(), 0.0, 1.0)?;
        between("decoder.aff.leaky_slope", d.aff.leaky_slope.into(), 0.0, 1.0)?;
        between("decoder.aff.softshrink", d.aff.softshrink.into(), 0.0, 1.0)?;
        if d.aff.blocks > 0 {
            multiple("decoder.widths[1]", d.widths[1], d.aff.groups)?;
            // The blocks lie at twice the latent grid.
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
