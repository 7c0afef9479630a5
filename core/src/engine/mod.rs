//! The conductor: carries a picture through tiles and sampling steps.

mod aboard;
mod assemble;
mod bench;
mod cache;
mod cancel;
mod check;
mod estimate;
mod feed;
mod finish;
mod given;
mod grids;
mod inspect;
mod layout;
mod locate;
mod memory;
mod paint;
mod picture;
mod plans;
mod progress;
mod regions;
mod resident;
mod samples;
mod seen;
mod settings;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod upscaler;

pub use bench::{BenchOp, BenchPart, BenchReport, BenchStage};
pub use cancel::CancelToken;
pub use estimate::FramePlan;
pub use inspect::{DumpFormat, ImportSources, check_model, dump_model, import_model, model_info};
pub use progress::{Progress, ProgressFn};
pub use stream::{Stream, StreamStats};
pub use upscaler::{DeviceInfo, ModelInfo, Upscaler, devices};
