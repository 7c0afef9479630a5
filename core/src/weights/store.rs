//! Tensors of one or several safetensors files, read through memory maps.
//! Format: <https://github.com/huggingface/safetensors> (8 bytes of header length, JSON, data).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};
use serde::de::{IgnoredAny, MapAccess, Visitor};

use crate::error::{Error, Result};
use crate::weights::mmap::Mapped;
use crate::weights::source::{WeightSource, elements, mis_shaped, missing};

/// Longest header accepted, in bytes: the limit of the format's own library.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Longest tensor name accepted, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Tensors that training needs again and inference does not.
const TRAINING_ONLY: [&str; 2] = ["transform.encode", "transform.sigma"];

/// A tensor as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Type of its values.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: &'a [usize],
    /// Its values, little-endian, row-major, not aligned.
    pub bytes: &'a [u8],
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

/// The tensors of some files under one roof; no name may occur twice. Can be shared between threads.
#[derive(Debug, Default)]
pub struct Store {
    files: Vec<(PathBuf, Mapped)>,
    entries: BTreeMap<String, Entry>,
}

impl Store {
    /// Maps the files and reads their headers; values are read later.
    ///
    /// # Errors
    /// `Io` where a file cannot be opened, `Model` where it is broken or a name occurs twice.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let mut store = Self::default();
        for path in paths {
            store.add(path.as_ref())?;
        }
        Ok(store)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let map = Mapped::open(path)?;
        let place = path.display().to_string();
        let (data, header) = read_header(&place, map.bytes())?;
        let file = self.files.len();
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let entry = Entry {
                file,
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: data + start,
                end: data + end,
            };
            // The library checks this too; a slice out of range must not hang on its version.
            if entry.start > entry.end || entry.end > map.bytes().len() {
                return Err(Error::model(format!("{place}: tensor {name} ends outside the file")));
            }
            if let Some(other) = self.entries.insert(name.clone(), entry) {
                let first = self.files.get(other.file).map_or(path, |(p, _)| p).display().to_string();
                return Err(Error::model(format!("tensor {name} stands in {first} and again in {place}")));
            }
        }
        self.files.push((path.to_owned(), map));
        Ok(())
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        let e = self.entries.get(name)?;
        let bytes = self.files.get(e.file)?.1.bytes().get(e.start..e.end)?;
        Some(TensorView { dtype: e.dtype, shape: &e.shape, bytes })
    }

    /// Offset in its file of the tensor called `name`, for readers that do not want it mapped.
    pub(super) fn offset(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|e| e.start as u64)
    }

    /// Compares the tensors there are with those wanted, name by name: what passes can be read.
    ///
    /// # Errors
    /// `Model`, naming the first that is missing, has another shape or type, or that nobody wants.
    pub fn expect<'a>(&self, wanted: impl Iterator<Item = (&'a str, &'a [usize])>) -> Result<()> {
        let mut unused: BTreeSet<&str> = self.entries.keys().map(String::as_str).collect();
        for (name, shape) in wanted {
            match self.tensor(name) {
                None => return Err(missing(&self.place(), name, shape)),
                Some(t) if t.shape != shape => return Err(mis_shaped(&self.place(), name, t.shape, shape)),
                Some(t) => {
                    bytes_of(t.dtype)
                        .map_err(|text| Error::model(format!("{}: tensor {name} {text}", self.place())))?;
                    unused.remove(name);
                }
            }
        }
        // The trainer keeps the forward half of the first stage beside the weights.
        unused.retain(|name| !TRAINING_ONLY.contains(name));
        match unused.first() {
            None => Ok(()),
            Some(name) => Err(Error::model(format!(
                "{}: tensor {name} is not part of the network that model.json describes",
                self.place()
            ))),
        }
    }

    /// The files, for texts.
    fn place(&self) -> String {
        let names: Vec<_> = self.files.iter().map(|(p, _)| p.display().to_string()).collect();
        names.join(", ")
    }
}

impl WeightSource for Store {
    fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(tensor) = self.tensor(name) else { return Err(missing(&self.place(), name, shape)) };
        if tensor.shape != shape {
            return Err(mis_shaped(&self.place(), name, tensor.shape, shape));
        }
        let wanted = elements(shape).unwrap_or(usize::MAX);
        to_f32(tensor.dtype, tensor.bytes, wanted)
            .map_err(|text| Error::model(format!("{}: tensor {name} {text}", self.place())))
    }

    fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }
}

/// Bytes of a value that is read as f32; the error continues a sentence that begins with the tensor's name.
fn bytes_of(dtype: Dtype) -> std::result::Result<usize, String> {
    match dtype {
        Dtype::F16 | Dtype::BF16 => Ok(2),
        Dtype::F32 => Ok(4),
        other => Err(format!("holds {other:?}, wanted F16, BF16 or F32")),
    }
}

/// `wanted` values of `dtype` as f32; the error continues a sentence that begins with the tensor's name.
pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8], wanted: usize) -> std::result::Result<Vec<f32>, String> {
    let size = bytes_of(dtype)?;
    if wanted.checked_mul(size) != Some(bytes.len()) {
        return Err(format!("has {} bytes, wanted {wanted} values of {size}", bytes.len()));
    }
    let mut out = Vec::new();
    out.try_reserve_exact(wanted)
        .map_err(|_| format!("needs memory for {wanted} values, which there is not"))?;
    match dtype {
        Dtype::F16 => out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => out.extend(bytes.as_chunks::<2>().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
        _ => out.extend(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b))),
    }
    Ok(out)
}

/// Position of the data and the checked header.
fn read_header(place: &str, bytes: &[u8]) -> Result<(usize, Metadata)> {
    let bad = |what: String| Error::model(format!("{place} is not a usable safetensors file: {what}"));
    let Some(length) = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b)) else {
        return Err(bad(format!("{} bytes are too few for a header", bytes.len())));
    };
    if length > MAX_HEADER_BYTES {
        return Err(bad(format!("a header of {length} bytes, at most {MAX_HEADER_BYTES} are accepted")));
    }
    let end = 8 + length as usize;
    let Some(json) = bytes.get(8..end) else {
        return Err(bad(format!(
            "its header of {length} bytes ends behind the file's {} bytes",
            bytes.len()
        )));
    };
    check_names(json).map_err(|e| bad(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
    Ok((end, header))
}

/// Refuses a name that occurs twice: JSON readers silently keep the last.
fn check_names(json: &[u8]) -> serde_json::Result<()> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of tensors")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
            let mut seen = std::collections::HashSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
                    return Err(serde::de::Error::custom(format!(
                        "a name of {} bytes that is no name",
                        name.len()
                    )));
                }
                if let Some(name) = seen.replace(name) {
                    return Err(serde::de::Error::custom(format!("tensor {name} stands in it twice")));
                }
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    serde::Deserializer::deserialize_map(&mut reader, Names)
}
