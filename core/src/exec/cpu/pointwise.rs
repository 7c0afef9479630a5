//! Kernels that work pixel by pixel: factors, offsets, activations, sums, norms over the channels.

#![allow(unsafe_code, reason = "vector kernels over maps")]

use crate::error::Result;
use crate::exec::cpu::conv::Act;
use crate::exec::cpu::map::{Context, LANES, Map, Ptr};
use crate::exec::cpu::simd::{Simd, levels};
use crate::graph::ChannelNorm;

/// `act(v)`.
#[inline(always)]
pub(super) unsafe fn activate<S: Simd>(v: S::V, act: Act) -> S::V {
    // SAFETY: the caller runs at the level of `S`.
    unsafe {
        match act {
            Act::None => v,
            Act::Silu => S::silu(v),
            Act::Gelu => S::gelu(v),
            Act::Leaky(slope) => S::leaky(v, S::splat(slope)),
        }
    }
}

/// What [`apply`] does to each sample: `add_scale * add + scale * act(x * factor[c] + shift[c])`.
#[derive(Clone, Copy)]
pub(crate) struct Pointwise {
    /// Factor and offset per channel, `[n or 1][lanes]`.
    pub(crate) channel: Option<(Ptr, Ptr)>,
    /// Whether each picture has its own factors.
    pub(crate) per_picture: bool,
    pub(crate) act: Act,
    pub(crate) scale: f32,
    /// Same shape as the result, or one pixel per picture.
    pub(crate) add: Option<Map>,
    pub(crate) add_scale: f32,
}

/// # Safety
/// Maps of one shape in live memory; `y` overlaps neither input, except that it may be exactly one of them.
pub(crate) unsafe fn apply(cx: &Context<'_>, x: &Map, op: &Pointwise, y: &Map) -> Result<()> {
    let per = y.h * y.w;
    let (tasks, each) = cx.split(per, 256);
    let (x, y, op, level) = (*x, *y, *op, cx.level);
    cx.run(tasks * y.n, &|task, _| {
        let (n, part) = (task / tasks, task % tasks);
        let (from, to) = (part * each, ((part + 1) * each).min(per));
        // SAFETY: pixels `from..to` of picture `n`, which no other task writes.
        unsafe { apply_range(level, x, op, y, n, from, to) }
    })
}

levels! { unsafe fn apply_range(x: Map, op: Pointwise, y: Map, n: usize, from: usize, to: usize) = apply_over; }

#[inline(always)]
unsafe fn apply_over<S: Simd>(x: Map, op: Pointwise, y: Map, n: usize, from: usize, to: usize) {
    let per = y.h * y.w;
    let lanes = y.lanes();
    let row = if op.per_picture { n * lanes } else { 0 };
    let spread = op.add.is_some_and(|a| a.h * a.w != per);
    // SAFETY: pixels inside the maps, vectors inside the lanes of a pixel; factors hold `lanes` values per picture.
    unsafe {
        let (scale, add_scale) = (S::splat(op.scale), S::splat(op.add_scale));
        let mut p = from;
        while p < to {
            let (px, py) = (x.pixel(n * per + p), y.pixel(n * per + p));
            let pa = match &op.add {
                Some(a) if spread => a.pixel(n),
                Some(a) => a.pixel(n * per + p),
                None => py,
            };
            let mut c = 0;
            while c < lanes {
                let mut v = S::load(px.add(c));
                if let Some((factor, shift)) = op.channel {
                    v = S::fma(v, S::load(factor.get().add(row + c)), S::load(shift.get().add(row + c)));
                }
                v = S::mul(activate::<S>(v, op.act), scale);
                if op.add.is_some() {
                    v = S::fma(S::load(pa.add(c)), add_scale, v);
                }
                S::store(py.add(c), v);
                c += S::W;
            }
            p += 1;
        }
    }
}

/// Norm of each pixel over its channels.
#[derive(Clone, Copy)]
pub(crate) struct PixelNorm {
    pub(crate) kind: ChannelNorm,
    pub(crate) eps: f32,
    /// Factor and offset per channel, `[lanes]`.
    pub(crate) weight: Ptr,
    pub(crate) bias: Ptr,
    pub(crate) act: Act,
}

/// # Safety
/// As [`apply`].
pub(crate) unsafe fn pixel_norm(cx: &Context<'_>, x: &Map, op: &PixelNorm, y: &Map) -> Result<()> {
    let (tasks, each) = cx.split(y.pixels(), 64);
    let (x, y, op, level) = (*x, *y, *op, cx.level);
    cx.run(tasks, &|task, _| {
        let (from, to) = (task * each, ((task + 1) * each).min(y.pixels()));
        // SAFETY: pixels `from..to`, which no other task writes.
        unsafe { norm_range(level, x, op, y, from, to) }
    })
}

levels! { unsafe fn norm_range(x: Map, op: PixelNorm, y: Map, from: usize, to: usize) = norm_over; }

#[inline(always)]
unsafe fn norm_over<S: Simd>(x: Map, op: PixelNorm, y: Map, from: usize, to: usize) {
    let (lanes, c, whole) = (y.lanes(), y.c as f32, y.c / S::W * S::W);
    // SAFETY: as `apply_over`.
    unsafe {
        let mut p = from;
        while p < to {
            let (px, py) = (x.pixel(p), y.pixel(p));
            let mut sum = 0.0;
            if op.kind == ChannelNorm::Layer {
                sum = total::<S>(px, lanes);
            }
            let mean = sum / c;
            // Padding lanes hold zeros, which are not part of the spread around the mean.
            let mut square = S::zero();
            let mut i = 0;
            while i < whole {
                let d = S::sub(S::load(px.add(i)), S::splat(mean));
                square = S::fma(d, d, square);
                i += S::W;
            }
            let mut square = S::sum(square);
            while i < y.c {
                let d = *px.add(i) - mean;
                square += d * d;
                i += 1;
            }
            let inverse = S::splat(1.0 / (square / c + op.eps).sqrt());
            let mean = S::splat(mean);
            let mut i = 0;
            while i < lanes {
                let d = S::mul(S::sub(S::load(px.add(i)), mean), inverse);
                let v = S::fma(d, S::load(op.weight.get().add(i)), S::load(op.bias.get().add(i)));
                S::store(py.add(i), activate::<S>(v, op.act));
                i += S::W;
            }
            p += 1;
        }
    }
}

#[inline(always)]
unsafe fn total<S: Simd>(p: *const f32, lanes: usize) -> f32 {
    // SAFETY: `lanes` values at `p`.
    unsafe {
        let mut sum = S::zero();
        let mut i = 0;
        while i < lanes {
            sum = S::add(sum, S::load(p.add(i)));
            i += S::W;
        }
        S::sum(sum)
    }
}

/// `out[p] = 1 / sqrt(mean(x[p]^2) + eps)`.
///
/// # Safety
/// `x.pixels()` values at `out`, which overlaps no map.
pub(crate) unsafe fn rms_inverse(cx: &Context<'_>, x: &Map, eps: f32, out: Ptr) -> Result<()> {
    let (tasks, each) = cx.split(x.pixels(), 256);
    let (x, level) = (*x, cx.level);
    cx.run(tasks, &|task, _| {
        let (from, to) = (task * each, ((task + 1) * each).min(x.pixels()));
        // SAFETY: values `from..to`, which no other task writes.
        unsafe { inverse_range(level, x, eps, out.get(), from, to) }
    })
}

levels! { unsafe fn inverse_range(x: Map, eps: f32, out: *mut f32, from: usize, to: usize) = inverse_over; }

#[inline(always)]
unsafe fn inverse_over<S: Simd>(x: Map, eps: f32, out: *mut f32, from: usize, to: usize) {
    let (lanes, c) = (x.lanes(), x.c as f32);
    // SAFETY: pixels inside the map; padding lanes are zero and add nothing.
    unsafe {
        let mut p = from;
        while p < to {
            let px = x.pixel(p);
            let mut square = S::zero();
            let mut i = 0;
            while i < lanes {
                let v = S::load(px.add(i));
                square = S::fma(v, v, square);
                i += S::W;
            }
            *out.add(p) = 1.0 / (S::sum(square) / c + eps).sqrt();
            p += 1;
        }
    }
}

/// Pixels whose sums are carried in f32: rounding stays that of 64 additions.
const SHORT: usize = 64;

/// Pixels of one task of the statistics: fixed, so that the result does not depend on the threads.
const CHUNK: usize = 2048;

/// Group norm as a factor and an offset per picture and channel.
#[derive(Clone, Copy)]
pub(crate) struct GroupStats {
    pub(crate) groups: usize,
    pub(crate) eps: f32,
    /// Factor and offset per channel, `[lanes]`.
    pub(crate) weight: Ptr,
    pub(crate) bias: Ptr,
    /// Results, `[n][lanes]` each.
    pub(crate) factor: Ptr,
    pub(crate) shift: Ptr,
    /// Room for [`group_space`] values.
    pub(crate) space: Ptr,
}

/// f32 that [`group_stats`] needs besides its results.
pub(crate) fn group_space(x: &Map) -> usize {
    // Two f64 per lane of each chunk.
    x.n * (x.h * x.w).div_ceil(CHUNK) * x.lanes() * 4
}

/// # Safety
/// Memory as the fields say, aligned to 8 bytes at `space`.
pub(crate) unsafe fn group_stats(cx: &Context<'_>, x: &Map, op: &GroupStats) -> Result<()> {
    let (x, op, level) = (*x, *op, cx.level);
    let per = x.h * x.w;
    let (chunks, lanes) = (per.div_ceil(CHUNK), x.lanes());
    cx.run(x.n * chunks, &|task, _| {
        let (n, chunk) = (task / chunks, task % chunks);
        let (from, to) = (n * per + chunk * CHUNK, n * per + ((chunk + 1) * CHUNK).min(per));
        // SAFETY: the sums of this chunk, which no other task writes.
        unsafe { sums(level, x, n * per, from, to, op.space.get().cast::<f64>().add(task * 2 * lanes)) }
    })?;
    let size = x.c / op.groups;
    for n in 0..x.n {
        for g in 0..op.groups {
            let channels = g * size..(g + 1) * size;
            let count = (size * per) as f64;
            // SAFETY: sums written above; channels below the lanes; the pivot is the first pixel of the picture.
            unsafe {
                let at = |chunk: usize, which: usize, c: usize| {
                    *op.space.get().cast::<f64>().add(((n * chunks + chunk) * 2 + which) * lanes + c)
                };
                let pivot = x.pixel(n * per);
                let mut sum = 0.0;
                for c in channels.clone() {
                    sum += f64::from(*pivot.add(c)) * per as f64;
                    sum += (0..chunks).map(|k| at(k, 0, c)).sum::<f64>();
                }
                let mean = sum / count;
                // From moments around each channel's pivot to the one around the group's mean.
                let mut var = 0.0;
                for c in channels.clone() {
                    let d = f64::from(*pivot.add(c)) - mean;
                    let (s, q) = (0..chunks).fold((0.0, 0.0), |(s, q), k| (s + at(k, 0, c), q + at(k, 1, c)));
                    var += q + 2.0 * d * s + d * d * per as f64;
                }
                let inverse = 1.0 / ((var / count).max(0.0) + f64::from(op.eps)).sqrt();
                for c in channels {
                    let weight = f64::from(*op.weight.get().add(c));
                    *op.factor.get().add(n * lanes + c) = (weight * inverse) as f32;
                    *op.shift.get().add(n * lanes + c) =
                        (f64::from(*op.bias.get().add(c)) - mean * weight * inverse) as f32;
                }
            }
        }
        for c in x.c..lanes {
            // SAFETY: lanes of the results.
            unsafe {
                *op.factor.get().add(n * lanes + c) = 0.0;
                *op.shift.get().add(n * lanes + c) = 0.0;
            }
        }
    }
    Ok(())
}

levels! { unsafe fn sums(x: Map, pivot: usize, from: usize, to: usize, out: *mut f64) = sums_over; }

/// `out[c]` and `out[lanes + c]`: sum and sum of squares of `x - pivot`.
#[inline(always)]
unsafe fn sums_over<S: Simd>(x: Map, pivot: usize, from: usize, to: usize, out: *mut f64) {
    let lanes = x.lanes();
    // SAFETY: pixels inside the map, `2 * lanes` f64 at `out`.
    unsafe {
        let mut i = 0;
        while i < 2 * lanes {
            *out.add(i) = 0.0;
            i += 1;
        }
        let mut p = from;
        while p < to {
            let end = if p + SHORT < to { p + SHORT } else { to };
            let mut c = 0;
            while c < lanes {
                let middle = S::load(x.pixel(pivot).add(c));
                let (mut s, mut q) = (S::zero(), S::zero());
                let mut i = p;
                while i < end {
                    let d = S::sub(S::load(x.pixel(i).add(c)), middle);
                    s = S::add(s, d);
                    q = S::fma(d, d, q);
                    i += 1;
                }
                let (mut one, mut two) = ([0.0f32; LANES], [0.0f32; LANES]);
                S::store(one.as_mut_ptr(), s);
                S::store(two.as_mut_ptr(), q);
                let mut l = 0;
                while l < S::W {
                    *out.add(c + l) += f64::from(one[l]);
                    *out.add(lanes + c + l) += f64::from(two[l]);
                    l += 1;
                }
                c += S::W;
            }
            p = end;
        }
    }
}
