// Attention.
#pragma once

// A block per group of queries of a window, or of the map (x), and head of a sample (y); one query per thread. Keys and values come into shared memory chunk
// by chunk, once for all of the block's queries, and go by four at a time with a running maximum and sum. in: joint map [N, 3 C, H, W], position bias
// [heads, (2 w - 1)^2] or null. n: 0 C, 1 H, 2 W, 3 heads, 4 side of the windows or 0, 5 channels of a head lie together, 6 keys of a chunk, a multiple of
// four. f: 0 scale. Shared memory: two values per channel of a head for each thread, and for each key of a chunk.
KERNEL attention(Call p) {
  const Index C = p.n[0], W = p.n[2], pixels = p.n[1] * W, heads = p.n[3], side = p.n[4], d = C / heads;
  const Index head = block_y() % heads, n = block_y() / heads;
  const int t = thread_id(), wide = threads(), chunk = (int)p.n[6];
  float *q = shared_memory(), *mean = q + d * wide, *keys = mean + d * wide, *values = keys + d * chunk;
  // From one part (query, key, value) of a head to the next.
  const Index part = (p.n[5] ? d : C) * pixels;
  const Index first = (n * 3 * C + (p.n[5] ? head * 3 * d : head * d)) * pixels;
  // Tokens are counted in 32 bits: divisions come in the inner loops.
  const int across = (int)(side ? side : W), tokens = (int)(side ? side * side : pixels), groups = (tokens + wide - 1) / wide;
  const Index window = block_x() / groups, ty = side ? window / (W / side) * side : 0, tx = side ? window % (W / side) * side : 0;
  const int query = (int)(block_x() % groups) * wide + t;
  const bool own = query < tokens;
  const Index qy = ty + query / across, qx = tx + query % across;
  for (Index i = 0; i < d; i++) {
    shared_store(q, i * wide + t, own ? load(p.in[0], first + i * pixels + qy * W + qx) : 0.f);
    shared_store(mean, i * wide + t, 0.f);
  }
  float top = LOWEST, total = 0.f;
  for (int base = 0; base < tokens; base += chunk) {
    const int count = tokens - base < chunk ? tokens - base : chunk;
    // The chunk before is not read any more.
    barrier();
    for (int k = t; k < (int)d * chunk; k += wide) {
      const int key = base + k % chunk;
      const Index from = first + part + k / chunk * pixels + (ty + key / across) * W + tx + key % across;
      const bool there = k % chunk < count;
      shared_store(keys, k, there ? load(p.in[0], from) : 0.f);
      shared_store(values, k, there ? load(p.in[0], from + part) : 0.f);
    }
    barrier();
    for (int j = 0; own && j < count; j += 4) {
      float score[4] = {0.f, 0.f, 0.f, 0.f};
      for (Index i = 0; i < d; i++) {
        const float mine = shared_load(q, i * wide + t);
        const Four four = shared_load4(keys, i * chunk + j);
        for (int r = 0; r < 4; r++) score[r] += mine * four.v[r];
      }
      float higher = top;
      for (int r = 0; r < 4; r++) {
        score[r] *= p.f[0];
        if (p.in[1] && j + r < count) {
          const Index span = 2 * side - 1, ky = ty + (base + j + r) / across, kx = tx + (base + j + r) % across;
          score[r] += load(p.in[1], (head * span + qy - ky + side - 1) * span + qx - kx + side - 1);
        }
        if (j + r >= count) score[r] = LOWEST;
        higher = fmaxf(higher, score[r]);
      }
      const float kept = expf(top - higher);
      for (int r = 0; r < 4; r++) score[r] = expf(score[r] - higher);
      total = total * kept + (score[0] + score[1] + score[2] + score[3]);
      for (Index i = 0; i < d; i++) {
        const Four four = shared_load4(values, i * chunk + j);
        float sum = shared_load(mean, i * wide + t) * kept;
        for (int r = 0; r < 4; r++) sum += score[r] * four.v[r];
        shared_store(mean, i * wide + t, sum);
      }
      top = higher;
    }
  }
  if (!own) return;
  for (Index i = 0; i < d; i++)
    store(p.out, (n * C + head * d + i) * pixels + qy * W + qx, shared_load(mean, i * wide + t) / total);
}

// For heads of more channels than that has room for: one block per query (x) and head of a sample (y); keys go by in chunks of one per thread, with a running maximum and sum: no matrix
// of scores. in: joint map [N, 3 C, H, W], position bias [heads, (2 w - 1)^2] or null.
// n: 0 C, 1 H, 2 W, 3 heads, 4 side of the windows or 0, 5 channels of a head lie together. f: 0 scale.
// Shared memory: two values per channel of a head, two per thread.
KERNEL attention_wide(Call p) {
  const Index C = p.n[0], W = p.n[2], pixels = p.n[1] * W, heads = p.n[3], side = p.n[4], d = C / heads;
  const Index head = block_y() % heads, n = block_y() / heads, query = block_x(), qy = query / W, qx = query % W;
  float *q = shared_memory(), *mean = q + d, *share = mean + d, *memory = share + threads();
  const int t = thread_id();
  // From one part (query, key, value) of a head to the next.
  const Index part = (p.n[5] ? d : C) * pixels;
  const Index first = (n * 3 * C + (p.n[5] ? head * 3 * d : head * d)) * pixels;
  const Index ty = side ? qy / side * side : 0, tx = side ? qx / side * side : 0;
  // Tokens of a map are counted in 32 bits: divisions come in the innermost loops.
  const int across = (int)(side ? side : W), keys = (int)(side ? side * side : pixels);
  for (Index i = t; i < d; i += threads()) {
    shared_store(q, i, load(p.in[0], first + i * pixels + query));
    shared_store(mean, i, 0.f);
  }
  barrier();
  float top = LOWEST, total = 0.f;
  for (int base = 0; base < keys; base += threads()) {
    const int key = base + t;
    const Index ky = ty + key / across, kx = tx + key % across;
    float score = LOWEST;
    if (key < keys) {
      float dot = 0.f;
      for (Index i = 0; i < d; i++) dot += shared_load(q, i) * load(p.in[0], first + part + i * pixels + ky * W + kx);
      score = dot * p.f[0];
      if (p.in[1]) {
        const Index span = 2 * side - 1;
        score += load(p.in[1], (head * span + qy - ky + side - 1) * span + qx - kx + side - 1);
      }
    }
    const float higher = fmaxf(top, block_max(score, memory));
    const float kept = expf(top - higher), weight = key < keys ? expf(score - higher) : 0.f;
    shared_store(share, t, weight);
    total = total * kept + block_sum(weight, memory);
    top = higher;
    const int chunk = keys - base < threads() ? keys - base : threads();
    for (Index i = t; i < d; i += threads()) {
      float sum = shared_load(mean, i) * kept;
      const Index values = first + 2 * part + i * pixels;
      for (int j = 0; j < chunk; j++) {
        const int other = base + j;
        sum += shared_load(share, j) * load(p.in[0], values + (ty + other / across) * W + tx + other % across);
      }
      shared_store(mean, i, sum);
    }
    // Shares are written again only after the barriers of the next maximum.
  }
  for (Index i = t; i < d; i += threads())
    store(p.out, (n * C + head * d + i) * pixels + query, shared_load(mean, i) / total);
}
