//! The loop over steps and tiles of a picture that stays on a device.

use super::cache::FrameCache;
use super::given::Opacity;
use super::layout::{Layout, Scene, input_rows, ranges_of};
use super::picture::{MAX_BATCH, START_STEP};
use super::plans::{Part, Plans};
use super::progress::Counter;
use crate::error::{Error, Result};
use crate::exec::maps::{From, Gives, Home, Map, MapOp, Maps, Room, StepBy, Table};
use crate::graph::{Graph, Value};
use crate::model::{self, Base};
use crate::pixels::convert::CONTEXT;
use crate::tiles::{Rect, Tile, TileGrid};
use std::mem::swap;

/// One pass of a graph over all tiles.
struct Pass<'a> {
    /// Number among the passes, for marks.
    number: usize,
    part: Part,
    expert: usize,
    channels: usize,
    /// Tiles of the result, and weights of their rows and columns.
    grid: &'a TileGrid,
    weights: [usize; 2],
}

/// Takes rows that are finished: the map, the first row, and how many.
type TakeRows<'a> = dyn FnMut(&mut dyn Maps, Map<'_>, usize, usize) -> Result<()> + 'a;

/// Where results of an earlier frame lie.
pub(super) struct KeptRoom {
    pub(super) room: Room,
    /// Values of a tile of a step and of the result.
    pub(super) small: usize,
    pub(super) large: usize,
}

impl KeptRoom {
    fn at(&self, pass: &Pass<'_>, steps: usize, tiles: usize, index: usize) -> usize {
        let steps_before = pass.number.min(steps);
        let one = if pass.part == Part::Decoder { self.large } else { self.small };
        steps_before * tiles * self.small + index * one
    }
}

/// A picture at work.
pub(super) struct On<'a> {
    pub(super) layout: &'a Layout,
    pub(super) room: &'a Room,
    pub(super) scene: &'a Scene<'a>,
    pub(super) kept_room: Option<&'a KeptRoom>,
}

impl<'a> On<'a> {
    fn map(&self, at: usize, shape: (usize, usize, usize)) -> Map<'a> {
        Layout::map(self.room, at, shape)
    }

    fn table(&self, at: usize, len: usize) -> Table<'a> {
        Table { room: self.room, at, len }
    }

    fn field(&self, at: usize) -> Map<'a> {
        let (h, w) = self.scene.job.grid.picture_shape();
        self.map(at, (self.scene.job.latent_channels, h, w))
    }

    /// Runs the sampler; the place of what is to be decoded.
    pub(super) fn sample(
        &self,
        maps: &mut dyn Maps,
        plans: &mut Plans,
        mut kept: Option<&mut FrameCache>,
        counter: &mut Counter<'_, '_>,
    ) -> Result<usize> {
        let job = self.scene.job;
        let [mut x, mut next] = self.layout.fields;
        let numbers =
            |estimate, next, gives, noise| StepBy { estimate, next, gives, noise, origin: job.origin };
        // A chain that reads nothing of its start needs none.
        let starts = job.steps.first().is_some_and(|s| s.input_scale != 0.0 || s.coefs.x != 0.0);
        if starts {
            let scaled = [0.0, 0.0, 0.0, job.start_noise];
            let by = numbers([0.0; 2], scaled, Gives::Next, Some((job.seed, START_STEP)));
            maps.apply(&MapOp::Step { by, prediction: None, field: None, to: self.field(x) })?;
        }
        let (last, share) = (job.steps.len().saturating_sub(1), job.fidelity);
        for (i, step) in job.steps.iter().enumerate() {
            let field = (starts || i > 0).then(|| self.field(x));
            let k = step.coefs;
            let noise = (k.noise != 0.0).then_some((job.seed, step.timestep));
            let gives = if last == 0 && share > 0.0 { Gives::Blend(share) } else { Gives::Next };
            let by = numbers([k.x0_x, k.x0_pred], [k.x, k.x0, k.pred, k.noise], gives, noise);
            let feed = |name: &str, rect: Rect| {
                let at = (rect.y, rect.x);
                match name {
                    "x" => Some(field.map_or(From::Value(0.0), |f| From::Window(f, at, step.input_scale))),
                    "lr" => Some(From::Window(self.condition(), at, 1.0)),
                    "t" => Some(From::Value(step.timestep as f32)),
                    _ => None,
                }
            };
            let pass = Pass {
                number: i,
                part: Part::Denoiser,
                expert: step.expert,
                channels: job.latent_channels,
                grid: job.grid,
                weights: [self.layout.weights[0], self.layout.weights[1]],
            };
            self.over_tiles(
                maps,
                plans,
                &pass,
                &feed,
                kept.as_deref_mut(),
                counter,
                &mut |maps, rows, first, count| {
                    let part = |m: Map<'a>| m.rows(first, count);
                    // Noise goes by the row in the picture.
                    let by = StepBy { origin: (by.origin.0 + first, by.origin.1), ..by };
                    let (prediction, field) = (Some(rows), field.map(part));
                    if i == 0 && last > 0 && share > 0.0 {
                        let by = StepBy { gives: Gives::Estimate, ..by };
                        let to = part(self.field(self.layout.first));
                        maps.apply(&MapOp::Step { by, prediction, field, to })?;
                    }
                    maps.apply(&MapOp::Step { by, prediction, field, to: part(self.field(next)) })
                },
            )?;
            swap(&mut x, &mut next);
        }
        if last > 0 && share > 0.0 {
            let by = numbers([0.0; 2], [share, 0.0, 1.0 - share, 0.0], Gives::Next, None);
            let (prediction, field) = (Some(self.field(x)), Some(self.field(self.layout.first)));
            maps.apply(&MapOp::Step { by, prediction, field, to: self.field(next) })?;
            x = next;
        }
        Ok(x)
    }

    fn condition(&self) -> Map<'a> {
        let (h, w) = self.scene.job.grid.picture_shape();
        self.map(self.layout.condition, (3, h, w))
    }

    /// Decodes the field at `x`, and makes a frame of it.
    pub(super) fn decode(
        &self,
        maps: &mut dyn Maps,
        plans: &mut Plans,
        x: usize,
        base: Base,
        kept: Option<&mut FrameCache>,
        counter: &mut Counter<'_, '_>,
    ) -> Result<()> {
        let job = self.scene.job;
        let (guide_h, guide_w) = self.scene.way.guide();
        let guide = self.map(self.layout.guide, (3, guide_h, guide_w));
        let feed = |name: &str, rect: Rect| match name {
            "z" => Some(From::Window(self.field(x), (rect.y, rect.x), 1.0)),
            "lr" => Some(From::Window(self.condition(), (rect.y, rect.x), 1.0)),
            "lr_up" if self.scene.way.guided() => {
                let large = rect.scale(model::FACTOR);
                Some(From::Window(guide, (large.y, large.x), 1.0))
            }
            _ => None,
        };
        let pass = Pass {
            number: job.steps.len(),
            part: Part::Decoder,
            expert: 0,
            channels: 3,
            grid: job.fine,
            weights: [self.layout.weights[2], self.layout.weights[3]],
        };
        let ranges = [self.layout.ranges, self.layout.ranges_in].map(|at| self.layout.back + at);
        let mut state = Bands { number: 0, before: 0, ranges };
        self.over_tiles(maps, plans, &pass, &feed, kept, counter, &mut |maps, rows, first, count| {
            let height = self.scene.size.1;
            let end = (first + count).min(height);
            if first.min(height) == end {
                Ok(())
            } else {
                self.band(maps, rows, base, (first, end), &mut state)
            }
        })
    }

    /// Rows of the result: base, ranges, codes.
    fn band(
        &self,
        maps: &mut dyn Maps,
        rows: Map<'_>,
        base: Base,
        (first, end): (usize, usize),
        state: &mut Bands,
    ) -> Result<()> {
        let (scene, layout) = (self.scene, self.layout);
        let ((width, height), count) = (scene.size, end - first);
        let whole = |number: usize| {
            let high = CONTEXT + scene.job.fine.tile_shape().0;
            self.map(layout.bands[number % 2], (3, high, width))
        };
        let context = CONTEXT.min(first);
        let band = whole(state.number).rows(0, context + count);
        if context > 0 {
            let above = whole(state.number + 1).rows(state.before - context, context);
            maps.apply(&copy(above, band.rows(0, context)))?;
        }
        let own = band.rows(context, count);
        let decoded = Map { height: count, width, ..rows };
        let (fine_h, fine_w) = scene.way.fine();
        let fine = self.map(layout.fine, (3, fine_h, fine_w));
        match base {
            Base::Bicubic => maps.apply(&MapOp::Enlarge {
                from: fine,
                factor: model::FACTOR,
                weights: self.table(layout.cubic, 5 * model::FACTOR),
                first,
                add: Some(decoded),
                unit: false,
                to: own,
            })?,
            Base::Nothing => maps.apply(&copy(decoded, own))?,
        }
        let columns = scene.job.grid.counts().1;
        let input = input_rows((first, end));
        let shown = fine.rows(input.start, input.len());
        let [tile, wide] = [scene.job.grid, scene.job.fine].map(|grid| grid.tile_shape().1);
        for (place, (map, factor, width)) in
            state.ranges.iter_mut().zip([(own, model::FACTOR, wide), (shown, 1, tile)])
        {
            let len = columns * ranges_of(map.height);
            let (columns, to) = (self.table(layout.columns, columns), self.table(*place, len));
            maps.apply(&MapOp::Ranges { map, columns, factor, width, to })?;
            *place += len;
        }
        (state.before, state.number) = (context + count, state.number + 1);
        if scene.whole {
            let picture = self.map(layout.back + layout.picture, (3, height, width));
            return maps.apply(&copy(own, picture.rows(first, count)));
        }
        let opacity = self.map(layout.opacity, (1, count, width));
        if let Some(alpha) = scene.alpha {
            let factor = scene.way.scale;
            maps.apply(&match alpha {
                Opacity::Constant(value) => MapOp::Fill { to: opacity, value },
                Opacity::Varies => MapOp::Enlarge {
                    from: self.map(layout.alpha, (1, scene.way.height, scene.way.width)),
                    factor,
                    weights: self.table(layout.cubic_scale, 5 * factor),
                    first,
                    add: None,
                    unit: true,
                    to: opacity,
                },
            })?;
        }
        for plane in &layout.planes {
            let by = layout.plane_by(self.room, scene, plane, (first, end), context);
            let alpha = scene.alpha.is_some().then_some(opacity);
            maps.apply(&MapOp::Write { by, rgb: band, alpha })?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the one loop over tiles")]
    fn over_tiles(
        &self,
        maps: &mut dyn Maps,
        plans: &mut Plans,
        pass: &Pass<'_>,
        feed: &dyn Fn(&str, Rect) -> Option<From<'a>>,
        mut kept: Option<&mut FrameCache>,
        counter: &mut Counter<'_, '_>,
        take: &mut TakeRows<'_>,
    ) -> Result<()> {
        let job = self.scene.job;
        let (h, w) = pass.grid.tile_shape();
        let shape = (pass.channels, h, w);
        let one = pass.channels * h * w;
        let (rows, columns) = pass.grid.counts();
        let mut sums = Sums { missing: vec![columns; rows], next: 0 };
        let mut pending: Vec<Tile> = Vec::with_capacity(MAX_BATCH);
        for (n, &index) in job.order.iter().enumerate() {
            let tile = job.grid.tile(index).ok_or_else(|| Error::internal("a tile beyond the grid"))?;
            let unchanged = kept.as_ref().is_some_and(|k| k.is_valid(pass.number, index));
            let there = self.kept_room.filter(|_| unchanged);
            if there.is_none() {
                pending.push(tile);
            }
            // Tiles are added in their order: only so many rows of them are open.
            let full = pending.len() >= job.batch.min(MAX_BATCH);
            if !pending.is_empty() && (full || there.is_some() || n + 1 == job.order.len()) {
                self.run(maps, plans, pass, feed, &pending)?;
                for (i, tile) in pending.drain(..).enumerate() {
                    let result = Map::new(Home::Result, i * one, shape);
                    let index = tile.row * columns + tile.column;
                    let mark = self.table(self.layout.back + pass.number * job.grid.len() + index, 1);
                    maps.apply(&MapOp::Finite { map: result, mark })?;
                    if let (Some(k), Some(_)) = (self.kept_room, kept.as_deref_mut()) {
                        let at = k.at(pass, job.steps.len(), job.grid.len(), index);
                        maps.apply(&copy(result, Layout::map(&k.room, at, shape)))?;
                    }
                    self.add(maps, pass, &mut sums, &tile, result, take)?;
                    counter.unit()?;
                }
            }
            if let Some(k) = there {
                let at = k.at(pass, job.steps.len(), job.grid.len(), index);
                self.add(maps, pass, &mut sums, &tile, Layout::map(&k.room, at, shape), take)?;
                counter.unit()?;
            }
        }
        Ok(())
    }

    /// Runs the pass's graph on some tiles.
    fn run(
        &self,
        maps: &mut dyn Maps,
        plans: &mut Plans,
        pass: &Pass<'_>,
        feed: &dyn Fn(&str, Rect) -> Option<From<'a>>,
        tiles: &[Tile],
    ) -> Result<()> {
        let (h, w) = self.scene.job.grid.tile_shape();
        let (plan, weights) = plans.get((pass.part, tiles.len(), h, w), pass.expert, self.scene.job.stop)?;
        let parts = inputs(plan.graph(), feed, tiles)?;
        let parts: Vec<&[From<'_>]> = parts.iter().map(Vec::as_slice).collect();
        maps.run(plan, weights, &parts, self.scene.job.stop)
    }

    /// Adds a tile; hands on what became ready. As `assemble`: across first, then downwards.
    fn add(
        &self,
        maps: &mut dyn Maps,
        pass: &Pass<'_>,
        sums: &mut Sums,
        tile: &Tile,
        values: Map<'_>,
        take: &mut TakeRows<'_>,
    ) -> Result<()> {
        let grid = pass.grid;
        let (h, w) = grid.tile_shape();
        if grid.len() == 1 {
            return take(maps, values, 0, h);
        }
        let ((_, width), (rows, columns)) = (grid.picture_shape(), grid.counts());
        let shape = (pass.channels, h, width);
        let strip = |row: usize| {
            let open = &self.layout.strips;
            open.get(row % open.len().max(1)).map(|at| self.map(*at, shape))
        };
        let no_strip = || Error::internal("a row of tiles without a place");
        let place = |row: usize, column: usize| {
            let tile = grid.tile(row * columns + column);
            tile.map(|t| t.rect).ok_or_else(|| Error::internal("a tile beyond the grid"))
        };
        let to = strip(tile.row).ok_or_else(no_strip)?;
        let missing = sums.missing.get_mut(tile.row).ok_or_else(no_strip)?;
        if *missing == columns {
            maps.apply(&MapOp::Fill { to, value: 0.0 })?;
        }
        let weights = self.table(pass.weights[1] + tile.column * w, w);
        let x = place(tile.row, tile.column)?.x;
        maps.apply(&MapOp::Across { tile: values, weights, x, to })?;
        *missing = missing.saturating_sub(1);
        while sums.missing.get(sums.next).is_some_and(|m| *m == 0) {
            let row = sums.next;
            let sum = |row: usize| self.map(self.layout.sums[row % 2], shape);
            let y = place(row, 0)?.y;
            let above = if row > 0 { Some((sum(row - 1), y - place(row - 1, 0)?.y)) } else { None };
            let weights = self.table(pass.weights[0] + row * h, h);
            let strip = strip(row).ok_or_else(no_strip)?;
            maps.apply(&MapOp::Down { strip, weights, above, to: sum(row) })?;
            let count = if row + 1 < rows { place(row + 1, 0)?.y - y } else { h };
            sums.next += 1;
            take(maps, sum(row).rows(0, count), y, count)?;
        }
        Ok(())
    }
}

/// How far the sums of a pass are: tiles that each row waits for, and the first row that is not summed.
struct Sums {
    missing: Vec<usize>,
    next: usize,
}

/// Bands so far: how many, rows of the last one, and where the next one's ranges go, those of the result and of the input.
struct Bands {
    number: usize,
    before: usize,
    ranges: [usize; 2],
}

fn copy<'a>(from: Map<'a>, to: Map<'a>) -> MapOp<'a> {
    MapOp::Cut { from, at: (0, 0), scale: 1.0, unit: false, to }
}

/// For each input of `graph` where the parts of the tiles come from.
fn inputs<'a>(
    graph: &Graph,
    feed: &dyn Fn(&str, Rect) -> Option<From<'a>>,
    tiles: &[Tile],
) -> Result<Vec<Vec<From<'a>>>> {
    let one = |v: &Value| {
        let name = &graph.nodes[v.index()].name;
        let part = |tile: &Tile| {
            let none = || Error::internal(format!("nothing was given for the input `{name}`"));
            feed(name, tile.rect).ok_or_else(none)
        };
        tiles.iter().map(part).collect()
    };
    graph.inputs.iter().map(one).collect()
}
