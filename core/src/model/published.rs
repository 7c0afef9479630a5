//! The family of arXiv 2310.12004 with the weight names of its published checkpoints, at any width.

mod aff;
mod first_stage;
mod fusion;
#[cfg(test)]
mod tests;
mod unet;

use crate::error::{Error, Result};
use crate::graph::{Builder, Graph, Value, Weight};
use crate::weights::Published;

/// Output pixels per latent cell, each way: the first stage halves twice.
pub const FACTOR: usize = 4;

/// From samples in `[0, 1]` to the network's `[-1, 1]`, and back.
const TO_NETWORK: (f32, f32) = (2.0, -1.0);
const TO_PICTURE: (f32, f32) = (0.5, 0.5);

/// Denoiser: inputs `x` `[n, 3, h, w]` the noisy latent, `lr` `[n, 3, h, w]` the condition in `[0, 1]`, `t`
/// `[n, 1, 1, 1]` the raw timestep; output the noise in `x`.
///
/// # Errors
/// `Model` where the numbers do not make a network at this size.
pub fn denoiser(config: &Published, n: usize, h: usize, w: usize) -> Result<Graph> {
    let g = &mut Builder::new();
    let latent = config.unet.out_channels;
    let x = g.input("x", [n, latent, h, w])?;
    let condition = config.unet.in_channels.saturating_sub(latent);
    let lr = g.input("lr", [n, condition, h, w])?;
    let t = g.input("t", [n, 1, 1, 1])?;
    let lr = g.affine("lr.centre", lr, TO_NETWORK.0, TO_NETWORK.1)?;
    let both = g.concat("join", &[x, lr])?;
    let out = unet::unet(g, both, t, &config.unet)?;
    Ok(std::mem::take(g).finish(&[out]))
}

/// Frequency-augmented decoder: inputs `z` `[n, 3, h, w]` the latent before quantisation and `lr_up`
/// `[n, 3, 4 h, 4 w]` the low-resolution picture at output size in `[0, 1]`; output the picture, nominally in
/// `[0, 1]`, not clamped.
///
/// # Errors
/// `Model` where the numbers do not make a network at this size.
pub fn decoder(config: &Published, n: usize, h: usize, w: usize) -> Result<Graph> {
    let g = &mut Builder::new();
    let v = &config.vae;
    let z = g.input("z", [n, v.embed_dim, h, w])?;
    let lr = g.input("lr_up", [n, v.in_channels, FACTOR * h, FACTOR * w])?;
    let lr = g.affine("lr_up.centre", lr, TO_NETWORK.0, TO_NETWORK.1)?;
    let index = first_stage::codebook(g, z, v)?;
    let codes = first_stage::codes(g, index, v)?;
    let features = first_stage::lr_features(g, lr, v)?;
    let y = first_stage::decode(g, codes, config, Some(features), true)?;
    let y = g.affine("picture", y, TO_PICTURE.0, TO_PICTURE.1)?;
    Ok(std::mem::take(g).finish(&[y]))
}

/// Tensors of a denoiser, its space experts folded.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn denoiser_weights(config: &Published) -> Result<Vec<Weight>> {
    let side = unet::lattice(&config.unet)?;
    Ok(denoiser(config, 1, side, side)?.weights)
}

/// Tensors of the whole first stage, with the part of its encoder that the decoder never reads: published files
/// hold them, and a tensor that is not expected is an error.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn first_stage_weights(config: &Published) -> Result<Vec<Weight>> {
    let g = &mut Builder::new();
    let v = &config.vae;
    let picture = g.input("x", [1, v.in_channels, FACTOR, FACTOR])?;
    let z = first_stage::encode(g, picture, v)?;
    let index = first_stage::codebook(g, z, v)?;
    let codes = first_stage::codes(g, index, v)?;
    let features = first_stage::lr_features(g, picture, v)?;
    let y = first_stage::decode(g, codes, config, Some(features), true)?;
    Ok(std::mem::take(g).finish(&[y]).weights)
}

/// Sides of a map must be multiples of `of`.
fn check_sides(g: &Builder, at: &str, x: Value, of: usize) -> Result<()> {
    let [_, _, h, w] = g.shape(x);
    if h.is_multiple_of(of) && w.is_multiple_of(of) {
        return Ok(());
    }
    Err(Error::model(format!("{at}: a {h}x{w} map, its sides must be multiples of {of}")))
}
