// The only layer between the kernels and the machine, so that one source compiles for the device and, against the emulator
// of the tests, as C++. Kernels touch memory through it alone: that is where the emulator looks for faults.
#pragma once

typedef long long Index;

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
#define LOWEST __int_as_float(0xff800000)
INLINE int thread_id() { return (int)threadIdx.x; }
INLINE int threads() { return (int)blockDim.x; }
INLINE Index block_x() { return blockIdx.x; }
INLINE Index block_y() { return blockIdx.y; }
INLINE void barrier() { __syncthreads(); }
// Shared memory of the block, as much as the launch asked for.
INLINE float *shared_memory() {
  extern __shared__ float memory[];
  return memory;
}
INLINE float load(const float *p, Index i) { return p[i]; }
INLINE void store(float *p, Index i, float v) { p[i] = v; }
INLINE float shared_load(const float *p, Index i) { return p[i]; }
INLINE void shared_store(float *p, Index i, float v) { p[i] = v; }
#endif

// Number of this thread in the launch.
INLINE Index index_x() { return block_x() * threads() + thread_id(); }
