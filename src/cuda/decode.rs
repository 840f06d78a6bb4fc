//! One token of one sequence, in one launch: see `kernels/shape.cu`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DeviceRepr, PinnedHostSlice};

use super::Gpu;
use super::compile::Source;
use super::driver::{Arg, Structure};
use super::upload::{DeviceWeights, Layout, Part, padded};
use crate::error::Result;
use crate::format::Config;

/// Threads of a block that compute; those of longer rows, where the sender's multiprocessors have room for them.
const THREADS: usize = 256;
const MORE_THREADS: usize = 320;
/// All threads of a block, but for those that compute: one warp for norms; and with a sender, as in the kernel.
const NORM_THREADS: usize = 32;
const ALL_WITH_SENDER: usize = 384;

/// Bytes of a tile of weights; a block keeps at least and at most so many coming.
const TILE: usize = 512;
const LEAST_RING: usize = 8;
const MOST_RING: usize = 512;

/// Words of rows that a block can note for a phase, as in the kernel, of so many bytes, and integers that it can correct.
const NOTES: usize = 32;
const NOTE: usize = 48;
const FIXES: usize = 16;
const FIX: usize = 8;

/// The largest weight of a norm with which the kernel's bounds of rounding hold.
const LARGEST_NORM: f32 = (1 << 20) as f32;

/// Exchanges between blocks, as in the kernel.
const SETS: usize = 4;

/// Words of a thread at most, of the residual stream and of the MLP's inner row: a thread holds its part of a phase's row and of
/// the norms in registers, of the stream throughout. Nor would there be room to note all of longer rows that there is to note.
const MOST_HELD: usize = 6;
const MOST_INNER: usize = 16;

thread_local! {
    static LIMITS: Cell<[usize; 3]> = const { Cell::new([usize::MAX, MOST_RING, NOTES]) };
}

/// Runs `f`; the models that it makes decode with at most so many blocks, tiles of weights on their way to each, and words that it
/// can note for a phase: what small models meet on small GPUs only, and large ones everywhere, for tests.
#[doc(hidden)]
pub fn with_limits<T>(blocks: usize, ring: usize, notes: usize, f: impl FnOnce() -> T) -> T {
    let limits = [blocks.max(1), ring.clamp(LEAST_RING, MOST_RING), notes.clamp(1, NOTES)];
    let before = LIMITS.replace(limits);
    let out = f();
    LIMITS.set(before);
    out
}

/// Numbers that the kernel is compiled with, for checks without a model: 2.7B on an H100, a ragged one on 8 multiprocessors.
pub(super) const SAMPLES: [[(&str, usize); 8]; 2] = [
    [
        ("HIDDEN", 2560),
        ("WIDTH", 2560),
        ("INNER", 6912),
        ("VOCAB", 32000),
        ("BLOCKS", 132),
        ("RING", 260),
        ("MEMORY", 227 << 10),
        ("THREADS", 320),
    ],
    [
        ("HIDDEN", 203),
        ("WIDTH", 406),
        ("INNER", 1001),
        ("VOCAB", 3000),
        ("BLOCKS", 8),
        ("RING", 48),
        ("MEMORY", 64 << 10),
        ("THREADS", 256),
    ],
];

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Place {
    tiles: u64,
    floats: u64,
}

/// What the kernel is told; see there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Args {
    arena: u64,
    layer_stride: u64,
    bounds: u64,
    embedding: u64,
    embedding_scales: u64,
    state: u64,
    exchange: u64,
    logits: u64,
    error: u64,
    failed: u64,
    place: [Place; 5],
    token: u32,
    first_set: u32,
    embedding_kind: i32,
    layers: i32,
    bounded: i32,
    want: i32,
    eps: f32,
    end: u32,
}

// SAFETY: words of 8 bytes, then of 4, an even number of them: no padding; laid out as in the kernel.
unsafe impl DeviceRepr for Args {}

/// The decode kernel, set up for a model.
pub(super) struct Decoder {
    function: CudaFunction,
    args: Args,
    blocks: usize,
    threads: usize,
    shared: usize,
    _exchange: CudaSlice<u32>,
    /// An error for each row.
    errors: CudaSlice<u64>,
    host: HostRows,
    stream: Arc<CudaStream>,
}

/// Memory of the host that the kernel writes to while it is read: twice, in turn, for each row whether there is an error, then for
/// each the logits. A logit that is not there yet is `EMPTY`.
struct HostRows {
    memory: PinnedHostSlice<u64>,
    /// Its first word: asking for it is a call of the driver's.
    start: *const u64,
    vocab: usize,
    /// The half that is in use, and for each half how many rows have logits of a run.
    half: usize,
    used: [usize; 2],
}

// SAFETY: `start` is the memory's, which may go from thread to thread; it is read and written by atomic operations only.
unsafe impl Send for HostRows {}
// SAFETY: as above.
unsafe impl Sync for HostRows {}

const EMPTY: u32 = u32::MAX;

impl HostRows {
    const ROWS: usize = Decoder::MOST_ROWS;

    /// Words of 8 bytes of a row, and of a half.
    fn row_words(vocab: usize) -> usize {
        vocab.div_ceil(2)
    }

    fn half_words(vocab: usize) -> usize {
        Self::ROWS * (1 + Self::row_words(vocab))
    }

    fn new(gpu: &Gpu, vocab: usize) -> Result<HostRows> {
        let words = 2 * Self::half_words(vocab);
        // SAFETY: written right below, before anything reads it.
        let mut memory = unsafe { gpu.context.alloc_pinned_with_flags(words, 0) }
            .map_err(gpu.failed("cannot allocate memory of the host"))?;
        memory.as_mut_slice().map_err(gpu.failed("cannot use memory of the host"))?.fill(u64::MAX);
        let start = memory.as_ptr().map_err(gpu.failed("cannot use memory of the host"))?;
        let rows = HostRows { memory, start, vocab, half: 0, used: [0; 2] };
        rows.clear_flags();
        Ok(rows)
    }

    /// Takes back that any row of either half has an error.
    fn clear_flags(&self) {
        for half in 0..2 {
            for flag in self.words(half * Self::half_words(self.vocab), Self::ROWS) {
                flag.store(0, Ordering::Relaxed);
            }
        }
    }

    fn words(&self, from: usize, len: usize) -> &[AtomicU64] {
        assert!(from + len <= self.memory.len(), "words of pinned memory");
        // SAFETY: within the memory, as just seen, which lives as long as `self`; initialised by `new`. Others that write there
        // meanwhile are the GPU, whole words of 4 bytes, and this.
        unsafe { std::slice::from_raw_parts(self.start.add(from).cast::<AtomicU64>(), len) }
    }

    fn flag(&self, row: usize) -> &AtomicU64 {
        assert!(row < Self::ROWS, "a row of a decoder");
        &self.words(self.half * Self::half_words(self.vocab) + row, 1)[0]
    }

    fn logits(&self, half: usize, row: usize) -> &[AtomicU64] {
        let words = Self::row_words(self.vocab);
        self.words(half * Self::half_words(self.vocab) + Self::ROWS + row * words, words)
    }

    /// Empties a half.
    fn empty(&mut self, half: usize) {
        for row in 0..std::mem::take(&mut self.used[half]) {
            for word in self.logits(half, row) {
                word.store(u64::MAX, Ordering::Relaxed);
            }
        }
    }

    /// Hands a row's logits on as they come.
    fn read(&self, gpu: &Gpu, row: usize, mut take: impl FnMut(&[f32])) -> Result<()> {
        const CHUNK: usize = 512;
        /// Looks between questions whether the GPU still works on it.
        const LOOKS: usize = 256;
        let mut left = self.vocab;
        for chunk in self.logits(self.half, row).chunks(CHUNK) {
            let some = left.min(2 * CHUNK);
            let mut buffer = [0u64; CHUNK];
            let mut looks = 0;
            let mut ended = false;
            loop {
                for (to, from) in buffer.iter_mut().zip(chunk) {
                    *to = from.load(Ordering::Relaxed);
                }
                let bits = &bytemuck::cast_slice::<u64, u32>(&buffer)[..some];
                if !bits.iter().fold(false, |any, &bits| any | (bits == EMPTY)) {
                    break;
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
            take(&bytemuck::cast_slice::<u64, f32>(&buffer)[..some]);
            left -= some;
        }
        Ok(())
    }
}

/// A token to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The state's address.
    pub state: u64,
    pub token: u32,
    /// Whether logits are wanted.
    pub want: bool,
}

impl Decoder {
    /// Rows that go through faster one after the other than together, as measured on an H100.
    pub const MOST_ROWS: usize = 12;

    /// `None` where the model or the GPU is not made for it: short convolutions, weights of norms that are very large, rows too
    /// long for the registers or the shared memory, blocks that cannot be made to run at once.
    pub fn new(
        gpu: &Gpu,
        config: &Config,
        weights: &DeviceWeights,
        bounded: bool,
    ) -> Result<Option<Decoder>> {
        let layout = &weights.layout;
        if config.short_conv.is_some() || !gpu.cooperative || weights.largest_norm > LARGEST_NORM {
            return Ok(None);
        }
        let (hidden, width, inner) =
            (config.hidden_size, config.state_size, config.intermediate_size);
        let words = |len: usize| len.div_ceil(256) * 64;
        if words(hidden.max(width)) > MOST_HELD * THREADS || words(inner) > MOST_INNER * THREADS {
            return Ok(None);
        }
        // Each block has something to do in a layer: the others wait for it, so that none falls behind by more than that.
        let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down];
        let units = parts.iter().map(|part| part.tiles).max().unwrap_or(1);
        let [most_blocks, most_ring, notes] = LIMITS.get();
        let blocks = gpu.info.multiprocessors.min(units).min(most_blocks);
        let sends = gpu.info.capability >= 90;
        // Where more threads have fewer words each.
        let more = words(hidden.max(width)).div_ceil(MORE_THREADS)
            < words(hidden.max(width)).div_ceil(THREADS);
        let computing = if sends && more { MORE_THREADS } else { THREADS };
        let rest = shared_without_ring(layout, blocks, sends);
        // What the system reserves comes on top.
        let ring = gpu.shared_memory.saturating_sub(rest + 1024) / TILE;
        if ring < LEAST_RING {
            return Ok(None);
        }
        let ring = ring.min(most_ring);
        let shared = rest + ring * TILE;
        let mut numbers = vec![
            ("HIDDEN", hidden),
            ("WIDTH", width),
            ("INNER", inner),
            ("VOCAB", config.vocab_size),
            ("BLOCKS", blocks),
            ("RING", ring),
            ("MEMORY", shared),
            ("THREADS", computing),
        ];
        if notes < NOTES {
            numbers.push(("NOTES", notes));
        }
        let source = Source::decode(&numbers);
        let function = gpu.function_from(&source, "decode", shared)?;
        let threads = if sends { ALL_WITH_SENDER } else { computing + NORM_THREADS };
        let fit = function
            .occupancy_max_active_blocks_per_multiprocessor(threads as u32, shared, None)
            .map_err(gpu.failed("cannot set up a kernel"))?;
        if fit == 0 {
            return Ok(None);
        }
        let set = 2 * padded(width) + 2 * padded(hidden) + padded(inner);
        let exchange = gpu.upload(&vec![u32::MAX; SETS * set])?;
        let errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        let host = HostRows::new(gpu, config.vocab_size)?;
        let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down, &layout.head];
        let place =
            parts.map(|part| Place { tiles: part.weights as u64, floats: part.floats as u64 });
        let args = Args {
            arena: weights.layer(0),
            layer_stride: layout.layer as u64,
            bounds: layout.bounds as u64,
            embedding: weights.embedding(),
            embedding_scales: weights.embedding_scales(),
            state: 0,
            exchange: gpu.address(&exchange),
            logits: 0,
            error: 0,
            failed: 0,
            place,
            token: 0,
            first_set: 0,
            embedding_kind: weights.embedding_kind,
            layers: config.num_layers as i32,
            bounded: i32::from(bounded),
            want: 0,
            eps: config.rms_norm_eps,
            end: 0,
        };
        let _exchange = exchange;
        let stream = gpu.stream.clone();
        let decoder =
            Decoder { function, args, blocks, threads, shared, _exchange, errors, host, stream };
        Ok(Some(decoder))
    }

    /// Feeds tokens to states, one after the other, at most [`MOST_ROWS`](Self::MOST_ROWS); `take` gets a row's
    /// number and its next logits.
    /// Gives the key of the first error in the order of operations and then rows, `u64::MAX` for none. The GPU may still be at
    /// the end of the last token when this returns.
    pub fn run(
        &mut self,
        gpu: &Gpu,
        rows: &[Row],
        mut take: impl FnMut(usize, &[f32]),
    ) -> Result<u64> {
        assert!(rows.len() <= Self::MOST_ROWS, "rows of a decoder");
        let key = self.run_rows(gpu, rows, &mut take);
        if key.is_err() {
            // Some rows may still be on their way.
            let _ = self.stream.synchronize();
            self.host.empty(0);
            self.host.empty(1);
            // Nor is what they may have found to be an error one of the next run.
            let _ = self.forget_errors(gpu);
        }
        key
    }

    /// Takes back all errors of rows. The GPU must be idle.
    fn forget_errors(&mut self, gpu: &Gpu) -> Result<()> {
        self.errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        self.host.clear_flags();
        Ok(())
    }

    fn run_rows(
        &mut self,
        gpu: &Gpu,
        rows: &[Row],
        take: &mut impl FnMut(usize, &[f32]),
    ) -> Result<u64> {
        self.host.half = 1 - self.host.half;
        self.host.used[self.host.half] = rows.len();
        for (n, row) in rows.iter().enumerate() {
            self.args.state = row.state;
            self.args.token = row.token;
            self.args.want = i32::from(row.want);
            self.args.error = gpu.address(&self.errors) + 8 * n as u64;
            // With unified addressing, the address of pinned memory is the same on the device.
            self.args.failed = self.host.flag(n).as_ptr() as u64;
            self.args.logits = self.host.logits(self.host.half, n).as_ptr() as u64;
            // SAFETY: the buffers are this decoder's and the weights', as large as the layout has them, the host's with room
            // for MOST_ROWS rows; the state is one of this model; the token is below the vocabulary's size.
            unsafe {
                let grid = [self.blocks, 1, 1];
                let args = [Arg::Struct(&self.args as &dyn Structure)];
                gpu.launch(&self.function, grid, self.threads as u32, self.shared, true, &args)?;
            }
            let sets = SETS as u32;
            self.args.first_set = (self.args.first_set + self.args.layers as u32 % sets) % sets;
        }
        // While the GPU works.
        self.host.empty(1 - self.host.half);
        for (n, _) in rows.iter().enumerate().filter(|(_, row)| row.want) {
            self.host.read(gpu, n, |logits| take(n, logits))?;
        }
        // A row whose logits are there has ended but for that, and the rows before it.
        if rows.last().is_none_or(|row| !row.want) {
            gpu.stream.synchronize().map_err(gpu.failed("failed in a forward pass"))?;
        }
        fence(Ordering::Acquire);
        if (0..rows.len()).all(|n| self.host.flag(n).load(Ordering::Relaxed) == 0) {
            return Ok(u64::MAX);
        }
        gpu.stream.synchronize().map_err(gpu.failed("failed in a forward pass"))?;
        let keys = gpu.download(&self.errors)?;
        self.forget_errors(gpu)?;
        // The kernel knows of one row only.
        let keys = keys.iter().zip(0..rows.len() as u64);
        Ok(keys
            .filter(|&(&key, _)| key != u64::MAX)
            .map(|(key, n)| key | n)
            .min()
            .unwrap_or(u64::MAX))
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // The kernel may not have ended yet, and the host's memory is freed at once.
        let _ = self.stream.synchronize();
    }
}

/// Bytes of the kernel's `Memory` but for the ring; where weights are `sent` for, floats have a place there too.
fn shared_without_ring(layout: &Layout, blocks: usize, sent: bool) -> usize {
    let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down, &layout.head];
    let most = |of: &dyn Fn(&Part) -> usize| parts.iter().map(|part| of(part)).max().unwrap_or(0);
    // Squares, and but for down_proj's the row behind them.
    let lanes = |part: &Part| 16 * (part.chunks * 16 + 4);
    let with_row = |part: &Part| lanes(part) + part.chunks * 256;
    let squares = lanes(&layout.down).max(with_row(&layout.ifg)).max(with_row(&layout.o_proj));
    let q = 2 * (most(&|part| part.chunks).max(3 * layout.ifg.chunks) * 64 + 4);
    let acc = 2 * (most(&|part| part.tiles.div_ceil(blocks) * part.matrices * 8) + 4);
    let floats = if sent { most(&|part| part.float_count) } else { 0 };
    let notes = NOTES * NOTE / 4;
    // What the warps tell each other, what they wait for, the runs; and what alignment takes.
    let small = 3 * 12 + 16 + FIXES * FIX / 4 + 8 + 2 * (16 + 1) + 2 + 5 * 3 + 12;
    (4 * (squares + q + acc + floats + notes + small)).next_multiple_of(16)
}
