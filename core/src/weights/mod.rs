//! Models on disk: their description, their tensors, where they are found.

mod checkpoint;
#[cfg(test)]
mod checkpoint_tests;
mod find;
mod fold;
mod hash;
mod import;
#[cfg(test)]
mod import_tests;
mod manifest;
mod mmap;
mod names;
mod native;
mod opcode;
mod pickle;
mod published;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod writer;
mod zip;

pub use checkpoint::Checkpoint;
pub use find::{DEFAULT_MODEL, check_hashes, file_hash, find_model};
pub use fold::{fold, share};
pub use hash::HashWeights;
pub use import::{
    FIRST_STAGE_FILE, ImportProgress, ImportReport, ImportRequest, ImportedFile, check_config, expert_file,
    import,
};
pub use manifest::{Common, Defaults, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, Network};
pub use names::{Layout, Source, resolve};
pub use native::{Aff, Condition, Decoder, Denoiser, FirstStage, Native, NativeSampler};
pub use published::{
    AffConfig, FusionConfig, Published, PublishedConfig, PublishedSampler, Sampling, TileConfig, UnetConfig,
    VaeConfig,
};
pub use source::{MemoryWeights, Stoppable, WeightSource};
pub use store::{Store, TensorView};
pub use writer::StoredType;
