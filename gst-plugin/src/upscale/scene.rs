//! Cuts: a frame that shows something else than the one before it, seen before it is computed.

use gst_video::VideoFormatInfo;
use ssmoesr_core::FrameRef;

/// Side in pixels of the blocks whose means are compared: noise and small motion vanish in them.
const BLOCK: usize = 8;

/// Every so many pixels of a block count, across and down.
const STRIDE: usize = 2;

/// The frame before, as the mean luma of its blocks in `[0, 1]`.
#[derive(Debug, Default)]
pub(super) struct Scene {
    before: Vec<f32>,
}

impl Scene {
    /// Forgets the frame before: the next one is no cut.
    pub(super) fn reset(&mut self) {
        self.before.clear();
    }

    /// Whether blocks of `frame` differ from those of the frame before by more than `threshold` in the mean.
    pub(super) fn cuts(&mut self, frame: &FrameRef<'_>, format: &VideoFormatInfo, threshold: f64) -> bool {
        let now = blocks(frame, format);
        let cut = now.len() == self.before.len() && f64::from(difference(&now, &self.before)) > threshold;
        self.before = now;
        cut
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len().max(1) as f32
}

/// One component of a format: the core's plane, and where its sample lies in a pixel.
struct Component {
    weight: f32,
    plane: usize,
    step: usize,
    offset: usize,
    shift: u32,
    wide: bool,
}

/// What luma is made of: the first component of YUV and gray, a mean of R, G and B that leans to green.
fn components(format: &VideoFormatInfo) -> Vec<Component> {
    let weights: &[f32] = if format.is_rgb() { &[0.25, 0.5, 0.25] } else { &[1.0] };
    let planar = format.n_planes() == format.n_components();
    weights
        .iter()
        .enumerate()
        .map(|(c, weight)| {
            let top = ((1u32 << format.depth()[c]) - 1) as f32;
            Component {
                weight: weight / top,
                // The core counts planes by component.
                plane: if planar { c } else { 0 },
                step: usize::try_from(format.pixel_stride()[c]).unwrap_or(1),
                offset: format.poffset()[c] as usize,
                shift: format.shift()[c],
                wide: format.depth()[c] > 8,
            }
        })
        .collect()
}

fn blocks(frame: &FrameRef<'_>, format: &VideoFormatInfo) -> Vec<f32> {
    let (w, h) = (frame.width() as usize, frame.height() as usize);
    let across = w.div_ceil(BLOCK);
    let mut means = vec![0.0; across * h.div_ceil(BLOCK)];
    let components = components(format);
    for (row, means) in means.chunks_mut(across).enumerate() {
        let lines = (row * BLOCK..h.min((row + 1) * BLOCK)).step_by(STRIDE);
        let mut counts = vec![0u32; across];
        for y in lines {
            for c in &components {
                let line = frame.row(c.plane, y);
                for x in (0..w).step_by(STRIDE) {
                    let at = x * c.step + c.offset;
                    let code = if c.wide {
                        u16::from_ne_bytes([line[at], line[at + 1]]) >> c.shift
                    } else {
                        u16::from(line[at])
                    };
                    means[x / BLOCK] += c.weight * f32::from(code);
                }
            }
            (0..w).step_by(STRIDE).for_each(|x| counts[x / BLOCK] += 1);
        }
        means.iter_mut().zip(&counts).for_each(|(mean, count)| *mean /= *count as f32);
    }
    means
}

#[cfg(test)]
mod tests {
    use super::super::caps::FORMATS;
    use super::super::frames::Picture;
    use super::*;
    use gst_video::VideoFormat;

    /// The blocks of a frame whose bytes are all `value`.
    fn flat(format: VideoFormat, value: u8) -> Vec<f32> {
        let info = gst_video::VideoInfo::builder(format, 19, 11).build().unwrap();
        let bytes = vec![value; info.size()];
        let buffer = gst::Buffer::with_size(bytes.len()).unwrap();
        blocks(&Picture::new(&info).unwrap().read(&buffer, &bytes).unwrap(), &info.format_info())
    }

    #[test]
    fn luma_of_every_format() {
        gst::init().unwrap();
        for format in FORMATS {
            let (black, white) = (flat(format, 0), flat(format, 255));
            assert_eq!((black.len(), white.len()), (6, 6));
            assert!(black.iter().all(|v| *v == 0.0), "{format}");
            // Codes of 10 bit in the low bits of 16: what lies above them counts as more than white.
            let deep =
                matches!(format, VideoFormat::I42010le | VideoFormat::I42210le | VideoFormat::Y44410le);
            let top = if deep { 65535.0 / 1023.0 } else { 1.0 };
            assert!(white.iter().all(|v| (v - top).abs() < 1e-3), "{format} {white:?}");
        }
    }

    #[test]
    fn a_cut_is_a_large_change_of_the_same_size() {
        gst::init().unwrap();
        let info = gst_video::VideoInfo::builder(VideoFormat::Gray8, 16, 16).build().unwrap();
        let small = gst_video::VideoInfo::builder(VideoFormat::Gray8, 8, 8).build().unwrap();
        let mut scene = Scene::default();
        let mut cut = |info: &gst_video::VideoInfo, value: u8| {
            let bytes = vec![value; info.size()];
            let buffer = gst::Buffer::with_size(bytes.len()).unwrap();
            let picture = Picture::new(info).unwrap();
            scene.cuts(&picture.read(&buffer, &bytes).unwrap(), &info.format_info(), 0.1)
        };
        assert!(!cut(&info, 0), "the first frame");
        assert!(!cut(&info, 25));
        assert!(cut(&info, 51));
        assert!(!cut(&small, 255), "another size");
        assert!(cut(&small, 0));
        scene.reset();
        let bytes = vec![255; small.size()];
        let buffer = gst::Buffer::with_size(bytes.len()).unwrap();
        let frame = Picture::new(&small).unwrap();
        let frame = frame.read(&buffer, &bytes).unwrap();
        assert!(!scene.cuts(&frame, &small.format_info(), 0.1), "the first after a reset");
    }
}
