//! Samples: how hosts hand frames over, and the planar f32 canvas that the engine works on.

pub(crate) mod alpha;
pub(crate) mod canvas;
pub(crate) mod codes;
pub(crate) mod colorfix;
pub(crate) mod convert;
mod frame;
pub(crate) mod imresize;
mod planar;
pub(crate) mod resample;
mod yuv;

pub use frame::{
    ChromaSiting, ColorInfo, Frame, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
};
pub use resample::enlarge_plane;
