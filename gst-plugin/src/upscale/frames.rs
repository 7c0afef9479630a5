//! Buffers as the core's frames: formats, colours, and planes found and checked by ourselves.
//!
//! `gst_video_frame_map` is not used: with a GstVideoMeta it does not look whether the memory is large enough.

use gst_video::VideoFormat;
use ssmoesr_core::{
    ChromaSiting, ColorInfo, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
};

use super::caps::chroma_site;

/// The core's word for `format`; `None` for one outside the templates. Components may lie in other planes than the
/// core's, see [`Picture::places`]: YV12 is I420 whose V comes first.
pub(super) fn pixel_format(format: VideoFormat) -> Option<PixelFormat> {
    use VideoFormat as F;
    let own = |little: F, big: F| if cfg!(target_endian = "little") { little } else { big };
    let wide = [
        (own(F::I42010le, F::I42010be), PixelFormat::I420P10),
        (own(F::I42210le, F::I42210be), PixelFormat::I422P10),
        (own(F::Y44410le, F::Y44410be), PixelFormat::I444P10),
        (own(F::P01010le, F::P01010be), PixelFormat::P010),
        (own(F::Gray16Le, F::Gray16Be), PixelFormat::Gray16),
        (own(F::Argb64Le, F::Argb64Be), PixelFormat::Argb16),
        (own(F::Rgba64Le, F::Rgba64Be), PixelFormat::Rgba16),
    ];
    if let Some((_, found)) = wide.into_iter().find(|(name, _)| *name == format) {
        return Some(found);
    }
    Some(match format {
        F::I420 | F::Yv12 => PixelFormat::I420,
        F::Nv12 => PixelFormat::Nv12,
        F::Nv21 => PixelFormat::Nv21,
        F::Y42b => PixelFormat::I422,
        F::Y444 => PixelFormat::I444,
        F::Gray8 => PixelFormat::Gray8,
        F::Rgb => PixelFormat::Rgb8,
        F::Bgr => PixelFormat::Bgr8,
        F::Rgbx => PixelFormat::Rgbx8,
        F::Bgrx => PixelFormat::Bgrx8,
        F::Xrgb => PixelFormat::Xrgb8,
        F::Xbgr => PixelFormat::Xbgr8,
        F::Rgba => PixelFormat::Rgba8,
        F::Bgra => PixelFormat::Bgra8,
        F::Argb => PixelFormat::Argb8,
        F::Abgr => PixelFormat::Abgr8,
        F::Gbr => PixelFormat::PlanarRgb8,
        F::Gbra => PixelFormat::PlanarRgba8,
        F::Argb64 => PixelFormat::Argb16,
        _ => return None,
    })
}

/// How the samples of `info` are to be read.
pub(super) fn color_info(info: &gst_video::VideoInfo) -> ColorInfo {
    use gst_video::{VideoChromaSite, VideoColorMatrix, VideoColorRange};
    let colorimetry = info.colorimetry();
    let matrix = match colorimetry.matrix() {
        // FCC differs from BT.601 by 0.001 in one weight.
        VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => Matrix::Bt601,
        VideoColorMatrix::Bt2020 => Matrix::Bt2020,
        VideoColorMatrix::Smpte240m => Matrix::Smpte240m,
        _ => Matrix::Bt709,
    };
    let range = match colorimetry.range() {
        VideoColorRange::Range0_255 => Range::Full,
        _ => Range::Limited,
    };
    let site = chroma_site(info);
    let siting = match (site.contains(VideoChromaSite::H_COSITED), site.contains(VideoChromaSite::V_COSITED))
    {
        (true, true) => ChromaSiting::TopLeft,
        (true, false) => ChromaSiting::Left,
        _ => ChromaSiting::Center,
    };
    ColorInfo { matrix, range, siting }
}

/// What one pad carries, worked out once per caps.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// As GStreamer sees it.
    pub(super) info: gst_video::VideoInfo,
    format: PixelFormat,
    color: ColorInfo,
}

/// Where a plane starts and how far its rows are apart, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    offset: usize,
    stride: usize,
}

impl Picture {
    /// `None` for a format outside the templates.
    pub(super) fn new(info: &gst_video::VideoInfo) -> Option<Self> {
        Some(Self { info: info.clone(), format: pixel_format(info.format())?, color: color_info(info) })
    }

    /// The core's planes, by the buffer's GstVideoMeta where it has one (padding, cropping), else by the caps.
    fn places(&self, buffer: &gst::BufferRef) -> Result<Vec<Place>, String> {
        let info = &self.info;
        let (offsets, strides) = match buffer.meta::<gst_video::VideoMeta>() {
            None => (info.offset().to_vec(), info.stride().to_vec()),
            Some(meta) => {
                let same = meta.format() == info.format() && meta.n_planes() == info.n_planes();
                if !same || meta.width() < info.width() || meta.height() < info.height() {
                    return Err(format!(
                        "its meta says {}x{} {}, its caps {}x{} {}",
                        meta.width(),
                        meta.height(),
                        meta.format(),
                        info.width(),
                        info.height(),
                        info.format()
                    ));
                }
                (meta.offset().to_vec(), meta.stride().to_vec())
            }
        };
        let place = |(offset, stride): (usize, i32)| match usize::try_from(stride) {
            Ok(stride) => Ok(Place { offset, stride }),
            Err(_) => Err(format!("a stride of {stride} bytes")),
        };
        let places: Vec<(usize, i32)> = offsets.into_iter().zip(strides).collect();
        // The core's planes come in the order Y, U, V or R, G, B, alpha, GStreamer's as they lie in memory.
        let format = info.format_info();
        let order = format.plane();
        (0..self.format.planes())
            .map(|i| if order.len() == self.format.planes() { order[i] as usize } else { i })
            .map(|plane| place(places.get(plane).copied().unwrap_or_default()))
            .collect()
    }

    /// The samples of `buffer`, mapped in `bytes`.
    ///
    /// # Errors
    /// A text that says how the buffer does not fit its caps.
    pub(super) fn read<'a>(&self, buffer: &gst::BufferRef, bytes: &'a [u8]) -> Result<FrameRef<'a>, String> {
        let planes = self
            .places(buffer)?
            .into_iter()
            .map(|p| PlaneRef { data: bytes.get(p.offset..).unwrap_or_default(), stride: p.stride })
            .collect();
        FrameRef::new(self.format, self.info.width(), self.info.height(), self.color, planes)
            .map_err(|e| format!("{e} (buffer of {} bytes)", bytes.len()))
    }

    /// The planes of an output buffer, to be handed to [`Planes::write`].
    ///
    /// # Errors
    /// A text that says how the buffer does not fit its caps.
    pub(super) fn planes(&self, buffer: &gst::BufferRef) -> Result<Planes, String> {
        self.places(buffer).map(Planes)
    }

    /// The memory `bytes` as a frame to write.
    ///
    /// # Errors
    /// A text that says how the memory does not fit the caps.
    pub(super) fn write<'a>(&self, planes: &Planes, bytes: &'a mut [u8]) -> Result<FrameMut<'a>, String> {
        let len = bytes.len();
        let mut order: Vec<usize> = (0..planes.0.len()).collect();
        order.sort_by_key(|&i| planes.0[i].offset);
        // Cut from the end, so that each plane reaches up to the next one.
        let mut rest = bytes;
        let mut cut: Vec<Option<PlaneMut<'a>>> = planes.0.iter().map(|_| None).collect();
        for &i in order.iter().rev() {
            let Place { offset, stride } = planes.0[i];
            let Some((before, data)) = rest.split_at_mut_checked(offset) else {
                return Err(format!("plane {i} starts at byte {offset} of {len}"));
            };
            cut[i] = Some(PlaneMut { data, stride });
            rest = before;
        }
        FrameMut::new(
            self.format,
            self.info.width(),
            self.info.height(),
            self.color,
            cut.into_iter().flatten().collect(),
        )
        .map_err(|e| format!("{e} (buffer of {len} bytes)"))
    }
}

/// Planes of an output buffer, found before it is mapped.
#[derive(Debug)]
pub(super) struct Planes(Vec<Place>);

#[cfg(test)]
mod tests {
    use super::super::caps::FORMATS;
    use super::*;

    fn info(format: VideoFormat, width: u32, height: u32) -> gst_video::VideoInfo {
        gst::init().unwrap();
        gst_video::VideoInfo::builder(format, width, height).build().unwrap()
    }

    #[test]
    fn every_format_of_the_templates_is_known() {
        let mut seen = std::collections::HashSet::new();
        for format in FORMATS {
            let (info, ours) = (info(format, 7, 5), pixel_format(format).unwrap());
            assert_eq!(info.n_planes() as usize, ours.planes(), "{format}");
            assert_eq!(info.format_info().has_alpha(), ours.has_alpha(), "{format}");
            // The whole frame of GStreamer's own layout is readable and writable.
            let picture = Picture::new(&info).unwrap();
            let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
            let bytes = vec![0; info.size()];
            picture.read(&buffer, &bytes).unwrap();
            let planes = picture.planes(&buffer).unwrap();
            let mut map = buffer.make_mut().map_writable().unwrap();
            picture.write(&planes, &mut map).unwrap();
            seen.insert(ours);
        }
        // YV12 is I420 with other places, ARGB64 is ARGB64 in the machine's own order.
        assert_eq!(seen.len(), FORMATS.len() - 2);
    }

    #[test]
    fn one_byte_less_is_too_short() {
        for format in FORMATS {
            let info = info(format, 8, 6);
            let picture = Picture::new(&info).unwrap();
            let short = vec![0; info.size() - 1];
            let buffer = gst::Buffer::with_size(short.len()).unwrap();
            let why = picture.read(&buffer, &short).unwrap_err();
            assert!(why.contains(&format!("buffer of {} bytes", short.len())), "{why}");
            assert!(picture.read(&buffer, &[]).is_err());
        }
    }

    #[test]
    fn a_meta_that_lies_is_refused() {
        let info = info(VideoFormat::Gray8, 8, 4);
        let picture = Picture::new(&info).unwrap();
        let with = |format, w, h, offset: usize, stride: i32, bytes: usize| {
            let mut buffer = gst::Buffer::with_size(bytes).unwrap();
            let flags = gst_video::VideoFrameFlags::empty();
            gst_video::VideoMeta::add_full(buffer.make_mut(), flags, format, w, h, &[offset], &[stride])
                .unwrap();
            let map = buffer.map_readable().unwrap();
            picture.read(&buffer, &map).map(|_| ())
        };
        // The last row may end early; one byte less is refused.
        assert_eq!(with(VideoFormat::Gray8, 8, 4, 5, 16, 5 + 3 * 16 + 8), Ok(()));
        assert!(with(VideoFormat::Gray8, 8, 4, 6, 16, 5 + 3 * 16 + 8).is_err());
        assert!(with(VideoFormat::Gray8, 8, 3, 0, 8, 64).unwrap_err().contains("its meta says 8x3"));
        assert!(with(VideoFormat::Rgb, 8, 4, 0, 24, 96).is_err());
    }

    #[test]
    fn planes_in_any_order() {
        let info = info(VideoFormat::I420, 4, 4);
        let picture = Picture::new(&info).unwrap();
        let mut buffer = gst::Buffer::with_size(64).unwrap();
        let flags = gst_video::VideoFrameFlags::empty();
        // V, then Y, then U, as an allocator might lay them out.
        gst_video::VideoMeta::add_full(
            buffer.make_mut(),
            flags,
            VideoFormat::I420,
            4,
            4,
            &[8, 40, 0],
            &[8, 2, 2],
        )
        .unwrap();
        let planes = picture.planes(&buffer).unwrap();
        let mut map = buffer.make_mut().map_writable().unwrap();
        let mut frame = picture.write(&planes, &mut map).unwrap();
        for (plane, value) in [(0, 1), (1, 2), (2, 3)] {
            frame.row_mut(plane, 1).fill(value);
        }
        assert_eq!((map[16], map[42], map[2]), (1, 2, 3));
    }

    #[test]
    fn planes_are_found_by_component() {
        for (format, want) in [
            (VideoFormat::I420, vec![0, 32, 40]),
            (VideoFormat::Yv12, vec![0, 40, 32]),
            (VideoFormat::Gbr, vec![64, 0, 32]),
            (VideoFormat::Gbra, vec![64, 0, 32, 96]),
            (VideoFormat::Nv21, vec![0, 32]),
        ] {
            let picture = Picture::new(&info(format, 8, 4)).unwrap();
            let buffer = gst::Buffer::with_size(picture.info.size()).unwrap();
            let Planes(places) = picture.planes(&buffer).unwrap();
            let found: Vec<usize> = places.iter().map(|p| p.offset).collect();
            assert_eq!(found, want, "{format}");
        }
    }

    #[test]
    fn colours_of_the_caps() {
        gst::init().unwrap();
        for (text, matrix, range, siting) in [
            ("colorimetry=bt601, chroma-site=jpeg", Matrix::Bt601, Range::Limited, ChromaSiting::Center),
            ("colorimetry=bt709, chroma-site=mpeg2", Matrix::Bt709, Range::Limited, ChromaSiting::Left),
            (
                "colorimetry=bt2020, chroma-site=cosited",
                Matrix::Bt2020,
                Range::Limited,
                ChromaSiting::TopLeft,
            ),
            (
                "colorimetry=(string)1:4:0:0, chroma-site=dv",
                Matrix::Bt601,
                Range::Full,
                ChromaSiting::TopLeft,
            ),
            ("colorimetry=smpte240m", Matrix::Smpte240m, Range::Limited, ChromaSiting::Center),
        ] {
            let text = format!("video/x-raw, format=I420, width=16, height=12, {text}");
            let caps: gst::Caps = text.parse().unwrap();
            let color = color_info(&gst_video::VideoInfo::from_caps(&caps).unwrap());
            assert_eq!((color.matrix, color.range, color.siting), (matrix, range, siting), "{text}");
        }
    }
}
