//! Models on disk: their description, their tensors, where they are found.

mod find;
mod manifest;
mod mmap;
mod native;
mod published;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use find::{DEFAULT_MODEL, check_hashes, file_hash, find_model};
pub use manifest::{Common, Defaults, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, Network};
pub use native::{Native, NativeSampler};
pub use published::{Published, PublishedFile, PublishedSampler, TileConfig};
pub use source::{MemoryWeights, WeightSource};
pub use store::{Store, TensorView};
