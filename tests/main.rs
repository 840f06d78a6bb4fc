//! The integration tests, one crate.

mod forward;
mod hostile;
mod synthetic;
