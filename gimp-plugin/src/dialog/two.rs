//! The dialog in GIMP 2.10.
#![allow(unsafe_code, reason = "calls of GIMP")]

use std::ffi::c_int;

use crate::dialog::gtk::{CANCEL, END, Gtk, OK};
use crate::dialog::panel::{Panel, Values};
use crate::face::{Gimp, Image, Item};
use crate::host::{Generation, Library, NAME, Ptr, Str, functions, help_pages};
use crate::request::{OUTPUTS, Request, SCOPES, Scope, params};
use crate::trouble::Trouble;

functions! {
    /// libgimpui 2.10.
    struct Ui {
        gimp_ui_init: unsafe extern "C" fn(Str, c_int),
        gimp_dialog_new: unsafe extern "C" fn(Str, Str, Ptr, c_int, Ptr, Str, ...) -> Ptr,
        gimp_standard_help_func: unsafe extern "C" fn(Str, Ptr),
        gimp_dialog_run: unsafe extern "C" fn(Ptr) -> c_int,
    }
}

struct Widgets<'a> {
    gtk: &'a Gtk,
    /// What has no widget stays as it was.
    start: Request,
    scale: Ptr,
    scope: Ptr,
    output: Ptr,
    steps: Ptr,
    fidelity: Ptr,
    model: Ptr,
    device: Ptr,
    seed: Ptr,
}

const SCALES: [(&str, u32); 2] = [("4 times", 4), ("8 times", 8)];

impl Values for Widgets<'_> {
    fn get(&self) -> Result<Request, Trouble> {
        let (gtk, mut request) = (self.gtk, self.start.clone());
        let scale = SCALES.get(gtk.active(self.scale)).map_or(4, |(_, scale)| *scale);
        // Small steps of a spin button leave traces in the last digits.
        let fidelity = (gtk.number(self.fidelity) * 100.0).round() / 100.0;
        for (name, value) in [
            ("scale", scale.to_string()),
            ("scope", gtk.active(self.scope).to_string()),
            ("output", gtk.active(self.output).to_string()),
            ("steps", (gtk.number(self.steps) as u32).to_string()),
            ("fidelity", if fidelity < 0.0 { "-1".to_owned() } else { fidelity.to_string() }),
            ("model", gtk.entered(self.model)),
            ("device", gtk.entered(self.device)),
            ("seed", (gtk.number(self.seed) as u32).to_string()),
        ] {
            request.set(name, &value)?;
        }
        Ok(request)
    }

    fn set_quality(&self, steps: u32, fidelity: f64) {
        self.gtk.set_number(self.steps, f64::from(steps));
        self.gtk.set_number(self.fidelity, fidelity);
    }
}

/// Shows the dialog with `request` in it and waits for the answer.
///
/// # Errors
/// `Cancelled`, or one line where there is no display.
pub(crate) fn ask(
    gimp: &dyn Gimp,
    image: Image,
    drawables: &[Item],
    request: &mut Request,
) -> Result<(), Trouble> {
    // What is selected now says what is meant, not what was meant last time.
    match (gimp.selected(image), request.scope) {
        (Some(_), Scope::Layer) => request.scope = Scope::Selection,
        (None, Scope::Selection) => request.scope = Scope::Layer,
        _ => {}
    }
    let library = Library::open("libgimpui-2.0.so.0")?;
    let (ui, gtk) = (Ui::load(&library, Generation::Two)?, Gtk::of(&library)?);
    let name = crate::host::text(NAME);
    // With a function for help there is a button for it.
    let help = help_pages().map_or(END, |_| ui.gimp_standard_help_func as Ptr);
    // SAFETY: strings live during the calls; the function for help is GIMP's own and stays; the list of buttons ends with null. GTK ends the process where it has no
    // display, as in every plug-in.
    let dialog = unsafe {
        (ui.gimp_ui_init)(c"ssmoesr".as_ptr(), 0);
        (ui.gimp_dialog_new)(
            c"Super-Resolution".as_ptr(),
            c"ssmoesr".as_ptr(),
            END,
            0 as c_int,
            help,
            name.as_ptr(),
            c"_Cancel".as_ptr(),
            CANCEL,
            c"Enlar_ge".as_ptr(),
            OK,
            END,
        )
    };
    let (content, table, below, hidden) = (gtk.content(dialog), gtk.table(), gtk.vbox(6), gtk.vbox(6));
    let widgets = fill(&gtk, table, below, request, content);
    let mut panel = Panel::new(
        &gtk,
        (gimp, image, drawables),
        dialog,
        (table, 3, "_Quality:"),
        (below, hidden),
        request,
    )?;
    let (advanced, list) = advanced_rows(&gtk, &widgets);
    gtk.pack(hidden, list);
    gtk.reorder(hidden, list, 0);
    gtk.pack(below, gtk.expander("Ad_vanced", hidden));
    for (row, (name, widget)) in advanced.into_iter().enumerate() {
        let param = params().into_iter().find(|p| p.name == name);
        let (nick, help) = param.map_or((name, String::new()), |p| (p.nick, p.help));
        gtk.row(list, row as u32, &format!("{nick}:"), widget, &help);
    }
    gtk.show(content);
    let mut tick = || panel.tick(&widgets);
    // SAFETY: the dialog lives.
    let answer = gtk.while_ticking(&mut tick, || unsafe { (ui.gimp_dialog_run)(dialog) });
    let values = widgets.get();
    drop(panel);
    gtk.destroy(dialog);
    if answer != OK {
        return Err(Trouble::Cancelled);
    }
    *request = values?;
    Ok(())
}

fn fill<'a>(gtk: &'a Gtk, table: Ptr, below: Ptr, request: &Request, content: Ptr) -> Widgets<'a> {
    let o = &request.options;
    let scale = SCALES.iter().position(|(_, scale)| *scale == o.scale).unwrap_or(0);
    let widgets = Widgets {
        gtk,
        start: request.clone(),
        scale: gtk.combo(SCALES.iter().map(|(label, _)| *label), scale),
        scope: gtk.combo(SCOPES.iter().map(|w| w.label), request.scope as usize),
        output: gtk.combo(OUTPUTS.iter().map(|w| w.label), request.output as usize),
        steps: gtk.spin((0.0, 1000.0, 1.0), f64::from(o.steps)),
        fidelity: gtk.spin((-1.0, 1.0, 0.05), o.fidelity),
        model: gtk.entry(o.model.as_deref().unwrap_or("")),
        device: gtk.entry(&o.device),
        seed: gtk.spin((0.0, f64::from(i32::MAX), 1.0), o.seed as f64),
    };
    for param in params() {
        let (row, widget) = match param.name {
            "scale" => (0, widgets.scale),
            "scope" => (1, widgets.scope),
            "output" => (2, widgets.output),
            _ => continue,
        };
        gtk.row(table, row, &format!("{}:", param.nick), widget, &param.help);
    }
    let all = gtk.vbox(9);
    gtk.border(all, 12);
    gtk.pack(all, table);
    gtk.pack(all, below);
    gtk.pack(content, all);
    widgets
}

fn advanced_rows<'a>(gtk: &Gtk, w: &Widgets<'_>) -> ([(&'a str, Ptr); 5], Ptr) {
    let rows = [
        ("steps", w.steps),
        ("fidelity", w.fidelity),
        ("model", w.model),
        ("device", w.device),
        ("seed", w.seed),
    ];
    (rows, gtk.table())
}
