//! One picture: the sampling loop over the latent field, then decoding, both tile by tile.

use super::merge::{add, gather};
use super::plans::{Part, Plans};
use super::progress::Counter;
use crate::error::{Error, Result};
use crate::exec::{Prepared, Weights};
use crate::graph::{Graph, Value};
use crate::pixels::canvas::Canvas;
use crate::sampler::{Step, fill};
use crate::tiles::{Order, TileGrid};
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the starting noise among the steps; timesteps count from 1.
const START_STEP: u32 = 0;

/// What one picture needs besides the model.
pub(super) struct Job<'a> {
    /// The condition on the latent grid, `[3, h, w]` in `[0, 1]`; sides are multiples of the lattice.
    pub(super) condition: &'a Canvas,
    /// The input at output size, for decoders that read it there.
    pub(super) guide: Option<&'a Canvas>,
    /// Sampling steps in order.
    pub(super) steps: &'a [Step],
    /// Standard deviation of the starting noise.
    pub(super) start_noise: f32,
    /// Share of the first step's estimate in what is decoded.
    pub(super) fidelity: f32,
    /// Seed of the noise, which is a function of it, the step and the position.
    pub(super) seed: u64,
    /// Channels of the latent.
    pub(super) latent_channels: usize,
    /// Tiles of the latent grid.
    pub(super) grid: &'a TileGrid,
    /// Stops the work.
    pub(super) stop: &'a AtomicBool,
}

impl Job<'_> {
    /// Units of progress: every tile once per step and once decoded.
    pub(super) fn units(&self) -> u64 {
        self.grid.len() as u64 * (self.steps.len() as u64 + 1)
    }

    fn key(&self, part: Part) -> (Part, usize, usize, usize) {
        (part, 1, self.grid.tile_shape().0, self.grid.tile_shape().1)
    }

    /// Runs the sampler; returns the latent to decode.
    pub(super) fn sample(&self, plans: &mut Plans, counter: &mut Counter<'_, '_>) -> Result<Canvas> {
        let (h, w) = (self.condition.height(), self.condition.width());
        let mut x = Canvas::new(self.latent_channels, w, h)?;
        // A chain that reads nothing of its start needs none.
        if self.steps.first().is_some_and(|s| s.input_scale != 0.0 || s.coefs.x != 0.0) {
            self.fill_noise(&mut x, START_STEP)?;
            x.data_mut().iter_mut().for_each(|v| *v *= self.start_noise);
        }
        let mut first: Option<Canvas> = None;
        let mut noise = Canvas::new(self.latent_channels, w, h)?;
        for (i, step) in self.steps.iter().enumerate() {
            // Becomes the estimate of the clean latent in place.
            let mut estimate = self.predict(plans, &x, step, counter)?;
            let c = step.coefs;
            if c.noise != 0.0 {
                self.fill_noise(&mut noise, step.timestep)?;
            } else {
                noise.data_mut().fill(0.0);
            }
            for ((x, p), n) in x.data_mut().iter_mut().zip(estimate.data_mut()).zip(noise.data()) {
                let x0 = c.estimate(*x, *p);
                *x = c.next(*x, x0, *p, *n);
                *p = x0;
            }
            if i == 0 && self.fidelity > 0.0 {
                first = Some(estimate);
            }
        }
        if let Some(first) = first {
            let f = self.fidelity;
            x.data_mut().iter_mut().zip(first.data()).for_each(|(x, a)| *x = f * a + (1.0 - f) * *x);
        }
        Ok(x)
    }

    fn fill_noise(&self, field: &mut Canvas, step: u32) -> Result<()> {
        for c in 0..field.channels() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::cancelled());
            }
            let width = field.width();
            fill(field.plane_mut(c), self.seed, step, c as u32, 0, 0, width);
        }
        Ok(())
    }

    /// The denoiser's answer for the whole field, tiles merged with feathered weights.
    fn predict(
        &self,
        plans: &mut Plans,
        x: &Canvas,
        step: &Step,
        counter: &mut Counter<'_, '_>,
    ) -> Result<Canvas> {
        let mut merged = Canvas::new(x.channels(), x.width(), x.height())?;
        let (prepared, weights) = plans.get(self.key(Part::Denoiser), step.expert)?;
        let mut run = TileRun::new(prepared, weights)?;
        for tile in self.grid.tiles(Order::Rows) {
            run.feed("x", |out| {
                gather(x, tile.rect, out);
                out.iter_mut().for_each(|v| *v *= step.input_scale);
            });
            run.feed("lr", |out| gather(self.condition, tile.rect, out));
            run.feed("t", |out| out.fill(step.timestep as f32));
            let (wy, wx) = self.grid.weights(&tile);
            add(&mut merged, run.run(self.stop)?, tile.rect, wy, wx);
            counter.unit()?;
        }
        Ok(merged)
    }

    /// Decodes `z` to `[3, factor h, factor w]`.
    pub(super) fn decode(
        &self,
        plans: &mut Plans,
        z: &Canvas,
        factor: usize,
        counter: &mut Counter<'_, '_>,
    ) -> Result<Canvas> {
        let mut picture = Canvas::new(3, z.width() * factor, z.height() * factor)?;
        let (prepared, weights) = plans.get(self.key(Part::Decoder), 0)?;
        let mut run = TileRun::new(prepared, weights)?;
        let fine = self.grid.scale(factor);
        for (tile, out) in self.grid.tiles(Order::Rows).zip(fine.tiles(Order::Rows)) {
            let rect = tile.rect;
            run.feed("z", |out| gather(z, rect, out));
            run.feed("lr", |out| gather(self.condition, rect, out));
            if let Some(guide) = self.guide {
                run.feed("lr_up", |out| gather(guide, rect.scale(factor), out));
            }
            let painted = run.run(self.stop)?;
            if !painted.iter().all(|v| v.is_finite()) {
                return Err(Error::internal(format!(
                    "the tile at {}, {} came out with values that are not finite",
                    out.rect.x, out.rect.y
                )));
            }
            let (wy, wx) = fine.weights(&out);
            add(&mut picture, painted, out.rect, wy, wx);
            counter.unit()?;
        }
        Ok(picture)
    }
}

/// A prepared graph with the buffers that go in and out of it.
struct TileRun<'a> {
    prepared: &'a mut dyn Prepared,
    weights: &'a Weights,
    inputs: Vec<Slot>,
    output: Vec<f32>,
}

/// One input of a graph.
struct Slot {
    name: String,
    data: Vec<f32>,
    fed: bool,
}

impl<'a> TileRun<'a> {
    fn new(prepared: &'a mut dyn Prepared, weights: &'a Weights) -> Result<Self> {
        let graph: &Graph = prepared.graph();
        let len = |v| graph.shape(v).iter().product::<usize>();
        let slot = |&v| Slot {
            name: graph.nodes[Value::index(v)].name.clone(),
            data: vec![0.0; len(v)],
            fed: false,
        };
        let inputs = graph.inputs.iter().map(slot).collect();
        let output = graph.outputs.first().map(|&v| vec![0.0; len(v)]);
        let output = output.ok_or_else(|| Error::internal("a graph without output"))?;
        Ok(Self { prepared, weights, inputs, output })
    }

    /// Fills the input called `name`, if this graph has one: families read different things.
    fn feed(&mut self, name: &str, fill: impl FnOnce(&mut [f32])) {
        if let Some(slot) = self.inputs.iter_mut().find(|s| s.name == name) {
            fill(&mut slot.data);
            slot.fed = true;
        }
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<&[f32]> {
        if let Some(slot) = self.inputs.iter().find(|s| !s.fed) {
            return Err(Error::internal(format!("nothing was given for the input `{}`", slot.name)));
        }
        let inputs: Vec<&[f32]> = self.inputs.iter().map(|s| s.data.as_slice()).collect();
        self.prepared.run(self.weights, &inputs, &mut [&mut self.output], stop, None)?;
        Ok(&self.output)
    }
}
