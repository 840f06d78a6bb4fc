//! Kernels against the memory wall: weights from memory, rows in chunks over the pool, GB/s beside
//! that of a plain read loop over the same bytes in the same minute. Prints a table; shares are
//! medians over interleaved rounds.
//!
//! `cargo bench --bench bandwidth -- [--threads N] [--batch N] [--rounds N] [--cached] [FILTER]`

use std::hint::black_box;
use std::time::Instant;

use mmfree::kernels::{self, Input, Job, Kernel, stride};
use mmfree::packing::{PackedMatrix, STRIP};
use mmfree::threads::Pool;

/// Rows and columns.
const SHAPES: [(usize, usize); 4] = [(11264, 2048), (2560, 2560), (13824, 2560), (1024, 1024)];

/// Bytes to cycle through, well past any L3.
const BYTES: usize = 160 << 20;

/// Matrices that are read from the cache over and over, under `--cached`: 512 x 1000.
const CACHED: (usize, usize) = (512, 1000);

/// Strips that a thread takes at a time.
const CHUNK: usize = 16;

struct Case<'a> {
    kernel: &'a dyn Kernel,
    rows: usize,
    cols: usize,
    copies: usize,
    len: usize,
    /// Distance of the copies.
    stride: usize,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut cached = false;
    let (mut threads, mut batch, mut rounds, mut filter) = (1, 1, 9, String::new());
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).expect("a number");
        match arg.as_str() {
            "--threads" => threads = number(),
            "--batch" => batch = number(),
            "--rounds" => rounds = number(),
            "--cached" => cached = true,
            "--bench" => (),
            name => filter = name.to_owned(),
        }
    }
    let pool = Pool::new(threads);
    // Aligned to cache lines, as a mapped file is.
    let mut buffer = vec![0u8; BYTES + 64];
    let bytes = aligned(&mut buffer, BYTES);
    let mut seed = 1u64;
    for chunk in bytes.as_chunks_mut::<8>().0 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *chunk = (seed ^ seed >> 29).to_le_bytes();
    }
    println!("{threads} threads, batch {batch}; time of prepare apart, in % of the sums'");
    println!(
        "kernel               shape           GB/s   of read   Gweights/s   Gsums/s  of peak  prepare %"
    );
    let shapes = if cached { &[CACHED][..] } else { &SHAPES };
    for &(rows, cols) in shapes {
        for kernel in kernels::all() {
            if kernel.name().contains("scalar") || !kernel.name().contains(&filter) {
                continue;
            }
            let len = kernel.packing().packed_len(rows, cols).expect("a shape in range");
            // A batch reads the weights from memory once, whatever its size: fewer copies will do.
            let copies = (BYTES / len / batch.min(16)).max(1);
            let stride = if cached { 0 } else { len };
            let case = Case { kernel: kernel.as_ref(), rows, cols, copies, len, stride };
            report(&case, bytes, batch, rounds, &pool);
        }
    }
}

fn report(case: &Case<'_>, bytes: &[u8], batch: usize, rounds: usize, pool: &Pool) {
    let Case { kernel, rows, cols, copies, len, stride: distance } = *case;
    let cached = distance == 0;
    let q: Vec<i8> = (0..batch * stride(cols)).map(|i| (i * 37 % 255) as u8 as i8).collect();
    let sums: Vec<i32> =
        q.chunks(stride(cols)).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
    let prepared_len = kernel.prepared_len(cols);
    let mut prepared = vec![0; batch * prepared_len + 64];
    let prepared = aligned(&mut prepared, batch * prepared_len);
    let chunks = rows.div_ceil(STRIP).div_ceil(CHUNK);
    let mut out: Vec<Vec<i32>> = (0..chunks).map(|_| vec![0; batch * CHUNK * STRIP]).collect();
    let (mut peaks, mut reads, mut prepares, mut runs) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        peaks.extend(peak());
        reads.push(time(pool, || read(&bytes[..copies * len], pool)));
        prepares.push(time(pool, || {
            for _ in 0..copies {
                for (q, out) in q.chunks(stride(cols)).zip(prepared.chunks_mut(prepared_len.max(1)))
                {
                    kernel.prepare(cols, black_box(q), out);
                }
                black_box(&mut *prepared);
            }
        }));
        let input = Input { batch, cols, q: &q, sums: &sums, prepared };
        runs.push(time(pool, || {
            for copy in 0..copies {
                let copy = &bytes[copy * distance..][..len];
                let matrix = PackedMatrix::new(kernel.packing(), rows, cols, copy).expect("length");
                pool.run_each(&mut out, &|i, out| {
                    let strips = i * CHUNK..((i + 1) * CHUNK).min(matrix.strips());
                    let job = Job::new(matrix, strips, input);
                    job.run(kernel, &mut out[..batch * job.rows()]);
                });
                black_box(&mut out);
            }
        }));
    }
    let share: Vec<f64> = reads.iter().zip(&runs).map(|(read, run)| read / run).collect();
    let prepare: Vec<f64> = prepares.iter().zip(&runs).map(|(p, run)| 100.0 * p / run).collect();
    let sums = (rows * cols * copies * batch) as f64 / pool.threads() as f64;
    let of_peak: Vec<f64> = peaks.iter().zip(&runs).map(|(peak, run)| sums / run / peak).collect();
    // In the cache nothing but the core counts: the best round is the one that nobody disturbed.
    let best = |values: &[f64]| values.iter().copied().fold(f64::NAN, f64::min);
    let (run, of_peak) = if cached {
        let most = peaks.iter().copied().fold(f64::NAN, f64::max);
        (best(&runs), sums / best(&runs) / most)
    } else {
        (median(runs), median(of_peak))
    };
    let weights = (rows * cols * copies) as f64 / run / 1e9;
    println!(
        "{:<20} {:<14} {:>6.1} {:>8.2} {:>11.1} {:>9.1} {:>8.2} {:>9.1}",
        kernel.name(),
        format!("{rows}x{cols}"),
        (copies * len) as f64 / run / 1e9,
        median(share),
        weights,
        weights * batch as f64,
        of_peak,
        median(prepare),
    );
}

/// `len` bytes of `buffer` from the first cache line on.
fn aligned(buffer: &mut [u8], len: usize) -> &mut [u8] {
    let from = buffer.as_ptr().align_offset(64);
    &mut buffer[from..from + len]
}

/// Seconds of one thread's CPU, which leaves out what other programs take, or of the clock.
fn time(pool: &Pool, mut work: impl FnMut()) -> f64 {
    let start = (cpu_seconds(), Instant::now());
    work();
    match (pool.threads(), start.0, cpu_seconds()) {
        (1, Some(start), Some(end)) => end - start,
        _ => start.1.elapsed().as_secs_f64(),
    }
}

/// CPU time of this thread so far.
fn cpu_seconds() -> Option<f64> {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a timespec to be written.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
        (!failed).then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The most int8 products that a thread of this CPU adds up in a second, by its widest dot product.
fn peak() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        const ROUNDS: usize = 1 << 20;

        #[target_feature(enable = "avx512f,avx512vnni")]
        fn vnni() -> __m512i {
            let (a, b) = (black_box(_mm512_set1_epi8(1)), black_box(_mm512_set1_epi8(1)));
            let mut acc = [_mm512_setzero_si512(); 12];
            for _ in 0..ROUNDS {
                for acc in &mut acc {
                    *acc = _mm512_dpbusd_epi32(*acc, a, b);
                }
                // Keeps the products in the loop.
                acc = black_box_registers(acc);
            }
            acc.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b))
        }

        #[target_feature(enable = "avx512f")]
        #[inline]
        fn black_box_registers(mut acc: [__m512i; 12]) -> [__m512i; 12] {
            for acc in &mut acc {
                // SAFETY: no instruction at all.
                unsafe {
                    std::arch::asm!("/* {0} */", inout(zmm_reg) * acc, options(nomem, nostack))
                };
            }
            acc
        }

        if is_x86_feature_detected!("avx512vnni") {
            let start = cpu_seconds()?;
            // SAFETY: the CPU has the instructions.
            black_box(unsafe { vnni() });
            return Some((12 * 64 * ROUNDS) as f64 / (cpu_seconds()? - start));
        }
    }
    None
}

/// Reads every byte, in chunks over the pool.
fn read(bytes: &[u8], pool: &Pool) {
    let chunk = 1 << 20;
    pool.run(bytes.len().div_ceil(chunk), &|i| {
        let part = &bytes[i * chunk..((i + 1) * chunk).min(bytes.len())];
        black_box(sum(part));
    });
}

fn sum(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn wide(bytes: &[u8]) -> u64 {
            sum_words(bytes)
        }
        // SAFETY: the CPU has AVX2.
        return unsafe { wide(bytes) };
    }
    sum_words(bytes)
}

#[inline(always)]
fn sum_words(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for line in bytes.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}
