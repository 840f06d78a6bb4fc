//! Host memory that the decode kernel writes while the host reads it: logits, error flags, and the
//! messages about a launch that was made before its token was known.

use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::PinnedHostSlice;

use super::Gpu;
use crate::error::Result;

/// Stands for a logit that has not been written yet.
const EMPTY: u32 = u32::MAX;

/// In the order to a launch: no token yet.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// Words of 8 bytes before the first half, and there the order, and the number of a launch that has
/// given up, in lines of their own.
const HEADER: usize = 32;
/// Words of 8 bytes that rows and flags are multiples of: two lines.
const LINE: usize = 16;
const ORDER: usize = 0;
const GONE: usize = 16;

/// The memory. After the header come two halves, used in turn: an error flag for each row, then the
/// logits of each.
pub(super) struct HostRows {
    memory: PinnedHostSlice<u64>,
    /// Its first word: asking for it is a call of the driver's.
    start: *const u64,
    rows: usize,
    vocab: usize,
    /// The half that is in use, and for each half how many rows have logits of a run.
    half: usize,
    used: [usize; 2],
}

// SAFETY: `start` is the memory's, which may go from thread to thread; it is written by atomic
// operations only, and read by such or volatile ones.
unsafe impl Send for HostRows {}
// SAFETY: as above.
unsafe impl Sync for HostRows {}

impl HostRows {
    /// Room for `rows` rows of `vocab` logits.
    pub fn new(gpu: &Gpu, vocab: usize, rows: usize) -> Result<HostRows> {
        let words = HEADER + 2 * (rows.next_multiple_of(LINE) + rows * row_words(vocab));
        // SAFETY: written right below, before anything reads it.
        let mut memory = unsafe { gpu.context.alloc_pinned_with_flags(words, 0) }
            .map_err(gpu.failed("cannot allocate memory of the host"))?;
        memory.as_mut_slice().map_err(gpu.failed("cannot use memory of the host"))?.fill(u64::MAX);
        let start = memory.as_ptr().map_err(gpu.failed("cannot use memory of the host"))?;
        let rows = HostRows { memory, start, rows, vocab, half: 0, used: [0; 2] };
        rows.clear_flags();
        rows.word(ORDER).store(0, Ordering::Relaxed);
        rows.word(GONE).store(0, Ordering::Relaxed);
        Ok(rows)
    }

    /// The first word of a half.
    fn half_at(&self, half: usize) -> usize {
        HEADER + half * (self.rows.next_multiple_of(LINE) + self.rows * row_words(self.vocab))
    }

    fn words(&self, from: usize, len: usize) -> &[AtomicU64] {
        assert!(from + len <= self.memory.len(), "words of pinned memory");
        // SAFETY: within the memory, as just seen, which lives as long as `self`; initialised by
        // `new`. Others that write there meanwhile are the GPU, whole words of 4 bytes, and this.
        unsafe { std::slice::from_raw_parts(self.start.add(from).cast::<AtomicU64>(), len) }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words(at, 1)[0]
    }

    fn flags(&self, half: usize) -> &[AtomicU64] {
        self.words(self.half_at(half), self.rows)
    }

    fn logits(&self, half: usize, row: usize) -> &[AtomicU64] {
        let from = self.half_at(half) + self.rows.next_multiple_of(LINE);
        self.words(from + row * row_words(self.vocab), self.vocab.div_ceil(2))
    }

    // With unified addressing, the address of pinned memory is the same on the device.

    /// The address of a row's flag.
    pub fn flag_address(&self, half: usize, row: usize) -> u64 {
        (&raw const self.flags(half)[row]) as u64
    }

    /// The address of a row's logits.
    pub fn logits_address(&self, half: usize, row: usize) -> u64 {
        self.logits(half, row).as_ptr() as u64
    }

    /// The address of the order.
    pub fn order(&self) -> u64 {
        self.word(ORDER).as_ptr() as u64
    }

    /// The address of the number of a launch that has given up.
    pub fn gone(&self) -> u64 {
        self.word(GONE).as_ptr() as u64
    }

    /// Gives the launch of that number its token.
    pub fn give_order(&self, number: u32, token: u32) {
        self.word(ORDER).store(u64::from(number) << 32 | u64::from(token), Ordering::Release);
    }

    /// Clears the error flags of both halves.
    pub fn clear_flags(&self) {
        for flag in self.flags(0).iter().chain(self.flags(1)) {
            flag.store(0, Ordering::Relaxed);
        }
    }

    /// Whether one of the first rows of the half in use has an error.
    pub fn any_flag(&self, rows: usize) -> bool {
        self.flags(self.half)[..rows].iter().any(|flag| flag.load(Ordering::Relaxed) != 0)
    }

    /// Switches to the other half, for so many rows; gives its number.
    pub fn turn(&mut self, rows: usize) -> usize {
        self.half = 1 - self.half;
        self.used[self.half] = rows;
        self.half
    }

    /// Empties the half that is not in use.
    pub fn empty_other(&mut self) {
        self.empty(1 - self.half);
    }

    /// Empties both halves.
    pub fn empty_all(&mut self) {
        self.empty(0);
        self.empty(1);
    }

    fn empty(&mut self, half: usize) {
        for row in 0..std::mem::take(&mut self.used[half]) {
            for word in self.logits(half, row) {
                word.store(u64::MAX, Ordering::Relaxed);
            }
        }
    }

    /// Reads a row's logits as they are written; of the launch of that `number`, if it was made
    /// before its token. False where the launch has given up.
    pub fn read(
        &self,
        gpu: &Gpu,
        row: usize,
        out: &mut [f32],
        number: Option<u32>,
    ) -> Result<bool> {
        /// Words at a time.
        const CHUNK: usize = 512;
        /// Polls between two checks that the GPU still runs.
        const LOOKS: usize = 1 << 10;
        let logits = self.logits(self.half, row);
        for (words, out) in logits.chunks(CHUNK).zip(out.chunks_mut(2 * CHUNK)) {
            let mut looks = 0;
            let mut ended = false;
            while !copy(words, out) {
                if number
                    .is_some_and(|number| self.word(GONE).load(Ordering::Relaxed) as u32 == number)
                {
                    return Ok(false);
                }
                if ended {
                    return Err(gpu.error("failed in a forward pass: it has ended without logits"));
                }
                looks += 1;
                if looks % LOOKS == 0 {
                    ended = gpu.is_idle().map_err(gpu.failed("failed in a forward pass"))?;
                }
                std::hint::spin_loop();
            }
        }
        Ok(true)
    }
}

/// Words of 8 bytes from a row to the next, whole lines: the kernel writes 16 bytes at a time.
fn row_words(vocab: usize) -> usize {
    vocab.div_ceil(2).next_multiple_of(LINE)
}

/// Copies logits; whether all are there.
fn copy(words: &[AtomicU64], out: &mut [f32]) -> bool {
    let done = copy_most(words, out);
    let mut there = done.is_some();
    let done = done.unwrap_or(0);
    for (word, out) in words[done / 2..].iter().zip(out[done..].chunks_mut(2)) {
        let bits = word.load(Ordering::Relaxed);
        // The first of two is in the lower half on the little-endian hosts that GPUs have.
        for (out, bits) in out.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
            there &= bits != EMPTY;
            *out = f32::from_bits(bits);
        }
    }
    there
}

/// Copies most of the logits, four at a time. Gives how many, an even number, or none where one is
/// not there.
#[cfg(target_arch = "x86_64")]
fn copy_most(words: &[AtomicU64], out: &mut [f32]) -> Option<usize> {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi32,
        _mm_setzero_si128, _mm_storeu_si128,
    };

    let fours = out.len().min(2 * words.len()) / 4;
    assert!(words.as_ptr().cast::<__m128i>().is_aligned(), "rows begin with a line");
    // SAFETY: SSE2 is part of x86_64. `fours` times 16 bytes lie within both slices; those that are
    // read are aligned, and what the GPU writes there meanwhile are whole words of 4 bytes, each of
    // which is read at once: volatile, as memory of a device is.
    let missing = unsafe {
        let empty = _mm_set1_epi32(-1);
        let mut any = _mm_setzero_si128();
        for n in 0..fours {
            let four = words.as_ptr().cast::<__m128i>().add(n).read_volatile();
            any = _mm_or_si128(any, _mm_cmpeq_epi32(four, empty));
            _mm_storeu_si128(out.as_mut_ptr().cast::<__m128i>().add(n), four);
        }
        _mm_movemask_epi8(any)
    };
    (missing == 0).then_some(4 * fours)
}

/// As above, two at a time.
#[cfg(not(target_arch = "x86_64"))]
fn copy_most(words: &[AtomicU64], out: &mut [f32]) -> Option<usize> {
    let mut missing = false;
    let mut done = 0;
    for (word, out) in words.iter().zip(out.chunks_exact_mut(2)) {
        let bits = word.load(Ordering::Relaxed);
        let (first, second) = (bits as u32, (bits >> 32) as u32);
        missing |= (first == EMPTY) | (second == EMPTY);
        out.copy_from_slice(&[f32::from_bits(first), f32::from_bits(second)]);
        done += 2;
    }
    (!missing).then_some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aligned as rows are.
    #[repr(align(128))]
    struct Row([AtomicU64; 12]);

    #[test]
    fn logits_are_there_when_none_is_empty() {
        let one = u64::from(1f32.to_bits());
        let full = || Row(std::array::from_fn(|_| AtomicU64::new(one << 32 | one)));
        for len in 1..24 {
            let mut out = vec![0.0; len];
            let words = len.div_ceil(2);
            assert!(copy(&full().0[..words], &mut out), "{len}");
            assert_eq!(out, vec![1.0; len]);
            for at in 0..2 * words {
                let row = full();
                let bits = u64::from(EMPTY) << (32 * (at % 2));
                row.0[at / 2].fetch_or(bits, Ordering::Relaxed);
                assert_eq!(copy(&row.0[..words], &mut out), at >= len, "{at} of {len}");
            }
        }
    }
}
