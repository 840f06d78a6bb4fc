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
    /// For how long the caller was to work alone when that was set.
    alone: Duration,
    /// How often a loss has come soon after the caller had worked alone for another: each doubles the multiple.
    losses: u32,
    /// Runs, one after another, in which the others took no task.
    in_vain: u32,
    /// What those took.
    in_vain_time: Duration,
}

impl Patience {
    /// Shorter waits are not worth a thought.
    const LATE: Duration = Duration::from_micros(200);

    /// Runs in vain that are a loss, if they took as long as a wait that is worth a thought: a thread that has to wake up may
    /// well miss the first, and several where they take some microseconds.
    const IN_VAIN: u32 = 8;

    /// The first multiple, and the longest time that the caller works alone.
    const MULTIPLE: u32 = 32;
    const MOST_LOSSES: u32 = 7;
    const LONGEST: Duration = Duration::from_millis(1000);

    /// Whether the caller works alone.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Takes notice of a run of `tasks` tasks that began at `start` and ends now, of which the caller did `done` itself and then
    /// waited for `waited`.
    pub(super) fn judge(&mut self, start: Instant, waited: Duration, done: usize, tasks: usize) {
        // The rule, which needs no clock.
        if done < tasks && waited < Self::LATE {
            (self.in_vain, self.in_vain_time) = (0, Duration::ZERO);
            return;
        }
        self.judge_at(start, Instant::now(), waited, done, tasks);
    }

    fn judge_at(
        &mut self,
        start: Instant,
        end: Instant,
        waited: Duration,
        done: usize,
        tasks: usize,
    ) {
        let total = end - start;
        (self.in_vain, self.in_vain_time) = if done == tasks {
            (self.in_vain + 1, self.in_vain_time + total)
        } else {
            (0, Duration::ZERO)
        };
        // A wait is a loss by what the run took longer than the caller alone would have. Threads that are slower than
        // the caller, or the last of many tasks, may well be waited for.
        let alone = (total - waited).as_secs_f64() * tasks as f64 / done.max(1) as f64;
        let longer = Duration::try_from_secs_f64(total.as_secs_f64() - alone).unwrap_or_default();
        let lost = if self.in_vain >= Self::IN_VAIN && self.in_vain_time >= Self::LATE {
            self.in_vain_time
        } else if waited >= Self::LATE && done > 0 && !longer.is_zero() {
            longer
        } else {
            return;
        };
        self.in_vain = 0;
        self.in_vain_time = Duration::ZERO;
        let again = self.until.is_some_and(|until| start < until + self.alone / 2);
        self.losses = if again { (self.losses + 1).min(Self::MOST_LOSSES) } else { 0 };
        self.alone = (lost * (Self::MULTIPLE << self.losses)).min(Self::LONGEST);
        self.until = Some(end + self.alone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A run of two tasks that began at `now`, took `total`, and in which the caller did one and waited.
    fn late(patience: &mut Patience, now: Instant, total: Duration, waited: Duration) -> Instant {
        patience.judge_at(now, now + total, waited, 1, 2);
        now + total
    }

    #[test]
    fn losses_to_other_threads_stay_a_small_share() {
        let mut now = Instant::now();
        let mut patience = Patience::default();
        assert!(!patience.is_lost(now));
        // One millisecond of four was the caller's own, so that alone it would have taken two: two are lost.
        now = late(&mut patience, now, ms(4), ms(3));
        assert!(patience.is_lost(now) && patience.is_lost(now + ms(63)));
        assert!(!patience.is_lost(now + ms(64)));
        now += ms(64);
        // The first run after it is late again: twice as long, and so on to the longest.
        for expected in [128, 256, 512, 1000, 1000] {
            now = late(&mut patience, now, ms(4), ms(3));
            assert!(patience.is_lost(now + ms(expected - 1)));
            assert!(!patience.is_lost(now + ms(expected)));
            now += ms(expected);
        }
        // After a good time it begins anew.
        now += ms(2000);
        now = late(&mut patience, now, ms(4), ms(3));
        assert!(!patience.is_lost(now + ms(64)));
    }

    #[test]
    fn waiting_for_slower_threads_is_no_loss() {
        let now = Instant::now();
        let mut patience = Patience::default();
        // As long as the caller alone would have taken for two, or less for eight.
        late(&mut patience, now, ms(4), ms(2));
        patience.judge_at(now, now + ms(6), ms(4), 1, 8);
        // The last of many tasks; a short wait; a run of which the others did all.
        patience.judge_at(now, now + ms(20), ms(4), 10, 20);
        late(&mut patience, now, Duration::from_micros(200), Duration::from_micros(199));
        patience.judge_at(now, now + ms(4), ms(4), 0, 2);
        assert!(!patience.is_lost(now));
    }

    #[test]
    fn threads_that_take_no_task_are_a_loss_after_some_runs() {
        let mut now = Instant::now();
        let mut patience = Patience::default();
        for done in [2, 2, 1, 2, 2, 2, 2, 2, 2, 2] {
            patience.judge_at(now, now + ms(1), ms(0), done, 2);
            now += ms(1);
            assert!(!patience.is_lost(now));
        }
        patience.judge_at(now, now + ms(1), ms(0), 2, 2);
        assert!(patience.is_lost(now + ms(256)) && !patience.is_lost(now + ms(257)));
        // Losses that come within half of that time after it make it longer.
        now += ms(257 + 120);
        for _ in 0..8 {
            patience.judge_at(now, now + ms(1), ms(0), 2, 2);
            now += ms(1);
        }
        assert!(patience.is_lost(now + ms(510)) && !patience.is_lost(now + ms(512)));
    }

    #[test]
    fn runs_that_end_before_a_thread_has_woken_up_are_no_loss() {
        let mut now = Instant::now();
        let mut patience = Patience::default();
        let short = Duration::from_micros(5);
        for _ in 1..40 {
            patience.judge_at(now, now + short, ms(0), 2, 2);
            now += short;
            assert!(!patience.is_lost(now));
        }
        patience.judge_at(now, now + short, ms(0), 2, 2);
        assert!(patience.is_lost(now + Duration::from_micros(6400)));
    }
}
