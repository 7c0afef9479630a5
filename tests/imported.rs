//! A model imported from published checkpoints, used as hosts use it: through the upscaler and through the element.
//! `SSMOESR_VECTORS` names a folder of recorded checkpoints; without it there is nothing to import.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops at the first thing that is not as it should be, and says what it skips"
)]

use ssmoesr_core::{
    CancelToken, ColorInfo, Frame, ImportSources, Options, PixelFormat, Upscaler, check_model, devices,
    import_model,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const SIDE: u32 = 16;
const SCALE: u32 = 8;

fn imported(vectors: &Path, out: PathBuf) -> PathBuf {
    let weights = vectors.join("weights");
    let sources = ImportSources {
        unet: (0..4).map(|i| weights.join(format!("unet_stage{i}.safetensors"))).collect(),
        decoder: weights.join("fa_vae.safetensors"),
        config: Some(vectors.join("config.json")),
        out: out.clone(),
        full_precision: true,
    };
    import_model(&sources, &mut |_| ControlFlow::Continue(())).unwrap();
    out
}

fn pattern() -> Vec<u8> {
    (0..SIDE * SIDE * 3)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 / 4 + (i / 8) as u8 % 128)
        .collect()
}

fn options(folder: &Path, device: &str) -> Options {
    let mut options = Options::default();
    options.scale = SCALE;
    options.model = Some(folder.to_str().unwrap().to_owned());
    options.device = device.to_owned();
    options.steps = 4;
    options.eta = 0.0;
    options
}

fn enlarge(folder: &Path, device: &str) -> Vec<u8> {
    let options = options(folder, device);
    let upscaler = Upscaler::new(&options).unwrap();
    let mut small = Frame::new(PixelFormat::Rgb8, SIDE, SIDE, ColorInfo::default()).unwrap();
    small.plane_mut(0).copy_from_slice(&pattern());
    let side = SIDE * SCALE;
    let mut large = Frame::new(PixelFormat::Rgb8, side, side, ColorInfo::default()).unwrap();
    let mut progress = |_| ControlFlow::Continue(());
    upscaler.run(&small.view(), &mut large.view_mut(), &options, &mut progress, &CancelToken::new()).unwrap();
    large.plane(0).to_vec()
}

fn through_the_element(folder: &Path) -> Vec<u8> {
    gst::init().unwrap();
    gstssmoesr::plugin_register_static().unwrap();
    let element = gst::ElementFactory::make("ssmoesr")
        .property_from_str("scale", "8")
        .property("model", folder.to_str().unwrap())
        .property("device", "cpu")
        .property("steps", 4u32)
        .build()
        .unwrap();
    let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str(&format!("video/x-raw,format=RGB,width={SIDE},height={SIDE},framerate=25/1"));
    harness.push(gst::Buffer::from_slice(pattern())).unwrap();
    let buffer = harness.pull().unwrap();
    let map = buffer.map_readable().unwrap();
    map.to_vec()
}

#[test]
fn an_imported_model_works_in_every_host() {
    let Some(vectors) = std::env::var_os("SSMOESR_VECTORS").map(PathBuf::from) else {
        eprintln!("skipped: SSMOESR_VECTORS is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let folder = imported(&vectors, dir.path().join("published"));
    assert_eq!(check_model(folder.to_str()).unwrap().family, "published");

    let own = enlarge(&folder, "cpu");
    assert!(own.iter().any(|&v| v != own[0]), "one colour");
    // The colour match, which is this model's default, gives the picture the mean of the input.
    let mean = |bytes: &[u8]| bytes.iter().map(|&v| f64::from(v)).sum::<f64>() / bytes.len() as f64;
    let (found, wanted) = (mean(&own), mean(&pattern()));
    assert!((found - wanted).abs() < 8.0, "mean {found:.1}, that of the input is {wanted:.1}");
    assert_eq!(own, enlarge(&folder, "cpu"), "another picture the second time");
    assert_eq!(own, through_the_element(&folder), "the element gives another picture");
    if devices().iter().any(|d| d.name == "reference") {
        let reference = enlarge(&folder, "reference");
        let worst = own.iter().zip(&reference).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 1, "{worst} of 255 from the reference");
    }
}
