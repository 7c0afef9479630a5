//! Structs that may be those of an older or a newer header: the caller says how many bytes it knows.

use crate::status::{Failure, Outcome};

/// More than any struct will ever have: what is above was never set.
const MOST: usize = 1 << 16;

/// A struct of the header.
///
/// # Safety
/// `#[repr(C)]`, the first field is `struct_size: usize`, and every bit pattern is a valid value.
#[allow(unsafe_code, reason = "the promise is about memory")]
pub(crate) unsafe trait Versioned: Copy {
    /// Name in the header.
    const NAME: &'static str;
    /// The sizes that it had in each release, ascending; the last is the present one.
    const SIZES: &'static [usize];
    /// Values of fields that the caller's header lacks.
    fn defaults() -> Self;
}

fn check<T: Versioned>(size: usize) -> Outcome<()> {
    let now = size_of::<T>();
    // No bytes at the end that belong to no field: they would be one in a later release.
    const { assert!(T::SIZES[T::SIZES.len() - 1] == size_of::<T>()) };
    if T::SIZES.contains(&size) || (size > now && size <= MOST) {
        return Ok(());
    }
    let name = T::NAME;
    Err(Failure::argument(format!(
        "struct_size is {size}, sizeof({name}) is {now} here: call its _init function, or pass its sizeof"
    )))
}

/// Reads a struct of the caller's. Fields it does not know take their defaults; of bytes that are unknown here none
/// may be set.
///
/// # Safety
/// `from` is NULL, or points to a readable `struct_size` and, where that is one of `T::SIZES` or larger, to as many
/// readable bytes.
#[allow(unsafe_code, reason = "reads the host's memory")]
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Outcome<T> {
    if from.is_null() {
        return Err(Failure::argument("NULL"));
    }
    // SAFETY: not NULL, so the first field can be read.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    check::<T>(size)?;
    let now = size_of::<T>();
    let mut value = T::defaults();
    // SAFETY: `size` bytes are readable, `value` has `now`, and any bytes make a valid `T`.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(now)) };
    for at in now..size {
        // SAFETY: below `size`.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            return Err(Failure::argument(format!(
                "byte {at} of {} is set: version {} of the library does not know this field",
                T::NAME,
                env!("CARGO_PKG_VERSION")
            )));
        }
    }
    Ok(value)
}

/// Writes as much of `value` as the caller knows, zeros beyond what is known here, and `size` itself as `struct_size`.
///
/// # Safety
/// `to` is NULL, or `size` bytes there are writable.
#[allow(unsafe_code, reason = "writes the host's memory")]
pub(crate) unsafe fn write<T: Versioned>(to: *mut T, size: usize, value: T) -> Outcome<()> {
    if to.is_null() {
        return Err(Failure::argument("NULL"));
    }
    check::<T>(size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: `size` bytes are writable, `value` has at least `known`, and `size` is at least one `usize` since every
    // entry of `SIZES` is.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), to.cast::<u8>(), known);
        to.cast::<u8>().add(known).write_bytes(0, size - known);
        to.cast::<usize>().write_unaligned(size);
    }
    Ok(())
}

#[cfg(test)]
#[allow(unsafe_code, reason = "does as C does")]
mod tests {
    use super::*;
    use crate::status::ARGUMENT;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Now {
        struct_size: usize,
        first: u64,
        /// Since the second release.
        second: u64,
    }

    // SAFETY: integers only, `struct_size` first.
    unsafe impl Versioned for Now {
        const NAME: &'static str = "now";
        const SIZES: &'static [usize] = &[16, 24];
        fn defaults() -> Self {
            Self { struct_size: 24, first: 1, second: 2 }
        }
    }

    fn read_words(words: &[u64]) -> Outcome<Now> {
        // SAFETY: every test below gives as many bytes as the first word says.
        unsafe { read(words.as_ptr().cast()) }
    }

    #[test]
    fn older_and_newer_callers() {
        assert_eq!(read_words(&[16, 7]).unwrap(), Now { struct_size: 16, first: 7, second: 2 });
        assert_eq!(read_words(&[24, 7, 8]).unwrap(), Now { struct_size: 24, first: 7, second: 8 });
        assert_eq!(read_words(&[40, 7, 8, 0, 0]).unwrap().second, 8);
        let failure = read_words(&[40, 7, 8, 0, 1 << 60]).unwrap_err();
        assert!(failure.status == ARGUMENT && failure.text.contains("byte 39"), "{failure:?}");
        for size in [0, 1, 8, 17, 23, u64::MAX, 1 << 40] {
            let failure = read_words(&[size]).unwrap_err();
            assert!(failure.text.contains(&size.to_string()), "{failure:?}");
        }
    }

    #[test]
    fn nothing_is_written_beyond_what_the_caller_knows() {
        for (size, want) in [
            (16, [16, 1, 9, 9, 9]),
            (24, [24, 1, 2, 9, 9]),
            (32, [32, 1, 2, 0, 9]),
            (15, [9; 5]),
            (0, [9; 5]),
        ] {
            let mut memory = [9u64; 5];
            // SAFETY: 40 bytes are there.
            let result = unsafe { write(memory.as_mut_ptr().cast(), size, Now::defaults()) };
            assert_eq!((memory, result.is_ok()), (want, want[0] != 9));
        }
    }
}
