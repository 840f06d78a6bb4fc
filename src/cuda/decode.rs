//! One token of one sequence, in one launch: see `kernels/shape.cu`.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DeviceRepr};

use super::Gpu;
use super::compile::Source;
use super::driver::{Arg, Structure};
use super::host_rows::{HostRows, NO_TOKEN};
use super::upload::{DeviceWeights, Layout, Part, padded};
use crate::error::Result;
use crate::format::Config;

/// A sequence whose next token came within this time after the one before is taken to go on so: see
/// [`Decoder::run`].
const SOON: Duration = Duration::from_micros(100);

/// Threads of a block that compute; those of longer rows, where the sender's multiprocessors have
/// room for them.
const THREADS: usize = 256;
const MORE_THREADS: usize = 320;
/// All threads of a block, but for those that compute: one warp for norms; and with a sender, as in
/// the kernel.
const NORM_THREADS: usize = 32;
const ALL_WITH_SENDER: usize = 384;

/// Bytes of a tile of weights; a block keeps at least and at most so many coming.
const TILE: usize = 512;
const LEAST_RING: usize = 8;
const MOST_RING: usize = 512;

/// Words of rows that a block can note for a phase, as in the kernel, of so many bytes, and
/// integers that it can correct.
const NOTES: usize = 32;
const NOTE: usize = 48;
const FIXES: usize = 16;
const FIX: usize = 8;

/// The largest weight of a norm with which the kernel's bounds of rounding hold.
const LARGEST_NORM: f32 = (1 << 20) as f32;

/// Exchanges between blocks, as in the kernel.
const SETS: usize = 4;

/// Words of a thread at most, of the residual stream and of the MLP's inner row: a thread holds its
/// part of a phase's row and of the norms in registers, of the stream throughout. Nor would there
/// be room to note all of longer rows that there is to note.
const MOST_HELD: usize = 6;
const MOST_INNER: usize = 16;

thread_local! {
    static LIMITS: Cell<[usize; 3]> = const { Cell::new([usize::MAX, MOST_RING, NOTES]) };
}

/// Runs `f`; the models that it makes decode with at most so many blocks, tiles of weights on their
/// way to each, and words that it can note for a phase: what small models meet on small GPUs only,
/// and large ones everywhere, for tests.
#[doc(hidden)]
pub fn with_limits<T>(blocks: usize, ring: usize, notes: usize, f: impl FnOnce() -> T) -> T {
    let limits = [blocks.max(1), ring.clamp(LEAST_RING, MOST_RING), notes.clamp(1, NOTES)];
    let before = LIMITS.replace(limits);
    let out = f();
    LIMITS.set(before);
    out
}

/// Numbers that the kernel is compiled with, for checks without a model: 2.7B on an H100, a ragged
/// one on 8 multiprocessors.
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
    order: u64,
    relayed: u64,
    gone: u64,
    place: [Place; 5],
    token: u32,
    first_set: u32,
    embedding_kind: i32,
    layers: i32,
    bounded: i32,
    want: i32,
    eps: f32,
    number: u32,
}

// SAFETY: words of 8 bytes, then of 4, an even number of them: no padding; laid out as in the
// kernel.
unsafe impl DeviceRepr for Args {}

/// The decode kernel, set up for a model.
pub(super) struct Decoder {
    function: CudaFunction,
    args: Args,
    blocks: usize,
    threads: usize,
    shared: usize,
    _exchange: CudaSlice<u32>,
    _relayed: CudaSlice<u64>,
    /// An error for each row.
    errors: CudaSlice<u64>,
    host: HostRows,
    stream: Arc<CudaStream>,
    /// The number of the last launch ahead of its token, or of what took one back.
    number: u32,
    /// The launch that waits for its token, if any.
    ahead: Option<Ahead>,
    /// Whose token was decoded last, alone, and when that was done.
    last: Option<(u64, Instant)>,
}

/// A launch ahead of its token: its number, and the state's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    number: u32,
    id: u64,
}

/// A token to be decoded.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// The state's address, and the number of its floats.
    pub state: u64,
    pub id: u64,
    pub token: u32,
    /// Whether logits are wanted.
    pub want: bool,
}

impl Decoder {
    /// Rows that go through faster one after the other than together, as measured on an H100.
    pub const MOST_ROWS: usize = 16;

    /// `None` where the model or the GPU is not made for it: short convolutions, weights of norms
    /// that are very large, rows too long for the registers or the shared memory, blocks that
    /// cannot be made to run at once.
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
        // Each block has something to do in a layer: the others wait for it, so that none falls
        // behind by more than that.
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
        let relayed = gpu.upload(&[0u64])?;
        let errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        let host = HostRows::new(gpu, config.vocab_size, Self::MOST_ROWS)?;
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
            order: host.order(),
            relayed: gpu.address(&relayed),
            gone: host.gone(),
            place,
            token: 0,
            first_set: 0,
            embedding_kind: weights.embedding_kind,
            layers: config.num_layers as i32,
            bounded: i32::from(bounded),
            want: 0,
            eps: config.rms_norm_eps,
            number: 0,
        };
        Ok(Some(Decoder {
            function,
            args,
            blocks,
            threads,
            shared,
            _exchange: exchange,
            _relayed: relayed,
            errors,
            host,
            stream: gpu.stream.clone(),
            number: 0,
            ahead: None,
            last: None,
        }))
    }

    /// Feeds tokens to states, one after the other, at most [`MOST_ROWS`](Self::MOST_ROWS); `outs`
    /// take the logits of those rows for which they are wanted. Gives the key of the first error in
    /// the order of operations and then rows, `u64::MAX` for none. The GPU may still be at the end
    /// of the last token when this returns.
    ///
    /// When one sequence goes on token by token, the launch for the next one is made while this one
    /// is decoded, so that only the token is missing when it comes. The launch gives up by itself
    /// when there is none soon, and whatever else the GPU is asked for, by whomever, waits until
    /// then; it is taken back where something else comes first here.
    pub fn run(&mut self, gpu: &Gpu, rows: &[Row], outs: &mut [&mut [f32]]) -> Result<u64> {
        assert!(rows.len() <= Self::MOST_ROWS && rows.len() == outs.len(), "rows of a decoder");
        let key = self.run_rows(gpu, rows, outs);
        if key.is_err() {
            // Some rows may still be on their way.
            self.take_back();
            let _ = self.stream.synchronize();
            self.host.empty_all();
            // Nor is what they may have found to be an error one of the next run.
            let _ = self.forget_errors(gpu);
            self.last = None;
        }
        key
    }

    /// Takes back all errors of rows. The GPU must be idle.
    fn forget_errors(&mut self, gpu: &Gpu) -> Result<()> {
        self.errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        self.host.clear_flags();
        Ok(())
    }

    /// A number later than all before; never 0.
    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1).max(1);
        self.number
    }

    /// Takes back the launch that waits for its token, if any: what the GPU is asked for next does
    /// not wait for it.
    pub fn take_back(&mut self) {
        if self.ahead.take().is_some() {
            let number = self.next_number();
            self.host.give_order(number, NO_TOKEN);
        }
    }

    /// Launches row `n` of a half, ahead of its token where there is a `number`.
    fn launch(&mut self, gpu: &Gpu, half: usize, n: usize, row: &Row, number: u32) -> Result<()> {
        self.args.state = row.state;
        self.args.token = row.token;
        self.args.want = i32::from(row.want);
        self.args.number = number;
        self.args.error = gpu.address(&self.errors) + 8 * n as u64;
        self.args.failed = self.host.flag_address(half, n);
        self.args.logits = self.host.logits_address(half, n);
        // SAFETY: the buffers are this decoder's and the weights', as large as the layout has them,
        // the host's with room for MOST_ROWS rows; the state is one of this model, and a launch
        // ahead of its token leaves it alone until it gets one, which is when the state is seen to
        // be the same; the token is below the vocabulary's size.
        unsafe {
            let grid = [self.blocks, 1, 1];
            let args = [Arg::Struct(&self.args as &dyn Structure)];
            gpu.launch(&self.function, grid, self.threads as u32, self.shared, true, &args)
        }
    }

    /// A token's layers have used up exchanges.
    fn advance(&mut self) {
        let sets = SETS as u32;
        self.args.first_set = (self.args.first_set + self.args.layers as u32 % sets) % sets;
    }

    fn run_rows(&mut self, gpu: &Gpu, rows: &[Row], outs: &mut [&mut [f32]]) -> Result<u64> {
        let alone = match rows {
            [row] if row.want => Some(row),
            _ => None,
        };
        let soon = alone.is_some_and(|row| {
            self.last.is_some_and(|(id, at)| id == row.id && at.elapsed() < SOON)
        });
        let half = self.host.turn(rows.len());
        let before = self.args.first_set;
        // The launch that has waited for this token.
        let waiting = self.ahead.filter(|ahead| alone.is_some_and(|row| row.id == ahead.id));
        if let (Some(ahead), Some(row)) = (waiting, alone) {
            self.ahead = None;
            self.host.give_order(ahead.number, row.token);
            self.advance();
        } else {
            self.take_back();
            for (n, row) in rows.iter().enumerate() {
                self.launch(gpu, half, n, row, 0)?;
                self.advance();
            }
        }
        // While the GPU works.
        self.host.empty_other();
        if let (true, Some(row)) = (soon, alone) {
            let number = self.next_number();
            // A token can do without; what is wrong with the GPU shows in what is read from it.
            if self.launch(gpu, 1 - half, 0, row, number).is_ok() {
                self.ahead = Some(Ahead { number, id: row.id });
            }
        }
        let mut number = waiting.map(|ahead| ahead.number);
        for (n, row) in rows.iter().enumerate().filter(|(_, row)| row.want) {
            while !self.host.read(gpu, n, outs[n], number)? {
                // It had given up before the token came.
                number = None;
                self.take_back();
                self.args.first_set = before;
                self.launch(gpu, half, n, row, 0)?;
                self.advance();
            }
        }
        // A row whose logits are there has ended but for that, and the rows before it.
        if rows.last().is_none_or(|row| !row.want) {
            gpu.stream.synchronize().map_err(gpu.failed("failed in a forward pass"))?;
        }
        fence(Ordering::Acquire);
        self.last = alone.map(|row| (row.id, Instant::now()));
        if !self.host.any_flag(rows.len()) {
            return Ok(u64::MAX);
        }
        self.take_back();
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
        self.take_back();
        let _ = self.stream.synchronize();
    }
}

/// Bytes of the kernel's `Memory` but for the ring; where weights are `sent`, floats have a place
/// there too.
fn shared_without_ring(layout: &Layout, blocks: usize, sent: bool) -> usize {
    let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down, &layout.head];
    let most = |of: &dyn Fn(&Part) -> usize| parts.iter().map(|part| of(part)).max().unwrap_or(0);
    // Squares, and but for down_proj's the row after them.
    let lanes = |part: &Part| 16 * (part.chunks * 16 + 4);
    let with_row = |part: &Part| lanes(part) + part.chunks * 256;
    let squares = lanes(&layout.down).max(with_row(&layout.ifg)).max(with_row(&layout.o_proj));
    let q = 2 * (most(&|part| part.chunks).max(3 * layout.ifg.chunks) * 64 + 4);
    let acc = 2 * (most(&|part| part.tiles.div_ceil(blocks) * part.matrices * 8) + 4);
    let floats = if sent { most(&|part| part.float_count) } else { 0 };
    let notes = NOTES * NOTE / 4;
    // What the warps tell each other, what they wait for, the runs; and what alignment takes.
    let small = 3 * 12 + 16 + FIXES * FIX / 4 + 10 + 2 * (16 + 1) + 2 + 5 * 3 + 12;
    (4 * (squares + q + acc + floats + notes + small)).next_multiple_of(16)
}
