//! Video that does not flicker, cuts, and what is told on the bus after frames.

use std::time::{Duration, Instant};

use gst::prelude::*;
use ssmoesr_tests::models::TestModel;

use crate::util::{Pipe, harness_with, pattern, stat};

const CAPS: &str = "video/x-raw,format=GRAY8,width=16,height=12,framerate=25/1";

/// Noise shows only where the sampler runs to its end.
fn vivid(temporal: &'static str) -> gst_check::Harness {
    harness_with("4", CAPS, |e| {
        e.set_property("fidelity", 0.0);
        e.set_property("steps", 4u32);
        e.set_property_from_str("temporal", temporal);
    })
}

fn push(h: &mut gst_check::Harness, picture: Vec<u8>) -> Vec<u8> {
    h.push(gst::Buffer::from_mut_slice(picture)).unwrap();
    let out = h.pull().unwrap();
    let map = out.map_readable().unwrap();
    map.to_vec()
}

#[test]
fn a_still_clip_stands_still() {
    let mut h = vivid("stable");
    let frames: Vec<_> = (0..3).map(|_| push(&mut h, pattern(16 * 12))).collect();
    assert!(frames[0] == frames[1] && frames[1] == frames[2]);
    // And is computed once: four steps and the decoder, of three frames.
    let element = h.element().unwrap();
    assert_eq!((stat(&element, "tiles"), stat(&element, "tiles-reused")), (15, 10));
}

#[test]
fn noise_of_its_own_flickers_and_begins_anew_with_a_seek() {
    let (mut stable, mut h) = (vivid("stable"), vivid("off"));
    let frames: Vec<_> = (0..3).map(|_| push(&mut h, pattern(16 * 12))).collect();
    assert!(frames[0] != frames[1] && frames[1] != frames[2] && frames[0] != frames[2]);
    assert!(frames[0] == push(&mut stable, pattern(16 * 12)), "the first frame has the seed itself");
    h.push_event(gst::event::FlushStart::new());
    h.push_event(gst::event::FlushStop::new(true));
    h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert!(frames[0] == push(&mut h, pattern(16 * 12)), "the same frame is another picture after a seek");
}

#[test]
fn a_seek_back_gives_the_same_picture() {
    let mut h = vivid("stable");
    let first = push(&mut h, pattern(16 * 12));
    let mut other = pattern(16 * 12);
    other.reverse();
    push(&mut h, other);
    h.push_event(gst::event::FlushStart::new());
    h.push_event(gst::event::FlushStop::new(true));
    h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert!(first == push(&mut h, pattern(16 * 12)));
}

#[test]
fn cuts_are_seen() {
    let model = TestModel::bicubic();
    let cuts = |threshold: f64| {
        let mut h = harness_with("4", CAPS, |e| {
            e.set_property("model", model.path());
            e.set_property("scene-threshold", threshold);
        });
        // Dark, dark, bright, bright, a little less bright.
        for value in [20, 22, 200, 198, 190] {
            push(&mut h, vec![value; 16 * 12]);
        }
        stat(&h.element().unwrap(), "scene-resets")
    };
    let default = gst::ElementFactory::make("ssmoesr").build().unwrap().property::<f64>("scene-threshold");
    assert_eq!((cuts(default), cuts(1.0), cuts(0.02)), (1, 0, 2));
}

#[test]
fn progress_is_told_on_request_and_not_too_often() {
    let model = TestModel::bicubic();
    for (post, wanted) in [("false", 0..=0), ("true", 1..=100)] {
        let p = Pipe::play(&format!(
            "videotestsrc num-buffers=100 ! {CAPS} ! ssmoesr name=sr model={} device=cpu post-messages={post} ! \
             fakesink sync=false",
            model.path()
        ));
        let (bus, started) = (p.pipeline.bus().unwrap(), Instant::now());
        let mut seen = vec![];
        loop {
            let kinds = [gst::MessageType::Element, gst::MessageType::Eos, gst::MessageType::Error];
            let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
            match message.view() {
                gst::MessageView::Element(m) => {
                    let s = m.structure().unwrap();
                    assert_eq!(s.name(), "ssmoesr-progress");
                    assert_eq!(message.src(), Some(p.element.upcast_ref()));
                    let frames = s.get::<u64>("frames").unwrap();
                    // Frame n (from 1) is shown at (n - 1) / 25 seconds.
                    let shown = s.get::<gst::ClockTime>("timestamp").unwrap();
                    assert_eq!(shown.mseconds(), (frames - 1) * 40);
                    s.get::<u64>("frame-ms").unwrap();
                    seen.push(frames);
                    // Five a second at most, however late they are taken from the bus.
                    assert!(started.elapsed() >= Duration::from_millis(200) * (seen.len() as u32 - 1));
                }
                gst::MessageView::Eos(_) => break,
                _ => panic!("{message:?}"),
            }
        }
        assert!(wanted.contains(&seen.len()), "{seen:?}");
        assert!(seen.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn a_slow_cpu_is_warned_of_once() {
    for (device, warnings) in [("auto", 1), ("cpu", 0)] {
        // No machine enlarges this at a thousand frames a second.
        let p = Pipe::play(&format!(
            "videotestsrc num-buffers=4 ! video/x-raw,format=RGB,width=64,height=48,framerate=1000/1 ! \
             ssmoesr name=sr device={device} ! fakesink sync=false"
        ));
        let mut found = vec![];
        loop {
            let message = p.message(&[gst::MessageType::Warning, gst::MessageType::Eos]);
            match message.view() {
                gst::MessageView::Warning(warning) => found.push(warning.error().to_string()),
                gst::MessageView::Eos(_) => break,
                _ => panic!("{message:?}"),
            }
        }
        assert_eq!(found.len(), warnings, "{found:?}");
        for text in found {
            assert!(text.contains("seconds for a frame of 64x48") && text.contains("device=cpu"), "{text}");
        }
    }
}
