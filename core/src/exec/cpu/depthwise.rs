//! Depthwise convolution: each channel by itself, so vectors run over the channels.

#![allow(unsafe_code, reason = "vector kernels over maps")]

use crate::error::Result;
use crate::exec::cpu::conv::Act;
use crate::exec::cpu::map::{Context, Map, Ptr};
use crate::exec::cpu::pointwise::activate;
use crate::exec::cpu::simd::{Simd, levels};
use crate::graph::{Border, Padding};

/// `y = act(conv(x) + bias)`.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
    /// `[kernel * kernel][lanes]`.
    pub(crate) weight: Ptr,
    /// `[lanes]`.
    pub(crate) bias: Ptr,
    pub(crate) act: Act,
}

/// # Safety
/// Maps in live memory that do not overlap.
pub(crate) unsafe fn depthwise(cx: &Context<'_>, x: &Map, op: &Depthwise, y: &Map) -> Result<()> {
    let (x, op, y, level) = (*x, *op, *y, cx.level);
    let (tasks, each) = cx.split(y.n * y.h, 512usize.div_ceil(y.w.max(1)));
    cx.run(tasks, &|task, _| {
        for row in task * each..((task + 1) * each).min(y.n * y.h) {
            // SAFETY: this row of `y`, which no other task writes.
            unsafe { depthwise_row(level, x, op, y, row) }
        }
    })
}

levels! { unsafe fn depthwise_row(x: Map, op: Depthwise, y: Map, row: usize) = row_over; }

/// The sample of the map that a padded coordinate reads, if any.
#[inline(always)]
fn inside(at: usize, before: usize, len: usize, border: Border) -> Option<usize> {
    let i = at as isize - before as isize;
    if i >= 0 && i < len as isize {
        return Some(i as usize);
    }
    match border {
        Border::Zero => None,
        Border::Replicate => Some(if i < 0 { 0 } else { len - 1 }),
    }
}

#[inline(always)]
unsafe fn row_over<S: Simd>(x: Map, op: Depthwise, y: Map, row: usize) {
    let (n, oy, lanes, k) = (row / y.h, row % y.h, y.lanes(), op.kernel);
    let mut ox = 0;
    while ox < y.w {
        let mut c = 0;
        while c < lanes {
            // SAFETY: pixels inside the maps, vectors inside the lanes.
            unsafe {
                let mut sum = S::load(op.bias.get().add(c));
                let mut ky = 0;
                while ky < k {
                    if let Some(iy) = inside(oy * op.stride + ky, op.padding.top, x.h, op.padding.border) {
                        let mut kx = 0;
                        while kx < k {
                            let at = ox * op.stride + kx;
                            if let Some(ix) = inside(at, op.padding.left, x.w, op.padding.border) {
                                let v = S::load(x.pixel((n * x.h + iy) * x.w + ix).add(c));
                                sum = S::fma(v, S::load(op.weight.get().add((ky * k + kx) * lanes + c)), sum);
                            }
                            kx += 1;
                        }
                    }
                    ky += 1;
                }
                S::store(y.pixel(row * y.w + ox).add(c), activate::<S>(sum, op.act));
            }
            c += S::W;
        }
        ox += 1;
    }
}
