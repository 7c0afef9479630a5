// The only layer between the kernels and the machine, so that one source compiles for the device and, against the emulator
// of the tests, as C++. Kernels touch memory through it alone: that is where the emulator looks for faults.
#pragma once

typedef long long Index;

// Four values that lie together, at a multiple of four.
struct Four {
  float v[4];
};

// What every kernel gets: maps in, a map out, whole numbers, reals. Which is which stands at each kernel and where
// `lower.rs` fills it in. The layout is that of `Call` in `launch.rs`.
struct Call {
  const float *in[5];
  float *out;
  Index n[16];
  float f[4];
};

#ifdef SSMOESR_EMULATED
#include "emulator.h"
#else
#define KERNEL extern "C" __global__ void __launch_bounds__(256)
#define INLINE static __device__ __forceinline__
#define INLINE_MEMBER __device__ __forceinline__
// Whether there are products of 16-bit matrices.
#define HAS_MMA (__CUDA_ARCH__ >= 800)
#define LOWEST __int_as_float(0xff800000)
INLINE int thread_id() { return (int)threadIdx.x; }
INLINE int threads() { return (int)blockDim.x; }
INLINE Index block_x() { return blockIdx.x; }
INLINE Index block_y() { return blockIdx.y; }
INLINE void barrier() { __syncthreads(); }
// Shared memory of the block, as much as the launch asked for.
INLINE float *shared_memory() {
  extern __shared__ __align__(16) float memory[];
  return memory;
}
INLINE float load(const float *p, Index i) { return p[i]; }
INLINE void store(float *p, Index i, float v) { p[i] = v; }
INLINE float shared_load(const float *p, Index i) { return p[i]; }
INLINE void shared_store(float *p, Index i, float v) { p[i] = v; }
INLINE Four as_four(float4 f) { return {{f.x, f.y, f.z, f.w}}; }
INLINE Four load4(const float *p, Index i) { return as_four(*reinterpret_cast<const float4 *>(p + i)); }
INLINE Four shared_load4(const float *p, Index i) { return as_four(*reinterpret_cast<const float4 *>(p + i)); }
INLINE void shared_store4(float *p, Index i, const Four &f) {
  *reinterpret_cast<float4 *>(p + i) = make_float4(f.v[0], f.v[1], f.v[2], f.v[3]);
}
INLINE float as_float(unsigned v) { return __uint_as_float(v); }
INLINE unsigned as_bits(float v) { return __float_as_uint(v); }
// Any bits, not only those of a number.
INLINE void store_word(float *p, Index i, unsigned v) { reinterpret_cast<unsigned *>(p)[i] = v; }
// Sets a mark: any number of threads may do so, all with the same value.
INLINE void mark(float *p, Index i) { p[i] = 1.f; }
// A product and a sum, each rounded: never one instruction.
INLINE float times(float a, float b) { return __fmul_rn(a, b); }
INLINE float plus(float a, float b) { return __fadd_rn(a, b); }
INLINE double times(double a, double b) { return __dmul_rn(a, b); }
INLINE double plus(double a, double b) { return __dadd_rn(a, b); }
#if HAS_MMA
// Two values rounded to 16 bits, bf16 or f16, the first in the lower half.
template <bool BRAIN> INLINE unsigned two_halves(float low, float high) {
  unsigned word;
  if (BRAIN)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
// sum += a b for a of 16 x 16 and b of 16 x 8, spread over the lanes of a warp as the instruction wants them. Volatile: no lane may be left out.
template <bool BRAIN> INLINE void mma(float *sum, const unsigned *a, const unsigned *b) {
  if (BRAIN)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
#endif

// Number of this thread in the launch.
INLINE Index index_x() { return block_x() * threads() + thread_id(); }
