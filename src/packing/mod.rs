//! Trits in bytes.
//!
//! A packing says how the trits {-1, 0, +1} of a matrix `[rows, cols]` lie in a byte tensor. It is a
//! property of that tensor, named in the file, and does not depend on the CPU: a file packed
//! anywhere runs everywhere. One file per packing holds its layout, `pack` and `unpack`; the
//! layouts are written out for readers in other languages in `docs/FORMAT.md`.
//!
//! Rows come in *strips* of [`STRIP`] rows; the last strip is filled up with zero rows. Every packed
//! length is a multiple of 64 bytes.

pub mod i2;
#[cfg(feature = "mmap")]
pub(crate) mod repack;
pub mod t5;

use std::ops::Range;

/// Rows in a strip: the unit in which rows are padded, packed and handed to threads.
pub const STRIP: usize = 64;

/// The most rows (outputs) a matrix may have.
pub const MAX_ROWS: usize = 1 << 24;

/// The most columns (inputs) a matrix may have. Keeps every int32 sum exact (a code is at most 2 in
/// magnitude, an activation at most 128: 2 * 128 * 2^18 = 2^26) and a row constant of [`t5`] in 16 bits.
pub const MAX_COLS: usize = 1 << 18;

/// How the trits of a matrix are laid out in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packing {
    /// Two bits a trit, four to a byte; see [`i2`].
    I2,
    /// Five trits a byte, 1.6 bits a trit; see [`t5`].
    T5,
}

impl Packing {
    /// Every packing, in the order of their names.
    pub const ALL: [Packing; 2] = [Packing::I2, Packing::T5];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Packing::I2 => "i2",
            Packing::T5 => "t5",
        }
    }

    /// The packing of that name.
    pub fn from_name(name: &str) -> Option<Packing> {
        Packing::ALL.into_iter().find(|packing| packing.name() == name)
    }

    /// Bytes that a matrix `[rows, cols]` takes; `None` where a dimension is 0 or above its limit,
    /// [`MAX_ROWS`] or [`MAX_COLS`].
    pub fn packed_len(self, rows: usize, cols: usize) -> Option<usize> {
        if !(1..=MAX_ROWS).contains(&rows) || !(1..=MAX_COLS).contains(&cols) {
            return None;
        }
        match self {
            Packing::I2 => i2::packed_len(rows, cols),
            Packing::T5 => t5::packed_len(rows, cols),
        }
    }

    /// Strips that must be packed together: the first strip of a call to [`Packing::pack`] is a
    /// multiple of it.
    pub fn strips_per_block(self) -> usize {
        match self {
            Packing::I2 => 1,
            Packing::T5 => t5::STRIPS_PER_BLOCK,
        }
    }

    /// Packs some whole blocks of rows of a matrix `[rows, cols]`.
    ///
    /// `trits` holds the rows from `first_strip * STRIP` on, row-major, each value -1, 0 or 1: as
    /// many rows as whole blocks have, or up to the last row of the matrix. `put(offset, bytes)` is
    /// called for each contiguous piece of the packed tensor; over all blocks the pieces cover it
    /// exactly once.
    ///
    /// # Panics
    /// If `trits` is not such a run of rows, or `first_strip` does not start a block.
    pub fn pack(
        self,
        rows: usize,
        cols: usize,
        first_strip: usize,
        trits: &[i8],
        put: &mut dyn FnMut(usize, &[u8]),
    ) {
        let row0 = first_strip * STRIP;
        let block_rows = self.strips_per_block() * STRIP;
        assert!(self.packed_len(rows, cols).is_some(), "{rows} x {cols} cannot be packed");
        assert!(first_strip.is_multiple_of(self.strips_per_block()), "not the start of a block");
        assert!(trits.len().is_multiple_of(cols), "not whole rows");
        let count = trits.len() / cols;
        assert!(
            count > 0 && row0 + count <= rows,
            "rows {row0}..{} of a matrix of {rows}",
            row0 + count
        );
        assert!(row0 + count == rows || count.is_multiple_of(block_rows), "not whole blocks");
        match self {
            Packing::I2 => i2::pack(cols, first_strip, trits, put),
            Packing::T5 => t5::pack(rows, cols, first_strip, trits, put),
        }
    }

    /// Packs a whole matrix, `trits` row-major.
    ///
    /// # Panics
    /// If `trits` does not hold `rows * cols` values, or a dimension is out of range.
    pub fn pack_matrix(self, rows: usize, cols: usize, trits: &[i8]) -> Vec<u8> {
        let len = self.packed_len(rows, cols).expect("dimensions in range");
        assert_eq!(trits.len(), rows * cols);
        let mut bytes = vec![0; len];
        self.pack(rows, cols, 0, trits, &mut |offset, piece| {
            bytes[offset..offset + piece.len()].copy_from_slice(piece);
        });
        bytes
    }
}

/// A packed matrix `[rows, cols]`: borrowed bytes whose length has been checked.
#[derive(Clone, Copy, Debug)]
pub struct PackedMatrix<'a> {
    packing: Packing,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

impl<'a> PackedMatrix<'a> {
    /// Wraps packed bytes; `None` where their length is not that of a matrix `[rows, cols]`.
    pub fn new(packing: Packing, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Self> {
        (packing.packed_len(rows, cols)? == bytes.len()).then_some(Self {
            packing,
            rows,
            cols,
            bytes,
        })
    }

    /// How the bytes are laid out.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows in strips of [`STRIP`], the last one padded.
    pub fn strips(&self) -> usize {
        self.rows.div_ceil(STRIP)
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The packed bytes from the first of a strip on: about where a kernel that is given the strip begins to read.
    ///
    /// # Panics
    /// If `strip` is out of range.
    pub fn bytes_from(&self, strip: usize) -> &'a [u8] {
        assert!(strip < self.strips(), "strip {strip} of {}", self.strips());
        let offset = match self.packing {
            Packing::I2 => i2::strip_offset(self.cols, strip),
            Packing::T5 => t5::Layout::new(self.rows, self.cols).group_offset(strip, 0),
        };
        &self.bytes[offset..]
    }

    /// The same from a line on, of those of some strips in the order in which kernels read them: about where a kernel begins
    /// that is given a stretch.
    ///
    /// # Panics
    /// If there are no strips, or they are not the matrix's.
    pub fn bytes_from_line(&self, strips: Range<usize>, line: usize) -> &'a [u8] {
        assert!(strips.start < strips.end && strips.end <= self.strips(), "strips {strips:?}");
        let offset = match self.packing {
            Packing::I2 => i2::strip_offset(self.cols, strips.start) + 64 * line,
            Packing::T5 => t5::Layout::new(self.rows, self.cols).line_offset(strips, line),
        };
        &self.bytes[offset.min(self.bytes.len())..]
    }

    /// Cache lines of 64 bytes that a strip's trits take; row constants are not counted.
    pub fn strip_lines(&self) -> usize {
        match self.packing {
            Packing::I2 => self.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES / 64,
            Packing::T5 => self.cols.div_ceil(t5::GROUP) * STRIP / 64,
        }
    }

    /// Unpacks one row to `out`, `cols` values. A valid file gives -1, 0 and 1 only; an invalid code
    /// gives what every kernel makes of it where a trit can hold it (see each packing), so this is
    /// no validity check: use [`PackedMatrix::first_invalid`].
    ///
    /// # Panics
    /// If `row` is out of range or `out` has another length.
    pub fn unpack_row(&self, row: usize, out: &mut [i8]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols);
        match self.packing {
            Packing::I2 => i2::unpack_row(self, row, out),
            Packing::T5 => t5::unpack_row(self, row, out),
        }
    }

    /// Offset of the first byte that no packer writes: an invalid code, a nonzero trit in the padding, a
    /// row constant that its row does not have. `None` if the matrix is as it should be. Reads all of it.
    pub fn first_invalid(&self) -> Option<usize> {
        match self.packing {
            Packing::I2 => i2::first_invalid(self),
            Packing::T5 => t5::first_invalid(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trits(rows: usize, cols: usize) -> impl Strategy<Value = Vec<i8>> {
        proptest::collection::vec(-1i8..=1, rows * cols)
    }

    fn matrix() -> impl Strategy<Value = (usize, usize, Vec<i8>)> {
        (1usize..=300, 1usize..=600)
            .prop_flat_map(|(rows, cols)| (Just(rows), Just(cols), trits(rows, cols)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn unpack_gives_back_what_was_packed((rows, cols, trits) in matrix()) {
            for packing in Packing::ALL {
                let bytes = packing.pack_matrix(rows, cols, &trits);
                let matrix = PackedMatrix::new(packing, rows, cols, &bytes).unwrap();
                prop_assert_eq!(matrix.first_invalid(), None);
                let mut row = vec![0; cols];
                for r in 0..rows {
                    matrix.unpack_row(r, &mut row);
                    prop_assert_eq!(&row[..], &trits[r * cols..(r + 1) * cols]);
                }
            }
        }

        #[test]
        fn packing_block_by_block_gives_the_same_bytes((rows, cols, trits) in matrix()) {
            for packing in Packing::ALL {
                let whole = packing.pack_matrix(rows, cols, &trits);
                let block = packing.strips_per_block() * STRIP;
                let mut pieces = vec![0xAAu8; whole.len()];
                let mut written = 0;
                for (i, part) in trits.chunks(block * cols).enumerate() {
                    packing.pack(rows, cols, i * packing.strips_per_block(), part, &mut |at, piece| {
                        pieces[at..at + piece.len()].copy_from_slice(piece);
                        written += piece.len();
                    });
                }
                prop_assert_eq!(written, whole.len());
                prop_assert_eq!(pieces, whole);
            }
        }

        #[test]
        fn a_changed_byte_is_found_or_is_another_valid_matrix(
            (rows, cols, trits) in matrix(), at in any::<prop::sample::Index>(), flip in 1u8..=255,
        ) {
            for packing in Packing::ALL {
                let mut bytes = packing.pack_matrix(rows, cols, &trits);
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
                let matrix = PackedMatrix::new(packing, rows, cols, &bytes).unwrap();
                if matrix.first_invalid().is_none() {
                    let mut unpacked = vec![0; rows * cols];
                    for (r, row) in unpacked.chunks_mut(cols).enumerate() {
                        matrix.unpack_row(r, row);
                    }
                    prop_assert!(unpacked != trits, "two encodings of one matrix");
                    prop_assert_eq!(&packing.pack_matrix(rows, cols, &unpacked), &bytes);
                }
            }
        }
    }

    #[test]
    fn lengths_are_the_documented_ones() {
        assert_eq!(Packing::I2.packed_len(1, 1), Some(256));
        assert_eq!(Packing::I2.packed_len(64, 1024), Some(64 * 1024 / 4));
        assert_eq!(Packing::T5.packed_len(64, 1024), Some(64 * 205 + 128));
        assert_eq!(Packing::T5.packed_len(65, 5), Some(2 * (64 + 128)));
        for packing in Packing::ALL {
            assert_eq!(packing.packed_len(0, 5), None);
            assert_eq!(packing.packed_len(5, 0), None);
            assert_eq!(packing.packed_len(MAX_ROWS + 1, 5), None);
            assert_eq!(packing.packed_len(5, MAX_COLS + 1), None);
            assert_eq!(packing.packed_len(usize::MAX, usize::MAX), None);
            assert_eq!(packing.packed_len(97, 333).unwrap() % 64, 0);
            assert_eq!(Packing::from_name(packing.name()), Some(packing));
        }
        assert_eq!(Packing::from_name("q4"), None);
    }
}
