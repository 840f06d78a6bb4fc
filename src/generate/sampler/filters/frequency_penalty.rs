//! Frequency penalty: tokens that were generated become less likely, once for each time.
//! OpenAI's and vLLM's, over generated tokens alone.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{NUMBER, SamplerOptions, Setting, in_range, setting};
use crate::generate::sampler::row::Row;

pub struct FrequencyPenalty;

impl Filter for FrequencyPenalty {
    fn name(&self) -> &'static str {
        "frequency penalty"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(frequency_penalty: NUMBER)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let penalty = options.frequency_penalty;
        in_range(self.name(), penalty, (-2.0..=2.0).contains(&penalty), "-2 to 2")
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.frequency_penalty != 0.0
    }

    fn apply(&self, options: &SamplerOptions, context: &Context<'_>, row: &mut Row<'_>) {
        let penalty = options.frequency_penalty;
        for &(id, count) in context.generated {
            row.change(id, |logit| logit - penalty * count as f32);
        }
    }
}
