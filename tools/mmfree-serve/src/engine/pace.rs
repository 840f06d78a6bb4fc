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

/// So many passes with prompts after each other are followed by one without, to see what that takes.
const PROBE: usize = 64;

/// How much faster than what is known prompts are read at most: what a token costs depends on how many there are.
const GROWTH: f64 = 1.5;

/// Tokens of a prompt beside decoding that are tried first.
const FIRST: f64 = 16.0;

/// Chooses the budget of each pass by the time that those before it took.
///
/// A pass takes what it takes without prompts, and so much more for each token of a prompt: both are measured, as they
/// depend on the model, the machine, and what else runs on it.
#[derive(Debug)]
pub struct Pace {
    /// Seconds of the last passes without a prompt, by how many sequences were being written.
    decoding: BTreeMap<usize, VecDeque<f64>>,
    /// The last pass with prompts beside decoding: their tokens, and seconds that each took.
    beside: Option<(f64, f64)>,
    /// Tokens of prompts where nothing is being written.
    alone: f64,
    /// Passes with prompts beside decoding since the last one without.
    mixed: usize,
}

impl Pace {
    pub fn new() -> Pace {
        Pace { decoding: BTreeMap::new(), beside: None, alone: 256.0, mixed: 0 }
    }

    /// The budget of the next pass, in which so many sequences are being written; `None` where it is to be without prompts.
    pub fn budget(&self, decoding: usize) -> Option<usize> {
        if decoding == 0 {
            return Some(self.alone as usize);
        }
        let without = self.without(decoding).filter(|_| self.mixed < PROBE)?;
        let prompts = match self.beside {
            None => FIRST,
            Some((tokens, each)) => ((STRETCH - 1.0) * without / each).min(GROWTH * tokens + 1.0),
        };
        Some(decoding + prompts.clamp(1.0, MOST as f64) as usize)
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
        if prompts == 0 {
            self.mixed = 0;
            let times = self.decoding.entry(decoding).or_default();
            times.push_back(seconds);
            if times.len() > KEPT {
                times.pop_front();
            }
            return;
        }
        self.mixed += 1;
        let Some(without) = self.without(decoding) else { return };
        let each = (seconds - without).max(1e-9) / prompts as f64;
        // A prompt may have ended: how many tokens a pass has room for is still what was known.
        let tokens = match self.beside {
            Some((tokens, before)) if each <= before => tokens.max(prompts as f64),
            _ => prompts as f64,
        };
        self.beside = Some((tokens, each));
    }

    /// Seconds of a pass without prompts for so many sequences; `None` where none of about so many was seen yet.
    fn without(&self, decoding: usize) -> Option<f64> {
        let median = |(&count, times): (&usize, &VecDeque<f64>)| {
            let mut times: Vec<f64> = times.iter().copied().collect();
            times.sort_by(f64::total_cmp);
            Some((count as f64, times.get(times.len() / 2).copied()?))
        };
        let wanted = decoding as f64;
        let below = self.decoding.range(..=decoding).next_back().and_then(median);
        let above = self.decoding.range(decoding..).next().and_then(median);
        match (below, above) {
            (Some((count, time)), _) if count == wanted => Some(time),
            (Some((low, least)), Some((high, most))) => {
                Some(least + (most - least) * (wanted - low) / (high - low))
            }
            // Each sequence more takes no more than those before it.
            (Some((low, time)), None) if wanted <= 1.25 * low => Some(time * wanted / low),
            (None, Some((high, time))) if high <= 1.25 * wanted => Some(time * wanted / high),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs passes on a machine that takes so many seconds for a pass and for each token of a prompt.
    fn run(pace: &mut Pace, decoding: usize, pass: f64, token: f64, passes: usize) -> Vec<f64> {
        (0..passes)
            .map(|_| {
                let prompts = pace.budget(decoding).map_or(0, |budget| budget - decoding);
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
    fn those_who_come_together_are_soon_written_to_all() {
        // 32 prompts of 16 tokens on a machine whose passes take longer the more sequences they have.
        for sequence in [0.0001, 0.001, 0.01] {
            let mut pace = Pace::new();
            let (mut decoding, mut left, mut passes) = (1, 31 * 16, 0);
            while left > 0 {
                let prompts =
                    pace.budget(decoding).map_or(0, |budget| (budget - decoding).min(left));
                let rows = (decoding + prompts) as f64;
                pace.took(decoding, prompts, 0.003 + sequence * rows);
                left -= prompts;
                decoding = 32 - left.div_ceil(16);
                passes += 1;
            }
            assert!(passes <= 90, "{sequence}: {passes}");
        }
    }

    #[test]
    fn a_pass_without_decoding_is_long_but_not_without_end() {
        let mut pace = Pace::new();
        assert!(run(&mut pace, 0, 0.01, 0.001, 50)[49] <= 0.3);
        assert!(pace.budget(0) >= Some(150));
        let mut slow = Pace::new();
        run(&mut slow, 0, 1.0, 0.1, 50);
        assert_eq!(slow.budget(0), Some(LEAST_ALONE));
        let mut fast = Pace::new();
        run(&mut fast, 0, 1e-6, 1e-7, 50);
        assert_eq!(fast.budget(0), Some(MOST));
    }

    #[test]
    fn short_prompts_say_nothing_of_what_long_ones_take() {
        let mut pace = Pace::new();
        let before = pace.budget(0);
        (0..20).for_each(|_| pace.took(0, 3, 0.001));
        assert_eq!(pace.budget(0), before);
    }

    #[test]
    fn the_first_pass_of_all_beside_decoding_reads_no_prompt() {
        assert_eq!(Pace::new().budget(3), None);
    }
}
