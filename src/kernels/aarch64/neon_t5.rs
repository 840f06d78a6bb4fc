//! `t5` on any NEON with additions only, by look-ups of 16 entries: see
//! [`t5_split`](crate::kernels::t5_split). On the small cores `tbl` of one register is so much
//! faster than of four that more of them win.

use std::arch::aarch64::*;

use super::load;
use super::look_up::{Terms, activations, add, entries, split_bytes, store, terms};
use crate::kernels::t5_split::{HIGH_NIBBLE, LOW_NIBBLE, SIGNS, TABLES};
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

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        // SAFETY: this target's CPUs have NEON.
        unsafe { prepare(q, out) }
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: this target's CPUs have NEON.
        unsafe { compute(job, out) }
    }
}

/// The terms of the entries of a table of [`t5_split`](crate::kernels::t5_split), the sums of two
/// trits or of three.
const fn table<const N: usize>(which: usize) -> [Terms<N>; 2] {
    let mut signs = [[0; t5::GROUP]; 16];
    let mut entry = 0;
    while entry < 16 {
        let mut i = 0;
        while i < t5::GROUP {
            signs[entry][i] = SIGNS[i][which][entry];
            i += 1;
        }
        entry += 1;
    }
    let [low, high] = signs.as_chunks::<8>().0 else { unreachable!() };
    [terms(*low), terms(*high)]
}

static TWO: [Terms<2>; 2] = table(0);
static THREE: [Terms<3>; 2] = table(1);

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
            let (l, h) = split(bytes);
            let sum = |two, three| {
                vreinterpretq_s8_u8(vaddq_u8(vqtbl1q_u8(two, l), vqtbl1q_u8(three, h)))
            };
            // A set bit 7 negates: -x is !x + 1. The one of the high byte is given back here, the
            // one of the low byte by the row constant.
            let low = veorq_s8(sum(two_low, three_low), negative);
            let high = veorq_s8(sum(two_high, three_high), negative);
            [low, vsubq_s8(high, negative)]
        },
    );
}

/// `l`, and the low four bits of `x - l`, of each `x`, the low seven bits of a byte.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split(bytes: uint8x16_t) -> (uint8x16_t, uint8x16_t) {
    let nibble = vdupq_n_u8(15);
    let low = vqtbl1q_u8(load(&LOW_NIBBLE), vandq_u8(bytes, nibble));
    let high = vqtbl1q_u8(load(&HIGH_NIBBLE), vshrq_n_u8::<4>(bytes));
    let sum = vaddq_u8(low, high);
    // Below 9 the difference wraps round to a large number.
    let l = vminq_u8(sum, vsubq_u8(sum, vdupq_n_u8(9)));
    (l, vandq_u8(vsubq_u8(bytes, l), nibble))
}
