//! A picture on a device that can hold it: one upload, the loop over steps and tiles without the host, one download. The same
//! sums in the same order as `picture`, `assemble` and `paint`, which remain for everybody else and are what this is held against.

use super::aboard::{KeptRoom, On};
use super::cache::FrameCache;
use super::finish::{ALIVE, DEAD, lifeless};
use super::layout::{Layout, PlaneOut, Scene, bands, input_rows, ranges_of};
use super::picture::not_finite;
use super::plans::{Part, Plans};
use super::progress::Counter;
use crate::error::{Error, Result};
use crate::exec::maps::{MapOp, Maps, PIECE, Room, Table, Ticket};
use crate::model::{self, Base};
use crate::pixels::canvas::Canvas;
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
    /// Ranges of the result and of the input.
    ranges: [usize; 2],
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
        layout.read(maps, &room, scene)?;
        let marks = (job.steps.len() + 1) * tiles;
        maps.apply(&MapOp::Fill { to: Layout::map(&room, layout.back, (1, 1, marks)), value: 0.0 })?;
        let x = on.sample(maps, plans, kept.as_deref_mut(), counter)?;
        on.decode(maps, plans, x, base, kept, counter)?;
        let ticket = maps.fetch(Table { room: &room, at: layout.back, len: layout.back_len })?;
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
            bands: bands(job.fine, scene.size.1),
            ranges: [layout.ranges, layout.ranges_in],
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
        let columns = self.grid.counts().1;
        let [mut result, mut input] = self.ranges;
        for &band in &self.bands {
            let rows = [band.1 - band.0, input_rows(band).len()];
            for column in 0..columns {
                let most = |at: usize, rows: usize| {
                    let one = ranges_of(rows);
                    let all = values.get(at + column * one..at + (column + 1) * one).unwrap_or_default();
                    widest(all, rows)
                };
                if most(result, rows[0]) < DEAD && most(input, rows[1]) > ALIVE {
                    return Err(lifeless(&self.grid, band.0, column));
                }
            }
            (result, input) = (result + columns * ranges_of(rows[0]), input + columns * ranges_of(rows[1]));
        }
        Ok(())
    }
}

/// The widest range of a plane, of those of its pieces of `rows` rows.
fn widest(ranges: &[f32], rows: usize) -> f32 {
    let plane = |plane: &[f32]| {
        let least = plane.iter().step_by(2).fold(f32::INFINITY, |m, v| m.min(*v));
        let most = plane.iter().skip(1).step_by(2).fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        most - least
    };
    let planes = ranges.chunks_exact((2 * rows.div_ceil(PIECE)).max(1));
    planes.map(plane).fold(f32::NEG_INFINITY, f32::max)
}
