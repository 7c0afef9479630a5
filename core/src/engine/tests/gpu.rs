//! Pictures on a GPU. Here it is the emulated one; `exec/cuda/tests.rs` starts these tests on it.

use super::*;

fn picture(device: &str, precision: &str) -> (Frame, String) {
    let mut options = Options::default();
    options.device = device.to_owned();
    options.precision = precision.to_owned();
    options.steps = 1;
    let upscaler = Upscaler::new(&options).unwrap();
    let out = enlarge(&upscaler, &scene(13, 9), &options);
    (out, upscaler.device().to_owned())
}

#[test]
#[ignore = "needs the emulated driver"]
fn a_picture_is_that_of_the_cpu() {
    // The environment says which.
    let (found, device) = picture("auto", "auto");
    assert_eq!(device, "cuda");
    let (wanted, _) = picture("cpu", "f32");
    let off = found.plane(0).iter().zip(wanted.plane(0)).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "{off:?} off");
}

#[test]
#[ignore = "needs the emulated driver"]
fn a_gpu_that_fails_is_left_for_the_cpu() {
    let (found, device) = picture("auto", "auto");
    assert_eq!(device, "cpu");
    assert_eq!(found.plane(0), picture("cpu", "f32").0.plane(0));
}

#[test]
#[ignore = "needs the emulated driver"]
fn sixteen_bits_keep_the_picture() {
    let (wanted, _) = picture("cpu", "f32");
    for precision in ["bf16", "f16"] {
        let (found, _) = picture("cuda", precision);
        let near = psnr(&found, &wanted);
        eprintln!("{precision}: {near:.1} dB");
        assert!(near >= 45.0 && found.plane(0) != wanted.plane(0), "{precision}: {near:.1} dB");
    }
}
