//! The CPU executor: the graph lowered to fused steps over one arena, channels last, with kernels for the
//! instruction sets of [`simd::Level`] and a thread pool of its own.

pub(crate) mod attention;
pub(crate) mod codebook;
pub(crate) mod fft;
pub(crate) mod filter;
pub(crate) mod flash;
pub(crate) mod lanes;
pub(crate) mod map;
pub(crate) mod pool;
pub(crate) mod simd;
pub(crate) mod spectrum;
