// A frame's codes as colours: pixels/convert.rs, planar.rs, yuv.rs and imresize.rs in the same order of products and sums.
#pragma once

// Codes as numbers: (code - offset) / scale. in: rows of words, codes from the lowest bits on. n: 0 values, 1 W, 2 H, 3 words of a row, 4 codes of a
// position, 5 which of them each plane is, four bits each, 6 bytes of a code, 4 for f32, 7 bits below a code, 8 from row to row and 9 from plane to plane
// of the result. f: 0 offset, 1 scale.
KERNEL read_codes(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1] % p.n[2], c = at / (p.n[1] * p.n[2]);
  const Index code = x * p.n[4] + (p.n[5] >> 4 * c & 15), in_word = 4 / p.n[6];
  float v = load(p.in[0], y * p.n[3] + code / in_word);
  if (p.n[6] < 4) {
    const unsigned all = as_bits(v) >> 8 * (int)p.n[6] * (int)(code % in_word);
    v = (float)((all & (p.n[6] == 1 ? 0xff : 0xffff)) >> p.n[7]);
  }
  store(p.out, c * p.n[9] + y * p.n[8] + x, plus(v, -p.f[0]) / p.f[1]);
}

// The cubic at sample i of a side that was halved (and at i as it is, where it was not): the first of four samples that it is made of, and their
// weights. `centred`: samples of the halved side lie between two of the other.
struct Taps {
  Index first;
  float w0, w1, w2, w3;
};
INLINE Taps taps_at(bool halved, bool centred, Index i) {
  if (!halved) return {i, 1.f, 0.f, 0.f, 0.f};
  const bool odd = i & 1;
  i /= 2;
  if (!centred) return odd ? Taps{i - 1, -0.0625f, 0.5625f, 0.5625f, -0.0625f} : Taps{i - 1, 0.f, 1.f, 0.f, 0.f};
  return odd ? Taps{i - 1, -0.0703125f, 0.8671875f, 0.2265625f, -0.0234375f} : Taps{i - 2, -0.0234375f, 0.2265625f, 0.8671875f, -0.0703125f};
}
INLINE Index within(Index i, Index n) { return i < 0 ? 0 : i < n ? i : n - 1; }
INLINE float weighed(const Taps &t, float a, float b, float c, float d) {
  return plus(plus(plus(times(t.w0, a), times(t.w1, b)), times(t.w2, c)), times(t.w3, d));
}

// Column i of a plane of chroma that lies at `at`, by the rows of `down`.
INLINE float chroma_column(const Call &p, Index at, const Taps &down, Index i) {
  at += within(i, p.n[3]);
  if (!p.n[8]) return load(p.in[1], at + down.first * p.n[5]);
  return weighed(down, load(p.in[1], at + within(down.first, p.n[4]) * p.n[5]), load(p.in[1], at + within(down.first + 1, p.n[4]) * p.n[5]),
                 load(p.in[1], at + within(down.first + 2, p.n[4]) * p.n[5]), load(p.in[1], at + within(down.first + 3, p.n[4]) * p.n[5]));
}
INLINE float chroma_at(const Call &p, Index c, const Taps &across, const Taps &down) {
  const Index at = c * p.n[6], i = across.first;
  if (!p.n[7]) return chroma_column(p, at, down, i);
  return weighed(across, chroma_column(p, at, down, i), chroma_column(p, at, down, i + 1), chroma_column(p, at, down, i + 2),
                 chroma_column(p, at, down, i + 3));
}

// Colours of luma and chroma. in: luma [H, W], chroma [2, h, w]. n: 0 positions, 1 W, 2 from row to row of luma, 3 w, 4 h, 5 from row to row and 6 from
// plane to plane of chroma, 7, 8 whether chroma is halved across and down, 9 siting: 0 left, 1 centre, 2 top left, 10 from row to row and 11 from plane to
// plane of the result. f: red of V, green of U, green of V, blue of U.
KERNEL colours(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1];
  const Taps across = taps_at(p.n[7], p.n[9] == 1, x), down = taps_at(p.n[8], p.n[9] != 2, y);
  const float luma = load(p.in[0], y * p.n[2] + x), u = chroma_at(p, 0, across, down), v = chroma_at(p, 1, across, down);
  const Index to = y * p.n[10] + x;
  store(p.out, to, plus(luma, times(p.f[0], v)));
  store(p.out, to + p.n[11], plus(plus(luma, times(p.f[1], u)), times(p.f[2], v)));
  store(p.out, to + 2 * p.n[11], plus(luma, times(p.f[3], u)));
}

// The nearest code of 8 bits, halves upwards; 0 for what is none.
INLINE float code_of(float v) {
  v = plus(times(255.f, v), 0.5f);
  return v > 0.f ? floorf(fminf(v, 255.f)) : 0.f;
}

// Row or column i of n, mirrored at the edges as often as it takes.
INLINE Index mirrored(Index i, Index n) {
  i %= 2 * n;
  if (i < 0) i += 2 * n;
  return i < n ? i : 2 * n - 1 - i;
}

// The nearest code, halves to the even one.
INLINE float near_code(float v) { return rintf(fminf(fmaxf(v, 0.f), 255.f)); }

// A map enlarged by a cubic by way of codes of 8 bits, down before across; beyond the right and lower edge of what that gives, its last values. Weights have
// few bits: every sum is exact, whatever its order. in: map, weights [5, factor]. n: 0 values, 1 W, 2 H of the result, 3 factor, 4 W, 5 H of the map, 6 from
// row to row and 7 from plane to plane in it, 8 and 9 in the result.
KERNEL enlarge_codes(Call p) {
  const Index at = index_x(), factor = p.n[3];
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1] % p.n[2], c = at / (p.n[1] * p.n[2]);
  const Index full_x = within(x, p.n[4] * factor), full_y = within(y, p.n[5] * factor);
  float sum = 0.f;
  for (int across = 0; across < 5; across++) {
    const Index column = mirrored(full_x / factor + across - 2, p.n[4]);
    float tap = 0.f;
    for (int down = 0; down < 5; down++) {
      const Index row = mirrored(full_y / factor + down - 2, p.n[5]);
      tap = plus(tap, times(load(p.in[1], down * factor + full_y % factor), code_of(load(p.in[0], c * p.n[7] + row * p.n[6] + column))));
    }
    sum = plus(sum, times(load(p.in[1], across * factor + full_x % factor), near_code(tap)));
  }
  store(p.out, c * p.n[9] + y * p.n[8] + x, near_code(sum) / 255.f);
}
