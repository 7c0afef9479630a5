//! A whole picture as planar f32.

use std::ops::Range;

use crate::error::{Error, Result};

/// Planes of f32, `[C, H, W]`, rows without gaps. Colours are in `[0, 1]`, sRGB-coded, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Canvas {
    channels: usize,
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Canvas {
    /// A canvas of zeros.
    ///
    /// # Errors
    /// `Limit` where the size overflows or the memory cannot be had.
    pub(crate) fn new(channels: usize, width: usize, height: usize) -> Result<Self> {
        let mut canvas = Self::default();
        canvas.reset(channels, width, height)?;
        Ok(canvas)
    }

    /// Becomes a canvas of zeros of this size, in the memory it has where that is enough.
    ///
    /// # Errors
    /// As [`Canvas::new`]; the canvas is empty then.
    pub(crate) fn reset(&mut self, channels: usize, width: usize, height: usize) -> Result<()> {
        let refuse = || {
            Error::limit(format!(
                "{channels} planes of {width}x{height} pixels need more memory than there is; use a smaller picture"
            ))
        };
        let len = width.checked_mul(height).and_then(|n| n.checked_mul(channels)).ok_or_else(refuse)?;
        self.data.clear();
        (self.channels, self.width, self.height) = (0, 0, 0);
        if self.data.capacity() < len {
            // Not grown: the old memory goes before the new one comes.
            self.data = Vec::new();
            self.data.try_reserve_exact(len).map_err(|e| refuse().because(e))?;
        }
        self.data.resize(len, 0.0);
        (self.channels, self.width, self.height) = (channels, width, height);
        Ok(())
    }

    /// Takes samples `[C, H, W]` over.
    ///
    /// # Errors
    /// `Internal` where their number does not fit.
    pub(crate) fn from_data(channels: usize, width: usize, height: usize, data: Vec<f32>) -> Result<Self> {
        if data.len() != channels * width * height {
            return Err(Error::internal(format!(
                "{} samples given for a canvas of {channels}x{height}x{width}",
                data.len()
            )));
        }
        Ok(Self { channels, width, height, data })
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }
    pub(crate) fn width(&self) -> usize {
        self.width
    }
    pub(crate) fn height(&self) -> usize {
        self.height
    }
    /// All samples, `[C, H, W]`.
    pub(crate) fn data(&self) -> &[f32] {
        &self.data
    }
    /// All samples, to write.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
    /// Gives all samples away.
    pub(crate) fn into_data(self) -> Vec<f32> {
        self.data
    }
    pub(crate) fn plane(&self, channel: usize) -> &[f32] {
        let n = self.width * self.height;
        &self.data[channel * n..][..n]
    }
    pub(crate) fn plane_mut(&mut self, channel: usize) -> &mut [f32] {
        let n = self.width * self.height;
        &mut self.data[channel * n..][..n]
    }
    pub(crate) fn row(&self, channel: usize, y: usize) -> &[f32] {
        &self.data[(channel * self.height + y) * self.width..][..self.width]
    }
    pub(crate) fn row_mut(&mut self, channel: usize, y: usize) -> &mut [f32] {
        &mut self.data[(channel * self.height + y) * self.width..][..self.width]
    }
    /// Row `y` of the first three planes, to write.
    pub(crate) fn rgb_rows_mut(&mut self, y: usize) -> [&mut [f32]; 3] {
        let (n, w) = (self.width * self.height, self.width);
        let (r, rest) = self.data.split_at_mut(n);
        let (g, b) = rest.split_at_mut(n);
        [&mut r[y * w..][..w], &mut g[y * w..][..w], &mut b[y * w..][..w]]
    }

    /// Brings every sample into `[0, 1]`; what is not a number becomes 0.
    pub(crate) fn clamp01(&mut self) {
        for v in &mut self.data {
            *v = unit(*v);
        }
    }

    /// Grown to the right and downwards to multiples of `multiple`, edges replicated.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had.
    pub(crate) fn padded(&self, multiple: usize) -> Result<Self> {
        let mut out = Self::default();
        self.pad_into(multiple, &mut out)?;
        Ok(out)
    }

    /// [`Canvas::padded`] into `out`, whatever it was before.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had.
    pub(crate) fn pad_into(&self, multiple: usize, out: &mut Self) -> Result<()> {
        let up = |n: usize| n.div_ceil(multiple) * multiple;
        self.window(0..up(self.width), 0..up(self.height), out)
    }

    /// The part inside `width` x `height` from the left upper corner on.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had.
    pub(crate) fn cropped(&self, width: usize, height: usize) -> Result<Self> {
        let mut out = Self::default();
        self.window(0..width, 0..height, &mut out)?;
        Ok(out)
    }

    /// Columns `xs` and rows `ys`; beyond the right and lower edge the last sample is repeated.
    fn window(&self, xs: Range<usize>, ys: Range<usize>, out: &mut Self) -> Result<()> {
        out.reset(self.channels, xs.len(), ys.len())?;
        let inside = xs.end.min(self.width).saturating_sub(xs.start);
        for c in 0..self.channels {
            for y in ys.clone() {
                let from = self.row(c, y.min(self.height - 1));
                let (copied, repeated) = out.row_mut(c, y - ys.start).split_at_mut(inside);
                copied.copy_from_slice(&from[xs.start..][..inside]);
                repeated.fill(from[self.width - 1]);
            }
        }
        Ok(())
    }
}

/// Some rows of a picture that is never there as a whole. Rows count from the top of the picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Band<'a> {
    canvas: &'a Canvas,
    first: usize,
    height: usize,
}

impl<'a> Band<'a> {
    /// All of a picture.
    pub(crate) fn whole(canvas: &'a Canvas) -> Self {
        Self { canvas, first: 0, height: canvas.height() }
    }

    /// `canvas` as the rows from `first` on of a picture of `height` rows.
    pub(crate) fn new(canvas: &'a Canvas, first: usize, height: usize) -> Self {
        Self { canvas, first, height }
    }

    pub(crate) fn channels(&self) -> usize {
        self.canvas.channels()
    }
    pub(crate) fn width(&self) -> usize {
        self.canvas.width()
    }
    /// Rows of the picture.
    pub(crate) fn height(&self) -> usize {
        self.height
    }
    /// A row that is there.
    pub(crate) fn row(&self, channel: usize, y: usize) -> &'a [f32] {
        self.canvas.row(channel, y - self.first)
    }
}

/// The number in `[0, 1]` nearest to `v`; 0 for what is not a number, which `clamp` would keep.
#[inline(always)]
pub(crate) fn unit(v: f32) -> f32 {
    if v > 0.0 { v.min(1.0) } else { 0.0 }
}

/// `len` zeros, or why not.
pub(crate) fn zeros<T: Clone + Default>(
    len: usize,
) -> std::result::Result<Vec<T>, std::collections::TryReserveError> {
    let mut data = Vec::new();
    data.try_reserve_exact(len)?;
    data.resize(len, T::default());
    Ok(data)
}

/// Zeros for one row of `len` samples; a row may be as long as the largest picture is wide.
///
/// # Errors
/// `Limit` where the memory cannot be had.
pub(crate) fn line<T: Clone + Default>(len: usize) -> Result<Vec<T>> {
    zeros(len).map_err(|e| Error::limit(format!("no memory for a row of {len} samples")).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(channels: usize, width: usize, height: usize) -> Canvas {
        let data = (0..channels * width * height).map(|i| i as f32).collect();
        Canvas::from_data(channels, width, height, data).unwrap()
    }

    #[test]
    fn padding_repeats_the_edge_and_cropping_undoes_it() {
        let c = ramp(3, 5, 3);
        let p = c.padded(4).unwrap();
        assert_eq!((p.width(), p.height()), (8, 4));
        assert_eq!(p.row(1, 3), [25., 26., 27., 28., 29., 29., 29., 29.]);
        assert_eq!(p.cropped(5, 3).unwrap(), c);
        assert_eq!(ramp(1, 8, 4).padded(4).unwrap(), ramp(1, 8, 4));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let e = Canvas::new(3, usize::MAX / 2, 5).unwrap_err();
        assert_eq!(e.kind(), crate::error::ErrorKind::Limit);
        assert!(Canvas::new(3, 1 << 30, 1 << 30).is_err());
        assert!(Canvas::from_data(1, 2, 2, vec![0.0; 3]).is_err());
    }

    #[test]
    fn clamping_removes_what_is_not_a_number() {
        let mut c = Canvas::from_data(1, 4, 1, vec![-1.0, f32::NAN, 0.25, f32::INFINITY]).unwrap();
        c.clamp01();
        assert_eq!(c.data(), [0.0, 0.0, 0.25, 1.0]);
    }
}
