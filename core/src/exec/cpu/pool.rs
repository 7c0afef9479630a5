//! Threads of one executor: a fixed number, none global, all gone when the pool is dropped.

#![allow(unsafe_code, reason = "a job outlives its borrow for the time of one call")]

use crate::threads::Worker;
use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What runs: number of the task, number of the thread.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Bits of the task number and of the number of tasks in the state word.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

/// Turns a waiting worker spins before it sleeps: a network hands out work every few hundred microseconds.
const WORKER_SPINS: u32 = 20_000;

/// Turns the caller spins for the last tasks before it gives its core away.
const CALLER_SPINS: u32 = 5_000;

struct Shared {
    /// Generation, number of tasks, next task; one word, so that taking a task and seeing its job are one step.
    state: AtomicU64,
    done: AtomicUsize,
    failed: AtomicBool,
    stop: AtomicBool,
    job: UnsafeCell<Option<*const Job<'static>>>,
    asleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by `Pool::run`, which holds `Pool::busy`, while no task of an earlier generation is
// left; workers read it only after they took a task of the current one.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` leads to a `Sync` closure.
unsafe impl Send for Shared {}

impl Shared {
    fn generation(&self) -> u64 {
        self.state.load(Ordering::Acquire) >> (2 * BITS)
    }

    /// Takes tasks of `generation` until none is left.
    fn work(&self, generation: u64, thread: usize) {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let (now, tasks, next) = (state >> (2 * BITS), state >> BITS & MASK, state & MASK);
            if now != generation || next >= tasks {
                return;
            }
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: this task is not done, so `run` has not returned and the job is alive.
                    let job = unsafe { (*self.job.get()).map(|job| &*job) };
                    if let Some(job) = job {
                        // A panic in a worker would leave the caller waiting for ever.
                        if catch_unwind(AssertUnwindSafe(|| job(next as usize, thread))).is_err() {
                            self.failed.store(true, Ordering::Relaxed);
                        }
                    }
                    self.done.fetch_add(1, Ordering::AcqRel);
                    state = self.state.load(Ordering::Acquire);
                }
                Err(other) => state = other,
            }
        }
    }

    fn sleep_until_new(&self, seen: u64) {
        for _ in 0..WORKER_SPINS {
            if self.generation() != seen {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        while self.generation() == seen {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A fixed number of threads that work through numbered tasks.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    busy: Mutex<()>,
}

/// A task panicked.
#[derive(Debug)]
pub(crate) struct TaskPanicked;

impl Pool {
    /// Threads of this name, for tools and tests.
    pub(crate) const THREAD_NAME: &CStr = c"ssmoesr-cpu";

    /// `threads` in all: the caller of [`Pool::run`] is one of them. Fewer where the system gives no more.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            asleep: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut workers = Vec::new();
        for thread in 1..threads.max(1) {
            let shared = Arc::clone(&shared);
            let body = move || {
                let mut seen = 0;
                loop {
                    shared.sleep_until_new(seen);
                    seen = shared.generation();
                    if shared.stop.load(Ordering::Acquire) {
                        return;
                    }
                    shared.work(seen, thread);
                }
            };
            match Worker::start(Self::THREAD_NAME, body) {
                Ok(worker) => workers.push(worker),
                Err(e) => {
                    log::warn!("{thread} threads of {threads}: {e}");
                    break;
                }
            }
        }
        Self { shared, workers, busy: Mutex::new(()) }
    }

    /// Number of threads that work.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(task, thread)` for every task below `tasks`, in any order on any thread; `thread` is below
    /// [`Pool::threads`] and at any time in use once.
    pub(crate) fn run(&self, tasks: usize, job: &Job<'_>) -> Result<(), TaskPanicked> {
        let _turn = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if self.workers.is_empty() || tasks <= 1 {
            let all = AssertUnwindSafe(|| (0..tasks).for_each(|task| job(task, 0)));
            return catch_unwind(all).map_err(|_| TaskPanicked);
        }
        let mut from = 0;
        while from < tasks {
            let some = (tasks - from).min(MASK as usize);
            if from == 0 {
                self.some(some, job)?;
            } else {
                self.some(some, &|task, thread| job(from + task, thread))?;
            }
            from += some;
        }
        Ok(())
    }

    fn some(&self, tasks: usize, job: &Job<'_>) -> Result<(), TaskPanicked> {
        let shared = &*self.shared;
        // SAFETY: only the lifetime is changed: this function returns when every task is done.
        let job = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: `busy` is held and all tasks of the generation before are done: nobody reads the job.
        unsafe { *shared.job.get() = Some(job) };
        shared.done.store(0, Ordering::Release);
        shared.failed.store(false, Ordering::Relaxed);
        // 24 bits of generations, 0 is the start.
        let generation = (shared.generation() % ((1 << (64 - 2 * BITS)) - 1)) + 1;
        {
            let _asleep = shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            shared.state.store(generation << (2 * BITS) | (tasks as u64) << BITS, Ordering::Release);
        }
        shared.wake.notify_all();
        shared.work(generation, 0);
        let mut spins = 0u32;
        // Tasks are waited for, not workers: one that the system has not woken costs nothing.
        while shared.done.load(Ordering::Acquire) != tasks {
            spins = spins.saturating_add(1);
            if spins < CALLER_SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        if shared.failed.load(Ordering::Relaxed) { Err(TaskPanicked) } else { Ok(()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        {
            let _asleep = self.shared.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            let next = (self.shared.generation() % ((1 << (64 - 2 * BITS)) - 1)) + 1;
            self.shared.state.store(next << (2 * BITS), Ordering::Release);
        }
        self.shared.wake.notify_all();
        // Waits for each.
        self.workers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 7, 1000] {
                let count: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..20 {
                    pool.run(tasks, &|task, thread| {
                        assert!(thread < threads);
                        count[task].fetch_add(1, Ordering::Relaxed);
                    })
                    .unwrap();
                }
                assert!(count.iter().all(|c| c.load(Ordering::Relaxed) == 20));
            }
        }
    }

    #[test]
    fn more_tasks_than_the_word_holds() {
        let (pool, sum) = (Pool::new(3), AtomicUsize::new(0));
        let tasks = (1 << BITS) + 17;
        pool.run(tasks, &|task, _| {
            sum.fetch_add(task, Ordering::Relaxed);
        })
        .unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), tasks * (tasks - 1) / 2);
    }

    #[test]
    fn a_panic_is_an_error_and_the_pool_goes_on() {
        let pool = Pool::new(2);
        assert!(pool.run(50, &|task, _| assert_ne!(task, 30)).is_err());
        assert!(pool.run(50, &|_, _| {}).is_ok());
    }

    #[test]
    fn two_callers_take_turns() {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for _ in 0..200 {
                        pool.run(10, &|_, _| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(sum.load(Ordering::Relaxed), 4000);
    }
}
