//! Threads of an upscaler: as many as asked for, none left when it is dropped, so that a host may unload the library.
//! A binary of its own, so that no other test's threads are counted.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

use ssmoesr_core::{CancelToken, ColorInfo, Frame, Options, PixelFormat, Upscaler};
use std::ops::ControlFlow;

/// Threads of this process whose name begins as those of the executor do.
fn ours() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("ssmoesr"))
        .count()
}

fn all() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn no_thread_outlives_the_upscaler() {
    let before = all();
    assert_eq!(ours(), 0);
    for threads in [1, 3] {
        let mut options = Options::default();
        options.device = "cpu".to_owned();
        options.threads = threads;
        let upscaler = Upscaler::new(&options).unwrap();
        let small = Frame::new(PixelFormat::Rgb8, 20, 12, ColorInfo::default()).unwrap();
        let mut large = Frame::new(PixelFormat::Rgb8, 80, 48, ColorInfo::default()).unwrap();
        let mut progress = |_| ControlFlow::Continue(());
        upscaler
            .run(&small.view(), &mut large.view_mut(), &options, &mut progress, &CancelToken::new())
            .unwrap();
        // The caller is one of them.
        assert_eq!(ours(), threads as usize - 1);
        assert_eq!(all(), before + threads as usize - 1, "a thread that is not ours");
        drop(upscaler);
        assert_eq!((ours(), all()), (0, before));
    }
}
