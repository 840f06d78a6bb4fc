//! The same model on an NVIDIA GPU.
//!
//! Nothing of CUDA is needed to build this, nor to start a program built with it: the driver is
//! looked for when a GPU is asked for, and the kernels, CUDA C++ in `kernels/`, are compiled for
//! the GPU at hand by NVRTC and kept in a cache. Weights go to the GPU once and are re-laid there,
//! either packing to the same two bits a trit.
//!
//! Sums of trits are exact, and the float operations are those of `docs/NUMERICS.md`, one IEEE
//! operation at a time in the same order; the tests compare bits with the CPU's.
//!
//! Two ways through the model: a few tokens go through one after the other, each in a single launch
//! of a kernel compiled for the model (`decode`); more go row by row through one launch per
//! operation (`pass`), with tensor cores where there are any.

mod bandwidth;
mod compile;
mod decode;
mod driver;
mod forward;
mod host_rows;
mod memory;
mod pass;
mod upload;
mod workspace;

pub use bandwidth::copy_bandwidth;
pub use compile::compile_for;
#[doc(hidden)]
pub use decode::with_limits;
pub use driver::{DeviceInfo, check, devices};

pub(crate) use driver::Gpu;
pub(crate) use forward::Backend;
pub(crate) use memory::DeviceFloats;

/// The least compute capability, as 72 for 7.2.
pub const LEAST_CAPABILITY: u32 = 72;
