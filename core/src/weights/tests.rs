//! Stores, manifests and the search for models, on files made here.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::{Value, json};

use crate::error::ErrorKind;
use crate::weights::{
    MANIFEST_FILE, Manifest, MemoryWeights, Network, Store, WeightSource, check_hashes, file_hash, find_model,
};

/// A safetensors file from a header text and data.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn text_of(paths: &[PathBuf]) -> String {
    let e = Store::open(paths).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Model);
    let text = e.to_string();
    assert!(!text.contains('\n') && text.len() < 600, "{text}");
    text
}

#[test]
fn three_types_are_read_as_f32() {
    let dir = tempfile::tempdir().unwrap();
    let values = [1.5f32, -2.0, 0.25];
    let mut data = Vec::new();
    values.iter().for_each(|&v| data.extend(f16::from_f32(v).to_le_bytes()));
    values.iter().for_each(|&v| data.extend(bf16::from_f32(v).to_le_bytes()));
    values.iter().for_each(|&v| data.extend(v.to_le_bytes()));
    data.extend(7i64.to_le_bytes());
    let header = r#"{"h":{"dtype":"F16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[6,12]},
        "f":{"dtype":"F32","shape":[3,1],"data_offsets":[12,24]},"i":{"dtype":"I64","shape":[],"data_offsets":[24,32]},"__metadata__":{"a":"b"}}"#;
    let path = write(dir.path(), "a.safetensors", &raw(header, &data));
    let store = Store::open(&[path]).unwrap();
    assert_eq!(store.names(), ["b", "f", "h", "i"]);
    assert_eq!(store.read_f32("h", &[3]).unwrap(), values);
    assert_eq!(store.read_f32("b", &[1, 3]).unwrap(), values);
    assert_eq!(store.read_f32("f", &[3, 1]).unwrap(), values);
    assert_eq!(store.tensor("i").unwrap().bytes, 7i64.to_le_bytes());
    for (name, shape, words) in [
        ("h", &[1usize, 3][..], ["h", "[3]", "[1, 3]"]),
        ("nothing", &[4], ["nothing", "missing", "[4]"]),
        ("i", &[], ["i", "I64", "F16, BF16 or F32"]),
        ("h", &[usize::MAX, 2], ["h", "[3]", "wanted"]),
    ] {
        let text = store.read_f32(name, shape).unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)) && text.contains("a.safetensors"), "{text}");
    }
    // What could not be read is found before anything is.
    let expect =
        |name, shape: &'static [usize]| store.expect([(name, shape)].into_iter()).unwrap_err().to_string();
    assert!(expect("i", &[]).contains("tensor i holds I64, wanted F16, BF16 or F32"));
    assert!(expect("h", &[3]).contains("is not part of the network"));
}

#[test]
fn broken_files_give_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let entry = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let one = format!("{{{entry}}}");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "is empty"),
        (vec![1, 2, 3], "3 bytes are too few"),
        (raw(&one, &[0; 4])[..20].to_vec(), "ends behind the file's 20 bytes"),
        (raw(&one, &[0; 3]), ""),
        (raw(&one, &[0; 5]), ""),
        (raw("{", &[]), ""),
        (raw("[]", &[]), "an object of tensors"),
        ((1u64 << 30).to_le_bytes().to_vec(), "a header of 1073741824 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "at most 100000000"),
        (
            raw(
                &format!("{{{entry},{}}}", r#""a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#),
                &[0; 8],
            ),
            "a stands in it twice",
        ),
        (raw(r#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}"#, &[0; 4]), ""),
        (raw(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#, &[0; 4]), ""),
        (raw(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]), ""),
        (raw(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, &[0; 8]), ""),
        (raw(r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]), ""),
        (raw(&format!("{{\"{}\":1}}", "n".repeat(5000)), &[]), "a name of 5000 bytes"),
    ];
    assert_eq!(cases.len(), 16);
    for (bytes, words) in cases {
        let path = write(dir.path(), "bad.safetensors", &bytes);
        let text = text_of(&[path]);
        assert!(text.contains("bad.safetensors") && text.contains(words), "{text} | {words}");
    }
    assert_eq!(Store::open(&[dir.path().join("none")]).unwrap_err().kind(), ErrorKind::Io);
    assert!(Store::open(&[dir.path()]).is_err());
}

/// A header of 1 GB that is really there is refused before it is read.
#[test]
fn a_huge_header_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "big.safetensors", &(1u64 << 30).to_le_bytes());
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((1 << 30) + 8).unwrap();
    assert!(text_of(&[path]).contains("at most"));
}

#[test]
fn every_truncation_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let whole = raw(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]);
    for n in 0..whole.len() {
        let path = write(dir.path(), "cut.safetensors", &whole[..n]);
        assert!(Store::open(&[path]).is_err(), "{n} bytes");
    }
}

#[test]
fn a_name_in_two_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = raw(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]);
    let (one, two) = (write(dir.path(), "1.safetensors", &bytes), write(dir.path(), "2.safetensors", &bytes));
    let text = text_of(&[one, two]);
    assert!(text.contains("1.safetensors") && text.contains("2.safetensors"), "{text}");
}

#[test]
fn weights_in_memory_check_shapes_too() {
    let mut m = MemoryWeights::new();
    m.insert("a", &[2], vec![1.0, 2.0]).unwrap();
    assert!(m.insert("b", &[3], vec![1.0]).is_err());
    assert_eq!(m.read_f32("a", &[2]).unwrap(), [1.0, 2.0]);
    assert!(m.read_f32("a", &[1, 2]).unwrap_err().to_string().contains("[1, 2]"));
    assert!(m.read_f32("b", &[3]).is_err());
    assert_eq!(m.names(), ["a"]);
}

fn native() -> Value {
    json!({ "format": 1, "family": "native", "name": "photo", "version": "0.1.0", "licence": "CC0-1.0",
      "scales": [4, 8], "lattice": 32,
      "first_stage": {"latent_channels": 16},
      "condition": {"width": 32, "blocks": 1},
      "denoiser": {"widths": [32,64,96], "blocks": [1,2,2], "attention": [0,1,1], "head_channels": 16, "window": 8, "ffn_mult": 2},
      "decoder": {"widths": [48,24,12], "blocks": [2,1,1], "condition_width": 32, "condition_blocks": 1, "fusion_weight": 1.0,
                  "aff": {"blocks": 2, "window": 32, "groups": 8, "leaky_slope": 0.1, "softshrink": 0.01}},
      "sampler": {"kind": "shift", "steps": 4, "kappa": 2.0, "min_noise": 0.2, "power": 0.3, "end": 0.99},
      "defaults": {"steps": 1, "fidelity": 1.0, "eta": 1.0, "colour_fix": "none"},
      "files": {"condition.safetensors": "0".repeat(64)} })
}

fn published() -> Value {
    let network = serde_json::to_value(crate::weights::Published::default_8x()).unwrap();
    let mut all = json!({ "format": 1, "family": "published", "name": "moesr", "version": "1", "licence": "unknown",
      "scales": [8], "lattice": 4,
      "defaults": {"steps": 200, "fidelity": 0.0, "eta": 1.0, "colour_fix": "adain"}, "files": {} });
    all.as_object_mut().unwrap().extend(network.as_object().unwrap().clone());
    all
}

#[test]
fn both_families_are_read_and_written_back() {
    for (json, family) in [(native(), "native"), (published(), "published")] {
        let m = Manifest::parse(&json.to_string()).unwrap();
        assert_eq!(m.common.family, family);
        assert_eq!(Manifest::parse(&m.to_json().unwrap()).unwrap(), m);
        let back: Value = serde_json::from_str(&m.to_json().unwrap()).unwrap();
        assert_eq!(back, json);
        match m.network {
            Network::Native(n) => assert_eq!((n.experts(), n.denoiser.widths[2]), (4, 96)),
            Network::Published(p) => assert_eq!((p.tile.lr, p.lattice(8), p.lattice(4)), (64, 4, 8)),
        }
    }
}

/// Each number out of range is named.
#[test]
fn wrong_numbers_are_named() {
    let set = |mut json: Value, pointer: &str, value: Value| {
        *json.pointer_mut(pointer).unwrap() = value;
        Manifest::parse(&json.to_string())
    };
    let cases = [
        ("/format", json!(2), "format 2"),
        ("/family", json!("other"), "family \"other\""),
        ("/scales", json!([3]), "scales"),
        ("/scales", json!([]), "scales"),
        ("/lattice", json!(0), "lattice"),
        ("/lattice", json!(48), "lattice is 48, wanted a multiple of 32"),
        ("/lattice", json!(-1), "not understood"),
        ("/name", json!("a\nb"), "name"),
        ("/files", json!({"../x.safetensors": "0".repeat(64)}), "files"),
        ("/files", json!({"x.safetensors": "0"}), "files.x.safetensors"),
        ("/defaults/steps", json!(5), "defaults.steps is 5, wanted 1 to 4"),
        ("/defaults/eta", json!(1.5), "defaults.eta"),
        ("/defaults/colour_fix", json!("x"), "defaults.colour_fix"),
        ("/first_stage/latent_channels", json!(0), "first_stage.latent_channels"),
        ("/condition/width", json!(1_000_000_000), "condition.width"),
        ("/denoiser/widths", json!([32, 64, 90]), "denoiser.widths[2] is 90, wanted a multiple of 16"),
        ("/denoiser/widths", json!([]), "number of levels"),
        ("/denoiser/blocks", json!([1]), "denoiser.blocks: length"),
        ("/denoiser/attention", json!([0, 2, 0]), "denoiser.attention[1]"),
        ("/denoiser/window", json!(12), "lattice is 32, wanted a multiple of 24"),
        ("/decoder/condition_width", json!(31), "decoder.condition_width"),
        ("/decoder/aff/groups", json!(7), "decoder.widths[1] is 24, wanted a multiple of 7"),
        ("/decoder/aff/window", json!(48), "twice the lattice"),
        ("/decoder/fusion_weight", json!(-0.1), "decoder.fusion_weight"),
        ("/sampler/steps", json!(0), "sampler.steps"),
        ("/sampler/kappa", json!(0.0), "sampler.kappa"),
        ("/sampler/min_noise", json!(1.0), ""),
        ("/sampler/kind", json!("ddim"), "not understood"),
        ("/denoiser", json!({}), "widths"),
    ];
    let mut refused = 0;
    for (pointer, value, words) in cases {
        match set(native(), pointer, value.clone()) {
            Err(e) => {
                refused += 1;
                assert_eq!(e.kind(), ErrorKind::Model);
                assert!(e.to_string().contains(words), "{pointer} {value}: {e}");
            }
            // A first shift of 0.5 still rises to 0.99.
            Ok(_) => assert_eq!(pointer, "/sampler/min_noise"),
        }
    }
    assert_eq!(refused, 28);
    for (pointer, value, words) in [
        ("/unet/channel_mult", json!([1, 1000]), "unet.channel_mult[1]"),
        ("/unet/model_channels", json!(33), "unet.model_channels"),
        ("/unet/in_channels", json!(7), "unet.in_channels"),
        ("/vae/ch_mult", json!([1, 2]), "vae.ch_mult"),
        ("/vae/attn_resolutions", json!([16]), "vae.attn_resolutions"),
        ("/sampling/stages", json!(3), "sampling.train_steps"),
        ("/sampling/linear_end", json!(0.001), "sampling.linear_end"),
        ("/aff/num_blocks", json!(7), "aff width of level 0"),
        ("/tile/lr", json!(6), "tile.lr"),
        ("/lattice", json!(2), "lattice"),
        ("/scales", json!([4, 8]), "scales"),
        ("/defaults/steps", json!(0), "defaults.steps"),
    ] {
        let e = set(published(), pointer, value.clone()).unwrap_err();
        assert!(e.to_string().contains(words), "{pointer} {value}: {e}");
    }
}

#[test]
fn a_folder_is_read_and_its_hashes_checked() {
    let dir = tempfile::tempdir().unwrap();
    let weights = write(dir.path(), "condition.safetensors", b"abc");
    // FIPS 180-2, appendix B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(file_hash(&weights).unwrap(), abc);
    let mut json = native();
    json["files"]["condition.safetensors"] = json!(abc);
    write(dir.path(), MANIFEST_FILE, json.to_string().as_bytes());
    let manifest = Manifest::read(dir.path()).unwrap();
    check_hashes(dir.path(), &manifest).unwrap();
    write(dir.path(), "condition.safetensors", b"abd");
    let text = check_hashes(dir.path(), &manifest).unwrap_err().to_string();
    assert!(text.contains("condition.safetensors") && text.contains(abc), "{text}");

    write(dir.path(), MANIFEST_FILE, b"{ \"format\": 1,");
    let text = Manifest::read(dir.path()).unwrap_err().to_string();
    assert!(text.contains(MANIFEST_FILE) && text.contains("line 1"), "{text}");
    write(dir.path(), MANIFEST_FILE, &vec![b' '; (1 << 20) + 1]);
    assert!(Manifest::read(dir.path()).unwrap_err().to_string().contains("at most"));
    assert_eq!(Manifest::read(&dir.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn models_are_found_in_the_stated_order() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for (root, name) in [(&one, "photo"), (&two, "photo"), (&two, "anime")] {
        std::fs::create_dir_all(root.join(name)).unwrap();
        write(&root.join(name), MANIFEST_FILE, b"{}");
    }
    let roots = [dir.path().join("none"), one.clone(), two.clone()];
    assert_eq!(find_model(None, None, &roots).unwrap(), one.join("photo"));
    assert_eq!(find_model(Some(""), Some(""), &roots).unwrap(), one.join("photo"));
    assert_eq!(find_model(None, Some("anime"), &roots).unwrap(), two.join("anime"));
    assert_eq!(find_model(Some("photo"), Some("anime"), &roots).unwrap(), one.join("photo"));
    let path = two.join("photo");
    assert_eq!(find_model(path.to_str(), None, &roots).unwrap(), path);
    assert_eq!(find_model(path.to_str(), None, &[]).unwrap(), path);
    let text = find_model(Some("cartoon"), None, &roots).unwrap_err().to_string();
    assert!(text.contains("cartoon") && text.contains("one") && text.contains("two"), "{text}");
    assert!(find_model(Some(".."), None, &roots).is_err());
    assert!(find_model(None, None, &[]).unwrap_err().to_string().contains("nowhere"));
}
