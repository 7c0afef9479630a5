//! Parts that both families use.

use crate::error::Result;
use crate::graph::{Builder, Value};

/// Twice the size: a 1x1 convolution to four times `channels`, whose values become pixels.
pub(super) fn upsample(g: &mut Builder, at: &str, x: Value, channels: usize) -> Result<Value> {
    let x = g.conv1(at, x, 4 * channels)?;
    g.pixel_shuffle(&format!("{at}.shuffle"), x, 2)
}
