//! A row of logits on its way to a token: what filters read and change.

use super::candidates::{Candidate, likeliest, likeliest_k};
use super::constraint::TokenMask;
use super::draw::uniform;
use crate::error::Result;
use crate::generate::logprobs::scan;
use crate::kernels::sampling::rows::{BLOCK, fixed};
use crate::kernels::sampling::sample_ops;

/// What a row needs besides the logits, kept from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Buffers {
    /// The logits as filters changed them; minus infinity where a token is banned.
    changed: Vec<f32>,
    /// Marks of tokens; all false in between.
    seen: Vec<bool>,
    /// The order of each block's largest logit.
    largest: Vec<i32>,
    /// What top-k leaves: ids in rising order, and their logits.
    ids: Vec<u32>,
    kept: Vec<f32>,
    list: Vec<Candidate>,
    scratch: Vec<f32>,
    weights: Weights,
}

/// One row of logits.
pub struct Row<'a> {
    given: &'a [f32],
    buffers: &'a mut Buffers,
    /// `changed` is in the place of `given`.
    is_changed: bool,
    /// `kept` is in the place of either.
    is_cut: bool,
    /// A token was banned since the last [`take_bans`](Self::take_bans).
    bans: bool,
    max: f32,
}

impl<'a> Row<'a> {
    /// A row of finite logits.
    ///
    /// # Errors
    /// [`Error::NonFinite`](crate::Error::NonFinite) for a logit that is not,
    /// [`Error::Option`](crate::Error::Option) for no logits at all or too many.
    pub fn new(given: &'a [f32], position: u64, buffers: &'a mut Buffers) -> Result<Row<'a>> {
        scan(given, position, &mut buffers.largest)?;
        Ok(Row { given, buffers, is_changed: false, is_cut: false, bans: false, max: 0.0 })
    }

    fn change_logits(&mut self) -> &mut [f32] {
        if !self.is_changed {
            self.is_changed = true;
            self.buffers.changed.clear();
            self.buffers.changed.extend_from_slice(self.given);
        }
        &mut self.buffers.changed
    }

    /// Changes a token's logit, which stays finite. One outside the vocabulary is nobody's, a
    /// banned one stays banned.
    pub fn change(&mut self, id: u32, change: impl Fn(f32) -> f32) {
        if let Some(logit) = self.change_logits().get_mut(id as usize) {
            change_one(logit, change);
        }
    }

    /// As [`change`](Self::change) for each of the ids, once, however often it is there.
    pub fn change_each(&mut self, ids: &[u32], change: impl Fn(f32) -> f32) {
        let mut seen = std::mem::take(&mut self.buffers.seen);
        seen.resize(self.given.len(), false);
        let logits = self.change_logits();
        for &id in ids {
            let id = id as usize;
            if id < seen.len() && !seen[id] {
                seen[id] = true;
                change_one(&mut logits[id], &change);
            }
        }
        for &id in ids {
            if let Some(seen) = seen.get_mut(id as usize) {
                *seen = false;
            }
        }
        self.buffers.seen = seen;
    }

    /// Makes it impossible that a token is chosen.
    pub fn ban(&mut self, id: u32) {
        if let Some(logit) = self.change_logits().get_mut(id as usize) {
            *logit = f32::NEG_INFINITY;
            self.bans = true;
        }
    }

    /// Bans all tokens that are not in a set.
    pub fn keep_allowed(&mut self, mask: &TokenMask) {
        let inside = mask.vocab_size().min(self.given.len());
        let (logits, outside) = self.change_logits().split_at_mut(inside);
        outside.fill(f32::NEG_INFINITY);
        for (logits, &word) in logits.chunks_mut(32).zip(mask.words()) {
            for (logit, bit) in logits.iter_mut().zip(0..) {
                *logit = if word >> bit & 1 == 1 { *logit } else { f32::NEG_INFINITY };
            }
        }
        self.bans = true;
    }

    /// Whether a token was banned since this was last asked.
    pub fn take_bans(&mut self) -> bool {
        std::mem::take(&mut self.bans)
    }

    /// The likeliest token, the lowest id on a tie, once logits change no more; `None` where all
    /// are banned.
    pub fn likeliest(&mut self) -> Option<u32> {
        let logits = if self.is_changed {
            // Where tokens are banned it finds infinities.
            (sample_ops().scan)(&self.buffers.changed, &mut self.buffers.largest);
            &self.buffers.changed
        } else {
            self.given
        };
        let best = likeliest(logits, &self.buffers.largest);
        self.max = logits[best];
        (self.max != f32::NEG_INFINITY).then_some(best as u32)
    }

    /// Leaves the `k` likeliest tokens, on a tie those of lower ids.
    pub fn keep_likeliest(&mut self, k: usize) {
        if k >= self.given.len() {
            return;
        }
        let Buffers { changed, largest, ids, kept, list, .. } = &mut *self.buffers;
        let logits = if self.is_changed { changed } else { self.given };
        likeliest_k(logits, largest, k, list);
        ids.clear();
        ids.extend(list.iter().map(|candidate| candidate.id()));
        ids.sort_unstable();
        kept.clear();
        kept.extend(ids.iter().map(|&id| logits[id as usize]));
        self.is_cut = true;
    }

    /// Makes weights of the logits.
    pub fn weigh(&mut self, temperature: f32) {
        let max = self.max;
        let Left { logits, weights, .. } = self.left();
        weights.fill(logits, max, temperature);
    }

    /// The largest logit.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// The tokens that top-k left.
    pub fn left(&mut self) -> Left<'_> {
        let Buffers { changed, kept, list, scratch, weights, .. } = &mut *self.buffers;
        let logits = match (self.is_cut, self.is_changed) {
            (true, _) => kept,
            (false, true) => changed,
            (false, false) => self.given,
        };
        Left { logits, weights, list, scratch }
    }

    /// One of the tokens, with a probability in proportion to its weight.
    pub fn draw(&self, seed: u64, position: u64) -> u32 {
        let chosen = self.buffers.weights.draw(uniform(seed, position));
        if self.is_cut { self.buffers.ids[chosen] } else { chosen as u32 }
    }
}

#[cfg(test)]
impl Row<'_> {
    /// The tokens that may be drawn.
    pub fn drawable(&self) -> Vec<u32> {
        let weights = &self.buffers.weights.weights;
        let ids = (0..weights.len()).filter(|&i| fixed(weights[i]) > 0);
        ids.map(|i| if self.is_cut { self.buffers.ids[i] } else { i as u32 }).collect()
    }
}

/// The tokens that top-k left, in the order of ids.
pub struct Left<'a> {
    /// Their logits; minus infinity where one is banned.
    pub logits: &'a [f32],
    /// Their weights, once there is a temperature.
    pub weights: &'a mut Weights,
    /// A list to use.
    pub list: &'a mut Vec<Candidate>,
    /// Floats to use.
    pub scratch: &'a mut Vec<f32>,
}

fn change_one(logit: &mut f32, change: impl Fn(f32) -> f32) {
    if *logit != f32::NEG_INFINITY {
        *logit = change(*logit).clamp(f32::MIN, f32::MAX);
    }
}

/// The likelihood of each token, that of the likeliest being 1; 0 where it has been cut.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    pub weights: Vec<f32>,
    /// Each block's sum, as integers: exact, in any order.
    pub sums: Vec<u64>,
    /// Sums of weights that have the same [`bucket`].
    pub buckets: Vec<u64>,
}

/// Positive floats of about the same size: by their exponent and five bits after the point.
pub fn bucket(x: f32) -> usize {
    (x.to_bits() >> 18) as usize
}

impl Weights {
    fn fill(&mut self, logits: &[f32], max: f32, temperature: f32) {
        self.weights.resize(logits.len(), 0.0);
        self.sums.resize(logits.len().div_ceil(BLOCK), 0);
        (sample_ops().weigh)(logits, max, temperature, &mut self.weights, &mut self.sums);
    }

    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.sums.iter().sum()
    }

    /// A part of the sum of all, rounded up.
    pub fn part(&self, part: f32) -> u64 {
        // One rounding of each factor at most; below 2^63, so that the cast is exact.
        (f64::from(part) * self.total() as f64).ceil() as u64
    }

    /// Makes those below `least` 0.
    pub fn cut_below(&mut self, least: f32) {
        (sample_ops().cut)(least, &mut self.weights, &mut self.sums);
    }

    /// Makes the sums anew.
    pub fn add_up(&mut self) {
        self.cut_below(0.0);
    }

    /// The one at which the sum of them passes `u` / 2^53 of the sum of all.
    fn draw(&self, u: u64) -> usize {
        let mut end = ((u128::from(u) * u128::from(self.total())) >> 53) as u64;
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
