//! Weights of tiles along one side: 1 inside, a ramp in the middle of an overlap, 0 beyond it.

/// Weights of every tile along one side, normalised so that they sum to 1 at every cell.
///
/// `origins` rise, tiles are `tile` long and cover the side. In an overlap the outer part counts nothing
/// (there a tile lacks context), the middle `ramp` cells blend linearly, and both tiles mirror each other;
/// at the borders of the picture a tile counts fully.
pub(super) fn side_weights(origins: &[usize], tile: usize, ramp: usize) -> Vec<Vec<f32>> {
    let raw: Vec<Vec<f64>> = (0..origins.len()).map(|i| raw_weights(origins, i, tile, ramp)).collect();
    let length = origins.last().map_or(0, |o| o + tile);
    let mut sums = vec![0.0; length];
    for (&origin, weights) in origins.iter().zip(&raw) {
        for (sum, w) in sums.iter_mut().skip(origin).zip(weights) {
            *sum += w;
        }
    }
    origins
        .iter()
        .zip(raw)
        .map(|(&origin, weights)| {
            weights.iter().zip(sums.iter().skip(origin)).map(|(w, sum)| (w / sum) as f32).collect()
        })
        .collect()
}

fn raw_weights(origins: &[usize], i: usize, tile: usize, ramp: usize) -> Vec<f64> {
    let shared = |a: usize, b: usize| (origins[a] + tile).saturating_sub(origins[b]);
    let mut weights = vec![1.0; tile];
    if i > 0 {
        // Cells before the ramp of an overlap with an odd rest go to the earlier tile.
        let overlap = shared(i - 1, i);
        let ramp = ramp.min(overlap);
        let zero = (overlap - ramp).div_ceil(2);
        for (k, w) in weights.iter_mut().enumerate() {
            *w *= rise(k, zero, ramp);
        }
    }
    if i + 1 < origins.len() {
        let overlap = shared(i, i + 1);
        let ramp = ramp.min(overlap);
        let zero = (overlap - ramp) / 2;
        for (k, w) in weights.iter_mut().rev().enumerate() {
            *w *= rise(k, zero, ramp);
        }
    }
    weights
}

/// 0 for `zero` cells, then the middles of `ramp` equal steps, then 1.
fn rise(k: usize, zero: usize, ramp: usize) -> f64 {
    if k < zero {
        0.0
    } else if k < zero + ramp {
        ((k - zero) as f64 + 0.5) / ramp as f64
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::side_weights;

    #[test]
    fn two_tiles_mirror_each_other() {
        // Cells 4..10 are shared: two of context, a ramp of two, two of context.
        let w = side_weights(&[0, 4], 10, 2);
        assert_eq!(w[0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25, 0.0, 0.0]);
        assert_eq!(w[1], [0.0, 0.0, 0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn an_odd_rest_leaves_no_gap() {
        let w = side_weights(&[0, 3], 6, 0);
        assert_eq!(w[0], [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        assert_eq!(w[1], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn one_tile_counts_fully() {
        assert_eq!(side_weights(&[0], 3, 2), [[1.0, 1.0, 1.0]]);
        assert!(side_weights(&[], 3, 2).is_empty());
    }
}
