//! The part of the dialog that is the same in both generations: quality, what it will take, before and after.

use std::cell::Cell;

use crate::check::{self, Open};
use crate::dialog::advice::{Advice, Advisor, Question, SIDE};
use crate::dialog::gtk::Gtk;
use crate::dialog::{QUALITY, quality};
use crate::face::{Gimp, Image, Item, Rect};
use crate::host::Ptr;
use crate::job::read_frame;
use crate::places_and_program;
use crate::request::{Output, Request};
use crate::target::Target;
use crate::trouble::Trouble;

/// The values of the dialog, wherever they are kept.
pub(super) trait Values {
    /// # Errors
    /// Where a value is not possible.
    fn get(&self) -> Result<Request, Trouble>;
    fn set_quality(&self, steps: u32, fidelity: f64);
}

pub(super) struct Panel<'a> {
    gtk: &'a Gtk,
    gimp: &'a dyn Gimp,
    image: Image,
    drawables: &'a [Item],
    dialog: Ptr,
    /// The name of the row with the quality.
    pub(super) name: Ptr,
    quality: Ptr,
    line: Ptr,
    before: Ptr,
    after: Ptr,
    chosen: usize,
    asked: Option<Request>,
    advisor: Advisor,
    copy: &'static Cell<bool>,
    /// What `line` says of the values.
    said: String,
}

impl<'a> Panel<'a> {
    /// Puts the widgets into `table` (row `row`, with this name) and `below`, the button that copies a report into
    /// `hidden`, a box.
    ///
    /// # Errors
    /// Where no thread is to be had.
    pub(super) fn new(
        gtk: &'a Gtk,
        (gimp, image, drawables): (&'a dyn Gimp, Image, &'a [Item]),
        dialog: Ptr,
        (table, row, name): (Ptr, u32, &str),
        (below, hidden): (Ptr, Ptr),
        request: &Request,
    ) -> Result<Self, Trouble> {
        let chosen = quality(request.options.steps, request.options.fidelity);
        let combo = gtk.combo(QUALITY.iter().map(|(label, _)| *label), chosen);
        let name = gtk.row(table, row, name, combo, "How much the network adds: more texture takes longer.");
        let line = gtk.label();
        gtk.pack(below, line);
        let pair = gtk.hbox(6);
        let before = gtk.picture(pair, "Before");
        let after = gtk.picture(pair, "After");
        gtk.pack(below, pair);
        let (button, copy) = gtk
            .button("Cop_y report", "Versions, model, devices, values and the last error, for a bug report.");
        // In a row, so that it is not as wide as the dialog.
        let row = gtk.hbox(0);
        gtk.pack(row, button);
        gtk.pack(hidden, row);
        gtk.say(line, "Looking at the picture", false);
        let advisor = Advisor::start()?;
        Ok(Self {
            gtk,
            gimp,
            image,
            drawables,
            dialog,
            name,
            quality: combo,
            line,
            before,
            after,
            chosen,
            asked: None,
            advisor,
            copy,
            said: String::new(),
        })
    }

    /// Looks whether values changed and whether there is advice.
    pub(super) fn tick(&mut self, values: &dyn Values) {
        self.follow_quality(values);
        if self.copy.replace(false) {
            self.copy_report(values);
        }
        match values.get() {
            Ok(request) if self.asked.as_ref() != Some(&request) => {
                match self.question(&request) {
                    Ok(question) => self.advisor.ask(question),
                    Err(trouble) => self.refuse(&trouble.to_string()),
                }
                self.asked = Some(request);
            }
            Ok(_) => {}
            Err(trouble) => {
                self.asked = None;
                self.refuse(&trouble.to_string());
            }
        }
        while let Some(advice) = self.advisor.news() {
            match advice {
                Advice::Line(text, loud) => {
                    self.gtk.say(self.line, &text, loud);
                    self.gtk.allow_ok(self.dialog, true);
                    self.said = text;
                }
                Advice::Refusal(text) => self.refuse(&text),
                Advice::Preview(preview) => {
                    self.gtk.show_pixels(self.before, &preview, &preview.before);
                    self.gtk.show_pixels(self.after, &preview, &preview.after);
                }
            }
        }
    }

    fn refuse(&mut self, text: &str) {
        self.gtk.say(self.line, text, true);
        self.gtk.allow_ok(self.dialog, false);
        text.clone_into(&mut self.said);
    }

    fn copy_report(&self, values: &dyn Values) {
        let said = match places_and_program() {
            Ok((places, program)) => {
                let open = Open::new(self.gimp, values.get().ok().as_ref(), &self.said);
                self.gtk.copy(&check::report(&places, &program, Some(&open)).0.join("\n"));
                "The report is copied: paste it before you close this window.".to_owned()
            }
            Err(trouble) => trouble.to_string(),
        };
        self.gtk.say(self.line, &said, false);
    }

    /// A preset sets steps and fidelity; these, when set by hand, choose the preset.
    fn follow_quality(&mut self, values: &dyn Values) {
        let chosen = self.gtk.active(self.quality);
        if chosen != self.chosen {
            self.chosen = chosen;
            if let Some((steps, fidelity)) = QUALITY.get(chosen).and_then(|(_, preset)| *preset) {
                values.set_quality(steps, fidelity);
            }
        } else if let Ok(request) = values.get() {
            let now = quality(request.options.steps, request.options.fidelity);
            // Who asked for values of their own may have those of a preset for a moment.
            if now != chosen && QUALITY.get(chosen).is_some_and(|(_, preset)| preset.is_some()) {
                self.chosen = now;
                self.gtk.set_active(self.quality, now);
            }
        }
    }

    fn question(&self, request: &Request) -> Result<Question, Trouble> {
        let target = Target::find(self.gimp, self.image, self.drawables, request)?;
        let scale = i64::from(request.options.scale);
        let (w, h) = match request.output {
            Output::NewImage => (target.part.w, target.part.h),
            Output::ThisImage | Output::NewLayer => self.gimp.size(self.image),
        };
        let side = (SIDE / request.options.scale) as i32;
        let piece = match target.layer {
            Some(layer) => {
                let part = middle(target.part, side).from(target.origin);
                read_frame(self.gimp, layer, part, &self.gimp.stored(layer).exchange())?
            }
            None => {
                let copy = self.gimp.visible(self.image)?;
                let exchange = self.gimp.stored(copy).exchange();
                let piece = read_frame(self.gimp, copy, middle(target.part, side), &exchange);
                self.gimp.discard(copy);
                piece?
            }
        };
        Ok(Question {
            options: request.options.clone(),
            seen: (target.seen.w as u32, target.seen.h as u32),
            result: (i64::from(w) * scale, i64::from(h) * scale),
            piece,
        })
    }
}

/// The middle of `part`, at most `side` pixels each way.
fn middle(part: Rect, side: i32) -> Rect {
    let (w, h) = (part.w.min(side), part.h.min(side));
    Rect { x: part.x + (part.w - w) / 2, y: part.y + (part.h - h) / 2, w, h }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        let part = Rect { x: 10, y: 20, w: 100, h: 30 };
        assert_eq!(middle(part, 64), Rect { x: 28, y: 20, w: 64, h: 30 });
    }
}
