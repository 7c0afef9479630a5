//! Formats whose components lie in planes of their own: their numbers in one table, and their codes as f32.

use std::ops::Range;

use crate::error::Result;
use crate::pixels::canvas::{Band, Canvas, line, unit};
use crate::pixels::convert::to_u8;
use crate::pixels::frame::{FrameMut, FrameRef, PixelFormat};
use crate::pixels::yuv;

/// How a planar format lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planar {
    /// Y'CbCr; else R, G and B.
    pub(crate) yuv: bool,
    /// Whether a plane of alpha comes last.
    pub(crate) alpha: bool,
    /// Luma samples per chroma sample as a power of two, across and down.
    pub(crate) sub: (u32, u32),
    /// Where U and V stand in each pair, where one plane holds both.
    pub(crate) pair: Option<[usize; 2]>,
    /// Bits of a code; more than 8 take two bytes. 32: f32 in `[0, 1]`.
    pub(crate) bits: u32,
    /// Unused bits below the code.
    pub(crate) shift: u32,
}

/// The layout of `format`; `None` for packed ones.
pub(crate) fn planar(format: PixelFormat) -> Option<Planar> {
    use PixelFormat as F;
    const I420: Planar = Planar { yuv: true, alpha: false, sub: (1, 1), pair: None, bits: 8, shift: 0 };
    Some(match format {
        F::I420 => I420,
        F::Nv12 => Planar { pair: Some([0, 1]), ..I420 },
        F::Nv21 => Planar { pair: Some([1, 0]), ..I420 },
        F::I422 => Planar { sub: (1, 0), ..I420 },
        F::I444 => Planar { sub: (0, 0), ..I420 },
        F::I420P10 => Planar { bits: 10, ..I420 },
        F::I422P10 => Planar { sub: (1, 0), bits: 10, ..I420 },
        F::I444P10 => Planar { sub: (0, 0), bits: 10, ..I420 },
        F::P010 => Planar { pair: Some([0, 1]), bits: 10, shift: 6, ..I420 },
        F::PlanarRgb8 => Planar { yuv: false, sub: (0, 0), ..I420 },
        F::PlanarRgba8 => Planar { yuv: false, alpha: true, sub: (0, 0), ..I420 },
        F::RgbPF32 => Planar { yuv: false, sub: (0, 0), bits: 32, ..I420 },
        F::RgbaPF32 => Planar { yuv: false, alpha: true, sub: (0, 0), bits: 32, ..I420 },
        _ => return None,
    })
}

impl Planar {
    /// Number of planes.
    pub(crate) fn planes(&self) -> usize {
        if self.pair.is_some() { 2 } else { 3 + usize::from(self.alpha) }
    }

    /// Bytes of one code.
    pub(crate) fn code_bytes(&self) -> usize {
        match self.bits {
            ..=8 => 1,
            9..=16 => 2,
            _ => 4,
        }
    }

    /// Codes that plane `plane` holds per sample position.
    pub(crate) fn codes_per_position(&self, plane: usize) -> usize {
        if self.pair.is_some() && plane == 1 { 2 } else { 1 }
    }

    /// Sides of plane `plane` of a frame of `width` x `height`; chroma rounds up.
    pub(crate) fn plane_size(&self, plane: usize, width: usize, height: usize) -> (usize, usize) {
        if plane == 0 {
            return (width, height);
        }
        (width.div_ceil(1 << self.sub.0), height.div_ceil(1 << self.sub.1))
    }

    /// Largest code; 1 where samples are f32.
    pub(crate) fn top(&self) -> f32 {
        if self.bits > 16 { 1.0 } else { f32::from(u16::MAX >> (16 - self.bits)) }
    }

    /// Codes of a row as numbers: every `step`-th from number `at` on.
    pub(crate) fn read(&self, row: &[u8], step: usize, at: usize, out: &mut [f32]) {
        if self.code_bytes() == 1 {
            for (o, code) in out.iter_mut().zip(row[at..].iter().step_by(step)) {
                *o = f32::from(*code);
            }
        } else if self.code_bytes() == 4 {
            let (samples, _) = row.as_chunks::<4>();
            for (o, sample) in out.iter_mut().zip(samples[at..].iter().step_by(step)) {
                *o = f32::from_ne_bytes(*sample);
            }
        } else {
            let (codes, _) = row.as_chunks::<2>();
            for (o, code) in out.iter_mut().zip(codes[at..].iter().step_by(step)) {
                *o = f32::from(u16::from_ne_bytes(*code) >> self.shift);
            }
        }
    }

    /// Writes `values` as the nearest codes, where [`read`](Self::read) reads them.
    pub(crate) fn write(&self, values: &[f32], row: &mut [u8], step: usize, at: usize) {
        if self.code_bytes() == 1 {
            for (v, code) in values.iter().zip(row[at..].iter_mut().step_by(step)) {
                *code = to_u8(*v);
            }
        } else if self.code_bytes() == 4 {
            let (samples, _) = row.as_chunks_mut::<4>();
            for (v, sample) in values.iter().zip(samples[at..].iter_mut().step_by(step)) {
                *sample = unit(*v).to_ne_bytes();
            }
        } else {
            let top = self.top() as u16;
            let (codes, _) = row.as_chunks_mut::<2>();
            for (v, code) in values.iter().zip(codes[at..].iter_mut().step_by(step)) {
                // The cast saturates and takes NaN to 0.
                *code = (((v + 0.5) as u16).min(top) << self.shift).to_ne_bytes();
            }
        }
    }
}

/// Alpha of row `y` of a format that has it.
pub(crate) fn read_alpha(frame: &FrameRef<'_>, planar: &Planar, y: usize, out: &mut [f32]) {
    planar.read(frame.row(3, y), 1, 0, out);
    let top = planar.top();
    out.iter_mut().for_each(|v| *v /= top);
}

/// Colours `[3, H, W]`, filled into `rgb`, and alpha `[1, H, W]` where the format has it: true then.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn to_canvas(
    frame: &FrameRef<'_>,
    planar: &Planar,
    rgb: &mut Canvas,
    alpha: &mut Canvas,
) -> Result<bool> {
    if planar.yuv {
        yuv::to_canvas(frame, planar, rgb)?;
        return Ok(false);
    }
    let (w, h) = (rgb.width(), rgb.height());
    if planar.alpha {
        alpha.reset(1, w, h)?;
    }
    let top = planar.top();
    for y in 0..h {
        let alpha = planar.alpha.then(|| alpha.row_mut(0, y));
        let rows = rgb.rgb_rows_mut(y).into_iter().chain(alpha);
        for (plane, out) in rows.enumerate() {
            planar.read(frame.row(plane, y), 1, 0, out);
            out.iter_mut().for_each(|v| *v /= top);
        }
    }
    Ok(planar.alpha)
}

/// Writes rows of colours, and of alpha where the format has it (1 where none is given), to the nearest codes; see
/// [`super::convert::write_rows`].
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn to_frame(
    rgb: &Band<'_>,
    alpha: Option<&Band<'_>>,
    planar: &Planar,
    frame: &mut FrameMut<'_>,
    rows: Range<usize>,
) -> Result<()> {
    if planar.yuv {
        return yuv::to_frame(rgb, planar, frame, rows);
    }
    let top = planar.top();
    let mut scaled = line(rgb.width())?;
    for plane in 0..planar.planes() {
        for y in rows.clone() {
            let row = if plane < 3 { Some(rgb.row(plane, y)) } else { alpha.map(|a| a.row(0, y)) };
            match row {
                Some(row) => scaled.iter_mut().zip(row).for_each(|(s, v)| *s = v * top),
                None => scaled.fill(top),
            }
            planar.write(&scaled, frame.row_mut(plane, y), 1, 0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lie_where_the_format_says() {
        for (format, bytes, want) in [
            (PixelFormat::I420P10, [1023u16, 64, 0, 512], [1023.0, 64.0, 0.0, 512.0]),
            (PixelFormat::P010, [1023 << 6, 64 << 6, 63, 512 << 6 | 1], [1023.0, 64.0, 0.0, 512.0]),
        ] {
            let planar = planar(format).unwrap();
            let row: Vec<u8> = bytes.iter().flat_map(|code| code.to_ne_bytes()).collect();
            let mut found = [0.0; 4];
            planar.read(&row, 1, 0, &mut found);
            assert_eq!(found, want, "{format:?}");
            let mut pairs = [0.0; 2];
            planar.read(&row, 2, 1, &mut pairs);
            assert_eq!(pairs, [want[1], want[3]]);
            let mut back = [0; 8];
            planar.write(&[1023.6, 63.5, f32::NAN, 512.4], &mut back, 1, 0);
            let codes: Vec<u16> = back.as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect();
            assert_eq!(codes, [1023, 64, 0, 512].map(|code: u16| code << planar.shift), "{format:?}");
        }
    }

    #[test]
    fn an_eight_bit_code_is_a_byte() {
        let planar = planar(PixelFormat::Nv21).unwrap();
        let mut found = [0.0; 2];
        planar.read(&[1, 2, 3, 4], 2, 1, &mut found);
        assert_eq!(found, [2.0, 4.0]);
        let mut row = [9; 4];
        planar.write(&[300.0, -1.0], &mut row, 2, 0);
        assert_eq!(row, [255, 9, 0, 9]);
    }
}
