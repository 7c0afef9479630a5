//! What becomes of decoded rows in the machine's memory, band by band.

use super::assemble::Rows;
use super::picture::{Job, tile_name};
use super::samples::{Samples, Way};
use super::settings::ColourFix;
use crate::error::{Error, Result};
use crate::model::{self, Base};
use crate::pixels::canvas::{Band, Canvas, unit};
use crate::pixels::convert::CONTEXT;
use crate::pixels::resample::{bicubic_rows, bicubic_up};
use crate::pixels::{FrameMut, alpha, colorfix, convert, imresize};
use crate::tiles::TileGrid;

/// Bands of the result.
#[derive(Default)]
pub(super) struct Bands {
    rgb: Canvas,
    /// Last rows of the band before.
    above: Canvas,
    alpha: Canvas,
    line: Vec<f32>,
    /// The result as a whole, where colours are matched over all of it.
    pub(super) whole: Canvas,
}

/// What becomes of decoded rows.
pub(super) struct Finish<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) base: Base,
    pub(super) way: &'a Way,
    pub(super) samples: &'a Samples,
    pub(super) fix: ColourFix,
    pub(super) bands: &'a mut Bands,
}

impl Finish<'_> {
    pub(super) fn begin(&mut self, (width, height): (usize, usize)) -> Result<()> {
        self.bands.above.reset(3, width, CONTEXT)?;
        if self.fix != ColourFix::None {
            self.bands.whole.reset(3, width, height)?;
        }
        Ok(())
    }

    /// Takes the next rows of what was decoded, down to the padding below the picture.
    pub(super) fn rows(&mut self, rows: &Rows<'_>, output: &mut FrameMut<'_>) -> Result<()> {
        let (width, height) = (output.width() as usize, output.height() as usize);
        let (first, end) = (rows.first.min(height), (rows.first + rows.count).min(height));
        if first == end {
            return Ok(());
        }
        let Bands { rgb, above, alpha, line, whole } = &mut *self.bands;
        let fine = self.samples.fine(self.way);
        let context = CONTEXT.min(first);
        rgb.reset(3, width, context + end - first)?;
        for c in 0..3 {
            for y in 0..context {
                rgb.row_mut(c, y).copy_from_slice(above.row(c, CONTEXT - context + y));
            }
        }
        if self.base == Base::Bicubic {
            bicubic_rows(fine, model::FACTOR, first..end, rgb, context, line)?;
        }
        for c in 0..3 {
            for y in 0..end - first {
                rgb.row_mut(c, context + y).iter_mut().zip(rows.row(c, y)).for_each(|(p, d)| *p += d);
            }
        }
        check_life(self.job, fine, rgb, context, first..end)?;
        for c in 0..3 {
            for y in 0..CONTEXT.min(rgb.height()) {
                let from = rgb.height() - CONTEXT.min(rgb.height()) + y;
                above.row_mut(c, CONTEXT - CONTEXT.min(rgb.height()) + y).copy_from_slice(rgb.row(c, from));
            }
        }
        if self.fix != ColourFix::None {
            for c in 0..3 {
                for y in first..end {
                    whole.row_mut(c, y).copy_from_slice(rgb.row(c, context + y - first));
                }
            }
            return Ok(());
        }
        let opacity = if output.format().has_alpha() {
            alpha::enlarge_rows(&self.samples.alpha, self.way.scale, first..end, alpha, line)?;
            Some(Band::new(alpha, first, height))
        } else {
            None
        };
        convert::write_rows(Band::new(rgb, first - context, height), opacity, output, first..end)
    }

    /// Matches colours and writes, where that has to wait for the whole picture.
    pub(super) fn end(&mut self, output: &mut FrameMut<'_>) -> Result<()> {
        let Bands { alpha, line, whole, .. } = &mut *self.bands;
        let (fine, lr) = (self.samples.fine(self.way), &self.samples.lr);
        if self.fix != ColourFix::None {
            signed(whole);
        }
        match self.fix {
            ColourFix::None => return Ok(()),
            ColourFix::Adain => {
                let mut reference = fine.clone();
                signed(&mut reference);
                colorfix::adain(whole, &reference);
            }
            ColourFix::Wavelet => {
                let mut reference = match self.base {
                    Base::Bicubic => bicubic_up(fine, model::FACTOR, 0..whole.height())?,
                    Base::Nothing => imresize::enlarge_u8(lr, self.way.scale)?,
                };
                signed(&mut reference);
                colorfix::wavelet(whole, &reference)?;
            }
        }
        whole.data_mut().iter_mut().for_each(|v| *v = 0.5 * *v + 0.5);
        let opacity = if output.format().has_alpha() {
            alpha::enlarge_rows(&self.samples.alpha, self.way.scale, 0..whole.height(), alpha, line)?;
            Some(&*alpha)
        } else {
            None
        };
        convert::to_frame(whole, opacity, output)
    }
}

/// Range of the input above which a tile has something to show, and of the result below which it shows nothing.
pub(super) const ALIVE: f32 = 8.0 / 255.0;
pub(super) const DEAD: f32 = 0.5 / 255.0;

/// Refuses tiles that came out as one colour where the input has more: a network that failed, not a picture.
fn check_life(
    job: &Job<'_>,
    fine: &Canvas,
    rgb: &Canvas,
    context: usize,
    rows: std::ops::Range<usize>,
) -> Result<()> {
    let range = |map: &Canvas, c: usize, ys: std::ops::Range<usize>, xs: std::ops::Range<usize>| {
        let mut least_most = (f32::INFINITY, f32::NEG_INFINITY);
        for y in ys {
            for v in map.row(c, y).get(xs.clone()).unwrap_or_default() {
                // As it will be seen: far beyond black is black.
                least_most = (least_most.0.min(unit(*v)), least_most.1.max(unit(*v)));
            }
        }
        least_most.1 - least_most.0
    };
    let f = model::FACTOR;
    for column in 0..job.grid.counts().1 {
        let Some(tile) = job.grid.tile(column) else { continue };
        let xs = tile.rect.x..(tile.rect.x + tile.rect.w).min(fine.width());
        let ys = rows.start / f..rows.end.div_ceil(f).min(fine.height());
        let large = (xs.start * f..(xs.end * f).min(rgb.width()), context..rgb.height());
        let dead = |c: usize| range(rgb, c, large.1.clone(), large.0.clone()) < DEAD;
        let alive = |c: usize| range(fine, c, ys.clone(), xs.clone()) > ALIVE;
        if (0..3).all(dead) && (0..3).any(alive) {
            return Err(lifeless(job.grid, rows.start, column));
        }
    }
    Ok(())
}

/// What is said of a tile that came out as one colour: that of a column in which row `y` of the result lies.
pub(super) fn lifeless(grid: &TileGrid, y: usize, column: usize) -> Error {
    let (rows, columns) = grid.counts();
    let above = |r: &usize| grid.tile(r * columns).is_some_and(|t| t.rect.y * model::FACTOR <= y);
    let row = (0..rows).rfind(above).unwrap_or_default();
    let tile = grid.tile(row * columns + column).unwrap_or_default();
    Error::internal(format!("{} came out as one colour, the input has more there", tile_name(grid, &tile)))
}

/// From `[0, 1]` to `[-1, 1]`, the range in which colours are matched.
fn signed(canvas: &mut Canvas) {
    canvas.data_mut().iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
}
