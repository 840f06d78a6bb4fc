//! `t5` by look-ups of 16 entries (`vpshufb`, `tbl`): a byte's value is split by nine, into a part
//! of three trits and a part of two.
//!
//! Let `x` be the low seven bits, 0..=121, and `x + 4 = 9 h + l` with `l` in 0..=8 and `h` in
//! 0..=13: then the upper three trits are those of `h` and the lower two those of `l - 4`. `l`
//! comes from two look-ups, `x + 4 mod 9` being a sum of what the two nibbles of `x` leave, less
//! nine if need be; and instead of `h`, `x - l = 9 h - 4` indexes: its low four bits differ for all
//! `h` from 0 to 14, and for `h = 0` it is negative.
//!
//! On x86 the sum of the two look-ups is kept below 16 instead: `16 n mod 9` is never 2 for the high nibbles 0 to 7, so that
//! what a high nibble leaves, six more, is at most 7, and what a low one leaves at most 8. The sum is `l` or `l + 9` and
//! indexes a table of two trits that repeats after nine entries; a third look-up makes `l` of it.

use crate::packing::t5;

/// Bytes of the tables of a group: the low bytes of the sums of two trits by `l` and of three trits
/// by `x - l`, then the high bytes of both.
pub(super) const TABLES: usize = 64;

/// `(n * step + add) mod 9` of each `n`.
const fn mod9(step: usize, add: usize) -> [u8; 16] {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        table[n] = ((n * step + add) % 9) as u8;
        n += 1;
    }
    table
}

/// What the low nibble of `x` adds to `l`.
#[cfg(target_arch = "aarch64")]
pub(super) static LOW_NIBBLE: [u8; 16] = mod9(1, 4);

/// What the high nibble of `x` adds to `l`.
#[cfg(target_arch = "aarch64")]
pub(super) static HIGH_NIBBLE: [u8; 16] = mod9(16, 0);

/// The same two look-ups, kept small: their sum, at most 15, is `l` or `l + 9`.
#[cfg(target_arch = "x86_64")]
pub(super) static LOW_NIBBLE_SMALL: [u8; 16] = mod9(1, 7);
#[cfg(target_arch = "x86_64")]
pub(super) static HIGH_NIBBLE_SMALL: [u8; 16] = mod9(16, 6);

/// `l` by that sum.
#[cfg(target_arch = "x86_64")]
pub(super) static MOD_9: [u8; 16] = mod9(1, 0);

#[cfg(target_arch = "x86_64")]
const _: () = {
    let mut x = 0;
    while x < 128 {
        let sum = LOW_NIBBLE_SMALL[x % 16] + HIGH_NIBBLE_SMALL[x / 16];
        assert!(sum < 16 && MOD_9[sum as usize] as usize == (x + 4) % 9);
        x += 1;
    }
};

/// The lower two trits by `l`.
pub(super) static LOW: [[i8; 16]; 2] = {
    let mut table = [[0; 16]; 2];
    let mut l = 0;
    while l < 9 {
        table[0][l] = (l % 3) as i8 - 1;
        table[1][l] = (l / 3) as i8 - 1;
        l += 1;
    }
    table
};

/// The upper three trits by the low four bits of `x - l`.
pub(super) static HIGH: [[i8; 16]; 3] = {
    let mut table = [[0; 16]; 3];
    let mut h = 1;
    while h <= 13 {
        let mut i = 0;
        while i < 3 {
            table[i][(9 * h - 4) % 16] = t5::TRITS[h][i];
            i += 1;
        }
        h += 1;
    }
    table
};

/// The signs with which the five activations of a group enter each entry, of the table by `l` and
/// of the one by `x - l`. Kernels let `x` be 122 at most, for all bytes that no packer writes: `h =
/// 14` and `l = 0`. The entry of `h = 14` undoes that of `l = 0`, so that these bytes count
/// nothing.
pub(super) static SIGNS: [[[i8; 16]; 2]; t5::GROUP] = {
    let mut signs = [
        [LOW[0], [0; 16]],
        [LOW[1], [0; 16]],
        [[0; 16], HIGH[0]],
        [[0; 16], HIGH[1]],
        [[0; 16], HIGH[2]],
    ];
    signs[0][1][(9 * 14 - 4) % 16] = 1;
    signs[1][1][(9 * 14 - 4) % 16] = 1;
    signs
};

/// A table by `l` as one by the [small](LOW_NIBBLE_SMALL) sum: it repeats after nine entries.
#[cfg(target_arch = "x86_64")]
const fn repeated(mut table: [i8; 16]) -> [i8; 16] {
    let mut entry = 9;
    while entry < 16 {
        table[entry] = table[entry - 9];
        entry += 1;
    }
    table
}

/// The lower two trits by the small sum.
#[cfg(target_arch = "x86_64")]
pub(super) static LOW_SMALL: [[i8; 16]; 2] = [repeated(LOW[0]), repeated(LOW[1])];

/// [`SIGNS`] with the first table by the small sum.
#[cfg(target_arch = "x86_64")]
pub(super) static SIGNS_SMALL: [[[i8; 16]; 2]; t5::GROUP] = {
    let mut signs = SIGNS;
    let mut i = 0;
    while i < t5::GROUP {
        signs[i][0] = repeated(signs[i][0]);
        i += 1;
    }
    signs
};
