//! Text from a model: tokenizer, sampler, log-probabilities, session.

mod generation;
mod logprobs;
mod sampler;
mod session;
mod stop;
mod tokenizer;

pub use generation::{GenerationConfig, GenerationFault};
pub use logprobs::{LogProbs, TokenLogProb};
pub use sampler::{Sampler, SamplerOptions};
pub use session::{Generate, Limits, Session, StopReason};
pub use stop::StopStrings;
pub use tokenizer::{DecodeStream, Tokenizer};
