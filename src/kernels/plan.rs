//! Which thread computes what of the products of one row of activations, and who finishes which of their rows.
//!
//! Few threads share the weights in their order in memory, as [`share`](super::share) has it, and one of them does what comes
//! after the products. Of many, each would make the tables of whole rows for little of their weights, and wait for the one: so
//! rows come in parts, each for a team of threads, whoever of it is last adds up the team's sums and goes on with these rows.
//! What is the better one is reckoned from the costs of a line of weights, of tables, of sums from another core, of beginning
//! a run; and so is how many threads a small product is worth.

use std::ops::Range;

use super::Kernel;
use super::share::{Load, Piece, Shares};
use crate::packing::STRIP;
use crate::threads::{self, Group, Teams};

/// Rows of a matrix that are finished along with as many of each other lane, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The matrix, by its number in the run.
    pub which: usize,
    /// Its rows.
    pub rows: Range<usize>,
}

/// What things take, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// 64 bytes of weights.
    pub line: f64,
    /// Tables for them, where the kernel makes them as it goes: once for all strips that a piece has.
    pub table: f64,
    /// Sixteen sums that another core has made.
    pub sums: f64,
    /// A row of each lane, when its products are there.
    pub row: f64,
    /// Beginning and ending a run on several threads.
    pub fork: f64,
}

impl Costs {
    /// About what they are with a kernel; `row` depends on what is done.
    pub fn of(kernel: &dyn Kernel, row: f64) -> Costs {
        let (line, table) = kernel.costs();
        // Measured on a Xeon with up to 16 threads: 1.5 us go by from a run's beginning until all know, and from the last
        // one's end until the caller does; the rest is for what each fetches from another's cache, then and afterwards.
        Costs { line, table, sums: 12.0, row, fork: 8000.0 }
    }
}

/// Sums of some rows that several pieces make together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Together {
    /// The matrix, by its number in the run.
    pub which: usize,
    /// Rows of it, padding not counted.
    pub rows: Range<usize>,
    /// Where in the group's sums those of the first piece are; the others' follow.
    pub first: usize,
    /// Sums of a piece, padding counted.
    pub len: usize,
    /// Pieces.
    pub pieces: usize,
}

/// A plan for products of one row.
#[derive(Default)]
pub struct Plan {
    /// Who does which piece, and who finishes what.
    pub teams: Teams,
    /// The pieces, by their numbers in `teams`.
    pub pieces: Vec<Piece>,
    /// Of each group, what its pieces make together.
    pub together: Vec<Vec<Together>>,
}

impl Plan {
    /// The plan that is done first, for so many threads or fewer. The lanes, each of as many rows, are all rows of the matrices.
    ///
    /// # Panics
    /// If there are no threads.
    pub fn new(loads: &[Load<'_>], lanes: &[Lane], threads: usize, costs: &Costs) -> Plan {
        assert!(threads > 0, "no threads");
        let powers = (0..).map(|n| 1 << n).flat_map(|n: usize| [n, n + n / 2]);
        let mut fewer: Vec<usize> = powers.take_while(|&n| n < threads).collect();
        fewer.push(threads);
        let mut best: Option<(f64, Partition)> = None;
        for &count in &fewer {
            let alone = std::iter::once(Partition::of_all(loads, lanes, count));
            let parts = fewer.iter().filter(|&&parts| (2..=count).contains(&parts));
            let parts = parts.filter_map(|&parts| Partition::of_parts(loads, lanes, count, parts));
            for partition in alone.chain(parts) {
                let time = partition.time(loads, costs);
                if best.as_ref().is_none_or(|(least, _)| time < *least) {
                    best = Some((time, partition));
                }
            }
        }
        best.expect("one thread does it").1.plan(loads)
    }

    /// What a thread begins with.
    pub fn first_of(&self, thread: usize) -> Option<&Piece> {
        let mut pieces = (thread < self.teams.threads()).then(|| self.teams.pieces_of(thread))?;
        Some(&self.pieces[pieces.next()?])
    }
}

/// Pieces of each thread, each with the number of its group, and the lanes of each group.
struct Partition {
    threads: Vec<Vec<(usize, Piece)>>,
    groups: Vec<Vec<Lane>>,
}

impl Partition {
    /// One group of everything, threads with equal parts of the weights as they lie in memory.
    fn of_all(loads: &[Load<'_>], lanes: &[Lane], threads: usize) -> Partition {
        let shares = Shares::new(loads, threads);
        let pieces = |thread| shares.of(thread).map(|piece| (0, piece)).collect();
        Partition { threads: (0..threads).map(pieces).collect(), groups: vec![lanes.to_vec()] }
    }

    /// Groups of some strips of each lane, threads with equal parts of the weights group by group. None where lanes do not begin
    /// with a strip or have fewer strips than there are to be groups.
    fn of_parts(
        loads: &[Load<'_>],
        lanes: &[Lane],
        threads: usize,
        parts: usize,
    ) -> Option<Partition> {
        let strips = lanes[0].rows.len().div_ceil(STRIP);
        if strips < parts || !lanes.iter().all(|lane| lane.rows.start.is_multiple_of(STRIP)) {
            return None;
        }
        let block = loads[lanes[0].which].matrix.packing().strips_per_block();
        let bound = |part: usize| {
            // With a block, if groups stay about as large as each other.
            let about = strips * part / parts;
            let units = [block, block.div_ceil(2), block.div_ceil(4)];
            let near = units.map(|unit| ((about + unit / 2) / unit * unit).min(strips));
            let even = near.into_iter().find(|near| near.abs_diff(about) * 16 * parts <= strips);
            if part == parts { strips } else { even.unwrap_or(about) }
        };
        // The weights of the groups' lanes, one after another.
        let mut segments = Vec::new();
        for part in 0..parts {
            for lane in lanes {
                let first = lane.rows.start / STRIP;
                let strips = first + bound(part)..first + bound(part + 1);
                let lines = strips.len() * loads[lane.which].matrix.strip_lines();
                segments.push((part, lane.which, strips, lines));
            }
        }
        let all: usize = segments.iter().map(|segment| segment.3).sum();
        let share = all.div_ceil(threads);
        // Where a thread's part ends: so many lines after the first of a segment.
        let cut = |thread: usize| {
            let mut line = (all as u64 * thread as u64 / threads as u64) as usize;
            let mut n = 0;
            while n < segments.len() && line >= segments[n].3 {
                line -= segments[n].3;
                n += 1;
            }
            let Some((_, which, _, lines)) = segments.get(n) else { return (n, 0) };
            let strip = loads[*which].matrix.strip_lines();
            let line = match loads[*which].any_stretch {
                true if line * 16 <= share => 0,
                true if (lines - line) * 16 <= share => *lines,
                true => line,
                false => (line + strip / 2) / strip * strip,
            };
            if line == *lines { (n + 1, 0) } else { (n, line) }
        };
        let pieces = |thread: usize| {
            let ((mut n, mut line), end) = (cut(thread), cut(thread + 1));
            let mut pieces = Vec::new();
            while (n, line) < end {
                let (part, which, strips, lines) = &segments[n];
                let to = if n == end.0 { end.1 } else { *lines };
                let strip = loads[*which].matrix.strip_lines();
                let whole = loads[*which].any_stretch && (line, to) != (0, *lines);
                let piece = match whole {
                    true => {
                        Piece { which: *which, strips: strips.clone(), stretch: Some(line..to) }
                    }
                    false => Piece {
                        which: *which,
                        strips: strips.start + line / strip..strips.start + to / strip,
                        stretch: None,
                    },
                };
                pieces.push((*part, piece));
                (n, line) = (n + 1, 0);
            }
            pieces
        };
        let group = |part: usize| {
            let lane = |lane: &Lane| {
                let row = |strip: usize| (lane.rows.start + strip * STRIP).min(lane.rows.end);
                Lane { which: lane.which, rows: row(bound(part))..row(bound(part + 1)) }
            };
            lanes.iter().map(lane).collect()
        };
        let threads = (0..threads).map(pieces).collect();
        Some(Partition { threads, groups: (0..parts).map(group).collect() })
    }

    /// About what it takes.
    fn time(&self, loads: &[Load<'_>], costs: &Costs) -> f64 {
        let piece = |(_, piece): &(usize, Piece)| {
            let load = &loads[piece.which];
            let all = piece.strips.len() * load.matrix.strip_lines();
            let lines = piece.stretch.as_ref().map_or(all, |stretch| stretch.len()) as f64;
            let table = if load.any_stretch { costs.table } else { 0.0 };
            lines * costs.line + lines / piece.strips.len() as f64 * table
        };
        let thread = |pieces: &Vec<_>| pieces.iter().map(piece).sum::<f64>();
        let longest = self.threads.iter().map(thread).fold(0.0, f64::max);
        let split = |(_, piece): &&(usize, Piece)| piece.stretch.is_some();
        let split = self.threads.iter().flatten().filter(split);
        let sums: usize = split.map(|(_, piece)| piece.strips.len() * STRIP).sum();
        let rows: usize = self.groups.iter().map(|lanes| lanes[0].rows.len()).sum();
        let ends = self.groups.len().min(self.threads.len()) as f64;
        let end = (sums as f64 / 16.0 * costs.sums + rows as f64 * costs.row) / ends;
        longest + end + if self.threads.len() > 1 { costs.fork } else { 0.0 }
    }

    fn plan(self, loads: &[Load<'_>]) -> Plan {
        let mut together: Vec<Vec<Together>> = vec![Vec::new(); self.groups.len()];
        let rows = |piece: &Piece| {
            let end = loads[piece.which].matrix.rows();
            (piece.strips.start * STRIP).min(end)..(piece.strips.end * STRIP).min(end)
        };
        // First who makes what together, then where each one's sums are.
        for (group, piece) in self.threads.iter().flatten().filter(|(_, p)| p.stretch.is_some()) {
            let (which, rows) = (piece.which, rows(piece));
            let same = |t: &&mut Together| t.which == which && t.rows == rows;
            if let Some(together) = together[*group].iter_mut().find(same) {
                together.pieces += 1;
            } else {
                let (first, len) = (0, piece.strips.len() * STRIP);
                together[*group].push(Together { which, rows, first, len, pieces: 1 });
            }
        }
        let (mut groups, mut sums, mut further) = (Vec::new(), 0, 0);
        for (lanes, together) in self.groups.into_iter().zip(&mut together) {
            let start = sums;
            for together in together {
                together.first = sums - start;
                sums += together.len * together.pieces;
            }
            let rows = lanes[0].rows.len();
            groups.push(Group {
                lanes: lanes.into_iter().map(|lane| (lane.which, lane.rows)).collect(),
                further: further..further + rows,
                sums: start..sums,
            });
            further += rows;
        }
        let mut placed: Vec<Vec<usize>> =
            together.iter().map(|group| vec![0; group.len()]).collect();
        let mut pieces = Vec::new();
        let mut place = |(group, piece): (usize, Piece)| {
            let rows = rows(&piece);
            let same = |t: &Together| t.which == piece.which && t.rows == rows;
            let at = together[group].iter().position(same).filter(|_| piece.stretch.is_some());
            let sums = at.map(|at| {
                let together = &together[group][at];
                let from =
                    groups[group].sums.start + together.first + placed[group][at] * together.len;
                placed[group][at] += 1;
                from..from + together.len
            });
            let output = piece.which;
            pieces.push(piece);
            threads::Piece { group, output, rows, sums }
        };
        let threads = self.threads.into_iter();
        let threads = threads.map(|pieces| pieces.into_iter().map(&mut place).collect()).collect();
        Plan { teams: Teams::new(threads, groups), pieces, together }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::packing::{PackedMatrix, Packing};

    fn packed(packing: Packing, rows: usize, cols: usize) -> Vec<u8> {
        vec![0; packing.packed_len(rows, cols).unwrap()]
    }

    fn load(packing: Packing, rows: usize, cols: usize, bytes: &[u8]) -> Load<'_> {
        let any_stretch = packing == Packing::T5;
        Load { matrix: PackedMatrix::new(packing, rows, cols, bytes).unwrap(), any_stretch }
    }

    fn costs(row: f64) -> Costs {
        Costs { line: 4.0, table: 10.0, sums: 12.0, row, fork: 8000.0 }
    }

    fn plan(loads: &[Load<'_>], lanes: &[Lane], threads: usize, row: f64) -> Plan {
        Plan::new(loads, lanes, threads, &costs(row))
    }

    /// Every line of weights is in one piece, sums that belong together are told of, and each group has the rows of its pieces.
    fn check(partition: Partition, loads: &[Load<'_>]) {
        let plan = partition.plan(loads);
        let mut whole: Vec<_> = loads.iter().map(|load| vec![0; load.matrix.strips()]).collect();
        let mut stretches = HashMap::new();
        let (mut together, mut numbers) = (HashMap::new(), 0..);
        for thread in 0..plan.teams.threads() {
            for number in plan.teams.pieces_of(thread) {
                assert_eq!(Some(number), numbers.next());
                let Piece { which, strips, stretch } = plan.pieces[number].clone();
                assert!(!strips.is_empty());
                let Some(stretch) = stretch else {
                    whole[which][strips].iter_mut().for_each(|n| *n += 1);
                    continue;
                };
                let key = (which, strips.start, strips.end);
                let end = stretches.entry(key).or_insert(0);
                assert_eq!(stretch.start, *end);
                *end = stretch.end;
                *together.entry(key).or_insert(0) += 1;
            }
        }
        assert_eq!(numbers.next(), Some(plan.pieces.len()));
        for ((which, start, end), lines) in stretches {
            assert_eq!(lines, (end - start) * loads[which].matrix.strip_lines());
            whole[which][start..end].iter_mut().for_each(|n| *n += 1);
        }
        assert!(whole.iter().flatten().all(|&n| n == 1), "{whole:?}");
        let told = plan.together.iter().flatten().map(|t| {
            let strips = t.rows.start / STRIP..t.rows.end.div_ceil(STRIP);
            assert_eq!(t.len, strips.len() * STRIP);
            ((t.which, strips.start, strips.end), t.pieces)
        });
        assert_eq!(told.collect::<HashMap<_, _>>(), together);
        for (group, together) in plan.teams.groups().iter().zip(&plan.together) {
            let sums: usize = together.iter().map(|t| t.len * t.pieces).sum();
            assert_eq!(group.sums.len(), sums);
            let rows = group.further.len();
            assert!(group.lanes.iter().all(|(_, lane)| lane.len() == rows));
        }
        for (which, load) in loads.iter().enumerate() {
            let lanes = plan.teams.groups().iter().flat_map(|group| &group.lanes);
            let rows = lanes.filter(|lane| lane.0 == which).map(|lane| lane.1.len());
            assert_eq!(rows.sum::<usize>(), load.matrix.rows());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_weight_is_in_one_piece(
            rows in 1usize..=6000, cols in 1usize..=3000, count in 1usize..=3, halves in any::<bool>(),
            threads in 1usize..=20, parts in 2usize..=20, i2 in any::<bool>(), row in 0.0..5.0,
        ) {
            let packing = if i2 { Packing::I2 } else { Packing::T5 };
            let rows = if halves { 2 * rows } else { rows };
            let bytes = packed(packing, rows, cols);
            let loads: Vec<_> = (0..count).map(|_| load(packing, rows, cols, &bytes)).collect();
            let of_all = |which| Lane { which, rows: 0..rows };
            let half = |i| Lane { which: 0, rows: i * rows / 2..(i + 1) * rows / 2 };
            let (loads, lanes): (_, Vec<_>) = match halves {
                true => (&loads[..1], (0..2).map(half).collect()),
                false => (&loads[..], (0..count).map(of_all).collect()),
            };
            check(Partition::of_all(loads, &lanes, threads), loads);
            if let Some(partition) = Partition::of_parts(loads, &lanes, threads, parts) {
                check(partition, loads);
            }
            let plan = plan(loads, &lanes, threads, row);
            prop_assert!((1..=threads).contains(&plan.teams.threads()));
        }
    }

    #[test]
    fn two_threads_share_weights_as_they_lie_and_many_come_in_teams() {
        let bytes = packed(Packing::T5, 1024, 1024);
        let loads = [(); 3].map(|_| load(Packing::T5, 1024, 1024, &bytes));
        let lanes = [0, 1, 2].map(|which| Lane { which, rows: 0..1024 });
        let plan = |threads| plan(&loads, &lanes, threads, 2.5);
        assert_eq!((plan(1).teams.threads(), plan(1).teams.groups().len()), (1, 1));
        assert_eq!((plan(2).teams.threads(), plan(2).teams.groups().len()), (2, 1));
        assert_eq!(plan(16).teams.threads(), 16);
        assert!(plan(16).teams.groups().len() >= 4);
    }

    #[test]
    fn small_products_are_made_alone() {
        let bytes = packed(Packing::T5, 256, 256);
        let loads = [load(Packing::T5, 256, 256, &bytes)];
        let lanes = [Lane { which: 0, rows: 0..256 }];
        assert_eq!(plan(&loads, &lanes, 16, 0.0).teams.threads(), 1);
    }

    #[test]
    fn no_thread_of_sixteen_has_much_more_than_its_part() {
        for (packing, slack) in [(Packing::T5, 1.15), (Packing::I2, 1.35)] {
            for (rows, cols, halves) in [
                (1024, 1024, false),
                (5632, 1024, true),
                (1024, 2816, false),
                (2048, 2048, false),
                (11264, 2048, true),
                (2560, 2560, false),
                (13824, 2560, true),
                (32000, 2048, false),
            ] {
                let bytes = packed(packing, rows, cols);
                let loads = [load(packing, rows, cols, &bytes)];
                let rows = rows / if halves { 2 } else { 1 };
                let lane = |i| Lane { which: 0, rows: i * rows..(i + 1) * rows };
                let lanes: Vec<_> = (0..if halves { 2 } else { 1 }).map(lane).collect();
                let plan = plan(&loads, &lanes, 16, 0.5);
                let lines = |thread: usize| -> usize {
                    let lines = |number: usize| {
                        let Piece { strips, stretch, .. } = &plan.pieces[number];
                        let all = strips.len() * loads[0].matrix.strip_lines();
                        stretch.as_ref().map_or(all, |stretch| stretch.len())
                    };
                    plan.teams.pieces_of(thread).map(lines).sum()
                };
                let most = (0..plan.teams.threads()).map(lines).max().unwrap() as f64;
                let even = (loads[0].matrix.strips() * loads[0].matrix.strip_lines()) as f64 / 16.0;
                assert!(most <= slack * even, "{rows} x {cols}, {packing:?}: {}", most / even);
            }
        }
    }
}
