//! What a device gets of a frame, and what it makes of that: the same as `samples`, to the bit.

use super::layout::{Layout, Scene};
use super::samples::Way;
use crate::error::{Error, Result};
use crate::exec::maps::{CodesBy, ColoursBy, Map, MapOp, Maps, Room, Table};
use crate::model::ConditionResize;
use crate::pixels::FrameRef;
use crate::pixels::canvas::Canvas;
use crate::pixels::codes::{Kind, PlaneCodes, siting_number, yuv_reading};

/// What goes up of a frame.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// Its bytes, those that can be seen.
    Frame(&'a FrameRef<'a>),
    /// Colours and alpha as the processor read them: it alone can tell what lies under what nobody sees, ring by ring.
    Samples(&'a Canvas, &'a Canvas),
}

/// One plane of the frame in the part that is sent.
#[derive(Clone, Copy)]
pub(super) struct PlaneIn {
    pub(super) codes: PlaneCodes,
    /// First word; words of a row, rows.
    pub(super) at: usize,
    pub(super) words: usize,
    pub(super) rows: usize,
}

/// Where the codes of a plane go: from which plane of the map on, and which code of a position each plane of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    onto: Onto,
    first: usize,
    places: [usize; 3],
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Onto {
    Colours,
    Luma,
    Chroma,
    Alpha,
}

/// What a plane holds; planes of a map follow one another in it.
fn parts(codes: &PlaneCodes) -> Vec<Part> {
    let kinds = codes.kinds.get(..codes.samples).unwrap_or_default();
    let mut parts = Vec::new();
    for onto in [Onto::Colours, Onto::Luma, Onto::Chroma, Onto::Alpha] {
        let place = |number: usize| {
            kinds.iter().position(|kind| match (kind, onto) {
                (Kind::Colour(c), Onto::Colours) | (Kind::Chroma(c), Onto::Chroma) => *c == number,
                (Kind::Gray, Onto::Colours) => true,
                (Kind::Luma, Onto::Luma) | (Kind::Alpha, Onto::Alpha) => number == 0,
                _ => false,
            })
        };
        let found: Vec<(usize, usize)> = (0..3).filter_map(|n| Some((n, place(n)?))).collect();
        if let Some((first, _)) = found.first() {
            let mut places = [0; 3];
            places.iter_mut().zip(&found).for_each(|(to, (_, place))| *to = *place);
            parts.push(Part { onto, first: *first, places, count: found.len() });
        }
    }
    parts
}

impl Layout {
    /// Asks for everything that the network reads, out of what was sent.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn read(&self, maps: &mut dyn Maps, room: &Room, scene: &Scene<'_>) -> Result<()> {
        let way = &scene.way;
        let (h, w) = (way.height, way.width);
        let map = |at: usize, shape| Self::map(room, at, shape);
        let lr = map(self.lr, (3, h, w));
        if let Given::Frame(frame) = scene.given {
            self.decode_frame(maps, room, scene, frame, lr)?;
        }
        self.resize(maps, room, way, lr)
    }

    fn decode_frame(
        &self,
        maps: &mut dyn Maps,
        room: &Room,
        scene: &Scene<'_>,
        frame: &FrameRef<'_>,
        lr: Map<'_>,
    ) -> Result<()> {
        let map = |at: usize, shape| Self::map(room, at, shape);
        let reading = yuv_reading(frame.format(), frame.color());
        let luma = map(self.luma, (1, lr.height, lr.width));
        let (ch, cw) = self.chroma_size;
        let chroma = map(self.chroma, (2, ch, cw));
        let alpha = map(self.alpha, (1, lr.height, lr.width));
        for plane in &self.planes_in {
            let PlaneCodes { samples, bytes, shift, white, .. } = plane.codes;
            for part in parts(&plane.codes) {
                let (onto, (offset, scale)) = match (part.onto, &reading) {
                    (Onto::Colours, _) => (lr, (0.0, white)),
                    (Onto::Luma, Some(reading)) => (luma, reading.luma),
                    (Onto::Chroma, Some(reading)) => (chroma, reading.chroma),
                    // One that is the same everywhere is filled in.
                    (Onto::Alpha, _) if scene.alpha != Some(Opacity::Varies) => continue,
                    (Onto::Alpha, _) => (alpha, (0.0, white)),
                    _ => return Err(Error::internal("Y'CbCr without its numbers")),
                };
                let from = Table { room, at: plane.at, len: plane.words * plane.rows };
                let by = CodesBy {
                    from,
                    words: plane.words,
                    samples,
                    places: part.places,
                    bytes,
                    shift,
                    offset,
                    scale,
                };
                let to = Map { at: onto.at + part.first * onto.plane, channels: part.count, ..onto };
                maps.apply(&MapOp::Codes { by, to })?;
            }
        }
        // The last plane is one of chroma: Y'CbCr has no alpha.
        if let (Some(reading), Some(last)) = (reading, self.planes_in.last()) {
            let halved = last.codes.halved;
            let siting = siting_number(frame.color().siting);
            let by = ColoursBy { halved, siting, shares: reading.shares };
            maps.apply(&MapOp::Colours { by, luma, chroma, to: lr })?;
        }
        Ok(())
    }

    /// The input at the latent grid, as condition, and where a decoder reads it at output size.
    fn resize(&self, maps: &mut dyn Maps, room: &Room, way: &Way, lr: Map<'_>) -> Result<()> {
        let map = |at: usize, (h, w): (usize, usize)| Self::map(room, at, (3, h, w));
        let table = |at: usize, factor: usize| Table { room, at, len: 5 * factor };
        let fine = map(self.fine, way.fine());
        if way.zoom > 1 {
            let (factor, weights) = (way.zoom, table(self.cubic_zoom, way.zoom));
            maps.apply(&match way.resize {
                ConditionResize::Bicubic => {
                    MapOp::Enlarge { from: lr, factor, weights, first: 0, add: None, unit: false, to: fine }
                }
                ConditionResize::Imresize => MapOp::EnlargeCodes { from: lr, factor, weights, to: fine },
            })?;
        }
        let condition = map(self.condition, way.condition());
        maps.apply(&MapOp::Cut { from: fine, at: (0, 0), scale: 1.0, unit: true, to: condition })?;
        if way.guided() {
            let (factor, weights) = (way.scale, table(self.cubic_scale, way.scale));
            maps.apply(&MapOp::EnlargeCodes { from: lr, factor, weights, to: map(self.guide, way.guide()) })?;
        }
        Ok(())
    }
}

/// What alpha comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Opacity {
    /// The same everywhere.
    Constant(f32),
    Varies,
}
