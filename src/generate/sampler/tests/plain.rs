//! Every choice against a plain reference: each filter written down as `docs/NUMERICS.md` has it,
//! with sorting.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;

use super::super::draw::uniform;
use super::*;
use crate::kernels::sampling::rows::fixed;

/// The choice; none where all tokens are banned.
fn plainly(options: &SamplerOptions, logits: &[f32], context: &Context<'_>) -> Option<u32> {
    let logits = filtered(options, logits, context);
    let temperature = options.temperature;
    let mut order: Vec<usize> =
        (0..logits.len()).filter(|&id| logits[id] > f32::NEG_INFINITY).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    let max = logits[*order.first()?];
    if temperature == 0.0 {
        return Some(order[0] as u32);
    }
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let weight = |id: usize| exp((logits[id] - max) / temperature);
    let size = |id: usize| fixed(weight(id));
    let part = |part: f32, order: &[usize]| {
        let total: u64 = order.iter().map(|&id| size(id)).sum();
        (f64::from(part) * total as f64).ceil() as u64
    };
    order.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)).then(a.cmp(&b)));
    if options.top_p < 1.0 {
        let (mut sum, needed) = (0, part(options.top_p, &order));
        order.retain(|&id| {
            let more = sum < needed;
            sum += size(id);
            more
        });
    }
    order.retain(|&id| weight(id) >= options.min_p);
    if options.typical_p < 1.0 {
        order.retain(|&id| weight(id) > 0.0);
        let below = |id: usize| (max - logits[id]) / temperature;
        let total: u64 = order.iter().map(|&id| size(id)).sum();
        let sum: u64 = order.iter().map(|&id| fixed(weight(id) * below(id))).sum();
        let mean = (sum as f64 / total as f64) as f32;
        let distance = |id: usize| (below(id) - mean).abs();
        order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        let (mut sum, needed) = (0, part(options.typical_p, &order));
        let last = order.iter().copied().find(|&id| {
            sum += size(id);
            sum >= needed
        });
        let most = distance(last.unwrap());
        order.retain(|&id| distance(id) <= most);
    }
    order.sort_unstable();
    let total: u64 = order.iter().map(|&id| size(id)).sum();
    let u = uniform(options.seed, context.position);
    let end = ((u128::from(u) * u128::from(total)) >> 53) as u64;
    let mut sum = 0;
    let chosen = order.into_iter().find(|&id| {
        sum += size(id);
        sum > end
    });
    Some(chosen.unwrap() as u32)
}

/// The logits after penalties and bans.
fn filtered(options: &SamplerOptions, logits: &[f32], context: &Context<'_>) -> Vec<f32> {
    let ids = context.ids;
    let window = if options.repeat_last_n == 0 { ids.len() } else { options.repeat_last_n };
    let repeated: HashSet<u32> = ids.iter().rev().take(window).copied().collect();
    let n = options.no_repeat_ngram;
    let ends_run = |id: u32| {
        let tail: Vec<u32> = ids.iter().copied().chain([id]).collect();
        let run = &tail[tail.len().saturating_sub(n)..];
        n > 0 && run.len() == n && (0..ids.len()).any(|i| ids[i..].starts_with(run))
    };
    let one = |(id, &logit): (u32, &f32)| {
        let bias = options.logit_bias.get(&id).copied().unwrap_or(0.0);
        let banned = bias == f32::NEG_INFINITY
            || options.suppress_tokens.contains(&id)
            || context.allowed.is_some_and(|mask| !mask.contains(id))
            || ends_run(id);
        if banned {
            return f32::NEG_INFINITY;
        }
        let finite = |logit: f32| logit.clamp(f32::MIN, f32::MAX);
        let mut logit = finite(logit + bias);
        if repeated.contains(&id) {
            let penalty = options.repeat_penalty;
            logit = finite(if logit > 0.0 { logit / penalty } else { logit * penalty });
        }
        let count = context.generated.iter().find(|(other, _)| *other == id).map_or(0, |(_, n)| *n);
        if count > 0 {
            logit = finite(logit - options.frequency_penalty * count as f32);
            logit = finite(logit - options.presence_penalty);
        }
        logit
    };
    (0..).zip(logits).map(one).collect()
}

#[test]
fn choices_are_those_of_plain_sorting() {
    let random = |seed: u64, i: u64| uniform(seed, i) as f32 / (1u64 << 53) as f32;
    // Few ties, many ties, all equal, a peak, odd lengths; wide and narrow.
    let vocabularies: [(u64, f32, f32); 6] = [
        (5000, 20.0, 0.001),
        (5000, 40.0, 0.25),
        (300, 0.0, 1.0),
        (4097, 0.01, 0.0001),
        (63, 5.0, 0.01),
        (1, 1.0, 1.0),
    ];
    let mut choices = HashSet::new();
    for (v, (len, width, step)) in vocabularies.into_iter().enumerate() {
        for round in 0..6 {
            let logit = |i| (random(round, i) * width / step).trunc() * step - width / 2.0;
            let mut logits: Vec<f32> = (0..len).map(logit).collect();
            if round % 3 == 0 {
                logits[len as usize / 2] += width;
            }
            for top_k in [0, 1, 7, 40, 200, 4000] {
                for top_p in [1.0, 0.95, 0.5, 1e-6] {
                    for (min_p, typical_p) in [(0.0, 1.0), (0.05, 1.0), (0.0, 0.9), (0.01, 0.3)] {
                        let temperature = [0.5, 1.0, 3.0][round as usize % 3];
                        let options = SamplerOptions {
                            top_k,
                            top_p,
                            min_p,
                            typical_p,
                            temperature,
                            seed: round,
                            ..sampled()
                        };
                        let context = Context { position: 5, ..Default::default() };
                        let got = sampler(options.clone()).sample(&logits, &context).unwrap();
                        let expected = plainly(&options, &logits, &context);
                        assert_eq!(Some(got), expected, "{options:?}, {v}");
                        choices.insert((v, got));
                    }
                }
            }
        }
    }
    assert!(choices.len() > 30, "{}", choices.len());
}

fn options(vocab_size: u32) -> impl Strategy<Value = SamplerOptions> {
    let ids = 0..vocab_size + 3;
    let bias = prop_oneof![4 => -3.0f32..3.0, 1 => Just(f32::NEG_INFINITY), 1 => Just(-3.4e38f32), 1 => Just(3e38f32)];
    let cuts = (
        prop_oneof![Just(0.0f32), Just(1.0), 0.2f32..4.0],
        prop_oneof![Just(0usize), 1usize..80],
        prop_oneof![Just(1.0f32), 0.01f32..1.0],
        prop_oneof![Just(0.0f32), 0.0f32..1.0],
        prop_oneof![Just(1.0f32), 0.01f32..1.0],
    );
    let penalties = (
        prop_oneof![Just(1.0f32), 0.2f32..3.0],
        prop_oneof![Just(0usize), 1usize..20],
        prop_oneof![Just(0.0f32), -2.0f32..=2.0],
        prop_oneof![Just(0.0f32), -2.0f32..=2.0],
        prop_oneof![Just(0usize), 1usize..5],
    );
    let tokens = (
        prop::collection::btree_map(ids.clone(), bias, 0..6),
        prop::collection::btree_set(ids, 0..20),
        any::<u64>(),
    );
    (cuts, penalties, tokens).prop_map(|(cuts, penalties, (logit_bias, suppress_tokens, seed))| {
        let (temperature, top_k, top_p, min_p, typical_p) = cuts;
        let (repeat_penalty, repeat_last_n, frequency_penalty, presence_penalty, no_repeat_ngram) =
            penalties;
        SamplerOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            typical_p,
            repeat_penalty,
            repeat_last_n,
            frequency_penalty,
            presence_penalty,
            no_repeat_ngram,
            logit_bias,
            suppress_tokens,
            seed,
        }
    })
}

/// A vocabulary, logits, what was given and generated, and perhaps a mask.
#[derive(Clone, Debug)]
struct Situation {
    options: SamplerOptions,
    logits: Vec<f32>,
    /// Ids, and whether each was generated.
    ids: Vec<(u32, bool)>,
    allowed: Option<Vec<bool>>,
}

fn situations() -> impl Strategy<Value = Situation> {
    (1u32..200).prop_flat_map(|vocab_size| {
        let len = vocab_size as usize;
        // Quarters: many ties.
        let logit = prop_oneof![(-40i32..40).prop_map(|x| x as f32 / 4.0), -12.0f32..12.0];
        (
            options(vocab_size),
            prop::collection::vec(logit, len),
            // Few ids, so that runs repeat.
            prop::collection::vec((0..vocab_size.min(6), any::<bool>()), 0..40),
            prop::option::of(prop::collection::vec(prop::bool::weighted(0.3), len)),
        )
            .prop_map(|(options, logits, ids, allowed)| Situation {
                options,
                logits,
                ids,
                allowed,
            })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn filters_give_what_their_formulas_give(situation in situations()) {
        let Situation { options, logits, ids, allowed } = situation;
        let mut occurrences = Occurrences::new();
        for &(id, generated) in &ids {
            if generated { occurrences.add_generated(id) } else { occurrences.add_given(id) }
        }
        let ids: Vec<u32> = ids.into_iter().map(|(id, _)| id).collect();
        let mask = allowed.map(|allowed| {
            let mut mask = TokenMask::none(logits.len());
            (0..).zip(allowed).filter(|(_, allowed)| *allowed).for_each(|(id, _)| mask.allow(id));
            mask
        });
        let context = occurrences.context(&ids, mask.as_ref());
        let mut sampler = sampler(options.clone());
        // Buffers that other rows have used.
        let _ = sampler.sample(&[0.5; 100], &Context { generated: &[(3, 4)], ..context });
        match (sampler.sample(&logits, &context), plainly(&options, &logits, &context)) {
            (Ok(id), expected) => prop_assert_eq!(Some(id), expected),
            (Err(Error::NoToken { .. }), None) => {}
            (error, expected) => prop_assert!(false, "{:?}, must be {:?}", error, expected),
        }
    }

    #[test]
    fn options_as_texts_are_the_same_options(options in options(1000)) {
        let mut again = SamplerOptions { top_k: 77, suppress_tokens: BTreeSet::from([5]), ..Default::default() };
        for (key, text) in options.to_texts() {
            prop_assert!(again.set(key, &text).unwrap(), "{}", key);
        }
        let bits = |options: &SamplerOptions| -> BTreeMap<u32, u32> {
            options.logit_bias.iter().map(|(&id, bias)| (id, bias.to_bits())).collect()
        };
        prop_assert_eq!(bits(&again), bits(&options));
        prop_assert_eq!(again.top_p.to_bits(), options.top_p.to_bits());
        prop_assert_eq!(again, options);
    }
}
