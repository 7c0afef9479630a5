//! With a model that adds nothing, what comes out is the bicubic enlargement of what went in: the element's conversion
//! between YUV and RGB shows nowhere. Held against the planes enlarged one by one, in f64.

use gst::prelude::*;
use ssmoesr_tests::models::TestModel;

use crate::util::harness_with;

const W: usize = 96;
const H: usize = 80;
const SCALE: usize = 4;

/// Cubic convolution with a = -0.5 (Keys 1981, Eq. 15).
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

/// A plane of codes.
struct Plane {
    width: usize,
    height: usize,
    codes: Vec<f64>,
}

impl Plane {
    /// Enlarged; output sample i lies at input position `(i + shift) / SCALE - shift` along each side.
    fn enlarged(&self, shift: (f64, f64)) -> Plane {
        let (width, height) = (self.width * SCALE, self.height * SCALE);
        let taps = |i: usize, shift: f64, n: usize| {
            let at = (i as f64 + shift) / SCALE as f64 - shift;
            let first = at.floor() as isize - 1;
            [0, 1, 2, 3].map(|k| {
                let tap = first + k;
                (tap.clamp(0, n as isize - 1) as usize, cubic(at - tap as f64))
            })
        };
        let mut codes = Vec::with_capacity(width * height);
        for y in 0..height {
            let rows = taps(y, shift.1, self.height);
            for x in 0..width {
                let columns = taps(x, shift.0, self.width);
                let line =
                    |r: usize| columns.iter().map(|(c, w)| w * self.codes[r * self.width + c]).sum::<f64>();
                codes.push(rows.iter().map(|(r, w)| w * line(*r)).sum());
            }
        }
        Plane { width, height, codes }
    }
}

/// A picture as cameras see it: shading, round things with soft edges, some texture. Y, U and V at any position, in
/// `[0, 1]` and `[-0.5, 0.5]`.
fn scene(x: f64, y: f64) -> [f64; 3] {
    let disc = |cx: f64, cy: f64, r: f64| 1.0 / (1.0 + (((x - cx).hypot(y - cy) - r) / 1.5).exp());
    let (a, b) = (disc(30.0, 28.0, 17.0), disc(66.0, 50.0, 21.0));
    let texture = 0.06 * (0.9 * x + 0.3 * y).sin() * (0.7 * y).cos();
    let luma = 0.2 + 0.004 * x + 0.35 * a + 0.25 * b + texture * (1.0 - a);
    let u = 0.25 * a - 0.2 * b + 0.1 * (x / 23.0).sin();
    let v = -0.15 * a + 0.3 * b + 0.1 * (y / 19.0).cos();
    [luma, u, v]
}

/// One of the cases that the element must get right.
#[derive(Clone, Copy, Debug)]
struct Case {
    format: &'static str,
    bits: u32,
    full: bool,
    /// Chroma on even columns (mpeg2) or between them (jpeg).
    cosited: bool,
}

impl Case {
    fn caps(&self) -> String {
        let range = if self.full { 1 } else { 2 };
        let site = if self.cosited { "mpeg2" } else { "jpeg" };
        format!(
            "video/x-raw,format={},width={W},height={H},framerate=25/1,colorimetry=(string){range}:3:5:1,chroma-site={site}",
            self.format
        )
    }

    fn codes(&self) -> ([f64; 2], [f64; 2]) {
        let unit = f64::from(1u32 << (self.bits - 8));
        let top = f64::from((1u32 << self.bits) - 1);
        if self.full {
            ([0.0, top], [128.0 * unit, top])
        } else {
            ([16.0 * unit, 219.0 * unit], [128.0 * unit, 224.0 * unit])
        }
    }

    /// Y, U and V as codes.
    fn planes(&self) -> [Plane; 3] {
        let ([black, luma], [zero, chroma]) = self.codes();
        let left = if self.cosited { 0.0 } else { 0.5 };
        [0, 1, 2].map(|c| {
            let (w, h) = if c == 0 { (W, H) } else { (W / 2, H / 2) };
            let codes = (0..w * h).map(|i| {
                let (x, y) = ((i % w) as f64, (i / w) as f64);
                if c == 0 {
                    (black + luma * scene(x, y)[0]).round()
                } else {
                    (zero + chroma * scene(2.0 * x + left, 2.0 * y + 0.5)[c]).round()
                }
            });
            Plane { width: w, height: h, codes: codes.collect() }
        })
    }
}

fn psnr(a: &[f64], b: &[f64], top: f64) -> f64 {
    let mse = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64;
    10.0 * (top * top / mse.max(1e-12)).log10()
}

#[test]
fn nothing_but_bicubic_is_added() {
    crate::util::init();
    let model = TestModel::bicubic();
    let mut seen = 0;
    for (format, bits) in [("I420", 8), ("I420_10LE", 10)] {
        for full in [false, true] {
            for cosited in [false, true] {
                check(&model, Case { format, bits, full, cosited });
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 8);
}

fn check(model: &TestModel, case: Case) {
    let caps: gst::Caps = case.caps().parse().unwrap();
    let info = gst_video::VideoInfo::from_caps(&caps).unwrap();
    let planes = case.planes();
    let wide = case.bits > 8;
    let mut bytes = vec![0; info.size()];
    for (p, plane) in planes.iter().enumerate() {
        for (i, code) in plane.codes.iter().enumerate() {
            let (x, y) = (i % plane.width, i / plane.width);
            let at = info.offset()[p] + y * info.stride()[p] as usize;
            if wide {
                bytes[at + 2 * x..][..2].copy_from_slice(&(*code as u16).to_le_bytes());
            } else {
                bytes[at + x] = *code as u8;
            }
        }
    }
    let mut harness = harness_with("4", &case.caps(), |e| e.set_property("model", model.path()));
    harness.push(gst::Buffer::from_mut_slice(bytes)).unwrap();
    let out = harness.pull().unwrap();
    let out_caps = harness.element().unwrap().static_pad("src").unwrap().current_caps().unwrap();
    let out_info = gst_video::VideoInfo::from_caps(&out_caps).unwrap();
    assert_eq!(out_info.colorimetry(), info.colorimetry());
    assert_eq!(out_info.chroma_site(), info.chroma_site());
    let map = out.map_readable().unwrap();
    let top = f64::from((1u32 << case.bits) - 1);
    let mut line = format!("{case:?}:");
    for (p, plane) in planes.iter().enumerate() {
        // Luma and centred chroma lie in the middle of their cells; cosited chroma lies a quarter left of it.
        let across = if p > 0 && case.cosited { 0.25 } else { 0.5 };
        let want = plane.enlarged((across, 0.5));
        let read = |i: usize| {
            let (x, y) = (i % want.width, i / want.width);
            let at = out_info.offset()[p] + y * out_info.stride()[p] as usize;
            if wide {
                f64::from(u16::from_le_bytes([map[at + 2 * x], map[at + 2 * x + 1]]))
            } else {
                f64::from(map[at + x])
            }
        };
        let found: Vec<f64> = (0..want.width * want.height).map(read).collect();
        let codes: Vec<f64> = want.codes.iter().map(|v| v.round().clamp(0.0, top)).collect();
        if p == 0 {
            let worst = found.iter().zip(&codes).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            line += &format!(" luma within {worst}");
            assert!(worst <= 1.0, "{case:?}: luma differs by {worst} codes");
        } else {
            let db = psnr(&found, &want.codes, top);
            line += &format!(" chroma {db:.1} dB");
            assert!(db >= 55.0, "{case:?}: plane {p} at {db:.1} dB");
        }
    }
    println!("{line}");
}
