//! Timestamps, events, metas, and how fast a frame in work is given up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gst::prelude::*;
use ssmoesr_tests::models::{SLOW_FRAME, TestModel};

use crate::util::{Pipe, harness, in_work, stat};

#[test]
fn times_and_flags_are_kept() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    for i in 0..3_u64 {
        let mut buffer = gst::Buffer::with_size(64).unwrap();
        let b = buffer.get_mut().unwrap();
        b.set_pts(gst::ClockTime::from_mseconds(40 * i + 7));
        b.set_duration(gst::ClockTime::from_mseconds(40));
        b.set_offset(100 + i);
        if i == 1 {
            b.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::DELTA_UNIT);
        }
        h.push(buffer).unwrap();
        let out = h.pull().unwrap();
        assert_eq!(out.pts(), Some(gst::ClockTime::from_mseconds(40 * i + 7)));
        assert_eq!(out.duration(), Some(gst::ClockTime::from_mseconds(40)));
        assert_eq!(out.offset(), 100 + i);
        assert_eq!(out.flags().contains(gst::BufferFlags::DISCONT), i == 1);
    }
}

#[test]
fn regions_grow_with_the_picture() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    let mut buffer = gst::Buffer::with_size(64).unwrap();
    gst_video::VideoRegionOfInterestMeta::add(buffer.get_mut().unwrap(), "face", (1, 2, 3, 4));
    h.push(buffer).unwrap();
    let out = h.pull().unwrap();
    assert_eq!(out.meta::<gst_video::VideoRegionOfInterestMeta>().unwrap().rect(), (4, 8, 12, 16));
}

#[test]
fn other_metas_are_copied() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    let mut buffer = gst::Buffer::with_size(64).unwrap();
    let b = buffer.get_mut().unwrap();
    let clock: gst::Caps = "timestamp/x-test".parse().unwrap();
    gst::ReferenceTimestampMeta::add(b, &clock, gst::ClockTime::from_seconds(5), gst::ClockTime::NONE);
    gst_video::VideoCaptionMeta::add(b, gst_video::VideoCaptionType::Cea608Raw, &[1, 2]);
    h.push(buffer).unwrap();
    let out = h.pull().unwrap();
    let time = out.meta::<gst::ReferenceTimestampMeta>().unwrap().timestamp();
    assert_eq!(time, gst::ClockTime::from_seconds(5));
    assert_eq!(out.meta::<gst_video::VideoCaptionMeta>().unwrap().data(), [1, 2]);
}

#[test]
fn the_pointer_is_mapped_back() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=8,height=8,framerate=25/1");
    h.push(gst::Buffer::with_size(64).unwrap()).unwrap();
    let structure = gst::Structure::builder("application/x-gst-navigation")
        .field("event", "mouse-move")
        .field("pointer_x", 30.0)
        .field("pointer_y", 8.0)
        .build();
    h.push_upstream_event(gst::event::Navigation::new(structure));
    let event = loop {
        let event = h.pull_upstream_event().unwrap();
        if event.type_() == gst::EventType::Navigation {
            break event;
        }
    };
    let s = event.structure().unwrap();
    assert_eq!((s.get::<f64>("pointer_x").unwrap(), s.get::<f64>("pointer_y").unwrap()), (7.5, 2.0));
}

/// Frames of several seconds: what takes long is the network, and a wish to stop reaches into it. How long that takes
/// is told; what must hold on the most crowded machine is that no frame was waited for.
#[test]
fn a_frame_in_work_is_given_up() {
    let model = TestModel::slow();
    let (w, h) = SLOW_FRAME;
    let p = Pipe::play(&format!(
        "videotestsrc ! video/x-raw,format=RGB,width={w},height={h} ! ssmoesr name=sr device=cpu model={} ! \
         fakesink sync=false",
        model.path()
    ));
    let into_the_network = || {
        p.until("frame in work", in_work);
        std::thread::sleep(Duration::from_millis(200));
    };
    let mut seeks = vec![];
    for s in 1..6 {
        into_the_network();
        let started = Instant::now();
        p.element.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::from_seconds(s)).unwrap();
        seeks.push(started.elapsed());
    }
    into_the_network();
    let started = Instant::now();
    p.state(gst::State::Null);
    println!("flushing seeks {seeks:?}, to NULL {:?}", started.elapsed());
    assert_eq!((stat(&p.element, "frames"), stat(&p.element, "cancelled")), (0, 6));
}

#[test]
fn frames_flow_after_a_flush() {
    let p = Pipe::play(
        "videotestsrc ! video/x-raw,format=GRAY8,width=16,height=12 ! ssmoesr name=sr ! fakesink sync=false",
    );
    p.wait(gst::MessageType::AsyncDone);
    for s in 1..4 {
        p.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::from_seconds(s)).unwrap();
        // One frame may have been in work during the flush; the second is of the new segment.
        let before = stat(&p.element, "frames");
        p.until("two frames after the flush", |e| stat(e, "frames") >= before + 2);
    }
}

#[test]
fn a_storm_of_seeks_and_states() {
    let p = Pipe::play(
        "videotestsrc ! video/x-raw,format=RGB,width=32,height=24 ! ssmoesr name=sr ! fakesink sync=false",
    );
    let mut worst = Duration::ZERO;
    for i in 0..30_u64 {
        std::thread::sleep(Duration::from_millis(i % 7 * 5));
        let started = Instant::now();
        match i % 5 {
            3 => p.state(gst::State::Ready),
            4 => p.state(gst::State::Playing),
            _ => {
                // Fails where no data has passed since READY, as for any element.
                let _ = p.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::from_mseconds(i * 40));
            }
        }
        worst = worst.max(started.elapsed());
    }
    println!("30 seeks and state changes, worst {worst:?}");
    assert!(p.pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]).is_none());
}

#[test]
fn the_way_to_null_does_not_wait_for_a_model() {
    // A key of its own, so that the model is loaded anew.
    let p = Pipe::new("videotestsrc ! ssmoesr name=sr threads=2 ! fakesink");
    let started = Instant::now();
    p.state(gst::State::Paused);
    let pause = started.elapsed();
    let started = Instant::now();
    p.state(gst::State::Null);
    let stop = started.elapsed();
    println!("to PAUSED {pause:?}, to NULL {stop:?}");
    // Neither joins the thread that loads: a bound for hangs, not a measure.
    assert!(pause + stop < Duration::from_secs(10));
}

#[test]
fn late_frames_are_kept_unless_asked() {
    for (qos, all) in [("", true), ("qos=true", false)] {
        let p = Pipe::play(&format!(
            "videotestsrc num-buffers=12 ! video/x-raw,format=GRAY8,width=16,height=12,framerate=500/1 ! \
             ssmoesr name=sr {qos} ! fakesink sync=true qos=true max-lateness=1000000"
        ));
        p.wait(gst::MessageType::Eos);
        let (frames, late) = (stat(&p.element, "frames"), stat(&p.element, "dropped-late"));
        println!("qos {qos:?}: {frames} computed, {late} dropped");
        assert_eq!(frames + late, 12);
        assert_eq!(frames == 12, all);
    }
}

#[test]
fn a_growing_latency_is_told() {
    let mut h = harness("4", "video/x-raw,format=GRAY8,width=32,height=32,framerate=25/1");
    h.set_live(true);
    let (element, bus) = (h.element().unwrap(), gst::Bus::new());
    element.set_bus(Some(&bus));
    let told = |h: &gst_check::Harness| {
        let mut query = gst::query::Latency::new();
        assert!(h.element().unwrap().static_pad("src").unwrap().query(query.query_mut()));
        assert!(query.result().0, "a live source");
        query.result().1
    };
    let messages = || bus.iter_filtered(&[gst::MessageType::Latency]).count();
    let before = told(&h);
    assert_eq!(messages(), 0, "nothing is known before the first frame");
    let _ = h.push_and_pull(gst::Buffer::with_size(32 * 32).unwrap()).unwrap();
    assert_eq!(messages(), 1);
    let own = told(&h) - before;
    let average = gst::ClockTime::from_mseconds(stat(&element, "average-frame-ms"));
    println!("latency of the element {own}, average frame {average}");
    assert!(own > gst::ClockTime::ZERO && own >= average);
    element.set_bus(None);
}

#[test]
fn live_pipelines_are_told_the_latency() {
    let p = Pipe::play(
        "videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=32,height=32,framerate=10/1 ! ssmoesr name=sr ! \
         fakesink name=sink sync=false",
    );
    p.until("third frame", |e| stat(e, "frames") > 2);
    // Before the question: frames go on meanwhile.
    let average = gst::ClockTime::from_mseconds(stat(&p.element, "average-frame-ms"));
    let latency = |pad: &str| {
        let mut query = gst::query::Latency::new();
        assert!(p.element.static_pad(pad).unwrap().query(query.query_mut()));
        query.result().1
    };
    let mut upstream = gst::query::Latency::new();
    assert!(p.element.static_pad("sink").unwrap().peer().unwrap().query(upstream.query_mut()));
    let own = latency("src") - upstream.result().1;
    println!("latency of the element {own}, average frame {average}");
    assert!(own >= average);
}

/// With queues around it, it computes while its neighbours are busy: here the next ones wait until that is seen.
#[test]
fn queues_overlap_it_with_its_neighbours() {
    let model = TestModel::bicubic();
    let p = Pipe::new(&format!(
        "videotestsrc num-buffers=8 ! video/x-raw,format=GRAY8,width=16,height=12 ! identity name=before ! queue ! \
         ssmoesr name=sr device=cpu model={} ! queue ! fakesink name=sink sync=false signal-handoffs=true",
        model.path()
    ));
    let before = Arc::new(AtomicU64::new(0));
    let count = before.clone();
    p.pipeline.by_name("before").unwrap().connect("handoff", false, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        None
    });
    let (element, overlaps) = (p.element.clone(), Arc::new(AtomicU64::new(0)));
    let seen = overlaps.clone();
    p.pipeline.by_name("sink").unwrap().connect("handoff", false, move |_| {
        let started = Instant::now();
        while seen.load(Ordering::Relaxed) == 0 && started.elapsed() < Duration::from_secs(60) {
            if stat(&element, "frames") > 2 && before.load(Ordering::Relaxed) > 3 {
                seen.store(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    });
    p.state(gst::State::Playing);
    p.wait(gst::MessageType::Eos);
    assert_eq!(
        overlaps.load(Ordering::Relaxed),
        1,
        "frames are computed while the one before is being written"
    );
}

#[test]
fn the_end_comes_after_the_last_frame() {
    let p = Pipe::play(
        "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY8,width=16,height=12 ! ssmoesr name=sr ! \
         fakesink name=sink signal-handoffs=true sync=false",
    );
    let (sender, receiver) = mpsc::channel();
    let sink = p.pipeline.by_name("sink").unwrap();
    sink.connect("handoff", false, move |_| {
        let _ = sender.send(());
        None
    });
    p.wait(gst::MessageType::Eos);
    assert!(receiver.try_iter().count() <= 2);
    assert_eq!(stat(&p.element, "frames"), 2);
}
