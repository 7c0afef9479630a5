//! Orders in which tiles can be worked on; the picture must not depend on which.

/// An order of the tiles of a grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Row by row from the top left.
    #[default]
    Rows,
    /// Column by column.
    Columns,
    /// Row by row from the bottom right.
    Backwards,
    /// Shuffled by a number, the same everywhere.
    Shuffled(u64),
}

impl Order {
    /// Indices (row-major) of `rows` by `columns` tiles in this order, each once.
    pub fn indices(self, rows: usize, columns: usize) -> Vec<usize> {
        let n = rows * columns;
        match self {
            Self::Rows => (0..n).collect(),
            Self::Columns => (0..n).map(|i| (i % rows) * columns + i / rows).collect(),
            Self::Backwards => (0..n).rev().collect(),
            Self::Shuffled(seed) => {
                let mut all: Vec<_> = (0..n).collect();
                let mut state = seed;
                // Fisher-Yates with SplitMix64; its slight bias does not matter here.
                for i in (1..n).rev() {
                    state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                    all.swap(i, ((z ^ (z >> 31)) % (i as u64 + 1)) as usize);
                }
                all
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn each_tile_comes_once() {
        for order in [Order::Rows, Order::Columns, Order::Backwards, Order::Shuffled(7)] {
            for (rows, columns) in [(0, 0), (1, 1), (3, 4), (1, 5), (5, 1)] {
                let mut seen = order.indices(rows, columns);
                assert_eq!(seen.len(), rows * columns);
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..rows * columns), "{order:?}");
            }
        }
        assert_eq!(Order::Columns.indices(2, 3), [0, 3, 1, 4, 2, 5]);
        assert_ne!(Order::Shuffled(1).indices(4, 4), Order::Shuffled(2).indices(4, 4));
    }
}
