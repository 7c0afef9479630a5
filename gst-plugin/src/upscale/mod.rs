//! The element `ssmoesr`.

mod ahead;
mod caps;
mod compute;
mod counters;
mod engine;
mod errors;
mod frames;
mod imp;
mod loader;
mod reports;
mod scene;
mod settings;

use glib::prelude::*;
use gst::prelude::PluginApiExt;

glib::wrapper! {
    /// SECTION:element-ssmoesr
    /// @title: ssmoesr
    ///
    /// Enlarges video 4 or 8 times with a diffusion network. Takes the place of `videoscale` in any pipeline: size,
    /// factor and formats are negotiated, everything else in the caps stays.
    ///
    /// ## Example launch line
    /// |[
    /// gst-launch-1.0 filesrc location=in.mp4 ! decodebin ! videoconvert ! ssmoesr scale=4 ! autovideosink
    /// ]|
    ///
    /// Computes in the streaming thread, one frame after the other; `queue ! ssmoesr ! queue` overlaps it with the rest
    /// of the pipeline. A flushing seek and the way to READY end the running frame at once; PAUSED and EOS wait for it.
    /// No frame is dropped unless `qos=true`. Live pipelines are told the time of a frame as latency. A GPU takes a frame while it
    /// works on the one before, which leaves when its successor comes; in live pipelines only with `overlap=always`.
    ///
    /// ## Messages
    /// PROGRESS `model-load` while the model is loaded; QOS with `qos=true`; WARNING for a frame that does not fit its
    /// caps, which is dropped, and where the CPU that `device=auto` chose is slower than the video; ERROR with what is
    /// wrong and what to do. With `post-messages=true`, after frames and at most 5 times a second, the element message
    /// `ssmoesr-progress`: `frames` (guint64), `timestamp` (guint64, of the frame's buffer), `frame-ms` (guint64).
    ///
    /// ## Statistics
    /// `stats` is an `application/x-ssmoesr-stats` of what was counted since READY: `frames`, `dropped-late`,
    /// `dropped-invalid`, `cancelled`, `resets`, `scene-resets`, `tiles`, `tiles-reused`, `last-frame-ms`, `average-frame-ms`
    /// (guint64), `in-work` (gboolean: a frame is being computed), `engine-users` (guint), `device`, `model`, `model-hash`
    /// (gchararray; SHA-256 of the model's description, which holds those of its weights).
    ///
    /// Since: 0.1.0
    pub struct Upscale(ObjectSubclass<imp::Upscale>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Factor of width and height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstSsmoesrScale")]
pub enum Scale {
    /// Four times.
    #[default]
    #[enum_value(name = "Four times", nick = "4")]
    X4 = 4,
    /// Eight times.
    #[enum_value(name = "Eight times", nick = "8")]
    X8 = 8,
}

/// Arithmetic of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstSsmoesrPrecision")]
pub enum Precision {
    /// What the device does best.
    #[default]
    #[enum_value(name = "The device's own", nick = "auto")]
    Auto,
    /// Single precision.
    #[enum_value(name = "32 bits", nick = "f32")]
    F32,
    /// Half precision.
    #[enum_value(name = "16 bits", nick = "f16")]
    F16,
    /// Half precision with the range of single precision.
    #[enum_value(name = "16 bits with the range of 32", nick = "bf16")]
    Bf16,
}

impl Precision {
    /// Word of the option `precision`.
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

/// Whether a GPU begins a frame before it is done with the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstSsmoesrOverlap")]
pub enum Overlap {
    /// A live pipeline gets each frame as soon as it is there, others more of them.
    #[default]
    #[enum_value(name = "Where the pipeline is not live", nick = "auto")]
    Auto,
    /// Each frame leaves before the next one comes.
    #[enum_value(name = "Never", nick = "never")]
    Never,
    /// Also in live pipelines, which are told of one frame more.
    #[enum_value(name = "Always", nick = "always")]
    Always,
}

/// How frames of a video go together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[repr(i32)]
#[enum_type(name = "GstSsmoesrTemporal")]
pub enum Temporal {
    /// Other noise in each frame.
    #[enum_value(name = "Each frame has noise of its own, which flickers", nick = "off")]
    Off,
    /// One noise field for all frames.
    #[default]
    #[enum_value(name = "All frames share one noise field", nick = "stable")]
    Stable,
}

/// Makes the element known. Rank NONE: nothing that picks elements by rank may pick one this costly.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    for kind in
        [Overlap::static_type(), Precision::static_type(), Scale::static_type(), Temporal::static_type()]
    {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "ssmoesr", gst::Rank::NONE, Upscale::static_type())
}
