//! Attention of a block of queries to all keys without a matrix of all scores: running maximum and sum per query
//! (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135).
//!
//! Lanes are queries: scores lie as `[key][query]` and results as `[channel][query]`, so that maximum, sum and
//! rescaling never cross lanes, and both products are [`tile`]s with keys or values broadcast.

#![allow(clippy::needless_range_loop, reason = "closures of adaptors are compiled without the level")]
#![allow(unsafe_code, reason = "kernel")]

use crate::exec::cpu::lanes::{Lanes, Start, copy, tile};
use crate::exec::cpu::map::padded;
use crate::exec::cpu::simd::{Level, levels};

/// Queries of a task: packed keys and values of a block are used this many times.
const QUERIES: usize = 96;
/// The same for deep heads, whose keys and values come from memory for each task: 96, 192 and 288 queries take 3.55,
/// 2.85 and 2.54 s for 16384 tokens of 512 channels (one thread of a Zen 5, AVX-512, before [`Block::panel`]).
const DEEP_QUERIES: usize = 288;
/// The same for windows: all of an 8 x 8 one.
const WINDOW_QUERIES: usize = 64;
/// Keys of a block: scores of a tile of queries stay in L1, and rescaling the results costs 2 %.
const KEYS: usize = 128;
/// Channels of a panel of keys: a panel of queries of this many fills half of L1.
const DEPTH: usize = 128;

/// How the work is cut: depends on the shapes and the level only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Queries of a task, a multiple of `lanes`.
    pub(crate) queries: usize,
    /// Keys of a block, a multiple of `rows`.
    keys: usize,
    /// Channels of a head.
    d: usize,
    /// Rows and lanes of a register block.
    rows: usize,
    lanes: usize,
    /// Channels of a panel of keys.
    depth: usize,
    window: bool,
}

/// Register block of a level: rows, vectors.
const fn register_block(level: Level, window: bool) -> (usize, usize) {
    match (level, window) {
        (Level::Avx512, true) => (8, 2),
        (Level::Avx512, false) => (8, 3),
        (Level::Avx2, _) => (6, 2),
        (Level::Portable, _) => (4, 1),
    }
}

impl Block {
    pub(crate) fn new(level: Level, window: bool, tokens: usize, d: usize) -> Self {
        let (rows, vectors) = register_block(level, window);
        let lanes = vectors * level.width();
        let queries = match (window, d > DEPTH) {
            (true, _) => WINDOW_QUERIES,
            (_, true) => DEEP_QUERIES,
            _ => QUERIES,
        };
        let depth = if d <= 16 {
            16
        } else if d <= 32 {
            32
        } else {
            DEPTH
        };
        Self {
            queries: queries.min(tokens.next_multiple_of(lanes)),
            keys: (KEYS / rows * rows).min(tokens.next_multiple_of(rows)),
            d,
            rows,
            lanes,
            depth,
            window,
        }
    }

    /// Length of the bias of one head: `[tile of queries][key][lane]`.
    pub(crate) fn bias_len(&self, tokens: usize) -> usize {
        tokens.next_multiple_of(self.lanes) * tokens.next_multiple_of(self.rows)
    }

    /// Place of a pair in it.
    pub(crate) fn bias_at(&self, tokens: usize, query: usize, key: usize) -> usize {
        let tile = query / self.lanes * tokens.next_multiple_of(self.rows);
        (tile + key) * self.lanes + query % self.lanes
    }

    /// Channels with room for whole register blocks and whole squares of a transposition.
    fn deep(&self) -> usize {
        padded(self.d).max(self.d.next_multiple_of(self.rows))
    }

    /// From panel to panel of the values: a cache line more than their length, for a token is written to all panels
    /// in a row, and steps of 4096 bytes would meet in one set of L1.
    fn panel(&self) -> usize {
        self.keys * self.rows + 16
    }

    /// Where in the scratch: queries, results, keys or values, scores, running values; its length.
    fn parts(&self) -> [usize; 5] {
        let map = self.queries * self.deep();
        let keys = self.d.div_ceil(self.depth) * self.keys * self.depth;
        let values = self.d.div_ceil(self.rows) * self.panel();
        // A cache line between the parts keeps their starts out of step.
        let results = map + 16;
        let packed = results + map + 16;
        let scores = packed + keys.max(values) + 16;
        let running = scores + self.keys * self.queries + 16;
        [results, packed, scores, running, running + 3 * self.queries]
    }

    pub(crate) fn scratch(&self) -> usize {
        self.parts()[4]
    }
}

/// One head of one window or picture, and which queries.
pub(crate) struct Head {
    /// Channels of this head at the first token.
    pub(crate) q: *const f32,
    pub(crate) k: *const f32,
    pub(crate) v: *const f32,
    pub(crate) out: *mut f32,
    /// As [`Block::bias_at`] says, times log2 e; may be null.
    pub(crate) bias: *const f32,
    /// Tokens of a row; from token to token and from row to row.
    pub(crate) side: usize,
    pub(crate) step: usize,
    pub(crate) row: usize,
    pub(crate) out_step: usize,
    pub(crate) out_row: usize,
    pub(crate) tokens: usize,
    /// First query.
    pub(crate) first: usize,
    /// Zeros to write after the head's channels.
    pub(crate) pad: usize,
    pub(crate) scratch: *mut f32,
}

/// Walks over tokens row by row.
struct Walk {
    at: *const f32,
    col: usize,
    side: usize,
    step: usize,
    turn: usize,
}

impl Walk {
    #[inline(always)]
    fn new(start: *const f32, first: usize, side: usize, step: usize, row: usize) -> Self {
        let (y, x) = (first / side, first % side);
        Self {
            at: start.wrapping_add(y * row + x * step),
            col: x,
            side,
            step,
            turn: row.wrapping_sub(side * step),
        }
    }

    /// Address of the current token; goes on to the next. Addresses past the last are never read.
    #[inline(always)]
    fn next(&mut self) -> *const f32 {
        let at = self.at;
        self.at = self.at.wrapping_add(self.step);
        self.col += 1;
        if self.col == self.side {
            self.col = 0;
            self.at = self.at.wrapping_add(self.turn);
        }
        at
    }
}

levels! {
    /// Results of `block.queries` queries, fewer at the end.
    ///
    /// Safety: pointers of `head` as it says, `block.scratch()` values of scratch, block and level belong together.
    pub(crate) unsafe fn attend(block: &Block, head: &Head) = attend_over;
}

#[inline(always)]
unsafe fn attend_over<S: Lanes>(block: &Block, head: &Head) {
    // SAFETY: the caller's promises; rows and vectors as in `register_block`.
    unsafe {
        match (S::REGISTERS, block.window) {
            (32, true) => deep_over::<S, 8, 2>(block, head),
            (32, false) => deep_over::<S, 8, 3>(block, head),
            (16, _) => deep_over::<S, 6, 2>(block, head),
            _ => deep_over::<S, 4, 1>(block, head),
        }
    }
}

#[inline(always)]
unsafe fn deep_over<S: Lanes, const R: usize, const N: usize>(block: &Block, head: &Head) {
    // SAFETY: the caller's promises; a panel is as deep as the block says.
    unsafe {
        match block.depth {
            16 => block_over::<S, R, N, 16>(block, head),
            32 => block_over::<S, R, N, 32>(block, head),
            _ => block_over::<S, R, N, DEPTH>(block, head),
        }
    }
}

#[inline(always)]
unsafe fn block_over<S: Lanes, const R: usize, const N: usize, const D: usize>(b: &Block, head: &Head) {
    // SAFETY: `parts` lie in the scratch one after the other, tokens in the maps.
    unsafe {
        let [results, packed, scores, running, _] = b.parts();
        let (lanes, deep, tokens) = (N * S::W, b.deep(), head.tokens);
        let queries = head.scratch;
        let (results, packed) = (head.scratch.add(results), head.scratch.add(packed));
        let (scores, running) = (head.scratch.add(scores), head.scratch.add(running));
        let count = b.queries.min(tokens - head.first);
        let tiles = count.div_ceil(lanes);
        load_queries::<S>(b, head, count, tiles * lanes, lanes, results, queries);

        let mut key = 0;
        while key < tokens {
            let some = b.keys.min(tokens - key);
            pack_keys::<S, D>(b, head, key, some, some.next_multiple_of(R), packed);
            for t in 0..tiles {
                let s = scores.add(t * b.keys * lanes);
                let bias = if head.bias.is_null() {
                    head.bias
                } else {
                    let tile = (head.first / lanes + t) * tokens.next_multiple_of(R);
                    head.bias.add((tile + key) * lanes)
                };
                score::<S, R, N, D>(b, some, packed, queries.add(t * deep * lanes), bias, s);
                soften::<S, N>(some, key == 0, s, running.add(t * 3 * lanes));
            }
            pack_values::<R>(b, head, key, some, packed);
            for t in 0..tiles {
                let (s, to) = (scores.add(t * b.keys * lanes), results.add(t * deep * lanes));
                let factor = running.add((t * 3 + 2) * lanes);
                let mut row = 0;
                while row < b.d {
                    let (v, c) = (packed.add(row / R * b.panel()), to.add(row * lanes));
                    if key == 0 {
                        let start = std::ptr::null();
                        tile::<S, R, N, { Start::Zero as u8 }>(some, v, 1, R, s, lanes, c, lanes, start);
                    } else {
                        tile::<S, R, N, { Start::Scaled as u8 }>(some, v, 1, R, s, lanes, c, lanes, factor);
                    }
                    row += R;
                }
            }
            key += b.keys;
        }
        for t in 0..tiles {
            let (from, sum) = (results.add(t * deep * lanes), running.add((t * 3 + 1) * lanes));
            for v in 0..N {
                let f = S::div(S::splat(1.0), S::load(sum.add(v * S::W)));
                for row in 0..b.d {
                    let at = from.add(row * lanes + v * S::W);
                    S::store(at, S::mul(S::load(at), f));
                }
                let mut row = 0;
                while row < b.d {
                    let to = queries.add((t * lanes + v * S::W) * deep + row);
                    S::transpose(from.add(row * lanes + v * S::W), lanes, to, deep);
                    row += S::W;
                }
            }
        }
        let mut walk = Walk::new(head.out, head.first, head.side, head.out_step, head.out_row);
        for i in 0..count {
            let to = walk.next().cast_mut();
            copy::<S>(queries.add(i * deep), to, b.d);
            for j in 0..head.pad {
                *to.add(b.d + j) = 0.0;
            }
        }
    }
}

/// Queries `[tile][channel][lane]`, times scale and log2 e; lanes past the last are zeros.
#[inline(always)]
unsafe fn load_queries<S: Lanes>(
    b: &Block,
    head: &Head,
    count: usize,
    room: usize,
    lanes: usize,
    rows: *mut f32,
    to: *mut f32,
) {
    // SAFETY: `rows` and `to` have room for `room` tokens of `deep` channels.
    unsafe {
        let deep = b.deep();
        let scale = std::f32::consts::LOG2_E / (b.d as f32).sqrt();
        let mut walk = Walk::new(head.q, head.first, head.side, head.step, head.row);
        for i in 0..count {
            let (from, at) = (walk.next(), rows.add(i * deep));
            let mut j = 0;
            while j + S::W <= b.d {
                S::store(at.add(j), S::mul(S::load(from.add(j)), S::splat(scale)));
                j += S::W;
            }
            while j < b.d {
                *at.add(j) = *from.add(j) * scale;
                j += 1;
            }
        }
        for i in count * deep..room * deep {
            *rows.add(i) = 0.0;
        }
        let mut i = 0;
        while i < room {
            let at = to.add(i / lanes * deep * lanes + i % lanes);
            let mut j = 0;
            while j < b.d {
                S::transpose(rows.add(i * deep + j), deep, at.add(j * lanes), lanes);
                j += S::W;
            }
            i += S::W;
        }
    }
}

/// Keys `[panel][key][D]`, zeros for keys past the last of a register block.
#[inline(always)]
unsafe fn pack_keys<S: Lanes, const D: usize>(
    b: &Block,
    head: &Head,
    key: usize,
    some: usize,
    room: usize,
    to: *mut f32,
) {
    // SAFETY: `to` has room for the panels of a block.
    unsafe {
        let mut walk = Walk::new(head.k, key, head.side, head.step, head.row);
        for i in 0..some {
            let from = walk.next();
            let mut j = 0;
            while j < b.d {
                copy::<S>(from.add(j), to.add(j * b.keys + i * D), D.min(b.d - j));
                j += D;
            }
        }
        let mut j = 0;
        while j < b.d {
            for i in some * D..room * D {
                *to.add(j * b.keys + i) = 0.0;
            }
            j += D;
        }
    }
}

/// Values `[panel][key][R]`, zeros for channels past the last.
#[inline(always)]
unsafe fn pack_values<const R: usize>(b: &Block, head: &Head, key: usize, some: usize, to: *mut f32) {
    // SAFETY: `to` has room for the panels of a block.
    unsafe {
        let mut walk = Walk::new(head.v, key, head.side, head.step, head.row);
        for i in 0..some {
            let from = walk.next();
            let mut j = 0;
            while j + R <= b.d {
                let row = from.add(j).cast::<[f32; R]>().read_unaligned();
                to.add(j / R * b.panel() + i * R).cast::<[f32; R]>().write_unaligned(row);
                j += R;
            }
            if j < b.d {
                let mut row = [0.0; R];
                for r in 0..b.d - j {
                    row[r] = *from.add(j + r);
                }
                to.add(j / R * b.panel() + i * R).cast::<[f32; R]>().write_unaligned(row);
            }
        }
    }
}

/// Scores `[key][lane]` of one tile of queries.
#[inline(always)]
unsafe fn score<S: Lanes, const R: usize, const N: usize, const D: usize>(
    b: &Block,
    some: usize,
    keys: *const f32,
    queries: *const f32,
    bias: *const f32,
    to: *mut f32,
) {
    // SAFETY: sizes as packed.
    unsafe {
        let lanes = N * S::W;
        let mut j = 0;
        while j < b.d {
            let (k, q) = (D.min(b.d - j), queries.add(j * lanes));
            let mut i = 0;
            while i < some {
                let (a, c) = (keys.add(j * b.keys + i * D), to.add(i * lanes));
                if j > 0 {
                    tile::<S, R, N, { Start::Old as u8 }>(k, a, D, 1, q, lanes, c, lanes, bias);
                } else if bias.is_null() {
                    tile::<S, R, N, { Start::Zero as u8 }>(k, a, D, 1, q, lanes, c, lanes, bias);
                } else {
                    let base = bias.add(i * lanes);
                    tile::<S, R, N, { Start::Base as u8 }>(k, a, D, 1, q, lanes, c, lanes, base);
                }
                i += R;
            }
            j += D;
        }
    }
}

/// Scores to powers; `running` holds per lane maximum, sum, and the factor for what came before.
#[inline(always)]
unsafe fn soften<S: Lanes, const N: usize>(some: usize, first: bool, scores: *mut f32, running: *mut f32) {
    // SAFETY: `some` rows of scores, three rows of running values.
    unsafe {
        let lanes = N * S::W;
        let mut top = [S::zero(); N];
        let mut other = [S::zero(); N];
        for v in 0..N {
            top[v] = S::load(scores.add(v * S::W));
            other[v] = top[v];
        }
        let mut i = 0;
        while i + 2 <= some {
            for v in 0..N {
                top[v] = S::max(top[v], S::load(scores.add(i * lanes + v * S::W)));
                other[v] = S::max(other[v], S::load(scores.add((i + 1) * lanes + v * S::W)));
            }
            i += 2;
        }
        let mut sum = [S::zero(); N];
        for v in 0..N {
            if i < some {
                top[v] = S::max(top[v], S::load(scores.add(i * lanes + v * S::W)));
            }
            top[v] = S::max(top[v], other[v]);
            let at = running.add(v * S::W);
            if !first {
                let old = S::load(at);
                top[v] = S::max(top[v], old);
                S::store(at.add(2 * lanes), S::exp2(S::sub(old, top[v])));
            }
            S::store(at, top[v]);
        }
        for i in 0..some {
            for v in 0..N {
                let at = scores.add(i * lanes + v * S::W);
                let p = S::exp2(S::sub(S::load(at), top[v]));
                S::store(at, p);
                sum[v] = S::add(sum[v], p);
            }
        }
        for v in 0..N {
            let at = running.add(lanes + v * S::W);
            if !first {
                sum[v] = S::fma(S::load(at), S::load(at.add(lanes)), sum[v]);
            }
            S::store(at, sum[v]);
        }
    }
}
