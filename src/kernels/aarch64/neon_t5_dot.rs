//! `t5` for batches on any NEON: a tile of bytes is decoded to codes (trit + 1) once, and used for
//! every row.

use std::arch::aarch64::*;

use super::{add_to, load, load_i8};
use crate::kernels::t5::{QUAD_COLS, Strip, prepare_quads, quads_len};
use crate::kernels::t5_split::{HIGH, HIGH_NIBBLE, LOW, LOW_NIBBLE};
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, STRIP, t5};

/// Group-quads that are decoded at a time: 1280 bytes each.
const TILE: usize = 8;

// What an int16 lane adds up in a tile: for each quad two products, of a code of at most 2 and an
// activation of at most 128 in magnitude.
const _: () = assert!(TILE * t5::GROUP * 2 * 2 * 128 <= i16::MAX as usize);

/// The decoded codes of a group-quad: for each of the five trits of a byte and four rows, 16 codes.
pub(super) type Decoded = [[[i8; 16]; STRIP / 4]; t5::GROUP];

/// A row's activations of the group-quads of a tile.
type Row<'a> = &'a [[i8; QUAD_COLS]];

pub(super) struct T5NeonDot;

impl Kernel for T5NeonDot {
    fn name(&self) -> &'static str {
        "t5-neon-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Neon
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
        // SAFETY: this target's CPUs have NEON.
        unsafe { compute(job, out) }
    }
}

#[target_feature(enable = "neon")]
fn compute(job: &Job<'_>, out: &mut [i32]) {
    dot(job, out, |tile, q, out, out_stride| {
        for (b, q) in q.chunks(2).enumerate() {
            let out = &mut out[2 * b * out_stride..];
            match *q {
                [q0, q1] => add_rows([q0, q1], tile, out, out_stride),
                [q0] => add_rows([q0], tile, out, out_stride),
                _ => (),
            }
        }
    });
}

/// Computes a job tile by tile: `add_tile(tile, q, out, out_stride)` adds the sums of a strip and a
/// tile for the rows `q`, those of row `b` at `out[b * out_stride]`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn dot(
    job: &Job<'_>,
    out: &mut [i32],
    mut add_tile: impl FnMut(&[Decoded], &[Row<'_>], &mut [i32], usize),
) {
    let (input, rows) = (job.input(), job.rows());
    let prepared: &[i8] = bytemuck::cast_slice(input.prepared);
    let row_len = quads_len(input.cols);
    let group_quads = input.cols.div_ceil(QUAD_COLS);
    let mut tile: [Decoded; TILE] = [[[[0; 16]; STRIP / 4]; t5::GROUP]; TILE];
    let mut q: Vec<Row<'_>> = Vec::with_capacity(input.batch);
    for (s, strip) in job.strips().enumerate() {
        let strip = Strip::new(job.matrix(), strip);
        let corrections = strip.corrections();
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            let out = &mut out[s * STRIP..][..STRIP];
            for (out, correction) in out.iter_mut().zip(corrections) {
                *out = correction - sum;
            }
        }
        for from in (0..group_quads).step_by(TILE) {
            let len = (group_quads - from).min(TILE);
            for (i, decoded) in tile[..len].iter_mut().enumerate() {
                decode([0, 1, 2, 3].map(|g| strip.group(4 * (from + i) + g)), decoded);
            }
            q.clear();
            q.extend(
                prepared
                    .chunks_exact(row_len)
                    .map(|row| row[from * QUAD_COLS..][..len * QUAD_COLS].as_chunks().0),
            );
            add_tile(&tile[..len], &q, &mut out[s * STRIP..], rows);
        }
    }
}

/// Adds the sums of a tile for `T` rows of activations.
#[inline]
#[target_feature(enable = "neon")]
fn add_rows<const T: usize>(q: [Row<'_>; T], tile: &[Decoded], out: &mut [i32], out_stride: usize) {
    // The proof beside TILE is for this loop.
    assert!(tile.len() <= TILE && q.iter().all(|q| q.len() == tile.len()));
    for part in 0..4 {
        let mut acc = [[[vdupq_n_s16(0); 2]; 4]; T];
        for (g, decoded) in tile.iter().enumerate() {
            for (i, quad) in decoded.iter().enumerate() {
                let q = q.map(|q| {
                    let q = q[g].as_chunks::<4>().0[i].map(|q| q as u8);
                    vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(q)))
                });
                for r in 0..4 {
                    let codes = load_i8(&quad[4 * part + r]);
                    for (acc, q) in acc.iter_mut().zip(q) {
                        let [low, high] = &mut acc[r];
                        *low = vmlal_s8(*low, vget_low_s8(codes), vget_low_s8(q));
                        *high = vmlal_high_s8(*high, codes, q);
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

/// The codes of a group-quad.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn decode(groups: [&[u8; STRIP]; 4], decoded: &mut Decoded) {
    for part in 0..4 {
        let [a, b, c, d] = groups.map(|group| load(&group.as_chunks::<16>().0[part]));
        let word = |bytes| vreinterpretq_u16_u8(bytes);
        let (ab0, ab1) = (word(vzip1q_u8(a, b)), word(vzip2q_u8(a, b)));
        let (cd0, cd1) = (word(vzip1q_u8(c, d)), word(vzip2q_u8(c, d)));
        // Rows 0-3, 4-7, 8-11, 12-15, four groups side by side.
        let quads = [
            vzip1q_u16(ab0, cd0),
            vzip2q_u16(ab0, cd0),
            vzip1q_u16(ab1, cd1),
            vzip2q_u16(ab1, cd1),
        ];
        for (i, bytes) in quads.into_iter().enumerate() {
            let bytes = vreinterpretq_u8_u16(bytes);
            let x = vandq_u8(bytes, vdupq_n_u8(0x7F));
            // What no packer writes counts as zero trits.
            let x = vandq_u8(x, vcltq_u8(x, vdupq_n_u8(122)));
            let (l, h) = split(x);
            let negative = vshrq_n_s8::<7>(vreinterpretq_s8_u8(bytes));
            let trits = [
                vqtbl1q_s8(load_i8(&LOW[0]), l),
                vqtbl1q_s8(load_i8(&LOW[1]), l),
                vqtbl1q_s8(load_i8(&HIGH[0]), h),
                vqtbl1q_s8(load_i8(&HIGH[1]), h),
                vqtbl1q_s8(load_i8(&HIGH[2]), h),
            ];
            for (quad, trits) in decoded.iter_mut().zip(trits) {
                // -t is !t + 1.
                let signed = vsubq_s8(veorq_s8(trits, negative), negative);
                let codes = vaddq_s8(signed, vdupq_n_s8(1));
                // SAFETY: 16 writable bytes behind a unique reference; the store needs no
                // alignment.
                unsafe { vst1q_s8(quad[4 * part + i].as_mut_ptr(), codes) };
            }
        }
    }
}

/// `l`, and the low four bits of `x - l`, of each `x` in 0..=127.
#[inline]
#[target_feature(enable = "neon")]
fn split(x: uint8x16_t) -> (uint8x16_t, uint8x16_t) {
    let nibble = vdupq_n_u8(15);
    let low = vqtbl1q_u8(load(&LOW_NIBBLE), vandq_u8(x, nibble));
    let high = vqtbl1q_u8(load(&HIGH_NIBBLE), vshrq_n_u8::<4>(x));
    let sum = vaddq_u8(low, high);
    // Below 9 the difference wraps round to a large number.
    let l = vminq_u8(sum, vsubq_u8(sum, vdupq_n_u8(9)));
    (l, vandq_u8(vsubq_u8(x, l), nibble))
}
