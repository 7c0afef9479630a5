//! The curve of a colour profile, for pictures that are not stored with it: linear light and perceptual ones. The network
//! then sees the numbers that it would see were the picture stored in 8 bits, and what it makes goes back exactly.

/// Steps of the table: its values are within 1e-6 of a curve of gamma 2.2.
const STEPS: usize = 1023;

/// Deviation up to which two curves are the same.
const SAME: f32 = 1e-4;
/// Deviation of a profile's black and white from 0 and 1: babl computes some curves by approximation.
const END: f32 = 1e-3;

/// From encoded values, evenly spaced in `[0, 1]`, to light; straight lines between them, and so invertible without loss.
struct Channel {
    light: Vec<f32>,
    /// Above 1 the curve goes on as this power, without a bend.
    power: f32,
}

/// One curve per colour.
pub(crate) struct Tone(Vec<Channel>);

impl Tone {
    /// What to ask the profile for: `colours` equal samples for each value of the table.
    pub(crate) fn questions(colours: usize) -> Vec<f32> {
        (0..=STEPS).flat_map(|i| std::iter::repeat_n(i as f32 / STEPS as f32, colours)).collect()
    }

    /// The curve from the profile's answers. `None` where it is no help: linear, as the network wants values as eyes
    /// see them; sRGB's own, which needs no table; or not invertible.
    pub(crate) fn new(answers: &[f32], colours: usize) -> Option<Self> {
        let channels: Vec<Channel> = (0..colours)
            .map(|c| Channel::new(answers.iter().skip(c).step_by(colours).copied().collect()))
            .collect::<Option<_>>()?;
        let is = |curve: fn(f32) -> f32| channels.iter().all(|channel| channel.is(curve));
        (!is(|v| v) && !is(srgb)).then_some(Self(channels))
    }

    /// Light to encoded values, in pixels of `samples` samples; those behind the colours stay.
    pub(crate) fn encode(&self, pixels: &mut [u8], samples: usize) {
        self.each(pixels, samples, Channel::encode);
    }

    /// Encoded values to light.
    pub(crate) fn decode(&self, pixels: &mut [u8], samples: usize) {
        self.each(pixels, samples, Channel::decode);
    }

    fn each(&self, pixels: &mut [u8], samples: usize, change: fn(&Channel, f32) -> f32) {
        for pixel in pixels.chunks_exact_mut(4 * samples) {
            for (channel, sample) in self.0.iter().zip(pixel.as_chunks_mut::<4>().0) {
                *sample = change(channel, f32::from_ne_bytes(*sample)).to_ne_bytes();
            }
        }
    }
}

impl Channel {
    fn new(mut light: Vec<f32>) -> Option<Self> {
        let (first, last) = (*light.first()?, *light.last()?);
        if first.abs() > END || (last - 1.0).abs() > END {
            return None;
        }
        *light.first_mut()? = 0.0;
        // Where it stands still or dips a little it is made to rise, so that every light has one value.
        let mut below = 0.0f32;
        for light in light.iter_mut().skip(1) {
            // False for what is not a number, too.
            let rises = *light >= below - END;
            if !rises {
                return None;
            }
            *light = light.max(below * (1.0 + 1e-6) + 1e-9);
            below = *light;
        }
        light.iter_mut().for_each(|light| *light /= below);
        let power = ((1.0 - light.get(STEPS - 1)?) * STEPS as f32).clamp(1.0, 4.0);
        Some(Self { light, power })
    }

    fn is(&self, curve: fn(f32) -> f32) -> bool {
        self.light.iter().enumerate().all(|(i, light)| (curve(i as f32 / STEPS as f32) - light).abs() <= SAME)
    }

    /// Colours beyond what can be shown are mirrored at black, as in extended sRGB.
    fn encode(&self, light: f32) -> f32 {
        let size = light.abs();
        let value = if size < 1.0 {
            let above = self.light.partition_point(|l| *l <= size).clamp(1, STEPS);
            let (low, high) = (self.light[above - 1], self.light[above]);
            ((above - 1) as f32 + (size - low) / (high - low)) / STEPS as f32
        } else {
            size.powf(1.0 / self.power)
        };
        value.copysign(light)
    }

    fn decode(&self, value: f32) -> f32 {
        let size = value.abs();
        let light = if size < 1.0 {
            let at = size * STEPS as f32;
            let below = (at as usize).min(STEPS - 1);
            let (low, high) = (self.light[below], self.light[below + 1]);
            low + (high - low) * (at - below as f32)
        } else {
            size.powf(self.power)
        };
        light.copysign(value)
    }
}

/// The curve of sRGB, from encoded values to light.
fn srgb(value: f32) -> f32 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(curve: impl Fn(f32, usize) -> f32, colours: usize) -> Vec<f32> {
        Tone::questions(colours).iter().enumerate().map(|(i, v)| curve(*v, i % colours)).collect()
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_ne_bytes()).collect()
    }

    fn values(bytes: &[u8]) -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
    }

    #[test]
    fn curves_that_are_no_help() {
        assert!(Tone::new(&answers(|v, _| v, 3), 3).is_none());
        assert!(Tone::new(&answers(|v, _| srgb(v), 1), 1).is_none());
        assert!(Tone::new(&answers(|v, _| 1.0 - v, 1), 1).is_none());
        assert!(Tone::new(&answers(|v, _| v * f32::NAN, 1), 1).is_none());
        assert!(Tone::new(&answers(|v, _| 0.5 * v.powf(2.2), 1), 1).is_none());
        assert!(Tone::new(&[], 3).is_none());
    }

    #[test]
    fn each_colour_has_its_curve_and_alpha_none() {
        let powers = [1.8, 2.2, 2.6];
        let tone = Tone::new(&answers(|v, c| v.powf(powers[c]), 3), 3).unwrap();
        let mut pixels = bytes(&[0.2, 0.2, 0.2, 0.2, 1.0, 0.0, 0.5, 0.7]);
        tone.encode(&mut pixels, 4);
        let want = [0.2f32.powf(1.0 / 1.8), 0.2f32.powf(1.0 / 2.2), 0.2f32.powf(1.0 / 2.6), 0.2];
        for (got, want) in values(&pixels).iter().zip(want) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
        assert_eq!(values(&pixels)[4..6], [1.0, 0.0]);
        assert_eq!(values(&pixels)[7], 0.7);
    }

    #[test]
    fn what_was_encoded_comes_back() {
        comes_back(|v| v.powf(2.2));
        // Shadows cut off, and the small dips of an approximation.
        comes_back(|v| (v - 0.1).max(0.0) / 0.9);
        comes_back(|v| v.powf(1.8) + 2e-4 * (v * 700.0).sin() * v * (1.0 - v));
    }

    fn comes_back(curve: fn(f32) -> f32) {
        let tone = Tone::new(&answers(|v, _| curve(v), 1), 1).unwrap();
        let light: Vec<f32> =
            (-300..=3000).map(|i| i as f32 / 1000.0).chain([1e-7, 1e-4, -1e-5, 64.0]).collect();
        let mut there = bytes(&light);
        tone.encode(&mut there, 1);
        let encoded = values(&there);
        assert!(encoded[..3301].is_sorted_by(|a, b| a < b));
        let mut back = there;
        tone.decode(&mut back, 1);
        for (was, is) in light.iter().zip(values(&back)) {
            assert!((was - is).abs() <= 4e-7 * was.abs().max(0.1), "{was} {is}");
        }
        let mut odd = bytes(&[f32::NAN, f32::INFINITY, -0.0]);
        tone.encode(&mut odd, 1);
        assert!(values(&odd)[0].is_nan() && values(&odd)[1] == f32::INFINITY && values(&odd)[2] == 0.0);
    }
}
