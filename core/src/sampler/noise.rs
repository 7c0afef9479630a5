//! Noise as a function of place: Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, the same bits on every machine.
//! Only `libm` and exactly rounded operations are used: the host's own logarithm may differ in the last bit.

use std::f32::consts::TAU;

// Constants of the paper, as in Random123's philox.h.
const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for a counter and a key.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k0, mut k1]) = (counter, key);
    for _ in 0..ROUNDS {
        let (p, q) = (u64::from(MULTIPLIER[0]) * u64::from(a), u64::from(MULTIPLIER[1]) * u64::from(c));
        let (high_p, high_q) = ((p >> 32) as u32, (q >> 32) as u32);
        (a, b, c, d) = (high_q ^ b ^ k0, q as u32, high_p ^ d ^ k1, p as u32);
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [a, b, c, d]
}

/// Two normal values from two words. 24 bits each, so that every intermediate is exact in f32 up to the
/// logarithm; the largest magnitude is sqrt(2·24·ln 2) = 5.77.
fn box_muller(a: u32, b: u32) -> [f32; 2] {
    const STEP: f32 = 1.0 / 16_777_216.0;
    let radius = libm::sqrtf(-2.0 * libm::logf(((a >> 8) + 1) as f32 * STEP));
    let (sin, cos) = libm::sincosf(TAU * ((b >> 8) as f32 * STEP));
    [radius * cos, radius * sin]
}

/// Four normal values: cells `4·column4 .. 4·column4 + 4` of a row.
fn block(seed: u64, step: u32, channel: u32, row: u32, column4: u32) -> [f32; 4] {
    let r = philox4x32([column4, row, channel, step], [seed as u32, (seed >> 32) as u32]);
    let ([a, b], [c, d]) = (box_muller(r[0], r[1]), box_muller(r[2], r[3]));
    [a, b, c, d]
}

/// The standard normal value of one cell of a field.
pub fn gaussian(seed: u64, step: u32, channel: u32, y: u32, x: u32) -> f32 {
    block(seed, step, channel, y, x / 4)[(x % 4) as usize]
}

/// Fills `out`, rows of `width` cells, with the values of the rectangle that begins at `(y0, x0)`.
/// A last row that is not whole gets its first cells. Rows and columns count from the picture's corner.
pub fn fill(out: &mut [f32], seed: u64, step: u32, channel: u32, y0: u32, x0: u32, width: usize) {
    for (y, row) in out.chunks_mut(width.max(1)).enumerate() {
        let y = y0.wrapping_add(y as u32);
        let mut x = x0;
        let mut rest = row;
        while !rest.is_empty() {
            let lane = (x % 4) as usize;
            let take = rest.len().min(4 - lane);
            let values = block(seed, step, channel, y, x / 4);
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&values[lane..lane + take]);
            x = x.wrapping_add(take as u32);
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123 `tests/kat_vectors`, rows "philox4x32 10".
    #[test]
    fn words_equal_the_known_answers() {
        let f = u32::MAX;
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([f; 4], [f; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox4x32(counter, [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    /// Values: this definition in Python's f64. Bits: ours, equal on every machine or the noise has changed.
    #[test]
    fn cells_equal_the_known_answers() {
        let table: [(u64, u32, u32, u32, u32, f64, u32); 6] = [
            (0, 0, 0, 0, 0, 0.9911374751458971, 0x3f7d_bb34),
            (0, 0, 0, 0, 1, -0.9246627803544332, 0xbf6c_b6ad),
            (42, 4, 15, 269, 479, -0.6451896202698714, 0xbf25_2b26),
            (0x1234_5678_9abc_def0, 1, 2, 3, 6, -1.5525684260443249, 0xbfc6_ba92),
            (u64::MAX, 3, 0, 1 << 20, (1 << 20) + 3, 0.36598403605764535, 0x3ebb_6243),
            (7, 0, 0, 1, 2, -0.274880813902794, 0xbe8c_bd2e),
        ];
        for (seed, step, channel, y, x, value, bits) in table {
            let found = gaussian(seed, step, channel, y, x);
            assert!((f64::from(found) - value).abs() < 5e-7, "{found} {value}");
            assert_eq!(found.to_bits(), bits, "{:#010x}", found.to_bits());
        }
    }

    #[test]
    fn a_rectangle_holds_the_values_of_its_cells() {
        for (y0, x0, h, w) in [(0, 0, 3, 8), (5, 3, 2, 9), (1, 6, 4, 1), (7, 1, 1, 2)] {
            let mut out = vec![9.0; h * w];
            fill(&mut out, 77, 2, 5, y0, x0, w);
            for (i, v) in out.iter().enumerate() {
                let (y, x) = (y0 + (i / w) as u32, x0 + (i % w) as u32);
                assert_eq!(v.to_bits(), gaussian(77, 2, 5, y, x).to_bits(), "cell {y} {x}");
            }
        }
        fill(&mut [], 0, 0, 0, 0, 0, 0);
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let base = gaussian(1, 2, 3, 4, 5);
        let others = [
            gaussian(2, 2, 3, 4, 5),
            gaussian(1 << 32 | 1, 2, 3, 4, 5),
            gaussian(1, 3, 3, 4, 5),
            gaussian(1, 2, 4, 4, 5),
            gaussian(1, 2, 3, 5, 5),
            gaussian(1, 2, 3, 4, 6),
            gaussian(1, 2, 3, 4, 9),
        ];
        assert!(others.iter().all(|&v| v != base));
    }

    #[test]
    fn the_ends_of_the_words_stay_finite() {
        for a in [0, 0xff, 0x100, u32::MAX] {
            for b in [0, 1 << 30, 1 << 31, u32::MAX] {
                assert!(box_muller(a, b).iter().all(|v| v.is_finite() && v.abs() < 5.8));
            }
        }
    }

    /// Moments of a standard normal, and no correlation between neighbours, channels or steps.
    #[test]
    fn a_field_is_standard_normal() {
        const SIDE: usize = 512;
        let field = |step, channel| {
            let mut out = vec![0.0; SIDE * SIDE];
            fill(&mut out, 1234, step, channel, 0, 0, SIDE);
            out
        };
        let f = field(0, 0);
        let n = f.len() as f64;
        let moment = |k: i32| f.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n;
        // Limits: five deviations of each moment's own error, sqrt(var/n), var = 1, 2, 15, 96.
        let limit = |var: f64| 5.0 * (var / n).sqrt();
        assert!(moment(1).abs() < limit(1.0), "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < limit(2.0), "variance {}", moment(2));
        assert!(moment(3).abs() < limit(15.0), "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() < limit(96.0), "kurtosis {}", moment(4));
        let product = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>() / n
        };
        for lag in [1, 2, 3, 4, SIDE] {
            assert!(product(&f, &f[lag..]).abs() < limit(1.0), "lag {lag}");
        }
        assert!(product(&f, &field(1, 0)).abs() < limit(1.0));
        assert!(product(&f, &field(0, 1)).abs() < limit(1.0));
    }
}
