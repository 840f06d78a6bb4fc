//! The fork-join pool: one list of tasks at a time, worked through by all threads, the caller among
//! them.
//!
//! Each thread has a part of the tasks, so that a small run always has the same work on the same core; it claims them one by
//! one, and the caller, or with many tasks every thread, goes on with those of threads that have not come to them. So a
//! thread that the system takes off its core delays the others by the one task it holds and no more. Who ran what cannot
//! change a result: tasks share no output.
//!
//! A run of some microseconds is mostly cache lines on their way between cores, some 100 ns each. So the caller writes one
//! line, at which all others wait; each thread claims and reports on a line of its own; and the caller reads those, which come
//! side by side. No line is written by two threads unless one helps another.
//!
//! # Memory orderings
//!
//! - *From the caller to a task.* The caller writes the job and stores the run's number with release; a worker loads it with
//!   acquire. So whoever has a run's number sees its job, and all that the caller did before.
//! - *Each task once.* A claim is a compare-exchange of one word, which has one order of changes whatever the ordering, so
//!   relaxed is enough. Numbers of runs in that word only grow, and when a run is over, all claims of each of its parts have
//!   been made: a thread that comes late with an old number finds the part used up, or the word that of a later run.
//! - *The job stays while it is read.* It is read between a claim and the report of it. A run is over when all its claims have
//!   been reported, and the next one's job is written after that.
//! - *From a task to the caller.* A worker reports by a store that releases, the caller's loads acquire, and it returns when the
//!   reports add up to all claims that others made. Reports only grow, and to no more than that sum: where it is reached, each
//!   of them has been read at its last value, though not all at one moment.
//! - *Sleep.* Who goes to sleep sets its flag and then looks for what it waits for; who has that for it looks for the flag after.
//!   Both are sequentially consistent where somebody has to wake up (the caller by its last task; a worker where
//!   [`Pool::run_on_all`] wants it), so that one of the two sees the other. Elsewhere a worker that is missed is done without.
//! - *The end.* The flag to quit needs no order: nothing is read because of it, and unparking a thread makes it visible.

mod columns;
mod cores;
mod patience;
mod runs;
mod teams;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use columns::{Block, Matrix};
pub use cores::default_threads;
use patience::Patience;
use runs::{Board, Job, Line, Progress, Run, Task};
pub use teams::{Buffers, Finish, Group, Out, Piece, Place, Teams};

/// How long a thread spins for work, or for the last task of another, before it sleeps: longer than the serial work between two
/// runs of a forward pass and what a thread may be done earlier than another, or than sampling; waking all threads of many takes
/// nearly as long. Short against a time slice of a shared core.
const SPIN: Duration = Duration::from_micros(100);

/// Bytes of a thread's stack.
pub(crate) const STACK: usize = 1 << 20;

/// A pool of threads. Dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the thread whose run it is.
    turn: Mutex<Turn>,
}

/// What runs leave for the next one.
#[derive(Default)]
struct Turn {
    patience: Patience,
    /// Claims that workers have done in all runs, wrapping: the sum of their [`Progress::done`] between two runs.
    done: usize,
}

struct Shared {
    board: Line<Board>,
    /// A line for each thread, the caller's first.
    threads: Box<[Line<Progress>]>,
    /// Set while the caller sleeps until the last task is done.
    caller_sleeps: AtomicBool,
    caller_lock: Mutex<()>,
    caller_wake: Condvar,
    /// What the first task that panicked threw.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    quit: AtomicBool,
    /// How long to spin; nothing where the threads outnumber the cores.
    spin: Duration,
}

thread_local! {
    /// Whether this thread is inside a task: a run started there is serial.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Does what is left of a thread's part of a run, one of `parts`, and calls `then` after each claim. Gives the number of
    /// claims.
    fn work(&self, run: Run, (part, parts): (usize, usize), then: impl Fn()) -> usize {
        let mut claims = 0;
        while let Some(claim) = self.threads[part].0.claim(run, part, parts) {
            // SAFETY: the claim has just been made, of a run that this thread got from the board; it ends with `run_task`.
            let job = unsafe { self.board.0.job() };
            for task in job.tasks_of(run, claim) {
                self.run_task(job.task, task);
            }
            then();
            claims += 1;
        }
        claims
    }

    /// A worker's share of a run: its part, then where there are more tasks than threads what others have not come to. Else
    /// a look at the others' lines would only cost them time.
    fn help(&self, run: Run, thread: usize) {
        let parts = run.parts(self.threads.len());
        if thread >= parts {
            return;
        }
        let others = if run.claims() > parts { parts } else { 1 };
        for i in 0..others {
            let part = (thread + i) % parts;
            self.work(run, (part, parts), || self.report(&self.threads[thread].0));
        }
    }

    fn run_task(&self, task: &Task<'_>, i: usize) {
        let outer = IN_TASK.replace(true);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(i))) {
            keep_first(&mut lock(&self.panic), payload);
        }
        IN_TASK.set(outer);
    }

    /// Counts a claim that this worker has done.
    fn report(&self, progress: &Progress) {
        // Releases what the tasks wrote. SeqCst with `caller_sleeps`: either this thread sees the flag, or the caller sees the
        // count. A swap since that is the same instruction on x86, and QEMU lets a later load of emulated ARM overtake a
        // store.
        let done = progress.done.load(Ordering::Relaxed).wrapping_add(1);
        progress.done.swap(done, Ordering::SeqCst);
        if self.caller_sleeps.load(Ordering::SeqCst) {
            // Taking the lock waits until the caller is in `wait`.
            drop(lock(&self.caller_lock));
            self.caller_wake.notify_all();
        }
    }

    /// Waits until the workers' counts add up to `done`, and says how long that took. They only grow, and no further than
    /// that within a run, so they need not be read at one moment.
    fn join(&self, done: usize) -> Duration {
        let counts = || self.threads[1..].iter().map(|thread| thread.0.done.load(Ordering::SeqCst));
        let done = || counts().fold(0, usize::wrapping_add) == done;
        if done() {
            return Duration::ZERO;
        }
        let start = Instant::now();
        if spin_until(self.spin, done) {
            return start.elapsed();
        }
        let mut guard = lock(&self.caller_lock);
        self.caller_sleeps.swap(true, Ordering::SeqCst);
        while !done() {
            guard = self.caller_wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
        start.elapsed()
    }

    fn worker(&self, thread: usize) {
        let sleeps = &self.threads[thread].0.sleeps;
        let mut last = Run::default();
        loop {
            let wanted = || self.board.0.run() != last || self.quit.load(Ordering::Relaxed);
            if !spin_until(self.spin, wanted) {
                sleeps.store(true, Ordering::Relaxed);
                // With the fence of a run that wants every thread: either this one sees the run, or the caller sees the
                // flag. Other runs may miss a thread that is falling asleep, and do without it.
                fence(Ordering::SeqCst);
                while !wanted() {
                    std::thread::park();
                }
                sleeps.store(false, Ordering::Relaxed);
            }
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            last = self.board.0.run();
            self.help(last, thread);
        }
    }
}

/// Keeps what the first task that panicked threw. What the others threw is leaked: dropping it may panic too, which would
/// unwind past tasks that are not done.
fn keep_first(first: &mut Option<Box<dyn Any + Send>>, payload: Box<dyn Any + Send>) {
    match first {
        None => *first = Some(payload),
        Some(_) => std::mem::forget(payload),
    }
}

/// Runs every task on this thread; the first that panics is thrown on when all are done.
fn run_alone(tasks: usize, task: &Task<'_>) {
    let outer = IN_TASK.replace(true);
    let mut panic = None;
    for i in 0..tasks {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(i))) {
            keep_first(&mut panic, payload);
        }
    }
    IN_TASK.set(outer);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// Spins until `done` or until the time is over; whether it was done.
fn spin_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    if done() {
        return true;
    }
    if limit.is_zero() {
        return false;
    }
    let start = Instant::now();
    loop {
        for _ in 0..16 {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > limit {
            return false;
        }
    }
}

impl Pool {
    /// A pool of `threads` threads, the caller counted; at least one. Where the system refuses a
    /// thread, the pool has those that it got.
    pub fn new(threads: usize) -> Pool {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            board: Line(Board::new()),
            threads: (0..threads).map(|_| Line::default()).collect(),
            caller_sleeps: AtomicBool::new(false),
            caller_lock: Mutex::new(()),
            caller_wake: Condvar::new(),
            panic: Mutex::new(None),
            quit: AtomicBool::new(false),
            spin: if threads <= cores { SPIN } else { Duration::ZERO },
        });
        let worker = |i| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("mmfree-{i}")).stack_size(STACK);
            builder.spawn(move || shared.worker(i)).ok()
        };
        let workers = (1..threads).map_while(worker).collect();
        Pool { shared, workers, turn: Mutex::default() }
    }

    /// Threads, the caller counted.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Threads that a run started now would have: all, or the caller alone where the others have lately been late or not
    /// come at all.
    pub fn width(&self) -> usize {
        let is_lost = || lock(&self.turn).patience.is_lost(Instant::now());
        if self.workers.is_empty() || IN_TASK.get() || is_lost() {
            return 1;
        }
        self.threads()
    }

    /// Runs `task(i)` once for each `i` below `tasks`, in any order, on any thread, and returns
    /// when all are done.
    ///
    /// Inside a task a run is serial, on the task's thread. Runs from several threads take turns, but for those of a caller that
    /// works alone because the other threads have lately been late or not come at all.
    ///
    /// # Panics
    /// If a task panics, with what it threw, after the others are done.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.share(tasks, task, true);
    }

    /// As [`run`](Self::run), but on all threads however late they are: to measure what they can do together, or to wait for
    /// something else than cores.
    pub fn run_on_all(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        self.share(tasks, task, false);
    }

    /// Runs tasks, if it may be by the caller alone where the others are not worth waiting for.
    fn share(&self, tasks: usize, task: &(dyn Fn(usize) + Sync), may_be_alone: bool) {
        if tasks < 2 || self.workers.is_empty() || IN_TASK.get() {
            return run_alone(tasks, task);
        }
        let mut turn = lock(&self.turn);
        let start = Instant::now();
        if may_be_alone && turn.patience.is_lost(start) {
            drop(turn);
            return run_alone(tasks, task);
        }
        let shared = &*self.shared;
        let asleep = |thread: &Line<Progress>| thread.0.sleeps.load(Ordering::Relaxed);
        // Looked at before the run is announced: then nobody writes these lines. Who falls asleep just now is missed.
        let any_asleep = shared.threads.iter().any(asleep);
        // SAFETY: only the lifetime changes. `join` below returns when no task is unfinished, and
        // nobody calls the closure but for a task that is; so every call is over before the borrow
        // is.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: the last run was joined, by this thread or by one that held `turn` before, so no task is unfinished; `turn`
        // keeps other callers out. The task is valid until this run has been joined.
        let run = unsafe { shared.board.0.announce(Job { task, tasks }) };
        if !may_be_alone {
            // See `worker`.
            fence(Ordering::SeqCst);
        }
        let parts = run.parts(shared.threads.len());
        if any_asleep || !may_be_alone {
            for (thread, worker) in shared.threads[1..parts].iter().zip(&self.workers) {
                if asleep(thread) {
                    worker.thread().unpark();
                }
            }
        }
        // What other threads have not come to is done here too, so that nobody need come.
        let claims = (0..parts).map(|i| shared.work(run, ((parts - i) % parts, parts), || ()));
        let done: usize = claims.sum();
        turn.done = turn.done.wrapping_add(run.claims() - done);
        let waited = shared.join(turn.done);
        if may_be_alone {
            turn.patience.judge(start, waited, done, run.claims());
        }
        let panic = lock(&shared.panic).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Runs `task(i, &mut items[i])` once for each item.
    ///
    /// # Panics
    /// If a task panics.
    pub fn run_each<T: Send>(&self, items: &mut [T], task: &(dyn Fn(usize, &mut T) + Sync)) {
        let (len, items) = (items.len(), Shareable(items.as_mut_ptr()));
        self.run(len, &|i| {
            // SAFETY: `i` is below the length, and each `i` comes once: no two tasks have the same
            // item.
            task(i, unsafe { &mut *items.get().add(i) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // Whoever parks after this finds the token, and with it the flag.
            worker.thread().unpark();
            // A worker catches what its tasks throw, so there is no panic to pass on.
            let _ = worker.join();
        }
    }
}

/// A pointer that tasks share; what they make of it must not overlap.
struct Shareable<T>(*mut T);

// SAFETY: only the pointer is shared. Its users give each task places of its own, and `T: Send`
// lets another thread write them.
unsafe impl<T: Send> Sync for Shareable<T> {}

impl<T> Shareable<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}
