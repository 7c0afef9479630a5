//! The denoiser of one sampling expert (`ldm/modules/diffusionmodules/openaimodel.py` there).

use crate::error::{Error, Result};
use crate::graph::{Activation, Border, Builder, Padding, QkvLayout, Value};
use crate::model::published::check_sides;
use crate::weights::UnetConfig;

/// Epsilon of every norm of the denoiser.
const EPS: f32 = 1e-5;
const ZERO: Border = Border::Zero;

/// Sides of the latent must be multiples of this.
pub(super) fn lattice(config: &UnetConfig) -> Result<usize> {
    let halvings = config.channel_mult.len().checked_sub(1);
    let side = halvings.and_then(|n| 1usize.checked_shl(n as u32)).filter(|&s| s <= 1 << 16);
    side.ok_or_else(|| Error::model(format!("a denoiser of {} levels", config.channel_mult.len())))
}

/// The whole denoiser: `x` the noisy latent and the condition, joined, `t` the raw timestep `[n, 1, 1, 1]`.
pub(super) fn unet(g: &mut Builder, x: Value, t: Value, config: &UnetConfig) -> Result<Value> {
    check_sides(g, "denoiser", x, lattice(config)?)?;
    let (base, groups) = (config.model_channels, config.norm_groups);
    let emb = time_mlp(g, "time_embed", t, base)?;
    // Every block applies its own SiLU to the embedding: one does for all.
    let emb = g.silu("time_embed.silu", emb)?;

    let mut h = g.conv3("input_blocks.0.0", x, base, ZERO)?;
    let mut skips = vec![h];
    for (level, mult) in config.channel_mult.iter().enumerate() {
        for _ in 0..config.num_res_blocks {
            let at = format!("input_blocks.{}", skips.len());
            h = resblock(g, &format!("{at}.0"), h, emb, mult * base, groups)?;
            if has_attention(config, level) {
                h = spatial(g, &at, h, config)?;
            }
            skips.push(h);
        }
        if level + 1 < config.channel_mult.len() {
            let at = format!("input_blocks.{}.0.op", skips.len());
            h = g.conv(&at, h, mult * base, 3, 2, Padding::same(1, ZERO))?;
            skips.push(h);
        }
    }

    let width = g.channels(h);
    h = resblock(g, "middle_block.0", h, emb, width, groups)?;
    h = spatial(g, "middle_block", h, config)?;
    h = resblock(g, "middle_block.3", h, emb, width, groups)?;

    let mut block = 0;
    for (level, mult) in config.channel_mult.iter().enumerate().rev() {
        for j in 0..=config.num_res_blocks {
            let at = format!("output_blocks.{block}");
            let skip = skips.pop().ok_or_else(|| Error::internal("more blocks up than down"))?;
            let both = g.concat(&format!("{at}.join"), &[h, skip])?;
            h = resblock(g, &format!("{at}.0"), both, emb, mult * base, groups)?;
            let mut next = 1;
            if has_attention(config, level) {
                h = spatial(g, &at, h, config)?;
                next = 3;
            }
            if level > 0 && j == config.num_res_blocks {
                h = upsample(g, &format!("{at}.{next}.conv"), h)?;
            }
            block += 1;
        }
    }
    h = g.group_norm("out.0", h, groups, EPS)?;
    h = g.silu("out.1", h)?;
    g.conv3("out.2", h, config.out_channels, ZERO)
}

/// `attention_ds` holds downsampling factors; the middle has attention in any case.
fn has_attention(config: &UnetConfig, level: usize) -> bool {
    1usize.checked_shl(level as u32).is_some_and(|ds| config.attention_ds.contains(&ds))
}

/// Attention, then the feed-forward, as elements 1 and 2 of a block.
fn spatial(g: &mut Builder, at: &str, x: Value, config: &UnetConfig) -> Result<Value> {
    let x = attention(g, &format!("{at}.1"), x, config.head_channels, config.norm_groups)?;
    folded(g, &format!("{at}.2"), x, config.ffn_mult)
}

/// Sinusoids of the timestep through two linear layers.
pub(super) fn time_mlp(g: &mut Builder, at: &str, t: Value, base: usize) -> Result<Value> {
    let wide = 4 * base;
    let mut e = g.timestep_embedding(&format!("{at}.sinusoids"), t, base)?;
    e = g.pointwise(&format!("{at}.0"), e, wide, &[wide, base])?;
    e = g.silu(&format!("{at}.1"), e)?;
    g.pointwise(&format!("{at}.2"), e, wide, &[wide, wide])
}

/// Residual block; `emb` is the embedding after its SiLU.
pub(super) fn resblock(
    g: &mut Builder,
    at: &str,
    x: Value,
    emb: Value,
    out: usize,
    groups: usize,
) -> Result<Value> {
    let mut h = g.group_norm(&format!("{at}.in_layers.0"), x, groups, EPS)?;
    h = g.silu(&format!("{at}.in_layers.1"), h)?;
    h = g.conv3(&format!("{at}.in_layers.2"), h, out, ZERO)?;
    let stored = [out, g.channels(emb)];
    let time = g.pointwise(&format!("{at}.emb_layers.1"), emb, out, &stored)?;
    h = g.add(&format!("{at}.time"), h, time)?;
    h = g.group_norm(&format!("{at}.out_layers.0"), h, groups, EPS)?;
    h = g.silu(&format!("{at}.out_layers.1"), h)?;
    h = g.conv3(&format!("{at}.out_layers.3"), h, out, ZERO)?;
    let skip = if g.channels(x) == out { x } else { g.conv1(&format!("{at}.skip_connection"), x, out)? };
    g.add(at, skip, h)
}

/// Global self-attention with the heads in the outer position of the joint map.
pub(super) fn attention(
    g: &mut Builder,
    at: &str,
    x: Value,
    head_channels: usize,
    groups: usize,
) -> Result<Value> {
    let c = g.channels(x);
    let heads = c.checked_div(head_channels).filter(|heads| heads * head_channels == c);
    let heads = heads.ok_or_else(|| {
        Error::model(format!("{at}: {c} channels do not split into heads of {head_channels}"))
    })?;
    let y = g.group_norm(&format!("{at}.norm"), x, groups, EPS)?;
    let y = g.pointwise(&format!("{at}.qkv"), y, 3 * c, &[3 * c, c, 1])?;
    let y = g.attention(&format!("{at}.heads"), y, heads, None, QkvLayout::HeadFirst, None)?;
    let y = g.pointwise(&format!("{at}.proj_out"), y, c, &[c, c, 1])?;
    g.add(at, x, y)
}

/// The feed-forward after folding: one expert, the mean of all.
pub(super) fn folded(g: &mut Builder, at: &str, x: Value, mult: usize) -> Result<Value> {
    let y = g.layer_norm(&format!("{at}.moe_norm"), x, EPS)?;
    let y = expert(g, &format!("{at}.moe_blocks.0"), y, mult)?;
    g.add(at, x, y)
}

/// The feed-forward of training: token `perm[j]` goes to expert `j / (tokens / experts)`. Norm and order are the
/// same for all experts and pictures.
#[cfg(test)]
pub(super) fn routed(
    g: &mut Builder,
    at: &str,
    x: Value,
    perm: Value,
    experts: usize,
    mult: usize,
) -> Result<Value> {
    let [_, _, h, w] = g.shape(x);
    let tokens = h * w;
    let each = tokens.checked_div(experts).filter(|each| each * experts == tokens);
    let each = each
        .ok_or_else(|| Error::model(format!("{at}: {tokens} tokens do not split over {experts} experts")))?;
    let name = |part: &str| if at.is_empty() { part.to_owned() } else { format!("{at}.{part}") };
    let y = g.layer_norm(&name("moe_norm"), x, EPS)?;
    let y = g.gather_tokens(&name("gather"), y, perm)?;
    let mut parts = Vec::with_capacity(experts);
    for e in 0..experts {
        let own = g.narrow(&name(&format!("tokens.{e}")), y, e * each, each)?;
        parts.push(expert(g, &name(&format!("moe_blocks.{e}")), own, mult)?);
    }
    let y = g.concat_axis(&name("join"), &parts, 3)?;
    let y = g.scatter_tokens(&name("scatter"), y, perm, h, w)?;
    g.add(at, x, y)
}

fn expert(g: &mut Builder, at: &str, x: Value, mult: usize) -> Result<Value> {
    let c = g.channels(x);
    let hidden = c * mult;
    let y = g.pointwise(&format!("{at}.0"), x, hidden, &[hidden, c])?;
    let y = g.activation(&format!("{at}.1"), y, Activation::GeluErf)?;
    g.pointwise(&format!("{at}.3"), y, c, &[c, hidden])
}

/// Each pixel twice, then a convolution called `at`.
pub(super) fn upsample(g: &mut Builder, at: &str, x: Value) -> Result<Value> {
    let c = g.channels(x);
    let x = g.upsample_nearest2(&format!("{at}.nearest"), x)?;
    g.conv3(at, x, c, ZERO)
}
