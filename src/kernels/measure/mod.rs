//! What this machine can do at best, to hold the kernels' figures against: the rate at which it reads memory, and the rate
//! of its widest int8 dot product.

mod dot;
mod read;

pub use dot::dot_peak;
pub use read::{ReadLoop, read_loops, read_rates};
