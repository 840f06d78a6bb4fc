//! The products of one row of activations: each thread takes its part of all the weights, and goes on with the rows that it
//! has finished.

use std::cell::RefCell;
use std::ops::Range;

use super::linear::{Context, Factor, Next, SCRATCH, Scratch, grown};
use super::weights::Linear;
use crate::aligned::AlignedBytes;
use crate::kernels::plan::{Costs, Lane, Plan};
use crate::kernels::share::{Load, Piece};
use crate::kernels::{ASIDE, FloatOps, Input, Job, Kernel};
use crate::packing::{PackedMatrix, Packing};
use crate::threads::{Buffers, Finish, Group, Out, Place};

/// Makes of some rows' products, which it may change, and of what it is given to write what is to be made of them.
pub(super) type Then<'a, const L: usize, const F: usize> =
    dyn Fn(Range<usize>, [&mut [f32]; L], [&mut [f32]; F]) + Sync + 'a;

/// What follows the products row by row, on the thread that has made them.
pub(super) struct Epilogue<'a, const L: usize, const F: usize> {
    /// The rows that go together: each the number of a matrix and where its rows begin; `rows` from there on.
    pub lanes: [(usize, usize); L],
    pub rows: usize,
    /// What it writes, besides the products: `rows` values each.
    pub further: [&'a mut [f32]; F],
    /// What is done with some rows.
    pub run: &'a Then<'a, L, F>,
    /// About how many nanoseconds it takes for each row, with AVX-512.
    pub cost: f64,
}

/// Plans that have been made, and what they are for.
#[derive(Default)]
pub(super) struct Plans(Vec<(Key, Plan)>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    threads: usize,
    lanes: usize,
    /// Packing, rows, columns, and whether the kernel computes any stretch.
    matrices: [Option<(Packing, usize, usize, bool)>; 3],
}

impl Key {
    fn new<'a>(
        threads: usize,
        lanes: usize,
        linears: impl Iterator<Item = (&'a Linear, &'a dyn Kernel)>,
    ) -> Key {
        let mut matrices = [None; 3];
        for (matrix, (linear, kernel)) in matrices.iter_mut().zip(linears) {
            let any_stretch = kernel.prepares_as_it_goes();
            *matrix = Some((linear.packing(), linear.rows, linear.cols, any_stretch));
        }
        Key { threads, lanes, matrices }
    }
}

impl Plans {
    /// Takes a plan out, to be put back at the place given; makes it where there is none.
    fn take(&mut self, key: Key, make: impl FnOnce() -> Plan) -> (usize, Plan) {
        let at = self.0.iter().position(|(known, _)| *known == key).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push((key, Plan::default()));
        }
        let plan = std::mem::take(&mut self.0[at].1);
        // None was put back where a thread panicked.
        (at, if plan.teams.threads() > 0 { plan } else { make() })
    }

    /// The plan for the products with some matrices.
    fn of(&self, threads: usize, linears: &[Linear]) -> Option<&Plan> {
        let is_it = |key: &Key| {
            let mut matrices = key.matrices.iter().enumerate();
            let same = |(i, known): (usize, &Option<(Packing, usize, usize, bool)>)| {
                let known = known.map(|(packing, rows, cols, _)| (packing, rows, cols));
                known == linears.get(i).map(|linear| (linear.packing(), linear.rows, linear.cols))
            };
            key.threads == threads && matrices.all(same)
        };
        self.0.iter().find(|(key, _)| is_it(key)).map(|(_, plan)| plan)
    }
}

/// Makes products of one row: see [`linear::apply_to_row`](super::linear::apply_to_row).
pub(super) fn apply<const N: usize, const L: usize, const F: usize>(
    context: Context<'_>,
    factors: [Factor<'_>; N],
    outputs: [&mut [f32]; N],
    epilogue: Epilogue<'_, L, F>,
    next: Next<'_>,
) {
    thread_local! {
        static SUMS: RefCell<AlignedBytes> = RefCell::default();
    }
    let Context { file, ops, pool, plans } = context;
    let Epilogue { lanes, rows, further, run: then, cost } = epilogue;
    let threads = pool.width();
    let loads = factors.each_ref().map(|factor| Load {
        matrix: factor.linear.matrix(file),
        any_stretch: factor.kernel.prepares_as_it_goes(),
    });
    let key = Key::new(threads, L, factors.iter().map(|factor| (factor.linear, factor.kernel)));
    let (place, mut plan) = plans.take(key, || {
        let lane = |(which, from)| Lane { which, rows: from..from + rows };
        Plan::new(&loads, &lanes.map(lane), threads, &Costs::of(factors[0].kernel, cost))
    });
    let Plan { teams, pieces, together } = &mut plan;
    let next_plan = plans.of(threads, next.linears);
    let work = |Place { thread, number, last }: Place, out: Out<'_>| {
        let piece = &pieces[number];
        let start = match last {
            false => start_of(loads[pieces[number + 1].which].matrix, &pieces[number + 1]),
            true => match next_plan.and_then(|plan| plan.first_of(thread)) {
                Some(piece) => start_of(next.linears[piece.which].matrix(file), piece),
                None => &[],
            },
        };
        // What is done with the products is done by the caller, who most likely has the first part.
        let aside = if last && thread == 0 { next.aside } else { [&[][..]; ASIDE] };
        let (factor, matrix) = (&factors[piece.which], loads[piece.which].matrix);
        compute(ops, factor, matrix, piece, out, (start, aside));
    };
    let finish = |number: usize, group: &Group, parts: Finish<'_, L, F>| {
        let Finish { mut lanes, further, sums } = parts;
        for together in &together[number] {
            let sums = &mut sums[together.first..][..together.len * together.pieces];
            let (all, rest) = sums.split_at_mut(together.len);
            rest.chunks_exact(together.len).for_each(|rest| ops.add_sums(all, rest));
            let Factor { linear, steps, .. } = &factors[together.which];
            // They may be of two lanes that meet.
            for (lane, (output, rows)) in lanes.iter_mut().zip(&group.lanes) {
                let from = rows.start.max(together.rows.start);
                let to = rows.end.min(together.rows.end);
                if *output == together.which && from < to {
                    let all = &all[from - together.rows.start..to - together.rows.start];
                    let lane = &mut lane[from - rows.start..to - rows.start];
                    ops.dequantise(all, steps[0] * linear.scale, lane);
                }
            }
        }
        then(group.further.clone(), lanes, further);
    };
    SUMS.with_borrow_mut(|room| {
        let sums = bytemuck::cast_slice_mut(room.resize(teams.sums() * size_of::<i32>()));
        pool.run_teams(teams, Buffers { outputs, further, sums }, &work, &finish);
    });
    plans.0[place].1 = plan;
}

/// The weights from a piece's first on.
fn start_of<'a>(matrix: PackedMatrix<'a>, piece: &Piece) -> &'a [u8] {
    let line = piece.stretch.as_ref().map_or(0, |stretch| stretch.start);
    matrix.bytes_from_line(piece.strips.clone(), line)
}

/// Computes a piece; `next` is what is read after it.
fn compute<'a>(
    ops: &dyn FloatOps,
    factor: &Factor<'a>,
    matrix: PackedMatrix<'a>,
    piece: &Piece,
    out: Out<'_>,
    next: (&'a [u8], [&'a [u8]; ASIDE]),
) {
    let Factor { linear, kernel, input, steps, .. } = *factor;
    SCRATCH.with_borrow_mut(|Scratch { sums, prepared }| {
        let mut input = Input { ..input };
        if kernel.prepares_fast() {
            let prepared = prepared.resize(kernel.prepared_len(input.cols));
            kernel.prepare(input.cols, input.q, prepared);
            input.prepared = prepared;
        }
        let job = Job::new(matrix, piece.strips.clone(), input).with_next(next.0, next.1);
        match out {
            Out::Sums(sums) => {
                let stretch = piece.stretch.clone().unwrap_or(job.stretch());
                job.with_stretch(stretch).run(kernel, sums);
            }
            Out::Rows(out) => {
                let sums = grown(sums, job.rows());
                job.run_to_floats(kernel, ops, steps[0] * linear.scale, sums, out);
            }
        }
    });
}
