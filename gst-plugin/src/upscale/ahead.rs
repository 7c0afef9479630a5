//! Frames that are held back: a GPU takes the next one while it works on the one before, so each leaves when its successor comes.
//!
//! A frame is held only where the device has begun it. What must not overtake a frame (events, other caps, queries for all that is
//! on its way) lets out what is held first.

use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::base_transform::{GenerateOutputSuccess, InputBuffer, PrepareOutputBufferSuccess};
use gst_base::subclass::prelude::*;
use ssmoesr_core::{ErrorKind, Options};

use super::Overlap;
use super::compute::Running;
use super::engine::{Engine, lock};
use super::imp::{Negotiated, Upscale};

/// A frame on its way.
pub(super) struct Held {
    buffer: gst::Buffer,
    pub(super) negotiated: Arc<Negotiated>,
    /// What it is computed with, once it was looked at, and whether it shows something else than the one before.
    pub(super) options: Option<Options>,
    pub(super) cut: bool,
    pub(super) begun: bool,
    /// Time spent on it so far.
    pub(super) took: Duration,
}

impl Upscale {
    /// Whether the element may work on a frame before its turn. Where every frame has noise of its own, the device has to wait for it.
    fn runs_ahead(&self) -> bool {
        let wanted = {
            let settings = lock(&self.settings);
            match settings.overlap {
                Overlap::Never => false,
                Overlap::Always => settings.has_one_noise(),
                Overlap::Auto => settings.has_one_noise() && !self.reports.is_live(),
            }
        };
        // Before the model is there nothing can be begun: the first frame goes its own way.
        wanted && self.slot.engine().is_some_and(|(engine, _)| has_time_to_spare(&engine))
    }

    /// The next frame, where one is to leave: the base class's own way where none is held.
    pub(super) fn next_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let ahead = self.runs_ahead();
        if !ahead && lock(&self.held).is_empty() {
            return self.parent_generate_output();
        }
        if let Some(buffer) = self.take_queued_buffer() {
            let negotiated = lock(&self.negotiated).clone().ok_or(gst::FlowError::NotNegotiated)?;
            let (options, took) = (None, Duration::ZERO);
            let held = Held { buffer, negotiated, options, cut: false, begun: false, took };
            lock(&self.held).push_back(held);
            if ahead {
                self.begin_held()?;
            }
        }
        {
            let held = lock(&self.held);
            let stays = ahead && held.len() == 1 && held.front().is_some_and(|h| h.begun);
            if held.is_empty() || stays {
                return Ok(GenerateOutputSuccess::NoOutput);
            }
        }
        let done = self.let_out()?;
        if ahead {
            // One that had to wait for this.
            self.begin_held()?;
        }
        Ok(done)
    }

    /// Begins what is held, in its order, as far as the device goes.
    fn begin_held(&self) -> Result<(), gst::FlowError> {
        let engine = self.slot.wait(&self.cancel)?;
        let Some(turn) = engine.turn(&self.cancel) else { return Err(self.cancelled()) };
        let mut running = self.take_running(&engine);
        self.agree(&mut running, false);
        let mut held = std::mem::take(&mut *lock(&self.held));
        let mut done = Ok(());
        for frame in held.iter_mut().filter(|h| !h.begun) {
            let Ok(map) = frame.buffer.map_readable() else { break };
            let Ok(input) = frame.negotiated.input.read(&frame.buffer, &map) else { break };
            if frame.options.is_none() {
                let (options, cut) = self.ask(&mut running, &frame.negotiated, &input);
                (frame.options, frame.cut) = (Some(options), cut);
            }
            if frame.cut && running.stream.begun() > 0 {
                // Earlier frames are forgotten once they are out.
                break;
            }
            if std::mem::take(&mut frame.cut) {
                running.stream.reset();
            }
            let Some(options) = &frame.options else { break };
            let (begun, took) = self.timed(|| running.stream.begin(&input, options, &self.cancel));
            frame.took += took;
            match begun {
                Ok(true) => frame.begun = true,
                Err(e) if e.kind() == ErrorKind::Cancelled => {
                    done = Err(self.cancelled());
                    break;
                }
                // What is wrong is told when it is its turn.
                _ => break,
            }
        }
        drop(turn);
        *lock(&self.held) = held;
        *lock(&self.running) = Some(running);
        done
    }

    /// The oldest frame that is held, computed.
    fn let_out(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(mut frame) = lock(&self.held).pop_front() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let mut output = match self.parent_prepare_output_buffer(InputBuffer::Readable(&frame.buffer))? {
            PrepareOutputBufferSuccess::Buffer(buffer) => buffer,
            PrepareOutputBufferSuccess::InputBuffer => return Err(gst::FlowError::Error),
        };
        // It left when the next one came: that, too, is time that a live pipeline has to be told.
        let waited = lock(&self.held).front().and_then(|next| {
            let between = next.buffer.pts()?.checked_sub(frame.buffer.pts()?)?;
            Some(Duration::from(between))
        });
        let buffer = frame.buffer.clone();
        let done =
            self.enlarge(&buffer, output.make_mut(), Some((&mut frame, waited.unwrap_or_default())))?;
        if done == gst_base::BASE_TRANSFORM_FLOW_DROPPED {
            return Ok(GenerateOutputSuccess::Dropped);
        }
        Ok(GenerateOutputSuccess::Buffer(output))
    }

    /// Lets out everything that is held, before something that must not overtake it.
    ///
    /// # Errors
    /// What pushing or computing gives; nothing is held then.
    pub(super) fn let_all_out(&self) -> Result<(), gst::FlowError> {
        let done = loop {
            if lock(&self.held).is_empty() {
                return Ok(());
            }
            match self.let_out() {
                Ok(GenerateOutputSuccess::Buffer(buffer)) => {
                    let pad = self.obj().static_pad("src").ok_or(gst::FlowError::Error)?;
                    if let Err(e) = pad.push(buffer) {
                        break Err(e);
                    }
                }
                Ok(_) => {}
                Err(e) => break Err(e),
            }
        };
        lock(&self.held).clear();
        done
    }

    /// What is held is not begun any more: its turn computes it.
    pub(super) fn begin_anew(&self) {
        lock(&self.held).iter_mut().for_each(|h| h.begun = false);
    }

    /// Gives up what the stream has begun where that is not what is held (and the frame at hand, if it was begun): a device that failed has
    /// nothing any more, and what pushing refused never has its turn. A frame must not come out as another.
    pub(super) fn agree(&self, running: &mut Running, at_hand: bool) {
        let count = lock(&self.held).iter().filter(|h| h.begun).count() + usize::from(at_hand);
        if count != running.stream.begun() {
            running.stream.reset();
            self.begin_anew();
        }
    }
}

/// Whether the device goes on alone while this thread does something else.
fn has_time_to_spare(engine: &Engine) -> bool {
    !matches!(engine.upscaler().device(), "cpu" | "reference")
}
