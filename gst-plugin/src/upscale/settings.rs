//! Properties: their specifications, and the options they set.

use std::sync::LazyLock;

use glib::prelude::*;
use gst::prelude::*;
use ssmoesr_core::Options;

use super::{Overlap, Precision, Scale, Temporal};

/// 16384 x 16384: a frame of 400 MB in I420, and four times an 8K screen.
const MAX_OUTPUT_PIXELS: u64 = 1 << 28;

/// Between the largest change inside two films of a still and a moving camera (0.013 and 0.061 in 527 frames) and the
/// smallest between frames of one and of the other (0.126 in 60 pairs).
const SCENE_THRESHOLD: f64 = 0.1;

/// What the properties say.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Handed to the core, with the negotiated factor put in.
    pub(super) options: Options,
    /// Factor asked for.
    pub(super) scale: Scale,
    /// Arithmetic asked for.
    pub(super) precision: Precision,
    /// Whether a GPU begins frames before their turn.
    pub(super) overlap: Overlap,
    /// Larger output is refused.
    pub(super) max_output_pixels: u64,
    /// Whether frames share their noise.
    pub(super) temporal: Temporal,
    /// Mean change of luma between two frames above which there is a cut.
    pub(super) scene_threshold: f64,
    /// Whether progress goes to the bus.
    pub(super) post_messages: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            options: Options::default(),
            scale: Scale::default(),
            precision: Precision::default(),
            overlap: Overlap::default(),
            max_output_pixels: MAX_OUTPUT_PIXELS,
            temporal: Temporal::default(),
            scene_threshold: SCENE_THRESHOLD,
            post_messages: false,
        }
    }
}

/// What a change asks the element to do, once no lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: the next frame or the next start reads it.
    Later,
    /// Both pads negotiate anew.
    Renegotiate,
    /// State kept from frame to frame is thrown away.
    Reset,
}

/// Help text of the option `name`, which all faces of the library share.
fn help(name: &str) -> &'static str {
    ssmoesr_core::option_table().iter().find(|o| o.name == name).map_or("", |o| o.help)
}

/// Every property of the element but those it inherits.
pub(super) fn specs() -> &'static [glib::ParamSpec] {
    static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let defaults = Settings::default();
        let options = &defaults.options;
        vec![
            glib::ParamSpecEnum::builder_with_default("scale", defaults.scale)
                .nick("Scale")
                .blurb(help("scale"))
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("model")
                .nick("Model")
                .blurb(help("model"))
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("device")
                .nick("Device")
                .blurb(help("device"))
                .default_value(options.device.as_str())
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("precision", defaults.precision)
                .nick("Precision")
                .blurb(help("precision"))
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("steps")
                .nick("Steps")
                .blurb(help("steps"))
                .maximum(1000)
                .default_value(options.steps)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("seed")
                .nick("Seed")
                .blurb(help("seed"))
                .default_value(options.seed)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("fidelity")
                .nick("Fidelity")
                .blurb(help("fidelity"))
                .minimum(-1.0)
                .maximum(1.0)
                .default_value(options.fidelity)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("tile-size")
                .nick("Tile size")
                .blurb(help("tile-size"))
                .maximum(4096)
                .default_value(options.tile_size)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("tile-overlap")
                .nick("Tile overlap")
                .blurb(help("tile-overlap"))
                .maximum(256)
                .default_value(options.tile_overlap)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("threads")
                .nick("Threads")
                .blurb(help("threads"))
                .maximum(1024)
                .default_value(options.threads)
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("max-output-pixels")
                .nick("Largest output")
                .blurb("Refuse input whose output would have more pixels than this.")
                .minimum(1)
                .default_value(defaults.max_output_pixels)
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder_with_default("overlap", defaults.overlap)
                .nick("Overlap")
                .blurb("Whether a GPU begins a frame while it works on the one before, which then leaves when its successor comes.")
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder_with_default("temporal", defaults.temporal)
                .nick("Temporal")
                .blurb("Whether the noise, and with it the texture, stays the same from frame to frame.")
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("scene-threshold")
                .nick("Scene threshold")
                .blurb("Mean change of luma between two frames above which earlier frames are forgotten.")
                .minimum(0.0)
                .maximum(1.0)
                .default_value(defaults.scene_threshold)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("post-messages")
                .nick("Post messages")
                .blurb("Post element messages ssmoesr-progress after frames, at most 5 a second.")
                .default_value(defaults.post_messages)
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb("Counters and times since READY, and what computes.")
                .read_only()
                .build(),
        ]
    });
    &SPECS
}

/// Takes `value` into `place` and says whether that changed it. GObject has checked the type.
fn take<T: PartialEq + for<'a> glib::value::FromValue<'a>>(place: &mut T, value: &glib::Value) -> bool {
    match value.get::<T>() {
        Ok(new) if new != *place => {
            *place = new;
            true
        }
        _ => false,
    }
}

impl Settings {
    /// Takes the value of the property `name`. GObject has checked its range.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) -> Effect {
        let options = &mut self.options;
        let (changed, effect) = match name {
            "scale" => (take(&mut self.scale, value), Effect::Renegotiate),
            "model" => {
                let changed = take(&mut options.model, value);
                options.model = options.model.take().filter(|m| !m.is_empty());
                (changed, Effect::Later)
            }
            "device" => {
                let mut device = Some(std::mem::take(&mut options.device));
                let changed = take(&mut device, value);
                options.device =
                    device.filter(|d| !d.is_empty()).unwrap_or_else(|| Options::default().device);
                (changed, Effect::Later)
            }
            "steps" => (take(&mut options.steps, value), Effect::Reset),
            "seed" => (take(&mut options.seed, value), Effect::Reset),
            "fidelity" => {
                let changed = take(&mut options.fidelity, value);
                // The only number below 0 with a meaning: the model's own.
                if options.fidelity < 0.0 {
                    options.fidelity = -1.0;
                }
                (changed, Effect::Reset)
            }
            "tile-size" => (take(&mut options.tile_size, value), Effect::Later),
            "tile-overlap" => (take(&mut options.tile_overlap, value), Effect::Later),
            "precision" => {
                let changed = take(&mut self.precision, value);
                options.precision = self.precision.word().to_owned();
                (changed, Effect::Later)
            }
            "threads" => (take(&mut options.threads, value), Effect::Later),
            "overlap" => (take(&mut self.overlap, value), Effect::Later),
            "max-output-pixels" => (take(&mut self.max_output_pixels, value), Effect::Later),
            "temporal" => (take(&mut self.temporal, value), Effect::Reset),
            "scene-threshold" => (take(&mut self.scene_threshold, value), Effect::Later),
            "post-messages" => (take(&mut self.post_messages, value), Effect::Later),
            _ => (false, Effect::Later),
        };
        if changed { effect } else { Effect::Later }
    }

    /// Whether all frames have the same noise.
    pub(super) fn has_one_noise(&self) -> bool {
        self.temporal != Temporal::Off
    }

    /// Value of the property `name`; `None` for one that is not kept here.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        let options = &self.options;
        Some(match name {
            "scale" => self.scale.to_value(),
            "model" => options.model.to_value(),
            "device" => options.device.to_value(),
            "steps" => options.steps.to_value(),
            "seed" => options.seed.to_value(),
            "fidelity" => options.fidelity.to_value(),
            "tile-size" => options.tile_size.to_value(),
            "tile-overlap" => options.tile_overlap.to_value(),
            "precision" => self.precision.to_value(),
            "threads" => options.threads.to_value(),
            "overlap" => self.overlap.to_value(),
            "max-output-pixels" => self.max_output_pixels.to_value(),
            "temporal" => self.temporal.to_value(),
            "scene-threshold" => self.scene_threshold.to_value(),
            "post-messages" => self.post_messages.to_value(),
            _ => return None,
        })
    }
}
