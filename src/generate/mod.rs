//! Text from a model: tokenizer, sampler, session.

mod generation;
mod sampler;
mod session;
mod stop;
mod tokenizer;

pub use generation::{GenerationConfig, GenerationFault};
pub use sampler::{Sampler, SamplerOptions};
pub use session::{Generate, Limits, Session, StopReason};
pub use stop::StopStrings;
pub use tokenizer::{DecodeStream, Tokenizer};
