//! Dot kernels for batches on CPUs with the int8 matrix products of ARMv8.6 (`i8mm`): `smmla` takes
//! two rows of weights and two of activations, eight columns of each, and adds to four int32 sums.
//!
//! A tile of weights is decoded to codes (trit + 1), two rows by eight columns in a register, and
//! used for all rows of activations.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::neon_t5_dot::{Decoded, decode};
use super::{add_to, codes, load, load_i8};
use crate::kernels::t5::{QUAD_COLS, Strip, prepare_quads, quads_len};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2, t5};

/// Proof that this CPU has `smmla`.
#[derive(Clone, Copy)]
pub(super) struct I8mm(());

impl I8mm {
    pub(super) fn new() -> Option<I8mm> {
        is_aarch64_feature_detected!("i8mm").then_some(I8mm(()))
    }
}

/// The rows of activations from which these kernels are the faster ones: with fewer, half of what
/// `smmla` does is thrown away.
const MIN_BATCH: usize = 4;

/// Columns of a register.
const COLUMNS: usize = 8;

/// Octets of columns in a tile: that many times 512 bytes.
const OCTETS: usize = 20;

/// Eight columns of a strip, two rows in each register.
type Octet = [[i8; 16]; STRIP / 2];

/// Pairs of rows of activations that are worked on at a time, and pairs of rows of weights.
const PAIRS: usize = 4;
const ROWS: usize = 4;

/// Eight activations each of eight rows, two rows in each register.
type Activations = [[i8; 16]; PAIRS];

/// Adds to `acc` the products of two rows of codes by two rows of activations: `[r0 q0, r0 q1, r1 q0, r1 q1]`. The
/// intrinsic, `vmmlaq_s32`, is not stable yet.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(acc: int32x4_t, codes: int8x16_t, q: int8x16_t) -> int32x4_t {
    let mut sum = acc;
    // SAFETY: the function's features include the instruction, which reads and writes these
    // registers only.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {codes:v}.16b, {q:v}.16b",
            sum = inout(vreg) sum,
            codes = in(vreg) codes,
            q = in(vreg) q,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Adds the sums of a tile for all rows of activations; `q(b)` is row `b`, the tile's columns, and
/// its sums are added to `out[b * out_stride..]`.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_tile<'a>(
    tile: &[Octet],
    batch: usize,
    q: impl Fn(usize) -> &'a [i8],
    out: &mut [i32],
    out_stride: usize,
) {
    let mut packed: [Activations; OCTETS] = [[[0; 16]; PAIRS]; OCTETS];
    for first in (0..batch).step_by(2 * PAIRS) {
        let rows = (batch - first).min(2 * PAIRS);
        for row in 0..rows {
            let q = q(first + row).as_chunks::<COLUMNS>().0;
            for (packed, q) in packed.iter_mut().zip(&q[..tile.len()]) {
                packed[row / 2].as_chunks_mut::<COLUMNS>().0[row % 2] = *q;
            }
        }
        // What is left of the rows before goes into sums that are thrown away.
        let packed = &packed[..tile.len()];
        let out = &mut out[first * out_stride..];
        match rows.div_ceil(2) {
            1 => add_pairs::<1>(tile, packed, rows, out, out_stride),
            2 => add_pairs::<2>(tile, packed, rows, out, out_stride),
            3 => add_pairs::<3>(tile, packed, rows, out, out_stride),
            _ => add_pairs::<PAIRS>(tile, packed, rows, out, out_stride),
        }
    }
}

/// Adds the sums of a tile for `P` pairs of rows of activations, of which `rows` rows are wanted.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn add_pairs<const P: usize>(
    tile: &[Octet],
    q: &[Activations],
    rows: usize,
    out: &mut [i32],
    out_stride: usize,
) {
    for part in 0..STRIP / 2 / ROWS {
        let mut acc = [[vdupq_n_s32(0); ROWS]; P];
        for (octet, q) in tile.iter().zip(q) {
            let codes = octet.as_chunks::<ROWS>().0[part].each_ref().map(|codes| load_i8(codes));
            for (acc, q) in acc.iter_mut().zip(q) {
                let q = load_i8(q);
                for (acc, codes) in acc.iter_mut().zip(codes) {
                    *acc = smmla(*acc, codes, q);
                }
            }
        }
        for (p, acc) in acc.iter().enumerate() {
            for (i, [a, b]) in acc.as_chunks::<2>().0.iter().enumerate() {
                let sums = [vuzp1q_s32(*a, *b), vuzp2q_s32(*a, *b)];
                for (row, sums) in (2 * p..rows).zip(sums) {
                    let out = &mut out[row * out_stride + 2 * ROWS * part + 4 * i..];
                    add_to(out.first_chunk_mut().expect("four rows"), sums);
                }
            }
        }
    }
}

/// Four rows by eight columns, from four by four and four by four.
#[inline]
#[target_feature(enable = "neon")]
fn put(octet: &mut Octet, four_rows: usize, left: int8x16_t, right: int8x16_t) {
    let (left, right) = (vreinterpretq_s32_s8(left), vreinterpretq_s32_s8(right));
    let rows = [vzip1q_s32(left, right), vzip2q_s32(left, right)];
    for (out, rows) in octet[2 * four_rows..].iter_mut().zip(rows) {
        // SAFETY: 16 writable bytes behind a unique reference; the store needs no alignment.
        unsafe { vst1q_s8(out.as_mut_ptr(), vreinterpretq_s8_s32(rows)) };
    }
}

pub(super) struct I2NeonDotI8mm(pub(super) I8mm);

impl Kernel for I2NeonDotI8mm {
    fn name(&self) -> &'static str {
        "i2-neondot-i8mm"
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

    fn min_batch(&self) -> usize {
        MIN_BATCH
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { i2_dot(job, out) }
    }
}

#[target_feature(enable = "neon,i8mm")]
fn i2_dot(job: &Job<'_>, out: &mut [i32]) {
    /// Groups in a tile.
    const GROUPS: usize = OCTETS * COLUMNS / i2::GROUP;
    let (input, rows) = (job.input(), job.rows());
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let q_stride = stride(input.cols);
    let mut tile: [Octet; OCTETS] = [[[0; 16]; STRIP / 2]; OCTETS];
    for (s, strip) in job.strips().enumerate() {
        // A code is the trit plus one, so the sum of all activations is taken off.
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            out[s * STRIP..][..STRIP].fill(-sum);
        }
        let bytes = &job.matrix().bytes()[strip * strip_bytes..][..strip_bytes];
        let groups: &[[u8; i2::GROUP_BYTES]] = bytes.as_chunks().0;
        for (t, groups) in groups.chunks(GROUPS).enumerate() {
            let tile = &mut tile[..2 * groups.len()];
            for (octets, group) in tile.as_chunks_mut::<2>().0.iter_mut().zip(groups) {
                for (r, bytes) in group.as_chunks::<16>().0.iter().enumerate() {
                    let [a, b, c, d] = codes(load(bytes));
                    put(&mut octets[0], r, a, b);
                    put(&mut octets[1], r, c, d);
                }
            }
            let from = t * GROUPS * i2::GROUP;
            let q = |b: usize| &input.q[b * q_stride..][from..from + COLUMNS * tile.len()];
            add_tile(tile, input.batch, q, &mut out[s * STRIP..], rows);
        }
    }
}

pub(super) struct T5NeonDotI8mm(pub(super) I8mm);

impl Kernel for T5NeonDotI8mm {
    fn name(&self) -> &'static str {
        "t5-neondot-i8mm"
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
        MIN_BATCH
    }

    fn prepared_len(&self, cols: usize) -> usize {
        t5_row_len(cols)
    }

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        prepare_quads(q, out);
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { t5_dot(job, out) }
    }
}

/// Bytes of a row of activations: whole pairs of group-quads, which are whole octets.
fn t5_row_len(cols: usize) -> usize {
    quads_len(cols.next_multiple_of(2 * QUAD_COLS))
}

#[target_feature(enable = "neon,i8mm")]
fn t5_dot(job: &Job<'_>, out: &mut [i32]) {
    /// Group-quads in a tile: five quads each, two of which make an octet.
    const GROUP_QUADS: usize = OCTETS * 2 / t5::GROUP;
    const _: () = assert!(GROUP_QUADS.is_multiple_of(2));
    let (input, rows) = (job.input(), job.rows());
    let prepared: &[i8] = bytemuck::cast_slice(input.prepared);
    let row_len = t5_row_len(input.cols);
    let group_quads = input.cols.div_ceil(QUAD_COLS);
    let mut decoded: [Decoded; 2] = [[[[0; 16]; STRIP / 4]; t5::GROUP]; 2];
    let mut tile: [Octet; OCTETS] = [[[0; 16]; STRIP / 2]; OCTETS];
    for (s, strip) in job.strips().enumerate() {
        let strip = Strip::new(job.matrix(), strip);
        let corrections = strip.corrections();
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            let out = &mut out[s * STRIP..][..STRIP];
            for (out, correction) in out.iter_mut().zip(corrections) {
                *out = correction - sum;
            }
        }
        for from in (0..group_quads).step_by(GROUP_QUADS) {
            // Group-quads past the last one are zero trits, and so are their activations.
            let pairs = (group_quads - from).min(GROUP_QUADS).div_ceil(2);
            for (p, octets) in
                tile.as_chunks_mut::<{ t5::GROUP }>().0[..pairs].iter_mut().enumerate()
            {
                for (half, decoded) in decoded.iter_mut().enumerate() {
                    let quad = from + 2 * p + half;
                    decode([0, 1, 2, 3].map(|g| strip.group(4 * quad + g)), decoded);
                }
                let quads: &[[[i8; 16]; STRIP / 4]] = decoded.as_flattened();
                for (octet, [left, right]) in octets.iter_mut().zip(quads.as_chunks::<2>().0) {
                    for (r, (left, right)) in left.iter().zip(right).enumerate() {
                        put(octet, r, load_i8(left), load_i8(right));
                    }
                }
            }
            let tile = &tile[..t5::GROUP * pairs];
            let wanted = from * QUAD_COLS..from * QUAD_COLS + COLUMNS * tile.len();
            let q = |b: usize| &prepared[b * row_len..][..row_len][wanted.clone()];
            add_tile(tile, input.batch, q, &mut out[s * STRIP..], rows);
        }
    }
}
