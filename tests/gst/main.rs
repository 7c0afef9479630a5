//! The element as programs see it: in a harness, in pipelines, and in `gst-launch-1.0`.
//!
//! Real model, tiny frames. The element is registered statically, so nothing has to be installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on shall stop, and measured times are shown"
)]

mod ahead;
mod bicubic;
mod errors;
mod files;
mod formats;
mod launch;
mod negotiation;
mod sharing;
mod steady;
mod time;
mod util;
