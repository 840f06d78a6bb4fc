//! `i2` with the dot products of 256 bits: codes (trit + 1, unsigned) times activations (signed) by `vpdpbusd`, which adds up four
//! products in int32 where AVX2 takes three instructions and int16.
//!
//! The instruction has two encodings, one for CPUs without AVX-512 (AVX-VNNI: Alder Lake and later, N100, Zen 5) and one of
//! AVX-512. One macro writes the kernel for both; that of AVX-512, where there are kernels of 512 bits, is for tests alone, so
//! that the source is tested where the other encoding cannot run.

use std::arch::x86_64::*;

use super::avx2::{QUAD_BYTES, Quad, TILE_QUADS, Tile, add_to, broadcast, factor_of, finish, load};
use super::avx2_i2::decode;
use crate::kernels::prefetch::{self, Plan, Weights, with_weights};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2};

/// Proof that this CPU has AVX-VNNI, and AVX2.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(());

impl AvxVnni {
    pub(super) fn new() -> Option<AvxVnni> {
        let all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni");
        all.then_some(AvxVnni(()))
    }
}

/// Groups of a strip that are gone through four lines of sums at a time: half of each group's, then the other half.
const GROUPS: usize = 32;

/// Groups that are decoded for a batch at a time.
const TILE_GROUPS: usize = TILE_QUADS / 4;

macro_rules! kernel {
    ($module:ident, $kernel:ident, $name:literal, $proof:ty, $isa:expr, $features:literal, $dpbusd:ident) => {
        pub(super) struct $kernel(
            pub(super) $proof,
            /// As [`plan`](crate::kernels::prefetch::plan) says.
            pub(super) Plan,
        );

        impl Kernel for $kernel {
            fn name(&self) -> &'static str {
                $name
            }

            fn isa(&self) -> Isa {
                $isa
            }

            fn packing(&self) -> Packing {
                Packing::I2
            }

            fn family(&self) -> Family {
                Family::Dot
            }

            fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
                // SAFETY: `self` holds the proof that the CPU has the instructions.
                with_weights!(self.1, |W| unsafe { $module::compute::<W>(job, out) })
            }

            fn dequantises(&self) -> bool {
                true
            }
        }

        mod $module {
            use super::*;

            #[target_feature(enable = $features)]
            pub fn compute<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
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
            #[target_feature(enable = $features)]
            fn one_row<W: Weights>(
                groups: &[[u8; i2::GROUP_BYTES]],
                q: &[i8],
                ahead: &[u8],
                factor: Option<__m256>,
                out: &mut [i32; STRIP],
            ) {
                let runs = groups.len().div_ceil(GROUPS);
                let masks = [0x03, 0x0C].map(|mask| _mm256_set1_epi8(mask));
                let q = q.as_chunks::<{ i2::GROUP }>().0;
                for (i, (groups, q)) in groups.chunks(GROUPS).zip(q.chunks(GROUPS)).enumerate() {
                    let factor = if i + 1 == runs { factor } else { None };
                    for (half, out) in out.as_chunks_mut::<{ STRIP / 2 }>().0.iter_mut().enumerate()
                    {
                        // Codes of bits 0 and 1, and those of bits 2 and 3, which count four-fold where they stand.
                        let mut acc = [[_mm256_setzero_si256(); 4]; 2];
                        for (j, (codes, q)) in groups.iter().zip(q).enumerate() {
                            let codes = &codes.as_chunks::<{ i2::GROUP_BYTES / 2 }>().0[half];
                            let at = (i * GROUPS + j) * i2::GROUP_BYTES + half * codes.len();
                            for (line, codes) in codes.as_chunks::<64>().0.iter().enumerate() {
                                prefetch::ahead::<W>(ahead, at + 64 * line, codes);
                            }
                            let quads = q.as_chunks::<4>().0;
                            let q = [0, 1, 2, 3].map(|s| broadcast(&quads[s]));
                            for (c, codes) in codes.as_chunks::<32>().0.iter().enumerate() {
                                let low = load(codes);
                                let high = _mm256_srli_epi16::<4>(low);
                                for (x, q) in [(low, &q[..2]), (high, &q[2..])] {
                                    for (k, acc) in acc.iter_mut().enumerate() {
                                        let codes = _mm256_and_si256(x, masks[k]);
                                        acc[c] = $dpbusd(acc[c], codes, q[k]);
                                    }
                                }
                            }
                        }
                        let [once, four_fold] = acc;
                        for (c, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                            let four_fold = _mm256_srai_epi32::<2>(four_fold[c]);
                            finish(out, _mm256_add_epi32(once[c], four_fold), factor);
                        }
                    }
                }
            }

            /// A strip and a batch: each tile is decoded once.
            #[inline]
            #[target_feature(enable = $features)]
            fn batch<'a>(
                groups: &[[u8; i2::GROUP_BYTES]],
                batch: usize,
                q: impl Fn(usize) -> &'a [Quad],
                out: &mut [i32],
                out_stride: usize,
            ) {
                let mut tile = Tile::new();
                for (i, groups) in groups.chunks(TILE_GROUPS).enumerate() {
                    let tile = &mut tile.0[..4 * groups.len()];
                    for (codes, quads) in groups.iter().zip(tile.as_chunks_mut::<4>().0) {
                        decode(codes, quads);
                    }
                    let (from, len) = (i * TILE_QUADS, tile.len());
                    let q = |b: usize| &q(b)[from..from + len];
                    let runs = batch.div_ceil(6);
                    let mut first = 0;
                    for run in 0..runs {
                        let count = (batch - first) / (runs - run);
                        let out = &mut out[first * out_stride..];
                        match count {
                            1 => rows::<1>(tile, [q(first)], out, out_stride),
                            2 => rows::<2>(tile, [0, 1].map(|t| q(first + t)), out, out_stride),
                            3 => rows::<3>(tile, [0, 1, 2].map(|t| q(first + t)), out, out_stride),
                            4 => {
                                rows::<4>(tile, [0, 1, 2, 3].map(|t| q(first + t)), out, out_stride)
                            }
                            5 => rows::<5>(
                                tile,
                                [0, 1, 2, 3, 4].map(|t| q(first + t)),
                                out,
                                out_stride,
                            ),
                            _ => rows::<6>(
                                tile,
                                [0, 1, 2, 3, 4, 5].map(|t| q(first + t)),
                                out,
                                out_stride,
                            ),
                        }
                        first += count;
                    }
                }
            }

            /// Adds the dot products of the tile's rows with `T` rows of activations, whose sums fill the registers.
            #[inline]
            #[target_feature(enable = $features)]
            fn rows<const T: usize>(
                tile: &[[u8; QUAD_BYTES]],
                q: [&[Quad]; T],
                out: &mut [i32],
                out_stride: usize,
            ) {
                assert!(q.iter().all(|q| q.len() == tile.len()));
                for pair in 0..4 {
                    let mut acc = [[_mm256_setzero_si256(); 2]; T];
                    for (i, codes) in tile.iter().enumerate() {
                        let codes = codes.as_chunks::<32>().0;
                        let (c0, c1) = (load(&codes[2 * pair]), load(&codes[2 * pair + 1]));
                        for (acc, q) in acc.iter_mut().zip(q) {
                            let q = broadcast(&q[i]);
                            acc[0] = $dpbusd(acc[0], c0, q);
                            acc[1] = $dpbusd(acc[1], c1, q);
                        }
                    }
                    for (t, acc) in acc.iter().enumerate() {
                        let out = out[t * out_stride + 16 * pair..][..16].as_chunks_mut::<8>().0;
                        add_to(&mut out[0], acc[0]);
                        add_to(&mut out[1], acc[1]);
                    }
                }
            }
        }
    };
}

kernel!(
    vex,
    I2AvxVnniDot,
    "i2-avxvnni-dot",
    AvxVnni,
    Isa::AvxVnni,
    "avx2,avxvnni",
    _mm256_dpbusd_avx_epi32
);

#[cfg(test)]
kernel!(
    evex,
    I2EvexVnniDot,
    "i2-evexvnni-dot",
    super::avx512::Avx512,
    Isa::Avx512,
    "avx2,avx512f,avx512vl,avx512vnni",
    _mm256_dpbusd_epi32
);
