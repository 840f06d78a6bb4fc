//! Bringing the model file into memory: what the kernel is told, and what is said where it has no room.

use std::fmt;
use std::ops::ControlFlow;

use indicatif::ProgressBar;
use mmfree::storage::{Advice, Allowance};
use mmfree::{Device, Model, ModelFile};

use crate::args::{AdviceArg, MemoryArgs};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::report::{self, bytes, say};

/// Memory that the program takes besides a model's weights, about: its own code, buffers, a tokenizer.
const OWN: u64 = 16_000_000;

/// Whether so many bytes of a model file, and the program, have room.
fn fits(len: u64, allowance: &Allowance) -> bool {
    len.saturating_add(OWN) <= allowance.bytes
}

/// Tells the kernel how the file will be read. Before anything is read: what is in memory already stays as it is.
pub fn advise(file: &ModelFile, advice: AdviceArg) {
    file.advise(match advice {
        AdviceArg::Hugepage => Advice::HugePages,
        AdviceArg::Normal => Advice::Normal,
        AdviceArg::Sequential => Advice::Sequential,
        AdviceArg::Random => Advice::Random,
        AdviceArg::Willneed => Advice::WillNeed,
    });
}

/// Brings the file into memory as the arguments ask for it, or says what to expect where it has no room. A signal
/// ends the reading, and is left to the caller.
pub fn prepare(
    model: &Model,
    args: &MemoryArgs,
    interrupt: Option<&Interrupt>,
    quiet: bool,
) -> Result<(), Failure> {
    let allowance = Allowance::now();
    let file = model.file();
    let (name, len) = (file.path().display(), file.bytes().len() as u64);
    if let Some(allowance) = allowance.as_ref().filter(|_| args.mlock)
        && !fits(len, allowance)
    {
        return Err(Failure::Message(format!(
            "--mlock: {name} has {}, but this process may use {allowance}; without --mlock it runs, more slowly",
            bytes(len)
        )));
    }
    // A GPU has the weights in its own memory.
    if let (Device::Cpu, Some(allowance)) = (model.device(), &allowance)
        && let Some(plan) = Plan::new(model, allowance)
    {
        file.keep(plan.kept);
        if !quiet {
            let vain = if args.prefault { "; --prefault is left out" } else { "" };
            say(&format!("note: {name}: {plan}{vain}"));
        }
        return Ok(());
    }
    if args.prefault || args.mlock {
        let bar = progress(len, !quiet);
        let flow = model.populate(0..file.bytes().len(), |done| {
            bar.set_position(done as u64);
            interrupt.map_or(ControlFlow::Continue(()), Interrupt::flow)
        });
        bar.finish_and_clear();
        if flow.is_break() {
            return Ok(());
        }
    }
    if args.mlock {
        file.lock()?;
    }
    Ok(())
}

/// How a model runs whose weights have no room.
pub struct Plan {
    allowance: Allowance,
    /// Bytes of its weights.
    weights: u64,
    /// Bytes of packed matrices that stay in memory.
    pub kept: usize,
}

impl Plan {
    /// `None` where there is room.
    pub fn new(model: &Model, allowance: &Allowance) -> Option<Plan> {
        let weights = model.weight_bytes();
        if fits(weights, allowance) {
            return None;
        }
        let file = model.file();
        let matrices = file.matrices().filter_map(|name| file.matrix_span(name));
        let largest = matrices.map(|span| span.len() as u64).max().unwrap_or(0);
        // Room for the matrix at hand, what is read ahead of it, and what others need in the meantime.
        let working = OWN + 2 * largest + allowance.bytes / 16;
        let kept = allowance.bytes.saturating_sub(working).min(file.packed_span().len() as u64);
        Some(Plan { allowance: allowance.clone(), weights, kept: kept as usize })
    }

    /// Bytes that each token reads from the disk.
    pub fn read_again(&self) -> u64 {
        self.weights.saturating_sub(self.kept as u64)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its weights have {}, but this process may use {}: each token reads {} from the disk again",
            bytes(self.weights),
            self.allowance,
            bytes(self.read_again())
        )
    }
}

/// A progress bar on stderr over bytes, on a terminal and if `visible`; else nothing.
fn progress(len: u64, visible: bool) -> ProgressBar {
    let style = "{msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}, {eta} left";
    report::bar("reading", len, style, visible)
}
