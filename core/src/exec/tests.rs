//! Every executor against the naive twin, operation by operation.

use super::naive::Naive;
use super::*;
use crate::graph::cases::{Case, Data, PLACES, cases, place};
use crate::weights::MemoryWeights;

/// A small generator (SplitMix64), so that a failure names its numbers by a seed.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[-1, 1)`.
    fn real(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn reals(&mut self, count: usize, middle: f32, half: f32) -> Vec<f32> {
        (0..count).map(|_| middle + half * self.real()).collect()
    }
}

fn weights(graph: &Graph, random: &mut Random) -> MemoryWeights {
    let mut all = MemoryWeights::new();
    for w in &graph.weights {
        let fan: usize = w.shape.iter().skip(1).product();
        let count = w.shape.iter().product();
        let (middle, half) = match w.name.as_str() {
            n if n.ends_with("running_var") => (1.0, 0.9),
            _ if w.shape.len() == 1 => (0.3, 1.0),
            n if n.contains("embedding") => (0.0, 2.0),
            n if n.ends_with(".w1") || n.ends_with(".w2") => (0.0, 1.0),
            _ => (0.0, (3.0 / fan as f32).sqrt()),
        };
        all.insert(w.name.clone(), &w.shape, random.reals(count, middle, half)).unwrap();
    }
    all
}

fn inputs(case: &Case, random: &mut Random) -> Vec<Vec<f32>> {
    let shapes = case.graph.inputs.iter().map(|&v| case.graph.shape(v).iter().product::<usize>());
    let one = |(data, n): (&Data, usize)| match data {
        Data::Real => random.reals(n, 0.1, 2.0),
        Data::Below(top) => (0..n).map(|_| (random.bits() % *top as u64) as f32).collect(),
        Data::Timestep => (0..n).map(|i| [999.0, 1.0, 250.0, 0.0, 617.0][i % 5]).collect(),
        Data::Permutation => {
            let mut p: Vec<f32> = (0..n).map(|i| i as f32).collect();
            for i in (1..n).rev() {
                p.swap(i, (random.bits() % (i as u64 + 1)) as usize);
            }
            p
        }
    };
    case.inputs.iter().zip(shapes).map(one).collect()
}

fn run(device: &dyn Executor, case: &Case, weights: &MemoryWeights, inputs: &[Vec<f32>]) -> Vec<f32> {
    let graph = Arc::new(case.graph.clone());
    let loaded = device.load(&graph, weights).unwrap();
    let mut prepared = device.prepare(Arc::clone(&graph)).unwrap();
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut out = vec![f32::NAN; graph.shape(graph.outputs[0]).iter().product()];
    // Twice: what the first run leaves behind must not matter.
    for _ in 0..2 {
        let stop = AtomicBool::new(false);
        prepared.run(&loaded, &slices, &mut [&mut out], &stop, None).unwrap();
    }
    out
}

fn nmse(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let error: f64 = found.iter().zip(wanted).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    if error == 0.0 { 0.0 } else { error / wanted.iter().map(|b| square(f64::from(*b))).sum::<f64>() }
}

#[test]
fn every_executor_agrees_with_the_twin_on_every_case() {
    let all = cases();
    assert_eq!(all.len(), CASES, "cases were added or lost");
    let mut worst = (0.0, String::new());
    for (device, executor) in all_executors() {
        for (seed, case) in all.iter().enumerate() {
            let random = &mut Random(seed as u64);
            let (weights, inputs) = (weights(&case.graph, random), inputs(case, random));
            let wanted = run(&Naive, case, &weights, &inputs);
            let error = nmse(&run(executor.as_ref(), case, &weights, &inputs), &wanted);
            // A NaN is not below a limit either.
            assert!(error <= case.limit, "{device}: {}: {error:.1e}, limit {:.0e}", case.name, case.limit);
            if error > worst.0 {
                worst = (error, format!("{device} {}", case.name));
            }
        }
    }
    eprintln!("{} cases, worst {:.1e}: {}", all.len(), worst.0, worst.1);
}

#[test]
fn every_operation_has_cases() {
    let all = cases();
    let mut count = [0; PLACES];
    for case in &all {
        count[place(&case.graph.nodes[case.graph.outputs[0].index()].op)] += 1;
    }
    assert!(count.iter().all(|&n| n >= 3), "{count:?}");
    let names: std::collections::BTreeSet<&str> = all.iter().map(|c| c.name.as_str()).collect();
    assert!(all.iter().any(|c| c.name.contains(" 2x")), "no batch of two");
    assert_eq!(names.len(), all.len(), "two cases of one name");
}

/// Number of cases: a change of the list is meant.
const CASES: usize = 179;

#[test]
fn lengths_and_weights_that_do_not_fit_are_errors() {
    let case = &cases()[0];
    let graph = Arc::new(case.graph.clone());
    for (_, device) in all_executors() {
        let loaded = device.load(&graph, &weights(&graph, &mut Random(1))).unwrap();
        let mut prepared = device.prepare(Arc::clone(&graph)).unwrap();
        let stop = AtomicBool::new(false);
        let mut out = [0.0];
        assert!(prepared.run(&loaded, &[], &mut [&mut out], &stop, None).is_err());
        assert!(prepared.run(&loaded, &[&[1.0, 2.0]], &mut [&mut out], &stop, None).is_err());
        let other: Weights = Arc::new(5u8);
        assert!(prepared.run(&other, &[&[1.0]], &mut [&mut out], &stop, None).is_err());
        stop.store(true, Ordering::Relaxed);
        let e = prepared.run(&loaded, &[&[1.0]], &mut [&mut out], &stop, None).unwrap_err();
        assert_eq!(e.kind(), crate::error::ErrorKind::Cancelled);
        assert!(device.load(&graph, &MemoryWeights::new()).is_err());
    }
}
