//! One picture from frame to frame: what surrounds the network.

use super::assemble::Rows;
use super::cache::FrameCache;
use super::cancel::CancelToken;
use super::finish::{Bands, Finish};
use super::given::{Given, Opacity};
use super::layout::Scene;
use super::picture::{Fields, Job, Local, Work};
use super::plans::{Plans, Tiling};
use super::progress::{Counter, ProgressFn};
use super::resident::Pending;
use super::samples::{Samples, Way};
use super::seen::Seen;
use super::settings::{ColourFix, Settings};
use super::upscaler::Upscaler;
use crate::error::{ErrorKind, Result};
use crate::model;
use crate::pixels::alpha::{self, Alpha};
use crate::pixels::canvas::Canvas;
use crate::pixels::{FrameMut, FrameRef};
use crate::tiles::Order;
use std::sync::Arc;

/// Everything of the size of a picture; the memory serves picture after picture.
#[derive(Default)]
pub(super) struct Workspace {
    samples: Samples,
    fields: Fields,
    local: Local,
    decoding: Work,
    order: Vec<usize>,
    bands: Bands,
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
        let Workspace { samples, fields, local, decoding, order, bands } = work;
        let network = &self.manifest.network;
        let way = Way::of(&self.manifest, input, settings.scale);
        let matched = settings.colour_fix != ColourFix::None;
        if output.is_none() && matched {
            // Its turn comes with its output.
            return Ok(None);
        }
        samples.forget();
        let (size, large) = (way.condition(), (way.width * way.scale, way.height * way.scale));
        let asked = settings.tile_size * way.zoom;
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
            let nothing = Canvas::default();
            let job = Job {
                condition: &nothing,
                guide: None,
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
            // What a decoder reads at output size depends on more than a tile's part of the condition.
            let values = job.latent_channels * settings.steps.len() + 3 * model::FACTOR * model::FACTOR;
            let mut kept = cache
                .as_deref_mut()
                .filter(|_| !way.guided() && !settings.independent && FrameCache::fits(grid, values));
            let mut counter = Counter::new(progress, job.units())?;
            let mut device = self.resident(plans, settings)?;
            // The processor reads what it alone can: colours under what nobody sees, and those that it matches in the end.
            let opacity = if device.is_some() { alpha::look(input)? } else { None };
            let hidden = opacity == Some(Alpha::Hidden);
            if hidden {
                samples.read(input)?;
            }
            if device.is_some() && matched {
                samples.make(input, &way)?;
            }
            let scene = Scene {
                job: &job,
                way,
                given: if hidden { Given::Samples(&samples.lr, &samples.alpha) } else { Given::Frame(input) },
                alpha: opacity.map(|alpha| match alpha {
                    Alpha::Constant(value) => Opacity::Constant(value),
                    Alpha::Shown | Alpha::Hidden => Opacity::Varies,
                }),
                whole: matched,
                format: input.format(),
                color: output.as_ref().map_or(input.color(), |o| o.color()),
                size: large,
            };
            if let Some(resident) = &mut device
                && !self.has_room(resident, &scene)?
            {
                device = None;
            }
            let on_device = device.is_some();
            let base = model::base(network);
            let all = if let Some(mut resident) = device {
                if let Some(cache) = &mut kept {
                    let seen = if hidden { Seen::Samples(&samples.lr, way) } else { Seen::Frame(input, way) };
                    cache.begin(grid, settings, &seen);
                }
                let begun = resident.begin(plans, &scene, base, kept.as_deref_mut(), &mut counter);
                let done = begun.and_then(|pending| {
                    let Some(output) = &mut output else { return Ok(Some(pending)) };
                    let mut finish =
                        Finish { job: &job, base, way: &way, samples, fix: settings.colour_fix, bands };
                    finish.begin(large)?;
                    resident.end(&pending, output, &mut finish.bands.whole)?;
                    finish.end(output).map(|()| None)
                });
                if done.is_err() {
                    resident.drain();
                }
                plans.resident = Some(resident);
                done
            } else if let Some(output) = &mut output {
                samples.make(input, &way)?;
                let job = Job { condition: &samples.condition, guide: samples.guide(&way), ..job };
                if let Some(cache) = &mut kept {
                    cache.begin(grid, settings, &Seen::Condition(&samples.condition));
                }
                let mut finish =
                    Finish { job: &job, base, way: &way, samples, fix: settings.colour_fix, bands };
                finish.begin(large)?;
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
                all.and_then(|()| finish.end(output)).map(|()| None)
            } else {
                return Ok(None);
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
                let seen = match (on_device, hidden) {
                    (true, true) => Seen::Samples(&mut samples.lr, way),
                    (true, false) => Seen::Frame(input, way),
                    (false, _) => Seen::Condition(&mut samples.condition),
                };
                cache.finish(grid, settings, seen);
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

/// Sides tried for tiles, in latent cells, when the whole picture is above the budget.
pub(super) const TILE_SIDES: [usize; 6] = [512, 384, 256, 192, 128, 96];

/// The next smaller side to try for a tile, if there is one that is worth it.
fn smaller((h, w): (usize, usize)) -> Option<usize> {
    TILE_SIDES.into_iter().find(|&side| side < h.max(w))
}
