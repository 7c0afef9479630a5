//! Results of a stream's last frame, tile by tile: what did not change is not computed again.
//!
//! A tile of the first step reads its own part of the condition and noise that is the same for every frame. A tile
//! of a later step, and of the decoder, also reads the field, so it changes where a tile changed before that counts
//! inside of it. Everything else comes out as it did, bit for bit, and is taken from here.

use super::seen::{Before, Seen};
use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::maps::Room;
use crate::pixels::canvas::Canvas;
use crate::tiles::TileGrid;
use std::sync::Arc;

/// Bytes that a stream may keep. Above, every frame is computed as a whole.
const CACHE_BYTES: usize = 512 << 20;

/// The result for one tile.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) values: Vec<f32>,
    /// True where the frame at hand has the same.
    pub(super) valid: bool,
}

impl Kept {
    /// Takes a new result.
    pub(super) fn keep(&mut self, values: &[f32]) -> Result<()> {
        self.values.clear();
        self.values.try_reserve_exact(values.len()).map_err(|e| {
            Error::limit(format!("the system has no {} MiB of memory for a tile", values.len() >> 18))
                .because(e)
        })?;
        self.values.extend_from_slice(values);
        Ok(())
    }
}

/// What a stream keeps of its last frame.
#[derive(Default)]
pub(super) struct FrameCache {
    /// What the kept results follow from besides the frame; nothing while one is being computed.
    of: Option<(Arc<TileGrid>, Arc<Settings>)>,
    /// Where a device holds them, and for how many values that is.
    room: Option<(Room, usize)>,
    /// The frame. In which form it is here also says whether a device holds the results.
    before: Before,
    /// By step and tile.
    pub(super) steps: Vec<Vec<Kept>>,
    pub(super) decoded: Vec<Kept>,
    /// Tiles of the frames so far, over all steps and decoding, and how many of them were taken from here.
    pub(super) tiles: u64,
    pub(super) reused: u64,
}

impl FrameCache {
    /// Whether results of a frame are few enough to be kept.
    pub(super) fn fits(grid: &TileGrid, values_per_cell: usize) -> bool {
        let (h, w) = grid.tile_shape();
        let values = grid.len().checked_mul(h * w).and_then(|n| n.checked_mul(values_per_cell));
        values.is_some_and(|n| n <= CACHE_BYTES / size_of::<f32>())
    }

    /// Finds out which results a frame has in common with the last one.
    pub(super) fn begin(&mut self, grid: &Arc<TileGrid>, settings: &Settings, seen: &Seen<'_, &Canvas>) {
        let of = self.of.take();
        let known = of.is_some_and(|(g, s)| *g == **grid && *s == *settings) && self.before.is_like(seen);
        let (steps, tiles) = (settings.steps.len(), grid.len());
        self.steps.resize_with(steps, Vec::new);
        for kept in self.steps.iter_mut().chain([&mut self.decoded]) {
            kept.resize_with(tiles, Kept::default);
            kept.iter_mut().for_each(|k| k.valid = false);
        }
        if !known {
            return;
        }
        let of = |i: usize| grid.tile(i).unwrap_or_default();
        // Of the first step: by the frame alone.
        for (i, kept) in self.steps.iter_mut().flat_map(|s| s.iter_mut().enumerate()) {
            kept.valid = self.before.has(seen, of(i).rect);
        }
        for (i, kept) in self.decoded.iter_mut().enumerate() {
            kept.valid = self.steps.first().and_then(|s| s.get(i)).is_some_and(|k| k.valid);
        }
        // Of later passes: where nothing changed before that counts there.
        let mut before: &[Kept] = &[];
        for kept in self.steps.iter_mut().chain([&mut self.decoded]) {
            for i in 0..kept.len() {
                let rect = of(i).rect;
                let changed = |(j, k): (usize, &Kept)| !k.valid && grid.counted(&of(j)).meets(&rect);
                if before.iter().enumerate().any(changed)
                    && let Some(k) = kept.get_mut(i)
                {
                    k.valid = false;
                }
            }
            before = kept;
        }
    }

    /// The frame is done: what is kept is of it. A canvas gets an old one in exchange.
    pub(super) fn finish(
        &mut self,
        grid: &Arc<TileGrid>,
        settings: &Arc<Settings>,
        seen: Seen<'_, &mut Canvas>,
    ) {
        let all = self.steps.iter().chain([&self.decoded]).flatten();
        self.reused += all.filter(|k| k.valid).count() as u64;
        // A frame that is not remembered is like no other.
        if let Err(e) = self.before.keep(seen) {
            log::debug!("{e}; the next one is computed as a whole");
        }
        self.of = Some((Arc::clone(grid), Arc::clone(settings)));
    }

    /// The device's room for `len` values: the one that holds those of the last frame, or a new one by `make`, of which nothing is valid.
    /// Nothing where there is no memory for it: the frame is computed as a whole then.
    ///
    /// # Errors
    /// Those of `make` other than `Limit`.
    pub(super) fn room(
        &mut self,
        len: usize,
        make: &mut dyn FnMut(usize) -> Result<Room>,
    ) -> Result<Option<Room>> {
        if self.room.as_ref().is_none_or(|(_, held)| *held != len) {
            self.room = None;
            self.steps.iter_mut().chain([&mut self.decoded]).flatten().for_each(|k| k.valid = false);
            match make(len) {
                Ok(room) => self.room = Some((room, len)),
                Err(e) if e.kind() == ErrorKind::Limit => log::debug!("{e}; frames are computed as a whole"),
                Err(e) => return Err(e),
            }
        }
        Ok(self.room.as_ref().map(|(room, _)| room.clone()))
    }

    /// Whether the result of a tile is the last frame's, in the pass of that number: steps in order, then decoding.
    pub(super) fn is_valid(&self, pass: usize, tile: usize) -> bool {
        let kept = self.steps.get(pass).unwrap_or(&self.decoded);
        kept.get(tile).is_some_and(|k| k.valid)
    }

    /// Forgets the frame; the memory stays.
    pub(super) fn forget(&mut self) {
        self.of = None;
    }
}
