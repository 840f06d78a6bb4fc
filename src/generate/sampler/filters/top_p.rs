//! Top-p: only the likeliest tokens that together have a probability, on a tie those of lower ids.

use super::Filter;
use crate::error::Result;
use crate::generate::sampler::candidates::{Candidate, reach};
use crate::generate::sampler::context::Context;
use crate::generate::sampler::options::{NUMBER, SamplerOptions, Setting, in_range, setting};
use crate::generate::sampler::row::{Left, Row, Weights, bucket};
use crate::kernels::sampling::rows::{BLOCK, fixed, order};

pub struct TopP;

impl Filter for TopP {
    fn name(&self) -> &'static str {
        "top-p"
    }

    fn settings(&self) -> &'static [Setting] {
        &[setting!(top_p: NUMBER)]
    }

    fn check(&self, options: &SamplerOptions) -> Result<()> {
        let top_p = options.top_p;
        in_range(self.name(), top_p, top_p > 0.0 && top_p <= 1.0, "above 0, and 1 at most")
    }

    fn is_on(&self, options: &SamplerOptions, _: &Context<'_>) -> bool {
        options.top_p < 1.0
    }

    fn apply(&self, options: &SamplerOptions, _: &Context<'_>, row: &mut Row<'_>) {
        let Left { weights, list, .. } = row.left();
        cut(weights, options.top_p, list);
    }
}

/// Keeps the heaviest weights, of equals those of lower ids, that together make up `top_p` of the
/// sum.
fn cut(all: &mut Weights, top_p: f32, list: &mut Vec<Candidate>) {
    let needed = all.part(top_p);
    // Weights below this make up less than what need not be kept, all of them together: blocks
    // that have no others don't matter.
    let least = (all.total().saturating_sub(needed) / all.weights.len() as u64).max(1);
    let Weights { weights, sums, buckets } = all;
    buckets.clear();
    buckets.resize(bucket(1.0) + 1, 0);
    let blocks = || sums.iter().enumerate().filter(|(_, sum)| **sum >= least);
    let block = |b: usize| &weights[b * BLOCK..weights.len().min((b + 1) * BLOCK)];
    for (b, _) in blocks() {
        for &weight in block(b) {
            buckets[bucket(weight)] += fixed(weight);
        }
    }
    let mut sum = 0;
    let reaches = |n: &usize| {
        let more = sum + buckets[*n];
        let reached = more >= needed;
        if !reached {
            sum = more;
        }
        reached
    };
    let Some(last) = (0..buckets.len()).rev().find(reaches) else {
        return;
    };
    list.clear();
    for (b, _) in blocks() {
        let some = block(b).iter().zip((b * BLOCK) as u32..);
        let some = some.filter(|(weight, _)| bucket(**weight) == last);
        list.extend(some.map(|(&weight, id)| Candidate::new(order(weight), id)));
    }
    let weight = |candidate: Candidate| weights[candidate.id() as usize];
    let Some(last) = reach(list, needed - sum, |candidate| fixed(weight(candidate))) else {
        return;
    };
    let (least, last) = (weight(last), last.id() as usize);
    for weight in &mut weights[last + 1..] {
        *weight = if *weight == least { 0.0 } else { *weight };
    }
    all.cut_below(least);
}
