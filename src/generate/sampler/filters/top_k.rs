//! Top-k: only the k likeliest tokens, on a tie those of lower ids.

use super::Filter;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{SamplerOptions, Setting, WHOLE, setting};
use crate::generate::sampler::row::Row;

pub struct TopK;

impl Filter for TopK {
    fn name(&self) -> &'static str {
        "top-k"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(top_k: WHOLE)]
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.top_k > 0
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        row.keep_likeliest(options.top_k);
    }
}
