//! The conductor: carries a picture through tiles and sampling steps.

mod bench;
mod cancel;
mod check;
mod estimate;
mod inspect;
mod locate;
mod merge;
mod picture;
mod plans;
mod progress;
mod settings;
#[cfg(test)]
mod tests;
mod upscaler;

pub use bench::{BenchOp, BenchReport, BenchStage};
pub use cancel::CancelToken;
pub use estimate::FramePlan;
pub use inspect::{DumpFormat, ImportSources, check_model, dump_model, import_model, model_info};
pub use progress::{Progress, ProgressFn};
pub use upscaler::{DeviceInfo, ModelInfo, Stream, Upscaler, devices};
