// Convolutions.
#pragma once

// The end of a convolution: function, then the sum with a map of the same shape. in: 3 that map or null.
// f: 2 factor of the convolution, 3 factor of the map.
INLINE void finish(const Call &p, Index place, float sum) {
  const float y = then(p, sum);
  store(p.out, place, p.in[3] ? p.f[2] * y + p.f[3] * load(p.in[3], place) : y);
}

// out[n, o, y, x] for one pixel per thread and OUTS channels of the result per block row.
// in: map, weight [O, C / groups, k, k], bias [O] or null.
// n: 0 C, 1 H, 2 W, 3 O, 4 rows out, 5 columns out, 6 kernel, 7 stride, 8 top, 9 left, 10 replicate, 11 groups, 12 batch.
template <int OUTS> INLINE void conv_body(const Call &p) {
  const Index C = p.n[0], H = p.n[1], W = p.n[2], O = p.n[3], rows = p.n[4], cols = p.n[5], k = p.n[6], stride = p.n[7];
  const Index per_group = C / p.n[11], outs_per_group = O / p.n[11];
  const Index at = index_x(), o0 = block_y() * OUTS;
  if (at >= p.n[12] * rows * cols) return;
  const Index x = at % cols, y = at / cols % rows, n = at / (cols * rows);
  const Index first = o0 / outs_per_group * per_group;
  float sum[OUTS];
#pragma unroll
  for (int j = 0; j < OUTS; j++) sum[j] = p.in[2] && o0 + j < O ? load(p.in[2], o0 + j) : 0.f;
  for (Index i = 0; i < per_group; i++) {
    const Index plane = (n * C + first + i) * H;
    for (Index ky = 0; ky < k; ky++) {
      Index iy = y * stride + ky - p.n[8];
      if (iy < 0 || iy >= H) {
        if (!p.n[10]) continue;
        iy = iy < 0 ? 0 : H - 1;
      }
      for (Index kx = 0; kx < k; kx++) {
        Index ix = x * stride + kx - p.n[9];
        if (ix < 0 || ix >= W) {
          if (!p.n[10]) continue;
          ix = ix < 0 ? 0 : W - 1;
        }
        const float v = load(p.in[0], (plane + iy) * W + ix);
#pragma unroll
        for (int j = 0; j < OUTS; j++)
          if (o0 + j < O) sum[j] += v * load(p.in[1], ((o0 + j) * per_group + i) * k * k + ky * k + kx);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < OUTS; j++)
    if (o0 + j < O) finish(p, ((n * O + o0 + j) * rows + y) * cols + x, sum[j]);
}

// All channels in one group.
KERNEL conv(Call p) { conv_body<4>(p); }

// A group per channel.
KERNEL conv_grouped(Call p) { conv_body<1>(p); }
