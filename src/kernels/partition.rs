//! How the products of several rows of activations are shared out: each task takes some strips of the matrix and some rows.
//! For one row see [`share`](super::share).

use super::plan::Costs;
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
const DECODING: usize = 6;

/// What it takes to begin a task, in rows of activations that meet a strip meanwhile.
const BEGINNING: usize = 6;

/// How many rows of activations meet weights, of several rows, in the time that a single one takes.
const TOGETHER: f64 = 4.0;

/// How much of a task the last thread is late, on average.
const LATE: f64 = 0.25;

/// Bytes of sums of a task at most: they stay in L2.
const SUMS: usize = 256 << 10;

/// The partition for so many threads that is done first, by the tasks that come one after another on a thread, their length, and
/// what it takes to share them out: a product that is not worth it is one task. The matrix comes in so many `lanes` of as many
/// strips each, and a task takes the same strips of all of them.
pub fn tasks(
    matrix: &PackedMatrix<'_>,
    lanes: usize,
    batch: usize,
    threads: usize,
    costs: &Costs,
) -> Tasks {
    let strips = matrix.strips() / lanes;
    // What a row of activations and a strip take, in nanoseconds.
    let unit = matrix.strip_lines() as f64 * costs.line / TOGETHER;
    let mut best: Option<(f64, Tasks)> = None;
    for cuts in [1, 2, 3, 4, 6, 8] {
        let rows = batch.div_ceil(cuts);
        for each in [16, 8, 4, 2, 1] {
            // Sums of a single row of activations and strip have room anyway.
            let fits = lanes * each * STRIP * rows * size_of::<i32>() <= SUMS || each == 1;
            if !fits || each > strips.next_power_of_two() {
                continue;
            }
            let count = strips.div_ceil(each) * batch.div_ceil(rows);
            let task = unit * (lanes * each * (rows + DECODING) + BEGINNING) as f64;
            let time = match count {
                1 => task,
                _ => (count.div_ceil(threads) as f64 + LATE) * task + costs.fork,
            };
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

    const COSTS: Costs = Costs { line: 4.0, table: 10.0, sums: 12.0, row: 0.0, fork: 8000.0 };

    fn tasks_of(rows: usize, batch: usize, threads: usize) -> Tasks {
        tasks_of_cols(rows, 1024, batch, threads)
    }

    fn tasks_of_cols(rows: usize, cols: usize, batch: usize, threads: usize) -> Tasks {
        let bytes = vec![0; Packing::T5.packed_len(rows, cols).unwrap()];
        let matrix = PackedMatrix::new(Packing::T5, rows, cols, &bytes).unwrap();
        tasks(&matrix, 1, batch, threads, &COSTS)
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
    fn small_products_are_one_task() {
        assert_eq!(tasks_of_cols(256, 256, 2, 16), Tasks { strips: 4, rows: 2 });
        assert_eq!(tasks_of_cols(64, 256, 7, 16), Tasks { strips: 1, rows: 7 });
    }

    #[test]
    fn few_rows_and_threads_read_strips_that_lie_together() {
        assert!(tasks_of(2048, 2, 1).strips >= 8);
        assert_eq!(tasks_of(2048, 4, 2), Tasks { strips: 8, rows: 4 });
        assert_eq!(tasks_of(2048, 2, 16), Tasks { strips: 2, rows: 2 });
    }
}
