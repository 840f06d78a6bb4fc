//! `i2` on AVX-512: codes (trit + 1, unsigned) times activations (signed) by `vpdpbusd`.

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx512::{Avx512, broadcast, factor_of, finished, load, store, store_sums};
use super::avx512_gemm::{
    QUAD_BYTES, Quad, add_products, add_quad, in_runs, load_rows, store_rows,
};
use crate::kernels::prefetch::{self, Plan, Weights, with_weights};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{MAX_COLS, Packing, STRIP, i2};

/// Rows of activations up to which codes are made anew for every six of them: that takes no stores.
const FEW: usize = 12;

/// Quads in a group.
const QUADS: usize = i2::GROUP / 4;

pub(super) struct I2Avx512Dot(
    pub(super) Avx512,
    /// As [`plan`](crate::kernels::prefetch::plan) says.
    pub(super) Plan,
);

impl Kernel for I2Avx512Dot {
    fn name(&self) -> &'static str {
        "i2-avx512-dot"
    }

    fn isa(&self) -> Isa {
        Isa::Avx512
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Dot
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        // SAFETY: `self` holds the proof that the CPU has the instructions.
        with_weights!(self.1, |W| unsafe { compute::<W>(job, out) })
    }

    fn dequantises(&self) -> bool {
        true
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let input = job.input();
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let weights = job.matrix().bytes();
    // The weights from a strip on.
    let from = |strip: usize| &weights[strip * strip_bytes..];
    let q_stride = stride(input.cols);
    let q = |b: usize| input.q[b * q_stride..][..q_stride].as_chunks().0;
    if input.batch == 1 {
        let factor = factor_of(job);
        let sum = _mm512_set1_epi32(input.sums[0]);
        for (s, strip) in job.strips().enumerate() {
            job.fetch_aside(s, job.strips().len());
            let sums = one_row::<W>(from(strip), strip_bytes, q(0));
            let out = out[s * STRIP..][..STRIP].as_chunks_mut().0;
            for (out, sums) in out.iter_mut().zip(sums) {
                // A code is the trit plus one, so the sum of all activations is taken off.
                store_sums(out, finished(_mm512_sub_epi32(sums, sum), factor));
            }
        }
        return;
    }
    let rows = job.rows();
    for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
        out.fill(-sum);
    }
    if input.batch <= FEW {
        for (s, strip) in job.strips().enumerate() {
            job.fetch_aside(s, job.strips().len());
            in_runs!(input.batch, |b, T| {
                let q: [&[Quad]; T] = std::array::from_fn(|t| q(b + t));
                let out = &mut out[b * rows + s * STRIP..];
                some_rows::<T, W>(from(strip), strip_bytes, q, out, rows);
            });
        }
        return;
    }
    let decode = |strip: usize, quads: Range<usize>, tile: &mut [[u8; QUAD_BYTES]]| {
        let ahead = &from(strip)[quads.start / QUADS * i2::GROUP_BYTES..];
        for (g, quads) in tile.as_chunks_mut::<QUADS>().0.iter_mut().enumerate() {
            for (quad, codes) in quads.iter_mut().zip(codes_of::<W>(ahead, g)) {
                let quad = quad.as_chunks_mut().0;
                for (quad, codes) in quad.iter_mut().zip(codes) {
                    store(quad, codes);
                }
            }
        }
        [_mm512_setzero_si512(); 4]
    };
    add_products(job, strip_bytes / (i2::GROUP_BYTES / QUADS), QUADS, q, decode, out);
}

/// The codes of group `g` of `ahead`, quad by quad. Prefetches weights that come later.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn codes_of<W: Weights>(ahead: &[u8], g: usize) -> [[__m512i; 4]; QUADS] {
    let group: &[u8; i2::GROUP_BYTES] =
        ahead[g * i2::GROUP_BYTES..].first_chunk().expect("a group");
    let lines = group.as_chunks::<64>().0;
    let x = [0, 1, 2, 3].map(|r| {
        prefetch::ahead::<W>(ahead, g * i2::GROUP_BYTES + 64 * r, &lines[r]);
        load(&lines[r])
    });
    let mask = _mm512_set1_epi8(3);
    [
        x.map(|x| _mm512_and_si512(x, mask)),
        x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<2>(x), mask)),
        x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask)),
        x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<6>(x), mask)),
    ]
}

/// Adds the products of a strip, the first `strip_bytes` of `ahead`, with `T` rows of activations, whose sums fill the
/// registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn some_rows<const T: usize, W: Weights>(
    ahead: &[u8],
    strip_bytes: usize,
    q: [&[Quad]; T],
    out: &mut [i32],
    out_stride: usize,
) {
    let groups = strip_bytes / i2::GROUP_BYTES;
    let q = q.map(|q| &q[..groups * QUADS]);
    let mut acc = load_rows::<T>(out, out_stride);
    for i in (0..groups * QUADS).step_by(QUADS) {
        for (s, codes) in codes_of::<W>(ahead, i / QUADS).into_iter().enumerate() {
            add_quad(&mut acc, codes, |t| q[t][i + s]);
        }
    }
    store_rows(acc, out, out_stride);
}

/// The most that a lane adds up in [`one_row`]: 4 products a group, of an activation and bits 6 and 7 of a byte where they stand.
const MOST: i64 = (MAX_COLS.div_ceil(i2::GROUP) * 4 * 192 * 128) as i64;

/// The sums of a strip, in its order, for one row of activations. Codes are multiplied where they stand in a byte, so
/// that those of bits 2, 4 and 6 count 4-, 16- and 64-fold, which spares the shifts. The strip is the first `strip_bytes` of `ahead`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one_row<W: Weights>(ahead: &[u8], strip_bytes: usize, q: &[Quad]) -> [__m512i; 4] {
    const { assert!(MOST <= i32::MAX as i64) };
    let groups = ahead[..strip_bytes].as_chunks::<{ i2::GROUP_BYTES }>().0;
    let q = &q.as_chunks::<QUADS>().0[..groups.len()];
    let masks = [0x03, 0x0C, 0x30, 0xC0u8 as i8].map(|mask| _mm512_set1_epi8(mask));
    let mut acc = [[_mm512_setzero_si512(); 4]; 4];
    for (g, (codes, q)) in groups.iter().zip(q).enumerate() {
        for (r, codes) in codes.as_chunks::<64>().0.iter().enumerate() {
            prefetch::ahead::<W>(ahead, g * i2::GROUP_BYTES + 64 * r, codes);
            let x = load(codes);
            for (s, acc) in acc.iter_mut().enumerate() {
                let codes = _mm512_and_si512(x, masks[s]);
                acc[r] = _mm512_dpbusd_epi32(acc[r], codes, broadcast(&q[s]));
            }
        }
    }
    // Each is a multiple of its factor.
    let [a, b, c, d] = acc;
    std::array::from_fn(|r| {
        let low = _mm512_add_epi32(a[r], _mm512_srai_epi32::<2>(b[r]));
        let high = _mm512_add_epi32(_mm512_srai_epi32::<4>(c[r]), _mm512_srai_epi32::<6>(d[r]));
        _mm512_add_epi32(low, high)
    })
}
