//! The model: weights as views into the file, the state of a sequence, the forward pass.

mod forward;
mod linear;
mod memory;
mod one_row;
#[cfg(feature = "mmap")]
mod repack;
#[cfg(feature = "mmap")]
mod residency;
pub(crate) mod saved;
mod state;
pub(crate) mod weights;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "mmap")]
pub use repack::Repack;
#[cfg(feature = "mmap")]
pub use residency::{Residency, ResidencyPlan};
pub use saved::SavedState;
pub use state::State;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::format::{Config, ModelFile};
use crate::kernels::{self, Family, FloatOps, Isa, Kernel};
use crate::ops;
use crate::packing::Packing;
#[cfg(feature = "mmap")]
use crate::storage::{Allowance, Mapping};
use crate::threads::{Pool, default_threads};

/// The most threads that a model can be asked to use.
pub const MAX_THREADS: usize = 1024;

/// How to run a model. None of it changes a bit of any result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Threads; `None` takes [`threads::default_threads`](crate::threads::default_threads).
    pub threads: Option<usize>,
    /// Instruction set; `None` takes the fastest that the CPU has.
    pub isa: Option<Isa>,
    /// Where the model runs.
    pub device: Device,
    /// Kernel family; `None` takes the faster one for the shape at hand.
    pub kernel: Option<Family>,
    /// How the weights come into memory. Needs the feature `mmap`.
    #[cfg(feature = "mmap")]
    pub residency: Residency,
}

/// Which logits a [`Step`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the tokens only move the state.
    None,
    /// Those behind the last token.
    Last,
    /// Those behind every token.
    All,
}

/// One sequence's part in a forward pass: some tokens, fed to a state.
pub struct Step<'a> {
    /// The state before the tokens; moved to behind them.
    pub state: &'a mut State,
    /// The tokens, in order.
    pub tokens: &'a [u32],
    /// Which logits to give.
    pub want: Want,
    /// Where they go: one row of `vocab_size` values for each token wanted, in place of what was there. After an error it holds
    /// nothing of use.
    pub logits: &'a mut Vec<f32>,
    /// Where the state behind every token goes, if it is wanted: cleared, then one state for each token.
    pub states: Option<&'a mut Vec<State>>,
}

impl Step<'_> {
    /// The same step, borrowed anew.
    fn reborrow(&mut self) -> Step<'_> {
        Step {
            state: &mut *self.state,
            tokens: self.tokens,
            want: self.want,
            logits: &mut *self.logits,
            states: self.states.as_deref_mut(),
        }
    }
}

/// A model, ready to run. Shared freely between threads; forward passes run one at a time, each on all threads
/// of the model's pool.
pub struct Model {
    file: ModelFile,
    weights: weights::Weights,
    /// Lower bounds of the forget gates, `[layers, state_size]`; empty where the model has none.
    bounds: Vec<f32>,
    isa: Isa,
    family: Option<Family>,
    ops: &'static dyn FloatOps,
    pool: Pool,
    #[cfg(feature = "mmap")]
    repacking: Option<repack::Repacking>,
    workspace: Mutex<forward::Workspace>,
    device: Device,
    #[cfg(feature = "mmap")]
    allowance: Option<Allowance>,
    #[cfg(feature = "mmap")]
    plan: Option<ResidencyPlan>,
    #[cfg(feature = "cuda")]
    gpu: Option<Mutex<crate::cuda::Backend>>,
}

impl Model {
    /// Prepares a model to be run: picks the kernels, starts the threads, and makes a plan for weights that have no room in
    /// memory.
    ///
    /// # Errors
    /// [`Error::Option`] for 0 threads or more than [`MAX_THREADS`], a kernel family that the instruction set has not, or a file
    /// that cannot be locked; [`Error::Invalid`] for lower bounds that are no numbers.
    pub fn new(file: ModelFile, options: &Options) -> Result<Arc<Model>> {
        let threads = options.threads.unwrap_or_else(default_threads);
        if !(1..=MAX_THREADS).contains(&threads) {
            let reason = format!("{threads}, must be 1 to {MAX_THREADS}");
            return Err(Error::Option { name: "threads", reason });
        }
        let isa = match options.isa {
            Some(isa) => Isa::from_name(isa.name())?,
            None => Isa::from_name("auto")?,
        };
        if Packing::ALL.iter().any(|&p| kernels::select(p, isa, options.kernel, 1).is_none()) {
            let family = options.kernel.map_or("auto", Family::name);
            let reason = format!("instruction set {} has no {family} kernels", isa.name());
            return Err(Error::Option { name: "kernel", reason });
        }
        #[cfg(feature = "mmap")]
        {
            // Before anything is read: what is in memory already stays as it is.
            if let Some(advice) = options.residency.advice {
                file.advise(advice);
            }
            if options.device == Device::Cpu {
                file.advise_rows();
            }
        }
        #[cfg(feature = "mmap")]
        let threads = {
            let buffers = |rows| buffer_bytes(&file, isa, options.kernel, rows);
            residency::threads_with_room(&file, buffers, threads)?
        };
        let weights = weights::Weights::new(&file)?;
        let bounds = match file.floats("model.lower_bounds") {
            None => Vec::new(),
            Some(parameters) => ops::lower_bounds(parameters, file.config().hidden_size),
        };
        if ops::first_non_finite(&bounds).is_some() {
            let reason = "tensor model.lower_bounds: its softmax is not finite";
            return Err(Error::invalid(file.path(), reason));
        }
        #[cfg(feature = "cuda")]
        let gpu = match options.device {
            Device::Cpu => None,
            Device::Cuda(n) => {
                Some(Mutex::new(crate::cuda::Backend::new(n, &file, &weights, &bounds)?))
            }
        };
        #[cfg(not(feature = "cuda"))]
        if options.device != Device::Cpu {
            return Err(options.device.not_built());
        }
        let model = Model {
            file,
            weights,
            bounds,
            isa,
            family: options.kernel,
            ops: kernels::float_ops(isa),
            pool: Pool::new(threads),
            #[cfg(feature = "mmap")]
            repacking: None,
            workspace: Mutex::default(),
            device: options.device,
            #[cfg(feature = "mmap")]
            allowance: None,
            #[cfg(feature = "mmap")]
            plan: None,
            #[cfg(feature = "cuda")]
            gpu,
        };
        #[cfg(feature = "mmap")]
        let model = model.placed(&options.residency)?;
        Ok(Arc::new(model))
    }

    /// The file that holds the weights.
    pub fn file(&self) -> &ModelFile {
        &self.file
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.file.config()
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Where the model runs.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The kernel in use for matrices of a packing and `batch` rows of activations: 1 where one sequence is decoded.
    pub fn kernel_for(&self, packing: Packing, batch: usize) -> &'static dyn Kernel {
        kernels::select(packing, self.isa, self.family, batch).expect("checked in new")
    }

    /// The kernel in use for matrices of a packing where one sequence is decoded.
    pub fn kernel(&self, packing: Packing) -> &'static dyn Kernel {
        self.kernel_for(packing, 1)
    }

    /// The packing in which a matrix of the file is read, once what is to be re-packed is.
    pub fn packing_in_use(&self, packing: Packing) -> Packing {
        #[cfg(feature = "mmap")]
        if packing == Packing::T5 && self.repacking.is_some() {
            return Packing::I2;
        }
        packing
    }

    /// Bytes of the weights that a forward pass reads: packed matrices, norms, bounds; of the embedding, one row for
    /// each token comes on top. On a GPU they lie at two bits a trit.
    pub fn weight_bytes(&self) -> u64 {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return gpu.lock().unwrap_or_else(PoisonError::into_inner).weight_bytes();
        }
        let packed: usize = self
            .file
            .matrices()
            .filter_map(|name| {
                let (matrix, _) = self.file.matrix(name)?;
                let packing = self.packing_in_use(matrix.packing());
                packing.packed_len(matrix.rows(), matrix.cols())
            })
            .sum();
        let specs = self.config().tensors();
        let floats: usize =
            specs.iter().filter_map(|s| Some(self.file.floats_span(&s.name)?.len())).sum();
        (packed + floats) as u64
    }

    /// Bytes of the buffers of a forward pass over so many rows of activations, about: the rows of floats, the int8 rows and
    /// what the kernels prepare of them.
    pub fn buffer_bytes(&self, rows: usize) -> u64 {
        buffer_bytes(&self.file, self.isa, self.family, rows)
    }

    /// Bytes per second at which the model's threads read its packed matrices once, by each of several plain loops: the best
    /// of them is the bound of decoding. On a GPU those that a copy within its memory moves, read and written; 0 where it
    /// cannot be measured.
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    pub fn read_rates(&self) -> Vec<f64> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            let gpu = gpu.lock().unwrap_or_else(PoisonError::into_inner);
            return vec![gpu.copy_bandwidth().unwrap_or(0.0)];
        }
        kernels::measure::read_rates(&self.file.bytes()[self.file.packed_span()], &self.pool)
    }

    /// Products of int8 that the model's threads add up in a second by the dot products of its instruction set, at best:
    /// the bound of prompts and batches.
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    pub fn dot_peak(&self) -> f64 {
        kernels::measure::dot_peak(self.isa, &self.pool)
    }

    /// A new state: no token seen.
    pub fn new_state(&self) -> State {
        State::new(self.file.config(), self.file.hash())
    }

    /// Loads a state that [`State::save`] wrote, for this model or the same one in another packing.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Invalid`] where the file cannot be read, [`Error::StateMismatch`] where it is
    /// another model's.
    #[cfg(feature = "mmap")]
    pub fn load_state(&self, path: &Path) -> Result<State> {
        let bytes = Mapping::open(path)?;
        Ok(saved::from_bytes(&bytes, path, self.config(), self.file.hash())?.0)
    }

    /// The state of which [`State::to_bytes`] gave these bytes, for this model or the same one in another packing.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they are none, [`Error::StateMismatch`] where it is another model's.
    pub fn state_from_bytes(&self, bytes: &[u8]) -> Result<State> {
        let name = Path::new("the saved state");
        Ok(saved::from_bytes(bytes, name, self.config(), self.file.hash())?.0)
    }

    /// Feeds each step's tokens to its state. Results do not depend on what else is in the batch, on how a sequence is
    /// cut into steps, or on the threads: not by a bit.
    ///
    /// # Errors
    /// [`Error::Token`] for an id outside the vocabulary, [`Error::StateMismatch`] for a state of another model,
    /// [`Error::PoisonedState`]: these leave every state as it was. [`Error::NonFinite`] where a value overflows: then that
    /// step's state is poisoned until reset, and the other steps are done (on a GPU their states are poisoned as well).
    pub fn forward(&self, steps: &mut [Step<'_>]) -> Result<()> {
        steps.iter().try_for_each(|step| self.check(step))?;
        let mut failed = self.run(steps);
        failed.iter_mut().find_map(Option::take).map_or(Ok(()), Err)
    }

    /// As [`forward`](Self::forward), but each step has an outcome of its own, and no step's error touches another: one
    /// that cannot be done is left out, and where a value overflows only that step's state is poisoned. The others'
    /// results are the bits that they have without it.
    ///
    /// On a GPU the states are copied first, so that an overflow costs the batch one run of each step alone.
    pub fn forward_each(&self, steps: &mut [Step<'_>]) -> Vec<Result<()>> {
        let mut outcomes: Vec<Result<()>> = steps.iter().map(|step| self.check(step)).collect();
        let good = steps.iter_mut().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let mut good: Vec<Step<'_>> = good.map(|(step, _)| step.reborrow()).collect();
        let failed = match self.device {
            Device::Cuda(_) if good.len() > 1 => self.run_apart(&mut good),
            _ => self.run(&mut good),
        };
        let rest = outcomes.iter_mut().filter(|outcome| outcome.is_ok());
        for (outcome, failed) in rest.zip(failed) {
            *outcome = failed.map_or(Ok(()), Err);
        }
        outcomes
    }

    /// Whether a step can be done.
    fn check(&self, step: &Step<'_>) -> Result<()> {
        let vocab_size = self.config().vocab_size;
        if let Some(&id) = step.tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::Token { id, vocab_size });
        }
        if !step.state.is_of(self.config(), self.file.hash()) {
            let reason = "it was made by another model".to_owned();
            return Err(Error::StateMismatch { reason });
        }
        if step.state.poisoned { Err(Error::PoisonedState) } else { Ok(()) }
    }

    /// Runs steps that can be done; gives each one's error. On a GPU an error is that of all.
    fn run(&self, steps: &mut [Step<'_>]) -> Vec<Option<Error>> {
        let mut failed: Vec<Option<Error>> = steps.iter().map(|_| None).collect();
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            let mut gpu = gpu.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = gpu.forward(steps) {
                for step in steps.iter_mut() {
                    step.state.poisoned = true;
                    // Rows of a pass that had gone well may be there already.
                    step.logits.clear();
                    step.states.iter_mut().for_each(|states| states.clear());
                }
                failed.iter_mut().for_each(|failed| *failed = Some(self.again(&error)));
            }
            return failed;
        }
        for (step, failed) in steps.iter_mut().zip(&mut failed) {
            *failed = step.state.memory_mut().bring_to_host().err();
        }
        // Poisoned here means that a thread panicked; what it left in the buffers is overwritten.
        let mut workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        forward::forward(self, &mut workspace, steps, &mut failed);
        for (step, failed) in steps.iter_mut().zip(&failed) {
            step.state.poisoned = failed.is_some();
        }
        failed
    }

    /// A GPU's error for one more step.
    #[cfg(feature = "cuda")]
    fn again(&self, error: &Error) -> Error {
        match error {
            Error::NonFinite { place, position } => {
                Error::NonFinite { place: place.clone(), position: *position }
            }
            Error::Device { device, reason } => {
                Error::Device { device: device.clone(), reason: reason.clone() }
            }
            other => Error::Device { device: self.device.to_string(), reason: other.to_string() },
        }
    }

    /// As [`run`](Self::run) where one step's error is that of all: these are then run one by one.
    fn run_apart(&self, steps: &mut [Step<'_>]) -> Vec<Option<Error>> {
        let before: Vec<State> = steps.iter().map(|step| step.state.clone()).collect();
        let failed = self.run(steps);
        if failed.iter().all(Option::is_none) {
            return failed;
        }
        let again = steps.iter_mut().zip(before).map(|(step, before)| {
            *step.state = before;
            self.run(std::slice::from_mut(step)).pop().flatten()
        });
        again.collect()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("file", &self.file).finish_non_exhaustive()
    }
}

fn buffer_bytes(file: &ModelFile, isa: Isa, family: Option<Family>, rows: usize) -> u64 {
    let config = file.config();
    let (h, d, i) = (config.hidden_size, config.state_size, config.intermediate_size);
    let floats = 4 * (3 * h + 4 * d + i.max(d) + 2 * i);
    let widest = h.max(d).max(i);
    let packings = file.matrices().filter_map(|name| Some(file.matrix(name)?.0.packing()));
    let kernels = packings.filter_map(|packing| kernels::select(packing, isa, family, rows));
    let prepared = kernels.map(|kernel| kernel.prepared_len(widest)).max();
    (rows * (floats + 3 * widest + prepared.unwrap_or(0))) as u64
}
