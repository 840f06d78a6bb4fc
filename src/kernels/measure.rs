//! What this machine can do at best, to hold the kernels' figures against: the rate at which it reads memory, and the rate
//! of its widest int8 dot product.

use std::hint::black_box;
use std::time::Instant;

use crate::threads::Pool;

/// Bytes that a thread reads at a time.
const CHUNK: usize = 1 << 20;

/// Bytes per second at which the pool reads `bytes` once, by the fastest of several plain loops.
pub fn read_bandwidth(bytes: &[u8], pool: &Pool) -> f64 {
    let time = |sum: fn(&[u8]) -> u64| {
        let start = Instant::now();
        pool.run(bytes.len().div_ceil(CHUNK), &|i| {
            black_box(sum(&bytes[i * CHUNK..((i + 1) * CHUNK).min(bytes.len())]));
        });
        bytes.len() as f64 / start.elapsed().as_secs_f64()
    };
    loops().into_iter().map(time).fold(0.0, f64::max)
}

/// The read loops that this CPU can run.
fn loops() -> Vec<fn(&[u8]) -> u64> {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2(bytes: &[u8]) -> u64 {
            sum::<16>(bytes)
        }
        #[target_feature(enable = "avx512f")]
        fn avx512(bytes: &[u8]) -> u64 {
            sum::<32>(bytes)
        }
        let mut loops: Vec<fn(&[u8]) -> u64> = vec![sum::<8>];
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            loops.push(|bytes| unsafe { avx2(bytes) });
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512 F.
            loops.push(|bytes| unsafe { avx512(bytes) });
        }
        loops
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![sum::<8>, sum::<16>]
}

/// Adds up the 64-bit words in `N` independent sums.
#[inline(always)]
fn sum<const N: usize>(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; N];
    let (words, _) = bytes.as_chunks::<8>();
    for words in words.chunks_exact(N) {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Products of int8 that one thread adds up in a second by the CPU's widest dot product, from registers; `None`
/// where this program has no such loop for the CPU.
pub fn dot_peak() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        const ROUNDS: usize = 1 << 19;

        /// Twelve chains of dot products, as many as it takes to hide their latency; an empty
        /// instruction keeps each in its register and in the loop.
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn vnni() -> __m512i {
            let (a, b) = (black_box(_mm512_set1_epi8(1)), black_box(_mm512_set1_epi8(1)));
            let mut acc = [_mm512_setzero_si512(); 12];
            for _ in 0..ROUNDS {
                for acc in &mut acc {
                    *acc = _mm512_dpbusd_epi32(*acc, a, b);
                    // SAFETY: no instruction at all.
                    unsafe {
                        std::arch::asm!("/* {0} */", inout(zmm_reg) * acc, options(nomem, nostack));
                    }
                }
            }
            acc.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b))
        }

        if is_x86_feature_detected!("avx512vnni") {
            let mut best = 0.0f64;
            for _ in 0..5 {
                let start = Instant::now();
                // SAFETY: the CPU has the instructions.
                black_box(unsafe { vnni() });
                best = best.max((12 * 64 * ROUNDS) as f64 / start.elapsed().as_secs_f64());
            }
            return Some(best);
        }
    }
    None
}
