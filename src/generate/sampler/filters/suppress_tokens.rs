//! Suppressed tokens: those that are never chosen.

use super::Filter;
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{SamplerOptions, Setting};
use crate::generate::sampler::row::Row;

pub struct SuppressTokens;

impl Filter for SuppressTokens {
    fn name(&self) -> &'static str {
        "suppressed tokens"
    }

    fn settings(&self) -> &'static [Setting] {
        &[Setting {
            key: "suppress_tokens",
            right: "token ids, as 1,15043",
            text: |options| {
                let ids = options.suppress_tokens.iter().map(u32::to_string);
                ids.collect::<Vec<_>>().join(",")
            },
            set: |options, text| {
                let ids = text.split(',').filter(|id| !id.is_empty());
                options.suppress_tokens = ids.map(|id| id.parse().ok()).collect::<Option<_>>()?;
                Some(())
            },
        }]
    }

    fn largest_id(&self, options: &SamplerOptions) -> Option<u32> {
        options.suppress_tokens.last().copied()
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        !options.suppress_tokens.is_empty()
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        for &id in &options.suppress_tokens {
            row.ban(id);
        }
    }
}
