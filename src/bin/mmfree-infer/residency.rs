//! Bringing the model file into memory: progress, and what is said where it has no room.

use std::ops::ControlFlow;

use indicatif::ProgressBar;
use mmfree::storage::Advice;
use mmfree::{Error, Model};

use crate::args::{AdviceArg, MemoryArgs};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::report::{self, say};

impl From<AdviceArg> for Advice {
    fn from(advice: AdviceArg) -> Advice {
        match advice {
            AdviceArg::Hugepage => Advice::HugePages,
            AdviceArg::Normal => Advice::Normal,
            AdviceArg::Sequential => Advice::Sequential,
            AdviceArg::Random => Advice::Random,
            AdviceArg::Willneed => Advice::WillNeed,
        }
    }
}

/// Brings the file into memory as the arguments ask for it, and says what to expect where it has no
/// room. A signal ends the reading, and is left to the caller.
pub fn prepare(
    model: &Model,
    args: &MemoryArgs,
    interrupt: Option<&Interrupt>,
    quiet: bool,
) -> Result<(), Failure> {
    if args.prefault || args.mlock {
        let bar = progress(model.file().bytes().len() as u64, !quiet && model.plan().is_none());
        let flow = model.prefault(args.mlock, |done| {
            bar.set_position(done as u64);
            interrupt.map_or(ControlFlow::Continue(()), Interrupt::flow)
        });
        bar.finish_and_clear();
        let _ = flow.map_err(|error| match error {
            Error::Option { name: "mlock", reason } => {
                Failure::Message(format!("--mlock: {reason}"))
            }
            error => error.into(),
        })?;
    }
    if let (Some(plan), false) = (model.plan(), quiet) {
        let vain = if args.prefault { "; --prefault is left out" } else { "" };
        say(&format!("note: {}: {plan}{vain}", model.file().path().display()));
    }
    Ok(())
}

/// A progress bar on stderr over bytes, on a terminal and if `visible`; else nothing.
fn progress(len: u64, visible: bool) -> ProgressBar {
    let style = "{msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}, {eta} left";
    report::bar("reading", len, style, visible)
}
