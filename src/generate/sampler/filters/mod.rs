//! The filters between logits and a token, one file each, in their order.

mod constraint;
mod frequency_penalty;
mod logit_bias;
mod min_p;
mod no_repeat_ngram;
mod presence_penalty;
mod repeat_penalty;
mod suppress_tokens;
mod temperature;
mod top_k;
mod top_p;
mod typical_p;

use super::context::Context;
use super::options::{SamplerOptions, Setting};
use super::row::Row;
use crate::error::Result;

/// A step between logits and a token.
pub trait Filter: Sync {
    /// Its name, as errors have it.
    fn name(&self) -> &'static str;

    /// Its options as texts.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// Checks its options against their ranges.
    fn check(&self, _options: &SamplerOptions) -> Result<()> {
        Ok(())
    }

    /// The largest token id that its options name.
    fn largest_id(&self, _options: &SamplerOptions) -> Option<u32> {
        None
    }

    /// Whether it does anything.
    fn is_on(&self, options: &SamplerOptions, context: &Context<'_>) -> bool;

    /// Does it.
    fn apply(&self, options: &SamplerOptions, context: &Context<'_>, row: &mut Row<'_>);
}

/// Those that change logits and ban tokens. Greedy choice, too, is of what they leave.
pub static OF_LOGITS: [&dyn Filter; 7] = [
    &logit_bias::LogitBias,
    &repeat_penalty::RepeatPenalty,
    &frequency_penalty::FrequencyPenalty,
    &presence_penalty::PresencePenalty,
    &no_repeat_ngram::NoRepeatNgram,
    &suppress_tokens::SuppressTokens,
    &constraint::Constrained,
];

/// Those that leave some tokens to draw from. The temperature makes weights of the logits, which
/// those after it cut.
pub static OF_DRAWS: [&dyn Filter; 5] =
    [&top_k::TopK, &temperature::Temperature, &top_p::TopP, &min_p::MinP, &typical_p::TypicalP];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static dyn Filter> {
    OF_LOGITS.into_iter().chain(OF_DRAWS)
}
