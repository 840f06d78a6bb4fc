//! Logits to a token.
//!
//! Named filters in a fixed order ([`filters`]), then the likeliest token or one draw. The draw
//! comes from a counter-based generator, so that the choice depends on the seed, the position, the
//! logits, what filters that are on read of the sequence, and on nothing else: not on how many
//! draws came before, and not on the machine.
//!
//! Likelihoods are floats, their sums exact integers. So sums may be made in any order, and nothing
//! has to be sorted: a draw goes through the tokens left in the order of their ids.
//!
//! To add a filter: a file under `filters/` with its options' names, ranges and work, its place in
//! the list there, and the fields of [`SamplerOptions`].

pub(super) mod candidates;
mod constraint;
mod context;
mod draw;
mod filters;
mod options;
mod row;
#[cfg(test)]
mod tests;

pub use constraint::{Constraint, TokenMask};
pub use context::{Context, Occurrences};
pub use options::SamplerOptions;

use self::row::{Buffers, Row};
use crate::error::{Error, Result};

/// Chooses tokens. It has no state but buffers: the same call gives the same token at any time.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    buffers: Buffers,
}

impl Sampler {
    /// A sampler with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for one out of range.
    pub fn new(options: SamplerOptions) -> Result<Sampler> {
        options.validate()?;
        Ok(Sampler { options, buffers: Buffers::default() })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses the next token of a sequence by its logits, one for each token of the vocabulary.
    /// Ids outside the vocabulary, in the options or in the sequence, are nobody's.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a logit that is infinite or not a number, [`Error::NoToken`] where
    /// the options and the constraint ban every token, [`Error::Option`] for no logits at all or
    /// more than 2^25.
    pub fn sample(&mut self, logits: &[f32], context: &Context<'_>) -> Result<u32> {
        let (options, position) = (&self.options, context.position);
        let mut row = Row::new(logits, position, &mut self.buffers)?;
        let mut banning = [None; filters::OF_LOGITS.len()];
        for (filter, banning) in filters::OF_LOGITS.into_iter().zip(&mut banning) {
            if filter.is_on(options, context) {
                filter.apply(options, context, &mut row);
                *banning = row.take_bans().then(|| filter.name());
            }
        }
        let Some(likeliest) = row.likeliest() else {
            let names: Vec<&str> = banning.into_iter().flatten().collect();
            let vocab_size = logits.len();
            return Err(Error::NoToken { position, vocab_size, filters: names.join(", ") });
        };
        if options.is_greedy() {
            return Ok(likeliest);
        }
        for filter in filters::OF_DRAWS {
            if filter.is_on(options, context) {
                filter.apply(options, context, &mut row);
            }
        }
        Ok(row.draw(options.seed, position))
    }
}
