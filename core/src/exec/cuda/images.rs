//! The compiled kernels in this build, and which of them a GPU can run.

/// Kernels compiled for one kind of GPU.
pub(super) struct Image {
    /// Compute capability times ten.
    pub(super) capability: u32,
    /// Whether the driver has to translate it: text, ended by a zero.
    pub(super) ptx: bool,
    /// What the driver loads.
    pub(super) bytes: &'static [u8],
}

static IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// The images of this build. Tests on the emulated driver, which compiles nothing, need none that is real.
pub(super) fn images() -> &'static [Image] {
    #[cfg(test)]
    if IMAGES.is_empty() && super::tests::emulated() {
        const fn emulated(capability: u32) -> Image {
            Image { capability, ptx: false, bytes: b"emulated" }
        }
        return &const { [emulated(75), emulated(90)] };
    }
    IMAGES
}

/// The image for a GPU of `capability` (times ten): machine code of its own generation, the highest that is not above it,
/// else what the driver can translate.
pub(super) fn choose(images: &[Image], capability: u32) -> Option<&Image> {
    let own = images.iter().filter(|i| !i.ptx && i.capability / 10 == capability / 10);
    own.filter(|i| i.capability <= capability)
        .max_by_key(|i| i.capability)
        .or_else(|| images.iter().find(|i| i.ptx && i.capability <= capability))
}
