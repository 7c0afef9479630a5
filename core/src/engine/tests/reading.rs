//! Frames that a device reads itself: what it makes of them is what the processor makes of them, to the bit.

use super::*;
use crate::engine::given::{Given, Opacity};
use crate::engine::layout::{Layout, Scene};
use crate::engine::picture::Job;
use crate::engine::samples::{Samples, Way};
use crate::exec::maps::{Maps, Room, Table};
use crate::exec::naive_maps::{Counts, NaiveMaps};
use crate::model::ConditionResize;
use crate::pixels::alpha::{Alpha, look};
use crate::pixels::{ChromaSiting, Matrix, Range};
use crate::sampler::gaussian;
use crate::tiles::TileGrid;
use std::collections::VecDeque;

/// Bytes that look like noise; reals below 0, above 1 and in between where samples are such.
pub(super) fn noise(format: PixelFormat, (width, height): (u32, u32), color: ColorInfo, seed: u32) -> Frame {
    let mut frame = Frame::new(format, width, height, color).unwrap();
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    for plane in 0..format.planes() {
        for bytes in frame.plane_mut(plane).chunks_mut(4) {
            let real = (next() as f32 / 65536.0 * 3.0 - 1.0).to_ne_bytes();
            let word = (next() << 16 | next()).to_ne_bytes();
            let word = if format.sample_bytes() == 4 { real } else { word };
            bytes.iter_mut().zip(word).for_each(|(b, w)| *b = w);
        }
    }
    frame
}

/// Values of a room.
fn values(maps: &mut dyn Maps, room: &Room, at: usize, len: usize) -> Vec<f32> {
    let ticket = maps.fetch(Table { room, at, len }).unwrap();
    let mut all = Vec::new();
    let mut read = |v: &[f32]| {
        all = v.to_vec();
        Ok(())
    };
    maps.take(ticket, &mut read).unwrap();
    all
}

/// Has a device read a frame, and holds all that it makes of it to the processor's.
fn agrees(maps: &mut dyn Maps, frame: &Frame, way: Way, name: &str) {
    let view = frame.view();
    let mut samples = Samples::default();
    samples.make(&view, &way).unwrap();
    let alpha = look(&view).unwrap();
    let hidden = alpha == Some(Alpha::Hidden);
    let size = way.condition();
    let grid = TileGrid::new(size, size, 0, 0, 1).unwrap();
    let (fine, stop, nothing) = (grid.scale(4), AtomicBool::new(false), Canvas::default());
    let job = Job {
        condition: &nothing,
        guide: None,
        steps: &[],
        start_noise: 1.0,
        fidelity: 0.0,
        seed: 1,
        origin: (0, 0),
        latent_channels: 4,
        grid: &grid,
        fine: &fine,
        order: &[0],
        batch: 1,
        stop: &stop,
    };
    let scene = Scene {
        job: &job,
        way,
        given: if hidden { Given::Samples(&samples.lr, &samples.alpha) } else { Given::Frame(&view) },
        alpha: alpha.map(|a| if let Alpha::Constant(v) = a { Opacity::Constant(v) } else { Opacity::Varies }),
        whole: false,
        format: frame.format(),
        color: frame.color(),
        size: (way.width * way.scale, way.height * way.scale),
    };
    let layout = Layout::of(&scene);
    let room = maps.room(layout.len).unwrap();
    maps.send(&room, layout.sent, &mut |out| layout.write(&scene, out)).unwrap();
    layout.read(maps, &room, &scene).unwrap();
    let mut same = |what: &str, at: usize, wanted: &Canvas| {
        let found = values(maps, &room, at, wanted.data().len());
        let off = found.iter().zip(wanted.data()).position(|(a, b)| a.to_bits() != b.to_bits());
        let show = off.map(|at| (at, found[at], wanted.data()[at]));
        assert!(off.is_none(), "{name}, {way:?}, {what}: {show:?}");
    };
    same("colours", layout.lr, &samples.lr);
    same("on the latent grid", layout.fine, samples.fine(&way));
    same("condition", layout.condition, &samples.condition);
    if let Some(guide) = samples.guide(&way) {
        same("at output size", layout.guide, guide);
    }
    match scene.alpha {
        Some(Opacity::Varies) => same("alpha", layout.alpha, &samples.alpha),
        Some(Opacity::Constant(value)) => assert!(samples.alpha.data().iter().all(|v| *v == value)),
        None => assert!(!frame.format().has_alpha()),
    }
}

fn way((width, height): (u32, u32), zoom: usize, resize: ConditionResize, lattice: usize) -> Way {
    let (width, height) = (width as usize, height as usize);
    Way { width, height, scale: 4 * zoom, zoom, resize, lattice }
}

pub(super) fn colours() -> Vec<ColorInfo> {
    use {ChromaSiting as S, Matrix as M};
    let mut all = Vec::new();
    for (matrix, siting) in [(M::Bt709, S::Left), (M::Bt601, S::Center), (M::Bt2020, S::TopLeft)] {
        all.extend([Range::Limited, Range::Full].map(|range| ColorInfo { matrix, range, siting }));
    }
    all.push(ColorInfo { matrix: M::Smpte240m, ..all[0] });
    all
}

/// Every format on `maps`, in sides from `sides`.
pub(super) fn every_format_on(maps: &mut dyn Maps, sides: &[(u32, u32)]) -> usize {
    let mut seen = 0;
    for format in PixelFormat::ALL {
        let colours = colours();
        for (i, color) in colours.into_iter().enumerate().take(if format.is_yuv() { 99 } else { 1 }) {
            for (n, &size) in sides.iter().enumerate() {
                let frame = noise(format, size, color, (i * 31 + n) as u32);
                let name = format!("{format:?} {color:?} {size:?}");
                agrees(maps, &frame, way(size, 1, ConditionResize::Bicubic, 4), &name);
                seen += 1;
            }
        }
    }
    seen
}

/// Every way to enlarge on `maps`.
pub(super) fn every_way_on(maps: &mut dyn Maps, sides: &[(u32, u32)]) {
    for &size in sides {
        for (format, zoom, resize, lattice) in [
            (PixelFormat::I420, 2, ConditionResize::Bicubic, 8),
            (PixelFormat::Rgb8, 1, ConditionResize::Imresize, 4),
            (PixelFormat::RgbF32, 2, ConditionResize::Imresize, 2),
            (PixelFormat::Nv12, 1, ConditionResize::Imresize, 2),
        ] {
            let frame = noise(format, size, ColorInfo::default(), size.0);
            agrees(maps, &frame, way(size, zoom, resize, lattice), &format!("{format:?} {size:?}"));
        }
    }
}

pub(super) fn twin() -> NaiveMaps {
    NaiveMaps {
        noise: gaussian,
        counts: Arc::<Counts>::default(),
        room: usize::MAX,
        result: Vec::new(),
        fetched: VecDeque::new(),
        tickets: 0,
    }
}

#[test]
fn every_format_is_read_to_the_bit() {
    let sides = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 5), (4, 3), (13, 9), (14, 6)];
    assert!(every_format_on(&mut twin(), &sides) > 600);
}

#[test]
fn every_way_to_the_latent_grid_is_the_processors_to_the_bit() {
    every_way_on(&mut twin(), &[(1, 1), (2, 1), (1, 3), (3, 2), (5, 4), (9, 13)]);
}

/// Alpha that is the same everywhere, that shows all colours, and that hides some: only then the processor has to read.
#[test]
fn alpha_is_what_it_is_for_the_processor() {
    let color = ColorInfo::default();
    let mut seen = 0;
    for format in PixelFormat::ALL.into_iter().filter(|f| f.has_alpha()) {
        let (alpha, plane) = (alpha_bytes(format), format.planes() - 1);
        for (i, wanted) in ["constant", "shown", "hidden"].into_iter().enumerate() {
            let mut frame = noise(format, (7, 5), color, 9);
            let (bytes, pixel) = (format.sample_bytes(), format.pixel_bytes(plane));
            for (n, px) in frame.plane_mut(plane).chunks_exact_mut(pixel).enumerate() {
                let value = [0.5f32, 0.25, 0.0][if n % 3 == 1 { i } else { 0 }];
                let code = match bytes {
                    1 => ((value * 255.0) as u8).to_ne_bytes().to_vec(),
                    2 => ((value * 65535.0) as u16).to_ne_bytes().to_vec(),
                    _ => value.to_ne_bytes().to_vec(),
                };
                px[alpha..alpha + bytes].copy_from_slice(&code);
            }
            let found = match look(&frame.view()).unwrap().unwrap() {
                Alpha::Constant(_) => "constant",
                Alpha::Shown => "shown",
                Alpha::Hidden => "hidden",
            };
            assert_eq!(found, wanted, "{format:?}");
            agrees(&mut twin(), &frame, way((7, 5), 1, ConditionResize::Bicubic, 4), wanted);
            seen += 1;
        }
    }
    assert_eq!(seen, 33);
    assert_eq!(look(&scene(3, 3).view()).unwrap(), None);
}

/// First byte of alpha in a pixel of the last plane.
pub(super) fn alpha_bytes(format: PixelFormat) -> usize {
    use PixelFormat as F;
    match format {
        F::GrayA8 => 1,
        F::GrayA16 => 2,
        F::Rgba8 | F::Bgra8 => 3,
        F::Rgba16 => 6,
        F::RgbaF32 => 12,
        _ => 0,
    }
}
