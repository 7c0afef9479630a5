//! What attention and the frequency filter need beyond [`Simd`]: transposition, selection, a product of panels.

#![allow(clippy::needless_range_loop, reason = "closures of adaptors are compiled without the level")]
#![allow(unsafe_code, reason = "vector instructions")]
#![allow(clippy::missing_safety_doc, reason = "the traits say it once for all methods")]

use crate::exec::cpu::simd::{Portable, Simd};

/// More methods of a vector.
///
/// # Safety
/// As for [`Simd`].
pub(crate) trait Lanes: Simd {
    /// Vector registers, as far as register blocks go by them.
    const REGISTERS: usize;
    /// `to[j * to_step + i] = from[i * from_step + j]` for a square of `W` x `W`.
    unsafe fn transpose(from: *const f32, from_step: usize, to: *mut f32, to_step: usize);
    /// Per lane `(value, index)` where `value < best`, else `(best, best_index)`.
    unsafe fn keep_less(
        value: Self::V,
        index: Self::V,
        best: Self::V,
        best_index: Self::V,
    ) -> (Self::V, Self::V);

    /// `2^x` for `x <= 126`, relative error about 2e-7; below -126 as at -126.
    #[inline(always)]
    unsafe fn exp2(x: Self::V) -> Self::V {
        // SAFETY: as the trait says.
        unsafe {
            let x = Self::max(x, Self::splat(-126.0));
            let k = Self::round(x);
            let r = Self::sub(x, k);
            // Cephes exp2f.
            let mut p = Self::splat(1.535_336_2e-4);
            p = Self::fma(p, r, Self::splat(1.339_887_4e-3));
            p = Self::fma(p, r, Self::splat(9.618_437e-3));
            p = Self::fma(p, r, Self::splat(5.550_332_5e-2));
            p = Self::fma(p, r, Self::splat(2.402_264_8e-1));
            p = Self::fma(p, r, Self::splat(std::f32::consts::LN_2));
            Self::mul(Self::fma(p, r, Self::splat(1.0)), Self::exp2i(k))
        }
    }
}

/// The body once for each number below a constant of at most eight. Loops over accumulators are not unrolled by the
/// compiler early enough at every optimisation level, and then the accumulators stay in memory.
macro_rules! unrolled {
    ($i:ident < $n:ident, $body:block) => {
        unrolled!(@ $i $n $body 0 1 2 3 4 5 6 7)
    };
    (@ $i:ident $n:ident $body:block $($k:literal)*) => {
        $(if $k < $n {
            #[allow(non_upper_case_globals, reason = "stands for a loop variable")]
            const $i: usize = $k;
            $body
        })*
    };
}
pub(crate) use unrolled;

/// Where the accumulators of a [`tile`] begin and how they end.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// From zero.
    Zero,
    /// From the values in place.
    Old,
    /// From the values at the pointer of the call, which lie as those of `C`.
    Base,
    /// From one value per row at the pointer of the call.
    Rows,
    /// From zero, and added to the values in place times one factor per lane at the pointer of the call.
    Scaled,
}

/// `C[r][v] (+)= sum over k of A[r][k] B[k][v]` for `R` rows and `N` vectors, in order of `k`.
///
/// `A[r][k]` is at `a + r * row + k * step`, `B[k]` at `b + k * b_step`, `C[r]` at `c + r * c_step`.
///
/// # Safety
/// All of these readable, `C` writable, `extra` as `START` says ([`Start`] as a number); the instruction set.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three matrices")]
pub(crate) unsafe fn tile<S: Lanes, const R: usize, const N: usize, const START: u8>(
    k: usize,
    a: *const f32,
    row: usize,
    step: usize,
    b: *const f32,
    b_step: usize,
    c: *mut f32,
    c_step: usize,
    extra: *const f32,
) {
    // SAFETY: as the function asks.
    unsafe {
        let mut sum = [[S::zero(); N]; R];
        if START == Start::Old as u8 || START == Start::Base as u8 {
            let from = if START == Start::Old as u8 { c.cast_const() } else { extra };
            unrolled!(r < R, {
                unrolled!(v < N, {
                    sum[r][v] = S::load(from.add(r * c_step + v * S::W));
                });
            });
        } else if START == Start::Rows as u8 {
            unrolled!(r < R, {
                let x = S::splat(*extra.add(r));
                unrolled!(v < N, {
                    sum[r][v] = x;
                });
            });
        }
        let (mut ak, mut bk) = (a, b);
        for _ in 0..k {
            let mut right = [S::zero(); N];
            unrolled!(v < N, {
                right[v] = S::load(bk.add(v * S::W));
            });
            unrolled!(r < R, {
                let left = S::splat(*ak.add(r * row));
                unrolled!(v < N, {
                    sum[r][v] = S::fma(left, right[v], sum[r][v]);
                });
            });
            ak = ak.add(step);
            bk = bk.add(b_step);
        }
        if START == Start::Scaled as u8 {
            let mut f = [S::zero(); N];
            unrolled!(v < N, {
                f[v] = S::load(extra.add(v * S::W));
            });
            unrolled!(r < R, {
                unrolled!(v < N, {
                    let at = c.add(r * c_step + v * S::W);
                    S::store(at, S::fma(S::load(at), f[v], sum[r][v]));
                });
            });
        } else {
            unrolled!(r < R, {
                unrolled!(v < N, {
                    S::store(c.add(r * c_step + v * S::W), sum[r][v]);
                });
            });
        }
    }
}

/// Asks for the cache line at `p`, which may be any address.
#[inline(always)]
pub(crate) fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint of the base instruction set that never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// Copies `len` values.
///
/// # Safety
/// `len` readable, `len` writable values.
#[inline(always)]
pub(crate) unsafe fn copy<S: Lanes>(from: *const f32, to: *mut f32, len: usize) {
    // SAFETY: as the function asks.
    unsafe {
        let mut i = 0;
        while i + S::W <= len {
            S::store(to.add(i), S::load(from.add(i)));
            i += S::W;
        }
        while i < len {
            *to.add(i) = *from.add(i);
            i += 1;
        }
    }
}

impl Lanes for Portable {
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        for i in 0..8 {
            for j in 0..8 {
                // SAFETY: inside the two squares.
                unsafe { *to.add(j * to_step + i) = *from.add(i * from_step + j) }
            }
        }
    }
    #[inline(always)]
    unsafe fn keep_less(
        value: [f32; 8],
        index: [f32; 8],
        best: [f32; 8],
        best_index: [f32; 8],
    ) -> ([f32; 8], [f32; 8]) {
        let (mut v, mut n) = (best, best_index);
        for i in 0..8 {
            if value[i] < best[i] {
                (v[i], n[i]) = (value[i], index[i]);
            }
        }
        (v, n)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use crate::exec::cpu::simd::{Avx2, Avx512};
    use std::arch::x86_64::*;

    impl Lanes for Avx2 {
        const REGISTERS: usize = 16;

        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
            // SAFETY: 8 rows of 8 values on both sides; the trait's contract. So below.
            unsafe {
                // Rows i and i + 4 share a register, so that two rounds of shuffles in its halves are enough.
                let mut a = [_mm256_setzero_ps(); 8];
                for i in 0..4 {
                    for half in 0..2 {
                        let low = _mm_loadu_ps(from.add(i * from_step + 4 * half));
                        let high = _mm_loadu_ps(from.add((i + 4) * from_step + 4 * half));
                        a[4 * half + i] = _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high);
                    }
                }
                for half in 0..2 {
                    let q = &a[4 * half..];
                    let (l01, h01) = (_mm256_unpacklo_ps(q[0], q[1]), _mm256_unpackhi_ps(q[0], q[1]));
                    let (l23, h23) = (_mm256_unpacklo_ps(q[2], q[3]), _mm256_unpackhi_ps(q[2], q[3]));
                    let to = to.add(4 * half * to_step);
                    _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(l01, l23));
                    _mm256_storeu_ps(to.add(to_step), _mm256_shuffle_ps::<0xee>(l01, l23));
                    _mm256_storeu_ps(to.add(2 * to_step), _mm256_shuffle_ps::<0x44>(h01, h23));
                    _mm256_storeu_ps(to.add(3 * to_step), _mm256_shuffle_ps::<0xee>(h01, h23));
                }
            }
        }
        #[inline(always)]
        unsafe fn keep_less(
            value: __m256,
            index: __m256,
            best: __m256,
            best_index: __m256,
        ) -> (__m256, __m256) {
            // SAFETY: as above.
            unsafe {
                let less = _mm256_cmp_ps::<_CMP_LT_OQ>(value, best);
                (_mm256_blendv_ps(best, value, less), _mm256_blendv_ps(best_index, index, less))
            }
        }
    }

    impl Lanes for Avx512 {
        const REGISTERS: usize = 32;

        #[inline(always)]
        unsafe fn transpose(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
            // SAFETY: 16 rows of 16 values on both sides; the trait's contract. So below.
            unsafe {
                // Quarter q of register 4 c + i holds columns 4 c .. 4 c + 4 of row 4 q + i.
                for c in 0..4 {
                    let mut a = [_mm512_setzero_ps(); 4];
                    for i in 0..4 {
                        let at = from.add(i * from_step + 4 * c);
                        let q0 = _mm512_castps128_ps512(_mm_loadu_ps(at));
                        let q1 = _mm512_insertf32x4::<1>(q0, _mm_loadu_ps(at.add(4 * from_step)));
                        let q2 = _mm512_insertf32x4::<2>(q1, _mm_loadu_ps(at.add(8 * from_step)));
                        a[i] = _mm512_insertf32x4::<3>(q2, _mm_loadu_ps(at.add(12 * from_step)));
                    }
                    let (l01, h01) = (_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
                    let (l23, h23) = (_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
                    let to = to.add(4 * c * to_step);
                    _mm512_storeu_ps(to, _mm512_shuffle_ps::<0x44>(l01, l23));
                    _mm512_storeu_ps(to.add(to_step), _mm512_shuffle_ps::<0xee>(l01, l23));
                    _mm512_storeu_ps(to.add(2 * to_step), _mm512_shuffle_ps::<0x44>(h01, h23));
                    _mm512_storeu_ps(to.add(3 * to_step), _mm512_shuffle_ps::<0xee>(h01, h23));
                }
            }
        }
        #[inline(always)]
        unsafe fn keep_less(
            value: __m512,
            index: __m512,
            best: __m512,
            best_index: __m512,
        ) -> (__m512, __m512) {
            // SAFETY: as above.
            unsafe {
                let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, best);
                (_mm512_mask_mov_ps(best, less, value), _mm512_mask_mov_ps(best_index, less, index))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::simd::{Level, levels};

    #[inline(always)]
    unsafe fn squares_over<S: Lanes>(from: *const f32, to: *mut f32, x: *const f32, y: *mut f32) {
        // SAFETY: squares of 16 with steps 17 and 19; 16 values.
        unsafe {
            S::transpose(from, 17, to, 19);
            for i in (0..16).step_by(S::W) {
                S::store(y.add(i), S::exp2(S::load(x.add(i))));
            }
        }
    }
    levels! { unsafe fn squares(from: *const f32, to: *mut f32, x: *const f32, y: *mut f32) = squares_over; }

    #[test]
    fn squares_are_transposed_and_powers_are_those_of_libm() {
        for level in Level::available() {
            let from: Vec<f32> = (0..16 * 17).map(|i| i as f32).collect();
            let mut to = vec![-1.0f32; 16 * 19];
            let mut worst = 0.0f64;
            for round in 0..100 {
                let x: Vec<f32> = (0..16).map(|i| -((i * 100 + round) as f32) / 13.0).collect();
                let mut y = [0.0f32; 16];
                // SAFETY: sizes as the kernel asks, level of this machine.
                unsafe { squares(level, from.as_ptr(), to.as_mut_ptr(), x.as_ptr(), y.as_mut_ptr()) };
                for (x, y) in x.iter().zip(y) {
                    let wanted = libm::exp2(f64::from(*x));
                    worst = worst.max((f64::from(y) - wanted).abs() / wanted);
                }
            }
            assert!(worst < 4e-7, "{level}: {worst}");
            for j in 0..16 {
                for i in 0..19 {
                    let inside = i < level.width() && j < level.width();
                    let wanted = if inside { (i * 17 + j) as f32 } else { -1.0 };
                    assert_eq!(to[j * 19 + i], wanted, "{level} {i} {j}");
                }
            }
        }
    }
}
