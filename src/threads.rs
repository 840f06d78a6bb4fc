//! The fork-join pool: one list of tasks at a time, worked through by all threads, the caller among them.

use std::marker::PhantomData;

/// A pool of threads.
pub struct Pool {
    threads: usize,
}

impl Pool {
    /// A pool of `threads` threads, the caller counted; at least one.
    pub fn new(threads: usize) -> Pool {
        Pool { threads: threads.max(1) }
    }

    /// Threads, the caller counted.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `task(i)` once for each `i` below `tasks`, in any order, on any thread, and returns when all are done.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        for i in 0..tasks {
            task(i);
        }
    }

    /// Runs `task(i, &mut items[i])` once for each item.
    pub fn run_each<T: Send>(&self, items: &mut [T], task: &(dyn Fn(usize, &mut T) + Sync)) {
        for (i, item) in items.iter_mut().enumerate() {
            task(i, item);
        }
    }

    /// Cuts a matrix of rows of `width` values into column ranges of `chunk` values (the last one may be shorter), and
    /// runs `task(i, columns)` once for each range `i`.
    ///
    /// # Panics
    /// If `data` is not whole rows, or `chunk` is 0.
    pub fn run_columns<T: Send>(
        &self,
        data: &mut [T],
        width: usize,
        chunk: usize,
        task: &(dyn Fn(usize, Columns<'_, T>) + Sync),
    ) {
        assert!(chunk > 0 && width > 0 && data.len().is_multiple_of(width));
        let rows = data.len() / width;
        let data = data.as_mut_ptr();
        for i in 0..width.div_ceil(chunk) {
            let start = i * chunk;
            let len = chunk.min(width - start);
            task(i, Columns { data, rows, width, start, len, _borrow: PhantomData });
        }
    }
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
        // SAFETY: `data` is valid for `rows * width` values, the range lies inside a row, and no other task has
        // a range that overlaps it; the borrow of `self` keeps this one to a single slice at a time.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(row * self.width + self.start), self.len)
        }
    }
}

/// Threads that this process should use unless told otherwise: the physical cores, at most what the machine
/// gives the process (affinity, cgroup).
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}
