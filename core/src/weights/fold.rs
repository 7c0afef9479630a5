//! Space experts: their mean is the feed-forward of inference (arXiv 2310.12004 Eq. 4), what training does to them is Eq. 5.

use crate::error::Result;

/// Mean of `count` equally long tensors, accumulated in f64, and the largest distance of any value from it.
/// `read` hands out tensor `i` and is asked twice for each, so that only one is held at a time.
///
/// # Errors
/// Those of `read`.
pub fn fold(count: usize, mut read: impl FnMut(usize) -> Result<Vec<f32>>) -> Result<(Vec<f32>, f64)> {
    if count == 1 {
        return Ok((read(0)?, 0.0));
    }
    let mut sum: Vec<f64> = Vec::new();
    for i in 0..count {
        let values = read(i)?;
        sum.resize(values.len(), 0.0);
        sum.iter_mut().zip(&values).for_each(|(s, &v)| *s += f64::from(v));
    }
    sum.iter_mut().for_each(|s| *s /= count as f64);
    let mut deviation = 0.0f64;
    for i in 0..count {
        let values = read(i)?;
        deviation = sum.iter().zip(&values).fold(deviation, |d, (&s, &v)| d.max((f64::from(v) - s).abs()));
    }
    Ok((sum.into_iter().map(|s| s as f32).collect(), deviation))
}

/// One sharing step of training, Eq. 5: each expert moves towards the mean of the others, all from old values.
/// (The published code updates while it reads; see `weight_averaging` there. This is the equation.)
pub fn share(experts: &[Vec<f32>], gamma: f64) -> Vec<Vec<f32>> {
    let count = experts.len();
    let length = experts.first().map_or(0, Vec::len);
    let sum = |i: usize| experts.iter().filter_map(|e| e.get(i)).map(|&v| f64::from(v)).sum::<f64>();
    let sums: Vec<f64> = (0..length).map(sum).collect();
    let others = count.saturating_sub(1).max(1) as f64;
    let moved = |&own: &f32, sum: &f64| {
        let own = f64::from(own);
        if count < 2 { own as f32 } else { (gamma * own + (1.0 - gamma) * (sum - own) / others) as f32 }
    };
    experts.iter().map(|e| e.iter().zip(&sums).map(|(v, s)| moved(v, s)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::weights::Store;
    use crate::weights::WeightSource;
    use crate::weights::import_tests::vectors;

    #[test]
    fn the_mean_is_taken_in_f64() {
        // 2^24 + 1 is lost in f32 sums: 16777216 + 1 + 1 + 2 over four is 4194305.
        let all = [vec![16_777_216.0, 1.0], vec![1.0, 2.0], vec![1.0, 3.0], vec![2.0, 6.0]];
        let (mean, deviation) = fold(4, |i| Ok(all[i].clone())).unwrap();
        assert_eq!(mean, [4_194_305.0, 3.0]);
        assert_eq!(deviation, 12_582_911.0);
        assert_eq!(fold(1, |_| Ok(vec![5.0])).unwrap(), (vec![5.0], 0.0));
    }

    #[test]
    fn sharing_keeps_the_mean() {
        let all = [vec![1.0f32], vec![2.0], vec![6.0]];
        let shared = share(&all, 0.9);
        assert_eq!(shared, [vec![1.3], vec![2.15], vec![5.55]]);
        assert_eq!(share(&all[..1], 0.9), all[..1]);
        assert!(share(&[], 0.9).is_empty());
    }

    #[test]
    fn vector_expert_sharing() {
        let Some(folder) = vectors() else { return };
        let cases: Value =
            serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let cases = cases["expert_sharing"].as_array().unwrap();
        let store = Store::open(&[folder.join("expert_sharing.safetensors")]).unwrap();
        let mut far = 0.0f32;
        for case in cases {
            let name = case["case"].as_str().unwrap();
            let read = |part: &str| {
                let name = format!("{name}.{part}");
                let shape = store.tensor(&name).unwrap().shape.to_vec();
                (store.read_f32(&name, &shape).unwrap(), shape)
            };
            let ((w, shape), (y, _)) = (read("w"), read("y"));
            let each = shape.iter().skip(1).product();
            let experts: Vec<Vec<f32>> = w.chunks(each).map(<[f32]>::to_vec).collect();
            let found = match case["gamma"].as_f64() {
                Some(gamma) => share(&experts, gamma).concat(),
                None => fold(experts.len(), |i| Ok(experts[i].clone())).unwrap().0,
            };
            assert_eq!(found.len(), y.len(), "{name}");
            let top = y.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            far = found.iter().zip(&y).fold(far, |m, (a, b)| m.max((a - b).abs() / top));
        }
        assert!(!cases.is_empty() && far < 1e-6, "{far:e}");
        println!("expert_sharing: {} cases, worst error {far:.1e}", cases.len());
    }
}
