//! Frames of any format to planar f32 and back.

use crate::error::{Error, Result};
use crate::pixels::canvas::{Canvas, line, unit};
use crate::pixels::frame::{FrameMut, FrameRef, PixelFormat};
use crate::pixels::yuv;

/// Where the samples of a format lie: counted in samples inside a pixel, or in planes.
struct Layout {
    /// Samples per pixel of a plane.
    samples: usize,
    /// Whether each of them has a plane of its own.
    planar: bool,
    /// R, G, B; all the same for gray.
    colour: [usize; 3],
    alpha: Option<usize>,
    /// A sample without meaning.
    unused: Option<usize>,
}

fn layout(format: PixelFormat) -> Option<Layout> {
    use PixelFormat as F;
    let planar = |alpha| Layout { samples: 1, planar: true, colour: [0, 1, 2], alpha, unused: None };
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
        F::Argb8 => (4, [1, 2, 3], Some(0), None),
        F::Abgr8 => (4, [3, 2, 1], Some(0), None),
        F::RgbPF32 => return Some(planar(None)),
        F::RgbaPF32 => return Some(planar(Some(3))),
        F::I420 | F::Nv12 => return None,
    };
    Some(Layout { samples, planar: false, colour, alpha, unused })
}

impl Layout {
    fn is_gray(&self) -> bool {
        self.colour == [0; 3]
    }

    /// Plane of sample `i`, and where in its pixels it lies.
    fn place(&self, i: usize) -> (usize, usize) {
        if self.planar { (i, 0) } else { (0, i) }
    }
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
pub(crate) fn to_canvas(frame: &FrameRef<'_>) -> Result<(Canvas, Option<Canvas>)> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let mut rgb = Canvas::new(3, w, h)?;
    let Some(layout) = layout(frame.format()) else {
        yuv::to_canvas(frame, &mut rgb)?;
        return Ok((rgb, None));
    };
    let read = match frame.format().sample_bytes() {
        1 => read_row::<u8>,
        2 => read_row::<u16>,
        _ => read_row::<f32>,
    };
    let mut alpha = layout.alpha.map(|_| Canvas::new(1, w, h)).transpose()?;
    let gray = layout.is_gray();
    let one = |i: usize, y: usize, out: &mut [f32]| {
        let (plane, at) = layout.place(i);
        read(frame.row(plane, y), layout.samples, at, out);
    };
    for y in 0..h {
        let [r, g, b] = rgb.rgb_rows_mut(y);
        one(layout.colour[0], y, r);
        if gray {
            g.copy_from_slice(r);
            b.copy_from_slice(r);
        } else {
            one(layout.colour[1], y, g);
            one(layout.colour[2], y, b);
        }
        if let (Some(alpha), Some(i)) = (&mut alpha, layout.alpha) {
            one(i, y, alpha.row_mut(0, y));
        }
    }
    Ok((rgb, alpha))
}

/// Writes colours, and alpha where the format has it (1 where none is given), to the nearest codes.
///
/// # Errors
/// `Internal` where the sizes differ, `Limit` where the memory cannot be had.
pub(crate) fn to_frame(rgb: &Canvas, alpha: Option<&Canvas>, frame: &mut FrameMut<'_>) -> Result<()> {
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
    let Some(layout) = layout(frame.format()) else {
        return yuv::to_frame(rgb, frame);
    };
    let write = match frame.format().sample_bytes() {
        1 => write_row::<u8>,
        2 => write_row::<u16>,
        _ => write_row::<f32>,
    };
    let gray = layout.is_gray();
    let mut scratch = line(w)?;
    let mut one = |i: usize, y: usize, values: &[f32]| {
        let (plane, at) = layout.place(i);
        write(frame.row_mut(plane, y), layout.samples, at, values);
    };
    for y in 0..h {
        if gray {
            // The network sees three equal channels: their mean is the best of three estimates of one value.
            let channels = rgb.row(0, y).iter().zip(rgb.row(1, y)).zip(rgb.row(2, y));
            for (m, ((r, g), b)) in scratch.iter_mut().zip(channels) {
                *m = (r + g + b) * (1.0 / 3.0);
            }
            one(0, y, &scratch);
        } else {
            for (c, i) in layout.colour.into_iter().enumerate() {
                one(i, y, rgb.row(c, y));
            }
        }
        if let Some(i) = layout.alpha.or(layout.unused) {
            match alpha.filter(|_| layout.alpha.is_some()) {
                Some(alpha) => one(i, y, alpha.row(0, y)),
                None => {
                    scratch.fill(1.0);
                    one(i, y, &scratch);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
