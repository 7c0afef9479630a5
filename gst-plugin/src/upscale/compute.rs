//! A frame on its way through the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gst::subclass::prelude::*;
use ssmoesr_core::{ErrorKind, FrameMut, FrameRef, Options, Stream};

use super::ahead::Held;
use super::engine::{self, Engine, lock};
use super::imp::{Negotiated, Upscale};
use super::scene::Scene;
use super::settings::Settings;
use super::{Temporal, errors};

/// What is kept from frame to frame.
pub(super) struct Running {
    engine: Arc<Engine>,
    pub(super) stream: Stream,
    scene: Scene,
    /// Of the next frame, counted from the last reset.
    number: u64,
}

impl Running {
    fn new(engine: Arc<Engine>) -> Self {
        let stream = Stream::new(engine.upscaler().clone());
        Self { engine, stream, scene: Scene::default(), number: 0 }
    }

    fn reset(&mut self) {
        self.stream.reset();
        self.scene.reset();
        self.number = 0;
    }
}

/// Distance of the seeds of two frames that have noise of their own: the golden ratio in 64 bit, so that no two of a
/// stream, nor of streams with small seeds, meet.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Upscale {
    /// What is kept from frame to frame, of this engine, without what a reset takes away. No frame is computed now.
    pub(super) fn take_running(&self, engine: &Arc<Engine>) -> Running {
        let mut running = match lock(&self.running).take() {
            Some(running) if Arc::ptr_eq(&running.engine, engine) => running,
            _ => Running::new(engine.clone()),
        };
        if self.reset.swap(false, Ordering::AcqRel) {
            running.reset();
            self.begin_anew();
        }
        running
    }

    /// The options of the next frame, and whether it shows something else than the one before.
    pub(super) fn ask(
        &self,
        running: &mut Running,
        negotiated: &Negotiated,
        input: &FrameRef<'_>,
    ) -> (Options, bool) {
        let Settings { mut options, temporal, scene_threshold, .. } = lock(&self.settings).clone();
        // The factor that was negotiated: the property may have changed since.
        options.scale = negotiated.scale;
        let cut = running.scene.cuts(input, &negotiated.input.info.format_info(), scene_threshold);
        if cut {
            lock(&self.counters).cuts += 1;
        }
        if temporal == Temporal::Off {
            options.seed = options.seed.wrapping_add(running.number.wrapping_mul(SEED_STEP));
        }
        (options, cut)
    }

    /// Does something for a frame, and says how long it took. A panic is an error.
    pub(super) fn timed<T>(
        &self,
        work: impl FnOnce() -> ssmoesr_core::Result<T>,
    ) -> (ssmoesr_core::Result<T>, Duration) {
        lock(&self.counters).in_work = true;
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Err(engine::defect("computing a frame", panic.as_ref())));
        lock(&self.counters).in_work = false;
        (done, started.elapsed())
    }

    /// Computes a frame; `held` is what is known of one that was held back, and how long it had to wait for the next.
    fn compute(
        &self,
        engine: &Arc<Engine>,
        negotiated: &Negotiated,
        input: &FrameRef<'_>,
        output: &mut FrameMut<'_>,
        timestamp: Option<gst::ClockTime>,
        held: Option<(&mut Held, Duration)>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Some(turn) = engine.turn(&self.cancel) else { return Err(self.cancelled()) };
        let mut running = self.take_running(engine);
        let (held, waited) = held.unzip();
        self.agree(&mut running, held.as_ref().is_some_and(|h| h.begun));
        let (asked, before) = match held {
            Some(held) => (held.options.take().map(|options| (options, held.cut)), held.took),
            None => (None, Duration::ZERO),
        };
        let (options, cut) = asked.unwrap_or_else(|| self.ask(&mut running, negotiated, input));
        if cut {
            running.stream.reset();
        }
        let (result, took) = self.timed(|| running.stream.run(input, output, &options, &self.cancel));
        let took = before + took;
        drop(turn);
        match result {
            Ok(()) => {
                running.number += 1;
                let stats = running.stream.stats();
                *lock(&self.running) = Some(running);
                let (element, info) = (self.obj(), &negotiated.input.info);
                // Before it is counted: no average in `stats` is beyond what was told.
                self.reports.tell_latency(&element, took + waited.unwrap_or_default());
                let frames = {
                    let mut counters = lock(&self.counters);
                    counters.tiles = (stats.tiles, stats.reused);
                    counters.computed(took)
                };
                if options.device == "auto" && engine.upscaler().device() == "cpu" {
                    self.reports.warn_of_the_cpu(&element, info, took);
                }
                if lock(&self.settings).post_messages {
                    self.reports.tell_progress(&element, frames, timestamp, took);
                }
                Ok(gst::FlowSuccess::Ok)
            }
            Err(e) if e.kind() == ErrorKind::Cancelled => {
                *lock(&self.running) = Some(running);
                Err(self.cancelled())
            }
            Err(e) => {
                errors::post(&self.obj(), "Cannot enlarge a frame", &e);
                Err(gst::FlowError::Error)
            }
        }
    }

    /// Reads a buffer, computes, writes another.
    pub(super) fn enlarge(
        &self,
        inbuf: &gst::Buffer,
        outbuf: &mut gst::BufferRef,
        held: Option<(&mut Held, Duration)>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let negotiated = match &held {
            Some((held, _)) => Arc::clone(&held.negotiated),
            None => lock(&self.negotiated).clone().ok_or(gst::FlowError::NotNegotiated)?,
        };
        let Ok(in_map) = inbuf.map_readable() else {
            return self.invalid("it cannot be mapped");
        };
        let input = match negotiated.input.read(inbuf, &in_map) {
            Ok(input) => input,
            Err(why) => return self.invalid(&why),
        };
        let unusable = |why: &str| {
            gst::element_imp_error!(
                self,
                gst::ResourceError::Write,
                ("Cannot write the output frame: {why}")
            );
            gst::FlowError::Error
        };
        let planes = negotiated.output.planes(outbuf).map_err(|why| unusable(&why))?;
        let mut out_map = outbuf.map_writable().map_err(|_| unusable("it cannot be mapped"))?;
        let mut output = negotiated.output.write(&planes, &mut out_map).map_err(|why| unusable(&why))?;
        let engine = self.slot.wait(&self.cancel)?;
        self.compute(&engine, &negotiated, &input, &mut output, inbuf.pts(), held)
    }
}
