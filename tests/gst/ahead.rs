//! Frames that a device takes before their turn. The device is the twin of a GPU in memory: when frames leave, and which, is the same.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use gst::prelude::*;
use ssmoesr_tests::models::TestModel;

use crate::util::{harness_with, pattern, run, stat};

const CAPS: &str = "video/x-raw,format=GRAY8,width=16,height=12,framerate=25/1";

/// The element on a device, and its model.
struct Film {
    h: gst_check::Harness,
    _model: TestModel,
}

impl Deref for Film {
    type Target = gst_check::Harness;

    fn deref(&self) -> &Self::Target {
        &self.h
    }
}

impl DerefMut for Film {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.h
    }
}

/// With the model loaded: from the first frame on it may work ahead.
fn element(device: &str, set: impl FnOnce(&gst::Element)) -> Film {
    let model = TestModel::bicubic();
    let h = harness_with("4", CAPS, |e| {
        e.set_property("model", model.path());
        e.set_property("device", device);
        set(e);
    });
    let started = Instant::now();
    let loaded = |h: &gst_check::Harness| {
        let stats = h.element().unwrap().property::<gst::Structure>("stats");
        stats.get::<String>("device").unwrap() == device
    };
    while !loaded(&h) {
        assert!(started.elapsed() < Duration::from_secs(60), "the model was not loaded");
        std::thread::sleep(Duration::from_millis(2));
    }
    Film { h, _model: model }
}

fn twin(overlap: &str) -> Film {
    element("twin", |e| e.set_property_from_str("overlap", overlap))
}

fn picture(i: u64) -> Vec<u8> {
    let mut picture = pattern(16 * 12);
    picture.rotate_left(i as usize * 5);
    picture
}

fn timed(i: u64, picture: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(picture);
    let b = buffer.get_mut().unwrap();
    b.set_pts(gst::ClockTime::from_mseconds(40 * i));
    b.set_duration(gst::ClockTime::from_mseconds(40));
    b.set_offset(i);
    buffer
}

fn push(film: &mut Film, i: u64) -> u32 {
    film.push(timed(i, picture(i))).unwrap();
    film.buffers_received()
}

/// What the CPU makes of these, one after the other.
fn wanted(pictures: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut h = element("cpu", |_| {});
    let one = |picture: &Vec<u8>| {
        h.push(gst::Buffer::from_mut_slice(picture.clone())).unwrap();
        bytes(&h.pull().unwrap())
    };
    pictures.iter().map(one).collect()
}

fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
    buffer.map_readable().unwrap().to_vec()
}

/// Takes a frame that has left, which must be number `i`.
#[track_caller]
fn take(film: &mut Film, i: u64) -> Vec<u8> {
    let out = film.try_pull().unwrap_or_else(|| panic!("frame {i} has not left"));
    assert_eq!((out.pts(), out.offset()), (Some(gst::ClockTime::from_mseconds(40 * i)), i));
    assert_eq!(out.duration(), Some(gst::ClockTime::from_mseconds(40)));
    bytes(&out)
}

#[test]
fn each_frame_leaves_when_its_successor_comes() {
    let wanted = wanted(&(0..5).map(picture).collect::<Vec<_>>());
    let mut h = twin("auto");
    let left: Vec<u32> = (0..5).map(|i| push(&mut h, i)).collect();
    assert_eq!(left, [0, 1, 2, 3, 4]);
    h.push_event(gst::event::Eos::new());
    for (i, wanted) in wanted.iter().enumerate() {
        assert!(take(&mut h, i as u64) == *wanted, "frame {i}");
    }
    assert!(h.try_pull().is_none());
    assert_eq!(stat(&h.element().unwrap(), "frames"), 5);
    // One frame alone, as of a still.
    let mut h = twin("auto");
    assert_eq!(push(&mut h, 0), 0);
    h.push_event(gst::event::Eos::new());
    assert!(take(&mut h, 0) == wanted[0]);
}

#[test]
fn nothing_is_held_where_it_is_not_wanted_or_of_no_use() {
    for h in [
        twin("never"),
        element("cpu", |e| e.set_property_from_str("overlap", "always")),
        element("twin", |e| e.set_property_from_str("temporal", "off")),
    ] {
        let mut h = h;
        assert_eq!([0, 1, 2].map(|i| push(&mut h, i)), [1, 2, 3]);
    }
}

#[test]
fn live_pipelines_get_each_frame_at_once_unless_they_want_otherwise() {
    let mut h = twin("auto");
    assert_eq!(push(&mut h, 0), 0);
    // From now on it is known to be live: what is held leaves with the next.
    h.query_latency();
    assert_eq!([1, 2].map(|i| push(&mut h, i)), [2, 3]);
    let mut h = twin("always");
    h.query_latency();
    assert_eq!([0, 1, 2].map(|i| push(&mut h, i)), [0, 1, 2]);
    // The time of a frame, and until the next comes.
    assert!(h.query_latency().unwrap() > gst::ClockTime::from_mseconds(40));
}

#[test]
fn what_must_not_overtake_a_frame_lets_it_out() {
    let mut h = twin("auto");
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    let events = [
        gst::event::Gap::builder(gst::ClockTime::from_seconds(1)).build(),
        gst::event::CustomDownstream::new(gst::Structure::new_empty("x")),
        gst::event::Segment::new(&segment),
        gst::event::Tag::new(gst::TagList::new()),
    ];
    let count = events.len() as u32;
    for (i, event) in (0..).zip(events) {
        assert_eq!(push(&mut h, i), i as u32);
        assert!(h.push_event(event));
        assert_eq!(h.buffers_received(), i as u32 + 1);
    }
    // One that is not in order with frames does not.
    assert_eq!(push(&mut h, u64::from(count)), count);
    h.push_event(gst::event::CustomDownstreamOob::new(gst::Structure::new_empty("x")));
    assert_eq!(h.buffers_received(), count);
    h.element().unwrap().static_pad("sink").unwrap().query(&mut gst::query::Drain::new());
    assert_eq!(h.buffers_received(), count + 1);
}

#[test]
fn other_caps_and_factors_come_after_what_is_held() {
    let mut h = twin("auto");
    assert_eq!(push(&mut h, 0), 0);
    h.set_src_caps_str("video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    h.push(timed(1, pattern(64))).unwrap();
    h.element().unwrap().set_property_from_str("scale", "8");
    h.push(timed(2, pattern(64))).unwrap();
    h.push_event(gst::event::Eos::new());
    let sizes: Vec<usize> = (0..3).map(|i| take(&mut h, i).len()).collect();
    assert_eq!(sizes, [64 * 48, 32 * 32, 64 * 64]);
}

#[test]
fn a_flush_takes_what_is_held_and_frames_go_on() {
    let wanted = wanted(&[picture(1), picture(2)]);
    let mut h = twin("auto");
    assert_eq!(push(&mut h, 0), 0);
    h.push_event(gst::event::FlushStart::new());
    h.push_event(gst::event::FlushStop::new(true));
    h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!([1, 2].map(|i| push(&mut h, i)), [0, 1]);
    h.push_event(gst::event::Eos::new());
    assert!(take(&mut h, 1) == wanted[0] && take(&mut h, 2) == wanted[1]);
    assert!(h.try_pull().is_none());
}

#[test]
fn cuts_marks_and_frames_that_do_not_fit_keep_their_places() {
    let flat = |value: u8| vec![value; 16 * 12];
    let pictures = [flat(20), flat(22), flat(200), flat(198), flat(190)];
    let wanted = wanted(&pictures);
    let mut h = twin("auto");
    for (i, picture) in (0..).zip(pictures) {
        let mut buffer = timed(i, picture);
        if i == 3 {
            buffer.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
        }
        h.push(buffer).unwrap();
        // At a mark and a cut as everywhere else: the last one that came is held.
        assert_eq!(h.buffers_received(), i as u32);
    }
    // Too short: it is told, and dropped.
    let _ = h.push(timed(5, vec![0; 7]));
    h.push_event(gst::event::Eos::new());
    for (i, wanted) in wanted.iter().enumerate() {
        let out = h.try_pull().unwrap();
        assert_eq!(
            (out.offset(), out.flags().contains(gst::BufferFlags::DISCONT)),
            (i as u64, i == 3),
            "{i}"
        );
        assert!(bytes(&out) == *wanted, "frame {i}");
    }
    assert!(h.try_pull().is_none());
    let element = h.element().unwrap();
    assert_eq!((stat(&element, "scene-resets"), stat(&element, "dropped-invalid")), (1, 1));
}

#[test]
fn whole_pipelines_run_to_their_end() {
    let model = TestModel::bicubic();
    for more in ["", "! queue ! videorate max-rate=10", "! tee name=t t. ! queue ! fakesink t. ! queue"] {
        run(&format!(
            "videotestsrc num-buffers=7 ! {CAPS} ! ssmoesr model={} device=twin {more} ! fakesink sync=false",
            model.path()
        ));
    }
}
