//! What can be said of options without opening weights: for hosts that load on another thread.

use super::inspect::locate;
use super::upscaler::{Upscaler, Wanted, check_files};
use crate::error::Result;
use crate::exec;
use crate::options::Options;

impl Upscaler {
    /// Finds the model and the device that `options` name, reads `model.json` and looks whether its files are there. Takes
    /// microseconds; starts no thread, opens no device and no weights. [`Upscaler::new`] may still fail after it.
    ///
    /// # Errors
    /// As [`Upscaler::new`], with the same texts, for what is found here.
    pub fn check(options: &Options) -> Result<()> {
        options.validate()?;
        let (folder, manifest) = locate(options.model.as_deref())?;
        exec::check_name(&Wanted::of(options)?.device)?;
        check_files(&folder, &manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn with(model: &Path, device: &str) -> Options {
        let mut options = Options::default();
        options.model = Some(model.to_str().unwrap().to_owned());
        options.device = device.to_owned();
        options
    }

    #[test]
    fn says_what_loading_would_say() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path();
        let listed = empty.join("listed");
        std::fs::create_dir(&listed).unwrap();
        let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/photo");
        std::fs::copy(photo.join("model.json"), listed.join("model.json")).unwrap();
        let broken = empty.join("broken");
        std::fs::create_dir(&broken).unwrap();
        std::fs::write(broken.join("model.json"), "{").unwrap();
        for options in
            [with(empty, "cpu"), with(&listed, "cpu"), with(&broken, "cpu"), with(&photo, "abacus")]
        {
            let Err(wanted) = Upscaler::new(&options) else { panic!("{options:?} loads") };
            let found = Upscaler::check(&options).unwrap_err();
            assert_eq!((found.kind(), found.to_string()), (wanted.kind(), wanted.to_string()));
        }
        for device in ["auto", "cpu"] {
            Upscaler::check(&with(&photo, device)).unwrap();
        }
    }
}
