//! Kernels that move samples: layouts at the border of the executor, rearrangements inside.

#![allow(unsafe_code, reason = "threads write disjoint parts of one map")]

use crate::error::{Error, Result};
use crate::exec::cpu::map::{Context, Map, Ptr};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows of a task: a few thousand pixels.
fn rows(cx: &Context<'_>, y: &Map) -> (usize, usize) {
    cx.split(y.n * y.h, 2048usize.div_ceil(y.w.max(1)))
}

/// Runs `job` for every row of all pictures.
fn each_row(cx: &Context<'_>, y: &Map, job: &(dyn Fn(usize) + Sync)) -> Result<()> {
    let (tasks, each) = rows(cx, y);
    cx.run(tasks, &|task, _| (task * each..((task + 1) * each).min(y.n * y.h)).for_each(job))
}

/// Zeros in the padding lanes of one pixel.
unsafe fn clear_padding(y: &Map, pixel: *mut f32) {
    for c in y.c..y.lanes() {
        // SAFETY: lanes of the pixel.
        unsafe { *pixel.add(c) = 0.0 }
    }
}

/// `[n, c, h, w]` to a map.
///
/// # Safety
/// `y` in live memory that nothing else touches.
pub(crate) unsafe fn from_planes(cx: &Context<'_>, x: &[f32], y: &Map) -> Result<()> {
    let y = *y;
    each_row(cx, &y, &|row| {
        let (n, r) = (row / y.h, row % y.h);
        // SAFETY: this row of `y`; `x` holds all its planes.
        unsafe {
            for c in 0..y.c {
                let source = &x[((n * y.c + c) * y.h + r) * y.w..][..y.w];
                let out = y.pixel(row * y.w).add(c);
                for (i, v) in source.iter().enumerate() {
                    *out.add(i * y.stride) = *v;
                }
            }
            for i in 0..y.w {
                clear_padding(&y, y.pixel(row * y.w + i));
            }
        }
    })
}

/// A map to `[n, c, h, w]`.
///
/// # Safety
/// `x` in live memory.
pub(crate) unsafe fn to_planes(cx: &Context<'_>, x: &Map, y: &mut [f32]) -> Result<()> {
    for n in 0..x.n {
        // SAFETY: the caller's contract.
        unsafe { rows_to_planes(cx, &x.picture(n), (n, 0, x.h), y)? }
    }
    Ok(())
}

/// Rows of one picture to `[n, c, height, w]`: picture `n`, from row `from` on.
///
/// # Safety
/// `x` in live memory.
pub(crate) unsafe fn rows_to_planes(
    cx: &Context<'_>,
    x: &Map,
    (n, from, height): (usize, usize, usize),
    y: &mut [f32],
) -> Result<()> {
    let (x, out, len) = (*x, Ptr::new(y.as_mut_ptr()), y.len());
    if from + x.h > height || len < (n + 1) * x.c * height * x.w {
        return Err(Error::internal(format!("{len} values for rows {from} and on of {height} x {}", x.w)));
    }
    each_row(cx, &x, &|row| {
        for c in 0..x.c {
            // SAFETY: this row of each plane, which no other task writes.
            unsafe {
                let source = x.pixel(row * x.w).add(c);
                let plane = out.get().add(((n * x.c + c) * height + from + row) * x.w);
                for i in 0..x.w {
                    *plane.add(i) = *source.add(i * x.stride);
                }
            }
        }
    })
}

/// Copies the whole of `x` to channels `at ..` of `y`; clears the padding of `y` where `x` ends it.
///
/// # Safety
/// Maps in live memory that do not overlap.
pub(crate) unsafe fn copy_channels(cx: &Context<'_>, x: &Map, y: &Map, at: usize) -> Result<()> {
    let (x, y) = (*x, *y);
    each_row(cx, &y, &|row| {
        for i in row * y.w..(row + 1) * y.w {
            // SAFETY: one pixel of both maps; `at + x.c <= y.c`.
            unsafe {
                std::ptr::copy_nonoverlapping(x.pixel(i), y.pixel(i).add(at), x.c);
                if at + x.c == y.c {
                    clear_padding(&y, y.pixel(i));
                }
            }
        }
    })
}

/// Copies columns `from .. from + len` of `x` to columns `to ..` of `y`.
///
/// # Safety
/// As [`copy_channels`].
pub(crate) unsafe fn copy_columns(
    cx: &Context<'_>,
    x: &Map,
    y: &Map,
    (from, to, len): (usize, usize, usize),
) -> Result<()> {
    let (x, y) = (*x, *y);
    each_row(cx, &y, &|row| {
        for i in 0..len {
            // SAFETY: columns inside both maps.
            unsafe {
                let (source, out) = (x.pixel(row * x.w + from + i), y.pixel(row * y.w + to + i));
                std::ptr::copy_nonoverlapping(source, out, y.lanes());
            }
        }
    })
}

/// Channel `(c * r + dy) * r + dx` to pixel `(dy, dx)` of a cell.
///
/// # Safety
/// As [`copy_channels`].
pub(crate) unsafe fn pixel_shuffle(cx: &Context<'_>, x: &Map, r: usize, y: &Map) -> Result<()> {
    let (x, y) = (*x, *y);
    each_row(cx, &y, &|row| {
        let (n, oy) = (row / y.h, row % y.h);
        for ox in 0..y.w {
            // SAFETY: one pixel of each map.
            unsafe {
                let source = x.pixel((n * x.h + oy / r) * x.w + ox / r);
                let out = y.pixel(row * y.w + ox);
                for c in 0..y.c {
                    *out.add(c) = *source.add((c * r + oy % r) * r + ox % r);
                }
                clear_padding(&y, out);
            }
        }
    })
}

/// Each pixel twice in both directions.
///
/// # Safety
/// As [`copy_channels`].
pub(crate) unsafe fn upsample2(cx: &Context<'_>, x: &Map, y: &Map) -> Result<()> {
    let (x, y) = (*x, *y);
    each_row(cx, &y, &|row| {
        let (n, oy) = (row / y.h, row % y.h);
        for ox in 0..y.w {
            // SAFETY: one pixel of each map.
            unsafe {
                let source = x.pixel((n * x.h + oy / 2) * x.w + ox / 2);
                std::ptr::copy_nonoverlapping(source, y.pixel(row * y.w + ox), y.lanes());
            }
        }
    })
}

/// The largest of each 2x2 square.
///
/// # Safety
/// As [`copy_channels`].
pub(crate) unsafe fn max_pool2(cx: &Context<'_>, x: &Map, y: &Map) -> Result<()> {
    let (x, y) = (*x, *y);
    each_row(cx, &y, &|row| {
        let (n, oy) = (row / y.h, row % y.h);
        for ox in 0..y.w {
            // SAFETY: four pixels of `x`, one of `y`.
            unsafe {
                let top = x.pixel((n * x.h + 2 * oy) * x.w + 2 * ox);
                let low = x.pixel((n * x.h + 2 * oy + 1) * x.w + 2 * ox);
                let out = y.pixel(row * y.w + ox);
                for c in 0..y.lanes() {
                    let a = (*top.add(c)).max(*top.add(x.stride + c));
                    let b = (*low.add(c)).max(*low.add(x.stride + c));
                    *out.add(c) = a.max(b);
                }
            }
        }
    })
}

/// `y[.., j] = x[.., numbers[j]]`; with `back`, `y[.., numbers[j]] = x[.., j]`.
///
/// # Errors
/// `Input` where a number is no token.
///
/// # Safety
/// As [`copy_channels`].
pub(crate) unsafe fn permute_tokens(
    cx: &Context<'_>,
    x: &Map,
    numbers: &Map,
    y: &Map,
    back: bool,
) -> Result<()> {
    let (x, numbers, y) = (*x, *numbers, *y);
    let tokens = numbers.pixels();
    let bad = AtomicUsize::new(usize::MAX);
    let (tasks, each) = cx.split(tokens, 512);
    cx.run(tasks, &|task, _| {
        for j in task * each..((task + 1) * each).min(tokens) {
            // SAFETY: numbers are checked against the tokens; a permutation writes each pixel once.
            unsafe {
                let number = *numbers.pixel(j) as usize;
                if number >= tokens {
                    bad.store(number, Ordering::Relaxed);
                    continue;
                }
                let (from, to) = if back { (j, number) } else { (number, j) };
                for n in 0..y.n {
                    let source = x.pixel(n * tokens + from);
                    std::ptr::copy_nonoverlapping(source, y.pixel(n * tokens + to), y.lanes());
                }
            }
        }
    })?;
    match bad.into_inner() {
        usize::MAX => Ok(()),
        number => Err(Error::input(format!("token {number} of {tokens}"))),
    }
}
