//! Which pages of a model file are in memory: hints to Linux, reading ahead, locking.
//!
//! The pages of a mapped file are clean: the system takes them away where memory is short and reads
//! them again where they are needed, so nothing here decides whether a model runs, only how fast.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::ModelFile;
use super::reader::Bytes;
use crate::error::{Error, IoReason, Result};
use crate::storage::{self, Advice};

/// Which packed matrices are not kept in memory.
#[derive(Default)]
pub(super) struct Streaming {
    /// Matrices that end after this offset are given back; 0 where none is.
    from: AtomicUsize,
    /// The bytes that were used last, if they are to be given back.
    last: Mutex<Range<usize>>,
}

impl ModelFile {
    /// Whether the file is mapped, so that the system decides what of it is in memory.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    /// Tells Linux how the packed matrices will be read: without it [in large
    /// pages](Advice::HugePages), as the rest of the file. Nothing but speed depends on it. A file
    /// in memory has no use for it.
    pub fn advise(&self, advice: Advice) {
        if let Bytes::Mapped(map) = &self.bytes {
            map.advise(advice, self.packed_span());
        }
    }

    /// Tells Linux that of the embedding only single rows are read from here on.
    ///
    /// A kernel that reads ahead has one memory for the whole file of how large the pages are in
    /// which it does. With small ones read around a row it would begin anew with the matrices, and
    /// read some 40 MB of them in small pages too.
    pub(crate) fn advise_rows(&self) {
        if let Bytes::Mapped(map) = &self.bytes {
            map.advise(Advice::Random, self.embedding().rows().clone());
        }
    }

    /// Maps the bytes of `range` now, reading from the disk what is not in memory, rather than page
    /// by page when they are first used.
    ///
    /// # Panics
    /// If `range` is not inside the file.
    pub fn populate(&self, range: Range<usize>) {
        if let Bytes::Mapped(map) = &self.bytes {
            let rows = self.embedding().rows().clone();
            let rows = rows.start.max(range.start)..rows.end.min(range.end);
            if !rows.is_empty() {
                map.advise(Advice::Normal, rows);
            }
            map.populate(range);
        }
    }

    /// From now on a model that runs this file keeps no more than the first `len` bytes of
    /// [`packed_span`](Self::packed_span) in memory, and gives a matrix after them back as soon as
    /// the next is used.
    ///
    /// For a file larger than memory. Each token reads all weights in the same order, and a system
    /// that takes away the pages used longest ago then takes each just before it is needed again:
    /// all of them are read from the disk for every token. This way only those are that have no
    /// room.
    pub fn keep(&self, len: usize) {
        let end = self.packed_span().start.saturating_add(len);
        self.streaming.from.store(end, Ordering::Relaxed);
    }

    /// Tells that the packed matrices in `range` are used from here on, and those before no more.
    pub(crate) fn use_matrices(&self, range: Range<usize>) {
        let from = self.streaming.from.load(Ordering::Relaxed);
        if from == 0 {
            return;
        }
        let Bytes::Mapped(map) = &self.bytes else { return };
        let next = if range.end > from { range.start.max(from)..range.end } else { 0..0 };
        let mut last = self.streaming.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == next {
            return;
        }
        let used = std::mem::replace(&mut *last, next);
        if !used.is_empty() {
            // Large pages that reach into the matrix from the one before: no larger ones are in
            // use.
            let start = used.start.saturating_sub(storage::LARGE_PAGE).max(from.min(used.start));
            map.forget(start..used.end);
        }
    }

    /// Takes the pages of `range`, which will not be read again, out of this process; they stay in
    /// the page cache.
    pub(crate) fn unmap(&self, range: Range<usize>) {
        if let Bytes::Mapped(map) = &self.bytes {
            map.unmap(range);
        }
    }

    /// Keeps the file in memory as long as it is open, reading what is not there.
    ///
    /// Whoever calls this must know that there is room: locked pages are not given back, and a
    /// system without memory kills programs.
    ///
    /// # Errors
    /// [`Error::Option`] where the system refuses, mostly because of its limit on locked memory.
    pub fn lock(&self) -> Result<()> {
        storage::lock(self.bytes()).map_err(|error| {
            let len = self.bytes().len() as u64;
            let name = self.path().display();
            let why = match locked_memory_limit() {
                // As `ulimit` counts, with room for a page at each end.
                Some(limit) if limit < len => format!(
                    "the limit on locked memory (RLIMIT_MEMLOCK) is {} KiB; it must be {} KiB, as by `ulimit -l {1}` \
                     or LimitMEMLOCK={1}K in a systemd unit",
                    limit / 1024,
                    len.div_ceil(1024) + 128,
                ),
                _ => IoReason(&error).to_string(),
            };
            let reason = format!("{name}, {} KiB, cannot be locked: {why}", len.div_ceil(1024));
            Error::Option { name: "mlock", reason }
        })
    }
}

/// The most bytes that this process may lock; `None` where there is no limit, or none that can be
/// found out.
fn locked_memory_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}
