//! A graph for people: text table and Graphviz.

use crate::graph::builder::Graph;
use crate::graph::plan::Plan;
use std::fmt::Write as _;

/// Totals of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes that run.
    pub nodes: usize,
    /// Floating-point operations, two per multiply-add.
    pub flops: u64,
    /// Values of all weights.
    pub parameters: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Bytes that no arena can go below.
    pub peak_bytes: u64,
}

/// Counts `graph` as planned by `plan`.
pub fn totals(graph: &Graph, plan: &Plan) -> Totals {
    let flops = plan.steps.iter().map(|s| node_flops(graph, s.node.index())).sum();
    let parameters = graph.weights.iter().map(|w| w.shape.iter().map(|&d| d as u64).product::<u64>()).sum();
    Totals {
        nodes: plan.steps.len(),
        flops,
        parameters,
        arena_bytes: plan.arena_len as u64 * 4,
        peak_bytes: plan.peak_len as u64 * 4,
    }
}

fn node_flops(graph: &Graph, i: usize) -> u64 {
    let node = &graph.nodes[i];
    let input = node.inputs.first().map_or(node.shape, |&v| graph.shape(v));
    node.op.flops(input, node.shape)
}

/// One line per node that runs: id, operation, shape, inputs, MFLOP, arena offset in bytes, name; then totals; then
/// one line per weight tensor: shape and name, behind the line `weights`.
pub fn text(graph: &Graph, plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:>5}  {:<19} {:<22} {:<16} {:>10} {:>12}  name",
        "node", "op", "shape", "inputs", "MFLOP", "arena byte"
    );
    for step in &plan.steps {
        let i = step.node.index();
        let node = &graph.nodes[i];
        let shape = node.shape.map(|d| d.to_string()).join("x");
        let inputs: Vec<String> = node.inputs.iter().map(|v| v.index().to_string()).collect();
        let _ = writeln!(
            out,
            "{i:>5}  {:<19} {shape:<22} {:<16} {:>10.2} {:>12}  {}",
            node.op.name(),
            inputs.join(","),
            node_flops(graph, i) as f64 / 1e6,
            plan.offsets[i].unwrap_or(0) * 4,
            node.name
        );
    }
    let t = totals(graph, plan);
    let _ = writeln!(
        out,
        "{} nodes, {} weights, {:.3} M parameters, {:.3} GFLOP, arena {:.1} MB (lower bound {:.1} MB)",
        t.nodes,
        graph.weights.len(),
        t.parameters as f64 / 1e6,
        t.flops as f64 / 1e9,
        t.arena_bytes as f64 / 1e6,
        t.peak_bytes as f64 / 1e6
    );
    out.push_str("weights\n");
    for weight in &graph.weights {
        let shape: Vec<String> = weight.shape.iter().map(usize::to_string).collect();
        let _ = writeln!(out, "{:>22}  {}", shape.join("x"), weight.name);
    }
    out
}

/// The graph in Graphviz' language.
pub fn dot(graph: &Graph, plan: &Plan) -> String {
    let mut out = String::from("digraph network {\n  node [shape=box, fontname=monospace];\n");
    for step in &plan.steps {
        let i = step.node.index();
        let node = &graph.nodes[i];
        let _ = writeln!(
            out,
            "  n{i} [label=\"{}\\n{}\\n{}\"];",
            node.op.name(),
            node.name,
            node.shape.map(|d| d.to_string()).join("x")
        );
        for v in &node.inputs {
            let _ = writeln!(out, "  n{} -> n{i};", v.index());
        }
    }
    out.push_str("}\n");
    out
}
