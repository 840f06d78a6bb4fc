//! `i2` on AVX2: codes (trit + 1, unsigned) times activations (signed) by `vpmaddubsw`.

use std::arch::x86_64::*;

use super::avx2::{Avx2, QUAD_BYTES, Quad, TILE_QUADS, Tile, broadcast, dot_tile, load};
use super::avx2::{factor_of, finish, store};
use crate::kernels::prefetch::{self, Plan, Weights, with_weights};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2};

/// Groups between two widenings of the int16 lanes: four quads each.
const GROUPS: usize = TILE_QUADS / 4;

pub(super) struct I2Avx2Dot(
    pub(super) Avx2,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for I2Avx2Dot {
    fn name(&self) -> &'static str {
        "i2-avx2-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Dot
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has AVX2.
        with_weights!(self.1, |W| unsafe { compute::<W>(job, out) })
    }

    fn dequantises(&self) -> bool {
        true
    }
}

#[target_feature(enable = "avx2")]
fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let input = job.input();
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let (rows, q_stride) = (job.rows(), stride(input.cols));
    let weights = job.matrix().bytes();
    for (s, strip) in job.strips().enumerate() {
        job.fetch_aside(s, job.strips().len());
        // A code is the trit plus one, so the sum of all activations is taken off.
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            out[s * STRIP..][..STRIP].fill(-sum);
        }
        let ahead = &weights[strip * strip_bytes..];
        let groups = ahead[..strip_bytes].as_chunks().0;
        if input.batch == 1 {
            let out = out[s * STRIP..].first_chunk_mut().expect("a strip of sums");
            one_row::<W>(groups, input.q, ahead, factor_of(job), out);
        } else {
            let q = |b: usize| input.q[b * q_stride..][..q_stride].as_chunks::<4>().0;
            batch(groups, input.batch, q, &mut out[s * STRIP..], rows);
        }
    }
}

/// A strip and one row of activations. `ahead` is the weights from this strip on.
#[inline]
#[target_feature(enable = "avx2")]
fn one_row<W: Weights>(
    groups: &[[u8; i2::GROUP_BYTES]],
    q: &[i8],
    ahead: &[u8],
    factor: Option<__m256>,
    out: &mut [i32; STRIP],
) {
    let runs = groups.len().div_ceil(GROUPS);
    let (mask, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi16(1));
    let q = q.as_chunks::<{ i2::GROUP }>().0;
    let out = out.as_chunks_mut::<8>().0;
    for (i, (groups, q)) in groups.chunks(GROUPS).zip(q.chunks(GROUPS)).enumerate() {
        let mut acc = [_mm256_setzero_si256(); 8];
        for (j, (codes, q)) in groups.iter().zip(q).enumerate() {
            let at = (i * GROUPS + j) * i2::GROUP_BYTES;
            for (line, codes) in codes.as_chunks::<64>().0.iter().enumerate() {
                prefetch::ahead::<W>(ahead, at + 64 * line, codes);
            }
            let quads = q.as_chunks::<4>().0;
            let [q0, q1, q2, q3] = [0, 1, 2, 3].map(|s| broadcast(&quads[s]));
            for (acc, codes) in acc.iter_mut().zip(codes.as_chunks::<32>().0) {
                let x = load(codes);
                let c0 = _mm256_and_si256(x, mask);
                let c1 = _mm256_and_si256(_mm256_srli_epi16::<2>(x), mask);
                let c2 = _mm256_and_si256(_mm256_srli_epi16::<4>(x), mask);
                let c3 = _mm256_and_si256(_mm256_srli_epi16::<6>(x), mask);
                let a = _mm256_maddubs_epi16(c0, q0);
                let b = _mm256_maddubs_epi16(c1, q1);
                let c = _mm256_maddubs_epi16(c2, q2);
                let d = _mm256_maddubs_epi16(c3, q3);
                let sum = _mm256_add_epi16(_mm256_add_epi16(a, b), _mm256_add_epi16(c, d));
                *acc = _mm256_add_epi16(*acc, sum);
            }
        }
        let factor = if i + 1 == runs { factor } else { None };
        for (out, acc) in out.iter_mut().zip(acc) {
            finish(out, _mm256_madd_epi16(acc, ones), factor);
        }
    }
}

/// A strip and a batch: each tile is decoded once.
#[inline]
#[target_feature(enable = "avx2")]
fn batch<'a>(
    groups: &[[u8; i2::GROUP_BYTES]],
    batch: usize,
    q: impl Fn(usize) -> &'a [Quad],
    out: &mut [i32],
    out_stride: usize,
) {
    let mut tile = Tile::new();
    for (i, groups) in groups.chunks(GROUPS).enumerate() {
        let tile = &mut tile.0[..4 * groups.len()];
        for (codes, quads) in groups.iter().zip(tile.as_chunks_mut::<4>().0) {
            decode(codes, quads);
        }
        let (from, len) = (i * TILE_QUADS, tile.len());
        dot_tile(tile, batch, |b| &q(b)[from..from + len], out, out_stride);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn decode(codes: &[u8; i2::GROUP_BYTES], quads: &mut [[u8; QUAD_BYTES]; 4]) {
    let mask = _mm256_set1_epi8(3);
    let [s0, s1, s2, s3] = quads.each_mut().map(|quad| quad.as_chunks_mut::<32>().0);
    for (i, codes) in codes.as_chunks::<32>().0.iter().enumerate() {
        let x = load(codes);
        store(&mut s0[i], _mm256_and_si256(x, mask));
        store(&mut s1[i], _mm256_and_si256(_mm256_srli_epi16::<2>(x), mask));
        store(&mut s2[i], _mm256_and_si256(_mm256_srli_epi16::<4>(x), mask));
        store(&mut s3[i], _mm256_and_si256(_mm256_srli_epi16::<6>(x), mask));
    }
}
