//! Ordered frames of one video.

use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::progress::Progress;
use super::upscaler::Upscaler;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::pixels::{FrameMut, FrameRef};
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
}

impl Stream {
    /// A stream on `upscaler`, which other streams and pictures may use too.
    pub fn new(upscaler: Arc<Upscaler>) -> Self {
        Self { upscaler, cache: FrameCache::default(), frames: 0, options: None }
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
        if self.options.as_ref().is_none_or(|(given, _)| given != options) {
            let mut own = options.clone();
            if own.eta < 0.0 {
                own.eta = 0.0;
            }
            self.options = Some((options.clone(), own));
        }
        let options = self.options.as_ref().map_or(options, |(_, own)| own);
        let mut silent = |_: Progress| ControlFlow::Continue(());
        let cache = Some(&mut self.cache);
        match self.upscaler.run_cached(input, output, options, cache, &mut silent, cancel) {
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
    pub fn reset(&mut self) {
        self.cache.forget();
    }

    /// What was done so far.
    pub fn stats(&self) -> StreamStats {
        StreamStats { frames: self.frames, tiles: self.cache.tiles, reused: self.cache.reused }
    }
}
