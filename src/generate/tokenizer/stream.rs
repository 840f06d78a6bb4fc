//! Ids to text, one at a time.

use super::Tokenizer;
use super::decoder::{End, REPLACEMENT};
use crate::error::Result;

/// Tokens that are decoded together at most.
const WINDOW: usize = 256;

/// Tokens of a known text that a stream after it looks at: how a token reads depends on whether
/// there is text before it.
const CONTEXT: usize = 64;

/// Ids to text, one at a time: each token gives the text that is certain now.
///
/// The pieces are those of decoding all ids so far after every token and giving out what is new,
/// but for a U+FFFD at the end that stands for bytes: what is no character may be the beginning of
/// one. Together with [`finish`](Self::finish) they are the text of all ids at once, wherever the
/// sequence was cut.
///
/// Only a window of the last tokens is decoded, so a token costs the same however long the text is.
/// It never begins inside a character.
#[derive(Clone, Debug)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    window: Vec<u32>,
    /// Tokens at the window's start that can be forgotten once there is text after them.
    done: usize,
    /// Characters of the window's text that are given out.
    given: usize,
}

impl DecodeStream {
    /// From the start of a sequence.
    pub(super) fn new(tokenizer: Tokenizer) -> DecodeStream {
        DecodeStream { tokenizer, window: Vec::new(), done: 0, given: 0 }
    }

    /// After ids whose text is known.
    pub(super) fn after(tokenizer: &Tokenizer, ids: &[u32]) -> Result<DecodeStream> {
        let spoken = ids.iter().rev().copied().filter(|&id| !tokenizer.is_special(id));
        let mut last: Vec<u32> = spoken.take(WINDOW).collect();
        last.reverse();
        let mut start = last.len().saturating_sub(CONTEXT);
        while start > 0 && tokenizer.end(&last[..start]) == End::Open {
            start -= 1;
        }
        let mut stream = DecodeStream::new(tokenizer.clone());
        for &id in &last[start..] {
            stream.push(id)?;
        }
        Ok(stream)
    }

    /// Takes the next token and gives the text that it completes, often none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) where the library fails.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_special(id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window)?;
        let end = self.tokenizer.end(&self.window);
        let new = certain(&text, end).saturating_sub(self.given);
        let piece: String = text.chars().skip(self.given).take(new).collect();
        self.given += new;
        self.shrink(end)?;
        Ok(piece)
    }

    /// The text held back so far: at the end, incomplete characters come out as U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) where the library fails.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window)?;
        let piece: String = text.chars().skip(self.given).collect();
        self.given += piece.chars().count();
        Ok(piece)
    }

    /// Forgets tokens at the start of the window, where that changes nothing. Some with text stay:
    /// decoders treat the first token of a text in their own way (they strip its space), and these
    /// have been given out.
    fn shrink(&mut self, end: End) -> Result<()> {
        let full = self.window.len() >= WINDOW;
        if self.done > 0 {
            let text = self.tokenizer.decode(&self.window[self.done..])?;
            if full || !text.is_empty() {
                self.given = certain(&text, end);
                self.window.drain(..self.done);
                self.done = 0;
            }
        }
        if self.done == 0 && (full || end != End::Open) {
            self.done = self.window.len();
        }
        Ok(())
    }
}

/// Characters of a text that stay whatever comes: all but a U+FFFD at the end that is for bytes.
fn certain(text: &str, end: End) -> usize {
    let held = end != End::Whole && text.ends_with(REPLACEMENT);
    text.chars().count() - usize::from(held)
}
