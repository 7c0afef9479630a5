//! Residual shifting with a residual latent (so `y = 0`): x_t = (1 - eta_t)·x0 + kappa·sqrt(eta_t)·noise.
//! Steps: arXiv 2307.12348 Eq. 7; skipping and the deterministic form follow from the same Gaussians (below).

use crate::error::{Error, Result};
use crate::sampler::schedule::{Coefs, ShiftSchedule, Step};

/// Standard deviation of the field that sampling starts from, `kappa·sqrt(eta_T)`.
pub fn start_scale(schedule: &ShiftSchedule) -> f32 {
    (schedule.kappa() * schedule.eta(schedule.timesteps()).sqrt()) as f32
}

/// The steps of a chain of `count` network runs, largest timestep first; expert t-1 serves timestep t.
///
/// `eta` blends the forms and keeps every marginal: of the noise that x_s holds, variance
/// `eta²·kappa²·eta_s·(eta_t - eta_s)/eta_t` is fresh and the rest is what x_t implies. 1 is the
/// stochastic chain (the posterior of Eq. 7), 0 the deterministic one, as eta does in DDIM.
///
/// # Errors
/// `Option` where `count` is not 1 to T or `eta` not 0 to 1.
pub fn shift_steps(schedule: &ShiftSchedule, count: u32, eta: f64) -> Result<Vec<Step>> {
    let last = schedule.timesteps();
    if !(1..=last).contains(&count) {
        return Err(Error::option(format!("steps is {count}, this model can do 1 to {last}")));
    }
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::option(format!("eta is {eta}, wanted 0 to 1")));
    }
    let times = timesteps(last, count);
    let next = times.iter().skip(1).copied().chain([0]);
    Ok(times.iter().zip(next).map(|(&t, s)| step(schedule, t, s, eta)).collect())
}

/// Timesteps of a shortened chain: the last and the first always, the others evenly between, rounded down.
/// Of four: {4}, {4, 1}, {4, 2, 1}, {4, 3, 2, 1}.
fn timesteps(last: u32, count: u32) -> Vec<u32> {
    if count <= 1 {
        return vec![last];
    }
    (0..count).rev().map(|i| 1 + i * (last - 1) / (count - 1)).collect()
}

/// From timestep `t` to `s`, which need not be neighbours: x_s given x_t and x0 is Gaussian for any s < t.
fn step(schedule: &ShiftSchedule, t: u32, s: u32, eta: f64) -> Step {
    let (kappa, eta_t, eta_s) = (schedule.kappa(), schedule.eta(t), schedule.eta(s));
    let fresh = eta * eta * eta_s * (eta_t - eta_s) / eta_t;
    // x_s = (1 - eta_s)·x0 + kappa·sqrt(eta_s - fresh)·implied + kappa·sqrt(fresh)·noise,
    // implied = (x_t - (1 - eta_t)·x0) / (kappa·sqrt(eta_t)). At eta = 1 this is eta_s/eta_t for x_t.
    let kept = (eta_s - fresh).max(0.0).sqrt() / eta_t.sqrt();
    let coefs = Coefs {
        x0_x: 0.0,
        x0_pred: 1.0,
        x: kept as f32,
        x0: (1.0 - eta_s - kept * (1.0 - eta_t)) as f32,
        pred: 0.0,
        noise: (kappa * fresh.sqrt()) as f32,
    };
    // At T the field holds no signal (eta_T = 0.98) and that expert was trained without it.
    let input_scale =
        if t == schedule.timesteps() { 0.0 } else { 1.0 / (kappa * kappa * eta_t + 1.0).sqrt() };
    Step { timestep: t, expert: t as usize - 1, input_scale: input_scale as f32, coefs }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn four() -> ShiftSchedule {
        ShiftSchedule::new(4, 2.0, 0.2, 0.3, 0.99).unwrap()
    }

    #[test]
    fn skipping_takes_the_experts_of_the_design() {
        let s = four();
        let experts = |n| shift_steps(&s, n, 1.0).unwrap().iter().map(|x| x.timestep).collect::<Vec<_>>();
        assert_eq!(experts(1), [4]);
        assert_eq!(experts(2), [4, 1]);
        assert_eq!(experts(3), [4, 2, 1]);
        assert_eq!(experts(4), [4, 3, 2, 1]);
        assert!(shift_steps(&s, 0, 1.0).is_err());
        assert!(shift_steps(&s, 5, 1.0).unwrap_err().to_string().contains("1 to 4"));
        assert!(shift_steps(&s, 4, f64::NAN).is_err());
    }

    /// Table for T = 4: coefficient of x_t in the mean and posterior deviation at t = 1, 2, 3, 4.
    #[test]
    fn full_chain_equals_the_table() {
        let steps = shift_steps(&four(), 4, 1.0).unwrap();
        let table = [(4, 0.591473, 0.97329), (3, 0.466619, 0.75968), (2, 0.036969, 0.19627), (1, 0.0, 0.0)];
        for (step, (t, x, noise)) in steps.iter().zip(table) {
            assert_eq!((step.timestep, step.expert), (t, t as usize - 1));
            assert!((step.coefs.x - x).abs() < 6e-7, "t {t}: {}", step.coefs.x);
            assert!((step.coefs.x0 - (1.0 - x)).abs() < 6e-7, "alpha_t / eta_t at {t}: {}", step.coefs.x0);
            assert!((step.coefs.noise - noise).abs() < 6e-6, "t {t}: {}", step.coefs.noise);
        }
        assert!((start_scale(&four()) - 1.98).abs() < 1e-6);
    }

    #[test]
    fn the_last_step_hands_out_the_estimate() {
        for n in 1..=4 {
            for eta in [0.0, 0.5, 1.0] {
                let steps = shift_steps(&four(), n, eta).unwrap();
                let c = steps.last().unwrap().coefs;
                assert_eq!((c.x, c.x0, c.noise), (0.0, 1.0, 0.0));
            }
        }
    }

    #[test]
    fn the_first_expert_sees_no_field() {
        let steps = shift_steps(&four(), 4, 1.0).unwrap();
        assert_eq!(steps[0].input_scale, 0.0);
        // 1 / sqrt(4·0.0100 + 1)
        assert!((steps[3].input_scale - 0.980_580_7).abs() < 1e-6);
    }

    /// The closed form of the deterministic step, written as its source has it.
    #[test]
    fn eta_zero_keeps_the_implied_noise() {
        let s = four();
        for n in 2..=4 {
            let steps = shift_steps(&s, n, 0.0).unwrap();
            for pair in steps.windows(2) {
                let (et, es) = (s.eta(pair[0].timestep), s.eta(pair[1].timestep));
                let m = (es / et).sqrt();
                assert!((f64::from(pair[0].coefs.x) - m).abs() < 1e-7);
                let x0 = 1.0 - es - m + (es * et).sqrt();
                assert!((f64::from(pair[0].coefs.x0) - x0).abs() < 1e-7);
                assert_eq!(pair[0].coefs.noise, 0.0);
            }
        }
    }

    /// Mean (in units of x0) and variance of the field after a step, with a network that knows x0.
    fn follow(mean: f64, var: f64, c: &Coefs) -> (f64, f64) {
        let (x, x0, n) = (f64::from(c.x), f64::from(c.x0), f64::from(c.noise));
        (x * mean + x0, x * x * var + n * n)
    }

    proptest! {
        /// Whatever is skipped and however eta blends, each field has the marginal of its timestep.
        #[test]
        fn marginals_are_kept(
            total in 2u32..20, kappa in 0.5f64..4.0, power in 0.2f64..2.0, eta in 0.0f64..=1.0, pick in 0.0f64..1.0,
        ) {
            let s = ShiftSchedule::new(total, kappa, 0.05, power, 0.99).unwrap();
            let count = 1 + (pick * f64::from(total)) as u32;
            let steps = shift_steps(&s, count.min(total), eta).unwrap();
            let t = s.timesteps();
            let (mut mean, mut var) = (1.0 - s.eta(t), kappa * kappa * s.eta(t));
            prop_assert_eq!(steps[0].timestep, t);
            for pair in steps.windows(2) {
                (mean, var) = follow(mean, var, &pair[0].coefs);
                let es = s.eta(pair[1].timestep);
                prop_assert!((mean - (1.0 - es)).abs() < 1e-5, "mean {mean} at {}", pair[1].timestep);
                prop_assert!((var - kappa * kappa * es).abs() < 1e-5 * kappa * kappa, "variance {var}");
            }
        }

        /// One stochastic step t -> s has the law of t -> r -> s with x0 held: slope and variance agree.
        #[test]
        fn skipping_composes(t in 3u32..=15, a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let schedule = ShiftSchedule::new(15, 2.0, 0.04, 0.3, 0.99).unwrap();
            let r = 2 + (a * f64::from(t - 2)) as u32;
            let s = 1 + (b * f64::from(r - 1)) as u32;
            let direct = step(&schedule, t, s, 1.0).coefs;
            let (one, two) = (step(&schedule, t, r, 1.0).coefs, step(&schedule, r, s, 1.0).coefs);
            prop_assert!((direct.x - two.x * one.x).abs() < 1e-6);
            prop_assert!((direct.x0 - (two.x * one.x0 + two.x0)).abs() < 1e-6);
            let var = two.x * two.x * one.noise * one.noise + two.noise * two.noise;
            prop_assert!((direct.noise * direct.noise - var).abs() < 1e-5);
        }
    }
}
