//! What the element tells of the time that frames take: latency, progress, and that the CPU is slow.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::engine::lock;

/// Shortest time between two progress messages: 5 a second.
const BETWEEN: Duration = Duration::from_millis(200);

/// A first frame that takes longer than this is told at once. A quicker one says little, for it sets up the engine too:
/// the second counts.
const PLAINLY_SLOW: Duration = Duration::from_secs(1);

/// What was told since the element started.
#[derive(Default)]
pub(super) struct Reports {
    /// Somebody live asked for the latency.
    live: AtomicBool,
    told_ns: AtomicU64,
    progress: Mutex<Option<Instant>>,
    cpu: Mutex<Cpu>,
}

/// The warning that the CPU computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Cpu {
    #[default]
    NoFrame,
    OneFrame,
    Settled,
}

impl Reports {
    /// Nothing was told.
    pub(super) fn start(&self) {
        self.live.store(false, Ordering::Relaxed);
        self.told_ns.store(0, Ordering::Relaxed);
        *lock(&self.progress) = None;
        *lock(&self.cpu) = Cpu::default();
    }

    /// The element's part of the latency, as asked for by a pipeline that is `live` or not.
    pub(super) fn latency(&self, live: bool) -> gst::ClockTime {
        // One order over both values, here and below: where a query and a frame meet, either the answer holds the
        // frame's time or a message follows. (The pipeline asks once, at about the time of the first frame.)
        self.live.store(live, Ordering::SeqCst);
        gst::ClockTime::from_nseconds(self.told_ns.load(Ordering::SeqCst))
    }

    /// Whether the pipeline that last asked for the latency is live.
    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    /// Posts LATENCY where a frame took longer than what a live pipeline was told.
    pub(super) fn tell_latency(&self, element: &super::Upscale, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A tenth more than this frame took: each message makes every sink wait anew.
        let told = self.told_ns.load(Ordering::SeqCst);
        if took > told {
            self.told_ns.store(took.saturating_add(took / 10), Ordering::SeqCst);
            if self.live.load(Ordering::SeqCst) {
                // Fails without a bus, where nobody listens; so for all messages of this file.
                let _ = element.post_message(gst::message::Latency::builder().src(element).build());
            }
        }
    }

    /// Posts how far the stream is, at most once in [`BETWEEN`].
    pub(super) fn tell_progress(
        &self,
        element: &super::Upscale,
        frames: u64,
        timestamp: Option<gst::ClockTime>,
        took: Duration,
    ) {
        {
            let mut last = lock(&self.progress);
            if last.is_some_and(|last| last.elapsed() < BETWEEN) {
                return;
            }
            *last = Some(Instant::now());
        }
        let structure = gst::Structure::builder("ssmoesr-progress")
            .field("frames", frames)
            .field("timestamp", timestamp)
            .field("frame-ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
            .build();
        let _ = element.post_message(gst::message::Element::builder(structure).src(element).build());
    }

    /// Warns once, where `took` on the CPU is longer than a frame of `input` lasts.
    pub(super) fn warn_of_the_cpu(
        &self,
        element: &super::Upscale,
        input: &gst_video::VideoInfo,
        took: Duration,
    ) {
        {
            let mut cpu = lock(&self.cpu);
            match *cpu {
                Cpu::NoFrame if took < PLAINLY_SLOW => {
                    *cpu = Cpu::OneFrame;
                    return;
                }
                Cpu::Settled => return,
                Cpu::NoFrame | Cpu::OneFrame => *cpu = Cpu::Settled,
            }
        }
        if took > lasts(input) {
            gst::element_warning!(
                element,
                gst::ResourceError::Settings,
                (
                    "Computing on the CPU: about {:.1} seconds for a frame of {}x{}. Set device=cpu where that is \
                     wanted, and this warning stays away",
                    took.as_secs_f64(),
                    input.width(),
                    input.height()
                )
            );
        }
    }
}

/// How long a frame is shown; a second where the caps do not say.
fn lasts(info: &gst_video::VideoInfo) -> Duration {
    let (fps, one) = (info.fps(), Duration::from_secs(1));
    match (u32::try_from(fps.numer()), u32::try_from(fps.denom())) {
        (Ok(numer), Ok(denom)) if numer > 0 => one * denom / numer,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_lasts_as_the_caps_say() {
        gst::init().unwrap();
        for (rate, want) in [
            (gst::Fraction::new(25, 1), Duration::from_millis(40)),
            (gst::Fraction::new(0, 1), Duration::from_secs(1)),
            (gst::Fraction::new(1, 2), Duration::from_secs(2)),
        ] {
            let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 8, 8).fps(rate);
            assert_eq!(lasts(&info.build().unwrap()), want);
        }
    }
}
