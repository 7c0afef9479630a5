//! Pictures that stay on a device: those of the processor to the bit, whatever goes in and comes out. The device is the twin of maps in memory.

use super::*;
use crate::error::ErrorKind;
use crate::exec::naive_maps::{Counts, WithMaps};
use crate::graph::Builder;
use crate::pixels::{ChromaSiting, Matrix, Range};
use crate::sampler::gaussian;
use crate::tiles::Order;
use crate::weights::HashWeights;

fn cpu() -> Options {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    options
}

/// An upscaler on maps that may have so many values, and how often those are used.
fn on_maps(room: usize) -> (Upscaler, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let mut upscaler = Upscaler::new(&cpu()).unwrap();
    let inner = upscaler.executor();
    let device = Arc::new(WithMaps { inner, noise: gaussian, counts: Arc::clone(&counts), room });
    upscaler.plans =
        std::sync::Mutex::new(Plans::new(&upscaler.manifest, &upscaler.info.folder.clone(), device));
    (upscaler, counts)
}

fn used(counts: &Counts) -> [usize; 3] {
    [&counts.sent, &counts.fetched, &counts.runs].map(|n| n.swap(0, Ordering::Relaxed))
}

const ALL: usize = usize::MAX;

/// A frame of bytes that follow from their place, whatever they mean; reals from 0 to 1 where samples are such.
fn filled(format: PixelFormat, width: u32, height: u32, color: ColorInfo) -> Frame {
    let mut frame = Frame::new(format, width, height, color).unwrap();
    for plane in 0..format.planes() {
        let bytes = frame.plane_mut(plane);
        if format.sample_bytes() == 4 {
            for (i, v) in bytes.chunks_exact_mut(4).enumerate() {
                v.copy_from_slice(&((i * 37 % 101) as f32 / 100.0).to_ne_bytes());
            }
        } else {
            bytes.iter_mut().enumerate().for_each(|(i, b)| *b = (i * 7 % 251 + i / 97 % 5) as u8);
        }
    }
    frame
}

#[test]
fn every_format_is_written_to_the_bit() {
    let plain = Upscaler::new(&cpu()).unwrap();
    let (device, counts) = on_maps(ALL);
    let color = |matrix, range, siting| ColorInfo { matrix, range, siting };
    let colors = [
        color(Matrix::Bt709, Range::Limited, ChromaSiting::Left),
        color(Matrix::Bt601, Range::Full, ChromaSiting::Center),
        color(Matrix::Bt2020, Range::Limited, ChromaSiting::TopLeft),
    ];
    let mut seen = 0;
    for (i, format) in PixelFormat::ALL.into_iter().enumerate() {
        let colors = if format.is_yuv() { &colors[..] } else { &colors[..1] };
        for color in colors {
            // Odd sides, and in one case tiles.
            let (w, h) = if i == 0 { (70, 71) } else { (13 + i as u32 % 3, 9 + i as u32 % 4) };
            let mut options = cpu();
            (options.tile_size, options.steps) = (96, 1);
            let input = filled(format, w, h, *color);
            let found = enlarge(&device, &input, &options);
            assert!(found == enlarge(&plain, &input, &options), "{format:?} {color:?}");
            let [sent, fetched, runs] = used(&counts);
            assert!((sent, fetched) == (1, 1) && runs == 2, "{format:?}: one upload, one download");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Alpha that hides colours, that shows them, and that is the same everywhere, alone and in a stream whose second frame changes nothing.
#[test]
fn alpha_is_the_processors_to_the_bit() {
    let plain = Upscaler::new(&cpu()).unwrap();
    let (device, counts) = on_maps(ALL);
    let device = Arc::new(device);
    let mut options = cpu();
    (options.steps, options.eta) = (1, 0.0);
    for (low, scale) in [(0, 4), (0, 8), (9, 4), (200, 4)] {
        options.scale = scale;
        let mut input = filled(PixelFormat::Bgra8, 23, 14, ColorInfo::default());
        let alpha = input.plane_mut(0).chunks_exact_mut(4).enumerate();
        alpha.for_each(|(i, px)| px[3] = if i % 23 < 9 { low } else { 200 });
        let wanted = enlarge(&plain, &input, &options);
        assert!(enlarge(&device, &input, &options) == wanted, "alpha of {low}, {scale} times");
        used(&counts);
        let mut stream = Stream::new(Arc::clone(&device));
        for i in 0..3 {
            if i == 2 {
                // One that can be seen.
                input.plane_mut(0)[4 * 9] ^= 0x40;
            }
            let mut out = Frame::new(PixelFormat::Bgra8, 23 * scale, 14 * scale, input.color()).unwrap();
            stream.run(&input.view(), &mut out.view_mut(), &options, &CancelToken::new()).unwrap();
            assert_eq!(used(&counts)[2], if i == 1 { 0 } else { 2 }, "frame {i}, alpha of {low}");
            let same = out == wanted;
            assert!(same == (i < 2) && (same || out == enlarge(&plain, &input, &options)), "frame {i}");
        }
    }
}

/// A published network whose decoder gives back what it reads at output size, and whose steps give what they read on the latent grid.
struct Echo;

struct EchoPlan(Arc<Graph>);

impl Executor for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> crate::Result<Weights> {
        let _ = (graph, source);
        crate::exec::executor("cpu", 1, None, "auto")?
            .load(&Builder::new().finish(&[]), &HashWeights::new(""))
    }

    fn prepare(&self, graph: Arc<Graph>) -> crate::Result<Box<dyn Prepared>> {
        Ok(Box::new(EchoPlan(graph)))
    }
}

impl Prepared for EchoPlan {
    fn graph(&self) -> &Graph {
        &self.0
    }

    fn run(
        &mut self,
        _: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        _: &AtomicBool,
        _: Option<&mut crate::exec::Visit<'_>>,
    ) -> crate::Result<()> {
        let name = |i: usize| self.0.nodes[self.0.inputs[i].index()].name.as_str();
        let wanted = if (0..inputs.len()).any(|i| name(i) == "lr_up") { "lr_up" } else { "lr" };
        let from = inputs[(0..inputs.len()).find(|i| name(*i) == wanted).unwrap()];
        outputs[0].iter_mut().zip(from.iter().cycle()).for_each(|(to, v)| *to = *v);
        Ok(())
    }
}

#[test]
fn what_published_decoders_read_is_made_on_the_device() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/published/small/config.json");
    let config = crate::weights::PublishedConfig::read(&folder).unwrap();
    let counts = Arc::<Counts>::default();
    let upscaler = |device: Arc<dyn Executor>| {
        let mut upscaler = Upscaler::new(&cpu()).unwrap();
        upscaler.manifest.network = crate::weights::Network::Published(config.network.clone());
        let folder = upscaler.info.folder.clone();
        upscaler.plans = std::sync::Mutex::new(Plans::new(&upscaler.manifest, &folder, device));
        upscaler
    };
    let plain = upscaler(Arc::new(Echo));
    let inner: Arc<dyn Executor> = Arc::new(Echo);
    let device =
        upscaler(Arc::new(WithMaps { inner, noise: gaussian, counts: Arc::clone(&counts), room: ALL }));
    let mut options = cpu();
    options.steps = 4;
    for (scale, fix) in [(4, "none"), (8, "none"), (4, "adain"), (8, "wavelet")] {
        (options.scale, options.colour_fix) = (scale, fix.to_owned());
        for format in [PixelFormat::Rgb8, PixelFormat::I420, PixelFormat::Rgba16, PixelFormat::RgbPF32] {
            let input = reading::noise(format, (37, 22), ColorInfo::default(), 5);
            let wanted = enlarge(&plain, &input, &options);
            assert!(enlarge(&device, &input, &options) == wanted, "{format:?}, {scale} times, {fix}");
            let [sent, fetched, runs] = used(&counts);
            assert!((sent, fetched) == (1, 1) && runs > 1);
        }
    }
}

#[test]
fn steps_tiles_batches_and_orders_give_the_processors_picture() {
    let plain = Upscaler::new(&cpu()).unwrap();
    let (mut device, counts) = on_maps(ALL);
    let input = scene(150, 140);
    let mut options = cpu();
    options.tile_size = 96;
    options.eta = 1.0;
    options.seed = 1 << 40 | 5;
    for (steps, fidelity, scale, fix) in
        [(2, 0.5, 4, "none"), (1, 0.4, 4, "none"), (3, 0.0, 4, "adain"), (1, 1.0, 8, "wavelet")]
    {
        (options.steps, options.fidelity, options.scale) = (steps, fidelity, scale);
        options.colour_fix = fix.to_owned();
        let input = if scale == 8 { scene(60, 70) } else { input.clone() };
        let wanted = enlarge(&plain, &input, &options);
        for (order, batch) in
            [(Order::Rows, 1), (Order::Rows, 4), (Order::Backwards, 1), (Order::Shuffled(3), 3)]
        {
            (device.tune.order, device.tune.batch) = (order, batch);
            used(&counts);
            let found = enlarge(&device, &input, &options);
            assert!(found == wanted, "{steps} steps, {fidelity}, {fix}, {order:?}, {batch} at once");
            let [sent, fetched, runs] = used(&counts);
            assert_eq!((sent, fetched), (1, 1));
            assert!(runs > steps as usize);
        }
    }
}

#[test]
fn streams_keep_results_on_the_device() {
    let (upscaler, counts) = on_maps(ALL);
    let (upscaler, plain) = (Arc::new(upscaler), Arc::new(Upscaler::new(&cpu()).unwrap()));
    let mut options = cpu();
    options.steps = 2;
    options.fidelity = 0.4;
    options.tile_size = 96;
    let (mut stream, mut other) = (Stream::new(Arc::clone(&upscaler)), Stream::new(plain));
    for (i, x) in [10, 10, 11, 150].into_iter().enumerate() {
        let mut input = scene(170, 90);
        input.plane_mut(0)[x * 3] ^= 0x55;
        let run = |stream: &mut Stream| {
            let mut out = Frame::new(PixelFormat::Rgb8, 680, 360, ColorInfo::default()).unwrap();
            stream.run(&input.view(), &mut out.view_mut(), &options, &CancelToken::new()).unwrap();
            out
        };
        assert!(run(&mut stream) == run(&mut other), "frame {i}");
        assert_eq!(stream.stats(), other.stats());
        let [_, _, runs] = used(&counts);
        assert!(if i == 1 { runs == 0 } else { runs > 0 }, "frame {i}: {runs} runs");
        // A picture in between takes its own way.
        enlarge(&upscaler, &scene(33, 20), &options);
        used(&counts);
    }
}

#[test]
fn what_has_no_room_goes_tile_by_tile() {
    let input = scene(40, 30);
    let wanted = enlarge(&Upscaler::new(&cpu()).unwrap(), &input, &cpu());
    let (device, counts) = on_maps(1000);
    assert!(enlarge(&device, &input, &cpu()) == wanted);
    assert_eq!(used(&counts), [0; 3]);
    let mut options = cpu();
    options.tile_mode = "independent".to_owned();
    let (device, counts) = on_maps(ALL);
    enlarge(&device, &input, &options);
    assert_eq!(used(&counts), [0; 3]);
}

#[test]
fn a_stream_without_room_for_old_results_computes_all() {
    let input = scene(150, 60);
    let mut options = cpu();
    (options.tile_size, options.eta) = (96, 0.0);
    // What a frame needs, and nothing for what its tiles gave.
    let upscaler = Arc::new(on_maps(ALL).0);
    let wanted = enlarge(&upscaler, &input, &options);
    let held = upscaler.plans.lock().unwrap().resident.as_ref().unwrap().held();
    let (device, counts) = on_maps(held);
    let mut stream = Stream::new(Arc::new(device));
    for _ in 0..2 {
        let mut out = Frame::new(PixelFormat::Rgb8, 600, 240, ColorInfo::default()).unwrap();
        stream.run(&input.view(), &mut out.view_mut(), &options, &CancelToken::new()).unwrap();
        assert!(out == wanted);
        assert!(used(&counts)[2] > 0);
    }
}

#[test]
fn networks_that_fail_and_cancelled_work_leave_no_picture() {
    let input = scene(150, 40);
    let mut options = cpu();
    options.tile_size = 96;
    for (value, words) in [(f32::NAN, "not finite"), (-9.0, "one colour"), (7.0, "one colour")] {
        let (mut upscaler, counts) = on_maps(ALL);
        let inner = crate::exec::executor("cpu", 1, None, "auto").unwrap();
        let broken = Arc::new(tiles::Broken { inner, value });
        let device = Arc::new(WithMaps { inner: broken, noise: gaussian, counts, room: ALL });
        upscaler.plans =
            std::sync::Mutex::new(Plans::new(&upscaler.manifest, &upscaler.info.folder.clone(), device));
        let mut out = Frame::new(PixelFormat::Rgb8, 600, 160, ColorInfo::default()).unwrap();
        let mut go_on = |_: Progress| ControlFlow::Continue(());
        let e = upscaler
            .run(&input.view(), &mut out.view_mut(), &options, &mut go_on, &CancelToken::new())
            .unwrap_err();
        let text = e.to_string();
        assert!(
            e.kind() == ErrorKind::Internal && text.contains("tile 1 of") && text.contains(words),
            "{text}"
        );
    }
    let (upscaler, _) = on_maps(ALL);
    let mut out = Frame::new(PixelFormat::Rgb8, 600, 160, ColorInfo::default()).unwrap();
    let mut no = |p: Progress| if p.done > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let token = CancelToken::new();
    let e = upscaler.run(&input.view(), &mut out.view_mut(), &options, &mut no, &token).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
    let plain = enlarge(&Upscaler::new(&cpu()).unwrap(), &input, &options);
    assert!(enlarge(&upscaler, &input, &options) == plain);
}

/// Frames of a film, the square at another place each time.
fn film() -> Vec<Frame> {
    let places = [10, 10, 30, 90, 90, 91];
    let one = |x: u32| {
        let mut frame = scene(120, 50);
        frame.plane_mut(0)[x as usize * 3] ^= 0x7f;
        frame
    };
    places.into_iter().map(one).collect()
}

fn out() -> Frame {
    Frame::new(PixelFormat::Rgb8, 480, 200, ColorInfo::default()).unwrap()
}

#[test]
fn frames_begun_ahead_are_those_of_their_turn() {
    let film = film();
    let mut options = cpu();
    options.steps = 2;
    options.fidelity = 0.3;
    options.tile_size = 96;
    let (upscaler, counts) = on_maps(ALL);
    let upscaler = Arc::new(upscaler);
    let token = CancelToken::new();
    let mut plain = Stream::new(Arc::new(Upscaler::new(&cpu()).unwrap()));
    let wanted: Vec<Frame> = film
        .iter()
        .map(|f| {
            assert!(!plain.begin(&f.view(), &options, &token).unwrap(), "a processor has no time to spare");
            let mut out = out();
            plain.run(&f.view(), &mut out.view_mut(), &options, &token).unwrap();
            out
        })
        .collect();
    // Another stream goes on beside it.
    let mut beside = Stream::new(Arc::clone(&upscaler));
    let mut stream = Stream::new(Arc::clone(&upscaler));
    assert!(stream.begin(&film[0].view(), &options, &token).unwrap());
    used(&counts);
    for (i, frame) in film.iter().enumerate() {
        if let Some(next) = film.get(i + 1) {
            assert!(stream.begin(&next.view(), &options, &token).unwrap());
            assert!(!stream.begin(&next.view(), &options, &token).unwrap(), "two are enough");
            assert_eq!(stream.begun(), 2);
        }
        let mut found = out();
        beside.run(&film[5 - i].view(), &mut found.view_mut(), &options, &token).unwrap();
        assert!(found == wanted[5 - i], "beside, frame {i}");
        used(&counts);
        stream.run(&frame.view(), &mut found.view_mut(), &options, &token).unwrap();
        assert!(found == wanted[i], "frame {i}");
        assert_eq!(used(&counts), [0; 3], "all of frame {i} was asked for before its turn");
    }
    assert_eq!(stream.stats(), plain.stats());
}

#[test]
fn what_was_begun_and_is_not_wanted_any_more_is_let_go() {
    let film = film();
    let (upscaler, counts) = on_maps(ALL);
    let upscaler = Arc::new(upscaler);
    let token = CancelToken::new();
    let wanted: Vec<Frame> = film.iter().map(|f| enlarge(&upscaler, f, &stream_options(1))).collect();
    let open = || upscaler.plans.lock().unwrap().resident.as_ref().unwrap().open();
    let mut stream = Stream::new(Arc::clone(&upscaler));
    let run = |stream: &mut Stream, i: usize, options: &Options| {
        let mut out = out();
        stream.run(&film[i].view(), &mut out.view_mut(), options, &token).unwrap();
        out
    };
    // A seek, other options, a picture of another size, the stream's end.
    let options = stream_options(1);
    assert!(stream.begin(&film[0].view(), &options, &token).unwrap());
    stream.reset();
    assert!(run(&mut stream, 3, &options) == wanted[3]);
    assert!(stream.begin(&film[1].view(), &options, &token).unwrap());
    let two = stream_options(2);
    assert!(!stream.begin(&film[2].view(), &two, &token).unwrap());
    let other = run(&mut stream, 2, &two);
    assert!(other == enlarge(&upscaler, &film[2], &two) && other != wanted[2]);
    assert!(stream.begin(&film[1].view(), &options, &token).unwrap());
    let small = scene(20, 10);
    let mut large = Frame::new(PixelFormat::Rgb8, 80, 40, ColorInfo::default()).unwrap();
    stream.run(&small.view(), &mut large.view_mut(), &options, &token).unwrap();
    assert!(large == enlarge(&upscaler, &small, &options));
    assert!(stream.begin(&film[4].view(), &options, &token).unwrap());
    assert_eq!(open(), 1);
    drop(stream);
    enlarge(&upscaler, &small, &options);
    assert_eq!(open(), 0);
    // Work that failed gives up everything that was begun: it is done again.
    let mut stream = Stream::new(Arc::clone(&upscaler));
    assert!(stream.begin(&film[0].view(), &options, &token).unwrap());
    upscaler.plans.lock().unwrap().resident.as_mut().unwrap().drain();
    used(&counts);
    assert!(run(&mut stream, 0, &options) == wanted[0] && used(&counts)[1] == 1);
    // Colours that are matched over all of a picture need the host.
    let mut matched = stream_options(1);
    matched.colour_fix = "adain".to_owned();
    assert!(!stream.begin(&film[0].view(), &matched, &token).unwrap());
    assert!(run(&mut stream, 0, &matched) == enlarge(&upscaler, &film[0], &matched));
}

fn stream_options(steps: u32) -> Options {
    let mut options = cpu();
    (options.steps, options.eta, options.fidelity) = (steps, 0.0, 0.0);
    options
}

/// The processor as a device with memory of its own, which refuses calls for more tiles than that.
struct Roomy {
    inner: Arc<dyn Executor>,
    free: u64,
    most: usize,
    seen: Arc<std::sync::Mutex<Vec<usize>>>,
}

impl Executor for Roomy {
    fn name(&self) -> &'static str {
        "roomy"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> crate::Result<Weights> {
        self.inner.load(graph, source)
    }

    fn bytes(&self, graph: Graph) -> u64 {
        self.inner.bytes(graph)
    }

    fn free(&self) -> Option<u64> {
        Some(self.free)
    }

    fn prepare(&self, graph: Arc<Graph>) -> crate::Result<Box<dyn Prepared>> {
        let [tiles, ..] = graph.shape(graph.outputs[0]);
        self.seen.lock().unwrap().push(tiles);
        if tiles > self.most {
            return Err(crate::Error::limit(format!("no memory for {tiles} tiles")));
        }
        self.inner.prepare(graph)
    }
}

#[test]
fn devices_get_as_many_tiles_at_once_as_their_memory_allows() {
    let mut options = cpu();
    options.tile_size = 96;
    let input = scene(330, 40);
    let mut upscaler = Upscaler::new(&options).unwrap();
    let wanted = enlarge(&upscaler, &input, &options);
    let settings = settings::Settings::resolve(&options, &upscaler.manifest).unwrap();
    let grid = upscaler.grid((64, 352), 96, &settings).unwrap();
    assert_eq!(grid.len(), 9);
    let bytes = |n| upscaler.tile_bytes(&grid, n).unwrap().unwrap();
    let cases = [
        (2 * bytes(5), 9, vec![5, 4]),
        (2 * bytes(5) - 2, 9, vec![3]),
        (2 * bytes(3) - 2, 9, vec![2, 1]),
        (2 * bytes(2) - 2, 9, vec![1]),
        // What was promised is not there.
        (2 * bytes(5), 4, vec![5, 1]),
    ];
    let plain = upscaler.executor();
    for (free, most, tiles) in cases {
        let (inner, seen) = (Arc::clone(&plain), Arc::default());
        let device: Arc<dyn Executor> = Arc::new(Roomy { inner, free, most, seen: Arc::clone(&seen) });
        let folder = upscaler.info.folder.clone();
        upscaler.plans = std::sync::Mutex::new(Plans::new(&upscaler.manifest, &folder, Arc::clone(&device)));
        upscaler.compute_on(device);
        assert!(enlarge(&upscaler, &input, &options) == wanted);
        let mut found = seen.lock().unwrap().clone();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        assert_eq!(found, tiles);
        // The next picture begins with what worked.
        seen.lock().unwrap().clear();
        assert!(enlarge(&upscaler, &input, &options) == wanted);
        assert!(seen.lock().unwrap().is_empty());
    }
}
