//! Runs over matrices: each task has a block of rows and columns of its own.

use std::marker::PhantomData;

use super::{Pool, Shareable};

impl Pool {
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
        task: &(dyn Fn(usize, Block<'_, T>) + Sync),
    ) {
        let rows = (data.len() / width.max(1)).max(1);
        let matrix = Matrix { data, width, columns: chunk, rows };
        self.run_blocks([matrix], &|_, block| task(block.columns.start / chunk, block));
    }

    /// Cuts several matrices into blocks of rows and columns, and runs `task(m, block)` once for each block of each matrix
    /// `m`, all in one run: the matrices in their order, in a matrix ranges of columns, of a range block after block.
    ///
    /// # Panics
    /// If a matrix is not whole rows, a block has no rows or no columns, or a task panics.
    pub fn run_blocks<T: Send, const N: usize>(
        &self,
        matrices: [Matrix<'_, T>; N],
        task: &(dyn Fn(usize, Block<'_, T>) + Sync),
    ) {
        struct Cut<T> {
            data: Shareable<T>,
            rows: usize,
            width: usize,
            block: (usize, usize),
            blocks: (usize, usize),
        }
        let cuts = matrices.map(|Matrix { data, width, columns, rows }| {
            assert!(columns > 0 && rows > 0 && width > 0 && data.len().is_multiple_of(width));
            let all = data.len() / width;
            let blocks = (all.div_ceil(rows), width.div_ceil(columns));
            let data = Shareable(data.as_mut_ptr());
            Cut { data, rows: all, width, block: (rows, columns), blocks }
        });
        let tasks = cuts.iter().map(|cut| cut.blocks.0 * cut.blocks.1).sum();
        self.run(tasks, &|task_number| {
            let (mut m, mut i) = (0, task_number);
            while i >= cuts[m].blocks.0 * cuts[m].blocks.1 {
                i -= cuts[m].blocks.0 * cuts[m].blocks.1;
                m += 1;
            }
            let Cut { data, rows, width, block, blocks } = &cuts[m];
            let (row, column) = (i % blocks.0 * block.0, i / blocks.0 * block.1);
            let block = Block {
                data: data.get(),
                width: *width,
                rows: row..(row + block.0).min(*rows),
                columns: column..(column + block.1).min(*width),
                _borrow: PhantomData,
            };
            task(m, block);
        });
    }
}

/// A matrix to be cut into blocks: see [`Pool::run_blocks`].
pub struct Matrix<'a, T> {
    /// Whole rows.
    pub data: &'a mut [T],
    /// Values in a row.
    pub width: usize,
    /// Columns of a block; the last one may have fewer.
    pub columns: usize,
    /// Rows of a block; the last one may have fewer.
    pub rows: usize,
}

/// Some rows and columns of a matrix, one task's own.
pub struct Block<'a, T> {
    data: *mut T,
    width: usize,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    _borrow: PhantomData<&'a mut [T]>,
}

impl<T> Block<'_, T> {
    /// The rows of the matrix that it has.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.rows.clone()
    }

    /// The columns that it has.
    pub fn columns(&self) -> std::ops::Range<usize> {
        self.columns.clone()
    }

    /// Its columns of row `row` of the matrix.
    ///
    /// # Panics
    /// If it has no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows.contains(&row));
        // SAFETY: `data` is valid for all rows of the matrix, `row` is one of them, the columns lie inside a row, and no
        // other task has a block that overlaps this one; the borrow of `self` keeps it to a single slice at a time.
        unsafe {
            let first = self.data.add(row * self.width + self.columns.start);
            std::slice::from_raw_parts_mut(first, self.columns.len())
        }
    }
}
