//! Logits to a token.
//!
//! The steps, in this order: repetition penalty, top-k, temperature, top-p, min-p, then one draw.
//! The draw comes from a counter-based generator, so that the choice depends on the seed, the
//! position, the logits and (with a penalty) the ids so far, and on nothing else: not on how many
//! draws came before, and not on the machine.
//!
//! Likelihoods are floats, their sums exact integers. So sums may be made in any order, and nothing
//! has to be sorted: a draw goes through the tokens left in the order of their ids.

pub(super) mod candidates;

use self::candidates::{Candidate, likeliest, likeliest_k, reach};
use super::logprobs::scan;
use crate::error::{Error, Result};
use crate::kernels::sampling::rows::{BLOCK, fixed, order};
use crate::kernels::sampling::sample_ops;

/// How to choose tokens. The default is greedy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits: below 1 the likely tokens become likelier. 0 is greedy: the likeliest
    /// token, the lowest id on a tie, whatever the other options but the penalty say.
    pub temperature: f32,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability (after top-k), at least one; 1
    /// for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 for all.
    pub min_p: f32,
    /// Divides the logit, if positive, or multiplies it, if negative, of each token that is in the
    /// sequence already, prompt counted in and however often (the rule of CTRL, arXiv:1909.05858,
    /// as Hugging Face applies it); 1 for none.
    pub repeat_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Whether the likeliest token is taken, and nothing drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`Error::Option`] for the first that is out of it.
    pub fn validate(&self) -> Result<()> {
        let check = |name: &'static str, value: f32, good: bool, range: &str| {
            if good {
                return Ok(());
            }
            Err(Error::Option { name, reason: format!("is {value}, must be {range}") })
        };
        let &SamplerOptions { temperature, top_p, min_p, repeat_penalty, .. } = self;
        let finite = temperature.is_finite() && temperature >= 0.0;
        check("temperature", temperature, finite, "0 or more")?;
        check("top-p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0, and 1 at most")?;
        check("min-p", min_p, (0.0..=1.0).contains(&min_p), "0 to 1")?;
        let positive = repeat_penalty.is_finite() && repeat_penalty > 0.0;
        check("repeat penalty", repeat_penalty, positive, "above 0")
    }
}

/// Chooses tokens. It has no state but buffers: the same call gives the same token at any time.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplerOptions,
    /// The logits behind the penalty.
    penalised: Vec<f32>,
    seen: Vec<bool>,
    /// The order of each block's largest logit.
    largest: Vec<i32>,
    /// What top-k leaves: ids in rising order, and their logits.
    ids: Vec<u32>,
    kept: Vec<f32>,
    list: Vec<Candidate>,
    weights: Weights,
}

impl Sampler {
    /// A sampler with these options.
    ///
    /// # Errors
    /// [`Error::Option`] for one out of range.
    pub fn new(options: SamplerOptions) -> Result<Sampler> {
        options.validate()?;
        Ok(Sampler {
            options,
            penalised: Vec::new(),
            seen: Vec::new(),
            largest: Vec::new(),
            ids: Vec::new(),
            kept: Vec::new(),
            list: Vec::new(),
            weights: Weights::default(),
        })
    }

    /// The options.
    pub fn options(&self) -> &SamplerOptions {
        &self.options
    }

    /// Chooses the token at `position` of a sequence (the number of tokens in front of it) by its
    /// logits, one for each token of the vocabulary. `so_far` holds the ids in front of it, in any
    /// order; repeats make no difference. Only the repetition penalty reads them.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a logit that is infinite or not a number, [`Error::Option`] for no
    /// logits at all or more than 2^25.
    pub fn sample(&mut self, logits: &[f32], so_far: &[u32], position: u64) -> Result<u32> {
        scan(logits, position, &mut self.largest)?;
        if self.options.repeat_penalty == 1.0 {
            return Ok(self.choose(logits, position));
        }
        let mut penalised = std::mem::take(&mut self.penalised);
        penalised.clear();
        penalised.extend_from_slice(logits);
        self.penalise(&mut penalised, so_far);
        (sample_ops().scan)(&penalised, &mut self.largest);
        let id = self.choose(&penalised, position);
        self.penalised = penalised;
        Ok(id)
    }

    /// Chooses by finite logits, the largest of whose blocks are known.
    fn choose(&mut self, logits: &[f32], position: u64) -> u32 {
        let SamplerOptions { temperature, top_k, top_p, min_p, seed, .. } = self.options;
        let best = likeliest(logits, &self.largest);
        if self.options.is_greedy() {
            return best as u32;
        }
        let max = logits[best];
        let only_some = top_k > 0 && top_k < logits.len();
        if only_some {
            self.take_top_k(logits, top_k);
        }
        let logits = if only_some { &self.kept } else { logits };
        self.weights.fill(logits, max, temperature);
        if top_p < 1.0 {
            self.weights.cut_top_p(top_p, &mut self.list);
        }
        if min_p > 0.0 {
            self.weights.cut_below(min_p);
        }
        let chosen = self.weights.draw(seed, position);
        if only_some { self.ids[chosen] } else { chosen as u32 }
    }

    /// Fills `ids` and `kept` with the `k` largest logits, on a tie those of lower ids.
    fn take_top_k(&mut self, logits: &[f32], k: usize) {
        likeliest_k(logits, &self.largest, k, &mut self.list);
        self.ids.clear();
        self.ids.extend(self.list.iter().map(|candidate| candidate.id()));
        self.ids.sort_unstable();
        self.kept.clear();
        self.kept.extend(self.ids.iter().map(|&id| logits[id as usize]));
    }

    fn penalise(&mut self, logits: &mut [f32], so_far: &[u32]) {
        let penalty = self.options.repeat_penalty;
        self.seen.resize(logits.len(), false);
        for &id in so_far {
            let id = id as usize;
            if id < self.seen.len() && !self.seen[id] {
                self.seen[id] = true;
                let logit = &mut logits[id];
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                *logit = logit.clamp(f32::MIN, f32::MAX);
            }
        }
        for &id in so_far {
            if let Some(seen) = self.seen.get_mut(id as usize) {
                *seen = false;
            }
        }
    }
}

/// The likelihood of each token, that of the likeliest being 1; 0 where it has been cut.
#[derive(Clone, Debug, Default)]
struct Weights {
    weights: Vec<f32>,
    /// Each block's sum, as integers: exact, in any order.
    sums: Vec<u64>,
    /// Sums of weights that have the same [`bucket`].
    buckets: Vec<u64>,
}

/// Weights of about the same size: by their exponent and five bits behind the point.
fn bucket(weight: f32) -> usize {
    (weight.to_bits() >> 18) as usize
}

impl Weights {
    fn fill(&mut self, logits: &[f32], max: f32, temperature: f32) {
        self.weights.resize(logits.len(), 0.0);
        self.sums.resize(logits.len().div_ceil(BLOCK), 0);
        (sample_ops().weigh)(logits, max, temperature, &mut self.weights, &mut self.sums);
    }

    fn cut_below(&mut self, least: f32) {
        (sample_ops().cut)(least, &mut self.weights, &mut self.sums);
    }

    /// Keeps the heaviest weights, of equals those of lower ids, that together make up `top_p` of the
    /// sum.
    fn cut_top_p(&mut self, top_p: f32, list: &mut Vec<Candidate>) {
        let total: u64 = self.sums.iter().sum();
        // One rounding of each factor at most; below 2^63, so that the cast is exact.
        let needed = (f64::from(top_p) * total as f64).ceil() as u64;
        // Weights below this make up less than what need not be kept, all of them together: blocks
        // that have no others don't matter.
        let least = (total.saturating_sub(needed) / self.weights.len() as u64).max(1);
        self.buckets.clear();
        self.buckets.resize(bucket(1.0) + 1, 0);
        let blocks = || self.sums.iter().enumerate().filter(|(_, sum)| **sum >= least);
        let weights = &self.weights;
        let block = |b: usize| &weights[b * BLOCK..weights.len().min((b + 1) * BLOCK)];
        for (b, _) in blocks() {
            for &weight in block(b) {
                self.buckets[bucket(weight)] += fixed(weight);
            }
        }
        let mut sum = 0;
        let reaches = |n: &usize| {
            let more = sum + self.buckets[*n];
            let reached = more >= needed;
            if !reached {
                sum = more;
            }
            reached
        };
        let Some(last) = (0..self.buckets.len()).rev().find(reaches) else {
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
        for weight in &mut self.weights[last + 1..] {
            *weight = if *weight == least { 0.0 } else { *weight };
        }
        self.cut_below(least);
    }

    /// One of the weights, with a probability in proportion.
    fn draw(&self, seed: u64, position: u64) -> usize {
        let total: u64 = self.sums.iter().sum();
        let mut end = ((u128::from(uniform(seed, position)) * u128::from(total)) >> 53) as u64;
        let mut past = |sum: u64| {
            let past = sum > end;
            if !past {
                end -= sum;
            }
            past
        };
        // Below the total, so that there is such a block, and such a weight in it.
        let block = self.sums.iter().position(|&sum| past(sum)).unwrap_or(0);
        let from = block * BLOCK;
        let weights = self.weights[from..].iter();
        from + weights.map(|&weight| fixed(weight)).position(past).unwrap_or(0)
    }
}

/// A number in 0..2^53 that depends on the seed and the position alone: the first 53 bits of Philox
/// 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the seed its
/// key, the position its counter.
fn uniform(seed: u64, position: u64) -> u64 {
    let [a, b, ..] = philox([position as u32, (position >> 32) as u32, 0, 0], seed);
    (u64::from(a) << 32 | u64::from(b)) >> 11
}

fn philox(mut counter: [u32; 4], seed: u64) -> [u32; 4] {
    let mut key = [seed as u32, (seed >> 32) as u32];
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::exp;

    fn sampler(options: SamplerOptions) -> Sampler {
        Sampler::new(options).unwrap()
    }

    fn sampled() -> SamplerOptions {
        SamplerOptions { temperature: 1.0, ..Default::default() }
    }

    /// How often each token is chosen at the positions 0..draws.
    fn counts(options: SamplerOptions, logits: &[f32], draws: u64) -> Vec<u64> {
        let mut sampler = sampler(options);
        let mut counts = vec![0; logits.len()];
        for position in 0..draws {
            counts[sampler.sample(logits, &[], position).unwrap() as usize] += 1;
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
    fn philox_gives_the_published_vectors() {
        assert_eq!(philox([0; 4], 0), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(
            philox([u32::MAX; 4], u64::MAX),
            [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]
        );
    }

    #[test]
    fn every_position_and_seed_draws_anew() {
        let logits = [0.0; 1000];
        let mut sequences = std::collections::HashSet::new();
        for seed in 0..20 {
            let mut sampler = sampler(SamplerOptions { seed, ..sampled() });
            let ids: Vec<u32> =
                (0..100).map(|p| sampler.sample(&logits, &[], p).unwrap()).collect();
            let distinct: std::collections::HashSet<_> = ids.iter().collect();
            assert!(distinct.len() > 85, "seed {seed}: only {} of 100 differ", distinct.len());
            assert!(sequences.insert(ids));
        }
    }

    #[test]
    fn a_choice_depends_on_seed_position_and_logits_alone() {
        let mut one = sampler(SamplerOptions { seed: 7, ..sampled() });
        let forward: Vec<_> = (0..50).map(|p| one.sample(&LOGITS, &[0, 1], p).unwrap()).collect();
        one.sample(&[5.0; 9000], &[3], 1).unwrap();
        let backward: Vec<_> =
            (0..50).rev().map(|p| one.sample(&LOGITS, &[], p).unwrap()).collect();
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
        assert_eq!(greedy.sample(&[0.0, 3.0, 3.0, -1.0], &[], 0).unwrap(), 1);
        assert_eq!(greedy.sample(&[-0.0, 0.0], &[], 0).unwrap(), 0);
        assert_eq!(greedy.sample(&[f32::MIN, f32::MIN], &[], 0).unwrap(), 0);
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
        for (top_p, expected) in [
            (0.01, &[1][..]),
            (0.5, &[1]),
            (0.6, &[1, 3]),
            (0.85, &[0, 1, 3]),
            (0.95, &[0, 1, 2, 3]),
        ] {
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
        assert_eq!(penalty.sample(&LOGITS, &[1], 0).unwrap(), 3);
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
        assert_eq!(greedy.sample(&[3.0, 2.0], &[0], 0).unwrap(), 1);
        assert_eq!(greedy.sample(&[3.0, 1.25], &[0, 0, 0], 0).unwrap(), 0);
        assert_eq!(greedy.sample(&[-1.0, -1.5], &[0], 0).unwrap(), 1);
        assert_eq!(greedy.sample(&[-1.0, -2.5], &[0, 0], 0).unwrap(), 0);
        // The marks of one call are gone in the next; an id outside the vocabulary is nobody's.
        assert_eq!(greedy.sample(&[3.0, 2.0], &[7], 0).unwrap(), 0);
    }

    /// The same choice by sorting everything, as the options' documentation has it.
    fn plainly(options: SamplerOptions, logits: &[f32], position: u64) -> u32 {
        let SamplerOptions { temperature, top_k, top_p, min_p, seed, .. } = options;
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        order.truncate(if top_k == 0 { logits.len() } else { top_k });
        let weight = |id: usize| exp((logits[id] - max) / temperature);
        let size = |id: usize| fixed(weight(id));
        order.sort_by(|&a, &b| weight(b).total_cmp(&weight(a)).then(a.cmp(&b)));
        let total: u64 = order.iter().map(|&id| size(id)).sum();
        let (mut sum, needed) = (0, (f64::from(top_p) * total as f64).ceil() as u64);
        order.retain(|&id| {
            let more = sum < needed;
            sum += size(id);
            more && weight(id) >= min_p
        });
        order.sort();
        let total: u64 = order.iter().map(|&id| size(id)).sum();
        let end = ((u128::from(uniform(seed, position)) * u128::from(total)) >> 53) as u64;
        let mut sum = 0;
        let chosen = order.into_iter().find(|&id| {
            sum += size(id);
            sum > end
        });
        chosen.unwrap() as u32
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
        let mut choices = std::collections::HashSet::new();
        for (v, (len, width, step)) in vocabularies.into_iter().enumerate() {
            for round in 0..6 {
                let logit = |i| (random(round, i) * width / step).trunc() * step - width / 2.0;
                let mut logits: Vec<f32> = (0..len).map(logit).collect();
                if round % 3 == 0 {
                    logits[len as usize / 2] += width;
                }
                for top_k in [0, 1, 7, 40, 200, 4000] {
                    for top_p in [1.0, 0.95, 0.5, 1e-6] {
                        for min_p in [0.0, 0.05] {
                            let temperature = [0.5, 1.0, 3.0][round as usize % 3];
                            let options = SamplerOptions {
                                top_k,
                                top_p,
                                min_p,
                                temperature,
                                seed: round,
                                ..sampled()
                            };
                            let got = sampler(options).sample(&logits, &[], 5).unwrap();
                            assert_eq!(got, plainly(options, &logits, 5), "{options:?}, {v}");
                            choices.insert((v, got));
                        }
                    }
                }
            }
        }
        assert!(choices.len() > 30, "{}", choices.len());
    }

    #[test]
    fn extreme_logits_and_temperatures_still_choose() {
        let logits = [f32::MIN, f32::MAX, 0.0];
        for temperature in [f32::MIN_POSITIVE, 1.0, f32::MAX] {
            let options = SamplerOptions { temperature, ..sampled() };
            assert!(sampler(options).sample(&logits, &[], 0).unwrap() < 3);
        }
        let options = SamplerOptions { repeat_penalty: f32::MIN_POSITIVE, ..sampled() };
        assert_eq!(sampler(options).sample(&logits, &[1, 0], 0).unwrap(), 1);
    }

    #[test]
    fn a_logit_that_is_no_number_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sampler(sampled()).sample(&[0.0, bad], &[], 3).unwrap_err();
            assert!(matches!(error, Error::NonFinite { position: 3, .. }), "{error}");
        }
        assert!(sampler(sampled()).sample(&[], &[], 0).is_err());
    }

    #[test]
    fn options_out_of_range_are_errors() {
        let good = sampled();
        let bad = [
            SamplerOptions { temperature: -0.1, ..good },
            SamplerOptions { temperature: f32::NAN, ..good },
            SamplerOptions { temperature: f32::INFINITY, ..good },
            SamplerOptions { top_p: 0.0, ..good },
            SamplerOptions { top_p: 1.1, ..good },
            SamplerOptions { top_p: f32::NAN, ..good },
            SamplerOptions { min_p: -0.1, ..good },
            SamplerOptions { min_p: f32::NAN, ..good },
            SamplerOptions { repeat_penalty: 0.0, ..good },
            SamplerOptions { repeat_penalty: f32::NAN, ..good },
        ];
        for options in bad {
            assert!(matches!(Sampler::new(options), Err(Error::Option { .. })), "{options:?}");
        }
    }
}
