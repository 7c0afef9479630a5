//! Frequencies of the timestep embedding, the same for every executor.

/// Longest period over 2 pi.
const MAX_PERIOD: f64 = 10_000.0;

/// Exponents (bits of the f32) at which PyTorch's f32 exponential on a CPU (MKL's) is one place above or below the
/// correctly rounded one, for all widths up to 128 and multiples of 16 up to 640. At t = 999 that place moves a sine
/// by up to 6e-5.
const ABOVE: &[u32] = &[
    0xbdeb_c8e3,
    0xbe17_24e1,
    0xbe3e_2623,
    0xbf5d_0c55,
    0xbfc5_e408,
    0xbfe0_ed1d,
    0xbffb_f287,
    0xc009_6888,
    0xc01a_bbd5,
    0xc023_6228,
    0xc023_bd49,
    0xc02a_49fa,
    0xc03a_40e9,
    0xc056_5989,
    0xc079_b3db,
    0xc087_ee92,
    0xc09e_1c61,
    0xc0a0_5e48,
    0xc0b4_1d02,
    0xc0c0_64ce,
    0xc0d1_6a00,
    0xc0d1_961f,
    0xc0d5_0a08,
    0xc0df_c6f4,
    0xc0df_f4ea,
    0xc0e9_cd0b,
    0xc0f0_1025,
    0xc0f4_12f3,
    0xc0fa_222a,
    0xc0ff_d7c2,
    0xc100_7269,
    0xc111_79e5,
];
const BELOW: &[u32] = &[
    0xbee7_eb5d,
    0xbf05_f7f5,
    0xbf46_f180,
    0xbf48_6ac1,
    0xbf77_92ee,
    0xbfd7_6159,
    0xbffe_140f,
    0xc01d_9963,
    0xc024_1c8c,
    0xc025_3a59,
    0xc04d_07ba,
    0xc053_9a07,
    0xc083_1ca6,
    0xc087_c967,
    0xc091_79e5,
    0xc09b_bd0d,
    0xc0a7_5239,
    0xc0cb_2f8a,
    0xc0df_47ef,
    0xc0df_cfb0,
    0xc0e4_2dc3,
    0xc0f7_3194,
    0xc0f8_6a82,
    0xc101_80c3,
    0xc105_a833,
    0xc106_02ad,
    0xc106_704c,
    0xc112_7cff,
];

/// `exp(-ln(10000) i / half)` for `i < half`, every operation rounded to f32 as PyTorch does it on a CPU.
pub fn frequencies(half: usize) -> Vec<f32> {
    let log = -(MAX_PERIOD.ln() as f32);
    (0..half).map(|i| rounded_exp(i as f32 * log / half as f32)).collect()
}

fn rounded_exp(x: f32) -> f32 {
    let y = libm::exp(f64::from(x)) as f32;
    if ABOVE.binary_search(&x.to_bits()).is_ok() {
        y.next_up()
    } else if BELOW.binary_search(&x.to_bits()).is_ok() {
        y.next_down()
    } else {
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_fall_from_one_and_exceptions_are_sorted() {
        assert!(ABOVE.is_sorted() && BELOW.is_sorted());
        for half in [1, 2, 16, 80, 320] {
            let f = frequencies(half);
            assert_eq!((f.len(), f[0]), (half, 1.0));
            assert!(f.is_sorted_by(|a, b| a > b) && f.iter().all(|v| *v > 1e-4));
        }
    }
}
