//! The tokenizer against what the Hugging Face library gave, and the streaming decoder against its
//! rule.

use mmfree::packing::Packing;
use mmfree::{Error, ModelFile, Tokenizer};
use serde::Deserialize;

use crate::synthetic;

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
            (tokenizer, serde_json::from_slice(&read("tokenizer_golden.json")).unwrap())
        })
        .collect()
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

/// The rule itself: decode everything after every token.
fn by_the_rule(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut given = 0;
    let mut piece = |end: usize, last: bool| {
        let text = tokenizer.decode(&ids[..end]).unwrap();
        if text.ends_with('\u{FFFD}') && !last {
            return String::new();
        }
        let piece: String = text.chars().skip(given).collect();
        given += piece.chars().count();
        piece
    };
    let mut pieces: Vec<String> = (1..=ids.len()).map(|end| piece(end, false)).collect();
    pieces.push(piece(ids.len(), true));
    pieces
}

#[test]
fn the_window_changes_no_piece_of_random_tokens() {
    for (tokenizer, _) in cases() {
        // Numerical Recipes' generator: any will do. Ids of bytes (3 to 258) and of words, in runs.
        let mut random = 1u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for _ in 0..100 {
            let mut ids = Vec::new();
            while ids.len() < 120 {
                match next(5) {
                    0 => ids.push(next(3)),
                    1 => ids.extend((0..next(5)).map(|_| 3 + next(256))),
                    2 => ids.extend("aé日🦄".bytes().map(|b| 3 + u32::from(b))),
                    3 => ids.push(338),
                    _ => ids.extend((0..next(4)).map(|_| 259 + next(200))),
                }
            }
            let mut stream = tokenizer.stream();
            let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
            pieces.push(stream.finish().unwrap());
            assert_eq!(pieces, by_the_rule(&tokenizer, &ids), "{ids:?}");
        }
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
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = serde_json::json!({
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
    json["decoder"] = serde_json::json!({"type": "Strip", "content": "a", "start": 0, "stop": 9});
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
