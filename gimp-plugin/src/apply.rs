//! The last step: the result goes into GIMP, in one go and one step of undo.

use std::path::PathBuf;

use ssmoesr_core::Frame;

use crate::enlarge::Enlarged;
use crate::exchange::Exchange;
use crate::face::{Bands, Gimp, Image, Item, NewLayer, Rect};
use crate::request::{Output, Request};
use crate::target::Target;
use crate::trouble::Trouble;

/// Puts `enlarged` where `request` wants it; returns the image that holds it.
///
/// # Errors
/// Where GIMP refuses; a new image is taken away again.
pub(crate) fn apply(
    gimp: &dyn Gimp,
    target: &Target,
    request: &Request,
    enlarged: &Enlarged,
) -> Result<Image, Trouble> {
    let scale = request.options.scale as i32;
    let name = format!("{} x{scale}", target.name);
    match (request.output, target.layer) {
        (Output::NewImage, _) => new_image(gimp, target, scale, &name, enlarged),
        (Output::ThisImage, Some(layer)) => {
            in_one_step(gimp, target.image, || in_place(gimp, target, scale, layer, enlarged))
        }
        // What is visible has no place of its own: it becomes a layer on top of all.
        (Output::NewLayer | Output::ThisImage, above) => {
            let layer = new_layer(gimp, target.image, &name, enlarged)?;
            let put = in_one_step(gimp, target.image, || {
                grow(gimp, target.image, scale)?;
                gimp.insert(target.image, layer, above)?;
                gimp.move_to(layer, target.part.x * scale, target.part.y * scale);
                add_cover(gimp, layer, enlarged)
            });
            put.inspect_err(|_| gimp.discard(layer))
        }
    }
}

fn in_one_step(
    gimp: &dyn Gimp,
    image: Image,
    change: impl FnOnce() -> Result<(), Trouble>,
) -> Result<Image, Trouble> {
    gimp.begin_undo_group(image);
    let done = change();
    gimp.end_undo_group(image);
    done.map(|()| image)
}

fn grow(gimp: &dyn Gimp, image: Image, scale: i32) -> Result<(), Trouble> {
    let (w, h) = gimp.size(image);
    gimp.scale(image, w * scale, h * scale)
}

/// The layer grows with its image; then its pixels become the network's.
fn in_place(
    gimp: &dyn Gimp,
    target: &Target,
    scale: i32,
    layer: Item,
    enlarged: &Enlarged,
) -> Result<(), Trouble> {
    grow(gimp, target.image, scale)?;
    let place = gimp.place(layer);
    // Where the pixels go, counted from the grown layer's origin.
    let part = target.part.times(scale).from((place.x, place.y));
    if target.selected {
        // All that the network made, as the grown selection may reach a little beyond its old bounds.
        let seen = target.seen.times(scale).from((place.x, place.y));
        let all = Rect { x: 0, y: 0, w: seen.w, h: seen.h };
        return gimp.change(layer, &Piece { enlarged, from: all, at: (seen.x, seen.y) });
    }
    if (place.w, place.h) != (part.w, part.h) {
        return Err(Trouble::Said(format!(
            "GIMP made the layer {} x {} and not {} x {}: undo (Ctrl+Z), and choose a new layer instead.",
            place.w, place.h, part.w, part.h
        )));
    }
    // The layer's pixels before it grew are what undo brings back: these need no copy.
    gimp.write(layer, &Piece { enlarged, from: enlarged.wanted, at: (part.x, part.y) })
}

fn new_image(
    gimp: &dyn Gimp,
    target: &Target,
    scale: i32,
    name: &str,
    enlarged: &Enlarged,
) -> Result<Image, Trouble> {
    let wanted = enlarged.wanted;
    let image = gimp.new_image(target.image, wanted.w, wanted.h, enlarged.exchange.gray)?;
    let filled = new_layer(gimp, image, name, enlarged).and_then(|layer| {
        gimp.insert(image, layer, None)?;
        add_cover(gimp, layer, enlarged)
    });
    if let Err(trouble) = filled {
        gimp.discard_image(image);
        return Err(trouble);
    }
    gimp.copy_guides(target.image, image, (target.part.x, target.part.y), scale);
    if let Some(file) = gimp.file(target.image) {
        gimp.set_file(image, &beside(file, scale));
    }
    gimp.finish_image(image);
    Ok(image)
}

/// `/a/b.png` becomes `/a/b x4`. Without an ending GIMP asks for a name before it saves.
fn beside(file: PathBuf, scale: i32) -> PathBuf {
    let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!("{stem} x{scale}"))
}

/// A layer of `image` with the wanted pixels, not yet in it.
fn new_layer(gimp: &dyn Gimp, image: Image, name: &str, enlarged: &Enlarged) -> Result<Item, Trouble> {
    let Exchange { gray, alpha, .. } = enlarged.exchange;
    let Rect { w, h, .. } = enlarged.wanted;
    let layer = gimp.new_layer(image, &NewLayer { name, w, h, gray, alpha })?;
    let written = gimp.write(layer, &Piece { enlarged, from: enlarged.wanted, at: (0, 0) });
    if let Err(trouble) = written {
        gimp.discard(layer);
        return Err(trouble);
    }
    Ok(layer)
}

/// Gives the new layer a mask where not all of it shall show.
fn add_cover(gimp: &dyn Gimp, layer: Item, enlarged: &Enlarged) -> Result<(), Trouble> {
    let Some(cover) = &enlarged.cover else { return Ok(()) };
    let mask = gimp.add_mask(layer)?;
    gimp.write(mask, &Cover { cover, width: enlarged.frame.width() as usize, from: enlarged.wanted })
}

/// A part of the enlarged frame on its way into a layer.
struct Piece<'a> {
    enlarged: &'a Enlarged,
    /// Pixels of the frame.
    from: Rect,
    /// Where they go in the layer.
    at: (i32, i32),
}

impl Bands for Piece<'_> {
    fn part(&self) -> Rect {
        Rect { x: self.at.0, y: self.at.1, ..self.from }
    }

    fn exchange(&self) -> &Exchange {
        &self.enlarged.exchange
    }

    fn fill(&self, from: usize, rows: usize, out: &mut [u8]) {
        let (frame, exchange): (&Frame, _) = (&self.enlarged.frame, &self.enlarged.exchange);
        let pixel = frame.format().pixel_bytes(0);
        let stride = frame.width() as usize * pixel;
        let row = self.from.w as usize * pixel;
        let width = self.from.w as usize * exchange.pixel_bytes();
        for (y, out) in out.chunks_exact_mut(width).take(rows).enumerate() {
            let start = (self.from.y as usize + from + y) * stride + self.from.x as usize * pixel;
            exchange.pack(&frame.plane(0)[start..][..row], out);
        }
    }
}

/// The wanted part of a cover on its way into a mask.
struct Cover<'a> {
    cover: &'a [f32],
    width: usize,
    from: Rect,
}

impl Bands for Cover<'_> {
    fn part(&self) -> Rect {
        Rect { x: 0, y: 0, ..self.from }
    }

    fn exchange(&self) -> &Exchange {
        &Exchange::PLANE
    }

    fn fill(&self, from: usize, rows: usize, out: &mut [u8]) {
        for (y, out) in out.chunks_exact_mut(self.from.w as usize * 4).take(rows).enumerate() {
            let start = (self.from.y as usize + from + y) * self.width + self.from.x as usize;
            for (value, out) in self.cover[start..].iter().zip(out.chunks_exact_mut(4)) {
                out.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ask_to_be_saved() {
        assert_eq!(beside(PathBuf::from("/a/b.c.png"), 4), PathBuf::from("/a/b.c x4"));
    }
}
