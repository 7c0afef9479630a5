//! One run: what is meant, read, computed, and only then written. Until the last step the image is not touched, so
//! that this process may be killed at any time.

use ssmoesr_core::{CancelToken, ColorInfo, Frame};

use crate::apply;
use crate::enlarge::{Source, enlarge};
use crate::exchange::{Exchange, sample};
use crate::face::{Gimp, Image, Item, Rect};
use crate::memory;
use crate::request::Request;
use crate::target::Target;
use crate::trouble::Trouble;
use crate::worker;

/// Rows read at a time.
const BAND: usize = 256;

/// What a run leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The image with the result.
    pub(crate) image: Image,
    /// Bytes that this process was to take.
    pub(crate) planned: u64,
}

/// Enlarges what `request` means.
///
/// # Errors
/// One line; the image is as it was.
pub(crate) fn run(
    gimp: &dyn Gimp,
    image: Image,
    drawables: &[Item],
    request: &Request,
    interactive: bool,
) -> Result<Done, Trouble> {
    let target = Target::find(gimp, image, drawables, request)?;
    gimp.progress_begin("Super-Resolution");
    let result = read(gimp, &target).and_then(|source| {
        let (options, available) = (&request.options, memory::available());
        worker::run(gimp, move |tell| enlarge(source, options, available, &CancelToken::new(), tell))
    });
    let done = result.and_then(|enlarged| {
        let image = apply::apply(gimp, &target, request, &enlarged)?;
        Ok(Done { image, planned: enlarged.planned })
    });
    gimp.progress_end();
    let done = done?;
    if interactive && done.image != image {
        gimp.show(done.image);
    }
    gimp.flush();
    Ok(done)
}

/// Reads what the network shall see.
pub(crate) fn read(gimp: &dyn Gimp, target: &Target) -> Result<Source, Trouble> {
    match target.layer {
        Some(layer) => read_from(gimp, target, layer),
        None => {
            let copy = gimp.visible(target.image)?;
            let source = read_from(gimp, target, copy);
            gimp.discard(copy);
            source
        }
    }
}

fn read_from(gimp: &dyn Gimp, target: &Target, item: Item) -> Result<Source, Trouble> {
    let part = target.seen.from(target.origin);
    let exchange = gimp.stored(item).exchange();
    let frame = read_frame(gimp, item, part, &exchange)?;
    let wanted = target.part.from((target.seen.x, target.seen.y));
    Ok(Source { frame, exchange, wanted, cover: cover(gimp, target, wanted)? })
}

/// Reads `part` of `item` into a frame of core.
pub(crate) fn read_frame(
    gimp: &dyn Gimp,
    item: Item,
    part: Rect,
    exchange: &Exchange,
) -> Result<Frame, Trouble> {
    let format = exchange.frame_format();
    let mut frame = Frame::new(format, part.w as u32, part.h as u32, ColorInfo::default())?;
    let (from, to) = (part.w as usize * exchange.pixel_bytes(), part.w as usize * format.pixel_bytes(0));
    let mut band = vec![0; from * BAND.min(part.h as usize)];
    for (i, rows) in frame.plane_mut(0).chunks_mut(to * BAND).enumerate() {
        let h = rows.len() / to;
        let rect = Rect { y: part.y + (i * BAND) as i32, h: h as i32, ..part };
        let band = &mut band[..from * h];
        gimp.read(item, rect, exchange, band)?;
        exchange.unpack(band, rows);
    }
    Ok(frame)
}

/// What of the pixels seen shall show: the layer's mask times the selection; `None` where that is all of the part.
fn cover(gimp: &dyn Gimp, target: &Target, wanted: Rect) -> Result<Option<Vec<f32>>, Trouble> {
    let Some(layer) = target.layer else { return Ok(None) };
    let mut planes = Vec::new();
    if let Some(mask) = gimp.mask(layer) {
        planes.push((mask, target.seen.from(target.origin)));
    }
    if target.selected {
        planes.push((gimp.selection(target.image), target.seen));
    }
    let mut cover: Option<Vec<f32>> = None;
    for (item, part) in planes {
        let mut bytes = vec![0; part.w as usize * part.h as usize * 4];
        gimp.read(item, part, &Exchange::PLANE, &mut bytes)?;
        let values = (0..bytes.len() / 4).map(|i| sample(&bytes, i));
        cover = Some(match cover {
            Some(cover) => cover.into_iter().zip(values).map(|(a, b)| a * b).collect(),
            None => values.collect(),
        });
    }
    // A rectangular selection bounds the part already.
    let row = |y: i32| (y * target.seen.w + wanted.x) as usize;
    let shows_all = |cover: &Vec<f32>| {
        (wanted.y..wanted.y + wanted.h)
            .all(|y| cover[row(y)..][..wanted.w as usize].iter().all(|v| *v >= 1.0))
    };
    Ok(cover.filter(|c| !shows_all(c)))
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
