//! Ordered frames of one video.

use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::progress::Progress;
use super::resident::Pending;
use super::upscaler::Upscaler;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::pixels::{FrameMut, FrameRef};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a stream did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Frames that were enlarged.
    pub frames: u64,
    /// Tiles of these, counted once per sampling step and once for decoding.
    pub tiles: u64,
    /// Tiles among them whose input had not changed, and whose result was taken from the frame before.
    pub reused: u64,
}

/// Ordered frames of one video: one noise field for all of them, no fresh noise unless it is asked for, and tiles
/// whose input did not change since the frame before are not computed again. The picture of a frame does not depend
/// on the frames before it, not by a bit.
pub struct Stream {
    upscaler: Arc<Upscaler>,
    cache: FrameCache,
    frames: u64,
    /// Options as last given, and with the stream's own choices.
    options: Option<(Options, Options)>,
    /// Frames that were begun, the oldest first, and the options of all.
    begun: VecDeque<Pending>,
    begun_by: Option<Options>,
}

/// Frames that may be begun: one is computed while another comes and a third goes.
const BEGUN: usize = 2;

impl Stream {
    /// A stream on `upscaler`, which other streams and pictures may use too.
    pub fn new(upscaler: Arc<Upscaler>) -> Self {
        Self {
            upscaler,
            cache: FrameCache::default(),
            frames: 0,
            options: None,
            begun: VecDeque::new(),
            begun_by: None,
        }
    }

    /// Enlarges the next frame; like [`Upscaler::run`], with an `eta` of 0 where the options leave it open.
    ///
    /// # Errors
    /// As [`Upscaler::run`].
    pub fn run(
        &mut self,
        input: &FrameRef<'_>,
        output: &mut FrameMut<'_>,
        options: &Options,
        cancel: &CancelToken,
    ) -> Result<()> {
        if let Some(done) = self.run_begun(output, options, cancel) {
            return done;
        }
        let own = own(&mut self.options, options);
        let mut silent = |_: Progress| ControlFlow::Continue(());
        let cache = Some(&mut self.cache);
        let done = self.upscaler.run_cached(input, output, own, cache, &mut silent, cancel);
        self.count(done)
    }

    /// Begins a frame before its turn, where the device can go on alone; true where that is so. While the device works on it, it brings the
    /// frame before back and takes the next one. Begun frames must be the next that are given to [`Stream::run`], in their order, with the
    /// same options; nothing else of them is kept here. Where that is not possible, or two are begun already, nothing happens.
    ///
    /// # Errors
    /// `Option` and `Limit` as [`Upscaler::run`], `Cancelled`. What fails on the device is told by [`Stream::run`].
    pub fn begin(&mut self, input: &FrameRef<'_>, options: &Options, cancel: &CancelToken) -> Result<bool> {
        let changed = self.begun_by.as_ref().is_some_and(|by| by != options);
        if self.begun.len() >= BEGUN || (changed && !self.begun.is_empty()) {
            return Ok(false);
        }
        let own = own(&mut self.options, options);
        match self.upscaler.begin(input, own, &mut self.cache, cancel) {
            Ok(Some(pending)) => {
                self.begun.push_back(pending);
                self.begun_by = Some(options.clone());
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(e) if e.kind() == ErrorKind::Device => {
                self.give_up();
                Ok(false)
            }
            Err(e) => {
                self.give_up();
                Err(e)
            }
        }
    }

    /// Frames that were begun and not run.
    pub fn begun(&self) -> usize {
        self.begun.len()
    }

    /// The oldest begun frame, if there is one that is still to be had and is what is asked for.
    fn run_begun(
        &mut self,
        output: &mut FrameMut<'_>,
        options: &Options,
        cancel: &CancelToken,
    ) -> Option<Result<()>> {
        let pending = self.begun.pop_front()?;
        let size = (output.width() as usize, output.height() as usize);
        let fits = (pending.format, pending.color, pending.size) == (output.format(), output.color(), size);
        let done = match fits && self.begun_by.as_ref() == Some(options) {
            true => self.upscaler.end(&pending, output, cancel),
            false => Ok(false),
        };
        match done {
            Ok(true) => Some(self.count(Ok(()))),
            // A device that failed: the frame is done again, by whatever computes then.
            Ok(false) => {
                self.give_up();
                None
            }
            Err(e) if matches!(e.kind(), ErrorKind::Device | ErrorKind::Limit) => {
                self.give_up();
                None
            }
            Err(e) => {
                self.give_up();
                Some(self.count(Err(e)))
            }
        }
    }

    /// Nothing that was begun is taken any more, and results of frames that may not have been whole neither.
    fn give_up(&mut self) {
        self.begun.clear();
        self.cache.forget();
    }

    fn count(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Ok(()) => {
                self.frames += 1;
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Internal => {
                Err(Error::internal(format!("frame {} of the stream: {e}", self.frames)).because(e))
            }
            Err(e) => Err(e),
        }
    }

    /// Forgets earlier frames: after a seek, a cut or new caps. The picture of a frame does not depend on it.
    /// Frames that were begun are given up.
    pub fn reset(&mut self) {
        self.give_up();
    }

    /// What was done so far.
    pub fn stats(&self) -> StreamStats {
        StreamStats { frames: self.frames, tiles: self.cache.tiles, reused: self.cache.reused }
    }
}

/// The options with the stream's own choices, kept in `held`.
fn own<'a>(held: &'a mut Option<(Options, Options)>, options: &Options) -> &'a Options {
    let made = match held.take() {
        Some((given, own)) if given == *options => (given, own),
        _ => {
            let mut own = options.clone();
            if own.eta < 0.0 {
                own.eta = 0.0;
            }
            (options.clone(), own)
        }
    };
    &held.insert(made).1
}
