//! One plan on a GPU: maps in, launches, maps out.

#![allow(unsafe_code, reason = "starts kernels over addresses")]

use super::copy::{Event, Lane};
use super::device::{Buffer, Replay, Turn};
use super::launch::{Call, Launch, Place};
use super::lower::Program;
use super::pack::Form;
use super::{Arena, Shared, fresh_id};
use crate::error::{Error, Result};
use crate::exec::{Prepared, Visit, Weights, check_io, check_stop};
use crate::graph::{Graph, Value};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Weights of one graph on a GPU.
pub(super) struct Loaded {
    pub(super) buffer: Buffer,
    /// Where each tensor begins.
    pub(super) offsets: Vec<usize>,
    /// How each lies.
    pub(super) forms: Vec<Form>,
    pub(super) id: u64,
}

/// A graph with its launches.
pub(super) struct Plan {
    graph: Arc<Graph>,
    program: Program,
    tables: Buffer,
    shared: Arc<Shared>,
    /// Launches recorded for the memory of results and the weights of those numbers; nothing after the first run.
    recorded: Vec<((u64, u64), Option<Replay>)>,
    measure: bool,
    /// Moments around the steps, and times of the last run that was measured.
    events: Vec<Event>,
    times: Vec<(Value, Duration)>,
}

/// Recordings kept at most: one per expert, and some room.
const MAX_RECORDED: usize = 8;

impl Plan {
    pub(super) fn new(graph: Arc<Graph>, program: Program, tables: Buffer, shared: Arc<Shared>) -> Self {
        Self {
            graph,
            program,
            tables,
            shared,
            recorded: Vec::new(),
            measure: false,
            events: Vec::new(),
            times: Vec::new(),
        }
    }

    fn place(&self, v: Value) -> Result<usize> {
        self.program.offsets[v.index()].ok_or_else(|| Error::internal("a result without a place"))
    }

    fn map_len(&self, v: Value) -> usize {
        self.graph.shape(v).iter().product()
    }

    /// Starts `launches` one after the other.
    fn start(&self, turn: &Turn, arena: &Buffer, weights: &Loaded, launches: &[Launch]) -> Result<()> {
        let bytes = |values: usize| (values * size_of::<f32>()) as u64;
        for launch in launches {
            let mut call =
                Call { inputs: [0; 5], out: arena.start() + bytes(launch.out), n: launch.n, f: launch.f };
            for (address, place) in call.inputs.iter_mut().zip(launch.inputs) {
                *address = match place {
                    Place::Nothing => 0,
                    Place::Arena(at) => arena.start() + bytes(at),
                    Place::Table(at) => self.tables.start() + bytes(at),
                    Place::Weight(i) => weights.buffer.start() + bytes(weights.offsets[i]),
                };
            }
            // SAFETY: the program derives what a kernel touches from the shapes of maps, tables and weights, which lie at
            // these addresses: the arena is as long as the program says, the tables are the plan's, `run` checks the
            // weights. All three outlive the launch: `run` holds them until it has waited, and where nobody waits the driver does before it
            // frees memory; recordings go with the plan or when another arena or other weights come.
            unsafe { turn.launch(launch.kernel, launch.grid, launch.threads, launch.shared, &mut call)? };
        }
        Ok(())
    }

    /// The weights as this executor has them.
    fn own<'w>(&self, weights: &'w Weights) -> Result<&'w Loaded> {
        weights
            .downcast_ref::<Loaded>()
            .filter(|w| w.forms == self.program.forms && w.buffer.is_on(self.shared.device))
            .ok_or_else(|| Error::internal("weights of another graph or executor"))
    }

    /// The memory of results, as large as this plan needs it.
    fn room<'a>(&mut self, turn: &Turn, held: &'a mut Option<Arena>) -> Result<&'a Arena> {
        if held.as_ref().is_none_or(|a| a.buffer.len() < self.program.len) {
            // The old one goes first: both may not fit.
            *held = None;
            self.recorded.clear();
            *held = Some(Arena { buffer: turn.alloc(self.program.len)?, id: fresh_id() });
        }
        held.as_ref().ok_or_else(|| Error::internal("an arena vanished"))
    }

    /// Whether this is a plan of the executor that has `shared`.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// Runs with inputs that `give` brings to their places: for each the number of the input, its place and values in the
    /// memory of results. Nobody waits. Gives the number of that memory, and place and values of the first output.
    ///
    /// # Errors
    /// Those of `give`; as [`Prepared::run`].
    pub(super) fn start_with(
        &mut self,
        turn: &Turn,
        weights: &Weights,
        give: &mut dyn FnMut(&Arena, usize, usize, usize) -> Result<()>,
    ) -> Result<(u64, usize, usize)> {
        let shared = Arc::clone(&self.shared);
        let weights = self.own(weights)?;
        let mut held = shared.arena.lock().unwrap_or_else(PoisonError::into_inner);
        let arena = self.room(turn, &mut held)?;
        for (i, &v) in self.graph.inputs.iter().enumerate() {
            // An input that nobody reads has no place.
            if let Some(at) = self.program.offsets[v.index()] {
                give(arena, i, at, self.map_len(v))?;
            }
        }
        self.start_all(turn, arena, weights)?;
        let &out = self.graph.outputs.first().ok_or_else(|| Error::internal("a graph without output"))?;
        Ok((arena.id, self.place(out)?, self.map_len(out)))
    }

    /// The whole plan. The first time with an arena and weights launch by launch: whatever the driver has to make ready for a
    /// kernel happens then. From the second time on in one piece.
    fn start_all(&mut self, turn: &Turn, arena: &Arena, weights: &Loaded) -> Result<()> {
        let key = (arena.id, weights.id);
        let Some(at) = self.recorded.iter().position(|(k, _)| *k == key) else {
            self.start(turn, &arena.buffer, weights, &self.program.launches)?;
            self.recorded.retain(|((of, _), _)| *of == arena.id);
            if self.recorded.len() >= MAX_RECORDED {
                self.recorded.remove(0);
            }
            self.recorded.push((key, None));
            return Ok(());
        };
        if self.recorded[at].1.is_none() {
            let made = turn.record(|| self.start(turn, &arena.buffer, weights, &self.program.launches))?;
            self.recorded[at].1 = Some(made);
        }
        match &self.recorded[at].1 {
            // SAFETY: as for `start`; the numbers say that arena and weights are those of the recording.
            Some(replay) => unsafe { turn.replay(replay) },
            None => Err(Error::internal("a recording vanished")),
        }
    }

    /// Launch by launch, with a moment before and after each step.
    fn start_timed(&mut self, turn: &Turn, arena: &Buffer, weights: &Loaded) -> Result<()> {
        while self.events.len() <= self.program.steps.len() {
            self.events.push(turn.event(true)?);
        }
        let mut from = 0;
        for (&(_, to), event) in self.program.steps.iter().zip(&self.events) {
            turn.mark(event, Lane::Compute)?;
            self.start(turn, arena, weights, &self.program.launches[from..to])?;
            from = to;
        }
        self.events.last().map_or(Ok(()), |event| turn.mark(event, Lane::Compute))
    }

    /// Times between the moments of a run that was waited for; steps without a launch have none.
    fn read_times(&mut self, turn: &Turn) -> Result<()> {
        let mut from = 0;
        for (&(v, to), pair) in self.program.steps.iter().zip(self.events.windows(2)) {
            if to > from {
                self.times.push((v, turn.elapsed(&pair[0], &pair[1])?));
            }
            from = to;
        }
        Ok(())
    }

    fn each_node(
        &self,
        turn: &Turn,
        arena: &Buffer,
        weights: &Loaded,
        stop: &AtomicBool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut from = 0;
        for &(v, to) in &self.program.steps {
            check_stop(stop)?;
            self.start(turn, arena, weights, &self.program.launches[from..to])?;
            from = to;
            let mut seen = vec![0.0; self.map_len(v)];
            turn.download(arena, self.place(v)?, &mut seen)?;
            visit(v, &seen)?;
        }
        Ok(())
    }
}

impl Prepared for Plan {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn run(
        &mut self,
        weights: &Weights,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        stop: &AtomicBool,
        visit: Option<&mut Visit<'_>>,
    ) -> Result<()> {
        check_io(&self.graph, inputs, outputs)?;
        let shared = Arc::clone(&self.shared);
        let weights = self.own(weights)?;
        check_stop(stop)?;
        let turn = shared.device.turn()?;
        // It holds nothing between runs: a panic elsewhere leaves nothing half done.
        let mut held = shared.arena.lock().unwrap_or_else(PoisonError::into_inner);
        let arena = self.room(&turn, &mut held)?;
        for (&v, data) in self.graph.inputs.iter().zip(inputs) {
            // An input that nobody reads has no place.
            if let Some(at) = self.program.offsets[v.index()] {
                turn.upload(&arena.buffer, at, data)?;
            }
        }
        self.times.clear();
        let timed = self.measure && visit.is_none();
        match visit {
            Some(visit) => self.each_node(&turn, &arena.buffer, weights, stop, visit)?,
            None if self.measure => self.start_timed(&turn, &arena.buffer, weights)?,
            None => self.start_all(&turn, arena, weights)?,
        }
        for (&v, out) in self.graph.outputs.iter().zip(outputs.iter_mut()) {
            turn.download(&arena.buffer, self.place(v)?, out)?;
        }
        if timed {
            self.read_times(&turn)?;
        }
        check_stop(stop)
    }

    fn measure(&mut self, on: bool) {
        self.measure = on;
        if !on {
            self.events.clear();
        }
    }

    fn measured(&self) -> &[(Value, Duration)] {
        &self.times
    }
}
