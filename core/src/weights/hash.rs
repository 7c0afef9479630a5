//! Weights that are a function of their name, so that full-width tests need no stored weights.
//! FNV-1a (Fowler, Noll, Vo) of the name, SplitMix64 (Steele et al., OOPSLA 2014) of the element.

use crate::error::{Error, Result};
use crate::weights::source::{WeightSource, elements};

/// Made-up weights of the published network, for one file of it. Every name exists, with every shape.
#[derive(Clone, Debug)]
pub struct HashWeights {
    file: String,
    names: Vec<String>,
}

impl HashWeights {
    /// Weights of `file`: `unet_stage0` to `unet_stage3`, `fa_vae` or `routed`.
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), names: Vec::new() }
    }

    /// Hands out `names` as the names there are.
    #[must_use]
    pub fn with_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }
}

impl WeightSource for HashWeights {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count = elements(shape).filter(|&n| n <= 1 << 30);
        let count = count.ok_or_else(|| Error::limit(format!("{name}: shape {shape:?} is too large")))?;
        let hash = fnv1a(&format!("{}/{name}", self.file));
        let (offset, scale) = range(name, shape);
        // One rounding at the end; multiply, then add.
        Ok((0..count as u64).map(|i| (offset + scale * unit(hash, i)) as f32).collect())
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Element `i` in `[-1, 1)`, a multiple of 2^-23.
fn unit(hash: u64, i: u64) -> f64 {
    let mut z = hash.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    ((z >> 40) as f64 - 8_388_608.0) / 8_388_608.0
}

/// Middle and half width of a tensor's values: chosen so that activations stay near 1.
fn range(name: &str, shape: &[usize]) -> (f64, f64) {
    let last = name.rsplit('.').next().unwrap_or(name);
    let fan = |from: usize| shape.iter().skip(from).product::<usize>().max(1) as f64;
    match last {
        "running_var" => (1.0, 0.25),
        "running_mean" => (0.0, 0.1),
        "b1" | "b2" => (0.0, 0.05),
        "w1" | "w2" => (0.0, 0.3 * (3.0 / shape.get(2).map_or(1.0, |&n| n as f64)).sqrt()),
        _ if name.ends_with("embedding.weight") => (0.0, 16.0),
        _ if name == "post_quant_conv.weight" => (0.0, 0.125),
        "weight" if shape.len() == 1 => (1.0, 0.1),
        _ if shape.len() == 1 => (0.0, 0.1),
        _ => (0.0, (3.0 / fan(1)).sqrt()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven known answers of the vectors' description: hash, integer, value, bits.
    #[test]
    fn elements_equal_the_known_answers() {
        let stage0: &[usize] = &[640, 160];
        type Case<'a> = (&'a str, &'a str, &'a [usize], u64, u64, i32, u32);
        let cases: [Case<'_>; 7] = [
            ("unet_stage0", "time_embed.0.weight", stage0, 0, 0x1ae9_f797_5a09_4b78, 6_330_632, 0x3dd3_a298),
            (
                "unet_stage0",
                "time_embed.0.weight",
                stage0,
                102_399,
                0x1ae9_f797_5a09_4b78,
                949_396,
                0x3c7d_e8b3,
            ),
            (
                "unet_stage3",
                "input_blocks.0.0.weight",
                &[160, 6, 3, 3],
                1,
                0xedef_2f74_da8d_abeb,
                3_520_108,
                0x3dca_9017,
            ),
            (
                "fa_vae",
                "quantize.embedding.weight",
                &[8192, 3],
                0,
                0xd0f6_1d23_cf87_0f0e,
                -6_427_357,
                0xc144_25ba,
            ),
            ("fa_vae", "decoder.norm_out.weight", &[128], 5, 0xb7a0_6748_d94b_5913, 2_536_305, 0x3f83_debe),
            (
                "fa_vae",
                "decoder.unet_1.conv1.filter.w1",
                &[2, 8, 16, 16],
                7,
                0x162b_6f34_f824_2ce1,
                -1_936_428,
                0xbcf5_a758,
            ),
            (
                "fa_vae",
                "decoder.unet_1.conv1.mlp.block.exp_1x1.block.norm.running_var",
                &[512],
                511,
                0xf079_1fac_68b3_378f,
                -4_594_200,
                0x3f5c_f2f4,
            ),
        ];
        for (file, name, shape, i, hash, k, bits) in cases {
            assert_eq!(fnv1a(&format!("{file}/{name}")), hash, "{name}");
            assert_eq!(unit(hash, i) * 8_388_608.0, f64::from(k), "{name}");
            let values = HashWeights::new(file).read_f32(name, shape).unwrap();
            assert_eq!(values.len(), elements(shape).unwrap());
            assert_eq!(values[i as usize].to_bits(), bits, "{name}");
        }
        assert_eq!((fnv1a(""), fnv1a("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert!(HashWeights::new("x").read_f32("a", &[1 << 40]).is_err());
    }
}
