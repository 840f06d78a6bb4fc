//! How long a text may become on its way to ids and back.
//!
//! A `tokenizer.json` is a program of a kind: twelve replacements of `a` by ten letters `a` in a
//! row make 10^12 of one. So the steps of normalizers, pre-tokenizers and decoders run one by one,
//! and one whose result would be too long is not run. What a step makes of a text is foreseen, or
//! measured in small pieces; it is not found out by running out of memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::normalizers::Replace;
use tokenizers::utils::SysRegex;

/// Bytes that a text may have for each of its own at any step. Decomposed Hangul at the byte level
/// takes 6, spaces as U+2581 take 3; most text takes 1.
pub(super) const MAX_GROWTH: usize = 8;

/// Bytes that a text may have besides: for what is put before it, and for short ones.
const SLACK: usize = 64 << 10;

/// What a text has grown to, and may.
#[derive(Debug)]
pub(super) struct Growth {
    from: usize,
    limit: usize,
    /// Bytes of parts that are through.
    spent: AtomicUsize,
    /// Why the first step that failed did: the library drops the errors of normalizers.
    fault: OnceLock<String>,
}

impl Growth {
    /// For a text of `len` bytes.
    pub fn of(len: usize) -> Growth {
        let limit = len.saturating_mul(MAX_GROWTH).saturating_add(SLACK);
        Growth { from: len, limit, spent: AtomicUsize::new(0), fault: OnceLock::new() }
    }

    /// Bytes that a part may have beside those that are through.
    pub fn left(&self) -> usize {
        self.limit.saturating_sub(self.spent.load(Ordering::Relaxed))
    }

    /// Counts a part that is through.
    pub fn spend(&self, len: usize) {
        self.spent.fetch_add(len, Ordering::Relaxed);
    }

    /// # Errors
    /// Where a part of `len` bytes would make the whole too long. It is kept for
    /// [`result`](Self::result).
    pub fn allow(&self, len: usize) -> tokenizers::Result<()> {
        if len <= self.left() {
            return Ok(());
        }
        let Growth { from, limit, .. } = self;
        Err(self.fail(format!(
            "it makes a text of {from} bytes longer than {limit}, which is {MAX_GROWTH} times its length \
             and some"
        )))
    }

    /// Keeps the first reason for [`result`](Self::result).
    pub fn fail(&self, reason: String) -> tokenizers::Error {
        self.fault.get_or_init(|| reason.clone());
        reason.into()
    }

    /// # Errors
    /// The first one that there was.
    pub fn result(&self) -> tokenizers::Result<()> {
        self.fault.get().map_or(Ok(()), |reason| Err(reason.clone().into()))
    }
}

/// What a `Replace` replaces, to foresee how long a text becomes.
#[derive(Debug)]
pub(super) struct Replacement {
    pattern: Pattern,
    content: usize,
}

#[derive(Debug)]
enum Pattern {
    Text(String),
    /// Compiled when it is needed: that can take 10 MB.
    Regex {
        source: String,
        regex: OnceLock<Option<SysRegex>>,
    },
}

impl Replacement {
    pub fn of(replace: &Replace) -> tokenizers::Result<Replacement> {
        let value = serde_json::to_value(replace)?;
        let text = |kind: &str| value["pattern"][kind].as_str().map(str::to_owned);
        let pattern = match (text("String"), text("Regex")) {
            (Some(text), _) => Pattern::Text(text),
            (None, Some(source)) => Pattern::Regex { regex: OnceLock::new(), source },
            (None, None) => return Err("Replace has a pattern that is none".into()),
        };
        Ok(Replacement { pattern, content: replace.content.len() })
    }

    /// Bytes that a text has after it, at most; exactly where an estimate is above `left`.
    pub fn grown(&self, text: &str, left: usize) -> usize {
        let replaced = |count: usize, bytes: usize| {
            let added = count.saturating_mul(self.content);
            (text.len() - bytes).saturating_add(added)
        };
        match &self.pattern {
            Pattern::Text(pattern) if pattern.is_empty() => replaced(text.chars().count() + 1, 0),
            Pattern::Text(pattern) => {
                let count = text.matches(pattern.as_str()).count();
                replaced(count, count * pattern.len())
            }
            Pattern::Regex { source, regex } => match replaced(text.chars().count() + 1, 0) {
                most if most <= left => most,
                _ => {
                    let compiled = regex.get_or_init(|| SysRegex::new(source).ok());
                    let Some(regex) = compiled else { return usize::MAX };
                    let count = |(count, bytes), (start, end)| (count + 1, bytes + (end - start));
                    let (count, bytes) = regex.find_iter(text).fold((0, 0), count);
                    replaced(count, bytes)
                }
            },
        }
    }

    /// Whether it can only match where a text begins.
    pub fn is_at_start(&self) -> bool {
        match &self.pattern {
            Pattern::Text(_) => false,
            Pattern::Regex { source, .. } => source.starts_with('^') || source.starts_with("\\A"),
        }
    }

    /// Texts that it replaces, as far as that can be read off.
    pub fn samples(&self) -> Vec<String> {
        let source = match &self.pattern {
            Pattern::Text(text) | Pattern::Regex { source: text, .. } => text,
        };
        let letters = source.chars().map(String::from);
        let whole = matches!(self.pattern, Pattern::Text(_)).then(|| source.clone());
        letters.chain(whole).filter(|text| !text.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacement(pattern: serde_json::Value, content: &str) -> (Replace, Replacement) {
        let json = serde_json::json!({"type": "Replace", "pattern": pattern, "content": content});
        let replace = serde_json::from_value(json).unwrap();
        let replacement = Replacement::of(&replace).unwrap();
        (replace, replacement)
    }

    #[test]
    fn a_replacement_is_foreseen_to_the_byte() {
        use tokenizers::{NormalizedString, Normalizer};
        for (pattern, content) in [
            (serde_json::json!({"String": "a"}), "bcd"),
            (serde_json::json!({"String": "aa"}), ""),
            (serde_json::json!({"String": " "}), "\u{2581}"),
            (serde_json::json!({"Regex": " {2,}"}), "\u{2581}\u{2581}\u{2581}"),
            (serde_json::json!({"Regex": "[aé]"}), "long enough to see"),
        ] {
            let (replace, replacement) = replacement(pattern, content);
            for text in ["", "a", "aaaaa", "a  b   aé é", "    "] {
                let mut normalized = NormalizedString::from(text);
                replace.normalize(&mut normalized).unwrap();
                assert_eq!(replacement.grown(text, 0), normalized.get().len(), "{text:?}");
                assert!(replacement.grown(text, usize::MAX) >= normalized.get().len());
            }
        }
    }

    #[test]
    fn a_text_may_grow_to_eight_times_its_length_and_some() {
        let growth = Growth::of(1 << 20);
        assert!(growth.allow(8 << 20).is_ok());
        growth.spend(8 << 20);
        assert!(growth.allow(SLACK).is_ok());
        assert!(growth.result().is_ok());
        assert!(growth.allow(SLACK + 1).is_err());
        assert!(growth.result().unwrap_err().to_string().contains("a text of 1048576 bytes"));
    }
}
