//! The step of any sampler as numbers, and the shift schedule.
//! Schedule: arXiv 2307.12348 (ResShift) as in its code, `models/gaussian_diffusion.py`.

use crate::error::{Error, Result};

/// One step of sampling, from timestep `timestep` to the next smaller one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Timestep of training that this step starts from.
    pub timestep: u32,
    /// Index of the sampling expert.
    pub expert: usize,
    /// The network sees `input_scale` times the field.
    pub input_scale: f32,
    /// What becomes of the field.
    pub coefs: Coefs,
}

/// `x0 = x0_x·x + x0_pred·prediction`, then `x_next = x·x + x0·x0 + pred·prediction + noise·noise`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coefs {
    /// Share of the field in the estimate.
    pub x0_x: f32,
    /// Share of the network's result in the estimate.
    pub x0_pred: f32,
    /// Share of the field in the next.
    pub x: f32,
    /// Share of the estimate in the next.
    pub x0: f32,
    /// Share of the network's result in the next.
    pub pred: f32,
    /// Standard deviation of fresh noise in the next; 0 where none is drawn.
    pub noise: f32,
}

impl Coefs {
    /// The estimate of the clean latent.
    #[inline]
    pub fn estimate(&self, x: f32, pred: f32) -> f32 {
        self.x0_x * x + self.x0_pred * pred
    }

    /// The next value of the field.
    #[inline]
    pub fn next(&self, x: f32, x0: f32, pred: f32, noise: f32) -> f32 {
        self.x * x + self.x0 * x0 + self.pred * pred + self.noise * noise
    }
}

/// Shifts `eta_0 = 0 < eta_1 < ... < eta_T` and the noise strength.
#[derive(Clone, Debug, PartialEq)]
pub struct ShiftSchedule {
    kappa: f64,
    etas: Vec<f64>,
}

impl ShiftSchedule {
    /// `sqrt(eta_t) = s1·b^beta_t`, `beta_t = ((t-1)/(T-1))^power·(T-1)`, `b = (end/s1)^(1/(T-1))`,
    /// `s1 = min(min_noise/kappa, min_noise)`. It is the square root that ends at `end`.
    ///
    /// # Errors
    /// `Model` where the numbers give no rising schedule.
    pub fn new(steps: u32, kappa: f64, min_noise: f64, power: f64, end: f64) -> Result<Self> {
        let first = (min_noise / kappa).min(min_noise);
        // A NaN fails every comparison, so it ends here too.
        let sound = (1..=1000).contains(&steps)
            && kappa > 0.0
            && kappa.is_finite()
            && power > 0.0
            && power.is_finite()
            && first > 0.0
            && first < end
            && end <= 1.0;
        if !sound {
            return Err(Error::model(format!(
                "the shift schedule steps {steps}, kappa {kappa}, min_noise {min_noise}, power {power}, end {end} does not rise"
            )));
        }
        let last = f64::from(steps - 1);
        let etas = (0..=steps)
            .map(|t| match t {
                0 => 0.0,
                // One step only: no first shift, the chain starts and ends at `end`.
                t if t == steps => end * end,
                t => {
                    // beta_t / (T-1) is the exponent of (end/s1).
                    let share = libm::pow(f64::from(t - 1) / last, power);
                    let root = first * libm::pow(end / first, share);
                    root * root
                }
            })
            .collect();
        Ok(Self { kappa, etas })
    }

    /// T: timesteps go from 1 to it.
    pub fn timesteps(&self) -> u32 {
        (self.etas.len() - 1) as u32
    }

    /// The shift at timestep `t`; past the last it stays.
    pub fn eta(&self, t: u32) -> f64 {
        self.etas.get(t as usize).or(self.etas.last()).copied().unwrap_or(1.0)
    }

    /// Noise strength.
    pub fn kappa(&self) -> f64 {
        self.kappa
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two schedules of ResShift's configurations; values computed apart from this code in f64.
    #[test]
    fn square_roots_equal_the_tables() {
        let four = [0.1, 0.520096, 0.761382, 0.99];
        let fifteen = [
            0.02, 0.117165, 0.176305, 0.233629, 0.291574, 0.351009, 0.412356, 0.475858, 0.541672, 0.60991,
            0.680658, 0.753985, 0.829951, 0.908606, 0.99,
        ];
        for (steps, min_noise, table) in [(4, 0.2, &four[..]), (15, 0.04, &fifteen[..])] {
            let s = ShiftSchedule::new(steps, 2.0, min_noise, 0.3, 0.99).unwrap();
            assert_eq!(s.timesteps(), steps);
            assert_eq!(s.eta(0), 0.0);
            for (t, want) in (1..).zip(table) {
                assert!((s.eta(t).sqrt() - want).abs() < 5.1e-7, "T {steps} t {t}: {}", s.eta(t).sqrt());
            }
        }
    }

    #[test]
    fn shifts_and_noise_equal_the_table() {
        let s = ShiftSchedule::new(4, 2.0, 0.2, 0.3, 0.99).unwrap();
        let etas = [0.01, 0.2705, 0.579703, 0.9801];
        let noise = [0.2, 1.0402, 1.5228, 1.98];
        for t in 1..=4u32 {
            let i = t as usize - 1;
            assert!((s.eta(t) - etas[i]).abs() < 5.1e-7);
            assert!((s.kappa() * s.eta(t).sqrt() - noise[i]).abs() < 5.1e-5);
        }
    }

    #[test]
    fn a_schedule_that_does_not_rise_is_refused() {
        for (t, k, m, p, e) in [
            (0, 2.0, 0.2, 0.3, 0.99),
            (4, 0.0, 0.2, 0.3, 0.99),
            (4, 2.0, f64::NAN, 0.3, 0.99),
            (4, 2.0, 0.2, 0.3, 0.05),
            (4, 2.0, 0.2, -1.0, 0.99),
            (4, 2.0, 0.2, 0.3, 1.5),
        ] {
            assert!(ShiftSchedule::new(t, k, m, p, e).is_err());
        }
    }
}
