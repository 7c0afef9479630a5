//! The one error of the library, sorted by who can do something about it.

use std::fmt::{self, Write};

/// Shorthand for results of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who is at fault, and so who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The picture or frame given cannot be used.
    Input,
    /// An option has a value outside its range, or options contradict each other.
    Option,
    /// The model folder or a file in it is missing, broken or of another kind.
    Model,
    /// The device cannot be used or failed.
    Device,
    /// The work needs more than a stated limit or the memory there is.
    Limit,
    /// Reading or writing failed in the operating system.
    Io,
    /// The caller asked to stop.
    Cancelled,
    /// A defect of this library.
    Internal,
}

/// What went wrong: one line that says what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    #[source]
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a text for users.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), cause: None }
    }

    /// Keeps `cause` as the source of this error.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, text)
    }
    pub(crate) fn option(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Option, text)
    }
    pub(crate) fn model(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Model, text)
    }
    pub(crate) fn device(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Device, text)
    }
    pub(crate) fn limit(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, text)
    }
    /// Memory that the system lacks is no fault of the file.
    pub(crate) fn io(text: impl Into<String>, cause: std::io::Error) -> Self {
        let short = cause.kind() == std::io::ErrorKind::OutOfMemory;
        Self::new(if short { ErrorKind::Limit } else { ErrorKind::Io }, text).because(cause)
    }
    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }
}

/// Longest text shown, in characters: names and values from files may be as long as the file.
const MAX_TEXT: usize = 2000;

/// One line, whatever stands in it: names from files must neither break the line nor steer a terminal.
struct OneLine<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.out.write_str("...")?,
                _ => self.out.write_char(if c.is_control() { '?' } else { c })?,
            }
            self.left -= 1;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine { out: f, left: MAX_TEXT };
        line.write_str(&self.text)?;
        // The cause belongs in the same line: hosts show one text.
        if let Some(cause) = &self.cause {
            write!(line, ": {cause}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_of_some_length() {
        let error = Error::model("a\nb").because(Error::input("c\u{1b}[2Jd"));
        assert_eq!(error.to_string(), "a?b: c?[2Jd");
        let long = Error::model("é".repeat(5000)).because(Error::input("x")).to_string();
        assert_eq!(long, format!("{}...", "é".repeat(MAX_TEXT - 1)));
    }

    #[test]
    fn memory_is_a_limit_and_no_fault_of_the_file() {
        let error = Error::io("cannot read", std::io::ErrorKind::OutOfMemory.into());
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(Error::io("cannot read", std::io::ErrorKind::NotFound.into()).kind(), ErrorKind::Io);
    }
}
