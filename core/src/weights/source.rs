//! Where executors get weights from: anything that hands out f32 tensors by name and shape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Named tensors that can be read as f32.
pub trait WeightSource: Send + Sync {
    /// The values of `name` in row-major order.
    ///
    /// # Errors
    /// `Model` where there is no such tensor or its shape is another; the text names tensor, found and wanted.
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>>;

    /// All names there are, sorted.
    fn names(&self) -> Vec<String>;
}

/// Another source that gives up as soon as `stop` is set: reading and packing a large network takes seconds.
pub struct Stoppable<'a> {
    /// Where the tensors are.
    pub source: &'a dyn WeightSource,
    /// Looked at before each tensor.
    pub stop: &'a AtomicBool,
}

impl WeightSource for Stoppable<'_> {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        self.source.read_f32(name, shape)
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }
}

/// Weights held in memory, for tests and made-up networks.
#[derive(Clone, Debug, Default)]
pub struct MemoryWeights(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl MemoryWeights {
    /// No weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a tensor.
    ///
    /// # Errors
    /// `Internal` where the number of values does not fit the shape.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Result<()> {
        let name = name.into();
        if elements(shape) != Some(values.len()) {
            return Err(Error::internal(format!("{name}: {} values for shape {shape:?}", values.len())));
        }
        self.0.insert(name, (shape.to_vec(), values));
        Ok(())
    }
}

impl WeightSource for MemoryWeights {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let (found, values) = self.0.get(name).ok_or_else(|| missing("weights in memory", name, shape))?;
        if found != shape {
            return Err(mis_shaped("weights in memory", name, found, shape));
        }
        Ok(values.clone())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// Number of values of a shape; nothing where it overflows.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

pub(crate) fn missing(place: &str, name: &str, wanted: &[usize]) -> Error {
    Error::model(format!("{place}: tensor {name} is missing, wanted {wanted:?}"))
}

pub(crate) fn mis_shaped(place: &str, name: &str, found: &[usize], wanted: &[usize]) -> Error {
    Error::model(format!("{place}: tensor {name} has shape {found:?}, wanted {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_seen_before_the_next_tensor() {
        let mut weights = MemoryWeights::new();
        weights.insert("a", &[1], vec![2.0]).unwrap();
        let stop = AtomicBool::new(false);
        let source = Stoppable { source: &weights, stop: &stop };
        assert_eq!(source.read_f32("a", &[1]).unwrap(), [2.0]);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(source.read_f32("a", &[1]).unwrap_err().kind(), crate::error::ErrorKind::Cancelled);
        assert_eq!(source.names(), ["a"]);
    }
}
