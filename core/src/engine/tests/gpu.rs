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

#[test]
#[ignore = "needs the emulated driver"]
fn frames_are_read_to_the_bit() {
    let device = crate::exec::executor("cuda", 0, None, "auto").unwrap();
    let mut maps = device.maps().unwrap().unwrap();
    assert!(reading::every_format_on(&mut *maps, &[(5, 3), (4, 6)]) > 150);
    reading::every_way_on(&mut *maps, &[(1, 2), (5, 3)]);
}

fn stream_options() -> Options {
    let mut options = Options::default();
    (options.steps, options.fidelity) = (2, 0.3);
    options
}

/// Frames one after the other, the next one begun before the last one's turn where `ahead`.
fn film(device: &str, ahead: bool) -> Vec<Frame> {
    let mut options = stream_options();
    options.device = device.to_owned();
    let mut stream = Stream::new(Arc::new(Upscaler::new(&options).unwrap()));
    let token = CancelToken::new();
    let frame = |i: u32| {
        let mut frame = scene(12, 9);
        frame.plane_mut(0)[7 * i as usize] ^= 0x7f;
        frame
    };
    let begin = |stream: &mut Stream, i: u32| {
        assert!(!ahead || i >= FRAMES || stream.begin(&frame(i).view(), &options, &token).unwrap());
    };
    begin(&mut stream, 0);
    let frames = (0..FRAMES).map(|i| {
        begin(&mut stream, i + 1);
        let mut out = Frame::new(PixelFormat::Rgb8, 48, 36, ColorInfo::default()).unwrap();
        stream.run(&frame(i).view(), &mut out.view_mut(), &options, &token).unwrap();
        out
    });
    frames.collect()
}

const FRAMES: u32 = 4;

/// The GPU fails in the middle of a film, when frames are begun that nobody has yet: they are the processor's, and so is the rest.
#[test]
#[ignore = "needs the emulated driver"]
fn a_film_goes_on_without_its_gpu() {
    let mut options = stream_options();
    let upscaler = Arc::new(Upscaler::new(&options).unwrap());
    assert_eq!(upscaler.device(), "cuda");
    let mut stream = Stream::new(Arc::clone(&upscaler));
    let token = CancelToken::new();
    let mut found = Vec::new();
    for i in 0..FRAMES {
        for next in i..(i + 2).min(FRAMES) {
            if stream.begun() == (next - i) as usize {
                // Where the GPU is gone, the frame's own turn says so.
                let _ = stream.begin(&scene(12 + next % 2, 9).view(), &options, &token);
            }
        }
        let (w, h) = (48 + 4 * (i % 2), 36);
        let mut out = Frame::new(PixelFormat::Rgb8, w, h, ColorInfo::default()).unwrap();
        stream.run(&scene(12 + i % 2, 9).view(), &mut out.view_mut(), &options, &token).unwrap();
        found.push(out);
    }
    assert_eq!(upscaler.device(), "cpu");
    options.device = "cpu".to_owned();
    let mut stream = Stream::new(Arc::new(Upscaler::new(&options).unwrap()));
    for (i, found) in (0..FRAMES).zip(&found) {
        let mut out = found.clone();
        stream.run(&scene(12 + i % 2, 9).view(), &mut out.view_mut(), &options, &token).unwrap();
        let off = found.plane(0).iter().zip(out.plane(0)).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "frame {i}: {off:?} off");
    }
}

#[test]
#[ignore = "needs the emulated driver"]
fn frames_overlap() {
    let found = film("cuda", true);
    let wanted = film("cpu", false);
    for (i, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let off = found.plane(0).iter().zip(wanted.plane(0)).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(off <= Some(1), "frame {i}: {off:?} off");
    }
    // In turn they are the same to the bit.
    let Some(trace) = std::env::var_os("SSMOESR_EMULATED_TRACE") else {
        return assert!(film("cuda", false) == found);
    };
    // Streams by number: 0 computes, 1 brings, 2 fetches.
    let trace = std::fs::read_to_string(trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let all = |what: &str| {
        lines.iter().enumerate().filter(|(_, l)| l.starts_with(what)).map(|(i, _)| i).collect::<Vec<_>>()
    };
    let fetches: Vec<usize> = all("cuMemcpyDtoHAsync");
    assert_eq!(fetches.len(), FRAMES as usize, "one download for each frame");
    assert!(fetches.iter().all(|&i| lines[i].ends_with("on 2")));
    // Weights and tables come first, on stream 0; then one upload for each frame.
    let sent: Vec<usize> =
        all("cuMemcpyHtoDAsync").into_iter().filter(|&i| lines[i].ends_with("on 1")).collect();
    assert_eq!(sent.len(), FRAMES as usize, "one upload for each frame");
    for frame in 1..FRAMES as usize {
        // Everything of a frame is asked for before anybody waits for the one before; from the second frame on nobody
        // waits for all of a stream, nothing is allocated, and nothing is copied by the stream that computes.
        let waits = lines[sent[frame]..].iter().position(|l| l.starts_with("cuEventSynchronize"));
        let own = lines[sent[frame]..=fetches[frame]].iter();
        assert!(own.clone().all(|l| !l.starts_with("cuStreamSynchronize")), "frame {frame}");
        assert!(waits.is_some());
        if frame > 1 {
            let bad = ["cuStreamSynchronize", "cuMemAlloc", "cuMemFree", "cuMemHostAlloc"];
            assert!(own.clone().all(|l| bad.iter().all(|b| !l.starts_with(b))), "frame {frame}");
        }
        // The upload waits for no computing of the frame before: only for the one before that, which had its memory.
        assert!(
            fetches[frame - 1] < sent[frame] && lines[sent[frame] - 1].starts_with("cuStreamWaitEvent 1 for")
        );
        let graph = own.clone().filter(|l| l.starts_with("cuGraphLaunch")).count();
        // The decoder needs more memory than the steps: what was recorded before it came is recorded again.
        let recorded = if frame == 1 { 1 } else { 3 };
        assert_eq!(graph, recorded, "frame {frame}: two steps and the decoder, played from recordings");
    }
    for &at in &fetches {
        assert_eq!(lines[at - 2..at], ["cuEventRecord on 0", "cuStreamWaitEvent 2 for 0"]);
        assert_eq!(lines[at + 1], "cuEventRecord on 2");
    }
    for &at in &sent {
        assert_eq!(lines[at + 1..at + 3], ["cuEventRecord on 1", "cuStreamWaitEvent 0 for 1"]);
    }
}

#[test]
#[ignore = "needs the emulated driver"]
fn a_bench_names_operations() {
    let mut options = Options::default();
    (options.device, options.steps) = ("cuda".to_owned(), 1);
    let upscaler = Upscaler::new(&options).unwrap();
    let report = upscaler.bench((13, 9), &options, 1, &CancelToken::new()).unwrap();
    assert_eq!(report.stages.len(), 2);
    for stage in &report.stages {
        assert!(stage.ops.iter().any(|op| op.op.starts_with("conv2d 3x3") && op.ms > 0.0 && op.gflop > 0.0));
        assert!(!stage.parts.is_empty());
    }
}
