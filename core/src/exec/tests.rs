//! Every executor against the naive twin, operation by operation.

use super::naive::Naive;
use super::*;
use crate::graph::cases::{Case, Data, PLACES, cases, place};
use crate::graph::{Activation, Border, Builder, Padding, QkvLayout, Shape};
use crate::weights::MemoryWeights;

/// A small generator (SplitMix64), so that a failure names its numbers by a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[-1, 1)`.
    pub(super) fn real(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn reals(&mut self, count: usize, middle: f32, half: f32) -> Vec<f32> {
        (0..count).map(|_| middle + half * self.real()).collect()
    }
}

pub(super) fn weights(graph: &Graph, random: &mut Random) -> MemoryWeights {
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

pub(super) fn inputs(case: &Case, random: &mut Random) -> Vec<Vec<f32>> {
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

pub(super) fn run(
    device: &dyn Executor,
    case: &Case,
    weights: &MemoryWeights,
    inputs: &[Vec<f32>],
) -> Vec<f32> {
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

pub(super) fn nmse(found: &[f32], wanted: &[f32]) -> f64 {
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
const CASES: usize = 181;

#[test]
fn of_equal_codes_the_lowest_is_taken() {
    let entries: Vec<f32> =
        [[4.0, 0.5], [-1.0, 2.0], [0.0, 3.0], [-1.0, 2.0], [4.0, 0.5], [0.0, 3.0]].concat();
    // Pixels on codes 1, 0 and 2.
    let pixels = [-1.0, 4.0, 0.0, 2.0, 0.5, 3.0];
    let mut g = Builder::new();
    let x = g.input("x", [1, 2, 1, 3]).unwrap();
    let out = g.codebook_index("embedding.weight", x, 6).unwrap();
    let graph = Arc::new(g.finish(&[out]));
    let mut weights = MemoryWeights::new();
    weights.insert("embedding.weight", &[6, 2], entries).unwrap();
    for (device, executor) in all_executors() {
        let loaded = executor.load(&graph, &weights).unwrap();
        let mut found = [f32::NAN; 3];
        let mut prepared = executor.prepare(Arc::clone(&graph)).unwrap();
        prepared.run(&loaded, &[&pixels], &mut [&mut found], &AtomicBool::new(false), None).unwrap();
        assert_eq!(found, [1.0, 0.0, 2.0], "{device}");
    }
}

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

/// Whatever an executor does in one pass must be what the nodes do one by one.
#[test]
fn chains_of_operations_agree_with_the_twin() {
    let zero = Border::Zero;
    let silu_norm = |g: &mut Builder, x: Value, norm: &str| -> Result<Value> {
        let y = if norm == "group" { g.group_norm("n", x, 4, 1e-5)? } else { g.rms_norm("n", x)? };
        g.silu("s", y)
    };
    type Build<'a> = Box<dyn Fn(&mut Builder, Value) -> Result<Value> + 'a>;
    let chains: Vec<(&str, Shape, Build<'_>)> = vec![
        (
            "residual block, group norm",
            [2, 16, 9, 14],
            Box::new(|g, x| {
                let y = silu_norm(g, x, "group")?;
                let y = g.conv3("c1", y, 24, zero)?;
                let y = g.group_norm("n2", y, 3, 1e-5)?;
                let y = g.silu("s2", y)?;
                let y = g.conv3("c2", y, 24, zero)?;
                let skip = g.conv1("skip", x, 24)?;
                g.add("sum", skip, y)
            }),
        ),
        (
            "residual block, pixel norm",
            [2, 12, 11, 7],
            Box::new(|g, x| {
                let y = silu_norm(g, x, "rms")?;
                let y = g.conv3("c1", y, 12, Border::Replicate)?;
                let y = g.silu("s2", y)?;
                let y = g.conv3("c2", y, 12, Border::Replicate)?;
                g.add_scaled("sum", x, y, 0.3)
            }),
        ),
        (
            "windows between convolutions, then twice the size",
            [2, 16, 12, 8],
            Box::new(|g, x| {
                let y = silu_norm(g, x, "rms")?;
                let y = g.conv1("qkv", y, 48)?;
                let y = g.attention("a", y, 2, Some(4), QkvLayout::PartFirst, None)?;
                let y = g.conv1("proj", y, 16)?;
                let x = g.add("s1", x, y)?;
                let y = g.rms_norm("fn", x)?;
                let y = g.frequency_filter("f", y, Some(4), 2, 1, 0.1, 0.01, true)?;
                let y = g.scale_channels("gain", y)?;
                let x = g.add("s2", x, y)?;
                let wide = g.conv1("up", x, 32)?;
                let wide = g.pixel_shuffle("p", wide, 2)?;
                let y = g.conv3("c1", wide, 8, Border::Replicate)?;
                let both = g.concat("j", &[wide, y])?;
                g.conv3("c2", both, 3, Border::Replicate)
            }),
        ),
        (
            "inverted bottleneck",
            [2, 16, 40, 130],
            Box::new(|g, x| {
                let leaky = Activation::LeakyRelu(0.1);
                let y = g.group_norm("n", x, 4, 1e-5)?;
                let y = g.conv_stored("e", y, 512, 1, 1, Padding::NONE, 1, &[512, 16, 1, 1], false)?;
                let y = g.batch_norm("en", y, 1e-5)?;
                let y = g.activation("ea", y, leaky)?;
                let same = Padding::same(1, zero);
                let y = g.conv_stored("d", y, 512, 3, 1, same, 512, &[512, 1, 3, 3], false)?;
                let y = g.batch_norm("dn", y, 1e-5)?;
                let y = g.activation("da", y, leaky)?;
                let y = g.conv1("r", y, 16)?;
                g.add("sum", x, y)
            }),
        ),
        (
            "dense block",
            [1, 32, 8, 10],
            Box::new(|g, x| {
                let mut seen = vec![x];
                for i in 0..3 {
                    let all = g.concat(&format!("j{i}"), &seen)?;
                    let y = g.conv3(&format!("c{i}"), all, 16, zero)?;
                    seen.push(g.activation(&format!("l{i}"), y, Activation::LeakyRelu(0.2))?);
                }
                let all = g.concat("j", &seen)?;
                let y = g.conv3("c", all, 32, zero)?;
                g.add_scaled("sum", x, y, 0.2)
            }),
        ),
        (
            "enlargements and a join that is not of whole vectors",
            [2, 12, 5, 6],
            Box::new(|g, x| {
                let up = g.upsample_nearest2("u", x)?;
                let y = g.conv3("c1", up, 8, zero)?;
                let z = g.conv3("c2", x, 20, zero)?;
                let z = g.pixel_shuffle("p", z, 2)?;
                let z = g.silu("s", z)?;
                let both = g.concat("j", &[y, z])?;
                let both = g.affine("a", both, 2.0, -1.0)?;
                g.conv1("c3", both, 5)
            }),
        ),
        (
            "a value with many readers",
            [1, 16, 6, 6],
            Box::new(|g, x| {
                let n = g.rms_norm("n", x)?;
                let y = g.conv1("c1", n, 16)?;
                let y = g.add("a", n, y)?;
                let y = g.scale_channels("gain", y)?;
                let y = g.add("b", x, y)?;
                let s = g.silu("s", y)?;
                let t = g.conv1("c2", s, 16)?;
                g.add("c", s, t)
            }),
        ),
    ];
    for (name, shape, build) in chains {
        let mut g = Builder::new();
        let x = g.input("x", shape).unwrap();
        let out = build(&mut g, x).unwrap();
        let graph = g.finish(&[out]);
        let case = Case { name: name.to_owned(), limit: 1e-10, inputs: vec![Data::Real], graph };
        let random = &mut Random(7);
        let (weights, inputs) = (weights(&case.graph, random), inputs(&case, random));
        let wanted = run(&Naive, &case, &weights, &inputs);
        for (device, executor) in all_executors() {
            let error = nmse(&run(executor.as_ref(), &case, &weights, &inputs), &wanted);
            assert!(error <= case.limit, "{device}: {name}: {error:.1e}");
        }
    }
}
