//! Temperature: divides the logits, and makes weights of them.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{NUMBER, SamplerOptions, Setting, in_range, setting};
use crate::generate::sampler::row::Row;

pub struct Temperature;

impl Filter for Temperature {
    fn name(&self) -> &'static str {
        "temperature"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(temperature: NUMBER)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let temperature = options.temperature;
        let good = temperature.is_finite() && temperature >= 0.0;
        in_range(self.name(), temperature, good, "0 or more")
    }

    fn is_on(&self, _: &SamplerOptions, _: &Context<'_>) -> bool {
        // Also where it is 1: what follows cuts weights.
        true
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        row.weigh(options.temperature);
    }
}
