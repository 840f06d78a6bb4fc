//! Tokenizers that would make very much of little text.

use mmfree::Tokenizer;
use serde_json::{Value, json};

use crate::tokenizers::{byte_level, from_json, golden};

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

/// Ten of each, a dozen times: 10^12 of one.
fn bomb() -> Vec<Value> {
    vec![replace(json!({"String": "a"}), &"a".repeat(10)); 12]
}

fn normalizer(steps: Vec<Value>) -> Value {
    let mut json = golden();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
    json
}

fn decoder(steps: Vec<Value>) -> Value {
    let mut json = golden();
    json["decoder"] = json!({"type": "Sequence", "decoders": steps});
    json
}

#[track_caller]
fn refuses<T>(result: mmfree::Result<T>) {
    let Err(error) = result else { panic!("it was taken") };
    let error = error.to_string();
    assert!(error.starts_with("tokenizer: it makes a text of "), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_bomb_in_the_normalizer_is_an_error_before_it_goes_off() {
    let long = "x".repeat(1 << 20);
    for steps in [
        bomb(),
        vec![json!({"type": "Sequence", "normalizers": bomb()})],
        vec![replace(json!({"Regex": "."}), &long)],
        vec![replace(json!({"Regex": ""}), &long)],
        vec![replace(json!({"String": ""}), &long)],
        vec![json!({"type": "Prepend", "prepend": long})],
        // Through another letter, and through Unicode's forms.
        vec![replace(json!({"String": "q"}), "a"), json!({"type": "NFKC"})]
            .into_iter()
            .chain(bomb())
            .collect(),
        vec![replace(json!({"Regex": "."}), "\u{fdfa}"), json!({"type": "NFKD"})],
        vec![json!({"type": "ByteLevel"}); 40],
    ] {
        let tokenizer = from_json(&normalizer(steps));
        refuses(tokenizer.encode_prompt(&"aq\u{e9}".repeat(4000)));
        refuses(tokenizer.encode_continuation(&[340], &"aq\u{e9}".repeat(4000)));
        refuses(tokenizer.check_growth());
    }
}

#[test]
fn a_bomb_in_the_pre_tokenizer_is_an_error_before_it_goes_off() {
    let mut json = byte_level();
    let step = json["pre_tokenizer"].take();
    let steps = vec![step; 40];
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
    let tokenizer = from_json(&json);
    refuses(tokenizer.encode_prompt(&" \u{e9}".repeat(4000)));
    refuses(tokenizer.check_growth());
}

#[test]
fn a_bomb_in_the_decoder_is_an_error_before_it_goes_off() {
    let long = "x".repeat(1 << 20);
    for steps in [
        bomb(),
        vec![json!({"type": "Sequence", "decoders": bomb()})],
        vec![replace(json!({"Regex": "."}), &long)],
        vec![replace(json!({"String": ""}), &long)],
        vec![json!({"type": "BPEDecoder", "suffix": ""}); 40],
    ] {
        let tokenizer = from_json(&decoder(steps));
        let ids = vec![340; 4000];
        refuses(tokenizer.decode(&ids));
        let mut stream = tokenizer.stream();
        let end = ids.iter().try_for_each(|&id| stream.push(id).map(drop));
        refuses(end.and_then(|()| tokenizer.decode(&ids).map(drop)));
        refuses(tokenizer.check_growth());
    }
}

#[test]
fn a_bomb_in_added_tokens_does_not_go_off_when_they_are_read() {
    let mut json = normalizer(bomb());
    let token = |id: u32| {
        json!({"id": id, "content": format!("aaaaaaaa{id}"), "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": true, "special": false})
    };
    json["added_tokens"] = (512..1512).map(token).collect();
    refuses(Tokenizer::from_json(json.to_string().as_bytes(), None));
}

#[test]
fn tokens_that_are_very_long_or_very_many_are_refused() {
    let refuses = |json: Value, part: &str| {
        let error = Tokenizer::from_json(json.to_string().as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    let long = "x".repeat(3000);
    let mut json = golden();
    json["model"]["vocab"][&long] = 512.into();
    refuses(json, "has 3000 bytes, at most 2048");
    // Under an id that another has.
    let mut json = golden();
    json["model"]["vocab"][&long] = 340.into();
    refuses(json, "has 3000 bytes, at most 2048");
    for key in ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"] {
        let mut json = golden();
        json["model"][key] = long.as_str().into();
        json["model"]["merges"] = json!([]);
        refuses(json, "has 3000 bytes, at most 2048");
    }
    let mut json = golden();
    json["added_tokens"][2]["content"] = long.as_str().into();
    refuses(json, "has 3000 bytes, at most 2048");
    let mut json = golden();
    json["post_processor"]["special_tokens"]["<s>"]["ids"] = vec![1; 2000].into();
    refuses(json, "adds more than 1024 tokens");
}

#[test]
fn steps_and_regular_expressions_are_counted_before_they_are_compiled() {
    let refuses = |json: Value, part: &str| {
        let error = Tokenizer::from_json(json.to_string().as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    // 10 MB each.
    let regex = replace(json!({"Regex": r"\w{150}"}), "");
    refuses(normalizer(vec![regex.clone(); 200]), "200 regular expressions; at most");
    refuses(decoder(vec![regex; 200]), "200 regular expressions; at most");
    let split = json!({"type": "Split", "pattern": {"Regex": r"\w{150}"}, "behavior": "Isolated",
        "invert": false});
    let mut json = golden();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![split; 200]});
    refuses(json, "200 regular expressions; at most");
    refuses(normalizer(vec![json!({"type": "NFC"}); 1000]), "a part has 1001 objects");
}

#[test]
fn tokenizers_of_every_kind_pass_the_trial() {
    for json in [golden(), byte_level()] {
        from_json(&json).check_growth().unwrap();
    }
    // What converters of SentencePiece models write.
    let mut json = normalizer(vec![
        replace(json!({"String": "``"}), "\""),
        json!({"type": "NFKD"}),
        json!({"type": "StripAccents"}),
        json!({"type": "Lowercase"}),
        replace(json!({"Regex": " {2,}"}), " "),
        json!({"type": "Prepend", "prepend": "\u{2581}"}),
        replace(json!({"String": " "}), "\u{2581}"),
    ]);
    json["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "\u{2581}",
        "prepend_scheme": "always", "split": true});
    let tokenizer = from_json(&json);
    tokenizer.check_growth().unwrap();
    // Three bytes of one, and two of each of these.
    let mut json = byte_level();
    json["normalizer"] = json!({"type": "NFD"});
    assert!(!from_json(&json).encode(&"한국어".repeat(20_000), false).unwrap().is_empty());
    for text in ["Ну что ж ", "한국어 ", "   ", "\u{fb01} ", "中文", "a\u{301}"] {
        assert!(!tokenizer.encode(&text.repeat(20_000), false).unwrap().is_empty());
    }
}
