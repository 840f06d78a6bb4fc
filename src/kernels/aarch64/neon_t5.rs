//! `t5` on any NEON with additions only, by look-ups of 16 entries: see
//! [`t5_split`](crate::kernels::t5_split). On the small cores `tbl` of one register is so much
//! faster than of four that more of them win.

use std::arch::aarch64::*;

use super::{add_to, load};
use crate::kernels::t5::{Strip, group_of};
use crate::kernels::t5_split::{HIGH_NIBBLE, LOW_NIBBLE, SIGNS, TABLES};
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, STRIP, t5};

macro_rules! kernel {
    ($(#[$doc:meta])* $type:ident, $name:literal, $isa:ident) => {
        $(#[$doc])*
        pub(super) struct $type;

        impl Kernel for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn isa(&self) -> Isa {
                Isa::$isa
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
                prepare(q, out);
            }

            fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
                // SAFETY: this target's CPUs have NEON.
                unsafe { compute(job, out) }
            }
        }
    };
}

kernel!(T5NeonAdd, "t5-neon-add", Neon);
kernel!(
    /// The same for CPUs with dot products, where it competes with those.
    T5NeonDotAdd,
    "t5-neondot-add",
    NeonDot
);

/// The bits of all entries in which an activation is added, and of those in which it is subtracted.
static MASKS: [[[[i16; 16]; 2]; 2]; t5::GROUP] = {
    let mut masks = [[[[0; 16]; 2]; 2]; t5::GROUP];
    let mut i = 0;
    while i < t5::GROUP * 2 * 16 {
        let (q, table, entry) = (i / 32, i / 16 % 2, i % 16);
        match SIGNS[q][table][entry] {
            1 => masks[q][table][0][entry] = -1,
            -1 => masks[q][table][1][entry] = -1,
            _ => (),
        }
        i += 1;
    }
    masks
};

/// Plain loops over 16 entries: the compiler makes vectors of them.
fn prepare(q: &[i8], out: &mut [u8]) {
    for (g, tables) in out.as_chunks_mut::<TABLES>().0.iter_mut().enumerate() {
        let q = group_of(q, g).map(i16::from);
        for table in 0..2 {
            let mut sums = [0i16; 16];
            for (q, masks) in q.iter().zip(&MASKS) {
                let [plus, minus] = &masks[table];
                for ((sum, plus), minus) in sums.iter_mut().zip(plus).zip(minus) {
                    *sum += (q & plus) - (q & minus);
                }
            }
            for (e, sum) in sums.into_iter().enumerate() {
                let [low, high] = sum.to_le_bytes();
                tables[16 * table + e] = low;
                tables[32 + 16 * table + e] = high;
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn compute(job: &Job<'_>, out: &mut [i32]) {
    let (matrix, input, rows) = (job.matrix(), job.input(), job.rows());
    let layout = t5::Layout::new(matrix.rows(), matrix.cols());
    let table_len = layout.groups * TABLES;
    for (s, strip) in job.strips().enumerate() {
        let constants = Strip::new(matrix, strip).constants();
        for out in out.chunks_exact_mut(rows) {
            out[s * STRIP..][..STRIP].copy_from_slice(&constants);
        }
    }
    // Panel by panel, so that its tables (3.2 KB) stay in the cache.
    for panel in 0..layout.groups.div_ceil(t5::PANEL) {
        let groups = layout.panel_groups(panel);
        for b in 0..input.batch {
            let tables = &input.prepared[b * table_len + panel * t5::PANEL * TABLES..];
            let tables = tables[..groups * TABLES].as_chunks().0;
            let out = &mut out[b * rows..][..rows];
            for (strip, out) in job.strips().zip(out.as_chunks_mut::<STRIP>().0) {
                let width = layout.block_strips(strip / t5::STRIPS_PER_BLOCK);
                let bytes = &matrix.bytes()[layout.group_offset(strip, panel * t5::PANEL)..];
                add_strip(bytes, width * STRIP, tables, out);
            }
        }
    }
}

/// A strip and a panel: the groups are `stride` bytes apart.
#[inline]
#[target_feature(enable = "neon")]
fn add_strip(bytes: &[u8], stride: usize, tables: &[[u8; TABLES]], out: &mut [i32; STRIP]) {
    // An entry is a sum of five activations of at most 127 in magnitude, one more where it is
    // negated by `!x`.
    const { assert!(t5::PANEL * (t5::GROUP * 127 + 1) <= i16::MAX as usize) };
    assert!(tables.len() <= t5::PANEL);
    let mut acc = [[vdupq_n_s16(0); 2]; 4];
    for (tables, bytes) in tables.iter().zip(bytes.chunks(stride)) {
        let rows: &[u8; STRIP] = bytes.first_chunk().expect("a strip of bytes");
        let tables = tables.as_chunks::<16>().0;
        let [low0, high0, low1, high1] = [0, 1, 2, 3].map(|i| load(&tables[i]));
        for (acc, bytes) in acc.iter_mut().zip(rows.as_chunks::<16>().0) {
            let bytes = load(bytes);
            let x = vminq_u8(vandq_u8(bytes, vdupq_n_u8(0x7F)), vdupq_n_u8(122));
            let (l, h) = split(x);
            let (two0, two1) = (vqtbl1q_u8(low0, l), vqtbl1q_u8(low1, l));
            let (three0, three1) = (vqtbl1q_u8(high0, h), vqtbl1q_u8(high1, h));
            let word = |bytes| vreinterpretq_s16_u8(bytes);
            let first = vaddq_s16(word(vzip1q_u8(two0, two1)), word(vzip1q_u8(three0, three1)));
            let second = vaddq_s16(word(vzip2q_u8(two0, two1)), word(vzip2q_u8(three0, three1)));
            // A set bit 7 negates: -x is !x + 1, and the row constant holds all the ones.
            let negative = vshrq_n_s8::<7>(vreinterpretq_s8_u8(bytes));
            let first = veorq_s16(first, vmovl_s8(vget_low_s8(negative)));
            let second = veorq_s16(second, vmovl_high_s8(negative));
            acc[0] = vaddq_s16(acc[0], first);
            acc[1] = vaddq_s16(acc[1], second);
        }
    }
    let out = out.as_chunks_mut::<16>().0;
    for (acc, out) in acc.into_iter().zip(out) {
        let out = out.as_chunks_mut::<4>().0;
        for (acc, out) in acc.into_iter().zip(out.chunks_exact_mut(2)) {
            add_to(&mut out[0], vmovl_s16(vget_low_s16(acc)));
            add_to(&mut out[1], vmovl_high_s16(acc));
        }
    }
}

/// `l`, and the low four bits of `x - l`, of each `x` in 0..=127.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn split(x: uint8x16_t) -> (uint8x16_t, uint8x16_t) {
    let nibble = vdupq_n_u8(15);
    let low = vqtbl1q_u8(load(&LOW_NIBBLE), vandq_u8(x, nibble));
    let high = vqtbl1q_u8(load(&HIGH_NIBBLE), vshrq_n_u8::<4>(x));
    let sum = vaddq_u8(low, high);
    // Below 9 the difference wraps round to a large number.
    let l = vminq_u8(sum, vsubq_u8(sum, vdupq_n_u8(9)));
    (l, vandq_u8(vsubq_u8(x, l), nibble))
}
