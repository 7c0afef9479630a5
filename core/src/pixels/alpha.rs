//! Straight alpha: colour under transparency before, the enlarged alpha plane after.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::pixels::FrameRef;
use crate::pixels::canvas::{Canvas, line};
use crate::pixels::codes::constant;
use crate::pixels::convert::read_alpha;
use crate::pixels::resample::bicubic_rows;

/// True where all of `alpha` is one value: nothing to bleed, nothing to resample.
fn is_constant(alpha: &Canvas) -> bool {
    constant(alpha).is_some()
}

/// What there is to do about a frame's alpha.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Alpha {
    /// One value everywhere: nothing to bleed, nothing to resample.
    Constant(f32),
    /// Some of it is transparent, none fully.
    Shown,
    /// Colours under it have to be found: [`bleed`].
    Hidden,
}

/// Looks at a frame's alpha without reading its colours; nothing where the format has none.
///
/// # Errors
/// `Limit` where the memory for a row cannot be had.
pub(crate) fn look(frame: &FrameRef<'_>) -> Result<Option<Alpha>> {
    if !frame.format().has_alpha() {
        return Ok(None);
    }
    let mut row: Vec<f32> = line(frame.width() as usize)?;
    let (mut first, mut same, mut shown) = (None, true, true);
    for y in 0..frame.height() as usize {
        read_alpha(frame, y, &mut row)?;
        let first = *first.get_or_insert(row[0]);
        same &= row.iter().all(|v| *v == first);
        shown &= row.iter().all(|v| *v > 0.0);
        if !same && !shown {
            return Ok(Some(Alpha::Hidden));
        }
    }
    Ok(Some(if same { Alpha::Constant(first.unwrap_or_default()) } else { Alpha::Shown }))
}

/// Gives fully transparent pixels the colour of their nearest visible neighbours, ring by ring.
///
/// What an editor left there (black, mostly) would otherwise be mixed into the visible edge when enlarging.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn bleed(rgb: &mut Canvas, alpha: &Canvas) -> Result<()> {
    // Nothing hidden, or nothing to be seen.
    if is_constant(alpha) || alpha.data().iter().all(|a| *a > 0.0) {
        return Ok(());
    }
    let (w, h) = (rgb.width(), rgb.height());
    // Ring in which a pixel got its colour; 0 = visible. Only earlier rings are read, so order has no influence.
    const UNKNOWN: u32 = u32::MAX;
    let mut ring: Vec<u32> = room(w * h)?;
    ring.extend(alpha.data().iter().map(|a| if *a > 0.0 { 0 } else { UNKNOWN }));
    let neighbours = |at: usize| {
        let (x, y) = (at % w, at / w);
        (y.saturating_sub(1)..(y + 2).min(h))
            .flat_map(move |ny| (x.saturating_sub(1)..(x + 2).min(w)).map(move |nx| ny * w + nx))
            .filter(move |n| *n != at)
    };
    let is_front = |at: &usize| ring[*at] == UNKNOWN && neighbours(*at).any(|n| ring[n] == 0);
    let mut front = room((0..w * h).filter(is_front).count())?;
    front.extend((0..w * h).filter(is_front));
    let mut round = 1;
    while !front.is_empty() {
        for at in &front {
            ring[*at] = round;
        }
        for c in 0..3 {
            let plane = rgb.plane_mut(c);
            for at in &front {
                let known = neighbours(*at).filter(|n| ring[*n] < round);
                let (sum, count) = known.fold((0.0, 0.0), |(sum, count), n| (sum + plane[n], count + 1.0));
                plane[*at] = sum / count;
            }
        }
        let found = || front.iter().flat_map(|at| neighbours(*at)).filter(|n| ring[*n] == UNKNOWN);
        let mut next = room(found().count())?;
        next.extend(found());
        next.sort_unstable();
        next.dedup();
        front = next;
        round += 1;
    }
    Ok(())
}

/// Room for `len` values.
fn room<T>(len: usize) -> Result<Vec<T>> {
    let mut out = Vec::new();
    out.try_reserve_exact(len)
        .map_err(|e| Error::limit(format!("no memory for {len} transparent pixels")).because(e))?;
    Ok(out)
}

/// Rows `rows` of alpha enlarged by `factor`, in `[0, 1]`, into `out`. `line` is room for a row.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn enlarge_rows(
    alpha: &Canvas,
    factor: usize,
    rows: Range<usize>,
    out: &mut Canvas,
    line: &mut Vec<f32>,
) -> Result<()> {
    out.reset(1, alpha.width() * factor, rows.len())?;
    if is_constant(alpha) {
        // To the bit: the taps of a resampler sum to one only nearly.
        out.data_mut().fill(alpha.data()[0]);
        return Ok(());
    }
    bicubic_rows(alpha, factor, rows, out, 0, line)?;
    out.clamp01();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::resample::bicubic_up;

    fn enlarge(alpha: &Canvas, factor: usize) -> Result<Canvas> {
        let (mut out, mut rows) = (Canvas::default(), Canvas::default());
        let height = alpha.height() * factor;
        enlarge_rows(alpha, factor, 0..height, &mut out, &mut Vec::new())?;
        // In strips it is the same.
        for y in 0..height {
            enlarge_rows(alpha, factor, y..y + 1, &mut rows, &mut Vec::new())?;
            assert_eq!(rows.data(), out.row(0, y));
        }
        Ok(out)
    }

    /// A white disc on transparent black, or the reverse.
    fn disc(size: usize, colour: f32) -> (Canvas, Canvas) {
        let mut rgb = Canvas::new(3, size, size).unwrap();
        let mut alpha = Canvas::new(1, size, size).unwrap();
        rgb.data_mut().fill(1.0 - colour);
        let middle = (size as f32 - 1.0) / 2.0;
        for y in 0..size {
            for x in 0..size {
                if (x as f32 - middle).hypot(y as f32 - middle) < size as f32 / 3.0 {
                    alpha.row_mut(0, y)[x] = 1.0;
                    (0..3).for_each(|c| rgb.row_mut(c, y)[x] = colour);
                }
            }
        }
        (rgb, alpha)
    }

    #[test]
    fn no_fringe_over_black_and_white() {
        for colour in [0.0, 1.0] {
            let (mut rgb, alpha) = disc(13, colour);
            bleed(&mut rgb, &alpha).unwrap();
            let big = bicubic_up(&rgb, 4, 0..52).unwrap();
            let a = enlarge(&alpha, 4).unwrap();
            assert!(a.data().iter().all(|v| (0.0..=1.0).contains(v)));
            for ground in [0.0, 1.0] {
                for (v, a) in big.plane(0).iter().zip(a.data()) {
                    // Only the disc's own colour may be mixed with the ground.
                    let over = v * a + ground * (1.0 - a);
                    let want = colour * a + ground * (1.0 - a);
                    assert!((over - want).abs() < 1e-6, "{over} instead of {want}");
                }
            }
        }
    }

    #[test]
    fn every_transparent_pixel_gets_a_colour_and_no_visible_one_changes() {
        let mut rgb = Canvas::new(3, 7, 5).unwrap();
        let mut alpha = Canvas::new(1, 7, 5).unwrap();
        alpha.row_mut(0, 4)[6] = 0.5;
        (0..3).for_each(|c| rgb.row_mut(c, 4)[6] = 0.25 * (c + 1) as f32);
        bleed(&mut rgb, &alpha).unwrap();
        for c in 0..3 {
            assert!(rgb.plane(c).iter().all(|v| (v - 0.25 * (c + 1) as f32).abs() < 1e-6));
        }
    }

    #[test]
    fn constant_alpha_is_left_alone() {
        for value in [0.0, 0.5, 1.0] {
            let (mut rgb, mut alpha) = disc(6, 1.0);
            alpha.data_mut().fill(value);
            let before = rgb.clone();
            bleed(&mut rgb, &alpha).unwrap();
            assert_eq!(rgb, before);
            assert!(enlarge(&alpha, 8).unwrap().data().iter().all(|v| *v == value));
        }
    }

    #[test]
    fn one_pixel() {
        let mut rgb = Canvas::new(3, 1, 1).unwrap();
        let alpha = Canvas::new(1, 1, 1).unwrap();
        bleed(&mut rgb, &alpha).unwrap();
        assert_eq!(enlarge(&alpha, 4).unwrap().data(), [0.0; 16]);
    }
}
