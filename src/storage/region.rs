//! Memory of the process's own, in large pages where the system has them, handed out in pieces.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::LARGE_PAGE;

/// What a piece's start is a multiple of: a cache line.
const ALIGN: usize = 64;

/// Zeroed memory. Its pages come when they are first written: until then the process has not grown.
pub(crate) struct Region {
    /// Held for its address and to be unmapped; only pieces access it.
    map: Arc<memmap2::MmapMut>,
    start: *mut u8,
    len: usize,
    used: usize,
}

// SAFETY: the pointer is into the mapping, which any thread may use; it is only handed out, by
// `&mut self`, in pieces that do not overlap.
unsafe impl Send for Region {}

/// Some bytes of a region, whoever has it alone may use them. They start at a multiple of 64.
pub(crate) struct Piece {
    /// Keeps the bytes mapped.
    _map: Arc<memmap2::MmapMut>,
    start: *mut u8,
    len: usize,
}

// SAFETY: a piece is the only one with its bytes, as a `Box` of them would be.
unsafe impl Send for Piece {}
// SAFETY: as above; shared, the bytes are only read.
unsafe impl Sync for Piece {}

impl Region {
    /// A region with room for pieces of these lengths; `None` where the system has no memory or no
    /// addresses for it.
    pub fn new(pieces: impl Iterator<Item = usize>) -> Option<Region> {
        let mut len = 0usize;
        for piece in pieces {
            len = len.checked_add(piece)?.checked_next_multiple_of(ALIGN)?;
        }
        // Room to begin with a large page.
        let mut map = memmap2::MmapMut::map_anon(len.checked_add(LARGE_PAGE)?).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let address = map.as_mut_ptr();
        let skip = address.addr().next_multiple_of(LARGE_PAGE) - address.addr();
        // At most a large page, for which there is room.
        let start = address.wrapping_add(skip);
        Some(Region { map: Arc::new(map), start, len, used: 0 })
    }

    /// The next piece, zeroed; `None` where fewer bytes are left.
    pub fn take(&mut self, len: usize) -> Option<Piece> {
        if len > self.len - self.used {
            return None;
        }
        let start = self.start.wrapping_add(self.used);
        self.used = (self.used + len).next_multiple_of(ALIGN).min(self.len);
        Some(Piece { _map: Arc::clone(&self.map), start, len })
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes of the mapping, which `_map` keeps; no other piece has them, and the
        // region itself never touches them, so that whoever has the piece says who may read and
        // write.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl DerefMut for Piece {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the piece is borrowed by one alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zeroed_aligned_apart_and_outlive_the_region() {
        let lengths = [1usize, 64, 65, 3 << 20];
        let mut region = Region::new(lengths.into_iter()).unwrap();
        let mut pieces: Vec<Piece> = lengths.iter().map(|&len| region.take(len).unwrap()).collect();
        assert!(region.take(1).is_none());
        drop(region);
        for (i, piece) in pieces.iter_mut().enumerate() {
            assert!(piece.as_ptr().addr().is_multiple_of(ALIGN));
            assert!(piece.iter().all(|&byte| byte == 0));
            piece.fill(i as u8 + 1);
        }
        for (i, piece) in pieces.iter().enumerate() {
            assert!(piece.len() == lengths[i] && piece.iter().all(|&byte| byte == i as u8 + 1));
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        assert!(Region::new([usize::MAX].into_iter()).is_none());
        assert!(Region::new([usize::MAX / 2, usize::MAX / 2].into_iter()).is_none());
    }
}
