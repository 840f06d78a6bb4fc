//! `mmfree-infer bench kernels`: each kernel at the shapes of the published models.
//!
//! From memory: matrices one behind the other through more memory than the caches hold, shared among the threads as in a
//! forward pass, beside plain read loops over the same bytes. From the cache: each thread over and over through the first
//! rows of such a matrix. In both, what the kernel prepares of the activations counts for its own column only, and for the
//! time from memory, where it is done for each matrix, as in a forward pass.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use mmfree::kernels::partition::{self, Tasks};
use mmfree::kernels::plan::{Costs, Lane, Plan};
use mmfree::kernels::share::{Load, Piece};
use mmfree::kernels::{self, Input, Isa, Job, Kernel, measure, stride};
use mmfree::packing::{PackedMatrix, STRIP};
use mmfree::storage::may_fail;
use mmfree::threads::{Pool, default_threads};
use serde::Serialize;

use super::table::{self, Cell, Format, Printer};
use super::{best_loop, median, thread_counts};
use crate::args::KernelBenchArgs;
use crate::failure::Failure;

/// Bytes of a matrix that every core has room for in its cache, small ones too.
const CACHED: usize = 128 << 10;

/// Rows and columns of a model's matrices: projections of the token mixing, gate and up, down, head.
fn shapes(size: &str) -> [(usize, usize); 4] {
    let (hidden, intermediate) = match size {
        "370m" => (1024, 2816),
        "1.3b" => (2048, 5632),
        _ => (2560, 6912),
    };
    [(hidden, hidden), (2 * intermediate, hidden), (hidden, intermediate), (32000, hidden)]
}

/// One kernel, shape and batch. Rates are medians over the repetitions, from the cache the best.
#[derive(Serialize)]
struct Row {
    kernel: &'static str,
    size: String,
    rows: usize,
    cols: usize,
    batch: usize,
    threads: usize,
    /// 10^9 weights read from memory per second.
    gweights_s: f64,
    /// GB/s of packed weights.
    read_gb_s: f64,
    /// The machine's own, GB/s.
    machine_gb_s: f64,
    read_percent: f64,
    /// 10^9 additions of a weighted activation per second.
    gmac_s: f64,
    /// The int8 dot product of the kernel's instruction set, all threads.
    machine_gmac_s: f64,
    compute_percent: f64,
    /// As `gmac_s`, from the cache.
    cached_gmac_s: f64,
    cached_compute_percent: f64,
    /// Time of preparing the activations in per cent of the time from memory; none where the kernel does so as it goes.
    prepare_percent: Option<f64>,
}

impl table::Row for Row {
    fn columns(&self) -> Vec<(&'static str, &'static str, Cell)> {
        vec![
            ("kernel", "kernel", Cell::Text(self.kernel.into())),
            ("size", "size", Cell::Text(self.size.clone())),
            ("rows", "rows", Cell::Whole(self.rows as u64)),
            ("columns", "cols", Cell::Whole(self.cols as u64)),
            ("batch", "batch", Cell::Whole(self.batch as u64)),
            ("threads", "threads", Cell::Whole(self.threads as u64)),
            ("Gweights/s", "gweights_s", Cell::Number(self.gweights_s, 1)),
            ("GB/s", "read_gb_s", Cell::Number(self.read_gb_s, 1)),
            ("machine", "machine_gb_s", Cell::Number(self.machine_gb_s, 1)),
            ("share %", "read_percent", Cell::Number(self.read_percent, 0)),
            ("Gmac/s", "gmac_s", Cell::Number(self.gmac_s, 1)),
            ("machine", "machine_gmac_s", Cell::Number(self.machine_gmac_s, 0)),
            ("share %", "compute_percent", Cell::Number(self.compute_percent, 0)),
            ("cached Gmac/s", "cached_gmac_s", Cell::Number(self.cached_gmac_s, 1)),
            ("share %", "cached_compute_percent", Cell::Number(self.cached_compute_percent, 0)),
            ("prepare %", "prepare_percent", Cell::number(self.prepare_percent, 1)),
        ]
    }
}

pub fn run(args: &KernelBenchArgs) -> Result<(), Failure> {
    let wanted = |kernel: &&dyn Kernel| match &args.name {
        // A name asked for brings in the reference kernels too, which are slow.
        Some(name) => kernel.name().contains(name.as_str()),
        None => kernel.isa() != Isa::Scalar,
    };
    let kernels: Vec<&dyn Kernel> =
        kernels::all().iter().map(|kernel| kernel.as_ref()).filter(wanted).collect();
    if kernels.is_empty() {
        let names: Vec<_> = kernels::all().iter().map(|kernel| kernel.name()).collect();
        let name = args.name.as_deref().unwrap_or("any");
        return Err(Failure::Usage(format!(
            "no kernel of this CPU has `{name}` in its name; there are {}",
            names.join(", ")
        )));
    }
    // More than 32 bits can count is refused like any other memory that is not there.
    let len = usize::try_from(u64::from(args.mib) << 20).unwrap_or(usize::MAX - 64);
    let region = Region::new(len)?;
    let title = format!(
        "matrices from {} MiB, and from {} KiB in the cache of each core\n",
        args.mib,
        CACHED >> 10
    );
    let mut printer = Printer::new(Format::of(args.json, args.csv), title);
    for threads in thread_counts(&args.threads) {
        let pool = Pool::new(threads.unwrap_or_else(default_threads));
        for size in &args.size {
            for (rows, cols) in shapes(size) {
                for &batch in &args.batch {
                    for &kernel in &kernels {
                        let case = Case { kernel, rows, cols, batch, pool: &pool, region: &region };
                        printer.push(case.measure(size, args.repetitions))?;
                    }
                }
            }
        }
    }
    printer.finish()?;
    Ok(())
}

/// Memory full of random bytes, aligned as a mapped file is.
struct Region {
    buffer: Vec<u8>,
    span: Range<usize>,
}

impl Region {
    fn new(len: usize) -> Result<Region, Failure> {
        let mut buffer = Vec::new();
        let full = may_fail(|| buffer.try_reserve_exact(len + 64));
        full.map_err(|_| Failure::Message(format!("no {len} bytes of memory; --mib takes fewer")))?;
        buffer.resize(len + 64, 0u8);
        let mut seed = 1u64;
        for chunk in buffer.as_chunks_mut::<8>().0 {
            seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            *chunk = (seed ^ seed >> 29).to_le_bytes();
        }
        let from = buffer.as_ptr().align_offset(64);
        Ok(Region { buffer, span: from..from + len })
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.span.clone()]
    }
}

struct Case<'a> {
    kernel: &'a dyn Kernel,
    rows: usize,
    cols: usize,
    batch: usize,
    pool: &'a Pool,
    region: &'a Region,
}

/// Some pieces of the products of some rows of activations, and room for the sums of one.
struct Task {
    pieces: Vec<Piece>,
    rows: Range<usize>,
    out: Vec<i32>,
}

impl Task {
    fn new(pieces: Vec<Piece>, rows: Range<usize>) -> Task {
        let most = pieces.iter().map(|piece| piece.strips.len()).max();
        // Written, so that its memory is there when the time is taken.
        let out = vec![1; rows.len() * most.unwrap_or(0) * STRIP];
        Task { pieces, rows, out }
    }
}

/// Activations, and what the kernel has made of them.
struct Activations {
    q: Vec<i8>,
    sums: Vec<i32>,
    prepared: Vec<u8>,
    /// Bytes of `prepared` in front of the first multiple of 64.
    skip: usize,
}

impl Case<'_> {
    fn measure(&self, size: &str, repetitions: u32) -> Row {
        let Case { kernel, rows, cols, batch, pool, region } = *self;
        let len = self.packed_len(rows);
        // A large batch reads the weights from memory once, and takes long: fewer of them will do.
        let copies = (region.bytes().len() / len / batch.div_ceil(16)).max(1);
        let read = &region.bytes()[..copies * len];
        let mut activations = self.activations();
        let weights = (rows * cols * copies) as f64;
        let (mut runs, mut reads, mut peaks, mut prepares) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut cached = f64::INFINITY;
        let mut tasks = self.tasks();
        self.run_from_memory(&mut activations, &mut tasks, 1);
        for _ in 0..repetitions {
            let before = measure::read_rates(read, pool);
            peaks.push(measure::dot_peak(kernel.isa(), pool));
            let start = Instant::now();
            self.run_from_memory(&mut activations, &mut tasks, copies);
            runs.push(start.elapsed().as_secs_f64());
            reads.push([before, measure::read_rates(read, pool)]);
            let start = Instant::now();
            self.prepare(&mut activations);
            prepares.push(start.elapsed().as_secs_f64() * copies as f64);
            cached = cached.min(self.run_from_cache(&activations));
        }
        let reads = best_loop(&reads);
        let shares = |rates: &[f64], each: f64| {
            let shares: Vec<f64> =
                runs.iter().zip(rates).map(|(run, rate)| 100.0 * each / run / rate).collect();
            median(&shares)
        };
        let (run, sums, peak) = (median(&runs), weights * batch as f64, median(&peaks));
        let prepare: Vec<f64> =
            prepares.iter().zip(&runs).map(|(p, run)| 100.0 * p / run).collect();
        Row {
            kernel: kernel.name(),
            size: size.to_owned(),
            rows,
            cols,
            batch,
            threads: pool.threads(),
            gweights_s: weights / run / 1e9,
            read_gb_s: read.len() as f64 / run / 1e9,
            machine_gb_s: median(&reads) / 1e9,
            read_percent: shares(&reads, read.len() as f64),
            gmac_s: sums / run / 1e9,
            machine_gmac_s: peak / 1e9,
            compute_percent: shares(&peaks, sums),
            cached_gmac_s: 1e-9 / cached,
            cached_compute_percent: 100.0 / cached / peaks.iter().copied().fold(0.0, f64::max),
            prepare_percent: (!self.as_it_goes()).then(|| median(&prepare)),
        }
    }

    fn packed_len(&self, rows: usize) -> usize {
        self.kernel.packing().packed_len(rows, self.cols).expect("a shape in range")
    }

    fn activations(&self) -> Activations {
        let stride = stride(self.cols);
        let value = |i: usize| if i % stride < self.cols { (i * 37 % 255) as u8 as i8 } else { 0 };
        let q: Vec<i8> = (0..self.batch * stride).map(value).map(|q| q.max(-127)).collect();
        let sum = |q: &[i8]| q.iter().map(|&q| i32::from(q)).sum();
        let sums = q.chunks(stride).map(sum).collect();
        let prepared = vec![0u8; self.batch * self.kernel.prepared_len(self.cols) + 64];
        let skip = prepared.as_ptr().align_offset(64);
        let mut activations = Activations { q, sums, prepared, skip };
        self.prepare(&mut activations);
        activations
    }

    /// Whether the kernel is left to prepare its input itself, as in a forward pass.
    fn as_it_goes(&self) -> bool {
        self.batch == 1 && self.kernel.prepares_as_it_goes()
    }

    fn prepare(&self, activations: &mut Activations) {
        let len = self.kernel.prepared_len(self.cols);
        if len == 0 {
            return;
        }
        let rows = activations.q.chunks(stride(self.cols));
        let out = activations.prepared[activations.skip..].chunks_exact_mut(len);
        let mut rows: Vec<_> = rows.zip(out).collect();
        let (kernel, cols) = (self.kernel, self.cols);
        self.pool.run_each(&mut rows, &|_, (q, out)| kernel.prepare(cols, q, out));
    }

    fn input<'a>(&self, activations: &'a Activations) -> Input<'a> {
        let len = self.batch * self.kernel.prepared_len(self.cols);
        Input {
            batch: self.batch,
            cols: self.cols,
            q: &activations.q,
            sums: &activations.sums,
            prepared: &activations.prepared[activations.skip..][..len],
        }
    }

    /// Matrix `n` of those in the region.
    fn matrix(&self, rows: usize, n: usize) -> PackedMatrix<'_> {
        let len = self.packed_len(rows);
        let bytes = &self.region.bytes()[n * len..][..len];
        PackedMatrix::new(self.kernel.packing(), rows, self.cols, bytes).expect("its length")
    }

    /// The tasks of a product with a matrix of the region.
    fn tasks(&self) -> Vec<Task> {
        let (batch, threads) = (self.batch, self.pool.threads());
        let (matrix, costs) = (self.matrix(self.rows, 0), Costs::of(self.kernel, 0.0));
        if batch == 1 {
            let loads = [Load { matrix, any_stretch: self.kernel.prepares_as_it_goes() }];
            let lanes = [Lane { which: 0, rows: 0..self.rows }];
            let plan = Plan::new(&loads, &lanes, threads, &costs);
            let pieces = |thread| plan.teams.pieces_of(thread).map(|n| plan.pieces[n].clone());
            return (0..plan.teams.threads())
                .map(|t| Task::new(pieces(t).collect(), 0..1))
                .collect();
        }
        let Tasks { strips: each, rows } = partition::tasks(&matrix, 1, batch, threads, &costs);
        let firsts = (0..matrix.strips()).step_by(each);
        let firsts = firsts.flat_map(|s| (0..batch).step_by(rows).map(move |b| (s, b)));
        let task = |(s, b): (usize, usize)| {
            let strips = s..(s + each).min(matrix.strips());
            let piece = Piece { which: 0, strips, stretch: None };
            Task::new(vec![piece], b..(b + rows).min(batch))
        };
        firsts.map(task).collect()
    }

    /// `copies` matrices, each prepared for anew.
    fn run_from_memory(&self, activations: &mut Activations, tasks: &mut [Task], copies: usize) {
        let rows = self.rows;
        for copy in 0..copies {
            if !self.as_it_goes() {
                self.prepare(activations);
            }
            let (matrix, mut input) = (self.matrix(rows, copy), self.input(activations));
            if self.as_it_goes() {
                input.prepared = &[];
            }
            self.pool.run_each(tasks, &|_, Task { pieces, rows: of_task, out }| {
                for piece in &*pieces {
                    let strips = piece.strips.clone();
                    // About as in a model, where the next matrix is known.
                    let next = self.matrix(rows, (copy + 1) % copies).bytes_from(strips.start);
                    let job = Job::new(matrix, strips, input.rows(of_task.clone()));
                    let stretch = piece.stretch.clone().unwrap_or(job.stretch());
                    let job = job.with_stretch(stretch).with_next(next, [&[]; kernels::ASIDE]);
                    job.run(self.kernel, &mut out[..of_task.len() * job.rows()]);
                }
            });
            black_box(&mut *tasks);
        }
    }

    /// Seconds that an addition takes, all threads together, where the weights are in each core's cache.
    fn run_from_cache(&self, activations: &Activations) -> f64 {
        // The packings interleave rows in blocks of 512 at most.
        let fits = |rows: &usize| self.packed_len(*rows) <= CACHED;
        let rows = [512, 256, 128].into_iter().find(fits).unwrap_or(STRIP);
        let sums = rows * self.cols * self.batch;
        // Some 10^8 additions: milliseconds.
        let turns = ((1 << 27) / sums).max(1);
        let input = self.input(activations);
        let mut out = vec![vec![0i32; self.batch * rows]; self.pool.threads()];
        let start = Instant::now();
        self.pool.run_each(&mut out, &|thread, out| {
            let matrix = self.matrix(rows, thread % 8);
            for _ in 0..turns {
                let job = Job::new(matrix, 0..matrix.strips(), black_box(input));
                job.run(self.kernel, black_box(&mut out[..]));
            }
        });
        start.elapsed().as_secs_f64() / (sums * turns * self.pool.threads()) as f64
    }
}
