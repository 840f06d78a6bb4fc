//! One token of one sequence, in one launch: see `kernels/shape.cu`.

use std::cell::Cell;

use cudarc::driver::{CudaFunction, CudaSlice, DeviceRepr, PinnedHostSlice};

use super::Gpu;
use super::compile::Source;
use super::driver::{Arg, Structure};
use super::upload::{DeviceWeights, Layout, Part, padded};
use crate::error::Result;
use crate::format::Config;

/// Threads of a block that compute, as in the kernel, and those that send for weights or help, from compute capability 9.0.
const THREADS: usize = 256;
const OTHERS: usize = 32 * 4;
const WARPS: usize = THREADS / 32;

/// Bytes of a tile of weights; a block keeps at least and at most so many coming.
const TILE: usize = 512;
const LEAST_RING: usize = 8;
const MOST_RING: usize = 512;

/// Exchanges between blocks, as in the kernel.
const SETS: usize = 4;

/// Words of a thread at most, of the residual stream and of the MLP's inner row: a thread holds its part of a phase's row and of
/// the norms in registers, of the stream throughout.
const MOST_HELD: usize = 6;
const MOST_INNER: usize = 16;

thread_local! {
    static LIMITS: Cell<[usize; 2]> = const { Cell::new([usize::MAX, MOST_RING]) };
}

/// Runs `f`; the models that it makes decode with at most so many blocks, and tiles of weights on their way to each: what small
/// models meet on small GPUs only, and large ones everywhere, for tests.
#[doc(hidden)]
pub fn with_limits<T>(blocks: usize, ring: usize, f: impl FnOnce() -> T) -> T {
    let before = LIMITS.replace([blocks.max(1), ring.clamp(LEAST_RING, MOST_RING)]);
    let out = f();
    LIMITS.set(before);
    out
}

/// Numbers that the kernel is compiled with, for checks without a model: 2.7B on an H100, a ragged one on 8 multiprocessors.
pub(super) const SAMPLES: [[(&str, usize); 7]; 2] = [
    [
        ("HIDDEN", 2560),
        ("WIDTH", 2560),
        ("INNER", 6912),
        ("VOCAB", 32000),
        ("BLOCKS", 132),
        ("RING", 282),
        ("MEMORY", 227 << 10),
    ],
    [
        ("HIDDEN", 203),
        ("WIDTH", 406),
        ("INNER", 1001),
        ("VOCAB", 3000),
        ("BLOCKS", 8),
        ("RING", 60),
        ("MEMORY", 64 << 10),
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
    vocab: usize,
    _exchange: CudaSlice<u32>,
    /// An error for each row.
    errors: CudaSlice<u64>,
    /// For each row whether there is an error; then for each the logits. The kernel writes here.
    host: PinnedHostSlice<u32>,
}

/// A token to be decoded.
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

    /// `None` where the model or the GPU is not made for it: short convolutions, rows too long for the registers or the
    /// shared memory, blocks that cannot be made to run at once.
    pub fn new(
        gpu: &Gpu,
        config: &Config,
        weights: &DeviceWeights,
        bounded: bool,
    ) -> Result<Option<Decoder>> {
        let layout = &weights.layout;
        if config.short_conv.is_some() || !gpu.cooperative {
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
        let [most_blocks, most_ring] = LIMITS.get();
        let blocks = gpu.info.multiprocessors.min(units).min(most_blocks);
        let sends = gpu.info.capability >= 90;
        let rest = shared_without_ring(layout, blocks, sends);
        // What the system reserves comes on top.
        let ring = gpu.shared_memory.saturating_sub(rest + 1024) / TILE;
        if ring < LEAST_RING {
            return Ok(None);
        }
        let ring = ring.min(most_ring);
        let shared = rest + ring * TILE;
        let source = Source::decode(&[
            ("HIDDEN", hidden),
            ("WIDTH", width),
            ("INNER", inner),
            ("VOCAB", config.vocab_size),
            ("BLOCKS", blocks),
            ("RING", ring),
            ("MEMORY", shared),
        ]);
        let function = gpu.function_from(&source, "decode", shared)?;
        let threads = if sends { THREADS + OTHERS } else { THREADS };
        let fit = function
            .occupancy_max_active_blocks_per_multiprocessor(threads as u32, shared, None)
            .map_err(gpu.failed("cannot set up a kernel"))?;
        if fit == 0 {
            return Ok(None);
        }
        let set = 2 * padded(width) + 2 * padded(hidden) + padded(inner);
        let exchange = gpu.upload(&vec![u32::MAX; SETS * set])?;
        let errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        let vocab = config.vocab_size;
        // SAFETY: zeroed right below.
        let mut host =
            unsafe { gpu.context.alloc_pinned_with_flags(Self::MOST_ROWS * (1 + vocab), 0) }
                .map_err(gpu.failed("cannot allocate memory of the host"))?;
        host.as_mut_slice().map_err(gpu.failed("cannot use memory of the host"))?.fill(0);
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
        let decoder =
            Decoder { function, args, blocks, threads, shared, vocab, _exchange, errors, host };
        Ok(Some(decoder))
    }

    /// Feeds tokens to states, one after the other, at most [`MOST_ROWS`](Self::MOST_ROWS). Gives the key of the first error in
    /// the order of operations and then rows, `u64::MAX` for none.
    pub fn run(&mut self, gpu: &Gpu, rows: &[Row]) -> Result<u64> {
        assert!(rows.len() <= Self::MOST_ROWS, "rows of a decoder");
        let host = self.host.as_mut_slice().map_err(gpu.failed("failed in a forward pass"))?;
        // With unified addressing, the address of pinned memory is the same on the device.
        let host = host.as_mut_ptr() as u64;
        for (n, row) in rows.iter().enumerate() {
            self.args.state = row.state;
            self.args.token = row.token;
            self.args.want = i32::from(row.want);
            self.args.error = gpu.address(&self.errors) + 8 * n as u64;
            self.args.failed = host + 4 * n as u64;
            self.args.logits = host + 4 * (Self::MOST_ROWS + n * self.vocab) as u64;
            // SAFETY: the buffers are this decoder's and the weights', as large as the layout has them, `host` with room
            // for MOST_ROWS rows; the state is one of this model; the token is below the vocabulary's size.
            unsafe {
                let grid = [self.blocks, 1, 1];
                let args = [Arg::Struct(&self.args as &dyn Structure)];
                gpu.launch(&self.function, grid, self.threads as u32, self.shared, true, &args)?;
            }
            let sets = SETS as u32;
            self.args.first_set = (self.args.first_set + self.args.layers as u32 % sets) % sets;
        }
        gpu.stream.synchronize().map_err(gpu.failed("failed in a forward pass"))?;
        let failed = self.host.as_mut_slice().map_err(gpu.failed("failed in a forward pass"))?;
        if failed[..rows.len()].iter().all(|&failed| failed == 0) {
            return Ok(u64::MAX);
        }
        failed[..Self::MOST_ROWS].fill(0);
        let keys = gpu.download(&self.errors)?;
        self.errors = gpu.upload(&[u64::MAX; Self::MOST_ROWS])?;
        // The kernel knows of one row only.
        let keys = keys.iter().zip(0..rows.len() as u64);
        Ok(keys
            .filter(|&(&key, _)| key != u64::MAX)
            .map(|(key, n)| key | n)
            .min()
            .unwrap_or(u64::MAX))
    }

    /// The logits of a row of the last run that wanted some.
    pub fn logits(&self, gpu: &Gpu, row: usize) -> Result<&[f32]> {
        let host = self.host.as_slice().map_err(gpu.failed("failed in a forward pass"))?;
        let start = Self::MOST_ROWS + row * self.vocab;
        Ok(bytemuck::cast_slice(&host[start..start + self.vocab]))
    }
}

/// Bytes of the kernel's `Memory` but for the ring; where weights are `sent` for, floats have a place there too.
fn shared_without_ring(layout: &Layout, blocks: usize, sent: bool) -> usize {
    let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down, &layout.head];
    let most = |of: &dyn Fn(&Part) -> usize| parts.iter().map(|part| of(part)).max().unwrap_or(0);
    let squares = 16 * (most(&|part| part.chunks) * 16 + 4);
    let q = 2 * (most(&|part| part.chunks).max(3 * layout.ifg.chunks) * 64 + 4);
    let acc = 2 * (most(&|part| part.tiles.div_ceil(blocks) * part.matrices * 8) + 4);
    let floats = if sent { most(&|part| part.float_count) } else { 0 };
    // What the warps tell each other, what they wait for, the runs; and what alignment takes.
    let small = 3 * WARPS + 16 + 2 * (16 + 1) + 2 + 5 * 3 + 8;
    (4 * (squares + q + acc + floats + small)).next_multiple_of(16)
}
