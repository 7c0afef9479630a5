//! Several elements in one process.

use std::time::Instant;

use gst::prelude::*;

use ssmoesr_tests::models::{SLOW_FRAME, TestModel};

use crate::util::{Pipe, in_work, stat};

#[test]
fn two_elements_share_one_engine() {
    // A number of threads of their own, so that no other test's elements are counted.
    let branch = |name: &str, scale: u32| {
        format!(
            "videotestsrc num-buffers=2 ! video/x-raw,format=GRAY8,width=16,height=12 ! \
             ssmoesr name={name} scale={scale} threads=3 ! fakesink sync=false "
        )
    };
    let p = Pipe::play(&(branch("sr", 4) + &branch("other", 8)));
    p.wait(gst::MessageType::Eos);
    let other = p.pipeline.by_name("other").unwrap();
    for e in [&p.element, &other] {
        assert_eq!((stat(e, "frames"), stat(e, "engine-users")), (2, 2));
    }
    p.state(gst::State::Null);
    assert_eq!((stat(&p.element, "engine-users"), stat(&other, "engine-users")), (0, 0));
}

#[test]
fn one_after_the_other_in_a_pipeline() {
    let p = Pipe::play(
        "videotestsrc num-buffers=1 ! video/x-raw,format=GRAY8,width=2,height=2 ! ssmoesr name=sr ! \
         ssmoesr name=again ! fakesink sync=false",
    );
    p.wait(gst::MessageType::Eos);
    let again = p.pipeline.by_name("again").unwrap();
    assert_eq!(crate::util::size(&again, "src"), (32, 32));
}

#[test]
fn waiting_for_another_ends_at_once() {
    let (model, (w, h)) = (TestModel::slow(), SLOW_FRAME);
    let slow = format!(
        "videotestsrc ! video/x-raw,format=RGB,width={w},height={h} ! ssmoesr name=sr device=cpu model={} ! \
         fakesink sync=false",
        model.path()
    );
    let (first, second) = (Pipe::play(&slow), Pipe::new(&slow));
    first.until("frame in work", in_work);
    second.state(gst::State::Playing);
    second.until("model", |e| stat(e, "engine-users") > 1);
    let started = Instant::now();
    second.state(gst::State::Null);
    let stop = started.elapsed();
    println!("to NULL while another pipeline holds the engine: {stop:?}");
    assert_eq!(
        (stat(&first.element, "frames"), stat(&second.element, "frames")),
        (0, 0),
        "it waited for a frame"
    );
}

#[test]
fn an_element_may_leave_while_playing() {
    let p = Pipe::play(
        "videotestsrc ! video/x-raw,format=GRAY8,width=16,height=12 ! ssmoesr name=sr ! fakesink name=sink sync=false",
    );
    p.until("frame", |e| stat(e, "frames") > 0);
    let weak = p.element.downgrade();
    p.state(gst::State::Null);
    p.pipeline.remove(&p.element).unwrap();
    p.state(gst::State::Null);
    drop(p);
    assert!(weak.upgrade().is_none(), "something still holds the element");
}
