//! What convolutions do to samples on the way in and on the way out.

#![allow(unsafe_code, reason = "vector kernels over raw memory")]

use crate::exec::cpu::conv::{Act, Post, Source};
use crate::exec::cpu::map::{Map, padded};
use crate::exec::cpu::simd::Simd;
use crate::graph::Border;

/// Functions that kernels are made for: nothing at all, only factors, or factors and then the function.
pub(crate) const COPY: u8 = 0;
pub(crate) const PLAIN: u8 = 1;
pub(crate) const SILU: u8 = 2;
pub(crate) const GELU: u8 = 3;
pub(crate) const LEAKY: u8 = 4;

impl Act {
    /// Which kernel, and the slope of the leaky one.
    pub(crate) fn kernel(self) -> (u8, f32) {
        match self {
            Self::None => (PLAIN, 0.0),
            Self::Silu => (SILU, 0.0),
            Self::Gelu => (GELU, 0.0),
            Self::Leaky(slope) => (LEAKY, slope),
        }
    }
}

#[inline(always)]
unsafe fn act<S: Simd, const F: u8>(v: S::V, slope: f32) -> S::V {
    // SAFETY: the caller runs at the level of `S`.
    unsafe {
        match F {
            SILU => S::silu(v),
            GELU => S::gelu(v),
            LEAKY => S::leaky(v, S::splat(slope)),
            _ => v,
        }
    }
}

/// One picture that a convolution reads, as kernels take it.
#[derive(Clone, Copy)]
pub(crate) struct Lead {
    start: *const f32,
    stride: usize,
    /// Logical size; halved by `up` to that of the map.
    h: usize,
    w: usize,
    up: u32,
    zero: bool,
    pixel: *const f32,
    scale: *const f32,
    shift: *const f32,
    slope: f32,
    /// Kernel to call.
    pub(crate) kind: u8,
}

impl Lead {
    /// # Safety
    /// `image` is one of the map's.
    pub(crate) unsafe fn new(src: &Source, border: Border, image: usize) -> Self {
        let map = &src.map;
        let area = map.h * map.w;
        let up = u32::from(src.upsample);
        let (kind, slope) = src.act.kernel();
        let (lanes, null) = (map.lanes(), std::ptr::null());
        let bare = src.pixel.is_none() && src.channel.is_none() && kind == PLAIN;
        // SAFETY: one factor per pixel and lane, as `Source` says.
        unsafe {
            Self {
                start: map.pixel(image * area),
                stride: map.stride,
                h: map.h << up,
                w: map.w << up,
                up,
                zero: border == Border::Zero,
                pixel: src.pixel.map_or(null, |p| p.get().add(image * area).cast_const()),
                scale: src.channel.map_or(null, |c| c.0.get().add(image * lanes).cast_const()),
                shift: src.channel.map_or(null, |c| c.1.get().add(image * lanes).cast_const()),
                slope,
                kind: if bare { COPY } else { kind },
            }
        }
    }

    /// Pixel of the map at a logical place; none where zeros are to be read.
    #[inline(always)]
    pub(crate) fn at(&self, y: isize, x: isize) -> Option<usize> {
        let inside = y >= 0 && x >= 0 && (y as usize) < self.h && (x as usize) < self.w;
        if self.zero && !inside {
            return None;
        }
        let y = (y.max(0) as usize).min(self.h - 1) >> self.up;
        let x = (x.max(0) as usize).min(self.w - 1) >> self.up;
        Some(y * (self.w >> self.up) + x)
    }

    /// Samples of a pixel of the map from channel `c` on.
    ///
    /// # Safety
    /// The pixel and a vector of its channels are in the map; the level is that of `S`.
    #[inline(always)]
    pub(crate) unsafe fn sample<S: Simd, const F: u8>(&self, pixel: usize, c: usize) -> S::V {
        // SAFETY: the caller's contract.
        unsafe {
            let mut v = S::load(self.start.add(pixel * self.stride + c));
            if F == COPY {
                return v;
            }
            if !self.pixel.is_null() {
                v = S::mul(v, S::splat(*self.pixel.add(pixel)));
            }
            if !self.scale.is_null() {
                v = S::fma(v, S::load(self.scale.add(c)), S::load(self.shift.add(c)));
            }
            act::<S, F>(v, self.slope)
        }
    }

    /// Stages `ph` x `pw` pixels from the logical place `y0`, `x0`, channels `c..c + cn`, as `[ph][pw][cn]`.
    ///
    /// # Safety
    /// The channels are in the map, `to` holds the patch; the level is that of `S`.
    #[inline(always)]
    pub(crate) unsafe fn patch<S: Simd, const F: u8>(
        &self,
        (y0, x0): (isize, isize),
        (ph, pw): (usize, usize),
        (c, cn): (usize, usize),
        to: *mut f32,
    ) {
        let (w, mw) = (self.w as isize, self.w >> self.up);
        // Columns left..right are inside the map.
        let left = (-x0).clamp(0, pw as isize) as usize;
        let right = ((w - x0).clamp(0, pw as isize) as usize).max(left);
        // SAFETY: the caller's contract; rows and columns are clamped into the map.
        unsafe {
            for i in 0..ph {
                let y = y0 + i as isize;
                let row = to.add(i * pw * cn);
                let outside = y < 0 || y >= self.h as isize;
                if self.zero && outside {
                    clear::<S>(row, pw * cn);
                    continue;
                }
                let line = ((y.max(0) as usize).min(self.h - 1) >> self.up) * mw;
                if self.zero {
                    clear::<S>(row, left * cn);
                    clear::<S>(row.add(right * cn), (pw - right) * cn);
                } else {
                    for j in 0..pw {
                        if j < left || j >= right {
                            let x = (x0 + j as isize).clamp(0, w - 1) as usize >> self.up;
                            self.pixel_to::<S, F>(line + x, c, cn, row.add(j * cn));
                        }
                    }
                }
                for j in left..right {
                    let x = (x0 + j as isize) as usize >> self.up;
                    self.pixel_to::<S, F>(line + x, c, cn, row.add(j * cn));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn pixel_to<S: Simd, const F: u8>(&self, pixel: usize, c: usize, cn: usize, to: *mut f32) {
        // SAFETY: as `patch`.
        unsafe {
            let mut q = 0;
            while q < cn {
                S::store(to.add(q), self.sample::<S, F>(pixel, c + q));
                q += S::W;
            }
        }
    }
}

/// Zeros; `n` is a multiple of the vector.
#[inline(always)]
unsafe fn clear<S: Simd>(to: *mut f32, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut q = 0;
        while q < n {
            S::store(to.add(q), S::zero());
            q += S::W;
        }
    }
}

/// A map as a convolution with a pixel shuffle behind it sees it.
#[derive(Clone, Copy)]
pub(crate) struct Grown {
    start: *mut f32,
    /// From a pixel of the convolution to the one below and to the right.
    row: usize,
    col: usize,
    /// From a pixel of the map to those.
    line: usize,
    stride: usize,
}

impl Grown {
    unsafe fn new(map: &Map, shuffle: usize, image: usize) -> Self {
        let line = map.w * map.stride;
        // SAFETY: the caller names a picture of the map.
        let start = unsafe { map.start.get().add(image * map.h * line) };
        Self { start, row: shuffle * line, col: shuffle * map.stride, line, stride: map.stride }
    }

    /// Offset of pixel (`y`, `x`) of the convolution.
    #[inline(always)]
    fn at(&self, y: usize, x: usize) -> usize {
        y * self.row + x * self.col
    }
}

/// One picture that a convolution writes, as kernels take it.
#[derive(Clone, Copy)]
pub(crate) struct Trail {
    y: Grown,
    add: Grown,
    shuffle: usize,
    /// Columns of one place of the shuffle.
    group: usize,
    bias: *const f32,
    channel: *const f32,
    scale: f32,
    slope: f32,
    pub(crate) kind: u8,
}

/// Where a vector of columns goes: see [`Trail::first`].
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    col: usize,
    place: usize,
    channel: usize,
    y: usize,
    add: usize,
}

impl Trail {
    /// # Safety
    /// `image` is one of the map's; `bias` holds all columns.
    pub(crate) unsafe fn new(post: &Post, y: &Map, shuffle: usize, bias: *const f32, image: usize) -> Self {
        let (kind, slope) = post.act.kernel();
        // SAFETY: the caller's contract; `add` has the shape of `y`.
        unsafe {
            let mut add = Grown::new(post.add.as_ref().unwrap_or(y), shuffle, image);
            if post.add.is_none() {
                add.start = std::ptr::null_mut();
            }
            Self {
                y: Grown::new(y, shuffle, image),
                add,
                shuffle,
                group: padded(y.c),
                bias,
                channel: post
                    .channel
                    .map_or(std::ptr::null(), |p| p.get().add(image * y.lanes()).cast_const()),
                scale: post.scale,
                slope,
                kind,
            }
        }
    }

    /// The spot of a column.
    #[inline(always)]
    pub(crate) fn first(&self, col: usize) -> Spot {
        self.spot(col, col / self.group, col % self.group)
    }

    /// The spot `step` columns on; a group is a multiple of every vector.
    #[inline(always)]
    pub(crate) fn next(&self, s: Spot, step: usize) -> Spot {
        if s.channel + step == self.group {
            return self.spot(s.col + step, s.place + 1, 0);
        }
        Spot { col: s.col + step, channel: s.channel + step, y: s.y + step, add: s.add + step, ..s }
    }

    #[inline(always)]
    fn spot(&self, col: usize, place: usize, channel: usize) -> Spot {
        let (dy, dx) = (place / self.shuffle, place % self.shuffle);
        let y = dy * self.y.line + dx * self.y.stride + channel;
        Spot { col, place, channel, y, add: dy * self.add.line + dx * self.add.stride + channel }
    }

    /// What is added to a vector of columns before the function.
    ///
    /// # Safety
    /// The column is one of the convolution; the level is that of `S`.
    #[inline(always)]
    pub(crate) unsafe fn bias<S: Simd>(&self, s: Spot) -> S::V {
        // SAFETY: the caller's contract.
        unsafe {
            let b = S::load(self.bias.add(s.col));
            if self.channel.is_null() { b } else { S::add(b, S::load(self.channel.add(s.col))) }
        }
    }

    /// Finishes and stores a vector of pixel (`y`, `x`) of the convolution.
    ///
    /// # Safety
    /// The pixel and the spot are inside; the level is that of `S`.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd, const F: u8>(
        &self,
        y: usize,
        x: usize,
        s: Spot,
        bias: S::V,
        v: S::V,
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let v = act::<S, F>(S::add(v, bias), self.slope);
            let scale = S::splat(self.scale);
            let v = if self.add.start.is_null() {
                S::mul(v, scale)
            } else {
                S::fma(v, scale, S::load(self.add.start.add(self.add.at(y, x) + s.add)))
            };
            S::store(self.y.start.add(self.y.at(y, x) + s.y), v);
        }
    }
}
