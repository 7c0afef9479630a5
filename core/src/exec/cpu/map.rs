//! Maps in the arena: channels last, f32, channels padded to whole vectors.

#![allow(unsafe_code, reason = "threads write disjoint parts of one map")]

use crate::exec::cpu::pool::Pool;
use crate::exec::cpu::simd::Level;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// Channels of a map are padded to a multiple of this, whatever the level. The padding holds zeros.
pub(crate) const LANES: usize = 16;

/// `channels` with padding.
pub(crate) const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

/// f32 on the heap, aligned to a cache line.
pub(crate) struct Buffer {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: the buffer owns its memory, as a boxed slice does.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    const ALIGN: usize = 64;

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.max(1).checked_mul(size_of::<f32>())?, Self::ALIGN).ok()
    }

    /// Zeros; nothing where the system has no memory for them.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        // SAFETY: the size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<f32>())?;
        Some(Self { start, len })
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// First value; kernels write through it from several threads.
    pub(crate) fn start(&self) -> *mut f32 {
        self.start.as_ptr()
    }

    /// All values.
    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: `len` initialised values; the caller runs no kernel meanwhile.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// All values.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: `len` initialised values, exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: allocated with this layout in `zeroed`.
            unsafe { dealloc(self.start().cast(), layout) }
        }
    }
}

/// Pointer that may be used from any thread; who writes what is up to the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ptr(*mut f32);

// SAFETY: a plain address; each use of it is a block of its own with its reason.
unsafe impl Send for Ptr {}
// SAFETY: as above.
unsafe impl Sync for Ptr {}

impl Ptr {
    pub(crate) fn new(p: *mut f32) -> Self {
        Self(p)
    }

    /// The address `count` values on.
    pub(crate) fn add(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The address. A method, so that closures capture the wrapper and not the bare pointer.
    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }
}

/// `n` pictures of `h` x `w` pixels with `c` channels; `stride` values from one pixel to the next.
///
/// `start` leads to `n * h * w * stride` values of which a kernel may touch `padded(c)` per pixel: a map can be a
/// range of channels (from a multiple of [`LANES`]) of a wider one. Reading kernels find zeros in the padding
/// channels, writing kernels put zeros there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub(crate) start: Ptr,
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) stride: usize,
}

impl Map {
    /// Pixels of all pictures.
    pub(crate) fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// Picture `i` alone.
    pub(crate) fn picture(&self, i: usize) -> Self {
        Self { start: self.start.add(i * self.h * self.w * self.stride), n: 1, ..*self }
    }

    /// Channels with padding.
    pub(crate) fn lanes(&self) -> usize {
        padded(self.c)
    }

    /// Address of pixel `p` counted over all pictures.
    ///
    /// # Safety
    /// `p < self.pixels()`.
    pub(crate) unsafe fn pixel(&self, p: usize) -> *mut f32 {
        // SAFETY: inside the map.
        unsafe { self.start.get().add(p * self.stride) }
    }
}

/// What a kernel runs with.
pub(crate) struct Context<'a> {
    pub(crate) level: Level,
    pub(crate) pool: &'a Pool,
    /// Scratch of each thread, long enough for every step of the plan.
    pub(crate) scratch: &'a [Buffer],
    /// Set where the user gives up: tasks not begun are left out, results are then without meaning.
    pub(crate) stop: &'a AtomicBool,
}

impl Context<'_> {
    /// Runs `job(task, thread)` for every task, except where the work is given up.
    pub(crate) fn run(&self, tasks: usize, job: &(dyn Fn(usize, usize) + Sync)) -> crate::error::Result<()> {
        let guarded = |task: usize, thread: usize| {
            if !self.stop.load(Ordering::Relaxed) {
                job(task, thread);
            }
        };
        self.pool
            .run(tasks, &guarded)
            .map_err(|_| crate::error::Error::internal("a kernel of the CPU executor panicked"))
    }

    /// Scratch of a thread.
    pub(crate) fn scratch(&self, thread: usize) -> *mut f32 {
        self.scratch[thread].start()
    }

    /// `items` split into tasks of at least `least` items, about four per thread: how many tasks, items of each.
    pub(crate) fn split(&self, items: usize, least: usize) -> (usize, usize) {
        let each = items.div_ceil(4 * self.pool.threads()).max(least).max(1);
        (items.div_ceil(each), each)
    }
}
