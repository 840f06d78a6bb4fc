//! `t5` to `i2`: a matrix of the one packing written in the other, a strip at a time.

use super::{PackedMatrix, Packing, STRIP, i2, t5};

/// Groups of `t5` that make whole groups of `i2`: 80 columns.
const GROUPS: usize = 16;

/// Groups of `i2` that they make.
const WORDS: usize = GROUPS * t5::GROUP / i2::GROUP;
const _: () = assert!(WORDS * i2::GROUP == GROUPS * t5::GROUP);

/// The five codes (trit + 1) of a byte of `t5`, two bits each, the first column's lowest.
static CODES: [u16; 256] = {
    let mut codes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut i = 0;
        while i < t5::GROUP {
            let trit = t5::TRITS[byte & 0x7F][i];
            let trit = if byte < 0x80 { trit } else { -trit };
            codes[byte] |= ((trit + 1) as u16) << (2 * i);
            i += 1;
        }
        byte += 1;
    }
    codes
};

/// Bytes of a strip of a matrix of `cols` columns in packing `i2`.
pub(crate) fn i2_strip_bytes(cols: usize) -> usize {
    i2::strip_offset(cols, 1)
}

/// Writes a strip of a `t5` matrix as `i2`. Every kernel then gives the sums that it gives for the
/// strip as it was, also for bytes that no packer writes. `false`, and then `out` is of no use,
/// where `i2` cannot say the same: where a row constant is not what the row's bytes make it, which
/// a sound file has nowhere.
///
/// # Panics
/// If the matrix is not `t5`, it has no such strip, or `out` has not [`i2_strip_bytes`].
pub(crate) fn t5_strip_to_i2(matrix: &PackedMatrix<'_>, strip: usize, out: &mut [u8]) -> bool {
    assert!(matrix.packing == Packing::T5 && strip < matrix.strips());
    assert_eq!(out.len(), i2_strip_bytes(matrix.cols));
    let layout = t5::Layout::new(matrix.rows, matrix.cols);
    let mut negative = [0u32; STRIP];
    // Groups of all zeros stand after the last one.
    let zeros = [0; STRIP];
    for (i, out) in out.chunks_mut(WORDS * i2::GROUP_BYTES).enumerate() {
        let groups: [&[u8; STRIP]; GROUPS] = std::array::from_fn(|g| {
            let group = i * GROUPS + g;
            if group >= layout.groups {
                return &zeros;
            }
            let bytes = &matrix.bytes[layout.group_offset(strip, group)..];
            bytes.first_chunk().expect("a group inside the tensor")
        });
        for group in groups {
            for (count, byte) in negative.iter_mut().zip(group) {
                *count += u32::from(byte >> 7);
            }
        }
        for r in 0..STRIP {
            let words = words(groups.map(|group| group[r]));
            for (word, out) in words.into_iter().zip(out.chunks_exact_mut(i2::GROUP_BYTES)) {
                out[4 * r..4 * r + 4].copy_from_slice(&transposed(word).to_le_bytes());
            }
        }
    }
    let constants = &matrix.bytes[layout.constants_offset() + 2 * STRIP * strip..];
    let mut constants = constants.as_chunks().0.iter().map(|&c| u32::from(u16::from_le_bytes(c)));
    negative.iter().all(|&count| constants.next() == Some(count))
}

/// The codes of 16 bytes, column by column, 16 columns in a word.
#[inline]
fn words(bytes: [u8; GROUPS]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    let (mut bits, mut count, mut word) = (0u64, 0, 0);
    for byte in bytes {
        bits |= u64::from(CODES[usize::from(byte)]) << count;
        count += 2 * t5::GROUP;
        if count >= 32 {
            words[word] = bits as u32;
            (bits, count, word) = (bits >> 32, count - 32, word + 1);
        }
    }
    words
}

/// 16 codes in the order of `i2`: column `4 s + k` goes from bit `8 s + 2 k` to bit `8 k + 2 s`.
#[inline]
fn transposed(mut codes: u32) -> u32 {
    // First within blocks of two times two, then the blocks themselves.
    for (distance, mask) in [(6, 0x00CC_00CC), (12, 0x0000_F0F0)] {
        let swapped = (codes ^ codes >> distance) & mask;
        codes ^= swapped ^ swapped << distance;
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn repacked(matrix: &PackedMatrix<'_>) -> Option<Vec<u8>> {
        let mut out = vec![0xA5; Packing::I2.packed_len(matrix.rows, matrix.cols).unwrap()];
        let strips = out.chunks_exact_mut(i2_strip_bytes(matrix.cols)).enumerate();
        let mut good = true;
        for (strip, out) in strips {
            good &= t5_strip_to_i2(matrix, strip, out);
        }
        good.then_some(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_repacked_is_what_the_packer_writes(
            (rows, cols, trits) in (1usize..=700, 1usize..=600).prop_flat_map(|(rows, cols)| {
                (Just(rows), Just(cols), proptest::collection::vec(-1i8..=1, rows * cols))
            }),
        ) {
            let bytes = Packing::T5.pack_matrix(rows, cols, &trits);
            let matrix = PackedMatrix::new(Packing::T5, rows, cols, &bytes).unwrap();
            prop_assert_eq!(repacked(&matrix), Some(Packing::I2.pack_matrix(rows, cols, &trits)));
        }
    }

    #[test]
    fn a_matrix_with_a_wrong_row_constant_stays_as_it_is() {
        let mut bytes = Packing::T5.pack_matrix(70, 12, &[1; 70 * 12]);
        let at = t5::Layout::new(70, 12).constants_offset() + 2 * 69;
        bytes[at] = 1;
        let matrix = PackedMatrix::new(Packing::T5, 70, 12, &bytes).unwrap();
        assert_eq!(repacked(&matrix), None);
    }

    /// Codes that no packer writes are zeros in `t5`, whatever their sign, and count so in the row
    /// constant.
    #[test]
    fn invalid_codes_become_zeros() {
        let mut bytes = Packing::T5.pack_matrix(1, 10, &[1, -1, 1, 0, 1, -1, 0, 0, 1, 1]);
        bytes[0] = 0xFF;
        let constants = t5::Layout::new(1, 10).constants_offset();
        bytes[constants] = 1;
        let matrix = PackedMatrix::new(Packing::T5, 1, 10, &bytes).unwrap();
        let expected = Packing::I2.pack_matrix(1, 10, &[0, 0, 0, 0, 0, -1, 0, 0, 1, 1]);
        assert_eq!(repacked(&matrix), Some(expected));
    }
}
