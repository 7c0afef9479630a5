//! Y'CbCr with halved chroma to R'G'B' and back, in float.
//!
//! Matrices and ranges: ITU-T H.273 8.3. Chroma goes up by a cubic (measured on photos: 2 to 3 dB of RGB above
//! nearest, and a wrong siting costs 1.5 dB), down by the filter that fits its siting.

use crate::error::Result;
use crate::pixels::canvas::{Canvas, line};
use crate::pixels::convert::to_u8;
use crate::pixels::frame::{ChromaSiting, ColorInfo, FrameMut, FrameRef, Matrix, PixelFormat, Range};

/// Offset and number of codes from black to white, for luma and for chroma.
struct Codes {
    luma: (f32, f32),
    chroma: (f32, f32),
}

fn codes(range: Range) -> Codes {
    match range {
        Range::Limited => Codes { luma: (16.0, 219.0), chroma: (128.0, 224.0) },
        Range::Full => Codes { luma: (0.0, 255.0), chroma: (128.0, 255.0) },
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

/// Phases across and down.
fn phases(siting: ChromaSiting) -> (Phases, Phases) {
    match siting {
        ChromaSiting::Left => (COSITED, CENTRED),
        ChromaSiting::Center => (CENTRED, CENTRED),
        ChromaSiting::TopLeft => (COSITED, COSITED),
    }
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
fn read_chroma(frame: &FrameRef<'_>, codes: &Codes) -> Result<Canvas> {
    let (cw, ch) = frame.format().plane_size(1, frame.width(), frame.height());
    let mut chroma = Canvas::new(2, cw, ch)?;
    let (offset, scale) = codes.chroma;
    let value = |code: u8| (f32::from(code) - offset) / scale;
    for c in 0..2 {
        for y in 0..ch {
            let out = chroma.row_mut(c, y);
            if frame.format() == PixelFormat::Nv12 {
                for (o, uv) in out.iter_mut().zip(frame.row(1, y).chunks_exact(2)) {
                    *o = value(uv[c]);
                }
            } else {
                for (o, code) in out.iter_mut().zip(frame.row(1 + c, y)) {
                    *o = value(*code);
                }
            }
        }
    }
    Ok(chroma)
}

/// Row `y` of luma height of chroma plane `c`, `out` as wide as luma.
fn chroma_row(
    chroma: &Canvas,
    c: usize,
    y: usize,
    (across, down): &(Phases, Phases),
    padded: &mut [f32],
    out: &mut [f32],
) {
    let (first, taps) = down[y % 2];
    let rows = [0, 1, 2, 3].map(|k| {
        let at = (y / 2) as isize + first + k;
        chroma.row(c, at.clamp(0, chroma.height() as isize - 1) as usize)
    });
    let w = chroma.width();
    for (i, p) in padded[MARGIN..][..w].iter_mut().enumerate() {
        *p = taps[0] * rows[0][i] + taps[1] * rows[1][i] + taps[2] * rows[2][i] + taps[3] * rows[3][i];
    }
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

/// Fills `rgb` from an I420 or NV12 frame, without clipping.
pub(crate) fn to_canvas(frame: &FrameRef<'_>, rgb: &mut Canvas) -> Result<()> {
    let ColorInfo { matrix, range, siting } = frame.color();
    let (codes, phases) = (codes(range), phases(siting));
    let (kr, kb) = weights(matrix);
    let kg = 1.0 - kr - kb;
    let (r_v, b_u) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb));
    let (g_u, g_v) = (-b_u * kb / kg, -r_v * kr / kg);
    let (offset, scale) = codes.luma;

    let chroma = read_chroma(frame, &codes)?;
    let (w, h) = (rgb.width(), rgb.height());
    let mut padded = line(chroma.width() + 2 * MARGIN)?;
    let (mut u, mut v) = (line(w)?, line(w)?);
    for y in 0..h {
        chroma_row(&chroma, 0, y, &phases, &mut padded, &mut u);
        chroma_row(&chroma, 1, y, &phases, &mut padded, &mut v);
        let luma = frame.row(0, y);
        let [r, g, b] = rgb.rgb_rows_mut(y);
        let (u, v) = (&u[..w], &v[..w]);
        for x in 0..w {
            let l = (f32::from(luma[x]) - offset) / scale;
            r[x] = l + r_v * v[x];
            g[x] = l + g_u * u[x] + g_v * v[x];
            b[x] = l + b_u * u[x];
        }
    }
    Ok(())
}

/// Rows of luma, with weights, that a chroma row is made of.
fn rows_down(siting: ChromaSiting, j: usize, height: usize) -> [(usize, f32); 3] {
    let at = |y: usize| y.min(height - 1);
    match siting {
        ChromaSiting::Left | ChromaSiting::Center => [(2 * j, 0.5), (at(2 * j + 1), 0.5), (2 * j, 0.0)],
        ChromaSiting::TopLeft => [((2 * j).saturating_sub(1), 0.25), (2 * j, 0.5), (at(2 * j + 1), 0.25)],
    }
}

/// Writes `rgb` into an I420 or NV12 frame, to the nearest codes.
pub(crate) fn to_frame(rgb: &Canvas, frame: &mut FrameMut<'_>) -> Result<()> {
    let ColorInfo { matrix, range, siting } = frame.color();
    let codes = codes(range);
    let (kr, kb) = weights(matrix);
    let kg = 1.0 - kr - kb;
    let (w, h) = (rgb.width(), rgb.height());
    let (offset, scale) = codes.luma;
    for y in 0..h {
        let (r, g, b) = (rgb.row(0, y), rgb.row(1, y), rgb.row(2, y));
        let luma = &mut frame.row_mut(0, y)[..w];
        for x in 0..w {
            luma[x] = to_u8((kr * r[x] + kg * g[x] + kb * b[x]) * scale + offset);
        }
    }

    let (offset, scale) = codes.chroma;
    let (u_scale, v_scale) = (scale / (2.0 * (1.0 - kb)), scale / (2.0 * (1.0 - kr)));
    let (cw, ch) = frame.format().plane_size(1, frame.width(), frame.height());
    let (mut u, mut v) = (line(w + 2 * MARGIN)?, line(w + 2 * MARGIN)?);
    let (mut u_codes, mut v_codes) = (line(cw)?, line(cw)?);
    for j in 0..ch {
        // Filters and matrix are linear: rows are averaged before the matrix, columns after it.
        u.fill(0.0);
        v.fill(0.0);
        for (y, weight) in rows_down(siting, j, h) {
            let (r, g, b) = (rgb.row(0, y), rgb.row(1, y), rgb.row(2, y));
            let (u, v) = (&mut u[MARGIN..][..w], &mut v[MARGIN..][..w]);
            for x in 0..w {
                let l = kr * r[x] + kg * g[x] + kb * b[x];
                u[x] += weight * (b[x] - l);
                v[x] += weight * (r[x] - l);
            }
        }
        down_row(&mut u, siting, u_scale, offset, &mut u_codes);
        down_row(&mut v, siting, v_scale, offset, &mut v_codes);
        if frame.format() == PixelFormat::Nv12 {
            let pairs = frame.row_mut(1, j).chunks_exact_mut(2);
            for (pair, (u, v)) in pairs.zip(u_codes.iter().zip(&v_codes)) {
                (pair[0], pair[1]) = (*u, *v);
            }
        } else {
            frame.row_mut(1, j).copy_from_slice(&u_codes);
            frame.row_mut(2, j).copy_from_slice(&v_codes);
        }
    }
    Ok(())
}

/// Halves a row (with margins) and turns it into codes.
fn down_row(row: &mut [f32], siting: ChromaSiting, scale: f32, offset: f32, out: &mut [u8]) {
    replicate(row);
    let taps: [f32; 3] = match siting {
        ChromaSiting::Left | ChromaSiting::TopLeft => [0.25, 0.5, 0.25],
        ChromaSiting::Center => [0.0, 0.5, 0.5],
    };
    for (o, p) in out.iter_mut().zip(row[MARGIN - 1..].chunks(2).zip(row[MARGIN + 1..].chunks(2))) {
        let (before, after) = p;
        *o = to_u8((taps[0] * before[0] + taps[1] * before[1] + taps[2] * after[0]) * scale + offset);
    }
}
