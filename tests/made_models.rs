//! Makes model folders: small ones whose pictures take a millisecond, wide ones whose layers take long. Their pictures
//! look like nothing; what is tested with them is what happens around a picture.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ssmoesr_core::{Options, Upscaler};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Numbers of a network with one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// Channels of the denoiser, a multiple of 4.
    pub(crate) width: usize,
    /// Its residual blocks.
    pub(crate) blocks: usize,
    /// Sides of tiles are multiples of this, itself a multiple of 4.
    pub(crate) lattice: usize,
}

impl Numbers {
    /// Every kind of layer, as narrow as can be.
    pub(crate) const TINY: Self = Self { width: 4, blocks: 1, lattice: 4 };
}

/// The text of `model.json`. The hashes are none: they are compared by `ssmoesr model check` alone.
pub(crate) fn description(numbers: Numbers) -> String {
    let Numbers { width, blocks, lattice } = numbers;
    let hash = "0".repeat(64);
    format!(
        r#"{{
  "format": 1, "family": "native", "name": "made", "version": "1", "licence": "CC0-1.0", "scales": [4, 8],
  "lattice": {lattice},
  "first_stage": {{ "latent_channels": 4 }},
  "condition": {{ "width": 4, "blocks": 0 }},
  "denoiser": {{ "widths": [{width}], "blocks": [{blocks}], "attention": [1], "head_channels": 4, "window": 4, "ffn_mult": 1 }},
  "decoder": {{
    "widths": [4, 4, 4], "blocks": [0, 0, 0], "condition_width": 2, "condition_blocks": 0, "fusion_weight": 1.0,
    "aff": {{ "blocks": 1, "window": 8, "groups": 1, "leaky_slope": 0.1, "softshrink": 0.01 }}
  }},
  "sampler": {{ "kind": "shift", "steps": 1, "kappa": 2.0, "min_noise": 0.2, "power": 0.3, "end": 0.99 }},
  "defaults": {{ "steps": 1, "fidelity": 1.0, "eta": 1.0, "colour_fix": "none" }},
  "files": {{ "expert1.safetensors": "{hash}", "decoder.safetensors": "{hash}" }}
}}
"#
    )
}

/// A safetensors file whose values are small and look like noise.
pub(crate) fn weights(tensors: &BTreeMap<String, Vec<usize>>) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{"), Vec::new());
    let mut state = 1u32;
    for (name, shape) in tensors {
        let count: usize = shape.iter().product();
        let (start, end) = (data.len(), data.len() + 2 * count);
        let comma = if header.len() > 1 { "," } else { "" };
        header.push_str(&format!(
            r#"{comma}"{name}":{{"dtype":"F16","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
        for _ in 0..count {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // A binary16 of either sign from 2^-9 up to 2^-5.
            let bits = (state >> 16) as u16;
            data.extend(((bits & 0x8000) | (0x1800 + (bits & 0x0fff))).to_le_bytes());
        }
    }
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Makes the folder `name` in `room`. Which tensors there must be is asked of the library, one by one.
pub(crate) fn make(room: &Path, name: &str, numbers: Numbers) -> PathBuf {
    let folder = room.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("model.json"), description(numbers)).unwrap();
    let mut options = Options::default();
    options.model = Some(folder.display().to_string());
    options.device = "cpu".to_owned();
    options.threads = 1;
    let mut files = ["expert1.safetensors", "decoder.safetensors"].map(|name| (name, BTreeMap::new()));
    let write = |(name, tensors): &(&str, _)| std::fs::write(folder.join(name), weights(tensors)).unwrap();
    files.iter().for_each(write);
    for _ in 0..1000 {
        let Err(error) = Upscaler::new(&options) else { return folder };
        let text = error.to_string();
        let words = text.split_once(": tensor ").and_then(|(place, rest)| {
            let (tensor, shape) = rest.split_once(" is missing, wanted [")?;
            Some((place, tensor, shape.strip_suffix(']')?))
        });
        let Some((place, tensor, shape)) = words else { panic!("{text}") };
        let shape: Vec<usize> = shape.split(", ").map(|n| n.parse().unwrap()).collect();
        let file = files.iter_mut().find(|(name, _)| place.ends_with(name)).unwrap();
        file.1.insert(tensor.to_owned(), shape);
        write(file);
    }
    panic!("{}: tensors without end", folder.display());
}
