// Moves: every sample of the result comes from one place.
#pragma once

// Rows of one length between maps whose rows are longer: joins and cuts. in: map.
// n: 0 samples moved, 1 samples of a row, 2 from row to row in the source, 3 first one there, 4 and 5 the same in the result.
KERNEL copy_rows(Call p) {
  const Index at = index_x(), len = p.n[1];
  if (at >= p.n[0]) return;
  const Index row = at / len, i = at % len;
  store(p.out, row * p.n[4] + p.n[5] + i, load(p.in[0], row * p.n[2] + p.n[3] + i));
}

// in: map. n: 0 samples, 1 C, 2 H, 3 W of the result, 4 factor.
KERNEL pixel_shuffle(Call p) {
  const Index at = index_x(), H = p.n[2], W = p.n[3], r = p.n[4];
  if (at >= p.n[0]) return;
  const Index x = at % W, y = at / W % H, plane = at / (W * H);
  const Index from = (plane * r + y % r) * r + x % r;
  store(p.out, at, load(p.in[0], (from * (H / r) + y / r) * (W / r) + x / r));
}

// in: map. n: 0 samples, 1 H, 2 W of the result.
KERNEL upsample_nearest2(Call p) {
  const Index at = index_x(), H = p.n[1], W = p.n[2];
  if (at >= p.n[0]) return;
  const Index x = at % W, y = at / W % H, plane = at / (W * H);
  store(p.out, at, load(p.in[0], (plane * (H / 2) + y / 2) * (W / 2) + x / 2));
}

// in: map. n: 0 samples, 1 H, 2 W of the result, 3 H, 4 W of the map.
KERNEL max_pool2(Call p) {
  const Index at = index_x(), H = p.n[1], W = p.n[2];
  if (at >= p.n[0]) return;
  const Index x = at % W, y = at / W % H, plane = at / (W * H), from = (plane * p.n[3] + 2 * y) * p.n[4] + 2 * x;
  const float above = fmaxf(load(p.in[0], from), load(p.in[0], from + 1));
  store(p.out, at, fmaxf(above, fmaxf(load(p.in[0], from + p.n[4]), load(p.in[0], from + p.n[4] + 1))));
}

// in: map, numbers. n: 0 samples, 1 tokens of the result, 2 tokens of the map.
KERNEL gather_tokens(Call p) {
  const Index at = index_x(), len = p.n[1];
  if (at < p.n[0]) store(p.out, at, load(p.in[0], at / len * p.n[2] + place(load(p.in[1], at % len), p.n[2])));
}

// in: tokens, numbers. n as for gather_tokens; 1 is of the tokens, 2 of the result.
KERNEL scatter_tokens(Call p) {
  const Index at = index_x(), len = p.n[1];
  if (at < p.n[0]) store(p.out, at / len * p.n[2] + place(load(p.in[1], at % len), p.n[2]), load(p.in[0], at));
}
