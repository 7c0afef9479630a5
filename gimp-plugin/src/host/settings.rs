//! The last values of the dialog in GIMP 2.10, which forgets them with the session. 3.x keeps them itself.

use std::path::Path;

use crate::request::Request;

/// Beside GIMP's own settings, in the profile.
pub(crate) const FILE: &str = "ssmoesr-settings";

/// The last values, or the defaults.
pub(super) fn read(file: Option<&Path>) -> Request {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    Request::from_lines(&text)
}

/// Keeps the values. Where that cannot be, the defaults come next time: no reason to stop.
pub(super) fn write(file: Option<&Path>, request: &Request) {
    if let Some(file) = file {
        let _ = std::fs::write(file, request.to_lines());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_and_a_missing_file_means_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(read(Some(&file)), Request::default());
        let mut request = Request::default();
        request.set("scale", "8").unwrap();
        write(Some(&file), &request);
        assert_eq!(read(Some(&file)), request);
        assert_eq!(read(None), Request::default());
    }
}
