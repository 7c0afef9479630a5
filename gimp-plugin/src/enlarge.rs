//! The work itself, away from GIMP's thread: pixels that were read to pixels that can be written.

use std::ops::ControlFlow;

use ssmoesr_core::{CancelToken, Frame, Options, Upscaler, enlarge_plane};

use crate::exchange::{Exchange, sample};
use crate::face::Rect;
use crate::memory;
use crate::trouble::Trouble;
use crate::worker::Note;

/// Pixels as they were read: what the network sees, and which part of it is wanted.
pub(crate) struct Source {
    pub(crate) frame: Frame,
    pub(crate) exchange: Exchange,
    /// The wanted part, counted from the first pixel that is seen.
    pub(crate) wanted: Rect,
    /// What of each pixel seen shall show, in `[0, 1]`; `None` shows all.
    pub(crate) cover: Option<Vec<f32>>,
}

/// The same, `scale` times larger.
pub(crate) struct Enlarged {
    pub(crate) frame: Frame,
    pub(crate) exchange: Exchange,
    pub(crate) wanted: Rect,
    pub(crate) cover: Option<Vec<f32>>,
    /// Bytes that this process was to take.
    pub(crate) planned: u64,
}

/// Enlarges `source` in at most `available` bytes.
///
/// # Errors
/// One line for what can fail: model, device, memory, values out of range.
pub(crate) fn enlarge(
    mut source: Source,
    options: &Options,
    available: Option<u64>,
    cancel: &CancelToken,
    tell: &mut dyn FnMut(Note),
) -> Result<Enlarged, Trouble> {
    let upscaler = Upscaler::new(options)?;
    let (width, height) = (source.frame.width(), source.frame.height());
    let (w, h) = upscaler.output_size(width, height, options.scale)?;
    let pixels = u64::from(w) * u64::from(h);
    let planes = u64::from(source.cover.is_some()) * 4;
    let own = pixels * (source.frame.format().pixel_bytes(0) as u64 + planes);
    let (options, plan) = memory::fit(|o| upscaler.plan(width, height, o), options, own, available)?;
    tell(Note::Tiles(plan.tiles));

    let beyond = take_beyond(&mut source.frame);
    let mut frame = Frame::new(source.frame.format(), w, h, source.frame.color())?;
    let mut progress = |p| {
        tell(Note::Progress(p));
        ControlFlow::Continue(())
    };
    upscaler.run(&source.frame.view(), &mut frame.view_mut(), &options, &mut progress, cancel)?;
    drop(upscaler);
    if let Some(beyond) = beyond {
        give_beyond(&mut frame, &beyond, (width, height), options.scale)?;
    }
    let cover = match source.cover {
        Some(cover) => {
            let mut large = enlarge_plane(&cover, width, height, options.scale)?;
            large.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
            Some(large)
        }
        None => None,
    };
    let wanted = source.wanted.times(options.scale as i32);
    let planned = plan.bytes().saturating_add(own);
    Ok(Enlarged { frame, exchange: source.exchange, wanted, cover, planned })
}

/// Pictures in floating point may hold colours below black and above white. The network never saw such: it gets what
/// can be shown, and what lies beyond is taken away here (three planes, `None` where there is nothing).
fn take_beyond(frame: &mut Frame) -> Option<[Vec<f32>; 3]> {
    let format = frame.format();
    if format.sample_bytes() != 4 {
        return None;
    }
    let step = format.pixel_bytes(0);
    let count = frame.plane(0).len() / step;
    let mut beyond = [vec![0.0; count], vec![0.0; count], vec![0.0; count]];
    let mut any = false;
    for (i, px) in frame.plane_mut(0).chunks_exact_mut(step).enumerate() {
        for (c, plane) in beyond.iter_mut().enumerate() {
            let value = sample(px, c);
            let shown = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
            if value.to_bits() != shown.to_bits() {
                if value.is_finite() {
                    plane[i] = value - shown;
                    any |= plane[i] != 0.0;
                }
                px[4 * c..][..4].copy_from_slice(&shown.to_ne_bytes());
            }
        }
    }
    any.then_some(beyond)
}

/// Puts back what `take_beyond` took, enlarged smoothly.
fn give_beyond(
    frame: &mut Frame,
    beyond: &[Vec<f32>; 3],
    (width, height): (u32, u32),
    scale: u32,
) -> Result<(), Trouble> {
    let step = frame.format().pixel_bytes(0);
    for (c, plane) in beyond.iter().enumerate() {
        let large = enlarge_plane(plane, width, height, scale)?;
        for (px, more) in frame.plane_mut(0).chunks_exact_mut(step).zip(large) {
            let value = sample(px, c) + more;
            px[4 * c..][..4].copy_from_slice(&value.to_ne_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmoesr_core::{ColorInfo, PixelFormat};

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_ne_bytes()).collect()
    }

    #[test]
    fn what_lies_beyond_comes_back() {
        let mut frame = Frame::new(PixelFormat::RgbF32, 2, 1, ColorInfo::default()).unwrap();
        frame.plane_mut(0).copy_from_slice(&floats(&[3.0, 0.5, -0.25, 1.0, f32::NAN, f32::INFINITY]));
        let beyond = take_beyond(&mut frame).unwrap();
        assert_eq!(frame.plane(0), floats(&[1.0, 0.5, 0.0, 1.0, 0.0, 1.0]));
        assert_eq!(beyond, [vec![2.0, 0.0], vec![0.0, 0.0], vec![-0.25, 0.0]]);
        let mut large = Frame::new(PixelFormat::RgbF32, 8, 4, ColorInfo::default()).unwrap();
        give_beyond(&mut large, &beyond, (2, 1), 4).unwrap();
        // Left of the first pixel's centre its value is all there is; bicubic adds a little.
        let red: Vec<f32> = (0..8).map(|x| sample(large.plane(0), 3 * x)).collect();
        assert!(red[0] > 1.9 && red[7] < 0.1 && red[..4].iter().all(|v| *v > 1.0), "{red:?}");
        assert_eq!(sample(large.plane(0), 1), 0.0);
    }

    #[test]
    fn common_pictures_need_no_planes() {
        let mut frame = Frame::new(PixelFormat::RgbF32, 2, 2, ColorInfo::default()).unwrap();
        assert!(take_beyond(&mut frame).is_none());
        let mut frame = Frame::new(PixelFormat::Rgb8, 2, 2, ColorInfo::default()).unwrap();
        assert!(take_beyond(&mut frame).is_none());
    }
}
