//! GStreamer plug-in `ssmoesr` with the element of the same name.
//!
//! Loading the plug-in registers a type and nothing else: the scanner loads every plug-in, so no device is opened, no
//! model read and no thread started before the element itself starts.

mod upscale;

pub use plugin::plugin_register_static;
pub use upscale::{Scale, Temporal, Upscale};

#[allow(missing_docs, unreachable_pub, reason = "written by GStreamer's macro")]
mod plugin {
    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        super::upscale::register(plugin)
    }

    gst::plugin_define!(
        ssmoesr,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        // GStreamer knows a fixed list of licences; this is its word for the more permissive of ours.
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("BUILD_REL_DATE")
    );
}
