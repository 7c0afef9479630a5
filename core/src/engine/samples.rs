//! What the processor makes of a frame before tiles are cut out of it.

use crate::error::Result;
use crate::model::{self, ConditionResize};
use crate::pixels::canvas::Canvas;
use crate::pixels::resample::bicubic_rows;
use crate::pixels::{FrameRef, alpha, convert, imresize};
use crate::weights::Manifest;

/// Sizes of a picture on its way, and how it gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Of the input.
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) scale: usize,
    /// How many times larger the latent grid is.
    pub(super) zoom: usize,
    pub(super) resize: ConditionResize,
    /// Sides of the condition, in latent cells, are multiples of this.
    pub(super) lattice: usize,
}

impl Way {
    pub(super) fn of(manifest: &Manifest, input: &FrameRef<'_>, scale: usize) -> Self {
        let network = &manifest.network;
        Self {
            width: input.width() as usize,
            height: input.height() as usize,
            scale,
            zoom: scale / model::FACTOR,
            resize: model::condition_resize(network),
            lattice: model::lattice(network, &manifest.common),
        }
    }

    /// Height and width of the input on the latent grid.
    pub(super) fn fine(&self) -> (usize, usize) {
        (self.height * self.zoom, self.width * self.zoom)
    }

    /// Height and width of the condition: the same, padded.
    pub(super) fn condition(&self) -> (usize, usize) {
        let (h, w) = self.fine();
        (h.next_multiple_of(self.lattice), w.next_multiple_of(self.lattice))
    }

    /// Whether the decoder reads the input at output size, enlarged in one go from the original.
    pub(super) fn guided(&self) -> bool {
        self.resize == ConditionResize::Imresize
    }

    /// Height and width of what the decoder reads there.
    pub(super) fn guide(&self) -> (usize, usize) {
        let multiple = self.lattice * model::FACTOR;
        [self.height, self.width].map(|n| (n * self.scale).next_multiple_of(multiple)).into()
    }
}

/// Everything of a frame that the processor read; the memory serves picture after picture.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) lr: Canvas,
    pub(super) alpha: Canvas,
    /// The input at the latent grid where that is finer.
    fine: Canvas,
    pub(super) condition: Canvas,
    guide: Canvas,
    line: Vec<f32>,
    /// Whether the frame at hand was read, and whether all was made of it.
    has_lr: bool,
    has_all: bool,
}

impl Samples {
    /// Another frame.
    pub(super) fn forget(&mut self) {
        (self.has_lr, self.has_all) = (false, false);
    }

    /// Reads the frame, if it was not read yet: colours, also those under what nobody sees, and alpha.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had.
    pub(super) fn read(&mut self, input: &FrameRef<'_>) -> Result<()> {
        if !self.has_lr {
            if convert::read_frame(input, &mut self.lr, &mut self.alpha)? {
                alpha::bleed(&mut self.lr, &self.alpha)?;
            }
            self.has_lr = true;
        }
        Ok(())
    }

    /// Reads the frame and makes of it what the network reads, where that was not done yet.
    ///
    /// # Errors
    /// `Limit` where the memory cannot be had.
    pub(super) fn make(&mut self, input: &FrameRef<'_>, way: &Way) -> Result<()> {
        self.read(input)?;
        if self.has_all {
            return Ok(());
        }
        let Self { lr, fine, condition, guide, line, .. } = self;
        if way.zoom > 1 {
            match way.resize {
                ConditionResize::Bicubic => {
                    let (height, width) = way.fine();
                    fine.reset(lr.channels(), width, height)?;
                    bicubic_rows(lr, way.zoom, 0..height, fine, 0, line)?;
                }
                ConditionResize::Imresize => *fine = imresize::enlarge_u8(lr, way.zoom)?,
            }
        }
        // The network was trained on samples that can be shown; the bicubic base keeps what lies beyond.
        let fine: &Canvas = if way.zoom > 1 { fine } else { lr };
        fine.pad_into(way.lattice, condition)?;
        condition.clamp01();
        if way.guided() {
            imresize::enlarge_u8(lr, way.scale)?.pad_into(way.lattice * model::FACTOR, guide)?;
        }
        self.has_all = true;
        Ok(())
    }

    /// The input at the latent grid.
    pub(super) fn fine(&self, way: &Way) -> &Canvas {
        if way.zoom > 1 { &self.fine } else { &self.lr }
    }

    /// What the decoder reads at output size.
    pub(super) fn guide(&self, way: &Way) -> Option<&Canvas> {
        way.guided().then_some(&self.guide)
    }
}
