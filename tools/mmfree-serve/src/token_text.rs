//! What a single token reads like, for log-probabilities.

use std::fmt::Write;
use std::sync::OnceLock;

use mmfree::Tokenizer;
use serde_json::Value;

/// What stands for bytes that are no UTF-8.
const REPLACEMENT: &str = "\u{FFFD}";

/// The text of each token inside a text, made when it is asked for.
#[derive(Debug)]
pub struct TokenText {
    tokenizer: Tokenizer,
    /// A token after which others are decoded, and its text: decoders treat the first of a text in their own way.
    anchor: Option<(u32, String)>,
    texts: Vec<OnceLock<Piece>>,
    /// The bytes of tokens that are no text of their own, in the order of their ids.
    bytes: Vec<(u32, Vec<u8>)>,
}

/// A token's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Readable: a special token spelt out, bytes that are no characters as `bytes:\xe2\x80`.
    pub text: String,
    /// The bytes that it adds to a text; `None` where that is unknown.
    pub bytes: Option<Vec<u8>>,
    /// Whether it is none of the text that is given out.
    pub special: bool,
}

impl TokenText {
    pub fn new(tokenizer: &Tokenizer, json: &[u8], vocab_size: usize) -> TokenText {
        let anchor = tokenizer.encode("a", false).ok().and_then(|ids| {
            let id = *ids.last()?;
            Some((id, tokenizer.decode_with_special(&[id]).ok()?))
        });
        TokenText {
            tokenizer: tokenizer.clone(),
            anchor,
            texts: (0..vocab_size).map(|_| OnceLock::new()).collect(),
            bytes: tokens_of_bytes(json),
        }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a token.
    pub fn piece(&self, id: u32) -> Piece {
        match self.texts.get(id as usize) {
            Some(known) => known.get_or_init(|| self.make(id)).clone(),
            None => self.make(id),
        }
    }

    fn make(&self, id: u32) -> Piece {
        if let Ok(at) = self.bytes.binary_search_by_key(&id, |(id, _)| *id) {
            let bytes = self.bytes[at].1.clone();
            let text = match String::from_utf8(bytes.clone()) {
                Ok(text) => text,
                Err(_) => unreadable(&bytes),
            };
            return Piece { text, bytes: Some(bytes), special: false };
        }
        let text = self.decode(id, Tokenizer::decode_with_special);
        let plain = self.decode(id, Tokenizer::decode);
        let special = plain.is_empty() && !text.is_empty();
        if text.contains(REPLACEMENT) {
            return Piece { text: format!("bytes:token {id}"), bytes: None, special };
        }
        let bytes = Some(text.clone().into_bytes());
        Piece { text, bytes, special }
    }

    /// What a token adds behind the anchor.
    fn decode(
        &self,
        id: u32,
        decode: impl Fn(&Tokenizer, &[u32]) -> mmfree::Result<String>,
    ) -> String {
        if let Some((anchor, before)) = &self.anchor
            && let Ok(both) = decode(&self.tokenizer, &[*anchor, id])
            && let Some(text) = both.strip_prefix(before.as_str())
        {
            return text.to_owned();
        }
        decode(&self.tokenizer, &[id]).unwrap_or_default()
    }
}

/// Bytes that are part of a character.
fn unreadable(bytes: &[u8]) -> String {
    let mut text = String::from("bytes:");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
    text
}

/// The tokens that stand for bytes rather than for text, in rising order: single ones, as `<0x41>`, and where all are
/// spelt in byte-level BPE's alphabet, those that are no whole characters.
fn tokens_of_bytes(json: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let json: Value = serde_json::from_slice(json).unwrap_or_default();
    let vocab = json["model"]["vocab"].as_object();
    let ids = vocab.into_iter().flatten();
    let ids = ids.filter_map(|(token, id)| Some((token, u32::try_from(id.as_u64()?).ok()?)));
    let is_byte_level = is_byte_level(&json["decoder"]);
    let bytes = |token: &str| -> Option<Vec<u8>> {
        if let Some(hex) = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
            return Some(vec![
                u8::from_str_radix(hex, 16)
                    .ok()
                    .filter(|_| hex.len() == 2 && !hex.starts_with('+'))?,
            ]);
        }
        let bytes: Vec<u8> = token.chars().map(byte_of).collect::<Option<_>>()?;
        (is_byte_level && std::str::from_utf8(&bytes).is_err()).then_some(bytes)
    };
    let mut all: Vec<_> = ids.filter_map(|(token, id)| Some((id, bytes(token)?))).collect();
    all.sort_unstable();
    all
}

/// Whether a decoder, or one in a sequence of them, is that of byte-level BPE.
fn is_byte_level(decoder: &Value) -> bool {
    decoder["type"] == "ByteLevel"
        || decoder["decoders"].as_array().is_some_and(|all| all.iter().any(is_byte_level))
}

/// The byte that a character stands for in byte-level BPE, as GPT-2's `bytes_to_unicode` assigns them: printable ones of
/// Latin-1 are themselves, the others are numbered from 256 on.
fn byte_of(c: char) -> Option<u8> {
    let code = c as u32;
    let byte = match code {
        33..=126 | 161..=172 | 174..=255 => code,
        256..=288 => code - 256,
        289..=322 => code - 289 + 127,
        323 => 173,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(all(test, feature = "demo"))]
mod tests {
    use mmfree::ModelFile;

    use super::*;

    #[test]
    fn tokens_keep_their_spaces_bytes_are_named_and_special_ones_spelt() {
        let file = ModelFile::demo().unwrap();
        let tokenizer = Tokenizer::from_file(&file).unwrap().unwrap();
        let texts = TokenText::new(&tokenizer, file.tokenizer_json().unwrap(), 2048);
        let ids = tokenizer.encode("the king of the hill", false).unwrap();
        let joined: String = ids.iter().map(|&id| texts.piece(id).text).collect();
        assert_eq!(joined, " the king of the hill");
        assert_eq!(texts.piece(1).text, "<s>");
        assert!(texts.piece(1).special && !texts.piece(ids[0]).special);
        let umlaut = tokenizer.encode("\u{1F642}", false).unwrap();
        let bytes: Vec<u8> = umlaut.iter().flat_map(|&id| texts.piece(id).bytes.unwrap()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), "\u{1F642}");
    }
    #[test]
    fn parts_of_characters_are_their_bytes_in_byte_level_tokenizers_too() {
        let all: Vec<u8> = (33..=126).chain(161..=172).chain(174..=255).collect();
        let rest = (0..=255).filter(|byte| !all.contains(byte));
        for (n, byte) in rest.enumerate() {
            assert_eq!(byte_of(char::from_u32(256 + n as u32).unwrap()), Some(byte));
        }
        assert_eq!(byte_of('\u{144}'), None);
        let vocab = |decoder: &str| {
            let json = format!(
                r#"{{"model": {{"vocab": {{"â": 3, "Ģ": 1, "âĤ¬": 2, "Ġthe": 4, "ĠðŁ": 5, "<0xE2>": 6, "<0x1>": 7}}}}, "decoder": {decoder}}}"#
            );
            tokens_of_bytes(json.as_bytes())
        };
        let single = (6, vec![0xe2]);
        let expected =
            vec![(1, vec![0x80]), (3, vec![0xe2]), (5, vec![0x20, 0xf0, 0x9f]), single.clone()];
        assert_eq!(vocab(r#"{"type": "ByteLevel"}"#), expected);
        let inside =
            r#"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteLevel"}]}"#;
        assert_eq!(vocab(inside), expected);
        assert_eq!(vocab(r#"{"type": "Metaspace"}"#), vec![single]);
        assert_eq!(unreadable(&[0x20, 0xf0]), "bytes:\\x20\\xf0");
    }
}
