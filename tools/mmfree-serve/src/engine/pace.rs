//! How many tokens a pass takes: large ones read prompts faster, but whoever is being written to waits for them.

use std::collections::{BTreeMap, VecDeque};

/// Tokens of prompts in a pass while nothing is being written, at least: below, weights are read for too few.
const LEAST_ALONE: usize = 64;

/// The same at most.
const MOST: usize = 2048;

/// Seconds of a pass while nothing is being written, about: so long does a new request wait, and a hang-up.
const ALONE: f64 = 0.25;

/// How much longer a pass with a prompt in it may take than one without: within three times, with room for what cannot
/// be foreseen.
const STRETCH: f64 = 2.5;

/// Passes without a prompt of which the median is taken.
const KEPT: usize = 9;

/// So many passes with prompts after each other are followed by one with hardly any, to see what a pass takes without.
const PROBE: usize = 64;

/// Chooses the budget of each pass by the time that those before it took.
///
/// A pass takes what it takes without prompts, and so much more for each token of a prompt: both are measured, as they
/// depend on the model, the machine, and what else runs on it.
#[derive(Debug)]
pub struct Pace {
    /// Seconds of the last passes without a prompt, by how many sequences were being written.
    decoding: BTreeMap<usize, VecDeque<f64>>,
    /// Tokens of prompts beside decoding.
    beside: f64,
    /// Tokens of prompts where nothing is being written.
    alone: f64,
    /// Passes with prompts beside decoding since the last one without.
    mixed: usize,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { decoding: BTreeMap::new(), beside: 16.0, alone: 256.0, mixed: 0 }
    }

    /// The budget of the next pass, in which so many sequences are being written.
    pub fn budget(&self, decoding: usize) -> usize {
        match decoding {
            0 => self.alone as usize,
            // One token of a prompt is read in any case.
            _ if self.mixed >= PROBE || self.median(decoding).is_none() => decoding,
            _ => decoding + self.beside as usize,
        }
    }

    /// Takes in what a pass took: so many sequences being written, tokens of prompts, and seconds.
    pub fn took(&mut self, decoding: usize, prompts: usize, seconds: f64) {
        // An idle machine's clock may stand still between two looks at it.
        let seconds = seconds.max(1e-9);
        if decoding == 0 {
            if prompts >= LEAST_ALONE / 2 {
                let change = (ALONE / seconds).clamp(0.5, 1.5);
                // By what was read, not by what might have been: a prompt may have ended.
                let next = if change < 1.0 {
                    prompts as f64 * change
                } else {
                    self.alone.max(prompts as f64 * change)
                };
                self.alone = next.clamp(LEAST_ALONE as f64, MOST as f64);
            }
            return;
        }
        if prompts <= 1 {
            self.mixed = 0;
            let times = self.decoding.entry(decoding).or_default();
            times.push_back(seconds);
            if times.len() > KEPT {
                times.pop_front();
            }
            return;
        }
        self.mixed += 1;
        let Some(median) = self.median(decoding) else { return };
        // What is left for prompts, against what they took.
        let change = (STRETCH - 1.0) * median / (seconds - median).max(1e-9);
        let next = prompts as f64 * change.clamp(0.5, 1.25);
        self.beside = match change < 1.0 {
            true => next,
            false => self.beside.max(next),
        }
        .clamp(1.0, MOST as f64);
    }

    /// Seconds of a pass without prompts for so many sequences, or for about so many.
    fn median(&self, decoding: usize) -> Option<f64> {
        let below = self.decoding.range(..=decoding).next_back();
        let (_, times) = below.or_else(|| self.decoding.range(decoding..).next())?;
        let mut times: Vec<f64> = times.iter().copied().collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs passes on a machine that takes so many seconds for a pass and for each token of a prompt.
    fn run(pace: &mut Pace, decoding: usize, pass: f64, token: f64, passes: usize) -> Vec<f64> {
        (0..passes)
            .map(|_| {
                let prompts = (pace.budget(decoding) - decoding).max(1);
                let seconds = pass + token * prompts as f64;
                pace.took(decoding, prompts, seconds);
                seconds
            })
            .collect()
    }

    #[test]
    fn beside_decoding_a_pass_takes_about_two_and_a_half_times_as_long_as_without_prompts() {
        for (pass, token) in [(0.01, 0.0002), (0.0003, 0.00005), (1.0, 0.1)] {
            let mut pace = Pace::new();
            let times = run(&mut pace, 4, pass, token, 200);
            let settled = &times[100..];
            let longest = settled.iter().copied().fold(0.0, f64::max);
            assert!(longest <= 3.0 * (pass + token), "{pass} {token}: {longest}");
            let mean = settled.iter().sum::<f64>() / settled.len() as f64;
            assert!(mean >= 1.7 * pass, "{pass} {token}: {mean}");
        }
    }

    #[test]
    fn a_machine_that_becomes_slower_for_prompts_is_noticed_at_once() {
        let mut pace = Pace::new();
        run(&mut pace, 1, 0.01, 0.0001, 200);
        let times = run(&mut pace, 1, 0.01, 0.002, 10);
        assert!(times[8] <= 0.03, "{times:?}");
    }

    #[test]
    fn a_pass_without_decoding_is_long_but_not_without_end() {
        let mut pace = Pace::new();
        assert!(run(&mut pace, 0, 0.01, 0.001, 50)[49] <= 0.3);
        assert!(pace.budget(0) >= 150);
        let mut slow = Pace::new();
        run(&mut slow, 0, 1.0, 0.1, 50);
        assert_eq!(slow.budget(0), LEAST_ALONE);
        let mut fast = Pace::new();
        run(&mut fast, 0, 1e-6, 1e-7, 50);
        assert_eq!(fast.budget(0), MOST);
    }

    #[test]
    fn short_prompts_say_nothing_of_what_long_ones_take() {
        let mut pace = Pace::new();
        let before = pace.budget(0);
        (0..20).for_each(|_| pace.took(0, 3, 0.001));
        assert_eq!(pace.budget(0), before);
    }

    #[test]
    fn the_first_pass_of_all_beside_decoding_reads_one_token_of_prompts() {
        assert_eq!(Pace::new().budget(3), 3);
    }
}
