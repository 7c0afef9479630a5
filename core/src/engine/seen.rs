//! What a stream remembers of a frame, to tell which tiles of the next one read the same.

use super::regions::same;
use super::samples::Way;
use crate::error::{Error, Result};
use crate::pixels::canvas::Canvas;
use crate::pixels::{ColorInfo, FrameRef, PixelFormat};
use crate::tiles::Rect;
use std::mem::swap;
use std::ops::Range;

/// What a frame's tiles are made of; `C` is a canvas, to look at or to take.
pub(super) enum Seen<'a, C> {
    /// The condition, which the processor made.
    Condition(C),
    /// Colours as the processor read them, of which a device makes the condition.
    Samples(C, Way),
    /// The frame, which a device reads.
    Frame(&'a FrameRef<'a>, Way),
}

/// The last frame, in the form that it was told by.
#[derive(Default)]
pub(super) struct Before {
    canvas: Canvas,
    /// Format, colours and sizes of the frame whose rows `bytes` has without gaps.
    frame: Option<(PixelFormat, ColorInfo, u32, u32)>,
    bytes: Vec<u8>,
    form: Form,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Nothing,
    Condition,
    Samples,
    Frame,
}

impl<C> Seen<'_, C> {
    fn form(&self) -> Form {
        match self {
            Seen::Condition(_) => Form::Condition,
            Seen::Samples(..) => Form::Samples,
            Seen::Frame(..) => Form::Frame,
        }
    }
}

impl Before {
    /// Whether the frame at hand comes in the same form and size as the last one.
    pub(super) fn is_like(&self, seen: &Seen<'_, &Canvas>) -> bool {
        let size = |c: &Canvas| (c.channels(), c.width(), c.height());
        self.form == seen.form()
            && match seen {
                Seen::Condition(canvas) | Seen::Samples(canvas, _) => size(canvas) == size(&self.canvas),
                Seen::Frame(frame, _) => self.frame == Some(of(frame)),
            }
    }

    /// Whether a tile at `rect` of the latent grid reads what it read in the last frame, which is like this one. True only where that is
    /// certain: of what a device reads itself, the samples around it that may count are compared, not what comes of them.
    pub(super) fn has(&self, seen: &Seen<'_, &Canvas>, rect: Rect) -> bool {
        match seen {
            Seen::Condition(canvas) => same(canvas, &self.canvas, rect),
            Seen::Samples(canvas, way) => {
                let (ys, xs) = source(rect, way);
                let rect = Rect::new(ys.start, xs.start, ys.len(), xs.len());
                same(canvas, &self.canvas, rect)
            }
            Seen::Frame(frame, way) => self.has_frame(frame, &source(rect, way)),
        }
    }

    fn has_frame(&self, frame: &FrameRef<'_>, (ys, xs): &(Range<usize>, Range<usize>)) -> bool {
        let (format, mut at) = (frame.format(), 0);
        (0..format.planes()).all(|plane| {
            let (w, h) = format.plane_size(plane, frame.width(), frame.height());
            let (bytes, start) = (format.pixel_bytes(plane), at);
            at += w * h * bytes;
            let xs = within_plane(xs, w, frame.width() as usize);
            let part = xs.start * bytes..xs.end * bytes;
            within_plane(ys, h, frame.height() as usize).all(|y| {
                let old = self.bytes.get(start + y * w * bytes..).and_then(|row| row.get(part.clone()));
                old.is_some() && old == frame.row(plane, y).get(part.clone())
            })
        })
    }

    /// Remembers a frame. A canvas gets an old one in exchange.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had: nothing is remembered then.
    pub(super) fn keep(&mut self, seen: Seen<'_, &mut Canvas>) -> Result<()> {
        let form = seen.form();
        self.form = Form::Nothing;
        match seen {
            Seen::Condition(canvas) | Seen::Samples(canvas, _) => swap(&mut self.canvas, canvas),
            Seen::Frame(frame, _) => {
                self.bytes.clear();
                for plane in 0..frame.format().planes() {
                    let (_, h) = frame.format().plane_size(plane, frame.width(), frame.height());
                    for row in (0..h).map(|y| frame.row(plane, y)) {
                        self.bytes
                            .try_reserve(row.len())
                            .map_err(|e| Error::limit("no memory to remember a frame").because(e))?;
                        self.bytes.extend_from_slice(row);
                    }
                }
                self.frame = Some(of(frame));
            }
        }
        self.form = form;
        Ok(())
    }
}

fn of(frame: &FrameRef<'_>) -> (PixelFormat, ColorInfo, u32, u32) {
    (frame.format(), frame.color(), frame.width(), frame.height())
}

/// Rows and columns of the input that may count for a part of the condition: a cubic reaches two samples further, and beyond the
/// edges the last sample counts.
fn source(rect: Rect, way: &Way) -> (Range<usize>, Range<usize>) {
    let reach = if way.zoom > 1 { 2 } else { 0 };
    let along = |at: usize, len: usize, n: usize| {
        let last = (n * way.zoom).saturating_sub(1);
        let first = (at.min(last) / way.zoom).saturating_sub(reach);
        first..((at + len).div_ceil(way.zoom) + reach).clamp(first, n)
    };
    (along(rect.y, rect.h, way.height), along(rect.x, rect.w, way.width))
}

/// The samples of a plane's side of `n`, of a picture's of `full`, that may count for those of the picture: a cubic, where it was halved.
fn within_plane(range: &Range<usize>, n: usize, full: usize) -> Range<usize> {
    if n == full {
        return range.clone();
    }
    (range.start / 2).saturating_sub(2)..(range.end.div_ceil(2) + 2).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::samples::Samples;
    use crate::model::ConditionResize;
    use crate::pixels::Frame;

    fn way(zoom: usize) -> Way {
        Way { width: 21, height: 17, scale: 4 * zoom, zoom, resize: ConditionResize::Bicubic, lattice: 16 }
    }

    /// The condition's samples that change with one byte of the frame lie in tiles that are told to be others.
    #[test]
    fn what_changes_is_never_taken_for_the_same() {
        let mut seen = 0;
        for format in [PixelFormat::Rgb8, PixelFormat::I420, PixelFormat::Nv12, PixelFormat::I422P10] {
            for zoom in [1, 2] {
                let way = way(zoom);
                let frame = Frame::new(format, 21, 17, ColorInfo::default()).unwrap();
                let made = |frame: &Frame| {
                    let mut samples = Samples::default();
                    samples.make(&frame.view(), &way).unwrap();
                    samples.condition
                };
                let (old, mut before) = (made(&frame), Before::default());
                before.keep(Seen::Frame(&frame.view(), way)).unwrap();
                for plane in 0..format.planes() {
                    for at in (0..frame.plane(plane).len()).step_by(7) {
                        let mut other = frame.clone();
                        other.plane_mut(plane)[at] = 0xaa;
                        let view = other.view();
                        let now = Seen::Frame(&view, way);
                        assert!(before.is_like(&now));
                        let new = made(&other);
                        for y in (0..old.height()).step_by(8) {
                            for x in (0..old.width()).step_by(8) {
                                let rect = Rect::new(y, x, 8, 8);
                                let told = before.has(&now, rect);
                                assert!(!told || same(&old, &new, rect), "{format:?} {zoom} {plane} {at}");
                                seen += usize::from(told);
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 1000, "{seen} tiles were as before");
    }

    #[test]
    fn frames_of_other_sizes_formats_and_colours_are_others() {
        let frame = |format, w| Frame::new(format, w, 17, ColorInfo::default()).unwrap();
        let mut before = Before::default();
        let one = frame(PixelFormat::Rgb8, 21);
        assert!(!before.is_like(&Seen::Frame(&one.view(), way(1))));
        before.keep(Seen::Frame(&one.view(), way(1))).unwrap();
        assert!(before.is_like(&Seen::Frame(&one.view(), way(1))));
        for other in [frame(PixelFormat::Rgb8, 22), frame(PixelFormat::Bgr8, 21)] {
            assert!(!before.is_like(&Seen::Frame(&other.view(), way(1))));
        }
        let mut canvas = Canvas::new(3, 21, 17).unwrap();
        assert!(!before.is_like(&Seen::Samples(&canvas, way(1))));
        before.keep(Seen::Samples(&mut canvas, way(1))).unwrap();
        assert!(!before.is_like(&Seen::Frame(&one.view(), way(1))));
        let mut like = Canvas::new(3, 21, 17).unwrap();
        assert!(before.is_like(&Seen::Samples(&like, way(1))));
        assert!(before.has(&Seen::Samples(&like, way(1)), Rect::new(8, 16, 16, 16)));
        like.row_mut(2, 16)[20] = 1.0;
        assert!(!before.has(&Seen::Samples(&like, way(1)), Rect::new(8, 16, 16, 16)));
        assert!(before.has(&Seen::Samples(&like, way(1)), Rect::new(0, 0, 16, 16)));
        assert!(!before.is_like(&Seen::Condition(&like)));
    }
}
