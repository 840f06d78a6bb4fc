//! Run ternary, MatMul-free language models on small machines.
//!
//! A [`ModelFile`] is one file, made by `mmfree-convert`: opening maps it and checks its header. A
//! [`Model`] runs it, on all threads of its pool. A [`State`] is all the memory of one sequence:
//! small, of fixed size, cheap to clone. A [`Session`] puts a state, the ids so far and a
//! [`Sampler`] together and gives token after token; a [`Tokenizer`] turns text into ids and back.
//!
//! ```
//! # #[cfg(feature = "demo")] {
//! use mmfree::{Limits, Model, ModelFile, Options, SamplerOptions, Session, Tokenizer};
//!
//! let file = ModelFile::demo()?; // or ModelFile::open("model.mmfree")?
//! let model = Model::new(file, &Options::default())?;
//! let tokenizer = Tokenizer::from_file(model.file())?.expect("the demo model has one");
//!
//! let mut session = Session::new(&model, SamplerOptions::default())?;
//! session.push(&tokenizer.encode_prompt("Once upon a time")?)?;
//! let mut text = tokenizer.stream_after(session.ids())?;
//! for id in session.generate(&Limits { max_tokens: Some(20), ..Default::default() }) {
//!     print!("{}", text.push(id?)?);
//! }
//! # }
//! # Ok::<(), mmfree::Error>(())
//! ```
//!
//! Logits, and the state, of every position of many sequences at once come from [`Model::forward`].
//! All results are the same bits on every machine; `docs/NUMERICS.md` defines them.
//!
//! The layers, each of which uses only those before it: [`packing`] (trits in bytes), [`storage`]
//! (files, as the operating system has them), [`format`](mod@format) (the model file), [`kernels`]
//! (sums of activations by trits), [`threads`] (the pool), [`ops`] (the float operations), the
//! model, and on top of it tokenizer, sampler and session.

#![deny(unsafe_code, missing_docs)]

mod aligned;
#[cfg(feature = "cuda")]
#[allow(unsafe_code)] // Calls of the driver, launches.
pub mod cuda;
#[cfg(feature = "demo")]
mod demo;
mod device;
pub mod error;
pub mod format;
mod generate;
#[allow(unsafe_code)] // The SIMD leaves.
pub mod kernels;
mod model;
pub mod ops;
pub mod packing;
#[cfg(feature = "mmap")]
#[allow(unsafe_code)] // The mapping and its signal handler.
pub mod storage;
#[allow(unsafe_code)] // Task claiming.
pub mod threads;

pub use aligned::AlignedBytes;
pub use device::Device;
pub use error::{Error, Result};
pub use format::{Config, ModelFile};
pub use generate::{
    Batch, CacheCounts, CacheHit, Constraint, Context, DecodeStream, Event, Generate,
    GenerationConfig, GenerationFault, Limits, LogProbs, Occurrences, PrefixCache, Sampler,
    SamplerOptions, Scored, SequenceId, Session, StopReason, StopStrings, TextStream, TokenLogProb,
    TokenMask,
};
#[cfg(feature = "tokenizer")]
pub use generate::{Tokenizer, TokenizerFiles, TokenizerNote};
pub use model::{MAX_THREADS, Model, Options, SavedState, State, Step, Want};
#[cfg(feature = "mmap")]
pub use model::{Repack, Residency, ResidencyPlan};
