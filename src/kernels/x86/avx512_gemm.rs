//! Products with many rows of activations on AVX-512 (GEMM): a tile of weights is decoded to codes (trit + 1) once, and
//! multiplied with all rows by `vpdpbusd`.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

use super::avx512::{broadcast, load, load_sums, store_sums};
use crate::kernels::Job;
use crate::packing::STRIP;

/// Bytes of a quad of columns of a strip: for each of 64 rows, the codes of four columns.
pub(super) const QUAD_BYTES: usize = 4 * STRIP;

/// Quads in a tile. 130 KB of codes stay in L2, from which they come fast enough: what counts is that sums are loaded and
/// stored once a tile, and for up to 2048 columns there is one.
pub(super) const TILE_QUADS: usize = 520;

/// Rows of activations that share a load of codes: their sums for a strip take 24 registers, codes four.
pub(super) const ROWS: usize = 6;

/// Activations of a quad of columns.
pub(super) type Quad = [i8; 4];

/// Codes of a strip and some quads.
#[repr(align(64))]
struct Tile([[u8; QUAD_BYTES]; TILE_QUADS]);

thread_local! {
    static TILE: RefCell<Box<Tile>> = RefCell::new(Box::new(Tile([[0; QUAD_BYTES]; TILE_QUADS])));
}

/// Evaluates `$call` for runs of `$batch` rows, as equal as can be: `$first` is the first row of
/// the run, the constant `$t`, at most [`ROWS`], how many they are.
macro_rules! in_runs {
    ($batch:expr, |$first:ident, $t:ident| $call:expr) => {{
        const { assert!($crate::kernels::x86::avx512_gemm::ROWS == 6) };
        let runs = $batch.div_ceil($crate::kernels::x86::avx512_gemm::ROWS);
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
                _ => with!(6),
            }
            $first += t;
        }
    }};
}
pub(super) use in_runs;

/// Adds to `out`, which holds what the sums begin with, the products of a job of `quads` quads of columns. Row `b` of
/// activations is `q(b)`; `decode(strip, quads, codes)` makes the codes of some quads, whose first is a multiple of `unit`,
/// and gives what the strip's sums are too large by on their account.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn add_products<'a>(
    job: &Job<'_>,
    quads: usize,
    unit: usize,
    q: impl Fn(usize) -> &'a [Quad],
    decode: impl Fn(usize, Range<usize>, &mut [[u8; QUAD_BYTES]]) -> [__m512i; 4],
    out: &mut [i32],
) {
    let (batch, rows) = (job.input().batch, job.rows());
    // Tiles of about the same width.
    let tiles = quads.div_ceil(TILE_QUADS / unit * unit);
    let width = quads.div_ceil(tiles).next_multiple_of(unit);
    TILE.with_borrow_mut(|tile| {
        let Tile(tile) = &mut **tile;
        for (s, strip) in job.strips().enumerate() {
            for from in (0..quads).step_by(width) {
                let range = from..(from + width).min(quads);
                let tile = &mut tile[..range.len()];
                let excess = decode(strip, range.clone(), tile);
                in_runs!(batch, |b, T| {
                    let q: [&[Quad]; T] = std::array::from_fn(|t| &q(b + t)[range.clone()]);
                    dot_rows(tile, excess, q, &mut out[b * rows + s * STRIP..], rows);
                });
            }
        }
    });
}

/// Adds to `out` the dot products of a tile's rows with `T` rows of activations, less `excess`; the 64 sums of row `t` start
/// at `out[t * out_stride]`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_rows<const T: usize>(
    tile: &[[u8; QUAD_BYTES]],
    excess: [__m512i; 4],
    q: [&[Quad]; T],
    out: &mut [i32],
    out_stride: usize,
) {
    let q = q.map(|q| &q[..tile.len()]);
    let mut acc: Sums<T> = load_rows(out, out_stride);
    for (i, codes) in tile.iter().enumerate() {
        let codes = codes.as_chunks::<64>().0;
        let codes = [0, 1, 2, 3].map(|r| load(&codes[r]));
        add_quad(&mut acc, codes, |t| q[t][i]);
    }
    subtract(&mut acc, excess);
    store_rows(acc, out, out_stride);
}

/// The sums of a strip for some rows of activations.
pub(super) type Sums<const T: usize> = [[__m512i; 4]; T];

/// Adds the products of a quad's codes with the activations of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn add_quad<const T: usize>(
    acc: &mut Sums<T>,
    codes: [__m512i; 4],
    q: impl Fn(usize) -> Quad,
) {
    for (t, acc) in acc.iter_mut().enumerate() {
        let q = broadcast(&q(t));
        for (acc, codes) in acc.iter_mut().zip(codes) {
            *acc = _mm512_dpbusd_epi32(*acc, codes, q);
        }
    }
}

/// Subtracts the same from each row's sums.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn subtract<const T: usize>(acc: &mut Sums<T>, excess: [__m512i; 4]) {
    for acc in acc {
        for (acc, excess) in acc.iter_mut().zip(excess) {
            *acc = _mm512_sub_epi32(*acc, excess);
        }
    }
}

/// The sums of row `t` of activations from `out[t * out_stride]` on.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_rows<const T: usize>(out: &[i32], out_stride: usize) -> Sums<T> {
    std::array::from_fn(|t| {
        let out = out[t * out_stride..][..STRIP].as_chunks().0;
        [0, 1, 2, 3].map(|r| load_sums(&out[r]))
    })
}

/// The other way round.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store_rows<const T: usize>(acc: Sums<T>, out: &mut [i32], out_stride: usize) {
    for (t, acc) in acc.into_iter().enumerate() {
        let out = out[t * out_stride..][..STRIP].as_chunks_mut().0;
        for (acc, out) in acc.into_iter().zip(out) {
            store_sums(out, acc);
        }
    }
}
