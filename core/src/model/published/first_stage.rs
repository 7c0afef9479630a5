//! The VQ-f4 first stage: encoder, codebook, decoder with its two additions (`ldm/models/vqmodel.py` there).

use crate::error::{Error, Result};
use crate::graph::{Border, Builder, Padding, QkvLayout, Value};
use crate::model::published::aff::aff_unet;
use crate::model::published::fusion::fusion;
use crate::model::published::unet::upsample;
use crate::model::published::{FACTOR, check_sides};
use crate::weights::{Published, VaeConfig};

/// Epsilon of every norm of the autoencoder; the frequency blocks have their own.
const EPS: f32 = 1e-6;
const ZERO: Border = Border::Zero;
/// The level whose features are fused, at half resolution.
const FUSION_LEVEL: usize = 1;
const EMBEDDING: &str = "quantize.embedding.weight";

/// Picture in `[-1, 1]` to the latent before quantisation.
pub(super) fn encode(g: &mut Builder, x: Value, config: &VaeConfig) -> Result<Value> {
    check_sides(g, "encoder", x, FACTOR)?;
    let groups = config.norm_groups;
    let mut h = down(g, x, config, config.ch_mult.len())?;
    h = middle(g, "encoder.mid", h, groups)?;
    h = g.group_norm("encoder.norm_out", h, groups, EPS)?;
    h = g.silu("encoder.silu", h)?;
    h = g.conv3("encoder.conv_out", h, config.z_channels, ZERO)?;
    g.conv1("quant_conv", h, config.embed_dim)
}

/// What the decoder is fused with: the encoder's features of the enlarged low-resolution picture in `[-1, 1]`.
pub(super) fn lr_features(g: &mut Builder, x: Value, config: &VaeConfig) -> Result<Value> {
    check_sides(g, "encoder", x, 1 << FUSION_LEVEL)?;
    down(g, x, config, FUSION_LEVEL + 1)
}

/// The first `levels` levels of the encoder.
fn down(g: &mut Builder, x: Value, config: &VaeConfig, levels: usize) -> Result<Value> {
    let mut h = g.conv3("encoder.conv_in", x, config.ch, ZERO)?;
    for level in 0..levels {
        for j in 0..config.num_res_blocks {
            let at = format!("encoder.down.{level}.block.{j}");
            h = residual(g, &at, h, width(config, level)?, config.norm_groups, "nin_shortcut")?;
        }
        if level + 1 < levels {
            // One row below and one column to the right, none on the other sides.
            let padding = Padding { top: 0, left: 0, bottom: 1, right: 1, border: ZERO };
            let at = format!("encoder.down.{level}.downsample.conv");
            let c = g.channels(h);
            h = g.conv(&at, h, c, 3, 2, padding)?;
        }
    }
    Ok(h)
}

fn width(config: &VaeConfig, level: usize) -> Result<usize> {
    let mult = config.ch_mult.get(level);
    mult.map(|m| m * config.ch).ok_or_else(|| Error::model(format!("the first stage has no level {level}")))
}

/// Index of the nearest code per cell.
pub(super) fn codebook(g: &mut Builder, z: Value, config: &VaeConfig) -> Result<Value> {
    g.codebook_index(EMBEDDING, z, config.n_embed)
}

/// Codes by index.
pub(super) fn codes(g: &mut Builder, index: Value, config: &VaeConfig) -> Result<Value> {
    g.codebook_lookup(EMBEDDING, index, config.n_embed, config.embed_dim)
}

/// Decoder from quantised codes; fused where there are `features`, refined where `frequency` says so.
pub(super) fn decode(
    g: &mut Builder,
    codes: Value,
    config: &Published,
    features: Option<Value>,
    frequency: bool,
) -> Result<Value> {
    let v = &config.vae;
    let (levels, groups) = (v.ch_mult.len(), v.norm_groups);
    let mut h = g.conv1("post_quant_conv", codes, v.z_channels)?;
    h = g.conv3("decoder.conv_in", h, width(v, levels.saturating_sub(1))?, ZERO)?;
    h = middle(g, "decoder.mid", h, groups)?;
    for level in (0..levels).rev() {
        for j in 0..=v.num_res_blocks {
            let at = format!("decoder.up.{level}.block.{j}");
            h = residual(g, &at, h, width(v, level)?, groups, "nin_shortcut")?;
        }
        if let (FUSION_LEVEL, Some(features)) = (level, features) {
            let at = format!("decoder.fusion_layer_{level}");
            h = fusion(g, &at, features, h, &config.fusion, groups)?;
        }
        if level > 0 {
            h = upsample(g, &format!("decoder.up.{level}.upsample.conv"), h)?;
        }
    }
    if frequency {
        h = aff_unet(g, "decoder.unet_1", h, &config.aff, groups)?;
    }
    h = g.group_norm("decoder.norm_out", h, groups, EPS)?;
    h = g.silu("decoder.silu", h)?;
    g.conv3("decoder.conv_out", h, v.out_channels, ZERO)
}

/// Residual block without a time embedding; `shortcut` is its name for the 1x1 convolution around it.
pub(super) fn residual(
    g: &mut Builder,
    at: &str,
    x: Value,
    out: usize,
    groups: usize,
    shortcut: &str,
) -> Result<Value> {
    let mut h = g.group_norm(&format!("{at}.norm1"), x, groups, EPS)?;
    h = g.silu(&format!("{at}.silu1"), h)?;
    h = g.conv3(&format!("{at}.conv1"), h, out, ZERO)?;
    h = g.group_norm(&format!("{at}.norm2"), h, groups, EPS)?;
    h = g.silu(&format!("{at}.silu2"), h)?;
    h = g.conv3(&format!("{at}.conv2"), h, out, ZERO)?;
    let skip = if g.channels(x) == out { x } else { g.conv1(&format!("{at}.{shortcut}"), x, out)? };
    g.add(at, skip, h)
}

fn middle(g: &mut Builder, at: &str, x: Value, groups: usize) -> Result<Value> {
    let c = g.channels(x);
    let x = residual(g, &format!("{at}.block_1"), x, c, groups, "nin_shortcut")?;
    let x = attention(g, &format!("{at}.attn_1"), x, groups)?;
    residual(g, &format!("{at}.block_2"), x, c, groups, "nin_shortcut")
}

/// Global self-attention with one head.
fn attention(g: &mut Builder, at: &str, x: Value, groups: usize) -> Result<Value> {
    let c = g.channels(x);
    let y = g.group_norm(&format!("{at}.norm"), x, groups, EPS)?;
    let q = g.conv1(&format!("{at}.q"), y, c)?;
    let k = g.conv1(&format!("{at}.k"), y, c)?;
    let v = g.conv1(&format!("{at}.v"), y, c)?;
    let y = g.concat(&format!("{at}.qkv"), &[q, k, v])?;
    let y = g.attention(&format!("{at}.head"), y, 1, None, QkvLayout::PartFirst, None)?;
    let y = g.conv1(&format!("{at}.proj_out"), y, c)?;
    g.add(at, x, y)
}
