//! `i2`: two bits a trit, 2.0 bits per weight.
//!
//! A code is the trit plus one: 0, 1, 2 for -1, 0, +1. The invalid code 3 counts as +2 in every
//! kernel.
//!
//! Columns come in groups of [`GROUP`] = 16, the last one filled up with zero trits. The tensor is
//! strip after strip; in a strip, group after group; a group of a strip is 256 bytes: one byte
//! `B[r][k]` at `4 * r + k` for each of the 64 rows `r` and `k` in 0..4, which holds the codes of
//! columns `k`, `4 + k`, `8 + k`, `12 + k` of the group in bits 0-1, 2-3, 4-5, 6-7.
//!
//! So a shift by `2 * s` and a mask give, for 16 rows in 64 bytes, the columns `4 * s .. 4 * s + 4`
//! as four neighbouring bytes per row: the operand of the 4-wide int8 dot products of x86
//! (`dpbusd`) and ARM (`sdot`), with four activations broadcast as the other one.

use super::{PackedMatrix, STRIP};

/// Columns in a group.
pub const GROUP: usize = 16;

/// Bytes of a group of a strip.
pub const GROUP_BYTES: usize = STRIP * GROUP / 4;

/// The code of a zero trit in all four places.
const ZEROS: u8 = 0b01_01_01_01;

pub(super) fn packed_len(rows: usize, cols: usize) -> Option<usize> {
    rows.div_ceil(STRIP).checked_mul(cols.div_ceil(GROUP))?.checked_mul(GROUP_BYTES)
}

/// Offset of the first byte of a strip.
pub(super) fn strip_offset(cols: usize, strip: usize) -> usize {
    strip * cols.div_ceil(GROUP) * GROUP_BYTES
}

pub(super) fn pack(
    cols: usize,
    first_strip: usize,
    trits: &[i8],
    put: &mut dyn FnMut(usize, &[u8]),
) {
    let strip_bytes = cols.div_ceil(GROUP) * GROUP_BYTES;
    let mut packed = vec![0; strip_bytes];
    for (i, strip) in trits.chunks(STRIP * cols).enumerate() {
        packed.fill(ZEROS);
        for (r, row) in strip.chunks(cols).enumerate() {
            for (c, &trit) in row.iter().enumerate() {
                let byte = &mut packed[c / GROUP * GROUP_BYTES + 4 * r + c % 4];
                let shift = c % GROUP / 4 * 2;
                *byte = *byte & !(3 << shift) | ((trit + 1) as u8) << shift;
            }
        }
        put((first_strip + i) * strip_bytes, &packed);
    }
}

/// An invalid code unpacks as 2, as the kernels count it.
pub(super) fn unpack_row(matrix: &PackedMatrix<'_>, row: usize, out: &mut [i8]) {
    let strip_bytes = matrix.cols.div_ceil(GROUP) * GROUP_BYTES;
    let strip = &matrix.bytes[row / STRIP * strip_bytes..][..strip_bytes];
    for (group, out) in strip.chunks_exact(GROUP_BYTES).zip(out.chunks_mut(GROUP)) {
        let bytes = &group[row % STRIP * 4..][..4];
        for (c, value) in out.iter_mut().enumerate() {
            *value = (bytes[c % 4] >> (c / 4 * 2) & 3) as i8 - 1;
        }
    }
}

pub(super) fn first_invalid(matrix: &PackedMatrix<'_>) -> Option<usize> {
    let groups = matrix.cols.div_ceil(GROUP);
    matrix.bytes.iter().enumerate().position(|(at, &byte)| {
        if byte & byte >> 1 & ZEROS != 0 {
            return true;
        }
        let (group, in_group) = (at / GROUP_BYTES, at % GROUP_BYTES);
        let row = group / groups * STRIP + in_group / 4;
        let live = matrix.cols - (group % groups * GROUP).min(matrix.cols);
        (0..4).any(|s| {
            let padding = row >= matrix.rows || 4 * s + in_group % 4 >= live;
            padding && byte >> (2 * s) & 3 != 1
        })
    })
}
