//! `ssmoesr_picture`: from numbers and pointers to frames. Every number is checked before a slice is made of it.

use crate::entry::entry;
use crate::sized::{self, Versioned};
use crate::status::{Failure, INPUT, OK, Outcome, Status};
use ssmoesr_core::{
    ChromaSiting, ColorInfo, Frame, FrameMut, FrameRef, Matrix, PixelFormat, PlaneMut, PlaneRef, Range,
};
use std::ffi::c_void;
use std::mem::offset_of;
use std::{ptr, slice};

/// As in the header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct RawPicture {
    struct_size: usize,
    format: i32,
    width: u32,
    height: u32,
    matrix: i32,
    range: i32,
    siting: i32,
    data: [*mut c_void; 4],
    stride: [usize; 4],
}

#[allow(unsafe_code, reason = "a promise about memory")]
// SAFETY: numbers, and pointers that are not followed without a look; `struct_size` first.
unsafe impl Versioned for RawPicture {
    const NAME: &'static str = "ssmoesr_picture";
    const SIZES: &'static [usize] = &[offset_of!(Self, stride) + size_of::<[usize; 4]>()];

    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            format: 0,
            width: 0,
            height: 0,
            matrix: 0,
            range: 0,
            siting: 0,
            data: [ptr::null_mut(); 4],
            stride: [0; 4],
        }
    }
}

/// The numbers of the header, in order from 1.
const FORMATS: [PixelFormat; 22] = [
    PixelFormat::Gray8,
    PixelFormat::GrayA8,
    PixelFormat::Gray16,
    PixelFormat::GrayA16,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Rgbx8,
    PixelFormat::Bgrx8,
    PixelFormat::Xrgb8,
    PixelFormat::Xbgr8,
    PixelFormat::Rgba8,
    PixelFormat::Bgra8,
    PixelFormat::Argb8,
    PixelFormat::Abgr8,
    PixelFormat::Rgb16,
    PixelFormat::Rgba16,
    PixelFormat::RgbF32,
    PixelFormat::RgbaF32,
    PixelFormat::I420,
    PixelFormat::Nv12,
    PixelFormat::RgbPF32,
    PixelFormat::RgbaPF32,
];

fn format(number: i32) -> Outcome<PixelFormat> {
    let index = number.checked_sub(1).and_then(|n| usize::try_from(n).ok());
    index
        .and_then(|i| FORMATS.get(i).copied())
        .ok_or_else(|| Failure::argument(format!("format is {number}, possible: 1..{}", FORMATS.len())))
}

fn color(raw: &RawPicture) -> Outcome<ColorInfo> {
    let mut color = ColorInfo::default();
    color.matrix = match raw.matrix {
        0 | 1 => Matrix::Bt709,
        6 => Matrix::Bt601,
        7 => Matrix::Smpte240m,
        9 => Matrix::Bt2020,
        n => return Err(Failure::argument(format!("matrix is {n}, possible: 0, 1, 6, 7, 9"))),
    };
    color.range = match raw.range {
        0 | 1 => Range::Limited,
        2 => Range::Full,
        n => return Err(Failure::argument(format!("range is {n}, possible: 0..2"))),
    };
    color.siting = match raw.siting {
        0 | 1 => ChromaSiting::Left,
        2 => ChromaSiting::Center,
        3 => ChromaSiting::TopLeft,
        n => return Err(Failure::argument(format!("siting is {n}, possible: 0..3"))),
    };
    Ok(color)
}

/// One plane whose bytes are within the address space.
#[derive(Clone, Copy)]
struct Plane {
    data: *mut u8,
    /// From the first byte of the first row to the last of the last.
    bytes: usize,
    stride: usize,
}

impl Plane {
    fn meets(&self, other: &Self) -> bool {
        let (a, b) = (self.data.addr(), other.data.addr());
        a < b + other.bytes && b < a + self.bytes
    }
}

/// A descriptor that was checked: a frame can be made of it.
#[derive(Clone, Copy)]
pub(crate) struct Checked {
    pub(crate) format: PixelFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
    color: ColorInfo,
    planes: [Option<Plane>; 4],
}

#[allow(unsafe_code, reason = "pointers of the host's")]
// SAFETY: the header gives the memory to the library until the frame is fetched, whatever its thread.
unsafe impl Send for Checked {}

impl Checked {
    /// Reads a descriptor from C.
    ///
    /// # Safety
    /// `picture` is NULL or as [`sized::read`] wants it.
    #[allow(unsafe_code, reason = "reads the host's memory")]
    pub(crate) unsafe fn read(picture: *const RawPicture, name: &str) -> Outcome<Self> {
        // SAFETY: the caller's promise.
        unsafe { sized::read(picture) }.and_then(|raw| Self::new(&raw)).map_err(|e| e.of(name))
    }

    fn new(raw: &RawPicture) -> Outcome<Self> {
        let format = format(raw.format)?;
        let color = color(raw)?;
        let (width, height) = (raw.width, raw.height);
        let input = |text: String| Failure { status: INPUT, text };
        if width == 0 || height == 0 || width > Frame::MAX_SIDE || height > Frame::MAX_SIDE {
            return Err(input(format!("{width}x{height} pixels: sides must be 1 to {}", Frame::MAX_SIDE)));
        }
        let mut planes = [None; 4];
        for (i, place) in planes.iter_mut().enumerate().take(format.planes()) {
            let (data, stride) = (raw.data[i].cast::<u8>(), raw.stride[i]);
            if data.is_null() {
                return Err(Failure::argument(format!("data[{i}] is NULL")));
            }
            let (w, h) = format.plane_size(i, width, height);
            let row = w.saturating_mul(format.pixel_bytes(i));
            if stride < row {
                return Err(input(format!("stride[{i}] is {stride}, a row has {row} bytes")));
            }
            let bytes = stride.checked_mul(h - 1).and_then(|n| n.checked_add(row));
            // A slice has at most isize::MAX bytes and does not wrap around.
            let bytes =
                bytes.filter(|n| isize::try_from(*n).is_ok() && data.addr().checked_add(*n).is_some());
            let Some(bytes) = bytes else {
                return Err(input(format!("stride[{i}] is {stride}: {h} rows are beyond the address space")));
            };
            *place = Some(Plane { data, bytes, stride });
        }
        Ok(Self { format, width, height, color, planes })
    }

    /// Checks that writing `self` changes neither `input` nor one plane through another.
    pub(crate) fn is_apart(&self, input: &Self) -> Outcome<()> {
        let apart = |text: &str| Err(Failure { status: INPUT, text: text.to_owned() });
        for (i, plane) in self.planes.iter().flatten().enumerate() {
            if input.planes.iter().flatten().any(|other| plane.meets(other)) {
                return apart("in and out overlap in memory");
            }
            if self.planes.iter().flatten().skip(i + 1).any(|other| plane.meets(other)) {
                return apart("out: planes overlap in memory");
            }
        }
        Ok(())
    }

    /// The samples, to read.
    ///
    /// # Safety
    /// For `'a` the memory that was described is readable and nobody writes there.
    #[allow(unsafe_code, reason = "the host's memory")]
    pub(crate) unsafe fn frame<'a>(&self) -> Outcome<FrameRef<'a>> {
        let planes = self.planes.iter().flatten().map(|p| PlaneRef {
            // SAFETY: not NULL, within the address space (both checked in `new`), readable and quiet (the caller).
            data: unsafe { slice::from_raw_parts(p.data, p.bytes) },
            stride: p.stride,
        });
        Ok(FrameRef::new(self.format, self.width, self.height, self.color, planes.collect())?)
    }

    /// The memory, to write.
    ///
    /// # Safety
    /// For `'a` the memory that was described is writable, nobody else reads or writes there, and
    /// [`is_apart`](Self::is_apart) holds.
    #[allow(unsafe_code, reason = "the host's memory")]
    pub(crate) unsafe fn frame_mut<'a>(&self) -> Outcome<FrameMut<'a>> {
        let planes = self.planes.iter().flatten().map(|p| PlaneMut {
            // SAFETY: not NULL, within the address space (both checked in `new`); ours alone (the caller), and no plane
            // meets another.
            data: unsafe { slice::from_raw_parts_mut(p.data, p.bytes) },
            stride: p.stride,
        });
        Ok(FrameMut::new(self.format, self.width, self.height, self.color, planes.collect())?)
    }
}

#[allow(unsafe_code, reason = "called from C")]
#[unsafe(no_mangle)]
unsafe extern "C" fn ssmoesr_picture_init(picture: *mut RawPicture, struct_size: usize) -> Status {
    entry("ssmoesr_picture_init", || {
        // SAFETY: the header asks for NULL or `struct_size` writable bytes.
        unsafe { sized::write(picture, struct_size, RawPicture::defaults()) }.map_err(|e| e.of("picture"))?;
        Ok(OK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::ARGUMENT;

    fn raw(format: i32, width: u32, height: u32, memory: &mut [u8], stride: usize) -> RawPicture {
        let data = [memory.as_mut_ptr().cast(); 4];
        RawPicture { format, width, height, data, stride: [stride; 4], ..RawPicture::defaults() }
    }

    /// Names and numbers of the header's formats are those of the table.
    #[test]
    fn formats_are_those_of_the_header() {
        let header = include_str!("../../include/ssmoesr.h");
        let rows: Vec<(String, i32)> = header
            .lines()
            .filter_map(|l| l.strip_prefix("#define SSMOESR_FORMAT_"))
            .map(|l| {
                let mut words = l.split_whitespace();
                (words.next().unwrap().to_lowercase(), words.next().unwrap().parse().unwrap())
            })
            .collect();
        assert_eq!(rows.len(), FORMATS.len());
        for (name, number) in rows {
            assert_eq!(format!("{:?}", format(number).unwrap()).to_lowercase(), name);
        }
        for format in FORMATS {
            assert!(PixelFormat::ALL.contains(&format));
        }
        for number in [i32::MIN, -1, 0, 23, i32::MAX] {
            assert_eq!(format(number).unwrap_err().status, ARGUMENT);
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let mut memory = vec![0; 64];
        let m = memory.as_mut_slice();
        for (picture, status, word) in [
            (raw(5, 0, 1, m, 64), INPUT, "0x1"),
            (raw(5, 1, 0, m, 64), INPUT, "1x0"),
            (raw(5, u32::MAX, 1, m, usize::MAX), INPUT, "4294967295"),
            (raw(5, 1, 1 << 21, m, 64), INPUT, "2097152"),
            (raw(5, 4, 4, m, 11), INPUT, "stride[0] is 11"),
            (raw(5, 4, 4, m, usize::MAX), INPUT, "address space"),
            (raw(5, 4, 4, m, usize::MAX / 4), INPUT, "address space"),
            (raw(5, 4, 3, m, usize::MAX / 4), INPUT, "address space"),
            (raw(99, 4, 4, m, 64), ARGUMENT, "99"),
            (RawPicture { matrix: 2, ..raw(19, 4, 4, m, 64) }, ARGUMENT, "matrix"),
            (RawPicture { range: -1, ..raw(19, 4, 4, m, 64) }, ARGUMENT, "range"),
            (RawPicture { siting: 4, ..raw(19, 4, 4, m, 64) }, ARGUMENT, "siting"),
            (RawPicture { data: [ptr::null_mut(); 4], ..raw(5, 4, 4, m, 64) }, ARGUMENT, "NULL"),
        ] {
            let Err(failure) = Checked::new(&picture) else { panic!("{word} was taken") };
            assert!(failure.status == status && failure.text.contains(word), "{failure:?} {word}");
        }
    }

    #[test]
    fn what_overlaps_is_seen() {
        let mut memory = vec![0; 400];
        let (a, b) = memory.split_at_mut(48);
        let input = Checked::new(&raw(5, 4, 4, a, 12)).ok().unwrap();
        let output = Checked::new(&raw(5, 4, 4, b, 12)).ok().unwrap();
        assert!(output.is_apart(&input).is_ok());
        assert!(input.is_apart(&input).is_err());
        let planes = Checked::new(&raw(19, 4, 4, b, 12)).ok().unwrap();
        assert!(planes.is_apart(&input).unwrap_err().text.contains("planes"));
    }
}
