//! Which pixels are meant, and whether they can be enlarged: everything that is asked before anything is computed.

use crate::face::{Base, Gimp, Image, Item, Kind, Rect};
use crate::request::{Output, Request, Scope};
use crate::trouble::Trouble;

/// Largest side of an image in GIMP, in pixels.
const MAX_SIDE: i64 = 524_288;

/// Pixels of the layer around a selection that the network sees too: beyond this distance they hardly change the
/// result. Also the grid to which the network's windows are bound.
const MARGIN: i32 = 32;

/// What is read and where the result goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) image: Image,
    /// `None` where all that is visible is meant.
    pub(crate) layer: Option<Item>,
    /// Name of the layer or image, for people.
    pub(crate) name: String,
    /// What is enlarged, in image coordinates.
    pub(crate) part: Rect,
    /// What the network sees, in image coordinates: the part and what lies around it.
    pub(crate) seen: Rect,
    /// Origin of the layer in the image.
    pub(crate) origin: (i32, i32),
    /// True where a selection bounds the result.
    pub(crate) selected: bool,
}

impl Target {
    /// Finds what `request` means and checks what can be known beforehand.
    ///
    /// # Errors
    /// One line for whatever makes the request impossible.
    pub(crate) fn find(
        gimp: &dyn Gimp,
        image: Image,
        drawables: &[Item],
        request: &Request,
    ) -> Result<Self, Trouble> {
        if gimp.has_floating_selection(image) {
            return Err(Trouble::said(
                "There is a floating selection: anchor it (Ctrl+H) or make it a layer, then try again.",
            ));
        }
        if request.output != Output::NewImage && gimp.base(image) == Base::Indexed {
            return Err(Trouble::said(
                "An indexed image cannot hold the result: choose a new image, or convert this one by Image > Mode > RGB.",
            ));
        }
        let (width, height) = gimp.size(image);
        let canvas = Rect { x: 0, y: 0, w: width, h: height };
        let target = if request.scope == Scope::Visible {
            let name = gimp
                .file(image)
                .and_then(|f| f.file_stem().map(|s| s.to_string_lossy().into_owned()))
                .unwrap_or_else(|| "Visible".to_owned());
            let origin = (0, 0);
            Self { image, layer: None, name, part: canvas, seen: canvas, origin, selected: false }
        } else {
            Self::in_layer(gimp, image, one_layer(drawables)?, request)?
        };
        target.check_size(request, (width, height))?;
        Ok(target)
    }

    fn in_layer(gimp: &dyn Gimp, image: Image, layer: Item, request: &Request) -> Result<Self, Trouble> {
        let name = gimp.name(layer);
        let in_place = request.output == Output::ThisImage;
        let text = match gimp.kind(layer) {
            Kind::Layer if in_place && gimp.is_locked(layer) => {
                format!("The pixels of the layer \"{name}\" are locked: unlock them, or choose a new layer.")
            }
            Kind::Painted if in_place => format!(
                "\"{name}\" is text or another layer that GIMP paints itself: choose a new layer or a new image."
            ),
            Kind::Layer | Kind::Painted => String::new(),
            Kind::Group => format!(
                "\"{name}\" is a group of layers: choose one layer in it, or \"{}\".",
                crate::request::SCOPES[Scope::Visible as usize].label
            ),
            Kind::Mask => {
                "A layer mask is being edited: click on the layer's picture beside it, then try again."
                    .to_owned()
            }
            Kind::Channel => format!("\"{name}\" is a channel: choose a layer, then try again."),
            Kind::Gone => "The layer does not exist any more: choose a layer, then try again.".to_owned(),
        };
        if !text.is_empty() {
            return Err(Trouble::Said(text));
        }
        let place = gimp.place(layer);
        let origin = (place.x, place.y);
        if request.scope == Scope::Layer {
            return Ok(Self {
                image,
                layer: Some(layer),
                name,
                part: place,
                seen: place,
                origin,
                selected: false,
            });
        }
        let Some(bounds) = gimp.selected(image) else {
            return Err(Trouble::said(
                "Nothing is selected: select a part of the picture, or choose to enlarge the layer.",
            ));
        };
        let Some(part) = bounds.common(place) else {
            return Err(Trouble::Said(format!(
                "The selection does not touch the layer \"{name}\": select a part of it, or choose another layer."
            )));
        };
        let seen = around(part.from(origin), (place.w, place.h)).from((-origin.0, -origin.1));
        Ok(Self { image, layer: Some(layer), name, part, seen, origin, selected: true })
    }

    fn check_size(&self, request: &Request, (width, height): (i32, i32)) -> Result<(), Trouble> {
        let scale = i64::from(request.options.scale);
        let (w, h) = match request.output {
            Output::NewImage => (self.part.w, self.part.h),
            Output::ThisImage | Output::NewLayer => (width.max(self.part.w), height.max(self.part.h)),
        };
        if i64::from(w.max(h)) * scale > MAX_SIDE {
            return Err(Trouble::Said(format!(
                "{w} x {h} pixels would become {} x {}: GIMP takes {MAX_SIDE} a side. Enlarge a part of the picture.",
                i64::from(w) * scale,
                i64::from(h) * scale
            )));
        }
        Ok(())
    }
}

fn one_layer(drawables: &[Item]) -> Result<Item, Trouble> {
    match drawables {
        [layer] => Ok(*layer),
        [] => Err(Trouble::said("No layer is chosen: choose one in the list of layers, then try again.")),
        many => Err(Trouble::Said(format!(
            "{} layers are chosen: choose one of them, or \"{}\".",
            many.len(),
            crate::request::SCOPES[Scope::Visible as usize].label
        ))),
    }
}

/// `part` of a layer with its surroundings; begins on the grid of the network's windows, so that they lie as they
/// would if the whole layer were enlarged.
fn around(part: Rect, (w, h): (i32, i32)) -> Rect {
    let from = |at: i32| ((at - MARGIN).max(0) / MARGIN) * MARGIN;
    let (x, y) = (from(part.x), from(part.y));
    Rect { x, y, w: (part.x + part.w + MARGIN).min(w) - x, h: (part.y + part.h + MARGIN).min(h) - y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    fn request(scope: Scope, output: Output) -> Request {
        Request { scope, output, ..Request::default() }
    }

    fn refusal(fake: &Fake, drawables: &[Item], request: &Request) -> String {
        Target::find(fake, Fake::IMAGE, drawables, request).unwrap_err().to_string()
    }

    #[test]
    fn a_part_is_seen_with_its_surroundings() {
        assert_eq!(
            around(Rect { x: 100, y: 10, w: 50, h: 20 }, (160, 90)),
            Rect { x: 64, y: 0, w: 96, h: 62 }
        );
        let whole = Rect { x: 0, y: 0, w: 9, h: 7 };
        assert_eq!(around(whole, (9, 7)), whole);
    }

    #[test]
    fn the_layer_as_it_lies() {
        let fake = Fake::new(20, 16);
        let layer = fake.add_layer("a", Rect { x: 3, y: -2, w: 10, h: 12 });
        let t = Target::find(&fake, Fake::IMAGE, &[layer], &Request::default()).unwrap();
        assert_eq!((t.part, t.seen, t.origin), (fake.place(layer), fake.place(layer), (3, -2)));
        assert!(!t.selected);
    }

    #[test]
    fn the_selection_where_it_touches_the_layer() {
        let fake = Fake::new(400, 300);
        let layer = fake.add_layer("a", Rect { x: 10, y: 20, w: 300, h: 200 });
        fake.select(Some(Rect { x: 0, y: 100, w: 120, h: 30 }));
        let t =
            Target::find(&fake, Fake::IMAGE, &[layer], &request(Scope::Selection, Output::NewLayer)).unwrap();
        assert_eq!(t.part, Rect { x: 10, y: 100, w: 110, h: 30 });
        assert_eq!(t.seen, Rect { x: 10, y: 52, w: 142, h: 110 });
        assert!(t.selected);
    }

    #[test]
    fn all_that_is_visible_needs_no_layer() {
        let fake = Fake::new(20, 16);
        let t = Target::find(&fake, Fake::IMAGE, &[], &request(Scope::Visible, Output::NewImage)).unwrap();
        assert_eq!((t.layer, t.part), (None, Rect { x: 0, y: 0, w: 20, h: 16 }));
    }

    #[test]
    fn what_cannot_be_is_said_in_plain_words() {
        let fake = Fake::new(20, 16);
        let layer = fake.add_layer("sky", Rect { x: 0, y: 0, w: 20, h: 16 });
        let plain = Request::default();
        let here = request(Scope::Layer, Output::ThisImage);
        let part = request(Scope::Selection, Output::NewImage);

        assert!(refusal(&fake, &[], &plain).contains("No layer"));
        assert!(refusal(&fake, &[layer, layer], &plain).contains("2 layers"));
        assert!(refusal(&fake, &[layer], &part).contains("Nothing is selected"));
        fake.select(Some(Rect { x: 19, y: 0, w: 5, h: 5 }));
        fake.move_to(layer, -4, 0);
        assert!(refusal(&fake, &[layer], &part).contains("does not touch the layer \"sky\""));
        for (kind, word) in [
            (Kind::Group, "group"),
            (Kind::Mask, "mask"),
            (Kind::Channel, "channel"),
            (Kind::Gone, "any more"),
        ] {
            fake.set_kind(layer, kind);
            assert!(refusal(&fake, &[layer], &plain).contains(word));
        }
        fake.set_kind(layer, Kind::Painted);
        assert!(refusal(&fake, &[layer], &here).contains("text"));
        assert!(Target::find(&fake, Fake::IMAGE, &[layer], &plain).is_ok());
        fake.set_kind(layer, Kind::Layer);
        fake.lock(layer);
        assert!(refusal(&fake, &[layer], &here).contains("locked"));
        fake.set_base(Base::Indexed);
        assert!(refusal(&fake, &[layer], &here).contains("indexed"));
        assert!(Target::find(&fake, Fake::IMAGE, &[layer], &plain).is_ok());
        fake.float();
        assert!(refusal(&fake, &[layer], &plain).contains("floating"));
    }

    #[test]
    fn gimp_has_a_largest_image() {
        let fake = Fake::new(131_073, 2);
        let layer = fake.add_layer("long", Rect { x: 0, y: 0, w: 131_072, h: 2 });
        assert!(Target::find(&fake, Fake::IMAGE, &[layer], &Request::default()).is_ok());
        let text = refusal(&fake, &[layer], &request(Scope::Layer, Output::ThisImage));
        assert!(text.contains("524292 x 8") && text.contains("524288"), "{text}");
    }
}
