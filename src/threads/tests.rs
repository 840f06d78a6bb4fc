use std::sync::atomic::AtomicUsize;

use super::*;

const COUNTS: [usize; 4] = [1, 2, 3, 8];

/// Runs where many are wanted; Miri, which looks for races, is slow.
const ROUNDS: usize = if cfg!(miri) { 60 } else { 3000 };

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
        pool.run_columns(&mut matrix, width, 10, &|i, mut block| {
            assert_eq!((block.rows(), block.columns().start), (0..rows, 10 * i));
            for r in 0..rows {
                let start = block.columns().start;
                for (c, value) in block.row(r).iter_mut().enumerate() {
                    *value += 1000 * r + start + c;
                }
            }
        });
        let mut pair = [vec![0usize; 6 * 4], vec![0usize; 5]];
        let [first, second] = &mut pair;
        let matrices = [
            Matrix { data: first, width: 6, columns: 4, rows: 3 },
            Matrix { data: second, width: 5, columns: 9, rows: 1 },
        ];
        pool.run_blocks(matrices, &|m, mut block| {
            for r in block.rows() {
                let columns = block.columns();
                for (c, value) in columns.clone().zip(block.row(r)) {
                    *value += 10_000 * (m + 1) + 1000 * r + 100 * columns.len() + c;
                }
            }
        });
        (items, matrix, pair)
    };
    let one = sums(1);
    assert_eq!(one.1[76], 76);
    assert_eq!(one.1[4 * 77 + 13], 4013);
    assert_eq!(one.2[0][..6], [10400, 10401, 10402, 10403, 10204, 10205]);
    assert_eq!(one.2[0][23], 13205);
    assert_eq!(one.2[1], [20500, 20501, 20502, 20503, 20504]);
    for threads in COUNTS {
        assert_eq!(sums(threads), one);
    }
}

#[test]
fn many_tiny_runs_and_sleeps_between_them() {
    for threads in COUNTS {
        let pool = Pool::new(threads);
        let total = AtomicUsize::new(0);
        for round in 0..ROUNDS {
            pool.run(1 + round % 5, &|i| {
                total.fetch_add(i + 1, Ordering::Relaxed);
            });
            if round % (ROUNDS / 6) == 0 {
                // Long enough for every worker to go to sleep.
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(total.load(Ordering::Relaxed), ROUNDS / 5 * (1 + 3 + 6 + 10 + 15));
    }
}

/// One task waits for all the others, so that its thread takes no other one: of many tasks the rest of its part is done too,
/// whoever it is.
#[test]
fn tasks_of_a_thread_that_is_late_are_done_by_others() {
    for threads in [2, 3, 8] {
        let pool = Pool::new(threads);
        for stuck in 0..4 * threads {
            let done = AtomicUsize::new(0);
            pool.run_on_all(4 * threads, &|i| {
                while i == stuck && done.load(Ordering::Relaxed) < 4 * threads - 1 {
                    std::thread::yield_now();
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 4 * threads);
        }
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
                for _ in 0..ROUNDS / 15 {
                    let mut items = [0usize; 16];
                    pool.run_each(&mut items, &|i, item| *item += i);
                    assert_eq!(items.iter().sum::<usize>(), 120);
                }
            });
        }
    });
}

/// Gaps about as long as a worker spins, so that it is asleep, awake or in between when it is wanted; each task waits for all.
#[test]
fn no_thread_that_is_wanted_sleeps_on() {
    for threads in [2, 3, 4] {
        let pool = Pool::new(threads);
        for round in 0..ROUNDS / 10 {
            let start = Instant::now();
            while start.elapsed() < SPIN * (round % 16) as u32 / 12 {
                std::hint::spin_loop();
            }
            let inside = AtomicUsize::new(0);
            pool.run_on_all(threads, &|_| {
                inside.fetch_add(1, Ordering::Relaxed);
                while inside.load(Ordering::Relaxed) < threads {
                    std::thread::yield_now();
                }
            });
        }
    }
}

/// Runs of all sizes from two threads by turns, with short and long tasks, sleeps and panics. What tasks write and read is no
/// atomic: Miri and thread sanitizers would see a missing order.
#[test]
fn what_tasks_wrote_is_there_when_their_run_returns() {
    for threads in COUNTS {
        let pool = Pool::new(threads);
        let caller = |mut random: u64| {
            let mut below = |n: u64| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (random >> 33) % n
            };
            for round in 0..ROUNDS / 5 {
                let tasks = below(if round % 8 == 0 { 300 } else { 12 }) as usize;
                let (input, length) = (below(1000), below(400));
                let bad = (below(16) == 0).then(|| below(12) as usize);
                let mut items = vec![0; tasks];
                let result = catch_unwind(AssertUnwindSafe(|| {
                    pool.run_each(&mut items, &|i, item: &mut u64| {
                        for _ in 0..if i % 3 == 0 { length } else { 0 } {
                            std::hint::spin_loop();
                        }
                        *item = input + i as u64 + 1;
                        if bad == Some(i) {
                            // Without the hook, which prints.
                            resume_unwind(Box::new("thrown"));
                        }
                    });
                }));
                assert_eq!(result.is_err(), bad.is_some_and(|bad| bad < tasks));
                assert!(items.into_iter().eq((0..tasks as u64).map(|i| input + i + 1)));
                if below(32) == 0 {
                    std::thread::sleep(Duration::from_micros(50 + below(150)));
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| caller(1));
            scope.spawn(|| caller(2));
        });
    }
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
