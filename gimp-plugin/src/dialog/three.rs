//! The dialog in GIMP 3.x: made by GIMP from the arguments, with our own part in it.
#![allow(unsafe_code, reason = "calls of GIMP")]

use std::ffi::c_int;

use crate::dialog::gtk::{END, Gtk};
use crate::dialog::panel::{Panel, Values};
use crate::face::{Gimp, Image, Item};
use crate::host::{Generation, Library, Ptr, Str, functions};
use crate::request::{Request, Scope};
use crate::trouble::Trouble;

functions! {
    /// libgimpui 3.x.
    struct Ui {
        gimp_ui_init: unsafe extern "C" fn(Str),
        gimp_procedure_dialog_new: unsafe extern "C" fn(Ptr, Ptr, Str) -> Ptr,
        gimp_procedure_dialog_set_ok_label: unsafe extern "C" fn(Ptr, Str),
        gimp_procedure_dialog_get_int_combo: unsafe extern "C" fn(Ptr, Str, Ptr) -> Ptr,
        gimp_procedure_dialog_get_label: unsafe extern "C" fn(Ptr, Str, Str, c_int, c_int) -> Ptr,
        gimp_procedure_dialog_fill_box: unsafe extern "C" fn(Ptr, Str, Str, ...) -> Ptr,
        gimp_procedure_dialog_fill_expander: unsafe extern "C" fn(Ptr, Str, Str, c_int, Str) -> Ptr,
        gimp_procedure_dialog_fill: unsafe extern "C" fn(Ptr, Str, ...),
        gimp_procedure_dialog_get_widget: unsafe extern "C" fn(Ptr, Str, usize) -> Ptr,
        gtk_combo_box_get_type: unsafe extern "C" fn() -> usize,
        gimp_labeled_get_label: unsafe extern "C" fn(Ptr) -> Ptr,
        gimp_procedure_dialog_run: unsafe extern "C" fn(Ptr) -> c_int,
        gimp_int_store_new: unsafe extern "C" fn(Str, c_int, ...) -> Ptr,
        g_object_set: unsafe extern "C" fn(Ptr, Str, ...),
        g_object_unref: unsafe extern "C" fn(Ptr),
    }
}

/// Place among the rows of GIMP's dialog, of which two above the first are hidden.
const BEFORE_ADVANCED: c_int = 5;

/// The arguments as GIMP keeps them while the dialog is open.
struct Config<'a> {
    ui: &'a Ui,
    config: Ptr,
    read: &'a dyn Fn() -> Result<Request, Trouble>,
}

impl Values for Config<'_> {
    fn get(&self) -> Result<Request, Trouble> {
        (self.read)()
    }

    fn set_quality(&self, steps: u32, fidelity: f64) {
        // SAFETY: the config has these properties, an int and a double; the list ends with null.
        unsafe {
            (self.ui.g_object_set)(
                self.config,
                c"steps".as_ptr(),
                steps as c_int,
                c"fidelity".as_ptr(),
                fidelity,
                END,
            );
        }
    }
}

/// Shows the dialog for `config` and waits for the answer, which is in `config` then. `read` tells what that holds.
///
/// # Errors
/// `Cancelled`, or one line.
pub(crate) fn ask(
    (gimp, image, drawables): (&dyn Gimp, Image, &[Item]),
    procedure: Ptr,
    config: Ptr,
    read: &dyn Fn() -> Result<Request, Trouble>,
) -> Result<(), Trouble> {
    let library = Library::open("libgimpui-3.0.so.0")?;
    let (ui, gtk) = (Ui::load(&library, Generation::Three)?, Gtk::of(&library)?);
    let values = Config { ui: &ui, config, read };
    let request = values.get().unwrap_or_default();
    let scope = match (gimp.selected(image), request.scope) {
        (Some(_), Scope::Layer) => Some(c"selection"),
        (None, Scope::Selection) => Some(c"layer"),
        _ => None,
    };
    // SAFETY: procedure and config are libgimp's; strings live during the calls; lists of arguments end with null;
    // the store is ours until the unref.
    let (dialog, scale, hidden) = unsafe {
        if let Some(scope) = scope {
            (ui.g_object_set)(config, c"scope".as_ptr(), scope.as_ptr(), END);
        }
        (ui.gimp_ui_init)(c"ssmoesr".as_ptr());
        let dialog = (ui.gimp_procedure_dialog_new)(procedure, config, c"Super-Resolution".as_ptr());
        (ui.gimp_procedure_dialog_set_ok_label)(dialog, c"Enlar_ge".as_ptr());
        let store = (ui.gimp_int_store_new)(c"4 times".as_ptr(), 4, c"8 times".as_ptr(), 8 as c_int, END);
        let scale = (ui.gimp_procedure_dialog_get_int_combo)(dialog, c"scale".as_ptr(), store);
        (ui.g_object_unref)(store);
        // 3.2 would show all words below each other, and the dialog would not fit on a small screen.
        for choice in [c"scope", c"output"] {
            let combo = (ui.gtk_combo_box_get_type)();
            (ui.gimp_procedure_dialog_get_widget)(dialog, choice.as_ptr(), combo);
        }
        (ui.gimp_procedure_dialog_get_label)(dialog, c"advanced-title".as_ptr(), c"Ad_vanced".as_ptr(), 0, 1);
        let rows = [c"steps", c"fidelity", c"model", c"device", c"seed"].map(|c| c.as_ptr());
        let hidden = (ui.gimp_procedure_dialog_fill_box)(
            dialog,
            c"advanced-box".as_ptr(),
            rows[0],
            rows[1],
            rows[2],
            rows[3],
            rows[4],
            END,
        );
        (ui.gimp_procedure_dialog_fill_expander)(
            dialog,
            c"advanced".as_ptr(),
            c"advanced-title".as_ptr(),
            0,
            c"advanced-box".as_ptr(),
        );
        (ui.gimp_procedure_dialog_fill)(
            dialog,
            c"scale".as_ptr(),
            c"scope".as_ptr(),
            c"output".as_ptr(),
            c"advanced".as_ptr(),
            END,
        );
        (dialog, scale, hidden)
    };
    let (content, all, table, below) = (gtk.content(dialog), gtk.vbox(9), gtk.table(), gtk.vbox(6));
    gtk.pack(all, table);
    gtk.pack(all, below);
    gtk.pack(content, all);
    // Behind scale, scope and output, before what is advanced.
    gtk.reorder(content, all, BEFORE_ADVANCED);
    let mut panel = Panel::new(
        &gtk,
        (gimp, image, drawables),
        dialog,
        (table, 0, "_Quality"),
        (below, hidden),
        &request,
    )?;
    // In line with GIMP's own rows.
    // SAFETY: a choice with a label, which lives as long as the dialog.
    gtk.same_width(panel.name, unsafe { (ui.gimp_labeled_get_label)(scale) });
    gtk.show(all);
    gtk.show(hidden);
    let mut tick = || panel.tick(&values);
    // SAFETY: the dialog lives.
    let go = gtk.while_ticking(&mut tick, || unsafe { (ui.gimp_procedure_dialog_run)(dialog) });
    drop(panel);
    gtk.destroy(dialog);
    if go != 0 { Ok(()) } else { Err(Trouble::Cancelled) }
}
