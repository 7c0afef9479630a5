//! Colours of the result brought back to those of the input (the published family needs it).

use crate::error::{Error, Result};
use crate::pixels::canvas::Canvas;

/// Added to both variances; for samples in `[-1, 1]`.
const EPS: f64 = 1e-5;

/// Mean and unbiased variance.
fn moments(plane: &[f32]) -> (f64, f64) {
    let n = plane.len() as f64;
    let mean = plane.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let square = plane.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
    (mean, square / (n - 1.0).max(1.0))
}

/// Gives each channel of `x` mean and deviation of `reference` (adaptive instance normalisation, arXiv 1703.06868
/// Eq. 8), over the whole picture. Both in `[-1, 1]`, sizes may differ.
pub(crate) fn adain(x: &mut Canvas, reference: &Canvas) {
    for c in 0..x.channels() {
        let (mean_r, var_r) = moments(reference.plane(c));
        let (mean_x, var_x) = moments(x.plane(c));
        let gain = ((var_r + EPS) / (var_x + EPS)).sqrt();
        for v in x.plane_mut(c) {
            *v = ((f64::from(*v) - mean_x) * gain + mean_r) as f32;
        }
    }
}

/// Levels of the wavelet match; the coarsest blur reaches 2^5 - 1 pixels.
const LEVELS: u32 = 5;

/// Gives `x` the low frequencies of `reference` of the same size: `high(x) + low(reference)`, where low is five
/// blurs by `[1, 2, 1] / 4` with steps of 1, 2, 4, 8, 16 and replicated edges (StableSR, `wavelet_color_fix.py`).
///
/// # Errors
/// `Internal` where the sizes differ, `Limit` where the memory cannot be had.
pub(crate) fn wavelet(x: &mut Canvas, reference: &Canvas) -> Result<()> {
    let (w, h) = (x.width(), x.height());
    if (reference.width(), reference.height(), reference.channels()) != (w, h, x.channels()) {
        return Err(Error::internal(format!(
            "colours of {w}x{h} pixels against a reference of {}x{}",
            reference.width(),
            reference.height()
        )));
    }
    // The blur is linear: x - low(x) + low(r) = x + low(r - x), one plane at a time.
    let (mut low, mut mid) = (Canvas::new(1, w, h)?, Canvas::new(1, w, h)?);
    for c in 0..x.channels() {
        for ((l, r), x) in low.data_mut().iter_mut().zip(reference.plane(c)).zip(x.plane(c)) {
            *l = r - x;
        }
        for level in 0..LEVELS {
            blur(&mut low, &mut mid, 1 << level);
        }
        for (x, l) in x.plane_mut(c).iter_mut().zip(low.data()) {
            *x += l;
        }
    }
    Ok(())
}

/// One blur with taps `step` apart, in place; `mid` is scratch.
fn blur(plane: &mut Canvas, mid: &mut Canvas, step: usize) {
    let (w, h) = (plane.width(), plane.height());
    for y in 0..h {
        let rows =
            (plane.row(0, y.saturating_sub(step)), plane.row(0, y), plane.row(0, (y + step).min(h - 1)));
        for (x, m) in mid.row_mut(0, y).iter_mut().enumerate() {
            *m = 0.25 * (rows.0[x] + rows.2[x]) + 0.5 * rows.1[x];
        }
    }
    for y in 0..h {
        let (from, to) = (mid.row(0, y), plane.row_mut(0, y));
        let edge =
            |x: usize| 0.25 * (from[x.saturating_sub(step)] + from[(x + step).min(w - 1)]) + 0.5 * from[x];
        let inside = step..w.saturating_sub(step).max(step);
        for x in (0..step.min(w)).chain(inside.end.min(w)..w) {
            to[x] = edge(x);
        }
        if inside.end > inside.start && inside.end <= w {
            let (left, right) = (&from[..inside.len()], &from[2 * step..][..inside.len()]);
            let middle = &from[step..][..inside.len()];
            for (i, t) in to[inside].iter_mut().enumerate() {
                *t = 0.25 * (left[i] + right[i]) + 0.5 * middle[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(channels: usize, width: usize, height: usize, phase: f32) -> Canvas {
        let data = (0..channels * width * height).map(|i| (i as f32 * 0.37 + phase).sin() * 0.8).collect();
        Canvas::from_data(channels, width, height, data).unwrap()
    }

    #[test]
    fn adain_takes_mean_and_deviation_over() {
        let mut x = wave(3, 9, 13, 0.0);
        let mut reference = wave(3, 4, 5, 1.0);
        reference.data_mut().iter_mut().for_each(|v| *v = *v * 0.5 + 0.2);
        adain(&mut x, &reference);
        for c in 0..3 {
            let (got, want) = (moments(x.plane(c)), moments(reference.plane(c)));
            assert!((got.0 - want.0).abs() < 1e-6 && (got.1 - want.1).abs() < 1e-4, "{got:?} {want:?}");
        }
        let mut one = Canvas::from_data(1, 1, 1, vec![0.5]).unwrap();
        adain(&mut one, &Canvas::from_data(1, 1, 1, vec![0.25]).unwrap());
        assert_eq!(one.data(), [0.25]);
    }

    #[test]
    fn blur_equals_its_definition() {
        for (w, h) in [(1, 1), (3, 5), (33, 24), (40, 2)] {
            for step in [1, 2, 4, 8, 16] {
                let src = wave(1, w, h, 0.3);
                let (mut got, mut mid) = (src.clone(), Canvas::new(1, w, h).unwrap());
                blur(&mut got, &mut mid, step);
                for y in 0..h {
                    for x in 0..w {
                        let mut want = 0.0;
                        for (dy, wy) in [(-1, 0.25), (0, 0.5), (1, 0.25f32)] {
                            for (dx, wx) in [(-1, 0.25), (0, 0.5), (1, 0.25f32)] {
                                let at = |v: usize, d: isize, n: usize| {
                                    (v as isize + d * step as isize).clamp(0, n as isize - 1) as usize
                                };
                                want += wy * wx * src.row(0, at(y, dy, h))[at(x, dx, w)];
                            }
                        }
                        assert!((got.row(0, y)[x] - want).abs() < 1e-6, "{w}x{h} step {step} at {x},{y}");
                    }
                }
            }
        }
    }

    #[test]
    fn wavelet_moves_a_shift_of_colour_only() {
        let reference = wave(3, 33, 24, 0.0);
        let mut x = reference.clone();
        x.data_mut().iter_mut().for_each(|v| *v += 0.3);
        wavelet(&mut x, &reference).unwrap();
        assert!(x.data().iter().zip(reference.data()).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(wavelet(&mut x, &wave(3, 32, 24, 0.0)).is_err());
    }
}
