//! `t5` with additions only, by look-ups of 32 entries in two registers (`tbl`), for cores on which
//! those are no slower than look-ups in one: from the Cortex-A76 on, which are those with dot
//! products.
//!
//! As in [`neon_t5`](super::neon_t5), but both indices have 16 more where bit 7 is set: then they look
//! up negated sums. `9 h` and `9 h + 16` differ modulo 32 for all `h`.

use std::arch::aarch64::*;

use super::load;
use super::look_up::{
    LOW_NIBBLE, Terms, activations, add, entries, high_nibble, split_bytes, store, terms,
};
use crate::kernels::t5_split::SIGNS;
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, t5};

/// Bytes of the tables of a group: for 32 `s` the low bytes, then the high ones, of the sum of two
/// trits, then those of three by `9 h + 16`.
const TABLES: usize = 128;

pub(super) struct T5NeonDotAdd;

impl Kernel for T5NeonDotAdd {
    fn name(&self) -> &'static str {
        "t5-neondot-add"
    }

    fn isa(&self) -> Isa {
        Isa::NeonDot
    }

    fn packing(&self) -> Packing {
        Packing::T5
    }

    fn family(&self) -> Family {
        Family::Add
    }

    fn prepared_len(&self, cols: usize) -> usize {
        cols.div_ceil(t5::GROUP) * TABLES
    }

    fn prepared_piece(&self, _cols: usize) -> (usize, usize) {
        (t5::GROUP, TABLES)
    }

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        // SAFETY: this target's CPUs have NEON.
        unsafe { prepare(q, out) }
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: this target's CPUs have NEON.
        unsafe { compute(job, out) }
    }
}

static HIGH_NIBBLE: [u8; 16] = high_nibble(16);

/// What is to be taken off a byte, by `s`, for `9 h`, or `9 h + 16`, to be left in its low five
/// bits.
static REST: [[u8; 16]; 2] = {
    let mut table = [[0; 16]; 2];
    let mut s = 0;
    while s < 32 {
        let l = (s % 16 % 9) as u8;
        table[s / 16][s % 16] = l.wrapping_sub(4 + 16 * (s / 16) as u8);
        s += 1;
    }
    table
};

/// The terms of the sums of two trits, by `s` below 16. Where bit 7 is set, all bits are flipped.
static TWO: [Terms<2>; 2] = {
    let mut signs = [[0; t5::GROUP]; 16];
    let mut s = 0;
    while s < 16 {
        let mut i = 0;
        while i < t5::GROUP {
            signs[s][i] = SIGNS[i][0][s % 9];
            i += 1;
        }
        s += 1;
    }
    let [low, high] = signs.as_chunks::<8>().0 else { unreachable!() };
    [terms(*low), terms(*high)]
};

/// The terms of the sums of three trits, negated where bit 7 is set.
static THREE: [Terms<3>; 4] = {
    let mut signs = [[0; t5::GROUP]; 32];
    let mut h = 0;
    while h <= 14 {
        let mut i = 0;
        while i < t5::GROUP {
            let sign = SIGNS[i][1][(9 * h + 12) % 16];
            signs[9 * h % 32][i] = sign;
            signs[(9 * h + 16) % 32][i] = -sign;
            i += 1;
        }
        h += 1;
    }
    let [a, b, c, d] = signs.as_chunks::<8>().0 else { unreachable!() };
    [terms(*a), terms(*b), terms(*c), terms(*d)]
};

#[target_feature(enable = "neon")]
fn prepare(q: &[i8], out: &mut [u8]) {
    for (g, tables) in out.as_chunks_mut::<TABLES>().0.iter_mut().enumerate() {
        let q = activations(q, g);
        let [low, high] = split_bytes(TWO.each_ref().map(|terms| entries(q, terms)));
        let three = THREE.each_ref().map(|terms| entries(q, terms));
        let [first_low, first_high] = split_bytes([three[0], three[1]]);
        let [second_low, second_high] = split_bytes([three[2], three[3]]);
        // !e = -e - 1, of which the row constant takes the one.
        let flipped = [veorq_u8(low, vdupq_n_u8(63)), vmvnq_u8(high)];
        let tables = tables.as_chunks_mut::<16>().0;
        let bytes =
            [low, flipped[0], high, flipped[1], first_low, second_low, first_high, second_high];
        for (out, bytes) in tables.iter_mut().zip(bytes) {
            store(out, bytes);
        }
    }
}

#[target_feature(enable = "neon")]
fn compute(job: &Job<'_>, out: &mut [i32]) {
    let pair = |tables: &[[u8; 16]; 2]| uint8x16x2_t(load(&tables[0]), load(&tables[1]));
    let (low_nibble, high_nibble) = (load(&LOW_NIBBLE), load(&HIGH_NIBBLE));
    let rest = pair(&REST);
    add::<2, _, _>(
        job,
        out,
        |stored: &[u8; TABLES]| {
            let tables: &[[u8; 16]; 8] = stored.as_chunks().0.try_into().expect("eight tables");
            let pairs: &[[[u8; 16]; 2]; 4] =
                tables.as_chunks().0.try_into().expect("four pairs of tables");
            pairs.each_ref().map(pair)
        },
        |[two_low, two_high, three_low, three_high], bytes| {
            // Bytes that no packer writes count as h = 14 and l = 0, whose entries undo each other.
            let signed = vminq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8(122));
            let bytes = vminq_u8(vreinterpretq_u8_s8(signed), vdupq_n_u8(0x80 | 122));
            let s = vaddq_u8(
                vqtbl1q_u8(low_nibble, vandq_u8(bytes, vdupq_n_u8(15))),
                vqtbl1q_u8(high_nibble, vshrq_n_u8::<4>(bytes)),
            );
            let h = vandq_u8(vsubq_u8(bytes, vqtbl2q_u8(rest, s)), vdupq_n_u8(31));
            let sum = |two, three| {
                vreinterpretq_s8_u8(vaddq_u8(vqtbl2q_u8(two, s), vqtbl2q_u8(three, h)))
            };
            [sum(two_low, three_low), sum(two_high, three_high)]
        },
    );
}
