//! No-repeat n-gram: no token that would end a run of n tokens that was there already, as Hugging
//! Face's processor of that name has it.

use super::Filter;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{SamplerOptions, Setting, WHOLE, setting};
use crate::generate::sampler::row::Row;

pub struct NoRepeatNgram;

impl Filter for NoRepeatNgram {
    fn name(&self) -> &'static str {
        "no-repeat n-gram"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(no_repeat_ngram: WHOLE)]
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.no_repeat_ngram > 0
    }

    fn apply(&self, options: &SamplerOptions, context: &Context<'_>, row: &mut Row<'_>) {
        let (ids, n) = (context.ids, options.no_repeat_ngram);
        if n > ids.len() {
            return;
        }
        let last = &ids[ids.len() + 1 - n..];
        for run in ids.windows(n) {
            // The end first: at most places it differs already.
            if run[..n - 1].iter().rev().eq(last.iter().rev()) {
                row.ban(run[n - 1]);
            }
        }
    }
}
