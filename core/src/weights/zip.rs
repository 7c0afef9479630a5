//! The part of a zip archive that torch checkpoints use: stored entries, also beyond 4 GiB.
//! Format: PKWARE APPNOTE 6.3.9, sections 4.3.7 (local header), 4.3.12 to 4.3.16 (directory and its end).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, Result};

/// Largest directory read, in bytes: some hundred thousand entries.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
const MAX_ENTRIES: u64 = 1 << 19;
/// End record and the longest comment behind it.
const MAX_END_BYTES: u64 = 22 + 0xffff;

const LOCAL: u32 = 0x0403_4b50;
const DIRECTORY: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const END64_LOCATOR: u32 = 0x0706_4b50;
const ENCRYPTED: u16 = 1;

/// A file read piece by piece: mapping gigabytes would count as memory of the process.
#[derive(Debug)]
pub(super) struct Pieces {
    file: File,
    length: u64,
    place: String,
}

impl Pieces {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::io(format!("cannot open {place}"), e))?;
        let about = file.metadata().map_err(|e| Error::io(format!("cannot read {place}"), e))?;
        if !about.is_file() {
            return Err(Error::model(format!("{place} is not a regular file: expected a checkpoint")));
        }
        Ok(Self { file, length: about.len(), place })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// `length` bytes at `offset`; nothing is allocated where they lie outside the file.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(
                self.broken(&format!("{length} bytes at {offset} lie behind its end at {}", self.length))
            );
        }
        let mut out = Vec::new();
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        out.try_reserve_exact(size)
            .map_err(|_| Error::limit(format!("{}: no memory for {length} bytes", self.place)))?;
        out.resize(size, 0);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut out))
            .map_err(|e| Error::io(format!("cannot read {}", self.place), e))?;
        Ok(out)
    }

    pub(super) fn broken(&self, what: &str) -> Error {
        Error::model(format!("{} is not a usable checkpoint: {what}", self.place))
    }
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    header: u64,
    pub(super) bytes: u64,
}

/// Entries of a zip archive by name.
#[derive(Debug)]
pub(super) struct Zip {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Zip {
    pub(super) fn open(file: &Pieces) -> Result<Self> {
        let (offset, bytes, count) = directory(file)?;
        if bytes > MAX_DIRECTORY_BYTES || count > MAX_ENTRIES {
            return Err(file.broken(&format!("its zip directory has {count} entries in {bytes} bytes")));
        }
        let directory = file.read(offset, bytes)?;
        let mut fields = Fields { bytes: &directory, place: file };
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (name, entry) = directory_entry(&mut fields)?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(file.broken(&format!("its zip directory holds {name} twice")));
            }
        }
        Ok(Self { entries })
    }

    /// Offset of an entry's data in the file.
    pub(super) fn data(&self, file: &Pieces, entry: &Entry) -> Result<u64> {
        let header = file.read(entry.header, 30)?;
        let mut f = Fields { bytes: &header, place: file };
        if f.u32()? != LOCAL {
            return Err(file.broken("an entry does not begin where its zip directory says"));
        }
        f.skip(22)?;
        let (name, extra) = (f.u16()?, f.u16()?);
        let data = entry.header + 30 + u64::from(name) + u64::from(extra);
        if data.checked_add(entry.bytes).is_none_or(|end| end > file.length()) {
            return Err(file.broken("an entry lies behind its end"));
        }
        Ok(data)
    }
}

/// Offset, bytes and number of entries of the directory.
fn directory(file: &Pieces) -> Result<(u64, u64, u64)> {
    let tail_bytes = file.length().min(MAX_END_BYTES);
    let tail_at = file.length() - tail_bytes;
    let tail = file.read(tail_at, tail_bytes)?;
    let at = (0..tail.len().saturating_sub(21))
        .rev()
        .find(|&i| tail.get(i..i + 4) == Some(&END.to_le_bytes()[..]))
        .ok_or_else(|| file.broken("its zip directory is missing, the file may be cut short"))?;
    let mut f = Fields { bytes: &tail[at..], place: file };
    f.skip(10)?;
    let plain = (u64::from(f.u16()?), u64::from(f.u32()?), u64::from(f.u32()?));
    // The locator of the 64-bit end lies directly before the end.
    let locator = at.checked_sub(20).and_then(|i| tail.get(i..at));
    let Some(locator) = locator.filter(|l| l.starts_with(&END64_LOCATOR.to_le_bytes())) else {
        return Ok((plain.2, plain.1, plain.0));
    };
    let mut f = Fields { bytes: locator, place: file };
    f.skip(8)?;
    let end64 = file.read(f.u64()?, 56)?;
    let mut f = Fields { bytes: &end64, place: file };
    if f.u32()? != END64 {
        return Err(file.broken("its 64-bit zip directory is missing"));
    }
    f.skip(28)?;
    let (count, bytes, offset) = (f.u64()?, f.u64()?, f.u64()?);
    Ok((offset, bytes, count))
}

fn directory_entry(f: &mut Fields<'_>) -> Result<(String, Entry)> {
    if f.u32()? != DIRECTORY {
        return Err(f.place.broken("its zip directory is damaged"));
    }
    f.skip(4)?;
    let (flags, method) = (f.u16()?, f.u16()?);
    f.skip(8)?;
    let (mut stored, mut bytes) = (u64::from(f.u32()?), u64::from(f.u32()?));
    let (name, extra, comment) = (f.u16()?, f.u16()?, f.u16()?);
    f.skip(8)?;
    let mut header = u64::from(f.u32()?);
    let name = String::from_utf8_lossy(f.take(name.into())?).into_owned();
    let mut extra = Fields { bytes: f.take(extra.into())?, place: f.place };
    f.skip(comment.into())?;
    while extra.bytes.len() >= 4 {
        let (id, length) = (extra.u16()?, extra.u16()?);
        let mut part = Fields { bytes: extra.take(length.into())?, place: f.place };
        if id == 1 {
            // Present in this order, each only where its 32-bit field is full.
            for field in [&mut bytes, &mut stored, &mut header] {
                if *field == u64::from(u32::MAX) {
                    *field = part.u64()?;
                }
            }
        }
    }
    if flags & ENCRYPTED != 0 || method != 0 || stored != bytes {
        return Err(f.place.broken(&format!(
            "its entry {name} is compressed (method {method}) or encrypted; torch.save writes neither"
        )));
    }
    Ok((name, Entry { header, bytes }))
}

/// Little-endian fields from the front of some bytes.
struct Fields<'a> {
    bytes: &'a [u8],
    place: &'a Pieces,
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self
            .bytes
            .split_at_checked(n)
            .ok_or_else(|| self.place.broken("its zip directory ends in the middle of an entry"))?;
        self.bytes = tail;
        Ok(head)
    }
    fn skip(&mut self, n: usize) -> Result<()> {
        self.take(n).map(|_| ())
    }
    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |all, &b| all << 8 | u64::from(b)))
    }
    fn u16(&mut self) -> Result<u16> {
        self.number(2).map(|v| v as u16)
    }
    fn u32(&mut self) -> Result<u32> {
        self.number(4).map(|v| v as u32)
    }
    fn u64(&mut self) -> Result<u64> {
        self.number(8)
    }
}
