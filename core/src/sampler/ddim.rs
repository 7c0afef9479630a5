//! DDIM over the training schedule, exactly as the published code has it (arXiv 2010.02502;
//! `ldm/models/diffusion/ddim_moe.py` and `diffusionmodules/util.py` there).

use crate::error::{Error, Result};
use crate::sampler::experts::expert_of;
use crate::sampler::schedule::{Coefs, Step};

/// Products of `1 - beta` over the timesteps of training.
#[derive(Clone, Debug)]
pub struct DdimSchedule {
    /// f64 as accumulated, then rounded to f32: the published code keeps f32, and equality hangs on it.
    alphas: Vec<f32>,
    experts: u32,
}

/// The numbers of one step, rounded as the published code rounds them.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    alpha: f32,
    alpha_prev: f32,
    sigma: f32,
    sqrt_one_minus_alpha: f32,
}

impl DdimSchedule {
    /// Betas whose square roots rise evenly from `sqrt(start)` to `sqrt(end)`, shared by `experts` networks.
    ///
    /// # Errors
    /// `Model` where the numbers give no schedule.
    pub fn new(train_steps: u32, start: f64, end: f64, experts: u32) -> Result<Self> {
        let sound = (2..=100_000).contains(&train_steps) && 0.0 < start && start <= end && end < 1.0;
        if !sound || !(1..=train_steps).contains(&experts) {
            return Err(Error::model(format!(
                "no schedule of {train_steps} timesteps with betas {start} to {end} for {experts} experts"
            )));
        }
        let alphas = products(&betas(train_steps, start, end)).into_iter().map(|a| a as f32).collect();
        Ok(Self { alphas, experts })
    }

    /// Timesteps of training.
    pub fn timesteps(&self) -> u32 {
        self.alphas.len() as u32
    }

    /// The product at a timestep.
    fn alpha(&self, t: u32) -> f32 {
        self.alphas.get(t as usize).or(self.alphas.last()).copied().unwrap_or(1.0)
    }

    /// Timesteps visited when `count` steps are asked for, rising: 1, 1 + c, 1 + 2c, ... with c = T div count.
    /// There are more than `count` where it does not divide T.
    ///
    /// # Errors
    /// `Option` for counts with which the published spacing runs past the last timestep; the text names
    /// the nearest that work.
    pub fn visited(&self, count: u32) -> Result<Vec<u32>> {
        let total = self.timesteps();
        if let Some(visited) = visited(total, count) {
            return Ok(visited);
        }
        let works = |n: &u32| visited(total, *n).is_some();
        let near: Vec<_> =
            [(1..count.min(total + 1)).rev().find(works), (count.saturating_add(1)..=total).find(works)]
                .into_iter()
                .flatten()
                .map(|n| n.to_string())
                .collect();
        let reason = match total.checked_div(count) {
            None | Some(0) => format!("this model has {total} timesteps"),
            Some(c) => format!("steps of {c} timesteps would end at {total}, one past the last"),
        };
        Err(Error::option(format!(
            "steps is {count}: {reason}; the nearest that work: {}",
            near.join(" and ")
        )))
    }

    /// The steps for `count`, largest timestep first. The network predicts the noise.
    ///
    /// # Errors
    /// `Option` where `count` cannot be (see [`DdimSchedule::visited`]) or `eta` is not 0 to 1.
    pub fn steps(&self, count: u32, eta: f64) -> Result<Vec<Step>> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::option(format!("eta is {eta}, wanted 0 to 1")));
        }
        let visited = self.visited(count)?;
        // Not 1: the published code looks up timestep 0 for the last step, whose noise therefore stays.
        let previous = std::iter::once(0).chain(visited.iter().copied());
        let mut steps: Vec<_> =
            visited.iter().zip(previous).map(|(&t, prev)| self.step(t, prev, eta)).collect();
        steps.reverse();
        Ok(steps)
    }

    fn numbers(&self, t: u32, prev: u32, eta: f64) -> Numbers {
        let (alpha, alpha_prev) = (self.alpha(t), self.alpha(prev));
        let (a, p) = (f64::from(alpha), f64::from(alpha_prev));
        let sigma = eta * ((1.0 - p) / (1.0 - a) * (1.0 - a / p)).sqrt();
        Numbers { alpha, alpha_prev, sigma: sigma as f32, sqrt_one_minus_alpha: (1.0 - a).sqrt() as f32 }
    }

    fn step(&self, t: u32, prev: u32, eta: f64) -> Step {
        let n = self.numbers(t, prev, eta);
        let (a, p, sigma) = (f64::from(n.alpha), f64::from(n.alpha_prev), f64::from(n.sigma));
        let coefs = Coefs {
            x0_x: (1.0 / a.sqrt()) as f32,
            x0_pred: (-f64::from(n.sqrt_one_minus_alpha) / a.sqrt()) as f32,
            x: 0.0,
            x0: p.sqrt() as f32,
            pred: (1.0 - p - sigma * sigma).max(0.0).sqrt() as f32,
            noise: n.sigma,
        };
        Step { timestep: t, expert: expert_of(t, self.timesteps(), self.experts), input_scale: 1.0, coefs }
    }
}

fn betas(train_steps: u32, start: f64, end: f64) -> Vec<f64> {
    let (from, to) = (start.sqrt(), end.sqrt());
    let last = f64::from(train_steps - 1);
    let root = |i: u32| from + f64::from(i) / last * (to - from);
    (0..train_steps).map(|i| root(i) * root(i)).collect()
}

fn products(betas: &[f64]) -> Vec<f64> {
    let next = |product: &mut f64, beta: &f64| {
        *product *= 1.0 - beta;
        Some(*product)
    };
    betas.iter().scan(1.0, next).collect()
}

fn visited(total: u32, count: u32) -> Option<Vec<u32>> {
    let spacing = total.checked_div(count).filter(|&c| c > 0)?;
    let all: Vec<_> = (0..total).step_by(spacing as usize).map(|t| t + 1).collect();
    all.last().is_some_and(|&t| t < total).then_some(all)
}

#[cfg(test)]
#[path = "ddim_tests.rs"]
mod tests;
