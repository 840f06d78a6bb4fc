//! A constraint from outside: only the tokens of a mask.

use super::Filter;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::SamplerOptions;
use crate::generate::sampler::row::Row;

pub struct Constrained;

impl Filter for Constrained {
    fn name(&self) -> &'static str {
        "the constraint"
    }

    fn is_on(&self, _: &SamplerOptions, context: &Context<'_>) -> bool {
        context.allowed.is_some()
    }

    fn apply(&self, _: &SamplerOptions, context: &Context<'_>, row: &mut Row<'_>) {
        if let Some(mask) = context.allowed {
            row.keep_allowed(mask);
        }
    }
}
