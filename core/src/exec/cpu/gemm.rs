//! Matrix products of blocks: the right side packed once into panels, the left side in blocks of rows.
//!
//! `C = A * B` with `A` of `rows` x `depth`, `B` of `depth` x `cols`, both `depth` and `cols` multiples of [`LANES`].
//! - `B` ([`Panels`]): panels of `nr` vectors of columns, each `[k][nr * W]`, the last one narrower.
//! - `A`: panels of `mr` rows, each `[k / W][row][W]`, so that every factor is read at a constant offset; the last
//!   panel holds only [`Panels::rows`]`(rows) - full` rows. [`Panels::row`] tells where a row begins. What lies in
//!   the rows that round up is multiplied too and lands in rows of `C` that nobody reads.
//! - `C`: row-major with `ldc` values from one row to the next, `Panels::rows(rows)` rows writable.
//!
//! For a matrix known only at run time (keys and values of attention), make the panels once per size with
//! [`Panels::new`] and write them with [`Panels::place`] before each product, or lay them out in scratch with a
//! [`Grid`] alone and call [`multiply`].
//!
//! Every value of `C` is one chain of multiply-adds over `k` in order, whatever the blocks: results do not depend
//! on how rows, columns or `depth` are split.

#![allow(unsafe_code, reason = "vector kernels over raw memory")]
#![allow(
    clippy::needless_range_loop,
    reason = "register blocks are unrolled by their numbers; iterators hide that"
)]

use crate::error::{Error, Result};
use crate::exec::cpu::map::{Buffer, LANES};
use crate::exec::cpu::simd::{Level, Simd, levels};

/// How the columns of a right side lie in panels, and which register block multiplies them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    level: Level,
    /// Rows of the right side.
    pub(crate) depth: usize,
    /// Columns, a multiple of [`LANES`].
    pub(crate) cols: usize,
    /// Rows of a register block.
    pub(crate) mr: usize,
    /// Columns of a panel.
    wide: usize,
}

impl Grid {
    /// Panels for `depth` x `cols`.
    pub(crate) fn new(level: Level, depth: usize, cols: usize) -> Self {
        let vectors = cols / level.width();
        // 24 accumulators of 32 registers, 12 of 16; plain Rust has 16 registers of half a vector.
        let (mr, nr) = match level {
            Level::Avx512 if vectors.is_multiple_of(3) || vectors == 5 => (8, 3),
            Level::Avx512 => (12, 2),
            Level::Avx2 => (6, 2),
            Level::Portable => (6, 1),
        };
        Self { level, depth, cols, mr, wide: nr * level.width() }
    }

    /// Number of panels.
    pub(crate) fn panels(&self) -> usize {
        self.cols.div_ceil(self.wide)
    }

    /// First column of a panel; [`Grid::cols`] after the last.
    pub(crate) fn column(&self, panel: usize) -> usize {
        (panel * self.wide).min(self.cols)
    }

    /// Values of the whole right side.
    pub(crate) fn len(&self) -> usize {
        self.depth * self.cols
    }

    /// Where the value of row `k` and column `col` lies.
    pub(crate) fn place(&self, k: usize, col: usize) -> usize {
        let first = col / self.wide * self.wide;
        let width = self.wide.min(self.cols - first);
        first * self.depth + k * width + (col - first)
    }

    /// Rows of the left side and of the result that are touched for `rows` wanted ones.
    pub(crate) fn rows(&self, rows: usize) -> usize {
        rows.next_multiple_of(tail(self.level.width()))
    }

    /// Where a row of the left side begins, and the distance from one of its vectors to the next.
    pub(crate) fn row(&self, rows: usize, depth: usize, row: usize) -> (usize, usize) {
        let w = self.level.width();
        let first = row / self.mr * self.mr;
        let held = self.mr.min(self.rows(rows) - first);
        (first * depth + (row - first) * w, held * w)
    }
}

/// Rows that the last panel of the left side is rounded to.
const fn tail(width: usize) -> usize {
    if width == 16 { 4 } else { 2 }
}

/// Right sides of one size, packed.
pub(crate) struct Panels {
    pub(crate) grid: Grid,
    data: Buffer,
}

impl Panels {
    /// `planes` right sides of `depth` x `cols`, all zero.
    pub(crate) fn new(level: Level, planes: usize, depth: usize, cols: usize) -> Result<Self> {
        let grid = Grid::new(level, depth, cols);
        let data = planes.checked_mul(grid.len()).and_then(Buffer::zeroed);
        let data = data.ok_or_else(|| Error::limit("no memory for the packed weights of a convolution"))?;
        Ok(Self { grid, data })
    }

    /// All planes, one after the other; values lie as [`Grid::place`] says.
    pub(crate) fn values(&mut self) -> &mut [f32] {
        self.data.as_mut_slice()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }

    /// A plane.
    pub(crate) fn plane(&self, plane: usize) -> *const f32 {
        self.data.start().wrapping_add(plane * self.grid.len())
    }
}

/// One product: rows `from..from + depth` of the right side against a left side of that depth.
pub(crate) struct Product {
    pub(crate) grid: Grid,
    /// Packed right side.
    pub(crate) b: *const f32,
    /// First row of the right side that takes part.
    pub(crate) from: usize,
    /// Columns of the left side, a multiple of [`LANES`].
    pub(crate) depth: usize,
    /// Panels `first..last` of the right side take part.
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Packed left side.
    pub(crate) a: *const f32,
    pub(crate) rows: usize,
    /// Where the first row meets the first column of panel `first`.
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// True where the result begins at zero, false where it goes on from what `c` holds.
    pub(crate) fresh: bool,
}

/// Asks the machine to have a cache line near soon.
#[inline(always)]
fn prefetch(p: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; any address will do.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(p.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}

/// `MR` rows times `NR` vectors over `blocks` vectors of depth.
///
/// # Safety
/// As [`multiply`] for one panel of each side.
#[inline(always)]
unsafe fn block_over<S: Simd, const MR: usize, const NR: usize>(
    blocks: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    ldc: usize,
    fresh: bool,
    next: *const f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[S::zero(); NR]; MR];
        if !fresh {
            for i in 0..MR {
                for j in 0..NR {
                    acc[i][j] = S::load(c.add(i * ldc + j * S::W));
                }
            }
        }
        let (mut a, mut b, mut next) = (a, b, next);
        for _ in 0..blocks {
            for k in 0..S::W {
                let mut right = [S::zero(); NR];
                for j in 0..NR {
                    right[j] = S::load(b.add(j * S::W));
                }
                b = b.add(NR * S::W);
                for i in 0..MR {
                    let left = S::splat(*a.add(i * S::W + k));
                    for j in 0..NR {
                        acc[i][j] = S::fma(left, right[j], acc[i][j]);
                    }
                }
                if k % (LANES / S::W) == 0 {
                    for j in 0..NR {
                        prefetch(next.wrapping_add(j * LANES));
                    }
                    next = next.wrapping_add(NR * LANES);
                }
            }
            a = a.add(MR * S::W);
        }
        for i in 0..MR {
            for j in 0..NR {
                S::store(c.add(i * ldc + j * S::W), acc[i][j]);
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply_over<S: Simd>(g: &Product) {
    let blocks = g.depth / S::W;
    let end = g.grid.rows(g.rows);
    let origin = g.grid.column(g.first);
    for panel in g.first..g.last {
        let col = g.grid.column(panel);
        let width = g.grid.column(panel + 1) - col;
        let b = g.b.wrapping_add(col * g.grid.depth + g.from * width);
        // The next panel of the same rows; after the last one whatever follows.
        let after = g.b.wrapping_add((col + width) * g.grid.depth + g.from * width);
        let mut row = 0;
        while row < end {
            let held = g.grid.mr.min(end - row);
            let next = if row == 0 { after } else { b };
            // SAFETY: inside the matrices that the caller vouches for.
            unsafe {
                let a = g.a.add(row * g.depth);
                let c = g.c.add(row * g.ldc + col - origin);
                macro_rules! block {
                    ($mr:literal, $nr:literal) => {
                        block_over::<S, $mr, $nr>(blocks, a, b, c, g.ldc, g.fresh, next)
                    };
                }
                if S::W == 16 {
                    match (held, width / S::W) {
                        (12, 2) => block!(12, 2),
                        (12, _) => block!(12, 1),
                        (8, 3) => block!(8, 3),
                        (8, 2) => block!(8, 2),
                        (8, _) => block!(8, 1),
                        (_, 3) => block!(4, 3),
                        (_, 2) => block!(4, 2),
                        _ => block!(4, 1),
                    }
                } else {
                    match (held, width / S::W) {
                        (6, 2) => block!(6, 2),
                        (6, _) => block!(6, 1),
                        (4, 2) => block!(4, 2),
                        (4, _) => block!(4, 1),
                        (_, 2) => block!(2, 2),
                        _ => block!(2, 1),
                    }
                }
            }
            row += held;
        }
    }
}

levels! {
    /// # Safety
    /// The product's matrices lie in live memory as the module describes; the level is that of the grid.
    pub(crate) unsafe fn multiply(product: &Product) = multiply_over;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_plain_loops() {
        for level in Level::available() {
            for (rows, depth, cols) in [(1, 16, 16), (7, 32, 48), (30, 48, 32), (13, 16, 80), (24, 64, 112)] {
                let a: Vec<f32> = (0..rows * depth).map(|i| (i * 7 % 23) as f32 - 11.0).collect();
                let b: Vec<f32> = (0..depth * cols).map(|i| (i * 5 % 19) as f32 - 9.0).collect();
                let mut panels = Panels::new(level, 1, depth, cols).unwrap();
                let grid = panels.grid;
                for k in 0..depth {
                    for col in 0..cols {
                        panels.values()[grid.place(k, col)] = b[k * cols + col];
                    }
                }
                let mut left = Buffer::zeroed(grid.rows(rows) * depth).unwrap();
                // In two halves of the depth where that is possible, so that `fresh` is seen at work.
                let parts = if depth % 32 == 0 { 2 } else { 1 };
                let part = depth / parts;
                let mut c = Buffer::zeroed(grid.rows(rows) * cols).unwrap();
                c.as_mut_slice().fill(f32::NAN);
                for p in 0..parts {
                    for r in 0..rows {
                        let (start, step) = grid.row(rows, part, r);
                        let w = level.width();
                        for k in 0..part {
                            left.as_mut_slice()[start + k / w * step + k % w] = a[r * depth + p * part + k];
                        }
                    }
                    let product = Product {
                        grid,
                        b: panels.plane(0),
                        from: p * part,
                        depth: part,
                        first: 0,
                        last: grid.panels(),
                        a: left.start(),
                        rows,
                        c: c.start(),
                        ldc: cols,
                        fresh: p == 0,
                    };
                    // SAFETY: buffers of the sizes that the module asks for.
                    unsafe { multiply(level, &product) };
                }
                for r in 0..rows {
                    for col in 0..cols {
                        let wanted: f32 = (0..depth).map(|k| a[r * depth + k] * b[k * cols + col]).sum();
                        assert_eq!(c.as_slice()[r * cols + col], wanted, "{level} {rows} {depth} {cols}");
                    }
                }
            }
        }
    }
}
