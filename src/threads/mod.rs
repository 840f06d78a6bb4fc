//! The fork-join pool: one list of tasks at a time, worked through by all threads, the caller among
//! them.
//!
//! Tasks are claimed one by one from a counter, so a thread that the system takes off its core
//! delays the others by the one task it holds and no more. Who ran what cannot change a result:
//! tasks share no output.

mod cores;
mod patience;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use cores::default_threads;
use patience::Patience;

/// How long a thread spins for work, or for the last task of another, before it sleeps: longer than
/// the serial work between two runs of a forward pass, short against a time slice of a shared core.
const SPIN: Duration = Duration::from_micros(30);

/// Bytes of a thread's stack.
pub(crate) const STACK: usize = 1 << 20;

/// A pool of threads. Dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Held by the thread whose run it is.
    turn: Mutex<Patience>,
}

struct Worker {
    handle: Option<JoinHandle<()>>,
    sleep: Arc<Line<AtomicBool>>,
}

/// Keeps what different threads write on different cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

// Falling asleep and waking are told apart by a write on one side and a read of the other's on both
// sides, all SeqCst. These writes are swaps: the same instruction on x86, and QEMU lets a later
// load of emulated ARM overtake a store.
type Task<'a> = dyn Fn(usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Run {
    /// The caller's closure; valid while a task of the run is unfinished.
    task: &'static Task<'static>,
    tasks: usize,
}

struct Shared {
    /// Tasks of the current run that nobody has claimed.
    unclaimed: Line<AtomicUsize>,
    /// Tasks of the current run that are not done. A run is over when it is 0.
    unfinished: Line<AtomicUsize>,
    /// Written between two runs by the thread whose turn it is; read by who has claimed a task and
    /// not finished it.
    run: UnsafeCell<Run>,
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

// SAFETY: `run` is the only field that is not `Sync` by itself. It is written only while
// `unfinished` is 0, by the holder of `turn`, and read only between claiming a task and finishing
// it; claim (Acquire of the writer's Release) and finish (Release, acquired by the next writer)
// order the two.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`; the closure in `run` is itself `Sync`.
unsafe impl Send for Shared {}

thread_local! {
    /// Whether this thread is inside a task: a run started there is serial.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Claims and runs tasks until none is left to claim, and says how many.
    fn work(&self) -> usize {
        let mut done = 0;
        let mut unclaimed = self.unclaimed.0.load(Ordering::Relaxed);
        while unclaimed > 0 {
            let claim = self.unclaimed.0.compare_exchange_weak(
                unclaimed,
                unclaimed - 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match claim {
                Ok(_) => {
                    // SAFETY: this thread holds a claimed, unfinished task, so `run` is the run
                    // that it is of and nobody writes it; the claim acquired what the writer
                    // released.
                    let run = unsafe { *self.run.get() };
                    self.run_task(run, run.tasks - unclaimed);
                    done += 1;
                    unclaimed = self.unclaimed.0.load(Ordering::Relaxed);
                }
                Err(now) => unclaimed = now,
            }
        }
        done
    }

    fn run_task(&self, run: Run, i: usize) {
        let outer = IN_TASK.replace(true);
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (run.task)(i))) {
            keep_first(&mut lock(&self.panic), payload);
        }
        IN_TASK.set(outer);
        // SeqCst with `caller_sleeps`: either this thread sees the flag, or the caller sees the 0.
        let last = self.unfinished.0.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.caller_sleeps.load(Ordering::SeqCst) {
            // Taking the lock waits until the caller is in `wait`.
            drop(lock(&self.caller_lock));
            self.caller_wake.notify_all();
        }
    }

    /// Waits until every task is done, and says how long that took.
    fn join(&self) -> Duration {
        let done = || self.unfinished.0.load(Ordering::SeqCst) == 0;
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

    fn worker(&self, sleep: &AtomicBool) {
        let wanted =
            || self.unclaimed.0.load(Ordering::SeqCst) > 0 || self.quit.load(Ordering::SeqCst);
        loop {
            if !spin_until(self.spin, wanted) {
                // SeqCst with `unclaimed`: either this thread sees the tasks, or the caller sees
                // the flag.
                sleep.swap(true, Ordering::SeqCst);
                while !wanted() {
                    std::thread::park();
                }
                sleep.store(false, Ordering::SeqCst);
            }
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            self.work();
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
        let shared = Arc::new(Shared {
            unclaimed: Line::default(),
            unfinished: Line::default(),
            run: UnsafeCell::new(Run { task: &|_| {}, tasks: 0 }),
            caller_sleeps: AtomicBool::new(false),
            caller_lock: Mutex::new(()),
            caller_wake: Condvar::new(),
            panic: Mutex::new(None),
            quit: AtomicBool::new(false),
            spin: if threads <= cores { SPIN } else { Duration::ZERO },
        });
        let worker = |i| {
            let sleep = Arc::new(Line(AtomicBool::new(false)));
            let (shared, flag) = (Arc::clone(&shared), Arc::clone(&sleep));
            let builder = std::thread::Builder::new().name(format!("mmfree-{i}")).stack_size(STACK);
            let handle = builder.spawn(move || shared.worker(&flag.0)).ok()?;
            Some(Worker { handle: Some(handle), sleep })
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
        if self.workers.is_empty() || IN_TASK.get() || lock(&self.turn).is_lost(Instant::now()) {
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
        if may_be_alone && turn.is_lost(start) {
            drop(turn);
            return run_alone(tasks, task);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. `join` below returns when no task is unfinished, and
        // nobody calls the closure but for a task that is; so every call is over before the borrow
        // is.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: `unfinished` is 0 (the last run was joined, by this thread or by one that held
        // `turn` before), so nobody reads `run`, and `turn` keeps other writers out.
        unsafe { *shared.run.get() = Run { task, tasks } };
        shared.unfinished.0.store(tasks, Ordering::Relaxed);
        shared.unclaimed.0.swap(tasks, Ordering::SeqCst);
        for worker in self.workers.iter().take(tasks - 1) {
            if worker.sleep.0.load(Ordering::SeqCst) {
                worker.unpark();
            }
        }
        let done = shared.work();
        let waited = shared.join();
        if may_be_alone {
            turn.judge(start, Instant::now(), waited, done, tasks);
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

    /// Cuts a matrix of rows of `width` values into column ranges of `chunk` values (the last one
    /// may be shorter), and runs `task(i, columns)` once for each range `i`.
    ///
    /// # Panics
    /// If `data` is not whole rows, `chunk` is 0, or a task panics.
    pub fn run_columns<T: Send>(
        &self,
        data: &mut [T],
        width: usize,
        chunk: usize,
        task: &(dyn Fn(usize, Columns<'_, T>) + Sync),
    ) {
        self.run_matrices([Matrix { data, width, chunk }], &|_, i, columns| task(i, columns));
    }

    /// As [`run_columns`](Self::run_columns), but for several matrices in one run: `task(m, i, columns)` for each range
    /// `i` of each matrix `m`, in that order.
    ///
    /// # Panics
    /// If a matrix is not whole rows, a `chunk` is 0, or a task panics.
    pub fn run_matrices<T: Send, const N: usize>(
        &self,
        matrices: [Matrix<'_, T>; N],
        task: &(dyn Fn(usize, usize, Columns<'_, T>) + Sync),
    ) {
        let parts = matrices.map(|Matrix { data, width, chunk }| {
            assert!(chunk > 0 && width > 0 && data.len().is_multiple_of(width));
            let rows = data.len() / width;
            (Shareable(data.as_mut_ptr()), rows, width, chunk, width.div_ceil(chunk))
        });
        let tasks = parts.iter().map(|part| part.4).sum();
        self.run(tasks, &|task_number| {
            let (mut m, mut i) = (0, task_number);
            while i >= parts[m].4 {
                i -= parts[m].4;
                m += 1;
            }
            let (data, rows, width, chunk, _) = &parts[m];
            let start = i * chunk;
            let len = (*chunk).min(width - start);
            let columns = Columns {
                data: data.get(),
                rows: *rows,
                width: *width,
                start,
                len,
                _borrow: PhantomData,
            };
            task(m, i, columns);
        });
    }
}

impl Worker {
    fn unpark(&self) {
        if let Some(handle) = &self.handle {
            handle.thread().unpark();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for worker in &mut self.workers {
            worker.unpark();
            if let Some(handle) = worker.handle.take() {
                // A worker catches what its tasks throw, so there is no panic to pass on.
                let _ = handle.join();
            }
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

/// A matrix to be cut into ranges of columns: see [`Pool::run_columns`].
pub struct Matrix<'a, T> {
    /// Whole rows.
    pub data: &'a mut [T],
    /// Values in a row.
    pub width: usize,
    /// Columns in a range.
    pub chunk: usize,
}

/// A range of columns of a matrix, one task's own.
pub struct Columns<'a, T> {
    data: *mut T,
    rows: usize,
    width: usize,
    start: usize,
    len: usize,
    _borrow: PhantomData<&'a mut [T]>,
}

impl<T> Columns<'_, T> {
    /// The first column of the range.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Row `row` of the range.
    ///
    /// # Panics
    /// If the matrix has no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows);
        // SAFETY: `data` is valid for `rows * width` values, the range lies inside a row, and no
        // other task has a range that overlaps it; the borrow of `self` keeps this one to a single
        // slice at a time.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(row * self.width + self.start), self.len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: [usize; 4] = [1, 2, 3, 8];

    fn counters(len: usize) -> Vec<AtomicUsize> {
        (0..len).map(|_| AtomicUsize::new(0)).collect()
    }

    #[test]
    fn every_task_runs_once() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 7, 64, 1000] {
                let runs = counters(tasks);
                pool.run(tasks, &|i| {
                    runs[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 1));
            }
        }
        assert_eq!(Pool::new(0).threads(), 1);
    }

    #[test]
    fn results_do_not_depend_on_the_threads() {
        let sums = |threads| {
            let pool = Pool::new(threads);
            let mut items = vec![0usize; 333];
            pool.run_each(&mut items, &|i, item| *item = i * i);
            let (width, rows) = (77, 5);
            let mut matrix = vec![0usize; width * rows];
            pool.run_columns(&mut matrix, width, 10, &|i, mut columns| {
                assert_eq!(columns.start(), 10 * i);
                for r in 0..rows {
                    let start = columns.start();
                    for (c, value) in columns.row(r).iter_mut().enumerate() {
                        *value += 1000 * r + start + c;
                    }
                }
            });
            (items, matrix)
        };
        let one = sums(1);
        assert_eq!(one.1[76], 76);
        assert_eq!(one.1[4 * 77 + 13], 4013);
        for threads in COUNTS {
            assert_eq!(sums(threads), one);
        }
    }

    #[test]
    fn many_tiny_runs_and_sleeps_between_them() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            let total = AtomicUsize::new(0);
            for round in 0..3000 {
                pool.run(1 + round % 5, &|i| {
                    total.fetch_add(i + 1, Ordering::Relaxed);
                });
                if round % 500 == 0 {
                    // Long enough for every worker to go to sleep.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            assert_eq!(total.load(Ordering::Relaxed), 600 * (1 + 3 + 6 + 10 + 15));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            for bad in [0, 5, 99] {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    pool.run(100, &|i| assert!(i != bad, "task {bad} failed"));
                }));
                let payload = result.unwrap_err();
                let message = payload.downcast_ref::<String>().unwrap();
                assert_eq!(message, &format!("task {bad} failed"));
            }
            let runs = counters(10);
            pool.run(10, &|i| {
                runs[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 1));
        }
    }

    /// What a task throws, whose own drop panics unless it is disarmed.
    struct Bomb {
        task: usize,
        armed: bool,
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.armed, "a payload was dropped");
        }
    }

    fn throw(task: usize) {
        std::panic::panic_any(Bomb { task, armed: true });
    }

    #[test]
    fn payloads_that_panic_when_dropped_neither_hang_nor_end_a_run_early() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            let runs = counters(40);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run_on_all(40, &|i| {
                    runs[i].fetch_add(1, Ordering::Relaxed);
                    throw(i);
                });
            }));
            let mut bomb = result.unwrap_err().downcast::<Bomb>().unwrap();
            bomb.armed = false;
            assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 1));
            assert!(!IN_TASK.get());
            pool.run(3, &|_| ());
        }
    }

    /// One task on each of two threads, both in at once: `first` throws before the other, then both have.
    #[test]
    fn the_first_payload_is_kept_whether_the_caller_or_a_worker_throws_it() {
        let pool = Pool::new(2);
        let caller = std::thread::current().id();
        for caller_first in [true, false] {
            let inside = AtomicUsize::new(0);
            let wait_for = |n| {
                while inside.load(Ordering::SeqCst) < n {
                    std::thread::yield_now();
                }
            };
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run_on_all(2, &|_| {
                    let on_caller = std::thread::current().id() == caller;
                    inside.fetch_add(1, Ordering::SeqCst);
                    wait_for(2);
                    if on_caller != caller_first {
                        while lock(&pool.shared.panic).is_none() {
                            std::thread::yield_now();
                        }
                    }
                    throw(usize::from(on_caller));
                });
            }));
            let mut bomb = result.unwrap_err().downcast::<Bomb>().unwrap();
            bomb.armed = false;
            assert_eq!(bomb.task, usize::from(caller_first));
        }
    }

    #[test]
    fn a_run_inside_a_task_is_serial_and_returns() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            let total = AtomicUsize::new(0);
            pool.run(8, &|_| {
                let thread = std::thread::current().id();
                pool.run(8, &|_| {
                    if threads > 1 {
                        assert_eq!(std::thread::current().id(), thread);
                    }
                    total.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert_eq!(total.load(Ordering::Relaxed), 64);
        }
    }

    #[test]
    fn the_width_inside_a_task_is_that_of_the_task() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            pool.run_on_all(8, &|_| assert_eq!(pool.width(), 1));
            assert!((1..=threads).contains(&pool.width()));
        }
    }

    #[test]
    fn a_panic_ends_no_other_task_on_one_thread_either() {
        let pool = Pool::new(1);
        let runs = counters(5);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(5, &|i| {
                runs[i].fetch_add(1, Ordering::Relaxed);
                assert!(i != 1, "task {i} failed");
            });
        }));
        assert!(result.is_err() && !IN_TASK.get());
        assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn runs_from_several_threads_take_turns() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mut items = [0usize; 16];
                        pool.run_each(&mut items, &|i, item| *item += i);
                        assert_eq!(items.iter().sum::<usize>(), 120);
                    }
                });
            }
        });
    }

    #[test]
    fn dropping_a_pool_ends_its_threads() {
        for threads in COUNTS {
            let pool = Pool::new(threads);
            let alive = Arc::downgrade(&pool.shared);
            pool.run(3, &|_| ());
            drop(pool);
            assert!(alive.upgrade().is_none(), "a worker still holds the pool");
            drop(Pool::new(threads));
        }
    }
}
