//! Serves a model over HTTP, as OpenAI's clients expect it: `docs/SERVER.md` says what is promised.
//!
//! One thread owns the model and runs all sequences together (`engine`); everything asynchronous (`http`) talks to it by
//! channels. The text for a prompt and a seed is that of `mmfree-infer`, whatever runs beside it.

pub mod args;
mod engine;
mod failure;
mod http;
mod keys;
mod memory;
mod metrics;
mod open;
mod server;
mod stall;
mod template;
mod token_text;

use std::process::ExitCode;

/// The program.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|arg| arg == template::COMMAND) {
        return match template::work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    mmfree::storage::handle_signals();
    let args = args::Args::read();
    match failure::contain(|| server::run(&args)) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}
