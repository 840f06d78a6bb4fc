//! Bytes that start at a multiple of 64.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::format::ALIGNMENT;

/// A cache line; a `Vec` of them is a buffer that kernels may load from without crossing one.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

const _: () = assert!(align_of::<Line>() == ALIGNMENT && size_of::<Line>() == ALIGNMENT);

/// A buffer of bytes that starts at a multiple of 64, as a model file in memory must: see
/// [`ModelFile::from_owner`](crate::ModelFile::from_owner).
///
/// ```
/// # #[cfg(feature = "demo")] {
/// # let source: &[u8] = mmfree::ModelFile::demo()?.bytes().to_vec().leak();
/// // As long as the file, and filled in place: by a read, or by a host that was given its address.
/// let mut bytes = mmfree::AlignedBytes::zeroed(source.len());
/// bytes.copy_from_slice(source);
/// let file = mmfree::ModelFile::from_owner("downloaded", bytes)?;
/// assert_eq!(file.path(), std::path::Path::new("downloaded"));
/// # }
/// # Ok::<(), mmfree::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// None.
    pub const fn new() -> AlignedBytes {
        AlignedBytes { lines: Vec::new(), len: 0 }
    }

    /// So many zeros. Their memory is taken from the system when they are first written.
    pub fn zeroed(len: usize) -> AlignedBytes {
        AlignedBytes { lines: bytemuck::zeroed_vec(len.div_ceil(ALIGNMENT)), len }
    }

    /// Makes it `len` bytes, of whatever was there before. Its memory never shrinks: growing again
    /// would mean clearing again.
    pub(crate) fn resize(&mut self, len: usize) -> &mut [u8] {
        let lines = len.div_ceil(ALIGNMENT).max(self.lines.len());
        self.lines.resize(lines, Line([0; ALIGNMENT]));
        self.len = len;
        self
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for AlignedBytes {
    /// A copy.
    fn from(bytes: &[u8]) -> AlignedBytes {
        let mut copy = AlignedBytes::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBytes({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_start_at_a_multiple_of_64_and_keep_what_is_in_them() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let source: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut bytes = AlignedBytes::from(&source[..]);
            assert!(bytes.as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert_eq!(&bytes[..], source);
            assert!(AlignedBytes::zeroed(len).iter().all(|&byte| byte == 0));
            assert_eq!(bytes.resize(len / 2), &source[..len / 2]);
            assert_eq!(bytes.resize(len + 70)[..len], source);
        }
    }
}
