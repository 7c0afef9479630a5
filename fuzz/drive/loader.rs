//! Model folders and checkpoints of which one file is the input.

use super::Room;
use ssmoesr_core::{
    CancelToken, ColorInfo, DumpFormat, Error, ErrorKind, Frame, ImportSources, Options, PixelFormat,
    Upscaler, dump_model, import_model, model_info,
};
use std::ops::ControlFlow;
use std::path::Path;

/// An error for users: one line, and no defect of ours.
fn told(error: &Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    assert!(text.len() < 4096, "{} bytes: {text}", text.len());
    assert_ne!(error.kind(), ErrorKind::Internal, "{text}");
}

fn held<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(told).ok()
}

/// `data` as a `model.json`, and as the configuration of an import.
pub(crate) fn description(room: &Room, data: &[u8]) {
    let folder = room.folder.join("described");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("model.json");
    std::fs::write(&file, data).unwrap();
    let name = folder.to_str();
    if held(model_info(name)).is_some() {
        held(dump_model(name, (1, 1), DumpFormat::Text));
    }
    let sources = ImportSources {
        unet: vec![room.folder.join("none")],
        decoder: room.folder.join("none"),
        config: Some(file),
        out: room.folder.join("out"),
        full_precision: false,
    };
    held(import_model(&sources, &mut |_| ControlFlow::Continue(())));
}

/// `data` as a safetensors file of a model that is whole but for it.
pub(crate) fn weights(room: &Room, data: &[u8]) {
    let folder = room.folder.join("weighed");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["model.json", "decoder.safetensors"] {
        if !folder.join(name).exists() {
            std::fs::copy(room.model.join(name), folder.join(name)).unwrap();
        }
    }
    std::fs::write(folder.join("expert1.safetensors"), data).unwrap();
    let mut options = Options::default();
    options.model = Some(folder.display().to_string());
    options.device = "cpu".to_owned();
    options.threads = 1;
    let Some(upscaler) = held(Upscaler::new(&options)) else { return };
    // Any number may stand in a file of the right form, also one that no picture can be made with.
    let small = Frame::new(PixelFormat::Rgb8, 5, 3, ColorInfo::default()).unwrap();
    let mut large = Frame::new(PixelFormat::Rgb8, 20, 12, ColorInfo::default()).unwrap();
    let mut silent = |_| ControlFlow::Continue(());
    let done = upscaler.run(&small.view(), &mut large.view_mut(), &options, &mut silent, &CancelToken::new());
    if let Err(error) = done {
        let text = error.to_string();
        assert!(text.contains("not finite"), "{text}");
    }
}

/// A network so small that its list of tensors is made in no time.
const CONFIG: &str = r#"{
  "format": 1, "scale": 4,
  "unet": { "in_channels": 6, "out_channels": 3, "model_channels": 4, "channel_mult": [1], "num_res_blocks": 1,
    "attention_ds": [], "head_channels": 4, "norm_groups": 2, "ffn_mult": 1, "space_experts": 2 },
  "sampling": { "stages": 1, "train_steps": 10, "linear_start": 0.0015, "linear_end": 0.0155 },
  "vae": { "in_channels": 3, "out_channels": 3, "ch": 4, "ch_mult": [1, 1, 1], "num_res_blocks": 1, "z_channels": 3,
    "embed_dim": 3, "n_embed": 4, "norm_groups": 2, "attn_resolutions": [] },
  "fusion": { "num_blocks": 1, "grow_channels": 2, "weight": 1.0 },
  "aff": { "ch_mult": [1, 1, 1, 1], "num_blocks": 1, "hidden_factor": 1, "mlp_ratio": 1, "softshrink": 0.01,
    "leaky_slope": 0.1, "refine_blocks": 1 }
}"#;

fn import(room: &Room, file: &Path) {
    let config = room.folder.join("config.json");
    if !config.exists() {
        std::fs::write(&config, CONFIG).unwrap();
    }
    let sources = ImportSources {
        unet: vec![file.to_owned()],
        decoder: file.to_owned(),
        config: Some(config),
        out: room.folder.join("imported"),
        full_precision: true,
    };
    let done = held(import_model(&sources, &mut |_| ControlFlow::Continue(())));
    // One file cannot be both parts; what was begun is gone.
    assert!(done.is_none() && !sources.out.exists());
}

/// `data` as a published checkpoint.
pub(crate) fn checkpoint(room: &Room, data: &[u8]) {
    let file = room.folder.join("checkpoint");
    std::fs::write(&file, data).unwrap();
    import(room, &file);
}

/// `data` as the pickle of a published checkpoint with one storage.
pub(crate) fn pickle(room: &Room, data: &[u8]) {
    let file = room.folder.join("pickled");
    std::fs::write(&file, zip(&[("a/data.pkl", data), ("a/data/0", &[0; 64])])).unwrap();
    import(room, &file);
}

/// A zip archive of stored entries (PKWARE APPNOTE 4.3.7, 4.3.12, 4.3.16).
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let at = (file.len() as u32).to_le_bytes();
        let bytes = (data.len() as u32).to_le_bytes();
        // No flags, stored, no date, no checksum, twice the size, length of the name, no extra field.
        let mut common = vec![0; 12];
        common.extend([bytes, bytes].as_flattened());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        file.extend(b"PK\x03\x04\x14\x00");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at);
        directory.extend(name.as_bytes());
    }
    let (at, bytes, count) = (file.len() as u32, directory.len() as u32, entries.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].as_flattened());
    file.extend([bytes.to_le_bytes(), at.to_le_bytes()].as_flattened());
    file.extend([0; 2]);
    file
}
