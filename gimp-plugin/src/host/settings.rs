//! The last values of the dialog: 2.10 forgets them with the session, 3.x those of a run that was cancelled.

use std::path::Path;

use crate::request::Request;

/// Beside GIMP's own settings, in the profile.
pub(crate) const FILE: &str = "ssmoesr-settings";

/// The last values, if there are any.
pub(super) fn read(file: Option<&Path>) -> Option<Request> {
    let text = std::fs::read_to_string(file?).ok()?;
    Some(Request::from_lines(&text))
}

/// Keeps the values. Where that cannot be, the defaults come next time: no reason to stop.
pub(super) fn write(file: Option<&Path>, request: &Request) {
    if let Some(file) = file {
        let _ = std::fs::write(file, request.to_lines());
    }
}

/// From now on there are none.
pub(super) fn forget(file: Option<&Path>) {
    if let Some(file) = file {
        // It may never have been written.
        let _ = std::fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_until_they_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(read(Some(&file)), None);
        let mut request = Request::default();
        request.set("scale", "8").unwrap();
        write(Some(&file), &request);
        assert_eq!(read(Some(&file)), Some(request));
        forget(Some(&file));
        forget(Some(&file));
        assert_eq!(read(Some(&file)), None);
        assert_eq!(read(None), None);
    }
}
