//! Convolutions as one matrix product: 1x1, strides, large kernels, few input channels.

#![allow(unsafe_code, reason = "vector kernels over raw memory")]

use crate::error::Result;
use crate::exec::cpu::conv::{Call, ConvSpec};
use crate::exec::cpu::fuse::{COPY, GELU, LEAKY, Lead, PLAIN, SILU, Trail};
use crate::exec::cpu::gemm::{Grid, Panels, Product, multiply};
use crate::exec::cpu::map::{LANES, padded};
use crate::exec::cpu::simd::{Level, Simd, levels};

/// Pixels of a task, a multiple of all register blocks; with [`DEPTH`] its left side takes an eighth of a MB.
const ROWS: usize = 48;

/// Most rows of the right side that are multiplied at a time.
const DEPTH: usize = 640;

/// Least columns of a task where there are few pixels.
const COLUMNS: usize = 128;

pub(crate) struct Im2col {
    panels: Panels,
    /// From one tap to the next in the depth: input channels, padded where there are enough of them.
    tap: usize,
}

/// Fills the left side for some pixels and a range of the depth.
struct Fill {
    lead: Lead,
    grid: Grid,
    kernel: usize,
    stride: usize,
    top: usize,
    left: usize,
    /// Width after the convolution.
    width: usize,
    tap: usize,
    /// First pixel of the result, counted in its picture, and how many.
    first: usize,
    rows: usize,
    from: usize,
    depth: usize,
    a: *mut f32,
    /// A row of the left side where taps are not whole vectors.
    line: *mut f32,
}

impl Fill {
    /// Pixel of the map that a tap reads for pixel (`y`, `x`) of the result.
    #[inline(always)]
    fn at(&self, tap: usize, y: usize, x: usize) -> Option<usize> {
        let (ky, kx) = (tap / self.kernel, tap % self.kernel);
        let y = (y * self.stride + ky) as isize - self.top as isize;
        self.lead.at(y, (x * self.stride + kx) as isize - self.left as isize)
    }
}

#[inline(always)]
unsafe fn fill_over<S: Simd, const F: u8>(g: &Fill) {
    let (mut y, mut x) = (g.first / g.width, g.first % g.width);
    let dense = !g.tap.is_multiple_of(LANES);
    for row in 0..g.rows {
        let (start, step) = g.grid.row(g.rows, g.depth, row);
        // SAFETY: `a` holds the left side, `line` a row and two vectors more; channels are padded to LANES.
        unsafe {
            let mut to = g.a.add(start);
            if dense {
                // Each tap writes its padding too, which the next one overwrites.
                for tap in 0..g.kernel * g.kernel {
                    let at = g.at(tap, y, x);
                    let line = g.line.add(tap * g.tap);
                    let mut q = 0;
                    while q < LANES {
                        let v = match at {
                            Some(pixel) => g.lead.sample::<S, F>(pixel, q),
                            None => S::zero(),
                        };
                        S::store(line.add(q), v);
                        q += S::W;
                    }
                }
                let mut q = 0;
                while q < LANES {
                    S::store(g.line.add(g.kernel * g.kernel * g.tap + q), S::zero());
                    q += S::W;
                }
                let mut k = 0;
                while k < g.depth {
                    S::store(to, S::load(g.line.add(k)));
                    to = to.add(step);
                    k += S::W;
                }
            } else {
                let (mut tap, mut c, mut left) = (g.from / g.tap, g.from % g.tap, g.depth);
                while left > 0 {
                    let run = left.min(g.tap - c);
                    let end = c + run;
                    if let Some(pixel) = g.at(tap, y, x) {
                        while c < end {
                            S::store(to, g.lead.sample::<S, F>(pixel, c));
                            to = to.wrapping_add(step);
                            c += S::W;
                        }
                    } else {
                        while c < end {
                            S::store(to, S::zero());
                            to = to.wrapping_add(step);
                            c += S::W;
                        }
                    }
                    left -= run;
                    (tap, c) = (tap + 1, 0);
                }
            }
        }
        x += 1;
        if x == g.width {
            (y, x) = (y + 1, 0);
        }
    }
}
levels! { unsafe fn fill_copy(g: &Fill) = fill_over<COPY>; }
levels! { unsafe fn fill_plain(g: &Fill) = fill_over<PLAIN>; }
levels! { unsafe fn fill_silu(g: &Fill) = fill_over<SILU>; }
levels! { unsafe fn fill_gelu(g: &Fill) = fill_over<GELU>; }
levels! { unsafe fn fill_leaky(g: &Fill) = fill_over<LEAKY>; }

unsafe fn fill(level: Level, g: &Fill) {
    // SAFETY: the caller's contract.
    unsafe {
        match g.lead.kind {
            COPY => fill_copy(level, g),
            SILU => fill_silu(level, g),
            GELU => fill_gelu(level, g),
            LEAKY => fill_leaky(level, g),
            _ => fill_plain(level, g),
        }
    }
}

/// Finishes columns of some pixels.
struct Finish {
    trail: Trail,
    width: usize,
    first: usize,
    rows: usize,
    column: usize,
    columns: usize,
    c: *const f32,
    ldc: usize,
}

#[inline(always)]
unsafe fn finish_over<S: Simd, const F: u8>(g: &Finish) {
    let (mut y, mut x) = (g.first / g.width, g.first % g.width);
    for row in 0..g.rows {
        let mut spot = g.trail.first(g.column);
        let mut col = 0;
        while col < g.columns {
            // SAFETY: pixels and columns are inside.
            unsafe {
                let v = S::load(g.c.add(row * g.ldc + col));
                g.trail.store::<S, F>(y, x, spot, g.trail.bias::<S>(spot), v);
            }
            spot = g.trail.next(spot, S::W);
            col += S::W;
        }
        x += 1;
        if x == g.width {
            (y, x) = (y + 1, 0);
        }
    }
}
levels! { unsafe fn finish_plain(g: &Finish) = finish_over<PLAIN>; }
levels! { unsafe fn finish_silu(g: &Finish) = finish_over<SILU>; }
levels! { unsafe fn finish_gelu(g: &Finish) = finish_over<GELU>; }
levels! { unsafe fn finish_leaky(g: &Finish) = finish_over<LEAKY>; }

unsafe fn finish(level: Level, g: &Finish) {
    // SAFETY: the caller's contract.
    unsafe {
        match g.trail.kind {
            SILU => finish_silu(level, g),
            GELU => finish_gelu(level, g),
            LEAKY => finish_leaky(level, g),
            _ => finish_plain(level, g),
        }
    }
}

impl Im2col {
    pub(crate) fn new(level: Level, spec: &ConvSpec, weight: &[f32]) -> Result<Self> {
        let area = spec.kernel * spec.kernel;
        let tap = if spec.cin < LANES && area > 1 { spec.cin } else { padded(spec.cin) };
        let mut panels = Panels::new(level, 1, padded(area * tap), spec.columns())?;
        let grid = panels.grid;
        let values = panels.values();
        for column in 0..spec.columns() {
            let Some(channel) = spec.channel(column) else { continue };
            for c in 0..spec.cin {
                for t in 0..area {
                    values[grid.place(t * tap + c, column)] = weight[(channel * spec.cin + c) * area + t];
                }
            }
        }
        Ok(Self { panels, tap })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.panels.bytes()
    }

    /// Values of the left side, of the result and of a row.
    fn parts(&self) -> (usize, usize, usize) {
        let depth = self.panels.grid.depth;
        (ROWS * self.depth(), ROWS * (self.panels.grid.cols + LANES), depth + 2 * LANES)
    }

    /// Depth that is multiplied at a time. Rows that are not whole vectors are made at once; they are short.
    fn depth(&self) -> usize {
        let whole = self.panels.grid.depth;
        if self.tap.is_multiple_of(LANES) { whole.min(DEPTH) } else { whole }
    }

    pub(crate) fn scratch(&self, _n: usize, _h: usize, _w: usize, _threads: usize) -> usize {
        let (a, c, line) = self.parts();
        a + c + line
    }

    /// # Safety
    /// As `Conv::run`, whose shape checks are done.
    pub(crate) unsafe fn run(&self, call: &Call<'_>) -> Result<()> {
        let (h, w) = call.size;
        let grid = self.panels.grid;
        let blocks = (h * w).div_ceil(ROWS);
        // Few pixels: the columns are split too.
        let wanted = 4 * call.cx.pool.threads();
        let groups = wanted.div_ceil((call.src.map.n * blocks).max(1));
        let groups = if wanted == 4 { 1 } else { groups.min(grid.cols / COLUMNS).max(1) };
        let each = grid.panels().div_ceil(groups);
        let groups = grid.panels().div_ceil(each);
        let depth = self.depth();
        let (a_len, c_len, _) = self.parts();
        call.cx.run(call.src.map.n * blocks * groups, &|task, thread| {
            let (block, group) = (task / groups, task % groups);
            let (image, first) = (block / blocks, block % blocks * ROWS);
            let rows = ROWS.min(h * w - first);
            let (from, to) = (group * each, ((group + 1) * each).min(grid.panels()));
            let (column, columns) = (grid.column(from), grid.column(to) - grid.column(from));
            let ldc = columns + LANES;
            let a = call.cx.scratch(thread);
            let (c, line) = (a.wrapping_add(a_len), a.wrapping_add(a_len + c_len));
            // SAFETY: scratch is as long as `scratch` tells; pixels of the result are written by one task each.
            unsafe {
                let lead = Lead::new(call.src, call.spec.padding.border, image);
                let mut k = 0;
                while k < grid.depth {
                    let depth = depth.min(grid.depth - k);
                    let g = Fill {
                        lead,
                        grid,
                        kernel: call.spec.kernel,
                        stride: call.spec.stride,
                        top: call.spec.padding.top,
                        left: call.spec.padding.left,
                        width: w,
                        tap: self.tap,
                        first,
                        rows,
                        from: k,
                        depth,
                        a,
                        line,
                    };
                    fill(call.level, &g);
                    let b = self.panels.plane(0);
                    let product = Product {
                        grid,
                        b,
                        from: k,
                        depth,
                        first: from,
                        last: to,
                        a,
                        rows,
                        c,
                        ldc,
                        fresh: k == 0,
                    };
                    multiply(call.level, &product);
                    k += depth;
                }
                let trail = Trail::new(call.post, call.y, call.spec.shuffle, call.bias.get(), image);
                finish(call.level, &Finish { trail, width: w, first, rows, column, columns, c, ldc });
            }
        })
    }
}
