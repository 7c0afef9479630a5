//! Imports of checkpoints made here, and of the recorded ones where `SSMOESR_VECTORS` names their folder.
//! A refused import leaves nothing behind.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::{ErrorKind, Result};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::checkpoint_tests::{Pickle, floats, one_line, write, zip};
use crate::weights::import::{ImportReport, ImportRequest, expert_file, import};
use crate::weights::names::Layout;
use crate::weights::{
    FIRST_STAGE_FILE, Manifest, PublishedConfig, Store, StoredType, WeightSource, check_hashes,
};

/// A small network that need not make sense: what is expected, and checkpoints that hold it.
struct Made {
    dir: tempfile::TempDir,
    unet: Vec<(String, Vec<usize>)>,
    first_stage: Vec<(String, Vec<usize>)>,
    config: PublishedConfig,
}

impl Made {
    fn new() -> Self {
        let list =
            |all: &[(&str, &[usize])]| all.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect();
        Self {
            dir: tempfile::tempdir().unwrap(),
            unet: list(&[("out.2.bias", &[2]), ("middle_block.2.moe_blocks.0.0.bias", &[2])]),
            first_stage: list(&[("decoder.a.weight", &[2]), ("decoder.n.running_var", &[2])]),
            config: PublishedConfig::default_8x(),
        }
    }

    /// A checkpoint with these two-element tensors.
    fn file(&self, name: &str, tensors: &[(&str, [f32; 2])]) -> PathBuf {
        let mut pickle = Pickle::begin();
        let mut data = Vec::new();
        for (i, (name, values)) in tensors.iter().enumerate() {
            pickle = pickle.text(name).tensor("0", 2 * tensors.len() as i64, 2 * i as i64, &[2], &[1]);
            data.extend(floats(values));
        }
        write(self.dir.path(), name, &zip(&[("a/data.pkl", &pickle.end()), ("a/data/0", &data)]))
    }

    fn averaged(&self) -> PathBuf {
        self.file(
            "ema.ckpt",
            &[
                ("model.diffusion_model.out.2.bias", [9.0, 9.0]),
                ("model_ema.decay", [0.0, 0.0]),
                ("model_ema.diffusion_modelout2bias", [1.0, 2.0]),
                ("model_ema.diffusion_modelmiddle_block2moe_blocks00bias", [1.0, 1.0]),
                ("model_ema.diffusion_modelmiddle_block2moe_blocks10bias", [2.0, 4.0]),
                ("first_stage_model.encoder.a", [0.0, 0.0]),
            ],
        )
    }

    fn decoder(&self) -> PathBuf {
        self.file(
            "vae.pth",
            &[
                ("decoder.a.weight", [0.1, 0.2]),
                ("decoder.n.running_var", [0.1, 1e-9]),
                ("decoder.n.num_batches_tracked", [0.0, 0.0]),
                ("loss.a", [0.0, 0.0]),
            ],
        )
    }

    fn import(
        &self,
        unet: &[PathBuf],
        decoder: &Path,
        stored: StoredType,
    ) -> Result<(PathBuf, ImportReport)> {
        self.import_until(unet, decoder, stored, usize::MAX)
    }

    fn import_until(
        &self,
        unet: &[PathBuf],
        decoder: &Path,
        stored: StoredType,
        stop: usize,
    ) -> Result<(PathBuf, ImportReport)> {
        let out = self.dir.path().join("model");
        let request = ImportRequest {
            unet,
            decoder,
            config: &self.config,
            unet_tensors: &self.unet,
            first_stage_tensors: &self.first_stage,
            out: &out,
            stored,
        };
        let result = import(&request, &mut |p| {
            assert!(p.done < p.total);
            if p.done >= stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if result.is_err() {
            let left = std::fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name());
            let left: Vec<_> = left.map(|n| n.to_string_lossy().into_owned()).collect();
            assert!(!left.iter().any(|n| n.starts_with('.') || n == "model"), "{left:?}");
        }
        result.map(|report| (out, report))
    }
}

#[test]
fn averages_are_taken_and_experts_folded() {
    for stored in [StoredType::F16, StoredType::F32] {
        let m = Made::new();
        let bare = m.file(
            "bare.ckpt",
            &[("out.2.bias", [5.0, 6.0]), ("middle_block.2.moe_blocks.0.0.bias", [7.0, 8.0])],
        );
        let (folder, report) =
            m.import(&[m.averaged(), m.averaged(), bare, m.averaged()], &m.decoder(), stored).unwrap();
        assert_eq!(report.files.len(), 5);
        let first = &report.files[0];
        assert_eq!((first.layout, first.experts, first.tensors, first.ignored), (Layout::Averaged, 2, 2, 3));
        let (name, deviation) = first.largest_deviation.clone().unwrap();
        assert_eq!((name.as_str(), deviation), ("middle_block.2.moe_blocks.0.0.bias", 1.5));
        assert_eq!((report.files[2].layout, report.files[2].experts), (Layout::Bare, 1));
        assert!(report.files[2].largest_deviation.is_none());
        assert_eq!(report.files[4].ignored, 2);

        let manifest = Manifest::read(&folder).unwrap();
        assert_eq!(manifest.common.name, "model");
        assert_eq!(manifest.common.files.len(), 5);
        check_hashes(&folder, &manifest).unwrap();
        let store = Store::open(&[folder.join(expert_file(1))]).unwrap();
        assert_eq!(store.names(), ["middle_block.2.moe_blocks.0.0.bias", "out.2.bias"]);
        assert_eq!(store.read_f32("out.2.bias", &[2]).unwrap(), [1.0, 2.0]);
        assert_eq!(store.read_f32("middle_block.2.moe_blocks.0.0.bias", &[2]).unwrap(), [1.5, 2.5]);
        let store = Store::open(&[folder.join(FIRST_STAGE_FILE)]).unwrap();
        assert_eq!(store.read_f32("decoder.n.running_var", &[2]).unwrap(), [0.1, 1e-9]);
        let weight = store.read_f32("decoder.a.weight", &[2]).unwrap();
        assert_eq!(weight == [0.1, 0.2], stored == StoredType::F32);
        // A written folder is itself a checkpoint that can be imported.
        assert_eq!(Checkpoint::open(&folder.join(expert_file(0))).unwrap().names().count(), 2);
    }
}

#[test]
fn checkpoints_of_another_network_are_refused() {
    let m = Made::new();
    let out = ("model_ema.diffusion_modelout2bias", [1.0, 2.0]);
    let block = ("model_ema.diffusion_modelmiddle_block2moe_blocks00bias", [1.0, 1.0]);
    let raw = ("model.diffusion_model.out.2.bias", [9.0, 9.0]);
    let nan = [1.0, f32::NAN];
    let cases = [
        (m.file("1", &[out, raw]), "moe_blocks00bias is missing, wanted [2]"),
        (m.file("2", &[block, raw]), "modelout2bias is missing"),
        (m.file("3", &[raw]), "model.diffusion_model.middle_block.2.moe_blocks.0.0.bias is missing"),
        (
            m.file("4", &[out, block, ("model_ema.diffusion_modelnew", [0.0; 2])]),
            "diffusion_modelnew for one",
        ),
        (
            m.file("5", &[out, block, ("model_ema.diffusion_modelmiddle_block2moe_blocks20bias", [0.0; 2])]),
            "moe_blocks20bias for one",
        ),
        (m.file("6", &[out, ("model_ema.diffusion_modelmiddle_block2moe_blocks00bias", nan)]), "holds NaN"),
    ];
    for (path, words) in cases {
        let all = [m.averaged(), m.averaged(), m.averaged(), path];
        let e = m.import(&all, &m.decoder(), StoredType::F16).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Model);
        assert!(one_line(&e).contains(words), "{e} | {words}");
    }
    let four = [m.averaged(), m.averaged(), m.averaged(), m.averaged()];
    for (tensors, words) in [
        (&[("decoder.a.weight", [0.1, 0.2])][..], "decoder.n.running_var is missing"),
        (
            &[("decoder.a.weight", [0.1, 0.2]), ("decoder.n.running_var", [1.0; 2]), ("encoder.x", [1.0; 2])],
            "encoder.x for one",
        ),
        (
            &[("decoder.a.weight", [1e6, 0.2]), ("decoder.n.running_var", [1.0; 2])],
            "1000000, which F16 cannot hold",
        ),
    ] {
        let e = m.import(&four, &m.file("vae2", tensors), StoredType::F16).unwrap_err();
        assert!(one_line(&e).contains(words), "{e} | {words}");
    }
    let e = m.import(&four[..3], &m.decoder(), StoredType::F16).unwrap_err();
    assert_eq!((e.kind(), one_line(&e).contains("3 denoiser")), (ErrorKind::Input, true));
    let e = m.import_until(&four, &m.decoder(), StoredType::F16, 5).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    m.import(&four, &m.decoder(), StoredType::F16).unwrap();
    let out = m.dir.path().join("model");
    let request = ImportRequest {
        unet: &four,
        decoder: &m.decoder(),
        config: &m.config,
        unet_tensors: &m.unet,
        first_stage_tensors: &m.first_stage,
        out: &out,
        stored: StoredType::F16,
    };
    let e = import(&request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!((e.kind(), one_line(&e).contains("is there already")), (ErrorKind::Input, true));
}

#[test]
fn experts_that_differ_in_number_are_refused() {
    let mut m = Made::new();
    m.unet.push(("middle_block.2.moe_blocks.0.3.bias".to_owned(), vec![2]));
    let path = m.file(
        "x",
        &[
            ("out.2.bias", [0.0; 2]),
            ("middle_block.2.moe_blocks.0.0.bias", [0.0; 2]),
            ("middle_block.2.moe_blocks.1.0.bias", [0.0; 2]),
            ("middle_block.2.moe_blocks.0.3.bias", [0.0; 2]),
        ],
    );
    let e = m
        .import(&[path.clone(), path.clone(), path.clone(), path], &m.decoder(), StoredType::F32)
        .unwrap_err();
    assert!(one_line(&e).contains("has 1 experts") && one_line(&e).contains("has 2"), "{e}");
}

/// The folder of recorded vectors, where it is named.
pub(super) fn vectors() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("SSMOESR_VECTORS").map(PathBuf::from) else {
        eprintln!("skipped: SSMOESR_VECTORS is not set");
        return None;
    };
    // Tests run in the package's folder, users name the folder from the workspace's.
    Some(if folder.is_relative() { PathBuf::from("..").join(folder) } else { folder })
}

/// What the network reads, told by the names in a file.
fn expected(path: &Path, prefix: &str) -> Vec<(String, Vec<usize>)> {
    let file = Checkpoint::open(path).unwrap();
    file.names()
        .filter(|n| !n.starts_with("loss.") && !n.ends_with("num_batches_tracked"))
        .filter_map(|n| Some((n.strip_prefix(prefix)?.to_owned(), file.shape(n)?.to_vec())))
        .filter(|(n, _)| !n.contains("moe_blocks.1.") && !n.contains("moe_blocks.2."))
        .collect()
}

/// The recorded safetensors files with the published keys: values come out as they went in.
#[test]
fn vector_safetensors_are_imported() {
    let Some(vectors) = vectors() else { return };
    let config = PublishedConfig::read(&vectors.join("config.json")).unwrap();
    let unet: Vec<_> = (0..4).map(|i| vectors.join(format!("weights/unet_stage{i}.safetensors"))).collect();
    let decoder = vectors.join("weights/fa_vae.safetensors");
    let (unet_tensors, first_stage_tensors) =
        (expected(&unet[0], "model.diffusion_model."), expected(&decoder, ""));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("imported");
    let request = ImportRequest {
        unet: &unet,
        decoder: &decoder,
        config: &config,
        unet_tensors: &unet_tensors,
        first_stage_tensors: &first_stage_tensors,
        out: &out,
        stored: StoredType::F16,
    };
    let report = import(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.files[3].layout, report.files[3].experts), (Layout::Prefixed, 1));
    check_hashes(&out, &Manifest::read(&out).unwrap()).unwrap();
    let files =
        unet.iter().enumerate().map(|(i, path)| (expert_file(i), path, Layout::Prefixed, &unet_tensors));
    let first = (FIRST_STAGE_FILE.to_owned(), &decoder, Layout::FirstStage, &first_stage_tensors);
    for (name, path, layout, tensors) in files.chain([first]) {
        let (from, to) = (Checkpoint::open(path).unwrap(), Store::open(&[out.join(&name)]).unwrap());
        assert_eq!(to.names().len(), tensors.len());
        for (key, shape) in tensors {
            let wanted = from.read_f32(&layout.stored(key), shape).unwrap();
            assert_eq!(to.read_f32(key, shape).unwrap(), wanted, "{name} {key}");
        }
    }
}

/// The recorded checkpoints: averages among decoys, three experts, nested and bare, an extra loss.
#[test]
fn vector_checkpoints_are_imported() {
    let Some(vectors) = vectors() else { return };
    let config = PublishedConfig::read(&vectors.join("ckpt/config.json")).unwrap();
    let (unet, decoder) = (vectors.join("ckpt/moe_stage0.ckpt"), vectors.join("ckpt/fa_vae.pth"));
    let unet_tensors = expected(&unet, "model.diffusion_model.");
    let first_stage_tensors = expected(&decoder, "");
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("imported");
    let request = ImportRequest {
        unet: &vec![unet.clone(); 4],
        decoder: &decoder,
        config: &config,
        unet_tensors: &unet_tensors,
        first_stage_tensors: &first_stage_tensors,
        out: &out,
        stored: StoredType::F32,
    };
    let report = import(&request, &mut |_| ControlFlow::Continue(())).unwrap();
    let stage = &report.files[0];
    assert_eq!((stage.layout, stage.experts), (Layout::Averaged, 3));
    assert!(stage.largest_deviation.as_ref().is_some_and(|(_, d)| *d > 0.0));
    check_hashes(&out, &Manifest::read(&out).unwrap()).unwrap();
    let store = Store::open(&[out.join(expert_file(3))]).unwrap();
    let file = Checkpoint::open(&unet).unwrap();
    let mut folded = 0;
    for (key, shape) in &unet_tensors {
        let found = store.read_f32(key, shape).unwrap();
        let averaged = |key: &str| file.read_f32(&Layout::Averaged.stored(key), shape).unwrap();
        let raw = file.read_f32(&Layout::Prefixed.stored(key), shape).unwrap();
        if key.contains("moe_blocks.0.") {
            let all: Vec<_> = (0..3)
                .map(|e| averaged(&key.replace("moe_blocks.0.", &format!("moe_blocks.{e}."))))
                .collect();
            for (i, v) in found.iter().enumerate() {
                let mean = (f64::from(all[0][i]) + f64::from(all[1][i]) + f64::from(all[2][i])) / 3.0;
                assert!((f64::from(*v) - mean).abs() <= f64::from(f32::EPSILON) * mean.abs());
            }
            folded += 1;
        } else {
            assert_eq!(found, averaged(key));
        }
        assert_ne!(found, raw, "{key} is the decoy");
    }
    assert!(folded > 0 && folded % 4 == 0);
    println!("checkpoints: {} + {} tensors, {folded} folded", unet_tensors.len(), first_stage_tensors.len());
}
