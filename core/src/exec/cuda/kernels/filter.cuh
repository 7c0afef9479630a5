// The adaptive frequency filter: transforms as sums over tables, the two complex layers between them. Spectra are
// [planes, H, bins of a row, 2]: rows of `W / tw` tiles with `tw / 2 + 1` bins each, columns transformed tile by tile in place.
#pragma once

// in: map, turns [tw, 2]. n: 0 bins in all, 1 W, 2 tile width.
KERNEL rows_to_spectrum(Call p) {
  const Index at = index_x(), W = p.n[1], tw = p.n[2], half = tw / 2 + 1, bins = W / tw * half;
  if (at >= p.n[0]) return;
  const Index u = at % bins % half, start = at / bins * W + at % bins / half * tw;
  float re = 0.f, im = 0.f;
  for (Index x = 0; x < tw; x++) {
    const Index k = u * x % tw;
    const float v = load(p.in[0], start + x);
    re += v * load(p.in[1], 2 * k);
    im -= v * load(p.in[1], 2 * k + 1);
  }
  store(p.out, 2 * at, re);
  store(p.out, 2 * at + 1, im);
}

// in: spectrum, turns [th, 2]. n: 0 bins in all, 1 bins of a row, 2 tile height, 3 backwards. f: 0 factor.
KERNEL turn_columns(Call p) {
  const Index at = index_x(), bins = p.n[1], th = p.n[2];
  if (at >= p.n[0]) return;
  const Index row = at / bins, v = row % th;
  const float sign = p.n[3] ? 1.f : -1.f;
  float re = 0.f, im = 0.f;
  for (Index y = 0; y < th; y++) {
    const Index k = v * y % th, from = (row - v + y) * bins + at % bins;
    const float a = load(p.in[0], 2 * from), b = load(p.in[0], 2 * from + 1);
    const float c = load(p.in[1], 2 * k), s = sign * load(p.in[1], 2 * k + 1);
    re += a * c - b * s;
    im += a * s + b * c;
  }
  store(p.out, 2 * at, re * p.f[0]);
  store(p.out, 2 * at + 1, im * p.f[0]);
}

// The complex sum over the inputs `first ..` of a block for its output `o`, onto the bias. Weights [2, blocks, ins, outs].
struct Complex {
  float re, im;
};
INLINE Complex layer(const float *x, const float *w, const float *b, Index start, Index bins, Index blocks, Index block, Index ins,
                     Index outs, Index o) {
  Complex sum = {load(b, block * outs + o), load(b, (blocks + block) * outs + o)};
  for (Index i = 0; i < ins; i++) {
    const Index at = 2 * (start + i * bins);
    const float a = load(x, at), c = load(x, at + 1);
    const float re = load(w, (block * ins + i) * outs + o), im = load(w, ((blocks + block) * ins + i) * outs + o);
    sum.re += a * re - c * im;
    sum.im += a * im + c * re;
  }
  return sum;
}

// in: spectrum, weight, bias. n: 0 values of the result, 1 bins of a plane, 2 blocks, 3 channels of a block, 4 hidden of a block.
// f: 0 slope.
KERNEL filter_hidden(Call p) {
  const Index at = index_x(), bins = p.n[1], blocks = p.n[2], ins = p.n[3], outs = p.n[4];
  if (at >= p.n[0]) return;
  const Index plane = at / bins, o = plane % outs, block = plane / outs % blocks, n = plane / (outs * blocks);
  const Index start = (n * blocks + block) * ins * bins + at % bins;
  const Complex y = layer(p.in[0], p.in[1], p.in[2], start, bins, blocks, block, ins, outs, o);
  store(p.out, 2 * at, y.re >= 0.f ? y.re : p.f[0] * y.re);
  store(p.out, 2 * at + 1, y.im >= 0.f ? y.im : p.f[0] * y.im);
}

INLINE float shrink(float v, float by, bool bounded) {
  const float s = v > by ? v - by : v < -by ? v + by : 0.f;
  return bounded ? tanhf(s) : s;
}

// in: hidden values, weight, bias, spectrum. n: as for filter_hidden, 3 hidden and 4 channels of a block, 5 bounded. f: 0 threshold.
KERNEL filter_mask(Call p) {
  const Index at = index_x(), bins = p.n[1], blocks = p.n[2], ins = p.n[3], outs = p.n[4];
  if (at >= p.n[0]) return;
  const Index plane = at / bins, o = plane % outs, block = plane / outs % blocks, n = plane / (outs * blocks);
  const Index start = (n * blocks + block) * ins * bins + at % bins;
  const Complex y = layer(p.in[0], p.in[1], p.in[2], start, bins, blocks, block, ins, outs, o);
  const float re = shrink(y.re, p.f[0], p.n[5] != 0), im = shrink(y.im, p.f[0], p.n[5] != 0);
  const float a = load(p.in[3], 2 * at), b = load(p.in[3], 2 * at + 1);
  store(p.out, 2 * at, re * a - im * b);
  store(p.out, 2 * at + 1, re * b + im * a);
}

// in: spectrum, turns [tw, 2]. n: 0 samples of the map, 1 W, 2 tile width.
KERNEL spectrum_to_rows(Call p) {
  const Index at = index_x(), W = p.n[1], tw = p.n[2], half = tw / 2 + 1, bins = W / tw * half;
  if (at >= p.n[0]) return;
  const Index x = at % W % tw, start = at / W * bins + at % W / tw * half;
  float sum = 0.f;
  for (Index u = 0; u < half; u++) {
    const Index k = u * x % tw;
    const float re = load(p.in[0], 2 * (start + u)), im = load(p.in[0], 2 * (start + u) + 1);
    // The mirrored bins are implied; the first, and for even widths the last, are their own mirrors.
    if (u == 0 || 2 * u == tw)
      sum += re * load(p.in[1], 2 * k);
    else
      sum += 2.f * (re * load(p.in[1], 2 * k) - im * load(p.in[1], 2 * k + 1));
  }
  store(p.out, at, sum);
}
