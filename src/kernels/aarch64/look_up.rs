//! What the look-up kernels of `t5` share: how an entry is split in bytes, how tables are made, and
//! the order of the sums.
//!
//! The sum of a group of five activations is that of two look-ups (see
//! [`t5_split`](crate::kernels::t5_split)). An entry `e` is kept as two bytes, `e mod 64` and
//! `e / 64` rounded down, so that int8 lanes hold the sum of two low bytes, and the high bytes of
//! many groups: that takes fewer instructions than to put the two together first.

use std::arch::aarch64::*;

use super::{add_to, load};
use crate::kernels::t5::{Strip, Walk, group_of};
use crate::kernels::{Job, prefetch};
use crate::packing::{STRIP, t5};

/// An entry's low byte has these bits, its high byte counts 2^LOW_BITS.
const LOW_BITS: i32 = 6;

// The low bytes of two entries make 0 to 126, or where a kernel flips all bits -127 to -1.
const _: () = assert!(2 * ((1 << LOW_BITS) - 1) < i8::MAX as i32);

/// Groups of a strip that are added up before the next strip's turn: as many as an int8 lane can
/// hold the high bytes of. An entry of two activations is -255 to 254 (one less where it stands for
/// a negated sum), one of three -381 to 381; the high bytes of both are -10 to 8 together, and
/// negated -8 to 10.
///
/// A run of a block's eight strips is 6 KB that lie together.
const RUN: usize = 12;
const _: () = assert!((-255 >> LOW_BITS) + (-381 >> LOW_BITS) == -10);
const _: () = assert!((254 >> LOW_BITS) + (381 >> LOW_BITS) == 8);
const _: () = assert!(RUN * 10 <= i8::MAX as usize);

/// The int16 sums of a strip: eight rows each.
type Sums = [int16x8_t; STRIP / 8];

/// What the low nibble of a byte adds to `s`: 0 to 8, congruent to the nibble plus 7 modulo 9.
pub(super) static LOW_NIBBLE: [u8; 16] = {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        table[n] = ((n + 7) % 9) as u8;
        n += 1;
    }
    table
};

/// What the high nibble adds: 0 to 7, congruent to 16 times its low three bits less 3 modulo 9 (the
/// residue 8 does not occur), and `sign` for bit 7. So `s` is 15 at most, and congruent to the low
/// seven bits plus 4.
pub(super) const fn high_nibble(sign: u8) -> [u8; 16] {
    let mut table = [0; 16];
    let mut n = 0;
    while n < 16 {
        let residue = (16 * (n % 8) + 6) % 9;
        assert!(residue < 8);
        table[n] = residue as u8 + if n < 8 { 0 } else { sign };
        n += 1;
    }
    table
}

/// For each of eight entries up to `N` terms: for `tbl`, which activation, or which negated one, is
/// added.
pub(super) type Terms<const N: usize> = [[u8; 16]; N];

/// The terms of eight entries, from the signs with which the five activations enter each.
pub(super) const fn terms<const N: usize>(signs: [[i8; t5::GROUP]; 8]) -> Terms<N> {
    // An index that is out of range looks up 0.
    let mut terms = [[0xFF; 16]; N];
    let mut entry = 0;
    while entry < 8 {
        let (mut i, mut n) = (0, 0);
        while i < t5::GROUP {
            if signs[entry][i] != 0 {
                let at = 2 * i as u8 + if signs[entry][i] < 0 { 16 } else { 0 };
                terms[n][2 * entry] = at;
                terms[n][2 * entry + 1] = at + 1;
                n += 1;
            }
            i += 1;
        }
        entry += 1;
    }
    terms
}

/// The activations of a group as int16, and negated.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn activations(q: &[i8], group: usize) -> uint8x16x2_t {
    let bytes: [i8; 8] = match q.get(group * t5::GROUP..).and_then(|q| q.first_chunk()) {
        Some(q) => *q,
        None => {
            let mut padded = [0; 8];
            padded[..t5::GROUP].copy_from_slice(&group_of(q, group));
            padded
        }
    };
    // SAFETY: the reference is to eight readable bytes; the load needs no alignment.
    let q = vmovl_s8(unsafe { vld1_s8(bytes.as_ptr()) });
    uint8x16x2_t(vreinterpretq_u8_s16(q), vreinterpretq_u8_s16(vnegq_s16(q)))
}

/// Eight entries.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn entries<const N: usize>(q: uint8x16x2_t, terms: &Terms<N>) -> int16x8_t {
    let mut sum = vdupq_n_s16(0);
    for (n, term) in terms.iter().enumerate() {
        let term = vreinterpretq_s16_u8(vqtbl2q_u8(q, load(term)));
        sum = if n == 0 { term } else { vaddq_s16(sum, term) };
    }
    sum
}

/// The low bytes of 16 entries, and their high bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split_bytes(entries: [int16x8_t; 2]) -> [uint8x16_t; 2] {
    let [a, b] = entries.map(|entries| vreinterpretq_u8_s16(entries));
    let low = vandq_u8(vuzp1q_u8(a, b), vdupq_n_u8((1 << LOW_BITS) - 1));
    let [a, b] = entries;
    let high = vshrn_high_n_s16::<LOW_BITS>(vshrn_n_s16::<LOW_BITS>(a), b);
    [low, vreinterpretq_u8_s8(high)]
}

/// Stores 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store(out: &mut [u8; 16], bytes: uint8x16_t) {
    // SAFETY: the reference is to 16 bytes that may be written; the store needs no alignment.
    unsafe { vst1q_u8(out.as_mut_ptr(), bytes) }
}

/// Computes a job, `REGISTERS` times 16 rows at a time. A group's tables are `T` bytes; `read` loads them, and
/// `look_up` gives for 16 rows the sum of both entries' low bytes and that of their high bytes.
///
/// Row constants are added once a row: a set bit 7 must have looked up `-e - 1` for `e`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add<const REGISTERS: usize, const T: usize, Tables: Copy>(
    job: &Job<'_>,
    out: &mut [i32],
    read: impl Fn(&[u8; T]) -> Tables,
    look_up: impl Fn(Tables, uint8x16_t) -> [int8x16_t; 2],
) {
    let (matrix, input, rows) = (job.matrix(), job.input(), job.rows());
    let layout = t5::Layout::new(matrix.rows(), matrix.cols());
    let table_len = layout.groups * T;
    for (s, strip) in job.strips().enumerate() {
        let constants = Strip::new(matrix, strip).constants();
        for out in out.chunks_exact_mut(rows) {
            out[s * STRIP..][..STRIP].copy_from_slice(&constants);
        }
    }
    let walk = Walk::new(job);
    // Panel by panel, so that its tables (3 or 6 KB) stay in the cache.
    for panel in walk.panels() {
        for b in 0..input.batch {
            let tables = &input.prepared[b * table_len + panel * t5::PANEL * T..];
            let tables: &[[u8; T]] = tables[..layout.panel_groups(panel) * T].as_chunks().0;
            for block in walk.blocks(panel) {
                let block = walk.block(panel, block);
                let mut sums: [Sums; t5::STRIPS_PER_BLOCK] =
                    [[vdupq_n_s16(0); STRIP / 8]; t5::STRIPS_PER_BLOCK];
                for (i, tables) in tables.chunks(RUN).enumerate() {
                    for (s, sums) in sums.iter_mut().enumerate().take(block.strips) {
                        let (bytes, stride) = block.bytes_from(i * RUN, s);
                        // The next run's bytes.
                        for group in RUN..RUN + tables.len() {
                            let (bytes, at) = block.ahead(i * RUN, group * stride + s * STRIP);
                            prefetch::near(bytes, at);
                        }
                        add_run::<REGISTERS, _, _>(tables, bytes, stride, sums, &read, &look_up);
                    }
                }
                let out = out[b * rows + block.row..].as_chunks_mut::<STRIP>().0;
                for (sums, out) in sums[..block.strips].iter().zip(out) {
                    widen(sums, out);
                }
            }
        }
    }
}

/// Some groups of a strip, whose bytes are `stride` apart.
#[inline]
#[target_feature(enable = "neon")]
fn add_run<const REGISTERS: usize, const T: usize, Tables: Copy>(
    tables: &[[u8; T]],
    bytes: &[u8],
    stride: usize,
    sums: &mut Sums,
    read: &impl Fn(&[u8; T]) -> Tables,
    look_up: &impl Fn(Tables, uint8x16_t) -> [int8x16_t; 2],
) {
    const { assert!(t5::PANEL * (t5::GROUP * 127 + 1) <= i16::MAX as usize) };
    assert!(tables.len() <= RUN);
    let bytes = &bytes[..(tables.len().max(1) - 1) * stride + STRIP];
    let sums = sums.as_chunks_mut::<2>().0.as_chunks_mut::<REGISTERS>().0;
    for (part, out) in sums.iter_mut().enumerate() {
        let mut sums = *out;
        let mut high = [vdupq_n_s8(0); REGISTERS];
        let mut rows = bytes.as_ptr();
        for stored in tables {
            let at = rows;
            rows = rows.wrapping_add(stride);
            // SAFETY: `bytes` was cut to end with the strip's rows of the last group, and all groups lie
            // `stride` apart from its start on.
            let rows: &[u8; STRIP] = unsafe { &*at.cast() };
            let rows = &rows.as_chunks::<16>().0.as_chunks::<REGISTERS>().0[part];
            let tables = read(stored);
            for r in 0..REGISTERS {
                let [l, h] = look_up(tables, load(&rows[r]));
                sums[r][0] = vaddw_s8(sums[r][0], vget_low_s8(l));
                sums[r][1] = vaddw_high_s8(sums[r][1], l);
                high[r] = vaddq_s8(high[r], h);
            }
        }
        for (sums, high) in sums.iter_mut().zip(high) {
            sums[0] = vaddq_s16(sums[0], vshll_n_s8::<LOW_BITS>(vget_low_s8(high)));
            sums[1] = vaddq_s16(sums[1], vshll_high_n_s8::<LOW_BITS>(high));
        }
        *out = sums;
    }
}

/// Adds the int16 sums of a panel to the int32 ones.
#[inline]
#[target_feature(enable = "neon")]
fn widen(sums: &Sums, out: &mut [i32; STRIP]) {
    for (sums, out) in sums.iter().zip(out.as_chunks_mut::<8>().0) {
        let [low, high] = out.as_chunks_mut::<4>().0 else { unreachable!("eight rows") };
        add_to(low, vmovl_s16(vget_low_s16(*sums)));
        add_to(high, vmovl_high_s16(*sums));
    }
}
