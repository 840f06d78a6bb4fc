//! Runs in which several threads make one result: pieces of work in groups, and whoever does the last piece of a group
//! finishes it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::runs::Line;
use super::{Pool, Shareable};

/// A piece of work: some rows of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its group.
    pub group: usize,
    /// The output, by its number.
    pub output: usize,
    /// The rows of the output.
    pub rows: Range<usize>,
    /// Where there are other pieces for the same rows: its own place among the sums, from which the group's end makes them.
    pub sums: Option<Range<usize>>,
}

/// What the end of a group has to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Rows of outputs, those of all its pieces: each the number of an output and a range.
    pub lanes: Vec<(usize, Range<usize>)>,
    /// A range of each further output.
    pub further: Range<usize>,
    /// Sums, those of all its pieces.
    pub sums: Range<usize>,
}

/// The pieces of a run, thread by thread, and their groups.
#[derive(Default)]
pub struct Teams {
    /// Where each thread's pieces begin, and the end of them all.
    bounds: Vec<usize>,
    pieces: Vec<Piece>,
    groups: Vec<Group>,
    /// How many pieces each group has, and how many of them have been done in this run: between two runs none.
    counts: Vec<(usize, Line<AtomicUsize>)>,
    /// Rows that each output has at least, values of the further ones, sums.
    outputs: Vec<usize>,
    further: usize,
    sums: usize,
    /// Whether a run has begun and not ended: a task panicked, and the counts mean nothing.
    broken: bool,
}

/// Which piece it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The thread whose piece it is.
    pub thread: usize,
    /// Its number.
    pub number: usize,
    /// Whether it is the thread's last one.
    pub last: bool,
}

/// Where a piece's result goes.
pub enum Out<'a> {
    /// Its rows of the output.
    Rows(&'a mut [f32]),
    /// Its own sums.
    Sums(&'a mut [i32]),
}

/// The buffers of a run.
pub struct Buffers<'a, const N: usize, const F: usize> {
    /// The outputs that pieces are of.
    pub outputs: [&'a mut [f32]; N],
    /// Further outputs, which only the ends of groups write.
    pub further: [&'a mut [f32]; F],
    /// Room for sums: [`Teams::sums`].
    pub sums: &'a mut [i32],
}

/// A group's own parts of the buffers: the lanes in their order, the ranges of the further outputs, the sums.
pub struct Finish<'a, const L: usize, const F: usize> {
    /// The lanes.
    pub lanes: [&'a mut [f32]; L],
    /// The ranges of the further outputs.
    pub further: [&'a mut [f32]; F],
    /// The sums.
    pub sums: &'a mut [i32],
}

impl Teams {
    /// Puts teams together: each thread's pieces, and the groups.
    ///
    /// # Panics
    /// If two threads could write the same place: lanes or sums of groups that overlap, a piece that is not within its group's,
    /// pieces of the same rows without sums. Or if a group has no pieces.
    pub fn new(threads: Vec<Vec<Piece>>, groups: Vec<Group>) -> Teams {
        let mut bounds = vec![0];
        for pieces in &threads {
            bounds.push(bounds[bounds.len() - 1] + pieces.len());
        }
        let pieces: Vec<Piece> = threads.into_iter().flatten().collect();
        let lanes = || groups.iter().flat_map(|group| &group.lanes);
        let outputs = lanes().map(|lane| lane.0 + 1).max().unwrap_or(0);
        for output in 0..outputs {
            let of_output = lanes().filter(|lane| lane.0 == output).map(|lane| lane.1.clone());
            assert!(disjoint(of_output), "lanes overlap");
            let whole =
                pieces.iter().filter(|piece| piece.output == output && piece.sums.is_none());
            assert!(disjoint(whole.map(|piece| piece.rows.clone())), "pieces overlap");
        }
        assert!(disjoint(groups.iter().map(|group| group.further.clone())), "groups overlap");
        assert!(disjoint(groups.iter().map(|group| group.sums.clone())), "sums overlap");
        let sums = pieces.iter().filter_map(|piece| piece.sums.clone());
        assert!(disjoint(sums), "sums of pieces overlap");
        for piece in &pieces {
            let group = &groups[piece.group];
            let mut lanes = group.lanes.iter().filter(|lane| lane.0 == piece.output);
            // One piece may be of two lanes that meet.
            let covered: usize = lanes.by_ref().map(|(_, rows)| overlap(rows, &piece.rows)).sum();
            assert_eq!(covered, piece.rows.len(), "a piece outside its group");
            let sums = piece.sums.clone().unwrap_or(group.sums.start..group.sums.start);
            assert!(overlap(&sums, &group.sums) == sums.len(), "sums outside the group");
        }
        let count = |group| pieces.iter().filter(|piece| piece.group == group).count();
        let counts: Vec<_> =
            (0..groups.len()).map(|group| (count(group), Line::default())).collect();
        assert!(counts.iter().all(|count| count.0 > 0), "a group without pieces");
        let end = |output| lanes().filter(|lane| lane.0 == output).map(|lane| lane.1.end).max();
        Teams {
            outputs: (0..outputs).map(|output| end(output).unwrap_or(0)).collect(),
            further: groups.iter().map(|group| group.further.end).max().unwrap_or(0),
            sums: groups.iter().map(|group| group.sums.end).max().unwrap_or(0),
            bounds,
            pieces,
            groups,
            counts,
            broken: false,
        }
    }

    /// Threads that have pieces, or could have.
    pub fn threads(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Room for sums that a run needs.
    pub fn sums(&self) -> usize {
        self.sums
    }

    /// The numbers of a thread's pieces.
    pub fn pieces_of(&self, thread: usize) -> Range<usize> {
        self.bounds[thread]..self.bounds[thread + 1]
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// Whether no two ranges overlap.
fn disjoint(ranges: impl Iterator<Item = Range<usize>>) -> bool {
    let mut ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.windows(2).all(|pair| pair[0].end <= pair[1].start)
}

/// How much two ranges have in common.
fn overlap(a: &Range<usize>, b: &Range<usize>) -> usize {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

impl Pool {
    /// Runs `work(place, out)` once for each piece, a thread's pieces one after another, and `finish(number, group, parts)`
    /// for each group when all its pieces are done: on the thread that did the last one, or for a group that is alone on the
    /// caller's.
    ///
    /// # Panics
    /// If a group has another number of lanes than `L`, a buffer is too short, or one of the closures panics.
    pub fn run_teams<const N: usize, const L: usize, const F: usize>(
        &self,
        teams: &mut Teams,
        buffers: Buffers<'_, N, F>,
        work: &(dyn Fn(Place, Out<'_>) + Sync),
        finish: &(dyn Fn(usize, &Group, Finish<'_, L, F>) + Sync),
    ) {
        let Buffers { outputs, further, sums } = buffers;
        assert!(teams.outputs.len() <= N && sums.len() >= teams.sums);
        assert!(teams.outputs.iter().zip(&outputs).all(|(&rows, output)| output.len() >= rows));
        assert!(further.iter().all(|further| further.len() >= teams.further));
        assert!(teams.groups.iter().all(|group| group.lanes.len() == L));
        if std::mem::replace(&mut teams.broken, true) {
            teams.counts.iter_mut().for_each(|count| *count.1.0.get_mut() = 0);
        }
        let outputs = outputs.map(|output| Shareable(output.as_mut_ptr()));
        let further = further.map(|further| Shareable(further.as_mut_ptr()));
        let sums = Shareable(sums.as_mut_ptr());
        let end = |number: usize| {
            let group = &teams.groups[number];
            // SAFETY: the ranges are inside the buffers, as checked above. Those of different groups do not overlap, as checked in
            // `new`, nor do a group's lanes; and all pieces of this one, which write parts of them, are done.
            let finished = unsafe {
                Finish {
                    lanes: std::array::from_fn(|l| {
                        let (output, rows) = &group.lanes[l];
                        outputs[*output].slice(rows.clone())
                    }),
                    further: std::array::from_fn(|f| further[f].slice(group.further.clone())),
                    sums: sums.slice(group.sums.clone()),
                }
            };
            finish(number, group, finished);
        };
        let alone = teams.groups.len() == 1;
        self.run(teams.threads(), &|thread| {
            let numbers = teams.pieces_of(thread);
            let end_of_thread = numbers.end;
            for number in numbers {
                let piece = &teams.pieces[number];
                // SAFETY: the ranges are inside the buffers, as checked above. Each piece is done once in a run; no other one has
                // its sums or, where it has none, its rows; and the end of its group, which has all of these, comes after it.
                let out = unsafe {
                    match &piece.sums {
                        Some(range) => Out::Sums(sums.slice(range.clone())),
                        None => Out::Rows(outputs[piece.output].slice(piece.rows.clone())),
                    }
                };
                work(Place { thread, number, last: number + 1 == end_of_thread }, out);
                let (count, done) = &teams.counts[piece.group];
                if alone {
                    continue;
                }
                // Releases what this piece wrote, and the last one acquires what all wrote. It leaves none for the next run,
                // which begins when this one has been joined.
                if *count == 1 || done.0.fetch_add(1, Ordering::AcqRel) + 1 == *count {
                    done.0.store(0, Ordering::Relaxed);
                    end(piece.group);
                }
            }
        });
        if alone {
            end(0);
        }
        teams.broken = false;
    }
}

impl<T> Shareable<T> {
    /// Some of the values.
    ///
    /// # Safety
    /// They are valid, and for the lifetime nobody else uses them; an empty range may be any.
    #[allow(clippy::mut_from_ref)] // Who may use which is the caller's contract.
    unsafe fn slice<'a>(&self, range: Range<usize>) -> &'a mut [T] {
        if range.is_empty() {
            return &mut [];
        }
        // SAFETY: by the contract of this function.
        unsafe { std::slice::from_raw_parts_mut(self.get().add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn piece(group: usize, rows: Range<usize>, sums: Option<Range<usize>>) -> Piece {
        Piece { group, output: 0, rows, sums }
    }

    fn group(rows: Range<usize>, sums: Range<usize>) -> Group {
        Group { lanes: vec![(0, rows.clone())], further: rows, sums }
    }

    /// Rows 0 to 8 by both threads, 8 to 12 by the second, 12 to 20 by the third in two pieces.
    fn teams() -> Teams {
        let threads = vec![
            vec![piece(0, 0..8, Some(0..8))],
            vec![piece(0, 0..8, Some(8..16)), piece(1, 8..12, None)],
            vec![piece(2, 12..15, None), piece(2, 15..20, None)],
        ];
        Teams::new(threads, vec![group(0..8, 0..16), group(8..12, 16..16), group(12..20, 16..16)])
    }

    /// Each piece adds to its rows or sums ten times its number plus one; the end of a group adds up sums, and writes ten more.
    fn run(pool: &Pool, teams: &mut Teams, bad: Option<usize>) -> ([f32; 20], [f32; 20]) {
        let (mut output, mut further, mut sums) = ([f32::NAN; 20], [f32::NAN; 20], [-1; 16]);
        let work = |place: Place, out: Out<'_>| {
            assert!(Some(place.number) != bad, "piece {} failed", place.number);
            assert_eq!(place.last, [0, 2, 4].contains(&place.number));
            match out {
                Out::Rows(rows) => rows.fill(10.0 * place.number as f32 + 1.0),
                Out::Sums(sums) => sums.fill(10 * place.number as i32 + 1),
            }
        };
        let finish = |number: usize, group: &Group, parts: Finish<'_, 1, 1>| {
            let Finish { lanes: [lane], further: [further], sums } = parts;
            assert_eq!((lane.len(), sums.len()), (group.further.len(), group.sums.len()));
            if number == 0 {
                let (first, second) = sums.split_at(8);
                for ((lane, a), b) in lane.iter_mut().zip(first).zip(second) {
                    *lane = (a + b) as f32;
                }
            }
            for (further, lane) in further.iter_mut().zip(lane) {
                *further = *lane + 10.0;
            }
        };
        let buffers = Buffers { outputs: [&mut output], further: [&mut further], sums: &mut sums };
        pool.run_teams(teams, buffers, &work, &finish);
        (output, further)
    }

    fn expected() -> ([f32; 20], [f32; 20]) {
        let output = std::array::from_fn(|row| match row {
            0..8 => 12.0,
            8..12 => 21.0,
            12..15 => 31.0,
            _ => 41.0,
        });
        (output, output.map(|value| value + 10.0))
    }

    #[test]
    fn groups_are_finished_when_their_pieces_are_done() {
        for threads in [1, 2, 3, 5] {
            let (pool, mut teams) = (Pool::new(threads), teams());
            for _ in 0..if cfg!(miri) { 5 } else { 500 } {
                assert_eq!(run(&pool, &mut teams, None), expected());
            }
        }
    }

    #[test]
    fn a_group_that_is_alone_is_finished_by_the_caller() {
        let pool = Pool::new(3);
        let caller = std::thread::current().id();
        let threads = (0..3).map(|t| vec![piece(0, t..t + 1, None)]).collect();
        let mut teams = Teams::new(threads, vec![group(0..3, 0..0)]);
        for _ in 0..20 {
            let mut output = [0.0; 3];
            let buffers = Buffers { outputs: [&mut output], further: [], sums: &mut [] };
            let work = |place: Place, out: Out<'_>| match out {
                Out::Rows(rows) => rows.fill(place.thread as f32),
                Out::Sums(_) => unreachable!(),
            };
            let finish = |_, _: &Group, parts: Finish<'_, 1, 0>| {
                assert_eq!(std::thread::current().id(), caller);
                parts.lanes[0][1] += 0.5;
            };
            pool.run_teams(&mut teams, buffers, &work, &finish);
            assert_eq!(output, [0.0, 1.5, 2.0]);
        }
    }

    #[test]
    fn teams_run_again_after_a_panic() {
        for threads in [1, 3] {
            let (pool, mut teams) = (Pool::new(threads), teams());
            for bad in 0..5 {
                let result = catch_unwind(AssertUnwindSafe(|| run(&pool, &mut teams, Some(bad))));
                let message = *result.unwrap_err().downcast::<String>().unwrap();
                assert_eq!(message, format!("piece {bad} failed"));
                assert_eq!(run(&pool, &mut teams, None), expected());
            }
        }
    }

    #[test]
    fn rejects_pieces_that_write_the_same_place() {
        let two = || vec![group(0..8, 0..16), group(8..16, 16..32)];
        let whole = |group, rows| piece(group, rows, None);
        let sums = |group, rows, sums| piece(group, rows, Some(sums));
        let good = vec![vec![whole(0, 0..4)], vec![whole(0, 4..8), sums(1, 8..16, 16..24)]];
        Teams::new(good, two());
        for (threads, groups) in [
            (vec![vec![whole(0, 0..5)], vec![whole(0, 4..8), whole(1, 8..16)]], two()),
            (vec![vec![whole(0, 0..9)], vec![whole(1, 9..16)]], two()),
            (vec![vec![sums(0, 0..8, 0..8)], vec![sums(0, 0..8, 7..15), whole(1, 8..16)]], two()),
            (vec![vec![sums(0, 0..8, 9..17)], vec![whole(1, 8..16)]], two()),
            (vec![vec![whole(0, 0..8)]], two()),
            (
                vec![vec![whole(0, 0..4), whole(1, 8..9)]],
                vec![group(0..8, 0..0), group(7..9, 0..0)],
            ),
            (
                vec![vec![whole(0, 0..4), whole(1, 8..9)]],
                vec![group(0..8, 0..2), group(8..9, 1..2)],
            ),
        ] {
            let result = catch_unwind(|| Teams::new(threads.clone(), groups));
            assert!(result.is_err(), "{threads:?}");
        }
    }

    #[test]
    #[should_panic]
    fn a_buffer_that_is_too_short_is_refused() {
        let (pool, mut teams) = (Pool::new(1), teams());
        let mut output = [0.0; 19];
        let (mut further, mut sums) = ([0.0; 20], [0; 16]);
        let buffers = Buffers { outputs: [&mut output], further: [&mut further], sums: &mut sums };
        pool.run_teams(&mut teams, buffers, &|_, _| (), &|_, _, _: Finish<'_, 1, 1>| ());
    }
}
