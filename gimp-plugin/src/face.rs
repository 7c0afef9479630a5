//! What the plug-in asks of GIMP, in safe words. The job is written against this; one version of it talks to libgimp,
//! another stands in for it in tests.

use std::path::{Path, PathBuf};

use crate::exchange::{Exchange, Stored};
use crate::trouble::Trouble;

/// An image of GIMP by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image(pub(crate) i32);

/// A layer, mask or channel of GIMP by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item(pub(crate) i32);

/// Pixels from (x, y) on, `w` x `h` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) w: i32,
    pub(crate) h: i32,
}

impl Rect {
    /// What both cover, if anything.
    pub(crate) fn common(self, other: Self) -> Option<Self> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let w = (self.x + self.w).min(other.x + other.w) - x;
        let h = (self.y + self.h).min(other.y + other.h) - y;
        (w > 0 && h > 0).then_some(Self { x, y, w, h })
    }

    /// The same pixels counted from another origin.
    pub(crate) fn from(self, (x, y): (i32, i32)) -> Self {
        Self { x: self.x - x, y: self.y - y, ..self }
    }

    pub(crate) fn times(self, scale: i32) -> Self {
        Self { x: self.x * scale, y: self.y * scale, w: self.w * scale, h: self.h * scale }
    }
}

/// How an image holds colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Rgb,
    Gray,
    Indexed,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Layer,
    Group,
    /// A layer that GIMP paints itself: text, in 3.2 also links and vectors.
    Painted,
    Mask,
    Channel,
    /// It does not exist (any more).
    Gone,
}

/// A layer to be made.
pub(crate) struct NewLayer<'a> {
    pub(crate) name: &'a str,
    pub(crate) w: i32,
    pub(crate) h: i32,
    pub(crate) gray: bool,
    pub(crate) alpha: bool,
}

/// GIMP as the job sees it. Calls come from the thread that GIMP started, never from a worker.
pub(crate) trait Gimp {
    /// GIMP's version, as `3.0.4`.
    fn version(&self) -> String;
    /// The folder of this user's profile.
    fn profile(&self) -> Option<PathBuf>;

    /// Width and height in pixels.
    fn size(&self, image: Image) -> (i32, i32);
    fn base(&self, image: Image) -> Base;
    /// The file the image came from, if it came from one.
    fn file(&self, image: Image) -> Option<PathBuf>;
    fn has_floating_selection(&self, image: Image) -> bool;
    /// Bounds of what is selected in image coordinates; `None` where nothing is.
    fn selected(&self, image: Image) -> Option<Rect>;
    /// The selection as gray samples, as large as the image.
    fn selection(&self, image: Image) -> Item;

    fn kind(&self, item: Item) -> Kind;
    fn name(&self, item: Item) -> String;
    /// Where the item lies in its image.
    fn place(&self, item: Item) -> Rect;
    /// True where the user forbade to change pixels.
    fn is_locked(&self, item: Item) -> bool;
    /// The mask of a layer, if it has one and it is in force.
    fn mask(&self, layer: Item) -> Option<Item>;
    fn stored(&self, item: Item) -> Stored;

    /// Fills `out` with the samples of `part` (item coordinates), rows without gaps.
    fn read(&self, item: Item, part: Rect, exchange: &Exchange, out: &mut [u8]) -> Result<(), Trouble>;
    /// Writes samples into the item, past selection and undo.
    fn write(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble>;
    /// Writes samples as a change by the user: through the selection, with undo.
    fn change(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble>;
    /// A copy of all that is to be seen, not part of the image.
    fn visible(&self, image: Image) -> Result<Item, Trouble>;
    /// Takes away an item that is not part of an image.
    fn discard(&self, item: Item);

    /// A new image with the precision, profile, resolution and metadata of `like`, gray or RGB, without undo for now.
    fn new_image(&self, like: Image, w: i32, h: i32, gray: bool) -> Result<Image, Trouble>;
    fn discard_image(&self, image: Image);
    /// Guides of `from`, seen from `origin` and `scale` times as far apart.
    fn copy_guides(&self, from: Image, to: Image, origin: (i32, i32), scale: i32);
    /// The name under which GIMP would save a new image.
    fn set_file(&self, image: Image, file: &Path);
    /// Ends the making of a new image: from now on it has undo.
    fn finish_image(&self, image: Image);
    /// A layer that belongs to `image` but is not in it yet.
    fn new_layer(&self, image: Image, layer: &NewLayer<'_>) -> Result<Item, Trouble>;
    /// Puts a layer into its image: just above `above`, or on top of all.
    fn insert(&self, image: Image, layer: Item, above: Option<Item>) -> Result<(), Trouble>;
    /// Gives a layer of an image a white mask.
    fn add_mask(&self, layer: Item) -> Result<Item, Trouble>;
    fn move_to(&self, layer: Item, x: i32, y: i32);
    /// Enlarges the image with all that is in it, by cubic interpolation.
    fn scale(&self, image: Image, w: i32, h: i32) -> Result<(), Trouble>;
    /// What happens until the group ends is one step of undo.
    fn begin_undo_group(&self, image: Image);
    fn end_undo_group(&self, image: Image);
    /// Opens a window on a new image.
    fn show(&self, image: Image);
    /// Has the windows repainted.
    fn flush(&self);

    fn progress_begin(&self, text: &str);
    /// `fraction` in `[0, 1]`.
    fn progress(&self, fraction: f64, text: &str);
    fn progress_end(&self);
    /// Lets GIMP's messages and windows of ours have their turn.
    fn turn(&self);
}

/// Samples that are made band by band while they are written.
pub(crate) trait Bands {
    /// Where the samples go, in coordinates of the item.
    fn part(&self) -> Rect;
    fn exchange(&self) -> &Exchange;
    /// Fills `out` with `rows` rows from row `from` of the part on, without gaps.
    fn fill(&self, from: usize, rows: usize, out: &mut [u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles() {
        let a = Rect { x: 2, y: 3, w: 10, h: 4 };
        assert_eq!(a.common(Rect { x: -5, y: 5, w: 9, h: 90 }), Some(Rect { x: 2, y: 5, w: 2, h: 2 }));
        assert_eq!(a.common(Rect { x: 12, y: 3, w: 1, h: 1 }), None);
        assert_eq!(a.from((1, 1)), Rect { x: 1, y: 2, w: 10, h: 4 });
        assert_eq!(a.times(4), Rect { x: 8, y: 12, w: 40, h: 16 });
    }
}
