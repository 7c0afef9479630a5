//! What the element counts, and the `stats` structure made of it.

use std::time::Duration;

use ssmoesr_core::Upscaler;

/// Counters since READY.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Frames computed.
    pub(super) frames: u64,
    /// Frames the base class dropped because they were late (`qos=true`).
    pub(super) late: u64,
    /// Input buffers that did not fit their caps.
    pub(super) invalid: u64,
    /// The same, since the last good one.
    pub(super) invalid_in_a_row: u32,
    /// Frames given up because of a flush or a shutdown.
    pub(super) cancelled: u64,
    /// Times the state kept from frame to frame was thrown away.
    pub(super) resets: u64,
    /// The same, because of a cut.
    pub(super) cuts: u64,
    /// A frame is being computed.
    pub(super) in_work: bool,
    /// Tiles so far, and those whose result was taken from the frame before.
    pub(super) tiles: (u64, u64),
    last: Duration,
    total: Duration,
}

impl Counters {
    /// Counts a computed frame; how many there are now.
    pub(super) fn computed(&mut self, took: Duration) -> u64 {
        self.frames += 1;
        self.invalid_in_a_row = 0;
        self.last = took;
        self.total = self.total.saturating_add(took);
        self.frames
    }

    /// The structure of the `stats` property, with what computes and the number of elements that use it.
    pub(super) fn structure(&self, engine: Option<(&Upscaler, u32)>) -> gst::Structure {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let average =
            self.total.checked_div(u32::try_from(self.frames).unwrap_or(u32::MAX)).unwrap_or_default();
        let (device, model, hash) = engine.map_or(("", "", ""), |(up, _)| {
            let model = up.model();
            (up.device(), model.name.as_str(), model.hash.as_str())
        });
        gst::Structure::builder("application/x-ssmoesr-stats")
            .field("frames", self.frames)
            .field("dropped-late", self.late)
            .field("dropped-invalid", self.invalid)
            .field("cancelled", self.cancelled)
            .field("resets", self.resets)
            .field("scene-resets", self.cuts)
            .field("tiles", self.tiles.0)
            .field("tiles-reused", self.tiles.1)
            .field("in-work", self.in_work)
            .field("last-frame-ms", ms(self.last))
            .field("average-frame-ms", ms(average))
            .field("engine-users", engine.map_or(0, |(_, users)| users))
            .field("device", device)
            .field("model", model)
            .field("model-hash", hash)
            .build()
    }
}
