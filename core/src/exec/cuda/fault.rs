//! What the driver answers, in words for users.

use crate::error::Error;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;

/// First driver version whose functions are used, as the driver counts: 12.0, which NVIDIA's 525 brought.
pub(super) const OLDEST: i32 = 12000;

/// Whether nothing more comes from a device that answered so.
pub(super) fn is_lost(e: DriverError) -> bool {
    let code = e.0 as u32;
    (700..=719).contains(&code) && e.0 != CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
        || matches!(
            e.0,
            CUresult::CUDA_ERROR_DEINITIALIZED
                | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
                | CUresult::CUDA_ERROR_UNKNOWN
        )
}

/// The error for `e`, which came of `doing`.
pub(super) fn error(e: DriverError, doing: &str) -> Error {
    // Its name as the bindings know it: a text of the driver's would need a driver that works.
    let name = format!("{:?}", e.0);
    let name = name.trim_start_matches("CUDA_ERROR_").to_lowercase().replace('_', " ");
    match e.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::limit(format!(
            "cuda: the GPU is out of memory ({doing}); smaller tiles or device=cpu need less"
        )),
        CUresult::CUDA_ERROR_STUB_LIBRARY => Error::device(
            "cuda: the libcuda.so that was found is the stub of a CUDA toolkit; take its folder out of LD_LIBRARY_PATH",
        ),
        CUresult::CUDA_ERROR_NO_DEVICE => Error::device("cuda: the driver finds no GPU"),
        CUresult::CUDA_ERROR_INVALID_DEVICE => Error::device("cuda: there is no GPU of that number"),
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | CUresult::CUDA_ERROR_INVALID_PTX => Error::device(format!(
            "cuda: this build has no kernels that the GPU or its driver can load ({name})"
        )),
        _ if is_lost(e) => Error::device(format!(
            "cuda: the GPU was lost for this process ({doing}: {name}); use device=cpu or start again"
        )),
        _ => Error::device(format!("cuda: {doing}: {name}")),
    }
}
