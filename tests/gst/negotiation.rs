//! Caps on both sides, and what is said where they cannot be.

use gst::prelude::*;

use crate::util::{Pipe, harness, init, size};

fn output(h: &gst_check::Harness) -> gst::Caps {
    h.element().unwrap().static_pad("src").unwrap().current_caps().unwrap()
}

#[test]
fn the_size_asked_for_reaches_the_source() {
    for (scale, want) in [("4", (32, 24)), ("8", (16, 12))] {
        let p = Pipe::play(&format!(
            "videotestsrc num-buffers=1 ! ssmoesr name=sr scale={scale} ! video/x-raw,width=128,height=96 ! fakesink"
        ));
        p.wait(gst::MessageType::Eos);
        assert_eq!(size(&p.element, "sink"), want);
    }
}

#[test]
fn ranges_and_lists_reach_the_source() {
    for (scale, width, height, want) in [
        // 66 has no input, and of 37 to 96 only multiples of 4 have one.
        ("4", "{ (int)66, (int)128 }", "[ 37, 96 ]", "width=(int)32, height=(int)[ 10, 24 ]"),
        (
            "8",
            "{ (int)64, (int)128, (int)132 }",
            "[ 36, 60, 4 ]",
            "width=(int){ 8, 16 }, height=(int)[ 5, 7 ]",
        ),
    ] {
        let p = Pipe::new(&format!(
            "videotestsrc num-buffers=1 ! ssmoesr name=sr scale={scale} ! capsfilter name=want ! fakesink"
        ));
        let caps: gst::Caps = format!("video/x-raw,width={width},height={height}").parse().unwrap();
        p.pipeline.by_name("want").unwrap().set_property("caps", caps);
        let asked = p.element.static_pad("sink").unwrap().query_caps(None);
        let mut sizes = gst::Structure::new_empty("video/x-raw");
        for side in ["width", "height"] {
            sizes.set_value(side, asked.structure(0).unwrap().value(side).unwrap().clone());
        }
        assert_eq!(sizes.to_string(), format!("video/x-raw, {want};"));
        p.state(gst::State::Playing);
        p.wait(gst::MessageType::Eos);
        let (w, h) = size(&p.element, "src");
        let scale: i32 = scale.parse().unwrap();
        assert_eq!(size(&p.element, "sink"), (w / scale, h / scale));
    }
}

#[test]
fn a_size_without_an_input_does_not_link() {
    init();
    // 1282 is no multiple of any factor (template), 1284 none of 8 (the caps function).
    for (scale, width) in [("4", 1282), ("8", 1284)] {
        let text =
            format!("videotestsrc ! ssmoesr scale={scale} ! video/x-raw,width={width},height=960 ! fakesink");
        let error = gst::parse::launch(&text).unwrap_err();
        assert!(error.to_string().contains("can't handle caps"), "{error}");
    }
}

#[test]
fn everything_but_the_size_is_kept() {
    let rest = "framerate=30000/1001,pixel-aspect-ratio=10/11,colorimetry=bt2020,chroma-site=mpeg2,\
                multiview-mode=mono,content-light-level=(string)1000:300,\
                mastering-display-info=(string)35400:14600:8500:39850:6550:2300:15635:16450:10000000:1";
    let mut h = harness(
        "4",
        &format!("video/x-raw,format=I420,width=16,height=12,interlace-mode=progressive,{rest}"),
    );
    h.push(gst::Buffer::with_size(16 * 12 * 3 / 2).unwrap()).unwrap();
    let out = output(&h);
    let want: gst::Caps =
        format!("video/x-raw,format=I420,width=64,height=48,interlace-mode=progressive,{rest}")
            .parse()
            .unwrap();
    assert!(out.is_strictly_equal(&want), "{out}");
}

#[test]
fn the_matrix_does_not_follow_the_new_height() {
    // 145 lines become 580, which would count as HD.
    let mut h = harness("4", "video/x-raw,format=I420,width=8,height=146,framerate=25/1");
    let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 8, 146).build().unwrap();
    h.push(gst::Buffer::with_size(info.size()).unwrap()).unwrap();
    let out = gst_video::VideoInfo::from_caps(&output(&h)).unwrap();
    assert_eq!((out.width(), out.height()), (32, 584));
    assert_eq!(out.colorimetry().to_string(), "bt601");
    assert_eq!(out.chroma_site(), gst_video::VideoChromaSite::JPEG);
}

#[test]
fn the_factor_changes_while_playing() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    for (scale, side) in [("4", 32), ("8", 64), ("4", 32)] {
        h.element().unwrap().set_property_from_str("scale", scale);
        h.push(gst::Buffer::with_size(64).unwrap()).unwrap();
        assert_eq!(h.pull().unwrap().size(), side * side);
    }
}

#[test]
fn the_source_follows_a_new_factor() {
    let p = Pipe::play(
        "videotestsrc is-live=true ! ssmoesr name=sr scale=4 ! video/x-raw,width=64,height=64,framerate=5/1 ! \
         fakesink sync=false",
    );
    p.until("first frame", |e| crate::util::stat(e, "frames") > 0);
    assert_eq!(size(&p.element, "sink"), (16, 16));
    p.element.set_property_from_str("scale", "8");
    p.until("smaller input", |e| size(e, "sink") == (8, 8));
    assert!(p.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]).is_none());
}

#[test]
fn the_size_changes_in_mid_stream() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    for width in [8, 12, 4, 8] {
        h.set_src_caps_str(&format!("video/x-raw,format=GRAY8,width={width},height=8,framerate=25/1"));
        h.push(gst::Buffer::with_size(width * 8).unwrap()).unwrap();
        assert_eq!(h.pull().unwrap().size(), width * 8 * 16);
    }
}

/// The first error is the element's own and says why, instead of "Internal data stream error" of the source.
#[test]
fn a_refusal_says_why() {
    for (properties, caps, want) in [
        (
            "scale=4",
            "width=64,height=64,interlace-mode=interleaved",
            "Interlaced video (interlace-mode=interleaved) cannot be enlarged: put deinterlace before this element",
        ),
        (
            "scale=4",
            "width=64,height=64,multiview-mode=separated,views=2",
            "Video with several views in a buffer (multiview-mode=separated) cannot be enlarged: split the views first",
        ),
        ("scale=8", "width=5000,height=64", "5000x64 is too large for scale=8: at most 4096 pixels a side"),
        (
            "scale=4 max-output-pixels=65535",
            "width=64,height=64",
            "64x64 at scale=4 makes 256x256 pixels, more than max-output-pixels=65535: raise max-output-pixels or \
             choose a smaller scale",
        ),
    ] {
        let p = Pipe::play(&format!(
            "appsrc name=source caps=video/x-raw,format=GRAY8,framerate=25/1,{caps} ! ssmoesr name=sr {properties} ! \
             fakesink"
        ));
        let _ = p.source().push_buffer(gst::Buffer::with_size(64).unwrap());
        let error = p.error();
        assert_eq!(error.message(), want);
        assert!(error.matches(gst::StreamError::WrongType));
    }
}

#[test]
fn values_that_are_none_are_refused() {
    init();
    for bad in ["scale=5", "scale=x4", "steps=many"] {
        assert!(gst::parse::launch(&format!("fakesrc ! ssmoesr {bad} ! fakesink")).is_err(), "{bad}");
    }
    let e = gst::ElementFactory::make("ssmoesr").build().unwrap();
    e.set_property("fidelity", -0.25);
    assert_eq!(e.property::<f64>("fidelity"), -1.0);
    e.set_property("model", "");
    assert_eq!(e.property::<Option<String>>("model"), None);
    e.set_property_from_str("device", "");
    assert_eq!(e.property::<String>("device"), "auto");
}
