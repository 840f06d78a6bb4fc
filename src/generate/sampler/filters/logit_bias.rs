//! Logit bias: what is added to the logits of single tokens; minus infinity bans one.

use super::Filter;
use crate::error::{Error, Result};
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{SamplerOptions, Setting};
use crate::generate::sampler::row::Row;

pub struct LogitBias;

impl Filter for LogitBias {
    fn name(&self) -> &'static str {
        "logit bias"
    }

    fn settings(&self) -> &'static [Setting] {
        &[Setting {
            key: "logit_bias",
            right: "pairs of token id and number, as 12:1.5,40:-inf",
            text: |options| {
                let pairs = options.logit_bias.iter().map(|(id, bias)| format!("{id}:{bias}"));
                pairs.collect::<Vec<_>>().join(",")
            },
            set: |options, text| {
                let pair = |pair: &str| {
                    let (id, bias) = pair.split_once(':')?;
                    Some((id.parse().ok()?, bias.parse().ok()?))
                };
                let pairs = text.split(',').filter(|pair| !pair.is_empty());
                options.logit_bias = pairs.map(pair).collect::<Option<_>>()?;
                Some(())
            },
        }]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let bad = |bias: f32| bias.is_nan() || bias == f32::INFINITY;
        match options.logit_bias.iter().find(|(_, bias)| bad(**bias)) {
            None => Ok(()),
            Some((id, bias)) => {
                let reason = format!("of token {id} is {bias}, must be a number or -inf");
                Err(Error::Option { name: self.name(), reason })
            }
        }
    }

    fn largest_id(&self, options: &SamplerOptions) -> Option<u32> {
        options.logit_bias.last_key_value().map(|(&id, _)| id)
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        !options.logit_bias.is_empty()
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        for (&id, &bias) in &options.logit_bias {
            if bias == f32::NEG_INFINITY {
                row.ban(id);
            } else {
                row.change(id, |logit| logit + bias);
            }
        }
    }
}
