//! The core's errors as messages on the bus.

use std::error::Error as _;
use std::io;

use gst::subclass::prelude::*;
use ssmoesr_core::{Error, ErrorKind};

/// `error` with `what` before it, in the domain that fits whose fault it is.
pub(super) fn message(what: &str, error: &Error) -> gst::ErrorMessage {
    use gst::{LibraryError, ResourceError, StreamError};
    let text = format!("{what}: {error}");
    match error.kind() {
        ErrorKind::Input => gst::error_msg!(StreamError::Format, ("{text}")),
        ErrorKind::Option => gst::error_msg!(LibraryError::Settings, ("{text}")),
        ErrorKind::Model | ErrorKind::Io if broken(error) => gst::error_msg!(ResourceError::Read, ("{text}")),
        ErrorKind::Model | ErrorKind::Io => gst::error_msg!(ResourceError::NotFound, ("{text}")),
        ErrorKind::Limit => gst::error_msg!(ResourceError::NoSpaceLeft, ("{text}")),
        ErrorKind::Internal => gst::error_msg!(LibraryError::Failed, ("{text}")),
        _ => gst::error_msg!(ResourceError::Failed, ("{text}")),
    }
}

/// Posts that `error` came up while a model was loaded, whose files were all there before.
pub(super) fn post_load(element: &super::Upscale, what: &str, error: &Error) {
    let message = match error.kind() {
        ErrorKind::Model | ErrorKind::Io => gst::error_msg!(gst::ResourceError::Read, ("{what}: {error}")),
        _ => message(what, error),
    };
    super::imp::Upscale::from_obj(element).post_error_message(message);
}

/// Posts [`message`].
pub(super) fn post(element: &super::Upscale, what: &str, error: &Error) {
    super::imp::Upscale::from_obj(element).post_error_message(message(what, error));
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
