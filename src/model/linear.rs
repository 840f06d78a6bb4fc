//! A batch through a ternary matrix: quantised rows in, floats out.

use std::cell::RefCell;

use super::one_row::{self, Epilogue, Plans};
use super::weights::Linear;
use crate::aligned::AlignedBytes;
use crate::format::ModelFile;
use crate::kernels::partition::{self, Tasks};
use crate::kernels::plan::Costs;
use crate::kernels::{ASIDE, FloatOps, Input, Job, Kernel, stride};
use crate::ops::{self, NonFinite, RowScale};
use crate::packing::STRIP;
use crate::threads::{Matrix, Pool};

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

    /// Zeros, which any norm has too.
    pub fn clear(&mut self) {
        self.q.fill(0);
        (*self.sum, *self.step) = (0, 0.0);
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
        let q: &mut [i8] = bytemuck::cast_slice_mut(self.q.resize(batch * stride(cols)));
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
        let q: &[i8] = bytemuck::cast_slice(&self.q[..self.batch * stride]);
        let prepared = self.prepared.resize(self.batch * len);
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
            q: bytemuck::cast_slice(&self.q[..self.batch * stride(self.cols)]),
            sums: &self.sums,
            prepared: &self.prepared[..prepared_len],
        }
    }
}

/// A matrix, the rows that it is to be multiplied with, and what does it.
pub(super) struct Product<'a> {
    pub linear: &'a Linear,
    pub kernel: &'a dyn Kernel,
    pub x: &'a mut Quantised,
}

/// What is read after some products, to be asked for ahead of time.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    /// The matrices that are multiplied with next.
    pub linears: &'a [Linear],
    /// Anything else: what is done with the products reads it.
    pub aside: [&'a [u8]; ASIDE],
}

/// What products are made with.
pub(super) struct Context<'a> {
    pub file: &'a ModelFile,
    pub ops: &'a dyn FloatOps,
    pub pool: &'a Pool,
    pub plans: &'a mut Plans,
}

/// Makes products of one batch, all in one run of the pool: `out[b] = W x[b]` for every quantised row `b`, with `out`
/// `[batch, rows]`. Matrices that go together have as many rows as each other.
pub(super) fn apply<const N: usize>(
    context: Context<'_>,
    products: [Product<'_>; N],
    outs: [&mut Vec<f32>; N],
    next: Next<'_>,
) {
    if products[0].x.batch == 1 {
        let (lanes, rows) = (std::array::from_fn(|m| (m, 0)), products[0].linear.rows);
        let run = &|_, _: [&mut [f32]; N], _: [&mut [f32]; 0]| {};
        let epilogue = Epilogue { lanes, rows, further: [], run, cost: 0.0 };
        return apply_to_row(context, products, outs, epilogue, next);
    }
    let Context { file, ops, pool, .. } = context;
    let outs = sized(&products, outs);
    rows_of(file, ops, pool, prepared(file, pool, products), outs, next);
}

/// The same for a single row, and on the threads that make them what is to be made of the products.
pub(super) fn apply_to_row<const N: usize, const L: usize, const F: usize>(
    context: Context<'_>,
    products: [Product<'_>; N],
    outs: [&mut Vec<f32>; N],
    epilogue: Epilogue<'_, L, F>,
    next: Next<'_>,
) {
    let outs = sized(&products, outs);
    let factors = prepared(context.file, context.pool, products);
    one_row::apply(context, factors, outs, epilogue, next);
}

/// The product with one matrix, of any batch, and on the threads that make it what is to be made of it, row by row of the
/// batch. The epilogue's output is `[batch, rows]`; `out` need not hold the product afterwards.
pub(super) fn apply_with<const L: usize>(
    context: Context<'_>,
    product: Product<'_>,
    out: &mut Vec<f32>,
    epilogue: Epilogue<'_, L, 1>,
    next: Next<'_>,
) {
    let batch = product.x.batch;
    if batch == 1 {
        return apply_to_row(context, [product], [out], epilogue, next);
    }
    let Context { file, ops, pool, .. } = context;
    if epilogue.lanes.iter().all(|lane| lane.1.is_multiple_of(STRIP)) {
        let [factor] = prepared(file, pool, [product]);
        return rows_with(file, ops, pool, factor, epilogue, next);
    }
    // Lanes that begin within a strip: first the products, then the rest.
    let width = product.linear.rows;
    let Epilogue { lanes, rows, further: [further], run, .. } = epilogue;
    let products = [product];
    let [out] = sized(&products, [out]);
    rows_of(file, ops, pool, prepared(file, pool, products), [&mut *out], next);
    let mut items: Vec<_> =
        out.chunks_exact_mut(width).zip(further.chunks_exact_mut(rows)).collect();
    pool.run_each(&mut items, &|_, (out, further)| {
        let mut rest = &mut **out;
        let mut done = 0;
        let lanes = lanes.map(|(_, from)| {
            let (lane, after) = std::mem::take(&mut rest)[from - done..].split_at_mut(rows);
            (rest, done) = (after, from + rows);
            lane
        });
        run(0..rows, lanes, [further]);
    });
}

/// Makes outputs as long as the products are.
fn sized<'a, const N: usize>(
    products: &[Product<'_>; N],
    outs: [&'a mut Vec<f32>; N],
) -> [&'a mut [f32]; N] {
    let mut lens = products.iter().map(|p| p.x.batch * p.linear.rows);
    outs.map(|out| {
        out.resize(lens.next().expect("a length for each"), 0.0);
        out.as_mut_slice()
    })
}

/// Prepares what the kernels read, but for what each thread makes for itself.
fn prepared<'a, const N: usize>(
    file: &ModelFile,
    pool: &Pool,
    mut products: [Product<'a>; N],
) -> [Factor<'a>; N] {
    #[cfg(feature = "mmap")]
    {
        let spans = || products.iter().map(|p| p.linear.span());
        let first = spans().map(|span| span.start).min().unwrap_or(0);
        file.use_matrices(first..spans().map(|span| span.end).max().unwrap_or(0));
    }
    let _ = file;
    let batch = products[0].x.batch;
    // A single row's tables are made by each thread for itself where that takes less time than fetching them from the
    // cache of another core.
    let by_each = |kernel: &dyn Kernel| {
        batch == 1 && (kernel.prepares_fast() || kernel.prepares_as_it_goes())
    };
    if products.iter().any(|p| !by_each(p.kernel) && p.kernel.prepared_len(p.linear.cols) > 0) {
        // Where there are fewer rows than threads, the threads share them.
        let shares = pool.threads().div_ceil(batch * N);
        let mut rows: Vec<_> = products
            .iter_mut()
            .filter(|p| !by_each(p.kernel))
            .flat_map(|p| {
                p.x.unprepared(p.kernel, shares).map(|row| (p.kernel, p.linear.cols, row))
            })
            .collect();
        pool.run_each(&mut rows, &|_, (kernel, cols, (q, out))| kernel.prepare(*cols, q, out));
    }
    products.map(|Product { linear, kernel, x }| {
        let x = &*x;
        let prepared = if by_each(kernel) { 0 } else { batch * kernel.prepared_len(x.cols) };
        Factor { linear, kernel, input: x.input(prepared), steps: &x.steps }
    })
}

/// A matrix and its input.
pub(super) struct Factor<'a> {
    pub linear: &'a Linear,
    pub kernel: &'a dyn Kernel,
    pub input: Input<'a>,
    pub steps: &'a [f32],
}

/// What a thread needs while it works at a task.
#[derive(Default)]
pub(super) struct Scratch {
    /// The sums of the task's strips, before they become floats.
    pub sums: Vec<i32>,
    /// The kernel's prepared input, where each thread makes its own.
    pub prepared: AlignedBytes,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The products of several rows: each task takes some strips of a matrix and some of the rows.
fn rows_of<const N: usize>(
    file: &ModelFile,
    ops: &dyn FloatOps,
    pool: &Pool,
    factors: [Factor<'_>; N],
    outs: [&mut [f32]; N],
    next: Next<'_>,
) {
    let batch = factors[0].input.batch;
    let threads = pool.width();
    let cuts = factors.each_ref().map(|Factor { linear, kernel, .. }| {
        let costs = Costs::of(*kernel, 0.0);
        partition::tasks(&linear.matrix(file), 1, batch, threads, &costs)
    });
    let mut m = 0;
    let outs = outs.map(|data| {
        let (width, Tasks { strips, rows }) = (factors[m].linear.rows, cuts[m]);
        m += 1;
        Matrix { data, width, columns: strips * STRIP, rows }
    });
    pool.run_blocks(outs, &|m, mut block| {
        let Factor { linear, kernel, input, steps, .. } = &factors[m];
        let matrix = linear.matrix(file);
        let first = block.columns().start / STRIP;
        let strips = first..(first + cuts[m].strips).min(matrix.strips());
        let job = Job::new(matrix, strips, input.rows(block.rows()));
        // Where the task that is about as far in the next matrix will begin to read, once this product is made.
        let following = factors.get(m + 1).map_or(next.linears.first(), |f| Some(f.linear));
        let start = following.map_or(&[][..], |linear| {
            let next = linear.matrix(file);
            next.bytes_from(first * next.strips() / matrix.strips())
        });
        // The last product's tasks share the rest.
        let (task, tasks) = (first / cuts[m].strips, matrix.strips().div_ceil(cuts[m].strips));
        let aside = match m + 1 == N && block.rows().start == 0 {
            true => next.aside.map(|part| share(part, task, tasks)),
            false => [&[][..]; ASIDE],
        };
        let job = job.with_next(start, aside);
        SCRATCH.with_borrow_mut(|Scratch { sums, .. }| {
            let sums = grown(sums, block.rows().len() * job.rows());
            job.run(*kernel, sums);
            for (b, sums) in block.rows().zip(sums.chunks_exact(job.rows())) {
                // A last strip's padding rows fall off the end.
                ops.dequantise(sums, steps[b] * linear.scale, block.row(b));
            }
        });
    });
}

/// The product of several rows with one matrix, each task with what is to be made of it.
fn rows_with<const L: usize>(
    file: &ModelFile,
    ops: &dyn FloatOps,
    pool: &Pool,
    factor: Factor<'_>,
    epilogue: Epilogue<'_, L, 1>,
    next: Next<'_>,
) {
    let Factor { linear, kernel, input, steps, .. } = factor;
    let Epilogue { lanes, rows: width, further: [further], run, .. } = epilogue;
    let (matrix, costs) = (linear.matrix(file), Costs::of(kernel, 0.0));
    let Tasks { strips, rows } = partition::tasks(&matrix, L, input.batch, pool.width(), &costs);
    let all = width.div_ceil(STRIP);
    let blocks = Matrix { data: further, width, columns: strips * STRIP, rows };
    pool.run_blocks([blocks], &|_, mut block| {
        let (input, columns) = (input.rows(block.rows()), block.columns());
        let first = columns.start / STRIP;
        let here = strips.min(all - first);
        let start = next.linears.first().map_or(&[][..], |linear| {
            let next = linear.matrix(file);
            next.bytes_from(first * next.strips() / all)
        });
        let (task, tasks) = (first / strips, all.div_ceil(strips));
        SCRATCH.with_borrow_mut(|Scratch { sums, .. }| {
            let len = here * STRIP;
            let sums = grown(sums, L * input.batch * len);
            for (l, (sums, lane)) in sums.chunks_exact_mut(input.batch * len).zip(lanes).enumerate()
            {
                let from = lane.1 / STRIP + first;
                let (start, aside) = match (l + 1 == L, block.rows().start) {
                    (true, 0) => (start, next.aside.map(|part| share(part, task, tasks))),
                    (true, _) => (start, [&[][..]; ASIDE]),
                    // The same strips of the next lane.
                    (false, _) => {
                        (matrix.bytes_from(lanes[l + 1].1 / STRIP + first), [&[][..]; ASIDE])
                    }
                };
                let job = Job::new(matrix, from..from + here, input).with_next(start, aside);
                job.run(kernel, sums);
            }
            for (b, row) in block.rows().enumerate() {
                let mut of_lanes = sums.chunks_exact_mut(input.batch * len);
                let lanes = std::array::from_fn(|_| {
                    let sums = &mut of_lanes.next().expect("sums of each lane")[b * len..][..len];
                    ops.dequantise_in_place(sums, steps[row] * linear.scale);
                    let floats: &mut [f32] = bytemuck::cast_slice_mut(sums);
                    // A last strip's padding rows fall off the end.
                    &mut floats[..columns.len()]
                });
                run(columns.clone(), lanes, [block.row(row)]);
            }
        });
    });
}

/// The first `len` of a buffer's values, whatever they are; the buffer grows, but is never cut, since growing again would
/// mean clearing again.
pub(super) fn grown(buffer: &mut Vec<i32>, len: usize) -> &mut [i32] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// One of some shares that bytes are cut into.
fn share(bytes: &[u8], which: usize, shares: usize) -> &[u8] {
    let len = bytes.len().div_ceil(shares);
    &bytes[(which * len).min(bytes.len())..((which + 1) * len).min(bytes.len())]
}
