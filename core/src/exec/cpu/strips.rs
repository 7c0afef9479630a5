//! Inverted bottlenecks by strips of rows: the wide maps between their convolutions exist a few rows at a time, which
//! stay in cache.

#![allow(unsafe_code, reason = "kernels over maps in the arena")]

use crate::error::{Error, Result};
use crate::exec::cpu::conv::{Act, Conv, Post, Source};
use crate::exec::cpu::depthwise::depthwise;
use crate::exec::cpu::lower::{Strips, Tail};
use crate::exec::cpu::map::{Map, Ptr, padded};
use crate::exec::cpu::pack::Pack;
use crate::exec::cpu::run::Runner;
use crate::graph::{Graph, Op, Value};

/// Values of the two wide strips together: 8 MiB, a share of the last cache.
const STRIP_VALUES: usize = 2 << 20;

/// Rows of a strip at least: each pass is handed out to threads.
const LEAST_ROWS: usize = 4;

/// Rows that a strip adds, for maps of `h` rows of `row` values.
fn rows(h: usize, row: usize) -> usize {
    (STRIP_VALUES / 2 / row.max(1)).clamp(LEAST_ROWS, h.max(LEAST_ROWS))
}

/// f32 that the strips of a step take: expanded rows with one more on each side, and filtered rows.
pub(super) fn space(graph: &Graph, strips: &Strips) -> usize {
    let [_, c, h, w] = graph.shape(strips.expand.0);
    let row = w * padded(c);
    (2 * rows(h, row) + 2) * row
}

impl Map {
    /// Rows `from .. to` of a single picture.
    fn rows(&self, from: usize, to: usize) -> Self {
        Self { start: self.start.add(from * self.w * self.stride), h: to - from, ..*self }
    }
}

impl Runner<'_> {
    fn conv_of(&self, node: Value) -> Result<&Conv> {
        match self.pack(node) {
            Pack::Conv(conv) => Ok(conv),
            _ => Err(Error::internal("weights of another operation")),
        }
    }

    pub(super) fn strips(&self, t: usize, node: Value, strips: &Strips) -> Result<()> {
        let space = self.room(self.program.space.get(&t))?;
        let (x, y) = (self.map(strips.chain.base)?, self.map(strips.reduce.last)?);
        let add = strips.reduce.add.map(|v| self.map(v)).transpose()?;
        for i in 0..x.n {
            self.picture(node, strips, i, (x.picture(i), y.picture(i), add.map(|m| m.picture(i))), space)?;
        }
        Ok(())
    }

    /// What the first convolution reads of rows from `from` on of picture `i`.
    fn source(&self, strips: &Strips, i: usize, map: Map, from: usize, width: usize) -> Result<Source> {
        let chain = &strips.chain;
        let mut src = Source { map, upsample: false, pixel: None, channel: None, act: chain.act };
        if let Some(norm) = chain.norm {
            let found = self.room(self.program.statistics.get(&norm))?;
            let lanes = map.lanes();
            let [n, _, h, _] = self.graph().shape(norm);
            if matches!(self.graph().nodes[norm.index()].op, Op::GroupNorm { .. }) {
                src.channel = Some((found.add(i * lanes), found.add((n + i) * lanes)));
            } else {
                src.pixel = Some(found.add((i * h + from) * width));
                src.channel = Some((self.pack(norm).row(0, lanes)?, self.pack(norm).row(1, lanes)?));
            }
        }
        Ok(src)
    }

    fn picture(
        &self,
        node: Value,
        strips: &Strips,
        i: usize,
        (x, y, add): (Map, Map, Option<Map>),
        space: Ptr,
    ) -> Result<()> {
        let (expand, reduce) = (self.conv_of(strips.expand.0)?, self.conv_of(node)?);
        let [_, c, h, w] = self.graph().shape(strips.expand.0);
        let stride = padded(c);
        let row = w * stride;
        let each = rows(h, row);
        let wide = |start: Ptr, rows: usize| Map { start, n: 1, h: rows, w, c, stride };
        let filtered = space.add((each + 2) * row);
        let after =
            |tail: &Tail, add: Option<Map>| Post { channel: None, act: tail.act, scale: tail.scale, add };
        // Rows `have.0 .. have.1` are expanded and lie at the start of `space`.
        let mut have = (0, 0);
        let mut from = 0;
        while from < h {
            let to = (from + each).min(h);
            let (first, last) = (from.saturating_sub(1), (to + 1).min(h));
            if have.1 > first {
                // The rows that both strips need move to the front.
                let (skip, kept) = (first - have.0, have.1 - first);
                // SAFETY: rows inside `space`; the ranges may overlap, which `copy` allows.
                unsafe { std::ptr::copy(space.add(skip * row).get(), space.get(), kept * row) }
                have = (first, have.1);
            } else {
                have = (first, first);
            }
            let fresh = space.add((have.1 - first) * row);
            let src = self.source(strips, i, x.rows(have.1, last), have.1, w)?;
            let mut filter = self.depthwise_op(strips.depthwise.0, &strips.depthwise.1)?;
            // Where there are rows beyond the strip, they are there and not padding.
            filter.padding.top = usize::from(first == from);
            filter.padding.bottom = usize::from(last == to);
            let back = Source {
                map: wide(filtered, to - from),
                upsample: false,
                pixel: None,
                channel: None,
                act: Act::None,
            };
            // SAFETY: maps of live values and of this step's own space do not overlap.
            unsafe {
                if last > have.1 {
                    let to = wide(fresh, last - have.1);
                    expand.run(&self.cx, &src, &after(&strips.expand.1, None), &to)?;
                }
                depthwise(&self.cx, &wide(space, last - first), &filter, &wide(filtered, to - from))?;
                let add = add.map(|m| m.rows(from, to));
                reduce.run(&self.cx, &back, &after(&strips.reduce, add), &y.rows(from, to))?;
            }
            have = (first, last);
            from = to;
        }
        Ok(())
    }
}
