//! Kernels that are chosen by size, each on both sides of its borders.

use super::*;

#[test]
fn wide_convolutions_agree_in_every_precision() {
    on_driver(&[&own("kernels::wide_convolutions")], &[]);
}

/// 16-bit values given, products are exact: the sums differ by f32's rounding alone, whatever the precision.
#[test]
#[ignore = "run on the emulated driver by wide_convolutions_agree_in_every_precision"]
fn wide_convolutions() {
    let same = |n| Padding::same(n, Border::Zero);
    let corner = Padding { top: 0, left: 0, bottom: 1, right: 1, border: Border::Zero };
    // Map, channels of the result, kernel, step, border: whole blocks, one more, one less.
    let all = [
        ([1, 16, 3, 5], 16, 3, 1, same(1)),
        ([2, 17, 9, 8], 70, 3, 1, Padding::same(1, Border::Replicate)),
        ([1, 33, 12, 13], 64, 3, 2, corner),
        ([3, 20, 1, 1], 130, 1, 1, Padding::NONE),
        ([1, 48, 11, 13], 65, 5, 1, same(2)),
        ([1, 2, 16, 8], 63, 3, 1, same(1)),
        ([2, 64, 8, 16], 128, 1, 1, Padding::NONE),
    ];
    type Round = fn(f32) -> f32;
    let precisions: [(&str, launch::Kernel, Round); 3] = [
        ("f32", launch::Kernel::ConvExact, |v| v),
        ("bf16", launch::Kernel::ConvBf16, |v| half::bf16::from_f32(v).to_f32()),
        ("f16", launch::Kernel::ConvF16, |v| half::f16::from_f32(v).to_f32()),
    ];
    for (precision, kernel, round) in precisions {
        let device = Cuda::new(0, precision).unwrap();
        for (shape, outs, side, stride, padding) in all {
            let mut g = Builder::new();
            let x = g.input("x", shape).unwrap();
            let out = g.conv("c", x, outs, side, stride, padding).unwrap();
            let name = format!("{precision} {shape:?} to {outs} by {side}");
            let graph = g.finish(&[out]);
            let program = Program::new(&graph, device.shared.precision).unwrap();
            assert!(program.launches.len() == 1 && program.launches[0].kernel == kernel, "{name}");
            let case = Case { name, limit: 1e-11, inputs: vec![crate::graph::cases::Data::Real], graph };
            let random = &mut Random(5);
            let (made, mut inputs) = (weights(&case.graph, random), inputs(&case, random));
            inputs[0].iter_mut().for_each(|v| *v = round(*v));
            let mut rounded = MemoryWeights::new();
            for w in &case.graph.weights {
                let mut values = made.read_f32(&w.name, &w.shape).unwrap();
                if w.name.ends_with(".weight") {
                    values.iter_mut().for_each(|v| *v = round(*v));
                }
                rounded.insert(w.name.clone(), &w.shape, values).unwrap();
            }
            let wanted = run(&Naive, &case, &rounded, &inputs);
            let error = nmse(&try_run(&device, &case, &rounded, &inputs).unwrap(), &wanted);
            assert!(error <= case.limit, "{}: {error:.1e}", case.name);
        }
    }
}

#[test]
fn attention_agrees_whatever_the_width_of_its_heads() {
    on_driver(&[&own("kernels::attention_of_every_width")], &[]);
}

#[test]
#[ignore = "run on the emulated driver by attention_agrees_whatever_the_width_of_its_heads"]
fn attention_of_every_width() {
    use crate::graph::QkvLayout::{HeadFirst, PartFirst};
    use launch::Kernel::{Attention, AttentionWide};
    let device = Cuda::new(0, "f32").unwrap();
    // Map of queries, heads, window: groups and chunks that are whole, one more, one less; each kernel to its last channel.
    let all = [
        ([1, 12, 9, 11], 3, None, HeadFirst, Attention, 64),
        ([2, 64, 5, 13], 1, None, PartFirst, Attention, 64),
        ([1, 65, 3, 11], 1, None, HeadFirst, Attention, 32),
        ([1, 128, 7, 5], 1, None, PartFirst, Attention, 32),
        ([1, 129, 17, 16], 1, None, PartFirst, AttentionWide, 256),
        ([2, 16, 18, 9], 2, Some(9), HeadFirst, Attention, 64),
        ([1, 8, 16, 24], 1, Some(8), PartFirst, Attention, 64),
    ];
    for (shape, heads, window, layout, kernel, threads) in all {
        let mut g = Builder::new();
        let x = g.input("x", [shape[0], 3 * shape[1], shape[2], shape[3]]).unwrap();
        let out = g.attention("a", x, heads, window, layout, None).unwrap();
        let name = format!("{shape:?} {heads} {window:?}");
        let graph = g.finish(&[out]);
        let program = Program::new(&graph, Precision::F32).unwrap();
        let launch = &program.launches[0];
        assert!(launch.kernel == kernel && launch.threads == threads, "{name}: {launch:?}");
        let case = Case { name, limit: 1e-10, inputs: vec![crate::graph::cases::Data::Real], graph };
        let random = &mut Random(9);
        let (made, inputs) = (weights(&case.graph, random), inputs(&case, random));
        let wanted = run(&Naive, &case, &made, &inputs);
        let error = nmse(&try_run(&device, &case, &made, &inputs).unwrap(), &wanted);
        assert!(error <= case.limit, "{}: {error:.1e}", case.name);
    }
}
