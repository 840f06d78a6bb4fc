use super::*;
use crate::ops::exp;

mod filters;
mod hugging_face;
mod plain;
mod recorded;

fn sampler(options: SamplerOptions) -> Sampler {
    Sampler::new(options).unwrap()
}

fn sampled() -> SamplerOptions {
    SamplerOptions { temperature: 1.0, ..Default::default() }
}

/// The choice after `so_far`, of which nothing was generated.
fn sample(sampler: &mut Sampler, logits: &[f32], so_far: &[u32], position: u64) -> Result<u32> {
    let context = Context { position, ids: so_far, distinct: so_far, ..Default::default() };
    sampler.sample(logits, &context)
}

/// Numbers in 0..1 that depend on the seed alone.
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// How often each token is chosen at the positions 0..draws.
fn counts(options: SamplerOptions, logits: &[f32], draws: u64) -> Vec<u64> {
    let mut sampler = sampler(options);
    let mut counts = vec![0; logits.len()];
    for position in 0..draws {
        counts[sample(&mut sampler, logits, &[], position).unwrap() as usize] += 1;
    }
    counts
}

/// The tokens that are chosen at all.
fn chosen(options: SamplerOptions, logits: &[f32]) -> Vec<usize> {
    let counts = counts(options, logits, 2000);
    (0..logits.len()).filter(|&id| counts[id] > 0).collect()
}

/// ln of 8, 4, 2, 1 (sixteenths: .53, .27, .13, .07), in another order.
const LOGITS: [f32; 4] = [std::f32::consts::LN_2, 2.079_441_5, 0.0, 1.386_294_4];

#[test]
fn every_position_and_seed_draws_anew() {
    let logits = [0.0; 1000];
    let mut sequences = std::collections::HashSet::new();
    for seed in 0..20 {
        let mut sampler = sampler(SamplerOptions { seed, ..sampled() });
        let ids: Vec<u32> =
            (0..100).map(|p| sample(&mut sampler, &logits, &[], p).unwrap()).collect();
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert!(distinct.len() > 85, "seed {seed}: only {} of 100 differ", distinct.len());
        assert!(sequences.insert(ids));
    }
}

#[test]
fn a_choice_depends_on_seed_position_and_logits_alone() {
    let mut one = sampler(SamplerOptions { seed: 7, ..sampled() });
    let forward: Vec<_> = (0..50).map(|p| sample(&mut one, &LOGITS, &[0, 1], p).unwrap()).collect();
    sample(&mut one, &[5.0; 9000], &[3], 1).unwrap();
    let backward: Vec<_> =
        (0..50).rev().map(|p| sample(&mut one, &LOGITS, &[], p).unwrap()).collect();
    assert!(forward.iter().eq(backward.iter().rev()));
}

#[test]
fn draws_follow_the_distribution() {
    // 5 logits over 16 seeds; chi-square with 4 degrees of freedom is below 18.5 with
    // probability .999.
    let logits = [1.0f32, -0.5, 0.25, 2.0, 0.0];
    let total: f64 = logits.iter().map(|&l| f64::from(exp(l))).sum();
    for seed in 0..16 {
        let draws = 5000;
        let counts = counts(SamplerOptions { seed, ..sampled() }, &logits, draws);
        let chi: f64 = counts
            .iter()
            .zip(logits)
            .map(|(&n, l)| {
                let expected = f64::from(exp(l)) / total * draws as f64;
                (n as f64 - expected) * (n as f64 - expected) / expected
            })
            .sum();
        assert!(chi < 18.5, "seed {seed}: chi-square {chi}, {counts:?}");
    }
}

#[test]
fn greedy_takes_the_lowest_id_on_a_tie() {
    let mut greedy = sampler(SamplerOptions::default());
    assert_eq!(sample(&mut greedy, &[0.0, 3.0, 3.0, -1.0], &[], 0).unwrap(), 1);
    assert_eq!(sample(&mut greedy, &[-0.0, 0.0], &[], 0).unwrap(), 0);
    assert_eq!(sample(&mut greedy, &[f32::MIN, f32::MIN], &[], 0).unwrap(), 0);
}

#[test]
fn top_k_keeps_the_likeliest_and_the_lower_id_on_a_tie() {
    assert_eq!(chosen(SamplerOptions { top_k: 2, ..sampled() }, &LOGITS), [1, 3]);
    assert_eq!(chosen(SamplerOptions { top_k: 1, ..sampled() }, &[1.0, 2.0, 2.0]), [1]);
    assert_eq!(chosen(SamplerOptions { top_k: 9, ..sampled() }, &LOGITS), [0, 1, 2, 3]);
}

#[test]
fn top_p_keeps_the_token_that_reaches_it() {
    // Cumulated: .53, .80, .93, 1.
    for (top_p, expected) in
        [(0.01, &[1][..]), (0.5, &[1]), (0.6, &[1, 3]), (0.85, &[0, 1, 3]), (0.95, &[0, 1, 2, 3])]
    {
        assert_eq!(chosen(SamplerOptions { top_p, ..sampled() }, &LOGITS), expected, "{top_p}");
    }
}

#[test]
fn min_p_is_relative_to_the_likeliest() {
    // Relative: 1, .5, .25, .125.
    for (min_p, expected) in
        [(0.1, &[0, 1, 2, 3][..]), (0.2, &[0, 1, 3]), (0.4, &[1, 3]), (1.0, &[1])]
    {
        assert_eq!(chosen(SamplerOptions { min_p, ..sampled() }, &LOGITS), expected, "{min_p}");
    }
}

#[test]
fn temperature_comes_before_the_cuts_and_top_k_before_top_p() {
    // At temperature 1/2 the likeliest has 64 of 85: enough for top-p .6 by itself.
    let cold = SamplerOptions { temperature: 0.5, top_p: 0.6, ..sampled() };
    assert_eq!(chosen(cold, &LOGITS), [1]);
    // Of the two that top-k leaves it has 8 of 12, enough for .6; of all four it has 8 of 15.
    let both = SamplerOptions { top_k: 2, top_p: 0.6, ..sampled() };
    assert_eq!(chosen(both, &LOGITS), [1]);
    // The penalty comes first: it makes the likeliest one the third.
    let mut penalty = sampler(SamplerOptions { top_k: 1, repeat_penalty: 4.0, ..sampled() });
    assert_eq!(sample(&mut penalty, &LOGITS, &[1], 0).unwrap(), 3);
}

#[test]
fn min_p_does_not_change_what_top_p_refers_to() {
    // Of all four, top-p .6 keeps two; of the two that min-p leaves, it would keep one.
    let options = SamplerOptions { top_p: 0.6, min_p: 0.4, ..sampled() };
    assert_eq!(chosen(options, &LOGITS), [1, 3]);
}

#[test]
fn the_penalty_lowers_either_sign_once() {
    let options = SamplerOptions { repeat_penalty: 2.0, ..Default::default() };
    let mut greedy = sampler(options);
    assert_eq!(sample(&mut greedy, &[3.0, 2.0], &[0], 0).unwrap(), 1);
    assert_eq!(sample(&mut greedy, &[3.0, 1.25], &[0, 0, 0], 0).unwrap(), 0);
    assert_eq!(sample(&mut greedy, &[-1.0, -1.5], &[0], 0).unwrap(), 1);
    assert_eq!(sample(&mut greedy, &[-1.0, -2.5], &[0, 0], 0).unwrap(), 0);
    // The marks of one call are gone in the next; an id outside the vocabulary is nobody's.
    assert_eq!(sample(&mut greedy, &[3.0, 2.0], &[7], 0).unwrap(), 0);
}

#[test]
fn extreme_logits_and_temperatures_still_choose() {
    let logits = [f32::MIN, f32::MAX, 0.0];
    for temperature in [f32::MIN_POSITIVE, 1.0, f32::MAX] {
        let options = SamplerOptions { temperature, ..sampled() };
        assert!(sample(&mut sampler(options), &logits, &[], 0).unwrap() < 3);
    }
    let options = SamplerOptions { repeat_penalty: f32::MIN_POSITIVE, ..sampled() };
    assert_eq!(sample(&mut sampler(options), &logits, &[1, 0], 0).unwrap(), 1);
}

#[test]
fn a_logit_that_is_no_number_is_an_error() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = sample(&mut sampler(sampled()), &[0.0, bad], &[], 3).unwrap_err();
        assert!(matches!(error, Error::NonFinite { position: 3, .. }), "{error}");
    }
    assert!(sample(&mut sampler(sampled()), &[], &[], 0).is_err());
}

#[test]
fn options_out_of_range_are_errors() {
    let bad = [
        SamplerOptions { temperature: -0.1, ..sampled() },
        SamplerOptions { temperature: f32::NAN, ..sampled() },
        SamplerOptions { temperature: f32::INFINITY, ..sampled() },
        SamplerOptions { top_p: 0.0, ..sampled() },
        SamplerOptions { top_p: 1.1, ..sampled() },
        SamplerOptions { top_p: f32::NAN, ..sampled() },
        SamplerOptions { min_p: -0.1, ..sampled() },
        SamplerOptions { min_p: f32::NAN, ..sampled() },
        SamplerOptions { repeat_penalty: 0.0, ..sampled() },
        SamplerOptions { repeat_penalty: f32::NAN, ..sampled() },
        SamplerOptions { typical_p: 0.0, ..sampled() },
        SamplerOptions { typical_p: 1.1, ..sampled() },
        SamplerOptions { typical_p: f32::NAN, ..sampled() },
        SamplerOptions { frequency_penalty: 2.1, ..sampled() },
        SamplerOptions { frequency_penalty: f32::NAN, ..sampled() },
        SamplerOptions { presence_penalty: -2.1, ..sampled() },
        SamplerOptions { presence_penalty: f32::NAN, ..sampled() },
        SamplerOptions { logit_bias: [(3, f32::NAN)].into(), ..sampled() },
        SamplerOptions { logit_bias: [(3, f32::INFINITY)].into(), ..sampled() },
    ];
    for options in bad {
        assert!(matches!(Sampler::new(options.clone()), Err(Error::Option { .. })), "{options:?}");
    }
}
