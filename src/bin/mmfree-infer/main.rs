//! The command line: text from a model, and what one wants to know about it.

mod args;
mod bench;
mod failure;
mod generate;
mod info;
mod interrupt;
mod logits;
mod open;
mod output;
mod perplexity;
mod prompt;
mod report;
mod residency;
mod sampling;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mmfree::storage::EndWithoutMemory = mmfree::storage::EndWithoutMemory;

fn main() -> ExitCode {
    mmfree::storage::handle_signals();
    let args = match Args::read() {
        Ok(args) => args,
        // Help and version are output like any other; what was typed wrongly goes to stderr, with
        // exit code 2.
        Err(error) if !error.use_stderr() => {
            return match report::print(&error.render().to_string()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.tell(),
            };
        }
        Err(error) => error.exit(),
    };
    match failure::contain(|| run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        None => generate::run(&args.generate),
        Some(Command::Logits(args)) => logits::run(&args),
        Some(Command::Perplexity(args)) => perplexity::run(&args),
        Some(Command::Info(args)) => info::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
    }
}
