//! From a graph to an order and an arena: which nodes run, when a result may be overwritten, and where it lies.

use crate::graph::builder::{Graph, Value};
use std::ops::Range;

/// One node to run and what is dead after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node.
    pub node: Value,
    /// Results that nobody reads any more once this node has run.
    pub free: Vec<Value>,
}

/// Order and arena offsets for one graph.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes in order, without those whose results nobody needs.
    pub steps: Vec<Step>,
    /// Place of each node's result in the arena, in f32 elements; `None` for nodes that do not run.
    pub offsets: Vec<Option<usize>>,
    /// Elements of the arena.
    pub arena_len: usize,
    /// Most elements alive at one time: no arena can be smaller.
    pub peak_len: usize,
}

/// Offsets are multiples of this many elements (one cache line), so that kernels may load aligned.
const ALIGN: usize = 16;

/// Offsets in one arena for ranges of `lens` values, each in use from the start to the end of its life, both
/// included: largest first at the lowest offset that is free for the whole life. Also the length of the arena.
pub fn place_lives(lens: &[usize], lives: &[Range<usize>]) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..lens.len()).collect();
    by_size.sort_by_key(|&i| (std::cmp::Reverse(lens[i]), i));
    let mut offsets = vec![0; lens.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut arena_len = 0;
    for &i in &by_size {
        let size = lens[i].next_multiple_of(ALIGN);
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| lives[j].start <= lives[i].end && lives[i].start <= lives[j].end)
            .map(|&j| (offsets[j], offsets[j] + lens[j].next_multiple_of(ALIGN)))
            .collect();
        busy.sort_unstable();
        let mut at = 0;
        for (start, end) in busy {
            if at + size <= start {
                break;
            }
            at = at.max(end);
        }
        offsets[i] = at;
        arena_len = arena_len.max(at + size);
        placed.push(i);
    }
    (offsets, arena_len)
}

fn elements(graph: &Graph, v: Value) -> usize {
    graph.shape(v).iter().product::<usize>().next_multiple_of(ALIGN)
}

impl Plan {
    /// Plans `graph`: drops dead nodes, finds each result's last reader, places largest first at the lowest
    /// offset that is free for its whole life.
    pub fn new(graph: &Graph) -> Self {
        let n = graph.nodes.len();
        let mut needed = vec![false; n];
        for v in &graph.outputs {
            needed[v.index()] = true;
        }
        for i in (0..n).rev() {
            if needed[i] {
                for v in &graph.nodes[i].inputs {
                    needed[v.index()] = true;
                }
            }
        }
        // An input that nobody reads still takes its place: hosts hand it over by position.
        for v in &graph.inputs {
            needed[v.index()] = true;
        }

        let order: Vec<usize> = (0..n).filter(|&i| needed[i]).collect();
        let mut time = vec![0; n];
        for (t, &i) in order.iter().enumerate() {
            time[i] = t;
        }
        let mut last: Vec<usize> = time.clone();
        for &i in &order {
            for v in &graph.nodes[i].inputs {
                last[v.index()] = last[v.index()].max(time[i]);
            }
        }
        for v in &graph.outputs {
            last[v.index()] = usize::MAX;
        }
        // Inputs are written before the first node runs.
        let first = |i: usize| if graph.inputs.iter().any(|v| v.index() == i) { 0 } else { time[i] };

        let (lens, lives): (Vec<usize>, Vec<Range<usize>>) =
            order.iter().map(|&i| (elements(graph, Value(i as u32)), first(i)..last[i])).unzip();
        let (placed, arena_len) = place_lives(&lens, &lives);
        let mut offsets: Vec<Option<usize>> = vec![None; n];
        for (&i, at) in order.iter().zip(placed) {
            offsets[i] = Some(at);
        }

        let mut steps: Vec<Step> =
            order.iter().map(|&i| Step { node: Value(i as u32), free: Vec::new() }).collect();
        for &i in &order {
            if last[i] != usize::MAX {
                steps[last[i]].free.push(Value(i as u32));
            }
        }
        let peak_len = (0..order.len())
            .map(|t| {
                order
                    .iter()
                    .filter(|&&i| first(i) <= t && t <= last[i])
                    .map(|&i| elements(graph, Value(i as u32)))
                    .sum()
            })
            .max()
            .unwrap_or(0);
        Self { steps, offsets, arena_len, peak_len }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
