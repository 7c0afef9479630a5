//! Kernels of the frequency filter: rows to half spectra, mask of a column between two transforms, rows back.
//!
//! Two real rows are transformed as real and imaginary part of one complex row. Between its two transforms a column
//! is turned so that lanes are bins: blocks of any number of channels then are small products without shuffles.

#![allow(unsafe_code, reason = "kernel")]

use crate::exec::cpu::fft::{Fft, Side, transform};
use crate::exec::cpu::lanes::{Lanes, Start, tile, unrolled};
use crate::exec::cpu::map::{Buffer, LANES};
use crate::exec::cpu::simd::{Level, levels};

/// Blocks up to this many channels stay in registers.
const SMALL: usize = 4;

/// Register block of the products of larger blocks: rows, vectors.
const fn register_block(level: Level) -> (usize, usize) {
    match level {
        Level::Avx512 => (8, 2),
        Level::Avx2 => (6, 2),
        Level::Portable => (4, 1),
    }
}

/// The two layers.
pub(crate) struct Mask {
    blocks: usize,
    inner: usize,
    hidden: usize,
    /// Small blocks, per block: per hidden unit its weights from and bias, then its weights to each channel, all as
    /// pairs of real and imaginary part; at the end the biases of the channels.
    /// Others, per block: two matrices `[panel][input][row]`, each behind its biases; real rows, then imaginary ones.
    packed: Buffer,
    /// Values per block in `packed`.
    each: usize,
    slope: f32,
    shrink: f32,
    bounded: bool,
}

impl Mask {
    /// `None` where memory is short.
    pub(crate) fn new(
        level: Level,
        blocks: usize,
        inner: usize,
        hidden: usize,
        weights: [&[f32]; 4],
    ) -> Option<Self> {
        let w1 = |part, b, i, u| weights[0][((part * blocks + b) * inner + i) * hidden + u];
        let b1 = |part, b, u| weights[1][(part * blocks + b) * hidden + u];
        let w2 = |part, b, u, o| weights[2][((part * blocks + b) * hidden + u) * inner + o];
        let b2 = |part, b, o| weights[3][(part * blocks + b) * inner + o];
        let rows = register_block(level).0;
        let mut all = Vec::new();
        for b in 0..blocks {
            if inner <= SMALL {
                for u in 0..hidden {
                    for i in 0..inner {
                        all.extend([w1(0, b, i, u), w1(1, b, i, u)]);
                    }
                    all.extend([b1(0, b, u), b1(1, b, u)]);
                    for o in 0..inner {
                        all.extend([w2(0, b, u, o), w2(1, b, u, o)]);
                    }
                }
                for o in 0..inner {
                    all.extend([b2(0, b, o), b2(1, b, o)]);
                }
                continue;
            }
            // Complex weights as a real matrix: [re, -im; im, re].
            let turned = |row: usize,
                          outs: usize,
                          column: usize,
                          ins: usize,
                          w: &dyn Fn(usize, usize, usize) -> f32| {
                match (row / outs, column / ins) {
                    (0, 0) => w(0, column, row),
                    (0, _) => -w(1, column - ins, row),
                    (1, 0) => w(1, column, row - outs),
                    (1, _) => w(0, column - ins, row - outs),
                    _ => 0.0,
                }
            };
            let mut layer = |ins: usize,
                             outs: usize,
                             w: &dyn Fn(usize, usize, usize) -> f32,
                             bias: &dyn Fn(usize, usize) -> f32| {
                let height = (2 * outs).next_multiple_of(rows);
                all.extend((0..height).map(|r| if r < 2 * outs { bias(r / outs, r % outs) } else { 0.0 }));
                for panel in (0..height).step_by(rows) {
                    for column in 0..2 * ins {
                        all.extend((panel..panel + rows).map(|row| turned(row, outs, column, ins, w)));
                    }
                }
            };
            layer(inner, hidden, &|part, i, u| w1(part, b, i, u), &|part, u| b1(part, b, u));
            layer(hidden, inner, &|part, u, o| w2(part, b, u, o), &|part, o| b2(part, b, o));
        }
        let mut packed = Buffer::zeroed(all.len())?;
        packed.as_mut_slice().copy_from_slice(&all);
        let each = all.len() / blocks;
        Some(Self { blocks, inner, hidden, packed, each, slope: 0.0, shrink: 0.0, bounded: false })
    }

    pub(crate) fn with(self, slope: f32, shrink: f32, bounded: bool) -> Self {
        Self { slope, shrink, bounded, ..self }
    }

    /// Vectors of a group: the fewest that hold whole blocks, or all.
    fn group(&self, width: usize, channels: usize) -> usize {
        let mut vectors = 1;
        while !(vectors * width).is_multiple_of(self.inner) && vectors * width < channels {
            vectors += 1;
        }
        vectors
    }

    /// Groups of a column.
    pub(crate) fn groups(&self, level: Level, channels: usize) -> usize {
        channels.div_ceil(level.width()).div_ceil(self.group(level.width(), channels))
    }

    fn parts(&self, level: Level, channels: usize, h: usize, w: usize) -> Parts {
        let (rows, vectors) = register_block(level);
        let (width, lanes) = (level.width(), vectors * level.width());
        let bins = h.next_multiple_of(lanes);
        // Rows of bins one cache line out of step with powers of two.
        let step = bins + LANES;
        let line = 2 * LANES;
        let room = line + 4 * h.max(w) * width;
        let turned = room + 2 * bins.max(w) * width;
        let group = self.group(width, channels) * width;
        let hidden = turned + 2 * group * step;
        let masked = hidden + (2 * self.hidden).next_multiple_of(rows) * lanes;
        let len = masked + (2 * self.inner).next_multiple_of(rows) * lanes;
        Parts { bins, step, line, room, turned, hidden, masked, len }
    }

    pub(crate) fn scratch(&self, level: Level, channels: usize, h: usize, w: usize) -> usize {
        self.parts(level, channels, h, w).len
    }
}

/// Places in the scratch: a vector of zeros and one for waste; room of a transform at `line`; a transformed line at
/// `room`; bins in lanes at `turned`; values of a block behind.
struct Parts {
    bins: usize,
    step: usize,
    line: usize,
    room: usize,
    turned: usize,
    hidden: usize,
    masked: usize,
    len: usize,
}

/// A window or map under work.
pub(crate) struct Piece<'a> {
    pub(crate) mask: &'a Mask,
    pub(crate) columns: &'a Fft,
    pub(crate) rows: &'a Fft,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) channels: usize,
    /// Channels of a pixel with padding.
    pub(crate) lanes: usize,
    pub(crate) x: *const f32,
    pub(crate) x_step: usize,
    pub(crate) x_row: usize,
    pub(crate) y: *mut f32,
    pub(crate) y_step: usize,
    pub(crate) y_row: usize,
    pub(crate) spectrum: *mut f32,
    pub(crate) scratch: *mut f32,
}

impl Piece<'_> {
    #[inline(always)]
    fn vectors<S: Lanes>(&self) -> usize {
        self.channels.div_ceil(S::W)
    }

    #[inline(always)]
    fn parts<S: Lanes>(&self) -> Parts {
        let level = match S::REGISTERS {
            32 => Level::Avx512,
            16 => Level::Avx2,
            _ => Level::Portable,
        };
        self.mask.parts(level, self.channels, self.h, self.w)
    }
}

levels! {
    /// Half spectra of two rows. Safety: pointers of the piece as it says; so below.
    pub(crate) unsafe fn forward(piece: &Piece<'_>, pair: usize) = forward_over;
}
levels! {
    /// Transforms, masks and transforms back one group of channels of a column.
    pub(crate) unsafe fn column(piece: &Piece<'_>, u: usize, group: usize) = column_over;
}
levels! {
    /// Two rows from their half spectra.
    pub(crate) unsafe fn back(piece: &Piece<'_>, pair: usize) = back_over;
}

#[inline(always)]
unsafe fn forward_over<S: Lanes>(piece: &Piece<'_>, pair: usize) {
    // SAFETY: rows of the piece; `parts` of the scratch are apart.
    unsafe {
        let (parts, vectors, w) = (piece.parts::<S>(), piece.vectors::<S>(), piece.w);
        let (y, two) = (2 * pair, 2 * pair + 1 < piece.h);
        let scale = S::splat(0.5 / ((piece.h * w) as f32).sqrt());
        S::store(piece.scratch, S::zero());
        let line = piece.scratch.add(parts.room);
        for v in 0..vectors {
            let re = piece.x.add(y * piece.x_row + v * S::W).cast_mut();
            let (im, im_step) = if two { (re.add(piece.x_row), piece.x_step) } else { (piece.scratch, 0) };
            let from = Side { re, im, re_step: piece.x_step, im_step };
            transform::<S>(piece.rows, from, Side::dense::<S>(line), piece.scratch.add(parts.line));
            for u in 0..w / 2 + 1 {
                let a = line.add(2 * u * S::W);
                let b = line.add(2 * ((w - u) % w) * S::W);
                let (ar, ai) = (S::mul(S::load(a), scale), S::mul(S::load(a.add(S::W)), scale));
                let (br, bi) = (S::mul(S::load(b), scale), S::mul(S::load(b.add(S::W)), scale));
                let to = piece.spectrum.add(((u * piece.h + y) * vectors + v) * 2 * S::W);
                S::store(to, S::add(ar, br));
                S::store(to.add(S::W), S::sub(ai, bi));
                if two {
                    let to = to.add(vectors * 2 * S::W);
                    S::store(to, S::add(ai, bi));
                    S::store(to.add(S::W), S::sub(br, ar));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn back_over<S: Lanes>(piece: &Piece<'_>, pair: usize) {
    // SAFETY: rows of the piece; `parts` of the scratch are apart.
    unsafe {
        let (parts, vectors, w) = (piece.parts::<S>(), piece.vectors::<S>(), piece.w);
        let (y, two) = (2 * pair, 2 * pair + 1 < piece.h);
        let scale = S::splat(1.0 / ((piece.h * w) as f32).sqrt());
        let line = piece.scratch.add(parts.room);
        for v in 0..vectors {
            for u in 0..w / 2 + 1 {
                let at = piece.spectrum.add(((u * piece.h + y) * vectors + v) * 2 * S::W);
                let (ar, mut ai) = (S::mul(S::load(at), scale), S::mul(S::load(at.add(S::W)), scale));
                let (mut br, mut bi) = (S::zero(), S::zero());
                if two {
                    let at = at.add(vectors * 2 * S::W);
                    (br, bi) = (S::mul(S::load(at), scale), S::mul(S::load(at.add(S::W)), scale));
                }
                // Their own mirrors: the imaginary part of the column is dropped (reference.md 8.4).
                if u == 0 || 2 * u == w {
                    (ai, bi) = (S::zero(), S::zero());
                }
                let mirror = line.add(2 * ((w - u) % w) * S::W);
                S::store(mirror, S::add(ar, bi));
                S::store(mirror.add(S::W), S::sub(br, ai));
                let to = line.add(2 * u * S::W);
                S::store(to, S::sub(ar, bi));
                S::store(to.add(S::W), S::add(ai, br));
            }
            let re = piece.y.add(y * piece.y_row + v * S::W);
            let (im, im_step) =
                if two { (re.add(piece.y_row), piece.y_step) } else { (piece.scratch.add(LANES), 0) };
            let to = Side { re, im, re_step: piece.y_step, im_step };
            let from = Side::dense::<S>(line);
            transform::<S>(piece.rows, from.swapped(), to.swapped(), piece.scratch.add(parts.line));
        }
        // Whole vectors of padding, where vectors are shorter than the padding's step.
        let mut c = vectors * S::W;
        while c < piece.lanes {
            for row in y..(y + 2).min(piece.h) {
                for x in 0..w {
                    S::store(piece.y.add(row * piece.y_row + x * piece.y_step + c), S::zero());
                }
            }
            c += S::W;
        }
    }
}

#[inline(always)]
unsafe fn column_over<S: Lanes>(piece: &Piece<'_>, u: usize, group: usize) {
    // SAFETY: a column of the spectrum; `parts` of the scratch are apart.
    unsafe {
        let (parts, vectors, h, mask) = (piece.parts::<S>(), piece.vectors::<S>(), piece.h, piece.mask);
        let each = mask.group(S::W, piece.channels);
        let (first, end) = (group * each, ((group + 1) * each).min(vectors));
        let column = piece.spectrum.add(u * h * vectors * 2 * S::W);
        let (line, turned) = (piece.scratch.add(parts.room), piece.scratch.add(parts.turned));
        let apart = each * S::W * parts.step;
        for v in first..end {
            let re = column.add(v * 2 * S::W);
            let step = vectors * 2 * S::W;
            let from = Side { re, im: re.add(S::W), re_step: step, im_step: step };
            transform::<S>(piece.columns, from, Side::dense::<S>(line), piece.scratch.add(parts.line));
            for y in h..parts.bins {
                S::store(line.add(2 * y * S::W), S::zero());
                S::store(line.add((2 * y + 1) * S::W), S::zero());
            }
            let to = turned.add((v - first) * S::W * parts.step);
            let mut y = 0;
            while y < parts.bins {
                S::transpose(line.add(2 * y * S::W), 2 * S::W, to.add(y), parts.step);
                S::transpose(line.add((2 * y + 1) * S::W), 2 * S::W, to.add(apart + y), parts.step);
                y += S::W;
            }
        }
        let blocks = first * S::W / mask.inner..(end * S::W).min(piece.channels) / mask.inner;
        let start = blocks.start;
        for block in blocks {
            let re = turned.add((block - start) * mask.inner * parts.step);
            let weights = mask.packed.start().add(block * mask.each).cast_const();
            match (mask.inner, S::REGISTERS) {
                (1, _) => small_over::<S, 1>(mask, weights, re, apart, &parts),
                (2, _) => small_over::<S, 2>(mask, weights, re, apart, &parts),
                (3, _) => small_over::<S, 3>(mask, weights, re, apart, &parts),
                (4, _) => small_over::<S, 4>(mask, weights, re, apart, &parts),
                (_, 32) => large_over::<S, 8, 2>(mask, weights, re, apart, &parts, piece.scratch),
                (_, 16) => large_over::<S, 6, 2>(mask, weights, re, apart, &parts, piece.scratch),
                _ => large_over::<S, 4, 1>(mask, weights, re, apart, &parts, piece.scratch),
            }
        }
        for v in first..end {
            let from = turned.add((v - first) * S::W * parts.step);
            let mut y = 0;
            while y < parts.bins {
                S::transpose(from.add(y), parts.step, line.add(2 * y * S::W), 2 * S::W);
                S::transpose(from.add(apart + y), parts.step, line.add((2 * y + 1) * S::W), 2 * S::W);
                y += S::W;
            }
            let re = column.add(v * 2 * S::W);
            let step = vectors * 2 * S::W;
            let to = Side { re, im: re.add(S::W), re_step: step, im_step: step };
            let from = Side::dense::<S>(line);
            transform::<S>(piece.columns, from.swapped(), to.swapped(), piece.scratch.add(parts.line));
        }
    }
}

/// Soft-shrink, tanh where asked.
#[inline(always)]
unsafe fn finish<S: Lanes>(x: S::V, shrink: S::V, bounded: bool) -> S::V {
    // SAFETY: arithmetic only.
    unsafe {
        let below = S::min(S::add(x, shrink), S::zero());
        let x = S::add(S::max(S::sub(x, shrink), S::zero()), below);
        if bounded { S::tanh(x) } else { x }
    }
}

/// Masks one block of `B` channels in place; imaginary parts are `apart` from real ones.
#[inline(always)]
unsafe fn small_over<S: Lanes, const B: usize>(
    mask: &Mask,
    weights: *const f32,
    re: *mut f32,
    apart: usize,
    parts: &Parts,
) {
    // SAFETY: `B` rows of `bins` values, weights as packed.
    unsafe {
        let (slope, shrink, step) = (S::splat(mask.slope), S::splat(mask.shrink), parts.step);
        let mut bin = 0;
        while bin < parts.bins {
            let (mut xr, mut xi) = ([S::zero(); B], [S::zero(); B]);
            let (mut yr, mut yi) = ([S::zero(); B], [S::zero(); B]);
            let last = weights.add(mask.hidden * (4 * B + 2));
            unrolled!(i < B, {
                xr[i] = S::load(re.add(i * step + bin));
                xi[i] = S::load(re.add(apart + i * step + bin));
                yr[i] = S::splat(*last.add(2 * i));
                yi[i] = S::splat(*last.add(2 * i + 1));
            });
            let mut w = weights;
            for _ in 0..mask.hidden {
                let (mut hr, mut hi) = (S::splat(*w.add(2 * B)), S::splat(*w.add(2 * B + 1)));
                unrolled!(i < B, {
                    let (a, b) = (S::splat(*w.add(2 * i)), S::splat(*w.add(2 * i + 1)));
                    hr = S::fnma(xi[i], b, S::fma(xr[i], a, hr));
                    hi = S::fma(xi[i], a, S::fma(xr[i], b, hi));
                });
                let (hr, hi) = (S::leaky(hr, slope), S::leaky(hi, slope));
                let to = w.add(2 * B + 2);
                unrolled!(i < B, {
                    let (a, b) = (S::splat(*to.add(2 * i)), S::splat(*to.add(2 * i + 1)));
                    yr[i] = S::fnma(hi, b, S::fma(hr, a, yr[i]));
                    yi[i] = S::fma(hi, a, S::fma(hr, b, yi[i]));
                });
                w = w.add(4 * B + 2);
            }
            unrolled!(i < B, {
                let (mr, mi) =
                    (finish::<S>(yr[i], shrink, mask.bounded), finish::<S>(yi[i], shrink, mask.bounded));
                S::store(re.add(i * step + bin), S::fnma(mi, xi[i], S::mul(mr, xr[i])));
                S::store(re.add(apart + i * step + bin), S::fma(mi, xr[i], S::mul(mr, xi[i])));
            });
            bin += S::W;
        }
    }
}

/// The same for a block of any number of channels, as products of panels.
#[inline(always)]
unsafe fn large_over<S: Lanes, const R: usize, const N: usize>(
    mask: &Mask,
    weights: *const f32,
    re: *mut f32,
    apart: usize,
    parts: &Parts,
    scratch: *mut f32,
) {
    // SAFETY: rows of `bins` values, a multiple of the lanes; weights as packed.
    unsafe {
        let (slope, shrink, step) = (S::splat(mask.slope), S::splat(mask.shrink), parts.step);
        let (inner, lanes) = (mask.inner, N * S::W);
        let (hidden, masked) = (scratch.add(parts.hidden), scratch.add(parts.masked));
        let (high, wide) = ((2 * mask.hidden).next_multiple_of(R), (2 * inner).next_multiple_of(R));
        let first = weights.add(high);
        let bias = first.add(high * 2 * inner);
        let second = bias.add(wide);
        let mut bin = 0;
        while bin < parts.bins {
            let x = re.add(bin);
            let mut row = 0;
            while row < high {
                let (a, c) = (first.add(row * 2 * inner), hidden.add(row * lanes));
                let b1 = weights.add(row);
                tile::<S, R, N, { Start::Rows as u8 }>(inner, a, 1, R, x, step, c, lanes, b1);
                tile::<S, R, N, { Start::Old as u8 }>(
                    inner,
                    a.add(inner * R),
                    1,
                    R,
                    x.add(apart),
                    step,
                    c,
                    lanes,
                    b1,
                );
                unrolled!(r < R, {
                    for v in 0..N {
                        let at = c.add(r * lanes + v * S::W);
                        S::store(at, S::leaky(S::load(at), slope));
                    }
                });
                row += R;
            }
            row = 0;
            while row < wide {
                let (a, c, b2) = (second.add(row * 2 * mask.hidden), masked.add(row * lanes), bias.add(row));
                tile::<S, R, N, { Start::Rows as u8 }>(2 * mask.hidden, a, 1, R, hidden, lanes, c, lanes, b2);
                row += R;
            }
            for i in 0..inner {
                for v in 0..N {
                    let (m, at) = (masked.add(i * lanes + v * S::W), x.add(i * step + v * S::W));
                    let mr = finish::<S>(S::load(m), shrink, mask.bounded);
                    let mi = finish::<S>(S::load(m.add(inner * lanes)), shrink, mask.bounded);
                    let (xr, xi) = (S::load(at), S::load(at.add(apart)));
                    S::store(at, S::fnma(mi, xi, S::mul(mr, xr)));
                    S::store(at.add(apart), S::fma(mi, xr, S::mul(mr, xi)));
                }
            }
            bin += lanes;
        }
    }
}
