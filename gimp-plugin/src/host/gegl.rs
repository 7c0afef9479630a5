//! Samples through GEGL and babl, the same calls in both generations.
#![allow(unsafe_code, reason = "calls of GEGL")]

use std::ffi::{CStr, c_int, c_long};
use std::ptr::null_mut;

use crate::exchange::{Curve, Depth, Exchange, Stored};
use crate::face::{Bands, Rect};
use crate::host::library::{Ptr, Str, functions, text};
use crate::tone::Tone;

/// `GeglRectangle`.
#[repr(C)]
pub(super) struct GeglRect {
    x: c_int,
    y: c_int,
    w: c_int,
    h: c_int,
}

functions! {
    /// GEGL and babl.
    struct Gegl {
        gegl_init: unsafe extern "C" fn(Ptr, Ptr),
        gegl_buffer_get: unsafe extern "C" fn(Ptr, *const GeglRect, f64, Ptr, Ptr, c_int, c_int),
        gegl_buffer_set: unsafe extern "C" fn(Ptr, *const GeglRect, c_int, Ptr, Ptr, c_int),
        gegl_buffer_flush: unsafe extern "C" fn(Ptr),
        babl_fish: unsafe extern "C" fn(Ptr, Ptr) -> Ptr,
        babl_process: unsafe extern "C" fn(Ptr, Ptr, Ptr, c_long) -> c_long,
        babl_format_with_space: unsafe extern "C" fn(Str, Ptr) -> Ptr,
        babl_format_get_space: unsafe extern "C" fn(Ptr) -> Ptr,
        babl_format_has_alpha: unsafe extern "C" fn(Ptr) -> c_int,
        babl_format_is_palette: unsafe extern "C" fn(Ptr) -> c_int,
        babl_format_get_n_components: unsafe extern "C" fn(Ptr) -> c_int,
        babl_get_name: unsafe extern "C" fn(Ptr) -> Str,
    }
}

/// Rows read or written at a time, so that GEGL's cache and this program do not both hold all of a picture.
const BAND: i32 = 256;

/// Memory for a band, aligned for every type of sample.
struct Room(Vec<u64>);

impl Room {
    fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(size_of::<u64>())])
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the memory is initialised and as long as said; u8 has no alignment of its own.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * size_of::<u64>()) }
    }
}

impl Gegl {
    /// What is to be known of a format.
    ///
    /// # Safety
    /// `format` is a format of babl.
    pub(super) unsafe fn stored(&self, format: Ptr) -> Stored {
        // SAFETY: as the caller promises; babl's names are C strings that stay.
        unsafe {
            let name = CStr::from_ptr((self.babl_get_name)(format)).to_string_lossy();
            let components = (self.babl_format_get_n_components)(format);
            Stored::new(
                &name,
                usize::try_from(components).unwrap_or(0),
                (self.babl_format_has_alpha)(format) != 0,
                (self.babl_format_is_palette)(format) != 0,
            )
        }
    }

    /// babl's format for `exchange` in the space of `format`, so that no number is converted between profiles.
    ///
    /// # Safety
    /// `format` is a format of babl.
    unsafe fn in_space(&self, exchange: &Exchange, format: Ptr) -> Ptr {
        let name = text(&exchange.babl_name());
        // SAFETY: as the caller promises.
        unsafe { (self.babl_format_with_space)(name.as_ptr(), (self.babl_format_get_space)(format)) }
    }

    /// The format on the way, and the curve that turns its samples into those of `exchange`.
    ///
    /// # Safety
    /// `format` is a format of babl.
    unsafe fn on_the_way(&self, exchange: &Exchange, format: Ptr) -> (Ptr, Option<Tone>) {
        // SAFETY: as the caller promises; null is babl's word for the space of sRGB.
        unsafe {
            match exchange.curve {
                Curve::Linear => {
                    let name = text(&exchange.babl_name());
                    ((self.babl_format_with_space)(name.as_ptr(), null_mut()), None)
                }
                Curve::Own => (self.in_space(exchange, format), None),
                Curve::Perceptual => match self.tone(exchange.gray, format) {
                    Some(tone) => (self.in_space(&exchange.linear(), format), Some(tone)),
                    None => (self.in_space(exchange, format), None),
                },
            }
        }
    }

    /// The curve of the profile of `format`, where that is not sRGB's. 2.10 tells plug-ins of no other profile; it has
    /// pictures in linear light in a profile without a curve.
    ///
    /// # Safety
    /// `format` is a format of babl.
    unsafe fn tone(&self, gray: bool, format: Ptr) -> Option<Tone> {
        let encoded = Exchange { gray, alpha: false, depth: Depth::F32, curve: Curve::Own };
        let colours = encoded.samples();
        let mut questions = Tone::questions(colours);
        let mut answers = vec![0.0; questions.len()];
        // SAFETY: as the caller promises; both lists hold as many pixels of `colours` floats as are named, and babl only
        // reads the first.
        unsafe {
            let fish =
                (self.babl_fish)(self.in_space(&encoded, format), self.in_space(&encoded.linear(), format));
            let pixels = (questions.len() / colours) as c_long;
            (self.babl_process)(fish, questions.as_mut_ptr().cast(), answers.as_mut_ptr().cast(), pixels);
        }
        Tone::new(&answers, colours)
    }

    /// Reads `part` of a buffer; outside of it everything is zero.
    ///
    /// # Safety
    /// `buffer` is a buffer of GEGL, `format` its format; `gegl_init` was called.
    pub(super) unsafe fn read(
        &self,
        buffer: Ptr,
        format: Ptr,
        part: Rect,
        exchange: &Exchange,
        out: &mut [u8],
    ) {
        let row = part.w as usize * exchange.pixel_bytes();
        let mut room = Room::new(row * BAND.min(part.h) as usize);
        // SAFETY: as the caller promises.
        let (way, tone) = unsafe { self.on_the_way(exchange, format) };
        for (i, band) in out.chunks_mut(row * BAND as usize).enumerate() {
            let rect = GeglRect {
                x: part.x,
                y: part.y + i as c_int * BAND,
                w: part.w,
                h: (band.len() / row) as c_int,
            };
            let memory = room.bytes();
            // SAFETY: the memory holds the rows asked for, in the format named, without gaps (stride 0).
            unsafe { (self.gegl_buffer_get)(buffer, &rect, 1.0, way, memory.as_mut_ptr().cast(), 0, 0) };
            band.copy_from_slice(&memory[..band.len()]);
            if let Some(tone) = &tone {
                tone.encode(band, exchange.samples());
            }
        }
    }

    /// Writes `pixels` into a buffer.
    ///
    /// # Safety
    /// `buffer` is a buffer of GEGL, `format` its format; `gegl_init` was called.
    pub(super) unsafe fn write(&self, buffer: Ptr, format: Ptr, pixels: &dyn Bands) {
        let (part, exchange) = (pixels.part(), pixels.exchange());
        let row = part.w as usize * exchange.pixel_bytes();
        let mut room = Room::new(row * BAND.min(part.h) as usize);
        // SAFETY: as the caller promises.
        let (way, tone) = unsafe { self.on_the_way(exchange, format) };
        for from in (0..part.h).step_by(BAND as usize) {
            let h = BAND.min(part.h - from);
            let memory = &mut room.bytes()[..row * h as usize];
            pixels.fill(from as usize, h as usize, memory);
            if let Some(tone) = &tone {
                tone.decode(memory, exchange.samples());
            }
            let rect = GeglRect { x: part.x, y: part.y + from, w: part.w, h };
            // SAFETY: the memory holds the rows given, in the format named, without gaps (stride 0).
            unsafe { (self.gegl_buffer_set)(buffer, &rect, 0, way, memory.as_mut_ptr().cast(), 0) };
        }
        // SAFETY: as the caller promises.
        unsafe { (self.gegl_buffer_flush)(buffer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_aligned_and_large_enough() {
        let mut room = Room::new(13);
        assert_eq!(room.bytes().len(), 16);
        assert_eq!(room.bytes().as_ptr() as usize % 8, 0);
    }
}
