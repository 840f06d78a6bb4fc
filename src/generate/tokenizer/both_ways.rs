//! Added tokens that the library does not find as tokenizers 0.19 does, which goes with transformers 4.42.4.
//!
//! There (`refresh_added_tokens` of its `added_vocabulary.rs`) a token that was added twice, once as text as it stands and once
//! `normalized`, is looked for in both ways; the later library has one way for each token. And of tokens with the same
//! normalized form the first is found, special ones before others; the later library finds any of them, another in each run.
//! Here the two ways are two vocabularies, one after the other, each form once.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{
    AddedToken, AddedVocabulary, ModelWrapper, NormalizedString, Normalizer, OffsetReferential,
    OffsetType, PreTokenizedString, Token,
};

/// Finds all added tokens, where some are looked for in both ways or have the same normalized form.
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
    /// The tokens of `added`, those with the texts `both` looked for in both ways; `None` where the library finds them as well.
    ///
    /// # Errors
    /// Those of the library.
    pub fn new(
        added: &AddedVocabulary,
        both: &BTreeSet<String>,
        model: &ModelWrapper,
        normalizer: &impl Normalizer,
    ) -> tokenizers::Result<Option<BothWays>> {
        let mut tokens: Vec<(bool, u32, &AddedToken)> = added
            .get_added_tokens_decoder()
            .iter()
            .map(|(&id, token)| (!added.is_special_token(&token.content), id, token))
            .collect();
        tokens.sort_unstable_by_key(|&(is_plain, id, _)| (is_plain, id));
        let (mut forms, mut normalized, mut hidden) = (BTreeSet::new(), Vec::new(), 0);
        for &(_, _, token) in &tokens {
            if !token.normalized && !both.contains(&token.content) {
                continue;
            }
            let mut form = NormalizedString::from(token.content.as_str());
            normalizer.normalize(&mut form)?;
            match forms.insert(form.get().to_owned()) {
                true => normalized.push(token),
                false => hidden += 1,
            }
        }
        if both.is_empty() && hidden == 0 {
            return Ok(None);
        }
        let verbatim = tokens.iter().map(|&(_, _, token)| token).filter(|token| !token.normalized);
        let way = |tokens: Vec<&AddedToken>, normalized| {
            let tokens = tokens.into_iter().map(|token| AddedToken { normalized, ..token.clone() });
            let mut way = AddedVocabulary::new();
            way.add_tokens(tokens, model, Some(normalizer))?;
            way.set_encode_special_tokens(added.get_encode_special_tokens());
            let ids = way.get_vocab().iter();
            let ids = ids.filter_map(|(text, &id)| Some((id, *added.get_vocab().get(text)?)));
            let ids = ids.collect();
            tokenizers::Result::Ok(Way { added: way, ids })
        };
        let verbatim = way(verbatim.collect(), false)?;
        Ok(Some(BothWays { verbatim, normalized: way(normalized, true)? }))
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
