//! Bad input and missing models, in words on the bus.

use std::time::{Duration, Instant};

use gst::prelude::*;
use ssmoesr_tests::models::TestModel;

use crate::util::{Pipe, stat};

const SOURCE: &str =
    "appsrc name=source format=time caps=video/x-raw,format=GRAY8,width=16,height=12,framerate=25/1";

#[test]
fn a_short_buffer_is_dropped_with_a_warning() {
    let p = Pipe::play(&format!("{SOURCE} ! ssmoesr name=sr device=cpu ! fakesink sync=false"));
    for bytes in [192, 191, 192] {
        p.source().push_buffer(gst::Buffer::with_size(bytes).unwrap()).unwrap();
    }
    p.source().end_of_stream().unwrap();
    let message = p.wait(gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = message.view() else { panic!("{message:?}") };
    let text = warning.error().to_string();
    assert!(text.contains("191 bytes") && text.contains("needs 192"), "{text}");
    p.wait(gst::MessageType::Eos);
    assert_eq!((stat(&p.element, "frames"), stat(&p.element, "dropped-invalid")), (2, 1));
}

#[test]
fn a_meta_beyond_the_memory_is_no_frame() {
    let p = Pipe::play(&format!("{SOURCE} ! ssmoesr name=sr device=cpu ! fakesink sync=false"));
    let mut buffer = gst::Buffer::with_size(192).unwrap();
    let flags = gst_video::VideoFrameFlags::empty();
    gst_video::VideoMeta::add_full(
        buffer.get_mut().unwrap(),
        flags,
        gst_video::VideoFormat::Gray8,
        16,
        12,
        &[100],
        &[16],
    )
    .unwrap();
    p.source().push_buffer(buffer).unwrap();
    p.wait(gst::MessageType::Warning);
    assert_eq!(stat(&p.element, "frames"), 0);
}

#[test]
fn ten_short_buffers_in_a_row_are_an_error() {
    let p = Pipe::play(&format!("{SOURCE} ! ssmoesr name=sr device=cpu ! fakesink sync=false"));
    for _ in 0..10 {
        let _ = p.source().push_buffer(gst::Buffer::with_size(40).unwrap());
    }
    let error = p.error();
    assert!(error.matches(gst::StreamError::Format));
    assert!(error.message().starts_with("10 input frames in a row do not fit their caps"), "{error}");
}

/// The change of state fails, and its reason is the first error.
#[test]
fn what_shows_at_first_sight_fails_the_change_of_state() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.json"), "{}").unwrap();
    let unreadable = format!("model={}", folder.path().display());
    for (properties, domain, words) in [
        ("model=/nowhere/at-all", "NotFound", "/nowhere/at-all"),
        (&unreadable, "Read", "model.json"),
        ("device=abacus", "Settings", "abacus"),
        ("precision=bf16 device=cpu", "Settings", "f32 only"),
    ] {
        let p = Pipe::new(&format!("videotestsrc ! ssmoesr name=sr {properties} ! fakesink"));
        assert!(p.pipeline.set_state(gst::State::Playing).is_err(), "{properties}");
        // Nothing was begun that needs an end.
        let message = p.message(&[gst::MessageType::Progress]);
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        assert_eq!(message.src(), Some(p.element.upcast_ref()));
        let error = error.error();
        let found = (error.kind::<gst::ResourceError>(), error.kind::<gst::LibraryError>());
        assert!(format!("{found:?}").contains(domain), "{found:?}");
        assert!(error.message().starts_with("Cannot load the model: "), "{error}");
        assert!(error.message().contains(words), "{error}");
    }
}

#[test]
fn a_damaged_model_is_the_first_error() {
    let model = TestModel::damaged();
    let text = format!("videotestsrc ! ssmoesr name=sr model={} ! fakesink", model.path());
    let p = Pipe::new(&text);
    let started = Instant::now();
    p.state(gst::State::Playing);
    let error = p.error();
    // Applications that look in the thread that posts are given time to begin.
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    assert!(error.matches(gst::ResourceError::Read), "{error:?}");
    assert!(error.message().starts_with("Cannot load the model: "), "{error}");
    assert!(error.message().contains("decoder.safetensors"), "{error}");
}

/// gst-launch holds PLAYING from a START to its end.
#[test]
fn every_progress_has_an_end() {
    let damaged = TestModel::damaged();
    let damaged = format!("model={}", damaged.path());
    for (model, end) in [("", gst::ProgressType::Complete), (&damaged, gst::ProgressType::Error)] {
        let p = Pipe::new(&format!("videotestsrc num-buffers=1 ! ssmoesr name=sr {model} ! fakesink"));
        // Without the pipeline's flush of the bus on the way back to NULL.
        p.state(gst::State::Paused);
        let mut seen = vec![];
        while seen.last().is_none_or(|&last| last == gst::ProgressType::Start) {
            let bus = p.pipeline.bus().unwrap();
            let message = bus
                .timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Progress])
                .expect("progress within a minute");
            let gst::MessageView::Progress(progress) = message.view() else { panic!("{message:?}") };
            assert_eq!(progress.get().1, "model-load");
            seen.push(progress.type_());
        }
        assert_eq!(seen, [gst::ProgressType::Start, end]);
    }
}
