//! Every input of `fuzz/corpus`, what the fuzz targets found among them, goes through the same hands here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says with what"
)]

#[path = "../fuzz/drive/mod.rs"]
mod drive;

use drive::{Room, loader, picture};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

fn every(target: &str, least: usize, run: fn(&Room, &[u8])) {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::new(folder.path());
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut seen = 0;
    for file in std::fs::read_dir(corpus).unwrap() {
        let path = file.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        seen += 1;
        // The library has the panics' hook once it was called, and keeps quiet.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&room, &data))) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            eprintln!("{}: {text}", path.display());
            resume_unwind(panic);
        }
    }
    assert!(seen >= least, "{seen} inputs for {target}");
    // And what they become where they are cut short, or a byte is another.
    run(&room, &[]);
}

#[test]
fn descriptions() {
    every("description", 5, loader::description);
}

#[test]
fn weights() {
    every("weights", 5, loader::weights);
}

#[test]
fn checkpoints() {
    every("checkpoint", 5, loader::checkpoint);
}

#[test]
fn pickles() {
    every("pickle", 5, loader::pickle);
}

#[test]
fn pictures() {
    every("picture", 5, picture::picture);
}
