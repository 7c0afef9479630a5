//! A picture on a device that can hold it: one upload, the loop over steps and tiles without the host, one download. The same
//! sums in the same order as `picture`, `assemble` and `paint`, which remain for everybody else and are what this is held against.

use super::aboard::{KeptRoom, On};
use super::cache::FrameCache;
use super::layout::{Layout, PlaneOut, Scene, bands, ranges_of};
use super::paint::{ALIVE, DEAD, lifeless};
use super::picture::not_finite;
use super::plans::{Part, Plans};
use super::progress::Counter;
use crate::error::{Error, Result};
use crate::exec::maps::{MapOp, Maps, PIECE, Room, Table, Ticket};
use crate::model::{self, Base};
use crate::pixels::canvas::{Canvas, unit};
use crate::pixels::{ColorInfo, FrameMut, PixelFormat};
use crate::tiles::TileGrid;
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
