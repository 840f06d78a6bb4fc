//! `t5` on AVX2, where a look-up (`vpshufb`) has 16 entries: see
//! [`t5_split`](crate::kernels::t5_split).

use std::arch::x86_64::*;

use super::avx2::{Avx2, Tile, add_to, dot_tile, load, store};
use crate::kernels::prefetch::{Plan, Weights, with_weights};
use crate::kernels::t5::{Block, QUAD_COLS, Strip, Walk, group_of, prepare_quads, quads_len};
use crate::kernels::t5_split::{HIGH, HIGH_NIBBLE_SMALL, LOW_NIBBLE_SMALL, LOW_SMALL, MOD_9};
use crate::kernels::t5_split::{SIGNS_SMALL, TABLES};
use crate::kernels::{Family, Isa, Job, Kernel};
use crate::packing::{Packing, STRIP, t5};

/// Groups whose sums stay in registers, in parts: as many as the parts can hold.
const RUN: usize = 25;

/// Group-quads in a tile: five quads each.
const TILE_GROUP_QUADS: usize = 8;

/// A table for both halves of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn table<T: bytemuck::NoUninit>(entries: &[T; 16]) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: 16 readable bytes behind the reference; the load needs no alignment.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) })
}

/// Of each `x` in 0..=127 what indexes the tables of two trits and of three.
#[inline]
#[target_feature(enable = "avx2")]
fn split(x: __m256i) -> (__m256i, __m256i) {
    let nibble = _mm256_and_si256(_mm256_srli_epi16::<4>(x), _mm256_set1_epi8(15));
    let low = _mm256_shuffle_epi8(table(&LOW_NIBBLE_SMALL), x);
    let high = _mm256_shuffle_epi8(table(&HIGH_NIBBLE_SMALL), nibble);
    let two = _mm256_add_epi8(low, high);
    (two, _mm256_sub_epi8(x, _mm256_shuffle_epi8(table(&MOD_9), two)))
}

/// Addition-only: the two sums are looked up and added.
pub(super) struct T5Avx2Add(
    pub(super) Avx2,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for T5Avx2Add {
    fn name(&self) -> &'static str {
        "t5-avx2-add"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
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
        // SAFETY: `self` holds the proof that the CPU has AVX2.
        unsafe { prepare_tables(q, out) }
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has AVX2.
        with_weights!(self.1, |W| unsafe { add::<W>(job, out) })
    }
}

/// Bits of a table entry's low part. An entry is `low + 128 * high` with `low` in 0..=127, so that the low parts of the two sums
/// of a byte add up to no more than a byte.
const LOW_BITS: i32 = 7;

#[target_feature(enable = "avx2")]
fn prepare_tables(q: &[i8], out: &mut [u8]) {
    let widen = |signs: &[i8; 16]| {
        // SAFETY: 16 readable bytes behind the reference; the load needs no alignment.
        _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(signs.as_ptr().cast()) })
    };
    let signs = SIGNS_SMALL.each_ref().map(|[low, high]| [widen(low), widen(high)]);
    let low_part = _mm256_set1_epi16((1 << LOW_BITS) - 1);
    for (g, tables) in out.as_chunks_mut::<TABLES>().0.iter_mut().enumerate() {
        let q = group_of(q, g).map(|q| _mm256_set1_epi16(i16::from(q)));
        let term = |i: usize, table: usize| _mm256_sign_epi16(q[i], signs[i][table]);
        let two = _mm256_add_epi16(term(0, 0), term(1, 0));
        let undo = _mm256_add_epi16(term(0, 1), term(1, 1));
        let three = _mm256_add_epi16(_mm256_add_epi16(term(2, 1), term(3, 1)), term(4, 1));
        let three = _mm256_add_epi16(undo, three);
        let low =
            _mm256_packus_epi16(_mm256_and_si256(two, low_part), _mm256_and_si256(three, low_part));
        let high = _mm256_packs_epi16(
            _mm256_srai_epi16::<LOW_BITS>(two),
            _mm256_srai_epi16::<LOW_BITS>(three),
        );
        let halves = tables.as_chunks_mut::<32>().0;
        store(&mut halves[0], _mm256_permute4x64_epi64::<0b11_01_10_00>(low));
        store(&mut halves[1], _mm256_permute4x64_epi64::<0b11_01_10_00>(high));
    }
}

/// The int16 sums of 32 rows, as `unpack` leaves them: rows 0-7 and 16-23, then 8-15 and 24-31.
type Lanes = [__m256i; 2];

#[target_feature(enable = "avx2")]
fn add<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let (matrix, input, rows) = (job.matrix(), job.input(), job.rows());
    let layout = t5::Layout::new(matrix.rows(), matrix.cols());
    let walk = Walk::new(job);
    let table_len = layout.groups * TABLES;
    for (s, strip) in job.strips().enumerate() {
        let constants = Strip::new(matrix, strip).constants();
        for out in out.chunks_exact_mut(rows) {
            out[s * STRIP..][..STRIP].copy_from_slice(&constants);
        }
    }
    // Panel by panel, so that its tables stay in the cache.
    for panel in walk.panels() {
        let groups = layout.panel_groups(panel);
        for b in 0..input.batch {
            let tables = &input.prepared[b * table_len + panel * t5::PANEL * TABLES..];
            let tables = tables[..groups * TABLES].as_chunks().0;
            let out = &mut out[b * rows..][..rows];
            for block in walk.blocks(panel) {
                let block = walk.block(panel, block);
                add_block::<W>(&block, tables, &mut out[block.row..]);
            }
        }
    }
}

/// Some strips of a block of a panel.
#[inline]
#[target_feature(enable = "avx2")]
fn add_block<W: Weights>(block: &Block<'_>, tables: &[[u8; TABLES]], out: &mut [i32]) {
    const { assert!(t5::PANEL * 636 <= i16::MAX as usize, "an int16 lane holds a panel") };
    assert!(tables.len() <= t5::PANEL);
    let mut sums: [[Lanes; 2]; t5::STRIPS_PER_BLOCK] =
        [[[_mm256_setzero_si256(); 2]; 2]; t5::STRIPS_PER_BLOCK];
    let sums = &mut sums[..block.strips];
    // A few groups of one strip, then of the next: the weights are read as good as in their order.
    for (i, tables) in tables.chunks(RUN).enumerate() {
        for (s, sums) in sums.iter_mut().enumerate() {
            let mut acc = [Run::new(), Run::new()];
            for (g, table) in tables.iter().enumerate() {
                let group = i * RUN + g;
                let (ahead, at) = block.ahead(group, W::DISTANCE);
                let bytes = block.strip(group, s);
                W::line(ahead, at + s * STRIP);
                if let Some(distance) = W::AGAIN {
                    let (ahead, at) = block.ahead(group, distance);
                    W::line(ahead, at + s * STRIP);
                }
                W::load(bytes);
                add_group(table, bytes, &mut acc);
            }
            for (sums, acc) in sums.iter_mut().zip(acc) {
                let [first, second] = acc.sums();
                sums[0] = _mm256_add_epi16(sums[0], first);
                sums[1] = _mm256_add_epi16(sums[1], second);
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.as_chunks_mut::<STRIP>().0) {
        widen(sums, out);
    }
}

/// The sums of 32 rows over at most [`RUN`] groups, in parts.
#[derive(Clone, Copy)]
struct Run {
    /// The low parts of two neighbouring rows as one int16, modulo 2^16: those of the first, and 256 times those of the second.
    low: __m256i,
    /// The low parts of the second.
    low_second: __m256i,
    /// The high parts, an int8 for each row.
    high: __m256i,
}

impl Run {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Run {
        // Three trits have high parts of -3..=2, two of -2..=1; negated, -5..=3 is -5..=3 again, see `add_group`.
        const { assert!(RUN * 5 <= 128, "an int8 lane holds a run's high parts") };
        let zero = _mm256_setzero_si256();
        Run { low: zero, low_second: zero, high: zero }
    }

    /// The int16 sums. What overflows on the way comes back: the sums of a panel fit.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums(self) -> Lanes {
        const SHIFT: i32 = 8 - LOW_BITS;
        let first = _mm256_sub_epi16(self.low, _mm256_slli_epi16::<8>(self.low_second));
        let high = _mm256_srai_epi16::<SHIFT>(_mm256_slli_epi16::<8>(self.high));
        let first = _mm256_add_epi16(first, high);
        let high = _mm256_and_si256(self.high, _mm256_set1_epi16(0xFF00u16 as i16));
        let second = _mm256_add_epi16(self.low_second, _mm256_srai_epi16::<SHIFT>(high));
        [_mm256_unpacklo_epi16(first, second), _mm256_unpackhi_epi16(first, second)]
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_group(tables: &[u8; TABLES], rows: &[u8; STRIP], acc: &mut [Run; 2]) {
    let tables = tables.as_chunks::<16>().0;
    let [low2, low3, high2, high3] = [0, 1, 2, 3].map(|i| table(&tables[i]));
    for (acc, rows) in acc.iter_mut().zip(rows.as_chunks::<32>().0) {
        let bytes = load(rows);
        let x = _mm256_and_si256(bytes, _mm256_set1_epi8(0x7F));
        let x = _mm256_min_epu8(x, _mm256_set1_epi8(122));
        let (two, three) = split(x);
        let low = _mm256_add_epi8(_mm256_shuffle_epi8(low2, two), _mm256_shuffle_epi8(low3, three));
        let high =
            _mm256_add_epi8(_mm256_shuffle_epi8(high2, two), _mm256_shuffle_epi8(high3, three));
        // A set bit 7 negates: -x is !x + 1, and the row constant holds all the ones. Of the parts, !x = -x - 1 is 255 - low and
        // -high - 2: both bits turned over, and one less.
        let negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
        let low = _mm256_xor_si256(low, negative);
        let high = _mm256_add_epi8(_mm256_xor_si256(high, negative), negative);
        acc.high = _mm256_add_epi8(acc.high, high);
        acc.low = _mm256_add_epi16(acc.low, low);
        acc.low_second = _mm256_add_epi16(acc.low_second, _mm256_srli_epi16::<8>(low));
    }
}

/// Adds the int16 sums of a panel to the int32 ones.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(sums: &[Lanes; 2], out: &mut [i32; STRIP]) {
    for (lanes, out) in sums.iter().zip(out.as_chunks_mut::<32>().0) {
        let out = out.as_chunks_mut::<8>().0;
        for (i, lanes) in lanes.iter().enumerate() {
            add_to(&mut out[i], _mm256_cvtepi16_epi32(_mm256_castsi256_si128(*lanes)));
            add_to(&mut out[2 + i], _mm256_cvtepi16_epi32(_mm256_extracti128_si256::<1>(*lanes)));
        }
    }
}

/// For batches: a tile of bytes is decoded to codes (trit + 1) once, and used for every row.
pub(super) struct T5Avx2Dot(pub(super) Avx2);

impl Kernel for T5Avx2Dot {
    fn name(&self) -> &'static str {
        "t5-avx2-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
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
        // SAFETY: `self` holds the proof that the CPU has AVX2.
        unsafe { dot(job, out) }
    }
}

#[target_feature(enable = "avx2")]
fn dot(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    let prepared: &[i8] = bytemuck::cast_slice(input.prepared);
    let row_len = quads_len(input.cols);
    let group_quads = input.cols.div_ceil(QUAD_COLS);
    let mut tile = Tile::new();
    for (s, strip) in job.strips().enumerate() {
        let strip = Strip::new(job.matrix(), strip);
        let corrections = strip.corrections();
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            let out = &mut out[s * STRIP..][..STRIP];
            for (out, correction) in out.iter_mut().zip(corrections) {
                *out = correction - sum;
            }
        }
        for from in (0..group_quads).step_by(TILE_GROUP_QUADS) {
            let len = (group_quads - from).min(TILE_GROUP_QUADS);
            let tile = &mut tile.0[..t5::GROUP * len];
            for (i, quads) in tile.as_chunks_mut::<{ t5::GROUP }>().0.iter_mut().enumerate() {
                decode([0, 1, 2, 3].map(|g| strip.group(4 * (from + i) + g)), quads);
            }
            let (from, len) = (t5::GROUP * from, tile.len());
            let q =
                |b: usize| &prepared[b * row_len..][..row_len].as_chunks::<4>().0[from..from + len];
            dot_tile(tile, input.batch, q, &mut out[s * STRIP..], rows);
        }
    }
}

/// The five quads of codes of a group-quad.
#[inline]
#[target_feature(enable = "avx2")]
fn decode(groups: [&[u8; STRIP]; 4], quads: &mut [[u8; 4 * STRIP]; t5::GROUP]) {
    for half in 0..2 {
        let [a, b, c, d] = groups.map(|group| load(&group.as_chunks::<32>().0[half]));
        let (ab0, ab1) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        let (cd0, cd1) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
        // Rows 0-3, 4-7, 8-11, 12-15 in the low halves, those 16 further on in the high ones.
        let r0 = _mm256_unpacklo_epi16(ab0, cd0);
        let r4 = _mm256_unpackhi_epi16(ab0, cd0);
        let r8 = _mm256_unpacklo_epi16(ab1, cd1);
        let r12 = _mm256_unpackhi_epi16(ab1, cd1);
        let in_order = [
            _mm256_permute2x128_si256::<0x20>(r0, r4),
            _mm256_permute2x128_si256::<0x20>(r8, r12),
            _mm256_permute2x128_si256::<0x31>(r0, r4),
            _mm256_permute2x128_si256::<0x31>(r8, r12),
        ];
        for (i, bytes) in in_order.into_iter().enumerate() {
            let codes = codes(bytes);
            for (quad, codes) in quads.iter_mut().zip(codes) {
                store(&mut quad.as_chunks_mut::<32>().0[4 * half + i], codes);
            }
        }
    }
}

/// The five codes of each byte.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(bytes: __m256i) -> [__m256i; t5::GROUP] {
    let x = _mm256_and_si256(bytes, _mm256_set1_epi8(0x7F));
    // What no packer writes counts as zero trits.
    let x = _mm256_and_si256(x, _mm256_cmpgt_epi8(_mm256_set1_epi8(122), x));
    let (two, three) = split(x);
    let one = _mm256_set1_epi8(1);
    let sign = _mm256_or_si256(bytes, one);
    let [l0, l1] = [0, 1].map(|i| _mm256_shuffle_epi8(table(&LOW_SMALL[i]), two));
    // A negative index gives 0, the trits of h = 0.
    let [h0, h1, h2] = [0, 1, 2].map(|i| _mm256_shuffle_epi8(table(&HIGH[i]), three));
    [l0, l1, h0, h1, h2].map(|trits| _mm256_add_epi8(_mm256_sign_epi8(trits, sign), one))
}
