//! Copies beside computing: memory of the host that the GPU reads and writes itself, and moments of streams to wait for.

#![allow(unsafe_code, reason = "calls the driver")]

use super::device::{Buffer, Device, Turn};
use super::driver::Current;
use crate::error::{Error, Result};
use cudarc::driver::sys;
use std::ptr;
use std::time::Duration;

/// One of a device's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Compute,
    Up,
    Down,
}

/// Values of the host that do not move, so that copies may go on while nobody waits.
pub(super) struct Pinned {
    device: &'static Device,
    context: sys::CUcontext,
    start: *mut f32,
    len: usize,
}

// SAFETY: memory of its own; the context is used as `Open` says.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Values that it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The values. No copy into them is on its way: the owner waits for each.
    pub(super) fn values(&self) -> &[f32] {
        // SAFETY: allocated with this length and written when it was made; any bits are a value.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    /// The values, to write. No copy of them is on its way: the owner waits for each.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Ok(_current) = Current::set(self.device.driver, self.context) {
            // SAFETY: allocated by `Turn::pinned` and of nobody else; its owner has waited for copies.
            let _ = unsafe { self.device.driver.host_free(self.start.cast()) };
        }
    }
}

/// A moment of a stream.
pub(super) struct Event {
    device: &'static Device,
    context: sys::CUcontext,
    handle: sys::CUevent,
}

// SAFETY: a handle of the driver, used as `Open` says.
unsafe impl Send for Event {}

impl Event {
    /// Waits until it is there; at once where it never was marked. Others may have the GPU meanwhile.
    ///
    /// # Errors
    /// `Device` where anything before it failed.
    pub(super) fn wait(&self) -> Result<()> {
        let waited = Current::set(self.device.driver, self.context).and_then(|_current| {
            // SAFETY: the event is alive.
            unsafe { self.device.driver.wait_event(self.handle) }
        });
        waited.map_err(|e| self.device.note(e, "computing"))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_current) = Current::set(self.device.driver, self.context) {
            // SAFETY: made by `Turn::event`; the driver keeps it for as long as a stream waits for it.
            let _ = unsafe { self.device.driver.destroy_event(self.handle) };
        }
    }
}

impl Turn {
    fn lane(&self, lane: Lane) -> sys::CUstream {
        match lane {
            Lane::Compute => self.open.stream,
            Lane::Up => self.open.up,
            Lane::Down => self.open.down,
        }
    }

    /// Memory of the host for `len` values, zeros.
    ///
    /// # Errors
    /// `Limit` where there is no room.
    pub(super) fn pinned(&self, len: usize) -> Result<Pinned> {
        let bytes = len.max(1) * size_of::<f32>();
        let mut start = ptr::null_mut();
        // SAFETY: writes one address; no flags: it is read as well, so that it must be cached.
        unsafe { self.device.driver.host_alloc(&mut start, bytes, 0) }
            .map_err(|e| self.device.note(e, &format!("{} MiB of the host's", bytes.div_ceil(1 << 20))))?;
        // SAFETY: so many bytes were allocated.
        unsafe { ptr::write_bytes(start.cast::<u8>(), 0, bytes) };
        Ok(Pinned { device: self.device, context: self.open.context, start: start.cast(), len })
    }

    /// A moment that is not there yet; a `timed` one costs more and serves [`Turn::elapsed`].
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) fn event(&self, timed: bool) -> Result<Event> {
        let mut handle = ptr::null_mut();
        let flags = if timed {
            sys::CUevent_flags::CU_EVENT_DEFAULT
        } else {
            sys::CUevent_flags::CU_EVENT_DISABLE_TIMING
        } as u32;
        // SAFETY: writes one handle; the context is current.
        unsafe { self.device.driver.event(&mut handle, flags) }
            .map_err(|e| self.device.note(e, "making an event"))?;
        Ok(Event { device: self.device, context: self.open.context, handle })
    }

    /// The event is when `lane` has done all that it was asked for so far.
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) fn mark(&self, event: &Event, lane: Lane) -> Result<()> {
        // SAFETY: both are this device's.
        unsafe { self.device.driver.record(event.handle, self.lane(lane)) }
            .map_err(|e| self.device.note(e, "computing"))
    }

    /// Time from one timed moment to another; both were waited for.
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) fn elapsed(&self, from: &Event, to: &Event) -> Result<Duration> {
        let mut ms = 0.0;
        // SAFETY: writes one number; both events are this device's.
        unsafe { self.device.driver.elapsed(&mut ms, from.handle, to.handle) }
            .map_err(|e| self.device.note(e, "taking times"))?;
        Ok(Duration::try_from_secs_f32(ms / 1e3).unwrap_or_default())
    }

    /// What `lane` is asked for from now on waits for the event.
    ///
    /// # Errors
    /// `Device` where the driver refuses.
    pub(super) fn after(&self, lane: Lane, event: &Event) -> Result<()> {
        // SAFETY: both are this device's.
        unsafe { self.device.driver.wait_for(self.lane(lane), event.handle, 0) }
            .map_err(|e| self.device.note(e, "computing"))
    }

    /// Begins to copy the first `len` values of `from` to the beginning of `to`, on its own stream.
    ///
    /// # Safety
    /// Until the copy is done nobody writes `from`, and both live.
    ///
    /// # Errors
    /// `Device` where the driver refuses, `Internal` where they do not fit.
    pub(super) unsafe fn copy_up(&self, to: &Buffer, from: &Pinned, len: usize) -> Result<()> {
        self.check_range(to, 0, len)?;
        let from = from.values().get(..len).ok_or_else(|| Error::internal("more is sent than there is"))?;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: checked above; how long both live is the caller's promise.
        unsafe {
            self.device.driver.copy_up(to.start(), from.as_ptr().cast(), size_of_val(from), self.open.up)
        }
        .map_err(|e| self.device.note(e, "copying to the GPU"))
    }

    /// Begins to copy the first `len` values of `from` to the beginning of `to`, on its own stream.
    ///
    /// # Safety
    /// Until the copy is done nobody touches `to`, and both live.
    ///
    /// # Errors
    /// As [`Turn::copy_up`].
    pub(super) unsafe fn copy_down(&self, to: &mut Pinned, from: &Buffer, len: usize) -> Result<()> {
        self.check_range(from, 0, len)?;
        let to = to.values_mut().get_mut(..len).ok_or_else(|| Error::internal("more comes than has room"))?;
        if to.is_empty() {
            return Ok(());
        }
        let (start, bytes) = (to.as_mut_ptr().cast(), size_of_val(to));
        // SAFETY: checked above; how long both live is the caller's promise.
        unsafe { self.device.driver.copy_down(start, from.start(), bytes, self.open.down) }
            .map_err(|e| self.device.note(e, "copying from the GPU"))
    }
}
