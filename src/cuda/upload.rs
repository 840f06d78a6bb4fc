//! The weights on a GPU: one buffer, each layer laid out alike, so that a kernel finds a layer by
//! adding.

use cudarc::driver::CudaSlice;

use super::Gpu;
use super::driver::Arg;
use super::workspace::Workspace;
use crate::error::{Error, Result};
use crate::format::{Config, Embedding, FloatType, ModelFile};
use crate::model::weights::{Conv, Layer, Linear, Weights};
use crate::packing::Packing;

/// Rows and columns of a tile, its bytes: see `kernels/relay.cu`.
const TILE_ROWS: usize = 8;
const TILE_COLS: usize = 256;
const TILE_BYTES: usize = 512;

/// Where a part begins: a multiple of this.
const ALIGNMENT: usize = 256;

/// The next multiple of 4: floats are copied four at a time.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A matrix, or some of one shape that go together, and the floats that belong to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Tiles, `[tiles][matrices][chunks]`, in bytes from the start of the layer.
    pub weights: usize,
    /// The norms, each padded to a multiple of 4, then the scales of the matrices, padded too; in
    /// bytes.
    pub floats: usize,
    pub float_count: usize,
    pub matrices: usize,
    /// Tiles of a matrix from top to bottom, and from left to right.
    pub tiles: usize,
    pub chunks: usize,
    /// Rows of a matrix.
    pub outputs: usize,
    pub inputs: usize,
    norms: usize,
}

impl Part {
    /// Lays a part out at `at`, which moves after it.
    fn place(at: &mut usize, matrices: usize, outputs: usize, inputs: usize, norms: usize) -> Part {
        let (tiles, chunks) = (outputs.div_ceil(TILE_ROWS), inputs.div_ceil(TILE_COLS));
        let float_count = norms * padded(inputs) + 4;
        let weights = take(at, matrices * tiles * chunks * TILE_BYTES);
        let floats = take(at, float_count * 4);
        Part { weights, floats, float_count, matrices, tiles, chunks, outputs, inputs, norms }
    }

    /// Whether each matrix has an input of its own, or all share one.
    pub fn inputs_differ(&self) -> bool {
        self.matrices == 3
    }

    /// Offset of norm `n`.
    pub fn norm(&self, n: usize) -> usize {
        self.floats + n * padded(self.inputs) * 4
    }

    /// Offset of the scale of matrix `n`.
    pub fn scale(&self, n: usize) -> usize {
        self.floats + (self.norms * padded(self.inputs) + n) * 4
    }
}

fn take(at: &mut usize, len: usize) -> usize {
    let start = *at;
    *at += len.next_multiple_of(ALIGNMENT);
    start
}

/// Where everything lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Norms: the layer's, then those of the input, forget and gate projection.
    pub ifg: Part,
    /// Norms: `g_norm`, then its own.
    pub o_proj: Part,
    /// The gate's rows and the value's as two matrices. Norms: `mlp_norm`, then its own.
    pub gate: Part,
    pub down: Part,
    /// Forget bounds.
    pub bounds: usize,
    /// Weights of the short convolutions.
    pub conv: [usize; 2],
    /// From layer to layer.
    pub layer: usize,
    /// Counted from the end of the layers. Norms: the final one, then its own.
    pub head: Part,
    total: usize,
}

impl Layout {
    pub fn new(config: &Config) -> Layout {
        let (hidden, width, inner) =
            (config.hidden_size, config.state_size, config.intermediate_size);
        let at = &mut 0;
        let ifg = Part::place(at, 3, width, hidden, 4);
        let o_proj = Part::place(at, 1, hidden, width, 2);
        let gate = Part::place(at, 2, inner, hidden, 2);
        let down = Part::place(at, 1, hidden, inner, 1);
        let bounds = take(at, width * 4);
        let size = config.short_conv.map_or(0, |conv| conv.size);
        let conv = [0, 1].map(|_| take(at, hidden.max(width) * size * 4));
        let layer = *at;
        let mut end = 0;
        let head = Part::place(&mut end, 1, config.vocab_size, hidden, 2);
        let total = config.num_layers * layer + end;
        Layout { ifg, o_proj, gate, down, bounds, conv, layer, head, total }
    }
}

/// The weights of a model in a GPU's memory.
pub(super) struct DeviceWeights {
    pub layout: Layout,
    arena: CudaSlice<u8>,
    embedding: CudaSlice<u8>,
    embedding_scales: CudaSlice<u8>,
    /// As the kernels number them: float32, float16, bfloat16, int8.
    pub embedding_kind: i32,
    /// The largest magnitude of a weight of a norm; infinite where one is not a number.
    pub largest_norm: f32,
    gpu: Gpu,
}

impl DeviceWeights {
    pub fn new(
        gpu: &Gpu,
        file: &ModelFile,
        weights: &Weights,
        bounds: &[f32],
    ) -> Result<DeviceWeights> {
        let config = file.config();
        let layout = Layout::new(config);
        let (kind, data, scales) = match file.embedding() {
            Embedding::Float { float: FloatType::F32, data } => (0, data.clone(), 0..0),
            Embedding::Float { float: FloatType::F16, data } => (1, data.clone(), 0..0),
            Embedding::Float { float: FloatType::BF16, data } => (2, data.clone(), 0..0),
            Embedding::Int8 { data, scales } => (3, data.clone(), scales.clone()),
        };
        let largest = file.matrices().filter_map(|name| Some(file.matrix_span(name)?.len())).max();
        let need = layout.total
            + data.len()
            + scales.len()
            + largest.unwrap_or(0)
            + Workspace::row_bytes(config) * Workspace::LEAST_ROWS;
        let free = gpu.free_memory()?;
        if need > free {
            let mib = |bytes: usize| bytes.div_ceil(1 << 20);
            let reason = format!(
                "too little memory: the model needs {} MiB, {} MiB are free",
                mib(need),
                mib(free)
            );
            return Err(gpu.error(reason));
        }
        let copy = |span: std::ops::Range<usize>| match span.is_empty() {
            true => gpu.zeros(1),
            false => gpu.upload(&file.bytes()[span]),
        };
        let (embedding, embedding_scales) = (copy(data)?, copy(scales)?);
        let arena = gpu.zeros(layout.total)?;
        let gpu = gpu.clone();
        let embedding_kind = kind;
        let this = DeviceWeights {
            layout,
            arena,
            embedding,
            embedding_scales,
            embedding_kind,
            largest_norm: 0.0,
            gpu,
        };
        Upload::new(this, file)?.run(weights, bounds)
    }

    /// The address of a layer; that of the head with `layer` the number of layers.
    pub fn layer(&self, layer: usize) -> u64 {
        self.gpu.address(&self.arena) + (layer * self.layout.layer) as u64
    }

    /// Bytes of all matrices and floats, the embedding left out.
    pub fn bytes(&self) -> usize {
        self.layout.total
    }

    pub fn embedding(&self) -> u64 {
        self.gpu.address(&self.embedding)
    }

    pub fn embedding_scales(&self) -> u64 {
        self.gpu.address(&self.embedding_scales)
    }
}

struct Upload<'a> {
    to: DeviceWeights,
    file: &'a ModelFile,
    relay: cudarc::driver::CudaFunction,
    check: cudarc::driver::CudaFunction,
    /// For each t5 matrix the first row whose constant is wrong.
    wrong: Vec<(String, CudaSlice<u32>)>,
}

impl<'a> Upload<'a> {
    fn new(to: DeviceWeights, file: &'a ModelFile) -> Result<Upload<'a>> {
        let (relay, check) = (to.gpu.function("relay", 0)?, to.gpu.function("check_t5", 0)?);
        Ok(Upload { to, file, relay, check, wrong: Vec::new() })
    }

    fn run(mut self, weights: &Weights, bounds: &[f32]) -> Result<DeviceWeights> {
        let config = self.file.config();
        let width = config.state_size;
        for (n, layer) in weights.layers.iter().enumerate() {
            self.layer(n, layer)?;
            if let Some(bounds) = bounds.get(n * width..(n + 1) * width) {
                self.floats(n * self.to.layout.layer + self.to.layout.bounds, bounds)?;
            }
        }
        let end = config.num_layers * self.to.layout.layer;
        let norm = self.file.floats_at(&weights.norm);
        self.part(end, self.to.layout.head, "lm_head", &[&weights.lm_head], &[norm])?;
        for (name, wrong) in &self.wrong {
            if let [row, ..] = self.to.gpu.download(wrong)?[..]
                && row != u32::MAX
            {
                let reason = format!("tensor {name}: the constant of row {row} is not its own");
                return Err(Error::invalid(self.file.path(), reason));
            }
        }
        Ok(self.to)
    }

    fn layer(&mut self, n: usize, layer: &Layer) -> Result<()> {
        let (file, layout) = (self.file, self.to.layout);
        let at = n * layout.layer;
        let name = |part: &str| format!("model.layers.{n}.{part}");
        let ifg = layer.ifg.each_ref();
        let attn_norm = file.floats_at(&layer.attn_norm);
        self.part(at, layout.ifg, &name("attn.ifg_proj"), &ifg, &[attn_norm])?;
        let g_norm = file.floats_at(&layer.g_norm);
        self.part(at, layout.o_proj, &name("attn.o_proj"), &[&layer.o_proj], &[g_norm])?;
        let mlp_norm = file.floats_at(&layer.mlp_norm);
        self.part(at, layout.gate, &name("mlp.gate_proj"), &[&layer.gate_proj], &[mlp_norm])?;
        self.part(at, layout.down, &name("mlp.down_proj"), &[&layer.down_proj], &[])?;
        let convs: &[_] = match &layer.conv {
            None => &[],
            Some(Conv::Shared(weight)) => std::slice::from_ref(weight),
            Some(Conv::Separate(weights)) => weights,
        };
        for (weight, offset) in convs.iter().zip(layout.conv) {
            self.floats(at + offset, file.floats_at(weight))?;
        }
        Ok(())
    }

    /// The matrices of a part, and its floats: `norms`, then the norms of the matrices, then their
    /// scales.
    fn part(
        &mut self,
        at: usize,
        part: Part,
        name: &str,
        linears: &[&Linear],
        norms: &[&[f32]],
    ) -> Result<()> {
        // Some matrices of a part may be one in the file: their rows follow each other.
        let each = part.matrices / linears.len();
        for (n, linear) in linears.iter().enumerate() {
            self.file.use_matrices(linear.span().clone());
            let packed = self.to.gpu.upload(linear.matrix(self.file).bytes())?;
            for m in 0..each {
                let rows = m * part.outputs..(m + 1) * part.outputs;
                self.relay(linear, &packed, at + part.weights, rows, part, n * each + m)?;
            }
            if linear.packing() == Packing::T5 {
                self.check(name, linear, &packed)?;
            }
        }
        let mut floats = Vec::with_capacity(part.float_count);
        let own = linears.iter().map(|linear| linear.norm(self.file));
        for norm in norms.iter().copied().chain(own) {
            let largest = |so_far: f32, weight: &f32| match weight.is_nan() {
                true => f32::INFINITY,
                false => so_far.max(weight.abs()),
            };
            self.to.largest_norm = norm.iter().fold(self.to.largest_norm, largest);
            floats.extend_from_slice(norm);
            floats.resize(floats.len().next_multiple_of(4), 0.0);
        }
        for linear in linears {
            floats.extend(std::iter::repeat_n(linear.scale, each));
        }
        self.floats(at + part.floats, &floats)
    }

    fn relay(
        &self,
        linear: &Linear,
        packed: &CudaSlice<u8>,
        to: usize,
        rows: std::ops::Range<usize>,
        part: Part,
        matrix: usize,
    ) -> Result<()> {
        let gpu = &self.to.gpu;
        let words = part.tiles * part.chunks * (TILE_BYTES / 4);
        let args = [
            Arg::Address(gpu.address(packed)),
            Arg::Address(gpu.address(&self.to.arena) + to as u64),
            Arg::Int(i32::from(linear.packing() == Packing::T5)),
            Arg::Int(linear.rows as i32),
            Arg::Int(linear.cols as i32),
            Arg::Int(rows.start as i32),
            Arg::Int(rows.end as i32),
            Arg::Int(part.tiles as i32),
            Arg::Int(part.chunks as i32),
            Arg::Int(part.matrices as i32),
            Arg::Int(matrix as i32),
        ];
        // SAFETY: the kernel writes `words` words, which the layout keeps for this matrix, and
        // reads within the packed matrix: rows are below `rows.end`, at most `linear.rows`, columns
        // below `linear.cols`.
        unsafe { gpu.launch(&self.relay, [words.div_ceil(256), 1, 1], 256, 0, false, &args) }
    }

    fn check(&mut self, name: &str, linear: &Linear, packed: &CudaSlice<u8>) -> Result<()> {
        let gpu = &self.to.gpu;
        let wrong = gpu.upload(&[u32::MAX])?;
        let args = [
            Arg::Address(gpu.address(packed)),
            Arg::Int(linear.rows as i32),
            Arg::Int(linear.cols as i32),
            Arg::Address(gpu.address(&wrong)),
        ];
        // SAFETY: the kernel reads within the packed matrix, and writes the one word.
        unsafe {
            gpu.launch(&self.check, [linear.rows.div_ceil(256), 1, 1], 256, 0, false, &args)?;
        }
        self.wrong.push((name.to_owned(), wrong));
        Ok(())
    }

    fn floats(&mut self, at: usize, floats: &[f32]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(floats);
        let mut to = self.to.arena.slice_mut(at..at + bytes.len());
        let gpu = &self.to.gpu;
        gpu.stream.memcpy_htod(bytes, &mut to).map_err(gpu.failed("cannot copy to it"))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    /// Prints the codes of a packed matrix, row after row. What CUDA has and C does not is defined
    /// first.
    const PROGRAM: &str = concat!(
        "#include <stdio.h>\n#include <stdlib.h>\n",
        "#define __device__ static\n#define __forceinline__ inline\n",
        "#define min(a, b) ((a) < (b) ? (a) : (b))\n",
        "typedef unsigned char u8; typedef unsigned u32; typedef unsigned long long u64;\n",
        include_str!("kernels/packed.cu"),
        "int main(int n, char** a) {\n",
        "    int t5 = atoi(a[1]), rows = atoi(a[2]), cols = atoi(a[3]), size = atoi(a[4]);\n",
        "    u8* src = malloc(size);\n",
        "    if (n != 5 || fread(src, 1, size, stdin) != size) return 1;\n",
        "    for (int r = 0; r < rows; r++)\n",
        "        for (int c = 0; c < cols; c++)\n",
        "            putchar(t5 ? code_t5(src, (rows + 63) / 64, (cols + 4) / 5, r, c)\n",
        "                       : code_i2(src, cols, r, c));\n",
        "    return 0;\n}\n",
    );

    #[test]
    fn the_kernels_read_a_packed_matrix_as_the_library_does() {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("packed.c"), folder.path().join("packed"));
        std::fs::write(&source, PROGRAM).unwrap();
        let built = Command::new("cc").arg("-o").arg(&program).arg(&source).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

        // Two blocks of strips and a short one, two panels of groups and a short one; less than one
        // of each.
        for (rows, cols) in [(1100, 513), (65, 7)] {
            let trits: Vec<i8> = (0..rows * cols).map(|n| (n * n / 7 % 3) as i8 - 1).collect();
            for packing in [Packing::I2, Packing::T5] {
                let packed = packing.pack_matrix(rows, cols, &trits);
                let args = [usize::from(packing == Packing::T5), rows, cols, packed.len()];
                let input = folder.path().join("matrix");
                std::fs::write(&input, packed).unwrap();
                let run = Command::new(&program)
                    .args(args.map(|n| n.to_string()))
                    .stdin(std::fs::File::open(&input).unwrap())
                    .output()
                    .unwrap();
                assert!(run.status.success());
                let read: Vec<i8> = run.stdout.iter().map(|&code| code as i8 - 1).collect();
                assert!(read == trits, "{packing:?} {rows} x {cols}");
            }
        }
    }
}
