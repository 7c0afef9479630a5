//! Bicubic resizing as MATLAB's `imresize` does it: what the published method was trained and judged with.
//!
//! Per axis, n_in to n_out with s = n_out / n_in: output j (from 1) lies at u = j/s + (1 - 1/s)/2; the kernel is
//! widened by 1/s when shrinking; borders are mirrored with the edge repeated.

use crate::error::{Error, Result};
use crate::pixels::canvas::{Canvas, zeros};
use crate::pixels::convert::to_u8;
use crate::pixels::resample::cubic;

/// For each output sample, its source samples and weights: `taps` of them, one after the other.
struct Axis {
    taps: usize,
    index: Vec<usize>,
    weight: Vec<f64>,
}

impl Axis {
    fn new(n_in: usize, n_out: usize) -> Self {
        let s = n_out as f64 / n_in as f64;
        let m = s.min(1.0);
        let width = 4.0 / m;
        let taps = width.ceil() as usize + 2;
        let (mut index, mut weight) = (Vec::new(), Vec::new());
        let period = 2 * n_in as i64;
        for j in 1..=n_out {
            let u = j as f64 / s + 0.5 * (1.0 - 1.0 / s);
            let left = (u - width / 2.0).floor() as i64;
            let from = weight.len();
            for p in 0..taps as i64 {
                let i = left - 1 + p;
                weight.push(m * cubic(m * (u - 1.0 - i as f64)));
                let i = i.rem_euclid(period);
                index.push(if i >= n_in as i64 { period - 1 - i } else { i } as usize);
            }
            let sum: f64 = weight[from..].iter().sum();
            weight[from..].iter_mut().for_each(|w| *w /= sum);
        }
        Self { taps, index, weight }
    }

    /// Resizes the middle axis of `[outer, n_in, inner]`.
    fn apply(&self, src: &[f64], outer: usize, n_in: usize, inner: usize) -> Result<Vec<f64>> {
        let n_out = self.index.len() / self.taps;
        let mut out = samples(outer * n_out * inner)?;
        for o in 0..outer {
            for j in 0..n_out {
                let line = &mut out[(o * n_out + j) * inner..][..inner];
                for k in j * self.taps..(j + 1) * self.taps {
                    let (w, from) = (self.weight[k], &src[(o * n_in + self.index[k]) * inner..][..inner]);
                    for (v, s) in line.iter_mut().zip(from) {
                        *v += w * s;
                    }
                }
            }
        }
        Ok(out)
    }
}

fn samples<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    zeros(len)
        .map_err(|e| Error::limit(format!("{len} samples cannot be held; use a smaller picture")).because(e))
}

/// Both axes, the one that shrinks more first, rows first when equal; `round` is applied after each.
fn resize(
    src: &[f64],
    (width, height): (usize, usize),
    channels: usize,
    (to_width, to_height): (usize, usize),
    round: fn(&mut [f64]),
) -> Result<Vec<f64>> {
    if [width, height, channels, to_width, to_height].contains(&0) || src.len() != width * height * channels {
        return Err(Error::internal(format!(
            "{} samples for {width}x{height}x{channels}, resized to {to_width}x{to_height}",
            src.len()
        )));
    }
    let (across, down) = (Axis::new(width, to_width), Axis::new(height, to_height));
    // Compared as fractions, so that equal ratios are equal.
    let rows_first = to_height * width <= to_width * height;
    let mut out = if rows_first {
        let mut mid = down.apply(src, 1, height, width * channels)?;
        round(&mut mid);
        across.apply(&mid, to_height, width, channels)?
    } else {
        let mut mid = across.apply(src, height, width, channels)?;
        round(&mut mid);
        down.apply(&mid, 1, height, to_width * channels)?
    };
    round(&mut out);
    Ok(out)
}

/// Resizes `[H, W, C]`; nothing is clipped or rounded.
///
/// # Errors
/// `Internal` for sizes that do not fit, `Limit` where the memory cannot be had.
pub(crate) fn imresize_f64(
    src: &[f64],
    size: (usize, usize),
    channels: usize,
    to: (usize, usize),
) -> Result<Vec<f64>> {
    resize(src, size, channels, to, |_| ())
}

/// Resizes `[H, W, C]`; after each axis clipped to 0..255 and rounded half to even. At factors that are powers of
/// two exact halves do occur.
///
/// # Errors
/// `Internal` for sizes that do not fit, `Limit` where the memory cannot be had.
pub(crate) fn imresize_u8(
    src: &[u8],
    size: (usize, usize),
    channels: usize,
    to: (usize, usize),
) -> Result<Vec<u8>> {
    let mut wide = samples(src.len())?;
    for (w, s) in wide.iter_mut().zip(src) {
        *w = f64::from(*s);
    }
    let resized = resize(&wide, size, channels, to, |values| {
        values.iter_mut().for_each(|v| *v = v.clamp(0.0, 255.0).round_ties_even());
    })?;
    let mut out = samples(resized.len())?;
    for (o, v) in out.iter_mut().zip(resized) {
        *o = v as u8;
    }
    Ok(out)
}

/// The canvas `factor` times larger by way of 8-bit samples, as the published network was trained with.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn enlarge_u8(src: &Canvas, factor: usize) -> Result<Canvas> {
    let (w, h, channels) = (src.width(), src.height(), src.channels());
    let mut bytes = samples(w * h * channels)?;
    for (i, b) in bytes.iter_mut().enumerate() {
        let (pixel, c) = (i / channels, i % channels);
        *b = to_u8(255.0 * src.row(c, pixel / w)[pixel % w]);
    }
    let large = imresize_u8(&bytes, (w, h), channels, (w * factor, h * factor))?;
    let mut out = Canvas::new(channels, w * factor, h * factor)?;
    for (i, b) in large.iter().enumerate() {
        let (pixel, c) = (i / channels, i % channels);
        out.row_mut(c, pixel / (w * factor))[pixel % (w * factor)] = f32::from(*b) / 255.0;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_keeps_its_brightness() {
        let ramp: Vec<f32> = (0..3 * 8 * 6).map(|i| (20 + i) as f32 / 255.0).collect();
        let small = Canvas::from_data(3, 8, 6, ramp).unwrap();
        let large = enlarge_u8(&small, 4).unwrap();
        let mean = |c: &Canvas, k: usize| {
            let plane: Vec<f32> = (0..c.height()).flat_map(|y| c.row(k, y).to_vec()).collect();
            plane.iter().sum::<f32>() / plane.len() as f32
        };
        for k in 0..3 {
            assert!((mean(&small, k) - mean(&large, k)).abs() < 0.5 / 255.0, "{k}");
        }
    }

    #[test]
    fn weights_are_those_of_the_definition() {
        // Twice as large: the third output lies at 0.75, its taps at distances 1.75, 0.75, 0.25, 1.25; the first
        // of them is mirrored.
        let axis = Axis::new(4, 8);
        let used: Vec<_> = (0..axis.taps)
            .map(|k| (axis.index[2 * axis.taps + k], axis.weight[2 * axis.taps + k]))
            .filter(|(_, w)| *w != 0.0)
            .collect();
        let want = [(0, -3.0 / 128.0), (0, 29.0 / 128.0), (1, 111.0 / 128.0), (2, -9.0 / 128.0)];
        assert_eq!(used.len(), 4);
        for ((i, w), (wi, ww)) in used.iter().zip(want) {
            assert!(*i == wi && (w - ww).abs() < 1e-15, "{used:?}");
        }
    }

    #[test]
    fn equal_size_changes_nothing_and_shrinking_a_ramp_averages() {
        let src: Vec<u8> = (0..60).map(|i| (i * 37 % 256) as u8).collect();
        assert_eq!(imresize_u8(&src, (5, 4), 3, (5, 4)).unwrap(), src);
        let ramp: Vec<f64> = (0..64).map(f64::from).collect();
        let small = imresize_f64(&ramp, (64, 1), 1, (16, 1)).unwrap();
        // Symmetric kernel on a straight line, away from the mirrored ends.
        for (j, v) in small.iter().enumerate().take(14).skip(2) {
            assert!((v - (4.0 * j as f64 + 1.5)).abs() < 1e-9, "{small:?}");
        }
    }

    #[test]
    fn halves_go_to_the_even_code() {
        // 32 * 26/128 = 6.5 and 32 * 102/128 = 25.5.
        let out = imresize_u8(&[0, 32, 32, 32], (4, 1), 1, (8, 1)).unwrap();
        assert_eq!(out[..6], [0, 6, 26, 34, 33, 32]);
    }

    #[test]
    fn smaller_than_the_kernel() {
        assert_eq!(imresize_u8(&[7], (1, 1), 1, (8, 8)).unwrap(), [7; 64]);
        assert!(imresize_u8(&[7], (1, 1), 1, (0, 8)).is_err());
        assert!(imresize_u8(&[7, 7], (1, 1), 1, (8, 8)).is_err());
    }
}
