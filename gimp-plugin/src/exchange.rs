//! How samples travel between GIMP and core: in the picture's own space, in as many bits as the picture has.

use ssmoesr_core::PixelFormat;

/// Type of one sample on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    U8,
    U16,
    F32,
}

/// Curve of the samples on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    /// Of the picture's own profile.
    Own,
    /// That with which the picture's profile would store it, for pictures that are stored otherwise; of sRGB where the
    /// profile has none.
    Perceptual,
    /// None: masks and selections.
    Linear,
}

/// What is known of an item's own format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) gray: bool,
    pub(crate) alpha: bool,
    pub(crate) depth: Depth,
    /// Stored with the curve of its own profile.
    pub(crate) own_curve: bool,
}

impl Stored {
    /// Reads babl's name of a format, such as `R'G'B'A u8` or `Y float-space-gray-sRGB`, and what babl says of it.
    pub(crate) fn new(name: &str, components: usize, alpha: bool, palette: bool) -> Self {
        if palette {
            // babl expands palettes of 8-bit colours.
            return Self { gray: false, alpha, depth: Depth::U8, own_curve: true };
        }
        let sample = name.split_once(' ').map_or("", |(_, rest)| rest.split('-').next().unwrap_or(rest));
        let own_curve = name.as_bytes().get(1) == Some(&b'\'');
        let depth = match sample {
            // Other curves need more bits than the picture has on their way through a perceptual one.
            "u8" if own_curve => Depth::U8,
            "u16" if own_curve => Depth::U16,
            _ => Depth::F32,
        };
        Self { gray: components - usize::from(alpha) == 1, alpha, depth, own_curve }
    }

    /// The format in which the item is read and written: encoded as the network was trained, in the picture's own space.
    pub(crate) fn exchange(&self) -> Exchange {
        let curve = if self.own_curve { Curve::Own } else { Curve::Perceptual };
        Exchange { gray: self.gray, alpha: self.alpha, depth: self.depth, curve }
    }
}

/// A format of samples on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) gray: bool,
    pub(crate) alpha: bool,
    pub(crate) depth: Depth,
    pub(crate) curve: Curve,
}

impl Exchange {
    /// One f32 in `[0, 1]` per pixel: masks and selections.
    pub(crate) const PLANE: Self = Self { gray: true, alpha: false, depth: Depth::F32, curve: Curve::Linear };

    /// babl's name, with the curve of sRGB for a perceptual one; the space is added by who asks babl.
    pub(crate) fn babl_name(&self) -> String {
        let colour = match (self.gray, self.curve) {
            (true, Curve::Own) => "Y'",
            (true, Curve::Perceptual) => "Y~",
            (true, Curve::Linear) => "Y",
            (false, Curve::Own) => "R'G'B'",
            (false, Curve::Perceptual) => "R~G~B~",
            (false, Curve::Linear) => "RGB",
        };
        let sample = match self.depth {
            Depth::U8 => "u8",
            Depth::U16 => "u16",
            Depth::F32 => "float",
        };
        format!("{colour}{} {sample}", if self.alpha { "A" } else { "" })
    }

    /// The same in linear light.
    pub(crate) fn linear(&self) -> Self {
        Self { curve: Curve::Linear, ..*self }
    }

    /// Samples of one pixel.
    pub(crate) fn samples(&self) -> usize {
        if self.gray { 1 + usize::from(self.alpha) } else { 3 + usize::from(self.alpha) }
    }

    /// Bytes of one pixel.
    pub(crate) fn pixel_bytes(&self) -> usize {
        let bytes = match self.depth {
            Depth::U8 => 1,
            Depth::U16 => 2,
            Depth::F32 => 4,
        };
        self.samples() * bytes
    }

    /// Core's format for these samples. Core has no gray of 32 bit: three equal channels stand for it.
    pub(crate) fn frame_format(&self) -> PixelFormat {
        match (self.depth, self.gray, self.alpha) {
            (Depth::U8, true, false) => PixelFormat::Gray8,
            (Depth::U8, true, true) => PixelFormat::GrayA8,
            (Depth::U8, false, false) => PixelFormat::Rgb8,
            (Depth::U8, false, true) => PixelFormat::Rgba8,
            (Depth::U16, true, false) => PixelFormat::Gray16,
            (Depth::U16, true, true) => PixelFormat::GrayA16,
            (Depth::U16, false, false) => PixelFormat::Rgb16,
            (Depth::U16, false, true) => PixelFormat::Rgba16,
            (Depth::F32, _, false) => PixelFormat::RgbF32,
            (Depth::F32, _, true) => PixelFormat::RgbaF32,
        }
    }

    /// Samples of GIMP to samples of core, pixel by pixel.
    pub(crate) fn unpack(&self, row: &[u8], out: &mut [u8]) {
        if !self.is_spread() {
            out.copy_from_slice(row);
            return;
        }
        let (from, to) = (self.pixel_bytes(), self.frame_format().pixel_bytes(0));
        for (px, out) in row.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            for c in 0..3 {
                out[4 * c..][..4].copy_from_slice(&px[..4]);
            }
            out[12..].copy_from_slice(&px[4..]);
        }
    }

    /// Samples of core to samples of GIMP, pixel by pixel.
    pub(crate) fn pack(&self, row: &[u8], out: &mut [u8]) {
        if !self.is_spread() {
            out.copy_from_slice(row);
            return;
        }
        let (from, to) = (self.frame_format().pixel_bytes(0), self.pixel_bytes());
        for (px, out) in row.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
            // As core does for gray: the mean of three estimates of one value.
            let sum: f32 = (0..3).map(|c| sample(px, c)).sum();
            out[..4].copy_from_slice(&(sum * (1.0 / 3.0)).to_ne_bytes());
            out[4..].copy_from_slice(&px[12..]);
        }
    }

    fn is_spread(&self) -> bool {
        self.gray && self.depth == Depth::F32
    }
}

/// The f32 number `index` of a row of bytes.
pub(crate) fn sample(row: &[u8], index: usize) -> f32 {
    match row[4 * index..] {
        [a, b, c, d, ..] => f32::from_ne_bytes([a, b, c, d]),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_gimp_are_understood() {
        let cases = [
            ("R'G'B'A u8", 4, true, "R'G'B'A u8"),
            ("R'G'B' u16-space-RGB-A98C", 3, false, "R'G'B' u16"),
            ("RGB u8", 3, false, "R~G~B~ float"),
            ("RGBA half", 4, true, "R~G~B~A float"),
            ("R~G~B~A u16-space-x", 4, true, "R~G~B~A float"),
            ("R'G'B' double", 3, false, "R'G'B' float"),
            ("Y' u8-space-gray-sRGB", 1, false, "Y' u8"),
            ("Y'A u16", 2, true, "Y'A u16"),
            ("YA float", 2, true, "Y~A float"),
            ("R'G'B' u32", 3, false, "R'G'B' float"),
        ];
        for (stored, components, alpha, exchange) in cases {
            let stored = Stored::new(stored, components, alpha, false);
            assert_eq!(stored.exchange().babl_name(), exchange, "{stored:?}");
            assert_eq!(stored.exchange().samples(), components);
        }
        let palette = Stored::new("\u{29}gimp-indexed-1", 2, true, true);
        assert_eq!(palette.exchange().babl_name(), "R'G'B'A u8");
    }

    #[test]
    fn gray_floats_travel_as_three_equal_channels() {
        let e = Exchange { gray: true, alpha: true, depth: Depth::F32, curve: Curve::Perceptual };
        let row: Vec<u8> = [0.25f32, 0.5, 1.0, 0.0].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut core = vec![0; 2 * e.frame_format().pixel_bytes(0)];
        e.unpack(&row, &mut core);
        let values: Vec<f32> = (0..8).map(|i| sample(&core, i)).collect();
        assert_eq!(values, [0.25, 0.25, 0.25, 0.5, 1.0, 1.0, 1.0, 0.0]);
        let mut back = vec![0; row.len()];
        e.pack(&core, &mut back);
        assert_eq!(back, row);
    }

    #[test]
    fn others_travel_as_they_are() {
        let e = Stored::new("R'G'B'A u8", 4, true, false).exchange();
        let mut out = [0; 8];
        e.unpack(&[1, 2, 3, 4, 5, 6, 7, 8], &mut out);
        assert_eq!(out, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(e.pixel_bytes(), e.frame_format().pixel_bytes(0));
    }
}
