//! One vector type per instruction set behind one trait; kernels are written once over it.
//!
//! A kernel is an `#[inline(always)]` generic function over [`Simd`]; [`levels!`] makes one copy of it per
//! instruction set, each inside a function that enables that set. No closures in kernels: a closure is compiled
//! without the features of the function around it.

#![allow(unsafe_code, reason = "vector instructions")]
#![allow(clippy::missing_safety_doc, reason = "the trait says it once for all methods")]

use std::fmt;

/// Instruction set that kernels are run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Plain Rust.
    Portable,
    /// AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ, VL: 16 lanes.
    Avx512,
}

impl Level {
    /// All levels that this machine has, lowest first.
    pub(crate) fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "elsewhere there is only one")]
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if avx2 {
                all.push(Self::Avx2);
            }
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                all.push(Self::Avx512);
            }
        }
        all
    }

    /// The highest level that this machine has, not above the one called `limit`.
    pub(crate) fn detect(limit: Option<&str>) -> Self {
        let limit = match limit {
            Some("portable") => Self::Portable,
            Some("avx2") => Self::Avx2,
            _ => Self::Avx512,
        };
        Self::available().into_iter().rfind(|l| *l <= limit).unwrap_or(Self::Portable)
    }

    /// Name as `SSMOESR_CPU` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// f32 lanes of a vector.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Portable | Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vector of `W` f32.
///
/// # Safety
/// Every method needs the instruction set of the implementing type; loads and stores need `W` readable or writable
/// f32 at the pointer, without alignment.
pub(crate) trait Simd: Copy + 'static {
    /// Lanes.
    const W: usize;
    /// The vector.
    type V: Copy;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest whole number, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^k` for whole `k` in -126..=127.
    unsafe fn exp2i(k: Self::V) -> Self::V;
    /// Sum of the lanes.
    unsafe fn sum(a: Self::V) -> f32;

    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: as the trait says; so for all functions below.
        unsafe { Self::splat(0.0) }
    }

    /// `e^x`, relative error about 2e-7; `x` is clamped to [-87, 88].
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        // SAFETY: see `zero`.
        unsafe {
            let x = Self::min(Self::max(x, Self::splat(-87.0)), Self::splat(88.0));
            let k = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            // ln 2 in two parts: k times the first is exact.
            let r = Self::fnma(k, Self::splat(0.693_359_4), x);
            let r = Self::fnma(k, Self::splat(-2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            p = Self::fma(p, r, Self::splat(1.398_199_9e-3));
            p = Self::fma(p, r, Self::splat(8.333_452e-3));
            p = Self::fma(p, r, Self::splat(4.166_579_6e-2));
            p = Self::fma(p, r, Self::splat(1.666_666_5e-1));
            p = Self::fma(p, r, Self::splat(0.5));
            let e = Self::add(Self::fma(Self::mul(p, r), r, r), Self::splat(1.0));
            Self::mul(e, Self::exp2i(k))
        }
    }

    /// `x * sigmoid(x)`.
    #[inline(always)]
    unsafe fn silu(x: Self::V) -> Self::V {
        // SAFETY: see `zero`.
        unsafe {
            let e = Self::exp(Self::sub(Self::zero(), x));
            Self::div(x, Self::add(Self::splat(1.0), e))
        }
    }

    /// `x` where positive, `slope * x` elsewhere.
    #[inline(always)]
    unsafe fn leaky(x: Self::V, slope: Self::V) -> Self::V {
        // SAFETY: see `zero`.
        unsafe { Self::fma(slope, Self::min(x, Self::zero()), Self::max(x, Self::zero())) }
    }

    /// `x * (1 + erf(x / sqrt 2)) / 2`, erf as a rational function with an error of some units in the last place.
    #[inline(always)]
    unsafe fn gelu(x: Self::V) -> Self::V {
        // SAFETY: see `zero`.
        unsafe {
            let t = Self::mul(x, Self::splat(std::f32::consts::FRAC_1_SQRT_2));
            let t = Self::min(Self::max(t, Self::splat(-4.0)), Self::splat(4.0));
            let s = Self::mul(t, t);
            let mut p = Self::splat(-2.726_142_3e-10);
            p = Self::fma(p, s, Self::splat(2.770_681_4e-8));
            p = Self::fma(p, s, Self::splat(-2.101_024e-6));
            p = Self::fma(p, s, Self::splat(-5.692_506_5e-5));
            p = Self::fma(p, s, Self::splat(-7.349_906_3e-4));
            p = Self::fma(p, s, Self::splat(-2.954_6e-3));
            p = Self::fma(p, s, Self::splat(-1.609_603_3e-2));
            let mut q = Self::splat(-1.456_607_2e-5);
            q = Self::fma(q, s, Self::splat(-2.133_740_6e-4));
            q = Self::fma(q, s, Self::splat(-1.682_827e-3));
            q = Self::fma(q, s, Self::splat(-7.373_329e-3));
            q = Self::fma(q, s, Self::splat(-1.426_473_9e-2));
            let erf = Self::div(Self::mul(t, p), q);
            let half = Self::mul(x, Self::splat(0.5));
            Self::fma(half, erf, half)
        }
    }

    /// Hyperbolic tangent as a rational function.
    #[inline(always)]
    unsafe fn tanh(x: Self::V) -> Self::V {
        // SAFETY: see `zero`.
        unsafe {
            let x = Self::min(Self::max(x, Self::splat(-7.9)), Self::splat(7.9));
            let s = Self::mul(x, x);
            let mut p = Self::splat(-2.760_768_5e-16);
            p = Self::fma(p, s, Self::splat(2.000_188e-13));
            p = Self::fma(p, s, Self::splat(-8.604_672e-11));
            p = Self::fma(p, s, Self::splat(5.122_297e-8));
            p = Self::fma(p, s, Self::splat(1.485_722_4e-5));
            p = Self::fma(p, s, Self::splat(6.372_619_3e-4));
            p = Self::fma(p, s, Self::splat(4.893_524_6e-3));
            let mut q = Self::splat(1.198_258_4e-6);
            q = Self::fma(q, s, Self::splat(1.185_347_1e-4));
            q = Self::fma(q, s, Self::splat(2.268_434_6e-3));
            q = Self::fma(q, s, Self::splat(4.893_525e-3));
            Self::div(Self::mul(x, p), q)
        }
    }
}

/// Defines `fn name(level, args)` that runs the generic kernel `generic::<S>(args)` with the vectors of `level`.
///
/// The function is unsafe: what the kernel asks of its arguments, and a level that this machine has.
macro_rules! levels {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $generic:ident $(<$($param:tt),*>)?;) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take what they read")]
        $vis unsafe fn $name(level: $crate::exec::cpu::simd::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments, reason = "kernels take what they read")]
            unsafe fn wide($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller keeps the kernel's contract, this function enables the level.
                unsafe { $generic::<$crate::exec::cpu::simd::Avx512 $($(, $param)*)?>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments, reason = "kernels take what they read")]
            unsafe fn narrow($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above.
                unsafe { $generic::<$crate::exec::cpu::simd::Avx2 $($(, $param)*)?>($($arg),*) }
            }
            // SAFETY: the caller keeps the kernel's contract and names a level of this machine.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    $crate::exec::cpu::simd::Level::Avx512 => wide($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::exec::cpu::simd::Level::Avx2 => narrow($($arg),*),
                    _ => $generic::<$crate::exec::cpu::simd::Portable $($(, $param)*)?>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use levels;

/// Plain Rust, eight lanes.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type Eight = [f32; 8];

macro_rules! lanewise {
    ($a:ident, $e:expr) => {{
        let mut r = [0.0; 8];
        let mut i = 0;
        while i < 8 {
            let $a = $a[i];
            r[i] = $e;
            i += 1;
        }
        r
    }};
    ($a:ident, $b:ident, $e:expr) => {{
        let mut r = [0.0; 8];
        let mut i = 0;
        while i < 8 {
            let ($a, $b) = ($a[i], $b[i]);
            r[i] = $e;
            i += 1;
        }
        r
    }};
}

impl Simd for Portable {
    const W: usize = 8;
    type V = Eight;

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Eight {
        // SAFETY: eight readable f32; arrays of f32 may be unaligned here.
        unsafe { p.cast::<Eight>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Eight) {
        // SAFETY: eight writable f32.
        unsafe { p.cast::<Eight>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Eight {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn add(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, a / b)
    }
    // Not fused: without hardware for it, a fused multiply-add is a function call.
    #[inline(always)]
    unsafe fn fma(a: Eight, b: Eight, c: Eight) -> Eight {
        let p = lanewise!(a, b, a * b);
        lanewise!(p, c, p + c)
    }
    #[inline(always)]
    unsafe fn fnma(a: Eight, b: Eight, c: Eight) -> Eight {
        let p = lanewise!(a, b, a * b);
        lanewise!(p, c, c - p)
    }
    #[inline(always)]
    unsafe fn min(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: Eight, b: Eight) -> Eight {
        lanewise!(a, b, if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(a: Eight) -> Eight {
        // Adding and taking away 1.5 * 2^23 rounds to even for |x| < 2^22, as exponents are here.
        const BIG: f32 = 12_582_912.0;
        lanewise!(a, (a + BIG) - BIG)
    }
    #[inline(always)]
    unsafe fn exp2i(k: Eight) -> Eight {
        lanewise!(k, f32::from_bits(((k as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: Eight) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX2, FMA, F16C.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    macro_rules! direct {
        ($V:ty, $W:literal, $load:ident, $store:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
         $fma:ident, $fnma:ident, $min:ident, $max:ident) => {
            const W: usize = $W;
            type V = $V;
            #[inline(always)]
            unsafe fn load(p: *const f32) -> $V {
                // SAFETY: the trait's contract; so below.
                unsafe { $load(p) }
            }
            #[inline(always)]
            unsafe fn store(p: *mut f32, v: $V) {
                // SAFETY: as above.
                unsafe { $store(p, v) }
            }
            #[inline(always)]
            unsafe fn splat(x: f32) -> $V {
                // SAFETY: as above.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn add(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            unsafe fn div(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(a: $V, b: $V, c: $V) -> $V {
                // SAFETY: as above.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn fnma(a: $V, b: $V, c: $V) -> $V {
                // SAFETY: as above.
                unsafe { $fnma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn min(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $min(a, b) }
            }
            #[inline(always)]
            unsafe fn max(a: $V, b: $V) -> $V {
                // SAFETY: as above.
                unsafe { $max(a, b) }
            }
        };
    }

    impl Simd for Avx2 {
        direct!(
            __m256,
            8,
            _mm256_loadu_ps,
            _mm256_storeu_ps,
            _mm256_set1_ps,
            _mm256_add_ps,
            _mm256_sub_ps,
            _mm256_mul_ps,
            _mm256_div_ps,
            _mm256_fmadd_ps,
            _mm256_fnmadd_ps,
            _mm256_min_ps,
            _mm256_max_ps
        );
        #[inline(always)]
        unsafe fn round(a: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn exp2i(k: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe {
                let bits = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits))
            }
        }
        #[inline(always)]
        unsafe fn sum(a: __m256) -> f32 {
            // SAFETY: as above.
            unsafe {
                let s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
                _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps::<1>(s, s)))
            }
        }
    }

    impl Simd for Avx512 {
        direct!(
            __m512,
            16,
            _mm512_loadu_ps,
            _mm512_storeu_ps,
            _mm512_set1_ps,
            _mm512_add_ps,
            _mm512_sub_ps,
            _mm512_mul_ps,
            _mm512_div_ps,
            _mm512_fmadd_ps,
            _mm512_fnmadd_ps,
            _mm512_min_ps,
            _mm512_max_ps
        );
        #[inline(always)]
        unsafe fn round(a: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn exp2i(k: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), k) }
        }
        #[inline(always)]
        unsafe fn sum(a: __m512) -> f32 {
            // SAFETY: as above.
            unsafe { _mm512_reduce_add_ps(a) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    unsafe fn functions_over<S: Simd>(x: *const f32, y: *mut f32, n: usize) {
        // SAFETY: 5 * n writable, n readable values, n a multiple of 16.
        unsafe {
            let mut i = 0;
            while i < n {
                let v = S::load(x.add(i));
                S::store(y.add(i), S::exp(v));
                S::store(y.add(n + i), S::silu(v));
                S::store(y.add(2 * n + i), S::gelu(v));
                S::store(y.add(3 * n + i), S::tanh(v));
                S::store(y.add(4 * n + i), S::leaky(v, S::splat(0.1)));
                i += S::W;
            }
        }
    }
    levels! { unsafe fn functions(x: *const f32, y: *mut f32, n: usize) = functions_over; }

    #[test]
    fn functions_are_those_of_libm() {
        let n = 4096;
        let x: Vec<f32> = (0..n).map(|i| (i as f32 - 2048.0) / 128.0).collect();
        for level in Level::available() {
            let mut y = vec![f32::NAN; 5 * n];
            // SAFETY: lengths as the kernel asks, level of this machine.
            unsafe { functions(level, x.as_ptr(), y.as_mut_ptr(), n) };
            let mut worst = [0.0f64; 5];
            for (i, &v) in x.iter().enumerate() {
                let v = f64::from(v);
                let wanted = [
                    libm::exp(v),
                    v / (1.0 + libm::exp(-v)),
                    v * 0.5 * (1.0 + libm::erf(v / 2f64.sqrt())),
                    libm::tanh(v),
                    if v > 0.0 { v } else { f64::from(0.1f32) * v },
                ];
                for (k, w) in wanted.iter().enumerate() {
                    let scale = if k == 0 { w.abs() } else { v.abs().max(1.0) };
                    worst[k] = worst[k].max((f64::from(y[k * n + i]) - w).abs() / scale);
                }
            }
            eprintln!("{level}: exp, silu, gelu, tanh, leaky are within {worst:?}");
            assert!(worst.iter().all(|&e| e < 6e-7), "{level}: {worst:?}");
        }
    }

    #[test]
    fn a_limit_is_kept() {
        assert_eq!(Level::detect(Some("portable")), Level::Portable);
        assert!(Level::detect(Some("avx2")) <= Level::Avx2);
        assert_eq!(Some(&Level::detect(None)), Level::available().last());
    }
}
