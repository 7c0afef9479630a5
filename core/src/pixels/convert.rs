//! Frames of any format to planar f32 and back.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::pixels::canvas::{Band, Canvas, unit};
use crate::pixels::codes::Kind;
use crate::pixels::frame::{FrameMut, FrameRef, PixelFormat};
use crate::pixels::planar::{self, planar};

/// Where the samples of a packed format lie: counted in samples inside a pixel.
struct Layout {
    /// Samples per pixel.
    samples: usize,
    /// R, G, B; all the same for gray.
    colour: [usize; 3],
    alpha: Option<usize>,
    /// A sample without meaning.
    unused: Option<usize>,
}

fn layout(format: PixelFormat) -> Option<Layout> {
    use PixelFormat as F;
    let (samples, colour, alpha, unused) = match format {
        F::Gray8 | F::Gray16 => (1, [0; 3], None, None),
        F::GrayA8 | F::GrayA16 => (2, [0; 3], Some(1), None),
        F::Rgb8 | F::Rgb16 | F::RgbF32 => (3, [0, 1, 2], None, None),
        F::Bgr8 => (3, [2, 1, 0], None, None),
        F::Rgbx8 => (4, [0, 1, 2], None, Some(3)),
        F::Bgrx8 => (4, [2, 1, 0], None, Some(3)),
        F::Xrgb8 => (4, [1, 2, 3], None, Some(0)),
        F::Xbgr8 => (4, [3, 2, 1], None, Some(0)),
        F::Rgba8 | F::Rgba16 | F::RgbaF32 => (4, [0, 1, 2], Some(3), None),
        F::Bgra8 => (4, [2, 1, 0], Some(3), None),
        F::Argb8 | F::Argb16 => (4, [1, 2, 3], Some(0), None),
        F::Abgr8 => (4, [3, 2, 1], Some(0), None),
        // Planes of their own: `planar`.
        _ => return None,
    };
    Some(Layout { samples, colour, alpha, unused })
}

/// Codes of a pixel of a packed format, and what they are.
pub(super) fn packed_samples(format: PixelFormat) -> Option<(usize, [Kind; 4])> {
    let layout = layout(format)?;
    let mut kinds = [Kind::White; 4];
    if is_gray(&layout) {
        kinds[0] = Kind::Gray;
    } else {
        layout.colour.into_iter().enumerate().for_each(|(c, at)| kinds[at] = Kind::Colour(c));
    }
    if let Some(at) = layout.alpha {
        kinds[at] = Kind::Alpha;
    }
    Some((layout.samples, kinds))
}

fn packed(format: PixelFormat) -> Result<Layout> {
    layout(format).ok_or_else(|| Error::internal(format!("{format:?} is neither packed nor planar")))
}

/// One sample in native byte order.
trait Sample {
    const BYTES: usize;
    /// The sample at the start of `bytes`, 1 for white.
    fn read(bytes: &[u8]) -> f32;
    /// `v` to the nearest code, limited to the codes there are.
    fn write(v: f32, bytes: &mut [u8]);
}

impl Sample for u8 {
    const BYTES: usize = 1;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        f32::from(bytes[0]) / 255.0
    }
    #[inline(always)]
    fn write(v: f32, bytes: &mut [u8]) {
        bytes[0] = to_u8(v * 255.0);
    }
}

impl Sample for u16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        f32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) / 65535.0
    }
    #[inline(always)]
    fn write(v: f32, bytes: &mut [u8]) {
        // The cast saturates and takes NaN to 0.
        bytes[..2].copy_from_slice(&((v * 65535.0 + 0.5) as u16).to_ne_bytes());
    }
}

impl Sample for f32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn read(bytes: &[u8]) -> f32 {
        f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
    #[inline(always)]
    fn write(v: f32, bytes: &mut [u8]) {
        bytes[..4].copy_from_slice(&unit(v).to_ne_bytes());
    }
}

/// The code nearest to `v`, halves upwards, in 0..255.
#[inline(always)]
pub(crate) fn to_u8(v: f32) -> u8 {
    (v + 0.5) as u8
}

fn read_row<S: Sample>(row: &[u8], samples: usize, at: usize, out: &mut [f32]) {
    for (o, px) in out.iter_mut().zip(row[at * S::BYTES..].chunks(samples * S::BYTES)) {
        *o = S::read(px);
    }
}

fn write_row<S: Sample>(row: &mut [u8], samples: usize, at: usize, values: &[f32]) {
    for (v, px) in values.iter().zip(row[at * S::BYTES..].chunks_mut(samples * S::BYTES)) {
        S::write(*v, px);
    }
}

/// Colours `[3, H, W]` and, where the format has it, alpha `[1, H, W]`.
///
/// Integer codes map to `[0, 1]` exactly; YUV colours may lie outside of it and are not clipped, so that
/// [`to_frame`] gives the luma back unchanged.
///
/// # Errors
/// `Limit` where the memory cannot be had.
#[cfg(any(test, feature = "files"))]
pub(crate) fn to_canvas(frame: &FrameRef<'_>) -> Result<(Canvas, Option<Canvas>)> {
    let (mut rgb, mut alpha) = (Canvas::default(), Canvas::default());
    let has_alpha = read_frame(frame, &mut rgb, &mut alpha)?;
    Ok((rgb, has_alpha.then_some(alpha)))
}

/// As [`to_canvas`], into canvases whose memory is used again; true where `alpha` was filled.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn read_frame(frame: &FrameRef<'_>, rgb: &mut Canvas, alpha: &mut Canvas) -> Result<bool> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    rgb.reset(3, w, h)?;
    if let Some(planar) = planar(frame.format()) {
        return planar::to_canvas(frame, &planar, rgb, alpha);
    }
    let layout = packed(frame.format())?;
    let read = reader(frame.format());
    if layout.alpha.is_some() {
        alpha.reset(1, w, h)?;
    }
    let gray = is_gray(&layout);
    for y in 0..h {
        let row = frame.row(0, y);
        let [r, g, b] = rgb.rgb_rows_mut(y);
        read(row, layout.samples, layout.colour[0], r);
        if gray {
            g.copy_from_slice(r);
            b.copy_from_slice(r);
        } else {
            read(row, layout.samples, layout.colour[1], g);
            read(row, layout.samples, layout.colour[2], b);
        }
        if let Some(at) = layout.alpha {
            read(row, layout.samples, at, alpha.row_mut(0, y));
        }
    }
    Ok(layout.alpha.is_some())
}

/// Alpha of row `y`, as [`read_frame`] gives it; nothing where the format has none.
///
/// # Errors
/// `Internal` for a format that is neither packed nor planar.
pub(crate) fn read_alpha(frame: &FrameRef<'_>, y: usize, out: &mut [f32]) -> Result<()> {
    if let Some(planar) = planar(frame.format()) {
        if planar.alpha {
            planar::read_alpha(frame, &planar, y, out);
        }
        return Ok(());
    }
    let layout = packed(frame.format())?;
    if let Some(at) = layout.alpha {
        reader(frame.format())(frame.row(0, y), layout.samples, at, out);
    }
    Ok(())
}

/// What reads samples of a packed format.
fn reader(format: PixelFormat) -> fn(&[u8], usize, usize, &mut [f32]) {
    match format.sample_bytes() {
        1 => read_row::<u8>,
        2 => read_row::<u16>,
        _ => read_row::<f32>,
    }
}

/// Rows above those that are written which [`write_rows`] may read: chroma on even rows is a mean of three.
pub(crate) const CONTEXT: usize = 2;

/// Samples made at a time where they are not rows of a canvas.
const BLOCK: usize = 64;

/// Writes colours, and alpha where the format has it (1 where none is given), to the nearest codes.
///
/// # Errors
/// `Internal` where the sizes differ, `Limit` where the memory cannot be had.
pub(crate) fn to_frame(rgb: &Canvas, alpha: Option<&Canvas>, frame: &mut FrameMut<'_>) -> Result<()> {
    write_rows(Band::whole(rgb), alpha.map(Band::whole), frame, 0..rgb.height())
}

/// As [`to_frame`] for `rows` of the frame, which begin on an even row and end on one or with the frame. The bands
/// hold these, and of the colours [`CONTEXT`] rows above where there are so many.
///
/// # Errors
/// `Internal` where the sizes differ, `Limit` where the memory cannot be had.
pub(crate) fn write_rows(
    rgb: Band<'_>,
    alpha: Option<Band<'_>>,
    frame: &mut FrameMut<'_>,
    rows: Range<usize>,
) -> Result<()> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    for (canvas, channels) in [Some((rgb, 3)), alpha.map(|a| (a, 1))].into_iter().flatten() {
        if (canvas.channels(), canvas.width(), canvas.height()) != (channels, w, h) {
            return Err(Error::internal(format!(
                "canvas of {}x{}x{} for a frame of {w}x{h}",
                canvas.channels(),
                canvas.width(),
                canvas.height()
            )));
        }
    }
    if let Some(planar) = planar(frame.format()) {
        return planar::to_frame(&rgb, alpha.as_ref(), &planar, frame, rows);
    }
    let layout = packed(frame.format())?;
    let write = match frame.format().sample_bytes() {
        1 => write_row::<u8>,
        2 => write_row::<u16>,
        _ => write_row::<f32>,
    };
    let gray = is_gray(&layout);
    let bytes = frame.format().sample_bytes();
    for y in rows {
        let row = frame.row_mut(0, y);
        if gray {
            // The network sees three equal channels: their mean is the best of three estimates of one value.
            let (r, g, b) = (rgb.row(0, y), rgb.row(1, y), rgb.row(2, y));
            let mut mean = [0.0; BLOCK];
            for x in (0..w).step_by(BLOCK) {
                let n = BLOCK.min(w - x);
                for i in 0..n {
                    mean[i] = (r[x + i] + g[x + i] + b[x + i]) * (1.0 / 3.0);
                }
                write(&mut row[x * layout.samples * bytes..], layout.samples, 0, &mean[..n]);
            }
        } else {
            for (c, at) in layout.colour.into_iter().enumerate() {
                write(row, layout.samples, at, rgb.row(c, y));
            }
        }
        if let Some(at) = layout.alpha.or(layout.unused) {
            match alpha.filter(|_| layout.alpha.is_some()) {
                Some(alpha) => write(row, layout.samples, at, alpha.row(0, y)),
                None => {
                    for x in (0..w).step_by(BLOCK) {
                        let n = BLOCK.min(w - x);
                        write(&mut row[x * layout.samples * bytes..], layout.samples, at, &[1.0; BLOCK][..n]);
                    }
                }
            }
        }
    }
    Ok(())
}

fn is_gray(layout: &Layout) -> bool {
    layout.colour == [0; 3]
}

#[cfg(test)]
mod tests;
