//! Which model folder is meant, and whether its files are what its description says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::weights::manifest::{MANIFEST_FILE, Manifest};

/// The model taken where nobody names one.
pub const DEFAULT_MODEL: &str = "photo";

/// The folder of the model: `option` (a name or a folder), else `setting` (the same, from the environment),
/// else the default name; names are looked up in `roots` in their order.
///
/// # Errors
/// `Model`, listing where it was looked for.
pub fn find_model(option: Option<&str>, setting: Option<&str>, roots: &[PathBuf]) -> Result<PathBuf> {
    let asked = option.filter(|s| !s.is_empty()).or(setting.filter(|s| !s.is_empty()));
    let name = asked.unwrap_or(DEFAULT_MODEL);
    let is_name = !name.contains(['/', '\\']) && name != "." && name != "..";
    let mut tried = Vec::new();
    if is_name {
        tried.extend(roots.iter().map(|root| root.join(name)));
    }
    // A word can also be a folder of the working directory, but a model found by name goes first.
    if asked.is_some() {
        tried.push(PathBuf::from(name));
    }
    if let Some(found) = tried.iter().find(|folder| folder.join(MANIFEST_FILE).is_file()) {
        return Ok(found.clone());
    }
    let places: Vec<_> = tried.iter().map(|p| p.display().to_string()).collect();
    let places = if places.is_empty() { "nowhere".to_owned() } else { places.join(", ") };
    Err(Error::model(format!("no model {name:?}: no {MANIFEST_FILE} in {places}")))
}

/// SHA-256 of a file, lower-case hexadecimal.
///
/// # Errors
/// `Io` where it cannot be read.
pub fn file_hash(path: &Path) -> Result<String> {
    let cannot = |e| Error::io(format!("cannot read {}", path.display()), e);
    let mut file = File::open(path).map_err(cannot)?;
    let mut hasher = Sha256::new();
    // On the stack: descriptions are hashed wherever a model is opened, also where no memory is left.
    let mut buffer = [0; 1 << 13];
    loop {
        let n = file.read(&mut buffer).map_err(cannot)?;
        let Some(read) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
        hasher.update(read);
    }
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Compares every file of the folder with its SHA-256. Reads all weights: for checks, not for every start.
///
/// # Errors
/// `Io` where a file cannot be read, `Model` where one is another than described.
pub fn check_hashes(folder: &Path, manifest: &Manifest) -> Result<()> {
    for (name, wanted) in &manifest.common.files {
        let found = file_hash(&folder.join(name))?;
        if found != *wanted {
            return Err(Error::model(format!(
                "{} has SHA-256 {found}, wanted {wanted}: the file is damaged or of another version",
                folder.join(name).display()
            )));
        }
    }
    Ok(())
}
