//! The frequency U-Net in front of the decoder's last convolution (`ldm/models/tvae/aff.py` there).

use crate::error::{Error, Result};
use crate::graph::{Activation, Border, Builder, Padding, Value};
use crate::model::parts::upsample;
use crate::model::published::check_sides;
use crate::weights::AffConfig;

/// Epsilon of the group and batch norms here: not that of the rest of the autoencoder.
const EPS: f32 = 1e-5;
/// Hidden widths are multiples of this.
const WIDTH_STEP: usize = 8;

/// U-Net of frequency blocks: two halvings, refinement, two sub-pixel doublings. No residual around it.
pub(super) fn aff_unet(
    g: &mut Builder,
    at: &str,
    x: Value,
    config: &AffConfig,
    groups: usize,
) -> Result<Value> {
    check_sides(g, at, x, 4)?;
    let c = g.channels(x);
    let [_, m1, m2, m3] = *config.ch_mult.as_slice() else {
        return Err(Error::model(format!("{at}: {} levels, there must be 4", config.ch_mult.len())));
    };
    let block = |g: &mut Builder, part: &str, x: Value, out: usize| {
        aff_block(g, &format!("{at}.{part}"), x, out, config, groups)
    };
    let x1 = block(g, "conv1", x, m1 * c)?;
    let half = g.max_pool2(&format!("{at}.pool1"), x1)?;
    let x2 = block(g, "conv2", half, m2 * c)?;
    let quarter = g.max_pool2(&format!("{at}.pool2"), x2)?;
    let mut x3 = block(g, "conv3", quarter, m3 * c)?;
    for i in 0..config.refine_blocks {
        x3 = block(g, &format!("context_refine.{i}"), x3, m3 * c)?;
    }
    let up = upsample(g, &format!("{at}.up3.0"), x3, m2 * c)?;
    let both = g.concat(&format!("{at}.join3"), &[x2, up])?;
    let y = block(g, "up_conv3", both, m2 * c)?;
    let up = upsample(g, &format!("{at}.up2.0"), y, m1 * c)?;
    let both = g.concat(&format!("{at}.join2"), &[x1, up])?;
    block(g, "up_conv2", both, c)
}

/// Inverted residual beside a 1x1 convolution of the raw input, then the filter of the normed sum.
pub(super) fn aff_block(
    g: &mut Builder,
    at: &str,
    x: Value,
    out: usize,
    config: &AffConfig,
    groups: usize,
) -> Result<Value> {
    let normed = g.group_norm(&format!("{at}.norm1"), x, groups, EPS)?;
    let mixed = inverted_residual(g, &format!("{at}.mlp"), normed, out, config)?;
    let direct = g.conv1(&format!("{at}.up_dim"), x, out)?;
    let y = g.add(&format!("{at}.sum"), mixed, direct)?;
    let normed = g.group_norm(&format!("{at}.norm2"), y, groups, EPS)?;
    let filtered = filter(g, &format!("{at}.filter"), normed, config)?;
    g.add(at, y, filtered)
}

/// The adaptive filter over the whole map, plus its input.
pub(super) fn filter(g: &mut Builder, at: &str, x: Value, config: &AffConfig) -> Result<Value> {
    let slope = config.leaky_slope as f32;
    let shrink = config.softshrink as f32;
    let y = g.frequency_filter(at, x, None, config.num_blocks, config.hidden_factor, slope, shrink, false)?;
    g.add(&format!("{at}.residual"), y, x)
}

fn inverted_residual(g: &mut Builder, at: &str, x: Value, out: usize, config: &AffConfig) -> Result<Value> {
    let c = g.channels(x);
    let hidden = hidden_width(c * config.mlp_ratio);
    let leaky = Activation::LeakyRelu(config.leaky_slope as f32);
    let part = |name: &str| format!("{at}.block.{name}");
    let mut y = conv_norm(g, &part("exp_1x1"), x, hidden, 1, 1)?;
    y = g.activation(&part("exp_1x1.leaky"), y, leaky)?;
    y = conv_norm(g, &part("conv_3x3"), y, hidden, 3, hidden)?;
    y = g.activation(&part("conv_3x3.leaky"), y, leaky)?;
    y = conv_norm(g, &part("red_1x1"), y, out, 1, 1)?;
    if c == out { g.add(at, x, y) } else { Ok(y) }
}

/// The nearest multiple of the step, at least one step, never below nine tenths of `wanted`.
fn hidden_width(wanted: usize) -> usize {
    let rounded = ((wanted + WIDTH_STEP / 2) / WIDTH_STEP * WIDTH_STEP).max(WIDTH_STEP);
    if 10 * rounded < 9 * wanted { rounded + WIDTH_STEP } else { rounded }
}

/// Convolution without bias, then batch norm.
fn conv_norm(g: &mut Builder, at: &str, x: Value, out: usize, kernel: usize, groups: usize) -> Result<Value> {
    let stored = [out, g.channels(x) / groups, kernel, kernel];
    let padding = Padding::same(kernel / 2, Border::Zero);
    let at = format!("{at}.block");
    let y = g.conv_stored(&format!("{at}.conv"), x, out, kernel, 1, padding, groups, &stored, false)?;
    g.batch_norm(&format!("{at}.norm"), y, EPS)
}

#[cfg(test)]
mod tests {
    use super::hidden_width;

    #[test]
    fn hidden_widths_are_multiples_of_eight() {
        for (wanted, width) in
            [(1, 8), (8, 8), (11, 16), (12, 16), (13, 16), (20, 24), (128, 128), (512, 512)]
        {
            assert_eq!(hidden_width(wanted), width, "{wanted}");
        }
    }
}
