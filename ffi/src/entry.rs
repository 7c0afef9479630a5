//! What every call from C passes through.

use crate::last_error;
use crate::log;
use crate::status::{CANCELLED, Failure, INTERNAL, OK, Outcome, Status};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`: nothing unwinds out of it, and the last error says what the status says.
pub(crate) fn entry(function: &str, f: impl FnOnce() -> Outcome<Status>) -> Status {
    log::catch_panics();
    if in_callback() {
        last_error::set(&format!("{function} was called from a callback"));
        return crate::status::ARGUMENT;
    }
    let (status, text) = match guarded(f) {
        Ok(status) => (status, String::new()),
        Err(failure) => (failure.status, failure.text),
    };
    if status < OK && status != CANCELLED {
        ::log::debug!("{function}: {text}");
    }
    last_error::set(&text);
    status
}

/// Runs `f` and makes a failure of a panic.
pub(crate) fn guarded<T>(f: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        // The payload's own destructor may panic again.
        std::mem::forget(panic);
        Err(Failure { status: INTERNAL, text: format!("internal error: {text}") })
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "unknown".to_owned(),
    }
}

/// True while this thread is in a callback of the host.
pub(crate) fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// Calls the host; calls that come back meanwhile are refused.
pub(crate) fn callback<T>(f: impl FnOnce() -> T) -> T {
    let before = IN_CALLBACK.replace(true);
    let result = f();
    IN_CALLBACK.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ARGUMENT;

    #[test]
    fn a_panic_becomes_a_status() {
        assert_eq!(entry("f", || -> Outcome<Status> { panic!("on purpose {}", 1) }), INTERNAL);
        assert_eq!(entry("f", || std::panic::panic_any(7)), INTERNAL);
        assert_eq!(entry("f", || Ok(3)), 3);
    }

    #[test]
    fn calls_from_callbacks_are_refused() {
        assert_eq!(callback(|| entry("f", || Ok(OK))), ARGUMENT);
        assert_eq!(entry("f", || Ok(OK)), OK);
    }
}
