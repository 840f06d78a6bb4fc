//! `t5` on AVX-512 with additions only: `vpermi2b` looks the low seven bits of 64 bytes up in the
//! 128 entries of a group's table.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::avx512::{Avx512, load, load_half, load_sums, store, store_sums};
use crate::kernels::prefetch::{self, NonTemporal, Plan, Weights, with_weights};
use crate::kernels::t5::{Block, Walk};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, t5};

/// Bytes of the table of a group: the low bytes of 128 int16 sums, then the high bytes.
const TABLE_BYTES: usize = 2 * t5::TABLE;

pub(super) struct T5Avx512Add(
    pub(super) Avx512,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for T5Avx512Add {
    fn name(&self) -> &'static str {
        "t5-avx512-add"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
    }

    fn packing(&self) -> Packing {
        Packing::T5
    }

    fn family(&self) -> Family {
        Family::Add
    }

    fn prepared_len(&self, cols: usize) -> usize {
        cols.div_ceil(t5::GROUP) * TABLE_BYTES
    }

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { prepare::<NonTemporal>(q, out, (&[], 0)) }
    }

    fn prepares_as_it_goes(&self) -> bool {
        true
    }

    fn costs(&self) -> (f64, f64) {
        (3.8, 10.0)
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        with_weights!(self.1, |W| unsafe { compute::<W>(job, out) })
    }
}

// A table entry `v = 0..=121` is the sum of two trits' part and three trits' part: v + 4 = 9 h + l,
// where `h` in 0..=13 gives the upper three trits and `l - 4` the lower two. The parts of a group
// are 32 words: those of `h` at 0, a zero at ZERO, those of `l` at LOW. From them two word look-ups
// and an add make 32 entries at a time.
const LOW: usize = 16;
const ZERO: usize = 14;

/// The trits of each word of parts, and where the first, second and third of a word's activations
/// stand in the group.
const PARTS: [[i8; 3]; 32] = {
    let mut parts = [[0; 3]; 32];
    let mut h = 0;
    while h < 14 {
        parts[h] = [t5::TRITS[h][0], t5::TRITS[h][1], t5::TRITS[h][2]];
        h += 1;
    }
    let mut l = 0;
    while l < 9 {
        parts[LOW + l] = [(l % 3) as i8 - 1, (l / 3) as i8 - 1, 0];
        l += 1;
    }
    parts
};

/// The words whose trit `i` is `trit`.
const fn words(i: usize, trit: i8) -> __mmask32 {
    let (mut mask, mut w) = (0, 0);
    while w < 32 {
        if PARTS[w][i] == trit {
            mask |= 1 << w;
        }
        w += 1;
    }
    mask
}

/// The upper and the lower part of each of the 128 entries, as words to look up.
static ENTRIES: [[u16; t5::TABLE]; 2] = {
    let mut entries = [[ZERO as u16; t5::TABLE]; 2];
    let mut v = 0;
    while v <= 121 {
        entries[0][v] = ((v + 4) / 9) as u16;
        entries[1][v] = (LOW + (v + 4) % 9) as u16;
        v += 1;
    }
    entries
};

/// Groups prepared from one load of activations: 30 of 32 words.
const LOAD_GROUPS: usize = 6;

/// Lines of weights asked for behind [`Weights::DISTANCE`] while the tables of [`LOAD_GROUPS`] groups are made: as many as memory
/// gives in that time, else it would rest.
const FETCHED: usize = 12;

/// The tables of some groups, and meanwhile the weights of `ahead` from its byte on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn prepare<W: Weights>(q: &[i8], out: &mut [u8], ahead: (&[u8], usize)) {
    let index = |words: &[u16]| {
        let words: &[u8; 64] = bytemuck::cast_slice(words).try_into().expect("32 words");
        load(words)
    };
    let upper = [0, 1, 2, 3].map(|k| index(&ENTRIES[0][32 * k..][..32]));
    let lower = [0, 1, 2, 3].map(|k| index(&ENTRIES[1][32 * k..][..32]));
    let word = |low: u16, i: u16| {
        let at: [u16; 32] = std::array::from_fn(|w| if w < LOW { 2 + i } else { low + i });
        index(&at)
    };
    let first_at = [word(0, 0), word(0, 1), word(0, 2)];
    let even: [u8; 64] = std::array::from_fn(|i| 2 * i as u8);
    let (low_bytes, high_bytes) = (load(&even), load(&even.map(|i| i + 1)));
    let groups = out.as_chunks_mut::<TABLE_BYTES>().0;
    for (i, tables) in groups.chunks_mut(LOAD_GROUPS).enumerate() {
        for line in i * FETCHED..(i + 1) * FETCHED {
            W::line(ahead.0, ahead.1 + line * prefetch::LINE);
        }
        let from = i * LOAD_GROUPS * t5::GROUP;
        let q: [i8; 32] = match q[from..].first_chunk() {
            Some(q) => *q,
            None => std::array::from_fn(|i| q.get(from + i).copied().unwrap_or(0)),
        };
        // SAFETY: 32 readable bytes behind the reference; the load needs no alignment.
        let q = _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(q.as_ptr().cast()) });
        let mut at = first_at;
        for table in tables {
            let [a, b, c] = at.map(|at| _mm512_permutexvar_epi16(at, q));
            at = at.map(|at| _mm512_add_epi16(at, _mm512_set1_epi16(t5::GROUP as i16)));
            let parts = _mm512_maskz_mov_epi16(const { words(0, 1) }, a);
            let parts = _mm512_mask_sub_epi16(parts, const { words(0, -1) }, parts, a);
            let parts = _mm512_mask_add_epi16(parts, const { words(1, 1) }, parts, b);
            let parts = _mm512_mask_sub_epi16(parts, const { words(1, -1) }, parts, b);
            // The last of three trits of a value that is not negative is never -1.
            const { assert!(words(2, -1) == 0) };
            let parts = _mm512_mask_add_epi16(parts, const { words(2, 1) }, parts, c);
            let [e0, e1, e2, e3] = [0, 1, 2, 3].map(|k| {
                _mm512_add_epi16(
                    _mm512_permutexvar_epi16(upper[k], parts),
                    _mm512_permutexvar_epi16(lower[k], parts),
                )
            });
            let quarters = table.as_chunks_mut::<64>().0;
            store(&mut quarters[0], _mm512_permutex2var_epi8(e0, low_bytes, e1));
            store(&mut quarters[1], _mm512_permutex2var_epi8(e2, low_bytes, e3));
            store(&mut quarters[2], _mm512_permutex2var_epi8(e0, high_bytes, e1));
            store(&mut quarters[3], _mm512_permutex2var_epi8(e2, high_bytes, e3));
        }
    }
}

/// The tables of a panel's groups, in whole cache lines.
#[repr(C, align(64))]
struct Tables([[u8; TABLE_BYTES]; t5::PANEL]);

thread_local! {
    static TABLES: RefCell<Tables> = const { RefCell::new(Tables([[0; TABLE_BYTES]; t5::PANEL])) };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    if !job.input().prepared.is_empty() {
        return compute_with::<W>(job, None, out);
    }
    // A row's tables, all of them, would not stay in the L1 cache: a panel's are made when it is their turn.
    TABLES.with_borrow_mut(|tables| compute_with::<W>(job, Some(tables), out));
}

/// With the tables of the input, or with room to make a panel's in.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn compute_with<W: Weights>(job: &Job<'_>, mut room: Option<&mut Tables>, out: &mut [i32]) {
    let (matrix, input, rows) = (job.matrix(), job.input(), job.rows());
    let layout = t5::Layout::new(matrix.rows(), matrix.cols());
    let walk = Walk::new(job);
    let table_len = layout.groups * TABLE_BYTES;
    // Sums are made by their first panel; a stretch may have no part of it.
    let whole = job.is_whole();
    if !whole {
        out.fill(0);
    }
    // Panel by panel, so that its tables (12.8 KB) stay in the L1 cache.
    for panel in walk.panels() {
        let groups = layout.panel_groups(panel);
        let first = whole && panel == 0;
        let last = (panel + 1) * t5::PANEL >= layout.groups;
        for b in 0..input.batch {
            let tables = match &mut room {
                None => {
                    let tables = &input.prepared[b * table_len + panel * t5::PANEL * TABLE_BYTES..];
                    tables[..groups * TABLE_BYTES].as_chunks().0
                }
                Some(Tables(tables)) => {
                    let q = &input.q[b * stride(input.cols)..][..stride(input.cols)];
                    let here = walk.groups(panel);
                    let block = walk.block(panel, *walk.blocks(panel).start());
                    let ahead = block.ahead(here.start, W::DISTANCE);
                    let q = &q[(panel * t5::PANEL + here.start) * t5::GROUP..];
                    prepare::<W>(q, tables[here].as_flattened_mut(), ahead);
                    &tables[..groups]
                }
            };
            let out = &mut out[b * rows..][..rows];
            for block in walk.blocks(panel) {
                let block = walk.block(panel, block);
                // With the last of a row's weights go the row constants.
                let constants = match last && block.groups.end == groups {
                    true => walk.constants(&block),
                    false => &[],
                };
                for at in (0..constants.len()).step_by(prefetch::LINE) {
                    prefetch::near(constants, at);
                }
                let out = &mut out[block.row..][..block.strips * STRIP];
                match block.strips {
                    1 => add_strips::<1, W>(&block, tables, first, constants, out),
                    2 => add_strips::<2, W>(&block, tables, first, constants, out),
                    3 => add_strips::<3, W>(&block, tables, first, constants, out),
                    4 => add_strips::<4, W>(&block, tables, first, constants, out),
                    5 => add_strips::<5, W>(&block, tables, first, constants, out),
                    6 => add_strips::<6, W>(&block, tables, first, constants, out),
                    7 => add_strips::<7, W>(&block, tables, first, constants, out),
                    _ => add_strips::<{ t5::STRIPS_PER_BLOCK }, W>(
                        &block, tables, first, constants, out,
                    ),
                }
            }
        }
    }
}

/// !(a ^ b) of `vpternlog`'s first two operands.
const XNOR: i32 = 0b1100_0011;

/// `N` strips of a block of a panel. The sixteen sums of a whole block and a group's table are what
/// fits in registers; every table that is loaded costs a part of the bandwidth, so it serves as many
/// strips as can be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn add_strips<const N: usize, W: Weights>(
    block: &Block<'_>,
    tables: &[[u8; TABLE_BYTES]],
    first: bool,
    constants: &[u8],
    out: &mut [i32],
) {
    // An entry is a sum of five activations of at most 127 in magnitude, one more where it is
    // negated by `!x`.
    const { assert!(t5::PANEL * (t5::GROUP * 127 + 1) <= i16::MAX as usize) };
    assert!(tables.len() <= t5::PANEL);
    let ones = _mm512_set1_epi8(-1);
    let mut acc = [[_mm512_setzero_si512(); 2]; N];
    for (g, table) in block.groups.clone().zip(&tables[block.groups.clone()]) {
        let quarters = table.as_chunks::<64>().0;
        let [low0, low1, high0, high1] = [0, 1, 2, 3].map(|i| load(&quarters[i]));
        let (ahead, at) = block.ahead(g, W::DISTANCE);
        let again = W::AGAIN.map(|distance| block.ahead(g, distance));
        for (s, (acc, rows)) in acc.iter_mut().zip(block.group::<N>(g)).enumerate() {
            W::line(ahead, at + s * STRIP);
            if let Some((again, at)) = again {
                W::line(again, at + s * STRIP);
            }
            W::load(rows);
            let x = load(rows);
            let low = _mm512_permutex2var_epi8(low0, x, low1);
            let high = _mm512_permutex2var_epi8(high0, x, high1);
            // A set bit 7 negates: -x is !x + 1, and the row constant holds all the ones. The byte
            // shuffle gives 0 where bit 7 is set, all ones elsewhere; masks and masked instructions
            // are slower.
            let positive = _mm512_shuffle_epi8(ones, x);
            let low = _mm512_ternarylogic_epi64::<XNOR>(low, positive, positive);
            let high = _mm512_ternarylogic_epi64::<XNOR>(high, positive, positive);
            acc[0] = _mm512_add_epi16(acc[0], _mm512_unpacklo_epi8(low, high));
            acc[1] = _mm512_add_epi16(acc[1], _mm512_unpackhi_epi8(low, high));
        }
    }
    for (s, (acc, out)) in acc.iter().zip(out.as_chunks_mut::<STRIP>().0).enumerate() {
        widen(*acc, first, constants.as_chunks().0.get(s), out);
    }
}

/// Adds the int16 sums of a panel to the int32 ones, or makes them those where there are none yet; row constants come with
/// the last ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen(
    [even, odd]: [__m512i; 2],
    first: bool,
    constants: Option<&[u8; 2 * STRIP]>,
    out: &mut [i32; STRIP],
) {
    // `unpack` works in the four 16-byte lanes: `even` has rows 0-7 of each 16, `odd` rows 8-15.
    let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    let halves = [front, back].map(|at| _mm512_permutex2var_epi64(even, at, odd));
    let out = out.as_chunks_mut::<16>().0;
    for (i, out) in out.iter_mut().enumerate() {
        let half = match i % 2 {
            0 => _mm512_castsi512_si256(halves[i / 2]),
            _ => _mm512_extracti64x4_epi64::<1>(halves[i / 2]),
        };
        let mut sums = _mm512_cvtepi16_epi32(half);
        if !first {
            sums = _mm512_add_epi32(sums, load_sums(out));
        }
        if let Some(constants) = constants {
            let constants = load_half(&constants.as_chunks().0[i]);
            sums = _mm512_add_epi32(sums, _mm512_cvtepu16_epi32(constants));
        }
        store_sums(out, sums);
    }
}
