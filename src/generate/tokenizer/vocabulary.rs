//! Ids and the tokens that they stand for.

use std::collections::HashMap;

use tokenizers::{AddedVocabulary, Model, ModelWrapper};

use super::both_ways::BothWays;

/// The longest token, in bytes. Real ones have some hundred; the library copies the token of every
/// id that a text becomes.
const MAX_TOKEN: usize = 2048;

/// The model's vocabulary and the tokens added to it.
pub(super) struct Vocabulary {
    pub model: ModelWrapper,
    pub added: AddedVocabulary,
    /// Finds the added tokens where some are looked for in two ways.
    pub both_ways: Option<BothWays>,
    /// What added tokens stand for in a text.
    texts: HashMap<u32, Token>,
}

/// A token as decoders get it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub text: String,
    /// Special tokens are no part of a text.
    pub special: bool,
}

impl Vocabulary {
    /// `by_bytes` where the normalizer spells text as the characters that stand for bytes, and the
    /// decoder undoes that.
    ///
    /// # Errors
    /// A token that is too long.
    pub fn new(
        model: ModelWrapper,
        added: AddedVocabulary,
        both_ways: Option<BothWays>,
        by_bytes: bool,
    ) -> tokenizers::Result<Vocabulary> {
        let mut texts = HashMap::new();
        for (&id, token) in added.get_added_tokens_decoder() {
            check(&token.content)?;
            // Later versions of the library give the normalized form everywhere, with the space
            // that a normalizer put there.
            let normalized = if by_bytes { added.simple_id_to_token(id) } else { None };
            let text = normalized.unwrap_or_else(|| token.content.clone());
            texts.insert(id, Token { text, special: added.is_special_token(&token.content) });
        }
        let vocabulary = Vocabulary { model, added, both_ways, texts };
        vocabulary.check_lengths()?;
        Ok(vocabulary)
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<Token> {
        let added = self.texts.get(&id).cloned();
        added.or_else(|| Some(Token { text: self.model.id_to_token(id)?, special: false }))
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.added.token_to_id(token, &self.model)
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.texts.get(&id).is_some_and(|token| token.special)
    }

    /// Tokens in all, special and added ones counted.
    pub fn len(&self) -> usize {
        let beside = |token: &&String| self.model.token_to_id(token).is_none();
        self.model.get_vocab_size() + self.added.get_vocab().keys().filter(beside).count()
    }

    pub fn max_id(&self) -> Option<u32> {
        let added = self.texts.keys().copied();
        self.model.get_vocab().into_values().chain(added).max()
    }

    /// # Errors
    /// A token or a part of tokens that is too long.
    fn check_lengths(&self) -> tokenizers::Result<()> {
        let parts = match &self.model {
            ModelWrapper::BPE(bpe) => [
                bpe.unk_token.clone(),
                bpe.continuing_subword_prefix.clone(),
                bpe.end_of_word_suffix.clone(),
            ],
            ModelWrapper::WordPiece(model) => {
                let prefix = model.continuing_subword_prefix.clone();
                [Some(model.unk_token.clone()), Some(prefix), None]
            }
            ModelWrapper::WordLevel(model) => [Some(model.unk_token.clone()), None, None],
            ModelWrapper::Unigram(_) => [None, None, None],
        };
        parts.iter().flatten().try_for_each(|part| check(part))?;
        // Ids without gaps are looked up one by one; all at once, they take as much memory again.
        let size = self.model.get_vocab_size();
        let mut found = 0;
        for token in (0..size as u32).filter_map(|id| self.model.id_to_token(id)) {
            check(&token)?;
            found += 1;
        }
        if found < size {
            self.model.get_vocab().keys().try_for_each(|token| check(token))?;
        }
        Ok(())
    }
}

fn check(token: &str) -> tokenizers::Result<()> {
    if token.len() <= MAX_TOKEN {
        return Ok(());
    }
    let start: String = token.chars().take(20).collect();
    let len = token.len();
    Err(format!("the token {start:?}... has {len} bytes, at most {MAX_TOKEN} are allowed").into())
}
