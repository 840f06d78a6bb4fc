//! Text from a model: tokenizer, sampler, log-probabilities, sessions, batches of them, a cache of
//! prompts.

mod batch;
mod generation;
mod generation_keys;
mod limits;
mod logprobs;
#[cfg(not(feature = "tokenizer"))]
mod no_tokenizer;
mod prefix_cache;
mod sampler;
mod scored;
mod session;
mod stop;
mod text;
#[cfg(feature = "tokenizer")]
mod tokenizer;

pub use batch::{Batch, Event, SequenceId};
pub use generation::{GenerationConfig, GenerationFault};
pub use limits::{Limits, StopReason};
pub use logprobs::{LogProbs, TokenLogProb};
#[cfg(not(feature = "tokenizer"))]
pub use no_tokenizer::DecodeStream;
pub use prefix_cache::{CacheCounts, CacheHit, PrefixCache};
pub use sampler::{Constraint, Context, Occurrences, Sampler, SamplerOptions, TokenMask};
pub use scored::Scored;
pub use session::{Generate, Session};
pub use stop::StopStrings;
pub use text::TextStream;
#[cfg(feature = "tokenizer")]
pub use tokenizer::{DecodeStream, Tokenizer, TokenizerFiles, TokenizerNote};
