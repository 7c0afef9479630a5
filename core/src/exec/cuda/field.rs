//! From things done with maps to launches: sizes are checked here, so that no kernel leaves its buffers.

use super::device::Buffer;
use super::launch::{Call, Kernel};
use super::maps::buffer;
use super::{Arena, Shared};
use crate::error::{Error, Result};
use crate::exec::maps::{CodesBy, ColoursBy, Gives, Home, Map, MapOp, PIECE, PlaneBy, Sample, StepBy, Table};

/// What maps are looked for in.
pub(super) struct Places<'a> {
    pub(super) shared: &'a Shared,
    pub(super) arena: Option<&'a Arena>,
    /// Number of the memory of results, place and length of what is called the result.
    pub(super) result: Option<(u64, usize, usize)>,
}

/// A launch with its addresses.
pub(super) struct Start {
    pub(super) kernel: Kernel,
    pub(super) grid: [u32; 2],
    pub(super) threads: u32,
    pub(super) shared: usize,
    pub(super) call: Call,
}

/// Threads of a block.
const THREADS: usize = 256;

fn unfit() -> Error {
    Error::internal("maps whose sizes do not fit, or that do not lie in their rooms")
}

fn values(address: u64, at: usize) -> u64 {
    address + (at * size_of::<f32>()) as u64
}

impl Places<'_> {
    /// Address of a map of which all lies where it says.
    fn map(&self, map: &Map<'_>) -> Result<u64> {
        let reach = map.reach().ok_or_else(unfit)?;
        let (start, len) = match map.home {
            Home::Room(room) => {
                let buffer = buffer(room, self.shared)?;
                (buffer.start(), buffer.len())
            }
            Home::Result => {
                let (id, at, len) = self.result.ok_or_else(unfit)?;
                let arena =
                    self.arena.filter(|a| a.id == id && at + len <= a.buffer.len()).ok_or_else(unfit)?;
                (values(arena.buffer.start(), at), len)
            }
        };
        let fits = map.at.checked_add(reach).is_some_and(|end| end <= len);
        if fits { Ok(values(start, map.at)) } else { Err(unfit()) }
    }

    fn table(&self, table: &Table<'_>, least: usize) -> Result<u64> {
        if table.len < least {
            return Err(unfit());
        }
        self.map(&Map::new(Home::Room(table.room), table.at, (1, 1, table.len)))
    }

    fn maybe(&self, map: Option<&Map<'_>>) -> Result<u64> {
        map.map_or(Ok(0), |m| self.map(m))
    }
}

fn check(fits: bool) -> Result<()> {
    if fits { Ok(()) } else { Err(unfit()) }
}

fn shape(map: &Map<'_>) -> (usize, usize, usize) {
    (map.channels, map.height, map.width)
}

fn is_dense(map: &Map<'_>) -> bool {
    map.row == map.width && (map.plane == map.height * map.width || map.channels == 1)
}

/// A thread for each of `count` values; nothing where there are none.
fn each<const I: usize, const N: usize, const F: usize>(
    kernel: Kernel,
    count: usize,
    inputs: [u64; I],
    out: u64,
    n: [usize; N],
    f: [f32; F],
) -> Result<Option<Start>> {
    if count == 0 {
        return Ok(None);
    }
    let blocks = u32::try_from(count.div_ceil(THREADS)).ok().filter(|b| *b <= i32::MAX as u32);
    let across =
        blocks.ok_or_else(|| Error::limit(format!("cuda: a map of {count} values is beyond any GPU")))?;
    let mut call = Call { inputs: [0; 5], out, n: [0; 16], f: [0.0; 4] };
    call.inputs.iter_mut().zip(inputs).for_each(|(to, v)| *to = v);
    call.n.iter_mut().zip(n).for_each(|(to, v)| *to = v as i64);
    call.f.iter_mut().zip(f).for_each(|(to, v)| *to = v);
    Ok(Some(Start { kernel, grid: [across, 1], threads: THREADS as u32, shared: 0, call }))
}

/// The launch of one operation; nothing where there is nothing to do.
///
/// # Errors
/// `Internal` where sizes do not fit or a map lies elsewhere, `Limit` where a launch cannot cover it.
pub(super) fn lower(places: &Places<'_>, op: &MapOp<'_>) -> Result<Option<Start>> {
    match op {
        MapOp::Fill { to, value } => {
            check(is_dense(to))?;
            each(Kernel::Fill, to.len(), [], places.map(to)?, [to.len()], [*value])
        }
        MapOp::Cut { from, at, scale, unit, to } => {
            cut(from, *at, *scale, *unit, to, places.map(from)?, places.map(to)?)
        }
        MapOp::Across { tile, weights, x, to } => {
            let fits = is_dense(tile)
                && is_dense(to)
                && (tile.channels, tile.height) == (to.channels, to.height)
                && x.checked_add(tile.width).is_some_and(|end| end <= to.width);
            check(fits)?;
            let inputs = [places.map(tile)?, places.table(weights, tile.width)?];
            let n = [tile.len(), tile.width, to.width, *x];
            each(Kernel::BlendAcross, tile.len(), inputs, places.map(to)?, n, [])
        }
        MapOp::Down { strip, weights, above, to } => {
            let same = |m: &Map<'_>| is_dense(m) && shape(m) == shape(to);
            check(same(strip) && same(to) && above.as_ref().is_none_or(|(m, _)| same(m)))?;
            let (sum, shift) = above.as_ref().map_or((None, 0), |(m, shift)| (Some(m), *shift));
            let inputs = [places.map(strip)?, places.table(weights, to.height)?, places.maybe(sum)?];
            let n = [to.len(), to.width, to.height, shift];
            each(Kernel::BlendDown, to.len(), inputs, places.map(to)?, n, [])
        }
        MapOp::Finite { map, mark } => {
            check(is_dense(map))?;
            let inputs = [places.map(map)?];
            each(Kernel::CheckFinite, map.len(), inputs, places.table(mark, 1)?, [map.len()], [])
        }
        MapOp::Step { by, prediction, field, to } => {
            step(places, by, prediction.as_ref(), field.as_ref(), to)
        }
        MapOp::Enlarge { from, factor, weights, first, add, unit, to } => {
            let factor = (*factor).max(1);
            let fits = to.channels == from.channels
                && from.height > 0
                && from.width.checked_mul(factor) == Some(to.width)
                && add.as_ref().is_none_or(|a| shape(a) == shape(to))
                && first.checked_add(to.height).is_some_and(|end| end <= from.height * factor);
            check(fits)?;
            let inputs = [places.map(from)?, places.table(weights, 5 * factor)?, places.maybe(add.as_ref())?];
            let (row, plane) = add.as_ref().map_or((0, 0), |a| (a.row, a.plane));
            let n = [
                to.len(),
                to.width,
                to.height,
                factor,
                from.height,
                from.row,
                from.plane,
                row,
                plane,
                to.row,
                to.plane,
                *first,
                usize::from(*unit),
            ];
            each(Kernel::Enlarge, to.len(), inputs, places.map(to)?, n, [])
        }
        MapOp::Ranges { map, columns, factor, width, to } => {
            let pieces = map.height.div_ceil(PIECE);
            let blocks = map.channels * pieces;
            check(columns.len > 0 && blocks <= u16::MAX as usize && map.len() > 0)?;
            let out = places.table(to, columns.len * blocks * 2)?;
            let inputs = [places.map(map)?, places.table(columns, 1)?];
            let n = [map.width, map.height, map.row, map.plane, *width, PIECE, pieces, *factor, map.channels];
            let start = each(Kernel::Ranges, columns.len * THREADS, inputs, out, n, [])?;
            Ok(start.map(|s| Start { grid: [s.grid[0], blocks as u32], shared: THREADS, ..s }))
        }
        MapOp::Codes { by, to } => codes(places, by, to),
        MapOp::Colours { by, luma, chroma, to } => colours(places, by, luma, chroma, to),
        MapOp::EnlargeCodes { from, factor, weights, to } => {
            check(*factor > 0 && from.channels == to.channels && from.len() > 0)?;
            let inputs = [places.map(from)?, places.table(weights, 5 * factor)?];
            let n = [
                to.len(),
                to.width,
                to.height,
                *factor,
                from.width,
                from.height,
                from.row,
                from.plane,
                to.row,
                to.plane,
            ];
            each(Kernel::EnlargeCodes, to.len(), inputs, places.map(to)?, n, [])
        }
        MapOp::Write { by, rgb, alpha } => write(places, by, rgb, alpha.as_ref()),
    }
}

fn cut(
    from: &Map<'_>,
    (y, x): (usize, usize),
    scale: f32,
    unit: bool,
    to: &Map<'_>,
    from_address: u64,
    out: u64,
) -> Result<Option<Start>> {
    check(from.channels == to.channels && from.len() > 0)?;
    let n = [
        to.len(),
        to.width,
        to.height,
        from.width,
        from.height,
        from.row,
        from.plane,
        y,
        x,
        to.row,
        to.plane,
        usize::from(unit),
    ];
    each(Kernel::Cut, to.len(), [from_address], out, n, [scale])
}

/// Copies the beginning of a buffer into `to`.
///
/// # Errors
/// As [`lower`].
pub(super) fn lower_copy(places: &Places<'_>, from: &Buffer, to: &Map<'_>) -> Result<Option<Start>> {
    check(to.len() <= from.len() && from.is_on(places.shared.device))?;
    each(Kernel::CopyWords, to.len(), [from.start()], places.map(to)?, [to.len()], [])
}

/// Copies `from` to the beginning of a buffer.
///
/// # Errors
/// As [`lower`].
pub(super) fn lower_fetch(places: &Places<'_>, from: &Map<'_>, to: &Buffer) -> Result<Option<Start>> {
    check(from.len() <= to.len() && to.is_on(places.shared.device))?;
    each(Kernel::CopyWords, from.len(), [places.map(from)?], to.start(), [from.len()], [])
}

fn step(
    places: &Places<'_>,
    by: &StepBy,
    prediction: Option<&Map<'_>>,
    field: Option<&Map<'_>>,
    to: &Map<'_>,
) -> Result<Option<Start>> {
    check([prediction, field].into_iter().flatten().all(|m| shape(m) == shape(to)))?;
    let strides = |m: Option<&Map<'_>>| m.map_or((0, 0), |m| (m.row, m.plane));
    let (p, x) = (strides(prediction), strides(field));
    let inputs = [places.maybe(prediction)?, places.maybe(field)?];
    let n = [to.len(), to.width, to.height, p.0, p.1, x.0, x.1, to.row, to.plane];
    let [of_field, of_estimate, of_prediction, of_noise] = by.next;
    let f = [of_field, of_estimate, of_prediction];
    let start = each(Kernel::StepField, to.len(), inputs, places.map(to)?, n, f)?;
    Ok(start.map(|mut start| {
        let pair = |low: f32, high: f32| (u64::from(high.to_bits()) << 32 | u64::from(low.to_bits())) as i64;
        let (gives, blend) = match by.gives {
            Gives::Next => (0, 0.0),
            Gives::Estimate => (1, 0.0),
            Gives::Blend(share) => (2, share),
        };
        let (seed, step) = by.noise.map_or((0, -1), |(seed, step)| (seed as i64, i64::from(step)));
        let rest = [
            gives,
            seed,
            step,
            by.origin.0 as i64,
            by.origin.1 as i64,
            pair(by.estimate[0], by.estimate[1]),
            pair(blend, of_noise),
        ];
        start.call.n[9..].copy_from_slice(&rest);
        start
    }))
}

/// Number of a sample as the kernel knows it.
fn kind(sample: Sample) -> usize {
    match sample {
        Sample::Red => 0,
        Sample::Green => 1,
        Sample::Blue => 2,
        Sample::Alpha => 3,
        Sample::White => 4,
        Sample::Gray => 5,
        Sample::Luma => 6,
        Sample::ChromaU => 7,
        Sample::ChromaV => 8,
    }
}

fn codes(places: &Places<'_>, by: &CodesBy<'_>, to: &Map<'_>) -> Result<Option<Start>> {
    let used = by.places.get(..to.channels).ok_or_else(unfit)?;
    let codes = to.width.checked_mul(by.samples).and_then(|codes| codes.checked_mul(by.bytes));
    let fits = [1, 2, 4].contains(&by.bytes)
        && used.iter().all(|place| *place < by.samples.min(16))
        && codes.is_some_and(|bytes| bytes <= by.words.saturating_mul(4));
    check(fits)?;
    let from = places.table(&by.from, by.words.saturating_mul(to.height))?;
    let places_of = used.iter().enumerate().fold(0, |all, (i, place)| all | place << (4 * i));
    let n = [
        to.len(),
        to.width,
        to.height,
        by.words,
        by.samples,
        places_of,
        by.bytes,
        by.shift,
        to.row,
        to.plane,
    ];
    each(Kernel::ReadCodes, to.len(), [from], places.map(to)?, n, [by.offset, by.scale])
}

fn colours(
    places: &Places<'_>,
    by: &ColoursBy,
    luma: &Map<'_>,
    chroma: &Map<'_>,
    to: &Map<'_>,
) -> Result<Option<Start>> {
    let half = |n: usize, halved: bool| if halved { n.div_ceil(2) } else { n };
    let (across, down) = by.halved;
    let size = (2, half(to.height, down), half(to.width, across));
    check(to.channels == 3 && shape(luma) == (1, to.height, to.width) && shape(chroma) == size)?;
    let inputs = [places.map(luma)?, places.map(chroma)?];
    let count = to.height * to.width;
    let n = [
        count,
        to.width,
        luma.row,
        chroma.width,
        chroma.height,
        chroma.row,
        chroma.plane,
        usize::from(across),
        usize::from(down),
        by.siting,
        to.row,
        to.plane,
    ];
    each(Kernel::Colours, count, inputs, places.map(to)?, n, by.shares)
}

fn write(
    places: &Places<'_>,
    by: &PlaneBy<'_>,
    rgb: &Map<'_>,
    alpha: Option<&Map<'_>>,
) -> Result<Option<Start>> {
    let used = by.kinds.get(..by.samples).filter(|k| !k.is_empty()).ok_or_else(unfit)?;
    let positions = by.codes.div_ceil(by.samples);
    let luma = used.iter().any(|k| matches!(k, Sample::Luma | Sample::ChromaU | Sample::ChromaV));
    let (across, down) = by.halved;
    let columns = if across { rgb.width.div_ceil(2) } else { rgb.width };
    // Rows of the picture that the rows of the plane are made of.
    let (first, end) =
        if down { (2 * by.first, 2 * (by.first + by.rows)) } else { (by.first, by.first + by.rows) };
    // The last row of the plane has one of the picture.
    check(end <= by.height + usize::from(down))?;
    let first = if down && by.siting == 2 { first.saturating_sub(1) } else { first };
    let with_alpha = alpha
        .is_none_or(|a| a.channels == 1 && a.height >= by.rows && a.width >= positions && !down && !across);
    let fits = rgb.channels == 3
        && rgb.row == rgb.width
        && [1, 2, 4].contains(&by.bytes)
        && positions <= columns
        && by.words * 4 >= by.codes * by.bytes
        && by.begins <= first
        && end.min(by.height) <= by.begins + rgb.height
        && with_alpha
        && (alpha.is_some() || !used.contains(&Sample::Alpha));
    check(fits)?;
    let yuv = if luma { places.table(&by.yuv, 8)? } else { 0 };
    let out = places.table(&by.to, by.words * by.rows)?;
    let inputs = [places.map(rgb)?, places.maybe(alpha)?, yuv];
    let kinds = used.iter().enumerate().fold(0, |all, (i, k)| all | kind(*k) << (4 * i));
    let n = [
        by.words * by.rows,
        by.words,
        by.codes,
        rgb.width,
        by.height,
        by.first,
        by.begins,
        rgb.plane,
        by.bytes,
        by.samples,
        kinds,
        usize::from(across),
        usize::from(down),
        by.shift,
        by.siting,
        alpha.map_or(0, |a| a.row),
    ];
    each(Kernel::WritePlane, by.words * by.rows, inputs, out, n, [by.top, by.white])
}
