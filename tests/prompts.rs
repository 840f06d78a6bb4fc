//! What a prompt's ids are, by the files that a checkpoint has beside its tokenizer.json.

use mmfree::{Tokenizer, TokenizerFiles, TokenizerNote};
use serde_json::{Value, json};

use crate::tokenizers::{self, byte_level, from_json, golden, metaspace};

/// The tokenizer for a model of 512 ids with the BOS token 1, and the notes on it.
fn read(json: &Value, files: &[(&str, Value)]) -> (Tokenizer, Vec<TokenizerNote>) {
    let texts: Vec<(&str, String)> =
        files.iter().map(|(name, value)| (*name, value.to_string())).collect();
    let json = json.to_string();
    let text = |name: &str| {
        let found = texts.iter().find(|(known, _)| *known == name);
        found.map(|(_, text)| text.as_str())
    };
    let files = TokenizerFiles::new(json.as_bytes(), text);
    Tokenizer::from_files(&files, 512, Some(1)).unwrap()
}

fn config(changes: Value) -> Value {
    let mut config = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>",
        "eos_token": "</s>", "unk_token": "<unk>"});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

const HELLO: [u32; 5] = [338, 290, 311, 467, 321];

fn prompt(json: &Value, changes: Value) -> Vec<u32> {
    let (tokenizer, _) = read(json, &[("tokenizer_config.json", config(changes))]);
    tokenizer.encode_prompt("Hello").unwrap()
}

#[test]
fn classes_that_make_a_post_processor_follow_their_flags() {
    let mut none = golden();
    none["post_processor"] = Value::Null;
    for json in [golden(), none] {
        assert_eq!(prompt(&json, json!({})), [&[1], &HELLO[..]].concat());
        assert_eq!(prompt(&json, json!({"add_bos_token": false})), HELLO);
        let both = prompt(&json, json!({"add_eos_token": true}));
        assert_eq!(both, [&[1], &HELLO[..], &[2]].concat());
        // Whose default is another.
        let neox = json!({"tokenizer_class": "GPTNeoXTokenizerFast"});
        assert_eq!(prompt(&json, neox), HELLO);
    }
}

#[test]
fn all_other_classes_follow_the_post_processor_alone() {
    let plain = json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true});
    assert_eq!(prompt(&golden(), plain.clone()), [&[1], &HELLO[..]].concat());
    let mut json = golden();
    json["post_processor"]["special_tokens"]["<s>"]["ids"] = json!([400]);
    assert_eq!(prompt(&json, plain.clone()), [&[400], &HELLO[..]].concat());
    json["post_processor"] = Value::Null;
    assert_eq!(prompt(&json, plain.clone()), HELLO);
    // Without a file that names one, too; and there must be something.
    let (tokenizer, notes) = read(&json, &[]);
    assert_eq!(tokenizer.encode_prompt("Hello").unwrap(), HELLO);
    assert_eq!(tokenizer.encode_prompt("").unwrap(), [1]);
    assert_eq!((tokenizer.prompt_prefix(), &*notes), (&[][..], &[][..]));
}

#[test]
fn a_rule_that_transformers_5_does_not_have_is_noted() {
    let notes = |json: &Value, changes: Value| {
        let (_, notes) = read(json, &[("tokenizer_config.json", config(changes))]);
        notes.iter().map(TokenizerNote::to_string).collect::<Vec<_>>()
    };
    assert_eq!(notes(&golden(), json!({})), [""; 0]);
    let differs = notes(&golden(), json!({"add_bos_token": false}));
    assert!(differs.len() == 1 && differs[0].contains("transformers 5"), "{differs:?}");
    assert!(differs[0].contains("begin with [] and end with []"), "{differs:?}");
    assert!(differs[0].contains("begin with [1] and end with []"), "{differs:?}");
    let lacks = notes(&golden(), json!({"bos_token": Value::Null}));
    assert!(lacks[0].contains("the model's own, 1"), "{lacks:?}");
    let unknown = notes(&golden(), json!({"tokenizer_class": "FooTokenizer"}));
    assert!(unknown.len() == 1 && unknown[0].contains("FooTokenizer"), "{unknown:?}");
}

/// The golden tokenizer without its last token.
fn with_room() -> Value {
    let mut json = golden();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let last = vocab.iter().find(|(_, id)| **id == json!(511)).unwrap().0.clone();
    vocab.remove(&last);
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.retain(|merge| merge.as_str().unwrap().replace(' ', "") != last);
    json
}

fn end(special: bool) -> Value {
    json!({"content": "<|im_end|>", "lstrip": false, "rstrip": false, "single_word": false,
        "normalized": false, "special": special})
}

#[test]
fn tokens_beside_the_tokenizer_are_one_id_and_special_ones_are_no_text() {
    let decoder = |special| config(json!({"added_tokens_decoder": {"511": end(special)}}));
    let added = json!({"<|im_end|>": 511});
    let map = json!({"additional_special_tokens": ["<|im_end|>"]});
    for (files, text) in [
        (vec![("tokenizer_config.json", decoder(true))], "ab"),
        (vec![("tokenizer_config.json", decoder(false))], "a<|im_end|>b"),
        (vec![("added_tokens.json", added.clone()), ("special_tokens_map.json", map)], "ab"),
    ] {
        let (tokenizer, notes) = read(&with_room(), &files);
        assert_eq!(notes, []);
        let ids = tokenizer.encode("a<|im_end|>b", false).unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == 511).count(), 1, "{ids:?}");
        assert_eq!(tokenizer.decode(&[340, 511, 308]).unwrap(), text);
        assert_eq!(tokenizer.decode_with_special(&[340, 511, 308]).unwrap(), "a<|im_end|>b");
        let mut stream = tokenizer.stream();
        let pieces: String = [340, 511, 308].iter().map(|&id| stream.push(id).unwrap()).collect();
        assert_eq!(pieces, text);
    }
    // A flag that differs from the one in tokenizer.json.
    let mut json = with_room();
    let mut own = end(false);
    own["id"] = 511.into();
    json["added_tokens"].as_array_mut().unwrap().push(own);
    let (tokenizer, _) = read(&json, &[("tokenizer_config.json", decoder(true))]);
    assert_eq!(tokenizer.decode(&[340, 511]).unwrap(), "a");
}

#[test]
fn a_token_whose_id_the_model_lacks_is_refused_and_left_out() {
    for (json, files, id) in [
        (
            with_room(),
            ("tokenizer_config.json", config(json!({"added_tokens_decoder": {"600": end(true)}}))),
            "600",
        ),
        // Declared within, but there is no room for it.
        (
            golden(),
            ("tokenizer_config.json", config(json!({"added_tokens_decoder": {"512": end(true)}}))),
            "512",
        ),
        (golden(), ("added_tokens.json", json!({"<|im_end|>": 512})), "512"),
    ] {
        let file = files.0;
        let (tokenizer, notes) = read(&json, &[files]);
        let refused: Vec<&TokenizerNote> = notes.iter().filter(|note| note.refused).collect();
        assert_eq!(refused.len(), 1, "{notes:?}");
        let expected = format!("<|im_end|> has the id {id}, but the model's ids are 0 to 511");
        assert_eq!((refused[0].file, &*refused[0].reason), (file, &*expected));
        assert!(tokenizer.max_id() <= Some(511));
        assert!(tokenizer.encode("<|im_end|>", false).unwrap().iter().all(|&id| id < 512));
    }
    // One that is only named need not be a token.
    let named = config(json!({"pad_token": "[PAD]"}));
    let (_, notes) = read(&golden(), &[("tokenizer_config.json", named)]);
    assert!(notes.len() == 1 && !notes[0].refused, "{notes:?}");
    assert!(notes[0].reason.contains("pad_token is [PAD]"), "{notes:?}");
}

/// The text of ids and what goes on after them.
fn joined(tokenizer: &Tokenizer, before: &str, after: &str) -> String {
    let mut ids = tokenizer.encode_prompt(before).unwrap();
    let more = tokenizer.encode_continuation(&ids, after).unwrap();
    ids.extend(more);
    tokenizer.decode(&ids).unwrap()
}

#[test]
fn a_text_goes_on_as_it_is_with_every_kind_of_tokenizer() {
    let mut with_space = byte_level();
    with_space["pre_tokenizer"]["add_prefix_space"] = true.into();
    let mut strips = golden();
    strips["normalizer"]["normalizers"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"type": "Strip", "strip_left": true, "strip_right": false}));
    for (name, json) in [
        ("Prepend", golden()),
        ("Metaspace, first", metaspace("first", false)),
        ("Metaspace, always", metaspace("always", true)),
        ("Metaspace, never", metaspace("never", true)),
        ("ByteLevel", byte_level()),
        ("ByteLevel, a space in front", with_space),
        ("Strip", strips),
    ] {
        let tokenizer = from_json(&json);
        for (before, after) in [
            ("There was a kin", "g who"),
            ("There was a king", " who"),
            ("There was a king", "  who had"),
            ("x", "\n\ny"),
            ("日", "本 語"),
            ("x", ""),
        ] {
            let joined = joined(&tokenizer, before, after);
            assert_eq!(joined.trim_start(), format!("{before}{after}"), "{name}");
        }
    }
}

#[test]
fn a_pre_tokenizer_that_drops_spaces_is_given_the_one_that_there_was() {
    let mut json = metaspace("always", true);
    let step = json["pre_tokenizer"].take();
    let steps = json!([{"type": "WhitespaceSplit"}, step]);
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": steps});
    let tokenizer = from_json(&json);
    assert_eq!(joined(&tokenizer, "a kin", "g who"), "a king who");
    assert_eq!(joined(&tokenizer, "a king", " who had"), "a king who had");
}

#[test]
fn after_special_tokens_alone_a_text_begins() {
    let tokenizer = from_json(&golden());
    let begun = tokenizer.encode("Hello", false).unwrap();
    assert_eq!(tokenizer.encode_continuation(&[1], "Hello").unwrap(), begun);
    assert_eq!(tokenizer.encode_continuation(&[], "Hello").unwrap(), begun);
    assert_eq!(tokenizer.encode_continuation(&[1, 340], "Hello").unwrap(), begun[1..]);
}

#[test]
fn a_special_token_within_a_text_that_goes_on_is_found() {
    let tokenizer = from_json(&tokenizers::golden());
    let ids = tokenizer.encode_continuation(&[1, 340], "b</s>c").unwrap();
    let alone = tokenizer.encode("c", false).unwrap();
    assert_eq!(ids[..2], [308, 2]);
    assert_eq!(ids[2..], alone);
}
