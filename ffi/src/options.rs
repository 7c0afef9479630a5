//! `ssmoesr_options`.

use crate::entry::entry;
use crate::sized::{self, Versioned};
use crate::status::{Failure, OK, OPTION, Outcome, Status};
use ssmoesr_core::Options;
use std::ffi::{CStr, c_char};
use std::mem::offset_of;
use std::ptr;

/// As in the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawOptions {
    struct_size: usize,
    model: *const c_char,
    device: *const c_char,
    sampler: *const c_char,
    colour_fix: *const c_char,
    seed: u64,
    fidelity: f64,
    eta: f64,
    scale: u32,
    steps: u32,
    tile_size: u32,
    threads: u32,
    tile_mode: *const c_char,
    precision: *const c_char,
    tile_overlap: u32,
    reserved: u32,
}

#[allow(unsafe_code, reason = "a promise about memory")]
// SAFETY: pointers that are not followed without a look, and numbers; `struct_size` first.
unsafe impl Versioned for RawOptions {
    const NAME: &'static str = "ssmoesr_options";
    const SIZES: &'static [usize] = &[offset_of!(Self, threads) + size_of::<u32>(), size_of::<Self>()];

    fn defaults() -> Self {
        let o = Options::default();
        Self {
            struct_size: size_of::<Self>(),
            model: ptr::null(),
            device: ptr::null(),
            sampler: ptr::null(),
            colour_fix: ptr::null(),
            seed: o.seed,
            fidelity: o.fidelity,
            eta: o.eta,
            scale: o.scale,
            steps: o.steps,
            tile_size: o.tile_size,
            threads: o.threads,
            tile_mode: ptr::null(),
            precision: ptr::null(),
            tile_overlap: o.tile_overlap,
            reserved: 0,
        }
    }
}

/// A text from C; `None` for NULL.
///
/// # Safety
/// `text` is NULL or ends with a zero.
#[allow(unsafe_code, reason = "reads the host's memory")]
pub(crate) unsafe fn text(name: &str, text: *const c_char) -> Outcome<Option<String>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so it ends with a zero.
    let bytes = unsafe { CStr::from_ptr(text) };
    match bytes.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Failure { status: OPTION, text: format!("{name} is not UTF-8: {bytes:?}") }),
    }
}

/// Reads and checks options; `otherwise` where the pointer is NULL.
///
/// # Safety
/// `options` is NULL or as [`sized::read`] wants it, with texts that end with a zero.
#[allow(unsafe_code, reason = "reads the host's memory")]
pub(crate) unsafe fn read(options: *const RawOptions, otherwise: &Options) -> Outcome<Options> {
    if options.is_null() {
        return Ok(otherwise.clone());
    }
    // SAFETY: the caller's promise.
    let raw = unsafe { sized::read(options) }.map_err(|e| e.of("options"))?;
    if raw.reserved != 0 {
        let text = format!("options: reserved is {}, it must be 0", raw.reserved);
        return Err(Failure { status: OPTION, text });
    }
    let mut o = Options::default();
    // SAFETY: the caller's promise, six times.
    unsafe {
        // An empty name is none, as for the command and the element.
        o.model = text("model", raw.model)?.filter(|m| !m.is_empty());
        o.device = text("device", raw.device)?.unwrap_or(o.device);
        o.sampler = text("sampler", raw.sampler)?.unwrap_or_default();
        o.colour_fix = text("colour_fix", raw.colour_fix)?.unwrap_or_default();
        o.tile_mode = text("tile_mode", raw.tile_mode)?.unwrap_or(o.tile_mode);
        o.precision = text("precision", raw.precision)?.unwrap_or(o.precision);
    }
    o.seed = raw.seed;
    o.fidelity = raw.fidelity;
    o.eta = raw.eta;
    o.scale = raw.scale;
    o.steps = raw.steps;
    o.tile_size = raw.tile_size;
    o.threads = raw.threads;
    o.tile_overlap = raw.tile_overlap;
    o.validate()?;
    Ok(o)
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_options_init(options: *mut RawOptions, struct_size: usize) -> Status {
    entry("ssmoesr_options_init", || {
        // SAFETY: the header asks for NULL or `struct_size` writable bytes.
        unsafe { sized::write(options, struct_size, RawOptions::defaults()) }.map_err(|e| e.of("options"))?;
        Ok(OK)
    })
}
