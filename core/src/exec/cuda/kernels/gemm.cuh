// Convolutions as products: pixels times channels of the result, summed over taps and channels of the map. A block computes PIXELS by
// OUTS values and walks the sum in pieces of DEEP channels of one tap: the next piece is fetched while this one is multiplied.
#pragma once

constexpr int PIXELS = 128, OUTS = 64, DEEP = 16;
// From row to row in shared memory: eight more, so that the lanes of a warp meet different banks.
constexpr int PIXELS_PITCH = PIXELS + 8, OUTS_PITCH = OUTS + 8;

// Where a pixel of the result reads.
struct Pixel {
  Index map, y, x;  // First sample of its picture, first row and column under the kernel.
  bool inside;
};

INLINE Pixel pixel(const Call &p, Index at) {
  const Index cols = p.n[5], rows = p.n[4];
  Pixel q;
  q.inside = at < p.n[12] * rows * cols;
  q.x = at % cols * p.n[7] - p.n[9];
  q.y = at / cols % rows * p.n[7] - p.n[8];
  q.map = at / (cols * rows) * p.n[0] * p.n[1] * p.n[2];
  return q;
}

// Place of the first channel under one tap; negative where zeros are read.
INLINE Index under(const Call &p, const Pixel &q, int ky, int kx) {
  const Index H = p.n[1], W = p.n[2];
  Index y = q.y + ky, x = q.x + kx;
  if (!q.inside) return -1;
  if (p.n[10]) {
    y = y < 0 ? 0 : y < H ? y : H - 1;
    x = x < 0 ? 0 : x < W ? x : W - 1;
  } else if (y < 0 || y >= H || x < 0 || x >= W) {
    return -1;
  }
  return q.map + y * W + x;
}

INLINE float channel(const Call &p, Index place, Index c) {
  return place >= 0 && c < p.n[0] ? load(p.in[0], place + c * (p.n[1] * p.n[2])) : 0.f;
}

// Place of the first channel of a pixel of the result; negative where there is no such pixel.
INLINE Index target(const Call &p, Index at) {
  const Index plane = p.n[4] * p.n[5];
  return at < p.n[12] * plane ? at / plane * p.n[3] * plane + at % plane : -1;
}

INLINE float bias(const Call &p, Index o) { return p.in[2] && o < p.n[3] ? load(p.in[2], o) : 0.f; }

INLINE void finish(const Call &p, Index place, Index o, float sum) {
  if (place >= 0 && o < p.n[3]) finish(p, place + o * (p.n[4] * p.n[5]), sum);
}

// The walk over taps and pieces. Work::fetch reads a piece into registers, keep puts it into shared memory, multiply uses it.
template <class Work> INLINE void walk(const Call &p, Work &work) {
  const int side = (int)p.n[6], pieces = (int)((p.n[0] + DEEP - 1) / DEEP), steps = side * side * pieces;
  int ky = 0, kx = 0, piece = 0;
  work.fetch(p, ky, kx, 0, 0);
  work.keep(0);
  barrier();
  for (int s = 0; s < steps; s++) {
    if (s + 1 < steps) {
      if (++piece == pieces) {
        piece = 0;
        if (++kx == side) {
          kx = 0;
          ky++;
        }
      }
      work.fetch(p, ky, kx, piece * DEEP, s + 1);
    }
    work.multiply(s & 1);
    if (s + 1 < steps) work.keep((s + 1) & 1);
    barrier();
  }
}

// f32: a thread computes 8 pixels, 16 apart, by 4 channels.
struct Exact {
  float a[DEEP / 2], sum[8][4];
  Four b;
  Pixel q;
  float *memory;
  INLINE_MEMBER void fetch(const Call &p, int ky, int kx, Index c0, Index step) {
    const int t = thread_id();
    const Index place = under(p, q, ky, kx);
#pragma unroll
    for (int i = 0; i < DEEP / 2; i++) a[i] = channel(p, place, c0 + t / PIXELS + 2 * i);
    b = load4(p.in[1], (step * DEEP + t / 16) * p.n[13] + block_y() * OUTS + t % 16 * 4);
  }
  INLINE_MEMBER void keep(int half) {
    const int t = thread_id();
    float *x = memory + half * DEEP * (PIXELS_PITCH + OUTS_PITCH), *w = x + DEEP * PIXELS_PITCH;
#pragma unroll
    for (int i = 0; i < DEEP / 2; i++) shared_store(x, (t / PIXELS + 2 * i) * PIXELS_PITCH + t % PIXELS, a[i]);
    shared_store4(w, t / 16 * OUTS_PITCH + t % 16 * 4, b);
  }
  INLINE_MEMBER void multiply(int half) {
    const int t = thread_id();
    const float *x = memory + half * DEEP * (PIXELS_PITCH + OUTS_PITCH), *w = x + DEEP * PIXELS_PITCH;
#pragma unroll
    for (int k = 0; k < DEEP; k++) {
      const Four right = shared_load4(w, k * OUTS_PITCH + t / 16 * 4);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float left = shared_load(x, k * PIXELS_PITCH + t % 16 + 16 * i);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] += left * right.v[j];
      }
    }
  }
};

// in: map, weight [taps, channels to whole pieces, O to whole blocks], bias [O] or null.
// n: as for `conv`, 13 O to whole blocks. 256 threads; shared memory: two pieces.
KERNEL conv_exact(Call p) {
  const int t = thread_id();
  Exact work = {};
  work.memory = shared_memory();
  work.q = pixel(p, block_x() * PIXELS + t % PIXELS);
  walk(p, work);
  const Index o = block_y() * OUTS + t / 16 * 4;
  float add[4];
#pragma unroll
  for (int j = 0; j < 4; j++) add[j] = bias(p, o + j);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const Index place = target(p, block_x() * PIXELS + t % 16 + 16 * i);
#pragma unroll
    for (int j = 0; j < 4; j++) finish(p, place, o + j, work.sum[i][j] + add[j]);
  }
}

#if HAS_MMA
// Two channels to a word, 16 bits each, lower channel in the lower half; sums in f32. Each of eight warps computes 32 pixels by
// 32 channels in tiles of 16 by 8.
template <bool BRAIN> struct Halves {
  static constexpr int PAIRS = DEEP / 2;
  unsigned a[PAIRS / 2];
  float sum[2][4][4];
  Four b;
  Pixel q;
  float *memory;
  INLINE_MEMBER void fetch(const Call &p, int ky, int kx, Index c0, Index step) {
    const int t = thread_id();
    const Index place = under(p, q, ky, kx);
#pragma unroll
    for (int i = 0; i < PAIRS / 2; i++) {
      const Index c = c0 + 2 * (t / PIXELS + 2 * i);
      a[i] = two_halves<BRAIN>(channel(p, place, c), channel(p, place, c + 1));
    }
    if (t < 16 * PAIRS) b = load4(p.in[1], (step * PAIRS + t / 16) * p.n[13] + block_y() * OUTS + t % 16 * 4);
  }
  INLINE_MEMBER void keep(int half) {
    const int t = thread_id();
    float *x = memory + half * PAIRS * (PIXELS_PITCH + OUTS_PITCH), *w = x + PAIRS * PIXELS_PITCH;
#pragma unroll
    for (int i = 0; i < PAIRS / 2; i++)
      shared_store(x, (t / PIXELS + 2 * i) * PIXELS_PITCH + t % PIXELS, as_float(a[i]));
    if (t < 16 * PAIRS) shared_store4(w, t / 16 * OUTS_PITCH + t % 16 * 4, b);
  }
  INLINE_MEMBER void multiply(int half) {
    const int t = thread_id(), group = t % 32 / 4, pair = t % 4;
    const float *x = memory + half * PAIRS * (PIXELS_PITCH + OUTS_PITCH), *w = x + PAIRS * PIXELS_PITCH;
    const int pixels = t / 32 % 4 * 32 + group, outs = t / 128 * 32 + group;
    unsigned left[2][4], right[4][2];
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int r = 0; r < 4; r++)
        left[m][r] = as_bits(shared_load(x, (pair + r / 2 * 4) * PIXELS_PITCH + pixels + m * 16 + r % 2 * 8));
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int r = 0; r < 2; r++) right[n][r] = as_bits(shared_load(w, (pair + r * 4) * OUTS_PITCH + outs + n * 8));
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int n = 0; n < 4; n++) mma<BRAIN>(sum[m][n], left[m], right[n]);
  }
};

template <bool BRAIN> INLINE void conv_halves(const Call &p) {
  const int t = thread_id(), group = t % 32 / 4, pair = t % 4;
  Halves<BRAIN> work = {};
  work.memory = shared_memory();
  work.q = pixel(p, block_x() * PIXELS + t % PIXELS);
  walk(p, work);
  const Index first = block_x() * PIXELS + t / 32 % 4 * 32 + group, o = block_y() * OUTS + t / 128 * 32 + 2 * pair;
  float add[4][2];
#pragma unroll
  for (int n = 0; n < 4; n++)
#pragma unroll
    for (int r = 0; r < 2; r++) add[n][r] = bias(p, o + n * 8 + r);
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const Index place = target(p, first + m * 16 + half * 8);
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int r = 0; r < 2; r++) finish(p, place, o + n * 8 + r, work.sum[m][n][2 * half + r] + add[n][r]);
    }
}
#endif

// As `conv_exact`, weights as words of two channels. GPUs before compute capability 8.0 lack the instructions: nobody starts these there.
KERNEL conv_bf16(Call p) {
#if HAS_MMA
  conv_halves<true>(p);
#endif
}
KERNEL conv_f16(Call p) {
#if HAS_MMA
  conv_halves<false>(p);
#endif
}
