//! Maps on the emulated driver, held to their twin in memory to the bit.

use super::*;
use crate::exec::maps::{
    CodesBy, ColoursBy, From, Gives, Home, Map, MapOp, Maps, PlaneBy, Room, Sample, StepBy, Table,
};
use crate::exec::naive_maps::{Counts, NaiveMaps};
use crate::sampler::gaussian;
use std::collections::VecDeque;

/// Values of a room in these tests.
const LEN: usize = 30_000;

fn twin() -> NaiveMaps {
    NaiveMaps {
        noise: gaussian,
        counts: Arc::<Counts>::default(),
        room: usize::MAX,
        result: Vec::new(),
        fetched: VecDeque::new(),
        tickets: 0,
    }
}

fn map(room: &Room, at: usize, shape: (usize, usize, usize)) -> Map<'_> {
    Map::new(Home::Room(room), at, shape)
}

/// A map whose rows and planes lie apart.
fn apart(room: &Room, at: usize, (channels, height, width): (usize, usize, usize)) -> Map<'_> {
    Map { row: width + 3, plane: (height + 2) * (width + 3), ..map(room, at, (channels, height, width)) }
}

fn table(room: &Room, at: usize, len: usize) -> Table<'_> {
    Table { room, at, len }
}

/// What a room holds.
fn values(maps: &mut dyn Maps, room: &Room) -> Vec<f32> {
    let ticket = maps.fetch(table(room, 0, LEN)).unwrap();
    let mut all = Vec::new();
    let mut read = |v: &[f32]| {
        all = v.to_vec();
        Ok(())
    };
    maps.take(ticket, &mut read).unwrap();
    all
}

type Case = (&'static str, Box<dyn Fn(&Room) -> MapOp<'_>>);

fn case(name: &'static str, op: impl Fn(&Room) -> MapOp<'_> + 'static) -> Case {
    (name, Box::new(op))
}

fn step(estimate: [f32; 2], next: [f32; 4], gives: Gives, noise: Option<(u64, u32)>) -> StepBy {
    StepBy { estimate, next, gives, noise, origin: (7, 6) }
}

fn plane<'a>(room: &'a Room, kinds: [Sample; 4], samples: usize, bytes: usize) -> PlaneBy<'a> {
    let codes = 13 * samples;
    let words = (codes * bytes).div_ceil(4);
    let white = [255.0, 65535.0, 0.0, 1.0][bytes - 1];
    PlaneBy {
        to: table(room, 20_000, words * 5),
        words,
        rows: 5,
        first: 4,
        codes,
        samples,
        kinds,
        bytes,
        shift: 0,
        top: white,
        white,
        halved: (false, false),
        siting: 0,
        yuv: table(room, 0, 8),
        begins: 2,
        height: 9,
    }
}

/// Rows 4 and 5 of chroma, made of the picture's rows from 7 or 8 on.
fn chroma(
    room: &Room,
    halved: (bool, bool),
    siting: usize,
    kinds: [Sample; 4],
    samples: usize,
) -> PlaneBy<'_> {
    let columns = if halved.0 { 7 } else { 13 };
    let codes = columns * samples;
    let by = plane(room, kinds, samples, 2);
    let first = if halved.1 { 2 } else { 4 };
    let rows = if halved.1 { 3 } else { 5 };
    let words = codes.div_ceil(2);
    PlaneBy { codes, words, rows, first, halved, siting, shift: 6, top: 1023.0, ..by }
}

fn write<'a>(by: PlaneBy<'a>, room: &'a Room) -> MapOp<'a> {
    MapOp::Write { by, rgb: map(room, 1000, (3, 7, 13)), alpha: None }
}

/// Planes `[.., 5, 13]` of codes of so many to a position.
fn codes<'a>(room: &'a Room, bytes: usize, samples: usize, places: [usize; 3]) -> CodesBy<'a> {
    let words = (13 * samples * bytes).div_ceil(4) + 1;
    let (offset, scale) = [(16.0, 219.0), (64.0, 876.0), (0.0, 1.0), (0.0, 1.0)][bytes - 1];
    CodesBy { from: table(room, 100, 5 * words), words, samples, places, bytes, shift: 0, offset, scale }
}

/// Luma, chroma and colours of `height` x 13; 13 is odd, and so is the height where chroma has fewer rows.
fn colours(room: &Room, halved: (bool, bool), siting: usize, height: usize) -> MapOp<'_> {
    let half = |n: usize, halved: bool| if halved { n.div_ceil(2) } else { n };
    let by = ColoursBy { halved, siting, shares: [1.5748, -0.1873, -0.4681, 1.8556] };
    MapOp::Colours {
        by,
        luma: apart(room, 2000, (1, height, 13)),
        chroma: apart(room, 4000, (2, half(height, halved.1), half(13, halved.0))),
        to: apart(room, 9000, (3, height, 13)),
    }
}

fn all() -> Vec<Case> {
    use Sample::{Alpha, Blue, ChromaU, ChromaV, Gray, Green, Luma, Red, White};
    let numbers = [0.7, -1.3, 0.4, 0.9];
    vec![
        case("fill", |r| MapOp::Fill { to: map(r, 3, (2, 5, 77)), value: 0.25 }),
        case("cut inside", |r| MapOp::Cut {
            from: apart(r, 10, (3, 9, 11)),
            at: (2, 3),
            scale: 0.3,
            unit: false,
            to: map(r, 9000, (3, 5, 7)),
        }),
        case("cut beyond both edges, into [0, 1]", |r| MapOp::Cut {
            from: map(r, 10, (2, 9, 11)),
            at: (4, 6),
            scale: 1.0,
            unit: true,
            to: apart(r, 9000, (2, 8, 9)),
        }),
        case("across", |r| MapOp::Across {
            tile: map(r, 0, (3, 5, 17)),
            weights: table(r, 5000, 17),
            x: 12,
            to: map(r, 9000, (3, 5, 40)),
        }),
        case("down, the first", |r| MapOp::Down {
            strip: map(r, 0, (2, 9, 21)),
            weights: table(r, 5000, 9),
            above: None,
            to: map(r, 9000, (2, 9, 21)),
        }),
        case("down, over another", |r| MapOp::Down {
            strip: map(r, 0, (2, 9, 21)),
            weights: table(r, 5000, 9),
            above: Some((map(r, 7000, (2, 9, 21)), 4)),
            to: map(r, 9000, (2, 9, 21)),
        }),
        case("finite", |r| MapOp::Finite { map: map(r, 0, (3, 7, 33)), mark: table(r, 9000, 1) }),
        case("start", move |r| MapOp::Step {
            by: step([0.0; 2], [0.0, 0.0, 0.0, 1.7], Gives::Next, Some((5 << 33 | 9, 0))),
            prediction: None,
            field: None,
            to: map(r, 9000, (4, 23, 37)),
        }),
        case("next", move |r| MapOp::Step {
            by: step([1.1, -0.2], numbers, Gives::Next, Some((u64::MAX, 250))),
            prediction: Some(apart(r, 0, (3, 7, 19))),
            field: Some(map(r, 4000, (3, 7, 19))),
            to: apart(r, 9000, (3, 7, 19)),
        }),
        case("blend without noise", move |r| MapOp::Step {
            by: step([1.1, -0.2], numbers, Gives::Blend(0.3), None),
            prediction: Some(map(r, 0, (3, 7, 19))),
            field: Some(map(r, 4000, (3, 7, 19))),
            to: map(r, 9000, (3, 7, 19)),
        }),
        case("estimate", move |r| MapOp::Step {
            by: step([1.1, -0.2], numbers, Gives::Estimate, Some((1, 2))),
            prediction: Some(map(r, 0, (3, 7, 19))),
            field: None,
            to: map(r, 9000, (3, 7, 19)),
        }),
        case("enlarge four times, added", |r| MapOp::Enlarge {
            from: map(r, 0, (3, 6, 7)),
            factor: 4,
            weights: table(r, 5000, 20),
            first: 5,
            add: Some(apart(r, 6000, (3, 13, 28))),
            unit: false,
            to: apart(r, 9000, (3, 13, 28)),
        }),
        case("enlarge eight times, into [0, 1]", |r| MapOp::Enlarge {
            from: map(r, 0, (1, 2, 3)),
            factor: 8,
            weights: table(r, 5000, 40),
            first: 0,
            add: None,
            unit: true,
            to: map(r, 9000, (1, 16, 24)),
        }),
        case("ranges", |r| MapOp::Ranges {
            map: apart(r, 100, (3, 37, 50)),
            columns: table(r, 8, 3),
            factor: 4,
            width: 20,
            to: table(r, 9000, 3 * 3 * 3 * 2),
        }),
        case("codes of 8 bits", |r| MapOp::Codes {
            by: codes(r, 1, 3, [2, 0, 1]),
            to: apart(r, 9000, (3, 5, 13)),
        }),
        case("codes of 8 bits, one plane", |r| MapOp::Codes {
            by: codes(r, 1, 1, [0; 3]),
            to: map(r, 9000, (1, 5, 13)),
        }),
        case("codes in the upper bits of 16", |r| MapOp::Codes {
            by: CodesBy { shift: 6, ..codes(r, 2, 2, [1, 0, 0]) },
            to: map(r, 9000, (2, 5, 13)),
        }),
        case("codes that are reals", |r| MapOp::Codes {
            by: codes(r, 4, 4, [3, 1, 2]),
            to: map(r, 9000, (3, 5, 13)),
        }),
        case("colours, chroma left", |r| colours(r, (true, true), 0, 9)),
        case("colours, chroma centred", |r| colours(r, (true, true), 1, 10)),
        case("colours, chroma top left", |r| colours(r, (true, true), 2, 9)),
        case("colours, chroma halved across", |r| colours(r, (true, false), 1, 7)),
        case("colours, chroma not halved", |r| colours(r, (false, false), 0, 5)),
        case("enlarge codes", |r| MapOp::EnlargeCodes {
            from: apart(r, 10, (3, 5, 6)),
            factor: 4,
            weights: table(r, 5000, 20),
            to: apart(r, 9000, (3, 23, 26)),
        }),
        case("enlarge codes of fewer samples than a cubic has", |r| MapOp::EnlargeCodes {
            from: map(r, 10, (1, 1, 2)),
            factor: 8,
            weights: table(r, 5000, 40),
            to: map(r, 9000, (1, 8, 17)),
        }),
        case("rgb", move |r| write(plane(r, [Red, Green, Blue, White], 3, 1), r)),
        case("xbgr", move |r| write(plane(r, [White, Blue, Green, Red], 4, 1), r)),
        case("gray, 16 bit", move |r| write(plane(r, [Gray; 4], 1, 2), r)),
        case("rgb, f32", move |r| write(plane(r, [Red, Green, Blue, White], 3, 4), r)),
        case("argb, 16 bit", |r| MapOp::Write {
            by: plane(r, [Alpha, Red, Green, Blue], 4, 2),
            rgb: map(r, 1000, (3, 7, 13)),
            alpha: Some(map(r, 500, (1, 5, 13))),
        }),
        case("luma", move |r| write(PlaneBy { shift: 6, top: 1023.0, ..plane(r, [Luma; 4], 1, 2) }, r)),
        case("chroma, left", move |r| write(chroma(r, (true, true), 0, [ChromaU; 4], 1), r)),
        case("chroma, centred", move |r| {
            write(chroma(r, (true, true), 1, [ChromaU, ChromaV, White, White], 2), r)
        }),
        case("chroma, top left", move |r| write(chroma(r, (true, true), 2, [ChromaV; 4], 1), r)),
        case("chroma, halved across", move |r| write(chroma(r, (true, false), 0, [ChromaV; 4], 1), r)),
        case("chroma, not halved", move |r| write(chroma(r, (false, false), 0, [ChromaU; 4], 1), r)),
    ]
}

/// Weights `[5, factor]` of the cubic with a = -0.5.
fn cubic(factor: usize) -> Vec<f32> {
    let weight = |tap: usize, p: usize| {
        let x = ((p as f32 + 0.5) / factor as f32 - 0.5 - (tap as f32 - 2.0)).abs();
        match x {
            ..=1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            1.0..2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            _ => 0.0,
        }
    };
    (0..5 * factor).map(|i| weight(i / factor, i % factor)).collect()
}

#[test]
fn maps_are_those_of_the_twin_to_the_bit() {
    let own = ["every_operation", "words_of_any_bits", "frames_in_flight", "uploads_in_flight"]
        .map(|n| own(&format!("maps::{n}")));
    let tests: Vec<&str> = own.iter().map(String::as_str).collect();
    on_driver(&tests, &[]);
    // What computes late and copies at once, copies late, and all as late as can be: what is not waited for shows.
    for late in ["0", "1", "2", "012"] {
        on_driver(&tests[2..], &[("SSMOESR_EMULATED_LATE", late)]);
    }
}

#[test]
#[ignore = "run on the emulated driver by maps_are_those_of_the_twin_to_the_bit"]
fn every_operation() {
    let device = Cuda::new(0, "f32").unwrap();
    let mut on_device = device.maps().unwrap().unwrap();
    let mut in_memory = twin();
    let cases = all();
    assert_eq!(cases.len(), 36);
    for (seed, (name, op)) in cases.iter().enumerate() {
        let random = &mut Random(seed as u64);
        let mut given: Vec<f32> = (0..LEN).map(|_| random.real()).collect();
        // Codes of YUV, and columns of tiles.
        given[..8].copy_from_slice(&[0.2126, 0.7152, 0.0722, 64.0, 876.0, 512.0, 480.0, 570.0]);
        given[8..11].copy_from_slice(&[0.0, 3.0, 9.0]);
        given[5003] = 0.0;
        if *name == "finite" {
            given[9000] = 0.0;
        }
        if name.starts_with("codes of") || name.starts_with("codes in") {
            // Every bit of a word is some code's.
            let mut word = || f32::from_bits((random.real() * 1e9) as i32 as u32 ^ 0x5a5a_a5a5);
            given[100..2000].iter_mut().for_each(|v| *v = word());
        }
        if name.starts_with("enlarge codes") {
            // Sums are exact for weights of few bits, which these are; some values lie beyond black and white.
            let factor = if name.ends_with("codes") { 4 } else { 8 };
            given[5000..5000 + 5 * factor].copy_from_slice(&cubic(factor));
            given[10..900].iter_mut().for_each(|v| *v = *v * 0.7 + 0.5);
        }
        let rooms = [&mut *on_device as &mut dyn Maps, &mut in_memory].map(|maps| {
            let room = maps.room(LEN).unwrap();
            maps.send(&room, LEN, &mut |out| {
                out.copy_from_slice(&given);
                Ok(())
            })
            .unwrap();
            maps.apply(&op(&room)).unwrap();
            let all = values(maps, &room);
            assert!(
                all.iter().zip(&given).any(|(a, b)| a.to_bits() != b.to_bits()) || *name == "finite",
                "{name}"
            );
            all
        });
        let off = rooms[0].iter().zip(&rooms[1]).position(|(a, b)| a.to_bits() != b.to_bits());
        let show = off.map(|at| (at, rooms[0][at], rooms[1][at]));
        assert!(off.is_none(), "{name}: {show:?}");
    }
    // What is not finite is marked, wherever it is.
    let room = on_device.room(LEN).unwrap();
    for (value, wanted) in [(f32::NAN, 1.0), (f32::NEG_INFINITY, 1.0), (f32::MAX, 0.0)] {
        let mut given = vec![0.0; LEN];
        given[692] = value;
        on_device
            .send(&room, LEN, &mut |out| {
                out.copy_from_slice(&given);
                Ok(())
            })
            .unwrap();
        let (map, mark) = (map(&room, 0, (3, 7, 33)), table(&room, 9000, 1));
        on_device.apply(&MapOp::Finite { map, mark }).unwrap();
        assert_eq!(values(&mut *on_device, &room)[9000], wanted, "{value}");
    }
    // Maps that do not lie in their room are refused, and codes beyond their words.
    for op in [
        MapOp::Codes {
            by: CodesBy { words: 9, ..codes(&room, 1, 3, [0; 3]) },
            to: map(&room, 9000, (3, 5, 13)),
        },
        MapOp::Codes { by: codes(&room, 1, 2, [0, 2, 0]), to: map(&room, 9000, (2, 5, 13)) },
        MapOp::Codes { by: codes(&room, 1, 3, [0; 3]), to: map(&room, 9000, (3, 6, 13)) },
        MapOp::Colours {
            by: ColoursBy { halved: (true, true), siting: 0, shares: [0.0; 4] },
            luma: map(&room, 0, (1, 4, 5)),
            chroma: map(&room, 100, (2, 2, 2)),
            to: map(&room, 200, (3, 4, 5)),
        },
        MapOp::Fill { to: map(&room, LEN - 9, (1, 2, 5)), value: 0.0 },
        MapOp::Fill { to: map(&room, 0, (usize::MAX, 2, 5)), value: 0.0 },
        MapOp::Fill { to: Map::new(Home::Result, 0, (1, 1, 1)), value: 0.0 },
        MapOp::Finite { map: map(&room, 0, (1, 1, 1)), mark: table(&room, LEN, 1) },
        MapOp::Cut {
            from: map(&room, 0, (2, 3, 3)),
            at: (0, 0),
            scale: 1.0,
            unit: false,
            to: map(&room, 50, (3, 3, 3)),
        },
    ] {
        assert_eq!(on_device.apply(&op).unwrap_err().kind(), ErrorKind::Internal);
    }
}

/// Frames are words of any bits, those that are no numbers among them: white, opaque pixels for one.
#[test]
#[ignore = "run on the emulated driver by maps_are_those_of_the_twin_to_the_bit"]
fn words_of_any_bits() {
    let device = Cuda::new(0, "f32").unwrap();
    let mut maps = device.maps().unwrap().unwrap();
    let room = maps.room(LEN).unwrap();
    let words = [u32::MAX, 0xff80_0001, 0x7f80_0001, 0x7fff_fffe, 1, 0x8000_0000, 0x807f_ffff];
    let word = |i: usize| words[i % words.len()];
    maps.send(&room, LEN, &mut |out| {
        out.iter_mut().enumerate().for_each(|(i, v)| *v = f32::from_bits(word(i)));
        Ok(())
    })
    .unwrap();
    let found = values(&mut *maps, &room);
    let off = found.iter().enumerate().find(|(i, v)| v.to_bits() != word(*i));
    assert!(off.is_none(), "{:x?}", off.map(|(i, v)| (i, v.to_bits(), word(i))));
}

/// More uploads than there are slots, before anybody looks.
#[test]
#[ignore = "run on the emulated driver by maps_are_those_of_the_twin_to_the_bit"]
fn uploads_in_flight() {
    let device = Cuda::new(0, "f32").unwrap();
    let mut maps = device.maps().unwrap().unwrap();
    let rooms: Vec<Room> = (0..6).map(|_| maps.room(LEN).unwrap()).collect();
    for (i, room) in rooms.iter().enumerate() {
        // The first are the longest: slots are used again.
        let len = LEN - i;
        maps.send(room, len, &mut |out| {
            out.iter_mut().enumerate().for_each(|(k, v)| *v = (k * 8 + i) as f32);
            Ok(())
        })
        .unwrap();
    }
    let tickets: Vec<_> = rooms.iter().map(|room| maps.fetch(table(room, 0, LEN - 5)).unwrap()).collect();
    for (i, ticket) in tickets.into_iter().enumerate().rev() {
        let mut read = |v: &[f32]| {
            assert!(v.len() == LEN - 5 && v.iter().enumerate().all(|(k, v)| *v == (k * 8 + i) as f32), "{i}");
            Ok(())
        };
        maps.take(ticket, &mut read).unwrap();
    }
}

/// Frames one behind the other, two at a time: each comes back as it would alone.
#[test]
#[ignore = "run on the emulated driver by maps_are_those_of_the_twin_to_the_bit"]
fn frames_in_flight() {
    let device = Cuda::new(0, "f32").unwrap();
    let case = small();
    let random = &mut Random(3);
    let loaded = device.load(&case.graph, &weights(&case.graph, random)).unwrap();
    let graph = Arc::new(case.graph.clone());
    let mut plan = device.prepare(Arc::clone(&graph)).unwrap();
    let stop = AtomicBool::new(false);
    let count = 2 * 8 * 6 * 5;
    let frames: Vec<Vec<f32>> = (0..6).map(|_| inputs(&case, random).remove(0)).collect();
    let wanted: Vec<Vec<f32>> = frames
        .iter()
        .map(|frame| {
            let mut out = vec![f32::NAN; count];
            plan.run(&loaded, &[frame.as_slice()], &mut [&mut out], &stop, None).unwrap();
            out
        })
        .collect();
    let mut maps = device.maps().unwrap().unwrap();
    let room = maps.room(2 * count).unwrap();
    let mut tickets = VecDeque::new();
    let mut found = Vec::new();
    let mut take = |maps: &mut dyn Maps, ticket| {
        let mut read = |v: &[f32]| {
            found.push(v.to_vec());
            Ok(())
        };
        maps.take(ticket, &mut read).unwrap();
    };
    for frame in &frames {
        maps.send(&room, count, &mut |out| {
            out.copy_from_slice(frame);
            Ok(())
        })
        .unwrap();
        let parts = [0, 1].map(|n| From::Window(map(&room, n * count / 2, (8, 6, 5)), (0, 0), 1.0));
        maps.run(plan.as_mut(), &loaded, &[&parts], &stop).unwrap();
        let result = Map::new(Home::Result, 0, (1, 1, count));
        let (at, scale, unit) = ((0, 0), 1.0, false);
        maps.apply(&MapOp::Cut { from: result, at, scale, unit, to: map(&room, count, (1, 1, count)) })
            .unwrap();
        tickets.push_back(maps.fetch(table(&room, count, count)).unwrap());
        if tickets.len() == 2 {
            take(&mut *maps, tickets.pop_front().unwrap());
        }
    }
    assert!(maps.take(crate::exec::maps::Ticket(99), &mut |_| Ok(())).is_err());
    take(&mut *maps, tickets.pop_front().unwrap());
    assert!(found == wanted);
}

#[test]
fn frames_overlap_and_are_the_processors() {
    let test = ["engine::tests::gpu::frames_overlap"];
    let room = tempfile::tempdir().unwrap();
    let trace = room.path().join("trace");
    on_driver(&test, &[("SSMOESR_EMULATED_TRACE", trace.to_str().unwrap())]);
    for late in ["0", "012"] {
        on_driver(&test, &[("SSMOESR_EMULATED_LATE", late)]);
    }
}

#[test]
fn frames_are_read_as_the_processor_reads_them() {
    on_driver(&["engine::tests::gpu::frames_are_read_to_the_bit"], &[]);
}

#[test]
fn films_go_on_without_their_gpu() {
    let test = ["engine::tests::gpu::a_film_goes_on_without_its_gpu"];
    // Lost while it computes, while copies are awaited, while a frame is asked for.
    for fail in ["cuGraphLaunch:2:719", "cuEventSynchronize:9:700", "cuMemcpyDtoHAsync:2:719"] {
        on_driver(&test, &[("SSMOESR_EMULATED_FAIL", fail)]);
    }
}

/// As for plans: whatever the driver refuses, whenever, is an error, and the next time it works.
#[test]
fn each_call_of_maps_that_fails_is_an_error_and_leaves_nothing() {
    let room = tempfile::tempdir().unwrap();
    let trace = room.path().join("trace");
    let environment = [("SSMOESR_EMULATED_TRACE", trace.to_str().unwrap())];
    if on_driver(&[&own("maps::no_failure_of_maps")], &environment).is_none() {
        return;
    }
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut seen = 0;
    for call in [
        "cuEventCreate",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuStreamWaitEvent",
        "cuStreamSynchronize",
        "cuMemAlloc",
        "cuMemHostAlloc",
        "cuMemcpyHtoDAsync",
        "cuMemcpyDtoHAsync",
        "cuLaunchKernel",
        "cuGraphLaunch",
    ] {
        let times = trace.lines().filter(|l| l.split(' ').next() == Some(call)).count();
        assert!(times > 0, "{call}");
        for n in 1..=times {
            let fail = format!("{call}:{n}:2");
            on_driver(&[&own("maps::one_failure_of_maps")], &[("SSMOESR_EMULATED_FAIL", fail.as_str())]);
        }
        seen += times;
    }
    assert!(seen > 80, "{seen}");
}

/// Two frames of `small` through maps, and what comes back of the second.
fn two_frames(device: &Cuda) -> Result<Vec<f32>> {
    let case = small();
    let random = &mut Random(3);
    let weights = weights(&case.graph, random);
    let input = inputs(&case, random).remove(0);
    let graph = Arc::new(case.graph.clone());
    let loaded = device.load(&graph, &weights)?;
    let mut plan = device.prepare(Arc::clone(&graph))?;
    let mut maps = device.maps().ok_or_else(crate::exec::maps::foreign)??;
    let count = input.len();
    let room = maps.room(2 * count)?;
    let mut all = Vec::new();
    for _ in 0..2 {
        maps.send(&room, count, &mut |out| {
            out.copy_from_slice(&input);
            Ok(())
        })?;
        let parts = [0, 1].map(|n| From::Window(map(&room, n * count / 2, (8, 6, 5)), (0, 0), 1.0));
        maps.run(plan.as_mut(), &loaded, &[&parts], &AtomicBool::new(false))?;
        let from = Map::new(Home::Result, 0, (1, 1, count));
        let to = map(&room, count, (1, 1, count));
        maps.apply(&MapOp::Cut { from, at: (0, 0), scale: 1.0, unit: false, to })?;
        let ticket = maps.fetch(table(&room, count, count))?;
        maps.take(ticket, &mut |v| {
            all = v.to_vec();
            Ok(())
        })?;
    }
    let wanted = run(&Naive, &case, &weights, &[input]);
    assert!(nmse(&all, &wanted) <= case.limit);
    Ok(all)
}

#[test]
#[ignore = "run on the emulated driver by each_call_of_maps_that_fails_is_an_error_and_leaves_nothing"]
fn one_failure_of_maps() {
    let device = Cuda::new(0, "f32").unwrap();
    // Waits at the end, where nobody hears of a failure, are made by those who let go.
    if let Err(e) = two_frames(&device) {
        assert_eq!(e.kind(), ErrorKind::Limit, "{e}");
    } else {
        let fail = std::env::var("SSMOESR_EMULATED_FAIL").unwrap();
        assert!(fail.starts_with("cuStreamSynchronize"), "{fail} was not told");
    }
    drop(device);
    let device = Cuda::new(0, "f32").unwrap();
    let before = device.free().unwrap();
    two_frames(&device).unwrap();
    drop(device);
    assert_eq!(Cuda::new(0, "f32").unwrap().free().unwrap(), before, "memory was lost");
}

#[test]
#[ignore = "run on the emulated driver by each_call_of_maps_that_fails_is_an_error_and_leaves_nothing"]
fn no_failure_of_maps() {
    two_frames(&Cuda::new(0, "f32").unwrap()).unwrap();
}
