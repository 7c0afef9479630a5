//! Complex Fourier transforms of any length whose elements are vectors of channels.
//!
//! Stockham's self-sorting passes, decimation in frequency (Van Loan, Computational Frameworks for the FFT, 1.7),
//! radix 8, 4, 2, 3, 5 and plain sums for other primes. Without scale; the inverse is the same with real and
//! imaginary parts swapped on both sides.

#![allow(unsafe_code, reason = "kernel")]

use crate::exec::cpu::lanes::{Lanes, unrolled};
use std::f64::consts::TAU;

/// One pass: `m` groups of `radix` inputs, each `s` elements wide.
struct Pass {
    radix: usize,
    m: usize,
    s: usize,
    /// Where its factors begin.
    at: usize,
}

/// Factors and passes of one length.
pub(crate) struct Fft {
    n: usize,
    passes: Vec<Pass>,
    /// Per pass: for each of `m` groups `radix - 1` factors as cosine and sine; for other primes the roots follow.
    factors: Vec<f32>,
}

/// Elements of a transform: the real part of element `i` is at `re + i * re_step`.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) re: *mut f32,
    pub(crate) im: *mut f32,
    pub(crate) re_step: usize,
    pub(crate) im_step: usize,
}

impl Side {
    /// Elements that follow each other, real part before imaginary.
    #[inline(always)]
    pub(crate) fn dense<S: Lanes>(start: *mut f32) -> Self {
        Self { re: start, im: start.wrapping_add(S::W), re_step: 2 * S::W, im_step: 2 * S::W }
    }

    /// Real and imaginary parts in each other's place.
    #[inline(always)]
    pub(crate) fn swapped(self) -> Self {
        Self { re: self.im, im: self.re, re_step: self.im_step, im_step: self.re_step }
    }
}

fn radices(mut n: usize) -> Vec<usize> {
    let mut all = Vec::new();
    let twos = n.trailing_zeros() as usize;
    n >>= twos;
    let mut left = twos;
    while left > 0 {
        let take = match left {
            1 | 2 => left,
            4 => 2,
            _ => 3,
        };
        all.push(1 << take);
        left -= take;
    }
    let mut p = 3;
    while n > 1 {
        if p * p > n {
            p = n;
        }
        while n.is_multiple_of(p) {
            all.push(p);
            n /= p;
        }
        p += 2;
    }
    all
}

impl Fft {
    pub(crate) fn new(n: usize) -> Self {
        let (mut passes, mut factors) = (Vec::new(), Vec::new());
        let (mut len, mut s) = (n, 1);
        let mut turn = |k: usize, n: usize| {
            let angle = -TAU * (k % n) as f64 / n as f64;
            factors.extend([angle.cos() as f32, angle.sin() as f32]);
        };
        let mut at = 0;
        for radix in radices(n) {
            let m = len / radix;
            passes.push(Pass { radix, m, s, at });
            for p in 0..m {
                for j in 1..radix {
                    turn(p * j, len);
                }
            }
            at += 2 * m * (radix - 1);
            if !matches!(radix, 2 | 3 | 4 | 5 | 8) {
                for k in 0..radix {
                    turn(k, radix);
                }
                at += 2 * radix;
            }
            (len, s) = (m, s * radix);
        }
        Self { n, passes, factors }
    }
}

/// Transforms `from` to `to`.
///
/// # Safety
/// `n` elements on both sides, apart from each other; `room` for two times `n` elements (4 n vectors).
#[inline(always)]
pub(crate) unsafe fn transform<S: Lanes>(fft: &Fft, from: Side, to: Side, room: *mut f32) {
    // SAFETY: the caller's promises; a pass reads and writes `n` elements.
    unsafe {
        if fft.passes.is_empty() {
            S::store(to.re, S::load(from.re));
            S::store(to.im, S::load(from.im));
            return;
        }
        let rooms = [Side::dense::<S>(room), Side::dense::<S>(room.add(2 * fft.n * S::W))];
        let last = fft.passes.len() - 1;
        let mut src = from;
        for (i, pass) in fft.passes.iter().enumerate() {
            let dst = if i == last { to } else { rooms[i % 2] };
            let factors = fft.factors.as_ptr().add(pass.at);
            match pass.radix {
                2 => pass_over::<S, 2>(pass, factors, src, dst),
                3 => pass_over::<S, 3>(pass, factors, src, dst),
                4 => pass_over::<S, 4>(pass, factors, src, dst),
                5 => pass_over::<S, 5>(pass, factors, src, dst),
                8 => pass_over::<S, 8>(pass, factors, src, dst),
                _ => prime_over::<S>(pass, factors, src, dst),
            }
            src = dst;
        }
    }
}

#[inline(always)]
unsafe fn pass_over<S: Lanes, const R: usize>(pass: &Pass, factors: *const f32, src: Side, dst: Side) {
    // SAFETY: elements below `n = R m s` on both sides; `R - 1` factors per group.
    unsafe {
        let (m, s) = (pass.m, pass.s);
        for p in 0..m {
            let f = factors.add(2 * p * (R - 1));
            for q in 0..s {
                let (mut re, mut im) = ([S::zero(); R], [S::zero(); R]);
                unrolled!(k < R, {
                    let i = q + s * (p + m * k);
                    re[k] = S::load(src.re.add(i * src.re_step));
                    im[k] = S::load(src.im.add(i * src.im_step));
                });
                let (mut re, mut im) = butterfly::<S, R>(re, im);
                if p > 0 {
                    unrolled!(k < R, {
                        if k != 0 {
                            let (c, d) = (S::splat(*f.add(2 * k - 2)), S::splat(*f.add(2 * k - 1)));
                            let x = S::fnma(im[k], d, S::mul(re[k], c));
                            im[k] = S::fma(im[k], c, S::mul(re[k], d));
                            re[k] = x;
                        }
                    });
                }
                unrolled!(k < R, {
                    let i = q + s * (R * p + k);
                    S::store(dst.re.add(i * dst.re_step), re[k]);
                    S::store(dst.im.add(i * dst.im_step), im[k]);
                });
            }
        }
    }
}

type Parts<V, const R: usize> = ([V; R], [V; R]);

#[inline(always)]
unsafe fn butterfly<S: Lanes, const R: usize>(re: [S::V; R], im: [S::V; R]) -> Parts<S::V, R> {
    // SAFETY: arithmetic only.
    unsafe {
        let (mut yr, mut yi) = (re, im);
        match R {
            2 => {
                (yr[0], yi[0]) = (S::add(re[0], re[1]), S::add(im[0], im[1]));
                (yr[1], yi[1]) = (S::sub(re[0], re[1]), S::sub(im[0], im[1]));
            }
            3 => {
                let (tr, ti) = (S::add(re[1], re[2]), S::add(im[1], im[2]));
                let (half, sin) = (S::splat(0.5), S::splat(0.866_025_4));
                let (mr, mi) = (S::fnma(half, tr, re[0]), S::fnma(half, ti, im[0]));
                let (dr, di) = (S::mul(S::sub(re[1], re[2]), sin), S::mul(S::sub(im[1], im[2]), sin));
                (yr[0], yi[0]) = (S::add(re[0], tr), S::add(im[0], ti));
                (yr[1], yi[1]) = (S::add(mr, di), S::sub(mi, dr));
                (yr[2], yi[2]) = (S::sub(mr, di), S::add(mi, dr));
            }
            4 => {
                let (a, b) = four::<S>([re[0], re[1], re[2], re[3]], [im[0], im[1], im[2], im[3]]);
                unrolled!(k < R, {
                    (yr[k], yi[k]) = (a[k % 4], b[k % 4]);
                });
            }
            5 => {
                // Cosines and sines of 72 and 144 degrees.
                let (c1, c2) = (S::splat(0.309_017), S::splat(-0.809_017));
                let (s1, s2) = (S::splat(0.951_056_5), S::splat(0.587_785_25));
                let (ar, ai) = (S::add(re[1], re[4]), S::add(im[1], im[4]));
                let (br, bi) = (S::add(re[2], re[3]), S::add(im[2], im[3]));
                let (cr, ci) = (S::sub(re[1], re[4]), S::sub(im[1], im[4]));
                let (dr, di) = (S::sub(re[2], re[3]), S::sub(im[2], im[3]));
                (yr[0], yi[0]) = (S::add(re[0], S::add(ar, br)), S::add(im[0], S::add(ai, bi)));
                let (mr, mi) = (S::fma(c1, ar, S::fma(c2, br, re[0])), S::fma(c1, ai, S::fma(c2, bi, im[0])));
                let (nr, ni) = (S::fma(c2, ar, S::fma(c1, br, re[0])), S::fma(c2, ai, S::fma(c1, bi, im[0])));
                let (ur, ui) = (S::fma(s1, cr, S::mul(s2, dr)), S::fma(s1, ci, S::mul(s2, di)));
                let (vr, vi) = (S::fnma(s1, dr, S::mul(s2, cr)), S::fnma(s1, di, S::mul(s2, ci)));
                (yr[1], yi[1]) = (S::add(mr, ui), S::sub(mi, ur));
                (yr[4], yi[4]) = (S::sub(mr, ui), S::add(mi, ur));
                (yr[2], yi[2]) = (S::add(nr, vi), S::sub(ni, vr));
                (yr[3], yi[3]) = (S::sub(nr, vi), S::add(ni, vr));
            }
            _ => {
                let (er, ei) = four::<S>([re[0], re[2], re[4], re[6]], [im[0], im[2], im[4], im[6]]);
                let (mut or, mut oi) = four::<S>([re[1], re[3], re[5], re[7]], [im[1], im[3], im[5], im[7]]);
                let root = S::splat(std::f32::consts::FRAC_1_SQRT_2);
                (or[1], oi[1]) = (S::mul(S::add(or[1], oi[1]), root), S::mul(S::sub(oi[1], or[1]), root));
                (or[2], oi[2]) = (oi[2], S::sub(S::zero(), or[2]));
                let sum = S::add(or[3], oi[3]);
                (or[3], oi[3]) = (S::mul(S::sub(oi[3], or[3]), root), S::mul(S::sub(S::zero(), sum), root));
                unrolled!(k < R, {
                    let j = k % 4;
                    (yr[k], yi[k]) = if k < 4 {
                        (S::add(er[j], or[j]), S::add(ei[j], oi[j]))
                    } else {
                        (S::sub(er[j], or[j]), S::sub(ei[j], oi[j]))
                    };
                });
            }
        }
        (yr, yi)
    }
}

#[inline(always)]
unsafe fn four<S: Lanes>(re: [S::V; 4], im: [S::V; 4]) -> Parts<S::V, 4> {
    // SAFETY: arithmetic only.
    unsafe {
        let (ar, ai) = (S::add(re[0], re[2]), S::add(im[0], im[2]));
        let (br, bi) = (S::sub(re[0], re[2]), S::sub(im[0], im[2]));
        let (cr, ci) = (S::add(re[1], re[3]), S::add(im[1], im[3]));
        let (dr, di) = (S::sub(re[1], re[3]), S::sub(im[1], im[3]));
        (
            [S::add(ar, cr), S::add(br, di), S::sub(ar, cr), S::sub(br, di)],
            [S::add(ai, ci), S::sub(bi, dr), S::sub(ai, ci), S::add(bi, dr)],
        )
    }
}

#[inline(always)]
unsafe fn prime_over<S: Lanes>(pass: &Pass, factors: *const f32, src: Side, dst: Side) {
    // SAFETY: elements below `n = radix m s` on both sides; the roots follow the factors.
    unsafe {
        let (m, s, r) = (pass.m, pass.s, pass.radix);
        let roots = factors.add(2 * m * (r - 1));
        for p in 0..m {
            for q in 0..s {
                for j in 0..r {
                    let (mut x, mut y) = (S::zero(), S::zero());
                    let mut t = 0;
                    for k in 0..r {
                        let i = q + s * (p + m * k);
                        let (a, b) =
                            (S::load(src.re.add(i * src.re_step)), S::load(src.im.add(i * src.im_step)));
                        let (c, d) = (S::splat(*roots.add(2 * t)), S::splat(*roots.add(2 * t + 1)));
                        x = S::fnma(b, d, S::fma(a, c, x));
                        y = S::fma(b, c, S::fma(a, d, y));
                        t += j;
                        if t >= r {
                            t -= r;
                        }
                    }
                    if j > 0 {
                        let f = factors.add(2 * (p * (r - 1) + j - 1));
                        let (c, d) = (S::splat(*f), S::splat(*f.add(1)));
                        (x, y) = (S::fnma(y, d, S::mul(x, c)), S::fma(y, c, S::mul(x, d)));
                    }
                    let i = q + s * (r * p + j);
                    S::store(dst.re.add(i * dst.re_step), x);
                    S::store(dst.im.add(i * dst.im_step), y);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::simd::{Level, levels};

    #[inline(always)]
    unsafe fn once_over<S: Lanes>(fft: &Fft, x: *mut f32, y: *mut f32, room: *mut f32) {
        // SAFETY: the test gives the room.
        unsafe { transform::<S>(fft, Side::dense::<S>(x), Side::dense::<S>(y), room) }
    }
    levels! { unsafe fn once(fft: &Fft, x: *mut f32, y: *mut f32, room: *mut f32) = once_over; }

    #[test]
    fn every_length_is_transformed() {
        for n in (1..=36).chain([49, 60, 64, 100, 105, 128, 135, 143, 240, 256, 270, 512]) {
            let fft = Fft::new(n);
            for level in Level::available() {
                let w = level.width();
                let mut x: Vec<f32> =
                    (0..n * 2 * w).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect();
                let mut y = vec![0.0f32; n * 2 * w];
                let mut room = vec![0.0f32; n * 4 * w];
                // SAFETY: lengths as the kernel asks, level of this machine.
                unsafe { once(level, &fft, x.as_mut_ptr(), y.as_mut_ptr(), room.as_mut_ptr()) };
                let (mut error, mut power) = (0.0, 0.0);
                for lane in [0, w - 1] {
                    for u in 0..n {
                        let mut sum = (0.0, 0.0);
                        for k in 0..n {
                            let angle = -TAU * (u * k % n) as f64 / n as f64;
                            let (a, b) = (f64::from(x[k * 2 * w + lane]), f64::from(x[k * 2 * w + w + lane]));
                            sum.0 += a * angle.cos() - b * angle.sin();
                            sum.1 += a * angle.sin() + b * angle.cos();
                        }
                        error += (f64::from(y[u * 2 * w + lane]) - sum.0).powi(2);
                        error += (f64::from(y[u * 2 * w + w + lane]) - sum.1).powi(2);
                        power += sum.0 * sum.0 + sum.1 * sum.1;
                    }
                }
                assert!((error / power).sqrt() < 1e-6, "{level} {n}: {}", (error / power).sqrt());
            }
        }
    }
}
