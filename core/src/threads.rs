//! Threads that the system may refuse. Those of the standard library end the process where it has not even the few bytes
//! of their bookkeeping, which a library must not do to its host.

#![allow(unsafe_code, reason = "starts and joins threads by the system's own calls")]

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::error::{Error, Result};

/// Bytes of a stack, as the standard library has it; the default of some systems is much smaller.
const STACK_BYTES: usize = 2 << 20;

type Body = Box<dyn FnOnce() + Send>;

/// A thread that is waited for when this is dropped.
#[derive(Debug)]
pub struct Worker(libc::pthread_t);

// SAFETY: a handle may be joined from any thread, and it is joined once.
unsafe impl Send for Worker {}
// SAFETY: a shared reference offers nothing.
unsafe impl Sync for Worker {}

impl Worker {
    /// Starts a thread that runs `body`. Tools show it as `name`, of which the system keeps 15 bytes. A panic ends the
    /// thread alone.
    ///
    /// # Errors
    /// `Limit` where the system gives no thread.
    pub fn start(name: &CStr, body: impl FnOnce() + Send + 'static) -> Result<Self> {
        // Boxed twice: the pointer that goes through C has one word.
        let body: Box<Body> = Box::new(Box::new(body));
        let argument = Box::into_raw(body);
        match create(argument) {
            Ok(thread) => {
                // A name that is too long is refused, which harms nobody.
                // SAFETY: the thread was not joined yet, the name ends with a zero.
                unsafe { libc::pthread_setname_np(thread, name.as_ptr()) };
                Ok(Self(thread))
            }
            Err(code) => {
                // SAFETY: no thread has it: it is ours again.
                drop(unsafe { Box::from_raw(argument) });
                let why = io::Error::from_raw_os_error(code);
                Err(Error::limit("the system gives no thread").because(why))
            }
        }
    }
}

fn create(argument: *mut Body) -> std::result::Result<libc::pthread_t, libc::c_int> {
    let mut attributes = MaybeUninit::uninit();
    let mut thread = MaybeUninit::uninit();
    // SAFETY: attributes are set up before they are used and destroyed once; `run` takes over the box that the argument
    // came from; the thread is written where the call says that it started.
    unsafe {
        let code = libc::pthread_attr_init(attributes.as_mut_ptr());
        if code != 0 {
            return Err(code);
        }
        // Fails for sizes that the system cannot give: then its own holds.
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
        let code = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, argument.cast());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if code == 0 { Ok(thread.assume_init()) } else { Err(code) }
    }
}

extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: from `Box::into_raw` in `start`, which gave it to this thread.
    let body = unsafe { Box::from_raw(argument.cast::<Body>()) };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        // Its own destructor may panic again.
        std::mem::forget(panic);
    }
    ptr::null_mut()
}

impl Drop for Worker {
    fn drop(&mut self) {
        // SAFETY: started by us and joined here alone. It fails only for the thread itself, which holds no handle of it.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    #[test]
    fn bodies_run_and_are_waited_for() {
        let sum = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..8)
            .map(|n| {
                let sum = Arc::clone(&sum);
                Worker::start(c"test", move || {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    sum.fetch_add(n, Ordering::Relaxed);
                })
            })
            .collect::<Result<_>>()
            .unwrap();
        drop(workers);
        assert_eq!(sum.load(Ordering::Relaxed), 28);
        // What the body owned is gone.
        assert_eq!(Arc::strong_count(&sum), 1);
    }

    #[test]
    fn a_panic_ends_the_thread_alone() {
        let (send, receive) = mpsc::channel();
        drop(Worker::start(c"a name that is too long", move || {
            send.send(1).unwrap();
            panic!("on purpose");
        }));
        assert_eq!(receive.iter().collect::<Vec<_>>(), [1]);
    }
}
