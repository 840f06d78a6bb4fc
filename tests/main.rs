//! The integration tests, one crate.

mod forward;
mod goldens;
mod hostile;
mod synthetic;
mod tokenizer;
