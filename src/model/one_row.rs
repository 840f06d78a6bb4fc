//! The products of one row of activations: each thread takes its share of all the weights.

use std::cell::RefCell;
use std::ops::Range;

use super::linear::{Factor, Next, SCRATCH, Scratch, grown};
use super::weights::Linear;
use crate::aligned::AlignedBytes;
use crate::format::ModelFile;
use crate::kernels::share::{Load, Piece, Shares};
use crate::kernels::{ASIDE, FloatOps, Input, Job};
use crate::packing::{PackedMatrix, STRIP};
use crate::threads::Pool;

/// A piece of a thread's share, and where its result goes.
struct Task<'a> {
    which: usize,
    strips: Range<usize>,
    out: Out<'a>,
}

enum Out<'a> {
    /// The products of its rows.
    Floats(&'a mut [f32]),
    /// The sums of a stretch, for the caller to add up.
    Sums(Range<usize>, &'a mut [i32]),
}

/// Makes products of one row: see [`linear::apply`](super::linear::apply).
pub(super) fn apply<const N: usize>(
    file: &ModelFile,
    ops: &dyn FloatOps,
    pool: &Pool,
    factors: [Factor<'_>; N],
    mut outs: [&mut [f32]; N],
    next: Next<'_>,
) {
    thread_local! {
        static STRETCHES: RefCell<AlignedBytes> = RefCell::default();
    }
    let threads = pool.width();
    let loads = factors.each_ref().map(|factor| Load {
        matrix: factor.linear.matrix(file),
        any_stretch: factor.kernel.prepares_as_it_goes(),
    });
    let shares = Shares::new(&loads, threads);
    let pieces: Vec<Vec<Piece>> = (0..threads).map(|thread| shares.of(thread).collect()).collect();
    let stretches = || pieces.iter().flatten().filter(|piece| piece.stretch.is_some());
    let len: usize = stretches().map(rows).sum();
    STRETCHES.with_borrow_mut(|room| {
        let sums: &mut [i32] = bytemuck::cast_slice_mut(room.resize(len * size_of::<i32>()));
        let mut tasks = tasks(&pieces, sums, outs.each_mut().map(|out| &mut **out));
        pool.run_each(&mut tasks, &|thread, tasks| {
            let mut starts = tasks.iter().map(|task| {
                let matrix: &PackedMatrix<'_> = &loads[task.which].matrix;
                matrix.bytes_from(task.strips.start)
            });
            starts.next();
            let starts: Vec<&[u8]> = starts.collect();
            let count = tasks.len();
            for (i, task) in tasks.iter_mut().enumerate() {
                let start = match starts.get(i) {
                    Some(start) => start,
                    None => start_of(file, &factors, next.linears, threads, thread),
                };
                // What is done with the products is done by the caller, who most likely has the first share.
                let mine = (thread, i + 1) == (0, count);
                let aside = if mine { next.aside } else { [&[][..]; ASIDE] };
                let factor = &factors[task.which];
                run(ops, factor, loads[task.which].matrix, task, (start, aside));
            }
        });
        // The stretches of the same strips stand one behind the other.
        let (mut pieces, mut rest) = (stretches().peekable(), sums);
        while let Some(piece) = pieces.next() {
            let sums = cut(&mut rest, rows(piece));
            let same = |p: &&Piece| (p.which, &p.strips) == (piece.which, &piece.strips);
            while pieces.next_if(same).is_some() {
                ops.add_sums(sums, cut(&mut rest, rows(piece)));
            }
            let Factor { linear, steps, .. } = &factors[piece.which];
            let rows = piece.strips.start * STRIP..linear.rows.min(piece.strips.end * STRIP);
            ops.dequantise(sums, steps[0] * linear.scale, &mut outs[piece.which][rows]);
        }
    });
}

/// Rows of a piece, padding counted.
fn rows(piece: &Piece) -> usize {
    piece.strips.len() * STRIP
}

/// Cuts off the first `len` values.
fn cut<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (front, back) = std::mem::take(rest).split_at_mut(len);
    *rest = back;
    front
}

/// Gives each piece its part of what is to be computed: pieces come in the order of matrices and rows.
fn tasks<'a, const N: usize>(
    pieces: &[Vec<Piece>],
    mut sums: &'a mut [i32],
    mut floats: [&'a mut [f32]; N],
) -> Vec<Vec<Task<'a>>> {
    // The row with which what is left of each matrix's products begins.
    let mut starts = [0; N];
    let mut task = |piece: &Piece| {
        let Piece { which, strips, stretch } = piece.clone();
        let out = match stretch {
            Some(stretch) => Out::Sums(stretch, cut(&mut sums, rows(piece))),
            None => {
                let (rest, start) = (&mut floats[which], &mut starts[which]);
                cut(rest, strips.start * STRIP - *start);
                *start = strips.end * STRIP;
                // The last strip may have fewer rows.
                let len = rest.len().min(rows(piece));
                Out::Floats(cut(rest, len))
            }
        };
        Task { which, strips, out }
    };
    pieces.iter().map(|pieces| pieces.iter().map(&mut task).collect()).collect()
}

/// Where a thread's share of the next run's weights begins.
fn start_of<'a>(
    file: &'a ModelFile,
    factors: &[Factor<'_>],
    linears: &'a [Linear],
    threads: usize,
    thread: usize,
) -> &'a [u8] {
    // As a rule the kernel is that of one of this run's matrices.
    let any_stretch = |linear: &Linear| {
        let mut kernels = factors.iter().map(|factor| factor.kernel);
        kernels.any(|k| k.packing() == linear.packing() && k.prepares_as_it_goes())
    };
    let load =
        |linear| Load { matrix: Linear::matrix(linear, file), any_stretch: any_stretch(linear) };
    match linears {
        [one] => Shares::new(&[load(one)], threads).start_of(thread),
        more => Shares::new(&more.iter().map(load).collect::<Vec<_>>(), threads).start_of(thread),
    }
}

/// Computes a piece; `next` is what is read after it.
fn run<'a>(
    ops: &dyn FloatOps,
    factor: &Factor<'a>,
    matrix: PackedMatrix<'a>,
    task: &mut Task<'_>,
    next: (&'a [u8], [&'a [u8]; ASIDE]),
) {
    let Factor { linear, kernel, input, steps } = *factor;
    SCRATCH.with_borrow_mut(|Scratch { sums, prepared }| {
        let mut input = Input { ..input };
        if kernel.prepares_fast() {
            let prepared = prepared.resize(kernel.prepared_len(input.cols));
            kernel.prepare(input.cols, input.q, prepared);
            input.prepared = prepared;
        }
        let job = Job::new(matrix, task.strips.clone(), input).with_next(next.0, next.1);
        match &mut task.out {
            Out::Sums(stretch, sums) => job.with_stretch(stretch.clone()).run(kernel, sums),
            Out::Floats(out) => {
                let sums = grown(sums, job.rows());
                job.run_to_floats(kernel, ops, steps[0] * linear.scale, sums, out);
            }
        }
    });
}
