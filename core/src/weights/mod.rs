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
pub use native::{Aff, Condition, Decoder, Denoiser, FirstStage, Native, NativeSampler};
pub use published::{
    AffConfig, FusionConfig, Published, PublishedConfig, PublishedSampler, Sampling, TileConfig, UnetConfig,
    VaeConfig,
};
pub use source::{MemoryWeights, WeightSource};
pub use store::{Store, TensorView};
