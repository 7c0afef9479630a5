// The kernels of the CUDA executor. Maps are f32, row-major [N, C, H, W] as the graph has them. No atomics, and every sum in an order
// that depends on sizes alone: a picture is the same each time.
#include "prims.cuh"
#include "point.cuh"
#include "conv.cuh"
#include "gemm.cuh"
#include "filter.cuh"
#include "mix.cuh"
#include "move.cuh"
#include "field.cuh"
#include "read.cuh"
#include "write.cuh"
