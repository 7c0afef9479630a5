use super::*;
use crate::error::ErrorKind;
use crate::pixels::ColorInfo;

const KINDS: [FileKind; 4] = [FileKind::Png, FileKind::Jpeg, FileKind::WebP, FileKind::Tiff];

fn smooth(format: PixelFormat, width: u32, height: u32) -> Frame {
    let mut frame = Frame::new(format, width, height, ColorInfo::default()).unwrap();
    let row = width as usize * format.pixel_bytes(0);
    let (px, sample) = (format.pixel_bytes(0), format.sample_bytes());
    for (i, bytes) in frame.plane_mut(0).chunks_exact_mut(sample).enumerate() {
        let (x, y, c) = (i * sample % row / px, i * sample / row, i * sample % px / sample);
        let v = (x * 5 + y * 3 + c * 40 + 10) as f32 / 400.0;
        match sample {
            1 => bytes[0] = (v * 255.0) as u8,
            2 => bytes.copy_from_slice(&((v * 65535.0) as u16).to_ne_bytes()),
            _ => bytes.copy_from_slice(&v.to_ne_bytes()),
        }
    }
    frame
}

fn profile(space: &[u8; 4]) -> Vec<u8> {
    let mut icc = vec![0; 132];
    icc[16..20].copy_from_slice(space);
    icc[36..40].copy_from_slice(b"acsp");
    icc
}

/// EXIF with an orientation alone, in Motorola order.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend_from_slice(&[0, orientation, 0, 0, 0, 0, 0, 0]);
    exif
}

fn written(kind: FileKind, frame: &Frame, meta: &Metadata) -> Vec<u8> {
    encode_picture(kind, &frame.view(), meta, "x").unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    let error = read_picture_bytes(bytes, "a.png").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let text = error.to_string();
    assert!(text.starts_with("cannot read a.png: ") && !text.contains('\n') && text.contains("; "), "{text}");
    text
}

#[test]
fn formats_survive_the_files_that_can_hold_them() {
    use PixelFormat as F;
    let mut seen = 0;
    for (kind, formats) in [
        (
            FileKind::Png,
            &[F::Gray8, F::Gray16, F::GrayA8, F::GrayA16, F::Rgb8, F::Rgb16, F::Rgba8, F::Rgba16][..],
        ),
        (FileKind::WebP, &[F::Rgb8, F::Rgba8][..]),
        (
            FileKind::Tiff,
            &[F::Gray8, F::Gray16, F::Rgb8, F::Rgb16, F::RgbF32, F::Rgba8, F::Rgba16, F::RgbaF32][..],
        ),
    ] {
        for format in formats {
            for (w, h) in [(1, 1), (3, 5), (33, 21)] {
                let frame = smooth(*format, w, h);
                let back = read_picture_bytes(&written(kind, &frame, &Metadata::default()), "x").unwrap();
                assert_eq!(back.kind, kind);
                assert_eq!(back.frame, frame, "{kind:?} {format:?} {w}x{h}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 18 * 3);
}

#[test]
fn jpeg_is_near() {
    for format in [PixelFormat::Gray8, PixelFormat::Rgb8] {
        let frame = smooth(format, 33, 21);
        let back = read_picture_bytes(&written(FileKind::Jpeg, &frame, &Metadata::default()), "x").unwrap();
        assert_eq!((back.frame.format(), back.frame.width(), back.frame.height()), (format, 33, 21));
        let pairs = frame.plane(0).iter().zip(back.frame.plane(0));
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap() <= 6);
    }
}

#[test]
fn what_a_file_cannot_hold_becomes_the_nearest_it_can() {
    use PixelFormat as F;
    for (kind, from, to) in [
        (FileKind::Jpeg, F::Rgb16, F::Rgb8),
        (FileKind::Jpeg, F::Bgrx8, F::Rgb8),
        (FileKind::Jpeg, F::RgbF32, F::Rgb8),
        (FileKind::WebP, F::Rgba16, F::Rgba8),
        (FileKind::Png, F::RgbaF32, F::Rgba16),
        (FileKind::Png, F::Argb8, F::Rgba8),
        (FileKind::Tiff, F::GrayA8, F::Rgba8),
        (FileKind::Png, F::I420, F::Rgb8),
        (FileKind::Png, F::RgbaPF32, F::Rgba16),
        (FileKind::Tiff, F::RgbPF32, F::RgbF32),
    ] {
        let frame = Frame::new(from, 4, 4, ColorInfo::default()).unwrap();
        let back = read_picture_bytes(&written(kind, &frame, &Metadata::default()), "x").unwrap();
        assert_eq!(back.frame.format(), to, "{kind:?} {from:?}");
    }
    let text = FileKind::Jpeg.check(F::Rgba8, 4, 4).unwrap_err().to_string();
    assert!(text.contains("transparency") && text.contains("PNG"), "{text}");
    let text = FileKind::WebP.check(F::Rgb8, 20_000, 4).unwrap_err().to_string();
    assert!(text.contains("20000x4") && text.contains("16383"), "{text}");
    assert!(FileKind::Tiff.check(F::Rgb8, 60_000, 60_000).is_err());
    assert!(FileKind::Png.check(F::Rgba16, 100_000, 100_000).is_ok());
}

#[test]
fn profile_and_exif_are_kept() {
    let frame = smooth(PixelFormat::Rgb8, 8, 6);
    for kind in KINDS {
        let meta = Metadata { icc: Some(profile(b"RGB ")), exif: Some(exif(1)) };
        let back = read_picture_bytes(&written(kind, &frame, &meta), "x").unwrap();
        assert_eq!(back.meta.icc, meta.icc, "{kind:?}");
        if kind != FileKind::Tiff {
            assert_eq!(back.meta.exif, meta.exif, "{kind:?}");
        }
        let wrong = Metadata { icc: Some(profile(b"CMYK")), exif: None };
        assert_eq!(
            read_picture_bytes(&written(kind, &frame, &wrong), "x").unwrap().meta,
            Metadata::default()
        );
    }
    let huge = Metadata { icc: None, exif: Some([exif(1), vec![0; 80_000]].concat()) };
    let back = read_picture_bytes(&written(FileKind::Jpeg, &frame, &huge), "x").unwrap();
    assert_eq!(back.meta.exif, None);
}

#[test]
fn orientation_is_applied_once() {
    // One bright pixel in the left upper corner of a 3x2 picture.
    let mut frame = Frame::new(PixelFormat::Gray8, 3, 2, ColorInfo::default()).unwrap();
    frame.plane_mut(0)[0] = 255;
    // Size and place of that pixel after turning (EXIF 2.3, tag 0x112).
    let table = [
        (1, 3, 2, 0, 0),
        (2, 3, 2, 2, 0),
        (3, 3, 2, 2, 1),
        (4, 3, 2, 0, 1),
        (5, 2, 3, 0, 0),
        (6, 2, 3, 1, 0),
        (7, 2, 3, 1, 2),
        (8, 2, 3, 0, 2),
    ];
    for (orientation, w, h, x, y) in table {
        for kind in [FileKind::Png, FileKind::WebP] {
            let meta = Metadata { icc: None, exif: Some(exif(orientation)) };
            let back = read_picture_bytes(&written(kind, &frame, &meta), "x").unwrap();
            assert_eq!((back.frame.width(), back.frame.height()), (w, h), "{orientation}");
            let px = back.frame.format().pixel_bytes(0);
            let bright = back.frame.plane(0).iter().position(|v| *v == 255).unwrap() / px;
            assert_eq!((bright as u32 % w, bright as u32 / w), (x, y), "{kind:?} {orientation}");
            assert_eq!(back.meta.exif, Some(exif(1)), "{orientation}");
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let frame = smooth(PixelFormat::Rgb8, 40, 30);
    for kind in KINDS {
        let bytes = written(kind, &frame, &Metadata::default());
        let mut seen = 0;
        for len in (0..bytes.len() - 12).step_by(7) {
            // The end of a PNG (an empty chunk) may be missing without loss.
            refusal(&bytes[..len]);
            seen += 1;
        }
        assert!(seen > 20, "{kind:?}: {seen}");
        assert!(refusal(&bytes[..bytes.len() / 2]).contains("ends too early"), "{kind:?}");
    }
}

#[test]
fn what_is_no_picture_is_told_in_one_line() {
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"hello, this is a text").contains("not a PNG, JPEG, WebP or TIFF"));
    assert!(refusal(b"GIF89a\0\0\0\0\0\0").contains("gif pictures are not supported"));
    let error = read_picture(Path::new("/nowhere/a.png")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().starts_with("cannot read /nowhere/a.png: "), "{error}");
}

#[test]
fn damaged_bytes_never_panic() {
    for kind in KINDS {
        let bytes = written(kind, &smooth(PixelFormat::Rgb8, 12, 9), &Metadata::default());
        for at in 0..bytes.len().min(400) {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let _ = read_picture_bytes(&bad, "x");
            }
        }
    }
}

/// A PNG of nothing but a head with this size.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let crc = !ihdr.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg()))
    });
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(ihdr);
    png.extend(crc.to_be_bytes());
    // The start of a chunk of pixels: decoders read up to it before they tell the size.
    png.extend(b"\0\0\0\x04IDAT");
    png
}

#[test]
fn a_size_too_large_is_refused_by_its_header() {
    for (w, h) in [(65_000, 65_000), (65_000, 10), (10, 65_000), (32_768, 4_097)] {
        let text = refusal(&png_header(w, h));
        assert!(
            text.contains(&format!("{w}x{h}")) && text.contains("32768") && text.contains("134217728"),
            "{text}"
        );
    }
    assert!(refusal(&png_header(10, 10)).contains("ends too early"));
}

#[test]
fn writing_is_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let (one, two) = (smooth(PixelFormat::Rgb8, 4, 4), smooth(PixelFormat::Gray8, 5, 4));
    let write = |p: &Path, f: &Frame, o| write_picture(p, &f.view(), &Metadata::default(), o);
    write(&path, &one, Overwrite::Refuse).unwrap();
    let text = write(&path, &two, Overwrite::Refuse).unwrap_err().to_string();
    assert!(text.contains("exists already"), "{text}");
    assert_eq!(read_picture(&path).unwrap().frame, one);
    write(&path, &two, Overwrite::Replace).unwrap();
    assert_eq!(read_picture(&path).unwrap().frame, two);

    let alpha = smooth(PixelFormat::Rgba8, 4, 4);
    assert!(write(&folder.path().join("a.jpg"), &alpha, Overwrite::Refuse).is_err());
    assert!(write(&folder.path().join("a.bmp"), &one, Overwrite::Refuse).is_err());
    assert!(write(&folder.path().join("none/a.png"), &one, Overwrite::Refuse).is_err());
    std::fs::create_dir(folder.path().join("b.png")).unwrap();
    assert!(write(&folder.path().join("b.png"), &one, Overwrite::Replace).is_err());
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_new_file_has_the_users_mask_and_no_device_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let frame = smooth(PixelFormat::Rgb8, 4, 4);
    let (path, plain) = (folder.path().join("a.png"), folder.path().join("plain"));
    write_picture(&path, &frame.view(), &Metadata::default(), Overwrite::Refuse).unwrap();
    std::fs::write(&plain, "x").unwrap();
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    let link = folder.path().join("link.png");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    assert!(check_target(&link, Overwrite::Replace).is_err());
}
