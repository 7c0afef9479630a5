//! Maps of a whole picture that stay on a device from the upload of the picture to the download of its samples, and what is done with them
//! between runs of plans. Plain numbers: what a picture, a tile or a sampler is, only the engine knows.

use crate::error::{Error, Result};
use crate::exec::{Prepared, Weights};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Memory of a device for some values, the device's own.
#[derive(Clone)]
pub struct Room(pub(super) Arc<dyn Any + Send + Sync>);

/// Where a map lies.
#[derive(Clone, Copy)]
pub enum Home<'a> {
    Room(&'a Room),
    /// In the first output of the last [`Maps::run`].
    Result,
}

/// Planes of values, row-major; rows and planes may lie apart.
#[derive(Clone, Copy)]
pub struct Map<'a> {
    pub home: Home<'a>,
    /// First value.
    pub at: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Values from row to row, and from plane to plane.
    pub row: usize,
    pub plane: usize,
}

impl<'a> Map<'a> {
    /// A map without gaps, `[C, H, W]`, from value `at` on.
    pub fn new(home: Home<'a>, at: usize, (channels, height, width): (usize, usize, usize)) -> Self {
        Self { home, at, channels, height, width, row: width, plane: height * width }
    }

    /// Values of it.
    pub fn len(&self) -> usize {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }

    /// `count` of its rows, from `first` on.
    #[must_use]
    pub fn rows(self, first: usize, count: usize) -> Self {
        Self { at: self.at + first * self.row, height: count, ..self }
    }

    /// The values that it reaches over: one behind its last one, from its first one on.
    pub(super) fn reach(&self) -> Option<usize> {
        if self.len() == 0 {
            return Some(0);
        }
        let planes = (self.channels - 1).checked_mul(self.plane)?;
        let rows = (self.height - 1).checked_mul(self.row)?;
        planes.checked_add(rows)?.checked_add(self.width)
    }
}

/// Some values of a room that are no map: weights of rows, positions.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    pub room: &'a Room,
    pub at: usize,
    pub len: usize,
}

/// What a step gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gives {
    /// The next field.
    Next,
    /// The estimate of the clean one.
    Estimate,
    /// So much of the estimate, the rest of the next field.
    Blend(f32),
}

/// A sampling step in numbers: `estimate = estimate[0] field + estimate[1] prediction`,
/// `next = next[0] field + next[1] estimate + next[2] prediction + next[3] noise`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepBy {
    pub estimate: [f32; 2],
    pub next: [f32; 4],
    pub gives: Gives,
    /// Seed and step of the noise, where there is some, as `sampler::fill` takes them.
    pub noise: Option<(u64, u32)>,
    /// Row and column of the map's first cell, by which noise goes.
    pub origin: (usize, usize),
}

/// What one code of a frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    Red,
    Green,
    Blue,
    Alpha,
    White,
    Gray,
    Luma,
    ChromaU,
    ChromaV,
}

/// How one plane of a frame is written: rows of words of 32 bits, codes from the lowest bits on.
#[derive(Clone, Copy)]
pub struct PlaneBy<'a> {
    /// First word.
    pub to: Table<'a>,
    /// Words of a row; rows that are written, and the first of them.
    pub words: usize,
    pub rows: usize,
    pub first: usize,
    /// Codes of a row, of a position, and what they are.
    pub codes: usize,
    pub samples: usize,
    pub kinds: [Sample; 4],
    /// Bytes of a code, 1, 2 or 4 (f32), and unused bits below it.
    pub bytes: usize,
    pub shift: usize,
    /// The largest code, and what white is.
    pub top: f32,
    pub white: f32,
    /// Whether the plane has half the columns and rows of the picture.
    pub halved: (bool, bool),
    /// Siting of halved chroma: 0 left, 1 centre, 2 top left.
    pub siting: usize,
    /// Kr, Kg, Kb, offset and scale of luma, offset of chroma, scales of U and V; for luma and chroma.
    pub yuv: Table<'a>,
    /// Row of the picture that the colours begin with; rows of the picture.
    pub begins: usize,
    pub height: usize,
}

/// How codes of a frame become numbers: rows of words of 32 bits, codes from the lowest bits on.
#[derive(Clone, Copy)]
pub struct CodesBy<'a> {
    /// As many words as the map has rows of them.
    pub from: Table<'a>,
    /// Words of a row.
    pub words: usize,
    /// Codes of a position, and which of them each plane of the map is.
    pub samples: usize,
    pub places: [usize; 3],
    /// Bytes of a code, 1, 2 or 4 (f32), and unused bits below it.
    pub bytes: usize,
    pub shift: usize,
    /// A number is (code - offset) / scale.
    pub offset: f32,
    pub scale: f32,
}

/// How luma and chroma become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColoursBy {
    /// Whether chroma has half the columns and rows.
    pub halved: (bool, bool),
    /// Siting of halved chroma: 0 left, 1 centre, 2 top left.
    pub siting: usize,
    /// Red of V, green of U, green of V, blue of U.
    pub shares: [f32; 4],
}

/// One thing done with maps. Sums and products are rounded one by one, in the order in which the text has them.
#[derive(Clone, Copy)]
pub enum MapOp<'a> {
    /// Gives every value of a map without gaps this one.
    Fill { to: Map<'a>, value: f32 },
    /// `to` = `scale` times the window of its size at row and column `at`; beyond the right and lower edge the last value is repeated.
    Cut { from: Map<'a>, at: (usize, usize), scale: f32, unit: bool, to: Map<'a> },
    /// Adds a tile `[C, h, w]` times the weights of its columns at column `x` of a row of tiles `[C, h, W]`.
    Across { tile: Map<'a>, weights: Table<'a>, x: usize, to: Map<'a> },
    /// `to` = what `above` has `shift` rows further down (0 beyond it) + `strip` times the weights of its rows, where those are not 0.
    Down { strip: Map<'a>, weights: Table<'a>, above: Option<(Map<'a>, usize)>, to: Map<'a> },
    /// A sampling step; a prediction or field that is not there is 0.
    Step { by: StepBy, prediction: Option<Map<'a>>, field: Option<Map<'a>>, to: Map<'a> },
    /// Rows of `from` enlarged `factor` times, those from `first` on, by `weights` `[5, factor]`, plus `add`.
    Enlarge {
        from: Map<'a>,
        factor: usize,
        weights: Table<'a>,
        first: usize,
        add: Option<Map<'a>>,
        unit: bool,
        to: Map<'a>,
    },
    /// Numbers of a frame's codes.
    Codes { by: CodesBy<'a>, to: Map<'a> },
    /// `luma` plus shares of `chroma` `[2, h, w]`, which goes up by a cubic where it is halved.
    Colours { by: ColoursBy, luma: Map<'a>, chroma: Map<'a>, to: Map<'a> },
    /// `from`, as codes of 8 bits, enlarged `factor` times by `weights` `[5, factor]`, down and then across, mirrored at the edges, to codes again after
    /// either. Beyond the right and lower edge of that its last value is repeated.
    EnlargeCodes { from: Map<'a>, factor: usize, weights: Table<'a>, to: Map<'a> },
    /// Sets the mark, a value that is 0 before, to 1 where a value of the map is not finite.
    Finite { map: Map<'a>, mark: Table<'a> },
    /// Least and largest value in `[0, 1]` of each column of tiles (`width` columns from `factor` times each of `columns` on), plane and
    /// [`PIECE`] rows: `[columns, C, pieces, 2]`.
    Ranges { map: Map<'a>, columns: Table<'a>, factor: usize, width: usize, to: Table<'a> },
    /// Writes rows of one plane of a frame.
    Write { by: PlaneBy<'a>, rgb: Map<'a>, alpha: Option<Map<'a>> },
}

/// Rows of which [`MapOp::Ranges`] gives one range.
pub const PIECE: usize = 16;

/// Where one input of a tile comes from.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// A window of a map, times a factor.
    Window(Map<'a>, (usize, usize), f32),
    /// The same value everywhere.
    Value(f32),
}

/// Something on its way to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub(super) u64);

/// A device on which whole pictures can lie. Everything is done in the order of the calls, some time after them; what the host gets was waited for.
pub trait Maps: Send {
    /// Memory for `len` values, whose contents are unspecified.
    ///
    /// # Errors
    /// `Limit` where there is not so much.
    fn room(&mut self, len: usize) -> Result<Room>;

    /// Sends `len` values, written by `fill`, to the beginning of `to`.
    ///
    /// # Errors
    /// Those of `fill`; `Limit`, `Device` where the device refuses, `Internal` where they do not fit.
    fn send(&mut self, to: &Room, len: usize, fill: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()>;

    /// Does one thing.
    ///
    /// # Errors
    /// `Device` where the device refuses, `Internal` where a map does not lie in its room or sizes do not fit.
    fn apply(&mut self, op: &MapOp<'_>) -> Result<()>;

    /// Runs `plan` once; `inputs` has for each of the graph's inputs in turn where the part of each tile of the batch comes from.
    ///
    /// # Errors
    /// `Cancelled` where `stop` was set; as [`Maps::apply`].
    fn run(
        &mut self,
        plan: &mut dyn Prepared,
        weights: &Weights,
        inputs: &[&[From<'_>]],
        stop: &AtomicBool,
    ) -> Result<()>;

    /// Begins to bring values to the host, after all that was asked for so far. What comes after does not wait for it.
    ///
    /// # Errors
    /// As [`Maps::apply`].
    fn fetch(&mut self, from: Table<'_>) -> Result<Ticket>;

    /// Waits for what was fetched, and gives its values.
    ///
    /// # Errors
    /// Those of `read`; `Device` where anything that was asked for failed, `Internal` where the ticket was taken.
    fn take(&mut self, ticket: Ticket, read: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>;

    /// Waits for everything and forgets what was fetched: after an error.
    fn drain(&mut self);
}

/// For devices that cannot: what [`Maps::run`] says of a plan that is not its own.
pub(super) fn foreign() -> Error {
    Error::internal("maps, weights or a plan of another device")
}
