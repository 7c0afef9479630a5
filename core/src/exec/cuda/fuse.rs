//! What goes into one launch, and when a result may be overwritten: a norm or a convolution takes the activation that follows it along, a
//! convolution also the sum that comes then.

use crate::graph::{Activation, Graph, Op, Plan, Value, place_lives};
use std::ops::Range;

/// A node, and what follows it in the same launch.
pub(super) struct Pass {
    pub(super) node: Value,
    /// The node whose result is stored.
    pub(super) last: Value,
    pub(super) act: Option<Activation>,
    /// A map of the same shape that is added at the end, its factor, and the factor of what it is added to.
    pub(super) sum: Option<(Value, f32, f32)>,
    /// Places of what a filter needs on the way.
    pub(super) space: [usize; 2],
}

/// Passes in their order, the place of each stored result, and the values of all.
pub(super) struct Passes {
    pub(super) passes: Vec<Pass>,
    pub(super) offsets: Vec<Option<usize>>,
    pub(super) len: usize,
}

impl Passes {
    /// Plans `graph`.
    pub(super) fn of(graph: &Graph) -> Self {
        let mut passes = fuse(graph);
        let (mut lens, mut lives) = (Vec::new(), Vec::<Range<usize>>::new());
        let mut slots = vec![None; graph.nodes.len()];
        let mut spaces = Vec::new();
        for (t, pass) in passes.iter().enumerate() {
            for v in pass.reads(graph) {
                if let Some(slot) = slots[v.index()] {
                    let life: &mut Range<usize> = &mut lives[slot];
                    life.end = life.end.max(t);
                }
            }
            slots[pass.last.index()] = Some(lens.len());
            lens.push(graph.shape(pass.last).iter().product());
            // Inputs are written before anything runs.
            let start = if graph.nodes[pass.node.index()].op == Op::Input { 0 } else { t };
            let end = if graph.outputs.contains(&pass.last) { usize::MAX } else { t };
            lives.push(start..end);
            spaces.push(lens.len());
            for len in filter_space(graph, pass.node) {
                lens.push(len);
                lives.push(t..t);
            }
        }
        let (places, len) = place_lives(&lens, &lives);
        for (pass, at) in passes.iter_mut().zip(spaces) {
            pass.space = [places[at], places[at + 1]];
        }
        let offsets = slots.into_iter().map(|slot| slot.map(|s: usize| places[s])).collect();
        Self { passes, offsets, len }
    }
}

impl Pass {
    /// Results that it reads.
    fn reads(&self, graph: &Graph) -> Vec<Value> {
        let own = graph.nodes[self.node.index()].inputs.iter().copied();
        own.chain(self.sum.map(|(v, ..)| v)).collect()
    }
}

/// Two spectra of a filter, the first as wide as its hidden layer.
fn filter_space(graph: &Graph, v: Value) -> [usize; 2] {
    let node = &graph.nodes[v.index()];
    let Op::FrequencyFilter { window, hidden_factor, .. } = node.op else { return [0; 2] };
    let [batch, channels, h, w] = node.shape;
    let tw = window.unwrap_or(w);
    let bins = batch * channels * h * (w / tw * (tw / 2 + 1));
    [2 * bins * hidden_factor.max(1), 2 * bins]
}

fn fuse(graph: &Graph) -> Vec<Pass> {
    let plan = Plan::new(graph);
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for step in &plan.steps {
        let node = &graph.nodes[step.node.index()];
        node.inputs.iter().for_each(|v| readers[v.index()].push(step.node));
    }
    // Who reads `v`, where that is one node and nobody else sees the result.
    let only = |v: Value| match readers[v.index()].as_slice() {
        &[reader] if !graph.outputs.contains(&v) => Some(reader),
        _ => None,
    };
    let mut taken = vec![false; graph.nodes.len()];
    let mut passes = Vec::new();
    for step in &plan.steps {
        if taken[step.node.index()] {
            continue;
        }
        let mut pass = Pass { node: step.node, last: step.node, act: None, sum: None, space: [0; 2] };
        let op = &graph.nodes[step.node.index()].op;
        let conv = matches!(op, Op::Conv2d { .. });
        let norm = matches!(op, Op::GroupNorm { .. } | Op::ChannelNorm { .. } | Op::BatchNorm { .. });
        if let Some(next) = only(pass.last).filter(|_| conv || norm)
            && let Op::Activation(act) = graph.nodes[next.index()].op
        {
            (pass.act, pass.last, taken[next.index()]) = (Some(act), next, true);
        }
        // Where both sides of a sum are convolutions, the first one has it.
        if let Some(next) = only(pass.last).filter(|next| conv && !taken[next.index()])
            && let Op::Add { scale } = graph.nodes[next.index()].op
            && let &[a, b] = graph.nodes[next.index()].inputs.as_slice()
            && graph.shape(a) == graph.shape(b)
        {
            pass.sum = Some(if b == pass.last { (a, 1.0, scale) } else { (b, scale, 1.0) });
            (pass.last, taken[next.index()]) = (next, true);
        }
        passes.push(pass);
    }
    // A pass runs where its last node stood: all that it reads is there.
    passes.sort_by_key(|p| p.last);
    passes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Border, Builder};

    /// Norm, function, convolution, function, convolution, sum: whether the first function's result is looked at from outside.
    fn block(seen: bool) -> Graph {
        let mut g = Builder::new();
        let x = g.input("x", [1, 16, 4, 4]).unwrap();
        let n = g.rms_norm("n", x).unwrap();
        let s = g.silu("s", n).unwrap();
        let a = g.conv3("a", s, 16, Border::Zero).unwrap();
        let l = g.activation("l", a, Activation::LeakyRelu(0.1)).unwrap();
        let b = g.conv3("b", l, 16, Border::Zero).unwrap();
        let sum = g.add_scaled("sum", x, b, 0.5).unwrap();
        let outputs = [n, sum];
        g.finish(if seen { &outputs } else { &outputs[1..] })
    }

    fn shape(graph: &Graph) -> Vec<(usize, usize, bool, bool)> {
        let passes = Passes::of(graph).passes;
        passes.iter().map(|p| (p.node.index(), p.last.index(), p.act.is_some(), p.sum.is_some())).collect()
    }

    #[test]
    fn what_follows_goes_along_unless_it_is_seen() {
        let all = [(0, 0, false, false), (1, 2, true, false), (3, 4, true, false), (5, 6, false, true)];
        assert_eq!(shape(&block(false)), all);
        let apart = [(0, 0, false, false), (1, 1, false, false), (2, 2, false, false), all[2], all[3]];
        assert_eq!(shape(&block(true)), apart);
        assert_eq!(Passes::of(&block(false)).passes[3].sum, Some((Value(0), 1.0, 0.5)));
    }

    #[test]
    fn what_is_read_is_not_overwritten() {
        for case in crate::graph::cases::cases() {
            let planned = Passes::of(&case.graph);
            let room = |v: Value| {
                let at = planned.offsets[v.index()].unwrap();
                at..at + case.graph.shape(v).iter().product::<usize>()
            };
            for pass in &planned.passes {
                let out = room(pass.last);
                assert!(out.end <= planned.len, "{}", case.name);
                for from in pass.reads(&case.graph).into_iter().map(room) {
                    assert!(from.end <= out.start || out.end <= from.start, "{}", case.name);
                }
            }
        }
    }
}
