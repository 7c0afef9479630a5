//! What a plan promises, on made-up graphs.

use super::*;
use crate::graph::Builder;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A graph of `choices`: each picks an operation and two earlier results; `kept` picks outputs.
fn made_up(choices: &[(u8, u16, u16)], kept: &[u16]) -> Graph {
    let mut g = Builder::new();
    let mut all = vec![g.input("a", [1, 2, 3, 4]).unwrap(), g.input("b", [1, 1, 3, 4]).unwrap()];
    for (i, &(op, x, y)) in choices.iter().enumerate() {
        let pick = |v: u16| all[usize::from(v) % all.len()];
        let (x, y, name) = (pick(x), pick(y), format!("n{i}"));
        let new = match op % 5 {
            0 => g.affine(&name, x, 0.5, 1.0),
            1 => g.concat(&name, &[x, y]),
            2 => g.conv1(&name, x, 1 + usize::from(op) % 7),
            3 if g.shape(x) == g.shape(y) => g.add(&name, x, y),
            3 => g.narrow(&name, x, 0, g.shape(x)[3]),
            _ => g.input(&name, [1, 1 + usize::from(op) % 3, 3, 4]),
        };
        // A joint map may become wide, never too wide to be a map.
        all.push(new.unwrap());
    }
    let outputs: Vec<Value> = kept.iter().map(|&k| all[usize::from(k) % all.len()]).collect();
    g.finish(&outputs)
}

/// Follows the steps and checks every promise.
fn check(graph: &Graph) {
    let plan = Plan::new(graph);
    let size = |v: Value| graph.shape(v).iter().product::<usize>().next_multiple_of(ALIGN);
    let place = |v: Value| {
        let at = plan.offsets[v.index()].expect("a node that runs has a place");
        assert_eq!(at % ALIGN, 0);
        assert!(at + size(v) <= plan.arena_len);
        at..at + size(v)
    };
    let mut live: BTreeSet<Value> = graph.inputs.iter().copied().collect();
    let (mut ran, mut freed, mut peak) = (BTreeSet::new(), BTreeSet::new(), 0);
    for step in &plan.steps {
        assert!(ran.insert(step.node), "a node runs twice");
        for v in &graph.nodes[step.node.index()].inputs {
            assert!(live.contains(v), "node {:?} reads {v:?}, which is not there", step.node);
        }
        live.insert(step.node);
        peak = peak.max(live.iter().map(|&v| size(v)).sum());
        let mut places: Vec<_> = live.iter().map(|&v| place(v)).collect();
        places.sort_by_key(|p| p.start);
        assert!(places.windows(2).all(|p| p[0].end <= p[1].start), "live results overlap");
        for &v in &step.free {
            assert!(live.remove(&v) && freed.insert(v), "{v:?} is freed twice");
        }
    }
    for v in &graph.outputs {
        assert!(live.contains(v), "an output was freed");
    }
    // What is left over is asked for: nothing is kept for no reason.
    assert!(live.iter().all(|v| graph.outputs.contains(v)), "{live:?} is never freed");
    assert_eq!(peak, plan.peak_len);
    assert!(plan.arena_len >= plan.peak_len);
}

proptest! {
    #[test]
    fn plans_keep_their_promises(
        choices in prop::collection::vec(any::<(u8, u16, u16)>(), 0..24),
        kept in prop::collection::vec(any::<u16>(), 1..4),
    ) {
        check(&made_up(&choices, &kept));
    }
}

#[test]
fn dead_nodes_do_not_run() {
    let mut g = Builder::new();
    let x = g.input("x", [1, 1, 2, 2]).unwrap();
    let unread = g.input("unread", [1, 1, 2, 2]).unwrap();
    let dead = g.affine("dead", x, 1.0, 0.0).unwrap();
    let y = g.affine("y", x, 2.0, 0.0).unwrap();
    let graph = g.finish(&[y]);
    let plan = Plan::new(&graph);
    let ran: Vec<Value> = plan.steps.iter().map(|s| s.node).collect();
    assert_eq!(ran, [x, unread, y]);
    assert_eq!(plan.offsets[dead.index()], None);
    check(&graph);
}

#[test]
fn plans_of_all_cases_keep_their_promises() {
    for case in crate::graph::cases::cases() {
        check(&case.graph);
    }
}
