//! The driver's functions that are used, typed here: an answer is a plain number. The bindings' answer is a closed list, of which a code
//! that is newer than they are would be no member: undefined behaviour. The bindings give the library and the handles' types.

#![allow(unsafe_code, reason = "calls the driver")]

use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;

/// What the driver answers where it does not do what it was asked for: never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i32);

/// What a call of the driver gives.
pub(super) type Answer<T = ()> = std::result::Result<T, Code>;

macro_rules! functions {
    ($($name:ident $symbol:literal ($($argument:ident: $type:ty),*);)*) => {
        /// The functions of a driver that is loaded; they stay as long as the process.
        pub(super) struct Driver { $($name: unsafe extern "C" fn($($type),*) -> c_int),* }

        impl Driver {
            /// The functions of the driver that the loader finds; the name of the first that it lacks, where it does.
            fn load() -> std::result::Result<Self, &'static str> {
                // SAFETY: loads the library for good; the caller knows that it is there.
                let library = unsafe { sys::culib() };
                $(
                    // SAFETY: the symbol has this signature in every driver since CUDA 12.0; it returns an enumeration, an int in C.
                    let $name = unsafe { library.get::<unsafe extern "C" fn($($type),*) -> c_int>($symbol.as_bytes()) };
                    let $name = *$name.map_err(|_| $symbol)?;
                )*
                Ok(Self { $($name),* })
            }

            $(
                #[doc = $symbol]
                /// # Safety
                /// As NVIDIA's manual says: handles and addresses are those of the driver, what is written lives.
                #[allow(clippy::too_many_arguments, reason = "the driver's own")]
                pub(super) unsafe fn $name(&self, $($argument: $type),*) -> Answer {
                    // SAFETY: the caller's promise.
                    match unsafe { (self.$name)($($argument),*) } {
                        0 => Ok(()),
                        code => Err(Code(code)),
                    }
                }
            )*
        }
    };
}

functions! {
    init "cuInit" (flags: c_uint);
    version "cuDriverGetVersion" (version: *mut c_int);
    device_count "cuDeviceGetCount" (count: *mut c_int);
    device "cuDeviceGet" (device: *mut sys::CUdevice, ordinal: c_int);
    device_name "cuDeviceGetName" (name: *mut c_char, len: c_int, device: sys::CUdevice);
    device_attribute "cuDeviceGetAttribute" (value: *mut c_int, which: c_int, device: sys::CUdevice);
    retain "cuDevicePrimaryCtxRetain" (context: *mut sys::CUcontext, device: sys::CUdevice);
    release "cuDevicePrimaryCtxRelease_v2" (device: sys::CUdevice);
    set_current "cuCtxSetCurrent" (context: sys::CUcontext);
    get_current "cuCtxGetCurrent" (context: *mut sys::CUcontext);
    memory_info "cuMemGetInfo_v2" (free: *mut usize, total: *mut usize);
    alloc "cuMemAlloc_v2" (start: *mut u64, bytes: usize);
    free "cuMemFree_v2" (start: u64);
    host_alloc "cuMemHostAlloc" (start: *mut *mut c_void, bytes: usize, flags: c_uint);
    host_free "cuMemFreeHost" (start: *mut c_void);
    copy_up "cuMemcpyHtoDAsync_v2" (to: u64, from: *const c_void, bytes: usize, stream: sys::CUstream);
    copy_down "cuMemcpyDtoHAsync_v2" (to: *mut c_void, from: u64, bytes: usize, stream: sys::CUstream);
    module "cuModuleLoadData" (module: *mut sys::CUmodule, image: *const c_void);
    function "cuModuleGetFunction" (function: *mut sys::CUfunction, module: sys::CUmodule, name: *const c_char);
    stream "cuStreamCreate" (stream: *mut sys::CUstream, flags: c_uint);
    wait "cuStreamSynchronize" (stream: sys::CUstream);
    wait_for "cuStreamWaitEvent" (stream: sys::CUstream, event: sys::CUevent, flags: c_uint);
    begin_capture "cuStreamBeginCapture_v2" (stream: sys::CUstream, mode: c_int);
    end_capture "cuStreamEndCapture" (stream: sys::CUstream, graph: *mut sys::CUgraph);
    launch "cuLaunchKernel" (
        function: sys::CUfunction, across: c_uint, down: c_uint, deep: c_uint, threads: c_uint, threads_down: c_uint,
        threads_deep: c_uint, shared: c_uint, stream: sys::CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void
    );
    instantiate "cuGraphInstantiateWithFlags" (instance: *mut sys::CUgraphExec, graph: sys::CUgraph, flags: u64);
    replay "cuGraphLaunch" (instance: sys::CUgraphExec, stream: sys::CUstream);
    destroy_instance "cuGraphExecDestroy" (instance: sys::CUgraphExec);
    destroy_graph "cuGraphDestroy" (graph: sys::CUgraph);
    event "cuEventCreate" (event: *mut sys::CUevent, flags: c_uint);
    record "cuEventRecord" (event: sys::CUevent, stream: sys::CUstream);
    wait_event "cuEventSynchronize" (event: sys::CUevent);
    elapsed "cuEventElapsedTime" (ms: *mut f32, from: sys::CUevent, to: sys::CUevent);
    destroy_event "cuEventDestroy_v2" (event: sys::CUevent);
}

/// The driver of this machine.
///
/// # Errors
/// `Device` where there is none, or one that lacks a function.
pub(super) fn driver() -> Result<&'static Driver> {
    static DRIVER: OnceLock<std::result::Result<Driver, &'static str>> = OnceLock::new();
    // SAFETY: looks for the library. The bindings panic where it is missing and anything else is called first.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::device("cuda: there is no NVIDIA driver (libcuda.so.1 was not found)"));
    }
    DRIVER.get_or_init(Driver::load).as_ref().map_err(|symbol| {
        Error::device(format!(
            "cuda: the NVIDIA driver is too old (it has no {symbol}); 525 or later is needed"
        ))
    })
}

/// A context made current for this thread; the host's own comes back when it goes.
pub(super) struct Current {
    driver: &'static Driver,
    before: sys::CUcontext,
    /// Of one thread.
    _here: PhantomData<*const ()>,
}

impl Current {
    pub(super) fn set(driver: &'static Driver, context: sys::CUcontext) -> Answer<Self> {
        let mut before = ptr::null_mut();
        // SAFETY: contexts of this process's devices are never destroyed.
        unsafe {
            driver.get_current(&mut before)?;
            driver.set_current(context)?;
        }
        Ok(Self { driver, before, _here: PhantomData })
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        // SAFETY: it was current before, or is none.
        let _ = unsafe { self.driver.set_current(self.before) };
    }
}
