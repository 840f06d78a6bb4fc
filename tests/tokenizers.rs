//! Tokenizers to test with.

use mmfree::Tokenizer;
use serde_json::{Value, json};

/// The `tokenizer.json` of a golden case: BPE with bytes to fall back on, 512 ids.
pub fn golden() -> Value {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/goldens/a_basic_fp32/tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The same with U+2581 put there by the pre-tokenizer.
pub fn metaspace(prepend_scheme: &str, split: bool) -> Value {
    let mut json = golden();
    json["normalizer"] = Value::Null;
    json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
        "prepend_scheme": prepend_scheme, "split": split});
    json
}

/// Byte-level BPE: ids 0 to 255 are bytes, 256 to 262 words and parts of them.
pub fn byte_level() -> Value {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut vocab = serde_json::Map::new();
    let mut next = 0x100;
    for byte in 0..=255u8 {
        let letter = if printable(byte) { u32::from(byte) } else { next };
        next += u32::from(!printable(byte));
        vocab.insert(char::from_u32(letter).unwrap().to_string(), byte.into());
    }
    // The fifth is the first two bytes of a character.
    let merges =
        ["H e", "l l", "He ll", "\u{120} w", "\u{e6} \u{139}", "\u{e6}\u{139} \u{a5}", "o r"];
    for merge in merges {
        let id = vocab.len();
        vocab.insert(merge.replace(' ', ""), id.into());
    }
    let level = |space: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": space,
        "trim_offsets": true, "use_regex": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": level(false), "post_processor": null,
        "decoder": level(true),
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": merges},
    })
}

pub fn from_json(json: &Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes(), None).unwrap()
}
