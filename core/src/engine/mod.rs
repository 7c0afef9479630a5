//! The conductor: carries a picture through tiles and sampling steps.

mod cancel;
mod locate;
mod merge;
mod picture;
mod plans;
mod progress;
#[cfg(test)]
mod tests;
mod upscaler;

pub use cancel::CancelToken;
pub use progress::{Progress, ProgressFn};
pub use upscaler::{DeviceInfo, ModelInfo, Stream, Upscaler, devices};
