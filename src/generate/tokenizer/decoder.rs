//! Tokens to text, step by step.
//!
//! The steps are the library's but for one: of a run of byte tokens, `<0xE6>`, that is no UTF-8,
//! its `ByteFallback` makes U+FFFD for every byte, good characters included. Here good characters
//! stay, and each maximal part that is none becomes one U+FFFD (Unicode 16, section 3.9, "U+FFFD
//! Substitution of Maximal Subparts"), as in the library's `ByteLevel`. So the text of some tokens
//! begins with the text of the first of them, but for a character that is not complete.

use tokenizers::normalizers::Replace;
use tokenizers::{Decoder as _, DecoderWrapper};

use super::growth::{Growth, Replacement};

/// What stands for bytes that are no UTF-8.
pub(super) const REPLACEMENT: char = '\u{FFFD}';

/// Bytes at the end of which a character that is not complete can be told: it has 3 at most.
const LAST: usize = 4;

/// The steps of a decoder; `None` puts spaces between tokens.
#[derive(Debug)]
pub(super) struct Decoder {
    steps: Option<Vec<Step>>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Step {
    ByteFallback,
    Replace(Replace, Replacement),
    /// One that makes little more of its tokens.
    Other(DecoderWrapper),
}

/// How tokens stand for bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bytes {
    /// Not at all.
    None,
    /// Some, for a byte each: `<0xE6>`.
    Fallback,
    /// All: each letter is a byte.
    Level,
}

/// How the bytes of some tokens end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// With a whole character.
    Whole,
    /// With bytes that are none, whatever comes.
    Bad,
    /// With the first bytes of one.
    Open,
}

impl Decoder {
    pub fn new(decoder: Option<DecoderWrapper>) -> tokenizers::Result<Decoder> {
        let mut steps = None;
        if let Some(decoder) = decoder {
            flatten(decoder, steps.get_or_insert_default())?;
        }
        let bytes = steps.iter().flatten().find_map(|step| match step {
            Step::ByteFallback => Some(Bytes::Fallback),
            Step::Other(DecoderWrapper::ByteLevel(_)) => Some(Bytes::Level),
            _ => None,
        });
        Ok(Decoder { steps, bytes: bytes.unwrap_or(Bytes::None) })
    }

    /// The text of some tokens.
    ///
    /// # Errors
    /// Those of the library, and a text that would grow too long.
    pub fn decode(&self, mut tokens: Vec<String>) -> tokenizers::Result<String> {
        let Some(steps) = &self.steps else { return Ok(tokens.join(" ")) };
        // Some of the library's do not expect none.
        if tokens.is_empty() {
            return Ok(String::new());
        }
        let len = |tokens: &[String]| tokens.iter().map(String::len).sum();
        let growth = Growth::of(len(&tokens));
        for step in steps {
            tokens = match step {
                Step::ByteFallback => byte_fallback(tokens),
                Step::Replace(replace, replacement) => {
                    let left = growth.left();
                    let grown = tokens.iter().fold(0usize, |sum, token| {
                        sum.saturating_add(replacement.grown(token, left.saturating_sub(sum)))
                    });
                    growth.allow(grown)?;
                    replace.decode_chain(tokens)?
                }
                Step::Other(decoder) => decoder.decode_chain(tokens)?,
            };
            growth.allow(len(&tokens))?;
        }
        Ok(tokens.concat())
    }

    /// How the bytes of some tokens end, the last token first.
    pub fn end<T: AsRef<str>>(&self, tokens: impl Iterator<Item = T>) -> End {
        let mut last = Vec::new();
        for token in tokens {
            let token = token.as_ref();
            match self.bytes {
                Bytes::None => return End::Whole,
                Bytes::Fallback => match byte(token) {
                    Some(byte) => last.push(byte),
                    None => break,
                },
                Bytes::Level => last.extend(letters(token).into_iter().rev()),
            }
            if last.len() >= LAST {
                break;
            }
        }
        last.truncate(LAST);
        last.reverse();
        end(&last)
    }

    /// Texts that it makes longer, perhaps.
    pub fn samples(&self) -> Vec<String> {
        let samples = self.steps.iter().flatten().map(|step| match step {
            Step::Replace(_, replacement) => replacement.samples(),
            _ => Vec::new(),
        });
        samples.flatten().collect()
    }
}

fn flatten(decoder: DecoderWrapper, steps: &mut Vec<Step>) -> tokenizers::Result<()> {
    steps.push(match decoder {
        DecoderWrapper::Sequence(sequence) => {
            let mut decoders = sequence.get_decoders().iter();
            return decoders.try_for_each(|decoder| flatten(decoder.clone(), steps));
        }
        DecoderWrapper::ByteFallback(_) => Step::ByteFallback,
        DecoderWrapper::Replace(replace) => {
            let replacement = Replacement::of(&replace)?;
            Step::Replace(replace, replacement)
        }
        other => Step::Other(other),
    });
    Ok(())
}

/// The byte that a token stands for, told as the library does.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if token.len() == 6 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Runs of byte tokens as text.
fn byte_fallback(tokens: Vec<String>) -> Vec<String> {
    let mut texts = Vec::with_capacity(tokens.len());
    let mut run = Vec::new();
    let flush = |run: &mut Vec<u8>, texts: &mut Vec<String>| {
        if !run.is_empty() {
            texts.push(String::from_utf8_lossy(run).into_owned());
            run.clear();
        }
    };
    for token in tokens {
        match byte(&token) {
            Some(byte) => run.push(byte),
            None => {
                flush(&mut run, &mut texts);
                texts.push(token);
            }
        }
    }
    flush(&mut run, &mut texts);
    texts
}

/// The bytes of a token whose letters stand for bytes; one with another letter stands for itself.
fn letters(token: &str) -> Vec<u8> {
    token.chars().map(letter).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that a letter stands for in GPT-2's byte-level BPE: printable ones for themselves, the
/// others in turn from U+0100 on (`bytes_to_unicode` in
/// <https://github.com/openai/gpt-2/blob/master/src/encoder.py>).
fn letter(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// How bytes end, given the last of them.
fn end(last: &[u8]) -> End {
    let is_continuation = |byte: &u8| (0x80..0xC0).contains(byte);
    let start = last.iter().rposition(|byte| !is_continuation(byte));
    match (start, last) {
        (None, []) => End::Whole,
        (None, _) => End::Bad,
        (Some(start), _) => match std::str::from_utf8(&last[start..]) {
            Ok(_) => End::Whole,
            Err(error) if error.error_len().is_none() => End::Open,
            Err(_) => End::Bad,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(json: serde_json::Value) -> Decoder {
        Decoder::new(serde_json::from_value(json).unwrap()).unwrap()
    }

    fn tokens(bytes: &[u8]) -> Vec<String> {
        bytes.iter().map(|byte| format!("<0x{byte:02X}>")).collect()
    }

    #[test]
    fn one_replacement_for_each_maximal_bad_part_and_good_neighbours_stay() {
        let decoder = decoder(serde_json::json!({"type": "ByteFallback"}));
        for (bytes, expected) in [
            (&b"\xE4\xBD\xA0\xFF\xE5\xA5\xBD"[..], "你\u{FFFD}好"),
            (b"\xE4\xBD\xA0\xE5\xA5", "你\u{FFFD}"),
            (b"\xF0\x9F\xA6", "\u{FFFD}"),
            (b"\x80\x80", "\u{FFFD}\u{FFFD}"),
            // The example of the Unicode standard, table 3-11.
            (b"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}A"),
            (b"abc", "abc"),
        ] {
            assert_eq!(decoder.decode(tokens(bytes)).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn of_whole_characters_the_library_makes_the_same() {
        let json = serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        let library: DecoderWrapper = serde_json::from_value(json.clone()).unwrap();
        let decoder = decoder(json);
        let word = |text: &str| vec![text.to_owned()];
        for run in [
            [word("\u{2581}a"), tokens("é日".as_bytes()), word("<0xé>"), word("<0x4>")].concat(),
            [tokens("🦄".as_bytes()), word("\u{2581}b"), tokens(b" ")].concat(),
        ] {
            assert_eq!(decoder.decode(run.clone()).unwrap(), library.decode(run).unwrap());
        }
    }

    #[test]
    fn the_letters_of_bytes_are_the_library_s() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().map(|&c| letter(c).unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        let library: DecoderWrapper = serde_json::from_value(
            serde_json::json!({"type": "ByteLevel", "add_prefix_space": true,
                "trim_offsets": true, "use_regex": true}),
        )
        .unwrap();
        for c in alphabet {
            let bytes = letters(&c.to_string());
            let text = library.decode(vec![c.to_string()]).unwrap();
            assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
        assert_eq!(letters("日"), "日".as_bytes());
    }

    #[test]
    fn an_end_is_open_while_a_character_may_come_of_it() {
        let fallback = decoder(serde_json::json!({"type": "ByteFallback"}));
        for (bytes, expected) in [
            (&b""[..], End::Whole),
            (b"a", End::Whole),
            ("日".as_bytes(), End::Whole),
            // A U+FFFD that was spelt.
            (b"\xEF\xBF\xBD", End::Whole),
            (b"\xE6", End::Open),
            (b"\xE6\x97", End::Open),
            (b"\xF0\x9F\xA6", End::Open),
            (b"\xE6\x97\xA5\x80", End::Bad),
            (b"\xF0\x9F\xA6\x84\x80", End::Bad),
            (b"\x80\x80\x80\x80\x80", End::Bad),
            (b"\xE0\x80", End::Bad),
            (b"\xC0", End::Bad),
            (b"\xFF", End::Bad),
        ] {
            let tokens = tokens(bytes);
            let end = fallback.end(tokens.iter().rev());
            assert_eq!(end, expected, "{bytes:?}");
        }
        let level = decoder(serde_json::json!({"type": "ByteLevel", "add_prefix_space": true,
            "trim_offsets": true}));
        assert_eq!(level.end(["Ĺ", "aæ"].into_iter()), End::Open);
        assert_eq!(level.end(["Ķ", "aæ"].into_iter()), End::Open);
        assert_eq!(level.end(["a"].into_iter()), End::Whole);
        let none = decoder(serde_json::Value::Null);
        assert_eq!(none.end(["\u{FFFD}"].into_iter()), End::Whole);
    }
}
