//! Text to token ids and back, and back one token at a time.
//!
//! The tokenizer is the checkpoint's own `tokenizer.json`, which the model file carries, run by the
//! `tokenizers` library. What that library makes of a hostile file is contained here: an error or a
//! panic of its own becomes an [`Error::Tokenizer`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenizers::ModelWrapper;

use crate::error::{Error, Result};
use crate::format::{ModelFile, standard_json};

/// What stands for bytes that are no UTF-8, so far or for good.
const REPLACEMENT: char = '\u{FFFD}';

/// Tokens that a [`DecodeStream`] decodes together at most.
const WINDOW: usize = 256;

/// Tokens from which on its window may begin inside a run of byte tokens, if that is where a
/// character ends.
const RUN: usize = 128;

/// Text to token ids and back. A clone shares the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// The token that a prompt starts with.
    bos: Option<u32>,
    /// The model file that it is from, to be named in errors.
    path: Option<PathBuf>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.inner.get_vocab_size(true))
            .field("bos", &self.bos)
            .finish()
    }
}

impl Tokenizer {
    /// The tokenizer in a model file, `None` where the file has none.
    ///
    /// A prompt starts with the configuration's BOS token, unless the checkpoint's
    /// `tokenizer_config.json` says `"add_bos_token": false`.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the file, where it cannot be read; so are errors in its use.
    pub fn from_file(file: &ModelFile) -> Result<Option<Tokenizer>> {
        let Some(json) = file.tokenizer_json() else { return Ok(None) };
        let adds_bos = file
            .checkpoint_file("tokenizer_config.json")
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&standard_json(text)).ok())
            .and_then(|config| config.get("add_bos_token").and_then(|v| v.as_bool()));
        let bos = if adds_bos == Some(false) { None } else { file.config().bos_token_id };
        let path = file.path();
        let tokenizer = Tokenizer::from_json(json, bos).map_err(|error| name(error, path))?;
        Ok(Some(Tokenizer { path: Some(path.to_owned()), ..tokenizer }))
    }

    /// The tokenizer that a `tokenizer.json` describes. `bos` is the token that a prompt starts
    /// with, where the file's own post-processor does not put one there.
    ///
    /// Truncation, padding and dropout that the file may ask for are left out: they are for
    /// training.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where it cannot be read.
    pub fn from_json(json: &[u8], bos: Option<u32>) -> Result<Tokenizer> {
        let inner = contain(|| {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            inner.with_truncation(None)?;
            inner.with_padding(None);
            if let ModelWrapper::BPE(bpe) = inner.get_model()
                && bpe.dropout.is_some()
            {
                let mut bpe = bpe.clone();
                bpe.dropout = None;
                inner.with_model(ModelWrapper::BPE(bpe));
            }
            Ok(inner)
        })?;
        Ok(Tokenizer { inner: Arc::new(inner), bos, path: None })
    }

    /// The largest id of its tokens, added ones counted in; `None` where it has none.
    pub fn max_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).into_values().max()
    }

    /// The ids of a text; with `special`, also those that the file's post-processor adds (a BOS in
    /// front, mostly).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        self.contain(|| Ok(self.inner.encode_fast(text, special)?.get_ids().to_vec()))
    }

    /// The ids that begin a sequence with this text: special tokens added, and exactly one BOS in
    /// front where the model has one, even if the text spells another. An empty text gives the BOS
    /// alone.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text, true)?;
        if let Some(bos) = self.bos {
            let there = ids.iter().take_while(|&&id| id == bos).count();
            ids.splice(..there, [bos]);
        }
        Ok(ids)
    }

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.contain(|| self.inner.decode(ids, true))
    }

    /// The text of some ids, special tokens spelt out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.contain(|| self.inner.decode(ids, false))
    }

    /// Runs the library's code; where it fails, the error names the model file, if there is one.
    fn contain<T>(&self, run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
        contain(run).map_err(|error| match &self.path {
            Some(path) => name(error, path),
            None => error,
        })
    }

    /// Decodes ids as they come, from the start of a sequence.
    pub fn stream(&self) -> DecodeStream {
        DecodeStream { tokenizer: self.clone(), window: Vec::new(), done: 0, given: 0 }
    }

    /// Decodes ids as they come, behind a sequence whose text is already known: what a prompt's
    /// continuation reads like depends on the prompt (a space in front of a word, the rest of a
    /// character).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn stream_after(&self, ids: &[u32]) -> Result<DecodeStream> {
        // The end of it says enough, if it does not begin inside a run of bytes.
        let mut start = ids.len().saturating_sub(RUN);
        while start > 0 && ids.len() - start < WINDOW && self.is_byte(ids[start]) {
            start -= 1;
        }
        let mut stream = self.stream();
        for &id in &ids[start..] {
            stream.push(id)?;
        }
        Ok(stream)
    }

    /// Tokens of the vocabulary, special and added ones counted.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.simple_id_to_token(id).is_some_and(|token| added.is_special_token(&token))
    }

    /// Whether the id stands for a single byte, `<0x41>`: a run of them is decoded as a whole.
    fn is_byte(&self, id: u32) -> bool {
        self.inner.id_to_token(id).is_some_and(|token| {
            token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
        })
    }
}

/// Ids to text, one at a time: each token gives the text that is certain now.
///
/// The pieces are those of decoding all ids so far after every token and giving out what is new,
/// unless the text ends with U+FFFD, which may be a character whose other bytes are still to come.
/// Only a window of the last tokens is decoded, so a token costs the same however long the text is.
/// The window starts where what comes later cannot change what came before: not inside a run of
/// byte tokens, unless that run is very long.
#[derive(Clone, Debug)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    window: Vec<u32>,
    /// Tokens at the window's start whose text is all given out.
    done: usize,
    /// Characters of the window's text that are given out.
    given: usize,
}

impl DecodeStream {
    /// Takes the next token and gives the text that it completes, often none.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_special(id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let full = self.window.len() >= WINDOW;
        let text = self.tokenizer.decode(&self.window)?;
        if text.ends_with(REPLACEMENT) && !full {
            return Ok(String::new());
        }
        let piece: String = text.chars().skip(self.given).collect();
        self.given += piece.chars().count();
        self.shrink(full)?;
        Ok(piece)
    }

    /// The text held back so far: at the end, incomplete characters come out as U+FFFD.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the library fails.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.window)?;
        let piece: String = text.chars().skip(self.given).collect();
        self.given += piece.chars().count();
        Ok(piece)
    }

    /// Forgets the tokens in front of the last piece, where that changes nothing. The last piece
    /// stays: decoders treat the first token of a text in their own way (they strip its space), and
    /// this one has been given out.
    fn shrink(&mut self, full: bool) -> Result<()> {
        let kept = &self.window[self.done..];
        let inside_run = self.done > 0
            && kept.first().is_some_and(|&id| self.tokenizer.is_byte(id))
            && self.tokenizer.is_byte(self.window[self.done - 1]);
        if !inside_run || self.window.len() >= RUN {
            let text = self.tokenizer.decode(kept)?;
            if full || !(text.is_empty() || text.ends_with(REPLACEMENT)) {
                self.given = text.chars().count();
                self.window.drain(..self.done);
            }
        }
        self.done = self.window.len();
        if self.done >= WINDOW {
            // All one piece: bytes that make no text. Nothing of it is worth keeping.
            self.window.clear();
            (self.done, self.given) = (0, 0);
        }
        Ok(())
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
