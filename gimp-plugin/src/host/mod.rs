//! libgimp, found at run time: no header of GIMP is needed to build, and one file serves both generations.

mod about;
mod api;
mod gegl;
mod libgimp;
mod library;
mod settings;
mod v2;
mod v3;

pub(crate) use about::NAME;
pub(crate) use library::{Argument, Generation, Library, Ptr, Str, arguments, functions, name_in, text};
pub(crate) use settings::FILE as SETTINGS;

use std::path::PathBuf;

use crate::trouble::Trouble;

/// The folder with the pages for GIMP's help, which `--install` puts beside this program.
pub(crate) fn help_pages() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.with_file_name(crate::install::HELP);
    folder.is_dir().then_some(folder)
}

/// Serves the GIMP that started this program; returns the exit code.
///
/// # Errors
/// One line where GIMP's libraries are not those it was started with.
pub(crate) fn serve(arguments: &[Argument]) -> Result<i32, Trouble> {
    // 2.10: PROGRAM -gimp READ WRITE MODE STACK; 3.x puts its protocol's number before READ. Which libraries are
    // installed says nothing: both may be.
    match arguments.len() {
        6 => v2::serve(arguments),
        7 => v3::serve(arguments),
        n => Err(Trouble::Said(format!("GIMP 2.10 and 3.x are supported; this one started with {n} words."))),
    }
}

/// What is said where this program has a defect.
fn panicked() -> Trouble {
    Trouble::said(
        "Internal error: a defect of this plug-in stopped the run. The image is as it was; please report it.",
    )
}
