//! Run ternary, MatMul-free language models on small machines.
//!
//! A [`ModelFile`] is opened (mapped and checked) and gives the packed matrices, norms and embedding of a model.

#![deny(unsafe_code, missing_docs)]

pub mod error;
#[allow(unsafe_code)] // The mapping and its signal handler.
pub mod format;
#[allow(unsafe_code)] // The SIMD leaves.
pub mod kernels;
pub mod packing;
#[allow(unsafe_code)] // Task claiming.
pub mod threads;

pub use error::{Error, Result};
pub use format::{Config, ModelFile};
