//! Where model folders may lie, beside the object that holds this code.

use std::path::{Path, PathBuf};

/// Folders that hold models, best first: beside the loaded object, the usual prefixes, the source tree.
pub(super) fn model_roots() -> Vec<PathBuf> {
    let mut roots = Vec::new();
    if let Some(folder) = object_folder() {
        // A plug-in with its model in one folder (GIMP), bin/ssmoesr, lib/libssmoesr.so,
        // lib/<triplet>/gstreamer-1.0/libgstssmoesr.so.
        roots.extend(folder.ancestors().take(6).map(|up| up.join("share/ssmoesr/models")));
    }
    roots.extend(["/usr/local/share/ssmoesr/models", "/usr/share/ssmoesr/models"].map(PathBuf::from));
    roots.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"));
    roots
}

/// The folder of the program or shared library that this function was linked into.
fn object_folder() -> Option<PathBuf> {
    let here = object_folder as fn() -> Option<PathBuf> as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let mut fields = line.splitn(6, char::is_whitespace);
        let (start, end) = fields.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        let path = Path::new(fields.last()?.trim());
        (range.contains(&here) && path.is_absolute()).then(|| path.parent().map(Path::to_path_buf))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_test_program_itself() {
        let exe = std::env::current_exe().unwrap();
        assert_eq!(object_folder().as_deref(), exe.parent());
    }
}
