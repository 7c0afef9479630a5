//! Status numbers, which keep their meaning for ever.

use ssmoesr_core::{Error, ErrorKind};
use std::ffi::CStr;

/// `ssmoesr_status`.
pub(crate) type Status = i32;

pub(crate) const OK: Status = 0;
pub(crate) const AGAIN: Status = 1;
pub(crate) const EMPTY: Status = 2;
pub(crate) const ARGUMENT: Status = -1;
pub(crate) const INPUT: Status = -2;
pub(crate) const OPTION: Status = -3;
pub(crate) const MODEL: Status = -4;
pub(crate) const DEVICE: Status = -5;
pub(crate) const LIMIT: Status = -6;
pub(crate) const IO: Status = -7;
pub(crate) const CANCELLED: Status = -8;
pub(crate) const INTERNAL: Status = -9;

/// Why a call ends early: a status and one line.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

/// What the inside of an entry returns.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// The call itself is wrong.
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self { status: ARGUMENT, text: text.into() }
    }

    /// Puts the name of the argument before the text.
    pub(crate) fn of(self, argument: &str) -> Self {
        Self { text: format!("{argument}: {}", self.text), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Input => INPUT,
            ErrorKind::Option => OPTION,
            ErrorKind::Model => MODEL,
            ErrorKind::Device => DEVICE,
            ErrorKind::Limit => LIMIT,
            ErrorKind::Io => IO,
            ErrorKind::Cancelled => CANCELLED,
            // A kind that core has and this table lacks is a defect.
            _ => INTERNAL,
        };
        Self { status, text: error.to_string() }
    }
}

/// A few words for users.
pub(crate) fn words(status: Status) -> &'static CStr {
    match status {
        OK => c"success",
        AGAIN => c"not now",
        EMPTY => c"no frame",
        ARGUMENT => c"wrong call",
        INPUT => c"unusable picture",
        OPTION => c"impossible option",
        MODEL => c"unusable model",
        DEVICE => c"device failure",
        LIMIT => c"too large or out of memory",
        IO => c"input/output failure",
        CANCELLED => c"cancelled",
        INTERNAL => c"internal error",
        _ => c"unknown status",
    }
}
