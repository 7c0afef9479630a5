//! Published names of tensors against the names in our files (reference code `ldm/modules/ema.py` and `sr_val_ddim_moe.py`).

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::weights::checkpoint::Checkpoint;

/// Prefix of the denoiser in a trainer's state dict.
const NETWORK: &str = "model.diffusion_model.";
/// Prefix of its averaged copy, whose names have lost their dots.
const AVERAGED: &str = "model_ema.";
const AVERAGED_NETWORK: &str = "model_ema.diffusion_model";
/// Modules of the first stage; anything else in its file (losses, trainers) is not ours.
const FIRST_STAGE: [&str; 5] = ["encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv."];
/// Experts a feed-forward may have.
const MAX_EXPERTS: usize = 4096;

/// How the wanted tensors are called in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// Averaged copies of a denoiser; its raw weights beside them are not the ones to use.
    Averaged,
    /// A denoiser below `model.diffusion_model.`.
    Prefixed,
    /// A denoiser without a prefix.
    Bare,
    /// A first stage.
    FirstStage,
}

impl Layout {
    /// The layout of a denoiser's file. Averages win over raw weights, as in the published script.
    pub fn of_denoiser(file: &Checkpoint) -> Self {
        if file.names().any(|n| n.starts_with(AVERAGED_NETWORK)) {
            Self::Averaged
        } else if file.names().any(|n| n.starts_with(NETWORK)) {
            Self::Prefixed
        } else {
            Self::Bare
        }
    }

    /// What the tensor `key` is called in a file of this layout.
    pub fn stored(self, key: &str) -> String {
        match self {
            // A name without dots cannot be split again, so the mapping only goes this way.
            Self::Averaged => format!("{AVERAGED}diffusion_model{}", key.replace('.', "")),
            Self::Prefixed => format!("{NETWORK}{key}"),
            Self::Bare | Self::FirstStage => key.to_owned(),
        }
    }

    /// Whether a stored tensor belongs to the network, so that leaving it unread would be a mistake.
    fn owns(self, stored: &str) -> bool {
        match self {
            Self::Averaged => stored.starts_with(AVERAGED_NETWORK),
            Self::Prefixed => stored.starts_with(NETWORK),
            Self::Bare => true,
            // A counter of training steps beside each batch norm.
            Self::FirstStage => {
                FIRST_STAGE.iter().any(|p| stored.starts_with(p)) && !stored.ends_with(".num_batches_tracked")
            }
        }
    }
}

/// Where one of our tensors comes from: the stored tensors whose mean it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Our name.
    pub key: String,
    /// Our shape, and that of every stored tensor.
    pub shape: Vec<usize>,
    /// Stored names: one, or one per space expert.
    pub stored: Vec<String>,
}

/// Finds every expected tensor and asserts that none is left over, without reading values.
///
/// # Errors
/// `Model`: a tensor that is missing, has another shape, or belongs to the network but is not expected;
/// blocks that differ in their number of experts.
pub fn resolve(file: &Checkpoint, layout: Layout, expected: &[(String, Vec<usize>)]) -> Result<Vec<Source>> {
    let mut used = HashSet::new();
    let mut experts: Option<(usize, String)> = None;
    let mut sources = Vec::with_capacity(expected.len());
    for (key, shape) in expected {
        let stored = match split_expert(key).filter(|_| layout != Layout::FirstStage) {
            None => vec![layout.stored(key)],
            Some((head, tail)) => {
                let name = |e: usize| layout.stored(&format!("{head}{e}{tail}"));
                let count = (0..MAX_EXPERTS).take_while(|&e| file.contains(&name(e))).count().max(1);
                match &experts {
                    Some((other, first)) if *other != count => {
                        return Err(Error::model(format!(
                            "{}: {key} has {count} experts, but {first} has {other}",
                            file.place()
                        )));
                    }
                    _ => experts = Some((count, key.clone())),
                }
                (0..count).map(name).collect()
            }
        };
        for name in &stored {
            file.check_f32(name, shape)?;
            used.insert(name.clone());
        }
        sources.push(Source { key: key.clone(), shape: shape.clone(), stored });
    }
    let unused: Vec<_> = file.names().filter(|n| layout.owns(n) && !used.contains(*n)).collect();
    if let Some(first) = unused.first() {
        return Err(Error::model(format!(
            "{}: {} of {} tensors have no place in this network, {first} for one: the configuration is of another model",
            file.place(),
            unused.len(),
            used.len() + unused.len()
        )));
    }
    Ok(sources)
}

/// Parts of the name before and behind the number of a space expert.
fn split_expert(key: &str) -> Option<(&str, &str)> {
    const BLOCKS: &str = "moe_blocks.";
    let at = key.find(".moe_blocks.0.")? + 1 + BLOCKS.len();
    Some((&key[..at], &key[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::{Layout, split_expert};

    #[test]
    fn published_names_are_mapped_forward() {
        let key = "input_blocks.10.2.moe_blocks.0.0.weight";
        assert_eq!(
            Layout::Averaged.stored(key),
            "model_ema.diffusion_modelinput_blocks102moe_blocks00weight"
        );
        assert_eq!(Layout::Prefixed.stored("out.2.bias"), "model.diffusion_model.out.2.bias");
        assert_eq!(Layout::Bare.stored("out.2.bias"), "out.2.bias");
        assert_eq!(split_expert(key), Some(("input_blocks.10.2.moe_blocks.", ".0.weight")));
        assert_eq!(split_expert("input_blocks.10.2.moe_norm.weight"), None);
        assert!(Layout::FirstStage.owns("encoder.conv_in.bias"));
        assert!(!Layout::FirstStage.owns("loss.discriminator.main.0.weight"));
        assert!(!Layout::FirstStage.owns("decoder.a.norm.num_batches_tracked"));
    }
}
