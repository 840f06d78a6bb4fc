//! What a single token reads like, for log-probabilities.

use std::fmt::Write;
use std::sync::OnceLock;

use mmfree::Tokenizer;

/// What stands for bytes that are no UTF-8.
const REPLACEMENT: &str = "\u{FFFD}";

/// The text of each token inside a text, made when it is asked for.
#[derive(Debug)]
pub struct TokenText {
    tokenizer: Tokenizer,
    /// A token after which others are decoded, and its text: decoders treat the first of a text in their own way.
    anchor: Option<(u32, String)>,
    texts: Vec<OnceLock<Piece>>,
    /// The byte that a token stands for, by id.
    bytes: Vec<(u32, u8)>,
}

/// A token's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Readable: a special token spelt out, a byte that is no character as `bytes:\xe2`.
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
            bytes: byte_tokens(json),
        }
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
            let byte = self.bytes[at].1;
            let text = match byte.is_ascii() {
                true => char::from(byte).to_string(),
                false => format!("bytes:\\x{byte:02x}"),
            };
            return Piece { text, bytes: Some(vec![byte]), special: false };
        }
        let text = self.decode(id, Tokenizer::decode_with_special);
        let plain = self.decode(id, Tokenizer::decode);
        let special = plain.is_empty() && !text.is_empty();
        if text.contains(REPLACEMENT) {
            return Piece { text: unreadable(id), bytes: None, special };
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

/// A token that is part of a character, of which the bytes are unknown: its number tells it from others.
fn unreadable(id: u32) -> String {
    let mut text = String::from("bytes:");
    // Writing to a string does not fail.
    let _ = write!(text, "token {id}");
    text
}

/// The tokens that stand for a single byte, `<0x41>`, in rising order.
fn byte_tokens(json: &[u8]) -> Vec<(u32, u8)> {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let vocab = &json["model"]["vocab"];
    let id = |byte: u8| vocab.get(format!("<0x{byte:02X}>"))?.as_u64();
    let mut all: Vec<(u32, u8)> =
        (0..=u8::MAX).filter_map(|byte| Some((u32::try_from(id(byte)?).ok()?, byte))).collect();
    all.sort_unstable();
    all
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
}
