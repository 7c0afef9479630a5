// Norms, element-wise functions, and what looks at one pixel.
#pragma once

// The function of that number: 1 SiLU, 2 GELU, 3 leaky ReLU of that slope.
INLINE float activate(Index function, float slope, float x) {
  if (function == 1) return x / (1.f + expf(-x));
  if (function == 2) return x * 0.5f * (1.f + erff(x * 0.70710678118654752f));
  if (function == 3) return x >= 0.f ? x : slope * x;
  return x;
}

// What follows in the same launch. n: 14 function or 0. f: 1 slope.
INLINE float then(const Call &p, float x) { return activate(p.n[14], p.f[1], x); }

// The sum over the block of `v`, the same in every thread. Threads are a power of two; `memory` holds one value per thread.
INLINE float block_sum(float v, float *memory) {
  const int t = thread_id();
  shared_store(memory, t, v);
  barrier();
  for (int half = threads() / 2; half > 0; half /= 2) {
    if (t < half) shared_store(memory, t, shared_load(memory, t) + shared_load(memory, t + half));
    barrier();
  }
  const float sum = shared_load(memory, 0);
  barrier();
  return sum;
}

// As block_sum, the largest.
INLINE float block_max(float v, float *memory) {
  const int t = thread_id();
  shared_store(memory, t, v);
  barrier();
  for (int half = threads() / 2; half > 0; half /= 2) {
    if (t < half) shared_store(memory, t, fmaxf(shared_load(memory, t), shared_load(memory, t + half)));
    barrier();
  }
  const float top = shared_load(memory, 0);
  barrier();
  return top;
}

// One block per sample and group. in: map, weight [C], bias [C]. n: 0 groups, 1 channels of a group, 2 pixels. f: 0 eps.
KERNEL group_norm(Call p) {
  float *memory = shared_memory();
  const Index size = p.n[1], pixels = p.n[2], count = size * pixels, start = block_x() * count;
  const Index channel = block_x() % p.n[0] * size;
  float sum = 0.f;
  for (Index i = thread_id(); i < count; i += threads()) sum += load(p.in[0], start + i);
  const float mean = block_sum(sum, memory) / (float)count;
  float squares = 0.f;
  for (Index i = thread_id(); i < count; i += threads()) {
    const float d = load(p.in[0], start + i) - mean;
    squares += d * d;
  }
  const float scale = 1.f / sqrtf(block_sum(squares, memory) / (float)count + p.f[0]);
  for (Index i = thread_id(); i < count; i += threads()) {
    const Index c = channel + i / pixels;
    store(p.out, start + i, then(p, (load(p.in[0], start + i) - mean) * scale * load(p.in[1], c) + load(p.in[2], c)));
  }
}

// One thread per pixel. in: map, weight [C], bias [C] or null. n: 0 C, 1 pixels, 2 pixels of the batch, 3 subtract the mean. f: 0 eps.
KERNEL channel_norm(Call p) {
  const Index C = p.n[0], pixels = p.n[1], at = index_x();
  if (at >= p.n[2]) return;
  const Index start = at / pixels * C * pixels + at % pixels;
  float mean = 0.f, squares = 0.f;
  if (p.n[3]) {
    for (Index c = 0; c < C; c++) mean += load(p.in[0], start + c * pixels);
    mean /= (float)C;
  }
  for (Index c = 0; c < C; c++) {
    const float d = load(p.in[0], start + c * pixels) - mean;
    squares += d * d;
  }
  const float scale = 1.f / sqrtf(squares / (float)C + p.f[0]);
  for (Index c = 0; c < C; c++) {
    const float y = (load(p.in[0], start + c * pixels) - mean) * scale * load(p.in[1], c);
    store(p.out, start + c * pixels, then(p, y + (p.in[2] ? load(p.in[2], c) : 0.f)));
  }
}

// in: map, weight, bias, mean, variance, all [C]. n: 0 C, 1 pixels, 2 samples of the map. f: 0 eps.
KERNEL batch_norm(Call p) {
  const Index at = index_x();
  if (at >= p.n[2]) return;
  const Index c = at / p.n[1] % p.n[0];
  const float scale = load(p.in[1], c) / sqrtf(load(p.in[4], c) + p.f[0]);
  store(p.out, at, then(p, (load(p.in[0], at) - load(p.in[3], c)) * scale + load(p.in[2], c)));
}

// in: map. n: 0 samples of the map.
KERNEL activation(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store(p.out, at, then(p, load(p.in[0], at)));
}

// in: a, b. n: 0 samples of a, 1 samples of a for one of b. f: 0 factor of b.
KERNEL add(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store(p.out, at, load(p.in[0], at) + p.f[0] * load(p.in[1], at / p.n[1]));
}

// in: map, gain [C]. n: 0 samples of the map, 1 pixels, 2 C.
KERNEL scale_channels(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store(p.out, at, load(p.in[0], at) * load(p.in[1], at / p.n[1] % p.n[2]));
}

// in: map. n: 0 samples of the map. f: 0 factor, 1 summand.
KERNEL affine(Call p) {
  const Index at = index_x();
  if (at < p.n[0]) store(p.out, at, p.f[0] * load(p.in[0], at) + p.f[1]);
}

// Sine of x, and of x + pi / 2 where `cosine`. Own reduction in f64: the library's for large angles keeps a table in local memory.
INLINE float sinusoid(float x, bool cosine) {
  const double turns = (double)x * 0.63661977236758134;
  const Index quarter = (Index)floor(turns + 0.5);
  const double r = (double)x - (double)quarter * 1.5707963267948966 - (double)quarter * 6.123233995736766e-17, s = r * r;
  const double odd = r * (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110 * (1 - s / 156))))));
  const double even = 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132)))));
  const Index phase = (quarter + (cosine ? 1 : 0)) & 3;
  const double y = phase & 1 ? even : odd;
  return (float)(phase & 2 ? -y : y);
}

// in: timesteps [N], frequencies. n: 0 samples of the result, 1 its channels, 2 frequencies.
KERNEL timestep_embedding(Call p) {
  const Index at = index_x();
  if (at >= p.n[0]) return;
  const Index c = at % p.n[1], half = p.n[2];
  float y = 0.f;
  if (c < 2 * half) y = sinusoid(load(p.in[0], at / p.n[1]) * load(p.in[1], c % half), c < half);
  store(p.out, at, y);
}

// in: map, entries [count, C]. n: 0 pixels of the batch, 1 pixels, 2 C, 3 count.
KERNEL codebook_index(Call p) {
  const Index at = index_x(), pixels = p.n[1], C = p.n[2];
  if (at >= p.n[0]) return;
  const Index start = at / pixels * C * pixels + at % pixels;
  Index best = 0;
  float least = 0.f;
  for (Index e = 0; e < p.n[3]; e++) {
    float distance = 0.f;
    for (Index c = 0; c < C; c++) {
      const float d = load(p.in[1], e * C + c) - load(p.in[0], start + c * pixels);
      distance += d * d;
    }
    if (e == 0 || distance < least) {
      best = e;
      least = distance;
    }
  }
  store(p.out, at, (float)best);
}

// A number from a map as a place in a table of `count`: what lies outside is brought to its ends, never read.
INLINE Index place(float v, Index count) {
  const Index i = v > 0.f ? (Index)v : 0;
  return i < count ? i : count - 1;
}

// in: numbers, entries [count, C]. n: 0 samples of the result, 1 pixels, 2 C, 3 count.
KERNEL codebook_lookup(Call p) {
  const Index at = index_x(), pixels = p.n[1], C = p.n[2];
  if (at >= p.n[0]) return;
  const Index entry = place(load(p.in[0], at / (C * pixels) * pixels + at % pixels), p.n[3]);
  store(p.out, at, load(p.in[1], entry * C + at / pixels % C));
}
