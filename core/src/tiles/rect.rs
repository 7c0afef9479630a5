//! Rectangles of cells.

/// A rectangle of cells: row and column of its first cell, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// First row.
    pub y: usize,
    /// First column.
    pub x: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Rect {
    /// A rectangle by its first cell and size.
    pub fn new(y: usize, x: usize, h: usize, w: usize) -> Self {
        Self { y, x, h, w }
    }

    /// Cells in it.
    pub fn cells(&self) -> usize {
        self.h * self.w
    }

    /// The same place where each cell is `n` by `n` finer cells.
    #[must_use]
    pub fn scale(&self, n: usize) -> Self {
        Self { y: self.y * n, x: self.x * n, h: self.h * n, w: self.w * n }
    }

    /// Grown by `halo` on every side, as far as a picture of `h` by `w` reaches.
    #[must_use]
    pub fn grow(&self, halo: usize, h: usize, w: usize) -> Self {
        let (y, x) = (self.y.saturating_sub(halo), self.x.saturating_sub(halo));
        let (bottom, right) = ((self.y + self.h + halo).min(h), (self.x + self.w + halo).min(w));
        Self { y, x, h: bottom.saturating_sub(y), w: right.saturating_sub(x) }
    }

    /// Whether the two have a cell in common.
    pub fn meets(&self, other: &Self) -> bool {
        let apart = |a: usize, la: usize, b: usize, lb: usize| a + la <= b || b + lb <= a;
        !apart(self.y, self.h, other.y, other.h) && !apart(self.x, self.w, other.x, other.w)
    }

    /// Whether the cell lies in it.
    pub fn contains(&self, y: usize, x: usize) -> bool {
        (self.y..self.y + self.h).contains(&y) && (self.x..self.x + self.w).contains(&x)
    }
}

#[cfg(test)]
mod tests {
    use super::Rect;

    #[test]
    fn growth_ends_at_the_picture() {
        let r = Rect::new(2, 0, 3, 4);
        assert_eq!(r.grow(4, 100, 6), Rect::new(0, 0, 9, 6));
        assert_eq!(r.scale(4), Rect::new(8, 0, 12, 16));
        assert_eq!(r.cells(), 12);
        assert!(r.meets(&Rect::new(4, 3, 1, 1)) && !r.meets(&Rect::new(5, 0, 2, 9)));
        assert!(!r.meets(&Rect::new(0, 4, 9, 1)));
        assert!(r.contains(4, 3) && !r.contains(5, 3) && !r.contains(1, 0));
    }
}
