//! Frames in flight: submitted in order, done in order by one worker, fetched in order.

use crate::entry::guarded;
use crate::status::{AGAIN, CANCELLED, EMPTY, Failure, Outcome, Status};
use ssmoesr_core::CancelToken;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Frames held at most, submitted and not fetched.
pub(crate) const FRAMES: usize = 16;

enum Stage<J> {
    Waiting(J),
    Running,
    /// Waits, while whoever works on the frame before looks at it.
    Seen(J),
    Done(Outcome<()>),
}

struct Frame<J> {
    tag: usize,
    stage: Stage<J>,
}

struct State<J> {
    frames: VecDeque<Frame<J>>,
    /// How many were fetched before the first of `frames`.
    fetched: u64,
    /// Calls of `flush` under way: nothing new is begun meanwhile.
    flushing: u32,
    /// The next frame is not a neighbour of the one before.
    cut: bool,
    closed: bool,
}

/// What `work` is told besides the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    /// Forget what was seen so far.
    pub(crate) cut: bool,
}

/// The frames of one stream; `J` is what the worker needs of each.
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    cancel: CancelToken,
}

fn cancelled() -> Failure {
    Failure { status: CANCELLED, text: "cancelled".to_owned() }
}

impl<J> Queue<J> {
    pub(crate) fn new() -> Self {
        let frames = VecDeque::with_capacity(FRAMES);
        let state = State { frames, fetched: 0, flushing: 0, cut: false, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), cancel: CancelToken::new() }
    }

    /// Every change under the lock is whole before anything can fail: poison says nothing.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State<J>>) -> MutexGuard<'a, State<J>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the frame that is being worked on.
    pub(crate) fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Adds a frame; false where there are [`FRAMES`] already.
    pub(crate) fn submit(&self, job: J, tag: usize) -> bool {
        let mut state = self.lock();
        let room = state.frames.len() < FRAMES;
        if room {
            state.frames.push_back(Frame { tag, stage: Stage::Waiting(job) });
            self.changed.notify_all();
        }
        room
    }

    /// Takes the first frame when it is done: its tag and how it went. `None` waits for ever.
    ///
    /// # Errors
    /// `EMPTY` and `AGAIN`, as the header has it.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Result<(usize, Outcome<()>), Status> {
        let end = limit.and_then(|l| Instant::now().checked_add(l));
        let mut state = self.lock();
        loop {
            match state.frames.pop_front() {
                None => return Err(EMPTY),
                Some(Frame { tag, stage: Stage::Done(outcome) }) => {
                    state.fetched += 1;
                    return Ok((tag, outcome));
                }
                Some(frame) => state.frames.push_front(frame),
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return Err(AGAIN),
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.sleep(state),
            };
        }
    }

    /// Cancels what is not done; returns when nothing is worked on.
    pub(crate) fn flush(&self) {
        let mut state = self.lock();
        state.flushing += 1;
        self.cancel.cancel();
        for frame in &mut state.frames {
            if matches!(frame.stage, Stage::Waiting(_)) {
                frame.stage = Stage::Done(Err(cancelled()));
            }
        }
        while state.frames.iter().any(|f| matches!(f.stage, Stage::Running | Stage::Seen(_))) {
            state = self.sleep(state);
        }
        state.cut = true;
        state.flushing -= 1;
        if state.flushing == 0 && !state.closed {
            self.cancel.reset();
        }
        self.changed.notify_all();
    }

    /// Ends `serve`, soon.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.cancel.cancel();
        self.changed.notify_all();
    }

    /// Does frame after frame until the queue is closed. `work` gets the frame that comes next too, where there is one already: to look at
    /// while it works, no longer.
    pub(crate) fn serve(&self, mut work: impl FnMut(J, Option<J>, Begin) -> Outcome<()>)
    where
        J: Copy,
    {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let waiting = |f: &Frame<J>| matches!(f.stage, Stage::Waiting(_));
            let next = state.frames.iter().position(waiting).filter(|_| state.flushing == 0);
            let Some(at) = next else {
                state = self.sleep(state);
                continue;
            };
            let number = state.fetched + at as u64;
            let begin = Begin { cut: std::mem::take(&mut state.cut) };
            let stage = std::mem::replace(&mut state.frames[at].stage, Stage::Running);
            let next = state.frames.get_mut(at + 1).and_then(|frame| match frame.stage {
                Stage::Waiting(job) => {
                    frame.stage = Stage::Seen(job);
                    Some(job)
                }
                _ => None,
            });
            drop(state);
            let outcome = match stage {
                Stage::Waiting(job) => guarded(|| work(job, next, begin)),
                Stage::Running | Stage::Seen(_) | Stage::Done(_) => Err(cancelled()),
            };
            state = self.lock();
            let stopped = state.flushing > 0;
            for frame in &mut state.frames {
                if let Stage::Seen(job) = frame.stage {
                    frame.stage = if stopped { Stage::Done(Err(cancelled())) } else { Stage::Waiting(job) };
                }
            }
            // Frames before it may have been fetched meanwhile; this one cannot have been.
            let at = usize::try_from(number - state.fetched).unwrap_or(usize::MAX);
            if let Some(frame) = state.frames.get_mut(at) {
                frame.stage = Stage::Done(outcome);
            }
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::INTERNAL;

    fn with_worker(
        work: impl FnMut(u32, Option<u32>, Begin) -> Outcome<()> + Send,
        test: impl FnOnce(&Queue<u32>),
    ) {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            scope.spawn(|| queue.serve(work));
            test(&queue);
            queue.close();
        });
    }

    /// Works until it is told to stop, as a slow picture does.
    fn until_cancelled(queue: &Queue<u32>) -> Outcome<()> {
        while !queue.token().is_cancelled() {
            std::thread::yield_now();
        }
        Err(cancelled())
    }

    #[test]
    fn frames_come_back_in_order_with_their_own_outcome() {
        with_worker(
            |job, _, _| if job == 2 { panic!("on purpose") } else { Ok(()) },
            |queue| {
                assert_eq!(queue.wait(None).unwrap_err(), EMPTY);
                for tag in 0..5 {
                    assert!(queue.submit(tag, tag as usize));
                }
                for tag in 0..5 {
                    let (got, outcome) = queue.wait(None).unwrap();
                    assert_eq!((got, outcome.is_ok()), (tag, tag != 2));
                    assert!(outcome.is_ok() || outcome.unwrap_err().status == INTERNAL);
                }
                assert_eq!(queue.wait(None).unwrap_err(), EMPTY);
            },
        );
    }

    #[test]
    fn a_full_queue_refuses_and_a_flush_gives_all_back() {
        let queue = Queue::new();
        let mut cuts = Vec::new();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                queue.serve(|job, _, begin| {
                    cuts.push(begin.cut);
                    if job == 99 { Ok(()) } else { until_cancelled(&queue) }
                });
            });
            for tag in 0..FRAMES {
                assert!(queue.submit(0, tag));
            }
            assert!(!queue.submit(0, 16));
            assert_eq!(queue.wait(Some(Duration::ZERO)).unwrap_err(), AGAIN);
            assert_eq!(queue.wait(Some(Duration::from_millis(5))).unwrap_err(), AGAIN);
            queue.flush();
            for tag in 0..FRAMES {
                let (got, outcome) = queue.wait(Some(Duration::ZERO)).unwrap();
                assert_eq!((got, outcome.unwrap_err().status), (tag, CANCELLED));
            }
            assert!(queue.submit(99, 7));
            assert!(queue.wait(None).unwrap().1.is_ok());
            // Closing while one is worked on and others wait.
            assert!(queue.submit(0, 1) && queue.submit(0, 2));
            queue.close();
            worker.join().unwrap();
        });
        assert!(cuts.contains(&true) && cuts.len() <= 3, "{cuts:?}");
    }

    #[test]
    fn the_next_frame_is_shown_and_given_back_first() {
        let queue = Queue::new();
        for tag in 0..3 {
            assert!(queue.submit(tag, tag as usize));
        }
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                queue.serve(|job, next, _| {
                    seen.push((job, next));
                    if job == 10 { until_cancelled(&queue) } else { Ok(()) }
                });
            });
            for tag in 0..3 {
                let (got, outcome) = queue.wait(None).unwrap();
                assert!(got == tag && outcome.is_ok());
            }
            // Who flushes gets the frame that is only looked at back as well, and not before that is over.
            assert!(queue.submit(10, 10) && queue.submit(11, 11));
            queue.flush();
            for tag in [10, 11] {
                let (got, outcome) = queue.wait(Some(Duration::ZERO)).unwrap();
                assert_eq!((got, outcome.unwrap_err().status), (tag, CANCELLED));
            }
            queue.close();
        });
        assert_eq!(seen[..3], [(0, Some(1)), (1, Some(2)), (2, None)]);
    }

    #[test]
    fn flushes_from_many_threads_end() {
        let queue = Queue::new();
        std::thread::scope(|scope| {
            scope.spawn(|| queue.serve(|_, _, _| until_cancelled(&queue)));
            std::thread::scope(|inner| {
                for _ in 0..4 {
                    inner.spawn(|| {
                        for _ in 0..50 {
                            queue.submit(0, 1);
                            queue.flush();
                            while queue.wait(Some(Duration::ZERO)).is_ok() {}
                        }
                    });
                }
            });
            queue.close();
        });
    }
}
