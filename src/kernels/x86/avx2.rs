//! What the AVX2 kernels share: the proof that the CPU has AVX2, loads and stores, what
//! becomes of sums, and the dot product of a decoded tile of codes with several rows of activations.

use std::arch::x86_64::*;

use crate::kernels::Job;
use crate::packing::STRIP;

/// Proof that this CPU has AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn new() -> Option<Avx2> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

/// Bytes of a quad of columns of a strip: for each of 64 rows, the codes of four columns.
pub(super) const QUAD_BYTES: usize = 4 * STRIP;

/// Quads whose products an int16 lane can add up: each adds two products, of a code of at most 3
/// and an activation of at most 128 in magnitude.
pub(super) const TILE_QUADS: usize = 40;
const _: () = assert!(TILE_QUADS * 2 * 3 * 128 <= i16::MAX as usize);

/// Activations of a quad of columns.
pub(super) type Quad = [i8; 4];

/// The decoded codes of a strip and up to [`TILE_QUADS`] quads.
#[repr(align(64))]
pub(super) struct Tile(pub(super) [[u8; QUAD_BYTES]; TILE_QUADS]);

impl Tile {
    pub(super) fn new() -> Tile {
        Tile([[0; QUAD_BYTES]; TILE_QUADS])
    }
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Stores 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store(bytes: &mut [u8; 32], value: __m256i) {
    // SAFETY: the reference is to 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), value) }
}

/// Adds eight int32 to `out`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add_to(out: &mut [i32; 8], value: __m256i) {
    let out: *mut __m256i = out.as_mut_ptr().cast();
    // SAFETY: the reference is to 32 bytes that may be read and written; neither access needs
    // alignment.
    unsafe { _mm256_storeu_si256(out, _mm256_add_epi32(_mm256_loadu_si256(out), value)) }
}

/// As [`add_to`]; with a factor, `out` becomes the bits of the sums' products with it.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn finish(out: &mut [i32; 8], value: __m256i, factor: Option<__m256>) {
    let out: *mut __m256i = out.as_mut_ptr().cast();
    // SAFETY: the reference is to 32 bytes that may be read and written; neither access needs
    // alignment.
    unsafe {
        let sums = _mm256_add_epi32(_mm256_loadu_si256(out), value);
        let bits = match factor {
            None => sums,
            Some(factor) => _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), factor)),
        };
        _mm256_storeu_si256(out, bits);
    }
}

/// The factor of a job in every lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn factor_of(job: &Job<'_>) -> Option<__m256> {
    job.factor().map(|factor| _mm256_set1_ps(factor))
}

/// The four activations of a quad in every int32 lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn broadcast(quad: &Quad) -> __m256i {
    _mm256_set1_epi32(i32::from_ne_bytes(quad.map(|q| q as u8)))
}

/// Adds to `out` the dot products of the tile's rows with each of `rows` rows of activations: row
/// `t` is `q(t)`, as many quads as the tile has, and its 64 sums start at `out[t * out_stride]`.
#[target_feature(enable = "avx2")]
pub(super) fn dot_tile<'a>(
    tile: &[[u8; QUAD_BYTES]],
    rows: usize,
    q: impl Fn(usize) -> &'a [Quad],
    out: &mut [i32],
    out_stride: usize,
) {
    let mut t = 0;
    while t < rows {
        let out = &mut out[t * out_stride..];
        match rows - t {
            1 => dot_rows(tile, [q(t)], out, out_stride),
            2 => dot_rows(tile, [q(t), q(t + 1)], out, out_stride),
            3 => dot_rows(tile, [q(t), q(t + 1), q(t + 2)], out, out_stride),
            _ => dot_rows(tile, [q(t), q(t + 1), q(t + 2), q(t + 3)], out, out_stride),
        }
        t += 4;
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_rows<const T: usize>(
    tile: &[[u8; QUAD_BYTES]],
    q: [&[Quad]; T],
    out: &mut [i32],
    out_stride: usize,
) {
    // The proof of TILE_QUADS is for this loop.
    assert!(tile.len() <= TILE_QUADS && q.iter().all(|q| q.len() == tile.len()));
    let ones = _mm256_set1_epi16(1);
    for pair in 0..4 {
        let mut acc = [[_mm256_setzero_si256(); 2]; T];
        for (i, codes) in tile.iter().enumerate() {
            let codes = codes.as_chunks::<32>().0;
            let (c0, c1) = (load(&codes[2 * pair]), load(&codes[2 * pair + 1]));
            for (acc, q) in acc.iter_mut().zip(q) {
                let q = broadcast(&q[i]);
                acc[0] = _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(c0, q));
                acc[1] = _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(c1, q));
            }
        }
        for (t, acc) in acc.iter().enumerate() {
            let out = out[t * out_stride + 16 * pair..][..16].as_chunks_mut::<8>().0;
            add_to(&mut out[0], _mm256_madd_epi16(acc[0], ones));
            add_to(&mut out[1], _mm256_madd_epi16(acc[1], ones));
        }
    }
}
