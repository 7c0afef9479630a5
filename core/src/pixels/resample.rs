//! The bicubic enlargement that is part of the shipped model.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::pixels::canvas::Canvas;

/// Cubic convolution kernel with a = -0.5 (Keys 1981, Eq. 15).
pub(crate) fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// Weights `[tap][phase]` on the five samples around: those of phase p for output `factor * i + p`, taps from
/// i - 2 to i + 2. Every phase uses four of them.
fn phases<const F: usize>() -> [[f32; F]; 5] {
    let mut weights = [[0.0; F]; 5];
    for (tap, row) in weights.iter_mut().enumerate() {
        for (p, w) in row.iter_mut().enumerate() {
            // Half-pixel centres; dyadic numbers, so f32 holds every weight exactly.
            let at = (p as f64 + 0.5) / F as f64 - 0.5;
            *w = cubic(at - (tap as f64 - 2.0)) as f32;
        }
    }
    weights
}

/// The weights of [`bicubic_rows`] for a factor, `[5, factor]`.
///
/// # Errors
/// `Internal` for another factor than 2, 4 or 8.
pub(crate) fn bicubic_weights(factor: usize) -> Result<Vec<f32>> {
    match factor {
        2 => Ok(phases::<2>().concat()),
        4 => Ok(phases::<4>().concat()),
        8 => Ok(phases::<8>().concat()),
        _ => Err(Error::internal(format!("bicubic enlargement by {factor}"))),
    }
}

/// Samples added on both sides of a row.
const MARGIN: usize = 2;

/// Enlarges by `factor` (2, 4 or 8): a = -0.5, half-pixel centres, edges replicated, nothing rounded or clipped.
/// Gives rows `rows` of the enlarged picture, so that a large one can be made in strips.
///
/// # Errors
/// `Internal` for another factor or rows that are not there, `Limit` where the memory cannot be had.
pub(crate) fn bicubic_up(src: &Canvas, factor: usize, rows: Range<usize>) -> Result<Canvas> {
    let mut out = Canvas::new(src.channels(), src.width().saturating_mul(factor), rows.len())?;
    bicubic_rows(src, factor, rows, &mut out, 0, &mut Vec::new())?;
    Ok(out)
}

/// As [`bicubic_up`], into the rows of `out` from `at` on. `line` is room for a row.
///
/// # Errors
/// `Internal` for another factor, rows that are not there or a canvas of another shape.
pub(crate) fn bicubic_rows(
    src: &Canvas,
    factor: usize,
    rows: Range<usize>,
    out: &mut Canvas,
    at: usize,
    line: &mut Vec<f32>,
) -> Result<()> {
    if rows.end > src.height() * factor || rows.start > rows.end {
        return Err(Error::internal(format!(
            "rows {rows:?} of a picture of {} rows enlarged {factor} times",
            src.height()
        )));
    }
    if (out.channels(), out.width()) != (src.channels(), src.width() * factor)
        || out.height() < at + rows.len()
    {
        return Err(Error::internal(format!(
            "rows {rows:?} enlarged {factor} times into {}x{} at {at}",
            out.width(),
            out.height()
        )));
    }
    room(line, src.width() + 2 * MARGIN)?;
    match factor {
        2 => up::<2>(src, rows, out, at, line),
        4 => up::<4>(src, rows, out, at, line),
        8 => up::<8>(src, rows, out, at, line),
        _ => return Err(Error::internal(format!("bicubic enlargement by {factor}"))),
    }
    Ok(())
}

/// Makes `line` `len` zeros long.
fn room(line: &mut Vec<f32>, len: usize) -> Result<()> {
    line.clear();
    line.try_reserve(len)
        .map_err(|e| Error::limit(format!("no memory for a row of {len} samples")).because(e))?;
    line.resize(len, 0.0);
    Ok(())
}

/// Enlarges one plane of `width` x `height` samples by `factor` (4 or 8) as [`Upscaler::run`](crate::Upscaler::run) does
/// with alpha: bicubic, half-pixel centres, edges replicated. For what hosts keep beside a picture, masks above all.
/// Values may overshoot those given; nothing is clipped.
///
/// # Errors
/// `Input` where the number of samples does not fit the size, `Option` for another factor, `Limit` where the memory
/// cannot be had.
pub fn enlarge_plane(samples: &[f32], width: u32, height: u32, factor: u32) -> Result<Vec<f32>> {
    let (w, h) = (width as usize, height as usize);
    if w == 0 || h == 0 || w.checked_mul(h) != Some(samples.len()) {
        return Err(Error::input(format!(
            "{} samples do not make a plane of {width}x{height}",
            samples.len()
        )));
    }
    if factor != 4 && factor != 8 {
        return Err(Error::option(format!("a plane is to be enlarged {factor} times, possible: 4 or 8")));
    }
    let mut plane = Canvas::new(1, w, h)?;
    plane.data_mut().copy_from_slice(samples);
    let factor = factor as usize;
    Ok(bicubic_up(&plane, factor, 0..h * factor)?.into_data())
}

fn up<const F: usize>(src: &Canvas, rows: Range<usize>, out: &mut Canvas, top: usize, line: &mut [f32]) {
    let weights = phases::<F>();
    let (w, h) = (src.width(), src.height());
    for c in 0..src.channels() {
        for y in rows.clone() {
            let (i, p) = (y / F, y % F);
            let at = |d: usize| src.row(c, (i + d).saturating_sub(2).min(h - 1));
            let [a, b, c0, d, e] = [at(0), at(1), at(2), at(3), at(4)];
            let k: [f32; 5] = std::array::from_fn(|tap| weights[tap][p]);
            for (x, v) in line[MARGIN..][..w].iter_mut().enumerate() {
                *v = k[0] * a[x] + k[1] * b[x] + k[2] * c0[x] + k[3] * d[x] + k[4] * e[x];
            }
            let (first, last) = (line[MARGIN], line[MARGIN + w - 1]);
            line[..MARGIN].fill(first);
            line[MARGIN + w..].fill(last);
            let (blocks, _) = out.row_mut(c, top + y - rows.start).as_chunks_mut::<F>();
            for (block, taps) in blocks.iter_mut().zip(line.windows(5)) {
                let mut sum = [0.0; F];
                for (t, row) in taps.iter().zip(&weights) {
                    for p in 0..F {
                        sum[p] += t * row[p];
                    }
                }
                *block = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64, one output sample at a time.
    fn naive(src: &Canvas, factor: usize, c: usize, y: usize, x: usize) -> f64 {
        let along = |n: usize, i: usize| {
            let u = (i as f64 + 0.5) / factor as f64 - 0.5;
            let first = u.floor() as isize - 1;
            [0, 1, 2, 3].map(|k| {
                let at = first + k;
                (at.clamp(0, n as isize - 1) as usize, cubic(u - at as f64))
            })
        };
        let mut sum = 0.0;
        for (sy, wy) in along(src.height(), y) {
            for (sx, wx) in along(src.width(), x) {
                sum += wy * wx * f64::from(src.row(c, sy)[sx]);
            }
        }
        sum
    }

    fn noise(channels: usize, width: usize, height: usize) -> Canvas {
        let mut state = 1u32;
        let data = (0..channels * width * height).map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 24) as f32
        });
        Canvas::from_data(channels, width, height, data.collect()).unwrap()
    }

    #[test]
    fn equals_the_definition() {
        for (w, h) in [(1, 1), (2, 1), (1, 3), (5, 4), (9, 7)] {
            let src = noise(3, w, h);
            for factor in [2, 4, 8] {
                let out = bicubic_up(&src, factor, 0..h * factor).unwrap();
                for c in 0..3 {
                    for y in 0..h * factor {
                        for x in 0..w * factor {
                            let (got, want) = (out.row(c, y)[x], naive(&src, factor, c, y, x));
                            assert!((f64::from(got) - want).abs() < 1e-6, "{w}x{h} x{factor} at {x},{y}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn planes_of_hosts_are_enlarged_the_same_way() {
        let src = noise(1, 5, 4);
        for factor in [4, 8] {
            let large = enlarge_plane(src.data(), 5, 4, factor).unwrap();
            assert_eq!(large, bicubic_up(&src, factor as usize, 0..4 * factor as usize).unwrap().data());
        }
        assert!(enlarge_plane(src.data(), 4, 4, 4).is_err());
        assert!(enlarge_plane(&[], 0, 4, 4).is_err());
        assert!(enlarge_plane(src.data(), 5, 4, 3).unwrap_err().to_string().contains("4 or 8"));
    }

    #[test]
    fn strips_are_the_whole() {
        let src = noise(1, 6, 5);
        let whole = bicubic_up(&src, 4, 0..20).unwrap();
        for (from, to) in [(0, 3), (3, 4), (4, 17), (17, 20), (20, 20)] {
            let strip = bicubic_up(&src, 4, from..to).unwrap();
            assert_eq!(strip.data(), &whole.data()[from * 24..to * 24]);
        }
    }

    #[test]
    fn a_flat_picture_stays_flat_to_the_bit() {
        let src = Canvas::from_data(1, 4, 3, vec![0.3; 12]).unwrap();
        let out = bicubic_up(&src, 8, 0..24).unwrap();
        assert!(out.data().iter().all(|v| (v - 0.3).abs() < 1e-7));
        let ones = Canvas::from_data(1, 4, 3, vec![1.0; 12]).unwrap();
        assert!(bicubic_up(&ones, 8, 0..24).unwrap().data().iter().all(|v| *v == 1.0));
    }

    #[test]
    fn other_factors_and_rows_are_refused() {
        let src = noise(1, 2, 2);
        assert!(bicubic_up(&src, 3, 0..6).is_err());
        assert!(bicubic_up(&src, 4, 0..9).is_err());
    }
}
