//! Tokens that a checkpoint adds outside of `tokenizer.json`.
//!
//! As `PreTrainedTokenizerFast` of transformers 4.42.4 does it (`tokenization_utils_fast.py`), with
//! the added vocabulary of tokenizers 0.19 that goes with it. A token's id is the one that it has in
//! the vocabulary, else the next that is free; the one that the files declare for it is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokenizers::{AddedToken, AddedVocabulary, Model, ModelWrapper, Normalizer};

use super::files::{ADDED_TOKENS, ADDITIONAL, CONFIG, Described, Settings, TokenizerNote, shown};

/// A token to add.
struct Candidate {
    token: Described,
    /// The file and the id that declare it, where it is not from `tokenizer.json` itself.
    declared: Option<(&'static str, u32)>,
    /// A special token that a file names.
    key: Option<&'static str>,
}

/// Adds the tokens of the settings to those of `tokenizer.json`, `own`, which are there already. Ids
/// are below `vocab_size`; tokens that would get another are left out. Gives the texts of those that are looked for both in a
/// text as it stands and in its normalized form.
///
/// # Errors
/// Those of the library.
pub(super) fn merge(
    added: &mut AddedVocabulary,
    own: &BTreeMap<u32, AddedToken>,
    model: &ModelWrapper,
    normalizer: &impl Normalizer,
    settings: &Settings,
    vocab_size: usize,
    notes: &mut Vec<TokenizerNote>,
) -> tokenizers::Result<BTreeSet<String>> {
    let known = added.get_vocab().values().max();
    let size = model.get_vocab_size() as u32;
    let mut next = known.map_or(size, |max| size.max(max.saturating_add(1)));
    let mut new: HashMap<String, u32> = HashMap::new();
    let (mut moved, mut unknown) = (Several::default(), Several::default());
    let (mut tokens, mut both) = (Vec::new(), BTreeSet::new());
    let outside = |id: u32| id as usize >= vocab_size;
    for Candidate { token, declared, key } in candidates(added, own, settings) {
        if token.content.is_empty() {
            continue;
        }
        let shown = shown(&token.content);
        let found = added.token_to_id(&token.content, model).or(new.get(&token.content).copied());
        if let (Some((file, id)), None) = (declared, found)
            && (outside(id) || outside(next))
        {
            let id = if outside(id) { id } else { next };
            let last = vocab_size.saturating_sub(1);
            let reason = format!("{shown} has the id {id}, but the model's ids are 0 to {last}");
            notes.push(TokenizerNote::refusal(file, reason));
        }
        let id = match found {
            Some(id) => id,
            None if outside(next) => {
                if let (None, Some(key)) = (declared, key) {
                    unknown.push(CONFIG, || {
                        format!(
                            "{key} is {shown}, which is none of the model's tokens: text that spells \
                             it is split like any other"
                        )
                    });
                }
                continue;
            }
            None => {
                let id = next;
                new.insert(token.content.clone(), id);
                next = next.saturating_add(1);
                id
            }
        };
        if let Some((file, declared)) = declared.filter(|&(_, declared)| declared != id) {
            moved.push(file, || {
                format!(
                    "{shown} is given the id {declared}, but gets {id}, as in transformers 4.42"
                )
            });
        }
        let special = token.special || settings.is_special(&token.content);
        let (token, is_both) = resolved(added, token, special);
        if is_both {
            both.insert(token.content.clone());
        }
        tokens.push(token);
    }
    notes.extend(moved.note().into_iter().chain(unknown.note()));
    added.add_tokens(tokens, model, Some(normalizer))?;
    Ok(both)
}

/// A note on the first of several tokens.
#[derive(Default)]
struct Several {
    first: Option<TokenizerNote>,
    more: usize,
}

impl Several {
    fn push(&mut self, file: &'static str, reason: impl FnOnce() -> String) {
        match self.first {
            None => self.first = Some(TokenizerNote::note(file, reason())),
            Some(_) => self.more += 1,
        }
    }

    fn note(self) -> Option<TokenizerNote> {
        let mut note = self.first?;
        if self.more > 0 {
            note.reason += &format!(" (and so with {} more)", self.more);
        }
        Some(note)
    }
}

/// The tokens to add, in transformers' order: those declared, by id, then special ones that are not
/// there yet.
fn candidates(
    added: &AddedVocabulary,
    own: &BTreeMap<u32, AddedToken>,
    settings: &Settings,
) -> Vec<Candidate> {
    let mut declared: BTreeMap<u32, Candidate> = BTreeMap::new();
    match &settings.decoder {
        Some(decoder) => {
            for (&id, token) in decoder {
                let candidate =
                    Candidate { token: token.clone(), declared: Some((CONFIG, id)), key: None };
                declared.insert(id, candidate);
            }
        }
        None => {
            for (&id, content) in &settings.added {
                let special = settings.is_special(content);
                let token = AddedToken::from(content.clone(), special).into();
                let candidate = Candidate { token, declared: Some((ADDED_TOKENS, id)), key: None };
                declared.insert(id, candidate);
            }
            for (&id, token) in own {
                let token = token.clone().into();
                declared.insert(id, Candidate { token, declared: None, key: None });
            }
        }
    }
    // By its text a special token is one of these, those of `added_tokens.json` aside.
    let by_text: HashSet<&str> = match &settings.decoder {
        Some(decoder) => decoder.values().map(|token| &*token.content).collect(),
        None => own.values().map(|token| &*token.content).collect(),
    };
    let mut candidates: Vec<Candidate> = declared.into_values().collect();
    let mut there: HashSet<String> = added.get_vocab().keys().cloned().collect();
    there.extend(candidates.iter().map(|candidate| candidate.token.content.clone()));
    for special in &settings.special {
        let content = &special.content;
        let token = match &special.described {
            Some(_) if special.key != ADDITIONAL && by_text.contains(&**content) => continue,
            Some(token) => token.clone(),
            None if there.contains(content) => continue,
            None => AddedToken::from(content.clone(), true).into(),
        };
        there.insert(content.clone());
        let key = special.explicit.then_some(special.key);
        candidates.push(Candidate { token, declared: None, key });
    }
    candidates
}

/// A token as it is to be added, given what there is of it, and whether it is looked for in both ways.
fn resolved(added: &AddedVocabulary, token: Described, special: bool) -> (AddedToken, bool) {
    let Described { content, single_word, lstrip, rstrip, normalized, .. } = token;
    let mut normalized = normalized.unwrap_or(!special);
    let mut both = false;
    // tokenizers 0.19 goes on looking for a token in the way that it was first added with, beside the
    // new one; a special token stays special, and is looked for in the first way alone. The later
    // library has one way for each.
    let there = added.get_vocab().get(&content);
    if let Some(first) = there.and_then(|id| added.get_added_tokens_decoder().get(id)) {
        if added.is_special_token(&content) {
            normalized = first.normalized;
        } else {
            both = first.normalized != normalized;
            normalized = first.normalized && normalized;
        }
    }
    let special = special || added.is_special_token(&content);
    (AddedToken { content, single_word, lstrip, rstrip, normalized, special }, both)
}
