//! Serves a model over HTTP, as OpenAI's clients expect it: `docs/SERVER.md` says what is promised.
//!
//! One thread owns the model and runs all sequences together (`engine`); everything asynchronous (`http`) talks to it by
//! channels. The text for a prompt and a seed is that of `mmfree-infer`, whatever runs beside it.

pub mod args;
mod constraint;
mod engine;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod helper;
mod http;
mod keys;
mod memory;
mod metrics;
mod open;
mod server;
mod stall;
mod systemd;
mod template;
mod token_text;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    let work = match std::env::args_os().nth(1) {
        Some(arg) if arg == template::COMMAND => Some(template::work()),
        Some(arg) if arg == constraint::COMMAND => Some(constraint::work()),
        _ => None,
    };
    match work {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(_)) => return ExitCode::FAILURE,
        None => {}
    }
    mmfree::storage::handle_signals();
    let args = args::Args::read();
    match failure::contain(|| server::run(&args)) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}
