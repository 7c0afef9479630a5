//! Samples: how hosts hand frames over, and the planar f32 canvas that the engine works on.

mod frame;

pub use frame::{
    ChromaSiting, ColorInfo, Frame, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
};
