//! How large tiles may be for a number of cells that memory allows.

/// Sides of a tile over a picture of `h` by `w` cells that holds at most `max_cells`, in multiples of
/// `lattice`: the whole picture (padded to the lattice) where it fits, else as near to a square as the
/// picture lets it be. Never less than one lattice unit, whatever `max_cells` says.
pub fn choose_tile(h: usize, w: usize, max_cells: usize, lattice: usize) -> (usize, usize) {
    let unit = lattice.max(1);
    let units = |cells: usize| cells.max(1).div_ceil(unit);
    let (h, w) = (units(h), units(w));
    // Whole lattice squares that fit; both sides are counted in them from here.
    let budget = (max_cells / unit / unit).max(1);
    if h.checked_mul(w).is_some_and(|all| all <= budget) {
        return (h * unit, w * unit);
    }
    let side = budget.isqrt();
    let (tile_h, tile_w) = if h <= w {
        let tile_h = h.min(side);
        (tile_h, w.min(budget / tile_h))
    } else {
        let tile_w = w.min(side);
        (h.min(budget / tile_w), tile_w)
    };
    (tile_h * unit, tile_w * unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::choose_tile;

    #[test]
    fn whole_where_it_fits_and_square_where_not() {
        assert_eq!(choose_tile(270, 480, 1 << 20, 32), (288, 480));
        assert_eq!(choose_tile(1080, 1920, 256 * 256, 32), (256, 256));
        assert_eq!(choose_tile(64, 4000, 256 * 256, 32), (64, 1024));
        assert_eq!(choose_tile(4000, 64, 256 * 256, 32), (1024, 64));
        assert_eq!(choose_tile(500, 500, 0, 32), (32, 32));
    }

    proptest! {
        #[test]
        fn a_tile_fits_the_budget(h in 0usize..5000, w in 0usize..5000, max in 0usize..2_000_000, lattice in 1usize..65) {
            let (th, tw) = choose_tile(h, w, max, lattice);
            prop_assert!(th > 0 && tw > 0 && th % lattice == 0 && tw % lattice == 0);
            prop_assert!(th * tw <= max.max(lattice * lattice));
            prop_assert!(th < h.max(1) + lattice && tw < w.max(1) + lattice);
        }
    }
}
