//! Logits to a token.
//!
//! The steps, in this order: repetition penalty, temperature, top-k, top-p, min-p, then one draw.
//! The draw comes from a counter-based generator, so that the choice depends on the seed, the
//! position, the logits and (with a penalty) the ids so far, and on nothing else: not on how many
//! draws came before, and not on the machine.

use crate::error::{Error, Result};
use crate::ops::exp;

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
    logits: Vec<f32>,
    /// Likelihood of each token, that of the likeliest being 1.
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
    seen: Vec<bool>,
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
            logits: Vec::new(),
            weights: Vec::new(),
            candidates: Vec::new(),
            seen: Vec::new(),
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
    /// logits at all.
    pub fn sample(&mut self, logits: &[f32], so_far: &[u32], position: u64) -> Result<u32> {
        if logits.is_empty() {
            return Err(Error::Option { name: "logits", reason: "there are none".into() });
        }
        if let Some(id) = logits.iter().position(|logit| !logit.is_finite()) {
            let place = format!("the logit of token {id}");
            return Err(Error::NonFinite { place, position });
        }
        self.logits.clear();
        // Adding 0 makes a negative zero a positive one: they are a tie.
        self.logits.extend(logits.iter().map(|&logit| logit + 0.0));
        if self.options.repeat_penalty != 1.0 {
            self.penalise(so_far);
        }
        let mut best = 0;
        for (id, &logit) in self.logits.iter().enumerate() {
            if logit > self.logits[best] {
                best = id;
            }
        }
        if self.options.is_greedy() { Ok(best as u32) } else { Ok(self.draw(best, position)) }
    }

    fn penalise(&mut self, so_far: &[u32]) {
        let penalty = self.options.repeat_penalty;
        self.seen.resize(self.logits.len(), false);
        for &id in so_far {
            let id = id as usize;
            if id < self.seen.len() && !self.seen[id] {
                self.seen[id] = true;
                let logit = &mut self.logits[id];
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
                *logit = logit.clamp(f32::MIN, f32::MAX) + 0.0;
            }
        }
        for &id in so_far {
            if let Some(seen) = self.seen.get_mut(id as usize) {
                *seen = false;
            }
        }
    }

    /// Top-k, top-p and min-p each keep the beginning of the list of tokens, likeliest first, so
    /// the order in which they cut is a matter of what each one's probabilities refer to: top-p's
    /// to what top-k left. Sums are float64, in the order of ids or, behind top-k, likeliest first.
    fn draw(&mut self, best: usize, position: u64) -> u32 {
        let SamplerOptions { temperature, top_k, top_p, min_p, seed, .. } = self.options;
        let (logits, max) = (&self.logits, self.logits[best]);
        self.weights.clear();
        // The difference may overflow to minus infinity: weight 0.
        self.weights.extend(logits.iter().map(|&logit| exp((logit - max) / temperature)));
        self.candidates.clear();
        self.candidates
            .extend(logits.iter().zip(0..).map(|(&logit, id)| Candidate::new(logit, id)));
        let mut list = List { weights: &self.weights, candidates: &mut self.candidates, sorted: 0 };
        if top_k > 0 && top_k < list.candidates.len() {
            list.sort_to(top_k);
            list.candidates.truncate(top_k);
        }
        let mut total = list.sum();
        if min_p > 0.0 {
            list.keep(|weight| weight >= min_p);
        }
        if top_p < 1.0 {
            let (last, sum) = list.walk(|sum| sum >= f64::from(top_p) * total);
            list.candidates.truncate(last + 1);
            total = sum;
        } else if min_p > 0.0 {
            total = list.sum();
        }
        let end = uniform(seed, position) * total;
        let (chosen, _) = list.walk(|sum| sum > end);
        list.candidates.get(chosen).map_or(best as u32, |c| c.id())
    }
}

/// A token as a number: the likelier, the smaller, and on a tie the lower id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    fn new(logit: f32, id: u32) -> Candidate {
        let bits = logit.to_bits();
        // Descending with the logit: negative floats have their bits in that order, positive ones
        // in reverse.
        let descending = if logit.is_sign_negative() { bits } else { !bits & 0x7FFF_FFFF };
        Candidate(u64::from(descending) << 32 | u64::from(id))
    }

    fn id(self) -> u32 {
        self.0 as u32
    }
}

/// The tokens in question, sorted as far as it was needed: mostly a few hundred of many thousands.
struct List<'a> {
    weights: &'a [f32],
    candidates: &'a mut Vec<Candidate>,
    /// So many stand in their final places; the rest comes after them, in the order of ids until
    /// something is sorted.
    sorted: usize,
}

impl List<'_> {
    fn weight(&self, candidate: Candidate) -> f64 {
        f64::from(self.weights[candidate.id() as usize])
    }

    fn sum(&self) -> f64 {
        self.candidates.iter().map(|&candidate| self.weight(candidate)).sum()
    }

    fn keep(&mut self, test: impl Fn(f32) -> bool) {
        // Likelier tokens stand in front, so what is sorted stays sorted.
        let weights = self.weights;
        self.candidates.retain(|candidate| test(weights[candidate.id() as usize]));
        self.sorted = self.sorted.min(self.candidates.len());
    }

    fn sort_to(&mut self, end: usize) {
        let rest = &mut self.candidates[self.sorted..];
        let count = end - self.sorted;
        if count < rest.len() {
            rest.select_nth_unstable(count);
        }
        rest[..count].sort_unstable();
        self.sorted = end;
    }

    /// Sums the weights, likeliest first, until `reached(sum)`. Gives the index where that was (the
    /// last one, if it never was) and the sum.
    fn walk(&mut self, reached: impl Fn(f64) -> bool) -> (usize, f64) {
        let mut sum = 0.0;
        for i in 0..self.candidates.len() {
            if i >= self.sorted {
                self.sort_to((2 * i).max(128).min(self.candidates.len()));
            }
            sum += self.weight(self.candidates[i]);
            if reached(sum) {
                return (i, sum);
            }
        }
        (self.candidates.len().saturating_sub(1), sum)
    }
}

/// A number in [0, 1) that depends on the seed and the position alone: the first 53 bits of Philox
/// 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), the seed its
/// key, the position its counter.
fn uniform(seed: u64, position: u64) -> f64 {
    let [a, b, ..] = philox([position as u32, (position >> 32) as u32, 0, 0], seed);
    let bits = u64::from(a) << 32 | u64::from(b);
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
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

    #[test]
    fn the_partial_sort_cuts_like_a_full_one() {
        let logits: Vec<f32> =
            (0..5000u64).map(|i| (uniform(1, i) * 40.0) as i32 as f32 * 0.25).collect();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let total: f64 = logits.iter().map(|&l| f64::from(exp(l - 9.75))).sum();
        for seed in 0..50 {
            let options = SamplerOptions { top_p: 0.9, seed, ..sampled() };
            let got = sampler(options).sample(&logits, &[], seed).unwrap();
            let weight = |id: usize| f64::from(exp(logits[id] - logits[order[0]]));
            let mut mass = 0.0;
            let kept: Vec<usize> = order
                .iter()
                .copied()
                .take_while(|&id| {
                    let more = mass < f64::from(0.9f32) * total;
                    mass += if more { weight(id) } else { 0.0 };
                    more
                })
                .collect();
            let (mut sum, target) = (0.0, uniform(seed, seed) * mass);
            let expected = kept.iter().copied().find(|&id| {
                sum += weight(id);
                sum > target
            });
            assert_eq!(Some(got as usize), expected, "seed {seed}");
        }
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
