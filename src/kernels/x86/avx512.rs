//! What the AVX-512 kernels share: the proof that the CPU has the instructions, loads and stores.

use std::arch::x86_64::*;

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
