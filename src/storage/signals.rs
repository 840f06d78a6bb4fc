//! Mapped files that are lost while they are in use.
//!
//! A mapped file that is cut short by another program, or whose disk fails, answers a read with SIGBUS. The
//! programs install [`end_on_lost_mapping`], which turns that into one line and exit code 1.

use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crate::error::Line;

/// A mapping that the signal handler knows: where it lies, and what to say when it is lost. Slots form a list that
/// only grows, one for each mapping that is open at a time; a released one is used again.
#[derive(Debug)]
pub(super) struct Slot {
    /// First address, 0 while the slot is free.
    start: AtomicUsize,
    /// Address behind the last.
    end: AtomicUsize,
    /// The message; never freed, as the handler may read it at any time.
    message: AtomicPtr<String>,
    /// The slot made before this one.
    next: Option<&'static Slot>,
}

/// The slot made last.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

/// Held while the list grows; the handler reads it without.
static GROWING: Mutex<()> = Mutex::new(());

/// Set by [`end_on_lost_mapping`]: without a handler the slots would only leak.
static INSTALL: Once = Once::new();

/// All slots. Safe to call in a signal handler.
fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: null, or a slot that was leaked when it was published: valid for ever, and only read.
    let first = unsafe { SLOTS.load(Ordering::Acquire).as_ref() };
    std::iter::successors(first, |slot| slot.next)
}

impl Slot {
    pub fn claim(map: &[u8], path: &Path) -> Option<&'static Slot> {
        if !INSTALL.is_completed() {
            return None;
        }
        let message = format!(
            "error: {}: the file was cut short, or could not be read, while it was in use\n",
            Line(&path.display().to_string())
        );
        let message = Box::into_raw(Box::new(message));
        let start = map.as_ptr() as usize;
        let free = slots().find(|slot| {
            slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let slot = free.unwrap_or_else(|| {
            let growing = GROWING.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = Box::leak(Box::new(Slot {
                start: AtomicUsize::new(start),
                end: AtomicUsize::new(0),
                message: AtomicPtr::new(std::ptr::null_mut()),
                next: slots().next(),
            }));
            SLOTS.store(slot, Ordering::Release);
            drop(growing);
            slot
        });
        slot.message.store(message, Ordering::Release);
        slot.end.store(start + map.len(), Ordering::Release);
        Some(slot)
    }

    pub fn release(&self) {
        self.end.store(0, Ordering::Release);
        self.message.store(std::ptr::null_mut(), Ordering::Release);
        self.start.store(0, Ordering::Release);
    }
}

/// From now on, a mapped file that shrinks or fails to be read ends the process with one line on stderr and exit
/// code 1. For programs, not libraries: it takes over SIGBUS. Mappings made before are not covered.
pub fn end_on_lost_mapping() {
    INSTALL.call_once(|| {
        // SAFETY: an all-zero sigaction is valid; the handler has the signature SA_SIGINFO asks for and calls
        // only async-signal-safe functions. A failure leaves the default action, which also ends the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    });
}

extern "C" fn on_sigbus(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in slots() {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        let message = slot.message.load(Ordering::Acquire);
        if start != 0 && (start..end).contains(&address) && !message.is_null() {
            // SAFETY: messages are never freed or changed, so the pointer is valid; write and _exit are
            // async-signal-safe.
            unsafe {
                let text = &*message;
                libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
                libc::_exit(1);
            }
        }
    }
    // Not ours: returning runs the instruction again, now with the default action (SA_RESETHAND).
}
