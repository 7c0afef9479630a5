//! The published family's part of `model.json` (arXiv 2310.12004 and its code, 8x configuration).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::weights::manifest::{Common, between, in_range, multiple, wrong};

const MAX_WIDTH: usize = 4096;
const MAX_LEVELS: usize = 6;
/// Height and width over one latent cell (VQ-f4).
const LATENT_FACTOR: usize = 4;
/// A configuration longer than this is not one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The family of the paper: latent diffusion over a VQ-f4 first stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The denoiser of each sampling expert.
    pub unet: UnetConfig,
    /// Schedule and experts.
    pub sampling: Sampling,
    /// First stage.
    pub vae: VaeConfig,
    /// Fusion of low-resolution features in the decoder.
    pub fusion: FusionConfig,
    /// Frequency U-Net of the decoder.
    pub aff: AffConfig,
    /// Its sampler.
    #[serde(default)]
    pub sampler: PublishedSampler,
    /// The size it was trained at.
    #[serde(default)]
    pub tile: TileConfig,
}

/// UNet of a sampling expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// Latent and condition.
    pub in_channels: usize,
    /// Latent.
    pub out_channels: usize,
    /// Base width.
    pub model_channels: usize,
    /// Width of each level over the base width.
    pub channel_mult: Vec<usize>,
    /// Residual blocks per level (one more on the way up).
    pub num_res_blocks: usize,
    /// Downsampling factors with attention.
    pub attention_ds: Vec<usize>,
    /// Channels of a head.
    pub head_channels: usize,
    /// Groups of the group norms.
    pub norm_groups: usize,
    /// Width of the feed-forward over its level's.
    pub ffn_mult: usize,
    /// Feed-forwards per attention block before folding.
    pub space_experts: usize,
}

/// Diffusion schedule and the split into sampling experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Sampling experts.
    pub stages: u32,
    /// Timesteps of training.
    pub train_steps: u32,
    /// First beta.
    pub linear_start: f64,
    /// Last beta.
    pub linear_end: f64,
}

/// VQ first stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Picture channels in.
    pub in_channels: usize,
    /// Picture channels out.
    pub out_channels: usize,
    /// Base width.
    pub ch: usize,
    /// Width of each level over the base width.
    pub ch_mult: Vec<usize>,
    /// Residual blocks per level (one more in the decoder).
    pub num_res_blocks: usize,
    /// Channels before quantisation.
    pub z_channels: usize,
    /// Channels of a code.
    pub embed_dim: usize,
    /// Codes.
    pub n_embed: usize,
    /// Groups of the group norms.
    pub norm_groups: usize,
    /// Resolutions with attention besides the middle: none in the published model.
    pub attn_resolutions: Vec<usize>,
}

/// Fusion of low-resolution features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionConfig {
    /// Dense residual blocks.
    pub num_blocks: usize,
    /// Growth of their layers.
    pub grow_channels: usize,
    /// Weight of the result.
    pub weight: f64,
}

/// Frequency U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AffConfig {
    /// Width of each level over the decoder's.
    pub ch_mult: Vec<usize>,
    /// Diagonal blocks of the filter.
    pub num_blocks: usize,
    /// Width inside the filter over its outside.
    pub hidden_factor: usize,
    /// Width of the inverted residual over its input.
    pub mlp_ratio: usize,
    /// Threshold of the soft shrinkage.
    pub softshrink: f64,
    /// Slope of the leaky rectifiers.
    pub leaky_slope: f64,
    /// Blocks at the lowest level.
    pub refine_blocks: usize,
}

/// The sampler of the family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PublishedSampler {
    /// DDIM over the training schedule.
    #[default]
    Ddim,
}

/// The size it was trained at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TileConfig {
    /// Side of a tile, in low-resolution pixels.
    pub lr: usize,
}

impl Default for TileConfig {
    fn default() -> Self {
        Self { lr: 64 }
    }
}

/// A configuration file beside published checkpoints: the network and its scale.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PublishedConfig {
    /// Layout, 1.
    pub format: u32,
    /// 4 or 8.
    pub scale: u32,
    /// The network.
    #[serde(flatten)]
    pub network: Published,
}

impl PublishedConfig {
    /// The published 8x configuration.
    pub fn default_8x() -> Self {
        Self { format: 1, scale: 8, network: Published::default_8x() }
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// `Io` where it cannot be read, `Model` where it is not understood.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let cannot = |e| Error::io(format!("cannot read {place}"), e);
        if std::fs::metadata(path).map_err(cannot)?.len() > MAX_CONFIG_BYTES {
            return Err(Error::model(format!("{place} is longer than {MAX_CONFIG_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(cannot)?;
        let config: Self = serde_json::from_str(&text)
            .map_err(|e| Error::model(format!("{place} is not understood")).because(e))?;
        if config.format != 1 || ![4, 8].contains(&config.scale) {
            return Err(Error::model(format!(
                "{place}: format {} and scale {}, wanted format 1 and scale 4 or 8",
                config.format, config.scale
            )));
        }
        Ok(config)
    }
}

impl Published {
    /// The published 8x network.
    pub fn default_8x() -> Self {
        Self {
            unet: UnetConfig {
                in_channels: 6,
                out_channels: 3,
                model_channels: 160,
                channel_mult: vec![1, 2, 2, 4],
                num_res_blocks: 2,
                attention_ds: vec![16, 8],
                head_channels: 32,
                norm_groups: 32,
                ffn_mult: 4,
                space_experts: 16,
            },
            sampling: Sampling { stages: 4, train_steps: 1000, linear_start: 0.0015, linear_end: 0.0155 },
            vae: VaeConfig {
                in_channels: 3,
                out_channels: 3,
                ch: 128,
                ch_mult: vec![1, 2, 4],
                num_res_blocks: 2,
                z_channels: 3,
                embed_dim: 3,
                n_embed: 8192,
                norm_groups: 32,
                attn_resolutions: vec![],
            },
            fusion: FusionConfig { num_blocks: 2, grow_channels: 32, weight: 1.0 },
            aff: AffConfig {
                ch_mult: vec![1, 1, 2, 2],
                num_blocks: 8,
                hidden_factor: 1,
                mlp_ratio: 4,
                softshrink: 0.01,
                leaky_slope: 0.1,
                refine_blocks: 4,
            },
            sampler: PublishedSampler::Ddim,
            tile: TileConfig::default(),
        }
    }

    /// The lattice that `scale` asks for, in low-resolution pixels: the latent halves `levels - 1` times.
    pub fn lattice(&self, scale: u32) -> usize {
        let cells = 1usize << self.unet.channel_mult.len().saturating_sub(1).min(MAX_LEVELS);
        (cells * LATENT_FACTOR / scale.max(1) as usize).max(1)
    }

    pub(crate) fn validate(&self, common: &Common) -> Result<()> {
        let u = &self.unet;
        in_range("unet.model_channels", u.model_channels, 1, MAX_WIDTH)?;
        in_range("unet.channel_mult: number of levels", u.channel_mult.len(), 1, MAX_LEVELS)?;
        in_range("unet.num_res_blocks", u.num_res_blocks, 1, 16)?;
        in_range("unet.norm_groups", u.norm_groups, 1, MAX_WIDTH)?;
        in_range("unet.head_channels", u.head_channels, 1, MAX_WIDTH)?;
        in_range("unet.ffn_mult", u.ffn_mult, 1, 16)?;
        in_range("unet.space_experts", u.space_experts, 1, 1024)?;
        in_range("unet.attention_ds: length", u.attention_ds.len(), 0, 16)?;
        multiple("unet.model_channels", u.model_channels, u.norm_groups)?;
        let last = u.channel_mult.len() - 1;
        for (l, &m) in u.channel_mult.iter().enumerate() {
            in_range(&format!("unet.channel_mult[{l}]"), m, 1, 16)?;
            in_range(&format!("unet width of level {l}"), m * u.model_channels, 1, MAX_WIDTH)?;
            if l == last || u.attention_ds.contains(&(1 << l)) {
                multiple(&format!("unet width of level {l}"), m * u.model_channels, u.head_channels)?;
            }
        }

        let s = &self.sampling;
        in_range("sampling.train_steps", s.train_steps as usize, 2, 100_000)?;
        in_range("sampling.stages", s.stages as usize, 1, 64)?;
        multiple("sampling.train_steps", s.train_steps as usize, s.stages as usize)?;
        between("sampling.linear_start", s.linear_start, 1e-9, 0.5)?;
        between("sampling.linear_end", s.linear_end, s.linear_start, 0.5)?;

        let v = &self.vae;
        in_range("vae.in_channels", v.in_channels, 3, 3)?;
        in_range("vae.out_channels", v.out_channels, 3, 3)?;
        in_range("vae.ch", v.ch, 1, MAX_WIDTH)?;
        in_range("vae.ch_mult: number of levels", v.ch_mult.len(), 3, 3)?;
        in_range("vae.num_res_blocks", v.num_res_blocks, 1, 16)?;
        in_range("vae.z_channels", v.z_channels, 1, 64)?;
        in_range("vae.embed_dim", v.embed_dim, 1, 64)?;
        in_range("vae.n_embed", v.n_embed, 1, 1 << 20)?;
        in_range("vae.norm_groups", v.norm_groups, 1, MAX_WIDTH)?;
        multiple("vae.ch", v.ch, v.norm_groups)?;
        for (l, &m) in v.ch_mult.iter().enumerate() {
            in_range(&format!("vae.ch_mult[{l}]"), m, 1, 16)?;
        }
        if !v.attn_resolutions.is_empty() {
            return Err(wrong("vae.attn_resolutions", format!("{:?}", v.attn_resolutions), "an empty list"));
        }
        in_range("unet.out_channels", u.out_channels, v.embed_dim, v.embed_dim)?;
        in_range("unet.in_channels", u.in_channels, u.out_channels + 3, u.out_channels + 3)?;

        in_range("fusion.num_blocks", self.fusion.num_blocks, 0, 64)?;
        in_range("fusion.grow_channels", self.fusion.grow_channels, 1, MAX_WIDTH)?;
        between("fusion.weight", self.fusion.weight, 0.0, 1.0)?;

        let a = &self.aff;
        in_range("aff.ch_mult: number of levels", a.ch_mult.len(), 4, 4)?;
        in_range("aff.num_blocks", a.num_blocks, 1, MAX_WIDTH)?;
        in_range("aff.hidden_factor", a.hidden_factor, 1, 16)?;
        in_range("aff.mlp_ratio", a.mlp_ratio, 1, 16)?;
        in_range("aff.refine_blocks", a.refine_blocks, 0, 64)?;
        between("aff.softshrink", a.softshrink, 0.0, 1.0)?;
        between("aff.leaky_slope", a.leaky_slope, 0.0, 1.0)?;
        for (l, &m) in a.ch_mult.iter().enumerate() {
            in_range(&format!("aff.ch_mult[{l}]"), m, 1, 16)?;
            multiple(&format!("aff width of level {l}"), m * v.ch, a.num_blocks)?;
        }

        in_range("defaults.steps", common.defaults.steps as usize, 1, s.train_steps as usize)?;
        in_range("scales: number for this family", common.scales.len(), 1, 1)?;
        for &scale in &common.scales {
            multiple("lattice", common.lattice, self.lattice(scale))?;
        }
        in_range("tile.lr", self.tile.lr, 1, 4096)?;
        multiple("tile.lr", self.tile.lr, common.lattice)
    }
}
