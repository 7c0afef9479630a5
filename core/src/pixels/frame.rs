//! Frames as hosts hold them: planes with strides, a pixel format, and how YUV is to be read.

use crate::error::{Error, Result};
use crate::pixels::planar::planar;

/// Largest side of a frame, in pixels, on input and output.
const MAX_SIDE: u32 = 1 << 20;

/// Layout of samples in memory. Integers are in native byte order, alpha is straight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// One gray sample of 8 bit.
    Gray8,
    /// Gray and alpha, 8 bit.
    GrayA8,
    /// One gray sample of 16 bit.
    Gray16,
    /// Gray and alpha, 16 bit.
    GrayA16,
    /// R, G, B, 8 bit.
    Rgb8,
    /// B, G, R, 8 bit.
    Bgr8,
    /// R, G, B and an unused byte.
    Rgbx8,
    /// B, G, R and an unused byte.
    Bgrx8,
    /// An unused byte, then R, G, B.
    Xrgb8,
    /// An unused byte, then B, G, R.
    Xbgr8,
    /// R, G, B, alpha, 8 bit.
    Rgba8,
    /// B, G, R, alpha, 8 bit.
    Bgra8,
    /// Alpha, R, G, B, 8 bit.
    Argb8,
    /// Alpha, B, G, R, 8 bit.
    Abgr8,
    /// R, G, B, 16 bit.
    Rgb16,
    /// R, G, B, alpha, 16 bit.
    Rgba16,
    /// R, G, B, f32 in `[0, 1]`.
    RgbF32,
    /// R, G, B, alpha, f32 in `[0, 1]`.
    RgbaF32,
    /// Planes Y, U, V, 8 bit, chroma halved both ways.
    I420,
    /// Plane Y, then U and V interleaved, 8 bit, chroma halved both ways.
    Nv12,
    /// As `Nv12` with V before U.
    Nv21,
    /// Planes Y, U, V, 8 bit, chroma halved across.
    I422,
    /// Planes Y, U, V, 8 bit, chroma not halved.
    I444,
    /// As `I420` with codes of 10 bit in the low bits of 16.
    I420P10,
    /// As `I422` with codes of 10 bit in the low bits of 16.
    I422P10,
    /// As `I444` with codes of 10 bit in the low bits of 16.
    I444P10,
    /// As `Nv12` with codes of 10 bit in the high bits of 16.
    P010,
    /// Planes R, G, B, 8 bit.
    PlanarRgb8,
    /// Planes R, G, B, alpha, 8 bit.
    PlanarRgba8,
    /// Alpha, R, G, B, 16 bit.
    Argb16,
    /// Planes R, G, B, f32 in `[0, 1]`.
    RgbPF32,
    /// Planes R, G, B, alpha, f32 in `[0, 1]`.
    RgbaPF32,
}

/// Matrix between R'G'B' and Y'CbCr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Matrix {
    /// ITU-R BT.601.
    Bt601,
    /// ITU-R BT.709.
    #[default]
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
    /// SMPTE 240M.
    Smpte240m,
}

/// Range of YUV codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// 16..235 and 16..240 at 8 bit.
    #[default]
    Limited,
    /// 0..255 at 8 bit.
    Full,
}

/// Where chroma samples sit between luma samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ChromaSiting {
    /// Horizontally on even luma columns, vertically between rows (MPEG-2, H.264).
    #[default]
    Left,
    /// In the middle of four luma samples (JPEG, MPEG-1).
    Center,
    /// On even columns and even rows (BT.2020).
    TopLeft,
}

/// How YUV samples are to be read. Without meaning for the other formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ColorInfo {
    /// Matrix.
    pub matrix: Matrix,
    /// Code range.
    pub range: Range,
    /// Chroma position.
    pub siting: ChromaSiting,
}

impl PixelFormat {
    /// Every format there is.
    pub const ALL: [Self; 32] = [
        Self::Gray8,
        Self::GrayA8,
        Self::Gray16,
        Self::GrayA16,
        Self::Rgb8,
        Self::Bgr8,
        Self::Rgbx8,
        Self::Bgrx8,
        Self::Xrgb8,
        Self::Xbgr8,
        Self::Rgba8,
        Self::Bgra8,
        Self::Argb8,
        Self::Abgr8,
        Self::Rgb16,
        Self::Rgba16,
        Self::RgbF32,
        Self::RgbaF32,
        Self::I420,
        Self::Nv12,
        Self::Nv21,
        Self::I422,
        Self::I444,
        Self::I420P10,
        Self::I422P10,
        Self::I444P10,
        Self::P010,
        Self::PlanarRgb8,
        Self::PlanarRgba8,
        Self::Argb16,
        Self::RgbPF32,
        Self::RgbaPF32,
    ];

    /// Number of planes.
    pub fn planes(self) -> usize {
        planar(self).map_or(1, |p| p.planes())
    }

    /// True for Y'CbCr formats.
    pub fn is_yuv(self) -> bool {
        planar(self).is_some_and(|p| p.yuv)
    }

    /// True where the format carries alpha.
    pub fn has_alpha(self) -> bool {
        matches!(
            self,
            Self::GrayA8
                | Self::GrayA16
                | Self::Rgba8
                | Self::Bgra8
                | Self::Argb8
                | Self::Abgr8
                | Self::Rgba16
                | Self::Argb16
                | Self::RgbaF32
                | Self::PlanarRgba8
                | Self::RgbaPF32
        )
    }

    /// Bytes of one sample.
    pub fn sample_bytes(self) -> usize {
        if let Some(planar) = planar(self) {
            return planar.code_bytes();
        }
        match self {
            Self::Gray16 | Self::GrayA16 | Self::Rgb16 | Self::Rgba16 | Self::Argb16 => 2,
            Self::RgbF32 | Self::RgbaF32 => 4,
            _ => 1,
        }
    }

    /// Bytes of one pixel in plane `plane` (where a plane holds U and V: of one pair).
    pub fn pixel_bytes(self, plane: usize) -> usize {
        if let Some(planar) = planar(self) {
            return planar.codes_per_position(plane) * planar.code_bytes();
        }
        let samples = match self {
            Self::Gray8 | Self::Gray16 => 1,
            Self::GrayA8 | Self::GrayA16 => 2,
            Self::Rgb8 | Self::Bgr8 | Self::Rgb16 | Self::RgbF32 => 3,
            _ => 4,
        };
        samples * self.sample_bytes()
    }

    /// Width and height of plane `plane` for a frame of `width` x `height` (chroma rounds up).
    pub fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (w, h) = (width as usize, height as usize);
        planar(self).map_or((w, h), |p| p.plane_size(plane, w, h))
    }
}

/// One plane that is read.
#[derive(Clone, Copy, Debug)]
pub struct PlaneRef<'a> {
    /// Bytes from the first row on; the last row may end early.
    pub data: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
}

/// One plane that is written.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// Bytes from the first row on; the last row may end early.
    pub data: &'a mut [u8],
    /// Bytes from row to row.
    pub stride: usize,
}

/// A frame that is read. Sizes are checked when it is made.
#[derive(Clone, Debug)]
pub struct FrameRef<'a> {
    format: PixelFormat,
    width: u32,
    height: u32,
    color: ColorInfo,
    planes: Vec<PlaneRef<'a>>,
}

/// A frame that is written. Sizes are checked when it is made.
#[derive(Debug)]
pub struct FrameMut<'a> {
    format: PixelFormat,
    width: u32,
    height: u32,
    color: ColorInfo,
    planes: Vec<PlaneMut<'a>>,
}

/// A frame that owns its samples, rows without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    format: PixelFormat,
    width: u32,
    height: u32,
    color: ColorInfo,
    planes: Vec<Vec<u8>>,
}

/// Bytes that a plane must hold at least, or why the frame cannot be.
fn plane_bytes(format: PixelFormat, plane: usize, width: u32, height: u32, stride: usize) -> Result<usize> {
    let (w, h) = format.plane_size(plane, width, height);
    let row = w * format.pixel_bytes(plane);
    if stride < row {
        return Err(Error::input(format!(
            "plane {plane}: stride of {stride} bytes is too small for {w} pixels of {format:?} ({row} bytes)"
        )));
    }
    stride
        .checked_mul(h - 1)
        .and_then(|n| n.checked_add(row))
        .ok_or_else(|| Error::input(format!("plane {plane}: {h} rows of {stride} bytes overflow")))
}

fn check_size(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::input(format!("frame of {width}x{height} pixels: sides must be 1 to {MAX_SIDE}")));
    }
    Ok(())
}

fn check(
    format: PixelFormat,
    width: u32,
    height: u32,
    planes: impl ExactSizeIterator<Item = (usize, usize)>,
) -> Result<()> {
    check_size(width, height)?;
    if planes.len() != format.planes() {
        return Err(Error::input(format!(
            "{format:?} needs {} planes, {} given",
            format.planes(),
            planes.len()
        )));
    }
    for (i, (len, stride)) in planes.enumerate() {
        let need = plane_bytes(format, i, width, height, stride)?;
        if len < need {
            return Err(Error::input(format!(
                "plane {i} holds {len} bytes, a {width}x{height} {format:?} frame needs {need}"
            )));
        }
    }
    Ok(())
}

impl<'a> FrameRef<'a> {
    /// Describes samples in memory.
    ///
    /// # Errors
    /// `Input` where the size is zero or too large, or a plane is missing or too short.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        color: ColorInfo,
        planes: Vec<PlaneRef<'a>>,
    ) -> Result<Self> {
        check(format, width, height, planes.iter().map(|p| (p.data.len(), p.stride)))?;
        Ok(Self { format, width, height, color, planes })
    }

    /// Layout of the samples.
    pub fn format(&self) -> PixelFormat {
        self.format
    }
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }
    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
    /// How YUV is to be read.
    pub fn color(&self) -> ColorInfo {
        self.color
    }
    /// The bytes of row `y` of plane `plane`, without the stride's padding.
    pub fn row(&self, plane: usize, y: usize) -> &'a [u8] {
        let (w, _) = self.format.plane_size(plane, self.width, self.height);
        let p = &self.planes[plane];
        &p.data[y * p.stride..][..w * self.format.pixel_bytes(plane)]
    }
}

impl<'a> FrameMut<'a> {
    /// Describes memory that takes samples.
    ///
    /// # Errors
    /// `Input` where the size is zero or too large, or a plane is missing or too short.
    pub fn new(
        format: PixelFormat,
        width: u32,
        height: u32,
        color: ColorInfo,
        planes: Vec<PlaneMut<'a>>,
    ) -> Result<Self> {
        check(format, width, height, planes.iter().map(|p| (p.data.len(), p.stride)))?;
        Ok(Self { format, width, height, color, planes })
    }

    /// Layout of the samples.
    pub fn format(&self) -> PixelFormat {
        self.format
    }
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }
    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
    /// How YUV is to be written.
    pub fn color(&self) -> ColorInfo {
        self.color
    }
    /// The bytes of row `y` of plane `plane`, without the stride's padding.
    pub fn row_mut(&mut self, plane: usize, y: usize) -> &mut [u8] {
        let (w, _) = self.format.plane_size(plane, self.width, self.height);
        let bytes = w * self.format.pixel_bytes(plane);
        let p = &mut self.planes[plane];
        &mut p.data[y * p.stride..][..bytes]
    }
}

impl Frame {
    /// Largest side of a frame, in pixels.
    pub const MAX_SIDE: u32 = MAX_SIDE;

    /// A frame of zeros.
    ///
    /// # Errors
    /// `Input` for an impossible size, `Limit` where the memory cannot be had.
    pub fn new(format: PixelFormat, width: u32, height: u32, color: ColorInfo) -> Result<Self> {
        check_size(width, height)?;
        let mut planes = Vec::with_capacity(format.planes());
        for p in 0..format.planes() {
            let (w, h) = format.plane_size(p, width, height);
            let bytes = w
                .checked_mul(format.pixel_bytes(p))
                .and_then(|row| row.checked_mul(h))
                .ok_or_else(|| Error::input(format!("frame of {width}x{height} pixels overflows")))?;
            let mut data = Vec::new();
            data.try_reserve_exact(bytes).map_err(|e| {
                Error::limit(format!("{bytes} bytes for a {width}x{height} frame cannot be had")).because(e)
            })?;
            data.resize(bytes, 0);
            planes.push(data);
        }
        Ok(Self { format, width, height, color, planes })
    }

    /// Takes over the only plane of a packed format, rows without gaps.
    ///
    /// # Errors
    /// `Input` where the number of bytes does not fit.
    #[cfg(feature = "files")]
    pub(crate) fn from_plane(format: PixelFormat, width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        check_size(width, height)?;
        let bytes = (width as usize).checked_mul(height as usize);
        if format.planes() != 1
            || bytes.and_then(|n| n.checked_mul(format.pixel_bytes(0))) != Some(data.len())
        {
            return Err(Error::input(format!(
                "{} bytes do not make a {width}x{height} {format:?} frame",
                data.len()
            )));
        }
        Ok(Self { format, width, height, color: ColorInfo::default(), planes: vec![data] })
    }

    /// Gives the first plane away.
    #[cfg(feature = "files")]
    pub(crate) fn into_plane(self) -> Vec<u8> {
        self.planes.into_iter().next().unwrap_or_default()
    }

    /// Layout of the samples.
    pub fn format(&self) -> PixelFormat {
        self.format
    }
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }
    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
    /// How YUV is to be read.
    pub fn color(&self) -> ColorInfo {
        self.color
    }
    /// The bytes of a plane, rows without gaps.
    pub fn plane(&self, plane: usize) -> &[u8] {
        &self.planes[plane]
    }
    /// The bytes of a plane, to write.
    pub fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        &mut self.planes[plane]
    }

    fn stride(&self, plane: usize) -> usize {
        self.format.plane_size(plane, self.width, self.height).0 * self.format.pixel_bytes(plane)
    }

    /// A view to read.
    pub fn view(&self) -> FrameRef<'_> {
        let planes = self
            .planes
            .iter()
            .enumerate()
            .map(|(i, data)| PlaneRef { data, stride: self.stride(i) })
            .collect();
        FrameRef { format: self.format, width: self.width, height: self.height, color: self.color, planes }
    }

    /// A view to write.
    pub fn view_mut(&mut self) -> FrameMut<'_> {
        let strides: Vec<_> = (0..self.planes.len()).map(|i| self.stride(i)).collect();
        let planes =
            self.planes.iter_mut().zip(strides).map(|(data, stride)| PlaneMut { data, stride }).collect();
        FrameMut { format: self.format, width: self.width, height: self.height, color: self.color, planes }
    }
}
