//! What went wrong, in the words that GIMP shows.

use std::fmt;

use ssmoesr_core::{Error, ErrorKind};

/// Why a run did not end with a picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The user changed their mind: nothing is shown.
    Cancelled,
    /// One line: what, where, what to do.
    Said(String),
}

impl Trouble {
    pub(crate) fn said(text: impl Into<String>) -> Self {
        Self::Said(text.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Cancelled => Self::Cancelled,
            // The text of core lists where it looked.
            ErrorKind::Model => Self::Said(format!(
                "The model cannot be used: {error}. Install it with the plug-in, or name its folder under Advanced."
            )),
            ErrorKind::Internal => Self::Said(format!("Internal error, please report it: {error}")),
            _ => Self::Said(sentence(&error.to_string())),
        }
    }
}

/// Texts of core begin small, as they follow the name of a command there.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).chain(['.']).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_alone() {
        let limit = Error::new(ErrorKind::Limit, "9 bytes cannot be had");
        assert_eq!(Trouble::from(limit), Trouble::said("9 bytes cannot be had."));
        assert_eq!(Trouble::from(Error::new(ErrorKind::Cancelled, "x")), Trouble::Cancelled);
        let model = Trouble::from(Error::new(ErrorKind::Model, "no model \"x\"")).to_string();
        assert!(model.contains("no model \"x\"") && model.contains("Advanced"), "{model}");
    }
}
