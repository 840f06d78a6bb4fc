//! How the products of several rows of activations are shared out: each task takes some strips of the matrix and some rows.
//! For one row see [`share`](super::share).

use crate::packing::{PackedMatrix, STRIP};

/// What each task takes of a product; the last ones may have less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// Strips of the matrix.
    pub strips: usize,
    /// Rows of activations.
    pub rows: usize,
}

/// What it takes to read and decode the weights of a strip, in rows of activations that are multiplied with it meanwhile.
const DECODING: usize = 4;

/// What it takes to begin a task, in rows of activations that meet a strip meanwhile.
const BEGINNING: usize = 4;

/// Bytes of sums of a task at most: they stay in L2.
const SUMS: usize = 256 << 10;

/// The partition for a number of threads: the one that is done first, by the tasks that come one after another on a thread
/// and their length, where a late one is counted as a quarter of a task.
pub fn tasks(matrix: &PackedMatrix<'_>, batch: usize, threads: usize) -> Tasks {
    let strips = matrix.strips();
    let mut best: Option<(usize, Tasks)> = None;
    for cuts in [1, 2, 3, 4, 6, 8] {
        let rows = batch.div_ceil(cuts);
        for each in [16, 8, 4, 2, 1] {
            // Sums of a single row of activations and strip have room anyway.
            let fits = each * STRIP * rows * size_of::<i32>() <= SUMS || each == 1;
            if !fits || each > strips.next_power_of_two() {
                continue;
            }
            let count = strips.div_ceil(each) * batch.div_ceil(rows);
            let task = each * (rows + DECODING) + BEGINNING;
            let time = (4 * count.div_ceil(threads) + 1) * task;
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, Tasks { strips: each, rows }));
            }
        }
    }
    best.expect("one strip fits").1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packing;

    fn tasks_of(rows: usize, batch: usize, threads: usize) -> Tasks {
        let bytes = vec![0; Packing::T5.packed_len(rows, 64).unwrap()];
        tasks(&PackedMatrix::new(Packing::T5, rows, 64, &bytes).unwrap(), batch, threads)
    }

    /// The work of the thread that has the most, as a multiple of an equal part; strips are not divided.
    fn unevenness(rows: usize, batch: usize, threads: usize) -> f64 {
        let Tasks { strips, rows: each } = tasks_of(rows, batch, threads);
        let count = rows.div_ceil(STRIP).div_ceil(strips) * batch.div_ceil(each);
        let most = count.div_ceil(threads) * strips * each;
        most as f64 * threads as f64 / (rows.div_ceil(STRIP) * batch) as f64
    }

    #[test]
    fn threads_get_like_parts_of_a_prompt() {
        for rows in [1024, 2048, 2560, 5632, 11264, 13824, 32000] {
            for threads in [1, 2, 3, 4, 6, 8, 12, 16] {
                let most = unevenness(rows, 256, threads);
                assert!(most < 1.13, "{rows} rows, {threads} threads: {most}");
            }
        }
    }

    #[test]
    fn every_task_has_something_of_everything() {
        for rows in [1, 64, 65, 1000, 2048] {
            for batch in [2, 3, 7, 8, 64, 255, 256, 4096] {
                for threads in [1, 2, 16, 300] {
                    let Tasks { strips, rows } = tasks_of(rows, batch, threads);
                    assert!(strips > 0 && (1..=batch).contains(&rows));
                }
            }
        }
    }

    #[test]
    fn few_rows_and_threads_read_strips_that_lie_together() {
        assert_eq!(tasks_of(2048, 2, 1), Tasks { strips: 8, rows: 2 });
        assert_eq!(tasks_of(2048, 4, 2), Tasks { strips: 8, rows: 4 });
        assert_eq!(tasks_of(2048, 2, 16), Tasks { strips: 2, rows: 2 });
    }
}
