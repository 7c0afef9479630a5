use super::*;
use std::str::FromStr;

const X4: Limits = Limits { scale: 4, max_output_pixels: 1 << 28 };
const X8: Limits = Limits { scale: 8, max_output_pixels: 1 << 28 };

fn caps(text: &str) -> gst::Caps {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| gst::init().unwrap());
    gst::Caps::from_str(text).unwrap()
}

/// Compared as text: gst_caps_is_strictly_equal of 1.22 prints criticals for lists that mix integers and ranges.
#[track_caller]
fn check(from: &str, limits: &Limits, carry: Carry, to: &str) {
    assert_eq!(carried(&caps(from), limits, carry).to_string(), caps(to).to_string(), "{from}");
}

#[test]
fn fixed_sizes() {
    for (limits, small, large) in
        [(&X4, "320, height=240", "1280, height=960"), (&X8, "33, height=17", "264, height=136")]
    {
        let (small, large) = (format!("video/x-raw, width={small}"), format!("video/x-raw, width={large}"));
        check(&small, limits, Carry::Forth, &large);
        check(&large, limits, Carry::Back, &small);
    }
    check("video/x-raw, width=1282, height=960", &X4, Carry::Back, "EMPTY");
    check("video/x-raw, width=1284, height=960", &X8, Carry::Back, "EMPTY");
    check("video/x-raw, width=4, height=4", &X8, Carry::Back, "EMPTY");
    check("video/x-raw, width=0, height=8", &X4, Carry::Forth, "EMPTY");
    check("video/x-raw, width=-8, height=8", &X4, Carry::Back, "EMPTY");
    check("video/x-raw, width=8193, height=8", &X4, Carry::Forth, "EMPTY");
    check("video/x-raw, width=2147483647, height=8", &X8, Carry::Forth, "EMPTY");
}

#[test]
fn ranges() {
    check(
        "video/x-raw, width=[ 1, 2147483647 ], height=[ 2, 100, 2 ]",
        &X4,
        Carry::Forth,
        "video/x-raw, width=[ 4, 32768, 4 ], height=[ 8, 400, 8 ]",
    );
    check(
        "video/x-raw, width=[ 1, 2147483647 ], height=[ 6, 96, 6 ]",
        &X4,
        Carry::Back,
        "video/x-raw, width=[ 1, 8192 ], height=[ 3, 24, 3 ]",
    );
    check("video/x-raw, width=[ 5, 11 ], height=[ 1, 3 ]", &X4, Carry::Back, "EMPTY");
    // One value is left: it must be a plain integer, else the caps would not be fixed.
    check(
        "video/x-raw, width=[ 5, 11 ], height=[ 30, 33 ]",
        &X4,
        Carry::Back,
        "video/x-raw, width=2, height=8",
    );
    // A lower bound beyond the limit has no image either.
    check("video/x-raw, width=[ 9000, 10000 ], height=8", &X4, Carry::Forth, "EMPTY");
}

#[test]
fn lists() {
    check(
        "video/x-raw, width={ (int)320, (int)640 }, height={ (int)3, [ 8, 16 ] }",
        &X4,
        Carry::Forth,
        "video/x-raw, width={ (int)1280, (int)2560 }, height={ (int)12, [ 32, 64, 4 ] }",
    );
    check(
        "video/x-raw, width={ (int)321, (int)640 }, height={ (int)4, (int)8 }",
        &X4,
        Carry::Back,
        "video/x-raw, width=160, height={ (int)1, (int)2 }",
    );
    check("video/x-raw, width={ (int)321, (int)642 }, height=4", &X4, Carry::Back, "EMPTY");
}

#[test]
fn absent_sizes_become_ranges() {
    check("video/x-raw", &X8, Carry::Forth, "video/x-raw, width=[ 8, 32768, 8 ], height=[ 8, 32768, 8 ]");
    check("video/x-raw", &X8, Carry::Back, "video/x-raw, width=[ 1, 4096 ], height=[ 1, 4096 ]");
}

#[test]
fn other_fields_and_features_stay() {
    let rest = "format={ (string)I420, (string)RGB }, framerate=30000/1001, pixel-aspect-ratio=10/11, \
                colorimetry=bt2100-pq, chroma-site=mpeg2, multiview-mode=side-by-side, \
                mastering-display-info=(string)\"35400:14600:8500:39850:6550:2300:15635:16450:10000000:1\", \
                content-light-level=(string)\"1000:300\"";
    for (features, carry) in [("", Carry::Forth), ("(memory:GLMemory)", Carry::Forth)] {
        check(
            &format!("video/x-raw{features}, width=16, height=12, {rest}"),
            &X4,
            carry,
            &format!("video/x-raw{features}, width=64, height=48, {rest}"),
        );
    }
}

#[test]
fn every_structure_is_carried() {
    check(
        "video/x-raw, width=2, height=2; video/x-raw, width=9000, height=2; video/x-raw, width=3, height=3",
        &X4,
        Carry::Forth,
        "video/x-raw, width=8, height=8; video/x-raw, width=12, height=12",
    );
}

#[test]
fn interlaced_and_views_are_left_out() {
    let size = "video/x-raw, width=2, height=2";
    let big = "video/x-raw, width=8, height=8";
    for bad in [
        "interlace-mode=interleaved",
        "interlace-mode={ (string)mixed, (string)fields }",
        "multiview-mode=separated",
        "multiview-mode=frame-by-frame, views=2",
    ] {
        check(&format!("{size}, {bad}"), &X4, Carry::Forth, "EMPTY");
    }
    for (before, after) in [
        ("interlace-mode=progressive", "interlace-mode=progressive"),
        ("interlace-mode={ (string)progressive, (string)interleaved }", "interlace-mode=progressive"),
        (
            "multiview-mode={ (string)mono, (string)left, (string)separated }",
            "multiview-mode={ (string)mono, (string)left }",
        ),
        ("views=1", "views=1"),
    ] {
        check(&format!("{size}, {before}"), &X4, Carry::Forth, &format!("{big}, {after}"));
    }
}

#[test]
fn too_many_pixels_are_left_out() {
    let limits = Limits { scale: 4, max_output_pixels: 64 * 48 };
    check("video/x-raw, width=16, height=12", &limits, Carry::Forth, "video/x-raw, width=64, height=48");
    check("video/x-raw, width=16, height=13", &limits, Carry::Forth, "EMPTY");
    check("video/x-raw, width=64, height=48", &limits, Carry::Back, "video/x-raw, width=16, height=12");
    check("video/x-raw, width=64, height=52", &limits, Carry::Back, "EMPTY");
}

/// Forth and back meet again, for every size near the edges.
#[test]
fn there_and_back() {
    for limits in [X4, X8] {
        for v in (1..300).chain(limits.input_side() - 20..=limits.input_side()) {
            let small = format!("video/x-raw, width={v}, height=1");
            let large = carried(&caps(&small), &limits, Carry::Forth);
            assert_eq!(carried(&large, &limits, Carry::Back).to_string(), caps(&small).to_string());
        }
    }
}

/// Whatever ranges and steps: the image holds exactly the values that have a counterpart.
#[test]
fn range_images_are_exact() {
    caps("ANY");
    for limits in [X4, X8] {
        for step in [1, 2, 3, 4, 6, 8, 12] {
            for (from, to) in [(1, 5), (2, 40), (7, 9), (0, 3), (8180, 8200), (4090, 4100), (32750, 32790)] {
                let (min, max) = (from * step, to * step);
                for carry in [Carry::Forth, Carry::Back] {
                    let image = carry_range(min, max, step, &limits, carry);
                    let mut want: Vec<i32> =
                        (from..=to).filter_map(|k| carry_value(k * step, &limits, carry)).collect();
                    want.sort_unstable();
                    let have: Vec<i32> = match image {
                        None => vec![],
                        Some(v) => match v.get::<i32>() {
                            Ok(v) => vec![v],
                            Err(_) => {
                                let r = v.get::<gst::IntRange<i32>>().unwrap();
                                (r.min()..=r.max()).step_by(r.step() as usize).collect()
                            }
                        },
                    };
                    assert_eq!(have, want, "{min}..{max} step {step} {carry:?} {limits:?}");
                }
            }
        }
    }
}

#[test]
fn refusals_in_words() {
    for (text, limits, want) in [
        ("width=16, height=12, interlace-mode=interleaved", X4, "put deinterlace before this element"),
        ("width=16, height=12, multiview-mode=separated, views=2", X4, "split the views first"),
        ("width=5000, height=64", X8, "5000x64 is too large for scale=8: at most 4096 pixels a side"),
        ("width=4096, height=2048", X8, "makes 32768x16384 pixels, more than max-output-pixels=268435456"),
    ] {
        let why = refusal(&caps(&format!("video/x-raw, {text}")), &limits).unwrap();
        assert!(why.contains(want), "{why}");
    }
    for good in [
        "width=16, height=12",
        "width=2048, height=2048, interlace-mode=progressive, views=1",
        "width=8, height=8, multiview-mode=mono",
    ] {
        assert_eq!(refusal(&caps(&format!("video/x-raw, {good}")), &X8), None);
    }
}

fn coloured(input: &str, output: &str) -> (gst_video::VideoInfo, gst_video::VideoInfo, gst::Caps) {
    let input = gst_video::VideoInfo::from_caps(&caps(input)).unwrap();
    let mut output = caps(output);
    keep_colours(&input, output.make_mut().structure_mut(0).unwrap());
    (input, gst_video::VideoInfo::from_caps(&output).unwrap(), output)
}

#[test]
fn colours_do_not_follow_the_height() {
    // 240 lines mean BT.601 and 960 lines BT.709 where nothing is said.
    let (i, o, _) = coloured(
        "video/x-raw, format=I420, width=320, height=240",
        "video/x-raw, format=I420, width=1280, height=960",
    );
    assert_eq!(o.colorimetry(), i.colorimetry());
    assert_eq!(o.colorimetry().to_string(), "bt601");
    assert_eq!(o.chroma_site(), gst_video::VideoChromaSite::JPEG);
    let (_, o, _) = coloured(
        "video/x-raw, format=NV12, width=320, height=577",
        "video/x-raw, format=NV12, width=1280, height=2308",
    );
    assert_eq!(o.colorimetry().to_string(), "bt709");
    assert_eq!(o.chroma_site(), gst_video::VideoChromaSite::MPEG2);
}

#[test]
fn colours_that_are_said_stay() {
    let (_, o, _) = coloured(
        "video/x-raw, format=I420, width=320, height=240, colorimetry=bt2020, chroma-site=dv",
        "video/x-raw, format=I420, width=1280, height=960, colorimetry=bt709, chroma-site=jpeg",
    );
    assert_eq!(o.colorimetry().to_string(), "bt709");
    assert_eq!(o.chroma_site(), gst_video::VideoChromaSite::JPEG);
    let (_, _, text) = coloured(
        "video/x-raw, format=RGB, width=8, height=8",
        "video/x-raw, format=RGB, width=32, height=32",
    );
    assert!(!text.to_string().contains("colorimetry"));
}

#[test]
fn templates_know_what_no_factor_makes() {
    caps("ANY");
    let src = template(Carry::Forth);
    assert!(src.can_intersect(&caps("video/x-raw, format=RGB, width=1284, height=960")));
    assert!(!src.can_intersect(&caps("video/x-raw, format=RGB, width=1282, height=960")));
    assert!(!src.can_intersect(&caps("video/x-raw(memory:GLMemory), format=RGB, width=1284, height=960")));
    assert_eq!(FORMATS.len(), 27);
}
