//! One picture from samples to samples: what surrounds the network, band by band.

use super::assemble::Rows;
use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::layout::Scene;
use super::picture::{Fields, Job, Local, Work, tile_name};
use super::plans::{Plans, Tiling};
use super::progress::{Counter, ProgressFn};
use super::resident::Pending;
use super::settings::{ColourFix, Settings};
use super::upscaler::Upscaler;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{self, Base, ConditionResize};
use crate::pixels::canvas::{Band, Canvas, unit};
use crate::pixels::convert::CONTEXT;
use crate::pixels::resample::{bicubic_rows, bicubic_up};
use crate::pixels::{FrameMut, FrameRef, alpha, colorfix, convert, imresize};
use crate::tiles::{Order, TileGrid};
use std::sync::Arc;

/// Everything of the size of a picture; the memory serves picture after picture.
#[derive(Default)]
pub(super) struct Workspace {
    /// Input, its alpha, the input at the latent grid where that is finer, and padded.
    lr: Canvas,
    alpha: Canvas,
    fine: Canvas,
    condition: Canvas,
    guide: Canvas,
    fields: Fields,
    local: Local,
    decoding: Work,
    order: Vec<usize>,
    bands: Bands,
}

/// Bands of the result.
#[derive(Default)]
struct Bands {
    rgb: Canvas,
    /// Last rows of the band before.
    above: Canvas,
    alpha: Canvas,
    line: Vec<f32>,
    /// The result as a whole, where colours are matched over all of it.
    whole: Canvas,
}

impl Upscaler {
    /// Enlarges `input` into `output`, whose sizes fit. Where there is none, begins the picture on a device that can go on alone, if there is
    /// such; nothing then where there is not.
    pub(super) fn paint(
        &self,
        plans: &mut Plans,
        (input, output): (&FrameRef<'_>, Option<&mut FrameMut<'_>>),
        settings: &Arc<Settings>,
        cache: Option<&mut FrameCache>,
        progress: &mut ProgressFn<'_>,
        cancel: &CancelToken,
    ) -> Result<Option<Pending>> {
        // Taken out for the time of the picture: the plans are borrowed too.
        let mut work = std::mem::take(&mut plans.workspace);
        let result = self.paint_in(&mut work, plans, (input, output), settings, cache, progress, cancel);
        plans.workspace = work;
        result
    }

    #[allow(clippy::too_many_arguments, reason = "the body of `paint`")]
    fn paint_in(
        &self,
        work: &mut Workspace,
        plans: &mut Plans,
        (input, mut output): (&FrameRef<'_>, Option<&mut FrameMut<'_>>),
        settings: &Arc<Settings>,
        mut cache: Option<&mut FrameCache>,
        progress: &mut ProgressFn<'_>,
        cancel: &CancelToken,
    ) -> Result<Option<Pending>> {
        let Workspace { lr, alpha, fine, condition, guide, fields, local, decoding, order, bands } = work;
        let network = &self.manifest.network;
        let has_alpha = convert::read_frame(input, lr, alpha)?;
        if has_alpha {
            alpha::bleed(lr, alpha)?;
        }
        let zoom = settings.scale / model::FACTOR;
        let way = model::condition_resize(network);
        let fine: &Canvas = if zoom == 1 {
            lr
        } else {
            resize(lr, zoom, way, fine, &mut bands.line)?;
            fine
        };
        let lattice = model::lattice(network, &self.manifest.common);
        // The network was trained on samples that can be shown; the bicubic base keeps what lies beyond.
        fine.pad_into(lattice, condition)?;
        condition.clamp01();
        // The published decoder reads the input at output size, enlarged in one go from the original.
        let guided = way == ConditionResize::Imresize;
        if guided {
            imresize::enlarge_u8(lr, settings.scale)?.pad_into(lattice * model::FACTOR, guide)?;
        }
        let size = (condition.height(), condition.width());
        let asked = settings.tile_size * zoom;
        let (mut side, mut at_once) = (asked, usize::MAX);
        loop {
            let tiling = self.tiling(plans, size, side, settings)?;
            let Tiling { grid, fine: fine_grid, batch } = &tiling;
            let batch = if self.tune.batch > 0 { self.tune.batch } else { (*batch).min(at_once) };
            order.clear();
            order.extend(0..grid.len());
            if self.tune.order != Order::Rows {
                let (rows, columns) = grid.counts();
                *order = self.tune.order.indices(rows, columns);
            }
            let job = Job {
                condition,
                guide: guided.then_some(&*guide),
                steps: &settings.steps,
                start_noise: settings.start_noise,
                fidelity: settings.fidelity,
                seed: settings.seed,
                origin: (0, 0),
                latent_channels: model::latent_channels(network),
                grid,
                fine: fine_grid,
                order,
                batch,
                stop: cancel.flag(),
            };
            let scene = Scene {
                job: &job,
                fine,
                alpha: has_alpha.then_some((&*alpha, settings.scale)),
                whole: settings.colour_fix != ColourFix::None,
                format: input.format(),
                color: output.as_ref().map_or(input.color(), |o| o.color()),
                size: [input.width(), input.height()].map(|n| n as usize * settings.scale).into(),
            };
            let resident = self.resident(plans, &scene, settings)?;
            let on_device = resident.is_some();
            if output.is_none() && (!on_device || scene.whole) {
                // Its turn comes with its output.
                plans.resident = resident;
                return Ok(None);
            }
            // What a decoder reads at output size depends on more than a tile's part of the condition.
            let values = job.latent_channels * settings.steps.len() + 3 * model::FACTOR * model::FACTOR;
            let mut kept = cache
                .as_deref_mut()
                .filter(|_| !guided && !settings.independent && FrameCache::fits(grid, values));
            if let Some(cache) = &mut kept {
                cache.begin(grid, settings, condition, on_device);
            }
            let mut counter = Counter::new(progress, job.units())?;
            let mut finish = Finish {
                job: &job,
                base: model::base(network),
                fine,
                alpha: has_alpha.then_some((&*alpha, settings.scale)),
                fix: settings.colour_fix,
                bands,
            };
            finish.begin(scene.size)?;
            let all = if let Some(mut resident) = resident {
                let begun = resident.begin(plans, &scene, finish.base, kept.as_deref_mut(), &mut counter);
                let done = begun.and_then(|pending| match &mut output {
                    Some(output) => {
                        resident.end(&pending, output, &mut finish.bands.whole)?;
                        finish.end(lr, output).map(|()| None)
                    }
                    None => Ok(Some(pending)),
                });
                if done.is_err() {
                    resident.drain();
                }
                plans.resident = Some(resident);
                done
            } else if let Some(output) = &mut output {
                let mut take = |rows: &Rows<'_>| finish.rows(rows, output);
                let (steps, decoded) = match &mut kept {
                    Some(cache) => (Some(cache.steps.as_mut_slice()), Some(cache.decoded.as_mut_slice())),
                    None => (None, None),
                };
                let all = if settings.independent {
                    job.independent(plans, local, decoding, &mut counter, &mut take)
                } else {
                    job.sample(plans, fields, steps, &mut counter)
                        .and_then(|()| job.decode(plans, fields, decoding, decoded, &mut counter, &mut take))
                };
                all.and_then(|()| finish.end(lr, output)).map(|()| None)
            } else {
                Ok(None)
            };
            let pending = match (all, smaller(grid.tile_shape())) {
                (Err(e), _) if e.kind() == ErrorKind::Limit && batch > 1 && self.tune.batch == 0 => {
                    log::warn!("{e}; going on with one tile at a time, not {batch}");
                    plans.forget();
                    at_once = 1;
                    continue;
                }
                (Err(e), Some(less)) if e.kind() == ErrorKind::Limit && self.may_shrink(settings.scale) => {
                    log::warn!("{e}; going on with tiles of {less} cells and not {:?}", grid.tile_shape());
                    plans.forget();
                    side = less;
                    continue;
                }
                (all, _) => all?,
            };
            let units = job.units();
            if let Some(cache) = kept {
                cache.finish(grid, settings, condition, on_device);
            }
            if let Some(cache) = cache {
                cache.tiles += units;
            }
            if side != asked || at_once == 1 {
                // The next frame shall not try in vain again.
                plans.keep_tiling(Self::grid_key(size, asked, settings), Tiling { batch, ..tiling });
            }
            return Ok(pending);
        }
    }
}

/// What becomes of decoded rows.
struct Finish<'a> {
    job: &'a Job<'a>,
    base: Base,
    /// The input at the latent grid.
    fine: &'a Canvas,
    /// Alpha of the input and how many times larger it becomes.
    alpha: Option<(&'a Canvas, usize)>,
    fix: ColourFix,
    bands: &'a mut Bands,
}

impl Finish<'_> {
    fn begin(&mut self, (width, height): (usize, usize)) -> Result<()> {
        self.bands.above.reset(3, width, CONTEXT)?;
        if self.fix != ColourFix::None {
            self.bands.whole.reset(3, width, height)?;
        }
        Ok(())
    }

    /// Takes the next rows of what was decoded, down to the padding below the picture.
    fn rows(&mut self, rows: &Rows<'_>, output: &mut FrameMut<'_>) -> Result<()> {
        let (width, height) = (output.width() as usize, output.height() as usize);
        let (first, end) = (rows.first.min(height), (rows.first + rows.count).min(height));
        if first == end {
            return Ok(());
        }
        let Bands { rgb, above, alpha, line, whole } = &mut *self.bands;
        let context = CONTEXT.min(first);
        rgb.reset(3, width, context + end - first)?;
        for c in 0..3 {
            for y in 0..context {
                rgb.row_mut(c, y).copy_from_slice(above.row(c, CONTEXT - context + y));
            }
        }
        if self.base == Base::Bicubic {
            bicubic_rows(self.fine, model::FACTOR, first..end, rgb, context, line)?;
        }
        for c in 0..3 {
            for y in 0..end - first {
                rgb.row_mut(c, context + y).iter_mut().zip(rows.row(c, y)).for_each(|(p, d)| *p += d);
            }
        }
        check_life(self.job, self.fine, rgb, context, first..end)?;
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
        let opacity = match self.alpha {
            Some((small, scale)) => {
                alpha::enlarge_rows(small, scale, first..end, alpha, line)?;
                Some(Band::new(alpha, first, height))
            }
            None => None,
        };
        convert::write_rows(Band::new(rgb, first - context, height), opacity, output, first..end)
    }

    /// Matches colours and writes, where that has to wait for the whole picture.
    fn end(&mut self, lr: &Canvas, output: &mut FrameMut<'_>) -> Result<()> {
        let Bands { alpha, line, whole, .. } = &mut *self.bands;
        if self.fix != ColourFix::None {
            signed(whole);
        }
        match self.fix {
            ColourFix::None => return Ok(()),
            ColourFix::Adain => {
                let mut reference = self.fine.clone();
                signed(&mut reference);
                colorfix::adain(whole, &reference);
            }
            ColourFix::Wavelet => {
                let mut reference = match self.base {
                    Base::Bicubic => bicubic_up(self.fine, model::FACTOR, 0..whole.height())?,
                    Base::Nothing => imresize::enlarge_u8(lr, whole.height() / lr.height())?,
                };
                signed(&mut reference);
                colorfix::wavelet(whole, &reference)?;
            }
        }
        whole.data_mut().iter_mut().for_each(|v| *v = 0.5 * *v + 0.5);
        let opacity = match self.alpha {
            Some((small, scale)) => {
                alpha::enlarge_rows(small, scale, 0..whole.height(), alpha, line)?;
                Some(&*alpha)
            }
            None => None,
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

/// Sides tried for tiles, in latent cells, when the whole picture is above the budget.
pub(super) const TILE_SIDES: [usize; 6] = [512, 384, 256, 192, 128, 96];

/// The next smaller side to try for a tile, if there is one that is worth it.
fn smaller((h, w): (usize, usize)) -> Option<usize> {
    TILE_SIDES.into_iter().find(|&side| side < h.max(w))
}

/// The picture `factor` times larger, the way the network was trained with.
fn resize(
    lr: &Canvas,
    factor: usize,
    way: ConditionResize,
    out: &mut Canvas,
    line: &mut Vec<f32>,
) -> Result<()> {
    match way {
        ConditionResize::Bicubic => {
            out.reset(lr.channels(), lr.width() * factor, lr.height() * factor)?;
            bicubic_rows(lr, factor, 0..lr.height() * factor, out, 0, line)
        }
        ConditionResize::Imresize => {
            *out = imresize::enlarge_u8(lr, factor)?;
            Ok(())
        }
    }
}

/// From `[0, 1]` to `[-1, 1]`, the range in which colours are matched.
fn signed(canvas: &mut Canvas) {
    canvas.data_mut().iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
}
