//! 3x3 convolutions of stride 1 as Winograd F(4x4, 3x3): 36 products of a quarter of the arithmetic.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks"; points 0, ±1/√2, ±√2 and infinity, which
//! halve the rounding error of the usual 0, ±1, ±2.

#![allow(unsafe_code, reason = "vector kernels over raw memory")]
#![allow(
    clippy::needless_range_loop,
    reason = "register blocks are unrolled by their numbers; iterators hide that"
)]

use crate::error::Result;
use crate::exec::cpu::conv::{Call, ConvSpec};
use crate::exec::cpu::fuse::{COPY, GELU, LEAKY, Lead, PLAIN, SILU, Trail};
use crate::exec::cpu::gemm::{Grid, Panels, Product, multiply};
use crate::exec::cpu::map::{LANES, padded};
use crate::exec::cpu::simd::{Level, Simd, levels};

/// Points of the transform, products per tile.
const POINTS: usize = 36;

/// Pixels of a tile's side.
const TILE: usize = 4;

const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

/// Channels staged together: 256 bytes per pixel are long enough for the prefetcher.
const STAGED: usize = 64;

/// Bytes of transformed samples and products of a block of tiles, within a second-level cache of 1 MB.
const CACHE: usize = 768 << 10;

pub(crate) struct Winograd {
    panels: Panels,
}

/// One-dimensional transform of the weights.
fn weights(g: [f64; 3]) -> [f64; 6] {
    let (a, b) = (std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::SQRT_2);
    let (small, large) = (g[0] + 0.5 * g[2], g[0] + 2.0 * g[2]);
    [
        g[0],
        (small + a * g[1]) / -1.5,
        (small - a * g[1]) / -1.5,
        (large + b * g[1]) / 6.0,
        (large - b * g[1]) / 6.0,
        g[2],
    ]
}

/// One-dimensional transform of the samples.
#[inline(always)]
unsafe fn samples<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the caller runs at the level of `S`; so below.
    unsafe {
        let (two, half, more) = (S::splat(2.0), S::splat(0.5), S::splat(2.5));
        let (a, b) = (S::splat(A), S::splat(B));
        let e = S::fnma(two, d[2], d[4]);
        let f = S::fnma(two, d[1], d[3]);
        let g = S::fnma(half, d[2], d[4]);
        let h = S::fnma(half, d[1], d[3]);
        [
            S::add(d[0], S::fnma(more, d[2], d[4])),
            S::fma(a, f, e),
            S::fnma(a, f, e),
            S::fma(b, h, g),
            S::fnma(b, h, g),
            S::add(d[1], S::fnma(more, d[3], d[5])),
        ]
    }
}

/// One-dimensional transform of the products.
#[inline(always)]
unsafe fn products<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: as above.
    unsafe {
        let (two, half) = (S::splat(2.0), S::splat(0.5));
        let p = S::add(m[1], m[2]);
        let q = S::mul(S::splat(A), S::sub(m[1], m[2]));
        let r = S::add(m[3], m[4]);
        let s = S::mul(S::splat(B), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], p), r),
            S::add(q, s),
            S::fma(two, r, S::mul(half, p)),
            S::fma(two, s, S::fma(half, q, m[5])),
        ]
    }
}

/// Some tiles of a picture.
#[derive(Clone, Copy)]
struct Block {
    image: usize,
    /// First tile and tiles along each side.
    y: usize,
    x: usize,
    h: usize,
    w: usize,
    /// Number of the first tile among those that are multiplied together.
    first: usize,
}

/// Stages channels of a block's samples.
struct Stage {
    lead: Lead,
    origin: (isize, isize),
    size: (usize, usize),
    channels: (usize, usize),
    to: *mut f32,
}

#[inline(always)]
unsafe fn stage_over<S: Simd, const F: u8>(g: &Stage) {
    // SAFETY: the caller's contract.
    unsafe { g.lead.patch::<S, F>(g.origin, g.size, g.channels, g.to) }
}
levels! { unsafe fn stage_copy(g: &Stage) = stage_over<COPY>; }
levels! { unsafe fn stage_plain(g: &Stage) = stage_over<PLAIN>; }
levels! { unsafe fn stage_silu(g: &Stage) = stage_over<SILU>; }
levels! { unsafe fn stage_gelu(g: &Stage) = stage_over<GELU>; }
levels! { unsafe fn stage_leaky(g: &Stage) = stage_over<LEAKY>; }

/// Transforms staged channels of a block.
struct Input {
    block: Block,
    stage: *const f32,
    /// First channel and how many.
    channels: (usize, usize),
    grid: Grid,
    /// Tiles that are multiplied together.
    tiles: usize,
    /// Left side of each point's product.
    v: [*mut f32; POINTS],
}

#[inline(always)]
unsafe fn input_over<S: Simd>(g: &Input) {
    let (c, cn) = g.channels;
    let line = (TILE * g.block.w + 2) * cn;
    for t in 0..g.block.h * g.block.w {
        let (ty, tx) = (t / g.block.w, t % g.block.w);
        let (start, step) = g.grid.row(g.tiles, g.grid.depth, g.block.first + t);
        // SAFETY: the patch holds the block's samples, each `v` all tiles.
        unsafe {
            let corner = g.stage.add(TILE * ty * line + TILE * tx * cn);
            let mut to = start + c / S::W * step;
            let mut q = 0;
            while q < cn {
                let mut columns = [[S::zero(); 6]; 6];
                for j in 0..6 {
                    let mut d = [S::zero(); 6];
                    for i in 0..6 {
                        d[i] = S::load(corner.add(i * line + j * cn + q));
                    }
                    columns[j] = samples::<S>(d);
                }
                for i in 0..6 {
                    let mut d = [S::zero(); 6];
                    for j in 0..6 {
                        d[j] = columns[j][i];
                    }
                    let d = samples::<S>(d);
                    for j in 0..6 {
                        S::store(g.v[6 * i + j].add(to), d[j]);
                    }
                }
                to += step;
                q += S::W;
            }
        }
    }
}
levels! { unsafe fn input(g: &Input) = input_over; }

/// Transforms products of a block back and finishes them.
struct Output {
    block: Block,
    trail: Trail,
    m: [*mut f32; POINTS],
    ldm: usize,
    /// Size of the result.
    size: (usize, usize),
    /// First and last column.
    columns: (usize, usize),
}

#[inline(always)]
unsafe fn output_over<S: Simd, const F: u8>(g: &Output) {
    for t in 0..g.block.h * g.block.w {
        let (y, x) = (TILE * (g.block.y + t / g.block.w), TILE * (g.block.x + t % g.block.w));
        let (rows, cols) = (g.size.0 - y, g.size.1 - x);
        let mut spot = g.trail.first(g.columns.0);
        let mut col = g.columns.0;
        while col < g.columns.1 {
            // SAFETY: each `m` holds all tiles; pixels outside the result are not stored.
            unsafe {
                let at = (g.block.first + t) * g.ldm + col;
                let mut half = [[S::zero(); 4]; 6];
                for j in 0..6 {
                    let mut m = [S::zero(); 6];
                    for i in 0..6 {
                        m[i] = S::load(g.m[6 * i + j].add(at));
                    }
                    half[j] = products::<S>(m);
                }
                let bias = g.trail.bias::<S>(spot);
                for i in 0..TILE {
                    let mut m = [S::zero(); 6];
                    for j in 0..6 {
                        m[j] = half[j][i];
                    }
                    let m = products::<S>(m);
                    if i < rows {
                        for j in 0..TILE {
                            if j < cols {
                                g.trail.store::<S, F>(y + i, x + j, spot, bias, m[j]);
                            }
                        }
                    }
                }
            }
            spot = g.trail.next(spot, S::W);
            col += S::W;
        }
    }
}
levels! { unsafe fn output_plain(g: &Output) = output_over<PLAIN>; }
levels! { unsafe fn output_silu(g: &Output) = output_over<SILU>; }
levels! { unsafe fn output_gelu(g: &Output) = output_over<GELU>; }
levels! { unsafe fn output_leaky(g: &Output) = output_over<LEAKY>; }

/// How a call is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Pictures; tiles along their sides.
    n: usize,
    h: usize,
    w: usize,
    /// Tiles along the sides of a block; blocks along the sides of a picture.
    bh: usize,
    bw: usize,
    ny: usize,
    nx: usize,
    /// All tiles are multiplied together, the points spread over this many threads; 1: each block by itself.
    spread: usize,
    /// From one point to the next in the left sides and in the products.
    v: usize,
    m: usize,
    ldm: usize,
}

impl Cut {
    /// Points whose matrices lie in one thread's scratch.
    fn slots(&self) -> usize {
        POINTS.div_ceil(self.spread)
    }

    fn blocks(&self) -> usize {
        self.n * self.ny * self.nx
    }

    fn block(&self, number: usize) -> Block {
        let (image, rest) = (number / (self.ny * self.nx), number % (self.ny * self.nx));
        let (y, x) = (rest / self.nx * self.bh, rest % self.nx * self.bw);
        let (h, w) = (self.bh.min(self.h - y), self.bw.min(self.w - x));
        let first = if self.spread > 1 { (image * self.h + y) * self.w + x * h } else { 0 };
        Block { image, y, x, h, w, first }
    }

    /// Values of the patch that is staged for a block.
    fn stage(&self, depth: usize) -> usize {
        (TILE * self.bh + 2) * (TILE * self.bw + 2) * depth.min(STAGED)
    }

    /// Values of scratch before the stage.
    fn matrices(&self) -> usize {
        self.slots() * (self.v + self.m)
    }
}

/// An odd multiple of 64 bytes, so that the planes do not fall on the same cache sets.
fn odd(values: usize) -> usize {
    values.next_multiple_of(2 * LANES) + LANES
}

impl Winograd {
    /// True where this algorithm is the one to take.
    pub(crate) fn suits(spec: &ConvSpec) -> bool {
        spec.kernel == 3 && spec.stride == 1 && spec.cin >= 8
    }

    pub(crate) fn new(level: Level, spec: &ConvSpec, weight: &[f32]) -> Result<Self> {
        let mut panels = Panels::new(level, POINTS, padded(spec.cin), spec.columns())?;
        let grid = panels.grid;
        let values = panels.values();
        for column in 0..spec.columns() {
            let Some(channel) = spec.channel(column) else { continue };
            for c in 0..spec.cin {
                let g = &weight[(channel * spec.cin + c) * 9..][..9];
                let row = |i: usize| weights([g[3 * i], g[3 * i + 1], g[3 * i + 2]].map(f64::from));
                let rows = [row(0), row(1), row(2)];
                let place = grid.place(c, column);
                for j in 0..6 {
                    for (i, u) in weights([rows[0][j], rows[1][j], rows[2][j]]).into_iter().enumerate() {
                        values[(6 * i + j) * grid.len() + place] = u as f32;
                    }
                }
            }
        }
        Ok(Self { panels })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    fn cut(&self, n: usize, out_h: usize, out_w: usize, threads: usize) -> Cut {
        let grid = self.panels.grid;
        let (h, w) = (out_h.div_ceil(TILE), out_w.div_ceil(TILE));
        let tiles = n * h * w;
        let spread = if threads > 1 && tiles < 4 * threads * grid.mr { threads.min(POINTS) } else { 1 };
        let per_tile = POINTS * size_of::<f32>() * (grid.depth + grid.cols);
        // Large weights are read from memory for every block: more tiles pay for that.
        let least = match self.bytes() {
            0..0x10_0000 => 24,
            0x10_0000..0x100_0000 => 48,
            _ => 96,
        };
        let mut most = (CACHE / per_tile).max(least);
        if threads > 1 {
            most = most.min((tiles / (4 * threads)).max(2 * grid.mr));
        }
        let (bh, bw) = near_square(h, w, most, grid);
        let together = if spread > 1 { tiles } else { bh * bw };
        let rows = together.next_multiple_of(grid.mr);
        // Rows of whole pages would fall on the same cache sets.
        let ldm = if grid.cols < 128 { grid.cols } else { grid.cols + LANES };
        Cut {
            n,
            h,
            w,
            bh,
            bw,
            ny: h.div_ceil(bh),
            nx: w.div_ceil(bw),
            spread,
            v: odd(rows * grid.depth),
            m: odd(rows * ldm),
            ldm,
        }
    }

    pub(crate) fn scratch(&self, n: usize, out_h: usize, out_w: usize, threads: usize) -> usize {
        let cut = self.cut(n, out_h, out_w, threads);
        cut.matrices() + cut.stage(self.panels.grid.depth)
    }

    /// # Safety
    /// As `Conv::run`, whose shape checks are done.
    pub(crate) unsafe fn run(&self, call: &Call<'_>) -> Result<()> {
        let cut = self.cut(call.src.map.n, call.size.0, call.size.1, call.cx.pool.threads());
        let grid = self.panels.grid;
        let steps = Steps { call, cut, panels: &self.panels };
        if cut.spread == 1 {
            return call.cx.run(cut.blocks(), &|task, thread| {
                let block = cut.block(task);
                let tiles = block.h * block.w;
                // SAFETY: the caller's contract; blocks do not overlap.
                unsafe {
                    steps.input(&block, thread, (0, grid.depth), tiles);
                    for point in 0..POINTS {
                        steps.multiply(point, thread, (0, grid.panels()), tiles);
                    }
                    steps.output(&block, thread, (0, grid.cols));
                }
            });
        }
        // Few tiles: three rounds, each cut along what there is enough of.
        let tiles = cut.n * cut.h * cut.w;
        let parts = grid.depth.div_ceil(STAGED);
        call.cx.run(cut.blocks() * parts, &|task, thread| {
            let c = task % parts * STAGED;
            // SAFETY: the caller's contract; blocks and channels do not overlap.
            unsafe { steps.input(&cut.block(task / parts), thread, (c, STAGED.min(grid.depth - c)), tiles) }
        })?;
        let groups = (4 * cut.spread).div_ceil(POINTS).min(grid.panels());
        let each = grid.panels().div_ceil(groups);
        call.cx.run(POINTS * groups, &|task, thread| {
            let (point, group) = (task / groups, task % groups);
            let panels = ((group * each).min(grid.panels()), ((group + 1) * each).min(grid.panels()));
            // SAFETY: as above: points and panels.
            unsafe { steps.multiply(point, thread, panels, tiles) }
        })?;
        let parts = grid.cols.div_ceil(STAGED);
        call.cx.run(cut.blocks() * parts, &|task, thread| {
            let c = task % parts * STAGED;
            // SAFETY: as above: blocks and columns.
            unsafe { steps.output(&cut.block(task / parts), thread, (c, (c + STAGED).min(grid.cols))) }
        })
    }
}

/// Tiles along the sides of a block of at most `most` tiles: nearly square, few rows of register blocks in vain.
fn near_square(h: usize, w: usize, most: usize, grid: Grid) -> (usize, usize) {
    let mut best = (usize::MAX, 1, 1);
    for bh in 1..=h.min(most) {
        // The widest, and the one that cuts the picture evenly.
        let widest = w.min(most / bh);
        for bw in [widest, w.div_ceil(w.div_ceil(widest))] {
            let (ny, nx) = (h.div_ceil(bh), w.div_ceil(bw));
            let mut cost = 0;
            for (y, rows) in [(bh, ny - 1), (h - (ny - 1) * bh, 1)] {
                for (x, cols) in [(bw, nx - 1), (w - (nx - 1) * bw, 1)] {
                    // Per block: products, reading the weights (as four rows), staged pixels (some values each).
                    let products = POINTS * grid.cols * (grid.rows(y * x) + 4);
                    cost += rows * cols * (products + 8 * (TILE * y + 2) * (TILE * x + 2));
                }
            }
            if cost < best.0 {
                best = (cost, bh, bw);
            }
        }
    }
    (best.1, best.2)
}

/// The three steps of a block.
struct Steps<'a> {
    call: &'a Call<'a>,
    cut: Cut,
    panels: &'a Panels,
}

impl Steps<'_> {
    /// Left side and product of a point.
    fn point(&self, point: usize, thread: usize) -> (*mut f32, *mut f32) {
        let (home, slot) = match self.cut.spread {
            1 => (thread, point),
            spread => (point % spread, point / spread),
        };
        let start = self.call.cx.scratch(home);
        let m = self.cut.slots() * self.cut.v + slot * self.cut.m;
        (start.wrapping_add(slot * self.cut.v), start.wrapping_add(m))
    }

    unsafe fn input(&self, block: &Block, thread: usize, (c, cn): (usize, usize), tiles: usize) {
        let (level, spec) = (self.call.level, self.call.spec);
        let stage = self.call.cx.scratch(thread).wrapping_add(self.cut.matrices());
        let origin = |tile: usize, pad: usize| (TILE * tile) as isize - pad as isize;
        // SAFETY: the caller's contract.
        unsafe {
            let mut patch = Stage {
                lead: Lead::new(self.call.src, spec.padding.border, block.image),
                origin: (origin(block.y, spec.padding.top), origin(block.x, spec.padding.left)),
                size: (TILE * block.h + 2, TILE * block.w + 2),
                channels: (c, cn),
                to: stage,
            };
            let mut tiles = Input {
                block: *block,
                stage,
                channels: (c, cn),
                grid: self.panels.grid,
                tiles,
                v: std::array::from_fn(|p| self.point(p, thread).0),
            };
            let mut at = c;
            while at < c + cn {
                patch.channels = (at, STAGED.min(c + cn - at));
                match patch.lead.kind {
                    COPY => stage_copy(level, &patch),
                    SILU => stage_silu(level, &patch),
                    GELU => stage_gelu(level, &patch),
                    LEAKY => stage_leaky(level, &patch),
                    _ => stage_plain(level, &patch),
                }
                tiles.channels = patch.channels;
                input(level, &tiles);
                at += STAGED;
            }
        }
    }

    unsafe fn multiply(&self, point: usize, thread: usize, (first, last): (usize, usize), tiles: usize) {
        let grid = self.panels.grid;
        let (v, m) = self.point(point, thread);
        let product = Product {
            grid,
            b: self.panels.plane(point),
            from: 0,
            depth: grid.depth,
            first,
            last,
            a: v,
            rows: tiles,
            c: m.wrapping_add(grid.column(first)),
            ldc: self.cut.ldm,
            fresh: true,
        };
        // SAFETY: the caller's contract.
        unsafe { multiply(self.call.level, &product) }
    }

    unsafe fn output(&self, block: &Block, thread: usize, columns: (usize, usize)) {
        let call = self.call;
        // SAFETY: the caller's contract.
        unsafe {
            let trail = Trail::new(call.post, call.y, call.spec.shuffle, call.bias.get(), block.image);
            let m = std::array::from_fn(|p| self.point(p, thread).1);
            let g = Output { block: *block, trail, m, ldm: self.cut.ldm, size: call.size, columns };
            match trail.kind {
                SILU => output_silu(call.level, &g),
                GELU => output_gelu(call.level, &g),
                LEAKY => output_leaky(call.level, &g),
                _ => output_plain(call.level, &g),
            }
        }
    }
}
