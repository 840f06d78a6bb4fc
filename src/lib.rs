//! Run ternary, MatMul-free language models on small machines.
//!
//! A [`ModelFile`] is opened (mapped and checked), a [`Model`] runs it, a [`State`] is all the memory of one
//! sequence, a [`Session`] turns a prompt into text with a [`Tokenizer`] and a [`Sampler`].

#![deny(unsafe_code, missing_docs)]

#[cfg(feature = "cuda")]
#[allow(unsafe_code)] // Calls of the driver, launches.
pub mod cuda;
#[cfg(feature = "demo")]
mod demo;
mod device;
pub mod error;
#[allow(unsafe_code)] // The mapping and its signal handler.
pub mod format;
mod generation;
#[allow(unsafe_code)] // The SIMD leaves.
pub mod kernels;
mod model;
pub mod ops;
pub mod packing;
mod sampler;
mod session;
mod stop;
#[allow(unsafe_code)] // Task claiming.
pub mod threads;
mod tokenizer;

pub use device::Device;
pub use error::{Error, Result};
pub use format::{Config, ModelFile};
pub use generation::GenerationConfig;
pub use model::{MAX_THREADS, Model, Options, State, Step, Want};
pub use sampler::{Sampler, SamplerOptions};
pub use session::{Generate, Limits, Session, StopReason};
pub use stop::StopStrings;
pub use tokenizer::{DecodeStream, Tokenizer};
