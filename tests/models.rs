//! Model folders made for tests: real ones, which every host loads by its path, with weights of zero.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its model shall stop")]

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use ssmoesr_core::{DumpFormat, dump_model};

/// Steps of the schedule, and so files of experts.
const EXPERTS: usize = 4;

/// Latent cells of which sides of tiles are multiples.
const LATTICE: usize = 4;

/// Width and height of the frames for which [`TestModel::slow`] takes its seconds.
pub const SLOW_FRAME: (u32, u32) = (256, 192);

/// A model folder that goes away with this.
#[derive(Debug)]
pub struct TestModel(tempfile::TempDir);

impl TestModel {
    /// Adds nothing to the enlarged picture: the result is the bicubic one. Takes milliseconds for small frames.
    pub fn bicubic() -> Self {
        Self::new("bicubic", 8, 1)
    }

    /// As [`TestModel::bicubic`], by way of many wide layers: a frame of [`SLOW_FRAME`] takes about 5 seconds on two
    /// processors with AVX-512.
    pub fn slow() -> Self {
        Self::new("slow", 64, 32)
    }

    /// A folder whose description is right and whose decoder ends in the middle: only reading the weights shows it.
    pub fn damaged() -> Self {
        let model = Self::bicubic();
        let file = model.0.path().join("decoder.safetensors");
        let length = file.metadata().unwrap().len();
        std::fs::File::options().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
        model
    }

    /// The folder, as the option `model` takes it.
    pub fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// `width` channels and `blocks` blocks at the size of the result, next to nothing elsewhere.
    fn new(name: &str, width: usize, blocks: usize) -> Self {
        let model = Self(tempfile::tempdir().unwrap());
        let folder = model.0.path();
        let mut description = json!({
            "format": 1,
            "family": "native",
            "name": name,
            "version": "1",
            "licence": "CC0-1.0",
            "scales": [4, 8],
            "lattice": LATTICE,
            "first_stage": { "latent_channels": 4 },
            "condition": { "width": 8, "blocks": 0 },
            "denoiser": {
                "widths": [8],
                "blocks": [1],
                "attention": [0],
                "head_channels": 8,
                "window": 4,
                "ffn_mult": 1
            },
            "decoder": {
                "widths": [8, 8, width],
                "blocks": [0, 0, blocks],
                "condition_width": 8,
                "condition_blocks": 0,
                "fusion_weight": 1.0,
                "aff": { "blocks": 0, "window": 4, "groups": 1, "leaky_slope": 0.1, "softshrink": 0.01 }
            },
            "sampler": {
                "kind": "shift",
                "steps": EXPERTS,
                "kappa": 2.0,
                "min_noise": 0.2,
                "power": 0.3,
                "end": 0.99
            },
            "defaults": { "steps": 1, "fidelity": 1.0, "eta": 1.0, "colour_fix": "none" },
            "files": {}
        });
        let write = |description: &serde_json::Value| {
            std::fs::write(folder.join("model.json"), description.to_string()).unwrap();
        };
        write(&description);
        let dump = dump_model(folder.to_str(), (LATTICE, LATTICE), DumpFormat::Text).unwrap();
        let experts = (1..=EXPERTS).map(|i| (format!("expert{i}.safetensors"), tensors(&dump, "denoiser")));
        let decoder = ("decoder.safetensors".to_owned(), tensors(&dump, "decoder"));
        for (file, tensors) in experts.chain([decoder]) {
            description["files"][&file] = zeros(&folder.join(&file), &tensors).into();
        }
        write(&description);
        model
    }
}

/// Names and shapes of the weights of one graph of a dump.
fn tensors(dump: &str, graph: &str) -> Vec<(String, Vec<usize>)> {
    dump.lines()
        .skip_while(|line| !line.starts_with(graph))
        .skip_while(|line| *line != "weights")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| {
            let (shape, name) = line.trim_start().split_once("  ").unwrap();
            (name.to_owned(), shape.split('x').map(|side| side.parse().unwrap()).collect())
        })
        .collect()
}

/// Writes a safetensors file of zeros; its SHA-256.
fn zeros(file: &Path, tensors: &[(String, Vec<usize>)]) -> String {
    assert!(!tensors.is_empty(), "{}", file.display());
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    bytes.resize(bytes.len() + end, 0);
    std::fs::write(file, &bytes).unwrap();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssmoesr_core::{ErrorKind, Options, Upscaler, check_model};

    fn load(model: &TestModel) -> ssmoesr_core::Result<Upscaler> {
        let mut options = Options::default();
        options.model = Some(model.path().to_owned());
        Upscaler::new(&options)
    }

    #[test]
    fn they_are_models() {
        for model in [TestModel::bicubic(), TestModel::slow()] {
            check_model(Some(model.path())).unwrap();
            load(&model).unwrap();
        }
    }

    #[test]
    fn damage_shows_when_weights_are_read() {
        let model = TestModel::damaged();
        let mut options = Options::default();
        options.model = Some(model.path().to_owned());
        Upscaler::check(&options).unwrap();
        let error = load(&model).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Model);
        assert!(error.to_string().contains("decoder.safetensors"), "{error}");
    }
}
