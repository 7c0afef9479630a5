//! What GIMP's menus and its procedure browser say of the plug-in.

pub(crate) const NAME: &str = "plug-in-ssmoesr";
pub(super) const LABEL: &str = "Super-Reso_lution...";
pub(super) const MENU: &str = "<Image>/Filters/Enhance";
pub(super) const BLURB: &str = "Enlarge 4 or 8 times with a diffusion network";
pub(super) const HELP: &str = "Enlarges a layer, the selected part of it, or all that is visible 4 or 8 times, into a new \
    image, in place, or as a new layer. Precision, profile, alpha and masks are kept. The same seed gives the same \
    picture. Nothing leaves this computer.";
/// The name under which GIMP's help system knows our pages.
pub(super) const HELP_DOMAIN: &str = "ssmoesr";
pub(super) const AUTHOR: &str = "ssmoesr";
pub(super) const YEAR: &str = "2026";
