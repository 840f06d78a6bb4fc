//! `t5` on any NEON with additions only, by look-ups of 16 entries in one register (`tbl`): on the
//! small cores those are so much faster than look-ups in four that more of them win.
//!
//! As in [`t5_split`](crate::kernels::t5_split), `x + 4 = 9 h + l`. The nibbles of a byte leave `s` in
//! 0..=15 with `s mod 9 = l`, by which the sum of two trits is looked up; and `9 h` differs modulo 16
//! for all `h`: the index of the sum of three.

use std::arch::aarch64::*;

use super::load;
use super::look_up::{
    LOW_NIBBLE, Terms, activations, add, entries, high_nibble, split_bytes, store, terms,
};
use crate::kernels::t5_split::{SIGNS, TABLES};
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, t5};

pub(super) struct T5NeonAdd;

impl Kernel for T5NeonAdd {
    fn name(&self) -> &'static str {
        "t5-neon-add"
    }

    fn isa(&self) -> Isa {
        Isa::Neon
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

static HIGH_NIBBLE: [u8; 16] = high_nibble(0);

/// What is to be taken off a byte, by `s`, for `9 h` to be left in its low four bits.
static REST: [u8; 16] = {
    let mut table = [0; 16];
    let mut s = 0;
    while s < 16 {
        table[s] = ((s % 9) as u8).wrapping_sub(4);
        s += 1;
    }
    table
};

/// The terms of the sums of two trits by `s` and of those of three by `9 h`.
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
static THREE: [Terms<3>; 2] = {
    let mut signs = [[0; t5::GROUP]; 16];
    let mut h = 0;
    while h <= 14 {
        let mut i = 0;
        while i < t5::GROUP {
            signs[9 * h % 16][i] = SIGNS[i][1][(9 * h + 12) % 16];
            i += 1;
        }
        h += 1;
    }
    let [low, high] = signs.as_chunks::<8>().0 else { unreachable!() };
    [terms(*low), terms(*high)]
};

#[target_feature(enable = "neon")]
fn prepare(q: &[i8], out: &mut [u8]) {
    for (g, tables) in out.as_chunks_mut::<TABLES>().0.iter_mut().enumerate() {
        let q = activations(q, g);
        let [two_low, two_high] = split_bytes(TWO.each_ref().map(|terms| entries(q, terms)));
        let [three_low, three_high] = split_bytes(THREE.each_ref().map(|terms| entries(q, terms)));
        let tables = tables.as_chunks_mut::<16>().0;
        for (out, bytes) in tables.iter_mut().zip([two_low, three_low, two_high, three_high]) {
            store(out, bytes);
        }
    }
}

#[target_feature(enable = "neon")]
fn compute(job: &Job<'_>, out: &mut [i32]) {
    let (low_nibble, high_nibble) = (load(&LOW_NIBBLE), load(&HIGH_NIBBLE));
    let rest = load(&REST);
    add::<4, _, _>(
        job,
        out,
        |stored: &[u8; TABLES]| {
            let tables: &[[u8; 16]; 4] = stored.as_chunks().0.try_into().expect("four tables");
            tables.each_ref().map(|table| load(table))
        },
        |[two_low, three_low, two_high, three_high], bytes| {
            // Bytes that no packer writes count as h = 14 and l = 0, whose entries undo each other.
            let signed = vminq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8(122));
            let negative = vshrq_n_s8::<7>(signed);
            let bytes = vminq_u8(vreinterpretq_u8_s8(signed), vdupq_n_u8(0x80 | 122));
            let nibble = vdupq_n_u8(15);
            let s = vaddq_u8(
                vqtbl1q_u8(low_nibble, vandq_u8(bytes, nibble)),
                vqtbl1q_u8(high_nibble, vshrq_n_u8::<4>(bytes)),
            );
            let h = vandq_u8(vsubq_u8(bytes, vqtbl1q_u8(rest, s)), nibble);
            let sum = |two, three| {
                vreinterpretq_s8_u8(vaddq_u8(vqtbl1q_u8(two, s), vqtbl1q_u8(three, h)))
            };
            // A set bit 7 negates: -x is !x + 1. The one of the high byte is given back here, the
            // one of the low byte by the row constant.
            let low = veorq_s8(sum(two_low, three_low), negative);
            let high = veorq_s8(sum(two_high, three_high), negative);
            [low, vsubq_s8(high, negative)]
        },
    );
}
