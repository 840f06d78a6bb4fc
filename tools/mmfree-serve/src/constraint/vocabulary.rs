//! The bytes of a tokenizer's tokens, as the parser needs them.

use std::fmt;
use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{ParserFactory, panic_utils, token_bytes_from_tokenizer_json};
use mmfree::{TokenMask, Tokenizer};

use super::compile;
use crate::token_text::{Piece, TokenText};

/// A model's tokens. One is added that stands for the end of a text, whichever tokens end texts of the model.
pub struct Vocabulary {
    words: Vec<Vec<u8>>,
    factory: ParserFactory,
    /// Tokens that are none of a text.
    unwritten: Vec<u32>,
    /// Tokens that lose a space at the very start of a text; none where the decoder keeps it.
    spaced: Vec<u32>,
}

impl Vocabulary {
    /// The vocabulary of a tokenizer. `json` is its `tokenizer.json`.
    ///
    /// # Errors
    /// Why texts of this tokenizer cannot be held to a form.
    pub fn new(
        tokenizer: &Tokenizer,
        texts: &TokenText,
        json: &[u8],
    ) -> Result<Vocabulary, String> {
        let json = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        // Refuses decoders under which a token's text depends on its neighbours.
        let read = || token_bytes_from_tokenizer_json(&json);
        let raw = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(read));
        let raw = raw.map_err(|error| compile::one_line(&error))?;
        let size = texts.len();
        let (mut unwritten, mut spaced) = (TokenMask::none(size), TokenMask::none(size));
        let mut words = Vec::with_capacity(size + 1);
        for id in 0..size as u32 {
            let Piece { bytes, special, .. } = texts.piece(id);
            let raw = || raw.get(id as usize).cloned().unwrap_or_default();
            let mut word = match (special, bytes) {
                (false, Some(bytes)) => bytes,
                (false, None) => raw(),
                (true, _) => Vec::new(),
            };
            if word.first() == Some(&TokTrie::SPECIAL_TOKEN_MARKER) {
                word = Vec::new();
            }
            if word.is_empty() {
                unwritten.allow(id);
            }
            if word.first() == Some(&b' ') && !starts_with_space(tokenizer, id) {
                spaced.allow(id);
            }
            words.push(word);
        }
        words.push(b"\xff<end>".to_vec());
        let factory = compile::factory(&words)?;
        let (unwritten, spaced) = (unwritten.words().to_vec(), spaced.words().to_vec());
        Ok(Vocabulary { words, factory, unwritten, spaced })
    }

    /// The bytes of each token, and of the end.
    pub fn words(&self) -> &[Vec<u8>] {
        &self.words
    }

    /// The token that stands for the end.
    pub fn end(&self) -> u32 {
        self.words.len() as u32 - 1
    }

    /// What makes parsers for these tokens.
    pub fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    /// Takes out of a mask what would not be in the text as it is here. `bare`: nothing that reads comes before.
    pub fn ban_unwritten(&self, mask: &mut [u32], bare: bool) {
        let ban = |mask: &mut [u32], set: &[u32]| {
            mask.iter_mut().zip(set).for_each(|(word, set)| *word &= !set);
        };
        ban(mask, &self.unwritten);
        if bare {
            ban(mask, &self.spaced);
        }
    }
}

fn starts_with_space(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.decode(&[id]).is_ok_and(|text| text.starts_with(' '))
}

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vocabulary({})", self.words.len())
    }
}

/// These tokens for the library; the last is the end.
pub fn env(words: &[Vec<u8>]) -> TokEnv {
    let info = TokRxInfo::new(words.len() as u32, words.len() as u32 - 1);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, words)))
}
