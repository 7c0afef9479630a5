//! The shipped family: condition encoder, denoiser on the low-resolution grid, decoder to the residual.
//!
//! No statistics over a tile enter it, and its windows are anchored to the picture: tiles agree by construction.

use crate::error::{Error, Result};
use crate::graph::{Border, Builder, Graph, Padding, QkvLayout, Value};
use crate::model::parts::upsample;
use crate::weights::{Aff, Condition, Denoiser, Native};

/// Output pixels per latent cell, each way.
pub const FACTOR: usize = 4;

const EDGE: Border = Border::Replicate;

/// Denoiser with its condition encoder: inputs `x` `[n, k, h, w]` (already scaled for the step) and `lr`
/// `[n, 3, h, w]` in `[0, 1]`; output the estimate of the clean latent `[n, k, h, w]`.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn denoiser(config: &Native, n: usize, h: usize, w: usize) -> Result<Graph> {
    let g = &mut Builder::new();
    let k = config.first_stage.latent_channels;
    let x = g.input("x", [n, k, h, w])?;
    let lr = g.input("lr", [n, 3, h, w])?;
    let c = condition(g, "condition", lr, &config.condition)?;
    let joined = g.concat("denoiser.join", &[x, c])?;
    let out = unet(g, joined, k, &config.denoiser)?;
    Ok(std::mem::take(g).finish(&[out]))
}

/// Decoder: inputs `z` `[n, k, h, w]` and `lr` `[n, 3, h, w]`; output what is added to the bicubic picture,
/// `[n, 3, 4 h, 4 w]`: the fixed inverse transform plus the learned correction.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn decoder(config: &Native, n: usize, h: usize, w: usize) -> Result<Graph> {
    let g = &mut Builder::new();
    let d = &config.decoder;
    let [a, b, q] = d.widths;
    let z = g.input("z", [n, config.first_stage.latent_channels, h, w])?;
    let lr = g.input("lr", [n, 3, h, w])?;

    let encoder = Condition { width: d.condition_width, blocks: d.condition_blocks };
    let features = condition(g, "decoder.condition", lr, &encoder)?;
    let mut x = g.conv3("decoder.input", z, a, EDGE)?;
    x = blocks(g, "decoder.level.0", x, d.blocks[0])?;
    x = fuse(g, "decoder.fusion.0", x, features, d.fusion_weight as f32)?;
    x = upsample(g, "decoder.level.0.upsample", x, b)?;
    let features = upsample(g, "decoder.condition_upsample", features, (d.condition_width / 2).max(1))?;
    x = fuse(g, "decoder.fusion.1", x, features, d.fusion_weight as f32)?;
    x = blocks(g, "decoder.level.1", x, d.blocks[1])?;
    for i in 0..d.aff.blocks {
        x = aff(g, &format!("decoder.aff.{i}"), x, &d.aff)?;
    }
    x = upsample(g, "decoder.level.1.upsample", x, q)?;
    x = blocks(g, "decoder.level.2", x, d.blocks[2])?;
    x = g.silu("decoder.output.silu", x)?;
    let correction = g.conv3("decoder.output", x, 3, EDGE)?;

    let planes = g.project("transform.decode", z, 3 * FACTOR * FACTOR)?;
    let base = g.pixel_shuffle("transform.shuffle", planes, FACTOR)?;
    let out = g.add("residual", base, correction)?;
    Ok(std::mem::take(g).finish(&[out]))
}

fn condition(g: &mut Builder, at: &str, lr: Value, config: &Condition) -> Result<Value> {
    let centred = g.affine(&format!("{at}.centre"), lr, 2.0, -1.0)?;
    let x = g.conv3(&format!("{at}.input"), centred, config.width, EDGE)?;
    blocks(g, at, x, config.blocks)
}

/// `x + conv2(silu(conv1(silu(norm(x)))))`.
fn block(g: &mut Builder, at: &str, x: Value) -> Result<Value> {
    let c = g.channels(x);
    let mut y = g.rms_norm(&format!("{at}.norm"), x)?;
    y = g.silu(&format!("{at}.silu1"), y)?;
    y = g.conv3(&format!("{at}.conv1"), y, c, EDGE)?;
    y = g.silu(&format!("{at}.silu2"), y)?;
    y = g.conv3(&format!("{at}.conv2"), y, c, EDGE)?;
    g.add(at, x, y)
}

fn blocks(g: &mut Builder, at: &str, mut x: Value, count: usize) -> Result<Value> {
    for i in 0..count {
        x = block(g, &format!("{at}.blocks.{i}"), x)?;
    }
    Ok(x)
}

/// `x + ffn2(silu(ffn1(norm2(x))))`, the folded space experts.
fn feed_forward(g: &mut Builder, at: &str, x: Value, hidden: usize) -> Result<Value> {
    let c = g.channels(x);
    let mut y = g.rms_norm(&format!("{at}.norm2"), x)?;
    y = g.conv1(&format!("{at}.ffn1"), y, hidden)?;
    y = g.silu(&format!("{at}.ffn.silu"), y)?;
    y = g.conv1(&format!("{at}.ffn2"), y, c)?;
    g.add(&format!("{at}.ffn"), x, y)
}

/// Window attention and feed-forward layer.
fn attention(g: &mut Builder, at: &str, x: Value, config: &Denoiser) -> Result<Value> {
    let c = g.channels(x);
    let normed = g.rms_norm(&format!("{at}.norm1"), x)?;
    let qkv = g.conv1(&format!("{at}.qkv"), normed, 3 * c)?;
    let heads = c / config.head_channels;
    let bias = format!("{at}.position_bias");
    let y = g.attention(at, qkv, heads, Some(config.window), QkvLayout::PartFirst, Some(&bias))?;
    let y = g.conv1(&format!("{at}.proj"), y, c)?;
    let x = g.add(&format!("{at}.residual"), x, y)?;
    feed_forward(g, at, x, c * config.ffn_mult)
}

fn level(g: &mut Builder, at: &str, mut x: Value, i: usize, config: &Denoiser) -> Result<Value> {
    for j in 0..config.blocks[i] {
        x = block(g, &format!("{at}.blocks.{j}"), x)?;
        if config.attention[i] > 0 {
            x = attention(g, &format!("{at}.attention.{j}"), x, config)?;
        }
    }
    Ok(x)
}

fn unet(g: &mut Builder, x: Value, out: usize, config: &Denoiser) -> Result<Value> {
    let last = config.widths.len().checked_sub(1).ok_or_else(|| Error::model("a denoiser without levels"))?;
    let mut x = g.conv3("denoiser.input", x, config.widths[0], EDGE)?;
    let mut skips = Vec::new();
    for i in 0..last {
        let at = format!("denoiser.down.{i}");
        x = level(g, &at, x, i, config)?;
        skips.push(x);
        let half = Padding::same(1, EDGE);
        x = g.conv(&format!("{at}.downsample"), x, config.widths[i + 1], 3, 2, half)?;
    }
    x = level(g, "denoiser.middle", x, last, config)?;
    for (i, skip) in skips.into_iter().enumerate().rev() {
        let at = format!("denoiser.up.{i}");
        x = upsample(g, &format!("{at}.upsample"), x, config.widths[i])?;
        let both = g.concat(&format!("{at}.join"), &[x, skip])?;
        x = g.conv1(&format!("{at}.merge"), both, config.widths[i])?;
        x = level(g, &at, x, i, config)?;
    }
    x = g.rms_norm("denoiser.output_norm", x)?;
    x = g.silu("denoiser.output.silu", x)?;
    g.conv3("denoiser.output", x, out, EDGE)
}

/// Controlled fusion with low-resolution features: `x + w * conv(silu(merge([x, f])))`.
fn fuse(g: &mut Builder, at: &str, x: Value, features: Value, weight: f32) -> Result<Value> {
    let c = g.channels(x);
    let mut y = g.concat(&format!("{at}.join"), &[x, features])?;
    y = g.conv1(&format!("{at}.merge"), y, c)?;
    y = g.silu(&format!("{at}.silu"), y)?;
    y = g.conv3(&format!("{at}.conv"), y, c, EDGE)?;
    g.add_scaled(at, x, y, weight)
}

/// Windowed AFF block: normed input, bounded mask, gain, then a feed-forward layer.
fn aff(g: &mut Builder, at: &str, x: Value, config: &Aff) -> Result<Value> {
    let c = g.channels(x);
    let normed = g.rms_norm(&format!("{at}.norm1"), x)?;
    let (window, groups) = (Some(config.window), config.groups);
    let y = g.frequency_filter(
        at,
        normed,
        window,
        groups,
        1,
        config.leaky_slope as f32,
        config.softshrink as f32,
        true,
    )?;
    let y = g.scale_channels(&format!("{at}.gain"), y)?;
    let x = g.add(&format!("{at}.residual"), x, y)?;
    feed_forward(g, at, x, c)
}
