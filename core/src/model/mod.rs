//! Networks as functions that record graphs, and what the engine must know to drive them. Everything that
//! differs between the families is answered here.

mod native;
mod parts;
mod published;

use crate::error::Result;
use crate::graph::{Graph, Weight};
use crate::weights::{Common, Network};

/// Output pixels per latent cell, each way, in both families. The latent grid is `scale / 4` times the picture's.
pub const FACTOR: usize = native::FACTOR;

/// What the decoder's result is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the decoder paints the whole picture.
    Nothing,
    /// The condition, enlarged by the bicubic kernel that is part of the model.
    Bicubic,
}

/// How the low-resolution picture is brought to the latent grid where the scale asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionResize {
    /// The model's own bicubic kernel, f32.
    Bicubic,
    /// MATLAB's `imresize` on 8-bit samples (reference.md 4). Its decoder reads the input at output size too.
    Imresize,
}

/// Channels of the latent.
pub fn latent_channels(network: &Network) -> usize {
    match network {
        Network::Native(n) => n.first_stage.latent_channels,
        Network::Published(p) => p.unet.out_channels,
    }
}

/// Graph of the denoiser for `n` tiles of `h` x `w` latent cells. Inputs by name: `x` the scaled latent, `lr` the
/// condition in `[0, 1]`. Output: what the sampler's steps are written for.
///
/// # Errors
/// `Model` where the numbers do not make a network at this size.
pub fn denoiser(network: &Network, n: usize, h: usize, w: usize) -> Result<Graph> {
    match network {
        Network::Native(c) => native::denoiser(c, n, h, w),
        Network::Published(c) => published::denoiser(c, n, h, w),
    }
}

/// Graph of the decoder for `n` tiles of `h` x `w` latent cells. Inputs by name: `z` the latent, `lr` the
/// condition. Output: a picture in `[0, 1]` or what is added to [`base`].
///
/// # Errors
/// `Model` where the numbers do not make a network at this size.
pub fn decoder(network: &Network, n: usize, h: usize, w: usize) -> Result<Graph> {
    match network {
        Network::Native(c) => native::decoder(c, n, h, w),
        Network::Published(c) => published::decoder(c, n, h, w),
    }
}

/// Latent cells of which sides and origins of tiles must be multiples.
pub fn lattice(network: &Network, common: &Common) -> usize {
    match network {
        Network::Native(_) => common.lattice,
        // The UNet halves the latent once per level but the first.
        Network::Published(p) => 1 << p.unet.channel_mult.len().saturating_sub(1),
    }
}

/// Side of the tiles in latent cells where the network must see the size it was trained at.
pub fn fixed_tile(network: &Network, scale: usize) -> Option<usize> {
    match network {
        Network::Native(_) => None,
        Network::Published(p) => Some(p.tile.lr * scale / FACTOR),
    }
}

/// What the decoder's result is added to.
pub fn base(network: &Network) -> Base {
    match network {
        Network::Native(_) => Base::Bicubic,
        Network::Published(_) => Base::Nothing,
    }
}

/// How the picture is brought to the latent grid.
pub fn condition_resize(network: &Network) -> ConditionResize {
    match network {
        Network::Native(_) => ConditionResize::Bicubic,
        Network::Published(_) => ConditionResize::Imresize,
    }
}

/// Tensors of the denoiser of one expert, with what it shares with others; `lattice` is the model's.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn denoiser_weights(network: &Network, lattice: usize) -> Result<Vec<Weight>> {
    match network {
        Network::Native(c) => Ok(native::denoiser(c, 1, lattice, lattice)?.weights),
        Network::Published(c) => published::denoiser_weights(c),
    }
}

/// Tensors of the decoder's files; `lattice` is the model's.
///
/// # Errors
/// `Model` where the numbers do not make a network.
pub fn decoder_weights(network: &Network, lattice: usize) -> Result<Vec<Weight>> {
    match network {
        Network::Native(c) => Ok(native::decoder(c, 1, lattice, lattice)?.weights),
        Network::Published(c) => published::first_stage_weights(c),
    }
}
