//! Files mapped into memory: the one `unsafe` of weight reading.

#![allow(unsafe_code, reason = "mapping a file is unsafe by nature; nothing else here is")]

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// A whole file, read-only, paged in by the operating system as it is touched.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// `Io` where it cannot be opened, `Model` where it is empty or not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let say = |what: &str| format!("cannot {what} {}", path.display());
        let file = File::open(path).map_err(|e| Error::io(say("open"), e))?;
        let about = file.metadata().map_err(|e| Error::io(say("read"), e))?;
        if !about.is_file() || about.len() == 0 {
            let what = if about.is_file() { "is empty" } else { "is not a regular file" };
            return Err(Error::model(format!("{} {what}: expected a weights file", path.display())));
        }
        // SAFETY: the map is private to this object and only read. The one duty left is that nobody
        // shortens the file meanwhile; model folders are replaced by renaming, never written in place.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(say("map"), e))?;
        Ok(Self(map))
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
