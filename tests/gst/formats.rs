//! What comes out: the core's own result, in every format, wherever the rows lie.

use std::sync::{Arc, LazyLock, Mutex};

use gst::prelude::*;
use gst_video::{VideoFormat, VideoFrameExt};
use ssmoesr_core::{
    CancelToken, ChromaSiting, ColorInfo, Frame, Matrix, Options, PixelFormat, Range, Stream, Upscaler,
};

use crate::util::{harness, pattern};

const FORMATS: [(VideoFormat, PixelFormat); 27] = [
    (VideoFormat::I420, PixelFormat::I420),
    (VideoFormat::Yv12, PixelFormat::I420),
    (VideoFormat::Nv12, PixelFormat::Nv12),
    (VideoFormat::Nv21, PixelFormat::Nv21),
    (VideoFormat::Y42b, PixelFormat::I422),
    (VideoFormat::Y444, PixelFormat::I444),
    (VideoFormat::I42010le, PixelFormat::I420P10),
    (VideoFormat::I42210le, PixelFormat::I422P10),
    (VideoFormat::Y44410le, PixelFormat::I444P10),
    (VideoFormat::P01010le, PixelFormat::P010),
    (VideoFormat::Gray8, PixelFormat::Gray8),
    (VideoFormat::Gray16Le, PixelFormat::Gray16),
    (VideoFormat::Rgb, PixelFormat::Rgb8),
    (VideoFormat::Bgr, PixelFormat::Bgr8),
    (VideoFormat::Rgbx, PixelFormat::Rgbx8),
    (VideoFormat::Bgrx, PixelFormat::Bgrx8),
    (VideoFormat::Xrgb, PixelFormat::Xrgb8),
    (VideoFormat::Xbgr, PixelFormat::Xbgr8),
    (VideoFormat::Rgba, PixelFormat::Rgba8),
    (VideoFormat::Bgra, PixelFormat::Bgra8),
    (VideoFormat::Argb, PixelFormat::Argb8),
    (VideoFormat::Abgr, PixelFormat::Abgr8),
    (VideoFormat::Gbr, PixelFormat::PlanarRgb8),
    (VideoFormat::Gbra, PixelFormat::PlanarRgba8),
    (VideoFormat::Argb64, PixelFormat::Argb16),
    (VideoFormat::Argb64Le, PixelFormat::Argb16),
    (VideoFormat::Rgba64Le, PixelFormat::Rgba16),
];

/// SD video without a word about its colours.
const UNSAID: ColorInfo =
    ColorInfo { matrix: Matrix::Bt601, range: Range::Limited, siting: ChromaSiting::Center };

/// The core's result, rows without gaps.
fn expected(frame: &Frame, scale: u32) -> Frame {
    static UPSCALER: LazyLock<Mutex<Arc<Upscaler>>> =
        LazyLock::new(|| Mutex::new(Arc::new(Upscaler::new(&Options::default()).unwrap())));
    let upscaler = UPSCALER.lock().unwrap().clone();
    let mut options = Options::default();
    options.scale = scale;
    let (w, h) = (frame.width() * scale, frame.height() * scale);
    let mut result = Frame::new(frame.format(), w, h, frame.color()).unwrap();
    Stream::new(upscaler).run(&frame.view(), &mut result.view_mut(), &options, &CancelToken::new()).unwrap();
    result
}

fn frame(format: PixelFormat, width: u32, height: u32, color: ColorInfo) -> Frame {
    let mut frame = Frame::new(format, width, height, color).unwrap();
    for p in 0..format.planes() {
        let data = frame.plane_mut(p);
        let bytes = pattern(data.len());
        data.copy_from_slice(&bytes);
        // Codes of 10 bit have six bits that are nothing.
        match format {
            PixelFormat::I420P10 | PixelFormat::I422P10 | PixelFormat::I444P10 => {
                data.as_chunks_mut::<2>().0.iter_mut().for_each(|code| code[1] &= 3);
            }
            PixelFormat::P010 => data.as_chunks_mut::<2>().0.iter_mut().for_each(|code| code[0] &= 0xc0),
            _ => {}
        }
    }
    frame
}

/// GStreamer's number of the core's plane `p`: the core counts components, GStreamer counts as they lie in memory.
fn plane_of(info: &gst_video::VideoInfo, p: usize) -> usize {
    let format = info.format_info();
    if format.n_planes() == format.n_components() { format.plane()[p] as usize } else { p }
}

/// `frame` in memory as `info` lays it out.
fn buffer(frame: &Frame, info: &gst_video::VideoInfo) -> gst::Buffer {
    let mut bytes = vec![0xa5; info.size()];
    for p in 0..frame.format().planes() {
        let (w, h) = frame.format().plane_size(p, frame.width(), frame.height());
        let row = w * frame.format().pixel_bytes(p);
        for y in 0..h {
            let plane = plane_of(info, p);
            let at = info.offset()[plane] + y * info.stride()[plane] as usize;
            bytes[at..at + row].copy_from_slice(&frame.plane(p)[y * row..][..row]);
        }
    }
    gst::Buffer::from_mut_slice(bytes)
}

/// The samples of `buffer`, rows without gaps.
fn samples(buffer: &gst::Buffer, info: &gst_video::VideoInfo, format: PixelFormat) -> Vec<Vec<u8>> {
    let map = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    (0..format.planes())
        .map(|p| {
            let (w, h) = format.plane_size(p, info.width(), info.height());
            let plane = plane_of(info, p);
            let (row, stride) = (w * format.pixel_bytes(p), map.plane_stride()[plane] as usize);
            let data = map.plane_data(plane as u32).unwrap();
            (0..h).flat_map(|y| data[y * stride..][..row].to_vec()).collect()
        })
        .collect()
}

/// Output caps as read by GStreamer.
fn output(h: &gst_check::Harness) -> gst_video::VideoInfo {
    let caps = h.element().unwrap().static_pad("src").unwrap().current_caps().unwrap();
    gst_video::VideoInfo::from_caps(&caps).unwrap()
}

#[track_caller]
fn same_as_core(
    video: VideoFormat,
    ours: PixelFormat,
    w: u32,
    h: u32,
    scale: u32,
    color: ColorInfo,
    extra: &str,
) {
    let caps = format!("video/x-raw,format={video},width={w},height={h},framerate=25/1{extra}");
    let info = gst_video::VideoInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
    let input = frame(ours, w, h, color);
    let want = expected(&input, scale);
    let mut harness = harness(&scale.to_string(), &caps);
    harness.push(buffer(&input, &info)).unwrap();
    let out = harness.pull().unwrap();
    let info = output(&harness);
    assert_eq!((info.format(), info.width(), info.height()), (video, w * scale, h * scale));
    for (p, have) in samples(&out, &info, ours).iter().enumerate() {
        // Without the data in the message: a plane of numbers helps nobody.
        assert!(have == want.plane(p), "{video} {w}x{h} x{scale}: plane {p} differs");
    }
}

#[test]
fn every_format_is_what_the_core_makes() {
    crate::util::init();
    for (video, ours) in FORMATS {
        same_as_core(video, ours, 16, 12, 4, UNSAID, "");
    }
    // Those of the template, and no others.
    let factory = gst::ElementFactory::find("ssmoesr").unwrap();
    for template in factory.static_pad_templates() {
        let caps = template.caps();
        let listed = caps.structure(0).unwrap().get::<gst::List>("format").unwrap();
        let listed: Vec<String> = listed.iter().map(|v| v.get().unwrap()).collect();
        assert_eq!(listed.len(), FORMATS.len(), "{listed:?}");
        assert!(FORMATS.iter().all(|(video, _)| listed.contains(&video.to_string())), "{listed:?}");
    }
}

#[test]
fn odd_sizes_and_both_factors() {
    crate::util::init();
    for (w, h, scale) in [(15, 11, 4), (1, 1, 4), (7, 5, 8)] {
        same_as_core(VideoFormat::I420, PixelFormat::I420, w, h, scale, UNSAID, "");
    }
    same_as_core(VideoFormat::Rgb, PixelFormat::Rgb8, 3, 5, 8, UNSAID, "");
    same_as_core(VideoFormat::Nv12, PixelFormat::Nv12, 9, 7, 4, UNSAID, "");
    same_as_core(VideoFormat::Yv12, PixelFormat::I420, 9, 7, 4, UNSAID, "");
    same_as_core(VideoFormat::Y42b, PixelFormat::I422, 9, 7, 4, UNSAID, "");
    same_as_core(VideoFormat::P01010le, PixelFormat::P010, 9, 7, 4, UNSAID, "");
    same_as_core(VideoFormat::Gbra, PixelFormat::PlanarRgba8, 9, 7, 4, UNSAID, "");
}

#[test]
fn the_caps_colours_are_used() {
    crate::util::init();
    let color = ColorInfo { matrix: Matrix::Bt2020, range: Range::Full, siting: ChromaSiting::TopLeft };
    let extra = ",colorimetry=(string)1:6:0:0,chroma-site=cosited";
    same_as_core(VideoFormat::I420, PixelFormat::I420, 16, 12, 4, color, extra);
}

#[test]
fn rows_may_lie_anywhere() {
    crate::util::init();
    let (w, h) = (16_u32, 12_u32);
    let caps = format!("video/x-raw,format=I420,width={w},height={h},framerate=25/1");
    let input = frame(PixelFormat::I420, w, h, UNSAID);
    let want = expected(&input, 4);
    // As a cropping element hands it on: offsets into a larger picture, the last row ends with the memory.
    let (stride, chroma_stride) = (64_usize, 48_usize);
    let offsets = [13, 13 + 12 * stride, 13 + 12 * stride + 6 * chroma_stride];
    let end = offsets[2] + 5 * chroma_stride + 8;
    let mut bytes = vec![0xa5; end];
    for p in 0..3 {
        let (w, h) = PixelFormat::I420.plane_size(p, w, h);
        let stride = if p == 0 { stride } else { chroma_stride };
        for y in 0..h {
            bytes[offsets[p] + y * stride..][..w].copy_from_slice(&input.plane(p)[y * w..][..w]);
        }
    }
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        VideoFormat::I420,
        w,
        h,
        &offsets,
        &[stride as i32, chroma_stride as i32, chroma_stride as i32],
    )
    .unwrap();
    let mut harness = harness("4", &caps);
    harness.push(buffer).unwrap();
    let out = harness.pull().unwrap();
    for (p, have) in samples(&out, &output(&harness), PixelFormat::I420).iter().enumerate() {
        assert!(have == want.plane(p), "plane {p} differs");
    }
}

#[test]
fn planes_may_be_memories_of_their_own() {
    crate::util::init();
    let (w, h) = (16_u32, 12_u32);
    let input = frame(PixelFormat::I420, w, h, UNSAID);
    let want = expected(&input, 4);
    let mut buffer = gst::Buffer::new();
    for p in 0..3 {
        buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(input.plane(p).to_vec()));
    }
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        gst_video::VideoFrameFlags::empty(),
        VideoFormat::I420,
        w,
        h,
        &[0, 192, 240],
        &[16, 8, 8],
    )
    .unwrap();
    let mut harness = harness("4", "video/x-raw,format=I420,width=16,height=12,framerate=25/1");
    harness.push(buffer).unwrap();
    let out = harness.pull().unwrap();
    for (p, have) in samples(&out, &output(&harness), PixelFormat::I420).iter().enumerate() {
        assert!(have == want.plane(p), "plane {p} differs");
    }
}
