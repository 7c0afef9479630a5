//! The element's virtual methods.
//!
//! `GstVideoFilter` brings pool, allocation and video meta; frames are mapped here, for its own `transform` pushes an
//! output that nobody wrote where the input is too short. No lock is held while a frame is computed, while a message is
//! posted, or while the base class is called.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use glib::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::GenerateOutputSuccess;
use gst_base::subclass::prelude::*;
use gst_video::subclass::prelude::*;
use ssmoesr_core::{CancelToken, Upscaler};

use super::ahead::Held;
use super::caps::{self, Carry, Limits};
use super::compute::Running;
use super::counters::Counters;
use super::engine::lock;
use super::frames::Picture;
use super::loader::{CANNOT_LOAD, Slot};
use super::reports::Reports;
use super::settings::{self, Effect, Settings};
use super::{Scale, errors};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("ssmoesr", gst::DebugColorFlags::empty(), Some("Video super-resolution"))
});

/// So many input buffers in a row that do not fit their caps are an error rather than an accident.
const INVALID_IN_A_ROW: u32 = 10;

/// Both pads' pictures and the factor between them.
pub(super) struct Negotiated {
    pub(super) input: Picture,
    pub(super) output: Picture,
    pub(super) scale: u32,
}

/// Instance data.
#[derive(Default)]
pub struct Upscale {
    pub(super) settings: Mutex<Settings>,
    pub(super) negotiated: Mutex<Option<Arc<Negotiated>>>,
    /// Of the frame being computed. Set by FLUSH_START and on the way to READY, cleared by FLUSH_STOP and `start`:
    /// anywhere else, clearing it could lose a wish to stop.
    pub(super) cancel: CancelToken,
    pub(super) slot: Arc<Slot>,
    /// Taken out while a frame is computed.
    pub(super) running: Mutex<Option<Running>>,
    /// Frames that came and did not leave, the oldest first; of the streaming thread.
    pub(super) held: Mutex<VecDeque<Held>>,
    pub(super) reset: AtomicBool,
    pub(super) counters: Mutex<Counters>,
    pub(super) reports: Reports,
}

#[glib::object_subclass]
impl ObjectSubclass for Upscale {
    const NAME: &'static str = "GstSsmoesr";
    type Type = super::Upscale;
    type ParentType = gst_video::VideoFilter;
}

impl ObjectImpl for Upscale {
    fn properties() -> &'static [glib::ParamSpec] {
        settings::specs()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        // GstVideoFilter turns it on; then every frame but the first is late and vanishes.
        element.set_qos(false);
        // Caps that are refused never reach `sink_event`: the pad asks ACCEPT_CAPS before, and the user hears of an
        // "internal data stream error" of the source. A probe runs earlier still.
        let weak = element.downgrade();
        if let Some(pad) = element.static_pad("sink") {
            pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                if let Some(gst::EventView::Caps(event)) = info.event().map(|e| e.view())
                    && let Some(element) = weak.upgrade()
                    && let Some(why) = caps::refusal(event.caps(), &element.imp().limits())
                {
                    gst::element_error!(
                        element,
                        gst::StreamError::WrongType,
                        ("{why}"),
                        ["{}", event.caps()]
                    );
                }
                gst::PadProbeReturn::Ok
            });
        }
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let effect = lock(&self.settings).set(pspec.name(), value);
        match effect {
            Effect::Later => {}
            Effect::Reset => self.reset.store(true, Ordering::Release),
            Effect::Renegotiate => {
                self.obj().reconfigure_src();
                self.obj().reconfigure_sink();
            }
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        if let Some(value) = lock(&self.settings).get(pspec.name()) {
            return value;
        }
        let engine = self.slot.engine();
        let engine = engine.as_ref().map(|(engine, users)| (engine.upscaler().as_ref(), *users));
        lock(&self.counters).structure(engine).to_value()
    }
}

impl GstObjectImpl for Upscale {}

impl ElementImpl for Upscale {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Diffusion super-resolution",
                "Filter/Converter/Video/Scaler",
                env!("CARGO_PKG_DESCRIPTION"),
                "The ssmoesr authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            [("src", gst::PadDirection::Src, Carry::Forth), ("sink", gst::PadDirection::Sink, Carry::Back)]
                .into_iter()
                .filter_map(|(name, direction, carry)| {
                    let caps = caps::template(carry);
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                })
                .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        change: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if change == gst::StateChange::PausedToReady {
            // Before the parent, which waits for the streaming thread.
            self.cancel.cancel();
            self.slot.give_up(&self.obj());
        }
        let result = self.parent_change_state(change)?;
        if change == gst::StateChange::ReadyToNull {
            self.slot.clear();
        }
        Ok(result)
    }
}

impl Upscale {
    fn limits(&self) -> Limits {
        let settings = lock(&self.settings);
        Limits { scale: settings.scale as i32, max_output_pixels: settings.max_output_pixels }
    }

    fn forget(&self) {
        self.reset.store(true, Ordering::Release);
        lock(&self.counters).resets += 1;
    }

    pub(super) fn invalid(&self, why: &str) -> Result<gst::FlowSuccess, gst::FlowError> {
        let in_a_row = {
            let mut counters = lock(&self.counters);
            counters.invalid += 1;
            counters.invalid_in_a_row += 1;
            counters.invalid_in_a_row
        };
        if in_a_row >= INVALID_IN_A_ROW {
            gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("{in_a_row} input frames in a row do not fit their caps: {why}")
            );
            return Err(gst::FlowError::Error);
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("Input frame does not fit its caps and was dropped: {why}")
        );
        Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED)
    }

    pub(super) fn cancelled(&self) -> gst::FlowError {
        lock(&self.counters).cancelled += 1;
        gst::FlowError::Flushing
    }

    /// Lets out what is held before a serialized event.
    fn let_out_before(&self, event: &gst::Event) {
        // The next buffer meets the same, and says so where it can.
        if let Err(flow) = self.let_all_out() {
            gst::debug!(CAT, imp = self, "frames before {event:?}: {flow}");
        }
    }
}

impl BaseTransformImpl for Upscale {
    const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::NeverInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.cancel.reset();
        *lock(&self.counters) = Counters::default();
        self.reports.start();
        let options = lock(&self.settings).options.clone();
        // What is wrong at first sight fails the change of state itself. An error that another thread posts before the
        // change has returned may come before the application listens: gst-launch-1.0 would then wait for ever.
        Upscaler::check(&options).map_err(|e| errors::message(CANNOT_LOAD, &e))?;
        self.slot.ask(&self.obj(), options);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.negotiated) = None;
        lock(&self.held).clear();
        let before = lock(&self.running).take();
        drop(before);
        Ok(())
    }

    fn transform_caps(
        &self,
        direction: gst::PadDirection,
        caps: &gst::Caps,
        filter: Option<&gst::Caps>,
    ) -> Option<gst::Caps> {
        let carry = if direction == gst::PadDirection::Sink { Carry::Forth } else { Carry::Back };
        let result = caps::carried(caps, &self.limits(), carry);
        gst::debug!(CAT, imp = self, "{direction:?}: {caps} -> {result}");
        Some(match filter {
            // The order of preference is the peer's.
            Some(filter) => filter.intersect_with_mode(&result, gst::CapsIntersectMode::First),
            None => result,
        })
    }

    fn fixate_caps(&self, direction: gst::PadDirection, caps: &gst::Caps, othercaps: gst::Caps) -> gst::Caps {
        let mut result = self.parent_fixate_caps(direction, caps, othercaps);
        if direction == gst::PadDirection::Sink
            && let Ok(input) = gst_video::VideoInfo::from_caps(caps)
            && let Some(output) = result.make_mut().structure_mut(0)
        {
            caps::keep_colours(&input, output);
        }
        result
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        // Whoever asks for all that is on its way waits for what is held.
        if matches!(query.view(), gst::QueryView::Drain(_)) && self.let_all_out().is_err() {
            return false;
        }
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        if direction == gst::PadDirection::Src
            && let gst::QueryViewMut::Latency(latency) = query.view_mut()
        {
            let (live, min, max) = latency.result();
            let own = self.reports.latency(live);
            if live {
                latency.set(live, min + own, max.map(|max| max + own));
            }
        }
        true
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.view() {
            // Not serialized: this is the thread that seeks, while the streaming thread computes.
            gst::EventView::FlushStart(_) => {
                self.cancel.cancel();
                self.slot.wake();
            }
            // Serialized: no frame is being computed.
            gst::EventView::FlushStop(_) => {
                self.cancel.reset();
                lock(&self.held).clear();
                self.forget();
            }
            gst::EventView::StreamStart(_) | gst::EventView::Segment(_) => {
                self.let_out_before(&event);
                self.forget();
            }
            _ if event.is_serialized() => self.let_out_before(&event),
            _ => {}
        }
        self.parent_sink_event(event)
    }

    fn src_event(&self, mut event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Navigation
            && let Some(scale) = lock(&self.negotiated).as_ref().map(|n| f64::from(n.scale))
        {
            let structure = event.make_mut().structure_mut();
            for field in ["pointer_x", "pointer_y"] {
                if let Ok(position) = structure.get::<f64>(field) {
                    structure.set(field, position / scale);
                }
            }
        }
        self.parent_src_event(event)
    }

    fn transform_meta<'a>(
        &self,
        outbuf: &mut gst::BufferRef,
        meta: gst::MetaRef<'a, gst::Meta>,
        inbuf: &'a gst::BufferRef,
    ) -> bool {
        // GstVideoFilter keeps only what depends on nothing but the picture; regions of interest would be lost.
        if !meta.tags_contain_only(&["video", "orientation", "size"]) {
            return self.parent_transform_meta(outbuf, meta, inbuf);
        }
        if !meta.tags().iter().any(|tag| tag.as_str() == "size") {
            return true;
        }
        if let Some(n) = lock(&self.negotiated).clone() {
            let scaled = gst_video::video_meta::VideoMetaTransformScale::new(&n.input.info, &n.output.info);
            if meta.transform(outbuf, &scaled).is_err() {
                gst::debug!(
                    CAT,
                    imp = self,
                    "a meta that depends on the size cannot be scaled and is left out"
                );
            }
        }
        false
    }

    fn submit_input_buffer(
        &self,
        is_discont: bool,
        inbuf: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if is_discont || inbuf.flags().contains(gst::BufferFlags::DISCONT) {
            // The base class marks what leaves next.
            self.let_all_out()?;
        }
        let result = self.parent_submit_input_buffer(is_discont, inbuf);
        // The only reason of the base class to drop a buffer is that it is late.
        if result == Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED) {
            lock(&self.counters).late += 1;
        }
        result
    }

    fn transform(
        &self,
        inbuf: &gst::Buffer,
        outbuf: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.enlarge(inbuf, outbuf, None)
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        self.next_output()
    }
}

impl VideoFilterImpl for Upscale {
    fn set_info(
        &self,
        incaps: &gst::Caps,
        in_info: &gst_video::VideoInfo,
        outcaps: &gst::Caps,
        out_info: &gst_video::VideoInfo,
    ) -> Result<(), gst::LoggableError> {
        let scale = out_info.width() / in_info.width().max(1);
        let known = [Scale::X4, Scale::X8].iter().any(|&s| s as u32 == scale);
        let exact =
            (in_info.width() * scale, in_info.height() * scale) == (out_info.width(), out_info.height());
        let pictures = Picture::new(in_info).zip(Picture::new(out_info));
        let (true, true, Some((input, output))) = (known, exact, pictures) else {
            // Only a base class that ignores `transform_caps` comes here.
            let text = format!("Cannot make {outcaps} of {incaps}");
            gst::element_imp_error!(self, gst::StreamError::WrongType, ("{text}"));
            return Err(gst::loggable_error!(CAT, "{text}"));
        };
        // Frames of the caps before: downstream is told of new ones after this.
        if let Err(flow) = self.let_all_out() {
            gst::debug!(CAT, imp = self, "frames before new caps: {flow}");
        }
        *lock(&self.negotiated) = Some(Arc::new(Negotiated { input, output, scale }));
        self.forget();
        Ok(())
    }

    /// Never called: `transform` maps the frames itself.
    fn transform_frame(
        &self,
        _inframe: &gst_video::VideoFrameRef<&gst::BufferRef>,
        _outframe: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        Err(gst::FlowError::NotSupported)
    }
}
