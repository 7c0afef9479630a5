use super::*;
use crate::pixels::frame::{ChromaSiting, ColorInfo, Frame, Matrix, PlaneMut, PlaneRef, Range};

const SIZES: [(u32, u32); 5] = [(1, 1), (2, 2), (3, 5), (16, 8), (17, 9)];

fn infos() -> Vec<ColorInfo> {
    let mut all = Vec::new();
    for matrix in [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020, Matrix::Smpte240m] {
        for range in [Range::Limited, Range::Full] {
            for siting in [ChromaSiting::Left, ChromaSiting::Center, ChromaSiting::TopLeft] {
                all.push(ColorInfo { matrix, range, siting });
            }
        }
    }
    all
}

/// A frame whose bytes all differ from their neighbours; floats in `[0, 1]`, unused bytes 255.
fn noisy(format: PixelFormat, w: u32, h: u32, color: ColorInfo) -> Frame {
    let mut frame = Frame::new(format, w, h, color).unwrap();
    let mut state = 7u32;
    for p in 0..format.planes() {
        let px = format.pixel_bytes(p);
        for (i, byte) in frame.plane_mut(p).iter_mut().enumerate() {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            *byte = (state >> 24) as u8;
            let unused = layout(format).and_then(|l| l.unused);
            if unused.is_some_and(|at| i % px == at) {
                *byte = 255;
            }
        }
        if let Some(deep) = planar(format).filter(|p| (9..=16).contains(&p.bits)) {
            for code in frame.plane_mut(p).as_chunks_mut::<2>().0 {
                *code = ((u16::from_ne_bytes(*code) & deep.top() as u16) << deep.shift).to_ne_bytes();
            }
        }
        if format.sample_bytes() == 4 {
            for (i, v) in frame.plane_mut(p).chunks_exact_mut(4).enumerate() {
                v.copy_from_slice(&((i % 251) as f32 / 250.0).to_ne_bytes());
            }
        }
    }
    frame
}

fn round_trip(frame: &Frame) -> Frame {
    let (rgb, alpha) = to_canvas(&frame.view()).unwrap();
    let mut back = Frame::new(frame.format(), frame.width(), frame.height(), frame.color()).unwrap();
    to_frame(&rgb, alpha.as_ref(), &mut back.view_mut()).unwrap();
    back
}

#[test]
fn formats_without_chroma_come_back_unchanged() {
    let mut seen = 0;
    for format in PixelFormat::ALL.into_iter().filter(|f| !f.is_yuv()) {
        for (w, h) in SIZES {
            let frame = noisy(format, w, h, ColorInfo::default());
            assert_eq!(round_trip(&frame), frame, "{format:?} {w}x{h}");
            seen += 1;
        }
    }
    assert_eq!(seen, 23 * SIZES.len());
}

#[test]
fn every_code_comes_back() {
    let mut frame = Frame::new(PixelFormat::Gray16, 256, 256, ColorInfo::default()).unwrap();
    for (i, code) in frame.plane_mut(0).chunks_exact_mut(2).enumerate() {
        code.copy_from_slice(&(i as u16).to_ne_bytes());
    }
    assert_eq!(round_trip(&frame), frame);
}

#[test]
fn channels_land_where_the_format_says() {
    for (format, bytes) in [
        (PixelFormat::Rgb8, vec![255, 51, 0]),
        (PixelFormat::Bgr8, vec![0, 51, 255]),
        (PixelFormat::Xrgb8, vec![9, 255, 51, 0]),
        (PixelFormat::Xbgr8, vec![9, 0, 51, 255]),
        (PixelFormat::Argb8, vec![102, 255, 51, 0]),
        (PixelFormat::Abgr8, vec![102, 0, 51, 255]),
        (PixelFormat::Rgba8, vec![255, 51, 0, 102]),
        (PixelFormat::Bgra8, vec![0, 51, 255, 102]),
    ] {
        let plane = PlaneRef { data: &bytes, stride: bytes.len() };
        let frame = FrameRef::new(format, 1, 1, ColorInfo::default(), vec![plane]).unwrap();
        let (rgb, alpha) = to_canvas(&frame).unwrap();
        assert_eq!(rgb.data(), [1.0, 0.2, 0.0], "{format:?}");
        assert_eq!(alpha.map(|a| a.data()[0]), format.has_alpha().then_some(0.4), "{format:?}");
    }
}

#[test]
fn planes_are_in_the_order_of_the_name() {
    let samples = [0.25f32, 0.5, 0.75, 0.125].map(f32::to_ne_bytes);
    let planes: Vec<_> = samples.iter().map(|data| PlaneRef { data, stride: 4 }).collect();
    for (format, alpha) in [(PixelFormat::RgbPF32, None), (PixelFormat::RgbaPF32, Some(0.125))] {
        let planes = planes[..format.planes()].to_vec();
        let frame = FrameRef::new(format, 1, 1, ColorInfo::default(), planes).unwrap();
        let (rgb, opacity) = to_canvas(&frame).unwrap();
        assert_eq!((rgb.data(), opacity.map(|a| a.data()[0])), (&[0.25, 0.5, 0.75][..], alpha));
        // Alpha that is not given is opaque.
        let mut out = Frame::new(format, 1, 1, ColorInfo::default()).unwrap();
        to_frame(&rgb, None, &mut out.view_mut()).unwrap();
        for (p, want) in [0.25f32, 0.5, 0.75, 1.0].into_iter().enumerate().take(format.planes()) {
            assert_eq!(out.plane(p), want.to_ne_bytes(), "{format:?} plane {p}");
        }
    }
}

#[test]
fn rounding_is_to_the_nearest_and_saturates() {
    let rgb = Canvas::from_data(3, 1, 1, vec![-0.5, 0.4999 / 255.0, 200.5001 / 255.0]).unwrap();
    let mut frame = Frame::new(PixelFormat::Rgbx8, 1, 1, ColorInfo::default()).unwrap();
    to_frame(&rgb, None, &mut frame.view_mut()).unwrap();
    assert_eq!(frame.plane(0), [0, 0, 201, 255]);
    let rgb = Canvas::from_data(3, 1, 1, vec![f32::NAN, 1.5, f32::INFINITY]).unwrap();
    to_frame(&rgb, None, &mut frame.view_mut()).unwrap();
    assert_eq!(frame.plane(0), [0, 255, 255, 255]);
    assert!(to_frame(&Canvas::new(3, 2, 1).unwrap(), None, &mut frame.view_mut()).is_err());
}

#[test]
fn luma_of_any_yuv_comes_back_unchanged() {
    let mut seen = 0;
    for format in PixelFormat::ALL.into_iter().filter(|f| f.is_yuv()) {
        for color in infos() {
            for (w, h) in SIZES {
                let frame = noisy(format, w, h, color);
                let back = round_trip(&frame);
                assert_eq!(back.plane(0), frame.plane(0), "{format:?} {color:?} {w}x{h}");
                if planar(format).is_some_and(|p| p.sub == (0, 0)) {
                    assert_eq!(back, frame, "{format:?} {color:?} {w}x{h}");
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 9 * 24 * SIZES.len());
}

#[test]
fn chroma_of_a_smooth_picture_comes_back() {
    for color in infos() {
        let mut frame = Frame::new(PixelFormat::I420, 63, 47, color).unwrap();
        for (p, (cycles, phase)) in [(1.0, 0.0), (1.5, 1.0), (2.0, 2.0)].into_iter().enumerate() {
            let (w, h) = PixelFormat::I420.plane_size(p, 63, 47);
            for (i, code) in frame.plane_mut(p).iter_mut().enumerate() {
                let (x, y) = ((i % w) as f32 / w as f32, (i / w) as f32 / h as f32);
                *code = (128.0 + 80.0 * ((x + y) * cycles * 3.0 + phase).sin()).round() as u8;
            }
        }
        let back = round_trip(&frame);
        for p in 1..3 {
            let (w, h) = PixelFormat::I420.plane_size(p, 63, 47);
            for (i, (a, b)) in frame.plane(p).iter().zip(back.plane(p)).enumerate() {
                let (x, y) = (i % w, i / w);
                // Replicated edges bend the slope of up to 15 codes a sample.
                let edge = x == 0 || y == 0 || x == w - 1 || y == h - 1;
                let limit = if edge { 5 } else { 1 };
                assert!(a.abs_diff(*b) <= limit, "{color:?} plane {p} at {x},{y}: {a} became {b}");
            }
        }
    }
}

#[test]
fn known_colours() {
    // H.273: BT.709 limited. Black, white, and red at full saturation.
    let info = ColorInfo { matrix: Matrix::Bt709, range: Range::Limited, siting: ChromaSiting::Left };
    for (yuv, want) in [
        ([16, 128, 128], [0.0, 0.0, 0.0]),
        ([235, 128, 128], [1.0, 1.0, 1.0]),
        ([128, 128, 128], [112.0 / 219.0; 3]),
        ([63, 102, 240], [1.0, 0.0, 0.0]),
    ] {
        let mut frame = Frame::new(PixelFormat::Nv12, 4, 4, info).unwrap();
        frame.plane_mut(0).fill(yuv[0]);
        frame.plane_mut(1).chunks_exact_mut(2).for_each(|uv| uv.copy_from_slice(&yuv[1..]));
        let (rgb, alpha) = to_canvas(&frame.view()).unwrap();
        assert!(alpha.is_none());
        #[allow(clippy::needless_range_loop, reason = "one index for three pictures")]
        for c in 0..3 {
            // Three codes are integers: red is only met to within a code or so.
            assert!(rgb.plane(c).iter().all(|v| (v - want[c]).abs() < 0.005), "{yuv:?}: {rgb:?}");
        }
        assert_eq!(round_trip(&frame), frame);
    }
}

#[test]
fn a_ramp_of_chroma_is_sited() {
    // Chroma rises by 8 codes a sample; at luma column x it must be what the line says there.
    for (siting, shift) in
        [(ChromaSiting::Left, 0.0), (ChromaSiting::Center, -0.25), (ChromaSiting::TopLeft, 0.0)]
    {
        let info = ColorInfo { matrix: Matrix::Bt601, range: Range::Full, siting };
        let mut frame = Frame::new(PixelFormat::I420, 24, 4, info).unwrap();
        frame.plane_mut(0).fill(128);
        frame.plane_mut(1).fill(128);
        for (i, v) in frame.plane_mut(2).iter_mut().enumerate() {
            *v = 80 + 8 * (i % 12) as u8;
        }
        let (rgb, _) = to_canvas(&frame.view()).unwrap();
        for x in 4..20 {
            let v = (80.0 + 8.0 * (x as f32 / 2.0 + shift) - 128.0) / 255.0;
            let want = 128.0 / 255.0 + 1.402 * v;
            assert!((rgb.row(0, 1)[x] - want).abs() < 1e-5, "{siting:?} column {x}");
        }
    }
}

#[test]
fn gaps_between_rows_are_never_written() {
    for format in PixelFormat::ALL {
        for (w, h) in SIZES {
            let frame = noisy(format, w, h, ColorInfo::default());
            let (rgb, alpha) = to_canvas(&frame.view()).unwrap();
            let sizes: Vec<_> = (0..format.planes())
                .map(|p| {
                    let (pw, ph) = format.plane_size(p, w, h);
                    (pw * format.pixel_bytes(p), ph)
                })
                .collect();
            // A gap of 5 bytes, odd so that samples are not aligned, and some bytes after the last row.
            let mut planes: Vec<_> =
                sizes.iter().map(|(row, rows)| vec![0xAB; (row + 5) * rows + 3]).collect();
            let views = planes.iter_mut().zip(&sizes);
            let views = views.map(|(data, (row, _))| PlaneMut { data, stride: row + 5 }).collect();
            let mut out = FrameMut::new(format, w, h, ColorInfo::default(), views).unwrap();
            to_frame(&rgb, alpha.as_ref(), &mut out).unwrap();
            for (plane, (row, rows)) in planes.iter().zip(&sizes) {
                for line in plane[..(row + 5) * rows].chunks(row + 5) {
                    assert!(line[*row..].iter().all(|b| *b == 0xAB), "{format:?} {w}x{h}");
                }
                assert_eq!(plane[(row + 5) * rows..], [0xAB; 3]);
            }
            // And read back through the same gaps.
            let views = planes.iter().zip(&sizes);
            let views = views.map(|(data, (row, _))| PlaneRef { data, stride: row + 5 }).collect();
            let read = FrameRef::new(format, w, h, ColorInfo::default(), views).unwrap();
            let (again, _) = to_canvas(&read).unwrap();
            if !format.is_yuv() {
                assert_eq!(again, rgb);
            }
        }
    }
}
