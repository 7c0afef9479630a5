// Attention.
#pragma once

// One block per query (x) and head of a sample (y); keys go by in chunks of one per thread, with a running maximum and sum: no matrix
// of scores. in: joint map [N, 3 C, H, W], position bias [heads, (2 w - 1)^2] or null.
// n: 0 C, 1 H, 2 W, 3 heads, 4 side of the windows or 0, 5 channels of a head lie together. f: 0 scale.
// Shared memory: two values per channel of a head, two per thread.
KERNEL attention(Call p) {
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
