//! Diffusion super-resolution, x4 and x8, with sampling and space experts (arXiv 2310.12004).
//!
//! An [`Upscaler`] is a model, a device and settings; it turns a [`FrameRef`] into a [`FrameMut`].

mod engine;
mod error;
mod exec;
#[cfg(feature = "files")]
mod files;
#[allow(
    dead_code,
    unused_imports,
    reason = "each room offers its whole vocabulary; some words only tests speak yet"
)]
mod graph;
mod model;
mod options;
#[allow(
    dead_code,
    unused_imports,
    reason = "each room offers its whole vocabulary; some words only tests speak yet"
)]
mod pixels;
#[allow(
    dead_code,
    unused_imports,
    reason = "each room offers its whole vocabulary; some words only tests speak yet"
)]
mod sampler;
mod threads;
#[allow(
    dead_code,
    unused_imports,
    reason = "each room offers its whole vocabulary; some words only tests speak yet"
)]
mod tiles;
#[allow(
    dead_code,
    unused_imports,
    reason = "each room offers its whole vocabulary; some words only tests speak yet"
)]
mod weights;

pub use engine::{
    BenchOp, BenchPart, BenchReport, BenchStage, CancelToken, DeviceInfo, DumpFormat, FramePlan,
    ImportSources, ModelInfo, Progress, ProgressFn, Stream, StreamStats, Upscaler, check_model, devices,
    dump_model, import_model, model_info,
};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "files")]
pub use files::{
    FileKind, Metadata, Overwrite, Picture, check_target, encode_picture, read_picture, read_picture_bytes,
    write_picture,
};
pub use options::{OptionInfo, Options, option_table};
pub use pixels::{
    ChromaSiting, ColorInfo, Frame, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
    enlarge_plane,
};
pub use threads::Worker;
pub use weights::{ImportProgress, ImportReport, ImportedFile, Layout};
