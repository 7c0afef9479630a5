//! What can be asked without an upscaler: version, status words, devices, models.

use crate::entry::{entry, guarded};
use crate::last_error;
use crate::options;
use crate::reserve;
use crate::sized::{self, Versioned};
use crate::status::{self, Failure, LIMIT, OK, Outcome, Status};
use ssmoesr_core::{ModelInfo, devices, model_info};
use std::ffi::{CString, c_char};
use std::mem::offset_of;
use std::ptr;
use std::sync::LazyLock;

/// Version of this package, as the header's macro makes it.
fn version() -> u32 {
    let mut parts = env!("CARGO_PKG_VERSION").split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    next() << 16 | next() << 8 | next()
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_version() -> u32 {
    version()
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_status_string(status: Status) -> *const c_char {
    status::words(status).as_ptr()
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_last_error() -> *const c_char {
    last_error::get()
}

/// Name and description of each device, kept for the host.
static DEVICES: LazyLock<Vec<[CString; 2]>> = LazyLock::new(|| {
    let text = |text: String| CString::new(text).unwrap_or_default();
    devices().into_iter().map(|d| [text(d.name), text(d.description)]).collect()
});

fn device(index: usize, which: usize) -> *const c_char {
    let text = guarded(|| Ok(DEVICES.get(index).map_or(ptr::null(), |texts| texts[which].as_ptr())));
    text.unwrap_or(ptr::null())
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_device_name(index: usize) -> *const c_char {
    device(index, 0)
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_device_description(index: usize) -> *const c_char {
    device(index, 1)
}

/// `ssmoesr_model_info` as in the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawModelInfo {
    struct_size: usize,
    scales: [u32; 8],
    name: [u8; 64],
    version: [u8; 64],
    family: [u8; 64],
    licence: [u8; 256],
    folder: [u8; 4096],
}

#[allow(unsafe_code, reason = "a promise about memory")]
// SAFETY: numbers only; `struct_size` first.
unsafe impl Versioned for RawModelInfo {
    const NAME: &'static str = "ssmoesr_model_info";
    const SIZES: &'static [usize] = &[offset_of!(Self, folder) + 4096];

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            scales: [0; 8],
            name: [0; 64],
            version: [0; 64],
            family: [0; 64],
            licence: [0; 256],
            folder: [0; 4096],
        }
    }
}

/// Copies a text; the zeros behind it are there already.
fn put(to: &mut [u8], name: &str, text: &[u8]) -> Outcome<()> {
    if text.len() >= to.len() {
        let text = format!("the {name} of the model has {} bytes, {} fit", text.len(), to.len() - 1);
        return Err(Failure { status: LIMIT, text });
    }
    to[..text.len()].copy_from_slice(text);
    Ok(())
}

/// Writes what `model` says of itself.
///
/// # Safety
/// `info` is NULL or `size` bytes there are writable.
#[allow(unsafe_code, reason = "writes the host's memory")]
pub(crate) unsafe fn describe(model: &ModelInfo, info: *mut RawModelInfo, size: usize) -> Outcome<Status> {
    let mut raw = RawModelInfo::defaults();
    if model.scales.len() > raw.scales.len() {
        let text = format!("the model has {} scales, {} fit", model.scales.len(), raw.scales.len());
        return Err(Failure { status: LIMIT, text });
    }
    raw.scales.iter_mut().zip(&model.scales).for_each(|(to, from)| *to = *from);
    put(&mut raw.name, "name", model.name.as_bytes())?;
    put(&mut raw.version, "version", model.version.as_bytes())?;
    put(&mut raw.family, "family", model.family.as_bytes())?;
    put(&mut raw.licence, "licence", model.licence.as_bytes())?;
    put(&mut raw.folder, "folder", model.folder.as_os_str().as_encoded_bytes())?;
    // SAFETY: the caller's promise.
    unsafe { sized::write(info, size, raw) }.map_err(|e| e.of("info"))?;
    Ok(OK)
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_model_query(
    model: *const c_char,
    info: *mut RawModelInfo,
    struct_size: usize,
) -> Status {
    entry("ssmoesr_model_query", || {
        reserve::check()?;
        // SAFETY: the header asks for NULL or a text that ends with a zero.
        let model = unsafe { options::text("model", model) }?;
        let found = model_info(model.as_deref())?;
        // SAFETY: the header asks for NULL or `struct_size` writable bytes.
        unsafe { describe(&found, info, struct_size) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number of the header that is no format, against the names here.
    #[test]
    fn numbers_are_those_of_the_header() {
        let header = include_str!("../../include/ssmoesr.h");
        let number = |name: &str| -> i64 {
            let line = header.lines().find_map(|l| l.strip_prefix(&format!("#define SSMOESR_{name} ")));
            let word = line.unwrap().split("/*").next().unwrap();
            word.trim().trim_matches(['(', ')']).parse().unwrap()
        };
        let [major, minor, patch] = ["VERSION_MAJOR", "VERSION_MINOR", "VERSION_PATCH"].map(number);
        assert_eq!(i64::from(version()), major << 16 | minor << 8 | patch);
        for (name, value) in [
            ("OK", OK),
            ("AGAIN", status::AGAIN),
            ("EMPTY", status::EMPTY),
            ("ERROR_ARGUMENT", status::ARGUMENT),
            ("ERROR_INPUT", status::INPUT),
            ("ERROR_OPTION", status::OPTION),
            ("ERROR_MODEL", status::MODEL),
            ("ERROR_DEVICE", status::DEVICE),
            ("ERROR_LIMIT", LIMIT),
            ("ERROR_IO", status::IO),
            ("ERROR_CANCELLED", status::CANCELLED),
            ("ERROR_INTERNAL", status::INTERNAL),
        ] {
            assert_eq!(number(name), i64::from(value), "{name}");
            assert_ne!(status::words(value), status::words(99), "{name}");
        }
        assert_eq!(number("MAX_SIDE"), i64::from(ssmoesr_core::Frame::MAX_SIDE));
        assert_eq!(number("STREAM_FRAMES"), crate::queue::FRAMES as i64);
    }
}
