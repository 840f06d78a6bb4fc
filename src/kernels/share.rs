//! How the weights that one row of activations meets are shared out among threads.
//!
//! Every thread gets an equal part of all matrices of a run, one after another, so that it reads long runs of memory and
//! prepares no more of the input than it has to: with three matrices and two threads, one and a half each. A cut through a
//! matrix goes between rows where the kernel can do no other. Where it computes any [stretch](super::Job::with_stretch), the cut goes
//! through the weights in their order in memory, so that each thread has some columns of all rows; the sums of both
//! are then added up. Of a matrix of many rows that would be many sums: it is cut between some of its rows first.

use std::ops::Range;

use crate::packing::PackedMatrix;

/// A matrix of a run.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Its weights.
    pub matrix: PackedMatrix<'a>,
    /// Whether the kernel [prepares as it goes](super::Kernel::prepares_as_it_goes), and so computes any stretch.
    pub any_stretch: bool,
}

/// What one thread computes of one matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The matrix, by its number in the run.
    pub which: usize,
    /// Strips of it.
    pub strips: Range<usize>,
    /// A stretch of the weights of those strips, where it is not all of them.
    pub stretch: Option<Range<usize>>,
}

/// Where the share of a thread begins and that of the one before ends: in a matrix, so many lines behind the first of the
/// part of rows that begins with a strip, in the order in which that part is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    which: usize,
    strip: usize,
    line: usize,
}

/// The shares of a run.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'r, 'a> {
    loads: &'r [Load<'a>],
    threads: usize,
    /// Lines of all weights.
    lines: usize,
}

impl<'r, 'a> Shares<'r, 'a> {
    /// Strips that are worth a part of rows of their own: runs of memory are then some 100 KB long.
    const PART: usize = 32;

    /// Threads that share the rows of a part at most, about: the caller adds up so many sums of each row.
    const TOGETHER: usize = 4;

    /// Parts that one is looked for among, each way: one begins with a strip that is half a block of eight off, at most.
    const NEAR: usize = 5;

    /// Lines of a share from which on stretches gain: the sums of less are not worth adding up.
    const LEAST: usize = 1024;

    /// Shares a run out among so many threads.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(loads: &'r [Load<'a>], threads: usize) -> Shares<'r, 'a> {
        assert!(threads > 0, "no threads");
        let lines = loads.iter().map(|load| lines(&load.matrix)).sum();
        Shares { loads, threads, lines }
    }

    /// The pieces of a thread's share, in the order in which they lie in memory: at most three of each matrix.
    pub fn of(&self, thread: usize) -> impl Iterator<Item = Piece> + use<'r, 'a> {
        let shares = *self;
        let (from, to) = (self.cut(thread), self.cut(thread + 1));
        (from.which..self.loads.len().min(to.which + 1)).flat_map(move |which| {
            let strips = shares.loads[which].matrix.strips();
            let (mut strip, line) =
                if which == from.which { (from.strip, from.line) } else { (0, 0) };
            let (end, end_line) = if which == to.which { (to.strip, to.line) } else { (strips, 0) };
            let piece = |strips: Range<usize>, stretch| Piece { which, strips, stretch };
            let part = |strip| strip..shares.part_end(which, strip);
            let (mut front, mut back) = (None, None);
            if line > 0 && strip == end {
                front = Some(piece(part(strip), Some(line..end_line)));
            } else {
                if line > 0 {
                    let strips = part(strip);
                    let all = strips.len() * shares.loads[which].matrix.strip_lines();
                    strip = strips.end;
                    front = Some(piece(strips, Some(line..all)));
                }
                back = (end_line > 0).then(|| piece(part(end), Some(0..end_line)));
            }
            let middle = (strip < end).then(|| piece(strip..end, None));
            front.into_iter().chain(middle).chain(back)
        })
    }

    /// The weights with which a thread's share begins.
    pub fn start_of(&self, thread: usize) -> &'a [u8] {
        let cut = self.cut(thread);
        let Some(load) = self.loads.get(cut.which) else {
            return &[];
        };
        // Where the matrix is in several parts it is read elsewhere: nothing but speed depends on it.
        let bytes = load.matrix.bytes_from(cut.strip);
        &bytes[(cut.line * 64).min(bytes.len())..]
    }

    fn cut(&self, thread: usize) -> Cut {
        // The ends of the run need no search, which one thread alone would notice in small models.
        if thread == 0 || thread >= self.threads || self.loads.is_empty() {
            let which = if thread == 0 { 0 } else { self.loads.len() };
            return Cut { which, strip: 0, line: 0 };
        }
        let mut line = (self.lines as u64 * thread as u64 / self.threads as u64) as usize;
        let mut which = 0;
        while line >= lines(&self.loads[which].matrix) {
            line -= lines(&self.loads[which].matrix);
            which += 1;
        }
        let Load { matrix, any_stretch } = &self.loads[which];
        let cut = |strip, line| match strip == matrix.strips() {
            true => Cut { which: which + 1, strip: 0, line: 0 },
            false => Cut { which, strip, line },
        };
        let strip_lines = matrix.strip_lines();
        if !any_stretch || self.share() < Self::LEAST {
            return cut(self.strip_near(which, line), 0);
        }
        let near = |strip: usize| (strip * strip_lines).abs_diff(line) * 16 <= self.share();
        let part = self.part_of(which, line / strip_lines);
        let end = self.part_end(which, part);
        if near(part) {
            cut(part, 0)
        } else if near(end) {
            cut(end, 0)
        } else {
            cut(part, line - part * strip_lines)
        }
    }

    /// Lines of a thread's share.
    fn share(&self) -> usize {
        self.lines.div_ceil(self.threads)
    }

    /// Parts of rows that a matrix comes in.
    fn parts(&self, which: usize) -> usize {
        let strips = self.loads[which].matrix.strips();
        let parts = (strips / Self::PART).max(self.threads.div_ceil(Self::TOGETHER));
        parts.min(self.threads).clamp(1, strips)
    }

    /// The first strip of a part.
    fn part_start(&self, which: usize, part: usize) -> usize {
        let matrix = &self.loads[which].matrix;
        let parts = self.parts(which);
        match part < parts {
            true => self.strip_near(which, lines(matrix) * part / parts),
            false => matrix.strips(),
        }
    }

    /// The first strip of the part that a strip is in.
    fn part_of(&self, which: usize, strip: usize) -> usize {
        let last = (self.part_about(which, strip) + Self::NEAR).min(self.parts(which) - 1);
        let mut starts = (0..=last).rev().map(|part| self.part_start(which, part));
        starts.find(|&start| start <= strip).unwrap_or(0)
    }

    /// The strip behind the part that begins with a strip.
    fn part_end(&self, which: usize, strip: usize) -> usize {
        let first = self.part_about(which, strip).saturating_sub(Self::NEAR);
        let mut starts = (first..=self.parts(which)).map(|part| self.part_start(which, part));
        starts.find(|&start| start > strip).unwrap_or(self.loads[which].matrix.strips())
    }

    /// The part that a strip would be in if parts could begin with any.
    fn part_about(&self, which: usize, strip: usize) -> usize {
        strip * self.parts(which) / self.loads[which].matrix.strips()
    }

    /// The strip at a line, or one near it with which a block begins, or a part of a block where the shares would else be
    /// too unlike.
    fn strip_near(&self, which: usize, line: usize) -> usize {
        let matrix = &self.loads[which].matrix;
        let strip_lines = matrix.strip_lines();
        let block = matrix.packing().strips_per_block();
        let parts = [block, block.div_ceil(2), block.div_ceil(4)];
        let near = parts.map(|part| {
            let unit = part * strip_lines;
            ((line + unit / 2) / unit * part).min(matrix.strips())
        });
        let even = |&strip: &usize| (strip * strip_lines).abs_diff(line) * 16 <= self.share();
        near.into_iter().find(even).unwrap_or(near[2])
    }
}

/// Lines of weights of a matrix.
fn lines(matrix: &PackedMatrix<'_>) -> usize {
    matrix.strips() * matrix.strip_lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::Packing;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_weight_is_in_one_share(
            shapes in proptest::collection::vec((1usize..=6000, 1usize..=3000), 1..=3),
            threads in 1usize..=20, any_stretch in any::<bool>(), i2 in any::<bool>(),
        ) {
            let packing = if i2 { Packing::I2 } else { Packing::T5 };
            let bytes: Vec<_> = shapes
                .iter()
                .map(|&(rows, cols)| vec![0; packing.packed_len(rows, cols).unwrap()])
                .collect();
            let loads: Vec<_> = shapes
                .iter()
                .zip(&bytes)
                .map(|(&(rows, cols), bytes)| Load {
                    matrix: PackedMatrix::new(packing, rows, cols, bytes).unwrap(),
                    any_stretch,
                })
                .collect();
            let shares = Shares::new(&loads, threads);
            // Strip by strip, how many of its lines are in pieces; of stretches, the lines of all their strips.
            let mut whole: Vec<_> = loads.iter().map(|l| vec![0; l.matrix.strips()]).collect();
            let mut stretches = std::collections::BTreeMap::new();
            for thread in 0..threads {
                for piece in shares.of(thread) {
                    prop_assert!(!piece.strips.is_empty());
                    let Some(stretch) = piece.stretch else {
                        whole[piece.which][piece.strips].iter_mut().for_each(|n| *n += 1);
                        continue;
                    };
                    prop_assert!(any_stretch && stretch.start <= stretch.end);
                    let key = (piece.which, piece.strips.start, piece.strips.end);
                    let end = stretches.entry(key).or_insert(0);
                    prop_assert_eq!(stretch.start, *end);
                    *end = stretch.end;
                }
            }
            for ((which, start, end), lines) in stretches {
                prop_assert_eq!(lines, (end - start) * loads[which].matrix.strip_lines());
                whole[which][start..end].iter_mut().for_each(|n| *n += 1);
            }
            prop_assert!(whole.iter().flatten().all(|&n| n == 1), "{whole:?}");
        }
    }

    fn shares(shapes: &[(usize, usize)], any_stretch: bool, threads: usize) -> Vec<Vec<Piece>> {
        let bytes: Vec<_> = shapes
            .iter()
            .map(|&(rows, cols)| vec![0; Packing::T5.packed_len(rows, cols).unwrap()])
            .collect();
        let matrices = shapes.iter().zip(&bytes).map(|(&(rows, cols), bytes)| {
            PackedMatrix::new(Packing::T5, rows, cols, bytes).unwrap()
        });
        let loads: Vec<_> = matrices.map(|matrix| Load { matrix, any_stretch }).collect();
        (0..threads).map(|thread| Shares::new(&loads, threads).of(thread).collect()).collect()
    }

    fn piece(which: usize, strips: Range<usize>, stretch: Option<Range<usize>>) -> Piece {
        Piece { which, strips, stretch }
    }

    #[test]
    fn three_matrices_for_two_threads_are_one_and_a_half_each() {
        let three = [(1024, 1024); 3];
        assert_eq!(
            shares(&three, true, 2),
            [
                [piece(0, 0..16, None), piece(1, 0..16, Some(0..1640))],
                [piece(1, 0..16, Some(1640..3280)), piece(2, 0..16, None)],
            ]
        );
        assert_eq!(
            shares(&three, false, 2),
            [
                [piece(0, 0..16, None), piece(1, 0..8, None)],
                [piece(1, 8..16, None), piece(2, 0..16, None)],
            ]
        );
    }

    #[test]
    fn a_matrix_of_many_rows_is_cut_between_rows() {
        let tall = [(5632, 1024)];
        for any_stretch in [false, true] {
            assert_eq!(
                shares(&tall, any_stretch, 2),
                [[piece(0, 0..44, None)], [piece(0, 44..88, None)]].map(Vec::from)
            );
        }
    }
}
