//! [`Gimp`] by libgimp.
#![allow(unsafe_code, reason = "calls of GIMP")]

use std::ffi::{CStr, OsStr, c_int};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use crate::exchange::{Exchange, Stored};
use crate::face::{Bands, Base, Gimp, Image, Item, Kind, NewLayer, Rect};
use crate::host::api::{Api, Glib, value};
use crate::host::gegl::Gegl;
use crate::host::library::{Generation, Library, Ptr, text};
use crate::trouble::Trouble;

/// What differs between the generations: how things are named, and files.
pub(super) trait Names {
    /// An image or item.
    type Handle: Copy + PartialEq;
    /// No image or item.
    const NONE: Self::Handle;

    fn image(&self, image: Image) -> Self::Handle;
    fn item(&self, item: Item) -> Self::Handle;
    fn image_number(&self, image: Self::Handle) -> Image;
    fn item_number(&self, item: Self::Handle) -> Item;
    fn exists(&self, item: Item) -> bool;
    /// True for layers of 3.2 that GIMP paints itself.
    fn is_painted(&self, item: Self::Handle) -> bool;
    fn file(&self, image: Self::Handle) -> Option<PathBuf>;
    fn set_file(&self, image: Self::Handle, file: &Path);
}

/// libgimp of either generation.
pub(super) struct Host<N: Names> {
    pub(super) names: N,
    pub(super) api: Api<N::Handle>,
    pub(super) glib: Glib,
    pub(super) gegl: Gegl,
    /// Keeps it on the thread that GIMP started.
    not_send: PhantomData<Ptr>,
}

impl<N: Names> Host<N> {
    pub(super) fn load(library: &Library, generation: Generation, names: N) -> Result<Self, Trouble> {
        Ok(Self {
            names,
            api: Api::load(library, generation)?,
            glib: Glib::load(library, generation)?,
            gegl: Gegl::load(library, generation)?,
            not_send: PhantomData,
        })
    }

    /// Makes GEGL ready; once, when a procedure runs.
    pub(super) fn begin(&self) {
        // SAFETY: no options are given; called on the thread of gimp_main.
        unsafe { (self.gegl.gegl_init)(null_mut(), null_mut()) }
    }

    /// A string of GIMP that is ours to free; empty where there is none.
    fn owned(&self, string: Ptr) -> String {
        if string.is_null() {
            return String::new();
        }
        // SAFETY: the callers below give C strings that libgimp allocated for them.
        unsafe {
            let copy = CStr::from_ptr(string.cast()).to_string_lossy().into_owned();
            (self.glib.g_free)(string);
            copy
        }
    }

    /// A buffer of a drawable and its format, as long as `work` runs.
    fn with_buffer(
        &self,
        item: Item,
        get: unsafe extern "C" fn(N::Handle) -> Ptr,
        work: impl FnOnce(Ptr, Ptr),
    ) -> Result<(), Trouble> {
        let handle = self.names.item(item);
        // SAFETY: GIMP answers null for a drawable that does not exist; a buffer is ours until the unref.
        unsafe {
            let format = (self.api.gimp_drawable_get_format)(handle);
            let buffer = get(handle);
            if buffer.is_null() || format.is_null() {
                return Err(refused("the pixels of a layer cannot be reached"));
            }
            work(buffer, format);
            (self.glib.g_object_unref)(buffer);
        }
        Ok(())
    }
}

fn refused(what: &str) -> Trouble {
    Trouble::Said(format!("GIMP refused: {what}. Is there enough memory and disk space for its tile cache?"))
}

/// Turns GIMP's answer to a call that may fail into a result.
fn must(answer: c_int, what: &str) -> Result<(), Trouble> {
    if answer != 0 { Ok(()) } else { Err(refused(what)) }
}

// SAFETY of all calls below: the functions have the types of the headers of 2.10.34, 3.0.4 and 3.2.6 and are called
// on the thread of gimp_main while a procedure runs; handles that name nothing are refused by libgimp with an answer
// of zero or null; out pointers point to live variables.
impl<N: Names> Gimp for Host<N> {
    fn version(&self) -> String {
        // SAFETY: see above.
        self.owned(unsafe { (self.api.gimp_version)() })
    }

    fn profile(&self) -> Option<PathBuf> {
        // SAFETY: see above; the string is libgimp's own and stays.
        unsafe {
            let path = (self.api.gimp_directory)();
            (!path.is_null()).then(|| PathBuf::from(OsStr::from_bytes(CStr::from_ptr(path).to_bytes())))
        }
    }

    fn size(&self, image: Image) -> (i32, i32) {
        let handle = self.names.image(image);
        // SAFETY: see above.
        unsafe { ((self.api.gimp_image_get_width)(handle), (self.api.gimp_image_get_height)(handle)) }
    }

    fn base(&self, image: Image) -> Base {
        // SAFETY: see above.
        match unsafe { (self.api.gimp_image_get_base_type)(self.names.image(image)) } {
            value::GRAY => Base::Gray,
            value::INDEXED => Base::Indexed,
            _ => Base::Rgb,
        }
    }

    fn file(&self, image: Image) -> Option<PathBuf> {
        self.names.file(self.names.image(image))
    }

    fn has_floating_selection(&self, image: Image) -> bool {
        // SAFETY: see above.
        unsafe { (self.api.gimp_image_get_floating_sel)(self.names.image(image)) != N::NONE }
    }

    fn selected(&self, image: Image) -> Option<Rect> {
        let (mut any, mut x1, mut y1, mut x2, mut y2) = (0, 0, 0, 0, 0);
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_selection_bounds)(
                self.names.image(image),
                &mut any,
                &mut x1,
                &mut y1,
                &mut x2,
                &mut y2,
            )
        };
        (any != 0 && x2 > x1 && y2 > y1).then_some(Rect { x: x1, y: y1, w: x2 - x1, h: y2 - y1 })
    }

    fn selection(&self, image: Image) -> Item {
        // SAFETY: see above.
        self.names.item_number(unsafe { (self.api.gimp_image_get_selection)(self.names.image(image)) })
    }

    fn kind(&self, item: Item) -> Kind {
        if !self.names.exists(item) {
            return Kind::Gone;
        }
        let handle = self.names.item(item);
        // SAFETY: see above.
        unsafe {
            if (self.api.gimp_item_is_layer_mask)(handle) != 0 {
                Kind::Mask
            } else if (self.api.gimp_item_is_channel)(handle) != 0 {
                Kind::Channel
            } else if (self.api.gimp_item_is_layer)(handle) == 0 {
                Kind::Gone
            } else if (self.api.gimp_item_is_group)(handle) != 0 {
                Kind::Group
            } else if (self.api.gimp_item_is_text_layer)(handle) != 0 || self.names.is_painted(handle) {
                Kind::Painted
            } else {
                Kind::Layer
            }
        }
    }

    fn name(&self, item: Item) -> String {
        // SAFETY: see above.
        self.owned(unsafe { (self.api.gimp_item_get_name)(self.names.item(item)) })
    }

    fn place(&self, item: Item) -> Rect {
        let handle = self.names.item(item);
        let (mut x, mut y) = (0, 0);
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_drawable_get_offsets)(handle, &mut x, &mut y);
            let (w, h) =
                ((self.api.gimp_drawable_get_width)(handle), (self.api.gimp_drawable_get_height)(handle));
            Rect { x, y, w, h }
        }
    }

    fn is_locked(&self, item: Item) -> bool {
        // SAFETY: see above.
        unsafe { (self.api.gimp_item_get_lock_content)(self.names.item(item)) != 0 }
    }

    fn mask(&self, layer: Item) -> Option<Item> {
        let handle = self.names.item(layer);
        // SAFETY: see above.
        let mask = unsafe {
            let mask = (self.api.gimp_layer_get_mask)(handle);
            if mask == N::NONE || (self.api.gimp_layer_get_apply_mask)(handle) == 0 {
                return None;
            }
            mask
        };
        Some(self.names.item_number(mask))
    }

    fn stored(&self, item: Item) -> Stored {
        // SAFETY: see above; the format is babl's and stays.
        unsafe {
            let format = (self.api.gimp_drawable_get_format)(self.names.item(item));
            if format.is_null() { Stored::new("", 3, false, false) } else { self.gegl.stored(format) }
        }
    }

    fn read(&self, item: Item, part: Rect, exchange: &Exchange, out: &mut [u8]) -> Result<(), Trouble> {
        self.with_buffer(item, self.api.gimp_drawable_get_buffer, |buffer, format| {
            // SAFETY: both come from GIMP and live during the call; gegl_init was called before the job.
            unsafe { self.gegl.read(buffer, format, part, exchange, out) }
        })
    }

    fn write(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble> {
        self.with_buffer(item, self.api.gimp_drawable_get_buffer, |buffer, format| {
            // SAFETY: as in `read`.
            unsafe { self.gegl.write(buffer, format, pixels) }
        })?;
        let part = pixels.part();
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_drawable_update)(self.names.item(item), part.x, part.y, part.w, part.h);
        }
        Ok(())
    }

    fn change(&self, item: Item, pixels: &dyn Bands) -> Result<(), Trouble> {
        self.with_buffer(item, self.api.gimp_drawable_get_shadow_buffer, |buffer, format| {
            // SAFETY: as in `read`.
            unsafe { self.gegl.write(buffer, format, pixels) }
        })?;
        let (handle, part) = (self.names.item(item), pixels.part());
        // SAFETY: see above; 1 asks for undo.
        unsafe {
            must((self.api.gimp_drawable_merge_shadow)(handle, 1), "the layer's pixels cannot be changed")?;
            (self.api.gimp_drawable_update)(handle, part.x, part.y, part.w, part.h);
        }
        Ok(())
    }

    fn visible(&self, image: Image) -> Result<Item, Trouble> {
        let handle = self.names.image(image);
        let name = text("visible");
        // SAFETY: see above.
        let layer = unsafe { (self.api.gimp_layer_new_from_visible)(handle, handle, name.as_ptr()) };
        if layer == N::NONE {
            return Err(refused("what is visible cannot be read"));
        }
        Ok(self.names.item_number(layer))
    }

    fn discard(&self, item: Item) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_item_delete)(self.names.item(item));
        }
    }

    fn new_image(&self, like: Image, w: i32, h: i32, gray: bool) -> Result<Image, Trouble> {
        let (api, like) = (&self.api, self.names.image(like));
        // SAFETY: see above; profile and metadata are ours until the unref, the parasite until it is freed.
        unsafe {
            let base = if gray { value::GRAY } else { value::RGB };
            let image = (api.gimp_image_new_with_precision)(w, h, base, (api.gimp_image_get_precision)(like));
            if image == N::NONE {
                return Err(refused("a new image cannot be made"));
            }
            (api.gimp_image_undo_disable)(image);
            let (mut x, mut y) = (0.0, 0.0);
            if (api.gimp_image_get_resolution)(like, &mut x, &mut y) != 0 {
                (api.gimp_image_set_resolution)(image, x, y);
            }
            // Before there are layers: they take the space of the profile.
            for (get, set) in [
                (api.gimp_image_get_color_profile, api.gimp_image_set_color_profile),
                (api.gimp_image_get_metadata, api.gimp_image_set_metadata),
            ] {
                let object = get(like);
                if !object.is_null() {
                    set(image, object);
                    (self.glib.g_object_unref)(object);
                }
            }
            let comment = (api.gimp_image_get_parasite)(like, c"gimp-comment".as_ptr());
            if !comment.is_null() {
                (api.gimp_image_attach_parasite)(image, comment);
                (api.gimp_parasite_free)(comment);
            }
            Ok(self.names.image_number(image))
        }
    }

    fn discard_image(&self, image: Image) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_image_delete)(self.names.image(image));
        }
    }

    fn copy_guides(&self, from: Image, to: Image, origin: (i32, i32), scale: i32) {
        let (api, from, to) = (&self.api, self.names.image(from), self.names.image(to));
        // SAFETY: see above; 0 is no guide.
        unsafe {
            let (w, h) = ((api.gimp_image_get_width)(to), (api.gimp_image_get_height)(to));
            let mut guide = (api.gimp_image_find_next_guide)(from, 0);
            while guide != 0 {
                let at = (api.gimp_image_get_guide_position)(from, guide);
                if (api.gimp_image_get_guide_orientation)(from, guide) == value::HORIZONTAL {
                    let y = (at - origin.1) * scale;
                    if (0..=h).contains(&y) {
                        (api.gimp_image_add_hguide)(to, y);
                    }
                } else {
                    let x = (at - origin.0) * scale;
                    if (0..=w).contains(&x) {
                        (api.gimp_image_add_vguide)(to, x);
                    }
                }
                guide = (api.gimp_image_find_next_guide)(from, guide);
            }
        }
    }

    fn set_file(&self, image: Image, file: &Path) {
        self.names.set_file(self.names.image(image), file);
    }

    fn finish_image(&self, image: Image) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_image_undo_enable)(self.names.image(image));
        }
    }

    fn new_layer(&self, image: Image, layer: &NewLayer<'_>) -> Result<Item, Trouble> {
        let kind = c_int::from(layer.gray) * 2 + c_int::from(layer.alpha);
        let name = text(layer.name);
        // SAFETY: see above.
        let made = unsafe {
            (self.api.gimp_layer_new)(
                self.names.image(image),
                name.as_ptr(),
                layer.w,
                layer.h,
                kind,
                100.0,
                value::MODE_NORMAL,
            )
        };
        if made == N::NONE {
            return Err(refused("a layer for the result cannot be made"));
        }
        Ok(self.names.item_number(made))
    }

    fn insert(&self, image: Image, layer: Item, above: Option<Item>) -> Result<(), Trouble> {
        let (image, layer) = (self.names.image(image), self.names.item(layer));
        // SAFETY: see above.
        unsafe {
            let (parent, position) = match above.map(|item| self.names.item(item)) {
                Some(above) => (
                    (self.api.gimp_item_get_parent)(above),
                    (self.api.gimp_image_get_item_position)(image, above).max(0),
                ),
                None => (N::NONE, 0),
            };
            must(
                (self.api.gimp_image_insert_layer)(image, layer, parent, position),
                "the new layer cannot be put into the image",
            )
        }
    }

    fn add_mask(&self, layer: Item) -> Result<Item, Trouble> {
        let layer = self.names.item(layer);
        // SAFETY: see above.
        unsafe {
            let mask = (self.api.gimp_layer_create_mask)(layer, value::MASK_WHITE);
            if mask == N::NONE {
                return Err(refused("a mask for the result cannot be made"));
            }
            must((self.api.gimp_layer_add_mask)(layer, mask), "the new layer takes no mask")?;
            // The next stroke, and the next run, shall be for the picture.
            (self.api.gimp_layer_set_edit_mask)(layer, 0);
            Ok(self.names.item_number(mask))
        }
    }

    fn move_to(&self, layer: Item, x: i32, y: i32) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_layer_set_offsets)(self.names.item(layer), x, y);
        }
    }

    fn scale(&self, image: Image, w: i32, h: i32) -> Result<(), Trouble> {
        // SAFETY: see above. The user's own interpolation comes back with the pop.
        unsafe {
            (self.api.gimp_context_push)();
            (self.api.gimp_context_set_interpolation)(value::CUBIC);
            let answer = (self.api.gimp_image_scale)(self.names.image(image), w, h);
            (self.api.gimp_context_pop)();
            must(answer, "the image cannot be scaled")
        }
    }

    fn begin_undo_group(&self, image: Image) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_image_undo_group_start)(self.names.image(image));
        }
    }

    fn end_undo_group(&self, image: Image) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_image_undo_group_end)(self.names.image(image));
        }
    }

    fn show(&self, image: Image) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_display_new)(self.names.image(image));
        }
    }

    fn flush(&self) {
        // SAFETY: see above.
        unsafe { (self.api.gimp_displays_flush)() }
    }

    fn progress_begin(&self, title: &str) {
        let title = text(title);
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_progress_init)(title.as_ptr());
        }
    }

    fn progress(&self, fraction: f64, said: &str) {
        let said = text(said);
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_progress_set_text)(said.as_ptr());
            (self.api.gimp_progress_update)(fraction);
        }
    }

    fn progress_end(&self) {
        // SAFETY: see above.
        unsafe {
            (self.api.gimp_progress_end)();
        }
    }

    fn turn(&self) {
        // SAFETY: see above; null is the main context, 0 does not wait.
        unsafe { while (self.glib.g_main_context_iteration)(null_mut(), 0) != 0 {} }
    }
}
