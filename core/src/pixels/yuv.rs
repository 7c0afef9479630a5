//! Y'CbCr to R'G'B' and back, in float, with chroma halved both ways, across or not at all.
//!
//! Matrices and ranges: ITU-T H.273 8.3. Chroma goes up by a cubic (measured on photos: 2 to 3 dB of RGB above
//! nearest, and a wrong siting costs 1.5 dB), down by the filter that fits its siting.

use std::ops;

use crate::error::Result;
use crate::pixels::canvas::{Band, Canvas, line};
use crate::pixels::frame::{ChromaSiting, ColorInfo, FrameMut, FrameRef, Matrix, Range};
use crate::pixels::planar::Planar;

/// Offset and number of codes from black to white, for luma and for chroma.
struct Codes {
    luma: (f32, f32),
    chroma: (f32, f32),
}

fn codes(range: Range, planar: &Planar) -> Codes {
    // H.273, 8.3: limited codes grow by a power of two with the depth, full ones by the largest code.
    let unit = f32::from(1u16 << (planar.bits - 8));
    match range {
        Range::Limited => Codes { luma: (16.0 * unit, 219.0 * unit), chroma: (128.0 * unit, 224.0 * unit) },
        Range::Full => {
            let top = planar.top();
            Codes { luma: (0.0, top), chroma: (128.0 * unit, top) }
        }
    }
}

/// Kr and Kb (H.273, table 4).
fn weights(matrix: Matrix) -> (f32, f32) {
    match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
        Matrix::Bt2020 => (0.2627, 0.0593),
        Matrix::Smpte240m => (0.212, 0.087),
    }
}

/// Where even and odd luma samples lie on the chroma grid: offset of the first of four taps, and weights.
type Phases = [(isize, [f32; 4]); 2];

/// Luma sample 2i sits on chroma sample i, 2i+1 half way to the next. Cubic with a = -0.5 at 0 and 1/2.
const COSITED: Phases =
    [(-1, [0.0, 1.0, 0.0, 0.0]), (-1, [-1.0 / 16.0, 9.0 / 16.0, 9.0 / 16.0, -1.0 / 16.0])];
/// Luma sample 2i sits 1/4 before chroma sample i, 2i+1 1/4 behind it. The same cubic at 3/4 and 1/4.
const CENTRED: Phases = [
    (-2, [-3.0 / 128.0, 29.0 / 128.0, 111.0 / 128.0, -9.0 / 128.0]),
    (-1, [-9.0 / 128.0, 111.0 / 128.0, 29.0 / 128.0, -3.0 / 128.0]),
];

/// Phases across and down; none along a side that is not halved.
struct Ways {
    across: Option<Phases>,
    down: Option<Phases>,
}

fn ways(siting: ChromaSiting, planar: &Planar) -> Ways {
    let (across, down) = match siting {
        ChromaSiting::Left => (COSITED, CENTRED),
        ChromaSiting::Center => (CENTRED, CENTRED),
        ChromaSiting::TopLeft => (COSITED, COSITED),
    };
    Ways { across: (planar.sub.0 > 0).then_some(across), down: (planar.sub.1 > 0).then_some(down) }
}

/// Samples added on both sides of a chroma row, so that the taps need no test.
const MARGIN: usize = 2;

/// Repeats the first and last sample into the margins.
fn replicate(row: &mut [f32]) {
    let n = row.len();
    let (first, last) = (row[MARGIN], row[n - MARGIN - 1]);
    row[..MARGIN].fill(first);
    row[n - MARGIN..].fill(last);
}

/// Chroma planes as f32 in `[-0.5, 0.5]`, `[2, h, w]`.
fn read_chroma(frame: &FrameRef<'_>, planar: &Planar, (offset, scale): (f32, f32)) -> Result<Canvas> {
    let (cw, ch) = frame.format().plane_size(1, frame.width(), frame.height());
    let mut chroma = Canvas::new(2, cw, ch)?;
    for c in 0..2 {
        for y in 0..ch {
            let out = chroma.row_mut(c, y);
            match planar.pair {
                Some(pair) => planar.read(frame.row(1, y), 2, pair[c], out),
                None => planar.read(frame.row(1 + c, y), 1, 0, out),
            }
            out.iter_mut().for_each(|v| *v = (*v - offset) / scale);
        }
    }
    Ok(chroma)
}

/// Row `y` of luma height of chroma plane `c`, `out` as wide as luma.
fn chroma_row(chroma: &Canvas, c: usize, y: usize, ways: &Ways, padded: &mut [f32], out: &mut [f32]) {
    let w = chroma.width();
    let middle = &mut padded[MARGIN..][..w];
    match ways.down {
        None => middle.copy_from_slice(chroma.row(c, y)),
        Some(down) => {
            let (first, taps) = down[y % 2];
            let rows = [0, 1, 2, 3].map(|k| {
                let at = (y / 2) as isize + first + k;
                chroma.row(c, at.clamp(0, chroma.height() as isize - 1) as usize)
            });
            for (i, p) in middle.iter_mut().enumerate() {
                *p =
                    taps[0] * rows[0][i] + taps[1] * rows[1][i] + taps[2] * rows[2][i] + taps[3] * rows[3][i];
            }
        }
    }
    let Some(across) = ways.across else {
        out.copy_from_slice(&padded[MARGIN..][..w]);
        return;
    };
    replicate(padded);
    let tap = |(first, taps): (isize, [f32; 4]), i: usize| {
        let p = &padded[(i + MARGIN).saturating_add_signed(first)..][..4];
        taps[0] * p[0] + taps[1] * p[1] + taps[2] * p[2] + taps[3] * p[3]
    };
    let mut pairs = out.chunks_exact_mut(2);
    for (i, pair) in (&mut pairs).enumerate() {
        pair[0] = tap(across[0], i);
        pair[1] = tap(across[1], i);
    }
    if let [last] = pairs.into_remainder() {
        *last = tap(across[0], w - 1);
    }
}

/// How codes become colours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// Offset and scale: a number is (code - offset) / scale.
    pub(crate) luma: (f32, f32),
    pub(crate) chroma: (f32, f32),
    /// Red of V, green of U, green of V, blue of U.
    pub(crate) shares: [f32; 4],
}

/// The numbers of [`to_canvas`].
pub(super) fn reading(planar: &Planar, color: ColorInfo) -> Reading {
    let codes = codes(color.range, planar);
    let (kr, kb) = weights(color.matrix);
    let kg = 1.0 - kr - kb;
    let (r_v, b_u) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb));
    Reading { luma: codes.luma, chroma: codes.chroma, shares: [r_v, -b_u * kb / kg, -r_v * kr / kg, b_u] }
}

/// Fills `rgb` from a Y'CbCr frame, without clipping.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn to_canvas(frame: &FrameRef<'_>, planar: &Planar, rgb: &mut Canvas) -> Result<()> {
    let Reading { luma: (offset, scale), chroma, shares } = reading(planar, frame.color());
    let [r_v, g_u, g_v, b_u] = shares;
    let ways = ways(frame.color().siting, planar);
    let chroma = read_chroma(frame, planar, chroma)?;
    let (w, h) = (rgb.width(), rgb.height());
    let mut padded = line(chroma.width() + 2 * MARGIN)?;
    let (mut luma, mut u, mut v) = (line(w)?, line(w)?, line(w)?);
    for y in 0..h {
        chroma_row(&chroma, 0, y, &ways, &mut padded, &mut u);
        chroma_row(&chroma, 1, y, &ways, &mut padded, &mut v);
        planar.read(frame.row(0, y), 1, 0, &mut luma);
        let [r, g, b] = rgb.rgb_rows_mut(y);
        let (luma, u, v) = (&luma[..w], &u[..w], &v[..w]);
        for x in 0..w {
            let l = (luma[x] - offset) / scale;
            r[x] = l + r_v * v[x];
            g[x] = l + g_u * u[x] + g_v * v[x];
            b[x] = l + b_u * u[x];
        }
    }
    Ok(())
}

/// [`yuv_numbers`](crate::pixels::codes::yuv_numbers) of a Y'CbCr format.
pub(super) fn numbers(planar: &Planar, color: ColorInfo) -> [f32; 8] {
    let Codes { luma, chroma } = codes(color.range, planar);
    let (kr, kb) = weights(color.matrix);
    let scales = [chroma.1 / (2.0 * (1.0 - kb)), chroma.1 / (2.0 * (1.0 - kr))];
    [kr, 1.0 - kr - kb, kb, luma.0, luma.1, chroma.0, scales[0], scales[1]]
}

/// Rows of luma, with weights, that a chroma row is made of.
fn rows_down(siting: ChromaSiting, planar: &Planar, j: usize, height: usize) -> [(usize, f32); 3] {
    if planar.sub.1 == 0 {
        return [(j, 1.0), (j, 0.0), (j, 0.0)];
    }
    let at = |y: usize| y.min(height - 1);
    match siting {
        ChromaSiting::Left | ChromaSiting::Center => [(2 * j, 0.5), (at(2 * j + 1), 0.5), (2 * j, 0.0)],
        ChromaSiting::TopLeft => [((2 * j).saturating_sub(1), 0.25), (2 * j, 0.5), (at(2 * j + 1), 0.25)],
    }
}

/// Writes `rows` of `rgb` into a Y'CbCr frame, to the nearest codes; see [`super::convert::write_rows`].
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn to_frame(
    rgb: &Band<'_>,
    planar: &Planar,
    frame: &mut FrameMut<'_>,
    rows: ops::Range<usize>,
) -> Result<()> {
    let ColorInfo { matrix, range, siting } = frame.color();
    let codes = codes(range, planar);
    let (kr, kb) = weights(matrix);
    let kg = 1.0 - kr - kb;
    let (w, h) = (rgb.width(), rgb.height());
    let (offset, scale) = codes.luma;
    let mut luma = line(w)?;
    for y in rows.clone() {
        let (r, g, b) = (rgb.row(0, y), rgb.row(1, y), rgb.row(2, y));
        for x in 0..w {
            luma[x] = (kr * r[x] + kg * g[x] + kb * b[x]) * scale + offset;
        }
        planar.write(&luma, frame.row_mut(0, y), 1, 0);
    }

    let (offset, scale) = codes.chroma;
    let (u_scale, v_scale) = (scale / (2.0 * (1.0 - kb)), scale / (2.0 * (1.0 - kr)));
    let (cw, _) = frame.format().plane_size(1, frame.width(), frame.height());
    let (mut u, mut v) = (line(w + 2 * MARGIN)?, line(w + 2 * MARGIN)?);
    let mut codes = line(cw)?;
    let down = 1 << planar.sub.1;
    for j in rows.start / down..rows.end.div_ceil(down) {
        // Filters and matrix are linear: rows are averaged before the matrix, columns after it.
        u.fill(0.0);
        v.fill(0.0);
        for (y, weight) in rows_down(siting, planar, j, h) {
            let (r, g, b) = (rgb.row(0, y), rgb.row(1, y), rgb.row(2, y));
            let (u, v) = (&mut u[MARGIN..][..w], &mut v[MARGIN..][..w]);
            for x in 0..w {
                let l = kr * r[x] + kg * g[x] + kb * b[x];
                u[x] += weight * (b[x] - l);
                v[x] += weight * (r[x] - l);
            }
        }
        for (c, (row, scale)) in [(&mut u, u_scale), (&mut v, v_scale)].into_iter().enumerate() {
            down_row(row, siting, planar, &mut codes);
            codes.iter_mut().for_each(|v| *v = *v * scale + offset);
            match planar.pair {
                Some(pair) => planar.write(&codes, frame.row_mut(1, j), 2, pair[c]),
                None => planar.write(&codes, frame.row_mut(1 + c, j), 1, 0),
            }
        }
    }
    Ok(())
}

/// A row (with margins) at the width of chroma.
fn down_row(row: &mut [f32], siting: ChromaSiting, planar: &Planar, out: &mut [f32]) {
    if planar.sub.0 == 0 {
        out.copy_from_slice(&row[MARGIN..row.len() - MARGIN]);
        return;
    }
    replicate(row);
    let taps: [f32; 3] = match siting {
        ChromaSiting::Left | ChromaSiting::TopLeft => [0.25, 0.5, 0.25],
        ChromaSiting::Center => [0.0, 0.5, 0.5],
    };
    for (o, (before, after)) in
        out.iter_mut().zip(row[MARGIN - 1..].chunks(2).zip(row[MARGIN + 1..].chunks(2)))
    {
        *o = taps[0] * before[0] + taps[1] * before[1] + taps[2] * after[0];
    }
}
