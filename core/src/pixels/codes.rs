//! How the codes of a frame follow from colours and colours from codes, in numbers: for devices that read and write frames themselves.
//! `convert` does the same.

use crate::pixels::canvas::Canvas;
use crate::pixels::convert::packed_samples;
use crate::pixels::frame::{ChromaSiting, ColorInfo, PixelFormat};
use crate::pixels::planar::planar;
use crate::pixels::yuv;

/// What one code is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// R, G or B by number.
    Colour(usize),
    Alpha,
    /// The largest code.
    White,
    /// The mean of the three colours.
    Gray,
    Luma,
    /// U or V by number.
    Chroma(usize),
}

/// The codes of one plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneCodes {
    /// Codes of a position, and what they are.
    pub(crate) samples: usize,
    pub(crate) kinds: [Kind; 4],
    /// Bytes of a code, 1, 2 or 4 (f32), and unused bits below it.
    pub(crate) bytes: usize,
    pub(crate) shift: usize,
    /// The largest code, and what white is.
    pub(crate) top: f32,
    pub(crate) white: f32,
    /// Whether the plane has half the columns and rows.
    pub(crate) halved: (bool, bool),
}

/// The planes of a format.
pub(crate) fn codes(format: PixelFormat) -> Vec<PlaneCodes> {
    let white = Kind::White;
    let Some(planar) = planar(format) else {
        let bytes = format.sample_bytes();
        let white = match bytes {
            1 => 255.0,
            2 => 65535.0,
            _ => 1.0,
        };
        let packed = packed_samples(format);
        let one = |(samples, kinds)| PlaneCodes {
            samples,
            kinds,
            bytes,
            shift: 0,
            top: white,
            white,
            halved: (false, false),
        };
        return packed.map(one).into_iter().collect();
    };
    let of = |plane: usize| -> (usize, [Kind; 4]) {
        match (planar.yuv, plane, planar.pair) {
            (true, 0, _) => (1, [Kind::Luma; 4]),
            (true, _, Some([u, _])) => {
                let pair = [Kind::Chroma(u), Kind::Chroma(1 - u.min(1))];
                (2, [pair[0], pair[1], white, white])
            }
            (true, n, None) => (1, [Kind::Chroma(n - 1); 4]),
            (false, n @ 0..3, _) => (1, [Kind::Colour(n); 4]),
            (false, ..) => (1, [Kind::Alpha; 4]),
        }
    };
    let plane = |plane: usize| {
        let (samples, kinds) = of(plane);
        let half = |sub: u32| planar.yuv && plane > 0 && sub > 0;
        PlaneCodes {
            samples,
            kinds,
            bytes: planar.code_bytes(),
            shift: planar.shift as usize,
            top: planar.top(),
            white: planar.top(),
            halved: (half(planar.sub.0), half(planar.sub.1)),
        }
    };
    (0..planar.planes()).map(plane).collect()
}

/// Numbers between colours and Y'CbCr in `format`: Kr, Kg, Kb, offset and scale of luma, offset of chroma, scales of U (from
/// blue less luma) and of V; zeros where it is not Y'CbCr.
pub(crate) fn yuv_numbers(format: PixelFormat, color: ColorInfo) -> [f32; 8] {
    match planar(format).filter(|p| p.yuv) {
        Some(planar) => yuv::numbers(&planar, color),
        None => [0.0; 8],
    }
}

/// How codes of `format` become colours, where it is Y'CbCr.
pub(crate) fn yuv_reading(format: PixelFormat, color: ColorInfo) -> Option<yuv::Reading> {
    planar(format).filter(|p| p.yuv).map(|planar| yuv::reading(&planar, color))
}

/// Number of a siting: 0 left, 1 centre, 2 top left.
pub(crate) fn siting_number(siting: ChromaSiting) -> usize {
    match siting {
        ChromaSiting::Left => 0,
        ChromaSiting::Center => 1,
        ChromaSiting::TopLeft => 2,
    }
}

/// The one value of `plane`, where it has no other.
pub(crate) fn constant(plane: &Canvas) -> Option<f32> {
    let first = *plane.data().first()?;
    plane.data().iter().all(|v| *v == first).then_some(first)
}
