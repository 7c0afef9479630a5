//! Weights on disk.

use crate::error::Result;

/// Where an executor reads weights from.
pub trait WeightSource {
    /// The tensor `name` as f32; its stored shape must be `shape`.
    ///
    /// # Errors
    /// `Model` where it is missing or has another shape.
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;
    /// Names of all tensors.
    fn names(&self) -> Vec<String>;
}
