//! Tiles: no order, batch or size of them shows.

use super::*;
use crate::engine::paint::TILE_SIDES;
use crate::error::ErrorKind;
use crate::exec::Visit;
use crate::tiles::Order;

fn cpu() -> Options {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    options
}

#[test]
fn order_batch_and_threads_change_no_bit() {
    let input = scene(150, 140);
    let mut options = cpu();
    options.steps = 2;
    options.fidelity = 0.5;
    options.tile_size = 96;
    for mode in ["joint", "independent"] {
        options.tile_mode = mode.to_owned();
        options.threads = 2;
        let mut upscaler = Upscaler::new(&options).unwrap();
        let first = enlarge(&upscaler, &input, &options);
        for (order, batch) in [(Order::Columns, 1), (Order::Rows, 2), (Order::Shuffled(3), 4)] {
            (upscaler.tune.order, upscaler.tune.batch) = (order, batch);
            assert!(enlarge(&upscaler, &input, &options) == first, "{mode} {order:?} {batch}");
        }
        options.threads = 1;
        upscaler = Upscaler::new(&options).unwrap();
        upscaler.tune.batch = 3;
        assert!(enlarge(&upscaler, &input, &options) == first, "{mode}, one thread");
    }
}

/// Gray or colours as functions of the place, 8 bit.
fn painted(width: u32, height: u32, paint: impl Fn(u32, u32) -> [u8; 3]) -> Frame {
    let mut frame = Frame::new(PixelFormat::Rgb8, width, height, ColorInfo::default()).unwrap();
    for (i, px) in frame.plane_mut(0).chunks_exact_mut(3).enumerate() {
        px.copy_from_slice(&paint(i as u32 % width, i as u32 / width));
    }
    frame
}

/// Columns (or rows) of the result at which tiles of `side` meet: the middle of what they share.
fn borders(length: usize, side: usize) -> Vec<usize> {
    let upscaler = Upscaler::new(&cpu()).unwrap();
    let mut options = cpu();
    options.tile_size = side as u32;
    let settings = settings::Settings::resolve(&options, &upscaler.manifest).unwrap();
    let grid = upscaler.grid((32, length.next_multiple_of(32)), side, &settings).unwrap();
    let tiles: Vec<_> = grid.tiles(Order::Rows).collect();
    tiles.windows(2).map(|t| 2 * (t[0].rect.x + t[0].rect.w + t[1].rect.x)).collect()
}

#[test]
fn flat_and_smooth_pictures_have_no_step_at_a_border() {
    let mut options = cpu();
    options.tile_size = 96;
    let upscaler = Upscaler::new(&options).unwrap();
    let (w, h) = (420, 70);
    let at = borders(w as usize, 96);
    assert!(at.len() >= 6, "{at:?}");
    let flat = |level: u8| painted(w, h, move |_, _| [level, 255 - level, level / 2]);
    let ramp =
        painted(w, h, |x, y| [(x * 255 / w) as u8, (y * 255 / h) as u8, ((x + y) * 255 / (w + h)) as u8]);
    for (name, input) in [("dark", flat(10)), ("middle", flat(127)), ("ramp", ramp)] {
        let out = enlarge(&upscaler, &input, &options);
        // Against the whole: what a border adds to what the picture itself does there.
        let mut whole_options = options.clone();
        whole_options.tile_size = 512;
        let whole = enlarge(&upscaler, &input, &whole_options);
        let sample =
            |f: &Frame, x: usize, y: usize, c: usize| i32::from(f.plane(0)[(y * 4 * w as usize + x) * 3 + c]);
        for &x in &at {
            for y in 0..h as usize * 4 {
                for c in 0..3 {
                    for x in x - 36..x + 36 {
                        let step = |f: &Frame| sample(f, x, y, c) - sample(f, x - 1, y, c);
                        assert!((step(&out) - step(&whole)).abs() <= 1, "{name}: step at {x}, {y}");
                    }
                }
            }
        }
    }
}

/// Mean absolute difference across the columns `at`.
fn across(frame: &Frame, at: impl Iterator<Item = usize>) -> f64 {
    let (w, row) = (frame.width() as usize, frame.plane(0));
    let (mut sum, mut count) = (0.0, 0.0);
    for x in at {
        for y in 0..frame.height() as usize {
            for c in 0..3 {
                let v = |x: usize| f64::from(row[(y * w + x) * 3 + c]);
                sum += (v(x) - v(x - 1)).abs();
                count += 1.0;
            }
        }
    }
    sum / count
}

#[test]
fn texture_is_as_rough_at_borders_as_elsewhere() {
    let mut options = cpu();
    options.tile_size = 96;
    let upscaler = Upscaler::new(&options).unwrap();
    let (w, h) = (1600, 64);
    // Noise that is the same everywhere, so that one place is as good as another.
    let input = painted(w, h, |x, y| {
        let n = (x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77)).wrapping_mul(0xC2B2_AE3D);
        let n = n ^ n >> 15;
        [90 + (n % 64) as u8, 90 + (n >> 8 & 63) as u8, 90 + (n >> 16 & 63) as u8]
    });
    let out = enlarge(&upscaler, &input, &options);
    let at = borders(w as usize, 96);
    assert!(at.len() >= 40, "{} borders", at.len());
    // Lines of every phase of the pixels, for the result repeats with them.
    let near = |x: usize| (x - 8)..(x + 8);
    let here = across(&out, at.iter().flat_map(|&x| near(x)));
    let third = 4 * 96 / 3 / 4 * 4;
    let there = across(&out, at.iter().flat_map(|&x| near(x + third)));
    let ratio = here / there;
    eprintln!("roughness at {} borders over elsewhere: {ratio:.4}", at.len());
    assert!((0.97..=1.03).contains(&ratio), "{ratio:.4}");
}

#[test]
fn a_region_alone_is_the_region_of_the_whole() {
    let upscaler = Upscaler::new(&cpu()).unwrap();
    let input = scene(224, 160);
    let whole = enlarge(&upscaler, &input, &cpu());
    // From a corner on the lattice, with context of 32 pixels around what is compared.
    let (x0, y0, w, h) = (64, 32, 128, 96);
    let part = painted(w, h, |x, y| {
        let at = ((y + y0) * 224 + x + x0) as usize * 3;
        [input.plane(0)[at], input.plane(0)[at + 1], input.plane(0)[at + 2]]
    });
    let alone = enlarge(&upscaler, &part, &cpu());
    let mut sum = 0.0;
    let mut count = 0.0;
    for y in 32 * 4..(h - 32) * 4 {
        for x in 32 * 4..(w - 32) * 4 {
            for c in 0..3 {
                let a = whole.plane(0)[(((y + y0 * 4) * 224 * 4 + x + x0 * 4) * 3 + c) as usize];
                let b = alone.plane(0)[((y * w * 4 + x) * 3 + c) as usize];
                sum += (f64::from(a) - f64::from(b)).powi(2);
                count += 1.0;
            }
        }
    }
    let psnr = 10.0 * (255.0f64.powi(2) * count / sum.max(1e-9)).log10();
    eprintln!("a region alone against the whole: {psnr:.1} dB");
    assert!(psnr > 45.0, "{psnr:.1} dB");
}

#[test]
fn colours_keep_their_mean() {
    let upscaler = Upscaler::new(&cpu()).unwrap();
    let gray = painted(128, 64, |x, _| [(x * 2) as u8; 3]);
    let patches = painted(128, 64, |x, y| {
        let bits = x / 16 + y / 32 * 8;
        [0, 1, 2].map(|c| if bits >> c & 1 == 1 { 235 } else { 20 })
    });
    for (name, input) in [("ramp", gray), ("patches", patches), ("scene", scene(128, 64))] {
        for scale in [4u32, 8] {
            let mut options = cpu();
            options.scale = scale;
            let out = enlarge(&upscaler, &input, &options);
            for c in 0..3 {
                let mean = |f: &Frame| {
                    let values = f.plane(0).iter().skip(c).step_by(3);
                    values.map(|v| f64::from(*v)).sum::<f64>() / (f.plane(0).len() / 3) as f64
                };
                let off = mean(&out) - mean(&input);
                assert!(off.abs() < 0.5, "{name} x{scale} channel {c}: {off:.3}");
            }
        }
    }
}

/// The CPU's executor with a device that spoils what comes out of large graphs.
pub(super) struct Broken {
    pub(super) inner: Arc<dyn Executor>,
    pub(super) value: f32,
}

struct BrokenPlan {
    inner: Box<dyn Prepared>,
    value: f32,
}

impl Executor for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn load(&self, graph: &Graph, source: &dyn WeightSource) -> crate::Result<Weights> {
        self.inner.load(graph, source)
    }

    fn prepare(&self, graph: Arc<Graph>) -> crate::Result<Box<dyn Prepared>> {
        Ok(Box::new(BrokenPlan { inner: self.inner.prepare(graph)?, value: self.value }))
    }
}

impl Prepared for BrokenPlan {
    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        visit: Option<&mut Visit<'_>>,
    ) -> crate::Result<()> {
        self.inner.run(weights, inputs, outputs, stop, visit)?;
        outputs.iter_mut().for_each(|o| o.fill(self.value));
        Ok(())
    }
}

#[test]
fn a_network_that_fails_is_an_error_and_not_a_picture() {
    for (value, words) in [(f32::NAN, "not finite"), (-9.0, "one colour"), (7.0, "one colour")] {
        let mut upscaler = Upscaler::new(&cpu()).unwrap();
        let inner = crate::exec::executor("cpu", 1, None, "auto").unwrap();
        let folder = upscaler.info.folder.clone();
        let plans = Plans::new(&upscaler.manifest, &folder, Arc::new(Broken { inner, value }));
        upscaler.plans = std::sync::Mutex::new(plans);
        let mut options = cpu();
        options.tile_size = 96;
        let mut stream = Stream::new(Arc::new(upscaler));
        let mut out = Frame::new(PixelFormat::Rgb8, 4 * 150, 4 * 40, ColorInfo::default()).unwrap();
        let input = scene(150, 40);
        let e = stream.run(&input.view(), &mut out.view_mut(), &options, &CancelToken::new()).unwrap_err();
        let text = e.to_string();
        assert_eq!(e.kind(), ErrorKind::Internal);
        assert!(text.contains("frame 0") && text.contains("tile 1 of") && text.contains(words), "{text}");
    }
}

#[test]
fn a_plan_is_numbers_and_needs_no_memory() {
    let upscaler = Upscaler::new(&cpu()).unwrap();
    let mut options = cpu();
    let small = upscaler.plan(480, 270, &options).unwrap();
    assert_eq!((small.output, small.tiles, small.units), ((1920, 1080), 1, small.steps + 1));
    let large = upscaler.plan(60_000, 50_000, &options).unwrap();
    assert!(large.tiles > 10_000 && large.working_bytes <= 1 << 30, "{large:?}");
    // The picture's own part grows with it, a tile's does not.
    let double = upscaler.plan(120_000, 50_000, &options).unwrap();
    assert_eq!(double.working_bytes, large.working_bytes);
    assert!(double.frame_bytes < 2 * large.frame_bytes + (1 << 20));
    // What the documents promise for a picture of 8192x8192.
    let promised = upscaler.plan(2048, 2048, &cpu()).unwrap();
    assert!(promised.bytes() <= 2 << 30, "{promised:?}");
    for side in TILE_SIDES {
        options.tile_size = side as u32;
        let (w, h) = upscaler.plan(5000, 4000, &options).unwrap().tile;
        assert!(w.max(h) <= side as u32 && w.min(h) + 64 > side as u32, "{w}x{h} for {side}");
    }
}

#[test]
fn tiles_share_what_is_asked_for() {
    let upscaler = Upscaler::new(&cpu()).unwrap();
    let shared = |overlap: u32, side: usize| {
        let mut options = cpu();
        options.tile_overlap = overlap;
        let settings = settings::Settings::resolve(&options, &upscaler.manifest).unwrap();
        let tiles: Vec<_> =
            upscaler.grid((32, 1024), side, &settings).unwrap().tiles(Order::Rows).map(|t| t.rect).collect();
        tiles.windows(2).map(|t| t[0].x + t[0].w - t[1].x).collect::<Vec<_>>()
    };
    // The last tile ends with the picture, so it may share more.
    for (overlap, least) in [(0, 64), (16, 16), (64, 64), (128, 128)] {
        let shared = shared(overlap, 192);
        assert!(shared[0] >= least && shared[0] < least + 64, "{overlap}: {shared:?}");
    }
    // A tile that is no longer than what it shares grows.
    assert!(shared(256, 96).iter().all(|s| *s >= 256));
    // Nothing shared is too little for a picture without borders, but it is one.
    let (mut options, input) = (cpu(), scene(150, 40));
    options.tile_size = 96;
    options.tile_overlap = 8;
    let few = enlarge(&upscaler, &input, &options);
    options.tile_overlap = 0;
    assert!(few.width() == 600 && few != enlarge(&upscaler, &input, &options));
}

#[test]
fn a_precision_that_the_device_lacks_is_refused() {
    let mut options = cpu();
    options.precision = "f32".to_owned();
    assert!(Upscaler::new(&options).is_ok());
    options.precision = "bf16".to_owned();
    let error = Upscaler::new(&options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Option);
    assert!(error.to_string().contains("bf16") && error.to_string().contains("`cpu`"), "{error}");
    assert!(Upscaler::check(&options).is_err() && Upscaler::shared(&options).is_err());
}
