//! Dot kernels on AVX-512: codes (trit + 1, unsigned) times activations (signed) by `vpdpbusd`. The
//! sums of some rows of activations stay in registers over all columns; what a byte decodes to is
//! used for all of them.

use std::arch::x86_64::*;

use super::avx512::{Avx512, broadcast, factor_of, finished, load, store_sums};
use crate::kernels::prefetch::{self, Plan, Weights, with_weights};
use crate::kernels::t5::{QUAD_COLS, Strip, prepare_quads, quads_len};
use crate::kernels::{Family, Isa, Job, Kernel, stride};
use crate::packing::{MAX_COLS, Packing, STRIP, i2, t5};

/// Evaluates `$call` for runs of `$batch` rows, as equal as can be: `$first` is the first row of
/// the run, the constant `$t`, at most `$most`, how many they are.
macro_rules! in_runs {
    ($batch:expr, $most:literal, |$first:ident, $t:ident| $call:expr) => {{
        let runs = $batch.div_ceil($most);
        let mut $first = 0;
        for run in 0..runs {
            let t = ($batch - $first) / (runs - run);
            macro_rules! with {
                ($n:literal) => {{
                    const $t: usize = $n;
                    $call
                }};
            }
            match t {
                1 => with!(1),
                2 => with!(2),
                3 => with!(3),
                4 => with!(4),
                5 => with!(5),
                6 => with!(6),
                7 => with!(7),
                _ => with!(8),
            }
            $first += t;
        }
    }};
}

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
        with_weights!(self.1, |W| unsafe { i2_dot::<W>(job, out) })
    }

    fn dequantises(&self) -> bool {
        true
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn i2_dot<W: Weights>(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows, factor) = (job.input(), job.rows(), factor_of(job));
    let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
    let q_stride = stride(input.cols);
    let q = |b: usize| input.q[b * q_stride..][..q_stride].as_chunks::<{ i2::GROUP }>().0;
    for (s, strip) in job.strips().enumerate() {
        job.fetch_aside(s, job.strips().len());
        let ahead = &job.matrix().bytes()[strip * strip_bytes..];
        let groups = ahead[..strip_bytes].as_chunks().0;
        in_runs!(input.batch, 6, |b, T| {
            let q: [_; T] = std::array::from_fn(|t| &q(b + t)[..groups.len()]);
            let sums = match T {
                1 => [i2_row::<W>(groups, q[0], ahead); T],
                _ => i2_rows(groups, q),
            };
            for (t, sums) in sums.into_iter().enumerate() {
                // A code is the trit plus one, so the sum of all activations is taken off.
                let sum = _mm512_set1_epi32(input.sums[b + t]);
                let out = out[(b + t) * rows + s * STRIP..][..STRIP].as_chunks_mut().0;
                for (out, sums) in out.iter_mut().zip(sums) {
                    store_sums(out, finished(_mm512_sub_epi32(sums, sum), factor));
                }
            }
        });
    }
}

/// The most that a lane adds up in [`i2_row`]: 4 products a group, of an activation and bits 6 and 7 of a byte where they stand.
const MOST: i64 = (MAX_COLS.div_ceil(i2::GROUP) * 4 * 192 * 128) as i64;

/// The sums of a strip, in its order, for one row of activations. Codes are multiplied where they stand in a byte, so
/// that those of bits 2, 4 and 6 count 4-, 16- and 64-fold, which spares the shifts. `ahead` is the weights from this strip on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn i2_row<W: Weights>(
    groups: &[[u8; i2::GROUP_BYTES]],
    q: &[[i8; i2::GROUP]],
    ahead: &[u8],
) -> [__m512i; 4] {
    const { assert!(MOST <= i32::MAX as i64) };
    assert!(q.len() == groups.len());
    let masks = [0x03, 0x0C, 0x30, 0xC0u8 as i8].map(|mask| _mm512_set1_epi8(mask));
    let mut acc = [[_mm512_setzero_si512(); 4]; 4];
    for (g, (codes, q)) in groups.iter().zip(q).enumerate() {
        let q = q.as_chunks::<4>().0;
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

/// The same for `T` rows of activations, whose sums fill the registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn i2_rows<const T: usize>(
    groups: &[[u8; i2::GROUP_BYTES]],
    q: [&[[i8; i2::GROUP]]; T],
) -> [[__m512i; 4]; T] {
    assert!(q.iter().all(|q| q.len() == groups.len()));
    let mask = _mm512_set1_epi8(3);
    let mut acc = [[_mm512_setzero_si512(); 4]; T];
    for (g, codes) in groups.iter().enumerate() {
        let codes = codes.as_chunks::<64>().0;
        let x = [0, 1, 2, 3].map(|r| load(&codes[r]));
        let codes = [
            x.map(|x| _mm512_and_si512(x, mask)),
            x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<2>(x), mask)),
            x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask)),
            x.map(|x| _mm512_and_si512(_mm512_srli_epi16::<6>(x), mask)),
        ];
        for (s, codes) in codes.into_iter().enumerate() {
            for (acc, q) in acc.iter_mut().zip(q) {
                let q = broadcast(&q[g].as_chunks::<4>().0[s]);
                for (acc, codes) in acc.iter_mut().zip(codes) {
                    *acc = _mm512_dpbusd_epi32(*acc, codes, q);
                }
            }
        }
    }
    acc
}

/// For batches; one row is faster by look-ups.
pub(super) struct T5Avx512Dot(pub(super) Avx512);

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
        16
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

/// The code of each trit by the low seven bits of a byte; the trits of what no packer writes are
/// zero.
static CODES: [[u8; t5::TABLE]; t5::GROUP] = {
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn t5_dot(job: &Job<'_>, out: &mut [i32]) {
    let (input, rows) = (job.input(), job.rows());
    let prepared: &[i8] = bytemuck::cast_slice(input.prepared);
    let row_len = quads_len(input.cols);
    let group_quads = input.cols.div_ceil(QUAD_COLS);
    let q = |b: usize| prepared[b * row_len..][..group_quads * QUAD_COLS].as_chunks().0;
    let mut groups = Vec::with_capacity(group_quads);
    for (s, strip) in job.strips().enumerate() {
        let strip = Strip::new(job.matrix(), strip);
        groups.clear();
        groups.extend((0..group_quads).map(|g| [0, 1, 2, 3].map(|i| strip.group(4 * g + i))));
        let corrections = strip.corrections();
        for (out, sum) in out.chunks_exact_mut(rows).zip(input.sums) {
            let out = &mut out[s * STRIP..][..STRIP];
            for (out, correction) in out.iter_mut().zip(corrections) {
                *out = correction - sum;
            }
        }
        in_runs!(input.batch, 8, |b, T| {
            let q: [&[[i8; QUAD_COLS]]; T] = std::array::from_fn(|t| q(b + t));
            for half in 0..2 {
                let sums = if half == 0 {
                    t5_rows::<T, 0>(&groups, q)
                } else {
                    t5_rows::<T, 1>(&groups, q)
                };
                for (t, sums) in sums.iter().enumerate() {
                    let out = &mut out[(b + t) * rows + s * STRIP..][..STRIP];
                    add_lanes(out, half, *sums);
                }
            }
        });
    }
}

/// The sums of 32 rows of a strip for `T` rows of activations: of each 16 rows, half `H`, as
/// [`add_lanes`] takes them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")]
fn t5_rows<const T: usize, const H: usize>(
    groups: &[[&[u8; STRIP]; 4]],
    q: [&[[i8; QUAD_COLS]]; T],
) -> [[__m512i; 2]; T] {
    assert!(q.iter().all(|q| q.len() == groups.len()));
    let tables = CODES.each_ref().map(|table| {
        let halves = table.as_chunks::<64>().0;
        [load(&halves[0]), load(&halves[1])]
    });
    let two = _mm512_set1_epi8(2);
    let mut acc = [[_mm512_setzero_si512(); 2]; T];
    for (g, groups) in groups.iter().enumerate() {
        let [a, b, c, d] = groups.map(|group| load(group));
        let (ab, cd) = if H == 0 {
            (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d))
        } else {
            (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d))
        };
        let x = [_mm512_unpacklo_epi16(ab, cd), _mm512_unpackhi_epi16(ab, cd)];
        let negative = x.map(|x| _mm512_movepi8_mask(x));
        for (i, [low, high]) in tables.into_iter().enumerate() {
            let codes = [0, 1].map(|r| {
                let codes = _mm512_permutex2var_epi8(low, x[r], high);
                _mm512_mask_sub_epi8(codes, negative[r], two, codes)
            });
            for (acc, q) in acc.iter_mut().zip(q) {
                let q = broadcast(&q[g].as_chunks::<4>().0[i]);
                acc[0] = _mm512_dpbusd_epi32(acc[0], codes[0], q);
                acc[1] = _mm512_dpbusd_epi32(acc[1], codes[1], q);
            }
        }
    }
    acc
}

/// Adds sums as `unpack` leaves them: lane `l` of the two registers has rows `16 l + 8 half` to `+
/// 3` and `+ 4` to `+ 7`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add_lanes(out: &mut [i32], half: usize, [first, second]: [__m512i; 2]) {
    let front = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let back = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (lanes, out) in [front, back].into_iter().zip(out.as_chunks_mut::<32>().0) {
        let sums = _mm512_permutex2var_epi64(first, lanes, second);
        let (low, high) = (_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
        let eights = out.as_chunks_mut::<8>().0;
        for (i, sums) in [low, high].into_iter().enumerate() {
            let out: *mut __m256i = eights[2 * i + half].as_mut_ptr().cast();
            // SAFETY: `out` points to eight int32 behind a unique reference; neither access needs
            // alignment.
            unsafe { _mm256_storeu_si256(out, _mm256_add_epi32(_mm256_loadu_si256(out), sums)) };
        }
    }
}
