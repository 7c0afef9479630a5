//! What the tests share.

use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

/// GStreamer with the element registered.
pub(crate) fn init() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // As G_DEBUG=fatal-warnings: no GLib message about a misuse passes unseen.
        let fatal = glib::LogLevels::LEVEL_CRITICAL | glib::LogLevels::LEVEL_WARNING;
        glib::log_set_always_fatal(fatal);
        gst::init().unwrap();
        gstssmoesr::plugin_register_static().unwrap();
    });
}

/// The element alone, with caps on its input.
pub(crate) fn harness(scale: &str, caps: &str) -> gst_check::Harness {
    harness_with(scale, caps, |_| {})
}

/// The same, with properties set before it starts.
pub(crate) fn harness_with(scale: &str, caps: &str, set: impl FnOnce(&gst::Element)) -> gst_check::Harness {
    init();
    let element = gst::ElementFactory::make("ssmoesr").property_from_str("scale", scale).build().unwrap();
    set(&element);
    let mut h = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    h.set_src_caps_str(caps);
    h
}

/// Plays a pipeline to its end.
#[track_caller]
pub(crate) fn run(text: &str) {
    init();
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
    pipeline.set_state(gst::State::Null).unwrap();
    let message = message.expect("the end within a minute");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

/// A pipeline that goes to NULL when a test ends, however it ends.
pub(crate) struct Pipe {
    pub(crate) pipeline: gst::Pipeline,
    /// The element named `sr`.
    pub(crate) element: gst::Element,
}

impl Pipe {
    pub(crate) fn new(text: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let element = pipeline.by_name("sr").unwrap();
        Self { pipeline, element }
    }

    pub(crate) fn play(text: &str) -> Self {
        let pipe = Self::new(text);
        pipe.state(gst::State::Playing);
        pipe
    }

    pub(crate) fn state(&self, state: gst::State) {
        self.pipeline.set_state(state).unwrap();
    }

    pub(crate) fn source(&self) -> gst_app::AppSrc {
        self.pipeline.by_name("source").unwrap().downcast().unwrap()
    }

    /// Next message of one of `kinds` or an error.
    #[track_caller]
    pub(crate) fn message(&self, kinds: &[gst::MessageType]) -> gst::Message {
        let kinds = [kinds, &[gst::MessageType::Error]].concat();
        let bus = self.pipeline.bus().unwrap();
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("a message within a minute")
    }

    #[track_caller]
    pub(crate) fn wait(&self, kind: gst::MessageType) -> gst::Message {
        let message = self.message(&[kind]);
        assert_eq!(message.type_(), kind, "{message:?}");
        message
    }

    /// Domain and text of the first error.
    #[track_caller]
    pub(crate) fn error(&self) -> glib::Error {
        let message = self.message(&[]);
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        assert_eq!(message.src(), Some(self.element.upcast_ref()), "{error:?}");
        error.error()
    }

    /// Waits until `done` says so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, done: impl Fn(&gst::Element) -> bool) {
        let started = Instant::now();
        while !done(&self.element) {
            assert!(started.elapsed() < Duration::from_secs(60), "no {what} within a minute");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A number of the `stats` property.
pub(crate) fn stat(element: &gst::Element, field: &str) -> u64 {
    let stats: gst::Structure = element.property("stats");
    stats.get::<u64>(field).or_else(|_| stats.get::<u32>(field).map(u64::from)).unwrap()
}

/// Whether it computes a frame now.
pub(crate) fn in_work(element: &gst::Element) -> bool {
    element.property::<gst::Structure>("stats").get("in-work").unwrap()
}

/// Size on a pad.
pub(crate) fn size(element: &gst::Element, pad: &str) -> (i32, i32) {
    let caps = element.static_pad(pad).unwrap().current_caps().unwrap();
    let s = caps.structure(0).unwrap();
    (s.get("width").unwrap(), s.get("height").unwrap())
}

/// Bytes that differ from sample to sample, the same in every run.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 / 2 + (i % 97) as u8).collect()
}
