//! Texts of a given form: a JSON schema, a regular expression, a grammar.
//!
//! The parser is llguidance's, over the bytes of our own tokenizer's tokens. A description comes from a client and may be
//! hostile: before this process compiles one, a helper process has compiled it within limits of time, memory and stack. What
//! it may cost later, for a mask between two tokens, is limited in steps (`compile`), so that the same request always
//! ends in the same way.

mod check;
mod compile;
mod vocabulary;

use std::sync::Arc;

use llguidance::Matcher;
use mmfree::{Constraint, Error, Result, TokenMask};
use tokio::sync::OwnedSemaphorePermit;

pub use check::{COMMAND, Checker, Invalid, work};
pub use compile::Source;
pub use vocabulary::Vocabulary;

/// The fields of requests that ask for a form, and so the names of the option in errors of the engine.
pub const FIELDS: [&str; 7] = [
    "response_format",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "json_schema",
];

/// A form that was compiled, from which any number of texts can start.
pub struct Compiled {
    matcher: Matcher,
    vocabulary: Arc<Vocabulary>,
    /// Its place among the forms that are held at once.
    _place: OwnedSemaphorePermit,
}

/// How one text of a form starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which of [`FIELDS`] asks for it.
    pub field: &'static str,
    /// The form.
    pub compiled: Arc<Compiled>,
    /// Tokens that end the text.
    pub eos: Arc<[u32]>,
    /// Whether nothing that reads comes before the text.
    pub bare: bool,
}

impl Start {
    /// The constraint of a text that starts here. It shares nothing with others that changes.
    pub fn begin(&self) -> Box<dyn Constraint> {
        Box::new(Text {
            field: self.field,
            matcher: self.compiled.matcher.deep_clone(),
            vocabulary: Arc::clone(&self.compiled.vocabulary),
            eos: Arc::clone(&self.eos),
            bare: self.bare,
            ended: false,
        })
    }
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compiled")
    }
}

/// A text of a form, as far as it has come.
struct Text {
    field: &'static str,
    matcher: Matcher,
    vocabulary: Arc<Vocabulary>,
    eos: Arc<[u32]>,
    bare: bool,
    /// A token that ends the text has come.
    ended: bool,
}

impl Constraint for Text {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<()> {
        let set = self.matcher.compute_mask_or_eos().map_err(|error| failed(self.field, &error))?;
        let may_end = set.is_allowed(self.vocabulary.end());
        let words = mask.words_mut();
        words.iter_mut().zip(set.as_slice()).for_each(|(word, set)| *word = *set);
        self.vocabulary.ban_unwritten(words, self.bare);
        // The text ends where its form may end, and nowhere else.
        for &id in &*self.eos {
            if may_end { mask.allow(id) } else { mask.ban(id) }
        }
        Ok(())
    }

    fn take(&mut self, id: u32) -> Result<()> {
        if self.eos.contains(&id) {
            self.ended = true;
            return Ok(());
        }
        self.bare = false;
        self.matcher.consume_token(id).map_err(|error| failed(self.field, &error))
    }

    fn is_done(&self) -> bool {
        self.ended || self.matcher.is_stopped() && !self.matcher.is_error()
    }

    fn clone_box(&self) -> Box<dyn Constraint> {
        Box::new(Text {
            matcher: self.matcher.deep_clone(),
            vocabulary: Arc::clone(&self.vocabulary),
            eos: Arc::clone(&self.eos),
            ..*self
        })
    }
}

fn failed(name: &'static str, error: &impl std::fmt::Display) -> Error {
    let reason = format!("cannot be kept to any further: {}", compile::one_line(error));
    Error::Option { name, reason }
}

#[cfg(all(test, feature = "demo"))]
mod tests;
