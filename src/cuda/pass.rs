//! One pass of rows through the layers on a GPU: a launch for each operation.

use cudarc::driver::{CudaFunction, CudaSlice, DeviceRepr};

use super::Gpu;
use super::driver::Arg;
use super::forward::{Backend, Segment};
use super::upload::{Part, padded};
use super::workspace::{DeviceSegment, Quantised, Workspace};
use crate::error::Result;
use crate::model::{State, Step, Want};

/// Threads of a block that works on a row.
const ROW_THREADS: u32 = 256;

/// Shared memory of the tensor core kernel: three tiles of 128 rows x 128 bytes.
const GEMM_SHARED: usize = 3 * 128 * 128;

/// Batches up to here go by dot products: a tile of the tensor core kernel would be mostly empty.
const DOT_ROWS: usize = 16;

/// What the matrix kernels are told; see `kernels/gemm.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Gemm {
    weights: u64,
    q: [u64; 3],
    step: [u64; 3],
    sum: [u64; 3],
    out: [u64; 3],
    scale: [u64; 3],
    stride: u64,
    tiles: i32,
    chunks: i32,
    outputs: i32,
    rows: i32,
}

// SAFETY: words of 8 bytes, then an even number of 4: no padding; laid out as in the kernels.
unsafe impl DeviceRepr for Gemm {}

/// The kernels of a pass.
pub(super) struct Kernels {
    embed: CudaFunction,
    norm_rows: CudaFunction,
    quantise_ifg: CudaFunction,
    gates: CudaFunction,
    scan: CudaFunction,
    convolve: CudaFunction,
    slide: CudaFunction,
    gated_rows: CudaFunction,
    stream_rows: CudaFunction,
    swiglu_rows: CudaFunction,
    check_rows: CudaFunction,
    gemm_mma: Option<CudaFunction>,
    gemm_dot: CudaFunction,
}

impl Kernels {
    /// `row` is the bytes of the longest row.
    pub fn new(gpu: &Gpu, row: usize) -> Result<Kernels> {
        let mma = gpu.info.capability >= 80;
        Ok(Kernels {
            embed: gpu.function("embed", 0)?,
            norm_rows: gpu.function("norm_rows", row)?,
            quantise_ifg: gpu.function("quantise_ifg", row)?,
            gates: gpu.function("gates", 0)?,
            scan: gpu.function("scan", 0)?,
            convolve: gpu.function("convolve", 0)?,
            slide: gpu.function("slide", 0)?,
            gated_rows: gpu.function("gated_rows", row)?,
            stream_rows: gpu.function("stream_rows", row)?,
            swiglu_rows: gpu.function("swiglu_rows", row)?,
            check_rows: gpu.function("check_rows", 0)?,
            gemm_mma: if mma { Some(gpu.function("gemm_mma", GEMM_SHARED)?) } else { None },
            gemm_dot: gpu.function("gemm_dot", 0)?,
        })
    }
}

/// One pass.
pub(super) struct Pass<'a> {
    pub b: &'a Backend,
    pub ws: &'a Workspace,
    pub q: Quantised,
    pub segments: &'a [Segment],
    pub device: CudaSlice<DeviceSegment>,
    pub rows: usize,
}

impl Pass<'_> {
    pub fn run(&self, steps: &mut [Step<'_>]) -> Result<()> {
        let (b, ws) = (self.b, self.ws);
        let tokens: Vec<u32> = self
            .segments
            .iter()
            .flat_map(|s| &steps[s.step].tokens[s.token..s.token + s.len])
            .copied()
            .collect();
        let tokens = b.gpu.upload(&tokens)?;
        let args = [
            Arg::Address(b.weights.embedding()),
            Arg::Address(b.weights.embedding_scales()),
            Arg::Int(b.weights.embedding_kind),
            self.at(&tokens),
            Arg::Int(b.config.hidden_size as i32),
            self.at(&ws.x),
        ];
        self.on_rows(&b.kernels.embed, self.rows, 0, &args)?;
        for n in 0..b.config.num_layers {
            self.mix_tokens(n, steps)?;
            self.mix_channels(n)?;
        }
        self.head(steps)
    }

    fn at<T>(&self, slice: &CudaSlice<T>) -> Arg<'_> {
        Arg::Address(self.b.gpu.address(slice))
    }

    /// Launches a block for each row, with `floats` floats of shared memory.
    fn on_rows(
        &self,
        f: &CudaFunction,
        rows: usize,
        floats: usize,
        args: &[Arg<'_>],
    ) -> Result<()> {
        // SAFETY: the kernels of `rows.cu` take buffers of the workspace and weights of this model,
        // `rows` at most what the workspace has.
        unsafe { self.b.gpu.launch(f, [rows, 1, 1], ROW_THREADS, padded(floats) * 4, false, args) }
    }

    /// Launches a thread for each column, `y` and `z` deep.
    fn on_columns(
        &self,
        f: &CudaFunction,
        width: usize,
        y: usize,
        z: usize,
        args: &[Arg<'_>],
    ) -> Result<()> {
        // Few threads a block: a sequence has few columns, and many multiprocessors share them.
        let threads = 64;
        // SAFETY: the kernels of `recurrence.cu` take buffers of the workspace, and segments that
        // lie in it.
        unsafe {
            self.b.gpu.launch(f, [width.div_ceil(threads), y, z], threads as u32, 0, false, args)
        }
    }

    /// A part's matrices times the quantised rows: floats to `out`, `[rows, stride]` each.
    fn apply(
        &self,
        layer: u64,
        part: &Part,
        rows: usize,
        out: [u64; 3],
        stride: usize,
    ) -> Result<()> {
        let b = self.b;
        // Each matrix has its own input, or all have the first.
        let own = part.inputs_differ();
        let input = |of: [u64; 3]| if own { of } else { [of[0]; 3] };
        let gemm = Gemm {
            weights: layer + part.weights as u64,
            q: input(self.q.q),
            step: input(self.q.step),
            sum: input(self.q.sum),
            out,
            scale: [0, 1, 2].map(|n| layer + part.scale(n) as u64),
            stride: stride as u64,
            tiles: part.tiles as i32,
            chunks: 2 * part.chunks as i32,
            outputs: part.outputs as i32,
            rows: rows as i32,
        };
        let grid = |tokens: usize| [part.tiles.div_ceil(16), rows.div_ceil(tokens), part.matrices];
        let args = [Arg::Struct(&gemm)];
        // SAFETY: the rows were quantised for this part, `out` has `rows` rows of `stride` floats,
        // at least the part's outputs.
        unsafe {
            match &b.kernels.gemm_mma {
                Some(mma) if rows > DOT_ROWS => {
                    b.gpu.launch(mma, grid(128), 256, GEMM_SHARED, false, &args)
                }
                _ => b.gpu.launch(&b.kernels.gemm_dot, grid(8), 256, 0, false, &args),
            }
        }
    }

    /// Token mixing: `y = o_proj(g_norm(g) * swish(h))`.
    fn mix_tokens(&self, n: usize, steps: &mut [Step<'_>]) -> Result<()> {
        let (b, ws) = (self.b, self.ws);
        let (gpu, k, layout) = (&b.gpu, &b.kernels, &b.weights.layout);
        let (hidden, width) = (b.config.hidden_size, b.config.state_size);
        let layer = b.weights.layer(n);
        let weight = |offset: usize| Arg::Address(layer + offset as u64);
        let (eps, error) = (Arg::Float(b.config.rms_norm_eps), self.at(&b.error));
        let op = |place: usize| Arg::Int((5 * n + place) as i32);

        // The stream, what the layer before adds to it, and the norm.
        let added = if n == 0 { Arg::Address(0) } else { self.at(&ws.y) };
        let args = [
            self.at(&ws.x),
            added,
            Arg::Int(hidden as i32),
            weight(layout.ifg.norm(0)),
            eps,
            self.at(&ws.a),
            error,
            op(0),
        ];
        self.on_rows(&k.norm_rows, self.rows, hidden, &args)?;
        let conv = b.config.short_conv;
        let mut a = &ws.a;
        if let Some(conv) = conv
            && conv.shared
        {
            self.convolve(n, 0, &ws.a, &ws.h, hidden, conv.size, steps)?;
            a = &ws.h;
        }
        let args = [
            self.at(a),
            Arg::Int(hidden as i32),
            weight(layout.ifg.norm(1)),
            weight(layout.ifg.norm(2)),
            weight(layout.ifg.norm(3)),
            Arg::Struct(&self.q),
            error,
            op(1),
        ];
        self.on_rows(&k.quantise_ifg, self.rows, hidden, &args)?;
        let out = [&ws.i, &ws.f, &ws.g].map(|out| gpu.address(out));
        self.apply(layer, &layout.ifg, self.rows, out, width)?;

        let (mut i, mut f, mut h) = (&ws.i, &ws.f, &ws.h);
        if let Some(conv) = conv
            && !conv.shared
        {
            self.convolve(n, 0, i, h, width, conv.size, steps)?;
            (i, h) = (h, i);
            self.convolve(n, 1, f, h, width, conv.size, steps)?;
            (f, h) = (h, f);
        }
        let bounds = match b.bounded && n > 0 {
            true => weight(layout.bounds),
            false => Arg::Address(0),
        };
        let args =
            [self.at(i), self.at(f), Arg::Int(self.rows as i32), Arg::Int(width as i32), bounds];
        // SAFETY: `i` and `f` are of the workspace, `[R, M]`.
        unsafe {
            let blocks = (self.rows * width).div_ceil(256);
            gpu.launch(&k.gates, [blocks, 1, 1], 256, 0, false, &args)?;
        }
        let args = [
            self.at(i),
            self.at(f),
            self.at(h),
            Arg::Int(width as i32),
            self.at(&self.device),
            Arg::Address((n * width) as u64),
        ];
        self.on_columns(&k.scan, width, self.segments.len(), 1, &args)?;
        self.keep_states(h, width, steps, |state, row| state.layer_mut(n).copy_from_slice(row))?;

        let args = [
            self.at(&ws.g),
            self.at(h),
            Arg::Int(width as i32),
            weight(layout.o_proj.norm(0)),
            eps,
            weight(layout.o_proj.norm(1)),
            Arg::Struct(&self.q),
            error,
            op(2),
        ];
        self.on_rows(&k.gated_rows, self.rows, width, &args)?;
        self.apply(layer, &layout.o_proj, self.rows, [gpu.address(&ws.y); 3], hidden)
    }

    /// A short convolution of the rows `x` to `out`, `[R, width]`, and the windows after it.
    #[expect(clippy::too_many_arguments, reason = "two call sites")]
    fn convolve(
        &self,
        n: usize,
        which: usize,
        x: &CudaSlice<f32>,
        out: &CudaSlice<f32>,
        width: usize,
        size: usize,
        steps: &mut [Step<'_>],
    ) -> Result<()> {
        let (b, k) = (self.b, &self.b.kernels);
        let config = &b.config;
        let offset = config.num_layers * config.state_size
            + n * config.conv_window_len()
            + which * size * width;
        let (width_arg, size_arg) = (Arg::Int(width as i32), Arg::Int(size as i32));
        let windows = Arg::Address(offset as u64);
        let weight = b.weights.layer(n) + b.weights.layout.conv[which] as u64;
        let longest = self.segments.iter().map(|s| s.len).max().unwrap_or(1);
        let args = [
            self.at(x),
            self.at(out),
            width_arg,
            Arg::Address(weight),
            size_arg,
            self.at(&self.device),
            windows,
        ];
        self.on_columns(&k.convolve, width, longest.min(1024), self.segments.len(), &args)?;
        if self.segments.iter().any(|s| steps[s.step].states.is_some()) {
            self.keep_windows(n, which, x, width, size, steps)?;
        }
        let args = [self.at(x), width_arg, size_arg, self.at(&self.device), windows];
        self.on_columns(&k.slide, width, self.segments.len(), 1, &args)
    }

    /// The windows after every token, for the steps that want states. Before they slide.
    fn keep_windows(
        &self,
        n: usize,
        which: usize,
        x: &CudaSlice<f32>,
        width: usize,
        size: usize,
        steps: &mut [Step<'_>],
    ) -> Result<()> {
        let inputs = self.b.gpu.download(&x.slice(..self.rows * width))?;
        for s in self.segments {
            let step = &mut steps[s.step];
            let Some(states) = &mut step.states else { continue };
            let start = which * size * width;
            // The window: that after the previous token, or that of the state as it came in.
            let mut history = match s.token.checked_sub(1) {
                Some(before) => states[before].windows(n)[start..start + size * width].to_vec(),
                None => step.state.windows(n)[start..start + size * width].to_vec(),
            };
            history.extend_from_slice(&inputs[s.row * width..(s.row + s.len) * width]);
            for (t, state) in states[s.token..s.token + s.len].iter_mut().enumerate() {
                let after = &history[(t + 1) * width..(t + 1 + size) * width];
                state.windows_mut(n)[start..start + size * width].copy_from_slice(after);
            }
        }
        Ok(())
    }

    /// Hands rows to the states after their tokens, for the steps that want them.
    fn keep_states(
        &self,
        rows: &CudaSlice<f32>,
        width: usize,
        steps: &mut [Step<'_>],
        keep: impl Fn(&mut State, &[f32]),
    ) -> Result<()> {
        if self.segments.iter().all(|s| steps[s.step].states.is_none()) {
            return Ok(());
        }
        let rows = self.b.gpu.download(&rows.slice(..self.rows * width))?;
        for s in self.segments {
            let Some(states) = &mut steps[s.step].states else { continue };
            let rows = rows[s.row * width..].chunks_exact(width);
            for (state, row) in states[s.token..s.token + s.len].iter_mut().zip(rows) {
                keep(state, row);
            }
        }
        Ok(())
    }

    /// Channel mixing: `x += y`, `y = down_proj(swish(gate) * value)`.
    fn mix_channels(&self, n: usize) -> Result<()> {
        let (b, ws) = (self.b, self.ws);
        let (gpu, k, layout) = (&b.gpu, &b.kernels, &b.weights.layout);
        let (hidden, inner) = (b.config.hidden_size, b.config.intermediate_size);
        let layer = b.weights.layer(n);
        let weight = |offset: usize| Arg::Address(layer + offset as u64);
        let op = |place: usize| Arg::Int((5 * n + place) as i32);
        let args = [
            self.at(&ws.x),
            self.at(&ws.y),
            Arg::Address(0),
            Arg::Int(hidden as i32),
            weight(layout.gate.norm(0)),
            Arg::Float(b.config.rms_norm_eps),
            weight(layout.gate.norm(1)),
            Arg::Struct(&self.q),
            self.at(&b.error),
            op(3),
        ];
        self.on_rows(&k.stream_rows, self.rows, hidden, &args)?;
        let gate = gpu.address(&ws.gate);
        let out = [gate, gate + 4 * inner as u64, 0];
        self.apply(layer, &layout.gate, self.rows, out, 2 * inner)?;
        let args = [
            self.at(&ws.gate),
            Arg::Int(inner as i32),
            weight(layout.down.norm(0)),
            Arg::Struct(&self.q),
            self.at(&b.error),
            op(4),
        ];
        self.on_rows(&k.swiglu_rows, self.rows, inner, &args)?;
        self.apply(layer, &layout.down, self.rows, [gpu.address(&ws.y); 3], hidden)
    }

    /// Logits of the rows that are wanted.
    fn head(&self, steps: &mut [Step<'_>]) -> Result<()> {
        let (b, ws) = (self.b, self.ws);
        let (gpu, k, layout) = (&b.gpu, &b.kernels, &b.weights.layout);
        let (hidden, vocab) = (b.config.hidden_size, b.config.vocab_size);
        let layer = b.weights.layer(b.config.num_layers);
        let weight = |offset: usize| Arg::Address(layer + offset as u64);
        let op = |place: usize| Arg::Int((5 * b.config.num_layers + place) as i32);
        // Each wanted row and the step it belongs to.
        let mut wanted: Vec<(u32, usize)> = Vec::new();
        for s in self.segments {
            let step = &steps[s.step];
            let first = match step.want {
                Want::All => 0,
                Want::Last if s.token + s.len == step.tokens.len() => s.len - 1,
                _ => s.len,
            };
            wanted.extend((first..s.len).map(|t| ((s.row + t) as u32, s.step)));
        }
        for wanted in wanted.chunks(Workspace::HEAD_ROWS) {
            let sources: Vec<u32> = wanted.iter().map(|&(row, _)| row).collect();
            let sources = gpu.upload(&sources)?;
            let args = [
                self.at(&ws.x),
                self.at(&ws.y),
                self.at(&sources),
                Arg::Int(hidden as i32),
                weight(layout.head.norm(0)),
                Arg::Float(b.config.rms_norm_eps),
                weight(layout.head.norm(1)),
                Arg::Struct(&self.q),
                self.at(&b.error),
                op(0),
            ];
            self.on_rows(&k.stream_rows, wanted.len(), hidden, &args)?;
            let out = [gpu.address(&ws.logits); 3];
            self.apply(layer, &layout.head, wanted.len(), out, vocab)?;
            let args = [
                self.at(&ws.logits),
                Arg::Int(vocab as i32),
                self.at(&sources),
                self.at(&b.error),
                op(1),
            ];
            self.on_rows(&k.check_rows, wanted.len(), 0, &args)?;
            let logits = gpu.download(&ws.logits.slice(..wanted.len() * vocab))?;
            for (&(_, step), row) in wanted.iter().zip(logits.chunks_exact(vocab)) {
                steps[step].logits.extend_from_slice(row);
            }
        }
        Ok(())
    }
}
