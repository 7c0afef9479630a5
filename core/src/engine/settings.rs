//! The values of one call: what the user said, and the model's own defaults where nothing was said.

use crate::error::{Error, Result};
use crate::options::Options;
use crate::sampler::{DdimSchedule, ShiftSchedule, Step, shift_steps, start_scale};
use crate::weights::{Manifest, NativeSampler, Network};

/// How colours are matched to the input after decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ColourFix {
    None,
    Adain,
    Wavelet,
}

/// The values of one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) scale: usize,
    pub(super) steps: Vec<Step>,
    /// Standard deviation of the starting noise.
    pub(super) start_noise: f32,
    /// Share of the first step's estimate in what is decoded.
    pub(super) fidelity: f32,
    pub(super) seed: u64,
    /// Low-resolution pixels, 0 = by memory.
    pub(super) tile_size: usize,
    /// Low-resolution pixels, 0 = what the network needs.
    pub(super) tile_overlap: usize,
    /// Whether tiles are pictures of their own up to the end.
    pub(super) independent: bool,
    pub(super) colour_fix: ColourFix,
}

impl Settings {
    /// Resolves `options` for the model.
    ///
    /// # Errors
    /// `Option` for values out of range or that this model cannot do.
    pub(super) fn resolve(options: &Options, manifest: &Manifest) -> Result<Self> {
        options.validate()?;
        let common = &manifest.common;
        let own = |v: f64, d: f64| if v < 0.0 { d } else { v };
        let eta = own(options.eta, common.defaults.eta);
        let count = if options.steps == 0 { common.defaults.steps } else { options.steps };
        let sampler = |name: &str| match options.sampler.as_str() {
            "" => Ok(()),
            asked if asked == name => Ok(()),
            asked => Err(Error::option(format!(
                "sampler is {asked}, model `{}` was trained for {name}",
                common.name
            ))),
        };
        let (steps, start_noise, fidelity) = match &manifest.network {
            Network::Native(n) => {
                sampler("shift")?;
                let NativeSampler::Shift { steps, kappa, min_noise, power, end } = n.sampler;
                let schedule = ShiftSchedule::new(steps, kappa, min_noise, power, end)?;
                let fidelity = own(options.fidelity, common.defaults.fidelity);
                // Fails for an impossible count even where fidelity makes the other steps needless.
                let mut all = shift_steps(&schedule, count, eta)?;
                if fidelity >= 1.0 {
                    // All of the first estimate is the one-step result.
                    all = shift_steps(&schedule, 1, eta)?;
                }
                (all, start_scale(&schedule), fidelity)
            }
            Network::Published(p) => {
                sampler("ddim")?;
                let s = &p.sampling;
                let schedule = DdimSchedule::new(s.train_steps, s.linear_start, s.linear_end, s.stages)?;
                // Its estimates of single steps are no pictures: fidelity has no meaning here.
                (schedule.steps(count, eta)?, 1.0, 0.0)
            }
        };
        let fix =
            if options.colour_fix.is_empty() { &common.defaults.colour_fix } else { &options.colour_fix };
        Ok(Self {
            scale: options.scale as usize,
            steps,
            start_noise,
            fidelity: fidelity as f32,
            seed: options.seed,
            tile_size: options.tile_size as usize,
            tile_overlap: options.tile_overlap as usize,
            independent: options.tile_mode == "independent",
            colour_fix: match fix.as_str() {
                "adain" => ColourFix::Adain,
                "wavelet" => ColourFix::Wavelet,
                _ => ColourFix::None,
            },
        })
    }
}
