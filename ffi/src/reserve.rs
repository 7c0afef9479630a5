//! The library's allocator: the system's, and a reserve for small requests that the system refuses.
//!
//! What depends on the size of a picture, a tile or a file is asked for in a way that can fail. The small rest (names,
//! lists, error texts) is not: Rust ends the process where such a request fails, and a library must not end its host.
//! So it comes out of memory that was set aside, and new work is refused until that is free again.

use crate::status::{Failure, LIMIT, Outcome};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes set aside; pages that are never touched take no memory. What one call takes in total shortage was measured:
/// an eighth of it with the shipped model.
const BYTES: usize = 4 << 20;
/// In use above this: no new work. The other half is for the calls that are under way.
const LOW: usize = BYTES / 2;
/// Larger requests are refused, as the system refused them.
const LARGEST: usize = 256 << 10;
/// Smallest block, and the alignment of all.
const SMALLEST: usize = 64;
/// Blocks are powers of two.
const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;
/// End of a list of free blocks.
const NONE: u32 = u32::MAX;

#[repr(align(64))]
struct Room(UnsafeCell<[u8; BYTES]>);

#[allow(unsafe_code, reason = "memory that an allocator hands out")]
// SAFETY: nobody makes a reference to the bytes; blocks are handed out under the lock, each to one owner.
unsafe impl Sync for Room {}

/// Which blocks are free.
struct Book {
    /// Bytes from here on were never handed out.
    end: usize,
    /// The first free block of each size; a free block begins with the place of the next.
    free: [u32; CLASSES],
}

/// Memory set aside.
struct Reserve {
    room: Room,
    book: Mutex<Book>,
    used: AtomicUsize,
}

/// Place in `free` and bytes of the block for `layout`.
fn block(layout: Layout) -> Option<(usize, usize)> {
    let bytes = layout.size().max(SMALLEST).checked_next_power_of_two()?;
    (bytes <= LARGEST && layout.align() <= SMALLEST).then(|| ((bytes / SMALLEST).ilog2() as usize, bytes))
}

#[allow(unsafe_code, reason = "an allocator")]
impl Reserve {
    const fn new() -> Self {
        Self {
            room: Room(UnsafeCell::new([0; BYTES])),
            book: Mutex::new(Book { end: 0, free: [NONE; CLASSES] }),
            used: AtomicUsize::new(0),
        }
    }

    fn start(&self) -> *mut u8 {
        self.room.0.get().cast()
    }

    fn owns(&self, block: *const u8) -> bool {
        block.addr().wrapping_sub(self.start().addr()) < BYTES
    }

    /// A block for `layout`, NULL where there is none.
    fn take(&self, layout: Layout) -> *mut u8 {
        let Some((class, bytes)) = block(layout) else { return ptr::null_mut() };
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match book.free[class] {
            NONE if book.end + bytes > BYTES => return ptr::null_mut(),
            NONE => {
                book.end += bytes;
                book.end - bytes
            }
            at => {
                // SAFETY: `at` is the place of a block in the room, and `give` wrote the number there.
                book.free[class] = unsafe { self.start().add(at as usize).cast::<u32>().read() };
                at as usize
            }
        };
        self.used.fetch_add(bytes, Ordering::Relaxed);
        // SAFETY: the block lies in the room.
        unsafe { self.start().add(at) }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from [`take`](Self::take) for `layout`, and nobody uses it any more.
    unsafe fn give(&self, at: *mut u8, layout: Layout) {
        let Some((class, bytes)) = block(layout) else { return };
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the block is ours again, and large enough and aligned for a number.
        unsafe { at.cast::<u32>().write(book.free[class]) };
        // Places are below 4 Mi.
        book.free[class] = (at.addr() - self.start().addr()) as u32;
        if self.used.fetch_sub(bytes, Ordering::Relaxed) == bytes {
            // All of it is free: sizes are drawn anew.
            *book = Book { end: 0, free: [NONE; CLASSES] };
        }
    }
}

/// `system` with a reserve behind it.
struct Reserved<S> {
    system: S,
    reserve: Reserve,
}

#[allow(unsafe_code, reason = "an allocator")]
// SAFETY: blocks come from `system` or from the reserve, which knows its own, and go back where they came from. A block of
// the reserve is as large and as aligned as its layout asks.
unsafe impl<S: GlobalAlloc> GlobalAlloc for Reserved<S> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let at = unsafe { self.system.alloc(layout) };
        if at.is_null() { self.reserve.take(layout) } else { at }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let at = unsafe { self.system.alloc_zeroed(layout) };
        if !at.is_null() {
            return at;
        }
        let at = self.reserve.take(layout);
        if !at.is_null() {
            // SAFETY: the block has room for the layout.
            unsafe { at.write_bytes(0, layout.size()) };
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if self.reserve.owns(at) {
            // SAFETY: the caller's promise; it is one of ours.
            unsafe { self.reserve.give(at, layout) }
        } else {
            // SAFETY: the caller's promise; it is not one of ours.
            unsafe { self.system.dealloc(at, layout) }
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let ours = self.reserve.owns(at);
        if !ours {
            // SAFETY: the caller's promise; it is not one of ours.
            let moved = unsafe { self.system.realloc(at, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as `alloc` has it; a request that the system has just refused goes to the reserve.
        let moved = if ours { unsafe { self.alloc(wanted) } } else { self.reserve.take(wanted) };
        if !moved.is_null() {
            // SAFETY: both are as large, and they are two blocks; the old one is not used any more.
            unsafe {
                ptr::copy_nonoverlapping(at, moved, layout.size().min(size));
                self.dealloc(at, layout);
            }
        }
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Reserved<System> = Reserved { system: System, reserve: Reserve::new() };

/// Whether work under way had better stop.
pub(crate) fn is_low() -> bool {
    ALLOCATOR.reserve.used.load(Ordering::Relaxed) > LOW
}

/// What a call says that was refused or stopped for want of memory.
pub(crate) fn shortage() -> Failure {
    Failure { status: LIMIT, text: "the system has no memory left: give some back and call again".to_owned() }
}

/// Refuses new work while the reserve is low.
pub(crate) fn check() -> Outcome<()> {
    if is_low() { Err(shortage()) } else { Ok(()) }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "calls an allocator")]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// The system's allocator while `open`, else one that has nothing.
    struct Gate {
        open: AtomicBool,
    }

    // SAFETY: as the system's.
    unsafe impl GlobalAlloc for Gate {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise.
            if self.open.load(Ordering::Relaxed) { unsafe { System.alloc(layout) } } else { ptr::null_mut() }
        }
        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(at, layout) }
        }
    }

    fn gated(open: bool) -> Box<Reserved<Gate>> {
        Box::new(Reserved { system: Gate { open: AtomicBool::new(open) }, reserve: Reserve::new() })
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn small_requests_are_served_where_the_system_refuses() {
        let a = gated(false);
        let mut blocks = Vec::new();
        for size in [1, 63, 64, 65, 1000, 4096, LARGEST] {
            for align in [1, 8, 64] {
                let l = layout(size, align);
                // SAFETY: the size is not zero.
                let at = unsafe { a.alloc_zeroed(l) };
                assert!(!at.is_null() && at.addr() % align == 0 && a.reserve.owns(at));
                // SAFETY: `size` bytes are ours.
                unsafe {
                    assert!(std::slice::from_raw_parts(at, size).iter().all(|b| *b == 0));
                    at.write_bytes(blocks.len() as u8 + 1, size);
                }
                blocks.push((at, l));
            }
        }
        for (i, &(at, l)) in blocks.iter().enumerate() {
            // SAFETY: as above; each block goes back once.
            unsafe {
                assert!(std::slice::from_raw_parts(at, l.size()).iter().all(|b| *b == i as u8 + 1));
                a.dealloc(at, l);
            }
        }
        assert_eq!(a.reserve.used.load(Ordering::Relaxed), 0);
        assert_eq!(a.reserve.book.lock().unwrap().end, 0);
        // SAFETY: the sizes are not zero.
        unsafe {
            assert!(a.alloc(layout(LARGEST + 1, 1)).is_null());
            assert!(a.alloc(layout(64, 128)).is_null());
            assert!(a.alloc(layout(isize::MAX as usize, 1)).is_null());
        }
    }

    #[test]
    fn the_reserve_ends_and_what_comes_back_serves_again() {
        let a = gated(false);
        let l = layout(LARGEST, 8);
        // SAFETY: the size is not zero; each block goes back once.
        unsafe {
            let mut all: Vec<_> = (0..BYTES / LARGEST).map(|_| a.alloc(l)).collect();
            assert!(all.iter().all(|at| !at.is_null()) && a.alloc(layout(1, 1)).is_null());
            let back = all.pop().unwrap();
            a.dealloc(back, l);
            assert!(a.alloc(layout(1, 1)).is_null(), "another size");
            assert_eq!(a.alloc(l), back);
            all.push(back);
            all.into_iter().for_each(|at| a.dealloc(at, l));
            assert!(!a.alloc(layout(1, 1)).is_null());
        }
    }

    #[test]
    fn growing_keeps_what_is_there_wherever_it_lies() {
        let a = gated(true);
        // SAFETY: sizes are not zero and stay below what was asked for.
        unsafe {
            let mut l = layout(10, 1);
            let mut at = a.alloc(l);
            at.copy_from_nonoverlapping(b"0123456789".as_ptr(), 10);
            for (open, size, ours) in
                [(false, 100, true), (false, 1000, true), (true, 2000, false), (false, 5, true)]
            {
                a.system.open.store(open, Ordering::Relaxed);
                at = a.realloc(at, l, size);
                l = layout(size, 1);
                assert!(!at.is_null() && a.reserve.owns(at) == ours, "{size}");
                let kept = 10.min(size);
                assert_eq!(std::slice::from_raw_parts(at, kept), &b"0123456789"[..kept]);
            }
            // A request that cannot be served leaves the old block as it is.
            assert!(a.realloc(at, l, LARGEST + 1).is_null());
            assert_eq!(std::slice::from_raw_parts(at, 5), b"01234");
            a.dealloc(at, l);
        }
        assert_eq!(a.reserve.used.load(Ordering::Relaxed), 0);
    }
}
