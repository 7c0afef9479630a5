//! Runs lowered steps over one arena.

#![allow(unsafe_code, reason = "kernels over maps in the arena")]

use crate::error::{Error, Result};
use crate::exec::cpu::filter::{Filter, FilterShape};
use crate::exec::cpu::lower::{Lowered, Work, lower};
use crate::exec::cpu::map::{Context, Map, Ptr, padded};
use crate::exec::cpu::moves;
use crate::exec::cpu::pack::Pack;
use crate::exec::cpu::pointwise::group_space;
use crate::exec::cpu::strips::{self, Size, Strips};
use crate::exec::{Visit, check_stop};
use crate::graph::{Graph, Op, Value, frequencies, place_lives};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A range of the arena and the turns during which it is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    at: usize,
    len: usize,
    last: usize,
}

/// What is done in a turn.
#[derive(Debug)]
enum Turn {
    /// One step over whole maps.
    Step(usize),
    /// Several steps strip by strip.
    Strips(Strips),
}

/// A graph planned for this executor.
pub(super) struct Program {
    pub(super) graph: Arc<Graph>,
    pub(super) lowered: Lowered,
    turns: Vec<Turn>,
    /// One per slot; empty for those that strips hold.
    slots: Vec<Room>,
    /// Statistics of norms: per-pixel factors, or factor and offset per picture and channel.
    pub(super) statistics: HashMap<Value, Room>,
    /// What a turn needs besides results, by its number.
    space: HashMap<usize, Room>,
    pub(super) shapes: HashMap<Value, FilterShape>,
    pub(super) frequencies: Vec<f32>,
    pub(super) arena_len: usize,
}

/// Owners of ranges of the arena.
#[derive(Default)]
struct Owners {
    lens: Vec<usize>,
    lives: Vec<Range<usize>>,
}

impl Owners {
    /// A new one that lives in turn `t` at least.
    fn add(&mut self, len: usize, t: usize) -> usize {
        self.lens.push(len);
        self.lives.push(t..t);
        self.lens.len() - 1
    }

    fn touch(&mut self, owner: usize, t: usize) {
        let life = &mut self.lives[owner];
        (life.start, life.end) = (life.start.min(t), life.end.max(t));
    }
}

impl Program {
    /// Plans `graph`.
    pub(super) fn new(graph: Arc<Graph>, strip: Size) -> Self {
        let lowered = lower(&graph);
        let mut turns: Vec<Turn> = Vec::new();
        let mut next = 0;
        for strips in strips::find(&graph, &lowered, strip) {
            turns.extend((next..strips.steps.start).map(Turn::Step));
            next = strips.steps.end;
            turns.push(Turn::Strips(strips));
        }
        turns.extend((next..lowered.steps.len()).map(Turn::Step));
        Self::placed(graph, lowered, turns)
    }

    fn placed(graph: Arc<Graph>, lowered: Lowered, turns: Vec<Turn>) -> Self {
        let mut owners = Owners::default();
        for &(stride, v) in &lowered.slots {
            let [n, _, h, w] = graph.shape(v);
            owners.lens.push(n * h * w * stride);
            // Begins and ends where it is touched.
            owners.lives.push(Range { start: usize::MAX, end: 0 });
        }
        let (mut statistics, mut space, mut shapes) = (HashMap::new(), HashMap::new(), HashMap::new());
        let slot = |v: Value| lowered.places[v.index()].map(|place| place.slot);
        for (values, t) in [(&graph.inputs, 0), (&graph.outputs, usize::MAX)] {
            values.iter().filter_map(|&v| slot(v)).for_each(|owner| owners.touch(owner, t));
        }
        for (t, turn) in turns.iter().enumerate() {
            let steps = match turn {
                Turn::Step(step) => *step..*step + 1,
                Turn::Strips(strips) => {
                    space.insert(t, owners.add(strips.space, t));
                    strips.steps.clone()
                }
            };
            for step in &lowered.steps[steps] {
                for v in step.reads(&graph).into_iter().chain(step.result()) {
                    slot(v).into_iter().for_each(|owner| owners.touch(owner, t));
                }
                let node = &graph.nodes[step.node.index()];
                let [n, c, h, w] = node.shape;
                match (&node.op, &step.work) {
                    (Op::GroupNorm { .. }, Work::Statistics) => {
                        statistics.insert(step.node, owners.add(2 * n * padded(c), t));
                        let start = Ptr::new(std::ptr::null_mut());
                        let map = Map { start, n, h, w, c, stride: padded(c) };
                        space.insert(t, owners.add(group_space(&map), t));
                    }
                    (_, Work::Statistics) => {
                        statistics.insert(step.node, owners.add(n * h * w, t));
                    }
                    (Op::FrequencyFilter { window, .. }, _) => {
                        shapes.insert(step.node, Filter::shape(*window, h, w));
                    }
                    _ => {}
                }
                if let Some(&owner) = step.norm().and_then(|v| statistics.get(&v)) {
                    owners.touch(owner, t);
                }
            }
        }
        for turn in &turns {
            if let Turn::Strips(strips) = turn {
                strips.inner.iter().for_each(|inner| owners.lens[inner.slot] = 0);
            }
        }
        let Owners { lens, lives } = owners;
        let (offsets, arena_len) = place_lives(&lens, &lives);
        let room = |i: usize| Room { at: offsets[i], len: lens[i], last: lives[i].end };
        let longest = graph.nodes.iter().map(|n| match n.op {
            Op::TimestepEmbedding { dim } => dim / 2,
            _ => 0,
        });
        let frequencies = frequencies(longest.max().unwrap_or(0));
        Self {
            slots: (0..lowered.slots.len()).map(room).collect(),
            statistics: statistics.into_iter().map(|(v, i)| (v, room(i))).collect(),
            space: space.into_iter().map(|(t, i)| (t, room(i))).collect(),
            graph,
            lowered,
            turns,
            shapes,
            frequencies,
            arena_len,
        }
    }

    /// Sizes of what the step makes in one go: pictures, rows and columns of its node.
    fn sizes(&self, turn: &Turn, step: usize) -> Vec<[usize; 3]> {
        let made = &self.lowered.steps[step];
        let [n, _, h, w] = self.graph.shape(made.node);
        let Turn::Strips(strips) = turn else { return vec![[n, h, w]] };
        let shuffle = made.tail().map_or(1, |tail| tail.shuffle);
        let rows = strips.turns.iter().map(|t| t.rows[step - strips.steps.start].len() / shuffle);
        let mut rows: Vec<usize> = rows.filter(|&rows| rows > 0).collect();
        rows.sort_unstable();
        rows.dedup();
        rows.into_iter().map(|rows| [1, rows, w]).collect()
    }

    /// f32 that kernels need per thread and in common, once weights are known.
    pub(super) fn scratch(&self, packs: &[Pack], threads: usize) -> (usize, usize) {
        let (mut own, mut common) = (0, 0);
        for turn in &self.turns {
            let steps = match turn {
                Turn::Step(step) => *step..*step + 1,
                Turn::Strips(strips) => strips.steps.clone(),
            };
            for (step, [n, h, w]) in steps.flat_map(|s| self.sizes(turn, s).into_iter().map(move |x| (s, x)))
            {
                match &packs[self.lowered.steps[step].node.index()] {
                    Pack::Conv(conv) => own = own.max(conv.scratch(n, h, w, threads)),
                    Pack::Attention(attention) => own = own.max(attention.scratch(h, w)),
                    Pack::Filter(filter) => {
                        own = own.max(filter.scratch(h, w));
                        common = common.max(filter.workspace(n, h, w));
                    }
                    _ => {}
                }
            }
        }
        (own, common)
    }
}

/// One run of a program.
pub(super) struct Runner<'a> {
    pub(super) program: &'a Program,
    pub(super) packs: &'a [Pack],
    pub(super) arena: Ptr,
    /// Memory that a step may use besides its maps.
    pub(super) common: Ptr,
    pub(super) cx: Context<'a>,
}

impl Runner<'_> {
    pub(super) fn graph(&self) -> &Graph {
        &self.program.graph
    }

    /// Slot and first channel of `v`.
    pub(super) fn place(&self, v: Value) -> Result<(usize, usize)> {
        let place = self.program.lowered.places[v.index()]
            .ok_or_else(|| Error::internal("a result that is not stored is read"))?;
        Ok((place.slot, place.channel))
    }

    /// The stored map of `v`.
    pub(super) fn map(&self, v: Value) -> Result<Map> {
        let (slot, channel) = self.place(v)?;
        let [n, c, h, w] = self.graph().shape(v);
        let start = self.arena.add(self.program.slots[slot].at + channel);
        Ok(Map { start, n, h, w, c, stride: self.program.lowered.slots[slot].0 })
    }

    pub(super) fn room(&self, room: Option<&Room>) -> Result<Ptr> {
        let room = room.ok_or_else(|| Error::internal("a step without its memory"))?;
        Ok(self.arena.add(room.at))
    }

    pub(super) fn pack(&self, v: Value) -> &Pack {
        &self.packs[v.index()]
    }

    /// Runs everything; see [`crate::exec::Prepared::run`].
    pub(super) fn run(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        mut visit: Option<&mut Visit<'_>>,
        mut times: Option<&mut Vec<(Value, Duration)>>,
    ) -> Result<()> {
        let graph = self.graph();
        if cfg!(debug_assertions) {
            self.poison(0..self.program.arena_len);
        }
        for (&v, data) in graph.inputs.iter().zip(inputs) {
            // SAFETY: the map of an input lies in the arena, lengths are checked by the caller.
            unsafe { moves::from_planes(&self.cx, data, &self.map(v)?)? }
        }
        let all = &self.program.lowered.steps;
        if let Some(times) = times.as_mut() {
            times.extend(all.iter().map(|step| (step.node, Duration::ZERO)));
        }
        let mut took = |step: usize, time| {
            if let Some(times) = times.as_mut() {
                times[step].1 += time;
            }
        };
        for (t, turn) in self.program.turns.iter().enumerate() {
            let space = self.program.space.get(&t).map_or(self.arena, |room| self.arena.add(room.at));
            let steps = match turn {
                Turn::Step(step) => *step..*step + 1,
                Turn::Strips(strips) => strips.steps.clone(),
            };
            match turn {
                Turn::Step(step) => {
                    check_stop(self.cx.stop)?;
                    let started = Instant::now();
                    self.step(&all[*step], space, None)?;
                    took(*step, started.elapsed());
                }
                Turn::Strips(strips) => self.strips(strips, space, outputs, &mut took)?,
            }
            for step in &all[steps] {
                let stored = step.result().filter(|&v| self.stored(v));
                if let (Some(visit), Some(v)) = (visit.as_mut(), stored) {
                    let mut seen = vec![0.0; graph.shape(v).iter().product()];
                    // SAFETY: a stored map.
                    unsafe { moves::to_planes(&self.cx, &self.map(v)?, &mut seen)? }
                    visit(v, &seen)?;
                }
            }
            if cfg!(debug_assertions) {
                let program = self.program;
                let rooms = program.slots.iter().chain(program.statistics.values());
                let rooms = rooms.chain(program.space.values());
                rooms.filter(|r| r.last == t).for_each(|r| self.poison(r.at..r.at + r.len));
            }
        }
        for (&v, out) in graph.outputs.iter().zip(outputs.iter_mut()).filter(|(v, _)| self.stored(**v)) {
            // SAFETY: a stored map.
            unsafe { moves::to_planes(&self.cx, &self.map(v)?, out)? }
        }
        check_stop(self.cx.stop)
    }

    /// Whether the whole map of `v` exists.
    fn stored(&self, v: Value) -> bool {
        self.program.lowered.places[v.index()].is_some_and(|place| self.program.slots[place.slot].len > 0)
    }

    /// Fills a range of the arena with NaN, so that what is read too late shows.
    fn poison(&self, range: Range<usize>) {
        // SAFETY: inside the arena, which only this run uses.
        let all = unsafe { std::slice::from_raw_parts_mut(self.arena.get().add(range.start), range.len()) };
        all.fill(f32::NAN);
    }
}
