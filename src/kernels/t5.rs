//! What the `t5` kernels of every architecture share: where a strip's bytes are, and the dot
//! kernels' order of activations.

use crate::packing::{PackedMatrix, STRIP, t5};

/// Group-quads: four neighbouring groups, 20 columns, whose bytes a dot kernel puts side by side to
/// get, for each of the five trits of a byte, a quad of codes for a 4-wide dot product.
pub(super) const QUAD_GROUPS: usize = 4;

/// Columns of a group-quad.
pub(super) const QUAD_COLS: usize = QUAD_GROUPS * t5::GROUP;

/// A strip of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    bytes: &'a [u8],
    layout: t5::Layout,
    strip: usize,
}

impl<'a> Strip<'a> {
    pub(super) fn new(matrix: &PackedMatrix<'a>, strip: usize) -> Strip<'a> {
        Strip {
            bytes: matrix.bytes(),
            layout: t5::Layout::new(matrix.rows(), matrix.cols()),
            strip,
        }
    }

    /// Groups of a row.
    pub(super) fn groups(&self) -> usize {
        self.layout.groups
    }

    /// The bytes of a group; zeros past the last one.
    pub(super) fn group(&self, group: usize) -> &'a [u8; STRIP] {
        if group >= self.layout.groups {
            return &[0; STRIP];
        }
        let at = self.layout.group_offset(self.strip, group);
        self.bytes[at..].first_chunk().expect("a group inside the tensor")
    }

    /// The row constants, as stored.
    pub(super) fn constants(&self) -> [i32; STRIP] {
        let at = self.layout.constants_offset() + 2 * STRIP * self.strip;
        let constants = self.bytes[at..].as_chunks::<2>().0;
        std::array::from_fn(|r| i32::from(u16::from_le_bytes(constants[r])))
    }

    /// The row constants less the number of bytes with bit 7 set: what the sums of a kernel that
    /// negates by `-x`, not `!x`, lack. Zero in a valid file. Inlined, to be compiled for the
    /// caller's instruction set.
    #[inline]
    pub(super) fn corrections(&self) -> [i32; STRIP] {
        let mut corrections = self.constants();
        let mut group = 0;
        while group < self.groups() {
            // At most 255, the most that a count can hold.
            let end = (group + 255).min(self.groups());
            let mut negative = [0u8; STRIP];
            while group < end {
                for (count, byte) in negative.iter_mut().zip(self.group(group)) {
                    *count += byte >> 7;
                }
                group += 1;
            }
            for (correction, count) in corrections.iter_mut().zip(negative) {
                *correction -= i32::from(count);
            }
        }
        corrections
    }
}

/// The activations of a group; zeros past the last one.
#[inline]
pub(super) fn group_of(q: &[i8], group: usize) -> [i8; t5::GROUP] {
    let from = group * t5::GROUP;
    match q.get(from..).and_then(|q| q.first_chunk()) {
        Some(q) => *q,
        None => std::array::from_fn(|i| q.get(from + i).copied().unwrap_or(0)),
    }
}

/// Bytes of a row of `cols` activations in the dot kernels' order.
pub(super) fn quads_len(cols: usize) -> usize {
    (cols.div_ceil(QUAD_COLS) * QUAD_COLS).next_multiple_of(64)
}

/// Puts a row of activations in the dot kernels' order: for each group-quad, the first activation
/// of each of the four groups, then the second of each, and so on.
pub(super) fn prepare_quads(q: &[i8], out: &mut [u8]) {
    for (at, out) in out.chunks_mut(QUAD_COLS).enumerate() {
        let from = at * QUAD_COLS;
        if let (Some(q), Ok(out)) =
            (q.get(from..from + QUAD_COLS), <&mut [u8; QUAD_COLS]>::try_from(&mut *out))
        {
            for d in 0..t5::GROUP {
                for g in 0..QUAD_GROUPS {
                    out[QUAD_GROUPS * d + g] = q[t5::GROUP * g + d] as u8;
                }
            }
            continue;
        }
        for (i, out) in out.iter_mut().enumerate() {
            let col = from + i % QUAD_GROUPS * t5::GROUP + i / QUAD_GROUPS;
            *out = q.get(col).map_or(0, |&q| q as u8);
        }
    }
}
