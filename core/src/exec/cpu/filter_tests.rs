use super::*;
use crate::exec::cpu::map::{Buffer, padded};
use crate::exec::cpu::pool::Pool;
use std::f64::consts::TAU;
use std::sync::atomic::AtomicBool;

type Complex = (f64, f64);

/// Values in [-1, 1) from a linear congruence.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

struct Case {
    shape: [usize; 4],
    window: Option<usize>,
    blocks: usize,
    factor: usize,
    bounded: bool,
}

const SLOPE: f32 = 0.1;
const SHRINK: f32 = 0.01;

fn weights(c: usize, blocks: usize, factor: usize) -> [Vec<f32>; 4] {
    let inner = c / blocks;
    let hidden = inner * factor;
    let scale = |v: Vec<f32>, by: usize| v.iter().map(|x| x / (by as f32).sqrt()).collect();
    [
        scale(noise(2 * blocks * inner * hidden, 11), inner),
        noise(2 * blocks * hidden, 12),
        scale(noise(2 * blocks * hidden * inner, 13), hidden),
        noise(2 * c, 14),
    ]
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn turn(k: usize, n: usize, sign: f64) -> Complex {
    let angle = sign * TAU * (k % n) as f64 / n as f64;
    (angle.cos(), angle.sin())
}

/// One window, `[pixel][channel]`, rows then columns by plain sums.
fn naive(case: &Case, w: &[Vec<f32>; 4], x: &[f64], h: usize, wd: usize) -> Vec<f64> {
    let c = case.shape[1];
    let half = wd / 2 + 1;
    let norm = 1.0 / ((h * wd) as f64).sqrt();
    let add = |a: Complex, b: Complex| (a.0 + b.0, a.1 + b.1);
    let mut rows = vec![(0.0, 0.0); half * h * c];
    for u in 0..half {
        for y in 0..h {
            for ch in 0..c {
                rows[(u * h + y) * c + ch] = (0..wd).fold((0.0, 0.0), |sum, i| {
                    let t = turn(u * i, wd, -1.0);
                    let v = x[(y * wd + i) * c + ch] * norm;
                    add(sum, (v * t.0, v * t.1))
                });
            }
        }
    }
    let (inner, blocks) = (c / case.blocks, case.blocks);
    let hidden = inner * case.factor;
    let mut out = vec![0.0; h * wd * c];
    let layer = |x: &[Complex], b: usize, outs: usize, w: &[f32], bias: &[f32]| -> Vec<Complex> {
        let at =
            |part: usize, i: usize, o: usize| f64::from(w[((part * blocks + b) * x.len() + i) * outs + o]);
        let bias = |part: usize, o: usize| f64::from(bias[(part * blocks + b) * outs + o]);
        (0..outs)
            .map(|o| {
                (0..x.len()).fold((bias(0, o), bias(1, o)), |sum, i| {
                    add(sum, times(x[i], (at(0, i, o), at(1, i, o))))
                })
            })
            .collect()
    };
    let leaky = |v: f64| if v > 0.0 { v } else { v * f64::from(SLOPE) };
    let finish = |v: f64| {
        let s = v.signum() * (v.abs() - f64::from(SHRINK)).max(0.0);
        if case.bounded { s.tanh() } else { s }
    };
    for u in 0..half {
        let mut masked = vec![(0.0, 0.0); h * c];
        for v in 0..h {
            let spectrum: Vec<Complex> = (0..c)
                .map(|ch| {
                    (0..h).fold((0.0, 0.0), |sum, y| {
                        add(sum, times(rows[(u * h + y) * c + ch], turn(v * y, h, -1.0)))
                    })
                })
                .collect();
            for b in 0..blocks {
                let x = &spectrum[b * inner..][..inner];
                let y: Vec<Complex> =
                    layer(x, b, hidden, &w[0], &w[1]).iter().map(|z| (leaky(z.0), leaky(z.1))).collect();
                for (i, z) in layer(&y, b, inner, &w[2], &w[3]).iter().enumerate() {
                    masked[v * c + b * inner + i] = times((finish(z.0), finish(z.1)), x[i]);
                }
            }
        }
        for y in 0..h {
            for ch in 0..c {
                let column = (0..h)
                    .fold((0.0, 0.0), |sum, v| add(sum, times(masked[v * c + ch], turn(v * y, h, 1.0))));
                for i in 0..wd {
                    let t = turn(u * i, wd, 1.0);
                    let own = u == 0 || 2 * u == wd;
                    let value = if own { column.0 * t.0 } else { 2.0 * times(column, t).0 };
                    out[(y * wd + i) * c + ch] += value * norm;
                }
            }
        }
    }
    out
}

fn op(case: &Case, level: Level, w: &[Vec<f32>; 4]) -> Filter {
    let w = [&w[0][..], &w[1][..], &w[2][..], &w[3][..]];
    let c = case.shape[1];
    Filter::new(level, c, case.window, case.blocks, case.factor, w, SLOPE, SHRINK, case.bounded).unwrap()
}

fn run(case: &Case, level: Level, threads: usize, w: &[Vec<f32>; 4], x: &[f32]) -> Vec<f32> {
    let [n, c, h, wd] = case.shape;
    let pixels = n * h * wd;
    let (xs, ys) = (padded(c) + 16, padded(c) + 32);
    let mut from = Buffer::zeroed(pixels * xs).unwrap();
    for p in 0..pixels {
        from.as_mut_slice()[p * xs..][..c].copy_from_slice(&x[p * c..][..c]);
        from.as_mut_slice()[p * xs + padded(c)..][..16].fill(f32::NAN);
    }
    let mut to = Buffer::zeroed(pixels * ys + 32).unwrap();
    to.as_mut_slice().fill(-77.0);
    let op = op(case, level, w);
    let dirty = |len: usize| {
        let mut b = Buffer::zeroed(len + 16).unwrap();
        b.as_mut_slice().fill(f32::NAN);
        b.as_mut_slice()[len..].fill(-5.0);
        b
    };
    let scratch: Vec<Buffer> = (0..threads).map(|_| dirty(op.scratch(h, wd))).collect();
    let space = dirty(op.workspace(n, h, wd));
    let (pool, stop) = (Pool::new(threads), AtomicBool::new(false));
    let cx = Context { level, pool: &pool, scratch: &scratch, stop: &stop };
    let map = |b: &Buffer, skip: usize, stride| Map {
        start: Ptr::new(b.start().wrapping_add(skip)),
        n,
        h,
        w: wd,
        c,
        stride,
    };
    let shape = Filter::shape(case.window, h, wd);
    // SAFETY: the buffers hold these maps and the space.
    unsafe { op.run(&cx, &shape, &map(&from, 0, xs), &map(&to, 16, ys), Ptr::new(space.start())).unwrap() };
    for b in scratch.iter().chain([&space]) {
        assert!(b.as_slice()[b.len() - 16..].iter().all(|v| *v == -5.0), "scratch overrun");
    }
    let y = to.as_slice();
    assert!(y[..16].iter().all(|v| *v == -77.0));
    let mut out = Vec::new();
    for p in 0..pixels {
        let row = &y[16 + p * ys..][..ys];
        out.extend_from_slice(&row[..c]);
        assert!(row[c..padded(c)].iter().all(|v| *v == 0.0), "padding");
        assert!(row[padded(c)..].iter().all(|v| *v == -77.0), "canary");
    }
    out
}

fn check(case: &Case) {
    let [n, c, h, wd] = case.shape;
    let x = noise(n * h * wd * c, 7);
    let w = weights(c, case.blocks, case.factor);
    let (th, tw) = case.window.map_or((h, wd), |s| (s, s));
    let mut wanted = vec![0.0; n * h * wd * c];
    for picture in 0..n {
        for ty in (0..h).step_by(th) {
            for tx in (0..wd).step_by(tw) {
                let at = |i: usize| (picture * h + ty + i / tw) * wd + tx + i % tw;
                let tile: Vec<f64> =
                    (0..th * tw).flat_map(|i| x[at(i) * c..][..c].iter().map(|v| f64::from(*v))).collect();
                for (i, pixel) in naive(case, &w, &tile, th, tw).chunks(c).enumerate() {
                    wanted[at(i) * c..][..c].copy_from_slice(pixel);
                }
            }
        }
    }
    let power: f64 = wanted.iter().map(|v| v * v).sum();
    for level in Level::available() {
        let y = run(case, level, 1, &w, &x);
        let error: f64 = y.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        let error = (error / power).sqrt();
        assert!(error < 3e-6, "{level} {:?} {} {:?}: {error}", case.shape, case.blocks, case.window);
        let again = run(case, level, 3, &w, &x);
        assert!(y.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{level}: threads");
    }
}

#[test]
fn windows_are_those_of_the_definition() {
    for (shape, window, blocks, factor, bounded) in [
        ([1, 24, 32, 64], 32, 8, 1, true),
        ([2, 24, 8, 16], 8, 8, 2, true),
        ([1, 2, 3, 6], 3, 1, 1, false),
        ([1, 20, 7, 7], 7, 5, 1, true),
        ([1, 40, 10, 5], 5, 8, 1, false),
        ([1, 3, 2, 3], 1, 3, 1, true),
    ] {
        check(&Case { shape, window: Some(window), blocks, factor, bounded });
    }
}

#[test]
fn whole_maps_are_those_of_the_definition() {
    for (shape, blocks, factor, bounded) in [
        ([1, 1, 1, 1], 1, 1, false),
        ([1, 96, 16, 12], 32, 1, true),
        ([1, 64, 18, 15], 4, 1, false),
        ([2, 33, 5, 14], 3, 2, true),
        ([1, 144, 7, 2], 2, 1, false),
        ([1, 8, 1, 22], 1, 3, false),
    ] {
        check(&Case { shape, window: None, blocks, factor, bounded });
    }
}
