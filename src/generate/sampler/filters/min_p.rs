//! Min-p: only tokens at least a fraction as likely as the likeliest.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{NUMBER, SamplerOptions, Setting, in_range, setting};
use crate::generate::sampler::row::Row;

pub struct MinP;

impl Filter for MinP {
    fn name(&self) -> &'static str {
        "min-p"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(min_p: NUMBER)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        in_range(self.name(), options.min_p, (0.0..=1.0).contains(&options.min_p), "0 to 1")
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.min_p > 0.0
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        row.left().weights.cut_below(options.min_p);
    }
}
