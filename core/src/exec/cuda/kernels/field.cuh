// What is done with maps of a whole picture between runs of plans. Products and sums are rounded one by one as the CPU's are: the order of
// tiles must not show, and a picture is the CPU's as far as the network's results are. Planes of maps and rows of planes may lie apart.
#pragma once

// n: 0 values. f: 0 value.
KERNEL fill(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store(p.out, at, p.f[0]);
}

// Copies words of any bits: a frame's are no numbers, and a GPU that calculates with such gives others. in: words. n: 0 words.
KERNEL copy_words(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store_word(p.out, at, as_bits(load(p.in[0], at)));
}

// The nearest number in [0, 1], 0 for what is none.
INLINE float unit(float v) { return v > 0.f ? fminf(v, 1.f) : 0.f; }

// A window; beyond the right and lower edge of the map its last values. in: map. n: 0 values, 1 W, 2 H of the window, 3 W, 4 H of the map,
// 5 from row to row and 6 from plane to plane in it, 7 first row, 8 first column, 9 and 10 as 5 and 6 for the result, 11 bring into [0, 1].
// f: 0 factor.
KERNEL cut(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1] % p.n[2], c = at / (p.n[1] * p.n[2]);
  const Index from_x = x + p.n[8] < p.n[3] ? x + p.n[8] : p.n[3] - 1, from_y = y + p.n[7] < p.n[4] ? y + p.n[7] : p.n[4] - 1;
  const float v = times(p.f[0], load(p.in[0], c * p.n[6] + from_y * p.n[5] + from_x));
  store(p.out, c * p.n[10] + y * p.n[9] + x, p.n[11] ? unit(v) : v);
}

// Adds a tile times the weights of its columns to a row of tiles. in: tile [C, h, w], weights [w]. n: 0 values, 1 w, 2 W of the row of tiles,
// 3 first column.
KERNEL blend_across(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], to = at / p.n[1] * p.n[2] + p.n[3] + x;
  store(p.out, to, plus(load(p.out, to), times(load(p.in[0], at), load(p.in[1], x))));
}

// Adds a row of tiles times the weights of its rows to the sum downwards, which moves up. in: row of tiles [C, h, W], weights [h], the sum before
// or null. n: 0 values, 1 W, 2 h, 3 rows that the sum moves.
KERNEL blend_down(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index y = at / p.n[1] % p.n[2];
  const float weight = load(p.in[1], y);
  float sum = 0.f;
  if (p.in[2] && y + p.n[3] < p.n[2]) sum = load(p.in[2], at + p.n[3] * p.n[1]);
  if (weight != 0.f) sum = plus(sum, times(load(p.in[0], at), weight));
  store(p.out, at, sum);
}

// Marks where a value is not finite. in: map. n: 0 values.
KERNEL check_finite(Call p) {
  const Index at = index_x();
  if (at < p.n[0] && (as_bits(load(p.in[0], at)) & 0x7f800000) == 0x7f800000) mark(p.out, 0);
}

// The natural logarithm of 2^-24 to 1, bit by bit that of the crate `libm` (FreeBSD's e_logf.c).
INLINE float log_of(float x) {
  unsigned bits = as_bits(x);
  if (bits == 0x3f800000) return 0.f;
  // x is 2^k m for m between the root of 1/2 and that of 2.
  bits += 0x3f800000 - 0x3f3504f3;
  const float k = (float)((int)(bits >> 23) - 0x7f);
  const float f = plus(as_float((bits & 0x007fffff) + 0x3f3504f3), -1.f), s = f / plus(2.f, f), z = times(s, s), w = times(z, z);
  const float even = times(w, plus(as_float(0x3eccce13), times(w, as_float(0x3e789e26))));
  const float odd = times(z, plus(as_float(0x3f2aaaaa), times(w, as_float(0x3e91e9ee))));
  const float half = times(times(0.5f, f), f);
  float sum = plus(times(s, plus(half, plus(odd, even))), times(k, as_float(0x3717f7d1)));
  sum = plus(plus(sum, -half), f);
  return plus(sum, times(k, as_float(0x3f317180)));
}

// Sine and cosine of up to an eighth of a turn, in f64 as libm's k_sinf.c and k_cosf.c.
INLINE float sine_near(double x) {
  const double z = times(x, x), w = times(z, z), s = times(z, x);
  const double r = plus(-0.000198393348360966317347, times(z, 0.0000027183114939898219064));
  const double low = plus(-0.166666666416265235595, times(z, 0.0083333293858894631756));
  return (float)plus(plus(x, times(s, low)), times(times(s, w), r));
}
INLINE float cosine_near(double x) {
  const double z = times(x, x), w = times(z, z);
  const double r = plus(-0.00138867637746099294692, times(z, 0.0000243904487962774090654));
  const double low = plus(plus(1.0, times(z, -0.499999997251031003120)), times(w, 0.0416666233237390631894));
  return (float)plus(low, times(times(w, z), r));
}

// The k-th of the two normal values of two words: sampler/noise.rs.
INLINE float normal(unsigned a, unsigned b, int k) {
  const float step = 1.f / 16777216.f;
  const float radius = sqrtf(times(-2.f, log_of(times((float)((a >> 8) + 1), step))));
  const float angle = times(as_float(0x40c90fdb), times((float)(b >> 8), step));
  // The nearest quarter of a turn, with libm's own borders between them.
  const unsigned bits = as_bits(angle);
  const int quarter = bits <= 0x3f490fda ? 0 : bits <= 0x4016cbe3 ? 1 : bits <= 0x407b53d1 ? 2 : bits <= 0x40afeddf ? 3 : 4;
  const double rest = plus((double)angle, -(double)quarter * 1.5707963267948966);
  // For the first value the cosine: a quarter on.
  const int phase = (quarter + (k ? 0 : 1)) & 3;
  float y = phase & 1 ? cosine_near(rest) : sine_near(rest);
  if (phase & 2) y = -y;
  return times(radius, y);
}

// The noise of a cell: Philox4x32-10 by place.
INLINE float noise_at(unsigned long long seed, unsigned step, unsigned channel, unsigned y, unsigned x) {
  unsigned a = x / 4, b = y, c = channel, d = step, key0 = (unsigned)seed, key1 = (unsigned)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const unsigned long long p = 0xD2511F53ull * a, q = 0xCD9E8D57ull * c;
    a = (unsigned)(q >> 32) ^ b ^ key0;
    c = (unsigned)(p >> 32) ^ d ^ key1;
    b = (unsigned)q;
    d = (unsigned)p;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return x & 2 ? normal(c, d, x & 1) : normal(a, b, x & 1);
}

// A sampling step. in: what the network predicts or null, the field or null (both 0 then).
// n: 0 values, 1 W, 2 H, from row to row and from plane to plane: 3, 4 of the first, 5, 6 of the second, 7, 8 of the result; 9 what: 0 the next
// field, 1 the estimate, 2 both, blended; 10 seed, 11 step of the noise or -1, 12, 13 row and column of the first cell; 14 and 15 two reals each:
// shares of the field and of the prediction in the estimate; share of the estimate in the blend, share of the noise.
// f: shares of the field, the estimate, the prediction in the next field.
KERNEL step_field(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1] % p.n[2], c = at / (p.n[1] * p.n[2]);
  const float pred = p.in[0] ? load(p.in[0], c * p.n[4] + y * p.n[3] + x) : 0.f;
  const float field = p.in[1] ? load(p.in[1], c * p.n[6] + y * p.n[5] + x) : 0.f;
  const float blend = as_float((unsigned)p.n[15]), share = as_float((unsigned)(p.n[15] >> 32));
  const float estimate = plus(times(as_float((unsigned)p.n[14]), field), times(as_float((unsigned)(p.n[14] >> 32)), pred));
  float result = estimate;
  if (p.n[9] != 1) {
    float noise = 0.f;
    if (p.n[11] >= 0)
      noise = noise_at((unsigned long long)p.n[10], (unsigned)p.n[11], (unsigned)c, (unsigned)(p.n[12] + y), (unsigned)(p.n[13] + x));
    const float next = plus(plus(plus(times(p.f[0], field), times(p.f[1], estimate)), times(p.f[2], pred)), times(share, noise));
    result = p.n[9] == 2 ? plus(times(blend, estimate), times(plus(1.f, -blend), next)) : next;
  }
  store(p.out, c * p.n[8] + y * p.n[7] + x, result);
}

// Rows of a map enlarged by a cubic, plus another map. in: map, weights [5, factor], what is added or null.
// n: 0 values, 1 W, 2 rows of the result, 3 factor, 4 H of the map, from row to row and from plane to plane: 5, 6 of the map, 7, 8 of what is added,
// 9, 10 of the result; 11 first row of the enlarged map, 12 bring into [0, 1].
KERNEL enlarge(Call p) {
  const Index at = index_x(), factor = p.n[3], wide = p.n[1] / factor;
  if (at >= p.n[0]) return;
  const Index x = at % p.n[1], y = at / p.n[1] % p.n[2], c = at / (p.n[1] * p.n[2]), full = y + p.n[11];
  float sum = 0.f;
  for (int across = 0; across < 5; across++) {
    Index column = x / factor + across - 2;
    column = column < 0 ? 0 : column < wide ? column : wide - 1;
    float tap = 0.f;
    for (int down = 0; down < 5; down++) {
      Index row = full / factor + down - 2;
      row = row < 0 ? 0 : row < p.n[4] ? row : p.n[4] - 1;
      const float one = times(load(p.in[1], down * factor + full % factor), load(p.in[0], c * p.n[6] + row * p.n[5] + column));
      tap = down ? plus(tap, one) : one;
    }
    sum = plus(sum, times(tap, load(p.in[1], across * factor + x % factor)));
  }
  if (p.in[2]) sum = plus(sum, load(p.in[2], c * p.n[8] + y * p.n[7] + x));
  store(p.out, c * p.n[10] + y * p.n[9] + x, p.n[12] ? unit(sum) : sum);
}

// The least and the largest value, brought into [0, 1], of some rows of a column of tiles: a block for each column (x) and for each plane and piece of
// rows (y). in: map, first columns. n: 0 W, 1 H, 2 from row to row, 3 from plane to plane, 4 columns of a tile, 5 rows of a piece, 6 pieces, 7 factor
// of the first columns, 8 planes. out: [columns, planes, pieces, 2]. Shared memory: one value per thread.
KERNEL ranges(Call p) {
  float *memory = shared_memory();
  const Index plane = block_y() / p.n[6], piece = block_y() % p.n[6];
  const Index first = (Index)load(p.in[1], block_x()), left = first > 0 ? first * p.n[7] : 0, right = left + p.n[4] < p.n[0] ? left + p.n[4] : p.n[0];
  const Index top = piece * p.n[5], bottom = top + p.n[5] < p.n[1] ? top + p.n[5] : p.n[1], wide = right - left;
  float most = 0.f, least = 1.f;
  for (Index i = thread_id(); i < wide * (bottom - top); i += threads()) {
    const float v = unit(load(p.in[0], plane * p.n[3] + (top + i / wide) * p.n[2] + left + i % wide));
    most = fmaxf(most, v);
    least = fminf(least, v);
  }
  most = block_max(most, memory);
  least = -block_max(-least, memory);
  const Index pieces = p.n[6], at = ((block_x() * p.n[8] + plane) * pieces + piece) * 2;
  if (thread_id() == 0) {
    store(p.out, at, least);
    store(p.out, at + 1, most);
  }
}
