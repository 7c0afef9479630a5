//! Where everything of a picture lies in the one room that it has on a device.

use super::given::{Given, Opacity, PlaneIn};
use super::picture::Job;
use super::samples::Way;
use crate::error::Result;
use crate::exec::maps::{Home, Map, PIECE, PlaneBy, Room, Sample, Table};
use crate::model;
use crate::pixels::codes::{Kind, PlaneCodes, codes, siting_number, yuv_numbers};
use crate::pixels::convert::CONTEXT;
use crate::pixels::resample::bicubic_weights;
use crate::pixels::{ColorInfo, PixelFormat};
use crate::tiles::TileGrid;

/// What a picture is besides its job.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) way: Way,
    pub(super) given: Given<'a>,
    pub(super) alpha: Option<Opacity>,
    /// Whether colours are matched over the whole picture afterwards: it comes back as it is, and not as a frame.
    pub(super) whole: bool,
    pub(super) format: PixelFormat,
    pub(super) color: ColorInfo,
    /// Width and height of the result.
    pub(super) size: (usize, usize),
}

/// One plane of the frame in the part that comes back.
#[derive(Clone, Copy)]
pub(super) struct PlaneOut {
    pub(super) codes: PlaneCodes,
    /// First word, counted from the beginning of what comes back.
    pub(super) at: usize,
    /// Words of a row, codes of a row, rows.
    pub(super) words: usize,
    pub(super) width: usize,
    pub(super) rows: usize,
}

/// Places of values in the room, in its order.
#[derive(Default)]
pub(super) struct Layout {
    // What is sent, or made of that: the input, and its alpha where that varies.
    pub(super) lr: usize,
    pub(super) alpha: usize,
    // What is sent.
    pub(super) planes_in: Vec<PlaneIn>,
    /// Weights of enlargements: by the model's factor, to the latent grid, and to the size of the result.
    pub(super) cubic: usize,
    pub(super) cubic_zoom: usize,
    pub(super) cubic_scale: usize,
    /// Weights of rows and columns of tiles, and of those of the result.
    pub(super) weights: [usize; 4],
    /// First columns of tiles.
    pub(super) columns: usize,
    pub(super) yuv: usize,
    /// Values that are sent.
    pub(super) sent: usize,
    // What is made.
    pub(super) luma: usize,
    pub(super) chroma: usize,
    /// Height and width of chroma.
    pub(super) chroma_size: (usize, usize),
    /// The input at the latent grid, padded and as shown, and at the size of the result where a decoder reads that.
    pub(super) fine: usize,
    pub(super) condition: usize,
    pub(super) guide: usize,
    pub(super) fields: [usize; 2],
    pub(super) first: usize,
    /// Rows of tiles that are open, as long as the larger of both kinds, and sums of them downwards.
    pub(super) strips: Vec<usize>,
    pub(super) sums: [usize; 2],
    pub(super) bands: [usize; 2],
    pub(super) opacity: usize,
    // What comes back: marks, ranges, and the frame.
    pub(super) back: usize,
    /// Of the result and, behind them, of the input.
    pub(super) ranges: usize,
    pub(super) ranges_in: usize,
    pub(super) planes: Vec<PlaneOut>,
    pub(super) picture: usize,
    pub(super) back_len: usize,
    /// Values in all.
    pub(super) len: usize,
}

/// Parts begin at multiples of this many values.
const ALIGN: usize = 64;

impl Layout {
    fn take(&mut self, values: usize) -> usize {
        let at = self.len;
        self.len = self.len.saturating_add(values.next_multiple_of(ALIGN));
        at
    }

    /// As `take`, right behind what comes before: every value of what comes back is written.
    fn take_close(&mut self, values: usize) -> usize {
        let at = self.len;
        self.len = self.len.saturating_add(values);
        at
    }

    /// Plans a picture.
    pub(super) fn of(scene: &Scene<'_>) -> Self {
        let (mut l, job) = (Self::default(), scene.job);
        let (h, w) = job.grid.picture_shape();
        let (th, tw) = job.grid.tile_shape();
        let (rows, columns) = job.grid.counts();
        let (width, height) = scene.size;
        let f = model::FACTOR;
        let latent = job.latent_channels;
        let way = &scene.way;
        let pixels = way.width * way.height;
        let alpha = if scene.alpha == Some(Opacity::Varies) { pixels } else { 0 };
        match scene.given {
            Given::Samples(..) => (l.lr, l.alpha) = (l.take(3 * pixels), l.take(alpha)),
            Given::Frame(frame) => {
                for (number, codes) in codes(frame.format()).into_iter().enumerate() {
                    let (width, rows) = frame.format().plane_size(number, frame.width(), frame.height());
                    let words = (width * codes.samples * codes.bytes).div_ceil(size_of::<f32>());
                    let at = l.take(words * rows);
                    l.planes_in.push(PlaneIn { codes, at, words, rows });
                    l.chroma_size = (rows, width);
                }
            }
        }
        l.cubic = l.take(5 * f);
        l.cubic_zoom = l.take(5 * way.zoom);
        l.cubic_scale = l.take(5 * way.scale);
        l.weights = [rows * th, columns * tw, rows * th * f, columns * tw * f].map(|n| l.take(n));
        l.columns = l.take(columns);
        l.yuv = l.take(8);
        l.sent = l.len;
        if let Given::Frame(frame) = scene.given {
            (l.lr, l.alpha) = (l.take(3 * pixels), l.take(alpha));
            if frame.format().is_yuv() {
                l.luma = l.take(pixels);
                l.chroma = l.take(2 * l.chroma_size.0 * l.chroma_size.1);
            }
        }
        let (fine_h, fine_w) = way.fine();
        l.fine = if way.zoom > 1 { l.take(3 * fine_h * fine_w) } else { l.lr };
        l.condition = l.take(3 * h * w);
        let (guide_h, guide_w) = way.guide();
        l.guide = l.take(if way.guided() { 3 * guide_h * guide_w } else { 0 });
        l.fields = [0; 2].map(|_| l.take(latent * h * w));
        let keeps_first = job.steps.len() > 1 && job.fidelity > 0.0;
        l.first = l.take(if keeps_first { latent * h * w } else { 0 });
        if job.grid.len() > 1 {
            let strip = (latent * th * w).max(3 * th * f * w * f);
            // In order only one is open at a time.
            let open = if job.order.is_sorted() { 1 } else { rows };
            l.strips = (0..open).map(|_| l.take(strip)).collect();
            l.sums = [0; 2].map(|_| l.take(strip));
        }
        let band = CONTEXT + th * f;
        l.bands = [0; 2].map(|_| l.take(3 * band * width));
        l.opacity = l.take(if scene.alpha.is_some() { band * width } else { 0 });
        l.back = l.len;
        l.take_close((job.steps.len() + 1) * job.grid.len());
        l.ranges = l.len - l.back;
        let bands = bands(job.fine, height);
        for (first, end) in &bands {
            l.take_close(columns * ranges_of(end - first));
        }
        l.ranges_in = l.len - l.back;
        for band in &bands {
            l.take_close(columns * ranges_of(input_rows(*band).len()));
        }
        if scene.whole {
            l.picture = l.len - l.back;
            l.take_close(3 * width * height);
        } else {
            for codes in codes(scene.format) {
                let half = |n: usize, halved: bool| if halved { n.div_ceil(2) } else { n };
                let (width, rows) = (half(width, codes.halved.0), half(height, codes.halved.1));
                let words = (width * codes.samples * codes.bytes).div_ceil(size_of::<f32>());
                let at = l.len - l.back;
                l.take_close(words * rows);
                l.planes.push(PlaneOut { codes, at, words, width: width * codes.samples, rows });
            }
        }
        l.back_len = l.len - l.back;
        l
    }

    /// Writes what is sent.
    ///
    /// # Errors
    /// `Internal` for an enlargement that there is not.
    pub(super) fn write(&self, scene: &Scene<'_>, out: &mut [f32]) -> Result<()> {
        let job = scene.job;
        out.fill(0.0);
        if let Given::Frame(frame) = scene.given {
            for (number, plane) in self.planes_in.iter().enumerate() {
                let all = out.get_mut(plane.at..).unwrap_or_default();
                for (y, words) in all.chunks_exact_mut(plane.words.max(1)).take(plane.rows).enumerate() {
                    let (whole, rest) = frame.row(number, y).as_chunks::<{ size_of::<f32>() }>();
                    words.iter_mut().zip(whole).for_each(|(w, bytes)| *w = f32::from_ne_bytes(*bytes));
                    if let Some(word) = words.get_mut(whole.len()) {
                        let mut last = [0; size_of::<f32>()];
                        last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
                        *word = f32::from_ne_bytes(last);
                    }
                }
            }
        }
        let mut put = |at: usize, values: &[f32]| {
            if let Some(to) = out.get_mut(at..at + values.len()) {
                to.copy_from_slice(values);
            }
        };
        if let Given::Samples(lr, alpha) = scene.given {
            put(self.lr, lr.data());
            if scene.alpha == Some(Opacity::Varies) {
                put(self.alpha, alpha.data());
            }
        }
        put(self.cubic, &bicubic_weights(model::FACTOR)?);
        put(self.cubic_scale, &bicubic_weights(scene.way.scale)?);
        if scene.way.zoom > 1 {
            put(self.cubic_zoom, &bicubic_weights(scene.way.zoom)?);
        }
        for (grid, at) in [(job.grid, &self.weights[..2]), (job.fine, &self.weights[2..])] {
            let ((th, tw), (rows, columns)) = (grid.tile_shape(), grid.counts());
            for row in 0..rows {
                let tile = grid.tile(row * columns).unwrap_or_default();
                put(at[0] + row * th, grid.weights(&tile).0);
            }
            for column in 0..columns {
                let tile = grid.tile(column).unwrap_or_default();
                put(at[1] + column * tw, grid.weights(&tile).1);
            }
        }
        for column in 0..job.grid.counts().1 {
            // Sides are below 2^24: exact.
            let x = job.grid.tile(column).unwrap_or_default().rect.x as f32;
            put(self.columns + column, &[x]);
        }
        put(self.yuv, &yuv_numbers(scene.format, scene.color));
        Ok(())
    }

    /// How plane `plane` is written for the picture's rows `first..end`, of which the band begins `context` rows earlier.
    pub(super) fn plane_by<'a>(
        &self,
        room: &'a Room,
        scene: &Scene<'_>,
        plane: &PlaneOut,
        (first, end): (usize, usize),
        context: usize,
    ) -> PlaneBy<'a> {
        let PlaneCodes { samples, kinds, bytes, shift, top, white, halved } = plane.codes;
        let down = 1 + usize::from(halved.1);
        let (from, to) = (first / down, end.div_ceil(down));
        let at = self.back + plane.at + from * plane.words;
        PlaneBy {
            to: Table { room, at, len: plane.words * (to - from) },
            words: plane.words,
            rows: to - from,
            first: from,
            codes: plane.width,
            samples,
            kinds: kinds.map(sample),
            bytes,
            shift,
            top,
            white,
            halved,
            siting: siting_number(scene.color.siting),
            yuv: Table { room, at: self.yuv, len: 8 },
            begins: first - context,
            height: scene.size.1,
        }
    }

    /// A map of the room.
    pub(super) fn map(room: &Room, at: usize, shape: (usize, usize, usize)) -> Map<'_> {
        Map::new(Home::Room(room), at, shape)
    }
}

/// Values that the ranges of `rows` rows take for a column of tiles.
pub(super) fn ranges_of(rows: usize) -> usize {
    3 * 2 * rows.div_ceil(PIECE)
}

/// Rows of the input at the latent grid of which these of the result are made.
pub(super) fn input_rows((first, end): (usize, usize)) -> std::ops::Range<usize> {
    first / model::FACTOR..end.div_ceil(model::FACTOR)
}

/// Rows of the result, `height` high, that become ready with each row of tiles of its grid.
pub(super) fn bands(fine: &TileGrid, height: usize) -> Vec<(usize, usize)> {
    let (rows, columns) = fine.counts();
    let top = |row: usize| fine.tile(row * columns).map_or(usize::MAX, |t| t.rect.y);
    let band = |row: usize| (top(row).min(height), top(row + 1).min(height));
    (0..rows).map(band).filter(|(first, end)| first < end).collect()
}

fn sample(kind: Kind) -> Sample {
    match kind {
        Kind::Colour(0) => Sample::Red,
        Kind::Colour(1) => Sample::Green,
        Kind::Colour(_) => Sample::Blue,
        Kind::Alpha => Sample::Alpha,
        Kind::White => Sample::White,
        Kind::Gray => Sample::Gray,
        Kind::Luma => Sample::Luma,
        Kind::Chroma(0) => Sample::ChromaU,
        Kind::Chroma(_) => Sample::ChromaV,
    }
}
