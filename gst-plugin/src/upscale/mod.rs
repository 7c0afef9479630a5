//! The element `ssmoesr`.

mod caps;
mod counters;
mod engine;
mod errors;
mod frames;
mod imp;
mod loader;
mod settings;

use glib::prelude::*;
use gst::prelude::PluginApiExt;

glib::wrapper! {
    /// Enlarges video 4 or 8 times.
    ///
    /// ```text
    /// gst-launch-1.0 filesrc location=in.mp4 ! decodebin ! videoconvert ! ssmoesr scale=4 ! autovideosink
    /// ```
    ///
    /// Computes in the streaming thread, one frame after the other; `queue ! ssmoesr ! queue` overlaps it with the rest
    /// of the pipeline. A flushing seek and the way to READY end the running frame at once; PAUSED and EOS wait for it.
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

/// Makes the element known. Rank NONE: nothing that picks elements by rank may pick one this costly.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    Scale::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "ssmoesr", gst::Rank::NONE, Upscale::static_type())
}
