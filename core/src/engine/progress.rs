//! How far a picture is, in equal units of work, and the host's chance to stop it.

use crate::error::{Error, Result};
use std::ops::ControlFlow;

/// How far one picture is. Units are about equal in time: one tile of one sampling step, one decoded tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// What hosts give to hear of progress; `Break` cancels.
pub type ProgressFn<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Counts units and tells the host.
pub(super) struct Counter<'a, 'b> {
    tell: &'a mut ProgressFn<'b>,
    now: Progress,
}

impl<'a, 'b> Counter<'a, 'b> {
    pub(super) fn new(tell: &'a mut ProgressFn<'b>, total: u64) -> Result<Self> {
        let mut counter = Self { tell, now: Progress { done: 0, total } };
        counter.report()?;
        Ok(counter)
    }

    pub(super) fn unit(&mut self) -> Result<()> {
        self.now.done += 1;
        self.report()
    }

    fn report(&mut self) -> Result<()> {
        match (self.tell)(self.now) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::cancelled()),
        }
    }
}
