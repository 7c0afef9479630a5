use super::*;
use crate::exec::cpu::map::{Ptr, padded};
use crate::exec::cpu::pool::Pool;
use std::sync::atomic::AtomicBool;

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
    heads: usize,
    window: Option<usize>,
    layout: QkvLayout,
    bias: Option<Vec<f32>>,
    gain: f32,
}

/// `[pixel][channel]` in f64.
fn naive(case: &Case, x: &[f32]) -> Vec<f64> {
    let [n, c, h, w] = case.shape;
    let d = c / case.heads;
    let channel = |head: usize, part: usize, i: usize| match case.layout {
        QkvLayout::PartFirst => (part * case.heads + head) * d + i,
        QkvLayout::HeadFirst => (head * 3 + part) * d + i,
    };
    let at = |p: usize, ch: usize| f64::from(x[p * 3 * c + ch]);
    let mut out = vec![0.0; n * h * w * c];
    for p in 0..n * h * w {
        let (picture, qy, qx) = (p / (h * w), p / w % h, p % w);
        let (y0, x0, th, tw) = case.window.map_or((0, 0, h, w), |s| (qy / s * s, qx / s * s, s, s));
        for head in 0..case.heads {
            let mut scores = Vec::new();
            for ky in y0..y0 + th {
                for kx in x0..x0 + tw {
                    let key = (picture * h + ky) * w + kx;
                    let dot: f64 =
                        (0..d).map(|i| at(p, channel(head, 0, i)) * at(key, channel(head, 1, i))).sum();
                    let extra = match (&case.bias, case.window) {
                        (Some(b), Some(s)) => {
                            let side = 2 * s - 1;
                            let (dy, dx) = (qy + s - 1 - ky, qx + s - 1 - kx);
                            f64::from(b[head * side * side + dy * side + dx])
                        }
                        _ => 0.0,
                    };
                    scores.push((key, dot / (d as f64).sqrt() + extra));
                }
            }
            let top = scores.iter().map(|s| s.1).fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|s| (s.1 - top).exp()).sum();
            for i in 0..d {
                let sum: f64 = scores.iter().map(|s| (s.1 - top).exp() * at(s.0, channel(head, 2, i))).sum();
                out[p * c + head * d + i] = sum / total;
            }
        }
    }
    out
}

/// Result with strides wider than the maps and canaries around; the bits must not depend on threads.
fn run(case: &Case, level: Level, threads: usize, x: &[f32]) -> Vec<f32> {
    let [n, c, h, w] = case.shape;
    let pixels = n * h * w;
    let (xs, ys) = (padded(3 * c) + 16, padded(c) + 32);
    let mut from = Buffer::zeroed(pixels * xs).unwrap();
    for p in 0..pixels {
        from.as_mut_slice()[p * xs..][..3 * c].copy_from_slice(&x[p * 3 * c..][..3 * c]);
        from.as_mut_slice()[p * xs + padded(3 * c)..][..16].fill(f32::NAN);
    }
    let mut to = Buffer::zeroed(pixels * ys + 32).unwrap();
    to.as_mut_slice().fill(-77.0);
    let op = Attention::new(level, c, case.heads, case.window, case.layout, case.bias.as_deref()).unwrap();
    let pool = Pool::new(threads);
    let scratch: Vec<Buffer> = (0..threads)
        .map(|_| {
            let len = op.scratch(h, w);
            let mut b = Buffer::zeroed(len + 16).unwrap();
            b.as_mut_slice().fill(f32::NAN);
            b.as_mut_slice()[len..].fill(-5.0);
            b
        })
        .collect();
    let stop = AtomicBool::new(false);
    let cx = Context { level, pool: &pool, scratch: &scratch, stop: &stop };
    let map = |b: &Buffer, skip: usize, c, stride| Map {
        start: Ptr::new(b.start().wrapping_add(skip)),
        n,
        h,
        w,
        c,
        stride,
    };
    // SAFETY: the buffers hold these maps.
    unsafe { op.run(&cx, &map(&from, 0, 3 * c, xs), &map(&to, 16, c, ys)).unwrap() };
    for b in &scratch {
        assert!(b.as_slice()[op.scratch(h, w)..].iter().all(|v| *v == -5.0), "scratch overrun");
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
    let [n, c, h, w] = case.shape;
    let mut x = noise(n * h * w * 3 * c, 7);
    x.iter_mut().for_each(|v| *v *= case.gain);
    let wanted = naive(case, &x);
    let power: f64 = wanted.iter().map(|v| v * v).sum();
    for level in Level::available() {
        let y = run(case, level, 1, &x);
        let error: f64 = y.iter().zip(&wanted).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        let error = (error / power).sqrt();
        assert!(error < 3e-6, "{level} {:?} {} {:?}: {error}", case.shape, case.heads, case.window);
        let again = run(case, level, 3, &x);
        assert!(y.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{level}: threads");
    }
}

#[test]
fn windows_are_those_of_the_definition() {
    for (shape, heads, side, layout, biased) in [
        ([1, 32, 8, 16], 2, 8, QkvLayout::PartFirst, true),
        ([2, 16, 16, 8], 1, 8, QkvLayout::HeadFirst, true),
        ([1, 6, 6, 9], 2, 3, QkvLayout::PartFirst, false),
        ([1, 20, 5, 10], 4, 5, QkvLayout::HeadFirst, true),
        ([1, 1, 2, 3], 1, 1, QkvLayout::PartFirst, true),
        ([1, 40, 12, 12], 1, 12, QkvLayout::PartFirst, true),
        ([1, 34, 7, 7], 2, 7, QkvLayout::PartFirst, true),
    ] {
        let table = (2 * side - 1) * (2 * side - 1);
        let bias = biased.then(|| noise(heads * table, 3).iter().map(|v| 2.0 * v).collect());
        check(&Case { shape, heads, window: Some(side), layout, bias, gain: 1.5 });
    }
}

#[test]
fn whole_maps_are_those_of_the_definition() {
    for (shape, heads, layout, gain) in [
        ([1, 1, 1, 1], 1, QkvLayout::PartFirst, 1.0),
        ([1, 64, 16, 17], 2, QkvLayout::HeadFirst, 1.0),
        ([2, 48, 3, 7], 3, QkvLayout::PartFirst, 2.0),
        ([1, 300, 11, 13], 1, QkvLayout::PartFirst, 1.0),
        ([1, 15, 9, 15], 3, QkvLayout::HeadFirst, 30.0),
    ] {
        check(&Case { shape, heads, window: None, layout, bias: None, gain });
    }
}
