//! What the AVX-512 kernels share: the proof that the CPU has the instructions, loads and
//! stores, and what becomes of sums.

use std::arch::x86_64::*;

use crate::kernels::Job;

/// Proof that this CPU has what [`Isa::Avx512`](crate::kernels::Isa::Avx512) names: AVX-512 F, BW
/// and VL with VBMI (look-ups of 128 entries) and VNNI (dot products), which is Ice Lake, Zen 4 and
/// later.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new() -> Option<Avx512> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        all.then_some(Avx512(()))
    }
}

/// Loads 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_half(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(bytes: &mut [u8; 64], value: __m512i) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), value) }
}

/// Loads sixteen int32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_sums(sums: &[i32; 16]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) }
}

/// Stores sixteen int32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_sums(sums: &mut [i32; 16], value: __m512i) {
    // SAFETY: the reference is to 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), value) }
}

/// The four activations of a quad in every int32 lane.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn broadcast(quad: &[i8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_ne_bytes(quad.map(|q| q as u8)))
}

/// The factor of a job in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn factor_of(job: &Job<'_>) -> Option<__m512> {
    job.factor().map(|factor| _mm512_set1_ps(factor))
}

/// Sums as a kernel leaves them: with a factor, the bits of floats.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn finished(sums: __m512i, factor: Option<__m512>) -> __m512i {
    match factor {
        None => sums,
        Some(factor) => _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), factor)),
    }
}
