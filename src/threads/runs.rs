//! How a run is announced, and its tasks claimed.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What a run calls for each task.
pub(super) type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// Keeps what different threads write on different cache lines, and apart from lines that are fetched in pairs.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Line<T>(pub(super) T);

/// A run, in one word: its number in the upper 48 bits (at a million runs a second they last nine years), then how many
/// claims its tasks make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run(u64);

impl Run {
    const CLAIMS: u64 = u16::MAX as u64;

    fn new(number: u64, claims: u64) -> Run {
        assert!(claims <= Run::CLAIMS && number <= u64::MAX >> 16);
        Run(number << 16 | claims)
    }

    fn number(self) -> u64 {
        self.0 >> 16
    }

    /// Claims that its tasks make.
    pub(super) fn claims(self) -> usize {
        (self.0 & Run::CLAIMS) as usize
    }

    /// Parts that its claims are cut into, for so many threads: each thread has one to begin with.
    pub(super) fn parts(self, threads: usize) -> usize {
        self.claims().min(threads)
    }
}

/// Where the caller announces runs and all workers wait: one line, which goes to all of them at once.
pub(super) struct Board {
    run: AtomicU64,
    job: UnsafeCell<Job>,
}

/// What is to be done in a run.
#[derive(Clone, Copy)]
pub(super) struct Job {
    /// The caller's closure; valid while a task of the run is unfinished.
    pub(super) task: &'static Task<'static>,
    pub(super) tasks: usize,
}

// SAFETY: `job` is the only field that is not `Sync` by itself; what it refers to is. It is written by `announce`, while no
// task is claimed and unfinished, and read by who has claimed one: by the contracts of `announce` and `job`.
unsafe impl Sync for Board {}

impl Board {
    pub(super) fn new() -> Board {
        Board { run: AtomicU64::new(0), job: UnsafeCell::new(Job { task: &|_| {}, tasks: 0 }) }
    }

    /// The last run announced. What its caller did before is visible.
    pub(super) fn run(&self) -> Run {
        Run(self.run.load(Ordering::Acquire))
    }

    /// Announces a run.
    ///
    /// # Safety
    /// No thread is between claiming a task and the end of that task, and all that such threads did happened before; no other
    /// thread calls this at the same time. `job.task` stays valid until every task of the run has ended.
    pub(super) unsafe fn announce(&self, job: Job) -> Run {
        // SAFETY: only who has claimed a task reads it, and by this function's contract nobody has.
        unsafe { *self.job.get() = job };
        let last = Run(self.run.load(Ordering::Relaxed));
        let claims = job.tasks.min(Run::CLAIMS as usize) as u64;
        let run = Run::new(last.number() + 1, claims);
        self.run.store(run.0, Ordering::Release);
        run
    }

    /// What the run is about.
    ///
    /// # Safety
    /// The calling thread got the run from [`run`](Self::run) or [`announce`](Self::announce), has claimed a task of it and not
    /// finished it.
    pub(super) unsafe fn job(&self) -> Job {
        // SAFETY: the run is not over, so that nobody writes; it was written before the run was announced.
        unsafe { *self.job.get() }
    }
}

impl Job {
    /// The tasks of a claim: one, but in runs of more than 65535.
    pub(super) fn tasks_of(&self, run: Run, claim: usize) -> std::ops::Range<usize> {
        let bound =
            |claim: usize| (self.tasks as u128 * claim as u128 / run.claims() as u128) as usize;
        if self.tasks == run.claims() { claim..claim + 1 } else { bound(claim)..bound(claim + 1) }
    }
}

/// A thread's line: it alone writes it, but for claims of its part by others.
#[derive(Default)]
pub(super) struct Progress {
    /// A run's number in the upper 48 bits, and how many of the claims of this thread's part of it have been made. In a later run,
    /// until the first claim, it is that of an earlier one.
    claimed: AtomicU64,
    /// Claims that the thread has done since the pool was made, wrapping.
    pub(super) done: AtomicUsize,
    /// Whether it sleeps, or is about to.
    pub(super) sleeps: AtomicBool,
}

impl Progress {
    /// Makes a claim of the thread's part of a run, of which it is one of `parts`, `part`. None where all are made; nor where
    /// the run is over, whatever has been announced since.
    pub(super) fn claim(&self, run: Run, part: usize, parts: usize) -> Option<usize> {
        let bound = |part: usize| run.claims() * part / parts;
        let (first, len) = (bound(part), bound(part + 1) - bound(part));
        let mut now = self.claimed.load(Ordering::Relaxed);
        loop {
            let made = match Run(now).number().cmp(&run.number()) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => Run(now).claims(),
                std::cmp::Ordering::Greater => return None,
            };
            if made == len {
                return None;
            }
            // Who succeeds took the word on from a state in which the run had an unclaimed task: so the run was not over, and is
            // not before that task is done. No order with other memory is needed: what a task reads was there before the run
            // was announced, and is acquired with that.
            let next = Run::new(run.number(), made as u64 + 1).0;
            match self.claimed.compare_exchange_weak(
                now,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(first + made),
                Err(changed) => now = changed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as a word holds; Miri is slow.
    const MOST: u64 = if cfg!(miri) { 50 } else { u16::MAX as u64 };

    fn run(number: u64, claims: u64) -> Run {
        Run::new(number, claims)
    }

    fn claims(line: &Progress, run: Run, part: usize, parts: usize) -> Vec<usize> {
        std::iter::from_fn(|| line.claim(run, part, parts)).collect()
    }

    #[test]
    fn every_claim_of_a_run_is_made_once() {
        for (tasks, threads) in [(1, 4), (4, 4), (5, 4), (1000, 7), (MOST, 3)] {
            let lines: Vec<Progress> = (0..threads).map(|_| Progress::default()).collect();
            for number in 1..4 {
                let run = run(number, tasks);
                let parts = run.parts(threads);
                let lines = lines[..parts].iter().enumerate();
                let all: Vec<_> = lines.flat_map(|(i, line)| claims(line, run, i, parts)).collect();
                assert!(all.into_iter().eq(0..tasks as usize));
            }
        }
    }

    #[test]
    fn a_run_that_is_over_has_nothing_to_claim() {
        let line = Progress::default();
        assert_eq!(claims(&line, run(1, 4), 1, 2), [2, 3]);
        assert_eq!(line.claim(run(1, 4), 1, 2), None);
        assert_eq!(line.claim(run(2, 9), 1, 2), Some(4));
        // A thread that was away since the first run, and one that finds a part without tasks.
        assert_eq!(line.claim(run(1, 4), 1, 2), None);
        assert_eq!(line.claim(run(1, 40), 1, 2), None);
        assert_eq!(claims(&line, run(2, 9), 1, 2), [5, 6, 7, 8]);
        assert_eq!(line.claim(run(3, 0), 0, 1), None);
    }

    #[test]
    fn tasks_beyond_a_word_share_claims() {
        for tasks in if cfg!(miri) { vec![3] } else { vec![1, 65535, 65536, 1_000_000] } {
            let job = Job { task: &|_| {}, tasks };
            let run = run(1, tasks.min(65535) as u64);
            let all = (0..run.claims()).flat_map(|claim| job.tasks_of(run, claim));
            assert!(all.eq(0..tasks));
        }
    }
}
