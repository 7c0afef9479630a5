//! Networks as functions that record graphs.

mod config;
pub(crate) mod native;

pub use config::NativeConfig;
