//! Memory of a call: nothing is allocated once an upscaler is warm, and the peak is what the plan says.
//! A program of its own without the harness, for it counts every allocation of the process.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use ssmoesr_core::{CancelToken, ColorInfo, Frame, Options, PixelFormat, Stream, Upscaler};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);
static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every request to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let now = NOW.fetch_add(layout.size() as u64, Ordering::Relaxed) + layout.size() as u64;
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: memory of `alloc` above with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn picture(format: PixelFormat, width: u32, height: u32) -> Frame {
    let mut frame = Frame::new(format, width, height, ColorInfo::default()).unwrap();
    for plane in 0..format.planes() {
        for (i, byte) in frame.plane_mut(plane).iter_mut().enumerate() {
            *byte = (i * 7 % 251) as u8;
        }
    }
    frame
}

/// Warm calls allocate nothing, and the peak is the plan's: one test, for the counters are of the whole process.
fn main() {
    let mut options = Options::default();
    options.device = "cpu".to_owned();
    options.threads = 2;
    let upscaler = Arc::new(Upscaler::new(&options).unwrap());

    // The peak of a first call, over what is there before: weights are loaded by a small picture.
    let tiny = picture(PixelFormat::Rgb8, 8, 8);
    let mut out = Frame::new(PixelFormat::Rgb8, 32, 32, ColorInfo::default()).unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    upscaler.run(&tiny.view(), &mut out.view_mut(), &options, &mut go_on, &CancelToken::new()).unwrap();
    for (width, height, tile, steps) in [(200, 150, 0, 1), (300, 200, 96, 1), (300, 200, 128, 3)] {
        options.tile_size = tile;
        options.steps = steps;
        options.fidelity = if steps > 1 { 0.5 } else { -1.0 };
        let small = picture(PixelFormat::Rgb8, width, height);
        let mut large = Frame::new(PixelFormat::Rgb8, 4 * width, 4 * height, ColorInfo::default()).unwrap();
        let plan = upscaler.plan(width, height, &options).unwrap();
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let token = CancelToken::new();
        upscaler.run(&small.view(), &mut large.view_mut(), &options, &mut go_on, &token).unwrap();
        let peak = MOST.load(Ordering::Relaxed) - before;
        // Besides what the plan counts: scratch of kernels and what smaller things need.
        let allowed = plan.bytes() + (8 << 20);
        assert!(peak <= allowed, "{width}x{height}: {} KiB, planned {} KiB", peak >> 10, plan.bytes() >> 10);
        assert!(peak * 4 > plan.working_bytes, "a plan that is four times too large helps nobody");
    }

    for (format, steps, tile) in
        [(PixelFormat::Rgb8, 1, 0), (PixelFormat::Bgra8, 1, 0), (PixelFormat::Rgb8, 3, 96)]
    {
        options.tile_size = tile;
        options.steps = steps;
        let small = picture(format, 160, 120);
        let mut large = Frame::new(format, 640, 480, ColorInfo::default()).unwrap();
        let token = CancelToken::new();
        let mut stream = Stream::new(Arc::clone(&upscaler));
        let mut calls = Vec::new();
        for frame in 0..4u8 {
            let mut small = small.clone();
            // Never 0: colours under transparency are spread in memory of their own.
            small.plane_mut(0).iter_mut().for_each(|v| *v = v.wrapping_add(frame).max(1));
            let (view, mut view_mut) = (small.view(), large.view_mut());
            let before = CALLS.load(Ordering::Relaxed);
            stream.run(&view, &mut view_mut, &options, &token).unwrap();
            calls.push(CALLS.load(Ordering::Relaxed) - before);
        }
        assert_eq!(calls[3], 0, "{format:?}, {steps} steps: allocations per frame {calls:?}");
    }
}
