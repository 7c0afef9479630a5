//! `ssmoesr_upscaler`.

use crate::entry::{callback, entry, guarded};
use crate::options::{self, RawOptions};
use crate::picture::{Checked, RawPicture};
use crate::query::{RawModelInfo, describe};
use crate::reserve;
use crate::sized::{self, Versioned};
use crate::status::{Failure, INPUT, OK, Outcome, Status};
use ssmoesr_core::{CancelToken, Options, Progress, Upscaler};
use std::ffi::{CString, c_char, c_void};
use std::mem::offset_of;
use std::ops::ControlFlow;
use std::ptr;
use std::sync::Arc;

/// What the handle leads to. Never changed after it was made, so that threads may share it.
pub(crate) struct Handle {
    pub(crate) upscaler: Arc<Upscaler>,
    /// For calls without options.
    pub(crate) options: Options,
    cancel: CancelToken,
    device: CString,
}

/// `ssmoesr_upscaler`, behind which C sees nothing: what a [`Handle`] holds is no part of the binary interface.
#[repr(C)]
pub(crate) struct Opaque([u8; 0]);

type ProgressFn = unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32;

/// The object behind a handle.
///
/// # Safety
/// `handle` is NULL, or came from `ssmoesr_upscaler_new` and is not freed during `'a`.
#[allow(unsafe_code, reason = "a pointer that C kept")]
pub(crate) unsafe fn object<'a>(handle: *const Opaque) -> Outcome<&'a Handle> {
    // SAFETY: the caller's promise. Nobody has a `&mut Handle` before it is freed.
    unsafe { handle.cast::<Handle>().as_ref() }.ok_or_else(|| Failure::argument("upscaler: NULL"))
}

/// Reads the two pictures of a call and checks them against each other.
///
/// # Safety
/// Both are NULL or as [`sized::read`] wants them.
#[allow(unsafe_code, reason = "reads the host's memory")]
pub(crate) unsafe fn pictures(
    upscaler: &Upscaler,
    options: &Options,
    input: *const RawPicture,
    output: *const RawPicture,
) -> Outcome<(Checked, Checked)> {
    // SAFETY: the caller's promise, twice.
    let (input, output) = unsafe { (Checked::read(input, "in")?, Checked::read(output, "out")?) };
    let size = upscaler.output_size(input.width, input.height, options.scale)?;
    if (output.width, output.height) != size || output.format != input.format {
        let text = format!(
            "out: {}x{} {:?}, it must be {}x{} {:?}",
            output.width, output.height, output.format, size.0, size.1, input.format
        );
        return Err(Failure { status: INPUT, text });
    }
    output.is_apart(&input)?;
    Ok((input, output))
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(export_name = "ssmoesr_upscaler_new_v0")]
unsafe extern "C" fn new(options: *const RawOptions, upscaler: *mut *mut Opaque) -> Status {
    entry("ssmoesr_upscaler_new", || {
        if upscaler.is_null() {
            return Err(Failure::argument("upscaler: NULL"));
        }
        // SAFETY: not NULL, so the header asks for a pointer that can be written.
        unsafe { *upscaler = ptr::null_mut() };
        reserve::check()?;
        // SAFETY: the header asks for NULL or options that were set up.
        let options = unsafe { options::read(options, &Options::default()) }?;
        let core = Upscaler::shared(&options)?;
        let model = core.model();
        log::info!("model {} {} on device {}", model.name, model.version, core.device());
        let device = CString::new(core.device()).unwrap_or_default();
        let handle = Handle { upscaler: core, options, cancel: CancelToken::new(), device };
        // SAFETY: as above.
        unsafe { *upscaler = Box::into_raw(Box::new(handle)).cast() };
        Ok(OK)
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_free(upscaler: *mut *mut Opaque) {
    // Not through `entry`: a free between a failure and a look at its text leaves the text alone.
    let _ = guarded(|| {
        // SAFETY: the header asks for NULL or a pointer to NULL or to a handle that nobody else uses.
        if let Some(place) = unsafe { upscaler.as_mut() }.filter(|p| !p.is_null()) {
            let handle = std::mem::replace(place, ptr::null_mut());
            // SAFETY: it came from `Box::into_raw` in `new` and is not used again.
            drop(unsafe { Box::from_raw(handle.cast::<Handle>()) });
        }
        Ok(())
    });
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_run(
    upscaler: *const Opaque,
    options: *const RawOptions,
    input: *const RawPicture,
    output: *const RawPicture,
    progress: Option<ProgressFn>,
    user: *mut c_void,
) -> Status {
    entry("ssmoesr_upscaler_run", || {
        reserve::check()?;
        // SAFETY: the header asks for NULL or a live handle, options and pictures that were set up.
        let (handle, options, (input, output)) = unsafe {
            let handle = object(upscaler)?;
            let options = options::read(options, &handle.options)?;
            let pictures = pictures(&handle.upscaler, &options, input, output)?;
            (handle, options, pictures)
        };
        // SAFETY: the header gives both memories to this call; `pictures` checked that they are apart.
        let (input, mut output) = unsafe { (input.frame()?, output.frame_mut()?) };
        let mut short = false;
        let mut tell = |now: Progress| {
            short = reserve::is_low();
            match progress {
                _ if short => ControlFlow::Break(()),
                // SAFETY: a function of this type, with the pointer that came with it.
                Some(f) if callback(|| unsafe { f(user, now.done, now.total) }) != 0 => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        };
        let outcome = handle.upscaler.run(&input, &mut output, &options, &mut tell, &handle.cancel);
        if short {
            return Err(reserve::shortage());
        }
        outcome?;
        Ok(OK)
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_cancel(upscaler: *const Opaque) {
    // Called from signal handlers: one atomic store and nothing else.
    // SAFETY: the header asks for NULL or a live handle.
    if let Some(handle) = unsafe { upscaler.cast::<Handle>().as_ref() } {
        handle.cancel.cancel();
    }
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_resume(upscaler: *const Opaque) {
    // SAFETY: the header asks for NULL or a live handle.
    if let Some(handle) = unsafe { upscaler.cast::<Handle>().as_ref() } {
        handle.cancel.reset();
    }
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_output_size(
    upscaler: *const Opaque,
    width: u32,
    height: u32,
    scale: u32,
    out_width: *mut u32,
    out_height: *mut u32,
) -> Status {
    entry("ssmoesr_upscaler_output_size", || {
        // SAFETY: the header asks for NULL or a live handle.
        let handle = unsafe { object(upscaler) }?;
        if out_width.is_null() || out_height.is_null() {
            return Err(Failure::argument("out_width or out_height: NULL"));
        }
        if width == 0 || height == 0 {
            return Err(Failure { status: INPUT, text: format!("{width}x{height} pixels: a side is zero") });
        }
        let (w, h) = handle.upscaler.output_size(width, height, scale)?;
        // SAFETY: not NULL, so the header asks for numbers that can be written.
        unsafe {
            *out_width = w;
            *out_height = h;
        }
        Ok(OK)
    })
}

/// `ssmoesr_plan` as in the header.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawPlan {
    struct_size: usize,
    tiles: u64,
    units: u64,
    bytes: u64,
    out_width: u32,
    out_height: u32,
    tile_width: u32,
    tile_height: u32,
    steps: u64,
    gflop: f64,
}

#[allow(unsafe_code, reason = "a promise about memory")]
// SAFETY: numbers only; `struct_size` first.
unsafe impl Versioned for RawPlan {
    const NAME: &'static str = "ssmoesr_plan";
    const SIZES: &'static [usize] =
        &[offset_of!(Self, tile_height) + size_of::<u32>(), offset_of!(Self, gflop) + size_of::<f64>()];

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            tiles: 0,
            units: 0,
            bytes: 0,
            out_width: 0,
            out_height: 0,
            tile_width: 0,
            tile_height: 0,
            steps: 0,
            gflop: 0.0,
        }
    }
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_plan(
    upscaler: *const Opaque,
    options: *const RawOptions,
    width: u32,
    height: u32,
    plan: *mut RawPlan,
    struct_size: usize,
) -> Status {
    entry("ssmoesr_upscaler_plan", || {
        reserve::check()?;
        // SAFETY: the header asks for NULL or a live handle, and options that were set up.
        let (handle, options) = unsafe {
            let handle = object(upscaler)?;
            (handle, options::read(options, &handle.options)?)
        };
        let found = handle.upscaler.plan(width, height, &options)?;
        let raw = RawPlan {
            tiles: found.tiles,
            units: found.units,
            bytes: found.bytes(),
            out_width: found.output.0,
            out_height: found.output.1,
            tile_width: found.tile.0,
            tile_height: found.tile.1,
            steps: found.steps,
            gflop: found.gflop,
            ..RawPlan::defaults()
        };
        // SAFETY: the header asks for NULL or `struct_size` writable bytes.
        unsafe { sized::write(plan, struct_size, raw) }.map_err(|e| e.of("plan"))?;
        Ok(OK)
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_model(
    upscaler: *const Opaque,
    info: *mut RawModelInfo,
    struct_size: usize,
) -> Status {
    entry("ssmoesr_upscaler_model", || {
        // SAFETY: the header asks for NULL or a live handle, and for NULL or `struct_size` writable bytes.
        unsafe { describe(object(upscaler)?.upscaler.model(), info, struct_size) }
    })
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_upscaler_device(upscaler: *const Opaque) -> *const c_char {
    // SAFETY: the header asks for NULL or a live handle.
    unsafe { upscaler.cast::<Handle>().as_ref() }.map_or(ptr::null(), |handle| handle.device.as_ptr())
}
