//! From a graph to an order and an arena: which nodes run, when a result may be overwritten, and where it lies.

use crate::graph::builder::{Graph, Value};

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

        let mut by_size = order.clone();
        by_size.sort_by_key(|&i| (std::cmp::Reverse(elements(graph, Value(i as u32))), i));
        let mut offsets: Vec<Option<usize>> = vec![None; n];
        let mut placed: Vec<usize> = Vec::new();
        let mut arena_len = 0;
        for &i in &by_size {
            let size = elements(graph, Value(i as u32));
            let mut busy: Vec<(usize, usize)> = placed
                .iter()
                .filter(|&&j| first(j) <= last[i] && first(i) <= last[j])
                .filter_map(|&j| offsets[j].map(|o| (o, o + elements(graph, Value(j as u32)))))
                .collect();
            busy.sort_unstable();
            let mut at = 0;
            for (start, end) in busy {
                if at + size <= start {
                    break;
                }
                at = at.max(end);
            }
            offsets[i] = Some(at);
            arena_len = arena_len.max(at + size);
            placed.push(i);
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
