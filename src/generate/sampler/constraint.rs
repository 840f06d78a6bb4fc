//! Constraints from outside: grammars, schemas, lists of answers.

use std::fmt;

use crate::error::Result;

/// Decides, token by token, which tokens may come next: a grammar, a schema, a list of answers.
///
/// Before a token is chosen, [`allowed`](Self::allowed) gives the set to choose from; after it,
/// [`take`](Self::take) is told which it was. A fork of a sequence clones it; a saved one leaves it
/// out.
pub trait Constraint: Send {
    /// Puts the tokens that may come next into `mask`, which comes with none of them. Tokens that
    /// end a text belong to them where the text may end here.
    ///
    /// # Errors
    /// Where the set cannot be made; no token is chosen then.
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<()>;

    /// Goes on after `id`, which was one of those allowed.
    ///
    /// # Errors
    /// Where it cannot go on.
    fn take(&mut self, id: u32) -> Result<()>;

    /// Whether the text is complete, and nothing may follow it.
    fn is_done(&self) -> bool {
        false
    }

    /// A copy that goes on from here on its own.
    fn clone_box(&self) -> Box<dyn Constraint>;
}

impl Clone for Box<dyn Constraint> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

impl fmt::Debug for dyn Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

/// A set of tokens: a bit for each id of the vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    vocab_size: usize,
}

impl TokenMask {
    /// The empty set.
    pub fn none(vocab_size: usize) -> TokenMask {
        TokenMask { words: vec![0; vocab_size.div_ceil(32)], vocab_size }
    }

    /// The set of all tokens.
    pub fn all(vocab_size: usize) -> TokenMask {
        TokenMask { words: vec![u32::MAX; vocab_size.div_ceil(32)], vocab_size }
    }

    /// The number of ids: those from it on are never in the set.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Adds a token. One outside the vocabulary stays outside.
    pub fn allow(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word |= 1 << (id % 32);
        }
    }

    /// Takes a token out.
    pub fn ban(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word &= !(1 << (id % 32));
        }
    }

    /// Takes all tokens out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Whether a token is in the set.
    pub fn contains(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 32).copied().unwrap_or(0);
        (id as usize) < self.vocab_size && word >> (id % 32) & 1 == 1
    }

    /// The number of tokens in the set.
    pub fn count(&self) -> usize {
        let beyond = self.words.len() * 32 - self.vocab_size;
        let last = self.words.last().map_or(0, |word| word.count_ones());
        let within = self.words.last().map_or(0, |word| (word << beyond).count_ones());
        let all: u32 = self.words.iter().map(|word| word.count_ones()).sum();
        (all - last + within) as usize
    }

    /// The bits: id `i` is bit `i mod 32` of word `i / 32`.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The bits, to be written: those beyond the vocabulary have no meaning.
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_holds_what_was_put_in() {
        for vocab_size in [1, 31, 32, 33, 70] {
            let mut mask = TokenMask::none(vocab_size);
            assert_eq!(mask.count(), 0);
            let last = vocab_size as u32 - 1;
            for id in [last, 0, vocab_size as u32, vocab_size as u32 + 31, u32::MAX] {
                mask.allow(id);
            }
            let ids: Vec<u32> = (0..200).filter(|&id| mask.contains(id)).collect();
            assert_eq!(ids, if last == 0 { vec![0] } else { vec![0, last] });
            assert_eq!(mask.count(), ids.len());
            mask.ban(last);
            mask.ban(u32::MAX);
            assert!(!mask.contains(last));
            assert_eq!(TokenMask::all(vocab_size).count(), vocab_size);
            mask.clear();
            assert_eq!(mask.count(), 0);
        }
        assert_eq!(TokenMask::all(0).count(), 0);
    }
}
