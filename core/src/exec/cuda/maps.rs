//! Maps of whole pictures on a GPU: uploads and downloads on streams of their own, everything else in the order of the calls.

#![allow(unsafe_code, reason = "starts kernels over addresses, and copies")]

use super::copy::{Event, Lane, Pinned};
use super::device::{Buffer, Turn};
use super::field::{self, Places};
use super::run::Plan;
use super::{Arena, Shared};
use crate::error::{Error, Result};
use crate::exec::maps::{From, Home, Map, MapOp, Maps, Room, Table, Ticket, foreign};
use crate::exec::{Prepared, Weights, check_stop};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

/// Runs that may be under way: enough for the GPU not to wait for the host, few enough for progress to mean something.
const AHEAD: usize = 3;

/// Uploads that may be under way, and downloads for which there is room from the start.
const COPIES: usize = 2;

/// Memory on both sides for one copy, so that neither what computes nor the host waits for it.
struct Slot {
    host: Option<Pinned>,
    device: Option<Buffer>,
    /// When the copy between the two is done, and when what computes is done with `device`.
    copied: Event,
    computed: Event,
}

impl Slot {
    fn new(turn: &Turn) -> Result<Self> {
        Ok(Self { host: None, device: None, copied: turn.event(false)?, computed: turn.event(false)? })
    }

    /// Makes both sides large enough. Nothing is under way.
    fn fit(&mut self, turn: &Turn, len: usize) -> Result<()> {
        if self.host.as_ref().is_none_or(|h| h.len() < len) {
            self.host = None;
            self.host = Some(turn.pinned(len)?);
        }
        if self.device.as_ref().is_none_or(|d| d.len() < len) {
            self.device = None;
            self.device = Some(turn.alloc(len)?);
        }
        Ok(())
    }
}

/// Maps on one GPU.
pub(super) struct CudaMaps {
    shared: Arc<Shared>,
    /// The next to be used is the first.
    up: VecDeque<Slot>,
    down: VecDeque<Slot>,
    /// Downloads under way, the oldest first: their slots are the last ones of `down`.
    fetched: VecDeque<(Ticket, usize)>,
    tickets: u64,
    /// Number of the memory of results, place and length of the last run's result.
    result: Option<(u64, usize, usize)>,
    runs: VecDeque<Event>,
}

impl CudaMaps {
    /// # Errors
    /// `Device` where the GPU does not start.
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self> {
        let turn = shared.device.turn()?;
        let slots = || (0..COPIES).map(|_| Slot::new(&turn)).collect::<Result<VecDeque<_>>>();
        let (up, down) = (slots()?, slots()?);
        let runs = (0..AHEAD).map(|_| turn.event(false)).collect::<Result<_>>()?;
        drop(turn);
        Ok(Self { shared, up, down, fetched: VecDeque::new(), tickets: 0, result: None, runs })
    }

    fn start(&self, turn: &Turn, op: &MapOp<'_>, arena: Option<&Arena>) -> Result<()> {
        let places = Places { shared: &self.shared, arena, result: self.result };
        let Some(mut start) = field::lower(&places, op)? else { return Ok(()) };
        // SAFETY: `lower` has checked that every map and table of the operation lies in a buffer of this device. Those outlive
        // the launch: the driver waits for it before it frees memory.
        unsafe { turn.launch(start.kernel, start.grid, start.threads, start.shared, &mut start.call) }
    }
}

/// The room's memory, where it is one of this device.
pub(super) fn buffer<'a>(room: &'a Room, shared: &Shared) -> Result<&'a Buffer> {
    room.0.downcast_ref::<Buffer>().filter(|b| b.is_on(shared.device)).ok_or_else(foreign)
}

/// `len` values of a room as a map of one row.
fn line(room: &Room, at: usize, len: usize) -> Map<'_> {
    Map::new(Home::Room(room), at, (1, 1, len))
}

impl Maps for CudaMaps {
    fn room(&mut self, len: usize) -> Result<Room> {
        Ok(Room(Arc::new(self.shared.device.turn()?.alloc(len)?)))
    }

    fn send(&mut self, to: &Room, len: usize, fill: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        let mut slot = self.up.pop_front().ok_or_else(|| Error::internal("no slot for an upload"))?;
        let done = (|| {
            // What was sent two times ago has arrived.
            slot.copied.wait()?;
            slot.fit(&self.shared.device.turn()?, len)?;
            let host = slot.host.as_mut().ok_or_else(|| Error::internal("a slot without memory"))?;
            fill(host.values_mut().get_mut(..len).unwrap_or_default())?;
            let turn = self.shared.device.turn()?;
            let (Some(host), Some(device)) = (&slot.host, &slot.device) else {
                return Err(Error::internal("a slot without memory"));
            };
            turn.after(Lane::Up, &slot.computed)?;
            // SAFETY: the slot's memory is written, or let go, only after `copied` was waited for; see above and `drain`.
            unsafe { turn.copy_up(device, host, len)? };
            turn.mark(&slot.copied, Lane::Up)?;
            turn.after(Lane::Compute, &slot.copied)?;
            let places = Places { shared: &self.shared, arena: None, result: None };
            let start = field::lower_copy(&places, device, &line(to, 0, len))?;
            if let Some(mut start) = start {
                // SAFETY: as in `start`.
                unsafe {
                    turn.launch(start.kernel, start.grid, start.threads, start.shared, &mut start.call)?;
                }
            }
            turn.mark(&slot.computed, Lane::Compute)
        })();
        self.up.push_back(slot);
        done
    }

    fn apply(&mut self, op: &MapOp<'_>) -> Result<()> {
        let turn = self.shared.device.turn()?;
        let held = self.shared.arena.lock().unwrap_or_else(PoisonError::into_inner);
        self.start(&turn, op, held.as_ref())
    }

    fn run(
        &mut self,
        plan: &mut dyn Prepared,
        weights: &Weights,
        inputs: &[&[From<'_>]],
        stop: &AtomicBool,
    ) -> Result<()> {
        check_stop(stop)?;
        let plan = (plan as &mut dyn Any).downcast_mut::<Plan>().filter(|p| p.is_of(&self.shared));
        let plan = plan.ok_or_else(foreign)?;
        let event = self.runs.pop_front().ok_or_else(|| Error::internal("no event for a run"))?;
        let waited = event.wait();
        self.runs.push_back(event);
        waited?;
        let turn = self.shared.device.turn()?;
        self.result = None;
        let shapes: Vec<_> = plan.graph().inputs.iter().map(|&v| plan.graph().shape(v)).collect();
        let mut give = |arena: &Arena, i: usize, at: usize, len: usize| -> Result<()> {
            let parts = inputs.get(i).filter(|p| !p.is_empty() && len.is_multiple_of(p.len()));
            let parts = parts.ok_or_else(|| Error::internal("inputs that do not fit the graph"))?;
            let [_, channels, h, w] = shapes[i];
            let one = len / parts.len();
            // The input lies where a result would.
            let places =
                Places { shared: &self.shared, arena: Some(arena), result: Some((arena.id, at, len)) };
            for (n, part) in parts.iter().enumerate() {
                let line = Map::new(Home::Result, n * one, (1, 1, one));
                let op = match *part {
                    From::Value(value) => MapOp::Fill { to: line, value },
                    From::Window(from, at, scale) => {
                        if one != channels * h * w {
                            return Err(Error::internal("a window that does not fit the graph"));
                        }
                        let to = Map::new(Home::Result, n * one, (channels, h, w));
                        MapOp::Cut { from, at, scale, unit: false, to }
                    }
                };
                if let Some(mut start) = field::lower(&places, &op)? {
                    // SAFETY: as in `start`.
                    unsafe {
                        turn.launch(start.kernel, start.grid, start.threads, start.shared, &mut start.call)?;
                    }
                }
            }
            Ok(())
        };
        self.result = Some(plan.start_with(&turn, weights, &mut give)?);
        match self.runs.back() {
            Some(event) => turn.mark(event, Lane::Compute),
            None => Err(Error::internal("no event for a run")),
        }
    }

    fn fetch(&mut self, from: Table<'_>) -> Result<Ticket> {
        if self.fetched.len() >= self.down.len() {
            let slot = Slot::new(&self.shared.device.turn()?)?;
            self.down.push_front(slot);
        }
        let mut slot = self.down.pop_front().ok_or_else(|| Error::internal("no slot for a download"))?;
        let done = (|| {
            let turn = self.shared.device.turn()?;
            slot.fit(&turn, from.len)?;
            let (Some(host), Some(device)) = (&mut slot.host, &slot.device) else {
                return Err(Error::internal("a slot without memory"));
            };
            let places = Places { shared: &self.shared, arena: None, result: None };
            let start = field::lower_fetch(&places, &line(from.room, from.at, from.len), device)?;
            if let Some(mut start) = start {
                // SAFETY: as in `start`.
                unsafe {
                    turn.launch(start.kernel, start.grid, start.threads, start.shared, &mut start.call)?;
                }
            }
            turn.mark(&slot.computed, Lane::Compute)?;
            turn.after(Lane::Down, &slot.computed)?;
            // SAFETY: the slot's memory is read, or let go, only after `copied` was waited for: `take`, `drain`.
            unsafe { turn.copy_down(host, device, from.len)? };
            turn.mark(&slot.copied, Lane::Down)
        })();
        if let Err(e) = done {
            self.down.push_front(slot);
            return Err(e);
        }
        self.down.push_back(slot);
        self.tickets += 1;
        self.fetched.push_back((Ticket(self.tickets), from.len));
        Ok(Ticket(self.tickets))
    }

    fn take(&mut self, ticket: Ticket, read: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let place = self.fetched.iter().position(|(t, _)| *t == ticket);
        let place = place.ok_or_else(|| Error::internal("nothing was fetched"))?;
        let at = (self.down.len() - self.fetched.len()) + place;
        let (_, len) = self.fetched[place];
        let slot = self.down.get(at).ok_or_else(|| Error::internal("a slot vanished"))?;
        let done = slot.copied.wait().and_then(|()| {
            let host = slot.host.as_ref().ok_or_else(|| Error::internal("a slot without memory"))?;
            read(host.values().get(..len).unwrap_or_default())
        });
        // Free again: before those that are still under way.
        if let Some(slot) = self.down.remove(at) {
            self.fetched.remove(place);
            self.down.push_front(slot);
        }
        done
    }

    fn drain(&mut self) {
        // A GPU that does not answer is lost: nothing of it is under way any more.
        if let Ok(turn) = self.shared.device.turn() {
            let _ = turn.wait_all();
        }
        self.fetched.clear();
        self.result = None;
    }
}

impl Drop for CudaMaps {
    fn drop(&mut self) {
        self.drain();
    }
}
