//! The integration tests, one crate.

mod forward;
mod goldens;
mod hostile;
mod session;
mod synthetic;
mod tokenizer;
mod util;
