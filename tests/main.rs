//! The integration tests, one crate.

mod batch;
#[cfg(all(feature = "cli", feature = "demo"))]
mod bench;
#[cfg(all(feature = "cli", feature = "demo"))]
mod cli;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
mod goldens;
mod growth;
mod hostile;
// It reads the machine code of these.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod no_multiply;
#[cfg(all(feature = "cli", feature = "demo"))]
mod program;
mod prompts;
mod residency;
mod session;
#[cfg(all(feature = "cli", feature = "demo"))]
mod shell;
#[cfg(all(unix, feature = "cli", feature = "demo"))]
mod storage;
mod synthetic;
mod tokenizer;
mod tokenizers;
mod util;
