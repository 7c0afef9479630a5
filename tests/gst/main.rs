//! The element as programs see it: in a harness, in pipelines, and in `gst-launch-1.0`.
//!
//! Real model, tiny frames. The element is registered statically, so nothing has to be installed.

mod errors;
mod formats;
mod launch;
mod negotiation;
mod sharing;
mod time;
mod util;
