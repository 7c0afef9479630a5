//! The core's errors as messages on the bus.

use std::error::Error as _;
use std::io;

use ssmoesr_core::{Error, ErrorKind};

/// Posts `error` with `what` before it, in the domain that fits whose fault it is.
pub(super) fn post(element: &super::Upscale, what: &str, error: &Error) {
    use gst::{LibraryError, ResourceError, StreamError};
    match error.kind() {
        ErrorKind::Input => gst::element_error!(element, StreamError::Format, ("{what}: {error}")),
        ErrorKind::Option => gst::element_error!(element, LibraryError::Settings, ("{what}: {error}")),
        ErrorKind::Model | ErrorKind::Io if broken(error) => {
            gst::element_error!(element, ResourceError::Read, ("{what}: {error}"));
        }
        ErrorKind::Model | ErrorKind::Io => {
            gst::element_error!(element, ResourceError::NotFound, ("{what}: {error}"));
        }
        ErrorKind::Limit => gst::element_error!(element, ResourceError::NoSpaceLeft, ("{what}: {error}")),
        ErrorKind::Internal => gst::element_error!(element, LibraryError::Failed, ("{what}: {error}")),
        _ => gst::element_error!(element, ResourceError::Failed, ("{what}: {error}")),
    }
}

/// True where a file is there but cannot be read or used.
fn broken(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(c) = cause {
        if let Some(e) = c.downcast_ref::<io::Error>() {
            return e.kind() != io::ErrorKind::NotFound;
        }
        cause = c.source();
    }
    error.source().is_some()
}
