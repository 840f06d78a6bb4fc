//! Text from a model: tokenizer, sampler, log-probabilities, sessions, batches of them, a cache of prompts.

mod batch;
mod generation;
mod limits;
mod logprobs;
mod prefix_cache;
mod sampler;
mod scored;
mod session;
mod stop;
mod text;
mod tokenizer;

pub use batch::{Batch, Event, SequenceId};
pub use generation::{GenerationConfig, GenerationFault};
pub use limits::{Limits, StopReason};
pub use logprobs::{LogProbs, TokenLogProb};
pub use prefix_cache::{CacheCounts, CacheHit, PrefixCache};
pub use sampler::{Constraint, Context, Occurrences, Sampler, SamplerOptions, TokenMask};
pub use scored::Scored;
pub use session::{Generate, Session};
pub use stop::StopStrings;
pub use text::TextStream;
pub use tokenizer::{DecodeStream, Tokenizer};
