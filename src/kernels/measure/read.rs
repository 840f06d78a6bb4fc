//! Plain read loops. A weak loop would flatter the kernels, so there are several, and the best one counts: which one that is
//! depends on the machine and the number of threads.

use std::hint::black_box;
use std::time::Instant;

use crate::threads::Pool;

/// A loop that reads bytes and does nothing with them but add them up.
#[derive(Clone, Copy, Debug)]
pub struct ReadLoop {
    /// What tells it from others: the width, the streams that a thread reads side by side, and how far ahead it prefetches.
    pub name: &'static str,
    sum: fn(&[u8]) -> u64,
}

/// Bytes that a thread takes at a time: long enough for the CPU's own prefetching, short enough that threads end together.
const CHUNK: usize = 1 << 20;

impl ReadLoop {
    /// Bytes per second at which the pool reads `bytes` once by this loop.
    pub fn rate(&self, bytes: &[u8], pool: &Pool) -> f64 {
        let start = Instant::now();
        pool.run_on_all(bytes.len().div_ceil(CHUNK), &|i| {
            black_box((self.sum)(&bytes[i * CHUNK..((i + 1) * CHUNK).min(bytes.len())]));
        });
        bytes.len() as f64 / start.elapsed().as_secs_f64()
    }
}

/// Bytes per second at which the pool reads `bytes` once by each of [`read_loops`].
pub fn read_rates(bytes: &[u8], pool: &Pool) -> Vec<f64> {
    read_loops().iter().map(|read| read.rate(bytes, pool)).collect()
}

/// What a loop is called, and how it adds up.
type Named = (&'static str, fn(&[u8]) -> u64);

/// A cache line.
type Line = [u8; 64];

/// Adds up lines, in whatever registers suit it.
trait Adder: Copy {
    fn zero() -> Self;
    fn add(self, line: &Line) -> Self;
    fn total(self) -> u64;
}

/// 64-bit words, which the compiler puts into the vectors of the features it compiles for.
#[derive(Clone, Copy)]
struct Words([u64; 8]);

impl Adder for Words {
    #[inline(always)]
    fn zero() -> Words {
        Words([0; 8])
    }

    #[inline(always)]
    fn add(mut self, line: &Line) -> Words {
        for (sum, word) in self.0.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
        self
    }

    #[inline(always)]
    fn total(self) -> u64 {
        self.0.into_iter().fold(0, u64::wrapping_add)
    }
}

/// Adds up all whole lines: `STREAMS` equal parts side by side, `LINES` lines of each at a time. `prefetch` gets every
/// line's place.
#[inline(always)]
fn sum<A: Adder, const STREAMS: usize, const LINES: usize>(
    bytes: &[u8],
    prefetch: impl Fn(*const Line),
) -> u64 {
    let (lines, _) = bytes.as_chunks::<64>();
    let (blocks, rest) = lines.as_chunks::<LINES>();
    let part = blocks.len() / STREAMS;
    let streams: [_; STREAMS] = std::array::from_fn(|s| &blocks[s * part..][..part]);
    let mut sums = [[A::zero(); LINES]; STREAMS];
    for i in 0..part {
        for (sums, stream) in sums.iter_mut().zip(&streams) {
            for (sum, line) in sums.iter_mut().zip(&stream[i]) {
                prefetch(line);
                *sum = sum.add(line);
            }
        }
    }
    let mut total = A::zero();
    for line in blocks[STREAMS * part..].iter().flatten().chain(rest) {
        total = total.add(line);
    }
    sums.iter().flatten().fold(total.total(), |total, sum| total.wrapping_add(sum.total()))
}

#[cfg(not(target_arch = "x86_64"))]
pub use portable::read_loops;
#[cfg(target_arch = "x86_64")]
pub use x86::read_loops;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Adder, Line, Named, ReadLoop, Words, sum};

    #[derive(Clone, Copy)]
    struct Zmm(__m512i);

    // Only used in functions that have AVX-512 F.
    impl Adder for Zmm {
        #[inline(always)]
        fn zero() -> Zmm {
            // SAFETY: the caller has AVX-512 F.
            Zmm(unsafe { _mm512_setzero_si512() })
        }

        #[inline(always)]
        fn add(self, line: &Line) -> Zmm {
            // SAFETY: the caller has AVX-512 F, and the reference is to 64 readable bytes; the load
            // needs no alignment.
            Zmm(unsafe { _mm512_add_epi64(self.0, _mm512_loadu_si512(line.as_ptr().cast())) })
        }

        #[inline(always)]
        fn total(self) -> u64 {
            // SAFETY: the caller has AVX-512 F.
            unsafe { _mm512_reduce_add_epi64(self.0) as u64 }
        }
    }

    /// Fetches the line so many bytes further on into the cache.
    #[inline(always)]
    fn near<const AHEAD: usize>(line: *const Line) {
        // SAFETY: a hint, which faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.wrapping_byte_add(AHEAD).cast()) }
    }

    /// The same for bytes that are read once.
    #[inline(always)]
    fn once<const AHEAD: usize>(line: *const Line) {
        // SAFETY: a hint, which faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(line.wrapping_byte_add(AHEAD).cast()) }
    }

    fn none(_: *const Line) {}

    macro_rules! compiled {
        ($features:literal, $sum:expr) => {{
            fn run(bytes: &[u8]) -> u64 {
                #[target_feature(enable = $features)]
                fn compiled(bytes: &[u8]) -> u64 {
                    $sum(bytes)
                }
                // SAFETY: only listed where the CPU has the features.
                unsafe { compiled(bytes) }
            }
            run
        }};
    }

    /// The read loops that this CPU can run: those that were the fastest somewhere.
    pub fn read_loops() -> Vec<ReadLoop> {
        let mut loops = Vec::new();
        if !is_x86_feature_detected!("avx2") {
            let sse2: [Named; 3] = [
                ("sse2", |b| sum::<Words, 1, 4>(b, none)),
                ("sse2, 512 B ahead", |b| sum::<Words, 1, 4>(b, near::<512>)),
                ("sse2, 4 streams", |b| sum::<Words, 4, 1>(b, none)),
            ];
            loops.extend(sse2.map(|(name, sum)| ReadLoop { name, sum }));
            return loops;
        }
        let avx2: [Named; 6] = [
            ("avx2", compiled!("avx2", |b| sum::<Words, 1, 2>(b, none))),
            ("avx2, 4 KiB ahead", compiled!("avx2", |b| sum::<Words, 1, 2>(b, near::<4096>))),
            ("avx2, 1 KiB ahead, once", compiled!("avx2", |b| sum::<Words, 1, 2>(b, once::<1024>))),
            ("avx2, 2 streams", compiled!("avx2", |b| sum::<Words, 2, 1>(b, none))),
            ("avx2, 4 streams", compiled!("avx2", |b| sum::<Words, 4, 1>(b, none))),
            (
                "avx2, 4 streams, 1 KiB ahead",
                compiled!("avx2", |b| sum::<Words, 4, 1>(b, near::<1024>)),
            ),
        ];
        loops.extend(avx2.map(|(name, sum)| ReadLoop { name, sum }));
        if is_x86_feature_detected!("avx512f") {
            let avx512: [Named; 4] = [
                (
                    "avx512, 4 KiB ahead",
                    compiled!("avx512f", |b| sum::<Zmm, 1, 4>(b, near::<4096>)),
                ),
                (
                    "avx512, 1 KiB ahead, once",
                    compiled!("avx512f", |b| sum::<Zmm, 1, 4>(b, once::<1024>)),
                ),
                ("avx512, 4 streams", compiled!("avx512f", |b| sum::<Zmm, 4, 1>(b, none))),
                (
                    "avx512, 4 streams, 1 KiB ahead",
                    compiled!("avx512f", |b| sum::<Zmm, 4, 1>(b, near::<1024>)),
                ),
            ];
            loops.extend(avx512.map(|(name, sum)| ReadLoop { name, sum }));
        }
        loops
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod portable {
    use super::{Line, Named, ReadLoop, Words, sum};

    /// Fetches the line so many bytes further on into the cache.
    #[inline(always)]
    fn near<const AHEAD: usize>(line: *const Line) {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a hint, which faults nowhere.
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) line.wrapping_byte_add(AHEAD), options(nostack, preserves_flags, readonly));
        }
        let _ = line;
    }

    fn none(_: *const Line) {}

    /// The read loops.
    pub fn read_loops() -> Vec<ReadLoop> {
        let loops: [Named; 6] = [
            ("words", |b| sum::<Words, 1, 2>(b, none)),
            ("words, 256 B ahead", |b| sum::<Words, 1, 2>(b, near::<256>)),
            ("words, 1 KiB ahead", |b| sum::<Words, 1, 2>(b, near::<1024>)),
            ("words, 2 streams", |b| sum::<Words, 2, 1>(b, none)),
            ("words, 4 streams", |b| sum::<Words, 4, 1>(b, none)),
            ("words, 4 streams, 512 B ahead", |b| sum::<Words, 4, 1>(b, near::<512>)),
        ];
        loops.map(|(name, sum)| ReadLoop { name, sum }).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_reads_every_line() {
        for lines in [0, 1, 3, 4, 7, 64, 1001] {
            let bytes: Vec<u8> = (0..64 * lines as u32 + 5).map(|i| (i * 37 % 251) as u8).collect();
            let words = bytes[..64 * lines].as_chunks::<8>().0.iter();
            let expected =
                words.fold(0u64, |sum, &word| sum.wrapping_add(u64::from_le_bytes(word)));
            for read in read_loops() {
                assert_eq!((read.sum)(&bytes), expected, "{}, {lines} lines", read.name);
            }
        }
    }

    #[test]
    fn a_rate_is_a_number_even_of_little() {
        for threads in [1, 2] {
            for rate in read_rates(&[1; 100], &Pool::new(threads)) {
                assert!(rate.is_finite() && rate > 0.0, "{rate}");
            }
        }
    }
}
