//! When a caller does better alone.

use std::time::{Duration, Instant};

/// Whether it is worth while to share work with the other threads.
///
/// On a machine with more to run than cores, a thread that holds a task is taken off its core for some milliseconds, where
/// the task would take a few hundred microseconds; or the others do not come to take a task at all, and waking them is in
/// vain. After such a loss the caller works alone for a multiple of what was lost, so that no more than a small share
/// is ever lost.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When to try the other threads again.
    until: Option<Instant>,
    /// How often a loss has come right after another: each doubles the multiple.
    losses: u32,
    /// Runs, one after another, in which the others took no task.
    in_vain: u32,
    /// What those took.
    in_vain_time: Duration,
}

impl Patience {
    /// Shorter waits are not worth a thought.
    const LATE: Duration = Duration::from_micros(200);

    /// Runs in vain that are a loss: a thread that has to wake up may well miss the first.
    const IN_VAIN: u32 = 8;

    /// The first multiple, and the longest time that the caller works alone.
    const MULTIPLE: u32 = 32;
    const LONGEST: Duration = Duration::from_millis(1000);

    /// Whether the caller works alone.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes notice of a run, of which the caller waited for `waited`, and `alone` if it did every task itself.
    pub(super) fn judge(&mut self, start: Instant, end: Instant, waited: Duration, alone: bool) {
        let total = end - start;
        (self.in_vain, self.in_vain_time) =
            if alone { (self.in_vain + 1, self.in_vain_time + total) } else { (0, Duration::ZERO) };
        let lost = if self.in_vain == Self::IN_VAIN {
            self.in_vain_time
        } else if waited >= Self::LATE && waited >= total / 4 {
            // Or else it was the last of many tasks, which may be late without harm.
            waited
        } else {
            return;
        };
        self.in_vain = 0;
        self.in_vain_time = Duration::ZERO;
        let again = self.until.is_some_and(|until| start < until + 4 * lost);
        self.losses = if again { (self.losses + 1).min(4) } else { 0 };
        self.until = Some(end + (lost * (Self::MULTIPLE << self.losses)).min(Self::LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_to_other_threads_stay_a_small_share() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut patience = Patience::default();
        assert!(!patience.is_lost(start));
        // A late task among many, a short wait: no loss.
        patience.judge(start, start + ms(20), ms(4), false);
        patience.judge(start, start + ms(1), Duration::from_micros(199), false);
        assert!(!patience.is_lost(start + ms(20)));
        patience.judge(start, start + ms(4), ms(3), false);
        assert!(patience.is_lost(start + ms(4)) && patience.is_lost(start + ms(99)));
        assert!(!patience.is_lost(start + ms(100)));
        // The first run after it is late again: twice as long, and so on to the longest.
        let mut now = start + ms(100);
        for expected in [192, 384, 768, 1000, 1000] {
            patience.judge(now, now + ms(4), ms(3), false);
            now += ms(4);
            assert!(patience.is_lost(now + ms(expected - 1)));
            assert!(!patience.is_lost(now + ms(expected)));
            now += ms(expected);
        }
        // After a good time it begins anew.
        now += ms(2000);
        patience.judge(now, now + ms(4), ms(3), false);
        assert!(!patience.is_lost(now + ms(4 + 96)));
        // Others that take no task, some times on end.
        now += ms(2000);
        for alone in [true, true, false, true, true, true, true, true, true, true] {
            patience.judge(now, now + ms(1), ms(0), alone);
            now += ms(1);
            assert!(!patience.is_lost(now));
        }
        patience.judge(now, now + ms(1), ms(0), true);
        assert!(patience.is_lost(now + ms(256)) && !patience.is_lost(now + ms(257)));
    }
}
