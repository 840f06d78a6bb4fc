//! Text to token ids and back, and back one token at a time.
//!
//! The tokenizer is the checkpoint's own `tokenizer.json`, which the model file carries, run by the
//! parts of the `tokenizers` library; what the checkpoint's other files add to it is followed as
//! transformers 4.42 does (`docs/TOKENIZER.md`). The parts are put together here, so that a text
//! cannot grow without bounds on its way and need not be one that begins. What they make of a hostile
//! file is contained here too: an error or a panic of theirs becomes an [`Error::Tokenizer`].

mod added;
mod both_ways;
mod classes;
mod decoder;
mod files;
mod growth;
mod normalizer;
mod parts;
mod post_processor;
mod pre_tokenizer;
mod stream;
mod vocabulary;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::{Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizerWrapper};

use crate::error::{Error, Result};
use crate::format::ModelFile;
use decoder::{Decoder, End};
pub use files::{TokenizerFiles, TokenizerNote};
use growth::Growth;
use post_processor::Template;
pub use stream::DecodeStream;
use vocabulary::Vocabulary;

/// Bytes of the texts on which a tokenizer is tried.
const TRIAL: usize = 32 << 10;

/// Texts on which it is tried, at most.
const TRIALS: usize = 256;

/// Text to token ids and back. A clone shares the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

/// The parts of a tokenizer.
struct Inner {
    vocabulary: Vocabulary,
    normalizer: Vec<normalizer::Step>,
    pre_tokenizer: Vec<PreTokenizerWrapper>,
    decoder: Decoder,
    template: Template,
    /// The ids that a prompt starts with.
    prompt_prefix: Vec<u32>,
    /// The model's BOS token: what a prompt that would have no ids at all starts with.
    bos: Option<u32>,
    /// The model file that it is from, to be named in errors.
    path: Option<PathBuf>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("prompt_prefix", &self.inner.prompt_prefix)
            .finish()
    }
}

impl Tokenizer {
    /// The tokenizer in a model file, `None` where the file has none.
    ///
    /// What a prompt starts with and which tokens are added follows the checkpoint's other files, as
    /// [`from_files`](Self::from_files) has it.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the file, where it cannot be read; so are errors in its use.
    pub fn from_file(file: &ModelFile) -> Result<Option<Tokenizer>> {
        let Some(files) = TokenizerFiles::of(file) else { return Ok(None) };
        let (path, config) = (file.path(), file.config());
        let read = || parts::from_files(&files, config.vocab_size, config.bos_token_id);
        let (inner, _) = contain(read).map_err(|error| name(error, path))?;
        let inner = Arc::new(Inner { path: Some(path.to_owned()), ..inner });
        Ok(Some(Tokenizer { inner }))
    }

    /// The tokenizer that a checkpoint's files describe, for a model with this many ids, and what
    /// whoever converts the checkpoint should know of it.
    ///
    /// As in transformers 4.42, the tokenizer's class decides what a prompt starts with: the classes
    /// that make a post-processor of their own (`LlamaTokenizer`, `CodeLlamaTokenizer`,
    /// `GemmaTokenizer`, `CohereTokenizer`, `GPTNeoXTokenizer`) follow `add_bos_token` and
    /// `add_eos_token`, all others the post-processor of `tokenizer.json` alone. Tokens of
    /// `added_tokens_decoder` or `added_tokens.json` are added. `bos`, the model's own BOS token, is
    /// for prompts that would have no ids at all.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it cannot be read.
    pub fn from_files(
        files: &TokenizerFiles<'_>,
        vocab_size: usize,
        bos: Option<u32>,
    ) -> Result<(Tokenizer, Vec<TokenizerNote>)> {
        let (inner, notes) = contain(|| parts::from_files(files, vocab_size, bos))?;
        Ok((Tokenizer { inner: Arc::new(inner) }, notes))
    }

    /// The tokenizer that a `tokenizer.json` alone describes. `bos` is the token that a prompt starts
    /// with, where the file's own post-processor does not put one there.
    ///
    /// Truncation, padding and dropout that the file may ask for are left out: they are for
    /// training.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it cannot be read.
    pub fn from_json(json: &[u8], bos: Option<u32>) -> Result<Tokenizer> {
        let mut inner = contain(|| parts::from_json(json))?;
        if bos.is_some() && inner.prompt_prefix.first() != bos.as_ref() {
            inner.prompt_prefix.splice(..0, bos);
        }
        Ok(Tokenizer { inner: Arc::new(Inner { bos, ..inner }) })
    }

    /// Tries it on texts of the letters that it replaces.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it makes such a text longer than [a tokenizer
    /// may](Self::encode).
    pub fn check_growth(&self) -> Result<()> {
        let Inner { normalizer, decoder, .. } = &*self.inner;
        let plain = ["a", "A", "0", ".", " ", "\n", "\u{e9}", "\u{4e2d}"].map(str::to_owned);
        let replaced = normalizer.iter().flat_map(normalizer::Step::samples);
        let samples: BTreeSet<String> =
            plain.into_iter().chain(replaced).chain(decoder.samples()).collect();
        for sample in samples.into_iter().take(TRIALS) {
            let count = TRIAL.div_ceil(sample.len());
            let tokens = vec![sample; count];
            let text = tokens.concat();
            self.contain(|| {
                self.prepare(&text, false)?;
                decoder.decode(tokens)
            })?;
        }
        Ok(())
    }

    /// The largest id of its tokens, added ones counted in; `None` where it has none.
    pub fn max_id(&self) -> Option<u32> {
        self.inner.vocabulary.max_id()
    }

    /// Tokens of the vocabulary, special and added ones counted.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocabulary.len()
    }

    /// The ids that every prompt starts with, often a BOS.
    pub fn prompt_prefix(&self) -> &[u32] {
        &self.inner.prompt_prefix
    }

    /// The ids of a text; with `special`, also those that the post-processor adds (a BOS before
    /// them, mostly).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails, or where the tokenizer makes the text more than
    /// eight times as long (and 64 KiB) on its way.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let ids = self.ids(text, false)?;
        let Template { prefix, suffix } = &self.inner.template;
        Ok(if special { [prefix, &*ids, suffix].concat() } else { ids })
    }

    /// The ids that begin a sequence with this text: special tokens added, and no second BOS where
    /// the text spells one. Where that is none at all, the model's BOS token, if it has one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let Inner { prompt_prefix, template, bos, .. } = &*self.inner;
        let ids = self.ids(text, false)?;
        let is_bos = |id: &u32| Some(*id) == *bos || self.is_special(*id);
        let first = prompt_prefix.last().filter(|id| is_bos(id));
        let spelt = ids.iter().take_while(|id| Some(*id) == first).count();
        let mut ids = [prompt_prefix, &ids[spelt..], &template.suffix].concat();
        if ids.is_empty() {
            ids.extend(bos);
        }
        Ok(ids)
    }

    /// The ids that go on with this text after others: nothing is added, and no space is put
    /// before the first word, as tokenizers do where a text begins. The text of all ids is that of the
    /// ones before and this one, as far as the tokenizer gives back what it is given.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_continuation(&self, before: &[u32], text: &str) -> Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if before.iter().all(|&id| self.is_special(id)) {
            return self.ids(text, false);
        }
        let ids = self.ids(text, true)?;
        // Some pre-tokenizers cut at spaces and drop them, so that only the mark of a first word is
        // left to tell that there was one.
        let spaced = text.starts_with(char::is_whitespace);
        if self.reads_spaced(before, &ids)? != spaced {
            let begun = self.ids(text, false)?;
            if self.reads_spaced(before, &begun)? == spaced {
                return Ok(begun);
            }
        }
        Ok(ids)
    }

    /// Whether ids after others read as a text that begins with a space.
    fn reads_spaced(&self, before: &[u32], ids: &[u32]) -> Result<bool> {
        let mut stream = self.stream_after(before)?;
        stream.finish()?;
        for &id in ids {
            if let Some(first) = stream.push(id)?.chars().next() {
                return Ok(first.is_whitespace());
            }
        }
        Ok(stream.finish()?.starts_with(char::is_whitespace))
    }

    /// The text of some ids, special tokens left out. Bytes that are no UTF-8 are U+FFFD, one for each
    /// maximal part.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, false)
    }

    /// The text of some ids, special tokens spelt out.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.text(ids, true)
    }

    /// Decodes ids as they come, from the start of a sequence.
    pub fn stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// Decodes ids as they come, after a sequence whose text is already known: what a prompt's
    /// continuation reads like depends on the prompt (a space before a word, the rest of a
    /// character).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn stream_after(&self, ids: &[u32]) -> Result<DecodeStream> {
        DecodeStream::after(self, ids)
    }

    /// The ids of a text and nothing else; where it goes on from another, as such.
    fn ids(&self, text: &str, continues: bool) -> Result<Vec<u32>> {
        self.contain(|| {
            let text = self.prepare(text, continues)?;
            let mut ids = Vec::new();
            // One part at a time: the library's tokens take much more room than their ids.
            for (part, _, token) in text.get_splits(OffsetReferential::Normalized, OffsetType::None)
            {
                match token {
                    Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                    None => {
                        let tokens = self.inner.vocabulary.model.tokenize(part)?;
                        ids.extend(tokens.iter().map(|token| token.id));
                    }
                }
            }
            Ok(ids)
        })
    }

    /// A text cut into what the model takes one by one: normalized, and added tokens found.
    fn prepare(&self, text: &str, continues: bool) -> tokenizers::Result<PreTokenizedString> {
        let Inner { vocabulary, normalizer, pre_tokenizer, .. } = &*self.inner;
        let growth = Growth::of(text.len());
        let steps = normalizer::Steps { steps: normalizer, growth: &growth, continues };
        let mut parts = match &vocabulary.both_ways {
            Some(both_ways) => both_ways.extract_and_normalize(&steps, text)?,
            None => vocabulary.added.extract_and_normalize(Some(&steps), text),
        };
        growth.result()?;
        pre_tokenizer::run(pre_tokenizer, &mut parts, &Growth::of(text.len()), continues)?;
        Ok(parts)
    }

    fn text(&self, ids: &[u32], special: bool) -> Result<String> {
        let tokens = ids.iter().filter_map(|&id| self.inner.vocabulary.token(id));
        let tokens = tokens.filter(|token| special || !token.special).map(|token| token.text);
        self.contain(|| self.inner.decoder.decode(tokens.collect()))
    }

    /// How the bytes of some ids end, none of which are special.
    fn end(&self, ids: &[u32]) -> End {
        let tokens = ids.iter().rev().filter_map(|&id| self.inner.vocabulary.token(id));
        self.inner.decoder.end(tokens.map(|token| token.text))
    }

    fn is_special(&self, id: u32) -> bool {
        self.inner.vocabulary.is_special(id)
    }

    /// Runs the library's code; where it fails, the error names the model file, if there is one.
    fn contain<T>(&self, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        contain(run).map_err(|error| match &self.inner.path {
            Some(path) => name(error, path),
            None => error,
        })
    }
}

/// An error of the tokenizer as one of the model file that it is from.
fn name(error: Error, path: &Path) -> Error {
    match error {
        Error::Tokenizer { reason } => Error::invalid(path, format!("tokenizer.json: {reason}")),
        other => other,
    }
}

/// Runs the library's code: what it cannot do, and what it panics on, is an error.
fn contain<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    let reason = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "tokenizer.json makes the tokenizers library fail".to_owned(),
    };
    // The library quotes the file: one line, and not without end.
    let reason = reason.chars().take(200).flat_map(|c| {
        let shown = if c.is_control() { ' ' } else { c };
        std::iter::once(shown)
    });
    Err(Error::Tokenizer { reason: reason.collect() })
}
