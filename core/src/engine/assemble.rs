//! Puts tiles together: across first, then downwards, so that the sum of a cell does not depend on the order of tiles.
//!
//! At most two tiles count at a cell along either side, and a sum of two does not know which came first. Rows are
//! handed on as soon as no later tile counts in them, so that a large picture is never there as a whole.

use crate::error::{Error, Result};
use crate::pixels::canvas::Canvas;
use crate::tiles::{Tile, TileGrid};

/// Rows of a picture that are finished.
pub(super) struct Rows<'a> {
    data: &'a [f32],
    /// Values from one plane to the next, and of a row.
    plane: usize,
    width: usize,
    /// First row, counted in the picture, and number of rows.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Rows<'_> {
    /// Row `y` of these, as wide as the grid.
    pub(super) fn row(&self, channel: usize, y: usize) -> &[f32] {
        &self.data[channel * self.plane + y * self.width..][..self.width]
    }
}

/// One row of tiles, summed across.
#[derive(Default)]
struct Strip {
    canvas: Canvas,
    missing: usize,
}

/// Takes the tiles of one grid, each once, in any order. Its memory serves grid after grid.
#[derive(Default)]
pub(super) struct Assembler {
    strips: Vec<Option<Strip>>,
    spare: Vec<Canvas>,
    /// Sum downwards over the cells of the last row of tiles that was handed on.
    sum: Canvas,
    next: usize,
    channels: usize,
}

impl Assembler {
    /// Begins with maps of `channels` planes over `grid`.
    pub(super) fn begin(&mut self, grid: &TileGrid, channels: usize) {
        let left = self.strips.drain(..).flatten().map(|strip| strip.canvas);
        self.spare.extend(left);
        self.strips.resize_with(grid.counts().0, || None);
        (self.next, self.channels) = (0, channels);
    }

    /// Takes `values`, `[C, h, w]`, of `tile`; hands on what became ready.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had; those of `take`.
    pub(super) fn add(
        &mut self,
        grid: &TileGrid,
        tile: &Tile,
        values: &[f32],
        take: &mut impl FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let (h, w) = grid.tile_shape();
        if grid.len() == 1 {
            return take(&Rows { data: values, plane: h * w, width: w, first: 0, count: h });
        }
        let (_, width) = grid.picture_shape();
        let (_, columns) = grid.counts();
        let slot = self.strips.get_mut(tile.row).ok_or_else(|| Error::internal("a tile of another grid"))?;
        if slot.is_none() {
            let mut canvas = self.spare.pop().unwrap_or_default();
            canvas.reset(self.channels, width, h)?;
            *slot = Some(Strip { canvas, missing: columns });
        }
        if let Some(strip) = slot {
            let (_, weights) = grid.weights(tile);
            add_across(&mut strip.canvas, values, tile.rect.x, weights);
            strip.missing = strip.missing.saturating_sub(1);
        }
        while let Some(strip) = self.strips.get_mut(self.next).and_then(|s| s.take_if(|s| s.missing == 0)) {
            self.down(grid, &strip.canvas, take)?;
            self.spare.push(strip.canvas);
            self.next += 1;
        }
        Ok(())
    }

    /// Adds a finished row of tiles to the sum and hands on the rows that only it and earlier ones count in.
    fn down(
        &mut self,
        grid: &TileGrid,
        strip: &Canvas,
        take: &mut impl FnMut(&Rows<'_>) -> Result<()>,
    ) -> Result<()> {
        let (rows, columns) = grid.counts();
        let (h, width) = (grid.tile_shape().0, grid.picture_shape().1);
        let tile =
            |row: usize| grid.tile(row * columns).ok_or_else(|| Error::internal("a row beyond the grid"));
        let this = tile(self.next)?;
        if self.next == 0 {
            self.sum.reset(self.channels, width, h)?;
        } else {
            self.shift(this.rect.y - tile(self.next - 1)?.rect.y);
        }
        let (weights, _) = grid.weights(&this);
        for c in 0..self.channels {
            for (y, weight) in weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                let sum = self.sum.row_mut(c, y);
                sum.iter_mut().zip(strip.row(c, y)).for_each(|(s, v)| *s += v * weight);
            }
        }
        let count = if self.next + 1 < rows { tile(self.next + 1)?.rect.y - this.rect.y } else { h };
        let rows = Rows { data: self.sum.data(), plane: h * width, width, first: this.rect.y, count };
        take(&rows)
    }

    /// Moves the sum up by `n` rows; zeros come in from below.
    fn shift(&mut self, n: usize) {
        let (width, h) = (self.sum.width(), self.sum.height());
        for c in 0..self.sum.channels() {
            let plane = self.sum.plane_mut(c);
            plane.copy_within(n.min(h) * width.., 0);
            plane[(h - n.min(h)) * width..].fill(0.0);
        }
    }
}

/// Adds `values` times the weights of its columns at column `x`.
fn add_across(map: &mut Canvas, values: &[f32], x: usize, weights: &[f32]) {
    let (h, w) = (map.height(), weights.len());
    for (row, values) in values.chunks_exact(w).enumerate() {
        let cells = &mut map.row_mut(row / h, row % h)[x..][..w];
        for ((cell, value), weight) in cells.iter_mut().zip(values).zip(weights) {
            *cell += value * weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::regions::gather;
    use crate::tiles::Order;

    fn assembled(assembler: &mut Assembler, grid: &TileGrid, map: &Canvas, order: Order) -> Canvas {
        let (h, w) = grid.picture_shape();
        let mut out = Canvas::new(map.channels(), w, h).unwrap();
        let mut next = 0;
        assembler.begin(grid, map.channels());
        for tile in grid.tiles(order) {
            let mut values = vec![0.0; map.channels() * tile.rect.cells()];
            gather(map, tile.rect, &mut values);
            // Tiles disagree a little, as the network's do.
            values.iter_mut().for_each(|v| *v += 0.01 * (tile.row * 7 + tile.column) as f32);
            let mut take = |rows: &Rows<'_>| {
                assert_eq!(rows.first, next, "in order, without gaps");
                next += rows.count;
                for c in 0..map.channels() {
                    for y in 0..rows.count {
                        out.row_mut(c, rows.first + y).copy_from_slice(rows.row(c, y));
                    }
                }
                Ok(())
            };
            assembler.add(grid, &tile, &values, &mut take).unwrap();
        }
        assert_eq!(next, h, "every row is handed on");
        out
    }

    #[test]
    fn the_order_of_tiles_does_not_matter_to_the_bit() {
        let mut assembler = Assembler::default();
        for ((h, w), tile) in [((32, 32), 32), ((96, 160), 64), ((160, 96), 48), ((128, 128), 32)] {
            let values = (0..2 * h * w).map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0).collect();
            let map = Canvas::from_data(2, w, h, values).unwrap();
            let grid = TileGrid::new((h, w), (tile.min(h), tile.min(w)), 16, 8, 16).unwrap();
            let first = assembled(&mut assembler, &grid, &map, Order::Rows);
            for order in [Order::Columns, Order::Backwards, Order::Shuffled(1), Order::Shuffled(9)] {
                assert_eq!(assembled(&mut assembler, &grid, &map, order), first, "{order:?}");
            }
            let off = first.data().iter().zip(map.data()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(off < 0.5, "a mean of what the tiles say: {off}");
        }
    }
}
