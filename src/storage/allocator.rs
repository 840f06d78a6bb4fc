//! Ends a program that has no memory left.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::signals::end;

/// The system's allocator, for programs: where it has no memory left, the process ends with one
/// line on stderr and exit code 1, after what [`Temporary`](super::Temporary) names has been
/// removed. By default it would abort.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: mmfree::storage::EndWithoutMemory = mmfree::storage::EndWithoutMemory;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EndWithoutMemory;

thread_local! {
    /// Whether this thread can do without what it asks for.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
}

/// Runs what can do without the memory that it asks for, as by [`Vec::try_reserve`], on this
/// thread.
pub fn may_fail<T>(run: impl FnOnce() -> T) -> T {
    let before = MAY_FAIL.replace(true);
    let result = run();
    MAY_FAIL.set(before);
    result
}

// SAFETY: the system's allocator in all that it gives.
unsafe impl GlobalAlloc for EndWithoutMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for; so in the
        // other functions.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see `alloc`.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see `alloc`.
        given(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: see `alloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[inline]
fn given(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        without_memory(size);
    }
    block
}

#[cold]
fn without_memory(size: usize) {
    // Where a thread ends its local values may be gone.
    if MAY_FAIL.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    let mut text = Line { bytes: [0; 160], len: 0 };
    text.push(b"error: no memory left, where ");
    text.push_number(size);
    text.push(b" more bytes are needed; see the limits of this process (`ulimit -v`) and of its control group\n");
    end(&text.bytes[..text.len]);
}

/// A line put together without an allocator.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        for (place, &byte) in self.bytes[self.len..].iter_mut().zip(text) {
            *place = byte;
            self.len += 1;
        }
    }

    fn push_number(&mut self, mut number: usize) {
        // The digits of 2^64.
        let mut digits = [0; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_no_allocator_and_never_overflows() {
        let mut line = Line { bytes: [0; 160], len: 0 };
        for number in [0, 7, 1234567890, usize::MAX] {
            line.push_number(number);
            line.push(b" ");
        }
        let expected = format!("0 7 1234567890 {} ", usize::MAX);
        assert_eq!(&line.bytes[..line.len], expected.as_bytes());
        line.push(&[b'x'; 200]);
        assert_eq!(line.len, 160);
    }
}
