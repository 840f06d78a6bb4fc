//! A batch through a ternary matrix: quantised rows in, floats out.

use std::cell::RefCell;

use super::weights::Linear;
use crate::format::ModelFile;
use crate::kernels::{ASIDE, FloatOps, Input, Job, Kernel, stride, strips_per_task};
use crate::ops::{self, NonFinite, RowScale};
use crate::packing::STRIP;
use crate::threads::{Matrix, Pool};

/// A cache line; a `Vec` of them is a buffer that kernels may load from without crossing one.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A growing byte buffer that starts at a multiple of 64.
#[derive(Default)]
struct AlignedBytes(Vec<Line>);

impl AlignedBytes {
    /// `len` bytes, a multiple of 64, of whatever was there before.
    fn get(&mut self, len: usize) -> &mut [u8] {
        // Never shorter: growing again would mean clearing again.
        let lines = len.div_ceil(64).max(self.0.len());
        self.0.resize(lines, Line([0; 64]));
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }

    fn bytes(&self, len: usize) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..len]
    }
}

/// The fewest pieces of a row's prepared input that are worth a thread's while: with five activations in
/// a piece, a microsecond or so.
const MIN_PIECES: usize = 64;

/// Quantised activation rows, ready for one matrix.
#[derive(Default)]
pub(super) struct Quantised {
    batch: usize,
    cols: usize,
    q: AlignedBytes,
    sums: Vec<i32>,
    steps: Vec<f32>,
    prepared: AlignedBytes,
}

/// One row of [`Quantised`] in the making.
pub(super) struct QuantisedRow<'a> {
    ops: &'static dyn FloatOps,
    q: &'a mut [i8],
    sum: &'a mut i32,
    step: &'a mut f32,
}

impl QuantisedRow<'_> {
    /// Norms and quantises a row: `y = (x * factor) * weight`.
    pub fn quantise(&mut self, x: &[f32], factor: f32, weight: &[f32]) -> Result<(), NonFinite> {
        let RowScale { sum, step } = self.ops.quantise(x, factor, weight, self.q)?;
        (*self.sum, *self.step) = (sum, step);
        Ok(())
    }

    /// The norm of a ternary matrix, its factor taken from `x`, and then as [`quantise`](Self::quantise).
    pub fn norm_and_quantise(&mut self, x: &[f32], weight: &[f32]) -> Result<(), NonFinite> {
        self.quantise(x, self.ops.rms_factor(x, ops::LINEAR_EPS)?, weight)
    }
}

impl Quantised {
    /// Makes room for `batch` rows of `cols` values, and gives them to be filled.
    pub fn rows(
        &mut self,
        ops: &'static dyn FloatOps,
        batch: usize,
        cols: usize,
    ) -> impl Iterator<Item = QuantisedRow<'_>> {
        (self.batch, self.cols) = (batch, cols);
        self.sums.resize(batch, 0);
        self.steps.resize(batch, 0.0);
        let q: &mut [i8] = bytemuck::cast_slice_mut(self.q.get(batch * stride(cols)));
        q.chunks_exact_mut(stride(cols))
            .zip(&mut self.sums)
            .zip(&mut self.steps)
            .map(move |((q, sum), step)| QuantisedRow { ops, q, sum, step })
    }

    /// What the kernel has to prepare: activations, and where what it looks up goes; each row in so many shares, if it
    /// is long enough.
    fn unprepared(
        &mut self,
        kernel: &dyn Kernel,
        shares: usize,
    ) -> impl Iterator<Item = (&[i8], &mut [u8])> {
        let (len, stride) = (kernel.prepared_len(self.cols), stride(self.cols));
        let q: &[i8] = bytemuck::cast_slice(self.q.bytes(self.batch * stride));
        let prepared = self.prepared.get(self.batch * len);
        let (columns, bytes) = kernel.prepared_piece(self.cols);
        let pieces = (len / bytes.max(1)).div_ceil(shares).max(1).next_multiple_of(MIN_PIECES);
        q.chunks_exact(stride).zip(prepared.chunks_exact_mut(len.max(1))).flat_map(
            move |(q, out)| {
                let parts = out.chunks_mut(pieces * bytes).enumerate();
                parts.map(move |(i, out)| (&q[i * pieces * columns..], out))
            },
        )
    }

    /// The kernel's input, of which `prepared_len` bytes have been prepared.
    fn input(&self, prepared_len: usize) -> Input<'_> {
        Input {
            batch: self.batch,
            cols: self.cols,
            q: bytemuck::cast_slice(self.q.bytes(self.batch * stride(self.cols))),
            sums: &self.sums,
            prepared: self.prepared.bytes(prepared_len),
        }
    }
}

/// A matrix, the rows that it is to be multiplied with, and what does it.
pub(super) struct Product<'a> {
    pub linear: &'a Linear,
    pub kernel: &'a dyn Kernel,
    pub x: &'a mut Quantised,
}

/// What is read after a product, to be asked for ahead of time.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    /// The matrix that is multiplied with next.
    pub linear: &'a Linear,
    /// Anything else: what is done with the products reads it.
    pub aside: [&'a [u8]; ASIDE],
}

/// Makes products of one batch, all in one run of the pool: `out[b] = W x[b]` for every quantised row `b`, with `out`
/// `[batch, rows]`.
pub(super) fn apply<const N: usize>(
    file: &ModelFile,
    ops: &dyn FloatOps,
    pool: &Pool,
    mut products: [Product<'_>; N],
    outs: [&mut [f32]; N],
    next: Next<'_>,
) {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    let spans = || products.iter().map(|p| p.linear.span());
    let first = spans().map(|span| span.start).min().unwrap_or(0);
    file.use_matrices(first..spans().map(|span| span.end).max().unwrap_or(0));
    let batch = products[0].x.batch;
    // A single row's tables are made by each thread for itself where that takes less time than fetching them from the
    // cache of another core.
    let as_it_goes = |kernel: &dyn Kernel| batch == 1 && kernel.prepares_as_it_goes();
    let for_itself = |kernel: &dyn Kernel| batch == 1 && kernel.prepares_fast();
    // Where there are fewer rows than threads, the threads share them.
    let shares = pool.threads().div_ceil(batch * N);
    let mut rows: Vec<_> = products
        .iter_mut()
        .filter(|p| !for_itself(p.kernel) && !as_it_goes(p.kernel))
        .flat_map(|p| p.x.unprepared(p.kernel, shares).map(|row| (p.kernel, p.linear.cols, row)))
        .collect();
    pool.run_each(&mut rows, &|_, (kernel, cols, (q, out))| kernel.prepare(*cols, q, out));
    drop(rows);
    let threads = pool.width();
    let strips = |linear: &Linear| strips_per_task(&linear.matrix(file), threads, batch);
    // Where the task of the same number will begin to read, once this product is made.
    let start_of = |linear: &Linear, task: usize| {
        let matrix = linear.matrix(file);
        matrix.bytes_from((task * strips(linear)).min(matrix.strips() - 1))
    };
    let inputs = products.map(|Product { linear, kernel, x }| {
        let x = &*x;
        let prepared = match for_itself(kernel) || as_it_goes(kernel) {
            true => 0,
            false => batch * kernel.prepared_len(x.cols),
        };
        (linear, kernel, x.input(prepared), x.steps.as_slice())
    });
    let mut m = 0;
    let outs = outs.map(|data| {
        let linear = inputs[m].0;
        m += 1;
        Matrix { data, width: linear.rows, chunk: strips(linear) * STRIP }
    });
    pool.run_matrices(outs, &|m, task, mut columns| {
        let (linear, kernel, input, steps) = inputs[m];
        let (matrix, strips) = (linear.matrix(file), strips(linear));
        let first = task * strips;
        let last = (first + strips).min(matrix.strips());
        let linear_next = inputs.get(m + 1).map_or(next.linear, |(linear, ..)| linear);
        // The last product's tasks share the rest.
        let tasks = matrix.strips().div_ceil(strips);
        let aside = match m + 1 == N {
            true => next.aside.map(|part| share(part, task, tasks)),
            false => [&[][..]; ASIDE],
        };
        SCRATCH.with_borrow_mut(|Scratch { sums, prepared }| {
            let mut input = Input { ..input };
            if for_itself(kernel) {
                let prepared = prepared.get(kernel.prepared_len(input.cols));
                kernel.prepare(input.cols, input.q, prepared);
                input.prepared = prepared;
            }
            let job = Job::new(matrix, first..last, input);
            let job = job.with_next(start_of(linear_next, task), aside);
            let sums = grown(sums, batch * job.rows());
            job.run(kernel, sums);
            for (b, sums) in sums.chunks_exact(job.rows()).enumerate() {
                // A last strip's padding rows fall off the end.
                ops.dequantise(sums, steps[b] * linear.scale, columns.row(b));
            }
        });
    });
}

/// The first `len` of a buffer's values, whatever they are; the buffer grows, but is never cut, since growing again would
/// mean clearing again.
fn grown(buffer: &mut Vec<i32>, len: usize) -> &mut [i32] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// What a thread needs while it works at a task.
#[derive(Default)]
struct Scratch {
    /// The sums of the task's strips, before they become floats.
    sums: Vec<i32>,
    /// The kernel's prepared input, where each thread makes its own.
    prepared: AlignedBytes,
}

/// One of some shares that bytes are cut into.
fn share(bytes: &[u8], which: usize, shares: usize) -> &[u8] {
    let len = bytes.len().div_ceil(shares);
    &bytes[(which * len).min(bytes.len())..((which + 1) * len).min(bytes.len())]
}
