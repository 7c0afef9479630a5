//! A published checkpoint, whatever its form, as a table of tensors that are read one at a time.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;

use crate::error::{Error, Result};
use crate::weights::pickle::{PickledTensor, read_state_dict};
use crate::weights::source::{WeightSource, elements, mis_shaped, missing};
use crate::weights::store::{Store, to_f32};
use crate::weights::zip::{Pieces, Zip};

/// Longest pickle accepted, in bytes; the published ones hold about one megabyte.
const MAX_PICKLE_BYTES: u64 = 32 << 20;

/// Tensors of a `.ckpt` (torch zip, bare or under `state_dict`) or a `.safetensors` file. Not for sharing
/// between threads at once: reading moves the position in the file.
#[derive(Debug)]
pub struct Checkpoint {
    file: Pieces,
    tensors: BTreeMap<String, Slot>,
}

#[derive(Debug)]
struct Slot {
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
    bytes: u64,
    contiguous: bool,
}

impl Checkpoint {
    /// Reads the table of tensors; the form is told from the content, not from the name.
    ///
    /// # Errors
    /// `Io` where the file cannot be read, `Model` where it is no such checkpoint or broken.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Pieces::open(path)?;
        let start = file.read(0, file.length().min(9))?;
        let tensors = if start.starts_with(b"PK") {
            zipped(&file)?
        } else if start.starts_with(&[0x80, 2, 0x8a, 10]) {
            // Magic number of torch.save before 1.6.
            return Err(
                file.broken("torch.save wrote it in its old form; save it again with torch 1.6 or later")
            );
        } else if start.get(8) == Some(&b'{') {
            plain(path)?
        } else {
            return Err(file.broken("it is neither a torch zip nor a safetensors file, or it is cut short"));
        };
        Ok(Self { file, tensors })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor called `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// The file, for texts.
    pub fn place(&self) -> &str {
        self.file.place()
    }

    /// The values of `name`, which must have `shape`.
    ///
    /// # Errors
    /// `Model`, naming the tensor, what was found and what was wanted.
    pub fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let place = self.place();
        let slot = self.check(name, shape)?;
        let bytes = self.file.read(slot.offset, slot.bytes)?;
        let wanted = elements(shape).unwrap_or(usize::MAX);
        to_f32(slot.dtype, &bytes, wanted)
            .map_err(|text| Error::model(format!("{place}: tensor {name} {text}")))
    }

    /// Everything that [`Checkpoint::read_f32`] checks, without reading values.
    ///
    /// # Errors
    /// As there.
    pub fn check_f32(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.check(name, shape).map(|_| ())
    }

    fn check(&self, name: &str, shape: &[usize]) -> Result<&Slot> {
        let place = self.place();
        let slot = self.tensors.get(name).ok_or_else(|| missing(place, name, shape))?;
        if slot.shape != shape {
            return Err(mis_shaped(place, name, &slot.shape, shape));
        }
        let wrong = |text: String| Error::model(format!("{place}: tensor {name} {text}"));
        if !slot.contiguous {
            return Err(wrong(
                "is a view with gaps or turned axes, wanted one that lies row by row".to_owned(),
            ));
        }
        if ![Dtype::F16, Dtype::BF16, Dtype::F32].contains(&slot.dtype) {
            return Err(wrong(format!("holds {:?}, wanted F16, BF16 or F32", slot.dtype)));
        }
        Ok(slot)
    }
}

fn plain(path: &Path) -> Result<BTreeMap<String, Slot>> {
    let store = Store::open(&[path])?;
    let slot = |name: String| {
        let (tensor, offset) = (store.tensor(&name)?, store.offset(&name)?);
        let bytes = tensor.bytes.len() as u64;
        Some((
            name,
            Slot { dtype: tensor.dtype, shape: tensor.shape.to_vec(), offset, bytes, contiguous: true },
        ))
    };
    Ok(store.names().into_iter().filter_map(slot).collect())
}

fn zipped(file: &Pieces) -> Result<BTreeMap<String, Slot>> {
    let zip = Zip::open(file)?;
    let mut pickles =
        zip.entries.iter().filter(|(name, _)| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let (Some((name, entry)), None) = (pickles.next(), pickles.next()) else {
        return Err(file.broken("it is a zip archive without a data.pkl, or with several"));
    };
    if entry.bytes > MAX_PICKLE_BYTES {
        return Err(file
            .broken(&format!("its pickle has {} bytes, at most {MAX_PICKLE_BYTES} are read", entry.bytes)));
    }
    let folder = name.trim_end_matches("data.pkl");
    if let Some(order) = zip.entries.get(&format!("{folder}byteorder")) {
        let text = file.read(zip.data(file, order)?, order.bytes.min(16))?;
        if text != b"little" {
            return Err(file.broken("its numbers are not in little-endian order"));
        }
    }
    let pickle = file.read(zip.data(file, entry)?, entry.bytes)?;
    let tensors = read_state_dict(&pickle).map_err(|text| file.broken(&format!("its pickle {text}")))?;

    // Views share storages, so each storage is looked up once.
    let mut storages = BTreeMap::new();
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors {
        let start = match storages.get(&tensor.storage) {
            Some(&start) => start,
            None => {
                let start = storage(file, &zip, folder, &name, &tensor)?;
                storages.insert(tensor.storage.clone(), start);
                start
            }
        };
        let size = bytes_of(tensor.dtype);
        // The view lies inside its storage and that inside the file, so none of this overflows.
        let bytes = elements(&tensor.shape).unwrap_or(usize::MAX) as u64 * size;
        let offset = start + tensor.offset * size;
        let slot =
            Slot { dtype: tensor.dtype, shape: tensor.shape, offset, bytes, contiguous: tensor.contiguous };
        out.insert(name, slot);
    }
    Ok(out)
}

/// Where the storage of a tensor begins in the file.
fn storage(file: &Pieces, zip: &Zip, folder: &str, name: &str, tensor: &PickledTensor) -> Result<u64> {
    let key = format!("{folder}data/{}", tensor.storage);
    let wrong = |text: String| file.broken(&format!("tensor {name} {text}"));
    let entry =
        zip.entries.get(&key).ok_or_else(|| wrong(format!("needs the storage {key:?}, which is missing")))?;
    let wanted = tensor.storage_elements.checked_mul(bytes_of(tensor.dtype));
    if wanted.is_none_or(|bytes| bytes > entry.bytes) {
        return Err(wrong(format!(
            "needs {} elements of {:?} in {key:?}, which has {} bytes",
            tensor.storage_elements, tensor.dtype, entry.bytes
        )));
    }
    zip.data(file, entry)
}

fn bytes_of(dtype: Dtype) -> u64 {
    (dtype.bitsize() / 8) as u64
}
