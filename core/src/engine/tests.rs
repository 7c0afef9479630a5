//! The shipped model through the engine's parts, against what PyTorch gave for the same weights.

#[cfg(feature = "cuda")]
mod gpu;
mod reading;
mod resident;
mod stream;
mod tiles;

use super::*;
use crate::engine::locate::model_roots;
use crate::engine::plans::{Part, Plans};
use crate::exec::{Executor, Prepared, Weights, all_executors};
use crate::graph::Graph;
use crate::options::Options;
use crate::pixels::canvas::Canvas;
use crate::pixels::resample::bicubic_up;
use crate::pixels::{ColorInfo, Frame, PixelFormat};
use crate::weights::{Manifest, Store, WeightSource, find_model};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// PyTorch and this code may differ by this, relative to the largest value.
const LIMIT: f32 = 1e-3;

fn worst(name: &str, found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let top = wanted.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let off = found.iter().zip(wanted).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    let relative = off / top.max(1e-12);
    assert!(relative <= LIMIT, "{name}: {relative:.2e} off");
    relative
}

#[test]
fn vector_native_agrees_with_training() {
    let folder = find_model(Some("photo"), None, &model_roots()).unwrap();
    let manifest = Manifest::read(&folder).unwrap();
    let file = match std::env::var_os("SSMOESR_VECTORS_NATIVE") {
        Some(folder) => Path::new(&folder).join("native.safetensors"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/native/native.safetensors"),
    };
    let vectors = Store::open(&[file]).unwrap();
    let get = |name: &str| {
        let shape = vectors.tensor(name).unwrap_or_else(|| panic!("{name} is missing")).shape.to_vec();
        (vectors.read_f32(name, &shape).unwrap(), shape)
    };
    let cases: Vec<String> =
        vectors.names().iter().filter_map(|n| n.strip_suffix(".lr").map(str::to_owned)).collect();
    assert!(cases.len() >= 2, "{cases:?}");
    let stop = AtomicBool::new(false);
    for (device, executor) in all_executors() {
        let mut plans = Plans::new(&manifest, &folder, executor);
        for case in &cases {
            let (lr, shape) = get(&format!("{case}.lr"));
            let (h, w) = (shape[2], shape[3]);
            for t in 1..=4usize {
                let (mut x, shape) = get(&format!("{case}.x{t}"));
                let variance = f64::from([0.0f32, 0.01, 0.2705, 0.579_703, 0.9801][t]);
                let scale = if t == 4 { 0.0 } else { 1.0 / (4.0 * variance + 1.0).sqrt() as f32 };
                x.iter_mut().for_each(|v| *v *= scale);
                let mut out = vec![0.0; x.len()];
                let (graph, weights) = plans.get((Part::Denoiser, 1, h, w), t - 1, &stop).unwrap();
                graph.run(weights, &[&x, &lr], &mut [&mut out], &stop, None).unwrap();
                let (wanted, _) = get(&format!("{case}.x0_{t}"));
                let off = worst(&format!("{device} {case} expert {t} {shape:?}"), &out, &wanted);
                eprintln!("{device} {case} expert {t}: {off:.1e}");
            }
            let (z, _) = get(&format!("{case}.z"));
            let (picture, _) = get(&format!("{case}.picture"));
            let mut out = vec![0.0; picture.len()];
            let (graph, weights) = plans.get((Part::Decoder, 1, h, w), 0, &stop).unwrap();
            graph.run(weights, &[&z, &lr], &mut [&mut out], &stop, None).unwrap();
            let base = Canvas::from_data(3, w, h, lr).unwrap();
            let base = bicubic_up(&base, 4, 0..h * 4).unwrap();
            out.iter_mut().zip(base.data()).for_each(|(o, b)| *o += b);
            let off = worst(&format!("{device} {case} picture"), &out, &picture);
            eprintln!("{device} {case} picture: {off:.1e}");
        }
    }
}

/// A picture with edges, texture and a gradient.
fn scene(width: u32, height: u32) -> Frame {
    let mut frame = Frame::new(PixelFormat::Rgb8, width, height, ColorInfo::default()).unwrap();
    for (i, px) in frame.plane_mut(0).chunks_exact_mut(3).enumerate() {
        let (x, y) = (i as u32 % width, i as u32 / width);
        let edge = if (x + 2 * y) % 23 < 9 { 70 } else { 0 };
        px.copy_from_slice(&[(x * 3 % 256) as u8, (40 + edge + (x * y) % 13) as u8, (y * 5 % 256) as u8]);
    }
    frame
}

fn enlarge(upscaler: &Upscaler, input: &Frame, options: &Options) -> Frame {
    let (w, h) = upscaler.output_size(input.width(), input.height(), options.scale).unwrap();
    let mut out = Frame::new(input.format(), w, h, input.color()).unwrap();
    let mut seen = Vec::new();
    let mut progress = |p: Progress| {
        seen.push(p);
        ControlFlow::Continue(())
    };
    upscaler.run(&input.view(), &mut out.view_mut(), options, &mut progress, &CancelToken::new()).unwrap();
    let last = seen.last().unwrap();
    assert_eq!(last.done, last.total);
    // A frame that is begun again with smaller tiles counts anew.
    assert!(seen.windows(2).all(|p| p[0].done + 1 == p[1].done || p[1].done == 0));
    out
}

fn psnr(a: &Frame, b: &Frame) -> f64 {
    let (a, b) = (a.plane(0), b.plane(0));
    let mse =
        a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / a.len() as f64;
    if mse == 0.0 { 99.0 } else { 10.0 * (255.0f64.powi(2) / mse).log10() }
}

#[test]
fn every_size_from_one_pixel_up_works_at_both_scales() {
    let upscaler = Upscaler::new(&Options::default()).unwrap();
    for (w, h) in [(1, 1), (1, 40), (33, 1), (17, 31)] {
        for scale in [4, 8] {
            let mut options = Options::default();
            options.scale = scale;
            let out = enlarge(&upscaler, &scene(w, h), &options);
            assert_eq!((out.width(), out.height()), (w * scale, h * scale));
        }
    }
}

#[test]
fn tiles_agree_with_the_whole() {
    let upscaler = Upscaler::new(&Options::default()).unwrap();
    let input = scene(150, 60);
    let mut options = Options::default();
    options.eta = 0.0;
    options.fidelity = 0.3;
    options.steps = 2;
    let whole = enlarge(&upscaler, &input, &options);
    options.tile_size = 96;
    let tiled = enlarge(&upscaler, &input, &options);
    let agreement = psnr(&whole, &tiled);
    eprintln!("tiled against whole: {agreement:.1} dB");
    assert!(agreement > 45.0, "{agreement:.1} dB");
}

#[test]
fn the_seed_decides_and_fidelity_one_is_one_step() {
    let upscaler = Upscaler::new(&Options::default()).unwrap();
    let input = scene(40, 24);
    let mut options = Options::default();
    options.steps = 4;
    options.fidelity = 0.0;
    options.eta = 1.0;
    let a = enlarge(&upscaler, &input, &options);
    assert_eq!(a, enlarge(&upscaler, &input, &options));
    options.seed = 1;
    assert_ne!(a, enlarge(&upscaler, &input, &options));
    options.fidelity = 1.0;
    let faithful = enlarge(&upscaler, &input, &options);
    options.steps = 1;
    options.fidelity = 0.0;
    options.seed = 7;
    assert_eq!(faithful, enlarge(&upscaler, &input, &options));
}

#[test]
fn cancel_and_progress_stop_the_work() {
    let upscaler = Upscaler::new(&Options::default()).unwrap();
    let input = scene(40, 24);
    let mut out = Frame::new(PixelFormat::Rgb8, 160, 96, ColorInfo::default()).unwrap();
    let options = Options::default();
    let token = CancelToken::new();
    token.cancel();
    let mut go_on = |_: Progress| ControlFlow::Continue(());
    let e = upscaler.run(&input.view(), &mut out.view_mut(), &options, &mut go_on, &token).unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
    token.reset();
    let mut no = |p: Progress| if p.done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let e = upscaler.run(&input.view(), &mut out.view_mut(), &options, &mut no, &token).unwrap_err();
    assert_eq!(e.kind(), crate::ErrorKind::Cancelled);
    upscaler.run(&input.view(), &mut out.view_mut(), &options, &mut go_on, &token).unwrap();
}

#[test]
fn the_picture_does_not_depend_on_threads() {
    let input = scene(70, 45);
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    options.steps = 2;
    options.fidelity = 0.5;
    options.tile_size = 96;
    let mut pictures = [1, 2, 3, 5].into_iter().map(|threads| {
        options.threads = threads;
        enlarge(&Upscaler::new(&options).unwrap(), &input, &options)
    });
    let first = pictures.next().unwrap();
    assert!(pictures.all(|p| p == first));
}

/// The CPU's executor on a machine that has no memory for graphs above a number of cells.
struct Small {
    inner: Arc<dyn Executor>,
    cells: usize,
    refused: Arc<AtomicUsize>,
}

impl Executor for Small {
    fn name(&self) -> &'static str {
        "small"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> crate::Result<Weights> {
        self.inner.load(graph, source)
    }

    fn prepare(&self, graph: Arc<Graph>) -> crate::Result<Box<dyn Prepared>> {
        let [_, _, h, w] = graph.shape(graph.inputs[0]);
        if h * w > self.cells {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(crate::Error::limit(format!("no memory for {w}x{h} cells")));
        }
        self.inner.prepare(graph)
    }
}

#[test]
fn tiles_shrink_where_memory_is_short() {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    let mut upscaler = Upscaler::new(&options).unwrap();
    let input = scene(300, 100);
    let whole = enlarge(&upscaler, &input, &options);
    for (cells, works) in [(200 * 128, true), (100 * 50, false)] {
        let folder = upscaler.info.folder.clone();
        let inner = crate::exec::executor("cpu", 1, None, "auto").unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        let plans = Plans::new(
            &upscaler.manifest,
            &folder,
            Arc::new(Small { inner, cells, refused: Arc::clone(&refused) }),
        );
        upscaler.plans = std::sync::Mutex::new(plans);
        if works {
            let tiled = enlarge(&upscaler, &input, &options);
            assert!(psnr(&whole, &tiled) > 45.0);
            // The next picture of this size begins with what worked.
            let tried = refused.load(Ordering::Relaxed);
            assert!(enlarge(&upscaler, &input, &options) == tiled);
            assert!(tried > 0 && refused.load(Ordering::Relaxed) == tried);
        } else {
            let mut out = Frame::new(PixelFormat::Rgb8, 1200, 400, ColorInfo::default()).unwrap();
            let mut go_on = |_: Progress| ControlFlow::Continue(());
            let e = upscaler
                .run(&input.view(), &mut out.view_mut(), &options, &mut go_on, &CancelToken::new())
                .unwrap_err();
            assert!(e.kind() == crate::ErrorKind::Limit && e.to_string().contains("cells"), "{e}");
        }
    }
}
