//! The tokenizer against what the Hugging Face library gave, and the streaming decoder against its
//! rule.

use std::sync::LazyLock;

use mmfree::packing::Packing;
use mmfree::{Error, ModelFile, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::synthetic;
use crate::tokenizers::{self, from_json};

#[derive(Deserialize)]
struct Golden {
    encode: Vec<Encode>,
    stream: Vec<Stream>,
}

#[derive(Deserialize)]
struct Encode {
    text: String,
    ids: Vec<u32>,
    ids_no_special: Vec<u32>,
    decoded: String,
    decoded_keep_special: String,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
    flush: String,
    full: String,
}

fn cases() -> Vec<(Tokenizer, Golden)> {
    ["a_basic_fp32", "b_bf16"]
        .iter()
        .map(|case| {
            let read = |name: &str| {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/goldens");
                std::fs::read(format!("{folder}/{case}/{name}")).unwrap()
            };
            let tokenizer = Tokenizer::from_json(&read("tokenizer.json"), Some(1)).unwrap();
            let mut golden: Golden =
                serde_json::from_slice(&read("tokenizer_golden.json")).unwrap();
            for case in &mut golden.stream {
                let texts = [&mut case.flush, &mut case.full];
                case.pieces.iter_mut().chain(texts).for_each(of_maximal_parts);
            }
            (tokenizer, golden)
        })
        .collect()
}

/// The reference has a U+FFFD for each byte of a run that is no UTF-8; in its streams, only the two
/// bytes of an emoji that was cut, which are one maximal part.
fn of_maximal_parts(text: &mut String) {
    *text = text.replace("\u{FFFD}\u{FFFD}", "\u{FFFD}");
}

#[test]
fn encodes_and_decodes_as_the_reference() {
    for (tokenizer, golden) in cases() {
        assert!(golden.encode.len() > 20);
        for case in golden.encode {
            assert_eq!(tokenizer.encode(&case.text, true).unwrap(), case.ids, "{:?}", case.text);
            let plain = tokenizer.encode(&case.text, false).unwrap();
            assert_eq!(plain, case.ids_no_special, "{:?}", case.text);
            assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.decoded);
            let spelt = tokenizer.decode_with_special(&case.ids).unwrap();
            assert_eq!(spelt, case.decoded_keep_special);
        }
    }
}

#[test]
fn streams_the_pieces_of_the_reference() {
    for (tokenizer, golden) in cases() {
        assert!(golden.stream.len() > 20);
        for case in golden.stream {
            let mut stream = tokenizer.stream();
            let pieces: Vec<String> = case.ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            assert_eq!(pieces, case.pieces, "{}", case.name);
            assert_eq!(stream.finish().unwrap(), case.flush, "{}", case.name);
            assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.full, "{}", case.name);
        }
    }
}

#[test]
fn a_stream_that_starts_behind_a_prompt_gives_the_rest_of_the_text() {
    for (tokenizer, golden) in cases() {
        for case in golden.stream {
            for cut in 0..=case.ids.len() {
                let (prompt, rest) = case.ids.split_at(cut);
                let mut stream = tokenizer.stream_after(prompt).unwrap();
                let mut text = case.pieces[..cut].concat();
                for &id in rest {
                    text += &stream.push(id).unwrap();
                }
                text += &stream.finish().unwrap();
                assert_eq!(text, case.pieces.concat() + &case.flush, "{} at {cut}", case.name);
            }
        }
    }
}

/// The rule itself: decode everything after every token. No id here spells a U+FFFD.
fn by_the_rule(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut given = 0;
    let mut piece = |end: usize, last: bool| {
        let text = tokenizer.decode(&ids[..end]).unwrap();
        let held = usize::from(text.ends_with('\u{FFFD}') && !last);
        let certain = text.chars().count() - held;
        let piece: String = text.chars().take(certain).skip(given).collect();
        given = given.max(certain);
        piece
    };
    let mut pieces: Vec<String> = (1..=ids.len()).map(|end| piece(end, false)).collect();
    pieces.push(piece(ids.len(), true));
    pieces
}

/// Ids of a tokenizer of the goldens, in which bytes are 3 to 258, or of bytes alone.
fn ids(bytes_from: u32, words: std::ops::Range<u32>) -> impl Strategy<Value = Vec<u32>> {
    let byte = move |byte: u8| bytes_from + u32::from(byte);
    let spell = move |text: &str| text.bytes().map(byte).collect::<Vec<u32>>();
    let text = ["a", "é", "日", "🦄", " ", "日本語"].map(spell).to_vec();
    let run = prop_oneof![
        3 => prop::sample::select(text.clone()),
        // Cut where it may be no character.
        2 => (prop::sample::select(text), 0..4usize).prop_map(|(mut ids, len)| {
            ids.truncate(len);
            ids
        }),
        2 => prop::collection::vec(any::<u8>().prop_map(byte), 1..5),
        2 => prop::collection::vec(words, 1..4),
        1 => prop::collection::vec(0..3u32, 1..3),
    ];
    prop::collection::vec(run, 0..30).prop_map(|runs| runs.concat())
}

/// Holds a stream against the rule, and streams that are cut anywhere against the whole text.
fn check_streams(tokenizer: &Tokenizer, ids: &[u32], cut: usize) -> Result<(), TestCaseError> {
    let whole = tokenizer.decode(ids).unwrap();
    let mut stream = tokenizer.stream();
    let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    prop_assert_eq!(&pieces, &by_the_rule(tokenizer, ids));
    prop_assert_eq!(pieces.concat(), &*whole);
    let cut = cut.min(ids.len());
    let mut text = pieces[..cut].concat();
    let mut stream = tokenizer.stream_after(&ids[..cut]).unwrap();
    for &id in &ids[cut..] {
        text += &stream.push(id).unwrap();
    }
    prop_assert_eq!(text + &stream.finish().unwrap(), whole);
    Ok(())
}

static GOLDEN: LazyLock<Vec<Tokenizer>> =
    LazyLock::new(|| cases().into_iter().map(|(tokenizer, _)| tokenizer).collect());

static BYTE_LEVEL: LazyLock<Tokenizer> = LazyLock::new(|| from_json(&tokenizers::byte_level()));

static WITH_OTHER_DECODERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(|| {
    let mark = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
        "split": true});
    let decoders = [
        json!(null),
        mark.clone(),
        json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, mark]}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "Fuse"}),
        json!({"type": "CTC", "pad_token": "\u{2581}", "word_delimiter_token": "|",
            "cleanup": false}),
    ];
    let with = |decoder| {
        let mut json = tokenizers::golden();
        json["decoder"] = decoder;
        from_json(&json)
    };
    decoders.into_iter().map(with).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn streams_are_the_whole_text_wherever_they_are_cut(
        ids in ids(3, 259..459),
        cut in 0..150usize,
    ) {
        for tokenizer in &*GOLDEN {
            check_streams(tokenizer, &ids, cut)?;
        }
    }

    #[test]
    fn streams_of_every_decoder_are_the_whole_text_wherever_they_are_cut(
        ids in ids(3, 259..459),
        cut in 0..150usize,
    ) {
        for tokenizer in &*WITH_OTHER_DECODERS {
            check_streams(tokenizer, &ids, cut)?;
        }
    }

    #[test]
    fn byte_level_streams_are_the_whole_text_wherever_they_are_cut(
        ids in ids(0, 256..263),
        cut in 0..150usize,
    ) {
        check_streams(&BYTE_LEVEL, &ids, cut)?;
    }
}

#[test]
fn good_characters_stay_where_a_run_of_bytes_is_bad() {
    let (tokenizer, _) = cases().remove(0);
    let bytes = |bytes: &[u8]| bytes.iter().map(|&b| 3 + u32::from(b)).collect::<Vec<u32>>();
    // A prompt, and one byte that is none of a character: nothing of the prompt is shown again.
    let prompt = tokenizer.encode_prompt("你好你好").unwrap();
    let mut stream = tokenizer.stream_after(&prompt).unwrap();
    let text = stream.push(3 + 0xEA).unwrap() + &stream.finish().unwrap();
    assert_eq!(text, "\u{FFFD}");
    assert_eq!(
        tokenizer.decode(&bytes(b"\xE4\xBD\xA0\xFFx\xE5\xA5")).unwrap(),
        "你\u{FFFD}x\u{FFFD}"
    );
    // The rest of a character that the prompt began is shown, and what was shown is not.
    let prompt = bytes("日本".split_at(3).0.as_bytes());
    let mut stream = tokenizer.stream_after(&[&*prompt, &bytes(b"\xE6\x9C")].concat()).unwrap();
    assert_eq!(stream.push(3 + 0xAC).unwrap(), "本");
}

#[test]
fn a_replacement_character_of_the_prompt_is_not_shown_again() {
    let bytes = from_json(&tokenizers::byte_level());
    for tokenizer in [cases().remove(0).0, bytes] {
        let prompt = tokenizer.encode_prompt("x\u{FFFD}").unwrap();
        let mut stream = tokenizer.stream_after(&prompt).unwrap();
        let next = tokenizer.encode_continuation(&prompt, "y").unwrap();
        assert_eq!(next.len(), 1);
        assert_eq!(stream.push(next[0]).unwrap(), "y");
        // As text of its own it comes at once.
        let spelt = tokenizer.encode_continuation(&prompt, "\u{FFFD}").unwrap();
        let mut stream = tokenizer.stream();
        let pieces: String = spelt.iter().map(|&id| stream.push(id).unwrap()).collect();
        assert_eq!(pieces, "\u{FFFD}");
    }
}

#[test]
fn long_runs_of_bytes_come_out_whole() {
    let (tokenizer, _) = cases().remove(0);
    let text = "日本語".repeat(300);
    let mut stream = tokenizer.stream();
    let mut out = String::new();
    for byte in text.bytes() {
        out += &stream.push(3 + u32::from(byte)).unwrap();
    }
    assert_eq!(out + &stream.finish().unwrap(), text);
    // Bytes that never make a character end somewhere, and what follows is text again.
    let mut stream = tokenizer.stream();
    let mut out = String::new();
    for _ in 0..2000 {
        out += &stream.push(3 + 0xFF).unwrap();
    }
    for id in tokenizer.encode("and then", false).unwrap() {
        out += &stream.push(id).unwrap();
    }
    assert!(out.ends_with("and then"), "{out:?}");
}

#[test]
fn a_prompt_starts_with_exactly_one_bos() {
    let (tokenizer, _) = cases().remove(0);
    assert_eq!(tokenizer.encode_prompt("").unwrap(), [1]);
    assert_eq!(tokenizer.encode_prompt("a").unwrap(), [1, 340]);
    assert_eq!(tokenizer.encode_prompt("<s>a").unwrap(), [1, 340]);
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/goldens/a_basic_fp32/tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json["post_processor"] = serde_json::Value::Null;
    let json = json.to_string();
    let with = Tokenizer::from_json(json.as_bytes(), Some(1)).unwrap();
    assert_eq!(with.encode_prompt("a").unwrap(), [1, 340]);
    assert_eq!(with.encode_prompt("").unwrap(), [1]);
    let without = Tokenizer::from_json(json.as_bytes(), None).unwrap();
    assert_eq!(without.encode_prompt("a").unwrap(), [340]);
}

#[test]
fn training_switches_in_the_file_are_left_out() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/goldens/a_basic_fp32/tokenizer.json");
    let plain = std::fs::read(path).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&plain).unwrap();
    json["model"]["dropout"] = 0.5.into();
    json["truncation"] = json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = json!({
        "strategy": {"Fixed": 99}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"
    });
    let odd = Tokenizer::from_json(json.to_string().as_bytes(), Some(1)).unwrap();
    let plain = Tokenizer::from_json(&plain, Some(1)).unwrap();
    let text = "once upon a time there was a king who had three daughters";
    for _ in 0..5 {
        assert_eq!(odd.encode_prompt(text).unwrap(), plain.encode_prompt(text).unwrap());
    }
}

#[test]
fn a_hostile_file_is_an_error() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/goldens/a_basic_fp32/tokenizer.json");
    let good = std::fs::read(path).unwrap();
    for bad in [&b""[..], b"{}", b"null", b"\0\0\0\0", b"{\"model\": 3}", &good[..good.len() / 2]] {
        assert!(Tokenizer::from_json(bad, Some(1)).is_err());
    }
    assert!(Tokenizer::from_json("[".repeat(100_000).as_bytes(), None).is_err());
    // The library's Strip decoder underflows on a token shorter than what it strips.
    let mut json: serde_json::Value = serde_json::from_slice(&good).unwrap();
    json["decoder"] = json!({"type": "Strip", "content": "a", "start": 0, "stop": 9});
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), Some(1)).unwrap();
    let error = tokenizer.decode(&[307]).unwrap_err().to_string();
    assert!(error.starts_with("tokenizer: ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_model_file_brings_its_tokenizer_or_none() {
    let open = |bytes: Vec<u8>| ModelFile::from_bytes("synthetic", &bytes).unwrap();
    let config = synthetic::config();
    let none = open(synthetic::model_without_tokenizer(&config, Packing::I2, 1));
    assert!(Tokenizer::from_file(&none).unwrap().is_none());
    let bad = open(synthetic::model(&config, Packing::I2, 1));
    assert!(matches!(Tokenizer::from_file(&bad), Err(Error::Invalid { .. })));
}
