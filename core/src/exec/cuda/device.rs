//! The GPUs of this process: one context each, made when first used, kept until the process ends.

#![allow(unsafe_code, reason = "calls the driver")]

use super::driver::{Answer, Code, Current, Driver, driver};
use super::fault::{OLDEST, error, is_lost};
use super::images::{Image, choose, images};
use super::launch::{Call, Kernel, NAMES};
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A GPU that this build has kernels for.
pub(super) struct Device {
    pub(super) driver: &'static Driver,
    ordinal: usize,
    /// Name as the `device` option takes it.
    pub(super) name: &'static str,
    /// The GPU's own name.
    pub(super) gpu: String,
    /// Compute capability times ten.
    pub(super) capability: u32,
    handle: sys::CUdevice,
    image: &'static Image,
    /// What work needs, from the first turn on. Whoever holds the lock has the GPU for himself.
    open: Mutex<Option<Open>>,
    /// Set for good when the driver says that the context is broken.
    lost: AtomicBool,
}

/// The context, its streams and the loaded kernels.
#[derive(Clone, Copy)]
pub(super) struct Open {
    pub(super) context: sys::CUcontext,
    /// Computes.
    pub(super) stream: sys::CUstream,
    /// Copies to the GPU and from it, beside what computes.
    pub(super) up: sys::CUstream,
    pub(super) down: sys::CUstream,
    functions: &'static [sys::CUfunction],
}

// SAFETY: handles of the driver may be used from every thread whose current context is theirs.
unsafe impl Send for Open {}

/// Bytes of a GPU's name at most.
const NAME: usize = 256;

/// Devices in use. Never taken down: the driver may be gone before the last of this process runs.
static DEVICES: Mutex<Vec<&'static Device>> = Mutex::new(Vec::new());

/// The GPU of that number, looked at and not yet used: its context is taken at the first [`Device::turn`].
///
/// # Errors
/// `Device`, saying why it cannot be used.
pub(super) fn find(ordinal: usize) -> Result<&'static Device> {
    let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = devices.iter().find(|d| d.ordinal == ordinal) {
        device.check_lost()?;
        return Ok(device);
    }
    let device: &'static Device = Box::leak(Box::new(Device::new(ordinal)?));
    devices.push(device);
    Ok(device)
}

/// How many GPUs the driver finds, at least one.
///
/// # Errors
/// `Device`, saying why there is none.
pub(super) fn count() -> Result<usize> {
    if images().is_empty() {
        return Err(Error::device(
            "cuda: this build has no CUDA kernels (docs/CUDA.md tells how to build them)",
        ));
    }
    let driver = driver()?;
    // SAFETY: takes no flags.
    unsafe { driver.init(0) }.map_err(|e| error(e, "starting the driver"))?;
    let mut version = 0;
    // SAFETY: writes one number.
    let told = unsafe { driver.version(&mut version) };
    told.map_err(|e| error(e, "asking for the driver's version"))?;
    if version < OLDEST {
        return Err(Error::device(format!(
            "cuda: the NVIDIA driver is too old (CUDA {}.{}); 525 or later is needed",
            version / 1000,
            version % 1000 / 10
        )));
    }
    let mut count = 0;
    // SAFETY: writes one number.
    unsafe { driver.device_count(&mut count) }.map_err(|e| error(e, "counting GPUs"))?;
    match usize::try_from(count) {
        Ok(count @ 1..) => Ok(count),
        _ => Err(Error::device("cuda: the driver finds no GPU")),
    }
}

impl Device {
    fn new(ordinal: usize) -> Result<Self> {
        let count = count()?;
        let number = i32::try_from(ordinal).ok().filter(|_| ordinal < count).ok_or_else(|| {
            Error::device(format!(
                "cuda: there is no GPU {ordinal}; the driver finds {count}, numbered from 0"
            ))
        })?;
        let driver = driver()?;
        let found = || -> Answer<(sys::CUdevice, String, u32)> {
            use sys::CUdevice_attribute::{
                CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            };
            let (mut handle, mut major, mut minor, mut name) = (0, 0, 0, [0; NAME]);
            // SAFETY: all write what is given here; the handle is the driver's own, the name ends within its room.
            unsafe {
                driver.device(&mut handle, number)?;
                driver.device_attribute(
                    &mut major,
                    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as c_int,
                    handle,
                )?;
                driver.device_attribute(
                    &mut minor,
                    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as c_int,
                    handle,
                )?;
                driver.device_name(name.as_mut_ptr(), NAME as c_int, handle)?;
            }
            let bytes: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
            let name = String::from_utf8_lossy(&bytes).into_owned();
            Ok((handle, name, (10 * major + minor).unsigned_abs()))
        };
        let (handle, gpu, capability) = found().map_err(|e| error(e, "asking for the GPU"))?;
        let image = choose(images(), capability).ok_or_else(|| {
            let (major, minor) = (capability / 10, capability % 10);
            Error::device(format!(
                "cuda: this build has no kernels for {gpu} (compute capability {major}.{minor})"
            ))
        })?;
        let name = match ordinal {
            0 => "cuda",
            n => Box::leak(format!("cuda:{n}").into_boxed_str()),
        };
        Ok(Self {
            driver,
            ordinal,
            name,
            gpu,
            capability,
            handle,
            image,
            open: Mutex::new(None),
            lost: AtomicBool::new(false),
        })
    }

    /// Takes the context and loads the kernels.
    fn open(&self) -> Result<Open> {
        let image = self.image;
        let driver = self.driver;
        let mut context = ptr::null_mut();
        // SAFETY: the handle is the driver's own. The primary context is that of all libraries in this process; once
        // the kernels are loaded it is never released.
        let retained = unsafe { driver.retain(&mut context, self.handle) };
        retained.map_err(|e| self.note(e, "taking the context"))?;
        let load = || -> Answer<Open> {
            let _current = Current::set(driver, context)?;
            let mut bytes = image.bytes.to_vec();
            // PTX is text that ends with a zero.
            bytes.push(0);
            let mut module = ptr::null_mut();
            // SAFETY: an image made by the compiler for `cuModuleLoadData`, which copies it.
            unsafe { driver.module(&mut module, bytes.as_ptr().cast()) }?;
            let get = |name: &&CStr| {
                let mut function = ptr::null_mut();
                // SAFETY: the module stays loaded.
                unsafe { driver.function(&mut function, module, name.as_ptr()) }.map(|()| function)
            };
            let functions: Vec<_> = NAMES.iter().map(get).collect::<Answer<_>>()?;
            let mut streams = [ptr::null_mut(); 3];
            for stream in &mut streams {
                let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
                // SAFETY: writes one handle.
                unsafe { driver.stream(stream, flags) }?;
            }
            let [stream, up, down] = streams;
            Ok(Open { context, stream, up, down, functions: functions.leak() })
        };
        load().map_err(|e| {
            // With its last user the context goes, and all that was loaded into it.
            // SAFETY: retained above, nothing uses it.
            let _ = unsafe { driver.release(self.handle) };
            self.note(e, "loading the kernels")
        })
    }

    fn check_lost(&self) -> Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            Err(Error::device("cuda: the GPU was lost for this process; use device=cpu or start again"))
        } else {
            Ok(())
        }
    }

    /// The GPU for this thread alone, for as long as the result lives.
    ///
    /// # Errors
    /// `Device` where it was lost or, the first time, does not start.
    pub(super) fn turn(&'static self) -> Result<Turn> {
        // What the lock guards is whole at any time.
        let mut turn = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_lost()?;
        let open = match *turn {
            Some(open) => open,
            None => {
                let open = self.open()?;
                let kind = if self.image.ptx { "PTX" } else { "machine code" };
                log::info!("{}: {}, {kind} for {}", self.name, self.gpu, self.image.capability);
                *turn.insert(open)
            }
        };
        let current =
            Current::set(self.driver, open.context).map_err(|e| self.note(e, "taking the context"))?;
        Ok(Turn { device: self, open, _current: current, _turn: turn })
    }

    /// The error for `e`; remembers where nothing more will come from the GPU.
    pub(super) fn note(&self, e: Code, doing: &str) -> Error {
        if is_lost(e) && !self.lost.swap(true, Ordering::Relaxed) {
            log::warn!("cuda: the GPU was lost ({doing}: the driver's error {})", e.0);
        }
        error(e, doing)
    }
}

/// Memory of a GPU.
pub(super) struct Buffer {
    device: &'static Device,
    context: sys::CUcontext,
    start: u64,
    len: usize,
}

impl Buffer {
    /// Address on the GPU.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Values that it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether it is memory of `device`.
    pub(super) fn is_on(&self, device: &Device) -> bool {
        ptr::eq(self.device, device)
    }
}

// SAFETY: an address that only the driver reads; the context is used as `Open` says.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // What the driver says does not matter any more: a lost GPU has freed all.
        if let Ok(_current) = Current::set(self.device.driver, self.context) {
            // SAFETY: allocated by `Turn::alloc` and of nobody else; the driver waits for work that uses it.
            let _ = unsafe { self.device.driver.free(self.start) };
        }
    }
}

/// Recorded launches.
pub(super) struct Replay {
    driver: &'static Driver,
    context: sys::CUcontext,
    handle: sys::CUgraphExec,
}

// SAFETY: used only within a turn, one thread at a time.
unsafe impl Send for Replay {}

impl Drop for Replay {
    fn drop(&mut self) {
        if let Ok(_current) = Current::set(self.driver, self.context) {
            // SAFETY: made by `Turn::record`. What still runs is freed by the driver when it has ended.
            let _ = unsafe { self.driver.destroy_instance(self.handle) };
        }
    }
}

/// A GPU in the hands of one thread.
pub(super) struct Turn {
    pub(super) device: &'static Device,
    pub(super) open: Open,
    _current: Current,
    _turn: MutexGuard<'static, Option<Open>>,
}

impl Turn {
    /// Memory for `len` values, whose contents are unspecified.
    ///
    /// # Errors
    /// `Limit` where there is no room.
    pub(super) fn alloc(&self, len: usize) -> Result<Buffer> {
        let bytes = len.max(1) * size_of::<f32>();
        let mut start = 0;
        // SAFETY: the context is current.
        unsafe { self.device.driver.alloc(&mut start, bytes) }
            .map_err(|e| self.device.note(e, &format!("{} MiB asked for", bytes.div_ceil(1 << 20))))?;
        Ok(Buffer { device: self.device, context: self.open.context, start, len })
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// `Device` where the driver does not tell.
    pub(super) fn free_bytes(&self) -> Result<u64> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers; the context is current.
        unsafe { self.device.driver.memory_info(&mut free, &mut total) }
            .map_err(|e| self.device.note(e, "asking for free memory"))?;
        Ok(free as u64)
    }

    /// Copies `values` to `at` in `buffer`, after earlier launches, and waits for it.
    ///
    /// # Errors
    /// `Device` where that fails, `Internal` where it does not fit.
    pub(super) fn upload(&self, buffer: &Buffer, at: usize, values: &[f32]) -> Result<()> {
        self.check_range(buffer, at, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        let to = buffer.start + (at * size_of::<f32>()) as u64;
        // SAFETY: checked; the wait below ends the copy while the values are borrowed.
        let copied = unsafe {
            self.device.driver.copy_up(to, values.as_ptr().cast(), size_of_val(values), self.open.stream)
        };
        let waited = self.wait();
        copied.map_err(|e| self.device.note(e, "copying to the GPU"))?;
        waited
    }

    /// Copies from `at` in `buffer`, after earlier launches, and waits for it.
    ///
    /// # Errors
    /// As [`Turn::upload`].
    pub(super) fn download(&self, buffer: &Buffer, at: usize, values: &mut [f32]) -> Result<()> {
        self.check_range(buffer, at, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        let (to, bytes) = (values.as_mut_ptr().cast(), size_of_val(values));
        let from = buffer.start + (at * size_of::<f32>()) as u64;
        // SAFETY: checked; the wait below ends the copy while the values are borrowed.
        let copied = unsafe { self.device.driver.copy_down(to, from, bytes, self.open.stream) };
        let waited = self.wait();
        copied.map_err(|e| self.device.note(e, "copying from the GPU"))?;
        waited
    }

    pub(super) fn check_range(&self, buffer: &Buffer, at: usize, len: usize) -> Result<()> {
        let fits = at.checked_add(len).is_some_and(|end| end <= buffer.len) && buffer.is_on(self.device);
        if fits {
            Ok(())
        } else {
            Err(Error::internal(format!("{len} values at {at} are not in a buffer of {}", buffer.len)))
        }
    }

    /// Starts a kernel.
    ///
    /// # Safety
    /// Every address that the kernel derives from `call` lies in buffers that live until [`Turn::wait`], or, while recording, until the last
    /// replay has been waited for.
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) unsafe fn launch(
        &self,
        kernel: Kernel,
        grid: [u32; 2],
        threads: u32,
        shared: usize,
        call: &mut Call,
    ) -> Result<()> {
        let function = self.open.functions.get(kernel as usize);
        let function = *function.ok_or_else(|| Error::internal("a kernel without a name"))?;
        let mut parameters = [ptr::from_mut(call).cast::<c_void>()];
        let bytes = (shared * size_of::<f32>()) as u32;
        // SAFETY: the kernel takes one `Call` by value, copied by the driver before it returns; addresses are the caller's promise.
        let started = unsafe {
            self.device.driver.launch(
                function,
                grid[0],
                grid[1],
                1,
                threads,
                1,
                1,
                bytes,
                self.open.stream,
                parameters.as_mut_ptr(),
                ptr::null_mut(),
            )
        };
        started.map_err(|e| self.device.note(e, &format!("starting {kernel:?}")))
    }

    /// Records what `launches` starts instead of running it.
    ///
    /// # Errors
    /// Those of `launches`; `Device` where the driver cannot record.
    pub(super) fn record(&self, launches: impl FnOnce() -> Result<()>) -> Result<Replay> {
        let device = self.device;
        let driver = device.driver;
        // Other threads of the host may use the driver meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL as c_int;
        // SAFETY: the stream is this device's.
        unsafe { driver.begin_capture(self.open.stream, mode) }.map_err(|e| device.note(e, "recording"))?;
        let launched = launches();
        let mut graph = ptr::null_mut();
        // Ended in any case: the stream would stay closed for everybody.
        // SAFETY: begun above.
        let ended = unsafe { driver.end_capture(self.open.stream, &mut graph) };
        let destroy = |graph: sys::CUgraph| {
            if !graph.is_null() {
                // SAFETY: made above and used by nobody.
                let _ = unsafe { driver.destroy_graph(graph) };
            }
        };
        if let Err(e) = launched {
            destroy(graph);
            return Err(e);
        }
        ended.map_err(|e| device.note(e, "recording"))?;
        if graph.is_null() {
            return Err(Error::device("cuda: the driver recorded nothing"));
        }
        let mut handle = ptr::null_mut();
        // SAFETY: made above. All flags off is the plain form.
        let made = unsafe { driver.instantiate(&mut handle, graph, 0) };
        // The instance does not need it.
        destroy(graph);
        made.map_err(|e| device.note(e, "recording"))?;
        Ok(Replay { driver, context: self.open.context, handle })
    }

    /// Starts what was recorded.
    ///
    /// # Safety
    /// As [`Turn::launch`] for every recorded launch.
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) unsafe fn replay(&self, replay: &Replay) -> Result<()> {
        // SAFETY: made by `record` on this device; addresses are the caller's promise.
        unsafe { self.device.driver.replay(replay.handle, self.open.stream) }
            .map_err(|e| self.device.note(e, "computing"))
    }

    /// Waits for all that was started.
    ///
    /// # Errors
    /// `Device` where any of it failed.
    pub(super) fn wait(&self) -> Result<()> {
        // SAFETY: the stream is this device's.
        unsafe { self.device.driver.wait(self.open.stream) }.map_err(|e| self.device.note(e, "computing"))
    }

    /// Waits for all streams.
    ///
    /// # Errors
    /// As [`Turn::wait`].
    pub(super) fn wait_all(&self) -> Result<()> {
        for stream in [self.open.up, self.open.stream, self.open.down] {
            // SAFETY: the stream is this device's.
            unsafe { self.device.driver.wait(stream) }.map_err(|e| self.device.note(e, "computing"))?;
        }
        Ok(())
    }
}
