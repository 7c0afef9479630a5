// Colours as a frame's codes, as pixels/convert.rs, planar.rs and yuv.rs write them.
#pragma once

// How a plane is written. n: 0 words, 1 words of a row, 2 codes of a row, 3 W, 4 H of the picture, 5 first row of the plane, 6 row of the picture that the
// band begins with, 7 from plane to plane in the band, 8 bytes of a code, 9 codes of a position, 10 what each is, four bits each (`Sample`), 11, 12 whether
// chroma is halved across and down, 13 bits below a code, 14 siting: 0 left, 1 centre, 2 top left, 15 from row to row of alpha.
// f: 0 largest code, 1 what white is before the code.
// in: band [3, rows, W], alpha [rows, W] from the first row of the plane on, or null; table of Y'CbCr: Kr, Kg, Kb, offset and scale of luma, offset of
// chroma, scales of U and V.
enum Sample { RED, GREEN, BLUE, ALPHA, WHITE, GRAY, LUMA, CHROMA_U, CHROMA_V };

INLINE float colour(const Call &p, Index c, Index y, Index x) { return load(p.in[0], c * p.n[7] + (y - p.n[6]) * p.n[3] + x); }

INLINE float luma(const Call &p, Index y, Index x) {
  const float r = times(load(p.in[2], 0), colour(p, 0, y, x)), g = times(load(p.in[2], 1), colour(p, 1, y, x));
  return plus(plus(r, g), times(load(p.in[2], 2), colour(p, 2, y, x)));
}

// Blue (or red) less luma in column x, over the rows that row j of the chroma is made of.
INLINE float chroma_down(const Call &p, Index c, Index j, Index x) {
  const bool halved = p.n[12], above = p.n[14] == 2;
  const Index y = halved ? 2 * j : j, next = y + 1 < p.n[4] ? y + 1 : p.n[4] - 1;
  float sum = plus(0.f, times(halved ? (above ? 0.25f : 0.5f) : 1.f, plus(colour(p, c, above && halved ? (y ? y - 1 : 0) : y, x), -luma(p, above && halved ? (y ? y - 1 : 0) : y, x))));
  if (!halved) return sum;
  const Index second = above ? y : next;
  sum = plus(sum, times(0.5f, plus(colour(p, c, second, x), -luma(p, second, x))));
  if (above) sum = plus(sum, times(0.25f, plus(colour(p, c, next, x), -luma(p, next, x))));
  return sum;
}

INLINE float chroma(const Call &p, Index c, Index j, Index i) {
  if (!p.n[11]) return chroma_down(p, c, j, i);
  const Index x = 2 * i, after = x + 1 < p.n[3] ? x + 1 : p.n[3] - 1;
  const bool centred = p.n[14] == 1;
  const float before = chroma_down(p, c, j, x ? x - 1 : 0), here = chroma_down(p, c, j, x), next = chroma_down(p, c, j, after);
  return plus(plus(times(centred ? 0.f : 0.25f, before), times(0.5f, here)), times(centred ? 0.5f : 0.25f, next));
}

// What becomes the code of that kind at row y and position x of the plane.
INLINE float sample(const Call &p, int kind, Index y, Index x) {
  if (kind <= BLUE) return times(colour(p, kind, y, x), p.f[1]);
  if (kind == ALPHA) return times(load(p.in[1], (y - p.n[5]) * p.n[15] + x), p.f[1]);
  if (kind == GRAY) return times(times(plus(plus(colour(p, 0, y, x), colour(p, 1, y, x)), colour(p, 2, y, x)), 1.f / 3.f), p.f[1]);
  if (kind == LUMA) return plus(times(luma(p, y, x), load(p.in[2], 4)), load(p.in[2], 3));
  if (kind == CHROMA_U) return plus(times(chroma(p, 2, y, x), load(p.in[2], 6)), load(p.in[2], 5));
  if (kind == CHROMA_V) return plus(times(chroma(p, 0, y, x), load(p.in[2], 7)), load(p.in[2], 5));
  return p.f[1];
}

// One thread per word of the plane.
KERNEL write_plane(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index row = at / p.n[1], first = at % p.n[1] * (4 / p.n[8]);
  unsigned word = 0;
  for (int i = 0; i < 4 / (int)p.n[8]; i++) {
    const Index code = first + i;
    if (code >= p.n[2]) break;
    const float v = sample(p, (int)(p.n[10] >> 4 * (code % p.n[9]) & 15), p.n[5] + row, code / p.n[9]);
    if (p.n[8] == 4) {
      word = as_bits(unit(v));
    } else {
      // To the nearest, halves upwards; what is no number is 0.
      const float near = plus(v, 0.5f);
      const unsigned number = near > 0.f ? (near < p.f[0] ? (unsigned)near : (unsigned)p.f[0]) : 0;
      word |= number << p.n[13] << 8 * (int)p.n[8] * i;
    }
  }
  store_word(p.out, at, word);
}
