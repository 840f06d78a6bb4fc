//! `i2` on any NEON: codes (trit + 1) times activations by `smlal` into int16 lanes.

use std::arch::aarch64::*;

use super::{add_to, codes, load, load_i8};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2};

/// Groups whose products an int16 lane can add up: each adds four products, of a code of at most 3
/// and an activation of at most 128 in magnitude.
const GROUPS: usize = 21;
const _: () = assert!(GROUPS * 4 * 3 * 128 <= i16::MAX as usize);

/// Bytes, and registers of 16 bytes, of a group that are worked on at a time: 16 rows.
const PART: usize = 64;
const REGISTERS: usize = PART / 16;

pub(super) struct I2NeonDot;

impl Kernel for I2NeonDot {
    fn name(&self) -> &'static str {
        "i2-neon-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Neon
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Dot
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: this target's CPUs have NEON.
        unsafe { compute(job, out) }
    }
}

#[target_feature(enable = "neon")]
fn compute(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let q_stride = stride(input.cols);
    let q = |b: usize| input.q[b * q_stride..][..q_stride].as_chunks::<{ i2::GROUP }>().0;
    for (s, strip) in job.strips().enumerate() {
        // A code is the trit plus one, so the sum of all activations is taken off.
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            out[s * STRIP..][..STRIP].fill(-sum);
        }
        let bytes = &job.matrix().bytes()[strip * strip_bytes..][..strip_bytes];
        for (i, groups) in bytes.as_chunks().0.chunks(GROUPS).enumerate() {
            let from = i * GROUPS;
            let mut b = 0;
            while b < input.batch {
                let out = &mut out[b * rows + s * STRIP..];
                let q = |b| &q(b)[from..from + groups.len()];
                if b + 1 < input.batch {
                    add_rows([q(b), q(b + 1)], groups, out, rows);
                } else {
                    add_rows([q(b)], groups, out, rows);
                }
                b += 2;
            }
        }
    }
}

/// Adds the sums of some groups of a strip for `T` rows of activations; those of row `t` start at
/// `out[t * out_stride]`.
#[inline]
#[target_feature(enable = "neon")]
fn add_rows<const T: usize>(
    q: [&[[i8; i2::GROUP]]; T],
    groups: &[[u8; i2::GROUP_BYTES]],
    out: &mut [i32],
    out_stride: usize,
) {
    // The proof of GROUPS is for this loop.
    assert!(groups.len() <= GROUPS && q.iter().all(|q| q.len() == groups.len()));
    for part in 0..i2::GROUP_BYTES / PART {
        let mut acc = [[[vdupq_n_s16(0); 2]; REGISTERS]; T];
        for (g, bytes) in groups.iter().enumerate() {
            let bytes = bytes.as_chunks::<PART>().0[part].as_chunks::<16>().0;
            // Four neighbouring activations in every 32-bit lane, for each of the four columns of a
            // code.
            let q = q.map(|q| {
                let q = vreinterpretq_s32_s8(load_i8(&q[g]));
                [
                    vdupq_laneq_s32::<0>(q),
                    vdupq_laneq_s32::<1>(q),
                    vdupq_laneq_s32::<2>(q),
                    vdupq_laneq_s32::<3>(q),
                ]
                .map(|q| vreinterpretq_s8_s32(q))
            });
            for r in 0..REGISTERS {
                for (s, codes) in codes(load(&bytes[r])).into_iter().enumerate() {
                    for (acc, q) in acc.iter_mut().zip(q) {
                        let [low, high] = &mut acc[r];
                        *low = vmlal_s8(*low, vget_low_s8(codes), vget_low_s8(q[s]));
                        *high = vmlal_high_s8(*high, codes, q[s]);
                    }
                }
            }
        }
        for (t, acc) in acc.iter().enumerate() {
            let out = &mut out[t * out_stride + 16 * part..][..16];
            for (out, [low, high]) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
                add_to(out, vpaddq_s32(vpaddlq_s16(*low), vpaddlq_s16(*high)));
            }
        }
    }
}
