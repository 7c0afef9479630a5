//! What the fuzz targets do with their input; `tests/corpus.rs` does the same with every file of the corpus.
//! Rules held against every input: no panic, no more memory than stated, and an error is one line for users.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a target and a test fail by panicking")]

pub(crate) mod loader;
#[path = "../../tests/made_models.rs"]
mod models;
pub(crate) mod picture;

use std::path::{Path, PathBuf};

/// A folder for the files of a target, with a small model in it.
pub(crate) struct Room {
    folder: PathBuf,
    model: PathBuf,
}

impl Room {
    pub(crate) fn new(folder: &Path) -> Self {
        let model = models::make(folder, "model", models::Numbers::TINY);
        Self { folder: folder.to_owned(), model }
    }

    /// Below the folder for temporary files: libFuzzer ends the process without a chance to tidy up, so whoever starts it
    /// chooses the place and removes it.
    #[allow(dead_code, reason = "the tests bring a folder of their own")]
    pub(crate) fn of_process() -> &'static Self {
        static ROOM: std::sync::OnceLock<Room> = std::sync::OnceLock::new();
        ROOM.get_or_init(|| {
            let folder = std::env::temp_dir().join(format!("ssmoesr-fuzz-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self::new(&folder)
        })
    }
}
