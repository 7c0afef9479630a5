//! A grid of equal tiles over a picture.

use crate::error::{Error, Result};
use crate::tiles::feather::side_weights;
use crate::tiles::order::Order;
use crate::tiles::rect::Rect;

/// Largest side of a picture, in cells.
const MAX_SIDE: usize = 1 << 24;

/// One tile of a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Where it lies.
    pub rect: Rect,
    /// Its row of tiles.
    pub row: usize,
    /// Its column of tiles.
    pub column: usize,
}

/// Tiles of one shape that cover a picture. Their origins and shape are multiples of the lattice, and the
/// last ones end with the picture. Along each side the tiles are as even as the lattice lets them be.
#[derive(Clone, Debug, PartialEq)]
pub struct TileGrid {
    rows: Side,
    columns: Side,
    ramp: usize,
}

/// The tiles along one side.
#[derive(Clone, Debug, PartialEq)]
struct Side {
    length: usize,
    tile: usize,
    origins: Vec<usize>,
    weights: Vec<Vec<f32>>,
}

impl TileGrid {
    /// Covers `len_h` by `len_w` cells with tiles of at most `tile_h` by `tile_w` that share at least
    /// `overlap` cells (rounded up to the lattice), of which the middle `ramp` blend.
    /// A side no longer than its tile gets one tile of its own length.
    ///
    /// # Errors
    /// `Internal` where a length or tile is no positive multiple of the lattice or a tile does not reach
    /// beyond the overlap: callers pad pictures and choose tiles so that this cannot be.
    pub fn new(
        (len_h, len_w): (usize, usize),
        (tile_h, tile_w): (usize, usize),
        overlap: usize,
        ramp: usize,
        lattice: usize,
    ) -> Result<Self> {
        let rows = Side::new(len_h, tile_h, overlap, ramp, lattice)?;
        let columns = Side::new(len_w, tile_w, overlap, ramp, lattice)?;
        Ok(Self { rows, columns, ramp })
    }

    /// Number of tiles.
    pub fn len(&self) -> usize {
        self.rows.origins.len() * self.columns.origins.len()
    }

    /// Never: a grid has a tile.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of every tile, rows and columns of cells.
    pub fn tile_shape(&self) -> (usize, usize) {
        (self.rows.tile, self.columns.tile)
    }

    /// Shape of the picture.
    pub fn picture_shape(&self) -> (usize, usize) {
        (self.rows.length, self.columns.length)
    }

    /// Rows and columns of tiles.
    pub fn counts(&self) -> (usize, usize) {
        (self.rows.origins.len(), self.columns.origins.len())
    }

    /// The tile at a row-major index.
    pub fn tile(&self, index: usize) -> Option<Tile> {
        let columns = self.columns.origins.len();
        let (row, column) = (index.checked_div(columns)?, index.checked_rem(columns)?);
        let (&y, &x) = (self.rows.origins.get(row)?, self.columns.origins.get(column)?);
        Some(Tile { rect: Rect::new(y, x, self.rows.tile, self.columns.tile), row, column })
    }

    /// All tiles in an order.
    pub fn tiles(&self, order: Order) -> impl Iterator<Item = Tile> + '_ {
        let (rows, columns) = self.counts();
        order.indices(rows, columns).into_iter().filter_map(|i| self.tile(i))
    }

    /// Weights of a tile's rows and of its columns; a cell counts their product. Over all tiles the
    /// products sum to 1 at every cell.
    pub fn weights(&self, tile: &Tile) -> (&[f32], &[f32]) {
        (
            self.rows.weights.get(tile.row).map_or(&[], Vec::as_slice),
            self.columns.weights.get(tile.column).map_or(&[], Vec::as_slice),
        )
    }

    /// The part of a tile in which it counts; the rest of it is context.
    pub fn counted(&self, tile: &Tile) -> Rect {
        let (rows, columns) = self.weights(tile);
        let part = |weights: &[f32]| {
            let first = weights.iter().position(|w| *w != 0.0).unwrap_or(0);
            let end = weights.iter().rposition(|w| *w != 0.0).map_or(first, |last| last + 1);
            (first, end - first)
        };
        let ((y, h), (x, w)) = (part(rows), part(columns));
        Rect::new(tile.rect.y + y, tile.rect.x + x, h, w)
    }

    /// The same grid where each cell is `n` by `n` finer cells, the ramp scaled with it.
    #[must_use]
    pub fn scale(&self, n: usize) -> Self {
        let n = n.max(1);
        let ramp = self.ramp * n;
        Self { rows: self.rows.scale(n, ramp), columns: self.columns.scale(n, ramp), ramp }
    }

    /// Cells worked on over cells of the picture: what overlaps cost.
    pub fn work_factor(&self) -> f64 {
        let cells = |side: &Side| (side.origins.len() * side.tile) as f64 / side.length as f64;
        cells(&self.rows) * cells(&self.columns)
    }
}

impl Side {
    fn new(length: usize, tile: usize, overlap: usize, ramp: usize, lattice: usize) -> Result<Self> {
        let on_lattice = |v: usize| v > 0 && v <= MAX_SIDE && v.checked_rem(lattice) == Some(0);
        let overlap = overlap.checked_next_multiple_of(lattice).unwrap_or(usize::MAX);
        if !on_lattice(length) || !on_lattice(tile) || (length > tile && overlap >= tile) {
            return Err(Error::internal(format!(
                "no tiles of {tile} with overlap {overlap} over {length} cells on a lattice of {lattice}"
            )));
        }
        if length <= tile {
            let origins = vec![0];
            let weights = side_weights(&origins, length, 0);
            return Ok(Self { length, tile: length, origins, weights });
        }
        // In units of the lattice. The smallest count that covers, then the smallest tile for that count:
        // tiles come out even, and n·tile >= length + (n-1)·overlap keeps every overlap at least as asked.
        let (length_u, tile_u, overlap_u) = (length / lattice, tile / lattice, overlap / lattice);
        let count = (length_u - overlap_u).div_ceil(tile_u - overlap_u);
        let tile_u = (length_u + (count - 1) * overlap_u).div_ceil(count);
        let origins: Vec<_> = (0..count).map(|i| i * (length_u - tile_u) / (count - 1) * lattice).collect();
        let tile = tile_u * lattice;
        let weights = side_weights(&origins, tile, ramp);
        Ok(Self { length, tile, origins, weights })
    }

    fn scale(&self, n: usize, ramp: usize) -> Self {
        let origins: Vec<_> = self.origins.iter().map(|o| o * n).collect();
        let weights = side_weights(&origins, self.tile * n, ramp);
        Self { length: self.length * n, tile: self.tile * n, origins, weights }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_picture_gets_one_tile_of_its_shape() {
        let g = TileGrid::new((64, 32), (256, 256), 32, 16, 32).unwrap();
        assert_eq!((g.len(), g.tile_shape()), (1, (64, 32)));
        assert_eq!(g.work_factor(), 1.0);
        let t = g.tile(0).unwrap();
        let (rows, columns) = g.weights(&t);
        assert!(rows.len() == 64 && columns.len() == 32 && rows.iter().chain(columns).all(|&w| w == 1.0));
        assert!(g.tile(1).is_none());
    }

    #[test]
    fn tiles_are_even() {
        // 480 with tiles of at most 256 and 32 shared: two of 256 end to end, not 256 and a rest.
        let g = TileGrid::new((288, 480), (256, 256), 32, 16, 32).unwrap();
        assert_eq!((g.counts(), g.tile_shape()), ((2, 2), (160, 256)));
        let rects: Vec<_> = g.tiles(Order::Rows).map(|t| (t.rect.y, t.rect.x)).collect();
        assert_eq!(rects, [(0, 0), (0, 224), (128, 0), (128, 224)]);
        let fine = g.scale(4);
        assert_eq!(fine.tile(3).unwrap().rect, g.tile(3).unwrap().rect.scale(4));
        assert_eq!(fine.picture_shape(), (1152, 1920));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (len, tile, overlap, lattice) in [
            (0, 32, 0, 32),
            (33, 32, 0, 32),
            (64, 33, 0, 32),
            (64, 32, 32, 32),
            (64, 32, 1, 32),
            (64, 32, 0, 0),
        ] {
            assert!(
                TileGrid::new((len, 64), (tile, 64), overlap, 0, lattice).is_err(),
                "{len} {tile} {overlap}"
            );
        }
        assert!(TileGrid::new((usize::MAX, 1), (1, 1), 0, 0, 1).is_err());
    }

    proptest! {
        #[test]
        fn every_cell_is_covered_and_weights_sum_to_one(
            lattice in 1usize..9, length in 1usize..90, tile in 1usize..30, overlap in 0usize..60,
            ramp in 0usize..40, n in 1usize..4,
        ) {
            let (length, tile) = (length * lattice, tile * lattice);
            prop_assume!(length <= tile || overlap.next_multiple_of(lattice) < tile);
            let grid = TileGrid::new((length, lattice), (tile, lattice), overlap.min(tile), ramp, lattice);
            // The other side is one lattice unit long, so its overlap does not matter.
            let grid = grid.unwrap().scale(n);
            let (h, _) = grid.tile_shape();
            let mut sums = vec![0.0f64; length * n];
            let mut last_end = 0;
            for t in grid.tiles(Order::Rows) {
                prop_assert_eq!(t.rect.y % (lattice * n), 0);
                prop_assert_eq!(h % (lattice * n), 0);
                prop_assert!(t.rect.y + h <= length * n);
                if t.row > 0 {
                    prop_assert!(last_end >= t.rect.y + overlap.next_multiple_of(lattice) * n, "overlap kept");
                }
                last_end = t.rect.y + h;
                let (rows, columns) = grid.weights(&t);
                prop_assert_eq!(rows.len(), h);
                prop_assert!(columns.iter().all(|&w| w == 1.0));
                for (s, &w) in sums[t.rect.y..].iter_mut().zip(rows) {
                    prop_assert!((0.0..=1.0).contains(&w));
                    *s += f64::from(w);
                }
            }
            prop_assert_eq!(last_end, length * n);
            prop_assert!(h <= tile * n);
            for s in sums {
                prop_assert!((s - 1.0).abs() < 1e-6, "sum {s}");
            }
        }
    }
}
