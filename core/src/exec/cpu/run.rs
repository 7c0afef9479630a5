//! Runs lowered steps over one arena.

#![allow(unsafe_code, reason = "kernels over maps in the arena")]

use crate::error::{Error, Result};
use crate::exec::cpu::conv::{Post, Source};
use crate::exec::cpu::depthwise::{Depthwise, depthwise};
use crate::exec::cpu::filter::{Filter, FilterShape};
use crate::exec::cpu::lower::{Chain, Lowered, Step, Tail, Work, lower};
use crate::exec::cpu::map::{Context, Map, Ptr, padded};
use crate::exec::cpu::moves;
use crate::exec::cpu::pack::Pack;
use crate::exec::cpu::pointwise::{
    GroupStats, PixelNorm, Pointwise, apply, group_space, group_stats, pixel_norm, rms_inverse,
};
use crate::exec::cpu::strips;
use crate::exec::{Visit, check_stop};
use crate::graph::{Graph, Op, Value, frequencies, place_lives};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A range of the arena and the steps during which it is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    at: usize,
    len: usize,
    last: usize,
}

/// A graph planned for this executor.
pub(super) struct Program {
    pub(super) graph: Arc<Graph>,
    pub(super) lowered: Lowered,
    /// One per slot.
    slots: Vec<Room>,
    /// Statistics of norms: per-pixel factors, or factor and offset per picture and channel.
    pub(super) statistics: HashMap<Value, Room>,
    /// What a step needs besides results, by its number.
    pub(super) space: HashMap<usize, Room>,
    shapes: HashMap<Value, FilterShape>,
    frequencies: Vec<f32>,
    pub(super) arena_len: usize,
}

impl Program {
    pub(super) fn new(graph: Arc<Graph>) -> Self {
        let lowered = lower(&graph);
        let steps = &lowered.steps;
        // Owners of ranges of the arena: slots first, then what steps ask for.
        let mut lens: Vec<usize> = lowered
            .slots
            .iter()
            .map(|&(stride, v)| {
                let [n, _, h, w] = graph.shape(v);
                n * h * w * stride
            })
            .collect();
        let mut lives: Vec<Range<usize>> = vec![Range { start: usize::MAX, end: 0 }; lens.len()];
        let touch = |life: &mut Range<usize>, t: usize| {
            life.start = life.start.min(t);
            life.end = life.end.max(t);
        };
        for (t, step) in steps.iter().enumerate() {
            for v in step.reads(&graph).into_iter().chain(step.result()) {
                if let Some(place) = lowered.places[v.index()] {
                    touch(&mut lives[place.slot], t);
                }
            }
        }
        for (values, t) in [(&graph.inputs, 0), (&graph.outputs, usize::MAX)] {
            for v in values {
                if let Some(place) = lowered.places[v.index()] {
                    touch(&mut lives[place.slot], t);
                }
            }
        }
        let mut statistics = HashMap::new();
        let mut space = HashMap::new();
        let mut shapes = HashMap::new();
        for (t, step) in steps.iter().enumerate() {
            let node = &graph.nodes[step.node.index()];
            let [n, c, h, w] = node.shape;
            match (&node.op, &step.work) {
                (Op::GroupNorm { .. }, Work::Statistics) => {
                    statistics.insert(step.node, lens.len());
                    lens.push(2 * n * padded(c));
                    lives.push(t..t);
                    space.insert(t, lens.len());
                    let map = Map { start: Ptr::new(std::ptr::null_mut()), n, h, w, c, stride: padded(c) };
                    lens.push(group_space(&map));
                    lives.push(t..t);
                }
                (_, Work::Statistics) => {
                    statistics.insert(step.node, lens.len());
                    lens.push(n * h * w);
                    lives.push(t..t);
                }
                (Op::FrequencyFilter { window, .. }, _) => {
                    shapes.insert(step.node, Filter::shape(*window, h, w));
                }
                _ => {}
            }
            if let Work::Strips(strips) = &step.work {
                space.insert(t, lens.len());
                lens.push(strips::space(&graph, strips));
                lives.push(t..t);
            }
            if let Some(&owner) = step.norm().and_then(|v| statistics.get(&v)) {
                touch(&mut lives[owner], t);
            }
        }
        Self::placed(graph, lowered, lens, lives, statistics, space, shapes)
    }

    #[allow(clippy::too_many_arguments, reason = "the second half of `new`")]
    fn placed(
        graph: Arc<Graph>,
        lowered: Lowered,
        lens: Vec<usize>,
        lives: Vec<Range<usize>>,
        statistics: HashMap<Value, usize>,
        space: HashMap<usize, usize>,
        shapes: HashMap<Value, FilterShape>,
    ) -> Self {
        let (offsets, arena_len) = place_lives(&lens, &lives);
        let rooms: Vec<Room> =
            (0..lens.len()).map(|i| Room { at: offsets[i], len: lens[i], last: lives[i].end }).collect();
        let longest = graph.nodes.iter().map(|n| match n.op {
            Op::TimestepEmbedding { dim } => dim / 2,
            _ => 0,
        });
        let frequencies = frequencies(longest.max().unwrap_or(0));
        Self {
            slots: rooms[..lowered.slots.len()].to_vec(),
            statistics: statistics.into_iter().map(|(v, i)| (v, rooms[i])).collect(),
            space: space.into_iter().map(|(t, i)| (t, rooms[i])).collect(),
            graph,
            lowered,
            shapes,
            frequencies,
            arena_len,
        }
    }

    /// f32 that kernels need per thread and in common, once weights are known.
    pub(super) fn scratch(&self, packs: &[Pack], threads: usize) -> (usize, usize) {
        let (mut own, mut common) = (0, 0);
        let nodes = self.lowered.steps.iter().flat_map(|s| s.parts().into_iter().map(|(v, _)| v));
        for v in nodes {
            let node = &self.graph.nodes[v.index()];
            let [n, _, h, w] = node.shape;
            match &packs[v.index()] {
                Pack::Conv(conv) => own = own.max(conv.scratch(n, h, w, threads)),
                Pack::Attention(attention) => own = own.max(attention.scratch(h, w)),
                Pack::Filter(filter) => {
                    own = own.max(filter.scratch(h, w));
                    common = common.max(filter.workspace(n, h, w));
                }
                _ => {}
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

    /// The stored map of `v`.
    pub(super) fn map(&self, v: Value) -> Result<Map> {
        let lowered = &self.program.lowered;
        let place = lowered.places[v.index()]
            .ok_or_else(|| Error::internal("a result that is not stored is read"))?;
        let room = self.program.slots[place.slot];
        let [n, c, h, w] = self.graph().shape(v);
        let start = self.arena.add(room.at + place.channel);
        Ok(Map { start, n, h, w, c, stride: lowered.slots[place.slot].0 })
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
        for (t, step) in self.program.lowered.steps.iter().enumerate() {
            check_stop(self.cx.stop)?;
            let started = times.as_ref().map(|_| Instant::now());
            self.step(t, step)?;
            if let (Some(times), Some(started)) = (times.as_mut(), started) {
                times.push((step.node, started.elapsed()));
            }
            if let (Some(visit), Some(v)) = (visit.as_mut(), step.result()) {
                let mut seen = vec![0.0; graph.shape(v).iter().product()];
                // SAFETY: a stored map.
                unsafe { moves::to_planes(&self.cx, &self.map(v)?, &mut seen)? }
                visit(v, &seen)?;
            }
            if cfg!(debug_assertions) {
                let program = self.program;
                let rooms = program.slots.iter().chain(program.statistics.values());
                rooms.filter(|r| r.last == t).for_each(|r| self.poison(r.at..r.at + r.len));
            }
        }
        for (&v, out) in graph.outputs.iter().zip(outputs.iter_mut()) {
            // SAFETY: a stored map.
            unsafe { moves::to_planes(&self.cx, &self.map(v)?, out)? }
        }
        check_stop(self.cx.stop)
    }

    /// Fills a range of the arena with NaN, so that what is read too late shows.
    fn poison(&self, range: Range<usize>) {
        // SAFETY: inside the arena, which only this run uses.
        let all = unsafe { std::slice::from_raw_parts_mut(self.arena.get().add(range.start), range.len()) };
        all.fill(f32::NAN);
    }

    fn step(&self, t: usize, step: &Step) -> Result<()> {
        match &step.work {
            Work::Conv(chain, tail) => self.conv(step.node, chain, tail),
            Work::Depthwise(tail) => self.depthwise(step.node, tail),
            Work::Statistics => self.statistics(t, step.node),
            Work::Pointwise(tail) => self.pointwise(step.node, tail),
            Work::Strips(strips) => self.strips(t, step.node, strips),
            Work::Join(input, channel) => {
                let from = self.map(self.graph().nodes[step.node.index()].inputs[*input])?;
                // SAFETY: maps of live values in the arena do not overlap; so for all kernels of this file.
                unsafe { moves::copy_channels(&self.cx, &from, &self.map(step.node)?, *channel) }
            }
            Work::Plain => self.plain(step.node),
        }
    }

    fn conv(&self, node: Value, chain: &Chain, tail: &Tail) -> Result<()> {
        let Pack::Conv(conv) = self.pack(node) else {
            return Err(Error::internal("weights of another operation"));
        };
        let map = self.map(chain.base)?;
        let vector = tail.channel.map(|v| self.map(v)).transpose()?;
        if vector.is_some_and(|m| m.stride != m.lanes()) {
            return Err(Error::internal("a vector inside a joined map"));
        }
        let add = tail.add.map(|v| self.map(v)).transpose()?;
        let y = self.map(tail.last)?;
        let post = Post { channel: vector.map(|m| m.start), act: tail.act, scale: tail.scale, add };
        let mut src = Source { map, upsample: chain.upsample, pixel: None, channel: None, act: chain.act };
        let Some(norm) = chain.norm else {
            // SAFETY: see `step`.
            return unsafe { conv.run(&self.cx, &src, &post, &y) };
        };
        let found = self.room(self.program.statistics.get(&norm))?;
        let lanes = map.lanes();
        if matches!(self.graph().nodes[norm.index()].op, Op::GroupNorm { .. }) {
            src.channel = Some((found, found.add(map.n * lanes)));
            // SAFETY: see `step`.
            return unsafe { conv.run(&self.cx, &src, &post, &y) };
        }
        // Factors of a per-pixel norm are the same for all pictures: one picture at a time.
        src.channel = Some((self.pack(norm).row(0, lanes)?, self.pack(norm).row(1, lanes)?));
        let wide = padded(self.graph().shape(node)[1]);
        for i in 0..map.n {
            src.map = map.picture(i);
            src.pixel = Some(found.add(i * map.h * map.w));
            let post = Post {
                channel: vector.map(|m| m.start.add(i * wide)),
                add: add.map(|m| m.picture(i)),
                ..post
            };
            // SAFETY: see `step`.
            unsafe { conv.run(&self.cx, &src, &post, &y.picture(i))? }
        }
        Ok(())
    }

    fn depthwise(&self, node: Value, tail: &Tail) -> Result<()> {
        let op = self.depthwise_op(node, tail)?;
        let x = self.map(self.graph().nodes[node.index()].inputs[0])?;
        // SAFETY: see `step`.
        unsafe { depthwise(&self.cx, &x, &op, &self.map(tail.last)?) }
    }

    pub(super) fn depthwise_op(&self, node: Value, tail: &Tail) -> Result<Depthwise> {
        let n = &self.graph().nodes[node.index()];
        let Op::Conv2d { kernel, stride, padding, .. } = n.op else {
            return Err(Error::internal("no convolution"));
        };
        let lanes = padded(n.shape[1]);
        let pack = self.pack(node);
        Ok(Depthwise {
            kernel,
            stride,
            padding,
            weight: pack.row(0, lanes * kernel * kernel)?,
            bias: pack.row(kernel * kernel, lanes)?,
            act: tail.act,
        })
    }

    fn statistics(&self, t: usize, node: Value) -> Result<()> {
        let n = &self.graph().nodes[node.index()];
        let x = self.map(n.inputs[0])?;
        let out = self.room(self.program.statistics.get(&node))?;
        match n.op {
            Op::GroupNorm { groups, eps, .. } => {
                let lanes = x.lanes();
                let op = GroupStats {
                    groups,
                    eps,
                    weight: self.pack(node).row(0, lanes)?,
                    bias: self.pack(node).row(1, lanes)?,
                    factor: out,
                    shift: out.add(x.n * lanes),
                    space: self.room(self.program.space.get(&t))?,
                };
                // SAFETY: see `step`; rooms start at whole cache lines.
                unsafe { group_stats(&self.cx, &x, &op) }
            }
            // SAFETY: see `step`.
            Op::ChannelNorm { eps, .. } => unsafe { rms_inverse(&self.cx, &x, eps, out) },
            _ => Err(Error::internal("an operation without statistics")),
        }
    }

    fn pointwise(&self, node: Value, tail: &Tail) -> Result<()> {
        let n = &self.graph().nodes[node.index()];
        let lanes = padded(n.shape[1]);
        let y = self.map(tail.last)?;
        let first = self.map(n.inputs[0])?;
        if let Op::ChannelNorm { kind, eps, .. } = n.op {
            let (weight, bias) = (self.pack(node).row(0, lanes)?, self.pack(node).row(1, lanes)?);
            let op = PixelNorm { kind, eps, weight, bias, act: tail.act };
            // SAFETY: see `step`.
            return unsafe { pixel_norm(&self.cx, &first, &op, &y) };
        }
        let mut op = Pointwise {
            channel: None,
            per_picture: false,
            act: tail.act,
            scale: tail.scale,
            add: tail.add.map(|v| self.map(v)).transpose()?,
            add_scale: 1.0,
        };
        let mut x = first;
        match n.op {
            Op::Add { scale } => {
                x = self.map(n.inputs[1])?;
                if x.h * x.w != y.h * y.w {
                    // A vector per picture is spread: the roles change.
                    (op.add, op.add_scale, op.scale) = (Some(x), scale, 1.0);
                    x = first;
                }
            }
            Op::GroupNorm { .. } => {
                let found = self.room(self.program.statistics.get(&node))?;
                op.channel = Some((found, found.add(x.n * lanes)));
                op.per_picture = true;
            }
            Op::Activation(_) => {}
            _ => op.channel = Some((self.pack(node).row(0, lanes)?, self.pack(node).row(1, lanes)?)),
        }
        // SAFETY: see `step`.
        unsafe { apply(&self.cx, &x, &op, &y) }
    }

    fn plain(&self, v: Value) -> Result<()> {
        let node = &self.graph().nodes[v.index()];
        let cx = &self.cx;
        let y = self.map(v)?;
        let x = |i: usize| self.map(node.inputs[i]);
        // SAFETY: see `step`; so for every arm.
        unsafe {
            match (&node.op, self.pack(v)) {
                (Op::PixelShuffle { factor }, _) => moves::pixel_shuffle(cx, &x(0)?, *factor, &y),
                (Op::UpsampleNearest2, _) => moves::upsample2(cx, &x(0)?, &y),
                (Op::MaxPool2, _) => moves::max_pool2(cx, &x(0)?, &y),
                (Op::Narrow { start, len }, _) => moves::copy_columns(cx, &x(0)?, &y, (*start, 0, *len)),
                (Op::Concat { .. }, _) => {
                    let mut at = 0;
                    for i in 0..node.inputs.len() {
                        let part = x(i)?;
                        moves::copy_columns(cx, &part, &y, (0, at, part.w))?;
                        at += part.w;
                    }
                    Ok(())
                }
                (Op::GatherTokens, _) => moves::permute_tokens(cx, &x(0)?, &x(1)?, &y, false),
                (Op::ScatterTokens { .. }, _) => moves::permute_tokens(cx, &x(0)?, &x(1)?, &y, true),
                (Op::Attention { .. }, Pack::Attention(attention)) => attention.run(cx, &x(0)?, &y),
                (Op::FrequencyFilter { .. }, Pack::Filter(filter)) => {
                    let shape = self.program.shapes.get(&v);
                    let shape = shape.ok_or_else(|| Error::internal("a filter without its shape"))?;
                    filter.run(cx, shape, &x(0)?, &y, self.common)
                }
                (Op::CodebookIndex { .. }, Pack::Codebook(codebook)) => codebook.index(cx, &x(0)?, &y),
                (Op::CodebookLookup { .. }, Pack::Codebook(codebook)) => codebook.lookup(cx, &x(0)?, &y),
                (Op::TimestepEmbedding { dim }, _) => {
                    self.embed(&x(0)?, *dim, &y);
                    Ok(())
                }
                (op, _) => Err(Error::internal(format!("no kernel for {}", op.name()))),
            }
        }
    }

    /// Cosines, then sines, then zeros (reference.md 2.1).
    fn embed(&self, x: &Map, dim: usize, y: &Map) {
        let half = dim / 2;
        let own: Vec<f32>;
        // Frequencies depend on their number; graphs have one width in practice.
        let frequencies = if self.program.frequencies.len() == half {
            &self.program.frequencies
        } else {
            own = frequencies(half);
            &own
        };
        for n in 0..y.n {
            // SAFETY: one pixel of each map.
            let (t, out) = unsafe { (*x.pixel(n), std::slice::from_raw_parts_mut(y.pixel(n), y.lanes())) };
            out.fill(0.0);
            for (i, f) in frequencies.iter().enumerate() {
                out[i] = libm::cosf(t * f);
                out[half + i] = libm::sinf(t * f);
            }
        }
    }
}
