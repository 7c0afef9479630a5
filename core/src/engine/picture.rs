//! One picture: the sampling loop over the latent field, then decoding, both tile by tile.

use super::assemble::{Assembler, Rows};
use super::cache::Kept;
use super::feed::{Feed, TileBuffers};
use super::plans::{Part, Plans};
use super::progress::Counter;
use super::regions::gather;
use crate::error::{Error, Result};
use crate::model;
use crate::pixels::canvas::Canvas;
use crate::sampler::{Step, fill};
use crate::tiles::{Rect, Tile, TileGrid};
use std::mem::swap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of the starting noise among the steps; timesteps count from 1.
pub(super) const START_STEP: u32 = 0;

/// What one picture needs besides the model.
#[derive(Clone, Copy)]
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
    /// Row and column of the condition's first cell in the picture.
    pub(super) origin: (usize, usize),
    /// Channels of the latent.
    pub(super) latent_channels: usize,
    /// Tiles of the latent grid, and the same of the result.
    pub(super) grid: &'a TileGrid,
    pub(super) fine: &'a TileGrid,
    /// Indices of all tiles in the order of work.
    pub(super) order: &'a [usize],
    /// Tiles that go through the network in one call.
    pub(super) batch: usize,
    /// Stops the work.
    pub(super) stop: &'a AtomicBool,
}

/// Fields of the latent over a picture, and what tiles need on their way; the memory serves picture after picture.
#[derive(Default)]
pub(super) struct Fields {
    /// The field; after [`Job::sample`] what is to be decoded.
    x: Canvas,
    estimate: Canvas,
    /// Estimate of the first step, where it is blended in at the end.
    first: Canvas,
    noise: Vec<f32>,
    work: Work,
}

/// Tiles on their way through one graph.
#[derive(Default)]
pub(super) struct Work {
    assembler: Assembler,
    buffers: TileBuffers,
    pending: Vec<usize>,
}

/// Results of an earlier frame, one per tile, for one pass over the grid.
pub(super) type KeptTiles<'a> = Option<&'a mut [Kept]>;

/// One pass of a graph over all tiles.
struct Pass<'a, 'f> {
    part: Part,
    expert: usize,
    /// Planes of the result, and its tiles.
    channels: usize,
    grid: &'a TileGrid,
    /// Gives a tile's inputs.
    feed: &'f dyn Fn(&mut Feed<'_>, Rect),
}

impl Job<'_> {
    /// Units of progress: every tile once per step and once decoded.
    pub(super) fn units(&self) -> u64 {
        self.grid.len() as u64 * (self.steps.len() as u64 + 1)
    }

    /// Runs the sampler over the whole field. `kept` holds results of an earlier frame by step.
    pub(super) fn sample(
        &self,
        plans: &mut Plans,
        fields: &mut Fields,
        mut kept: Option<&mut [Vec<Kept>]>,
        counter: &mut Counter<'_, '_>,
    ) -> Result<()> {
        let (h, w, channels) = (self.condition.height(), self.condition.width(), self.latent_channels);
        let Fields { x, estimate, first, noise, work } = fields;
        noise.clear();
        noise.resize(w, 0.0);
        // A chain that reads nothing of its start needs none.
        let starts = self.steps.first().is_some_and(|s| s.input_scale != 0.0 || s.coefs.x != 0.0);
        x.reset(channels, if starts { w } else { 0 }, h)?;
        if starts {
            for c in 0..channels {
                for y in 0..h {
                    self.noise(START_STEP, c, y, noise)?;
                    x.row_mut(c, y).iter_mut().zip(&*noise).for_each(|(x, n)| *x = n * self.start_noise);
                }
            }
        }
        let (last, blend) = (self.steps.len().saturating_sub(1), self.fidelity);
        let blends = last > 0 && blend > 0.0;
        for (i, step) in self.steps.iter().enumerate() {
            let k = step.coefs;
            // What the last step finds is blended as it comes: two fields are enough for a chain of two.
            let ends = i == last && blends && k.x == 0.0 && k.x0_x == 0.0 && k.noise == 0.0;
            if !ends {
                estimate.reset(channels, w, h)?;
            }
            let field = (x.width() > 0).then_some(&*x);
            let feed = |feed: &mut Feed<'_>, rect: Rect| {
                feed.input("x", |out| match field {
                    Some(field) => {
                        gather(field, rect, out);
                        out.iter_mut().for_each(|v| *v *= step.input_scale);
                    }
                    None => out.fill(0.0),
                });
                feed.input("lr", |out| gather(self.condition, rect, out));
                feed.input("t", |out| out.fill(step.timestep as f32));
            };
            let pass =
                Pass { part: Part::Denoiser, expert: step.expert, channels, grid: self.grid, feed: &feed };
            let kept = kept.as_mut().and_then(|k| k.get_mut(i)).map(Vec::as_mut_slice);
            self.over_tiles(plans, &pass, work, kept, counter, &mut |rows| {
                for c in 0..channels {
                    for y in 0..rows.count {
                        let found = rows.row(c, y);
                        if !ends {
                            estimate.row_mut(c, rows.first + y).copy_from_slice(found);
                            continue;
                        }
                        for (a, p) in first.row_mut(c, rows.first + y).iter_mut().zip(found) {
                            let new = k.next(0.0, k.estimate(0.0, *p), *p, 0.0);
                            *a = blend * *a + (1.0 - blend) * new;
                        }
                    }
                }
                Ok(())
            })?;
            if ends {
                swap(x, first);
                return Ok(());
            }
            let keeps = i == 0 && blends;
            if x.width() == 0 && keeps {
                x.reset(channels, w, h)?;
            }
            for c in 0..channels {
                for y in 0..h {
                    if k.noise != 0.0 {
                        self.noise(step.timestep, c, y, noise)?;
                    } else {
                        noise.fill(0.0);
                    }
                    // The estimate becomes the next field in place, or stays where it is blended in at the end: then
                    // the field before makes room for the next.
                    let next = estimate.row_mut(c, y);
                    let mut old = (x.width() > 0).then(|| x.row_mut(c, y));
                    for (j, (p, n)) in next.iter_mut().zip(&*noise).enumerate() {
                        let before = old.as_ref().map_or(0.0, |x| x[j]);
                        let x0 = k.estimate(before, *p);
                        let mut new = k.next(before, x0, *p, *n);
                        if last == 0 && blend > 0.0 {
                            new = blend * x0 + (1.0 - blend) * new;
                        }
                        match &mut old {
                            Some(old) if keeps => (old[j], *p) = (new, x0),
                            _ => *p = new,
                        }
                    }
                }
            }
            swap(if keeps { first } else { x }, estimate);
        }
        if blends {
            let pairs = x.data_mut().iter_mut().zip(first.data());
            pairs.for_each(|(x, a)| *x = blend * a + (1.0 - blend) * *x);
        }
        Ok(())
    }

    /// Noise of one row of the field.
    fn noise(&self, step: u32, channel: usize, y: usize, row: &mut [f32]) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        let (y0, x0) = self.origin;
        let width = row.len();
        fill(row, self.seed, step, channel as u32, (y0 + y) as u32, x0 as u32, width);
        Ok(())
    }

    /// Decodes what was sampled; `take` gets the rows of `[3, factor h, factor w]` in their order.
    pub(super) fn decode(
        &self,
        plans: &mut Plans,
        fields: &Fields,
        work: &mut Work,
        kept: KeptTiles<'_>,
        counter: &mut Counter<'_, '_>,
        take: &mut impl FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let feed = |feed: &mut Feed<'_>, rect: Rect| self.decoder_inputs(feed, &fields.x, rect, rect);
        let pass = Pass { part: Part::Decoder, expert: 0, channels: 3, grid: self.fine, feed: &feed };
        self.over_tiles(plans, &pass, work, kept, counter, take)
    }

    /// What the decoder reads for the tile at `rect`, whose latent lies at `there` in `z`.
    fn decoder_inputs(&self, feed: &mut Feed<'_>, z: &Canvas, there: Rect, rect: Rect) {
        feed.input("z", |out| gather(z, there, out));
        feed.input("lr", |out| gather(self.condition, rect, out));
        if let Some(guide) = self.guide {
            feed.input("lr_up", |out| gather(guide, rect.scale(model::FACTOR), out));
        }
    }

    /// Samples and decodes every tile as a picture of its own and blends only the results: cheaper where weights
    /// stay for all steps of a tile, but what tiles disagree on is visible sooner.
    pub(super) fn independent(
        &self,
        plans: &mut Plans,
        local: &mut Local,
        work: &mut Work,
        counter: &mut Counter<'_, '_>,
        take: &mut impl FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let (h, w) = self.grid.tile_shape();
        let single = TileGrid::new((h, w), (h, w), 0, 0, 1)?;
        let whole = Rect::new(0, 0, h, w);
        work.assembler.begin(self.fine, 3);
        for tile in self.order.iter().filter_map(|&i| self.grid.tile(i)) {
            local.condition.reset(3, w, h)?;
            gather(self.condition, tile.rect, local.condition.data_mut());
            let job = Job {
                condition: &local.condition,
                origin: (self.origin.0 + tile.rect.y, self.origin.1 + tile.rect.x),
                grid: &single,
                order: &[0],
                ..*self
            };
            job.sample(plans, &mut local.fields, None, counter)?;
            let z = &local.fields.x;
            let feed = |feed: &mut Feed<'_>, _: Rect| self.decoder_inputs(feed, z, whole, tile.rect);
            self.call(plans, (Part::Decoder, 0), &mut work.buffers, &[tile], &feed)?;
            let values = work.buffers.output(0, 1);
            let large = self.fine.tile(self.index(&tile)).unwrap_or(tile);
            work.assembler.add(self.fine, &large, values, take)?;
            counter.unit()?;
        }
        Ok(())
    }

    /// Number of a tile, row by row.
    fn index(&self, tile: &Tile) -> usize {
        tile.row * self.grid.counts().1 + tile.column
    }

    fn over_tiles(
        &self,
        plans: &mut Plans,
        pass: &Pass<'_, '_>,
        work: &mut Work,
        mut kept: KeptTiles<'_>,
        counter: &mut Counter<'_, '_>,
        take: &mut impl FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let Work { assembler, buffers, pending } = work;
        assembler.begin(pass.grid, pass.channels);
        pending.clear();
        for (n, &index) in self.order.iter().enumerate() {
            let unchanged = kept.as_ref().and_then(|k| k.get(index)).filter(|k| k.valid);
            match (unchanged, pass.grid.tile(index)) {
                (Some(k), Some(tile)) => {
                    assembler.add(pass.grid, &tile, &k.values, take)?;
                    counter.unit()?;
                }
                _ => pending.push(index),
            }
            if pending.is_empty() || (pending.len() < self.batch && n + 1 < self.order.len()) {
                continue;
            }
            let count = pending.len();
            let mut tiles = [Tile::default(); MAX_BATCH];
            for (tile, &index) in tiles.iter_mut().zip(&*pending) {
                *tile = self.grid.tile(index).ok_or_else(|| Error::internal("a tile beyond the grid"))?;
            }
            let tiles = tiles.get(..count).ok_or_else(|| Error::internal("too many tiles in a batch"))?;
            self.call(plans, (pass.part, pass.expert), buffers, tiles, pass.feed)?;
            for (i, index) in pending.drain(..).enumerate() {
                let values = buffers.output(i, count);
                if let Some(k) = kept.as_mut().and_then(|k| k.get_mut(index)) {
                    k.keep(values)?;
                }
                if let Some(tile) = pass.grid.tile(index) {
                    assembler.add(pass.grid, &tile, values, take)?;
                }
                counter.unit()?;
            }
        }
        Ok(())
    }

    /// Runs one graph on a few tiles at once.
    fn call(
        &self,
        plans: &mut Plans,
        (part, expert): (Part, usize),
        buffers: &mut TileBuffers,
        tiles: &[Tile],
        feed: &dyn Fn(&mut Feed<'_>, Rect),
    ) -> Result<()> {
        let (h, w) = self.grid.tile_shape();
        let (prepared, weights) = plans.get((part, tiles.len(), h, w), expert, self.stop)?;
        buffers.fit(prepared.graph())?;
        for (i, tile) in tiles.iter().enumerate() {
            let mut one = buffers.feed(prepared.graph(), i, tiles.len());
            feed(&mut one, tile.rect);
            one.check()?;
        }
        buffers.run(prepared, weights, self.stop)?;
        for (i, tile) in tiles.iter().enumerate() {
            if !buffers.output(i, tiles.len()).iter().all(|v| v.is_finite()) {
                return Err(not_finite(self.grid, tile, part));
            }
        }
        Ok(())
    }
}

/// A tile in words.
pub(super) fn tile_name(grid: &TileGrid, tile: &Tile) -> String {
    let number = tile.row * grid.counts().1 + tile.column + 1;
    format!("tile {number} of {} at cell {}, {}", grid.len(), tile.rect.x, tile.rect.y)
}

/// What is said of a tile whose result is no picture.
pub(super) fn not_finite(grid: &TileGrid, tile: &Tile, part: Part) -> Error {
    Error::internal(format!(
        "{}: the {} gave values that are not finite",
        tile_name(grid, tile),
        if part == Part::Decoder { "decoder" } else { "denoiser" }
    ))
}

/// Most tiles in one call.
pub(super) const MAX_BATCH: usize = 16;

/// One tile as a picture of its own.
#[derive(Default)]
pub(super) struct Local {
    condition: Canvas,
    fields: Fields,
}
