//! Typical-p: only the tokens whose log-probability is nearest to its mean (minus the entropy) and
//! that together have a probability. C. Meister et al., "Locally Typical Sampling",
//! arXiv:2202.00666; ties as in Hugging Face's `TypicalLogitsWarper`.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::candidates::{Candidate, reach};
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{NUMBER, SamplerOptions, Setting, in_range, setting};
use crate::generate::sampler::row::{Left, Row, Weights, bucket};
use crate::kernels::sampling::rows::{fixed, order};

pub struct TypicalP;

impl Filter for TypicalP {
    fn name(&self) -> &'static str {
        "typical-p"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(typical_p: NUMBER)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let typical_p = options.typical_p;
        let good = typical_p > 0.0 && typical_p <= 1.0;
        in_range(self.name(), typical_p, good, "above 0, and 1 at most")
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.typical_p < 1.0
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        // How much less likely than the likeliest, as a logarithm: of the log-probability's
        // distance from its mean the normaliser is no part.
        let (max, temperature) = (row.max(), options.temperature);
        let Left { logits, weights, list, scratch } = row.left();
        scratch.clear();
        scratch.extend(logits.iter().map(|&logit| (max - logit) / temperature));
        cut(weights, scratch, options.typical_p, list);
    }
}

/// Keeps the weights with the smallest distances of `below` from its mean, and of equal distances
/// all, that together make up `typical_p` of the sum.
fn cut(all: &mut Weights, below: &[f32], typical_p: f32, list: &mut Vec<Candidate>) {
    let (needed, total) = (all.part(typical_p), all.total());
    let Weights { weights, buckets, .. } = all;
    // A weight of 0 has been cut, or is so far below that it has no part in the mean.
    let left = || weights.iter().zip(below).filter(|(weight, _)| **weight > 0.0);
    let sum: u64 = left().map(|(&weight, &below)| fixed(weight * below)).sum();
    let mean = (sum as f64 / total as f64) as f32;
    let distance = |below: f32| (below - mean).abs();
    buckets.clear();
    for (&weight, &below) in left() {
        let bucket = bucket(distance(below));
        if bucket >= buckets.len() {
            buckets.resize(bucket + 1, 0);
        }
        buckets[bucket] += fixed(weight);
    }
    let mut sum = 0;
    let reaches = |more: &u64| {
        let reached = sum + more >= needed;
        if !reached {
            sum += more;
        }
        reached
    };
    let Some(last) = buckets.iter().position(reaches) else {
        return;
    };
    list.clear();
    let some = weights.iter().zip(below).zip(0..);
    let some = some.filter(|((weight, _), _)| **weight > 0.0);
    let some = some.map(|((_, &below), id)| (distance(below), id));
    let some = some.filter(|(distance, _)| bucket(*distance) == last);
    list.extend(some.map(|(distance, id)| Candidate::new(order(-distance), id)));
    let size = |candidate: Candidate| fixed(weights[candidate.id() as usize]);
    let Some(last) = reach(list, needed - sum, size) else {
        return;
    };
    let most = distance(below[last.id() as usize]);
    for (weight, &below) in weights.iter_mut().zip(below) {
        *weight = if distance(below) <= most { *weight } else { 0.0 };
    }
    all.add_up();
}
