//! Commit and date of the build, for the plug-in's description.

fn main() {
    gst_plugin_version_helper::info();
}
