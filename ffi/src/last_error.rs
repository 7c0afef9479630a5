//! The last error of each thread, in a buffer that needs neither an allocation nor a destructor: it works where memory
//! is short and while a thread ends.

use std::cell::UnsafeCell;
use std::ffi::c_char;

/// Bytes with the zero at the end.
const LENGTH: usize = 1024;

thread_local! {
    static TEXT: UnsafeCell<[u8; LENGTH]> = const { UnsafeCell::new([0; LENGTH]) };
}

/// Keeps `text`, cut to what fits; `""` says that all is well.
#[allow(unsafe_code, reason = "the buffer is read by C")]
pub(crate) fn set(text: &str) {
    let mut end = text.len().min(LENGTH - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    TEXT.with(|buffer| {
        // SAFETY: the buffer belongs to this thread and no reference to it outlives this closure or the one in `get`.
        let buffer = unsafe { &mut *buffer.get() };
        for (to, from) in buffer.iter_mut().zip(&text.as_bytes()[..end]) {
            // A zero would end the text for C.
            *to = if *from == 0 { b'?' } else { *from };
        }
        buffer[end] = 0;
    });
}

/// The text of this thread.
pub(crate) fn get() -> *const c_char {
    TEXT.with(|buffer| buffer.get().cast_const().cast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[allow(unsafe_code, reason = "reads as C does")]
    fn read() -> String {
        // SAFETY: `set` ends every text with a zero.
        unsafe { CStr::from_ptr(get()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn texts_are_cut_between_characters_and_belong_to_their_thread() {
        assert_eq!(read(), "");
        set("a\0b");
        assert_eq!(read(), "a?b");
        set(&"é".repeat(600));
        assert_eq!(read(), "é".repeat(511));
        std::thread::spawn(|| assert_eq!(read(), "")).join().unwrap();
        set("");
        assert_eq!(read(), "");
    }
}
