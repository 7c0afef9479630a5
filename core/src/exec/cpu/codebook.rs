//! Nearest codebook entry per pixel and back (`Op::CodebookIndex`, `Op::CodebookLookup`).

#![allow(unsafe_code, reason = "kernel")]

use crate::error::{Error, Result};
use crate::exec::cpu::lanes::{Lanes, copy, unrolled};
use crate::exec::cpu::map::{Buffer, Context, LANES, Map, padded};
use crate::exec::cpu::simd::{Level, levels};

/// Pixels looked at together, AVX-512 and the others: as many as registers hold distance, best and index of.
const WIDE: usize = 8;
const NARROW: usize = 4;

/// Entries of a codebook.
pub(crate) struct Codebook {
    level: Level,
    entries: usize,
    channels: usize,
    /// Per 16 entries: their squared norms, then per channel their values times -2.
    panels: Buffer,
    /// Entries with padded channels.
    rows: Buffer,
}

impl Codebook {
    /// `embedding` is `[entries, channels]`.
    pub(crate) fn new(level: Level, entries: usize, channels: usize, embedding: &[f32]) -> Result<Self> {
        // Indices are passed on as f32.
        if entries == 0 || channels == 0 || entries > 1 << 24 || embedding.len() != entries * channels {
            return Err(Error::internal(format!("a codebook of {entries} entries of {channels} channels")));
        }
        let none = || Error::limit("no memory for a codebook");
        let mut panels = Buffer::zeroed(entries.div_ceil(LANES) * (channels + 1) * LANES).ok_or_else(none)?;
        let mut rows = Buffer::zeroed(entries * padded(channels)).ok_or_else(none)?;
        for (i, panel) in panels.as_mut_slice().chunks_mut((channels + 1) * LANES).enumerate() {
            for lane in 0..LANES {
                let Some(entry) = embedding.chunks(channels).nth(i * LANES + lane) else {
                    // Never the nearest.
                    panel[lane] = f32::INFINITY;
                    continue;
                };
                panel[lane] = entry.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() as f32;
                for (c, &v) in entry.iter().enumerate() {
                    panel[(c + 1) * LANES + lane] = -2.0 * v;
                }
            }
        }
        for (row, entry) in rows.as_mut_slice().chunks_mut(padded(channels)).zip(embedding.chunks(channels)) {
            row[..channels].copy_from_slice(entry);
        }
        Ok(Self { level, entries, channels, panels, rows })
    }

    /// Index of the nearest entry, the lowest of equals.
    ///
    /// # Safety
    /// Maps in live memory, `y` does not overlap `x`.
    pub(crate) unsafe fn index(&self, cx: &Context<'_>, x: &Map, y: &Map) -> Result<()> {
        if x.c != self.channels || y.c != 1 || (x.n, x.h, x.w) != (y.n, y.h, y.w) {
            return Err(Error::internal(format!("codebook indices of {} channels", x.c)));
        }
        let pixels = x.pixels();
        // Tasks of whole groups; a group is cut only at the very end.
        let (tasks, each) = cx.split(pixels.div_ceil(WIDE), 4);
        cx.run(tasks, &|task, _| {
            let (from, to) = (task * each * WIDE, ((task + 1) * each * WIDE).min(pixels));
            // SAFETY: pixels of the maps; the panels were made for these channels.
            unsafe {
                nearest(
                    self.level,
                    self.panels.start(),
                    self.entries.div_ceil(LANES),
                    self.channels,
                    x.pixel(from),
                    x.stride,
                    y.pixel(from),
                    y.stride,
                    to - from,
                );
            }
        })
    }

    /// Entries by index; indices outside are taken to the nearest one inside.
    ///
    /// # Safety
    /// Maps in live memory, `y` does not overlap `x`.
    pub(crate) unsafe fn lookup(&self, cx: &Context<'_>, x: &Map, y: &Map) -> Result<()> {
        if x.c != 1 || y.c != self.channels || (x.n, x.h, x.w) != (y.n, y.h, y.w) {
            return Err(Error::internal(format!("codebook entries of {} channels", y.c)));
        }
        let pixels = x.pixels();
        let (tasks, each) = cx.split(pixels, 256);
        cx.run(tasks, &|task, _| {
            for p in task * each..((task + 1) * each).min(pixels) {
                // SAFETY: pixels of the maps; the index is below the number of entries, NaN becomes 0.
                unsafe {
                    let index = ((*x.pixel(p)).max(0.0) as usize).min(self.entries - 1);
                    let row = padded(self.channels);
                    fetch(self.level, self.rows.start().add(index * row), y.pixel(p), row);
                }
            }
        })
    }
}

levels! { unsafe fn fetch(from: *const f32, to: *mut f32, len: usize) = copy; }

levels! {
    unsafe fn nearest(
        panels: *const f32,
        count: usize,
        channels: usize,
        x: *const f32,
        x_step: usize,
        y: *mut f32,
        y_step: usize,
        pixels: usize,
    ) = nearest_over;
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "kernels take what they read")]
unsafe fn nearest_over<S: Lanes>(
    panels: *const f32,
    count: usize,
    channels: usize,
    x: *const f32,
    x_step: usize,
    y: *mut f32,
    y_step: usize,
    pixels: usize,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let mut p = 0;
        while p < pixels {
            let (from, to) = (x.add(p * x_step), y.add(p * y_step));
            if S::REGISTERS == 32 && p + WIDE <= pixels {
                group_over::<S, WIDE>(panels, count, channels, from, x_step, to, y_step);
                p += WIDE;
            } else if p + NARROW <= pixels {
                group_over::<S, NARROW>(panels, count, channels, from, x_step, to, y_step);
                p += NARROW;
            } else {
                group_over::<S, 1>(panels, count, channels, from, x_step, to, y_step);
                p += 1;
            }
        }
    }
}

/// The squared norm of the pixel is the same for all entries and left out: fewer roundings, same order.
#[inline(always)]
unsafe fn group_over<S: Lanes, const P: usize>(
    panels: *const f32,
    count: usize,
    channels: usize,
    x: *const f32,
    x_step: usize,
    y: *mut f32,
    y_step: usize,
) {
    // SAFETY: `P` pixels, `count` panels of `channels + 1` rows.
    unsafe {
        let mut first = [0.0f32; LANES];
        for (i, v) in first.iter_mut().enumerate() {
            *v = i as f32;
        }
        let mut best = [S::splat(f32::INFINITY); P];
        let mut found = [S::zero(); P];
        for i in 0..count {
            let panel = panels.add(i * (channels + 1) * LANES);
            let mut half = 0;
            while half < LANES {
                let number = S::add(S::load(first.as_ptr().add(half)), S::splat((i * LANES) as f32));
                let norm = S::load(panel.add(half));
                let mut distance = [norm; P];
                for c in 0..channels {
                    let e = S::load(panel.add((c + 1) * LANES + half));
                    unrolled!(p < P, {
                        distance[p] = S::fma(S::splat(*x.add(p * x_step + c)), e, distance[p]);
                    });
                }
                unrolled!(p < P, {
                    (best[p], found[p]) = S::keep_less(distance[p], number, best[p], found[p]);
                });
                half += S::W;
            }
        }
        for p in 0..P {
            let (mut values, mut numbers) = ([f32::INFINITY; LANES], [0.0f32; LANES]);
            S::store(values.as_mut_ptr(), best[p]);
            S::store(numbers.as_mut_ptr(), found[p]);
            let (mut least, mut number) = (values[0], numbers[0]);
            for lane in 1..S::W {
                if values[lane] < least || (values[lane] == least && numbers[lane] < number) {
                    (least, number) = (values[lane], numbers[lane]);
                }
            }
            let to = y.add(p * y_step);
            *to = number;
            for lane in 1..LANES {
                *to.add(lane) = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::map::Ptr;
    use crate::exec::cpu::pool::Pool;
    use std::sync::atomic::AtomicBool;

    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (s >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn map(b: &Buffer, skip: usize, [n, h, w]: [usize; 3], c: usize, stride: usize) -> Map {
        Map { start: Ptr::new(b.start().wrapping_add(skip)), n, h, w, c, stride }
    }

    #[test]
    fn the_nearest_entry_is_found_and_fetched() {
        for (entries, c, shape) in
            [(1, 1, [1, 1, 1]), (40, 3, [2, 3, 7]), (37, 17, [1, 5, 5]), (300, 4, [1, 16, 9])]
        {
            let pixels: usize = shape.iter().product();
            let mut book = noise(entries * c, 5);
            // Equals: the second half repeats the first.
            let half = entries / 2 * c;
            book.copy_within(0..half, entries * c - half);
            let z = noise(pixels * c, 6);
            let (xs, ys) = (padded(c) + 16, 32);
            let mut x = Buffer::zeroed(pixels * xs).unwrap();
            for p in 0..pixels {
                x.as_mut_slice()[p * xs..][..c].copy_from_slice(&z[p * c..][..c]);
            }
            for level in Level::available() {
                let op = Codebook::new(level, entries, c, &book).unwrap();
                for threads in [1, 3] {
                    let pool = Pool::new(threads);
                    let stop = AtomicBool::new(false);
                    let cx = Context { level, pool: &pool, scratch: &[], stop: &stop };
                    let mut y = Buffer::zeroed(pixels * ys + 16).unwrap();
                    y.as_mut_slice().fill(-9.0);
                    let mut back = Buffer::zeroed(pixels * xs + 16).unwrap();
                    back.as_mut_slice().fill(-9.0);
                    let indices = map(&y, 16, shape, 1, ys);
                    // SAFETY: the buffers hold these maps.
                    unsafe {
                        op.index(&cx, &map(&x, 0, shape, c, xs), &indices).unwrap();
                        op.lookup(&cx, &indices, &map(&back, 16, shape, c, xs)).unwrap();
                    }
                    assert!(y.as_slice()[..16].iter().all(|v| *v == -9.0));
                    for p in 0..pixels {
                        let distance = |e: &[f32]| -> f64 {
                            e.iter().zip(&z[p * c..]).map(|(a, b)| f64::from(a - b).powi(2)).sum()
                        };
                        let all: Vec<f64> = book.chunks(c).map(distance).collect();
                        let wanted = (0..entries).reduce(|a, b| if all[b] < all[a] { b } else { a }).unwrap();
                        let row = &y.as_slice()[16 + p * ys..][..ys];
                        assert_eq!(row[0], wanted as f32, "{level} {entries} {c} {p}");
                        assert!(row[1..16].iter().all(|v| *v == 0.0));
                        assert!(row[16..].iter().all(|v| *v == -9.0));
                        let row = &back.as_slice()[16 + p * xs..][..xs];
                        assert_eq!(row[..c], book[wanted * c..][..c]);
                        assert!(row[c..padded(c)].iter().all(|v| *v == 0.0));
                        assert!(row[padded(c)..].iter().all(|v| *v == -9.0));
                    }
                }
            }
        }
    }

    #[test]
    fn indices_outside_are_clamped() {
        let level = Level::detect(None);
        let op = Codebook::new(level, 3, 1, &[10.0, 11.0, 12.0]).unwrap();
        let mut x = Buffer::zeroed(5 * 16).unwrap();
        for (i, v) in [-3.0, 1.9, 2.0, 99.0, f32::NAN].into_iter().enumerate() {
            x.as_mut_slice()[i * 16] = v;
        }
        let y = Buffer::zeroed(5 * 16).unwrap();
        let (pool, stop) = (Pool::new(1), AtomicBool::new(false));
        let cx = Context { level, pool: &pool, scratch: &[], stop: &stop };
        // SAFETY: the buffers hold these maps.
        unsafe { op.lookup(&cx, &map(&x, 0, [1, 1, 5], 1, 16), &map(&y, 0, [1, 1, 5], 1, 16)).unwrap() };
        let got: Vec<f32> = y.as_slice().iter().step_by(16).copied().collect();
        assert_eq!(got, [10.0, 11.0, 12.0, 12.0, 10.0]);
    }
}
