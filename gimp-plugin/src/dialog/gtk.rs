//! The widgets that GTK 2 and GTK 3 have in common. They are reached through GIMP's own library of widgets, so that the
//! two versions never meet in one process.
#![allow(unsafe_code, reason = "calls of GTK")]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::ptr::null_mut;

use crate::dialog::advice::Preview;
use crate::host::{Generation, Library, Ptr, Str, functions, text};

/// `GSourceFunc`.
type Tick = unsafe extern "C" fn(Ptr) -> c_int;
/// The handler of a button.
type Clicked = unsafe extern "C" fn(Ptr, Ptr);

functions! {
    /// GTK, GDK-Pixbuf and GLib's timers.
    struct Gtk {
        gtk_vbox_new: unsafe extern "C" fn(c_int, c_int) -> Ptr,
        gtk_hbox_new: unsafe extern "C" fn(c_int, c_int) -> Ptr,
        gtk_box_pack_start: unsafe extern "C" fn(Ptr, Ptr, c_int, c_int, u32),
        gtk_box_reorder_child: unsafe extern "C" fn(Ptr, Ptr, c_int),
        gtk_container_add: unsafe extern "C" fn(Ptr, Ptr),
        gtk_container_set_border_width: unsafe extern "C" fn(Ptr, u32),
        gtk_table_new: unsafe extern "C" fn(u32, u32, c_int) -> Ptr,
        gtk_table_attach:
            unsafe extern "C" fn(Ptr, Ptr, u32, u32, u32, u32, c_int, c_int, u32, u32),
        gtk_table_set_col_spacings: unsafe extern "C" fn(Ptr, u32),
        gtk_table_set_row_spacings: unsafe extern "C" fn(Ptr, u32),
        gtk_size_group_new: unsafe extern "C" fn(c_int) -> Ptr,
        gtk_size_group_add_widget: unsafe extern "C" fn(Ptr, Ptr),
        gtk_label_new: unsafe extern "C" fn(Str) -> Ptr,
        gtk_label_new_with_mnemonic: unsafe extern "C" fn(Str) -> Ptr,
        gtk_label_set_mnemonic_widget: unsafe extern "C" fn(Ptr, Ptr),
        gtk_label_set_markup: unsafe extern "C" fn(Ptr, Str),
        gtk_label_set_line_wrap: unsafe extern "C" fn(Ptr, c_int),
        gtk_misc_set_alignment: unsafe extern "C" fn(Ptr, f32, f32),
        gtk_combo_box_text_new: unsafe extern "C" fn() -> Ptr,
        gtk_combo_box_text_append_text: unsafe extern "C" fn(Ptr, Str),
        gtk_combo_box_set_active: unsafe extern "C" fn(Ptr, c_int),
        gtk_combo_box_get_active: unsafe extern "C" fn(Ptr) -> c_int,
        gtk_spin_button_new_with_range: unsafe extern "C" fn(f64, f64, f64) -> Ptr,
        gtk_spin_button_set_value: unsafe extern "C" fn(Ptr, f64),
        gtk_spin_button_get_value: unsafe extern "C" fn(Ptr) -> f64,
        gtk_entry_new: unsafe extern "C" fn() -> Ptr,
        gtk_entry_set_text: unsafe extern "C" fn(Ptr, Str),
        gtk_entry_get_text: unsafe extern "C" fn(Ptr) -> Str,
        gtk_expander_new_with_mnemonic: unsafe extern "C" fn(Str) -> Ptr,
        gtk_image_new: unsafe extern "C" fn() -> Ptr,
        gtk_image_set_from_pixbuf: unsafe extern "C" fn(Ptr, Ptr),
        gdk_pixbuf_new: unsafe extern "C" fn(c_int, c_int, c_int, c_int, c_int) -> Ptr,
        gdk_pixbuf_get_pixels: unsafe extern "C" fn(Ptr) -> *mut u8,
        gdk_pixbuf_get_rowstride: unsafe extern "C" fn(Ptr) -> c_int,
        gtk_widget_set_size_request: unsafe extern "C" fn(Ptr, c_int, c_int),
        gtk_widget_set_tooltip_text: unsafe extern "C" fn(Ptr, Str),
        gtk_widget_show_all: unsafe extern "C" fn(Ptr),
        gtk_widget_destroy: unsafe extern "C" fn(Ptr),
        gtk_dialog_get_content_area: unsafe extern "C" fn(Ptr) -> Ptr,
        gtk_dialog_set_response_sensitive: unsafe extern "C" fn(Ptr, c_int, c_int),
        gtk_button_new_with_mnemonic: unsafe extern "C" fn(Str) -> Ptr,
        g_signal_connect_data: unsafe extern "C" fn(Ptr, Str, Clicked, Ptr, Ptr, c_int) -> c_ulong,
        gdk_atom_intern: unsafe extern "C" fn(Str, c_int) -> Ptr,
        gtk_clipboard_get: unsafe extern "C" fn(Ptr) -> Ptr,
        gtk_clipboard_set_text: unsafe extern "C" fn(Ptr, Str, c_int),
        gtk_clipboard_set_can_store: unsafe extern "C" fn(Ptr, Ptr, c_int),
        gtk_clipboard_store: unsafe extern "C" fn(Ptr),
        g_object_unref: unsafe extern "C" fn(Ptr),
        g_markup_escape_text: unsafe extern "C" fn(Str, isize) -> Ptr,
        g_free: unsafe extern "C" fn(Ptr),
        g_timeout_add: unsafe extern "C" fn(u32, Tick, Ptr) -> u32,
        g_source_remove: unsafe extern "C" fn(u32) -> c_int,
    }
}

/// `GTK_RESPONSE_OK`.
pub(super) const OK: c_int = -5;
/// `GTK_RESPONSE_CANCEL`.
pub(super) const CANCEL: c_int = -6;

/// `GTK_EXPAND | GTK_FILL` and `GTK_FILL`.
const GROW: c_int = 1 | 4;
const FILL: c_int = 4;
/// `GTK_SIZE_GROUP_HORIZONTAL`.
const HORIZONTAL: c_int = 1;

// SAFETY of all calls below: the functions have the types of GTK 2.24 and 3.24 and are called on the thread that
// runs the dialog; widgets live until their dialog is destroyed, which comes last.
impl Gtk {
    /// Looks all of them up in GIMP's library of widgets.
    ///
    /// # Errors
    /// Where one is missing.
    pub(super) fn of(library: &Library) -> Result<Self, crate::trouble::Trouble> {
        // None was renamed.
        Self::load(library, Generation::Three)
    }

    pub(super) fn vbox(&self, spacing: c_int) -> Ptr {
        // SAFETY: see above.
        unsafe { (self.gtk_vbox_new)(0, spacing) }
    }

    pub(super) fn hbox(&self, spacing: c_int) -> Ptr {
        // SAFETY: see above.
        unsafe { (self.gtk_hbox_new)(0, spacing) }
    }

    pub(super) fn pack(&self, into: Ptr, widget: Ptr) {
        // SAFETY: see above.
        unsafe { (self.gtk_box_pack_start)(into, widget, 0, 0, 0) }
    }

    pub(super) fn reorder(&self, inside: Ptr, widget: Ptr, position: c_int) {
        // SAFETY: see above.
        unsafe { (self.gtk_box_reorder_child)(inside, widget, position) }
    }

    pub(super) fn table(&self) -> Ptr {
        // SAFETY: see above. The table grows with its rows.
        unsafe {
            let table = (self.gtk_table_new)(1, 2, 0);
            (self.gtk_table_set_col_spacings)(table, 6);
            (self.gtk_table_set_row_spacings)(table, 6);
            table
        }
    }

    /// A row of a table: a name with its letter for the keyboard, a widget, and what it is for. The name's label.
    pub(super) fn row(&self, table: Ptr, row: u32, name: &str, widget: Ptr, help: &str) -> Ptr {
        let (name, help) = (text(name), text(help));
        // SAFETY: see above; strings are copied.
        unsafe {
            let label = (self.gtk_label_new_with_mnemonic)(name.as_ptr());
            (self.gtk_misc_set_alignment)(label, 0.0, 0.5);
            (self.gtk_label_set_mnemonic_widget)(label, widget);
            (self.gtk_widget_set_tooltip_text)(widget, help.as_ptr());
            (self.gtk_table_attach)(table, label, 0, 1, row, row + 1, FILL, FILL, 0, 0);
            (self.gtk_table_attach)(table, widget, 1, 2, row, row + 1, GROW, FILL, 0, 0);
            label
        }
    }

    /// Makes two widgets as wide as the wider one.
    pub(super) fn same_width(&self, one: Ptr, other: Ptr) {
        // SAFETY: see above; the widgets keep the group.
        unsafe {
            let group = (self.gtk_size_group_new)(HORIZONTAL);
            (self.gtk_size_group_add_widget)(group, one);
            (self.gtk_size_group_add_widget)(group, other);
            (self.g_object_unref)(group);
        }
    }

    pub(super) fn combo<'a>(&self, labels: impl Iterator<Item = &'a str>, active: usize) -> Ptr {
        // SAFETY: see above; strings are copied.
        unsafe {
            let combo = (self.gtk_combo_box_text_new)();
            for label in labels {
                (self.gtk_combo_box_text_append_text)(combo, text(label).as_ptr());
            }
            (self.gtk_combo_box_set_active)(combo, active as c_int);
            combo
        }
    }

    pub(super) fn active(&self, combo: Ptr) -> usize {
        // SAFETY: see above.
        usize::try_from(unsafe { (self.gtk_combo_box_get_active)(combo) }).unwrap_or(0)
    }

    pub(super) fn set_active(&self, combo: Ptr, active: usize) {
        // SAFETY: see above.
        unsafe { (self.gtk_combo_box_set_active)(combo, active as c_int) }
    }

    pub(super) fn spin(&self, (min, max, step): (f64, f64, f64), value: f64) -> Ptr {
        // SAFETY: see above.
        unsafe {
            let spin = (self.gtk_spin_button_new_with_range)(min, max, step);
            (self.gtk_spin_button_set_value)(spin, value);
            spin
        }
    }

    pub(super) fn number(&self, spin: Ptr) -> f64 {
        // SAFETY: see above.
        unsafe { (self.gtk_spin_button_get_value)(spin) }
    }

    pub(super) fn set_number(&self, spin: Ptr, value: f64) {
        // SAFETY: see above.
        unsafe { (self.gtk_spin_button_set_value)(spin, value) }
    }

    pub(super) fn entry(&self, value: &str) -> Ptr {
        let value = text(value);
        // SAFETY: see above; the string is copied.
        unsafe {
            let entry = (self.gtk_entry_new)();
            (self.gtk_entry_set_text)(entry, value.as_ptr());
            entry
        }
    }

    pub(super) fn entered(&self, entry: Ptr) -> String {
        // SAFETY: see above; the string stays until the entry changes.
        unsafe { CStr::from_ptr((self.gtk_entry_get_text)(entry)).to_string_lossy().into_owned() }
    }

    pub(super) fn expander(&self, name: &str, inside: Ptr) -> Ptr {
        let name = text(name);
        // SAFETY: see above; the string is copied.
        unsafe {
            let expander = (self.gtk_expander_new_with_mnemonic)(name.as_ptr());
            (self.gtk_container_add)(expander, inside);
            expander
        }
    }

    /// A button, and whether it was clicked since that was last asked for.
    pub(super) fn button(&self, name: &str, help: &str) -> (Ptr, &'static Cell<bool>) {
        unsafe extern "C" fn clicked(_: Ptr, data: Ptr) {
            // SAFETY: `data` is the cell below, which is never freed; GTK calls on the thread that made it.
            unsafe { &*data.cast::<Cell<bool>>() }.set(true);
        }
        let (name, help) = (text(name), text(help));
        // One byte for the rest of this process, which ends after one run.
        let cell: &'static Cell<bool> = Box::leak(Box::new(Cell::new(false)));
        // SAFETY: see above; strings are copied.
        unsafe {
            let button = (self.gtk_button_new_with_mnemonic)(name.as_ptr());
            (self.gtk_widget_set_tooltip_text)(button, help.as_ptr());
            let data = std::ptr::from_ref(cell).cast_mut().cast();
            (self.g_signal_connect_data)(button, c"clicked".as_ptr(), clicked, data, null_mut(), 0);
            (button, cell)
        }
    }

    /// Puts a text into the clipboard; a clipboard manager, where there is one, keeps it when this process has ended.
    pub(super) fn copy(&self, said: &str) {
        let said = text(said);
        // SAFETY: see above; the string is copied, the clipboard is GTK's own.
        unsafe {
            let clipboard = (self.gtk_clipboard_get)((self.gdk_atom_intern)(c"CLIPBOARD".as_ptr(), 0));
            (self.gtk_clipboard_set_text)(clipboard, said.as_ptr(), -1);
            (self.gtk_clipboard_set_can_store)(clipboard, null_mut(), 0);
            (self.gtk_clipboard_store)(clipboard);
        }
    }

    /// A text that may run over several lines.
    pub(super) fn label(&self) -> Ptr {
        // SAFETY: see above.
        unsafe {
            let label = (self.gtk_label_new)(c"".as_ptr());
            (self.gtk_misc_set_alignment)(label, 0.0, 0.5);
            (self.gtk_label_set_line_wrap)(label, 1);
            (self.gtk_widget_set_size_request)(label, 2 * SIDE, -1);
            label
        }
    }

    /// Changes a text; `loud` makes it bold.
    pub(super) fn say(&self, label: Ptr, said: &str, loud: bool) {
        let said = text(said);
        // SAFETY: see above; the escaped string is ours until it is freed.
        unsafe {
            let escaped = (self.g_markup_escape_text)(said.as_ptr(), -1);
            let inner = CStr::from_ptr(escaped.cast::<c_char>()).to_string_lossy().into_owned();
            (self.g_free)(escaped);
            let markup = text(&if loud { format!("<b>{inner}</b>") } else { inner });
            (self.gtk_label_set_markup)(label, markup.as_ptr());
        }
    }

    /// A picture with a word below it.
    pub(super) fn picture(&self, into: Ptr, word: &str) -> Ptr {
        let word = text(word);
        // SAFETY: see above; the string is copied.
        unsafe {
            let (column, image) = (self.vbox(3), (self.gtk_image_new)());
            (self.gtk_widget_set_size_request)(image, SIDE, SIDE);
            self.pack(column, image);
            self.pack(column, (self.gtk_label_new)(word.as_ptr()));
            self.pack(into, column);
            image
        }
    }

    /// Shows R, G, B pixels in a picture.
    pub(super) fn show_pixels(&self, image: Ptr, preview: &Preview, rgb: &[u8]) {
        let (w, h) = (preview.width, preview.height);
        // SAFETY: see above; rows of the pixbuf are `rowstride` bytes apart and at least 3 w long.
        unsafe {
            let pixbuf = (self.gdk_pixbuf_new)(0, 0, 8, w as c_int, h as c_int);
            if pixbuf.is_null() {
                return;
            }
            let pixels = (self.gdk_pixbuf_get_pixels)(pixbuf);
            let stride = (self.gdk_pixbuf_get_rowstride)(pixbuf) as usize;
            for (y, row) in rgb.chunks_exact(3 * w).take(h).enumerate() {
                std::ptr::copy_nonoverlapping(row.as_ptr(), pixels.add(y * stride), row.len());
            }
            (self.gtk_image_set_from_pixbuf)(image, pixbuf);
            (self.g_object_unref)(pixbuf);
        }
    }

    pub(super) fn content(&self, dialog: Ptr) -> Ptr {
        // SAFETY: see above.
        unsafe { (self.gtk_dialog_get_content_area)(dialog) }
    }

    pub(super) fn border(&self, container: Ptr, width: u32) {
        // SAFETY: see above.
        unsafe { (self.gtk_container_set_border_width)(container, width) }
    }

    pub(super) fn allow_ok(&self, dialog: Ptr, allowed: bool) {
        // SAFETY: see above.
        unsafe { (self.gtk_dialog_set_response_sensitive)(dialog, OK, c_int::from(allowed)) }
    }

    pub(super) fn show(&self, widget: Ptr) {
        // SAFETY: see above.
        unsafe { (self.gtk_widget_show_all)(widget) }
    }

    pub(super) fn destroy(&self, dialog: Ptr) {
        // SAFETY: see above; nothing of the dialog is used later.
        unsafe { (self.gtk_widget_destroy)(dialog) }
    }

    /// Runs `dialog` with `tick` called about seven times a second, as long as it runs.
    pub(super) fn while_ticking<T>(&self, tick: &mut dyn FnMut(), dialog: impl FnOnce() -> T) -> T {
        unsafe extern "C" fn call(data: Ptr) -> c_int {
            // SAFETY: `data` is the closure below, which lives until the source is removed, on this thread.
            let tick = unsafe { &mut *data.cast::<&mut dyn FnMut()>() };
            // A panic may not reach GLib; the dialog goes on without its preview.
            c_int::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(tick)).is_ok())
        }
        let mut tick = tick;
        let data = (&raw mut tick).cast();
        // SAFETY: see above and `call`.
        unsafe {
            let source = (self.g_timeout_add)(150, call, data);
            let answer = dialog();
            (self.g_source_remove)(source);
            answer
        }
    }
}

/// Side of the previews.
const SIDE: c_int = crate::dialog::advice::SIDE as c_int;

/// The end of a list of arguments.
pub(super) const END: Ptr = null_mut();
