//! Ternary row kernels: int8 activations against packed trits, exact int32 sums.
//!
//! A kernel computes, for some strips of a packed matrix `[rows, cols]` and a batch of int8 rows,
//! `sum[b][r] = Σ_j q[b][j] * trit[r][j]`. Every kernel gives the integers of the scalar one, bit
//! for bit, whatever the bytes of the matrix. For one row some can multiply them by a factor in
//! passing, as [`ops::dequantise`](crate::ops::dequantise) does.
//!
//! One folder per architecture, one leaf file per instruction set and packing. A leaf's kernel type
//! can only be made where the CPU has the instructions (`new() -> Option<Self>`), so holding one is
//! the proof that running it is sound. To add a kernel: write the leaf, list it in [`all`].

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod float;
// It needs a clock.
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
pub mod measure;
pub mod partition;
pub mod plan;
mod prefetch;
pub(crate) mod sampling;
pub mod scalar;
pub mod share;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod t5;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod t5_split;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;
use std::sync::OnceLock;

pub use float::{FloatOps, float_ops};

use crate::error::{Error, Result};
use crate::packing::{PackedMatrix, Packing, STRIP};

/// Instruction sets that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, on every CPU: the reference.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX2 and the 256-bit dot products of AVX-VNNI: Alder Lake, N100, Zen 5 and later.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL, VBMI and VNNI: Ice Lake, Zen 4 and later. With less it is
    /// [`Isa::Avx2`] or [`Isa::AvxVnni`].
    Avx512,
    /// 64-bit ARM, every CPU: Raspberry Pi 3, 4, Zero 2.
    Neon,
    /// 64-bit ARM with the dot products of ARMv8.2 (`dotprod`): Raspberry Pi 5.
    NeonDot,
}

impl Isa {
    /// Every instruction set, on this architecture or not, slowest first.
    pub const ALL: [Isa; 6] =
        [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512, Isa::Neon, Isa::NeonDot];

    /// The name on the command line and in `MMFREE_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
            Isa::NeonDot => "neondot",
        }
    }

    /// Those that this CPU has, slowest first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|&isa| all().iter().any(|k| k.isa() == isa)).collect()
    }

    /// The one named, or with `auto` the fastest that this CPU has.
    ///
    /// # Errors
    /// [`Error::Isa`] for an unknown name or one that this CPU lacks; never another one in its
    /// place.
    pub fn from_name(name: &str) -> Result<Isa> {
        let available = Isa::available();
        let found = match name {
            "auto" => available.last().copied(),
            name => available.iter().copied().find(|isa| isa.name() == name),
        };
        found.ok_or_else(|| Error::Isa {
            name: name.to_owned(),
            available: available.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// How a kernel adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Look-ups, adds, subtracts, shifts and masks: no multiply instruction in the inner loop.
    Add,
    /// The CPU's int8 dot products used as wide adders.
    Dot,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::Add, Family::Dot];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Family::Add => "add",
            Family::Dot => "dot",
        }
    }

    /// The family of that name.
    pub fn from_name(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A ternary row kernel.
pub trait Kernel: Send + Sync {
    /// Packing, instruction set and what tells it from others, as `t5-avx512-add`.
    fn name(&self) -> &'static str;

    /// The instructions it needs.
    fn isa(&self) -> Isa;

    /// The packing it reads.
    fn packing(&self) -> Packing;

    /// How it adds.
    fn family(&self) -> Family;

    /// The number of rows of activations from which it is faster than those before it in the list
    /// of [`all`].
    fn min_batch(&self) -> usize {
        1
    }

    /// Bytes of prepared input (look-up tables, say) for each row of `cols` activations; 0 where it
    /// reads the int8 values alone. A multiple of 64.
    fn prepared_len(&self, cols: usize) -> usize {
        let _ = cols;
        0
    }

    /// Fills the prepared input of one row of activations, `q` with its padding (see [`Input`]).
    /// `out` is [`prepared_len`](Self::prepared_len) bytes.
    fn prepare(&self, cols: usize, q: &[i8], out: &mut [u8]) {
        let _ = (cols, q, out);
    }

    /// The pieces that a row's prepared input can be made in, by several threads: so many bytes of it
    /// are made of so many activations. `prepare` then gets the activations from a piece's first one
    /// on, to the end of the row, and the bytes of some whole pieces.
    fn prepared_piece(&self, cols: usize) -> (usize, usize) {
        (stride(cols), self.prepared_len(cols))
    }

    /// Whether [`prepare`](Self::prepare) takes less time than fetching what it writes from the cache of another core.
    fn prepares_fast(&self) -> bool {
        false
    }

    /// Whether [`compute`](Self::compute) prepares the input itself, each part when it comes to it, where it is given none: faster
    /// for a single row of activations, whose prepared input then never leaves the L1 cache. Such a kernel computes any
    /// [stretch](Job::stretch) of a job.
    fn prepares_as_it_goes(&self) -> bool {
        false
    }

    /// Whether [`compute`](Self::compute) heeds a job's [factor](Job::factor), which spares a pass over its results.
    fn dequantises(&self) -> bool {
        false
    }

    /// About how many nanoseconds it takes for 64 bytes of weights and one row of activations, from the cache; and where it
    /// [prepares as it goes](Self::prepares_as_it_goes), for the tables that as many bytes of each strip of a piece share.
    /// Numbers of threads are chosen by it.
    fn costs(&self) -> (f64, f64) {
        // Rates of the kernels beside those of AVX-512 on a Xeon at 2.9 GHz.
        let line = match self.isa() {
            Isa::Avx512 => 4.0,
            Isa::AvxVnni => 6.0,
            Isa::Avx2 => 10.0,
            Isa::NeonDot => 30.0,
            Isa::Neon => 60.0,
            Isa::Scalar => 300.0,
        };
        (line, 0.0)
    }

    /// Computes a job whose bounds have all been checked: see [`Job::run`], the only caller.
    ///
    /// `out[b * job.rows() + r]` becomes the sum of batch row `b` and row `r` of the job's strips,
    /// padding rows included; of a stretch, what its weights add to that. What was in `out` is not read. Where the job has a
    /// factor, the bits of floats take the place of sums: only a job of one row of activations and of all its weights has
    /// one, and only for kernels that [dequantise](Self::dequantises).
    fn compute(&self, job: &Job<'_>, out: &mut [i32]);
}

/// A batch of int8 activation rows.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Rows.
    pub batch: usize,
    /// Activations in a row.
    pub cols: usize,
    /// `batch` rows, each `stride(cols)` bytes, the values behind `cols` zero. Values are
    /// -127..=127.
    pub q: &'a [i8],
    /// The sum of each row.
    pub sums: &'a [i32],
    /// The kernel's prepared input, `batch` times [`Kernel::prepared_len`]; or nothing, where the kernel
    /// [prepares as it goes](Kernel::prepares_as_it_goes).
    pub prepared: &'a [u8],
}

impl<'a> Input<'a> {
    /// Some of the rows.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn rows(&self, rows: Range<usize>) -> Input<'a> {
        let (stride, prepared) = (stride(self.cols), self.prepared.len() / self.batch);
        Input {
            batch: rows.len(),
            cols: self.cols,
            q: &self.q[rows.start * stride..rows.end * stride],
            sums: &self.sums[rows.clone()],
            prepared: &self.prepared[rows.start * prepared..rows.end * prepared],
        }
    }
}

/// Distance of activation rows of `cols` values: the next multiple of 64.
pub fn stride(cols: usize) -> usize {
    cols.next_multiple_of(64)
}

/// Pieces of memory that a [`Job`] can be told of besides weights.
pub const ASIDE: usize = 4;

/// Some strips of a matrix and the input for them, checked against each other.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    matrix: PackedMatrix<'a>,
    strips: Range<usize>,
    stretch: Range<usize>,
    input: Input<'a>,
    next: &'a [u8],
    aside: [&'a [u8]; ASIDE],
    factor: Option<f32>,
}

impl<'a> Job<'a> {
    /// Puts a job together.
    ///
    /// # Panics
    /// If the strips are not the matrix's, or the input is not as [`Input`] says.
    pub fn new(matrix: PackedMatrix<'a>, strips: Range<usize>, input: Input<'a>) -> Job<'a> {
        assert!(strips.start < strips.end && strips.end <= matrix.strips(), "strips {strips:?}");
        assert_eq!(input.cols, matrix.cols());
        assert_eq!(input.q.len(), input.batch * stride(input.cols));
        assert_eq!(input.sums.len(), input.batch);
        let stretch = 0..strips.len() * matrix.strip_lines();
        let (next, aside) = (&[][..], [&[][..]; ASIDE]);
        Job { matrix, strips, stretch, input, next, aside, factor: None }
    }

    /// Only a part of the job's weights: the lines of 64 bytes of a range, in the order in which the kernel reads them.
    /// A job's sums are those of stretches that it is cut into, added up. Where a cut falls between lines that a kernel
    /// reads together, they belong to the stretch behind it.
    ///
    /// # Panics
    /// If the job has fewer lines, or the range is not one.
    pub fn with_stretch(self, stretch: Range<usize>) -> Job<'a> {
        assert!(stretch.start <= stretch.end && stretch.end <= self.lines(), "lines {stretch:?}");
        Job { stretch, ..self }
    }

    /// The same job with what will be read after it, for kernels to ask for ahead of time: `next`, the weights of a job like
    /// this one, from the first byte on, and `aside`, anything else. No result depends on them.
    pub fn with_next(self, next: &'a [u8], aside: [&'a [u8]; ASIDE]) -> Job<'a> {
        Job { next, aside, ..self }
    }

    /// Runs the job: `out[b * self.rows() + r]` becomes the sum of batch row `b` and row `r`.
    ///
    /// # Panics
    /// If the kernel is for another packing, its input was not prepared, `out` is not `batch *
    /// rows` long, or the job is a stretch and the kernel does not prepare as it goes.
    pub fn run(&self, kernel: &dyn Kernel, out: &mut [i32]) {
        assert_eq!(kernel.packing(), self.matrix.packing());
        assert!(self.is_whole() || kernel.prepares_as_it_goes());
        let prepared = self.input.prepared.len();
        assert!(
            prepared == self.input.batch * kernel.prepared_len(self.input.cols)
                || prepared == 0 && kernel.prepares_as_it_goes()
        );
        assert_eq!(out.len(), self.input.batch * self.rows());
        debug_assert!(self.factor.is_none() || kernel.dequantises() && self.input.batch == 1);
        kernel.compute(self, out);
    }

    /// Runs a job of one row of activations for its products: `out[r]` becomes the sum of row `r` times `factor`, as
    /// [`dequantise`](crate::ops::dequantise) has it. `out` may lack the last strip's padding rows, and only then `sums`, with
    /// a value for each row, is used as scratch space.
    ///
    /// # Panics
    /// As [`run`](Self::run), or if the job is of several rows of activations or a stretch, or `out` lacks more.
    pub fn run_to_floats(
        self,
        kernel: &dyn Kernel,
        ops: &dyn FloatOps,
        factor: f32,
        sums: &mut [i32],
        out: &mut [f32],
    ) {
        assert!(self.input.batch == 1 && self.is_whole());
        assert!(out.len() + STRIP > self.rows(), "{} values for {} rows", out.len(), self.rows());
        if out.len() < self.rows() {
            self.run(kernel, sums);
            ops.dequantise(sums, factor, out);
            return;
        }
        // One buffer takes less of the caches than two.
        let sums: &mut [i32] = bytemuck::cast_slice_mut(out);
        if kernel.dequantises() {
            Job { factor: Some(factor), ..self }.run(kernel, sums);
        } else {
            self.run(kernel, sums);
            ops.dequantise_in_place(sums, factor);
        }
    }

    /// The matrix.
    pub fn matrix(&self) -> &PackedMatrix<'a> {
        &self.matrix
    }

    /// The strips to compute.
    pub fn strips(&self) -> Range<usize> {
        self.strips.clone()
    }

    /// Lines of 64 bytes of weights, of all its strips.
    pub fn lines(&self) -> usize {
        self.strips.len() * self.matrix.strip_lines()
    }

    /// Which of them are meant: see [`with_stretch`](Self::with_stretch).
    pub fn stretch(&self) -> Range<usize> {
        self.stretch.clone()
    }

    /// What a kernel that [dequantises](Kernel::dequantises) multiplies its sums by, as floats.
    pub fn factor(&self) -> Option<f32> {
        self.factor
    }

    /// Whether all of them are.
    pub fn is_whole(&self) -> bool {
        self.stretch == (0..self.lines())
    }

    /// The weights that are read next: see [`with_next`](Self::with_next).
    pub fn next(&self) -> &'a [u8] {
        self.next
    }

    /// Asks for a share of what is read next aside from the weights. Kernels that read weights from memory call it
    /// for each strip or block, with its number in their order and how many there are.
    #[inline(always)]
    pub fn fetch_aside(&self, number: usize, of: usize) {
        let lines = |part: &[u8]| part.len().div_ceil(prefetch::LINE);
        let all: usize = self.aside.iter().map(|part| lines(part)).sum();
        if all == 0 {
            return;
        }
        let Range { start, end } = aside_share(number, of, all);
        let mut before = 0;
        for part in self.aside {
            let after = before + lines(part);
            for line in start.clamp(before, after)..end.clamp(before, after) {
                prefetch::near(part, (line - before) * prefetch::LINE);
            }
            before = after;
        }
    }

    /// Rows of those strips, the last strip's padding counted.
    pub fn rows(&self) -> usize {
        self.strips.len() * STRIP
    }

    /// The activations.
    pub fn input(&self) -> &Input<'a> {
        &self.input
    }
}

/// Of `all` lines those that are asked for with a strip or block: a few at a time do not keep the weights from coming. The
/// first ones ask for none, if there are enough of them, since the weights behind would push the lines out of the first cache
/// again; nor do the last ones, so that the lines are there in time.
fn aside_share(number: usize, of: usize, all: usize) -> Range<usize> {
    /// Lines at a time, at least.
    const SHARE: usize = 16;
    /// Strips or blocks that ask for none at the end.
    const SPARE: usize = 6;
    let last = of.min(all.div_ceil(SHARE) + SPARE);
    let Some(number) = (number + last).checked_sub(of) else {
        return 0..0;
    };
    let share = all.div_ceil(last).max(SHARE);
    (number * share).min(all)..((number + 1) * share).min(all)
}

/// Whether this processor decodes the same matrix faster in packing `i2` than in `t5`, though it has to read a quarter more,
/// with the kernels of an instruction set and a family: where the look-ups of `t5` keep the core busy for longer than memory
/// takes to bring the weights.
#[cfg(feature = "mmap")]
pub(crate) fn decodes_i2_faster(isa: Isa, family: Option<Family>) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        x86::decodes_i2_faster(isa) && family != Some(Family::Add)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (isa, family);
        false
    }
}

/// Every kernel that this CPU can run, the scalar ones first, in each packing the fastest last.
pub fn all() -> &'static [Box<dyn Kernel>] {
    static KERNELS: OnceLock<Vec<Box<dyn Kernel>>> = OnceLock::new();
    KERNELS.get_or_init(|| {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_mut))]
        let mut kernels: Vec<Box<dyn Kernel>> =
            vec![Box::new(scalar::I2Scalar), Box::new(scalar::T5Scalar)];
        #[cfg(target_arch = "x86_64")]
        x86::list(&mut kernels);
        #[cfg(target_arch = "aarch64")]
        aarch64::list(&mut kernels);
        kernels
    })
}

/// The kernel for a packing, an instruction set and a number of rows of activations: the fastest of
/// the set, or of the next slower one that has a kernel of the family asked for. `None` where there
/// is none of that family.
pub fn select(
    packing: Packing,
    isa: Isa,
    family: Option<Family>,
    batch: usize,
) -> Option<&'static dyn Kernel> {
    let kernels = all().iter().map(|kernel| kernel.as_ref());
    // Of equals the last one counts, which in the list is the fastest.
    kernels
        .filter(|k| k.packing() == packing && k.isa() <= isa)
        .filter(|k| family.is_none_or(|family| k.family() == family))
        .max_by_key(|k| (k.isa(), k.min_batch() <= batch))
}
