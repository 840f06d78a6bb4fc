//! Logits to log-probabilities.
//!
//! One definition for whoever asks: the sampler's, a prompt's and `perplexity`'s numbers are the
//! same. It is stated in `docs/NUMERICS.md`.

use super::sampler::candidates::{likeliest, likeliest_k};
use crate::error::{Error, Result};
use crate::kernels::sampling::rows::{BLOCK, MAX_LEN, ONE};
use crate::kernels::sampling::sample_ops;
use crate::ops::ln;

/// A token and the logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogProb {
    /// The token.
    pub id: u32,
    /// ln of its probability: 0 or less, and finite.
    pub logprob: f32,
}

/// The log-softmax of one row of logits, `[vocab_size]`: those of the model as they are, before any
/// sampling option.
///
/// With the sum `S` of `exp(logit - max)`, each term an integer as the sampler's weights are and so
/// exact in any order, a token's log-probability is `(logit - max) - ln S`: differences in float64,
/// rounded once to float32. It is within 2e-6 and that rounding of the exact value at 32000 tokens,
/// and where one logit is larger than another its log-probability is not smaller.
///
/// ```
/// let row = mmfree::LogProbs::new(&[1.0, 3.0, 2.0, 3.0], 0)?;
/// let ids: Vec<u32> = row.likeliest(3).iter().map(|token| token.id).collect();
/// assert_eq!(ids, [1, 3, 2]);
/// assert_eq!(row.of(1)?, row.likeliest(1)[0].logprob);
/// # Ok::<(), mmfree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogProbs<'a> {
    logits: &'a [f32],
    /// The order of each block's largest logit.
    largest: Vec<i32>,
    max: f32,
    /// ln of the sum of e^(logit - max): 0 or more.
    ln_sum: f64,
}

impl<'a> LogProbs<'a> {
    /// Reads a row of logits. `position` is that of the token they predict, for the error alone.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a logit that is infinite or not a number, [`Error::Option`] for no
    /// logits at all or more than 2^25.
    pub fn new(logits: &'a [f32], position: u64) -> Result<LogProbs<'a>> {
        let mut largest = Vec::new();
        scan(logits, position, &mut largest)?;
        let max = logits[likeliest(logits, &largest)];
        let sum = (sample_ops().exp_sum)(logits, max) as f64 / ONE;
        // In two parts, so that the sum's own rounding to float32 costs nothing.
        let rounded = sum as f32;
        let rest = (sum - f64::from(rounded)) / f64::from(rounded);
        let ln_sum = f64::from(ln(rounded)) + rest;
        Ok(LogProbs { logits, largest, max, ln_sum })
    }

    /// The logarithm of the sum of e^logit: what is taken from a logit to make it a
    /// log-probability.
    pub fn normaliser(&self) -> f64 {
        f64::from(self.max) + self.ln_sum
    }

    /// The log-probability of a token: 0 or less, and finite.
    ///
    /// # Errors
    /// [`Error::Token`] for one outside the vocabulary.
    pub fn of(&self, id: u32) -> Result<f32> {
        match self.logits.get(id as usize) {
            Some(&logit) => Ok(self.of_logit(logit)),
            None => Err(Error::Token { id, vocab_size: self.logits.len() }),
        }
    }

    /// The `n` likeliest tokens, or all if there are fewer, the likeliest first, on a tie of logits
    /// the lower id.
    pub fn likeliest(&self, n: usize) -> Vec<TokenLogProb> {
        let n = n.min(self.logits.len());
        if n == 0 {
            return Vec::new();
        }
        let mut list = Vec::new();
        likeliest_k(self.logits, &self.largest, n, &mut list);
        list.sort_unstable();
        let token = |id: u32| TokenLogProb { id, logprob: self.of_logit(self.logits[id as usize]) };
        list.into_iter().map(|candidate| token(candidate.id())).collect()
    }

    fn of_logit(&self, logit: f32) -> f32 {
        let logprob = (f64::from(logit) - f64::from(self.max)) - self.ln_sum;
        logprob.max(f64::from(f32::MIN)) as f32
    }
}

/// Fills `largest` with the order of each block's largest logit.
///
/// # Errors
/// As [`LogProbs::new`].
pub(super) fn scan(logits: &[f32], position: u64, largest: &mut Vec<i32>) -> Result<()> {
    if !(1..=MAX_LEN).contains(&logits.len()) {
        let reason = format!("there are {}, must be 1 to {MAX_LEN}", logits.len());
        return Err(Error::Option { name: "logits", reason });
    }
    largest.resize(logits.len().div_ceil(BLOCK), i32::MIN);
    if !(sample_ops().scan)(logits, largest) {
        let id = logits.iter().position(|logit| !logit.is_finite()).unwrap_or(0);
        let place = format!("the logit of token {id}");
        return Err(Error::NonFinite { place, position });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers in -width/2 to width/2.
    fn row(len: usize, width: f32, seed: u64) -> Vec<f32> {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..len).map(|_| (next() - 0.5) * width).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "the yardstick is another implementation")]
    fn exactly(logits: &[f32], id: usize) -> f64 {
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let term = |logit: f32| (f64::from(logit) - f64::from(max)).exp();
        let sum: f64 = logits.iter().map(|&logit| term(logit)).sum();
        f64::from(logits[id]) - f64::from(max) - sum.ln()
    }

    #[test]
    fn log_probabilities_are_within_2e_6_and_one_rounding() {
        for len in [1, 2, 63, 64, 65, 1000, 32000, 150_000] {
            for width in [0.0, 0.1, 3.0, 12.0, 30.0, 100.0] {
                let mut logits = row(len, width, len as u64);
                for peak in [0.0, 20.0, 60.0] {
                    logits[len / 2] += peak;
                    let probabilities = LogProbs::new(&logits, 0).unwrap();
                    for id in [0, len / 3, len / 2, len - 1] {
                        let got = probabilities.of(id as u32).unwrap();
                        let exact = exactly(&logits, id);
                        let error = (f64::from(got) - exact).abs();
                        assert!(
                            error < 2e-6 + exact.abs() * 6e-8,
                            "{len} {width} {peak}: {got} {exact}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn near_certainty_keeps_its_digits() {
        let logits = [12.0, 0.0];
        let got = LogProbs::new(&logits, 0).unwrap().of(0).unwrap();
        let exact = exactly(&logits, 0);
        assert!((f64::from(got) / exact - 1.0).abs() < 1e-6, "{got:e} {exact:e}");
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let logits = row(5000, 16.0, 3);
        let all = LogProbs::new(&logits, 0).unwrap().likeliest(usize::MAX);
        assert_eq!(all.len(), 5000);
        let sum: f64 = all.iter().map(|token| f64::from(crate::ops::exp(token.logprob))).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    #[test]
    fn a_token_has_one_number_however_it_is_asked_for() {
        let logits = row(1000, 8.0, 1);
        let probabilities = LogProbs::new(&logits, 0).unwrap();
        let all = probabilities.likeliest(1000);
        for n in [0, 1, 5, 64, 999, 2000] {
            let some = probabilities.likeliest(n);
            assert_eq!(some, all[..n.min(1000)]);
            for token in some {
                assert_eq!(token.logprob.to_bits(), probabilities.of(token.id).unwrap().to_bits());
            }
        }
    }

    #[test]
    fn the_likeliest_come_in_the_order_of_logits_and_then_of_ids() {
        // Steps of a quarter: many ties, zeros of either sign among them.
        let mut logits: Vec<f32> =
            row(700, 6.0, 9).iter().map(|x| (x * 4.0).trunc() / 4.0).collect();
        logits[5] = -0.0;
        logits[600] = 0.0;
        let probabilities = LogProbs::new(&logits, 0).unwrap();
        let mut ids: Vec<u32> = (0..700).collect();
        ids.sort_by(|&a, &b| logits[b as usize].partial_cmp(&logits[a as usize]).unwrap());
        for n in [1, 3, 20, 699, 700] {
            let got: Vec<u32> = probabilities.likeliest(n).iter().map(|token| token.id).collect();
            assert_eq!(got, ids[..n], "{n}");
        }
        let numbers = probabilities.likeliest(700);
        assert!(numbers.is_sorted_by(|a, b| a.logprob >= b.logprob));
    }

    #[test]
    fn extreme_logits_give_finite_numbers() {
        let logits = [f32::MAX, f32::MIN, 0.0];
        let probabilities = LogProbs::new(&logits, 0).unwrap();
        assert_eq!(probabilities.of(0).unwrap().to_bits(), 0.0f32.to_bits());
        assert_eq!(probabilities.of(1).unwrap(), f32::MIN);
        assert_eq!(probabilities.of(2).unwrap(), f32::MIN);
        assert_eq!(LogProbs::new(&[-3e38], 0).unwrap().of(0).unwrap(), 0.0);
        let quarter = -2.0 * std::f32::consts::LN_2;
        for logit in [f32::MIN, -1.0, f32::MIN_POSITIVE, f32::MAX] {
            assert_eq!(LogProbs::new(&[logit; 4], 0).unwrap().of(3).unwrap(), quarter);
        }
    }

    #[test]
    fn what_is_no_row_of_logits_is_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = LogProbs::new(&[0.0, bad], 7).unwrap_err();
            assert!(matches!(error, Error::NonFinite { position: 7, .. }), "{error}");
        }
        assert!(matches!(LogProbs::new(&[], 0), Err(Error::Option { name: "logits", .. })));
        let error = LogProbs::new(&[0.0; 3], 0).unwrap().of(3).unwrap_err();
        assert!(matches!(error, Error::Token { id: 3, vocab_size: 3 }), "{error}");
    }

    /// Pins the canonical definition: these bits must come out on every CPU.
    #[test]
    fn log_probabilities_have_these_bits() {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for (len, width) in [(32000, 20.0), (777, 5.0), (64, 40.0)] {
            let logits = row(len, width, len as u64);
            for token in LogProbs::new(&logits, 0).unwrap().likeliest(len) {
                let bits = u64::from(token.id) << 32 | u64::from(token.logprob.to_bits());
                hash = (hash ^ bits).wrapping_mul(0x100_0000_01b3);
            }
        }
        assert_eq!(hash, HASH);
    }
    const HASH: u64 = 8_744_374_038_271_586_184;
}
