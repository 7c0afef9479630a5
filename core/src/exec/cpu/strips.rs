//! Which steps go through their maps together, strip of rows by strip of rows, and in what order: large maps between
//! them then exist only a few rows at a time, which stay in cache. Integers only; `steps` does the work.

use crate::exec::cpu::lower::{Lowered, Step, Tail, Work};
use crate::graph::{ChannelNorm, Graph, Op, Padding, Value};
use std::collections::HashMap;
use std::ops::Range;

/// How large a strip is.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) struct Size {
    /// Values of the rows that it adds to all its maps.
    pub(in crate::exec) values: usize,
    /// Rows of the smallest map that it adds at least: each pass over it is handed out to threads.
    pub(in crate::exec) least: usize,
    /// Rows of the smallest map are a multiple of this.
    pub(in crate::exec) unit: usize,
    /// What it costs to hand a pass out, in values that travel to memory or back in that time.
    pub(in crate::exec) pass: usize,
}

impl Size {
    /// 8 MiB, a share of the last cache; whole tiles of Winograd's algorithm; some 10 us for a pass.
    pub(super) const CACHE: Self = Self { values: 2 << 20, least: 4, unit: 4, pass: 1 << 15 };
}

/// Weights of a convolution that every strip reads again: at most 1 MiB, a second-level cache.
const WEIGHTS: usize = 1 << 18;

/// Which rows a step reads for rows `a..b` of its result: `a / shrink - before .. b / shrink + after`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reach {
    shrink: usize,
    before: usize,
    after: usize,
}

impl Reach {
    const SAME: Self = Self { shrink: 1, before: 0, after: 0 };

    /// Of a map of `height` rows.
    fn rows(self, rows: &Range<usize>, height: usize) -> Range<usize> {
        let from = (rows.start / self.shrink).saturating_sub(self.before);
        from.min(height)..(rows.end / self.shrink + self.after).min(height)
    }
}

/// A step that can make some rows of its result from some rows of what it reads.
#[derive(Clone, Debug)]
struct Local {
    /// What is made: the result, or the norm whose statistics are.
    result: Value,
    /// Rows are made in multiples of this.
    unit: usize,
    reads: Vec<(Value, Reach)>,
    /// Vectors of which all is read.
    whole: Vec<Value>,
}

/// Rows and border that a convolution of `kernel` reads for rows `rows` of its result (stride 1).
pub(super) fn source(
    rows: &Range<usize>,
    kernel: usize,
    padding: &Padding,
    height: usize,
) -> (Range<usize>, Padding) {
    let reach = Reach { shrink: 1, before: padding.top, after: kernel - 1 - padding.top };
    let from = reach.rows(rows, height);
    let top = padding.top.saturating_sub(rows.start);
    let bottom = (rows.len() + kernel - 1).saturating_sub(from.len() + top);
    (from, Padding { top, bottom, ..*padding })
}

/// Some steps that run strip by strip.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strips {
    pub(super) steps: Range<usize>,
    pub(super) inner: Vec<Inner>,
    pub(super) turns: Vec<Turn>,
    /// Results of the graph whose maps are inner: they leave row by row.
    pub(super) outputs: Vec<Value>,
    /// Values of memory for the inner maps.
    pub(super) space: usize,
}

/// A slot of which only some rows exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Inner {
    pub(super) slot: usize,
    /// Where its rows lie in the memory of the strips, and values of a row.
    pub(super) at: usize,
    pub(super) row: usize,
}

/// One strip.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn {
    /// Rows that each step makes of its result.
    pub(super) rows: Vec<Range<usize>>,
    /// Rows of each inner slot that exist during the turn: those at the start are of the turn before.
    pub(super) held: Vec<Range<usize>>,
    /// Rows of each result of the graph that are complete.
    pub(super) outputs: Vec<Range<usize>>,
}

/// Most steps that go together.
const STEPS: usize = 40;

/// Runs of steps that go strip by strip, in the order of the steps: those with which the fewest values travel to and
/// from memory.
pub(super) fn find(graph: &Graph, lowered: &Lowered, size: Size) -> Vec<Strips> {
    let search = Search::new(graph, lowered, size);
    let n = lowered.steps.len();
    // Least cost of the first steps, and where the last run of them begins.
    let mut best: Vec<(u64, usize)> = vec![(0, 0)];
    for to in 1..=n {
        let mut found = (best[to - 1].0 + search.cost(&(to - 1..to)), to - 1);
        let mut from = to;
        while from > 0 && to - from < STEPS && search.locals[from - 1].is_some() {
            from -= 1;
            let steps = from..to;
            if steps.len() > 1 && search.each(&steps).is_some() {
                found = found.min((best[from].0 + search.cost(&steps), from));
            }
        }
        best.push(found);
    }
    let mut all = Vec::new();
    let mut to = n;
    while to > 0 {
        let from = best[to].1;
        all.extend(search.strips(from..to));
        to = from;
    }
    all.reverse();
    all
}

struct Search<'a> {
    graph: &'a Graph,
    lowered: &'a Lowered,
    size: Size,
    locals: Vec<Option<Local>>,
    /// Per slot: first and last step that touches it; inputs of the graph are touched before all steps.
    touched: Vec<Option<(usize, usize)>>,
}

fn height(graph: &Graph, v: Value) -> usize {
    graph.shape(v)[2]
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, lowered: &'a Lowered, size: Size) -> Self {
        let mut touched: Vec<Option<(usize, usize)>> = vec![None; lowered.slots.len()];
        for (t, step) in lowered.steps.iter().enumerate() {
            for v in step.reads(graph).into_iter().chain(step.result()) {
                if let Some(place) = lowered.places[v.index()] {
                    let found = touched[place.slot].get_or_insert((t, t));
                    *found = (found.0.min(t), found.1.max(t));
                }
            }
        }
        for v in &graph.inputs {
            if let Some(place) = lowered.places[v.index()] {
                touched[place.slot] = Some((0, usize::MAX));
            }
        }
        let locals = lowered.steps.iter().map(|step| local(graph, step)).collect();
        Self { graph, lowered, size, locals, touched }
    }

    fn locals(&self, steps: Range<usize>) -> impl DoubleEndedIterator<Item = &Local> {
        self.locals[steps].iter().flatten()
    }

    /// Slots that nothing outside of `steps` touches.
    fn inner(&self, steps: &Range<usize>) -> Vec<usize> {
        let inside = |t: &Option<(usize, usize)>| {
            t.is_some_and(|(first, last)| steps.contains(&first) && steps.contains(&last))
        };
        (0..self.touched.len()).filter(|&slot| inside(&self.touched[slot])).collect()
    }

    /// Rows of the smallest map that is made.
    fn base(&self, steps: &Range<usize>) -> usize {
        self.locals(steps.clone()).map(|l| height(self.graph, l.result)).min().unwrap_or(1)
    }

    /// Values of a row of a slot, and rows of it.
    fn row(&self, slot: usize) -> (usize, usize) {
        let (stride, v) = self.lowered.slots[slot];
        let [_, _, h, w] = self.graph.shape(v);
        (w * stride, h)
    }

    fn slot(&self, v: Value) -> Option<usize> {
        self.lowered.places[v.index()].map(|place| place.slot)
    }

    /// Rows of the smallest map that a strip adds; none where these steps cannot go strip by strip.
    fn each(&self, steps: &Range<usize>) -> Option<usize> {
        let base = self.base(steps);
        let made = |v: &Value| self.locals(steps.clone()).any(|l| l.result == *v);
        for l in self.locals(steps.clone()) {
            if !height(self.graph, l.result).is_multiple_of(base) || l.whole.iter().any(made) {
                return None;
            }
        }
        // Rows that are made or read in larger pieces wait for them.
        let (mut values, mut waiting) = (0, 0);
        for slot in self.inner(steps) {
            let (row, h) = self.row(slot);
            values += row * h.div_ceil(base);
            let touches = |l: &&Local| {
                self.slot(l.result) == Some(slot) || l.reads.iter().any(|(v, _)| self.slot(*v) == Some(slot))
            };
            let unit = self.locals(steps.clone()).filter(touches).map(|l| l.unit).max();
            waiting += row * (unit.unwrap_or(1) - 1);
        }
        let each = self.size.values.saturating_sub(waiting) / values.max(1);
        (each >= self.size.least).then(|| (each / self.size.unit * self.size.unit).max(self.size.unit))
    }

    /// Values that travel between the processor and memory, more or less.
    fn cost(&self, steps: &Range<usize>) -> u64 {
        let (base, inner) = (self.base(steps), self.inner(steps));
        let mut outside = Vec::new();
        for step in &self.lowered.steps[steps.clone()] {
            let all = step.reads(self.graph).into_iter().chain(step.result());
            outside
                .extend(all.filter_map(|v| self.slot(v)).filter(|s| steps.len() == 1 || !inner.contains(s)));
        }
        outside.sort_unstable();
        outside.dedup();
        let values = |slot: usize| {
            let (row, h) = self.row(slot);
            (row * h) as u64
        };
        let passes = match steps.len() {
            1 => 0,
            len => len * base.div_ceil(self.each(steps).unwrap_or(1)),
        };
        outside.into_iter().map(values).sum::<u64>() + (passes * self.size.pass) as u64
    }

    /// The plan for `steps`; none where it would gain nothing.
    fn strips(&self, steps: Range<usize>) -> Option<Strips> {
        let (base, slots) = (self.base(&steps), self.inner(&steps));
        let values: usize = slots.iter().map(|&slot| self.row(slot)).map(|(row, h)| row * h).sum();
        // What fits into the cache anyway stays as it is.
        if steps.len() < 2 || values <= 2 * self.size.values {
            return None;
        }
        let each = self.each(&steps)?;
        let made = |v: &Value| self.locals(steps.clone()).any(|l| l.result == *v);
        let leaves = |v: &Value| made(v) && self.slot(*v).is_some_and(|slot| slots.contains(&slot));
        let mut outputs: Vec<Value> = self.graph.outputs.iter().copied().filter(leaves).collect();
        outputs.sort_unstable_by_key(|v| v.index());
        outputs.dedup();
        let turns = self.turns(&steps, each.min(base), &slots, &outputs);
        let mut space = 0;
        let inner = slots.iter().enumerate().map(|(i, &slot)| {
            let (row, at) = (self.row(slot).0, space);
            space += row * turns.iter().map(|t| t.held[i].len()).max().unwrap_or(0);
            Inner { slot, at, row }
        });
        let inner = inner.collect();
        Some(Strips { steps, inner, turns, outputs, space })
    }

    /// What is read where `v` is: a joined map is its parts too.
    fn spread(&self, v: Value, reach: Reach, to: &mut Vec<(Value, Reach)>) {
        to.push((v, reach));
        let node = &self.graph.nodes[v.index()];
        if matches!(node.op, Op::Concat { axis: 1 }) {
            node.inputs.iter().for_each(|&part| self.spread(part, reach, to));
        }
    }

    fn turns(&self, steps: &Range<usize>, each: usize, slots: &[usize], outputs: &[Value]) -> Vec<Turn> {
        let base = self.base(steps);
        let locals: Vec<&Local> = self.locals(steps.clone()).collect();
        let reads: Vec<Vec<(Value, Reach)>> = locals
            .iter()
            .map(|l| {
                let mut all = Vec::new();
                l.reads.iter().for_each(|&(v, reach)| self.spread(v, reach, &mut all));
                all
            })
            .collect();
        // Rows that are made, per step; first row that is kept, per inner slot.
        let mut done = vec![0; locals.len()];
        let mut first = vec![0; slots.len()];
        let mut turns = Vec::new();
        for strip in 0..base.div_ceil(each) {
            let end = (strip + 1) * each;
            let mut wanted: HashMap<Value, usize> = HashMap::new();
            let mut rows = vec![0..0; locals.len()];
            for (i, local) in locals.iter().enumerate().rev() {
                let h = height(self.graph, local.result);
                // Statistics may be read by later steps.
                let inner = self.slot(local.result).is_some_and(|s| slots.contains(&s));
                let own = if inner && !outputs.contains(&local.result) { 0 } else { end * (h / base) };
                let to = wanted.get(&local.result).copied().unwrap_or(0).max(own);
                let to = to.next_multiple_of(local.unit).min(h).max(done[i]);
                rows[i] = done[i]..to;
                if rows[i].is_empty() {
                    continue;
                }
                for (v, reach) in &reads[i] {
                    let to = reach.rows(&rows[i], height(self.graph, *v)).end;
                    let found = wanted.entry(*v).or_default();
                    *found = to.max(*found);
                }
            }
            let outs = outputs.iter().map(|v| {
                let made = locals.iter().zip(&rows).filter(|(l, _)| l.result == *v);
                made.map(|(_, rows)| rows.clone()).next_back().unwrap_or(0..0)
            });
            let outs = outs.collect();
            for (i, rows) in rows.iter().enumerate() {
                done[i] = rows.end.max(done[i]);
            }
            let held = slots.iter().zip(&first).map(|(&s, &from)| {
                let made = locals.iter().zip(&done).filter(|(l, _)| self.slot(l.result) == Some(s));
                from..made.map(|(_, &to)| to).max().unwrap_or(from)
            });
            turns.push(Turn { rows, held: held.collect(), outputs: outs });
            for (s, first) in slots.iter().zip(&mut first) {
                *first = self.kept(*s, &locals, &reads, &done);
            }
        }
        turns
    }

    /// First row of an inner slot that is still to be read or made.
    fn kept(&self, s: usize, locals: &[&Local], reads: &[Vec<(Value, Reach)>], done: &[usize]) -> usize {
        let mut kept = usize::MAX;
        for ((local, reads), &done) in locals.iter().zip(reads).zip(done) {
            let h = height(self.graph, local.result);
            if self.slot(local.result) == Some(s) {
                kept = kept.min(done);
            }
            if done < h {
                for (v, reach) in reads.iter().filter(|(v, _)| self.slot(*v) == Some(s)) {
                    kept = kept.min(reach.rows(&(done..done), height(self.graph, *v)).start);
                }
            }
        }
        kept
    }
}

/// How `step` makes some rows; none where it needs all.
fn local(graph: &Graph, step: &Step) -> Option<Local> {
    let node = &graph.nodes[step.node.index()];
    let mut this =
        Local { result: step.result().unwrap_or(step.node), unit: 1, reads: vec![], whole: vec![] };
    // Vectors are no maps.
    if height(graph, this.result) < 2 {
        return None;
    }
    let same = |v: &Value| (*v, Reach::SAME);
    let ends = |this: &mut Local, tail: &Tail| {
        this.reads.extend(tail.add.iter().map(same));
        this.whole.extend(tail.channel);
    };
    match (&step.work, &node.op) {
        (Work::Conv(chain, tail), Op::Conv2d { kernel, stride: 1, padding, .. })
            if !chain.upsample && padding.top + padding.bottom + 1 == *kernel =>
        {
            // Winograd's algorithm has four weights of each.
            let (cin, cout) = (graph.shape(chain.base)[1], node.shape[1]);
            if cin * cout * if *kernel == 3 { 36 } else { kernel * kernel } > WEIGHTS {
                return None;
            }
            this.unit = tail.shuffle;
            let (before, after) = (padding.top, padding.bottom);
            let reach = Reach { shrink: tail.shuffle, before, after };
            this.reads.push((chain.base, reach));
            if let Some(norm) = chain.norm {
                match graph.nodes[norm.index()].op {
                    Op::ChannelNorm { .. } => this.reads.push((norm, reach)),
                    _ => this.whole.push(norm),
                }
            }
            ends(&mut this, tail);
        }
        (Work::Depthwise(tail), Op::Conv2d { kernel, stride: 1, padding, .. })
            if padding.top + padding.bottom + 1 == *kernel =>
        {
            this.reads
                .push((node.inputs[0], Reach { shrink: 1, before: padding.top, after: padding.bottom }));
            ends(&mut this, tail);
        }
        (Work::Statistics, Op::ChannelNorm { kind: ChannelNorm::Rms, .. }) => {
            this.reads.push(same(&node.inputs[0]));
        }
        (Work::Pointwise(_), Op::GroupNorm { .. }) => return None,
        (Work::Pointwise(tail), _) => {
            let map = |v: &&Value| graph.shape(**v)[2..] == node.shape[2..];
            this.reads.extend(node.inputs.iter().filter(map).map(same));
            this.whole.extend(node.inputs.iter().filter(|v| !map(v)));
            ends(&mut this, tail);
        }
        (Work::Join(input, _), _) => this.reads.push(same(&node.inputs[*input])),
        (Work::Plain, Op::Attention { window: Some(side), .. })
        | (Work::Plain, Op::FrequencyFilter { window: Some(side), .. })
            if node.shape[2].is_multiple_of(*side) =>
        {
            this.unit = *side;
            this.reads.push(same(&node.inputs[0]));
        }
        _ => return None,
    }
    Some(this)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::lower::lower;
    use crate::graph::{Border, Builder};

    const THIN: Size = Size { values: 0, least: 0, unit: 1, pass: 0 };

    /// Two 3x3 convolutions and a shuffle: 9 rows become 18.
    fn chain() -> Graph {
        let mut g = Builder::new();
        let x = g.input("x", [1, 16, 9, 5]).unwrap();
        let y = g.conv3("c1", x, 16, Border::Replicate).unwrap();
        let y = g.conv1("up", y, 64).unwrap();
        let y = g.pixel_shuffle("p", y, 2).unwrap();
        let y = g.conv3("c2", y, 3, Border::Replicate).unwrap();
        g.finish(&[y])
    }

    #[test]
    fn rows_are_made_once_and_held_while_they_are_read() {
        let graph = chain();
        let lowered = lower(&graph);
        let all = find(&graph, &lowered, THIN);
        let [strips] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(strips.steps, 0..lowered.steps.len());
        assert_eq!(strips.outputs, graph.outputs);
        for (step, h) in [9, 18, 18].into_iter().enumerate() {
            let rows: Vec<usize> = strips.turns.iter().flat_map(|t| t.rows[step].clone()).collect();
            assert_eq!(rows, (0..h).collect::<Vec<_>>(), "step {step}");
        }
        let left: Vec<usize> = strips.turns.iter().flat_map(|t| t.outputs[0].clone()).collect();
        assert_eq!(left, (0..18).collect::<Vec<_>>());
        // A turn of one row makes two of the output, which read four of the larger map, made in pairs.
        let most = |i: usize| strips.turns.iter().map(|t| t.held[i].len()).max().unwrap();
        let mut held: Vec<usize> = (0..strips.inner.len()).map(most).collect();
        held.sort_unstable();
        assert_eq!(held, [2, 2, 5]);
    }

    #[test]
    fn small_maps_and_strips_without_room_stay_whole() {
        let graph = chain();
        let lowered = lower(&graph);
        assert!(find(&graph, &lowered, Size::CACHE).is_empty());
        assert!(find(&graph, &lowered, Size { least: 4, ..THIN }).is_empty());
    }

    #[test]
    fn borders_lie_only_at_the_ends() {
        let padding = Padding::same(1, Border::Zero);
        let edges = |rows: Range<usize>| {
            let (from, p) = source(&rows, 3, &padding, 10);
            (from, p.top, p.bottom)
        };
        assert_eq!(edges(0..4), (0..5, 1, 0));
        assert_eq!(edges(4..8), (3..9, 0, 0));
        assert_eq!(edges(8..10), (7..10, 0, 1));
        assert_eq!(edges(0..10), (0..10, 1, 1));
    }
}
