//! Bytes of a file, mapped read-only.

use std::fs::File;
use std::ops::{Deref, Range};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::Path;

use super::signals::Slot;
use crate::error::{Error, Result};

/// A whole file, mapped read-only; derefs to its bytes. The start is aligned to a page.
#[derive(Debug)]
pub struct Mapping {
    map: memmap2::Mmap,
    file: File,
    slot: Option<&'static Slot>,
}

impl Mapping {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened or mapped, [`Error::Invalid`] where it is no regular
    /// file, is empty, is larger than this process can map, or finds no room beside what the
    /// process has mapped already.
    pub fn open(path: &Path) -> Result<Mapping> {
        // Asked before opening: opening a named pipe would wait for a writer.
        let meta = std::fs::metadata(path).map_err(Error::io("cannot open", path))?;
        if !meta.is_file() {
            let kind = if meta.is_dir() { "a directory" } else { "not a regular file" };
            return Err(Error::invalid(path, format!("{kind}, where a file is needed")));
        }
        let file = File::open(path).map_err(Error::io("cannot open", path))?;
        let len = file.metadata().map_err(Error::io("cannot open", path))?.len();
        if len == 0 {
            return Err(Error::invalid(path, "the file is empty"));
        }
        mappable(len).map_err(|reason| Error::invalid(path, reason))?;
        // SAFETY: the mapping is read-only and private. Another process can still change the file;
        // the bytes are only ever read as plain integers and floats, every value of which is
        // handled, and a read past a new end raises SIGBUS, which ends the process.
        let map =
            unsafe { memmap2::Mmap::map(&file) }.map_err(|error| match error.raw_os_error() {
                // Addresses are what is short: no page is read yet.
                Some(libc::ENOMEM) => Error::invalid(path, no_room(len)),
                _ => Error::io("cannot map", path)(error),
            })?;
        let slot = Slot::claim(&map, path);
        Ok(Mapping { map, file, slot })
    }

    /// Tells Linux how the bytes of `range` will be read, whole pages of whatever size around them.
    /// A version that does not know the advice ignores it: nothing but speed depends on it.
    ///
    /// # Panics
    /// If `range` is not inside the file.
    pub(crate) fn advise(&self, advice: Advice, range: Range<usize>) {
        let range_len = self.map[range.clone()].len();
        #[cfg(target_os = "linux")]
        for advice in advice.of_kernel() {
            let _ = self.map.advise_range(advice, range.start, range_len);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (advice, range_len);
    }

    /// Maps the pages of `range` now, reading those from the disk that are not in memory. Pages
    /// that cannot be mapped this way are when they are read.
    ///
    /// # Panics
    /// If `range` is not inside the file.
    pub(crate) fn populate(&self, range: Range<usize>) {
        let bytes = &self.map[range.clone()];
        #[cfg(target_os = "linux")]
        if self.map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()).is_ok() {
            return;
        }
        // Kernels before 5.14. No page is smaller than that.
        for byte in bytes.iter().step_by(4096) {
            std::hint::black_box(*byte);
        }
    }

    /// Takes the pages of `range` out of this process. In the page cache they stay, for as long as
    /// the system needs the memory for nothing else; where they are used again they come from
    /// there, or from the disk.
    ///
    /// # Panics
    /// If `range` is not inside the file.
    pub(crate) fn unmap(&self, range: Range<usize>) {
        let (start, len) = (range.start, self.map[range].len());
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the mapping is of a file and never written, so a page that is dropped while
            // someone reads it comes back with the same bytes. Where the call fails, as for locked
            // pages, they stay.
            unsafe {
                let _ =
                    self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, len);
    }

    /// Gives the pages of `range` back to the system, those of the page cache too: they are read
    /// from the disk again when they are used. Pages that another process has mapped, and large
    /// ones that reach out of the range, stay.
    ///
    /// # Panics
    /// If `range` is not inside the file.
    pub(crate) fn forget(&self, range: Range<usize>) {
        let (start, len) = (range.start, self.map[range].len());
        #[cfg(target_os = "linux")]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is of a file and never written, so a page that is dropped while
            // someone reads it comes back with the same bytes. Both calls are hints: where one
            // fails, pages stay.
            unsafe {
                let _ = self.map.unchecked_advise_range(advice, start, len);
                let (start, len) = (start as libc::off_t, len as libc::off_t);
                libc::posix_fadvise(self.file.as_raw_fd(), start, len, libc::POSIX_FADV_DONTNEED);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, len);
    }
}

/// Keeps the pages of `bytes`, of whatever size, in memory until they are unmapped, reading those
/// that are not there.
///
/// # Errors
/// What the system says: mostly that the limit on locked memory is too low.
pub(crate) fn lock(bytes: &[u8]) -> std::io::Result<()> {
    // SAFETY: a valid range, and locking changes nothing that a program can see.
    match unsafe { libc::mlock(bytes.as_ptr().cast(), bytes.len()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// How a model file will be read, as Linux is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Nothing is known: some pages are read ahead.
    Normal,
    /// In order: more is read ahead.
    Sequential,
    /// In no order: nothing is read ahead.
    Random,
    /// All of it, soon: reading begins at once, beside the program.
    WillNeed,
    /// In pages of 2 MB, where the file system can: fewer of them have to be mapped. Where the
    /// system's large pages are larger, as with its small ones of 16 KB, as
    /// [`Normal`](Self::Normal).
    HugePages,
}

impl Advice {
    /// In this order, so that nothing is left of an advice given before.
    #[cfg(target_os = "linux")]
    fn of_kernel(self) -> impl Iterator<Item = memmap2::Advice> {
        use memmap2::Advice as Kernel;
        let (first, second) = match self {
            Advice::Normal => (Kernel::NoHugePage, Some(Kernel::Normal)),
            Advice::Sequential => (Kernel::NoHugePage, Some(Kernel::Sequential)),
            Advice::Random => (Kernel::NoHugePage, Some(Kernel::Random)),
            Advice::WillNeed => (Kernel::NoHugePage, Some(Kernel::WillNeed)),
            // The kernel then reads a whole large page at once, which may be more than the
            // process's control group has room for: with small pages of 16 KB large ones have 32
            // MB, with 64 KB half a gigabyte.
            Advice::HugePages => {
                (Kernel::Normal, (large_page() <= LARGE_PAGE).then_some(Kernel::HugePage))
            }
        };
        std::iter::once(first).chain(second)
    }
}

/// The large pages that are requested: 2 MB, those of x86-64 and of aarch64 with small pages of 4
/// KB.
pub(crate) const LARGE_PAGE: usize = 2 << 20;

/// Bytes of this system's large pages; 0 where it has none.
#[cfg(target_os = "linux")]
fn large_page() -> usize {
    let size = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    size.ok().and_then(|size| size.trim().parse().ok()).unwrap_or(0)
}

/// Whether a file of `len` bytes can be mapped in this process: one of 32 bits has 2 GiB less one
/// byte for it at most.
///
/// # Errors
/// The reason, to be put after a file's name.
pub fn mappable(len: u64) -> Result<(), String> {
    mappable_within(len, isize::MAX as u64)
}

fn mappable_within(len: u64, max: u64) -> Result<(), String> {
    if len > max {
        return Err(format!(
            "has {len} bytes, more than the {max} that a {}-bit program can map; a 64-bit system can",
            usize::BITS
        ));
    }
    Ok(())
}

/// Why a file of `len` bytes found no addresses.
fn no_room(len: u64) -> String {
    format!(
        "has {len} bytes, for which this process has no room in its address space: {}",
        match usize::BITS {
            32 =>
                "a 32-bit program has 4 GiB at most, for all files together; a 64-bit system can hold it",
            _ => "see `ulimit -v`",
        }
    )
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_the_address_space_is_refused() {
        let max = i32::MAX as u64;
        assert_eq!(mappable_within(max, max), Ok(()));
        let reason = mappable_within(max + 1, max).unwrap_err();
        assert!(reason.starts_with("has 2147483648 bytes, more than the 2147483647"), "{reason}");
        assert_eq!(mappable(1 << 20), Ok(()));
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn a_file_for_which_there_are_no_addresses_is_refused() {
        // In memory, and sparse: no disk's file system has files of 2^60 bytes.
        // SAFETY: the name is a C string; the descriptor is owned by nobody else.
        let file = unsafe {
            let fd = libc::memfd_create(c"large".as_ptr(), 0);
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            <File as std::os::fd::FromRawFd>::from_raw_fd(fd)
        };
        file.set_len(1 << 60).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let error = Mapping::open(Path::new(&path)).unwrap_err().to_string();
        let expected = "has 1152921504606846976 bytes, for which this process has no room in its address space";
        assert!(error.contains(expected), "{error}");
    }

    #[cfg(target_pointer_width = "32")]
    #[test]
    fn files_that_have_no_room_beside_each_other_are_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        let maps: Vec<_> = (0..4).map(|_| Mapping::open(file.path())).collect();
        let error = maps.into_iter().find_map(Result::err).unwrap().to_string();
        let expected =
            "has 1073741824 bytes, for which this process has no room in its address space";
        assert!(error.contains(expected), "{error}");
    }

    #[cfg(target_pointer_width = "32")]
    #[test]
    fn a_file_of_2_gib_is_refused_where_pointers_have_32_bits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 31).unwrap();
        let error = Mapping::open(file.path()).unwrap_err().to_string();
        assert!(error.contains("has 2147483648 bytes, more than the 2147483647"), "{error}");
    }
}
