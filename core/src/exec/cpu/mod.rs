//! The CPU executor: the graph lowered to fused steps over one arena, channels last, with kernels for the
//! instruction sets of [`simd::Level`] and a thread pool of its own.

pub(crate) mod conv;
pub(crate) mod fuse;
pub(crate) mod gemm;
pub(crate) mod im2col;
pub(crate) mod map;
pub(crate) mod pool;
pub(crate) mod simd;
pub(crate) mod winograd;
