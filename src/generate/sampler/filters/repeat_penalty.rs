//! Repetition penalty: tokens that are in the sequence already become less likely, once each.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{
    NUMBER, SamplerOptions, Setting, WHOLE, in_range, setting,
};
use crate::generate::sampler::row::Row;

pub struct RepeatPenalty;

impl Filter for RepeatPenalty {
    fn name(&self) -> &'static str {
        "repeat penalty"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(repeat_penalty: NUMBER), setting!(repeat_last_n: WHOLE)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let penalty = options.repeat_penalty;
        in_range(self.name(), penalty, penalty.is_finite() && penalty > 0.0, "above 0")
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.repeat_penalty != 1.0
    }

    fn apply(&self, options: &SamplerOptions, context: &Context<'_>, row: &mut Row<'_>) {
        let penalty = options.repeat_penalty;
        let ids = match options.repeat_last_n {
            0 => context.distinct,
            n => &context.ids[context.ids.len().saturating_sub(n)..],
        };
        row.change_each(ids, |logit| if logit > 0.0 { logit / penalty } else { logit * penalty });
    }
}
