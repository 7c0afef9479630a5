//! Networks as functions that record graphs.

mod config;
pub(crate) mod native;
mod published_config;

pub use config::NativeConfig;
pub use published_config::{AffConfig, FusionConfig, PublishedConfig, Sampling, UnetConfig, VaeConfig};
