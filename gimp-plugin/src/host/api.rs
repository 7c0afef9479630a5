//! The functions of libgimp that both generations have; `H` is how one of them names images and items: by number in
//! 2.10, by pointer in 3.x.
#![allow(unsafe_code, reason = "functions of GIMP")]

use std::ffi::c_int;

use crate::host::library::{Ptr, Str, functions};

type Get<H> = unsafe extern "C" fn(H) -> c_int;

functions! {
    /// libgimp.
    struct Api<H> {
        gimp_image_get_width: Get<H>,
        gimp_image_get_height: Get<H>,
        gimp_image_get_base_type: Get<H>,
        gimp_image_get_precision: Get<H>,
        gimp_image_get_floating_sel: unsafe extern "C" fn(H) -> H,
        gimp_image_get_selection: unsafe extern "C" fn(H) -> H,
        gimp_selection_bounds:
            unsafe extern "C" fn(H, *mut c_int, *mut c_int, *mut c_int, *mut c_int, *mut c_int) -> c_int,
        gimp_item_is_layer: Get<H>,
        gimp_item_is_group: Get<H>,
        gimp_item_is_channel: Get<H>,
        gimp_item_is_layer_mask: Get<H>,
        gimp_item_is_text_layer: Get<H>,
        gimp_item_get_name: unsafe extern "C" fn(H) -> Ptr,
        gimp_item_get_lock_content: Get<H>,
        gimp_item_get_parent: unsafe extern "C" fn(H) -> H,
        gimp_item_delete: Get<H>,
        gimp_image_get_item_position: unsafe extern "C" fn(H, H) -> c_int,
        gimp_layer_get_mask: unsafe extern "C" fn(H) -> H,
        gimp_layer_get_apply_mask: Get<H>,
        gimp_layer_create_mask: unsafe extern "C" fn(H, c_int) -> H,
        gimp_layer_set_edit_mask: unsafe extern "C" fn(H, c_int) -> c_int,
        gimp_layer_add_mask: unsafe extern "C" fn(H, H) -> c_int,
        gimp_layer_set_offsets: unsafe extern "C" fn(H, c_int, c_int) -> c_int,
        gimp_layer_new: unsafe extern "C" fn(H, Str, c_int, c_int, c_int, f64, c_int) -> H,
        gimp_layer_new_from_visible: unsafe extern "C" fn(H, H, Str) -> H,
        gimp_drawable_get_width: Get<H>,
        gimp_drawable_get_height: Get<H>,
        gimp_drawable_get_offsets: unsafe extern "C" fn(H, *mut c_int, *mut c_int) -> c_int,
        gimp_drawable_get_buffer: unsafe extern "C" fn(H) -> Ptr,
        gimp_drawable_get_shadow_buffer: unsafe extern "C" fn(H) -> Ptr,
        gimp_drawable_get_format: unsafe extern "C" fn(H) -> Ptr,
        gimp_drawable_merge_shadow: unsafe extern "C" fn(H, c_int) -> c_int,
        gimp_drawable_update: unsafe extern "C" fn(H, c_int, c_int, c_int, c_int) -> c_int,
        gimp_image_new_with_precision: unsafe extern "C" fn(c_int, c_int, c_int, c_int) -> H,
        gimp_image_delete: Get<H>,
        gimp_image_insert_layer: unsafe extern "C" fn(H, H, H, c_int) -> c_int,
        gimp_image_scale: unsafe extern "C" fn(H, c_int, c_int) -> c_int,
        gimp_image_undo_group_start: Get<H>,
        gimp_image_undo_group_end: Get<H>,
        gimp_image_undo_disable: Get<H>,
        gimp_image_undo_enable: Get<H>,
        gimp_image_get_color_profile: unsafe extern "C" fn(H) -> Ptr,
        gimp_image_set_color_profile: unsafe extern "C" fn(H, Ptr) -> c_int,
        gimp_image_get_resolution: unsafe extern "C" fn(H, *mut f64, *mut f64) -> c_int,
        gimp_image_set_resolution: unsafe extern "C" fn(H, f64, f64) -> c_int,
        gimp_image_get_metadata: unsafe extern "C" fn(H) -> Ptr,
        gimp_image_set_metadata: unsafe extern "C" fn(H, Ptr) -> c_int,
        gimp_image_get_parasite: unsafe extern "C" fn(H, Str) -> Ptr,
        gimp_image_attach_parasite: unsafe extern "C" fn(H, Ptr) -> c_int,
        gimp_parasite_free: unsafe extern "C" fn(Ptr),
        gimp_image_find_next_guide: unsafe extern "C" fn(H, u32) -> u32,
        gimp_image_get_guide_orientation: unsafe extern "C" fn(H, u32) -> c_int,
        gimp_image_get_guide_position: unsafe extern "C" fn(H, u32) -> c_int,
        gimp_image_add_hguide: unsafe extern "C" fn(H, c_int) -> u32,
        gimp_image_add_vguide: unsafe extern "C" fn(H, c_int) -> u32,
        gimp_context_push: unsafe extern "C" fn() -> c_int,
        gimp_context_pop: unsafe extern "C" fn() -> c_int,
        gimp_context_set_interpolation: unsafe extern "C" fn(c_int) -> c_int,
        gimp_display_new: unsafe extern "C" fn(H) -> H,
        gimp_displays_flush: unsafe extern "C" fn(),
        gimp_progress_init: unsafe extern "C" fn(Str) -> c_int,
        gimp_progress_set_text: unsafe extern "C" fn(Str) -> c_int,
        gimp_progress_update: unsafe extern "C" fn(f64) -> c_int,
        gimp_progress_end: unsafe extern "C" fn() -> c_int,
        gimp_directory: unsafe extern "C" fn() -> Str,
        gimp_version: unsafe extern "C" fn() -> Ptr,
    }
}

functions! {
    /// GLib and GObject.
    struct Glib {
        g_free: unsafe extern "C" fn(Ptr),
        g_strdup: unsafe extern "C" fn(Str) -> Ptr,
        g_object_unref: unsafe extern "C" fn(Ptr),
        g_main_context_iteration: unsafe extern "C" fn(Ptr, c_int) -> c_int,
    }
}

/// Numbers that libgimp gives names; the same in 2.10, 3.0 and 3.2.
pub(super) mod value {
    use std::ffi::c_int;

    pub(crate) const EXECUTION_ERROR: c_int = 0;
    pub(crate) const SUCCESS: c_int = 3;
    pub(crate) const CANCEL: c_int = 4;
    pub(crate) const RUN_INTERACTIVE: c_int = 0;
    pub(crate) const RUN_WITH_LAST_VALUES: c_int = 2;
    pub(crate) const PLUGIN: c_int = 1;
    pub(crate) const RGB: c_int = 0;
    pub(crate) const GRAY: c_int = 1;
    pub(crate) const INDEXED: c_int = 2;
    pub(crate) const MODE_NORMAL: c_int = 28;
    pub(crate) const MASK_WHITE: c_int = 0;
    pub(crate) const CUBIC: c_int = 2;
    pub(crate) const HORIZONTAL: c_int = 0;
}
