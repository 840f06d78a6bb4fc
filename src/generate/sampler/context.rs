//! What choosing a token reads of the sequence so far.

use std::collections::HashMap;

use super::constraint::TokenMask;

/// What choosing a token reads of the sequence so far. Options that are off read nothing of it but
/// the position.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The number of tokens before the one to be chosen: the draw depends on it.
    pub position: u64,
    /// All ids before it, in order. Read by the no-repeat n-gram, and by the repetition penalty if
    /// it has a window.
    pub ids: &'a [u32],
    /// The same, each id once, in any order. Read by the repetition penalty.
    pub distinct: &'a [u32],
    /// The ids that were generated, each once, in any order, and how often. Read by the frequency
    /// and the presence penalty.
    pub generated: &'a [(u32, u32)],
    /// The only tokens that may be chosen, where there is a [`Constraint`](super::Constraint).
    pub allowed: Option<&'a TokenMask>,
}

/// Which ids a sequence has, and how often each was generated: what a [`Context`] needs beside the
/// ids themselves, kept up to date as they come. Its size follows the number of distinct ids.
#[derive(Clone, Debug, Default)]
pub struct Occurrences {
    distinct: Vec<u32>,
    generated: Vec<(u32, u32)>,
    /// For each of the distinct ids its place in `generated`, `ABSENT` before it was generated.
    places: HashMap<u32, usize>,
}

/// No place in a list.
const ABSENT: usize = usize::MAX;

impl Occurrences {
    /// Of an empty sequence.
    pub fn new() -> Occurrences {
        Occurrences::default()
    }

    /// Counts an id that was given: of a prompt.
    pub fn add_given(&mut self, id: u32) {
        self.place(id);
    }

    /// Counts an id that was generated.
    pub fn add_generated(&mut self, id: u32) {
        let next = self.generated.len();
        let place = self.place(id);
        if *place == ABSENT {
            *place = next;
            self.generated.push((id, 1));
        } else {
            let place = *place;
            let count = &mut self.generated[place].1;
            *count = count.saturating_add(1);
        }
    }

    fn place(&mut self, id: u32) -> &mut usize {
        self.places.entry(id).or_insert_with(|| {
            self.distinct.push(id);
            ABSENT
        })
    }

    /// Each id once, in the order in which they came first.
    pub fn distinct(&self) -> &[u32] {
        &self.distinct
    }

    /// Each generated id once, and how often it was.
    pub fn generated(&self) -> &[(u32, u32)] {
        &self.generated
    }

    /// The context in which the token after `ids`, which must be those that were counted, is
    /// chosen.
    pub fn context<'a>(&'a self, ids: &'a [u32], allowed: Option<&'a TokenMask>) -> Context<'a> {
        let Occurrences { distinct, generated, .. } = self;
        Context { position: ids.len() as u64, ids, distinct, generated, allowed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_ids_are_counted() {
        let mut occurrences = Occurrences::new();
        for id in [5, 3, 5] {
            occurrences.add_given(id);
        }
        for id in [9, 5, 9] {
            occurrences.add_generated(id);
        }
        occurrences.add_given(9);
        assert_eq!(occurrences.distinct(), [5, 3, 9]);
        assert_eq!(occurrences.generated(), [(9, 2), (5, 1)]);
        let ids = [5, 3, 5, 9, 5, 9, 9];
        assert_eq!(occurrences.context(&ids, None).position, 7);
    }
}
