//! The published family's part of `model.json`, and the configuration file beside its checkpoints.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::PublishedConfig;
use crate::weights::manifest::{Common, in_range, multiple};

/// A configuration longer than this is not one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// The family of the paper: latent diffusion over a VQ-f4 first stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The network.
    #[serde(flatten)]
    pub config: PublishedConfig,
    /// Its sampler.
    #[serde(default)]
    pub sampler: PublishedSampler,
    /// The size it was trained at.
    #[serde(default)]
    pub tile: TileConfig,
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
pub struct PublishedFile {
    /// Layout, 1.
    pub format: u32,
    /// 4 or 8.
    pub scale: u32,
    /// The network.
    #[serde(flatten)]
    pub config: PublishedConfig,
}

impl PublishedFile {
    /// The published 8x configuration.
    pub fn default_8x() -> Self {
        Self { format: 1, scale: 8, config: PublishedConfig::default_8x() }
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
        config.config.check().map_err(|e| Error::model(place).because(e))?;
        Ok(config)
    }
}

impl Published {
    pub(crate) fn validate(&self, common: &Common) -> Result<()> {
        self.config.check()?;
        let steps = self.config.sampling.train_steps as usize;
        in_range("defaults.steps", common.defaults.steps as usize, 1, steps)?;
        in_range("scales: number for this family", common.scales.len(), 1, 1)?;
        for &scale in &common.scales {
            multiple("lattice", common.lattice, self.config.lattice(scale))?;
        }
        in_range("tile.lr", self.tile.lr, 1, 4096)?;
        multiple("tile.lr", self.tile.lr, common.lattice)
    }
}
