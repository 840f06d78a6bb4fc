//! The integration tests, one crate.

mod forward;
mod synthetic;
