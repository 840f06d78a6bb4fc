//! A batch through a ternary matrix: quantised rows in, floats out.

use std::cell::RefCell;

use super::weights::Linear;
use crate::format::ModelFile;
use crate::kernels::{FloatOps, Input, Job, Kernel, stride};
use crate::ops::{self, NonFinite, RowScale};
use crate::packing::STRIP;
use crate::threads::Pool;

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
        self.0.resize(len.div_ceil(64), Line([0; 64]));
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

    /// Makes what the kernel wants to look up.
    fn prepare(&mut self, kernel: &dyn Kernel, pool: &Pool) {
        let len = kernel.prepared_len(self.cols);
        if len == 0 {
            return;
        }
        let (cols, stride) = (self.cols, stride(self.cols));
        let q: &[i8] = bytemuck::cast_slice(self.q.bytes(self.batch * stride));
        let prepared = self.prepared.get(self.batch * len);
        // Where there are fewer rows than threads, the threads share a row.
        let (columns, bytes) = kernel.prepared_piece(cols);
        let shares = pool.threads().div_ceil(self.batch);
        let pieces = (len / bytes).div_ceil(shares).next_multiple_of(MIN_PIECES);
        let mut parts: Vec<(&[i8], &mut [u8])> = Vec::new();
        for (q, out) in q.chunks_exact(stride).zip(prepared.chunks_exact_mut(len)) {
            let out = out.chunks_mut(pieces * bytes);
            parts.extend(out.enumerate().map(|(i, out)| (&q[i * pieces * columns..], out)));
        }
        pool.run_each(&mut parts, &|_, (q, out)| kernel.prepare(cols, q, out));
    }

    fn input(&self, kernel: &dyn Kernel) -> Input<'_> {
        Input {
            batch: self.batch,
            cols: self.cols,
            q: bytemuck::cast_slice(self.q.bytes(self.batch * stride(self.cols))),
            sums: &self.sums,
            prepared: self.prepared.bytes(self.batch * kernel.prepared_len(self.cols)),
        }
    }
}

/// `out[b] = W x[b]` for every quantised row `b`: `out` is `[batch, rows]`.
pub(super) fn apply(
    linear: &Linear,
    file: &ModelFile,
    kernel: &dyn Kernel,
    ops: &dyn FloatOps,
    pool: &Pool,
    x: &mut Quantised,
    out: &mut [f32],
) {
    thread_local! {
        /// The sums of a task's strips, before they become floats.
        static SUMS: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
    }
    x.prepare(kernel, pool);
    let x = &*x;
    let matrix = linear.matrix(file);
    let strips = strips_per_task(matrix.strips(), pool.threads());
    pool.run_columns(out, linear.rows, strips * STRIP, &|task, mut columns| {
        let first = task * strips;
        let last = (first + strips).min(matrix.strips());
        let job = Job::new(matrix, first..last, x.input(kernel));
        SUMS.with_borrow_mut(|sums| {
            sums.resize(x.batch * job.rows(), 0);
            job.run(kernel, sums);
            for (b, sums) in sums.chunks_exact(job.rows()).enumerate() {
                // A last strip's padding rows fall off the end.
                ops.dequantise(sums, x.steps[b] * linear.scale, columns.row(b));
            }
        });
    });
}

/// Strips in a task: some tasks for each thread, so that a late one costs little; a multiple of 4, the block of the
/// t5 packing; at most 16, so that a batch's sums stay in the cache.
fn strips_per_task(strips: usize, threads: usize) -> usize {
    strips.div_ceil(threads * 4).next_multiple_of(4).min(16)
}
