//! Tiles of a picture: how large, how many at once, and whether they stay on the device.

use super::layout::{Layout, Scene};
use super::memory;
use super::paint::TILE_SIDES;
use super::plans::{GridKey, Part, Plans, Tiling};
use super::resident::Resident;
use super::settings::Settings;
use super::upscaler::Upscaler;
use crate::error::{Error, ErrorKind, Result};
use crate::model;
use crate::tiles::TileGrid;

/// Bytes that results of one tile may take at a time. Fixed, and not what the machine has free: another grid of tiles
/// is another picture, if only by a little. Where not even this is free, the tiles shrink.
const TILE_BYTES: u64 = 1 << 30;

/// Cells shared by neighbouring tiles. Half of it is context that is thrown away: 32 cells, at which tiles of
/// the shipped network agree to 47 dB before blending.
const OVERLAP: usize = 64;

/// Cells in the middle of an overlap over which tiles blend.
const RAMP: usize = 16;

/// Tiles at once that are tried on a device with memory of its own. With eight the smallest maps of a network of 128x128 cells still have blocks for a
/// good part of a large GPU.
const AT_ONCE: [usize; 3] = [8, 4, 2];

impl Upscaler {
    /// Whether this network works at tiles of any size.
    pub(super) fn may_shrink(&self, scale: usize) -> bool {
        model::fixed_tile(&self.manifest.network, scale).is_none()
    }

    /// Tiles for a picture of `h` x `w` latent cells, `asked` as in [`Upscaler::grid`].
    pub(super) fn tiling(
        &self,
        plans: &mut Plans,
        (h, w): (usize, usize),
        asked: usize,
        settings: &Settings,
    ) -> Result<Tiling> {
        plans.tiling(Self::grid_key((h, w), asked, settings), || {
            let grid = self.grid((h, w), asked, settings)?;
            let batch = self.batch(&grid)?;
            Ok(Tiling::new(grid, batch))
        })
    }

    /// Tiles at once: one, for processors gain nothing from more and the memory would double. On a device whose memory is its own so many
    /// that it has enough to do, as far as half of what is free goes, and calls about even: another number is another plan.
    fn batch(&self, grid: &TileGrid) -> Result<usize> {
        let executor = self.executor();
        let Some(free) = executor.free().filter(|_| grid.len() > 1) else { return Ok(1) };
        let room = free.saturating_add(executor.held()) / 2;
        for most in AT_ONCE {
            let batch = grid.len().div_ceil(grid.len().div_ceil(most));
            if batch > 1 && self.tile_bytes(grid, batch)?.is_some_and(|bytes| bytes <= room) {
                return Ok(batch);
            }
        }
        Ok(1)
    }

    /// What the tiles of such a picture follow from.
    pub(super) fn grid_key((h, w): (usize, usize), asked: usize, settings: &Settings) -> GridKey {
        (h, w, asked, settings.tile_overlap, settings.scale)
    }

    /// Tiles for `h` x `w` latent cells: of the side asked for (0: the whole where it fits the budget, else the
    /// largest side that does), or of the size the network was trained at where it needs that.
    pub(super) fn grid(&self, (h, w): (usize, usize), asked: usize, settings: &Settings) -> Result<TileGrid> {
        let network = &self.manifest.network;
        let lattice = model::lattice(network, &self.manifest.common);
        // Blended over a quarter of it, as the default is.
        let zoom = settings.scale / model::FACTOR;
        let shared = Some(settings.tile_overlap * zoom).filter(|o| *o > 0).map(|o| (o, o.div_ceil(4)));
        if let Some(side) = model::fixed_tile(network, settings.scale) {
            // Statistics over a tile enter the network: a quarter shared hides what tiles disagree on.
            let (overlap, ramp) = shared.unwrap_or((side / 4, side / 8));
            let overlap = overlap.min(side - lattice);
            return TileGrid::new((h, w), (side.min(h), side.min(w)), overlap, ramp, lattice);
        }
        let (overlap, ramp) = shared.unwrap_or((OVERLAP, RAMP));
        // A tile must reach beyond what it shares with its neighbours.
        let least = overlap.next_multiple_of(lattice) + lattice;
        let with_side = |side: usize| {
            let side = side.max(least);
            TileGrid::new((h, w), (side.min(h), side.min(w)), overlap, ramp, lattice)
        };
        if asked > 0 {
            return with_side(asked.next_multiple_of(lattice));
        }
        let sides = || std::iter::once(h.max(w)).chain(TILE_SIDES.into_iter().filter(|s| *s < h.max(w)));
        let mut chosen = None;
        for side in sides() {
            let grid = with_side(side)?;
            if self.tile_bytes(&grid, self.tune.batch.max(1))?.is_some_and(|bytes| bytes <= TILE_BYTES) {
                chosen = Some(grid);
                break;
            }
        }
        let chosen = match chosen {
            Some(grid) => grid,
            None => with_side(TILE_SIDES[TILE_SIDES.len() - 1])?,
        };
        self.within_memory(chosen, sides().filter(|s| *s < h.max(w)).map(with_side), settings)
    }

    /// `chosen`, or where the machine has not enough memory free, the first of the smaller ones that fits.
    fn within_memory(
        &self,
        chosen: TileGrid,
        smaller: impl Iterator<Item = Result<TileGrid>>,
        settings: &Settings,
    ) -> Result<TileGrid> {
        let executor = self.executor();
        let own = executor.free().map(|bytes| memory::Free { bytes, hard: true, of: "the GPU's memory" });
        // Where results lie on a device, frames do not lie beside them.
        let beside = own.is_none();
        let Some(free) = own.or_else(memory::free) else { return Ok(chosen) };
        let held = executor.held();
        let need = |grid: &TileGrid| -> Result<u64> {
            let tile = self.tile_bytes(grid, self.tune.batch.max(1))?.unwrap_or(u64::MAX);
            let frame = if beside { self.frame_bytes(grid, settings) } else { 0 };
            Ok(tile.saturating_sub(held).saturating_add(frame))
        };
        let wanted = need(&chosen)?;
        if wanted <= free.bytes {
            return Ok(chosen);
        }
        let area = |grid: &TileGrid| grid.tile_shape().0 * grid.tile_shape().1;
        let mut least = (wanted, chosen.clone());
        for grid in smaller {
            let grid = grid?;
            if area(&grid) >= area(&least.1) {
                continue;
            }
            let bytes = need(&grid)?;
            if bytes < least.0 {
                least = (bytes, grid);
            }
            if least.0 <= free.bytes {
                break;
            }
        }
        let mib = |bytes: u64| bytes >> 20;
        let (bytes, grid) = least;
        if bytes > free.bytes && free.hard {
            return Err(Error::limit(format!(
                "this picture needs {} MiB even in the smallest tiles, {} MiB are left of {}",
                mib(bytes),
                mib(free.bytes),
                free.of
            )));
        }
        log::warn!(
            "{} MiB are free of {}, tiles of {:?} cells want {}: going on with {:?}, which want {}",
            mib(free.bytes),
            free.of,
            chosen.tile_shape(),
            mib(wanted),
            grid.tile_shape(),
            mib(bytes)
        );
        Ok(grid)
    }

    /// The device's maps, where it has such and tiles belong to one picture.
    ///
    /// # Errors
    /// `Device` where the device fails.
    pub(super) fn resident(&self, plans: &mut Plans, settings: &Settings) -> Result<Option<Resident>> {
        if settings.independent {
            return Ok(None);
        }
        match plans.resident.take() {
            Some(resident) => Ok(Some(resident)),
            None => plans.maps().map(|maps| Ok(Resident::new(maps?))).transpose(),
        }
    }

    /// Whether the device has the memory for a picture; else its tiles come and go one by one.
    ///
    /// # Errors
    /// `Device` where the device fails.
    pub(super) fn has_room(&self, resident: &mut Resident, scene: &Scene<'_>) -> Result<bool> {
        let executor = self.executor();
        let layout = Layout::of(scene);
        if layout.len > resident.held() {
            let values = (layout.len - resident.held()) + layout.sent + layout.back_len;
            let bytes = (values as u64).saturating_mul(size_of::<f32>() as u64);
            let tile = match executor.free() {
                Some(_) => self.tile_bytes(scene.job.grid, scene.job.batch)?.unwrap_or(u64::MAX),
                None => 0,
            };
            let need = bytes.saturating_add(tile.saturating_sub(executor.held()));
            if executor.free().is_some_and(|free| need > free) {
                return Ok(false);
            }
        }
        match resident.room(layout.len) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::Limit => {
                log::debug!("{e}; tiles come and go one by one");
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Bytes that results of `batch` tiles of `grid` take at a time; nothing where it is too large to be recorded.
    pub(super) fn tile_bytes(&self, grid: &TileGrid, batch: usize) -> Result<Option<u64>> {
        let network = &self.manifest.network;
        let (h, w) = grid.tile_shape();
        let cells = (h as u64).saturating_mul(w as u64);
        if cells.saturating_mul(4 * model::latent_channels(network) as u64) > TILE_BYTES {
            return Ok(None);
        }
        let executor = self.executor();
        let mut most = 0;
        for part in [Part::Denoiser, Part::Decoder] {
            most = most.max(Plans::bytes(&*executor, network, (part, batch, h, w))?);
        }
        Ok(Some(most))
    }
}
