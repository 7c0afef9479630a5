//! Messages to the host's callback, and panics with them: nothing goes to standard error.

use crate::entry::{callback, entry, in_callback};
use crate::status::{Failure, OK, Status};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::{CString, c_char, c_void};
use std::sync::{Once, PoisonError, RwLock};

type LogFn = unsafe extern "C" fn(user: *mut c_void, level: i32, text: *const c_char);

/// Whom to tell.
struct Sink {
    tell: LogFn,
    user: *mut c_void,
}

#[allow(unsafe_code, reason = "a pointer of the host's")]
// SAFETY: the header says that the callback comes from any thread, also from several at a time.
unsafe impl Send for Sink {}
#[allow(unsafe_code, reason = "a pointer of the host's")]
// SAFETY: as above.
unsafe impl Sync for Sink {}

/// Read while the callback runs, so that `ssmoesr_set_log` returns only when the earlier one is done.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

struct ToHost;

impl Log for ToHost {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tell(record.level(), &record.args().to_string());
    }

    fn flush(&self) {}
}

/// Calls the host, unless this thread is in a callback of the host already.
#[allow(unsafe_code, reason = "calls the host")]
fn tell(level: Level, text: &str) {
    if in_callback() {
        return;
    }
    let text = text.replace('\0', "?").replace('\n', " ");
    let Ok(text) = CString::new(text) else { return };
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(Sink { tell, user }) = &*sink {
        // SAFETY: the host gave both together and keeps them until it sets others; the read lock holds that off.
        callback(|| unsafe { tell(*user, number(level), text.as_ptr()) });
    }
}

fn number(level: Level) -> i32 {
    match level {
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug | Level::Trace => 4,
    }
}

/// From the first call on panics are messages of the log. This object has a standard library of its own, so the hook of
/// a host in Rust is another one.
pub(crate) fn catch_panics() {
    static ONCE: Once = Once::new();
    if cfg!(test) {
        // There the hook is the test runner's.
        return;
    }
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            let what = panic.payload_as_str().unwrap_or("unknown");
            log::error!("internal error at {place}: {what}");
        }));
    });
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
extern "C" fn ssmoesr_set_log(tell: Option<LogFn>, user: *mut c_void, level: i32) -> Status {
    entry("ssmoesr_set_log", || {
        let filter = match (tell, level) {
            (None, _) => LevelFilter::Off,
            (_, 1) => LevelFilter::Error,
            (_, 2) => LevelFilter::Warn,
            (_, 3) => LevelFilter::Info,
            (_, 4) => LevelFilter::Debug,
            _ => return Err(Failure::argument(format!("level is {level}, possible: 1..4"))),
        };
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = tell.map(|tell| Sink { tell, user });
        // Fails from the second time on, where it is ours already.
        let _ = log::set_logger(&ToHost);
        log::set_max_level(filter);
        Ok(OK)
    })
}
