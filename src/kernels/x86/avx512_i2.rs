//! `i2` on AVX-512 with additions only: a nibble holds two codes, and a nibble with its place among
//! four bytes indexes the 64 entries of a `vpermb` look-up.

use std::arch::x86_64::*;

use super::avx512::{Avx512, load, load_sums, store, store_sums};
use crate::kernels::prefetch::{self, Plan, Weights, with_weights};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2};

/// Bytes of the tables of a group: for the low nibbles the low bytes of 64 int16 sums and the high
/// bytes, then the same for the high nibbles. Entry `16 k + n` is what nibble `n` of byte `k`
/// stands for.
const TABLES: usize = 256;

/// Groups that an int16 lane can add up: two sums each, of two activations of at most 127 in
/// magnitude, twice where the code is the invalid 3.
const GROUPS: usize = 32;
const _: () = assert!(GROUPS * 2 * 2 * 2 * 127 <= i16::MAX as usize);

pub(super) struct I2Avx512Add(
    pub(super) Avx512,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for I2Avx512Add {
    fn name(&self) -> &'static str {
        "i2-avx512-add"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Add
    }

    fn prepared_len(&self, cols: usize) -> usize {
        cols.div_ceil(i2::GROUP) * TABLES
    }

    fn prepare(&self, _cols: usize, q: &[i8], out: &mut [u8]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        unsafe { prepare(q, out) }
    }

    fn prepares_fast(&self) -> bool {
        true
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        with_weights!(self.1, |W| unsafe { compute::<W>(job, out) })
    }
}

/// The 32 words of entries, from nibble 0 of an even byte on, whose code `which` is `code`.
const fn words(which: usize, code: usize) -> __mmask32 {
    let (mut mask, mut w) = (0, 0);
    while w < 32 {
        if ((w % 16) >> (2 * which)) & 3 == code {
            mask |= 1 << w;
        }
        w += 1;
    }
    mask
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn prepare(q: &[i8], out: &mut [u8]) {
    let even: [u8; 64] = std::array::from_fn(|i| 2 * i as u8);
    let (low_bytes, high_bytes) = (load(&even), load(&even.map(|i| i + 1)));
    let zero = _mm512_setzero_si512();
    for (tables, q) in out.as_chunks_mut::<TABLES>().0.iter_mut().zip(q.as_chunks().0) {
        let q: &[i8; i2::GROUP] = q;
        let quarters = tables.as_chunks_mut::<64>().0;
        for nibble in 0..2 {
            // Words for bytes 0 and 1, then for bytes 2 and 3.
            let [first, second] = [0, 2].map(|k| {
                let pair = |col: usize| {
                    let even = _mm512_set1_epi16(i16::from(q[col]));
                    _mm512_mask_set1_epi16(even, 0xFFFF_0000, i16::from(q[col + 1]))
                };
                let (a, b) = (pair(8 * nibble + k), pair(8 * nibble + 4 + k));
                let sum = _mm512_mask_sub_epi16(zero, const { words(0, 0) }, zero, a);
                let sum = _mm512_mask_add_epi16(sum, const { words(0, 2) | words(0, 3) }, sum, a);
                let sum = _mm512_mask_add_epi16(sum, const { words(0, 3) }, sum, a);
                let sum = _mm512_mask_sub_epi16(sum, const { words(1, 0) }, sum, b);
                let sum = _mm512_mask_add_epi16(sum, const { words(1, 2) | words(1, 3) }, sum, b);
                _mm512_mask_add_epi16(sum, const { words(1, 3) }, sum, b)
            });
            let low = _mm512_permutex2var_epi8(first, low_bytes, second);
            let high = _mm512_permutex2var_epi8(first, high_bytes, second);
            store(&mut quarters[2 * nibble], low);
            store(&mut quarters[2 * nibble + 1], high);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    let groups = input.cols.div_ceil(i2::GROUP);
    debug_assert!(groups * i2::GROUP <= stride(input.cols));
    for (s, strip) in job.strips().enumerate() {
        job.fetch_aside(s, job.strips().len());
        let ahead = &job.matrix().bytes()[strip * groups * i2::GROUP_BYTES..];
        let bytes = ahead[..groups * i2::GROUP_BYTES].as_chunks().0;
        for b in 0..input.batch {
            let tables = &input.prepared[b * groups * TABLES..][..groups * TABLES].as_chunks().0;
            let out = out[b * rows + s * STRIP..].first_chunk_mut().expect("a strip of sums");
            out.fill(0);
            for (i, (bytes, tables)) in bytes.chunks(GROUPS).zip(tables.chunks(GROUPS)).enumerate()
            {
                add_groups::<W>(bytes, tables, &ahead[i * GROUPS * i2::GROUP_BYTES..], out);
            }
        }
    }
}

/// Some groups of a strip. `ahead` is the weights from these on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn add_groups<W: Weights>(
    groups: &[[u8; i2::GROUP_BYTES]],
    tables: &[[u8; TABLES]],
    ahead: &[u8],
    out: &mut [i32; STRIP],
) {
    /// `a & b | c` of `vpternlog`.
    const AND_OR: i32 = 0b1110_1010;
    // The proof of GROUPS is for this loop.
    assert!(groups.len() <= GROUPS);
    let nibble = _mm512_set1_epi8(15);
    let place = _mm512_set1_epi32(0x30_20_10_00);
    let mut acc = [[_mm512_setzero_si512(); 2]; 4];
    for (g, (codes, tables)) in groups.iter().zip(tables).enumerate() {
        let at = g * i2::GROUP_BYTES;
        let quarters = tables.as_chunks::<64>().0;
        let [low0, low1, high0, high1] = [0, 1, 2, 3].map(|i| load(&quarters[i]));
        for (r, (acc, codes)) in acc.iter_mut().zip(codes.as_chunks::<64>().0).enumerate() {
            prefetch::ahead::<W>(ahead, at + 64 * r, codes);
            let x = load(codes);
            let low = _mm512_ternarylogic_epi32::<AND_OR>(x, nibble, place);
            let high =
                _mm512_ternarylogic_epi32::<AND_OR>(_mm512_srli_epi16::<4>(x), nibble, place);
            let low = [low0, low1].map(|table| _mm512_permutexvar_epi8(low, table));
            let high = [high0, high1].map(|table| _mm512_permutexvar_epi8(high, table));
            for [bytes0, bytes1] in [low, high] {
                acc[0] = _mm512_add_epi16(acc[0], _mm512_unpacklo_epi8(bytes0, bytes1));
                acc[1] = _mm512_add_epi16(acc[1], _mm512_unpackhi_epi8(bytes0, bytes1));
            }
        }
    }
    // A row has four int16 lanes; in each 16 bytes, those of rows 0 and 1 are in one register, of 2
    // and 3 in the other.
    for (acc, out) in acc.into_iter().zip(out.as_chunks_mut::<16>().0) {
        let [first, second] = acc.map(|acc| {
            let even = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(acc));
            _mm512_castsi512_ps(_mm512_add_epi32(even, _mm512_srai_epi32::<16>(acc)))
        });
        let even = _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(first, second));
        let odd = _mm512_castps_si512(_mm512_shuffle_ps::<0b11_01_11_01>(first, second));
        store_sums(out, _mm512_add_epi32(load_sums(out), _mm512_add_epi32(even, odd)));
    }
}
