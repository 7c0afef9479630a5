//! Tiles out of and into whole-picture maps.

use crate::pixels::canvas::Canvas;
use crate::tiles::Rect;

/// Copies the rectangle of every plane to `out`, row-major `[C, rect.h, rect.w]`.
pub(super) fn gather(map: &Canvas, rect: Rect, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(rect.w).enumerate() {
        let (c, y) = (row / rect.h, rect.y + row % rect.h);
        out.copy_from_slice(&map.row(c, y)[rect.x..][..rect.w]);
    }
}

/// Adds `tile * wy * wx` at the rectangle. The weights of all tiles over a cell sum to one.
pub(super) fn add(map: &mut Canvas, tile: &[f32], rect: Rect, wy: &[f32], wx: &[f32]) {
    for (row, values) in tile.chunks_exact(rect.w).enumerate() {
        let (c, y) = (row / rect.h, row % rect.h);
        if wy[y] == 0.0 {
            continue;
        }
        let cells = &mut map.row_mut(c, rect.y + y)[rect.x..][..rect.w];
        for ((cell, value), wx) in cells.iter_mut().zip(values).zip(wx) {
            *cell += value * (wy[y] * wx);
        }
    }
}
