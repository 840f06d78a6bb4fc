//! The threads that a command works on.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

use mmfree::storage::threads_with_room;
use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// Bytes of a thread's stack.
const STACK: usize = 2 << 20;

/// Bytes of addresses that are left to the work, beside the stacks.
const RESERVE: u64 = 32 << 20;

/// Runs `work` on a pool of as many threads as asked for, or as the machine has. Where the system
/// gives fewer (`pids.max`, `ulimit -u`, no room for their stacks), those do all of it, and where it
/// gives none, the calling thread does.
pub fn run<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> T {
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(available);
    // The calling thread is one of those that are counted, and waits.
    run_on(threads_with_room(threads.saturating_add(1), STACK, RESERVE) - 1, start, work)
}

/// The same with a way to start a thread.
fn run_on<T: Send>(
    threads: usize,
    start: impl Fn(Box<dyn FnOnce() + Send>) -> io::Result<()>,
    work: impl FnOnce() -> T + Send,
) -> T {
    // A pool that cannot start its threads is none, so they are started before it is made.
    let (sender, receiver) = channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let started = (0..threads).map_while(|_| {
        let receiver = receiver.clone();
        start(Box::new(move || serve(&receiver))).ok()
    });
    let started = started.count();
    let pool = match started {
        0 => None,
        _ => ThreadPoolBuilder::new()
            .num_threads(started)
            .spawn_handler(|thread| {
                sender.send(thread).map_err(|_| io::ErrorKind::BrokenPipe.into())
            })
            .build()
            .ok(),
    };
    // Threads that got nothing to do end.
    drop(sender);
    if let Some(pool) = pool {
        return pool.install(work);
    }
    // The calling thread stays that of this pool for good, which is why it comes last. It fails where
    // there was need of it before, or where the thread is of another pool: work goes on there.
    match ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    }
}

fn start(thread: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    std::thread::Builder::new().stack_size(STACK).spawn(thread).map(drop)
}

/// What a thread of the pool does: it waits for its place there, and works until the pool ends.
fn serve(places: &Mutex<Receiver<ThreadBuilder>>) {
    let place = places.lock().unwrap_or_else(PoisonError::into_inner).recv();
    if let Ok(place) = place {
        place.run();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use rayon::prelude::*;

    use super::*;

    /// The threads that some work was done on, of a system that gives so many.
    fn threads(asked: usize, given: usize) -> (usize, HashSet<std::thread::ThreadId>) {
        let left = Cell::new(given);
        let limited = |thread| {
            let more = left.get().checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
            left.set(more);
            start(thread)
        };
        run_on(asked, limited, || {
            let all = (0..10_000).into_par_iter().map(|_| std::thread::current().id()).collect();
            (rayon::current_num_threads(), all)
        })
    }

    #[test]
    fn there_are_as_many_as_asked_for_or_as_the_system_gives() {
        for (asked, given, expected) in [(3, 9, 3), (1, 9, 1), (200, 2, 2), (5, 1, 1)] {
            let (count, ids) = threads(asked, given);
            assert_eq!(count, expected, "{asked} {given}");
            assert!(ids.len() <= expected && !ids.contains(&std::thread::current().id()));
        }
    }

    #[test]
    fn where_there_are_none_the_calling_thread_does_the_work() {
        let own = HashSet::from([std::thread::current().id()]);
        for _ in 0..3 {
            assert_eq!(threads(4, 0), (1, own.clone()));
            assert_eq!(threads(0, 4), (1, own.clone()));
        }
        // And where there are some again, they do.
        let (count, ids) = threads(4, 4);
        assert!(count == 4 && ids.is_disjoint(&own));
    }
}
