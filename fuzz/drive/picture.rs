//! Descriptors of pictures, options and plans from C with anything in them. The memory that a descriptor speaks of is
//! really there, to the byte, wherever the library could come to touch it.
#![allow(unsafe_code, reason = "calls as C does")]

use super::Room;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::OnceLock;

use ssmoesr as _;

#[repr(C)]
#[derive(Clone, Copy)]
struct Picture {
    struct_size: usize,
    format: i32,
    width: u32,
    height: u32,
    colour: [i32; 3],
    data: [*mut c_void; 4],
    stride: [usize; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Options {
    struct_size: usize,
    model: *const c_char,
    texts: [*const c_char; 3],
    seed: u64,
    fidelity: f64,
    eta: f64,
    scale: u32,
    steps: u32,
    tile_size: u32,
    threads: u32,
    tile_mode: *const c_char,
    precision: *const c_char,
    tile_overlap: u32,
    reserved: u32,
}

unsafe extern "C" {
    fn ssmoesr_options_init(options: *mut Options, size: usize) -> i32;
    fn ssmoesr_picture_init(picture: *mut Picture, size: usize) -> i32;
    fn ssmoesr_upscaler_new_v0(options: *const Options, upscaler: *mut *mut c_void) -> i32;
    fn ssmoesr_upscaler_run(
        upscaler: *mut c_void,
        options: *const Options,
        input: *const Picture,
        output: *const Picture,
        progress: Option<unsafe extern "C" fn(*mut c_void, u64, u64) -> i32>,
        user: *mut c_void,
    ) -> i32;
    fn ssmoesr_upscaler_plan(
        upscaler: *mut c_void,
        options: *const Options,
        width: u32,
        height: u32,
        plan: *mut u64,
        size: usize,
    ) -> i32;
    fn ssmoesr_last_error() -> *const c_char;
}

/// Numbers from the input, zeros behind its end.
struct Dice<'a>(&'a [u8]);

impl Dice<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
    fn number(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()))
    }
    /// Mostly a small number, sometimes any.
    fn small(&mut self, below: u32) -> u32 {
        match self.byte() {
            0xff => self.number() as u32,
            n => u32::from(n) % below,
        }
    }
    /// A size for a struct of `size` bytes: mostly that.
    fn size(&mut self, size: usize) -> usize {
        match self.byte() {
            0xff => self.number() as usize,
            n @ 0xf0.. => (size + usize::from(n - 0xf0) * 4).saturating_sub(24),
            _ => size,
        }
    }
}

/// Bytes of a pixel per plane, by number of the format; planes behind the first are halved where `true`.
const LAYOUTS: [(&[usize], bool); 22] = [
    (&[1], false),
    (&[2], false),
    (&[2], false),
    (&[4], false),
    (&[3], false),
    (&[3], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[4], false),
    (&[6], false),
    (&[8], false),
    (&[12], false),
    (&[16], false),
    (&[1, 1, 1], true),
    (&[1, 2], true),
    (&[4, 4, 4], false),
    (&[4, 4, 4, 4], false),
];

/// More is not allocated for one plane.
const MOST: u128 = 1 << 18;

/// A descriptor with its memory.
struct Described {
    /// As large as the largest struct that is read, so that any `struct_size` reads what is there.
    memory: Vec<u64>,
    planes: Vec<Vec<u8>>,
    /// Whether the library may not come as far as to read or write the planes.
    hollow: bool,
}

impl Described {
    fn new(dice: &mut Dice<'_>, like: Option<(Picture, u32)>) -> Self {
        let size = dice.size(size_of::<Picture>());
        let mut p = Picture {
            struct_size: size,
            format: 1i32.wrapping_add(dice.small(24) as i32),
            width: dice.small(20),
            height: dice.small(20),
            colour: [0; 3].map(|_: i32| dice.small(11) as i32),
            data: [ptr::null_mut(); 4],
            stride: [0; 4],
        };
        if let Some((other, scale)) = like.filter(|_| dice.byte() < 0xe0) {
            p.format = other.format;
            p.width = other.width.wrapping_mul(scale);
            p.height = other.height.wrapping_mul(scale);
        }
        let (pixels, halved) = usize::try_from(p.format)
            .ok()
            .and_then(|n| LAYOUTS.get(n.wrapping_sub(1)))
            .copied()
            .unwrap_or((&[1; 4], false));
        let (mut planes, mut hollow) = (Vec::new(), false);
        for (i, bytes) in pixels.iter().enumerate() {
            let down = |n: u32| if halved && i > 0 { n.div_ceil(2) } else { n };
            let (w, h) = (down(p.width) as usize, down(p.height) as usize);
            let row = w * bytes;
            p.stride[i] = match dice.byte() {
                0xff => dice.number() as usize,
                n @ 0xf0.. => row.wrapping_sub(usize::from(n - 0xef)),
                n => row + usize::from(n) % 7,
            };
            let need = p.stride[i] as u128 * (h as u128).saturating_sub(1) + row as u128;
            // Where the numbers are wrong the library must see it before it looks at the memory.
            let memory = vec![0x55; if need <= MOST { need as usize } else { 1 }];
            hollow |= need > MOST;
            planes.push(memory);
            p.data[i] = match dice.byte() {
                0xff => ptr::null_mut(),
                0xfe => ptr::without_provenance_mut(usize::MAX),
                // In the memory of another picture: only where that has a byte, which is then of both.
                0xfd if like.is_some_and(|(other, _)| !other.data[0].is_null()) => {
                    like.map_or(ptr::null_mut(), |(other, _)| other.data[0])
                }
                _ => planes[i].as_mut_ptr().cast(),
            };
        }
        let mut memory = vec![0u64; (1 << 16) / 8];
        // SAFETY: the memory is larger than the struct and aligned for it.
        unsafe { memory.as_mut_ptr().cast::<Picture>().write(p) };
        if dice.byte() == 0xff {
            // A field that only a later version knows.
            let words = size_of::<Picture>() / 8;
            memory[words + usize::from(dice.byte()) % 8] = dice.number();
        }
        Self { memory, planes, hollow }
    }

    fn picture(&self) -> *const Picture {
        self.memory.as_ptr().cast()
    }

    fn get(&self) -> Picture {
        // SAFETY: written in `new`.
        unsafe { self.picture().read() }
    }
}

/// The status is one of the header's, and the text says so.
fn told(status: i32) {
    // SAFETY: never NULL, ends with a zero.
    let text = unsafe { CStr::from_ptr(ssmoesr_last_error()) }.to_str().unwrap();
    assert!((-8..=0).contains(&status), "{status}: {text}");
    assert_eq!(status == 0, text.is_empty(), "{status}: {text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// An address that threads may share.
struct Handle(*mut c_void);
// SAFETY: the header allows calls from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

fn upscaler(room: &Room) -> *mut c_void {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    let make = || {
        let model = CString::new(room.model.display().to_string()).unwrap();
        let mut handle = ptr::null_mut();
        // SAFETY: zeros are values of all fields; the pointers live until the call returns.
        unsafe {
            let mut options: Options = std::mem::zeroed();
            assert_eq!(ssmoesr_options_init(&raw mut options, size_of::<Options>()), 0);
            options.model = model.as_ptr();
            options.threads = 1;
            assert_eq!(ssmoesr_upscaler_new_v0(&raw const options, &raw mut handle), 0);
        }
        Handle(handle)
    };
    HANDLE.get_or_init(make).0
}

/// `data` as calls with descriptors.
pub(crate) fn picture(room: &Room, data: &[u8]) {
    let upscaler = upscaler(room);
    let dice = &mut Dice(data);

    // Initialisation writes as much as it was told, and no byte more.
    let size = dice.size(size_of::<Picture>());
    let mut memory = vec![0xa5u8; size.min(1 << 16)];
    if size <= 1 << 16 {
        // SAFETY: `size` bytes are there.
        told(unsafe { ssmoesr_picture_init(memory.as_mut_ptr().cast(), size) });
    }

    // SAFETY: zeros are values of all fields.
    let mut options: Options = unsafe { std::mem::zeroed() };
    // SAFETY: as large as it says.
    assert_eq!(unsafe { ssmoesr_options_init(&raw mut options, size_of::<Options>()) }, 0);
    options.seed = dice.number();
    options.scale = [4, 8, 4, 8, 4, 4, 0, 3][usize::from(dice.byte() % 8)];
    if dice.byte() == 0xff {
        options.fidelity = f64::from_bits(dice.number());
        options.eta = f64::from_bits(dice.number());
        options.steps = dice.small(3);
        options.tile_size = dice.small(64);
    }
    if dice.byte() == 0xff {
        // A struct is as long as it says; this one is not longer than it is.
        options.struct_size = dice.size(size_of::<Options>()).min(size_of::<Options>());
    }

    let size = dice.size(64).min(1 << 12);
    let mut plan = vec![0xa5u64; size.div_ceil(8)];
    let (width, height) = (dice.small(50), dice.small(50));
    // SAFETY: `size` bytes are there.
    told(unsafe {
        ssmoesr_upscaler_plan(upscaler, &raw const options, width, height, plan.as_mut_ptr(), size)
    });

    let input = Described::new(dice, None);
    let mut output = Described::new(dice, Some((input.get(), options.scale)));
    if input.hollow || output.hollow {
        // No picture has this size.
        let mut p = output.get();
        p.width = 0;
        // SAFETY: as in `Described::new`.
        unsafe { output.memory.as_mut_ptr().cast::<Picture>().write(p) };
    }
    unsafe extern "C" fn go_on(_: *mut c_void, done: u64, total: u64) -> i32 {
        assert!(done <= total);
        0
    }
    // SAFETY: descriptors and options are as long as they say, and what they speak of is there or refused.
    let status = unsafe {
        let (input, output) = (input.picture(), output.picture());
        ssmoesr_upscaler_run(upscaler, &raw const options, input, output, Some(go_on), ptr::null_mut())
    };
    told(status);
    assert!(status != 0 || !(input.hollow || output.hollow), "taken without its memory");
    // The input is not written.
    assert!(input.planes.iter().flatten().all(|b| *b == 0x55));
}
