//! Picture files: PNG, JPEG, WebP and TIFF, with their ICC profile and EXIF, read with limits, written atomically.

use std::io::{BufWriter, Cursor, ErrorKind as IoKind, Seek, Write};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::tiff::{TiffDecoder, TiffEncoder};
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat,
    ImageReader, Limits,
};

use crate::error::{Error, Result};
use crate::pixels::{Frame, FrameRef, PixelFormat, convert};

/// Largest side of a picture that is read, in pixels.
const MAX_SIDE: u32 = 32_768;
/// Largest picture that is read, in pixels.
const MAX_PIXELS: u64 = 1 << 27;
/// Most memory a decoder may take, in bytes: the largest picture at 16 bit RGBA, twice.
const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 8 * 2;
/// JPEG quality: the first at which an enlarged photo shows no blocks at 1:1.
const JPEG_QUALITY: u8 = 95;
/// Largest side that a JPEG or WebP file can have (16 bit less one; 14 bit).
const MAX_JPEG_SIDE: u32 = 65_535;
const MAX_WEBP_SIDE: u32 = 16_383;
/// EXIF that fits the one segment of a JPEG that it must fit, with its head.
const MAX_JPEG_EXIF: usize = 65_000;

/// A kind of picture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// PNG, 8 or 16 bit.
    Png,
    /// JPEG, 8 bit, no alpha.
    Jpeg,
    /// WebP, 8 bit, written without loss.
    WebP,
    /// TIFF, 8 or 16 bit or float.
    Tiff,
}

/// What to do where the target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Keep it and fail.
    Refuse,
    /// Replace it.
    Replace,
}

/// What a picture file says about its pixels and their making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// ICC profile, fitting the frame's colours (gray or RGB).
    pub icc: Option<Vec<u8>>,
    /// EXIF, beginning with its TIFF header; the orientation is normal.
    pub exif: Option<Vec<u8>>,
}

/// A picture read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picture {
    /// The pixels, turned upright.
    pub frame: Frame,
    /// Profile and EXIF.
    pub meta: Metadata,
    /// What the file was.
    pub kind: FileKind,
}

impl FileKind {
    /// The kind that a file name's extension stands for.
    pub fn from_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" | "jpe" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            "tif" | "tiff" => Some(Self::Tiff),
            _ => None,
        }
    }

    /// Whether a file of this kind can hold such a frame, to be asked before the work is done.
    ///
    /// # Errors
    /// `Option`, saying which kind can.
    pub fn check(self, format: PixelFormat, width: u32, height: u32) -> Result<()> {
        let side = match self {
            Self::Jpeg => MAX_JPEG_SIDE,
            Self::WebP => MAX_WEBP_SIDE,
            Self::Png | Self::Tiff => u32::MAX,
        };
        let name = self.name();
        if width.max(height) > side {
            return Err(Error::option(format!(
                "{width}x{height} pixels are too large for {name} (at most {side} a side); write PNG or TIFF"
            )));
        }
        if self == Self::Jpeg && format.has_alpha() {
            return Err(Error::option("JPEG has no transparency, the picture has; write PNG, WebP or TIFF"));
        }
        let stored = self.stored(format);
        let bytes = u64::from(width) * u64::from(height) * stored.pixel_bytes(0) as u64;
        // Offsets in a TIFF file have 32 bit; some are left for the directory.
        if self == Self::Tiff && bytes > u64::from(u32::MAX) - (1 << 20) {
            return Err(Error::option(format!(
                "{width}x{height} pixels are more than the 4 GiB of a TIFF file; write PNG"
            )));
        }
        Ok(())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Tiff => "TIFF",
        }
    }

    /// The format in which a frame of `format` is stored.
    fn stored(self, format: PixelFormat) -> PixelFormat {
        use PixelFormat as F;
        let gray = matches!(format, F::Gray8 | F::GrayA8 | F::Gray16 | F::GrayA16);
        // The encoder writes no TIFF of gray with alpha.
        let gray = gray && !(self == Self::Tiff && format.has_alpha());
        let bytes = match self {
            Self::Jpeg | Self::WebP => 1,
            Self::Png => format.sample_bytes().min(2),
            Self::Tiff => format.sample_bytes(),
        };
        match (gray, format.has_alpha(), bytes) {
            (true, false, 1) => F::Gray8,
            (true, false, _) => F::Gray16,
            (true, true, 1) => F::GrayA8,
            (true, true, _) => F::GrayA16,
            (false, false, 1) => F::Rgb8,
            (false, false, 2) => F::Rgb16,
            (false, false, _) => F::RgbF32,
            (false, true, 1) => F::Rgba8,
            (false, true, 2) => F::Rgba16,
            (false, true, _) => F::RgbaF32,
        }
    }
}

/// Reads a picture file; its contents decide what it is, not its name.
///
/// # Errors
/// `Io` where the file cannot be read, `Input` where it is no picture, broken or too large, `Limit` for memory.
pub fn read_picture(path: &Path) -> Result<Picture> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| Error::io(format!("cannot read {name}"), e))?;
    read_picture_bytes(&bytes, &name)
}

/// Reads a picture from memory; errors call it `name`.
///
/// # Errors
/// As [`read_picture`].
pub fn read_picture_bytes(bytes: &[u8], name: &str) -> Result<Picture> {
    decode(bytes).map_err(|why| Error::input(format!("cannot read {name}: {why}")))
}

/// Reads a picture, or says what is wrong and what to do.
fn decode(bytes: &[u8]) -> Result<Picture, String> {
    if bytes.is_empty() {
        return Err("the file is empty; copy or save it again".to_owned());
    }
    let kind = guess(bytes)?;
    let whole = match kind {
        FileKind::Jpeg => jpeg_is_whole(bytes),
        FileKind::WebP => webp_is_whole(bytes),
        // These decoders tell themselves.
        FileKind::Png | FileKind::Tiff => true,
    };
    if !whole {
        return Err(too_short(bytes.len()));
    }
    let broken = |e: ImageError| broken(kind, bytes.len(), &e);

    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind.image_format());
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(format!(
            "it has {width}x{height} pixels, more than {MAX_SIDE} a side or {MAX_PIXELS} in all; cut it into parts"
        ));
    }
    let icc = match kind {
        // With limits set the decoder takes the size of the pixels for the limit of a tag (image 0.25.10).
        FileKind::Tiff => TiffDecoder::new(Cursor::new(bytes)).and_then(|mut d| d.icc_profile()),
        _ => decoder.icc_profile(),
    }
    .map_err(broken)?;
    let mut exif = decoder.exif_metadata().map_err(broken)?;
    let orientation = decoder.orientation().map_err(broken)?;
    if let Some(exif) = &mut exif {
        // The pixels are turned here; a viewer must not turn them again.
        let _ = Orientation::remove_from_exif_chunk(exif);
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);

    let format = match picture.color() {
        ColorType::L8 => PixelFormat::Gray8,
        ColorType::La8 => PixelFormat::GrayA8,
        ColorType::L16 => PixelFormat::Gray16,
        ColorType::La16 => PixelFormat::GrayA16,
        ColorType::Rgb8 => PixelFormat::Rgb8,
        ColorType::Rgba8 => PixelFormat::Rgba8,
        ColorType::Rgb16 => PixelFormat::Rgb16,
        ColorType::Rgba16 => PixelFormat::Rgba16,
        ColorType::Rgb32F => PixelFormat::RgbF32,
        ColorType::Rgba32F => PixelFormat::RgbaF32,
        other => {
            return Err(format!("its colours ({other:?}) are not supported; save it as 8 or 16 bit RGB"));
        }
    };
    let icc = icc.filter(|icc| icc_fits(icc, format));
    let (width, height) = (picture.width(), picture.height());
    let frame = Frame::from_plane(format, width, height, picture.into_bytes()).map_err(|e| e.to_string())?;
    Ok(Picture { frame, meta: Metadata { icc, exif }, kind })
}

impl FileKind {
    fn image_format(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::WebP => ImageFormat::WebP,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}

fn guess(bytes: &[u8]) -> Result<FileKind, String> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => Ok(FileKind::Png),
        Ok(ImageFormat::Jpeg) => Ok(FileKind::Jpeg),
        Ok(ImageFormat::WebP) => Ok(FileKind::WebP),
        Ok(ImageFormat::Tiff) => Ok(FileKind::Tiff),
        Ok(other) => Err(format!("{} pictures are not supported; save it as PNG", other.extensions_str()[0])),
        Err(_) => Err("it is not a PNG, JPEG, WebP or TIFF picture; save it as one of these".to_owned()),
    }
}

fn too_short(len: usize) -> String {
    format!("it ends too early, after {len} bytes; copy or download it again")
}

fn broken(kind: FileKind, len: usize, error: &ImageError) -> String {
    match error {
        ImageError::IoError(e) if e.kind() == IoKind::UnexpectedEof => too_short(len),
        ImageError::Limits(_) => {
            format!("it needs more than {} MiB of memory; cut it into parts", MAX_DECODER_BYTES >> 20)
        }
        error => {
            let why = error.to_string().replace(['\n', '\r'], " ");
            format!("broken {} ({why}); open it in a viewer and save it again", kind.name())
        }
    }
}

/// Whether a JPEG's last scan ends as it should. The decoder fills what is missing with gray and says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while at + 1 < bytes.len() {
        let marker = bytes[at + 1];
        if bytes[at] != 0xFF || matches!(marker, 0x00 | 0xFF | 0x01 | 0xD0..=0xD8) {
            // Coded data, stuffing, restarts.
            at += 1;
        } else if marker == 0xD9 {
            return true;
        } else {
            let Some(length) = bytes.get(at + 2..at + 4) else { return false };
            at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        }
    }
    false
}

/// Whether all bytes that a WebP file counts in its head are there.
fn webp_is_whole(bytes: &[u8]) -> bool {
    let Some(&[a, b, c, d]) = bytes.get(4..8) else { return false };
    u64::from(u32::from_le_bytes([a, b, c, d])) + 8 <= bytes.len() as u64
}

/// Whether a profile is one for the colours of `format`: byte 16 on of an ICC header names its space. That of a
/// CMYK file is for colours that are gone after decoding.
fn icc_fits(icc: &[u8], format: PixelFormat) -> bool {
    use PixelFormat as F;
    let gray = matches!(format, F::Gray8 | F::GrayA8 | F::Gray16 | F::GrayA16);
    icc.get(16..20) == Some(if gray { b"GRAY" } else { b"RGB " })
}

/// Whether `path` can be written, before the work is done: known extension, folder there and writable, nothing
/// in the way.
///
/// # Errors
/// `Option` for an unknown extension or an existing target, `Io` where the folder cannot be written.
pub fn check_target(path: &Path, overwrite: Overwrite) -> Result<FileKind> {
    let kind = FileKind::from_extension(path).ok_or_else(|| {
        Error::option(format!(
            "cannot write {}: unknown kind of file; use .png, .jpg, .webp or .tif",
            path.display()
        ))
    })?;
    check_existing(path, overwrite)?;
    temporary(path)?;
    Ok(kind)
}

fn check_existing(path: &Path, overwrite: Overwrite) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        // Renaming would put a file in the place of the device or link.
        Ok(found) if !found.is_file() => {
            Err(Error::option(format!("cannot write {}: it exists and is not a file", path.display())))
        }
        Ok(_) if overwrite == Overwrite::Refuse => Err(exists(path)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Error {
    Error::option(format!(
        "cannot write {}: it exists already; choose another name or force it",
        path.display()
    ))
}

/// A temporary file beside `path`, gone when dropped.
fn temporary(path: &Path) -> Result<tempfile::NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ssmoesr-").suffix(".part");
    #[cfg(unix)]
    {
        // The default is for the owner only; the user's mask applies to this.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).map_err(|e| {
        let cause = std::io::Error::from(e.kind());
        Error::io(format!("cannot write {}: no file can be made in that folder", path.display()), cause)
    })
}

/// Writes a picture file: complete under its name, or not at all. The extension says what it is.
///
/// # Errors
/// `Option` where the kind of file is unknown, cannot hold the frame or the target exists, `Io` where writing
/// failed, `Limit` for memory.
pub fn write_picture(path: &Path, frame: &FrameRef<'_>, meta: &Metadata, overwrite: Overwrite) -> Result<()> {
    let kind = check_target(path, overwrite)?;
    let name = path.display().to_string();
    let fail = |e: std::io::Error| Error::io(format!("cannot write {name}"), e);
    let mut file = temporary(path)?;
    encode(BufWriter::new(file.as_file_mut()), kind, frame, meta, &name)?;
    file.as_file().sync_all().map_err(fail)?;
    let done = match overwrite {
        Overwrite::Replace => file.persist(path),
        Overwrite::Refuse => file.persist_noclobber(path),
    };
    match done {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == IoKind::AlreadyExists => Err(exists(path)),
        Err(e) => Err(fail(e.error)),
    }
}

/// The bytes of a picture file; errors call it `name`.
///
/// # Errors
/// As [`write_picture`].
pub fn encode_picture(kind: FileKind, frame: &FrameRef<'_>, meta: &Metadata, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    encode(&mut bytes, kind, frame, meta, name)?;
    Ok(bytes.into_inner())
}

fn encode(
    mut to: impl Write + Seek,
    kind: FileKind,
    frame: &FrameRef<'_>,
    meta: &Metadata,
    name: &str,
) -> Result<()> {
    let (width, height) = (frame.width(), frame.height());
    kind.check(frame.format(), width, height)?;
    let stored = kind.stored(frame.format());
    let pixels = packed(frame, stored)?;
    let color = match stored {
        PixelFormat::Gray8 => ExtendedColorType::L8,
        PixelFormat::Gray16 => ExtendedColorType::L16,
        PixelFormat::GrayA8 => ExtendedColorType::La8,
        PixelFormat::GrayA16 => ExtendedColorType::La16,
        PixelFormat::Rgb8 => ExtendedColorType::Rgb8,
        PixelFormat::Rgb16 => ExtendedColorType::Rgb16,
        PixelFormat::RgbF32 => ExtendedColorType::Rgb32F,
        PixelFormat::Rgba8 => ExtendedColorType::Rgba8,
        PixelFormat::Rgba16 => ExtendedColorType::Rgba16,
        PixelFormat::RgbaF32 => ExtendedColorType::Rgba32F,
        other => return Err(Error::internal(format!("{other:?} is stored in no file"))),
    };
    let icc = meta.icc.clone().filter(|icc| icc_fits(icc, stored));
    let exif = meta.exif.clone();
    let done = match kind {
        FileKind::Png => {
            let png = PngEncoder::new_with_quality(&mut to, CompressionType::Fast, FilterType::Adaptive);
            save(png, &pixels, (width, height), color, icc, exif)
        }
        FileKind::Jpeg => {
            let exif = exif.filter(|e| e.len() <= MAX_JPEG_EXIF);
            let jpeg = JpegEncoder::new_with_quality(&mut to, JPEG_QUALITY);
            save(jpeg, &pixels, (width, height), color, icc, exif)
        }
        FileKind::WebP => {
            save(WebPEncoder::new_lossless(&mut to), &pixels, (width, height), color, icc, exif)
        }
        FileKind::Tiff => save(TiffEncoder::new(&mut to), &pixels, (width, height), color, icc, exif),
    };
    let failed = |e: std::io::Error| Error::io(format!("cannot write {name}"), e);
    match done {
        Ok(()) => to.flush().map_err(failed),
        Err(ImageError::IoError(e)) => Err(failed(e)),
        Err(e) => Err(Error::internal(format!("cannot write {name}")).because(e)),
    }
}

fn save(
    mut encoder: impl ImageEncoder,
    pixels: &[u8],
    (width, height): (u32, u32),
    color: ExtendedColorType,
    icc: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
) -> Result<(), ImageError> {
    // A kind of file that cannot hold one of them goes without.
    if let Some(icc) = icc {
        let _ = encoder.set_icc_profile(icc);
    }
    if let Some(exif) = exif {
        let _ = encoder.set_exif_metadata(exif);
    }
    encoder.write_image(pixels, width, height, color)
}

/// The pixels in format `stored`, rows without gaps.
fn packed(frame: &FrameRef<'_>, stored: PixelFormat) -> Result<Vec<u8>> {
    if frame.format() != stored {
        let (rgb, alpha) = convert::to_canvas(frame)?;
        let mut out = Frame::new(stored, frame.width(), frame.height(), frame.color())?;
        convert::to_frame(&rgb, alpha.as_ref(), &mut out.view_mut())?;
        return Ok(out.into_plane());
    }
    let rows = frame.height() as usize;
    let bytes = frame.row(0, 0).len() * rows;
    let mut data = Vec::new();
    data.try_reserve_exact(bytes)
        .map_err(|e| Error::limit(format!("{bytes} bytes to write a picture cannot be had")).because(e))?;
    for y in 0..rows {
        data.extend_from_slice(frame.row(0, y));
    }
    Ok(data)
}

#[cfg(test)]
mod tests;
