//! The work of one step over whole maps or over some rows of them.

#![allow(unsafe_code, reason = "kernels over maps in the arena")]

use crate::error::{Error, Result};
use crate::exec::check_stop;
use crate::exec::cpu::conv::{Post, Source};
use crate::exec::cpu::depthwise::{Depthwise, depthwise};
use crate::exec::cpu::lower::{Chain, Step, Tail, Work};
use crate::exec::cpu::map::{Map, Ptr, padded};
use crate::exec::cpu::moves;
use crate::exec::cpu::pack::Pack;
use crate::exec::cpu::pointwise::{
    GroupStats, PixelNorm, Pointwise, apply, group_stats, pixel_norm, rms_inverse,
};
use crate::exec::cpu::run::Runner;
use crate::exec::cpu::strips::{Strips, Turn, source};
use crate::graph::{Op, Value, frequencies};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Rows of one picture that a step makes.
#[derive(Clone)]
pub(super) struct Part<'a> {
    picture: usize,
    rows: Range<usize>,
    strips: &'a Strips,
    turn: &'a Turn,
    /// Memory of the inner maps.
    space: Ptr,
}

impl Map {
    /// Rows of a single picture.
    fn rows(&self, rows: &Range<usize>) -> Self {
        Self { start: self.start.add(rows.start * self.w * self.stride), h: rows.len(), ..*self }
    }
}

impl Runner<'_> {
    /// Runs steps strip by strip; `took` is called with the number of a step and its time.
    pub(super) fn strips(
        &self,
        strips: &Strips,
        space: Ptr,
        outputs: &mut [&mut [f32]],
        took: &mut dyn FnMut(usize, Duration),
    ) -> Result<()> {
        let steps = &self.program.lowered.steps[strips.steps.clone()];
        let pictures = steps.first().map_or(1, |s| self.graph().shape(s.node)[0]);
        for picture in 0..pictures {
            let mut before: Option<&Turn> = None;
            for turn in &strips.turns {
                for (i, inner) in strips.inner.iter().enumerate() {
                    let (held, start) = (&turn.held[i], space.add(inner.at));
                    let Some(old) = before.map(|b| &b.held[i]) else { continue };
                    let (skip, kept) = (held.start - old.start, old.end - held.start);
                    // SAFETY: rows of this map's memory; the ranges may overlap, which `copy` allows.
                    unsafe {
                        std::ptr::copy(start.add(skip * inner.row).get(), start.get(), kept * inner.row)
                    }
                }
                for (i, (step, rows)) in steps.iter().zip(&turn.rows).enumerate() {
                    if rows.is_empty() {
                        continue;
                    }
                    check_stop(self.cx.stop)?;
                    let started = Instant::now();
                    let part = Part { picture, rows: rows.clone(), strips, turn, space };
                    self.step(step, Ptr::new(std::ptr::null_mut()), Some(&part))?;
                    took(strips.steps.start + i, started.elapsed());
                }
                for (&v, rows) in strips.outputs.iter().zip(&turn.outputs) {
                    let part = Part { picture, rows: rows.clone(), strips, turn, space };
                    let map = self.view(v, Some(&part), rows.clone())?;
                    let height = self.graph().shape(v)[2];
                    for (_, out) in
                        self.graph().outputs.iter().zip(outputs.iter_mut()).filter(|(o, _)| **o == v)
                    {
                        // SAFETY: rows of a map that is made.
                        unsafe { moves::rows_to_planes(&self.cx, &map, (picture, rows.start, height), out)? }
                    }
                }
                before = Some(turn);
            }
        }
        Ok(())
    }

    /// The map of `v`, or `rows` of it where there is a part.
    fn view(&self, v: Value, part: Option<&Part<'_>>, rows: Range<usize>) -> Result<Map> {
        let Some(part) = part else { return self.map(v) };
        let (slot, channel) = self.place(v)?;
        let whole = self.map(v)?;
        let Some(i) = part.strips.inner.iter().position(|inner| inner.slot == slot) else {
            return Ok(Map { n: 1, ..whole.picture(part.picture).rows(&rows) });
        };
        let (inner, held) = (&part.strips.inner[i], &part.turn.held[i]);
        if rows.start < held.start || rows.end > held.end {
            return Err(Error::internal(format!("rows {rows:?} of a map that holds {held:?}")));
        }
        let start = part.space.add(inner.at + (rows.start - held.start) * inner.row + channel);
        Ok(Map { start, n: 1, h: rows.len(), ..whole })
    }

    /// The map of `v`, or the part's own rows of it.
    fn same(&self, v: Value, part: Option<&Part<'_>>) -> Result<Map> {
        self.view(v, part, part.map_or(0..0, |p| p.rows.clone()))
    }

    /// A vector per picture.
    fn vector(&self, v: Value, part: Option<&Part<'_>>) -> Result<Map> {
        let map = self.map(v)?;
        Ok(part.map_or(map, |p| map.picture(p.picture)))
    }

    /// Does `step`, or a part of it; `space` is what the step needs besides its maps.
    pub(super) fn step(&self, step: &Step, space: Ptr, part: Option<&Part<'_>>) -> Result<()> {
        match &step.work {
            Work::Conv(chain, tail) => self.conv(step.node, chain, tail, part),
            Work::Depthwise(tail) => self.depthwise(step.node, tail, part),
            Work::Statistics => self.statistics(step.node, space, part),
            Work::Pointwise(tail) => self.pointwise(step.node, tail, part),
            Work::Join(input, channel) => {
                let from = self.same(self.graph().nodes[step.node.index()].inputs[*input], part)?;
                let to = self.same(step.node, part)?;
                // SAFETY: maps of live values in the arena do not overlap; so for all kernels of this file.
                unsafe { moves::copy_channels(&self.cx, &from, &to, *channel) }
            }
            Work::Plain => self.plain(step.node, part),
        }
    }

    fn conv(&self, node: Value, chain: &Chain, tail: &Tail, part: Option<&Part<'_>>) -> Result<()> {
        let (Pack::Conv(conv), Op::Conv2d { kernel, padding, .. }) =
            (self.pack(node), &self.graph().nodes[node.index()].op)
        else {
            return Err(Error::internal("weights of another operation"));
        };
        let height = self.graph().shape(chain.base)[2];
        let (from, border) = match part {
            None => (0..height, None),
            Some(p) => {
                let own = p.rows.start / tail.shuffle..p.rows.end / tail.shuffle;
                let (from, border) = source(&own, *kernel, padding, height);
                (from, Some(border))
            }
        };
        let map = self.view(chain.base, part, from.clone())?;
        let vector = tail.channel.map(|v| self.vector(v, part)).transpose()?;
        if vector.is_some_and(|m| m.stride != m.lanes()) {
            return Err(Error::internal("a vector inside a joined map"));
        }
        let add = tail.add.map(|v| self.same(v, part)).transpose()?;
        let y = self.same(tail.last, part)?;
        let post = Post { channel: vector.map(|m| m.start), act: tail.act, scale: tail.scale, add };
        let (upsample, act) = (chain.upsample, chain.act);
        let mut src = Source { map, upsample, pixel: None, channel: None, act, padding: border };
        let Some(norm) = chain.norm else {
            // SAFETY: see `step`.
            return unsafe { conv.run(&self.cx, &src, &post, &y) };
        };
        let found = self.room(self.program.statistics.get(&norm))?;
        let lanes = map.lanes();
        let first = part.map_or(0, |p| p.picture);
        if matches!(self.graph().nodes[norm.index()].op, Op::GroupNorm { .. }) {
            let all = self.graph().shape(norm)[0];
            src.channel = Some((found.add(first * lanes), found.add((all + first) * lanes)));
            // SAFETY: see `step`.
            return unsafe { conv.run(&self.cx, &src, &post, &y) };
        }
        // Factors of a per-pixel norm are the same for all pictures: one picture at a time.
        src.channel = Some((self.pack(norm).row(0, lanes)?, self.pack(norm).row(1, lanes)?));
        let wide = padded(self.graph().shape(node)[1]);
        for i in 0..map.n {
            src.map = map.picture(i);
            src.pixel = Some(found.add(((first + i) * height + from.start) * map.w));
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

    fn depthwise(&self, node: Value, tail: &Tail, part: Option<&Part<'_>>) -> Result<()> {
        let n = &self.graph().nodes[node.index()];
        let Op::Conv2d { kernel, stride, padding, .. } = n.op else {
            return Err(Error::internal("no convolution"));
        };
        let height = self.graph().shape(n.inputs[0])[2];
        let (from, padding) = match part {
            None => (0..height, padding),
            Some(p) => source(&p.rows, kernel, &padding, height),
        };
        let lanes = padded(n.shape[1]);
        let pack = self.pack(node);
        let op = Depthwise {
            kernel,
            stride,
            padding,
            weight: pack.row(0, lanes * kernel * kernel)?,
            bias: pack.row(kernel * kernel, lanes)?,
            act: tail.act,
        };
        let (x, y) = (self.view(n.inputs[0], part, from)?, self.same(tail.last, part)?);
        // SAFETY: see `step`.
        unsafe { depthwise(&self.cx, &x, &op, &y) }
    }

    fn statistics(&self, node: Value, space: Ptr, part: Option<&Part<'_>>) -> Result<()> {
        let n = &self.graph().nodes[node.index()];
        let x = self.same(n.inputs[0], part)?;
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
                    space,
                };
                // SAFETY: see `step`; rooms start at whole cache lines.
                unsafe { group_stats(&self.cx, &x, &op) }
            }
            Op::ChannelNorm { eps, .. } => {
                let at = part.map_or(0, |p| p.picture * n.shape[2] + p.rows.start);
                // SAFETY: see `step`.
                unsafe { rms_inverse(&self.cx, &x, eps, out.add(at * x.w)) }
            }
            _ => Err(Error::internal("an operation without statistics")),
        }
    }

    fn pointwise(&self, node: Value, tail: &Tail, part: Option<&Part<'_>>) -> Result<()> {
        let n = &self.graph().nodes[node.index()];
        let lanes = padded(n.shape[1]);
        let y = self.same(tail.last, part)?;
        let first = self.same(n.inputs[0], part)?;
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
            add: tail.add.map(|v| self.same(v, part)).transpose()?,
            add_scale: 1.0,
        };
        let mut x = first;
        match n.op {
            Op::Add { scale } => {
                let other = n.inputs[1];
                if self.graph().shape(other)[2..] == n.shape[2..] {
                    x = self.same(other, part)?;
                } else {
                    // A vector per picture is spread: the roles change.
                    (op.add, op.add_scale, op.scale) = (Some(self.vector(other, part)?), scale, 1.0);
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

    fn plain(&self, v: Value, part: Option<&Part<'_>>) -> Result<()> {
        let node = &self.graph().nodes[v.index()];
        let cx = &self.cx;
        let y = self.same(v, part)?;
        let x = |i: usize| self.same(node.inputs[i], part);
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
