//! Convolutions with all that comes before and after them: which algorithm, packed weights, the face.

#![allow(unsafe_code, reason = "vector kernels over raw memory")]

use crate::error::{Error, Result};
use crate::exec::cpu::im2col::Im2col;
use crate::exec::cpu::map::{Buffer, Context, Map, Ptr, padded};
use crate::exec::cpu::simd::Level;
use crate::exec::cpu::winograd::Winograd;
use crate::graph::Padding;

/// Element-wise function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    None,
    Silu,
    Gelu,
    Leaky(f32),
}

/// A convolution of one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConvSpec {
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
    /// 1, or `r` where a pixel shuffle by `r` follows: it costs nothing, results go where it would put them.
    pub(crate) shuffle: usize,
}

impl ConvSpec {
    /// Channels of the map that is written.
    pub(crate) fn out_channels(&self) -> usize {
        self.cout / (self.shuffle * self.shuffle)
    }

    /// Columns of the product: `[dy][dx][channel, padded]`.
    pub(crate) fn columns(&self) -> usize {
        self.shuffle * self.shuffle * padded(self.out_channels())
    }

    /// Which output channel a column is; none for padding.
    pub(crate) fn channel(&self, column: usize) -> Option<usize> {
        let group = padded(self.out_channels());
        let (place, c) = (column / group, column % group);
        (c < self.out_channels()).then_some(c * self.shuffle * self.shuffle + place)
    }

    /// Height and width after the convolution and before the shuffle; none where the kernel does not fit.
    pub(crate) fn size(&self, h: usize, w: usize) -> Option<(usize, usize)> {
        let p = &self.padding;
        let h = (h + p.top + p.bottom).checked_sub(self.kernel)? / self.stride + 1;
        Some((h, (w + p.left + p.right).checked_sub(self.kernel)? / self.stride + 1))
    }
}

/// Where a convolution reads: `act(x * pixel * scale + shift)` per sample, computed while the input is staged.
/// A border of zeros lies around that, a replicated border repeats it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) map: Map,
    /// The convolution sees the map enlarged by two, each pixel four times.
    pub(crate) upsample: bool,
    /// One factor per pixel of the map, `[n * h * w]`.
    pub(crate) pixel: Option<Ptr>,
    /// Scale and shift, each `[n][padded(cin)]`.
    pub(crate) channel: Option<(Ptr, Ptr)>,
    pub(crate) act: Act,
    /// The border around the map where it is a part of a larger one; none: the convolution's.
    pub(crate) padding: Option<Padding>,
}

/// What follows the convolution: `y = add + scale * act(conv + bias + channel)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post {
    /// `[n][padded(cout)]`, only without a shuffle.
    pub(crate) channel: Option<Ptr>,
    pub(crate) act: Act,
    pub(crate) scale: f32,
    /// Same shape as `y`.
    pub(crate) add: Option<Map>,
}

enum Kernel {
    Winograd(Winograd),
    Im2col(Im2col),
}

/// A convolution with packed weights.
pub(crate) struct Conv {
    spec: ConvSpec,
    level: Level,
    /// By column.
    bias: Buffer,
    kernel: Kernel,
}

/// What both algorithms run with.
pub(crate) struct Call<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) level: Level,
    pub(crate) spec: &'a ConvSpec,
    pub(crate) bias: Ptr,
    pub(crate) src: &'a Source,
    pub(crate) post: &'a Post,
    pub(crate) y: &'a Map,
    /// Size of the convolution before the shuffle.
    pub(crate) size: (usize, usize),
}

impl Conv {
    /// Packs weights `[cout][cin][kernel][kernel]`.
    pub(crate) fn new(level: Level, spec: &ConvSpec, weight: &[f32], bias: Option<&[f32]>) -> Result<Self> {
        let area = spec.kernel * spec.kernel;
        let sound = spec.cin > 0 && spec.cout > 0 && area > 0 && spec.stride > 0 && spec.shuffle > 0;
        if !sound
            || !spec.cout.is_multiple_of(spec.shuffle * spec.shuffle)
            || weight.len() != spec.cout * spec.cin * area
            || bias.is_some_and(|b| b.len() != spec.cout)
        {
            return Err(Error::internal(format!("a convolution that cannot be: {spec:?}")));
        }
        let mut packed = Buffer::zeroed(spec.columns())
            .ok_or_else(|| Error::limit("no memory for the bias of a convolution"))?;
        if let Some(bias) = bias {
            for (column, value) in packed.as_mut_slice().iter_mut().enumerate() {
                *value = spec.channel(column).map_or(0.0, |c| bias[c]);
            }
        }
        let kernel = if Winograd::suits(spec) {
            Kernel::Winograd(Winograd::new(level, spec, weight)?)
        } else {
            Kernel::Im2col(Im2col::new(level, spec, weight)?)
        };
        Ok(Self { spec: spec.clone(), level, bias: packed, kernel })
    }

    #[cfg(test)]
    pub(crate) fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.kernel {
            Kernel::Winograd(k) => k.bytes(),
            Kernel::Im2col(k) => k.bytes(),
        };
        weights + self.bias.len() * size_of::<f32>()
    }

    /// f32 of scratch that each thread needs; sizes are those of the convolution before the shuffle.
    pub(crate) fn scratch(&self, n: usize, out_h: usize, out_w: usize, threads: usize) -> usize {
        match &self.kernel {
            Kernel::Winograd(k) => k.scratch(n, out_h, out_w, threads),
            Kernel::Im2col(k) => k.scratch(n, out_h, out_w, threads),
        }
    }

    /// Computes `y`.
    ///
    /// # Safety
    /// All maps and factors lie in live memory of the sizes that [`Source`] and [`Post`] say, scratch is as long as
    /// [`Conv::scratch`] tells, and `y` overlaps neither source nor `add`, except that it may be exactly `add`.
    pub(crate) unsafe fn run(&self, cx: &Context<'_>, src: &Source, post: &Post, y: &Map) -> Result<()> {
        let up = usize::from(src.upsample);
        let (r, map) = (self.spec.shuffle, &src.map);
        let spec = ConvSpec { padding: src.padding.unwrap_or(self.spec.padding), ..self.spec.clone() };
        let size = spec.size(map.h << up, map.w << up);
        let shape = |m: &Map| (m.n, m.c, m.h, m.w);
        let wanted = size.map(|(h, w)| (map.n, self.spec.out_channels(), h * r, w * r));
        let (Some(size), true) = (size, wanted == Some(shape(y))) else {
            return Err(Error::internal(format!("{:?} from {:?} to {:?}", self.spec, shape(map), shape(y))));
        };
        if map.c != self.spec.cin
            || post.add.is_some_and(|a| shape(&a) != shape(y))
            || (post.channel.is_some() && r != 1)
        {
            return Err(Error::internal(format!("{:?}: input or addend of another shape", self.spec)));
        }
        if map.h == 0 || map.w == 0 {
            return Err(Error::internal("convolution of an empty map"));
        }
        let bias = Ptr::new(self.bias.start());
        let call = Call { cx, level: self.level, spec: &spec, bias, src, post, y, size };
        // SAFETY: the caller's contract, and shapes that fit.
        unsafe {
            match &self.kernel {
                Kernel::Winograd(k) => k.run(&call),
                Kernel::Im2col(k) => k.run(&call),
            }
        }
    }
}

#[cfg(test)]
#[path = "conv_tests.rs"]
mod tests;
