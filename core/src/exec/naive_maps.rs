//! Maps in the machine's memory, done at once: the twin that devices with maps of their own are held against, and the engine with it.
#![allow(clippy::unwrap_used, reason = "part of tests alone: one that cannot go on shall stop")]

use super::maps::{
    CodesBy, ColoursBy, From, Gives, Home, Map, MapOp, Maps, PIECE, PlaneBy, Room, Sample, Table, Ticket,
    foreign,
};
use super::{Executor, Prepared, Weights};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::weights::WeightSource;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Values = Mutex<Vec<f32>>;

/// Gaussian noise by seed, step, channel, row and column. Given from outside: executors do not know the sampler.
pub(crate) type Noise = fn(u64, u32, u32, u32, u32) -> f32;

/// How often maps were used, for tests that must know that they were.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicUsize,
    pub(crate) fetched: AtomicUsize,
    pub(crate) runs: AtomicUsize,
}

/// An executor with maps: those of another, and its plans.
pub(crate) struct WithMaps {
    pub(crate) inner: Arc<dyn Executor>,
    pub(crate) noise: Noise,
    pub(crate) counts: Arc<Counts>,
    /// Values that all rooms together may have, even those that are gone.
    pub(crate) room: usize,
}

impl Executor for WithMaps {
    fn name(&self) -> &'static str {
        "twin"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> Result<Weights> {
        self.inner.load(graph, source)
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Prepared>> {
        self.inner.prepare(graph)
    }

    fn maps(&self) -> Option<Result<Box<dyn Maps>>> {
        let maps = NaiveMaps {
            noise: self.noise,
            counts: Arc::clone(&self.counts),
            room: self.room,
            result: Vec::new(),
            fetched: VecDeque::new(),
            tickets: 0,
        };
        Some(Ok(Box::new(maps)))
    }
}

/// The twin.
pub(crate) struct NaiveMaps {
    pub(crate) noise: Noise,
    pub(crate) counts: Arc<Counts>,
    pub(crate) room: usize,
    pub(crate) result: Vec<f32>,
    pub(crate) fetched: VecDeque<(Ticket, Vec<f32>)>,
    pub(crate) tickets: u64,
}

fn of(room: &Room) -> Result<&Values> {
    room.0.downcast_ref::<Values>().ok_or_else(foreign)
}

fn made(len: usize) -> Room {
    Room(Arc::new(Mutex::new(vec![f32::NAN; len])))
}

fn unit(v: f32) -> f32 {
    if v > 0.0 { v.min(1.0) } else { 0.0 }
}

impl NaiveMaps {
    /// The values of a map, without gaps.
    pub(crate) fn read(&self, map: &Map<'_>) -> Result<Vec<f32>> {
        let copy = |all: &[f32]| {
            let mut out = Vec::with_capacity(map.len());
            for c in 0..map.channels {
                for y in 0..map.height {
                    out.extend_from_slice(&all[map.at + c * map.plane + y * map.row..][..map.width]);
                }
            }
            out
        };
        Ok(match map.home {
            Home::Room(room) => copy(&of(room)?.lock().unwrap()),
            Home::Result => copy(&self.result),
        })
    }

    fn table(&self, table: &Table<'_>) -> Result<Vec<f32>> {
        self.read(&Map::new(Home::Room(table.room), table.at, (1, 1, table.len)))
    }

    /// Gives every cell of `map` what `value` says of channel, row and column.
    pub(crate) fn write(&self, map: &Map<'_>, value: &dyn Fn(usize, usize, usize) -> f32) -> Result<()> {
        let Home::Room(room) = map.home else { return Err(foreign()) };
        let mut all = of(room)?.lock().unwrap();
        for c in 0..map.channels {
            for y in 0..map.height {
                let row = &mut all[map.at + c * map.plane + y * map.row..][..map.width];
                row.iter_mut().enumerate().for_each(|(x, v)| *v = value(c, y, x));
            }
        }
        Ok(())
    }

    fn codes(&self, by: &CodesBy<'_>, to: &Map<'_>) -> Result<()> {
        let words = self.table(&by.from)?;
        self.write(to, &|c, y, x| {
            let at = (x * by.samples + by.places[c]) * by.bytes;
            let word = words[y * by.words + at / 4].to_bits() >> (8 * (at % 4));
            let code = match by.bytes {
                1 => ((word & 0xff) >> by.shift) as f32,
                2 => ((word & 0xffff) >> by.shift) as f32,
                _ => f32::from_bits(word),
            };
            (code - by.offset) / by.scale
        })
    }

    fn colours(&self, by: &ColoursBy, luma: &Map<'_>, chroma: &Map<'_>, to: &Map<'_>) -> Result<()> {
        let (luma, halves) = (self.read(luma)?, self.read(chroma)?);
        // First sample and weights of a cubic that makes sample `i` of a halved side.
        let taps = |centred: bool, i: usize| -> (isize, [f32; 4]) {
            let half = (i / 2) as isize;
            let of = |weights: [i16; 4]| weights.map(|w| f32::from(w) / 128.0);
            match (centred, i % 2) {
                (false, 0) => (half - 1, of([0, 128, 0, 0])),
                (false, _) => (half - 1, of([-8, 72, 72, -8])),
                (true, 0) => (half - 2, of([-3, 29, 111, -9])),
                (true, _) => (half - 1, of([-9, 111, 29, -3])),
            }
        };
        let sum = |(first, weights): (isize, [f32; 4]), n: usize, value: &dyn Fn(usize) -> f32| {
            let one = |k: usize| weights[k] * value((first + k as isize).clamp(0, n as isize - 1) as usize);
            one(0) + one(1) + one(2) + one(3)
        };
        let (h, w) = (chroma.height, chroma.width);
        let up = |c: usize, y: usize, x: usize| {
            let column = |x: usize| {
                let value = |y: usize| halves[(c * h + y) * w + x];
                if by.halved.1 { sum(taps(by.siting != 2, y), h, &value) } else { value(y) }
            };
            if by.halved.0 { sum(taps(by.siting == 1, x), w, &column) } else { column(x) }
        };
        let [r_v, g_u, g_v, b_u] = by.shares;
        self.write(to, &|c, y, x| {
            let l = luma[y * to.width + x];
            match c {
                0 => l + r_v * up(1, y, x),
                1 => l + g_u * up(0, y, x) + g_v * up(1, y, x),
                _ => l + b_u * up(0, y, x),
            }
        })
    }

    fn plane(&self, by: &PlaneBy<'_>, rgb: &Map<'_>, alpha: Option<&Map<'_>>) -> Result<()> {
        let colours = self.read(rgb)?;
        let opacity = alpha.map(|a| Ok::<_, Error>((self.read(a)?, a.width))).transpose()?;
        let yuv = if by.yuv.len == 8 { self.table(&by.yuv)? } else { vec![0.0; 8] };
        let (w, h) = (rgb.width, by.height);
        let colour = |c: usize, y: usize, x: usize| colours[(c * rgb.height + y - by.begins) * w + x];
        let luma = |y: usize, x: usize| {
            yuv[0] * colour(0, y, x) + yuv[1] * colour(1, y, x) + yuv[2] * colour(2, y, x)
        };
        let difference = |c: usize, j: usize, i: usize| {
            let down = |x: usize| {
                let one = |y: usize, weight: f32| weight * (colour(c, y, x) - luma(y, x));
                let (y, next) = (2 * j, (2 * j + 1).min(h - 1));
                match (by.halved.1, by.siting) {
                    (false, _) => 0.0 + one(j, 1.0),
                    (true, 2) => 0.0 + one(y.saturating_sub(1), 0.25) + one(y, 0.5) + one(next, 0.25),
                    (true, _) => 0.0 + one(y, 0.5) + one(next, 0.5),
                }
            };
            let (x, next) = (2 * i, (2 * i + 1).min(w - 1));
            let taps = if by.siting == 1 { [0.0, 0.5, 0.5] } else { [0.25, 0.5, 0.25] };
            if by.halved.0 {
                taps[0] * down(x.saturating_sub(1)) + taps[1] * down(x) + taps[2] * down(next)
            } else {
                down(i)
            }
        };
        let value = |kind: Sample, y: usize, x: usize| match kind {
            Sample::Red => colour(0, y, x) * by.white,
            Sample::Green => colour(1, y, x) * by.white,
            Sample::Blue => colour(2, y, x) * by.white,
            Sample::Alpha => {
                opacity.as_ref().map_or(0.0, |(a, wide)| a[(y - by.first) * wide + x]) * by.white
            }
            Sample::White => by.white,
            Sample::Gray => (colour(0, y, x) + colour(1, y, x) + colour(2, y, x)) * (1.0 / 3.0) * by.white,
            Sample::Luma => luma(y, x) * yuv[4] + yuv[3],
            Sample::ChromaU => difference(2, y, x) * yuv[6] + yuv[5],
            Sample::ChromaV => difference(0, y, x) * yuv[7] + yuv[5],
        };
        let per_word = 4 / by.bytes;
        let word = |_: usize, y: usize, word: usize| {
            let mut bits = 0;
            for i in 0..per_word {
                let code = word * per_word + i;
                if code < by.codes {
                    let v = value(by.kinds[code % by.samples], by.first + y, code / by.samples);
                    let number = match by.bytes {
                        4 => unit(v).to_bits(),
                        _ => ((v + 0.5) as u32).min(by.top as u32) << by.shift,
                    };
                    bits |= number << (8 * by.bytes * i);
                }
            }
            f32::from_bits(bits)
        };
        self.write(&Map::new(Home::Room(by.to.room), by.to.at, (1, by.rows, by.words)), &word)
    }
}

impl Maps for NaiveMaps {
    fn room(&mut self, len: usize) -> Result<Room> {
        if len > self.room {
            return Err(Error::limit(format!("no room for {len} values")));
        }
        self.room -= len;
        Ok(made(len))
    }

    fn send(&mut self, to: &Room, len: usize, fill: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        fill(&mut of(to)?.lock().unwrap()[..len])
    }

    fn apply(&mut self, op: &MapOp<'_>) -> Result<()> {
        match op {
            MapOp::Fill { to, value } => self.write(to, &|_, _, _| *value),
            MapOp::Cut { from, at, scale, unit: in_unit, to } => {
                let all = self.read(from)?;
                self.write(to, &|c, y, x| {
                    let (y, x) = ((y + at.0).min(from.height - 1), (x + at.1).min(from.width - 1));
                    let v = scale * all[(c * from.height + y) * from.width + x];
                    if *in_unit { unit(v) } else { v }
                })
            }
            MapOp::Across { tile, weights, x: first, to } => {
                let (all, weights, old) = (self.read(tile)?, self.table(weights)?, self.read(to)?);
                self.write(to, &|c, y, x| {
                    let sum = old[(c * to.height + y) * to.width + x];
                    match x.checked_sub(*first).filter(|x| *x < tile.width) {
                        Some(x) => sum + all[(c * tile.height + y) * tile.width + x] * weights[x],
                        None => sum,
                    }
                })
            }
            MapOp::Down { strip, weights, above, to } => {
                let (all, weights) = (self.read(strip)?, self.table(weights)?);
                let above = above.as_ref().map(|(m, n)| Ok::<_, Error>((self.read(m)?, *n))).transpose()?;
                self.write(to, &|c, y, x| {
                    let at = |y: usize| (c * to.height + y) * to.width + x;
                    let moved = above.as_ref().filter(|(_, n)| y + n < to.height);
                    let sum = moved.map_or(0.0, |(sum, n)| sum[at(y + n)]);
                    if weights[y] == 0.0 { sum } else { sum + all[at(y)] * weights[y] }
                })
            }
            MapOp::Step { by, prediction, field, to } => {
                let read = |m: &Option<Map<'_>>| m.as_ref().map(|m| self.read(m)).transpose();
                let (prediction, field) = (read(prediction)?, read(field)?);
                self.write(to, &|c, y, x| {
                    let at = |m: &Option<Vec<f32>>| {
                        m.as_ref().map_or(0.0, |m| m[(c * to.height + y) * to.width + x])
                    };
                    let (p, f) = (at(&prediction), at(&field));
                    let estimate = by.estimate[0] * f + by.estimate[1] * p;
                    let noise = by.noise.map_or(0.0, |(seed, step)| {
                        (self.noise)(seed, step, c as u32, (by.origin.0 + y) as u32, (by.origin.1 + x) as u32)
                    });
                    let next = by.next[0] * f + by.next[1] * estimate + by.next[2] * p + by.next[3] * noise;
                    match by.gives {
                        Gives::Next => next,
                        Gives::Estimate => estimate,
                        Gives::Blend(b) => b * estimate + (1.0 - b) * next,
                    }
                })
            }
            MapOp::Enlarge { from, factor, weights, first, add, unit: in_unit, to } => {
                let (all, weights) = (self.read(from)?, self.table(weights)?);
                let add = add.as_ref().map(|m| self.read(m)).transpose()?;
                let near = |at: usize, k: usize, n: usize| (at / factor + k).saturating_sub(2).min(n - 1);
                self.write(to, &|c, y, x| {
                    let mut sum = 0.0;
                    for across in 0..5 {
                        let column = near(x, across, from.width);
                        let value = |k: usize| {
                            let row = near(y + first, k, from.height);
                            weights[k * factor + (y + first) % factor]
                                * all[(c * from.height + row) * from.width + column]
                        };
                        let tap = value(0) + value(1) + value(2) + value(3) + value(4);
                        sum += tap * weights[across * factor + x % factor];
                    }
                    if let Some(add) = &add {
                        sum += add[(c * to.height + y) * to.width + x];
                    }
                    if *in_unit { unit(sum) } else { sum }
                })
            }
            MapOp::Finite { map, mark } => {
                if self.read(map)?.iter().all(|v| v.is_finite()) {
                    return Ok(());
                }
                self.write(&Map::new(Home::Room(mark.room), mark.at, (1, 1, 1)), &|_, _, _| 1.0)
            }
            MapOp::Ranges { map, columns, factor, width, to } => {
                let (all, columns) = (self.read(map)?, self.table(columns)?);
                let pieces = map.height.div_ceil(PIECE);
                let out = Map::new(Home::Room(to.room), to.at, (columns.len(), map.channels * pieces, 2));
                self.write(&out, &|column, place, which| {
                    let (c, piece) = (place / pieces, place % pieces);
                    let left = columns[column] as usize * factor;
                    let mut range = [1.0f32, 0.0];
                    for y in piece * PIECE..((piece + 1) * PIECE).min(map.height) {
                        for x in left..(left + width).min(map.width) {
                            let v = unit(all[(c * map.height + y) * map.width + x]);
                            range = [range[0].min(v), range[1].max(v)];
                        }
                    }
                    range[which]
                })
            }
            MapOp::Codes { by, to } => self.codes(by, to),
            MapOp::Colours { by, luma, chroma, to } => self.colours(by, luma, chroma, to),
            MapOp::EnlargeCodes { from, factor, weights, to } => {
                let (all, weights) = (self.read(from)?, self.table(weights)?);
                let mirrored = |at: usize, k: usize, n: usize| {
                    let at = (at as isize + k as isize - 2).rem_euclid(2 * n as isize) as usize;
                    if at < n { at } else { 2 * n - 1 - at }
                };
                let code = |v: f32| v.clamp(0.0, 255.0).round_ties_even();
                self.write(to, &|c, y, x| {
                    let (y, x) = (y.min(from.height * factor - 1), x.min(from.width * factor - 1));
                    let column = |across: usize| {
                        let column = mirrored(x / factor, across, from.width);
                        let value = |k: usize| {
                            let row = mirrored(y / factor, k, from.height);
                            let v = all[(c * from.height + row) * from.width + column];
                            weights[k * factor + y % factor] * f32::from((255.0 * v + 0.5) as u8)
                        };
                        weights[across * factor + x % factor] * code((0..5).map(value).sum())
                    };
                    code((0..5).map(column).sum()) / 255.0
                })
            }
            MapOp::Write { by, rgb, alpha } => self.plane(by, rgb, alpha.as_ref()),
        }
    }

    fn run(
        &mut self,
        plan: &mut dyn Prepared,
        weights: &Weights,
        inputs: &[&[From<'_>]],
        stop: &AtomicBool,
    ) -> Result<()> {
        self.counts.runs.fetch_add(1, Ordering::Relaxed);
        let shapes: Vec<_> = plan.graph().inputs.iter().map(|&v| plan.graph().shape(v)).collect();
        let mut given = Vec::new();
        for (parts, shape) in inputs.iter().zip(&shapes) {
            let one = shape.iter().product::<usize>() / parts.len();
            let mut values = Vec::new();
            for part in *parts {
                match *part {
                    From::Value(value) => values.resize(values.len() + one, value),
                    From::Window(map, at, scale) => {
                        let room = made(one);
                        let to = Map::new(Home::Room(&room), 0, (shape[1], shape[2], shape[3]));
                        self.apply(&MapOp::Cut { from: map, at, scale, unit: false, to })?;
                        values.extend(self.read(&to)?);
                    }
                }
            }
            given.push(values);
        }
        let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
        let first = plan.graph().outputs[0];
        let mut out = vec![0.0; plan.graph().shape(first).iter().product()];
        plan.run(weights, &given, &mut [&mut out], stop, None)?;
        self.result = out;
        Ok(())
    }

    fn fetch(&mut self, from: Table<'_>) -> Result<Ticket> {
        self.counts.fetched.fetch_add(1, Ordering::Relaxed);
        self.tickets += 1;
        self.fetched.push_back((Ticket(self.tickets), self.table(&from)?));
        Ok(Ticket(self.tickets))
    }

    fn take(&mut self, ticket: Ticket, read: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let at = self.fetched.iter().position(|(t, _)| *t == ticket).ok_or_else(foreign)?;
        self.fetched.remove(at).map_or_else(|| Err(foreign()), |(_, values)| read(&values))
    }

    fn drain(&mut self) {
        self.fetched.clear();
    }
}
