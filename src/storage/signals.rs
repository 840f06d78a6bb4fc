//! Signals that files bring about, for programs.
//!
//! A mapped file that is cut short by another program, or whose disk fails, answers a read with
//! SIGBUS. A write past the limit on the size of files answers with SIGXFSZ. By default both end
//! the process on the spot, and leave behind what it was writing.

use std::ffi::{CString, c_char};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crate::error::Line;

/// From now on, a mapped file that shrinks or fails to be read ends the process with one line on
/// stderr and exit code 1, after what [`Temporary`] names has been removed; and a write past the
/// limit on the size of files is an error like any other. For programs, not libraries: it takes
/// over SIGBUS and ignores SIGXFSZ. Mappings and temporary files made before are not covered.
pub fn handle_signals() {
    INSTALL.call_once(|| {
        // SAFETY: an all-zero sigaction is valid; the handler has the signature SA_SIGINFO asks for
        // and calls only async-signal-safe functions. Where a call fails the default action stays,
        // which ends the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &action, null_mut());
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    });
}

/// Set by [`handle_signals`]: without a handler there is nothing to note for it.
static INSTALL: Once = Once::new();

/// What a signal handler may read at any time: the list only grows, and its entries are used again.
struct List<T: 'static> {
    /// The entry made last.
    first: AtomicPtr<Entry<T>>,
    /// Held while the list grows; the handler reads it without.
    growing: Mutex<()>,
}

struct Entry<T: 'static> {
    value: T,
    /// The entry made before this one.
    next: Option<&'static Entry<T>>,
}

impl<T> List<T> {
    const fn new() -> List<T> {
        List { first: AtomicPtr::new(null_mut()), growing: Mutex::new(()) }
    }

    /// Safe to call in a signal handler.
    fn iter(&self) -> impl Iterator<Item = &'static T> {
        // SAFETY: null, or an entry that was leaked when it was published: valid for ever, and only
        // read.
        let first = unsafe { self.first.load(Ordering::Acquire).as_ref() };
        std::iter::successors(first, |entry| entry.next).map(|entry| &entry.value)
    }

    fn push(&self, value: T) -> &'static T {
        let growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as in `iter`.
        let next = unsafe { self.first.load(Ordering::Acquire).as_ref() };
        let entry = Box::leak(Box::new(Entry { value, next }));
        self.first.store(entry, Ordering::Release);
        drop(growing);
        &entry.value
    }
}

/// A C string that belongs to whoever takes it: the handler, or the thread that put it there.
struct Text(AtomicPtr<c_char>);

impl Text {
    const fn none() -> Text {
        Text(AtomicPtr::new(null_mut()))
    }

    /// Puts a text into an empty place; gives it back where there is one already.
    fn put(&self, text: CString) -> Result<(), CString> {
        let text = text.into_raw();
        let free = self.0.compare_exchange(null_mut(), text, Ordering::AcqRel, Ordering::Relaxed);
        // SAFETY: nobody else has seen the pointer.
        free.map(drop).map_err(|_| unsafe { CString::from_raw(text) })
    }

    /// Null where there is none. Safe to call in a signal handler.
    fn take_raw(&self) -> *mut c_char {
        self.0.swap(null_mut(), Ordering::AcqRel)
    }

    fn take(&self) {
        let text = self.take_raw();
        if !text.is_null() {
            // SAFETY: a `CString` of `put`, which nobody else can take any more.
            drop(unsafe { CString::from_raw(text) });
        }
    }
}

static MAPPINGS: List<Slot> = List::new();

/// A mapping that the handler knows: where it lies, and what to say when it is lost.
pub(super) struct Slot {
    /// First address, 0 while the slot is free.
    start: AtomicUsize,
    /// Address after the last.
    end: AtomicUsize,
    message: Text,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Slot {
    pub fn claim(map: &[u8], path: &Path) -> Option<&'static Slot> {
        if !INSTALL.is_completed() {
            return None;
        }
        let start = map.as_ptr() as usize;
        let free = MAPPINGS.iter().find(|slot| {
            slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        let slot = free.unwrap_or_else(|| {
            let (start, end) = (AtomicUsize::new(start), AtomicUsize::new(0));
            MAPPINGS.push(Slot { start, end, message: Text::none() })
        });
        // `Line` escapes a zero byte. The slot is this mapping's alone, so that its place is empty.
        let message = CString::new(format!(
            "error: {}: the file was cut short, or could not be read, while it was in use\n",
            Line(&path.display().to_string())
        ));
        let _ = message.map(|message| slot.message.put(message));
        slot.end.store(start + map.len(), Ordering::Release);
        Some(slot)
    }

    pub fn release(&self) {
        self.end.store(0, Ordering::Release);
        self.message.take();
        self.start.store(0, Ordering::Release);
    }
}

static TEMPORARY: List<Text> = List::new();

/// While this lives, a file or a folder is removed if the process ends by a lost mapping (see
/// [`handle_signals`]) or without memory (see [`EndWithoutMemory`](super::EndWithoutMemory)). A
/// folder is only if nothing is left in it but files that are named this way too.
#[derive(Debug)]
pub struct Temporary {
    place: Option<&'static Text>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Text")
    }
}

impl Temporary {
    /// Of the file or folder at `path`, which may come to be later.
    pub fn new(path: &Path) -> Temporary {
        Temporary { place: Temporary::note(path) }
    }

    fn note(path: &Path) -> Option<&'static Text> {
        if !INSTALL.is_completed() {
            return None;
        }
        let mut text = CString::new(path.as_os_str().as_encoded_bytes()).ok()?;
        for place in TEMPORARY.iter() {
            match place.put(text) {
                Ok(()) => return Some(place),
                Err(back) => text = back,
            }
        }
        Some(TEMPORARY.push(Text(AtomicPtr::new(text.into_raw()))))
    }

    /// Removes all of them. Safe to call in a signal handler.
    fn remove_all() {
        // A folder after its files.
        for remove in [libc::unlink, libc::rmdir] {
            for place in TEMPORARY.iter() {
                let path = place.take_raw();
                // SAFETY: a C string that is this call's own until it is put back; it is never
                // freed here.
                if !path.is_null() && unsafe { remove(path) } != 0 {
                    place.0.store(path, Ordering::Release);
                }
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            place.take();
        }
    }
}

/// Set by the thread that ends the process.
static ENDS: AtomicBool = AtomicBool::new(false);

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: Linux passes a valid siginfo with SA_SIGINFO. Only a signal of its own has an
    // address.
    let (address, sent) = unsafe { ((*info).si_addr() as usize, (*info).si_code <= 0) };
    let holds = |slot: &&Slot| {
        let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
        start != 0 && (start..end).contains(&address)
    };
    match MAPPINGS.iter().find(holds).filter(|_| !sent) {
        Some(slot) => lost(slot),
        // Not ours. From here on by default: returning runs the instruction again.
        // SAFETY: both are async-signal-safe; what is raised comes once the handler has returned.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            if sent {
                libc::raise(signal);
            }
        },
    }
}

/// Whether the process ignores a signal, as a program that was started by `nohup` does.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: it only asks, and all zeros are a valid place for the answer.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let known = libc::sigaction(signal, std::ptr::null(), &mut action) == 0;
        known && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Ends the process by the loss of a mapping.
fn lost(slot: &Slot) -> ! {
    // Only whoever ends the process takes the message: of two threads, one would have it and the
    // other be the first.
    ends();
    let message = slot.message.take_raw();
    // SAFETY: null, or a C string that is never freed: nobody else can take it any more.
    let message = (!message.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(message) });
    end_now(message.map_or(&[], |message| message.to_bytes()))
}

/// Ends the process with a line and exit code 1, once for all threads. Safe to call in a signal
/// handler, and allocates nothing.
pub(super) fn end(line: &[u8]) -> ! {
    ends();
    end_now(line)
}

/// Returns to one thread of the process alone: to the first that calls it.
fn ends() {
    if ENDS.swap(true, Ordering::AcqRel) {
        loop {
            // SAFETY: async-signal-safe; another thread is about to end the process.
            unsafe { libc::pause() };
        }
    }
}

fn end_now(line: &[u8]) -> ! {
    // SAFETY: a valid range; async-signal-safe.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    // Last, so that no other thread has the time to miss a file and to say so.
    Temporary::remove_all();
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(1) }
}
