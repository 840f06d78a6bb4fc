//! Dot kernels for CPUs with `sdot`: codes (trit + 1) times activations, straight into int32 lanes.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::neon_t5_dot::{Decoded, dot};
use super::{add_to, codes, load, load_i8};
use crate::kernels::t5::{QUAD_COLS, prepare_quads, quads_len};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2};

/// Proof that this CPU has the dot products of ARMv8.2.
#[derive(Clone, Copy)]
pub(super) struct DotProd(());

impl DotProd {
    pub(super) fn new() -> Option<DotProd> {
        is_aarch64_feature_detected!("dotprod").then_some(DotProd(()))
    }
}

/// Adds to each int32 lane of `acc` four codes times the four activations of lane `LANE` of `q`.
/// The intrinsic, `vdotq_laneq_s32`, is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: usize>(acc: int32x4_t, codes: int8x16_t, q: int8x16_t) -> int32x4_t {
    let mut sum = acc;
    // SAFETY: the function's features include the instruction, which reads and writes these
    // registers only.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {codes:v}.16b, {q:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            codes = in(vreg) codes,
            q = in(vreg) q,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

pub(super) struct I2NeonDotDot(pub(super) DotProd);

impl Kernel for I2NeonDotDot {
    fn name(&self) -> &'static str {
        "i2-neondot-dot"
    }

    fn isa(&self) -> Isa {
        Isa::NeonDot
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Dot
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { i2_dot(job, out) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn i2_dot(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let q_stride = stride(input.cols);
    for (s, strip) in job.strips().enumerate() {
        // A code is the trit plus one, so the sum of all activations is taken off.
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            out[s * STRIP..][..STRIP].fill(-sum);
        }
        let bytes = &job.matrix().bytes()[strip * strip_bytes..][..strip_bytes];
        let groups: &[[u8; i2::GROUP_BYTES]] = bytes.as_chunks().0;
        let q = |b: usize| {
            &input.q[b * q_stride..][..q_stride].as_chunks::<{ i2::GROUP }>().0[..groups.len()]
        };
        let mut b = 0;
        while b < input.batch {
            let out = &mut out[b * rows + s * STRIP..];
            match input.batch - b {
                1 => i2_rows::<1, 16>([q(b)], groups, out, rows),
                2 => i2_rows::<2, 8>([q(b), q(b + 1)], groups, out, rows),
                _ => i2_rows::<3, 8>([q(b), q(b + 1), q(b + 2)], groups, out, rows),
            }
            b += 3;
        }
    }
}

/// Adds the sums of a strip for `T` rows of activations, `R` registers of four rows at a time.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn i2_rows<const T: usize, const R: usize>(
    q: [&[[i8; i2::GROUP]]; T],
    groups: &[[u8; i2::GROUP_BYTES]],
    out: &mut [i32],
    out_stride: usize,
) {
    assert!(q.iter().all(|q| q.len() == groups.len()));
    for part in 0..16 / R {
        let mut acc = [[vdupq_n_s32(0); R]; T];
        for (g, bytes) in groups.iter().enumerate() {
            let bytes = bytes.as_chunks::<16>().0.as_chunks::<R>().0;
            let q = q.map(|q| load_i8(&q[g]));
            for (r, bytes) in bytes[part].iter().enumerate() {
                let codes = codes(load(bytes));
                for (acc, q) in acc.iter_mut().zip(q) {
                    acc[r] = sdot::<0>(acc[r], codes[0], q);
                    acc[r] = sdot::<1>(acc[r], codes[1], q);
                    acc[r] = sdot::<2>(acc[r], codes[2], q);
                    acc[r] = sdot::<3>(acc[r], codes[3], q);
                }
            }
        }
        for (t, acc) in acc.into_iter().enumerate() {
            let out = &mut out[t * out_stride + 4 * R * part..][..4 * R];
            for (out, acc) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
                add_to(out, acc);
            }
        }
    }
}

/// For batches; one row is faster by look-ups.
pub(super) struct T5NeonDotDot(pub(super) DotProd);

impl Kernel for T5NeonDotDot {
    fn name(&self) -> &'static str {
        "t5-neondot-dot"
    }

    fn isa(&self) -> Isa {
        Isa::NeonDot
    }

    fn packing(&self) -> Packing {
        Packing::T5
    }

    fn family(&self) -> Family {
        Family::Dot
    }

    fn min_batch(&self) -> usize {
        4
    }

    fn prepared_len(&self, cols: usize) -> usize {
        quads_len(cols)
    }

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        prepare_quads(q, out);
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { t5_dot(job, out) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn t5_dot(job: &Job<'_>, out: &mut [i32]) {
    dot(job, out, |tile, q, out, out_stride| {
        let mut b = 0;
        while b < q.len() {
            let out = &mut out[b * out_stride..];
            match q[b..] {
                [q0] => t5_rows::<1, 16>([q0], tile, out, out_stride),
                [q0, q1] => t5_rows::<2, 8>([q0, q1], tile, out, out_stride),
                [q0, q1, q2, ..] => t5_rows::<3, 8>([q0, q1, q2], tile, out, out_stride),
                [] => (),
            }
            b += 3;
        }
    });
}

/// Adds the sums of a tile for `T` rows of activations, `R` registers of four rows at a time.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn t5_rows<const T: usize, const R: usize>(
    q: [&[[i8; QUAD_COLS]]; T],
    tile: &[Decoded],
    out: &mut [i32],
    out_stride: usize,
) {
    assert!(q.iter().all(|q| q.len() == tile.len()));
    for part in 0..16 / R {
        let mut acc = [[vdupq_n_s32(0); R]; T];
        for (g, decoded) in tile.iter().enumerate() {
            // Four quads in one register, the fifth in another.
            let q = q.map(|q| {
                let (four, fifth) = q[g].split_first_chunk::<16>().expect("20 activations");
                let fifth: [i8; 16] = std::array::from_fn(|i| fifth[i % 4]);
                [load_i8(four), load_i8(&fifth)]
            });
            for r in 0..R {
                let codes = decoded.each_ref().map(|quad| load_i8(&quad[R * part + r]));
                for (acc, q) in acc.iter_mut().zip(q) {
                    acc[r] = sdot::<0>(acc[r], codes[0], q[0]);
                    acc[r] = sdot::<1>(acc[r], codes[1], q[0]);
                    acc[r] = sdot::<2>(acc[r], codes[2], q[0]);
                    acc[r] = sdot::<3>(acc[r], codes[3], q[0]);
                    acc[r] = sdot::<0>(acc[r], codes[4], q[1]);
                }
            }
        }
        for (t, acc) in acc.into_iter().enumerate() {
            let out = &mut out[t * out_stride + 4 * R * part..][..4 * R];
            for (out, acc) in out.as_chunks_mut::<4>().0.iter_mut().zip(acc) {
                add_to(out, acc);
            }
        }
    }
}
