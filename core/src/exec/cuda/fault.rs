//! What the driver answers, in words for users.

use super::driver::Code;
use crate::error::Error;

/// First driver version whose functions are used, as the driver counts: 12.0, which NVIDIA's 525 brought.
pub(super) const OLDEST: i32 = 12000;

const OUT_OF_MEMORY: i32 = 2;
const STUB_LIBRARY: i32 = 34;
const NO_DEVICE: i32 = 100;
const INVALID_DEVICE: i32 = 101;
/// No machine code, PTX that is broken, PTX that is too new: nothing that can be loaded.
const NOT_LOADABLE: [i32; 3] = [209, 218, 222];

/// The driver's codes by name, those that its calls here may give (NVIDIA's `cuda.h`).
const NAMES: &[(i32, &str)] = &[
    (1, "invalid value"),
    (OUT_OF_MEMORY, "out of memory"),
    (3, "not initialized"),
    (4, "deinitialized"),
    (STUB_LIBRARY, "stub library"),
    (NO_DEVICE, "no device"),
    (INVALID_DEVICE, "invalid device"),
    (200, "invalid image"),
    (201, "invalid context"),
    (209, "no binary for gpu"),
    (214, "ecc uncorrectable"),
    (218, "invalid ptx"),
    (222, "unsupported ptx version"),
    (304, "operating system"),
    (400, "invalid handle"),
    (401, "illegal state"),
    (500, "not found"),
    (600, "not ready"),
    (700, "illegal address"),
    (701, "launch out of resources"),
    (702, "launch timeout"),
    (709, "context is destroyed"),
    (710, "assert"),
    (714, "hardware stack error"),
    (715, "illegal instruction"),
    (716, "misaligned address"),
    (717, "invalid address space"),
    (718, "invalid pc"),
    (719, "launch failed"),
    (800, "not permitted"),
    (801, "not supported"),
    (802, "system not ready"),
    (803, "system driver mismatch"),
    (900, "stream capture unsupported"),
    (901, "stream capture invalidated"),
    (999, "unknown"),
];

/// The code by name, or by number where it is not one of those known here: drivers may be newer.
fn name(code: Code) -> String {
    let known = NAMES.iter().find(|(number, _)| *number == code.0);
    known.map_or_else(|| format!("the driver's error {}", code.0), |(_, name)| (*name).to_owned())
}

/// Whether nothing more comes from a device that answered so.
pub(super) fn is_lost(code: Code) -> bool {
    const OUT_OF_RESOURCES: i32 = 701;
    (700..=719).contains(&code.0) && code.0 != OUT_OF_RESOURCES || [4, 214, 999].contains(&code.0)
}

/// The error for `code`, which came of `doing`.
pub(super) fn error(code: Code, doing: &str) -> Error {
    // Not the driver's own text: that would need a driver that works.
    let name = name(code);
    match code.0 {
        OUT_OF_MEMORY => Error::limit(format!(
            "cuda: the GPU is out of memory ({doing}); smaller tiles or device=cpu need less"
        )),
        STUB_LIBRARY => Error::device(
            "cuda: the libcuda.so that was found is the stub of a CUDA toolkit; take its folder out of LD_LIBRARY_PATH",
        ),
        NO_DEVICE => Error::device("cuda: the driver finds no GPU"),
        INVALID_DEVICE => Error::device("cuda: there is no GPU of that number"),
        number if NOT_LOADABLE.contains(&number) => Error::device(format!(
            "cuda: this build has no kernels that the GPU or its driver can load ({name})"
        )),
        _ if is_lost(code) => Error::device(format!(
            "cuda: the GPU was lost for this process ({doing}: {name}); use device=cpu or start again"
        )),
        _ => Error::device(format!("cuda: {doing}: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn codes_that_nobody_knows_are_told_by_number() {
        for code in [9999, -1, i32::MIN, i32::MAX, 703] {
            let e = error(Code(code), "computing");
            assert_eq!(e.kind(), ErrorKind::Device);
            assert!(e.to_string().contains(&format!("computing: the driver's error {code}")), "{e}");
            assert!(!e.to_string().contains('\n'));
        }
        assert!(!is_lost(Code(9999)) && !is_lost(Code(701)) && is_lost(Code(703)));
        assert!(NAMES.windows(2).all(|n| n[0].0 < n[1].0));
    }
}
