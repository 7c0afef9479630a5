//! Writes a safetensors file tensor by tensor, so that a model larger than memory can be written.
//! Format: <https://github.com/huggingface/safetensors> (8 bytes of header length, JSON, data).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::weights::source::elements;

/// Type of the values in a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredType {
    /// Two bytes, 11 bits of precision.
    F16,
    /// Four bytes.
    F32,
}

impl StoredType {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }
}

/// Name, shape and type of a tensor to come.
pub(super) type Announced = (String, Vec<usize>, StoredType);

/// A file being written. Tensors must come in the order in which they were announced.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    hasher: Sha256,
    place: String,
    left: VecDeque<Announced>,
    buffer: Vec<u8>,
}

impl Writer {
    /// Creates a new file and writes its header.
    pub(super) fn create(path: &Path, tensors: Vec<Announced>) -> Result<Self> {
        let place = path.display().to_string();
        let mut header = Map::new();
        let mut offset = 0usize;
        for (name, shape, stored) in &tensors {
            let bytes = elements(shape).and_then(|n| n.checked_mul(stored.bytes()));
            let end = bytes.and_then(|b| offset.checked_add(b));
            let end = end.ok_or_else(|| Error::limit(format!("{place}: tensor {name} is too large")))?;
            let entry = json!({ "dtype": stored.name(), "shape": shape, "data_offsets": [offset, end] });
            if header.insert(name.clone(), entry).is_some() {
                return Err(Error::internal(format!("{place}: tensor {name} is written twice")));
            }
            offset = end;
        }
        let mut header =
            serde_json::to_vec(&header).map_err(|e| Error::internal(place.clone()).because(e))?;
        // Data begin at a multiple of eight, as the format asks.
        header.resize(header.len().next_multiple_of(8), b' ');
        let file = File::create_new(path).map_err(|e| Error::io(format!("cannot create {place}"), e))?;
        let mut writer = Self {
            file: BufWriter::new(file),
            hasher: Sha256::new(),
            place,
            left: tensors.into(),
            buffer: (header.len() as u64).to_le_bytes().to_vec(),
        };
        writer.buffer.append(&mut header);
        writer.flush()?;
        Ok(writer)
    }

    /// Writes the next tensor.
    ///
    /// # Errors
    /// `Model` for a value that is not finite or does not fit its type, `Io` where writing fails.
    pub(super) fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let next = self.left.pop_front();
        let stored = match next {
            Some((n, shape, stored)) if n == name && elements(&shape) == Some(values.len()) => stored,
            _ => return Err(Error::internal(format!("{}: tensor {name} was not announced", self.place))),
        };
        self.buffer.clear();
        match stored {
            StoredType::F32 => self.buffer.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            StoredType::F16 => {
                self.buffer.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()))
            }
        }
        let fits = |v: f32| v.is_finite() && (stored == StoredType::F32 || f16::from_f32(v).is_finite());
        if let Some(v) = values.iter().find(|&&v| !fits(v)) {
            let name_of_type = stored.name();
            return Err(Error::model(format!("tensor {name} holds {v}, which {name_of_type} cannot hold")));
        }
        self.flush()
    }

    /// Ends the file; its SHA-256, lower-case hexadecimal.
    pub(super) fn finish(mut self) -> Result<String> {
        if let Some((name, ..)) = self.left.front() {
            return Err(Error::internal(format!("{}: tensor {name} was not written", self.place)));
        }
        let done = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        done.map_err(|e| Error::io(format!("cannot write {}", self.place), e))?;
        Ok(self.hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    fn flush(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer).map_err(|e| Error::io(format!("cannot write {}", self.place), e))
    }
}
