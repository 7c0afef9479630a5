//! Scaled dot-product attention over windows or whole maps (`Op::Attention`).

#![allow(unsafe_code, reason = "kernel")]

use crate::error::{Error, Result};
use crate::exec::cpu::flash::{self, Block, Head};
use crate::exec::cpu::lanes::prefetch;
use crate::exec::cpu::map::{Buffer, Context, Map};
use crate::exec::cpu::simd::Level;
use crate::graph::QkvLayout;

/// Attention of a joint map of queries, keys and values.
pub(crate) struct Attention {
    level: Level,
    channels: usize,
    heads: usize,
    window: Option<usize>,
    layout: QkvLayout,
    /// Per head as [`flash`] reads it.
    bias: Option<Buffer>,
}

impl Attention {
    /// `channels` of the result, of which the input has three times as many; `bias` as the graph stores it.
    pub(crate) fn new(
        level: Level,
        channels: usize,
        heads: usize,
        window: Option<usize>,
        layout: QkvLayout,
        bias: Option<&[f32]>,
    ) -> Result<Self> {
        if heads == 0 || channels == 0 || !channels.is_multiple_of(heads) || window == Some(0) {
            return Err(Error::internal(format!("attention of {channels} channels in {heads} heads")));
        }
        let mut this = Self { level, channels, heads, window, layout, bias: None };
        if let (Some(bias), Some(side)) = (bias, window) {
            this.bias = Some(this.expand(bias, side)?);
        }
        Ok(this)
    }

    fn block(&self, tokens: usize) -> Block {
        Block::new(self.level, self.window.is_some(), tokens, self.channels / self.heads)
    }

    /// The bias of each pair of tokens, keys down and queries across.
    fn expand(&self, bias: &[f32], side: usize) -> Result<Buffer> {
        let (table, tokens) = ((2 * side - 1) * (2 * side - 1), side * side);
        if bias.len() != self.heads * table {
            return Err(Error::internal(format!("a position bias of {} values", bias.len())));
        }
        let block = self.block(tokens);
        let each = block.bias_len(tokens);
        let mut all = Buffer::zeroed(self.heads * each)
            .ok_or_else(|| Error::limit("no memory for the position bias of an attention"))?;
        let values = all.as_mut_slice();
        for head in 0..self.heads {
            for query in 0..tokens {
                for key in 0..tokens {
                    let dy = query / side + side - 1 - key / side;
                    let dx = query % side + side - 1 - key % side;
                    let value = bias[head * table + dy * (2 * side - 1) + dx];
                    // Powers of two inside: one multiplication less per score.
                    values[head * each + block.bias_at(tokens, query, key)] =
                        value * std::f32::consts::LOG2_E;
                }
            }
        }
        Ok(all)
    }

    /// Tokens that see one another.
    fn tokens(&self, h: usize, w: usize) -> usize {
        self.window.map_or(h * w, |s| s * s)
    }

    /// Scratch of a thread in f32.
    pub(crate) fn scratch(&self, h: usize, w: usize) -> usize {
        self.block(self.tokens(h, w)).scratch()
    }

    /// First channel of a head's queries, keys or values.
    fn channel(&self, part: usize, head: usize) -> usize {
        let d = self.channels / self.heads;
        match self.layout {
            QkvLayout::PartFirst => (part * self.heads + head) * d,
            QkvLayout::HeadFirst => (head * 3 + part) * d,
        }
    }

    /// # Safety
    /// Maps in live memory, `y` does not overlap `x`.
    pub(crate) unsafe fn run(&self, cx: &Context<'_>, x: &Map, y: &Map) -> Result<()> {
        let side = self.window.unwrap_or(1);
        let fits = x.c == 3 * self.channels
            && y.c == self.channels
            && (x.n, x.h, x.w) == (y.n, y.h, y.w)
            && x.h.is_multiple_of(side)
            && x.w.is_multiple_of(side);
        if !fits {
            return Err(Error::internal(format!(
                "attention from {}x{}x{} to {}x{}x{}",
                x.c, x.h, x.w, y.c, y.h, y.w
            )));
        }
        if x.pixels() == 0 {
            return Ok(());
        }
        let tokens = self.tokens(x.h, x.w);
        let block = self.block(tokens);
        let queries = tokens.div_ceil(block.queries);
        // Window of a picture, or picture: its first pixel.
        let across = self.window.map_or(1, |s| x.w / s);
        let per_picture = self.window.map_or(1, |s| (x.h / s) * across);
        let first = |area: usize| {
            let (picture, at) = (area / per_picture, area % per_picture);
            (picture * x.h + at / across * side) * x.w + at % across * side
        };
        let one = |area: usize, head: usize, query: usize, thread: usize| {
            let pixel = first(area);
            let d = self.channels / self.heads;
            let last = head + 1 == self.heads;
            // SAFETY: the caller vouches for the maps; the head's channels are inside them, the tokens inside the
            // picture, and no other task writes this head's channels of these queries.
            unsafe {
                let head = Head {
                    q: x.pixel(pixel).add(self.channel(0, head)),
                    k: x.pixel(pixel).add(self.channel(1, head)),
                    v: x.pixel(pixel).add(self.channel(2, head)),
                    out: y.pixel(pixel).add(head * d),
                    bias: self.bias.as_ref().map_or(std::ptr::null(), |b| {
                        b.start().add(head * block.bias_len(tokens)).cast_const()
                    }),
                    side: self.window.unwrap_or(tokens),
                    step: x.stride,
                    row: x.w * x.stride,
                    out_step: y.stride,
                    out_row: y.w * y.stride,
                    tokens,
                    first: query * block.queries,
                    pad: if last { y.lanes() - y.c } else { 0 },
                    scratch: cx.scratch(thread),
                };
                flash::attend(self.level, &block, &head);
            }
        };
        if self.window.is_none() {
            let tasks = x.n * self.heads * queries;
            return cx.run(tasks, &|task, thread| {
                let (query, rest) = (task % queries, task / queries);
                one(rest / self.heads, rest % self.heads, query, thread);
            });
        }
        let areas = x.n * per_picture;
        let (tasks, each) = cx.split(areas, 1);
        cx.run(tasks, &|task, thread| {
            for area in task * each..((task + 1) * each).min(areas) {
                for head in 0..self.heads {
                    if area + 1 < areas {
                        // A share of the next window per head: its pixels lie in many short rows, which the
                        // processor does not foresee.
                        let (from, to) = (head * tokens / self.heads, (head + 1) * tokens / self.heads);
                        for token in from..to {
                            let pixel = first(area + 1) + token / side * x.w + token % side;
                            // SAFETY: a pixel of the map.
                            let start = unsafe { x.pixel(pixel) };
                            for line in (0..x.c).step_by(16) {
                                prefetch(start.wrapping_add(line));
                            }
                        }
                    }
                    for query in 0..queries {
                        one(area, head, query, thread);
                    }
                }
            }
        })
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
