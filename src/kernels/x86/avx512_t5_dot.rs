//! `t5` on AVX-512 by dot products: codes (trit + 1, unsigned), looked up by `vpermi2b`, times activations (signed) by
//! `vpdpbusd`.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512::{Avx512, load, store};
use super::avx512_gemm::{
    QUAD_BYTES, Quad, TILE_QUADS, add_products, add_quad, in_runs, load_rows, store_rows, subtract,
};
use crate::kernels::prefetch::{Plan, Weights, with_weights};
use crate::kernels::t5::{QUAD_COLS, QUAD_GROUPS, Strip, quads_len};
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, STRIP, t5};

/// Rows of activations that are multiplied as codes are made, with sums in registers, which takes no stores.
const FEW: usize = 8;

/// Rows of activations beside whose sums there are registers left to take codes apart in.
const FEWER: usize = 4;

/// Group-quads of a strip that are taken before those of the next one: two panels, so that memory is read in its order.
const RUN: usize = 2 * t5::PANEL / QUAD_GROUPS;
const _: () = assert!(RUN * QUAD_GROUPS == 2 * t5::PANEL);

/// For batches; one row is faster by look-ups.
pub(super) struct T5Avx512Dot(
    pub(super) Avx512,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for T5Avx512Dot {
    fn name(&self) -> &'static str {
        "t5-avx512-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
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
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { prepare(q, out) }
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        with_weights!(self.1, |W| unsafe { compute::<W>(job, out) })
    }
}

/// Columns of the group-quads that are put in order at a time.
const ORDERED: usize = 64 / QUAD_COLS * QUAD_COLS;

/// Where each activation of some group-quads comes from: see [`prepare_quads`](crate::kernels::t5::prepare_quads).
static ORDER: [u8; 64] = {
    let mut order = [0; 64];
    let mut i = 0;
    while i < ORDERED {
        let in_quad = i % QUAD_COLS;
        let col = i - in_quad + in_quad % QUAD_GROUPS * t5::GROUP + in_quad / QUAD_GROUPS;
        order[i] = col as u8;
        i += 1;
    }
    order
};

/// Puts a row of activations in the dot kernels' order.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn prepare(q: &[i8], out: &mut [u8]) {
    let order = load(&ORDER);
    // The first `len` bytes of a register.
    let mask = |len: usize| if len < 64 { (1 << len) - 1 } else { u64::MAX };
    for (i, out) in out.chunks_mut(ORDERED).enumerate() {
        let q = q.get(i * ORDERED..).unwrap_or(&[]);
        // SAFETY: the masks leave out what is not behind the references, and masked accesses touch nothing else.
        unsafe {
            let q = _mm512_maskz_loadu_epi8(mask(q.len()), q.as_ptr());
            let ordered = _mm512_permutexvar_epi8(order, q);
            _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), mask(out.len()), ordered);
        }
    }
}

/// By the low seven bits of a byte.
type Table = [u8; t5::TABLE];

/// The code of each trit; the trits of what no packer writes are zero.
static CODES: [Table; t5::GROUP] = {
    let mut codes = [[0; t5::TABLE]; t5::GROUP];
    let mut v = 0;
    while v < t5::TABLE {
        let mut i = 0;
        while i < t5::GROUP {
            codes[i][v] = (t5::TRITS[v][i] + 1) as u8;
            i += 1;
        }
        v += 1;
    }
    codes
};

/// Codes that one byte has room for, of two bits each.
const PACKED: usize = 4;
const _: () = assert!(PACKED + 1 == t5::GROUP);

/// The codes of all trits but the last, the first one lowest: one look-up and some shifts take less time than four look-ups.
static PACKED_CODES: Table = {
    let mut packed = [0; t5::TABLE];
    let mut v = 0;
    while v < t5::TABLE {
        let mut i = 0;
        while i < PACKED {
            packed[v] |= CODES[i][v] << (2 * i);
            i += 1;
        }
        v += 1;
    }
    packed
};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    for (s, strip) in job.strips().enumerate() {
        let constants = Strip::new(job.matrix(), strip).constants();
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            for (out, constant) in out[s * STRIP..][..STRIP].iter_mut().zip(constants) {
                // A code is the trit plus one, so the sum of all activations is taken off.
                *out = constant - sum;
            }
        }
    }
    let prepared: &[i8] = bytemuck::cast_slice(input.prepared);
    let row_len = quads_len(input.cols);
    let q = |b: usize| prepared[b * row_len..][..row_len].as_chunks().0;
    let group_quads = input.cols.div_ceil(QUAD_COLS);
    if input.batch <= FEW {
        for from in (0..group_quads).step_by(RUN) {
            let range = from..(from + RUN).min(group_quads);
            for (s, strip) in job.strips().enumerate() {
                let strip = Strip::new(job.matrix(), strip);
                in_runs!(input.batch, |b, T| {
                    let q: [&[Quad]; T] = std::array::from_fn(|t| q(b + t));
                    let out = &mut out[b * rows + s * STRIP..];
                    some_rows::<T, W>(strip, range.clone(), q, out, rows);
                });
            }
        }
        return;
    }
    let decode = |strip: usize, quads: Range<usize>, tile: &mut [[u8; QUAD_BYTES]]| {
        let strip = Strip::new(job.matrix(), strip);
        let (first, mut negative) = (quads.start / t5::GROUP, Negative::none());
        let tile = tile.as_chunks_mut::<{ t5::GROUP }>().0;
        for (run, tile) in tile.chunks_mut(RUN).enumerate() {
            let first = first + run * RUN;
            let (groups, ahead) = (groups_of(strip, first), ahead(strip, first));
            for (group_quad, quads) in groups.iter().zip(tile) {
                prefetch::<W>(group_quad, ahead);
                let bytes = Bytes::new(*group_quad);
                negative.count(&bytes);
                let packed = bytes.packed();
                for (i, quad) in quads.iter_mut().enumerate() {
                    let codes = if i < PACKED { unpack(packed, i) } else { bytes.codes(i) };
                    for (quad, codes) in quad.as_chunks_mut().0.iter_mut().zip(codes) {
                        store(quad, codes);
                    }
                }
            }
        }
        negative.of_rows()
    };
    add_products(job, group_quads * t5::GROUP, t5::GROUP, q, decode, out);
}

/// The groups of [`RUN`] group-quads from `first` on.
#[inline]
fn groups_of(strip: Strip<'_>, first: usize) -> [[&[u8; STRIP]; QUAD_GROUPS]; RUN] {
    let groups: [_; QUAD_GROUPS * RUN] = strip.groups_from(QUAD_GROUPS * first);
    std::array::from_fn(|g| std::array::from_fn(|i| groups[QUAD_GROUPS * g + i]))
}

/// Distance in bytes from the groups of a strip to those that are prefetched: the lines of a block's strips lie side by side,
/// so that the first strip's are no run of memory that the processor would foresee.
fn ahead(strip: Strip<'_>, first_group_quad: usize) -> [usize; 2] {
    [2, 1].map(|by| strip.bytes_to_strip_after(by, QUAD_GROUPS * first_group_quad))
}

/// Prefetches what lies `ahead` of some groups; for a second time where that is the way.
#[inline(always)]
fn prefetch<W: Weights>(groups: &[&[u8; STRIP]], ahead: [usize; 2]) {
    for group in groups {
        W::line(&group[..], ahead[0]);
        if W::AGAIN.is_some() {
            W::line(&group[..], ahead[1]);
        }
    }
}

/// Adds the products of some group-quads of a strip, [`RUN`] at most, with `T` rows of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn some_rows<const T: usize, W: Weights>(
    strip: Strip<'_>,
    group_quads: Range<usize>,
    q: [&[Quad]; T],
    out: &mut [i32],
    out_stride: usize,
) {
    let q = q.map(|q| &q.as_chunks::<{ t5::GROUP }>().0[group_quads.clone()]);
    let groups = groups_of(strip, group_quads.start);
    let ahead = ahead(strip, group_quads.start);
    let (mut acc, mut negative) = (load_rows::<T>(out, out_stride), Negative::none());
    for (g, group_quad) in groups[..group_quads.len()].iter().enumerate() {
        prefetch::<W>(group_quad, ahead);
        let bytes = Bytes::new(*group_quad);
        negative.count(&bytes);
        let quad = |i: usize| move |t: usize| q[t][g][i];
        if T <= FEWER {
            add_quad(&mut acc, bytes.codes(PACKED), quad(PACKED));
            let packed = bytes.packed();
            for i in 0..PACKED {
                add_quad(&mut acc, unpack(packed, i), quad(i));
            }
        } else {
            for i in 0..t5::GROUP {
                add_quad(&mut acc, bytes.codes(i), quad(i));
            }
        }
    }
    subtract(&mut acc, negative.of_rows());
    store_rows(acc, out, out_stride);
}

/// The bytes of a group-quad, those of a row side by side.
struct Bytes {
    bytes: [__m512i; 4],
    negative: [__mmask64; 4],
}

impl Bytes {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(groups: [&[u8; STRIP]; QUAD_GROUPS]) -> Bytes {
        // `unpack` works in the four 16-byte lanes: each gets the rows of which it is to have four neighbours in each result.
        let lanes = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let [a, b, c, d] = groups.map(|group| _mm512_permutexvar_epi32(lanes, load(group)));
        let (ab0, cd0) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
        let (ab1, cd1) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
        let bytes = [
            _mm512_unpacklo_epi16(ab0, cd0),
            _mm512_unpackhi_epi16(ab0, cd0),
            _mm512_unpacklo_epi16(ab1, cd1),
            _mm512_unpackhi_epi16(ab1, cd1),
        ];
        Bytes { bytes, negative: bytes.map(|bytes| _mm512_movepi8_mask(bytes)) }
    }

    /// The codes of quad `i`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn codes(&self, i: usize) -> [__m512i; 4] {
        // To negate a trit is to take its code off 2.
        self.look_up(&CODES[i], 2)
    }

    /// The codes of the first [`PACKED`] quads: see [`unpack`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn packed(&self) -> [__m512i; 4] {
        self.look_up(&PACKED_CODES, 0b10_10_10_10)
    }

    /// What a table has for each byte, taken off `negated` where the byte has bit 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up(&self, table: &Table, negated: u8) -> [__m512i; 4] {
        let halves = table.as_chunks::<64>().0;
        let (low, high) = (load(&halves[0]), load(&halves[1]));
        let negated = _mm512_set1_epi8(negated as i8);
        std::array::from_fn(|r| {
            let found = _mm512_permutex2var_epi8(low, self.bytes[r], high);
            _mm512_mask_sub_epi8(found, self.negative[r], negated, found)
        })
    }
}

/// The codes of quad `i` of [packed](Bytes::packed) ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(packed: [__m512i; 4], i: usize) -> [__m512i; 4] {
    let by = _mm_cvtsi32_si128(2 * i as i32);
    packed.map(|packed| _mm512_and_si512(_mm512_srl_epi16(packed, by), _mm512_set1_epi8(3)))
}

/// Counts the bytes with bit 7 set, of [`COUNTED`](Self::COUNTED) group-quads at most: by as many the row constants are larger
/// than what codes, which negate by `-x` and not `!x`, lack; in a valid file they are equal.
struct Negative([__m512i; 4]);

impl Negative {
    /// The most that a byte can hold.
    const COUNTED: usize = 255;

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn none() -> Negative {
        const { assert!(RUN <= Self::COUNTED && TILE_QUADS / t5::GROUP <= Self::COUNTED) };
        Negative([_mm512_setzero_si512(); 4])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn count(&mut self, bytes: &Bytes) {
        for (count, negative) in self.0.iter_mut().zip(bytes.negative) {
            *count = _mm512_mask_add_epi8(*count, negative, *count, _mm512_set1_epi8(1));
        }
    }

    /// Those of each row.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn of_rows(&self) -> [__m512i; 4] {
        self.0.map(|count| _mm512_dpbusd_epi32(_mm512_setzero_si512(), count, _mm512_set1_epi8(1)))
    }
}
