//! Added tokens that are looked for in a text as it stands and in its normalized form too.
//!
//! tokenizers 0.19, which goes with transformers 4.42.4, does so with a token that was added twice, once in each way
//! (`refresh_added_tokens` of its `added_vocabulary.rs`). The later library has one way for each token. Here the two ways are
//! two vocabularies, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{
    AddedToken, AddedVocabulary, ModelWrapper, NormalizedString, Normalizer, OffsetReferential,
    OffsetType, PreTokenizedString, Token,
};

/// Finds all added tokens, where some are looked for in both ways.
pub(super) struct BothWays {
    /// Those that are looked for in the text as it stands.
    verbatim: Way,
    /// Those that are looked for in its normalized form.
    normalized: Way,
}

/// Tokens that are looked for in one way.
struct Way {
    added: AddedVocabulary,
    /// Their ids in the vocabulary, by those that they have here.
    ids: BTreeMap<u32, u32>,
}

impl BothWays {
    /// The tokens of `added`, those with the texts `both` looked for in both ways.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(
        added: &AddedVocabulary,
        both: &BTreeSet<String>,
        model: &ModelWrapper,
        normalizer: &impl Normalizer,
    ) -> tokenizers::Result<BothWays> {
        let tokens: BTreeMap<u32, &AddedToken> =
            added.get_added_tokens_decoder().iter().map(|(&id, token)| (id, token)).collect();
        let way = |normalized: bool| {
            let tokens = tokens
                .values()
                .filter(|token| token.normalized == normalized || both.contains(&token.content));
            let tokens = tokens.map(|token| AddedToken { normalized, ..(*token).clone() });
            let mut way = AddedVocabulary::new();
            way.add_tokens(tokens, model, Some(normalizer))?;
            way.set_encode_special_tokens(added.get_encode_special_tokens());
            let ids = way.get_vocab().iter();
            let ids =
                ids.filter_map(|(text, &id)| Some((id, *added.get_vocab().get(text)?))).collect();
            tokenizers::Result::Ok(Way { added: way, ids })
        };
        Ok(BothWays { verbatim: way(false)?, normalized: way(true)? })
    }

    /// The text cut at the tokens, normalized between them: `AddedVocabulary::extract_and_normalize`.
    ///
    /// # Errors
    /// Those of the library.
    pub fn extract_and_normalize(
        &self,
        normalizer: &impl Normalizer,
        text: &str,
    ) -> tokenizers::Result<PreTokenizedString> {
        let mut parts = PreTokenizedString::from(text);
        parts.split(|_, part| self.verbatim.split(&part))?;
        parts.split(|_, mut part| {
            normalizer.normalize(&mut part)?;
            self.normalized.split(&part)
        })?;
        Ok(parts)
    }
}

impl Way {
    /// A part of a text, cut at the tokens of this way.
    fn split(
        &self,
        part: &NormalizedString,
    ) -> tokenizers::Result<Vec<(NormalizedString, Option<Vec<Token>>)>> {
        // Without a normalizer both kinds of tokens are looked for in what is given; there is one of them here.
        let found = self.added.extract_and_normalize(None::<&NoNormalizer>, part.get());
        let splits = found.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        let slice = |(_, (from, to), tokens): (&str, (usize, usize), &Option<Vec<Token>>)| {
            let slice = part.slice(Range::Normalized(from..to)).ok_or("no such part of a text")?;
            let tokens = tokens.as_ref().map(|tokens| {
                let id = |token: &Token| self.ids.get(&token.id).copied().unwrap_or(token.id);
                tokens.iter().map(|token| Token { id: id(token), ..token.clone() }).collect()
            });
            Ok((slice, tokens))
        };
        splits.into_iter().map(slice).collect()
    }
}

/// The kind of normalizer that there is none of.
struct NoNormalizer;

impl Normalizer for NoNormalizer {
    fn normalize(&self, _: &mut NormalizedString) -> tokenizers::Result<()> {
        Ok(())
    }
}
