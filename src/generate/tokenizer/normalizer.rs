//! Normalizers, step by step.

use tokenizers::normalizers::precompiled::Precompiled;
use tokenizers::normalizers::{Prepend, Replace, Strip};
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::growth::{Growth, Replacement};

/// Bytes in which a step that looks at characters one by one is measured.
const PIECE: usize = 1024;

/// A normalizer that is no sequence.
#[derive(Debug)]
pub(super) enum Step {
    Prepend(Prepend),
    Replace(Replace, Replacement),
    Precompiled(Precompiled),
    Strip(Strip),
    /// One that makes at most so many bytes of each.
    Bounded(NormalizerWrapper, usize),
}

/// The steps of a normalizer, sequences flattened.
pub(super) fn steps(normalizer: Option<NormalizerWrapper>) -> tokenizers::Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(normalizer) = normalizer {
        flatten(normalizer, &mut steps)?;
    }
    Ok(steps)
}

fn flatten(normalizer: NormalizerWrapper, steps: &mut Vec<Step>) -> tokenizers::Result<()> {
    use NormalizerWrapper as N;
    // Unicode's bounds on expansion in UTF-8: 3 for NFC and NFD, 11 for the compatibility forms
    // (https://unicode.org/faq/normalization.html). Lower case: U+0130 and U+023A take 3 bytes for
    // 2. BertNormalizer puts 2 spaces around 3 bytes, decomposes, and lowers the case.
    steps.push(match normalizer {
        N::Sequence(sequence) => {
            return sequence.into_iter().try_for_each(|normalizer| flatten(normalizer, steps));
        }
        N::Replace(replace) => {
            let replacement = Replacement::of(&replace)?;
            Step::Replace(replace, replacement)
        }
        N::Prepend(prepend) => Step::Prepend(prepend),
        N::Precompiled(precompiled) => Step::Precompiled(precompiled),
        N::StripNormalizer(strip) => Step::Strip(strip),
        other @ (N::StripAccents(_) | N::Nmt(_)) => Step::Bounded(other, 1),
        other @ (N::Lowercase(_) | N::ByteLevel(_)) => Step::Bounded(other, 2),
        other @ (N::NFC(_) | N::NFD(_)) => Step::Bounded(other, 3),
        other @ N::BertNormalizer(_) => Step::Bounded(other, 8),
        other @ (N::NFKC(_) | N::NFKD(_)) => Step::Bounded(other, 11),
    });
    Ok(())
}

/// Runs the steps on the parts of a text, as long as it stays within its growth.
pub(super) struct Steps<'a> {
    pub steps: &'a [Step],
    pub growth: &'a Growth,
    /// Whether the text goes on from another: what belongs to the start of a text is not done to
    /// its first part.
    pub continues: bool,
}

impl Normalizer for Steps<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        // A part that an added token cut off begins elsewhere in the original.
        let continues = self.continues && text.offsets_original().0 == 0;
        for step in self.steps {
            let run = self.growth.allow(step.grown(text.get(), self.growth.left()));
            let run = run.and_then(|()| step.run(text, continues));
            if let Err(error) = run {
                // Of no use any more, and the library goes on with it.
                text.clear();
                return Err(self.growth.fail(error.to_string()));
            }
        }
        self.growth.spend(text.get().len());
        Ok(())
    }
}

impl Step {
    /// Bytes that a text has after it, at most; closely where an estimate is above `left`.
    fn grown(&self, text: &str, left: usize) -> usize {
        match self {
            Step::Prepend(prepend) => text.len() + prepend.prepend.len(),
            Step::Replace(_, replacement) => replacement.grown(text, left),
            Step::Precompiled(precompiled) => grown_by_map(precompiled, text),
            Step::Strip(_) => text.len(),
            Step::Bounded(normalizer, factor) => match text.len().saturating_mul(*factor) {
                most if most <= left => most,
                _ => measured(normalizer, text),
            },
        }
    }

    fn run(&self, text: &mut NormalizedString, continues: bool) -> tokenizers::Result<()> {
        match self {
            Step::Prepend(_) if continues => Ok(()),
            Step::Prepend(prepend) => prepend.normalize(text),
            Step::Replace(_, replacement) if continues && replacement.is_at_start() => Ok(()),
            Step::Replace(replace, _) => replace.normalize(text),
            Step::Precompiled(precompiled) => precompiled.normalize(text),
            Step::Strip(strip) if continues => Strip::new(false, strip.strip_right).normalize(text),
            Step::Strip(strip) => strip.normalize(text),
            Step::Bounded(normalizer, _) => normalizer.normalize(text),
        }
    }

    /// Texts that it makes longer, perhaps.
    pub fn samples(&self) -> Vec<String> {
        match self {
            Step::Replace(_, replacement) => replacement.samples(),
            _ => Vec::new(),
        }
    }

    pub fn is_byte_level(&self) -> bool {
        matches!(self, Step::Bounded(NormalizerWrapper::ByteLevel(_), _))
    }
}

/// What a step that looks at characters one by one makes of a text: the sum over small pieces.
fn measured(normalizer: &NormalizerWrapper, mut text: &str) -> usize {
    let mut sum = 0;
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE.min(text.len())));
        let mut normalized = NormalizedString::from(piece);
        sum += match normalizer.normalize(&mut normalized) {
            Ok(()) => normalized.get().len(),
            Err(_) => piece.len(),
        };
        text = rest;
    }
    sum
}

/// What SentencePiece's map of characters makes of a text, at most. It looks up grapheme clusters
/// of fewer than 6 bytes, and characters; here, all that could be one.
fn grown_by_map(map: &Precompiled, text: &str) -> usize {
    let mut sum = 0usize;
    for (at, first) in text.char_indices() {
        let (mut len, mut most) = (0, first.len_utf8());
        for c in text[at..].chars() {
            // Of ASCII, only the end of a line is a cluster.
            let apart = len == 1 && c.is_ascii() && (first, c) != ('\r', '\n');
            len += c.len_utf8();
            if len >= 6 || apart {
                break;
            }
            let mapped = map.transform(&text[at..at + len]);
            most = most.max(mapped.map_or(0, str::len));
        }
        sum = sum.saturating_add(most);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(json: serde_json::Value, text: &str, continues: bool) -> String {
        let steps = steps(serde_json::from_value(json).unwrap()).unwrap();
        let growth = Growth::of(text.len());
        let mut normalized = NormalizedString::from(text);
        let run = Steps { steps: &steps, growth: &growth, continues };
        let _ = run.normalize(&mut normalized);
        if let Err(error) = growth.result() {
            return error.to_string();
        }
        normalized.get().to_owned()
    }

    #[test]
    fn steps_are_the_library_s_own() {
        let json = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Sequence", "normalizers": [
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
                {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"},
            ]},
            {"type": "Strip", "strip_left": true, "strip_right": true},
        ]});
        for text in ["", " ", "A caf\u{e9} \u{fdfa}", "\u{130} x "] {
            let whole: NormalizerWrapper = serde_json::from_value(json.clone()).unwrap();
            let mut expected = NormalizedString::from(text);
            whole.normalize(&mut expected).unwrap();
            assert_eq!(normalized(json.clone(), text, false), expected.get());
        }
    }

    #[test]
    fn a_text_that_goes_on_has_no_start() {
        let json = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Strip", "strip_left": true, "strip_right": false},
            {"type": "Prepend", "prepend": "_"},
            {"type": "Replace", "pattern": {"Regex": "^x"}, "content": "y"},
        ]});
        assert_eq!(normalized(json.clone(), " x", false), "_x");
        assert_eq!(normalized(json.clone(), " x", true), " x");
        assert_eq!(normalized(json, "x", true), "x");
    }

    #[test]
    fn text_of_every_script_may_be_normalized() {
        let forms = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"];
        let mut sequences: Vec<serde_json::Value> =
            forms.iter().map(|form| serde_json::json!({"type": form})).collect();
        sequences.push(serde_json::json!({"type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "strip_accents": true, "lowercase": true}));
        sequences.push(serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "ByteLevel"}]}));
        for json in sequences {
            for word in [" ", "plain text ", "Ну что ж ", "中文字", "한국어", "日本が", "\u{1f984}"]
            {
                let text = word.repeat(200_000 / word.len());
                let shown = normalized(json.clone(), &text, false);
                assert!(!shown.contains("it makes a text"), "{json} {word}: {shown:.80}");
            }
        }
    }

    #[test]
    fn the_factors_of_unicode_hold_for_every_character() {
        for (form, factor) in
            [("NFC", 3), ("NFD", 3), ("NFKC", 11), ("NFKD", 11), ("Lowercase", 2), ("ByteLevel", 2)]
        {
            let form: NormalizerWrapper =
                serde_json::from_value(serde_json::json!({"type": form})).unwrap();
            // The planes with letters.
            for c in '\0'..'\u{30000}' {
                let mut text = NormalizedString::from(String::from(c));
                form.normalize(&mut text).unwrap();
                assert!(text.get().len() <= factor * c.len_utf8(), "{c:?} {}", text.get());
            }
        }
    }
}
