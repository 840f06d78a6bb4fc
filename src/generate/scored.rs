//! How likely a token was, and what was likelier.

use super::logprobs::{LogProbs, TokenLogProb};
use crate::error::Result;

/// A token with its log-probability, and the likeliest tokens in its place: of the model's own
/// distribution, before any sampling option.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The token.
    pub id: u32,
    /// ln of its probability, 0 or less.
    pub logprob: f32,
    /// The likeliest tokens, as many as were asked for, likeliest first, on a tie the lower id
    /// first. Where this token is one of them it has the same number there.
    pub likeliest: Vec<TokenLogProb>,
}

impl Scored {
    /// Scores the token `id` at `position` by the logits before it, `[vocab_size]`, with `n` of the
    /// likeliest.
    ///
    /// # Errors
    /// As [`LogProbs::new`] and [`LogProbs::of`].
    pub fn new(logits: &[f32], id: u32, position: u64, n: usize) -> Result<Scored> {
        let row = LogProbs::new(logits, position)?;
        Ok(Scored { id, logprob: row.of(id)?, likeliest: row.likeliest(n) })
    }

    /// In place of a score, where there is none: the first token of a sequence has none.
    pub(super) fn none(id: u32) -> Scored {
        Scored { id, logprob: 0.0, likeliest: Vec::new() }
    }

    /// Whether it has as many of the likeliest tokens as asked for.
    pub(super) fn serves(&self, n: usize) -> bool {
        self.likeliest.len() >= n
    }

    /// Bytes that it takes besides itself.
    pub(super) fn memory_len(&self) -> usize {
        size_of_val(&self.likeliest[..])
    }
}
