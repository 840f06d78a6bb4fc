//! The integration tests, one crate.

#[cfg(all(feature = "cli", feature = "demo"))]
mod bench;
#[cfg(all(feature = "cli", feature = "demo"))]
mod cli;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
mod goldens;
mod hostile;
mod no_multiply;
#[cfg(all(feature = "cli", feature = "demo"))]
mod program;
mod residency;
mod session;
mod synthetic;
mod tokenizer;
mod util;
