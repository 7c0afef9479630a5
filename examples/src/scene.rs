//! The demo's scene: a shore with a striped lighthouse, a turning mill, woven cloth, leaves and a moving sign.
//!
//! Drawn four times larger than the clip and averaged over 4 x 4, as a camera would: the result has detail that a
//! plain enlargement cannot give back.

use crate::letters;

/// How many times larger than the clip the scene is drawn.
pub const OVERSAMPLING: u32 = 4;

type Rgb = [f32; 3];

fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    let t = t.clamp(0.0, 1.0);
    [0, 1, 2].map(|c| a[c] + (b[c] - a[c]) * t)
}

/// A number in `[0, 1]` for a point of a grid (integer hash, so that it is the same everywhere).
fn hash(x: i32, y: i32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    (h ^ (h >> 15)) as f32 / u32::MAX as f32
}

/// Smooth noise in `[0, 1]` with one bump per unit.
fn noise(x: f32, y: f32) -> f32 {
    let (x0, y0) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (smooth(x - x0), smooth(y - y0));
    let at = |dx: i32, dy: i32| hash(x0 as i32 + dx, y0 as i32 + dy);
    let top = at(0, 0) + (at(1, 0) - at(0, 0)) * fx;
    let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * fx;
    top + (bottom - top) * fy
}

/// Four octaves of [`noise`].
fn fractal(x: f32, y: f32) -> f32 {
    (0..4).map(|o| noise(x * 2f32.powi(o), y * 2f32.powi(o)) * 0.5f32.powi(o + 1)).sum()
}

/// 1 inside, 0 outside, one pixel wide in between; `depth` in pixels, positive inside.
fn inside(depth: f32) -> f32 {
    (depth + 0.5).clamp(0.0, 1.0)
}

/// One frame of the scene.
pub struct Scene {
    time: f32,
    sign: Vec<[f32; 4]>,
    small: Vec<[f32; 4]>,
}

impl Scene {
    /// The scene after `time` seconds.
    pub fn at(time: f32) -> Self {
        Self {
            time,
            sign: letters::segments("HARBOUR 1874", 34.0),
            small: letters::segments("FINE PRINT: 2 BOATS, NO. 365", 17.0),
        }
    }

    /// Colour at a point of the large drawing of 640 x 384 pixels.
    fn colour(&self, x: f32, y: f32) -> Rgb {
        let mut c = self.far(x, y);
        c = self.lighthouse(c, x, y);
        c = self.mill(c, x, y);
        c = self.near(c, x, y);
        self.signs(c, x, y)
    }

    /// Sky with clouds, hills, water with ripples.
    fn far(&self, x: f32, y: f32) -> Rgb {
        let sky = mix([0.30, 0.50, 0.78], [0.93, 0.86, 0.74], y / 190.0);
        let clouds = fractal((x + self.time * 18.0) / 150.0, y / 60.0);
        let sky = mix(sky, [0.98, 0.97, 0.96], (clouds - 0.45) * 4.0);
        let ridge = 150.0 + 26.0 * noise(x / 90.0, 3.5) + 8.0 * noise(x / 14.0, 9.0);
        let trees = fractal(x / 9.0, y / 7.0);
        let hill = mix([0.16, 0.25, 0.20], [0.40, 0.47, 0.33], trees);
        let c = mix(sky, hill, inside(y - ridge));
        let wave = noise(x / 24.0 + self.time * 0.7, (y - 190.0).max(0.0).sqrt() * 3.0 - self.time);
        let water = mix([0.10, 0.24, 0.34], [0.56, 0.70, 0.78], wave * wave);
        mix(c, water, inside(y - 190.0))
    }

    /// A tower with slanted stripes, windows and a fine railing.
    fn lighthouse(&self, c: Rgb, x: f32, y: f32) -> Rgb {
        let half = 27.0 + (y - 60.0) * 0.07;
        let tower = inside(half - (x - 108.0).abs()) * inside(y - 60.0) * inside(250.0 - y);
        let stripe = ((x - 108.0) * 0.62 + y).rem_euclid(56.0);
        let paint = mix([0.90, 0.88, 0.84], [0.72, 0.16, 0.13], inside(28.0 - stripe) * inside(stripe));
        let round = 1.0 - 0.55 * ((x - 96.0) / half).abs().powi(2);
        let mut paint = paint.map(|v| v * round);
        let window =
            inside(5.0 - (x - 108.0).abs()) * inside(9.0 - ((y - 90.0).rem_euclid(52.0) - 26.0).abs());
        paint = mix(paint, [0.08, 0.09, 0.12], window);
        let mut c = mix(c, paint, tower);
        let roof = inside((y - 14.0) * 0.95 - (x - 108.0).abs()) * inside(42.0 - y);
        c = mix(c, [0.20, 0.10, 0.10], roof);
        let lamp = inside(17.0 - (x - 108.0).abs()) * inside(y - 42.0) * inside(60.0 - y);
        let glow = 0.7 + 0.3 * (self.time * 3.0).sin();
        c = mix(c, [1.0, 0.93 * glow, 0.55 * glow], lamp);
        let post = inside(1.0 - ((x - 108.0).rem_euclid(7.0) - 3.5).abs());
        let rail = (inside(1.2 - (y - 49.0).abs()) + post * inside(y - 49.0)).min(1.0);
        mix(c, [0.10, 0.10, 0.11], rail * inside(36.0 - (x - 108.0).abs()) * inside(62.0 - y))
    }

    /// A mill whose latticed sails turn: diagonal edges at every angle.
    fn mill(&self, c: Rgb, x: f32, y: f32) -> Rgb {
        let half = 20.0 + (y - 110.0) * 0.16;
        let house = inside(half - (x - 470.0).abs()) * inside(y - 110.0) * inside(262.0 - y);
        let row = (y / 7.0).floor();
        let brick = (x + row.rem_euclid(2.0) * 8.0).rem_euclid(16.0);
        let joint = inside(0.9 - (y.rem_euclid(7.0) - 3.5).abs() + 2.6 - 3.5 + 0.9).max(inside(1.0 - brick));
        let tone = hash(((x + row.rem_euclid(2.0) * 8.0) / 16.0).floor() as i32, row as i32);
        let wall = mix(mix([0.46, 0.24, 0.17], [0.66, 0.38, 0.27], tone), [0.78, 0.74, 0.68], joint * 0.8);
        let mut c = mix(c, wall, house);
        let (dx, dy) = (x - 470.0, y - 112.0);
        for arm in 0..4 {
            let (sin, cos) = (self.time * 0.55 + 0.35 + arm as f32 * std::f32::consts::FRAC_PI_2).sin_cos();
            let (along, across) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let beam = inside(2.2 - across.abs()) * inside(98.0 - along) * inside(along);
            let lattice = inside(1.0 - ((along - 24.0).rem_euclid(9.0) - 4.5).abs())
                .max(inside(1.0 - ((across).rem_euclid(9.0) - 4.5).abs()));
            let sail = inside(97.0 - along) * inside(along - 22.0) * inside(across) * inside(24.0 - across);
            c = mix(c, [0.93, 0.90, 0.82], sail * 0.35);
            c = mix(c, [0.24, 0.16, 0.11], (sail * lattice).max(beam));
        }
        mix(c, [0.15, 0.12, 0.10], inside(7.0 - dx.hypot(dy)))
    }

    /// A meadow of leaves on the left, a woven cloth on the right.
    fn near(&self, c: Rgb, x: f32, y: f32) -> Rgb {
        let bank = 246.0 + 12.0 * noise(x / 70.0, 21.0) + 5.0 * noise(x / 5.0, 2.0);
        let blade = fractal(x / 7.0 + y / 19.0 + 0.4 * (self.time * 1.3 + x / 60.0).sin(), y / 22.0);
        let meadow = mix([0.07, 0.15, 0.05], [0.62, 0.70, 0.28], (blade - 0.22) * 1.9);
        let flower = hash((x / 11.0).floor() as i32, (y / 11.0).floor() as i32);
        let (fx, fy) = (x.rem_euclid(11.0) - 5.5, y.rem_euclid(11.0) - 5.5);
        let petal = if flower > 0.86 { inside(3.4 - fx.hypot(fy)) } else { 0.0 };
        let meadow = mix(meadow, mix([0.95, 0.80, 0.20], [0.93, 0.93, 0.97], flower * 7.0 - 6.2), petal);
        let mut c = mix(c, meadow, inside(y - bank));
        // The cloth: threads over and under, a plaid of two colours.
        let edge = inside((x - 392.0) * 0.9 - (384.0 - y) * 0.35) * inside(y - 262.0);
        let (u, v) = (x * 0.94 + y * 0.34, y * 0.94 - x * 0.34);
        let over = ((u / 5.0).floor() + (v / 5.0).floor()).rem_euclid(2.0) < 1.0;
        let thread = if over { v.rem_euclid(5.0) } else { u.rem_euclid(5.0) };
        let shade = 0.55 + 0.45 * (1.0 - ((thread - 2.5) / 2.5).powi(2));
        let plaid = |t: f32| t.rem_euclid(60.0) < 22.0;
        let dye = if plaid(if over { v } else { u }) { [0.16, 0.24, 0.52] } else { [0.80, 0.70, 0.52] };
        c = mix(c, dye.map(|d: f32| d * shade), edge);
        c
    }

    /// A board with lettering that slides along, and a line of small print.
    fn signs(&self, c: Rgb, x: f32, y: f32) -> Rgb {
        let left = 176.0 - self.time * 14.0;
        let wide = letters::width("HARBOUR 1874", 34.0) + 28.0;
        let board = inside(x - left) * inside(left + wide - x) * inside(y - 280.0) * inside(342.0 - y);
        let grain = noise(x / 40.0 - left / 40.0, y / 2.5);
        let mut c = mix(c, mix([0.20, 0.31, 0.29], [0.28, 0.40, 0.36], grain), board);
        let ink = match board > 0.0 {
            true => letters::coverage(&self.sign, x - left - 14.0, y - 294.0, 4.6) * board,
            false => 0.0,
        };
        c = mix(c, [0.96, 0.92, 0.78], ink);
        let strip = inside(y - 352.0) * inside(376.0 - y) * inside(x - 14.0) * inside(462.0 - x);
        c = mix(c, [0.95, 0.94, 0.90], strip);
        if strip > 0.0 {
            c = mix(c, [0.10, 0.10, 0.14], letters::coverage(&self.small, x - 24.0, y - 356.0, 2.4) * strip);
        }
        c
    }

    /// RGB bytes of a frame of `width` x `height` pixels (as designed: 160 x 96).
    pub fn frame(&self, width: u32, height: u32) -> Vec<u8> {
        let n = OVERSAMPLING;
        let (sx, sy) = (160.0 / width as f32, 96.0 / height as f32);
        let mut out = Vec::with_capacity(width as usize * height as usize * 3);
        for y in 0..height {
            for x in 0..width {
                let mut sum = [0.0; 3];
                for i in 0..n * n {
                    let px = (x * n + i % n) as f32 * sx + 0.5;
                    let py = (y * n + i / n) as f32 * sy + 0.5;
                    let c = self.colour(px, py);
                    sum = [0, 1, 2].map(|k| sum[k] + c[k].clamp(0.0, 1.0));
                }
                out.extend(sum.map(|v| (v / (n * n) as f32 * 255.0).round() as u8));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_move_and_hold_detail() {
        let (a, b) = (Scene::at(0.0).frame(160, 96), Scene::at(0.5).frame(160, 96));
        assert_eq!(a.len(), 160 * 96 * 3);
        let changed = a.iter().zip(&b).filter(|(x, y)| x.abs_diff(**y) > 4).count();
        assert!(changed > a.len() / 20, "{changed} samples move");
        let steps = a.windows(4).filter(|w| w[0].abs_diff(w[3]) > 24).count();
        assert!(steps > a.len() / 20, "{steps} edges");
    }
}
