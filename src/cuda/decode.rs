//! One token of one sequence, in one launch: see `kernels/decode.cu`.

use cudarc::driver::{CudaFunction, CudaSlice, DeviceRepr, PinnedHostSlice};

use super::Gpu;
use super::driver::{Arg, Structure};
use super::upload::{DeviceWeights, Part, padded};
use crate::error::Result;
use crate::format::Config;

/// Threads of a block, as in the kernel.
const THREADS: u32 = 512;

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Phase {
    weights: u64,
    floats: u64,
    matrices: i32,
    units: i32,
    chunks: i32,
    float_count: i32,
}

impl Phase {
    fn new(part: &Part) -> Phase {
        Phase {
            weights: part.weights as u64,
            floats: part.floats as u64,
            matrices: part.matrices as i32,
            units: part.tiles as i32,
            chunks: part.chunks as i32,
            float_count: part.float_count as i32,
        }
    }
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
    barrier: u64,
    phase: [Phase; 5],
    barrier_start: u32,
    token: u32,
    embedding_kind: i32,
    layers: i32,
    hidden: i32,
    width: i32,
    inner: i32,
    vocab: i32,
    bounded: i32,
    want: i32,
    eps: f32,
    end: u32,
}

// SAFETY: words of 8 bytes, then of 4, an even number of them: no padding; laid out as in the kernel.
unsafe impl DeviceRepr for Args {}

/// Offsets in shared memory, in words of 4 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Room {
    v: i32,
    h: i32,
    squares: i32,
    floats: i32,
    q: i32,
    acc: i32,
}

// SAFETY: plain 4-byte words, laid out as in the kernel.
unsafe impl DeviceRepr for Room {}

/// The decode kernel, set up for a model.
pub(super) struct Decoder {
    function: CudaFunction,
    args: Args,
    room: Room,
    shared: usize,
    _exchange: CudaSlice<f32>,
    _barrier: CudaSlice<u32>,
    /// Two words of error, then the logits.
    result: CudaSlice<u32>,
    host: PinnedHostSlice<u32>,
}

impl Decoder {
    /// `None` where the model or the GPU is not made for it: short convolutions, too little shared memory, blocks that
    /// cannot be made to run at once.
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
        let blocks = gpu.info.multiprocessors;
        let parts = [&layout.ifg, &layout.o_proj, &layout.gate, &layout.down, &layout.head];
        let most = |of: fn(&Part) -> usize| parts.iter().map(|part| of(part)).max().unwrap_or(0);
        let (hidden, width, inner) =
            (config.hidden_size, config.state_size, config.intermediate_size);
        let v = padded(hidden);
        let h = v + padded(hidden.max(width).max(inner));
        let squares = h + padded(width);
        // For each of 16 lanes its terms, filled up to 16, and 4 more against bank conflicts.
        let longest = hidden.max(width).max(inner);
        let floats = squares + 16 * (longest.div_ceil(256) * 16 + 4);
        let q = floats + most(|part| part.float_count);
        // Only the first part has an input for each of its matrices.
        let acc = q + (3 * layout.ifg.chunks).max(most(|part| part.chunks)) * 32;
        let acc_len = parts
            .iter()
            .map(|part| part.tiles.div_ceil(blocks) * part.matrices * 16)
            .max()
            .unwrap_or(0);
        let shared = (acc + acc_len) * 4;
        // The kernel's own variables come on top.
        if shared + 1024 > gpu.shared_memory {
            return Ok(None);
        }
        let function = gpu.function("decode", shared)?;
        let fit = function
            .occupancy_max_active_blocks_per_multiprocessor(THREADS, shared, None)
            .map_err(gpu.failed("cannot set up a kernel"))?;
        if fit == 0 {
            return Ok(None);
        }
        let exchange = gpu.zeros::<f32>(2 * padded(width) + 2 * padded(hidden) + padded(inner))?;
        let barrier = gpu.zeros::<u32>(1)?;
        let mut result = gpu.zeros::<u32>(2 + config.vocab_size)?;
        reset_error(gpu, &mut result)?;
        // SAFETY: written by the copy before it is read.
        let host = unsafe { gpu.context.alloc_pinned_with_flags(2 + config.vocab_size, 0) }
            .map_err(gpu.failed("cannot allocate memory of the host"))?;
        let address = gpu.address(&result);
        let args = Args {
            arena: weights.layer(0),
            layer_stride: layout.layer as u64,
            bounds: layout.bounds as u64,
            embedding: weights.embedding(),
            embedding_scales: weights.embedding_scales(),
            state: 0,
            exchange: gpu.address(&exchange),
            logits: address + 8,
            error: address,
            barrier: gpu.address(&barrier),
            phase: parts.map(Phase::new),
            barrier_start: 0,
            token: 0,
            embedding_kind: weights.embedding_kind,
            layers: config.num_layers as i32,
            hidden: hidden as i32,
            width: width as i32,
            inner: inner as i32,
            vocab: config.vocab_size as i32,
            bounded: i32::from(bounded),
            want: 0,
            eps: config.rms_norm_eps,
            end: 0,
        };
        let room = Room {
            v: v as i32,
            h: h as i32,
            squares: squares as i32,
            floats: floats as i32,
            q: q as i32,
            acc: acc as i32,
        };
        let (_exchange, _barrier) = (exchange, barrier);
        Ok(Some(Decoder { function, args, room, shared, _exchange, _barrier, result, host }))
    }

    /// Feeds a token to the state at an address; appends the logits, if wanted. Gives the error's key, `u64::MAX` for none.
    pub fn step(
        &mut self,
        gpu: &Gpu,
        state: u64,
        token: u32,
        logits: Option<&mut Vec<f32>>,
    ) -> Result<u64> {
        let blocks = gpu.info.multiprocessors;
        self.args.state = state;
        self.args.token = token;
        self.args.want = i32::from(logits.is_some());
        // SAFETY: the buffers are this decoder's and the weights', as large as the layout has them; the state is one of
        // this model; the token is below the vocabulary's size.
        unsafe {
            let grid = [blocks, 1, 1];
            let args = [Arg::Struct(&self.args as &dyn Structure), Arg::Struct(&self.room)];
            gpu.launch(&self.function, grid, THREADS, self.shared, true, &args)?;
        }
        // Four barriers a layer, each counting every block; without the head one less.
        let barriers = 4 * self.args.layers as u32 - u32::from(self.args.want == 0);
        let arrivals = (blocks as u32).wrapping_mul(barriers);
        self.args.barrier_start = self.args.barrier_start.wrapping_add(arrivals);
        let len = if logits.is_some() { 2 + self.args.vocab as usize } else { 2 };
        gpu.stream
            .memcpy_dtoh(&self.result.slice(..len), &mut self.host)
            .and_then(|()| gpu.stream.synchronize())
            .map_err(gpu.failed("failed in a forward pass"))?;
        let host = self.host.as_slice().map_err(gpu.failed("failed in a forward pass"))?;
        let key = u64::from(host[0]) | u64::from(host[1]) << 32;
        if key != u64::MAX {
            reset_error(gpu, &mut self.result)?;
        } else if let Some(logits) = logits {
            logits.extend(host[2..len].iter().map(|&bits| f32::from_bits(bits)));
        }
        Ok(key)
    }
}

fn reset_error(gpu: &Gpu, result: &mut CudaSlice<u32>) -> Result<()> {
    gpu.stream
        .memcpy_htod(&[u32::MAX; 2], &mut result.slice_mut(..2))
        .map_err(gpu.failed("cannot copy to it"))
}
