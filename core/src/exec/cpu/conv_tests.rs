//! Convolutions against an f64 twin.

use super::*;
use crate::exec::cpu::pool::Pool;
use crate::graph::Border;
use std::sync::atomic::AtomicBool;

/// Numbers in [-1, 1) that depend on the seed alone.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn many(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// A map in a buffer with canaries before and after, as a range of channels of a wider map.
struct Held {
    buffer: Buffer,
    map: Map,
    offset: usize,
}

const CANARY: f32 = -77.5;
const MARGIN: usize = 64;

impl Held {
    fn new([n, c, h, w]: [usize; 4], wider: usize) -> Self {
        let stride = padded(c) + 2 * wider;
        let mut buffer = Buffer::zeroed(n * h * w * stride + 2 * MARGIN).unwrap();
        buffer.as_mut_slice().fill(CANARY);
        let offset = MARGIN + wider;
        // SAFETY: inside the buffer.
        let start = Ptr::new(unsafe { buffer.start().add(offset) });
        Self { buffer, map: Map { start, n, h, w, c, stride }, offset }
    }

    /// Noise in the channels, zeros in the padding.
    fn noisy(shape: [usize; 4], wider: usize, noise: &mut Noise) -> Self {
        let mut held = Self::new(shape, wider);
        for pixel in 0..held.map.pixels() {
            for c in 0..held.map.lanes() {
                let at = held.offset + pixel * held.map.stride + c;
                held.buffer.as_mut_slice()[at] = if c < held.map.c { noise.next() } else { 0.0 };
            }
        }
        held
    }

    fn get(&self, n: usize, c: usize, y: usize, x: usize) -> f32 {
        let pixel = (n * self.map.h + y) * self.map.w + x;
        self.buffer.as_slice()[self.offset + pixel * self.map.stride + c]
    }

    /// Padding channels are zero, everything around them is untouched.
    fn check_edges(&self) {
        let (m, end) = (&self.map, self.offset + self.map.pixels() * self.map.stride);
        for (i, &v) in self.buffer.as_slice().iter().enumerate() {
            let channel = i.checked_sub(self.offset).map(|at| at % m.stride);
            match channel.filter(|_| i < end) {
                Some(c) if c < m.c => {}
                Some(c) if c < m.lanes() => assert_eq!(v, 0.0, "padding channel {c}"),
                _ => assert_eq!(v, CANARY, "value {i} outside"),
            }
        }
    }
}

fn activate(act: Act, v: f64) -> f64 {
    match act {
        Act::None => v,
        Act::Silu => v / (1.0 + (-v).exp()),
        Act::Gelu => v * 0.5 * (1.0 + libm::erf(v / 2f64.sqrt())),
        Act::Leaky(slope) => {
            if v > 0.0 {
                v
            } else {
                f64::from(slope) * v
            }
        }
    }
}

/// One case: everything that a call can have.
struct Case {
    spec: ConvSpec,
    /// n, h, w of the map.
    size: [usize; 3],
    bias: bool,
    upsample: bool,
    pixel: bool,
    channel: bool,
    before: Act,
    add_channel: bool,
    after: Act,
    scale: f32,
    /// 0: nothing, 1: a map, 2: the map that is written.
    add: usize,
    wider: usize,
}

impl Case {
    fn new(cin: usize, cout: usize, kernel: usize, size: [usize; 3]) -> Self {
        let padding = Padding::same(kernel / 2, Border::Zero);
        Self {
            spec: ConvSpec { cin, cout, kernel, stride: 1, padding, shuffle: 1 },
            size,
            bias: true,
            upsample: false,
            pixel: false,
            channel: false,
            before: Act::None,
            add_channel: false,
            after: Act::None,
            scale: 1.0,
            add: 0,
            wider: 0,
        }
    }

    /// Runs at every level and with some numbers of threads; gives the largest relative error.
    fn check(&self) {
        let spec = &self.spec;
        let [n, h, w] = self.size;
        let mut noise = Noise(self.size.iter().fold(spec.cin * 31 + spec.cout, |a, s| a * 31 + s) as u64);
        let up = usize::from(self.upsample);
        let (oh, ow) = spec.size(h << up, w << up).unwrap();
        let weight = noise.many(spec.cout * spec.cin * spec.kernel * spec.kernel);
        let bias = noise.many(spec.cout);
        let x = Held::noisy([n, spec.cin, h, w], self.wider, &mut noise);
        let mut pixel = noise.many(n * h * w);
        let lanes = padded(spec.cin);
        let real = |i: usize| i % lanes < spec.cin;
        let mut scale: Vec<f32> =
            (0..n * lanes).map(|i| if real(i) { noise.next() + 1.5 } else { 0.0 }).collect();
        let mut shift: Vec<f32> = (0..n * lanes).map(|i| if real(i) { noise.next() } else { 0.0 }).collect();
        let (out_c, r) = (spec.out_channels(), spec.shuffle);
        let out_lanes = padded(out_c);
        let mut channel: Vec<f32> =
            (0..n * out_lanes).map(|i| if i % out_lanes < out_c { noise.next() } else { 0.0 }).collect();
        let shape = [n, out_c, oh * r, ow * r];
        let seed = noise.0;
        let addend = Held::noisy(shape, self.wider, &mut noise);

        let p = &spec.padding;
        let read = |n: usize, c: usize, y: usize, x_: usize| -> f64 {
            let inside =
                (p.top..p.top + (h << up)).contains(&y) && (p.left..p.left + (w << up)).contains(&x_);
            if p.border == Border::Zero && !inside {
                return 0.0;
            }
            let y = y.saturating_sub(p.top).min((h << up) - 1) >> up;
            let xx = x_.saturating_sub(p.left).min((w << up) - 1) >> up;
            let mut v = f64::from(x.get(n, c, y, xx));
            if self.pixel {
                v *= f64::from(pixel[(n * h + y) * w + xx]);
            }
            if self.channel {
                v = v * f64::from(scale[n * lanes + c]) + f64::from(shift[n * lanes + c]);
            }
            activate(self.before, v)
        };
        let mut wanted = vec![0.0f64; n * out_c * oh * r * ow * r];
        let k = spec.kernel;
        let mut window = vec![0.0; spec.cin * k * k];
        for b in 0..n {
            for y in 0..oh {
                for xx in 0..ow {
                    for c in 0..spec.cin {
                        for t in 0..k * k {
                            window[c * k * k + t] =
                                read(b, c, y * spec.stride + t / k, xx * spec.stride + t % k);
                        }
                    }
                    for co in 0..spec.cout {
                        let row = &weight[co * window.len()..][..window.len()];
                        let mut v: f64 = row.iter().zip(&window).map(|(a, b)| f64::from(*a) * b).sum();
                        if self.bias {
                            v += f64::from(bias[co]);
                        }
                        let (c, place) = (co / (r * r), co % (r * r));
                        if self.add_channel {
                            v += f64::from(channel[b * out_lanes + c]);
                        }
                        v = activate(self.after, v) * f64::from(self.scale);
                        let (py, px) = (y * r + place / r, xx * r + place % r);
                        if self.add > 0 {
                            v += f64::from(addend.get(b, c, py, px));
                        }
                        wanted[((b * out_c + c) * oh * r + py) * ow * r + px] = v;
                    }
                }
            }
        }

        let source = Source {
            map: x.map,
            upsample: self.upsample,
            pixel: self.pixel.then(|| Ptr::new(pixel.as_mut_ptr())),
            channel: self.channel.then(|| (Ptr::new(scale.as_mut_ptr()), Ptr::new(shift.as_mut_ptr()))),
            act: self.before,
            padding: None,
        };
        for level in Level::available() {
            let conv = Conv::new(level, spec, &weight, self.bias.then_some(&bias[..])).unwrap();
            let mut first: Option<Vec<f32>> = None;
            for threads in [1, 3] {
                let pool = Pool::new(threads);
                let need = conv.scratch(n, oh, ow, pool.threads());
                let mut scratch: Vec<Buffer> =
                    (0..pool.threads()).map(|_| Buffer::zeroed(need + MARGIN).unwrap()).collect();
                for s in &mut scratch {
                    // What other kernels leave behind must not matter.
                    s.as_mut_slice()[..need].fill(1e30);
                    s.as_mut_slice()[need..].fill(CANARY);
                }
                let y = if self.add == 2 {
                    Held::noisy(shape, self.wider, &mut Noise(seed))
                } else {
                    Held::new(shape, self.wider)
                };
                let add = [None, Some(addend.map), Some(y.map)][self.add];
                let post = Post {
                    channel: self.add_channel.then(|| Ptr::new(channel.as_mut_ptr())),
                    act: self.after,
                    scale: self.scale,
                    add,
                };
                let stop = AtomicBool::new(false);
                let cx = Context { level, pool: &pool, scratch: &scratch, stop: &stop };
                // SAFETY: everything is alive, of the sizes asked for, and apart.
                unsafe { conv.run(&cx, &source, &post, &y.map).unwrap() };
                y.check_edges();
                for s in &scratch {
                    assert!(s.as_slice()[need..].iter().all(|&v| v == CANARY), "scratch of {need} overrun");
                }
                let mut got = Vec::new();
                for b in 0..n {
                    for c in 0..out_c {
                        for py in 0..oh * r {
                            for px in 0..ow * r {
                                got.push(y.get(b, c, py, px));
                            }
                        }
                    }
                }
                let wrong: f64 = got.iter().zip(&wanted).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
                let power: f64 = wanted.iter().map(|w| w * w).sum();
                let error = (wrong / power).sqrt();
                assert!(
                    error <= 3e-6,
                    "{level}, {threads} threads, {spec:?} of {:?}: error {error}",
                    self.size
                );
                match &first {
                    None => first = Some(got),
                    Some(first) => assert!(*first == got, "{level}, {spec:?}: threads change the result"),
                }
            }
        }
    }
}

#[test]
fn sizes_and_channels() {
    for (cin, cout, size) in [
        (16, 16, [1, 1, 1]),
        (16, 3, [1, 5, 9]),
        (24, 24, [1, 9, 23]),
        (12, 12, [2, 13, 6]),
        (48, 48, [1, 17, 30]),
        (40, 80, [1, 8, 8]),
        (160, 96, [2, 10, 11]),
        (33, 130, [1, 4, 37]),
        (7, 5, [1, 6, 6]),
        (3, 32, [1, 11, 20]),
        (1, 1, [1, 3, 2]),
    ] {
        Case::new(cin, cout, 3, size).check();
    }
}

#[test]
fn large_maps() {
    Case::new(16, 32, 3, [1, 70, 130]).check();
    Case::new(3, 4, 3, [1, 50, 90]).check();
}

#[test]
fn other_kernels() {
    for (cin, cout, kernel, stride, size) in [
        (32, 40, 1, 1, [1, 7, 9]),
        (700, 48, 1, 1, [1, 3, 5]),
        (5, 7, 1, 1, [3, 4, 13]),
        (64, 300, 1, 1, [1, 1, 1]),
        (64, 272, 1, 1, [1, 8, 12]),
        (32, 48, 3, 2, [1, 9, 14]),
        (100, 20, 3, 2, [2, 8, 8]),
        (3, 17, 3, 2, [1, 7, 7]),
        (3, 2, 5, 1, [1, 7, 6]),
        (20, 18, 5, 1, [1, 6, 11]),
        (4, 4, 2, 2, [1, 6, 8]),
    ] {
        let mut case = Case::new(cin, cout, kernel, size);
        case.spec.stride = stride;
        case.check();
        case.wider = 16;
        case.spec.padding = Padding { top: 0, left: 0, bottom: 1, right: 1, border: Border::Zero };
        case.check();
        case.spec.padding.border = Border::Replicate;
        case.check();
        if kernel <= size[1] && kernel <= size[2] {
            case.spec.padding = Padding::NONE;
            case.check();
        }
    }
}

#[test]
fn everything_around() {
    for (cin, kernel) in [(20, 3), (4, 3), (20, 1), (18, 5)] {
        for (i, act) in [Act::None, Act::Silu, Act::Gelu, Act::Leaky(0.1)].into_iter().enumerate() {
            let mut case = Case::new(cin, 40, kernel, [2, 6, 7]);
            case.before = act;
            case.after = [Act::Leaky(0.2), Act::Gelu, Act::Silu, Act::None][i];
            case.spec.padding.border = [Border::Zero, Border::Replicate][i % 2];
            case.upsample = i < 2;
            case.pixel = i != 2;
            case.channel = i != 0;
            case.add_channel = i > 1;
            case.scale = [1.0, 0.3, -2.0, 1.5][i];
            case.add = i % 3;
            case.bias = i != 3;
            case.wider = [0, 16][i / 2];
            case.check();
        }
    }
}

#[test]
fn shuffles() {
    for (cin, kernel) in [(32, 3), (32, 1), (3, 3)] {
        for (shuffle, channels) in [(2, 3), (2, 24), (3, 5), (4, 3)] {
            let mut case = Case::new(cin, channels * shuffle * shuffle, kernel, [2, 5, 6]);
            case.spec.shuffle = shuffle;
            case.check();
            case.add = 1;
            case.scale = 0.5;
            case.after = Act::Leaky(0.1);
            case.wider = 16;
            case.check();
        }
    }
}

#[test]
fn long_sums() {
    Case::new(640, 32, 3, [1, 8, 8]).check();
    let mut case = Case::new(512, 16, 3, [1, 8, 8]);
    case.spec.stride = 2;
    case.check();
    Case::new(2560, 32, 1, [1, 5, 5]).check();
}

#[test]
fn wrong_shapes_are_errors() {
    let level = Level::detect(None);
    let spec = Case::new(16, 16, 3, [1, 4, 4]).spec;
    let weight = vec![0.0; 16 * 16 * 9];
    assert!(Conv::new(level, &spec, &weight[1..], None).is_err());
    assert!(Conv::new(level, &ConvSpec { shuffle: 3, ..spec.clone() }, &weight, None).is_err());
    let conv = Conv::new(level, &spec, &weight, None).unwrap();
    assert!(conv.bytes() >= 36 * 16 * 16 * 4);
    assert_eq!(conv.spec(), &spec);
    let (x, y) = (Held::new([1, 16, 4, 4], 0), Held::new([1, 16, 4, 5], 0));
    let (pool, stop) = (Pool::new(1), AtomicBool::new(false));
    let cx = Context { level, pool: &pool, scratch: &[], stop: &stop };
    let source =
        Source { map: x.map, upsample: false, pixel: None, channel: None, act: Act::None, padding: None };
    let post = Post { channel: None, act: Act::None, scale: 1.0, add: None };
    // SAFETY: nothing is run.
    assert!(unsafe { conv.run(&cx, &source, &post, &y.map) }.is_err());
}
