//! The element's engine: asked for in `start`, waited for in `transform`, given up by a shutdown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use glib::prelude::*;
use gst::prelude::*;
use ssmoesr_core::{CancelToken, Options};

use super::engine::{self, Engine, Key, LOOK, Loaded, User, lock};
use super::errors;

/// What errors of a load begin with.
pub(super) const CANNOT_LOAD: &str = "Cannot load the model";

/// An error is not posted earlier than this after the load was asked for. Applications that look for errors in the
/// thread that posts them (gst-launch-1.0) lose those that come before `set_state` has returned and their main loop runs.
const QUIET: Duration = Duration::from_millis(100);

/// One load as this element sees it. Its PROGRESS START gets exactly one end, from whoever claims it first.
#[derive(Default)]
struct Load {
    ended: AtomicBool,
}

impl Load {
    fn claim_end(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }
}

#[derive(Default)]
enum State {
    /// Nothing was asked for, or it was given up.
    #[default]
    Empty,
    Loading(Arc<Load>),
    Ready(Key, User),
    /// The error is on the bus.
    Failed,
}

/// Where the element keeps its engine.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

fn progress(element: &super::Upscale, kind: gst::ProgressType, text: &str) {
    let message = gst::message::Progress::builder(kind, "model-load", text).src(element).build();
    // Fails without a bus, where nobody listens.
    let _ = element.post_message(message);
}

impl Slot {
    /// Starts to get the engine for `options`, unless it is here already.
    pub(super) fn ask(self: &Arc<Self>, element: &super::Upscale, options: Options) {
        let key = Key::of(&options);
        let load = Arc::new(Load::default());
        {
            let mut state = lock(&self.state);
            if matches!(&*state, State::Ready(have, _) if *have == key) {
                return;
            }
            *state = State::Loading(load.clone());
        }
        progress(element, gst::ProgressType::Start, "Loading the model");
        let (slot, receiver_key, asked) = (self.clone(), key.clone(), Instant::now());
        // A strong reference would keep an element alive that nobody uses any more.
        let element = element.downgrade();
        let receiver = move |loaded: Loaded| {
            if loaded.is_err() {
                // On the loading thread, which has nothing else to do.
                std::thread::sleep(QUIET.saturating_sub(asked.elapsed()));
            }
            if !load.claim_end() {
                return;
            }
            // The message first: as soon as the streaming thread knows of the failure, the source posts an error of its
            // own, and that would be the first one a user sees.
            if let Some(element) = element.upgrade() {
                match &loaded {
                    Ok(engine) => {
                        let up = engine.upscaler();
                        let text = format!("Model {} loaded on {}", up.model().name, up.device());
                        progress(&element, gst::ProgressType::Complete, &text);
                    }
                    Err(error) => {
                        progress(&element, gst::ProgressType::Error, "The model could not be loaded");
                        errors::post_load(&element, CANNOT_LOAD, error);
                    }
                }
            }
            let mut state = lock(&slot.state);
            if matches!(&*state, State::Loading(current) if Arc::ptr_eq(current, &load)) {
                *state = match loaded {
                    Ok(engine) => State::Ready(receiver_key, User::new(engine)),
                    Err(_) => State::Failed,
                };
                slot.changed.notify_all();
            }
        };
        engine::request(key, options, Box::new(receiver));
    }

    /// Gives up a load that has not ended; an engine that is here stays.
    pub(super) fn give_up(&self, element: &super::Upscale) {
        let given_up = {
            let mut state = lock(&self.state);
            let mine = matches!(&*state, State::Loading(load) if load.claim_end());
            if mine {
                *state = State::Empty;
            }
            mine
        };
        self.changed.notify_all();
        if given_up {
            progress(element, gst::ProgressType::Canceled, "Loading the model was given up");
        }
    }

    /// Lets the engine go.
    pub(super) fn clear(&self) {
        // Outside the lock: the last user of an engine joins its threads here.
        let before = std::mem::take(&mut *lock(&self.state));
        drop(before);
    }

    /// Wakes the streaming thread, for it to look at its cancel token.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Waits for the engine.
    ///
    /// # Errors
    /// `Flushing` where `cancel` comes first, `Error` where loading failed (that is on the bus already).
    pub(super) fn wait(&self, cancel: &CancelToken) -> Result<Arc<Engine>, gst::FlowError> {
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::Ready(_, user) => return Ok(user.engine().clone()),
                State::Failed => return Err(gst::FlowError::Error),
                State::Empty => return Err(gst::FlowError::Flushing),
                State::Loading(_) if cancel.is_cancelled() => return Err(gst::FlowError::Flushing),
                State::Loading(_) => {}
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The engine and the number of elements that use it.
    pub(super) fn engine(&self) -> Option<(Arc<Engine>, u32)> {
        match &*lock(&self.state) {
            State::Ready(_, user) => Some((user.engine().clone(), user.engine().users())),
            _ => None,
        }
    }
}
