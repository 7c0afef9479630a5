//! Fusion of the decoder with low-resolution features through dense blocks (`basicsr/archs/rrdbnet_arch.py` there).

use crate::error::Result;
use crate::graph::{Activation, Border, Builder, Value};
use crate::model::published::first_stage::residual;
use crate::weights::FusionConfig;

const ZERO: Border = Border::Zero;
/// Slope inside the dense blocks, and factor of each of their residuals.
const SLOPE: f32 = 0.2;
const FACTOR: f32 = 0.2;
/// Convolutions of a dense block; the last has no activation.
const LAYERS: usize = 5;

/// `dec + weight * f([enc, dec])`.
pub(super) fn fusion(
    g: &mut Builder,
    at: &str,
    enc: Value,
    dec: Value,
    config: &FusionConfig,
    groups: usize,
) -> Result<Value> {
    let c = g.channels(dec);
    let both = g.concat(&format!("{at}.join"), &[enc, dec])?;
    let mut y = residual(g, &format!("{at}.encode_enc_1"), both, c, groups, "conv_out")?;
    for i in 0..config.num_blocks {
        y = rrdb(g, &format!("{at}.encode_enc_2.{i}"), y, config.grow_channels)?;
    }
    y = residual(g, &format!("{at}.encode_enc_3"), y, c, groups, "conv_out")?;
    g.add_scaled(at, dec, y, config.weight as f32)
}

/// Three dense blocks within a residual.
fn rrdb(g: &mut Builder, at: &str, x: Value, growth: usize) -> Result<Value> {
    let mut y = x;
    for i in 1..=3 {
        y = dense(g, &format!("{at}.rdb{i}"), y, growth)?;
    }
    g.add_scaled(at, x, y, FACTOR)
}

/// Convolutions that each see all results before them.
fn dense(g: &mut Builder, at: &str, x: Value, growth: usize) -> Result<Value> {
    let c = g.channels(x);
    let mut seen = vec![x];
    for i in 1..LAYERS {
        let all = g.concat(&format!("{at}.join{i}"), &seen)?;
        let y = g.conv3(&format!("{at}.conv{i}"), all, growth, ZERO)?;
        seen.push(g.activation(&format!("{at}.leaky{i}"), y, Activation::LeakyRelu(SLOPE))?);
    }
    let all = g.concat(&format!("{at}.join{LAYERS}"), &seen)?;
    let y = g.conv3(&format!("{at}.conv{LAYERS}"), all, c, ZERO)?;
    g.add_scaled(at, x, y, FACTOR)
}
