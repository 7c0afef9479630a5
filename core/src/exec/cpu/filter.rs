//! The adaptive frequency filter (`Op::FrequencyFilter`): weights, shapes, and how the work is shared out.

#![allow(unsafe_code, reason = "kernel")]

use crate::error::{Error, Result};
use crate::exec::cpu::fft::Fft;
use crate::exec::cpu::map::{Context, Map, Ptr};
use crate::exec::cpu::simd::Level;
use crate::exec::cpu::spectrum::{self, Mask, Piece};

/// Spectra of windows up to this many f32 stay with their thread: 4 MB.
const WINDOW_LIMIT: usize = 1 << 20;

/// Weights of the mask, packed.
pub(crate) struct Filter {
    level: Level,
    channels: usize,
    window: Option<usize>,
    mask: Mask,
}

/// Factors of the transforms over one size of maps.
pub(crate) struct FilterShape {
    h: usize,
    w: usize,
    columns: Fft,
    rows: Fft,
}

impl Filter {
    /// `weights` and numbers as in `Op::FrequencyFilter`.
    #[allow(clippy::too_many_arguments, reason = "those of the op")]
    pub(crate) fn new(
        level: Level,
        channels: usize,
        window: Option<usize>,
        blocks: usize,
        hidden_factor: usize,
        weights: [&[f32]; 4],
        slope: f32,
        shrink: f32,
        bounded: bool,
    ) -> Result<Self> {
        let wrong = channels == 0
            || blocks == 0
            || hidden_factor == 0
            || !channels.is_multiple_of(blocks)
            || window == Some(0);
        if wrong {
            return Err(Error::internal(format!(
                "a frequency filter of {channels} channels in {blocks} blocks"
            )));
        }
        let inner = channels / blocks;
        let hidden = inner * hidden_factor;
        let lengths =
            [2 * blocks * inner * hidden, 2 * blocks * hidden, 2 * blocks * inner * hidden, 2 * channels];
        if weights.iter().zip(lengths).any(|(w, len)| w.len() != len) {
            return Err(Error::internal("weights of a frequency filter have other lengths"));
        }
        let mask = Mask::new(level, blocks, inner, hidden, weights)
            .ok_or_else(|| Error::limit("no memory for the weights of a frequency filter"))?
            .with(slope, shrink, bounded);
        Ok(Self { level, channels, window, mask })
    }

    /// For maps of `h` x `w`.
    pub(crate) fn shape(window: Option<usize>, h: usize, w: usize) -> FilterShape {
        let (h, w) = window.map_or((h, w), |s| (s, s));
        FilterShape { h, w, columns: Fft::new(h), rows: Fft::new(w) }
    }

    fn size(&self, h: usize, w: usize) -> (usize, usize) {
        self.window.map_or((h, w), |s| (s, s))
    }

    /// Vectors of a pixel.
    fn vectors(&self) -> usize {
        self.channels.div_ceil(self.level.width())
    }

    /// Spectrum of a window or map in f32: `[column][row][vector][re, im][lane]`.
    fn spectrum(&self, h: usize, w: usize) -> usize {
        let (h, w) = self.size(h, w);
        (w / 2 + 1) * h * self.vectors() * 2 * self.level.width()
    }

    /// Whether the spectrum is in the scratch.
    fn alone(&self, h: usize, w: usize) -> bool {
        self.window.is_some() && self.spectrum(h, w) <= WINDOW_LIMIT
    }

    /// Scratch of a thread in f32.
    pub(crate) fn scratch(&self, h: usize, w: usize) -> usize {
        let (th, tw) = self.size(h, w);
        let own = if self.alone(h, w) { self.spectrum(h, w) } else { 0 };
        own + self.mask.scratch(self.level, self.channels, th, tw)
    }

    /// Space of all threads together in f32: one whole map's spectrum.
    pub(crate) fn workspace(&self, _n: usize, h: usize, w: usize) -> usize {
        if self.alone(h, w) { 0 } else { self.spectrum(h, w) }
    }

    /// # Safety
    /// Maps in live memory, `y` does not overlap `x`; `workspace` values at `space`.
    pub(crate) unsafe fn run(
        &self,
        cx: &Context<'_>,
        shape: &FilterShape,
        x: &Map,
        y: &Map,
        space: Ptr,
    ) -> Result<()> {
        let (h, w) = self.size(x.h, x.w);
        let fits = x.c == self.channels
            && y.c == self.channels
            && (x.n, x.h, x.w) == (y.n, y.h, y.w)
            && (shape.h, shape.w) == (h, w);
        if !fits || (h > 0 && !x.h.is_multiple_of(h)) || (w > 0 && !x.w.is_multiple_of(w)) {
            return Err(Error::internal(format!("a frequency filter over {}x{}x{}", x.c, x.h, x.w)));
        }
        if x.pixels() == 0 {
            return Ok(());
        }
        let across = x.w / w;
        let per_picture = x.h / h * across;
        let areas = x.n * per_picture;
        let piece = |area: usize, spectrum: *mut f32, scratch: *mut f32| {
            let (picture, at) = (area / per_picture, area % per_picture);
            let pixel = (picture * x.h + at / across * h) * x.w + at % across * w;
            // SAFETY: a pixel of both maps.
            let (from, to) = unsafe { (x.pixel(pixel), y.pixel(pixel)) };
            Piece {
                mask: &self.mask,
                columns: &shape.columns,
                rows: &shape.rows,
                h,
                w,
                channels: self.channels,
                lanes: y.lanes(),
                x: from,
                x_step: x.stride,
                x_row: x.w * x.stride,
                y: to,
                y_step: y.stride,
                y_row: y.w * y.stride,
                spectrum,
                scratch,
            }
        };
        let (pairs, half) = (h.div_ceil(2), w / 2 + 1);
        let groups = self.mask.groups(self.level, self.channels);
        let own = self.spectrum(x.h, x.w);
        if self.alone(x.h, x.w) {
            let (tasks, each) = cx.split(areas, 1);
            return cx.run(tasks, &|task, thread| {
                for area in task * each..((task + 1) * each).min(areas) {
                    let scratch = cx.scratch(thread);
                    // SAFETY: the spectrum comes first in the scratch; the caller vouches for the maps; no other
                    // task has this window.
                    unsafe {
                        let piece = piece(area, scratch, scratch.add(own));
                        for pair in 0..pairs {
                            spectrum::forward(self.level, &piece, pair);
                        }
                        for column in 0..half {
                            for group in 0..groups {
                                spectrum::column(self.level, &piece, column, group);
                            }
                        }
                        for pair in 0..pairs {
                            spectrum::back(self.level, &piece, pair);
                        }
                    }
                }
            });
        }
        for area in 0..areas {
            let space = || space.get();
            let (tasks, each) = cx.split(pairs, 1);
            cx.run(tasks, &|task, thread| {
                let piece = piece(area, space(), cx.scratch(thread));
                for pair in task * each..((task + 1) * each).min(pairs) {
                    // SAFETY: the caller vouches for maps and space; this pair's rows of it are this task's.
                    unsafe { spectrum::forward(self.level, &piece, pair) };
                }
            })?;
            cx.run(half * groups, &|task, thread| {
                let piece = piece(area, space(), cx.scratch(thread));
                // SAFETY: as above; this group of this column is this task's.
                unsafe { spectrum::column(self.level, &piece, task / groups, task % groups) };
            })?;
            cx.run(tasks, &|task, thread| {
                let piece = piece(area, space(), cx.scratch(thread));
                for pair in task * each..((task + 1) * each).min(pairs) {
                    // SAFETY: as above; the space is only read, the rows of the map are this task's.
                    unsafe { spectrum::back(self.level, &piece, pair) };
                }
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
