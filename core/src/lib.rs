//! Diffusion super-resolution, x4 and x8, with sampling and space experts (arXiv 2310.12004).
//!
//! An [`Upscaler`] is a model, a device and settings; it turns a [`FrameRef`] into a [`FrameMut`].

mod error;
mod exec;
mod graph;
mod options;
mod pixels;
mod sampler;
mod tiles;
mod weights;

pub use error::{Error, ErrorKind, Result};
pub use options::{OptionInfo, Options, option_table};
pub use pixels::{
    ChromaSiting, ColorInfo, Frame, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
};
