//! Tiles out of whole-picture maps.

use crate::pixels::canvas::Canvas;
use crate::tiles::Rect;

/// Copies the rectangle of every plane to `out`, row-major `[C, rect.h, rect.w]`.
pub(super) fn gather(map: &Canvas, rect: Rect, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(rect.w).enumerate() {
        let (c, y) = (row / rect.h, rect.y + row % rect.h);
        out.copy_from_slice(&map.row(c, y)[rect.x..][..rect.w]);
    }
}

/// Whether two maps of one size are equal, bit for bit, inside the rectangle.
pub(super) fn same(a: &Canvas, b: &Canvas, rect: Rect) -> bool {
    (0..a.channels()).all(|c| {
        (rect.y..rect.y + rect.h).all(|y| {
            let (a, b) = (&a.row(c, y)[rect.x..][..rect.w], &b.row(c, y)[rect.x..][..rect.w]);
            a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        })
    })
}
