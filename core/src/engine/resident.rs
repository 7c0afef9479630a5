//! A picture on a device that can hold it: one upload, the loop over steps and tiles without the host, one download. The same
//! sums in the same order as `picture`, `assemble` and `paint`, which remain for everybody else and are what this is held against.

use super::cache::FrameCache;
use super::layout::{Layout, PlaneOut, Scene, bands, ranges_of};
use super::paint::{ALIVE, DEAD, lifeless};
use super::picture::{MAX_BATCH, START_STEP, not_finite};
use super::plans::{Part, Plans};
use super::progress::Counter;
use crate::error::{Error, Result};
use crate::exec::maps::{From, Gives, Home, Map, MapOp, Maps, PIECE, Room, StepBy, Table, Ticket};
use crate::graph::Graph;
use crate::model::{self, Base};
use crate::pixels::canvas::{Canvas, unit};
use crate::pixels::codes::constant;
use crate::pixels::convert::CONTEXT;
use crate::pixels::{ColorInfo, FrameMut, PixelFormat};
use crate::tiles::{Rect, Tile, TileGrid};
use std::mem::swap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A device's maps and the room that the last picture had there.
pub(super) struct Resident {
    maps: Box<dyn Maps>,
    room: Option<(Room, usize)>,
    /// What is begun is to be had as long as this stays.
    era: u64,
    /// What is begun, as long as somebody wants it.
    begun: Vec<(Ticket, Weak<()>)>,
}

/// A number that no device's work had before.
fn fresh_era() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A picture that is being computed.
pub(super) struct Pending {
    /// Held for as long as it is wanted.
    _wanted: Arc<()>,
    era: u64,
    ticket: Ticket,
    pub(super) format: PixelFormat,
    pub(super) color: ColorInfo,
    pub(super) size: (usize, usize),
    grid: TileGrid,
    steps: usize,
    bands: Vec<(usize, usize)>,
    /// Whether the input has something to show, by band and column of tiles.
    alive: Vec<bool>,
    ranges: usize,
    planes: Vec<PlaneOut>,
    /// Where the picture is, where it comes as such.
    picture: Option<usize>,
}

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
struct KeptRoom {
    room: Room,
    /// Values of a tile of a step and of the result.
    small: usize,
    large: usize,
}

impl KeptRoom {
    fn at(&self, pass: &Pass<'_>, steps: usize, tiles: usize, index: usize) -> usize {
        let steps_before = pass.number.min(steps);
        let one = if pass.part == Part::Decoder { self.large } else { self.small };
        steps_before * tiles * self.small + index * one
    }
}

impl Resident {
    pub(super) fn new(maps: Box<dyn Maps>) -> Self {
        Self { maps, room: None, era: fresh_era(), begun: Vec::new() }
    }

    /// Values of the room that is held.
    pub(super) fn held(&self) -> usize {
        self.room.as_ref().map_or(0, |(_, len)| *len)
    }

    /// Waits for everything that was begun, and gives it up.
    pub(super) fn drain(&mut self) {
        self.era = fresh_era();
        self.begun.clear();
        self.maps.drain();
    }

    /// Whether this was begun here and not given up.
    pub(super) fn has(&self, pending: &Pending) -> bool {
        self.era == pending.era
    }

    /// Pictures that are begun and not finished.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.begun.len()
    }

    /// Lets go what was begun and nobody wants any more.
    fn sweep(&mut self) -> Result<()> {
        let left = self.begun.iter().filter(|(_, wanted)| wanted.strong_count() == 0);
        let left: Vec<_> = left.map(|(ticket, _)| *ticket).collect();
        self.begun.retain(|(_, wanted)| wanted.strong_count() > 0);
        left.into_iter().try_for_each(|ticket| self.maps.take(ticket, &mut |_| Ok(())))
    }

    /// A room for `len` values: the one that is there, where it is large enough.
    pub(super) fn room(&mut self, len: usize) -> Result<Room> {
        if self.held() < len {
            // The old one goes first: both may not fit.
            self.room = None;
            self.room = Some((self.maps.room(len)?, len));
        }
        self.room.as_ref().map(|(room, _)| room.clone()).ok_or_else(|| Error::internal("a room vanished"))
    }

    /// Begins a picture: everything up to the download is asked for. `kept` has results of an earlier frame.
    pub(super) fn begin(
        &mut self,
        plans: &mut Plans,
        scene: &Scene<'_>,
        base: Base,
        mut kept: Option<&mut FrameCache>,
        counter: &mut Counter<'_, '_>,
    ) -> Result<Pending> {
        self.sweep()?;
        let job = scene.job;
        let layout = Layout::of(scene);
        let room = self.room(layout.len)?;
        let ((th, tw), tiles) = (job.grid.tile_shape(), job.grid.len());
        let f = model::FACTOR;
        let (small, large) = (job.latent_channels * th * tw, 3 * th * f * tw * f);
        let kept_room = match &mut kept {
            Some(cache) => {
                let len = tiles * (job.steps.len() * small + large);
                let maps = &mut self.maps;
                cache.room(len, &mut |len| maps.room(len))?.map(|room| KeptRoom { room, small, large })
            }
            None => None,
        };
        let on = On { layout: &layout, room: &room, scene, kept_room: kept_room.as_ref() };
        let maps = self.maps.as_mut();
        maps.send(&room, layout.sent, &mut |out| layout.write(scene, out))?;
        let marks = (job.steps.len() + 1) * tiles;
        maps.apply(&MapOp::Fill { to: Layout::map(&room, layout.back, (1, 1, marks)), value: 0.0 })?;
        let x = on.sample(maps, plans, kept.as_deref_mut(), counter)?;
        on.decode(maps, plans, x, base, kept, counter)?;
        let ticket = maps.fetch(Table { room: &room, at: layout.back, len: layout.back_len })?;
        let bands = bands(job.fine, scene.size.1);
        let wanted = Arc::new(());
        self.begun.push((ticket, Arc::downgrade(&wanted)));
        Ok(Pending {
            _wanted: wanted,
            era: self.era,
            ticket,
            format: scene.format,
            color: scene.color,
            size: scene.size,
            grid: job.grid.clone(),
            steps: job.steps.len(),
            alive: bands.iter().flat_map(|band| alive(job.grid, scene.fine, *band)).collect(),
            bands,
            ranges: layout.ranges,
            planes: layout.planes,
            picture: scene.whole.then_some(layout.picture),
        })
    }

    /// Waits for a picture, looks whether it is one, and writes it into `output`, or into `whole` where it comes as such.
    pub(super) fn end(
        &mut self,
        pending: &Pending,
        output: &mut FrameMut<'_>,
        whole: &mut Canvas,
    ) -> Result<()> {
        self.begun.retain(|(ticket, _)| *ticket != pending.ticket);
        self.maps.take(pending.ticket, &mut |values| {
            pending.check(values)?;
            if let Some(at) = pending.picture {
                let to = whole.data_mut();
                let from = values.get(at..at + to.len());
                to.copy_from_slice(from.ok_or_else(|| Error::internal("less came back than was made"))?);
            }
            for (number, plane) in pending.planes.iter().enumerate() {
                let all = values.get(plane.at..).unwrap_or_default();
                for (y, words) in all.chunks_exact(plane.words.max(1)).take(plane.rows).enumerate() {
                    let row = output.row_mut(number, y);
                    for (bytes, word) in row.chunks_mut(size_of::<f32>()).zip(words) {
                        bytes.copy_from_slice(&word.to_bits().to_ne_bytes()[..bytes.len()]);
                    }
                }
            }
            Ok(())
        })
    }
}

impl Pending {
    /// Refuses what a network gave that failed.
    fn check(&self, values: &[f32]) -> Result<()> {
        let tiles = self.grid.len();
        let marks = values.get(..(self.steps + 1) * tiles).unwrap_or_default();
        if let Some(at) = marks.iter().position(|m| *m != 0.0) {
            let part = if at / tiles == self.steps { Part::Decoder } else { Part::Denoiser };
            let tile = self.grid.tile(at % tiles).unwrap_or_default();
            return Err(not_finite(&self.grid, &tile, part));
        }
        let (mut at, columns) = (self.ranges, self.grid.counts().1);
        for (band, &(first, end)) in self.bands.iter().enumerate() {
            let one = ranges_of(end - first);
            for column in 0..columns {
                let ranges = values.get(at + column * one..at + (column + 1) * one).unwrap_or_default();
                let dead = ranges.chunks_exact(2 * (end - first).div_ceil(PIECE)).all(|plane| {
                    let least = plane.iter().step_by(2).fold(f32::INFINITY, |m, v| m.min(*v));
                    let most = plane.iter().skip(1).step_by(2).fold(f32::NEG_INFINITY, |m, v| m.max(*v));
                    most - least < DEAD
                });
                if dead && self.alive.get(band * columns + column).is_some_and(|alive| *alive) {
                    return Err(lifeless(&self.grid, first, column));
                }
            }
            at += columns * one;
        }
        Ok(())
    }
}

/// Whether the input has something to show where each column of tiles crosses these rows of the result.
fn alive(grid: &TileGrid, fine: &Canvas, (first, end): (usize, usize)) -> Vec<bool> {
    let f = model::FACTOR;
    let column = |column: usize| {
        let rect = grid.tile(column).unwrap_or_default().rect;
        let xs = rect.x.min(fine.width())..(rect.x + rect.w).min(fine.width());
        (0..3).any(|c| {
            let rows = (first / f..end.div_ceil(f).min(fine.height())).map(|y| fine.row(c, y));
            let values = rows.flat_map(|row| row.get(xs.clone()).unwrap_or_default()).map(|v| unit(*v));
            let (least, most) =
                values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, m), v| (l.min(v), m.max(v)));
            most - least > ALIVE
        })
    };
    (0..grid.counts().1).map(column).collect()
}

/// A picture at work.
struct On<'a> {
    layout: &'a Layout,
    room: &'a Room,
    scene: &'a Scene<'a>,
    kept_room: Option<&'a KeptRoom>,
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
    fn sample(
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
    fn decode(
        &self,
        maps: &mut dyn Maps,
        plans: &mut Plans,
        x: usize,
        base: Base,
        kept: Option<&mut FrameCache>,
        counter: &mut Counter<'_, '_>,
    ) -> Result<()> {
        let job = self.scene.job;
        let guide = job.guide.map(|g| self.map(self.layout.guide, (3, g.height(), g.width())));
        let feed = |name: &str, rect: Rect| match name {
            "z" => Some(From::Window(self.field(x), (rect.y, rect.x), 1.0)),
            "lr" => Some(From::Window(self.condition(), (rect.y, rect.x), 1.0)),
            "lr_up" => {
                let large = rect.scale(model::FACTOR);
                guide.map(|g| From::Window(g, (large.y, large.x), 1.0))
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
        let mut state = Bands { number: 0, before: 0, ranges: self.layout.back + self.layout.ranges };
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
        match base {
            Base::Bicubic => maps.apply(&MapOp::Enlarge {
                from: self.map(layout.fine, (3, scene.fine.height(), scene.fine.width())),
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
        let ranges = columns * ranges_of(count);
        maps.apply(&MapOp::Ranges {
            map: own,
            columns: self.table(layout.columns, columns),
            factor: model::FACTOR,
            width: scene.job.fine.tile_shape().1,
            to: self.table(state.ranges, ranges),
        })?;
        state.ranges += ranges;
        (state.before, state.number) = (context + count, state.number + 1);
        if scene.whole {
            let picture = self.map(layout.back + layout.picture, (3, height, width));
            return maps.apply(&copy(own, picture.rows(first, count)));
        }
        let opacity = self.map(layout.opacity, (1, count, width));
        if let Some((small, factor)) = scene.alpha {
            maps.apply(&match constant(small) {
                Some(value) => MapOp::Fill { to: opacity, value },
                None => MapOp::Enlarge {
                    from: self.map(layout.alpha, (1, small.height(), small.width())),
                    factor,
                    weights: self.table(layout.cubic_alpha, 5 * factor),
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

/// Bands so far: how many, rows of the last one, and where the next one's ranges go.
struct Bands {
    number: usize,
    before: usize,
    ranges: usize,
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
    let one = |v: &crate::graph::Value| {
        let name = &graph.nodes[v.index()].name;
        let part = |tile: &Tile| {
            let none = || Error::internal(format!("nothing was given for the input `{name}`"));
            feed(name, tile.rect).ok_or_else(none)
        };
        tiles.iter().map(part).collect()
    };
    graph.inputs.iter().map(one).collect()
}
