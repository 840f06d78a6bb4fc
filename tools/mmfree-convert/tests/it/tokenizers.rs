//! The files of a checkpoint's tokenizer on their way into a model file, and out of it.

use mmfree::{ModelFile, Tokenizer};
use mmfree_convert::{Options, convert, unpack};
use serde_json::{Value, json};

use crate::common::*;

/// A checkpoint of 512 ids with a tokenizer of 511.
fn with_room() -> Copy {
    let copy = Copy::of("a_basic_fp32");
    copy.edit_json("tokenizer.json", |json| {
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let last = vocab.iter().find(|(_, id)| **id == json!(511)).unwrap().0.clone();
        vocab.remove(&last);
        let merges = json["model"]["merges"].as_array_mut().unwrap();
        merges.retain(|merge| merge.as_str().unwrap().replace(' ', "") != last);
    });
    copy
}

fn end_token() -> Value {
    json!({"content": "<|im_end|>", "lstrip": false, "normalized": false, "rstrip": false,
        "single_word": false, "special": true})
}

fn tokenizer(copy: &Copy) -> (Tokenizer, Vec<String>) {
    let (_dir, path, summary) = converted(copy.path(), &Options::default());
    let file = ModelFile::open(path).unwrap();
    (Tokenizer::from_file(&file).unwrap().unwrap(), summary.notes)
}

#[test]
fn added_tokens_and_a_chat_template_travel_as_they_are() {
    let copy = with_room();
    let added = "{\n  \"<|im_end|>\" : 511 }\r\n";
    let template = "{% for m in messages %}\n  {{ m['content'] | trim }}\t\n{% endfor %}";
    copy.write("added_tokens.json", added);
    copy.write("chat_template.jinja", template);
    let (dir, path, _) = converted(copy.path(), &Options::default());
    let again = dir.path().join("again.mmfree");
    convert(&path, &again, &Options::default()).unwrap();
    for path in [&path, &again] {
        let file = ModelFile::open(path).unwrap();
        assert_eq!(file.metadata("mmfree.file.added_tokens.json"), Some(added));
        assert_eq!(file.checkpoint_file("chat_template.jinja"), Some(template));
    }
    let folder = dir.path().join("unpacked");
    unpack(&path, &folder, &Options::default()).unwrap();
    for (name, text) in [("added_tokens.json", added), ("chat_template.jinja", template)] {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), text);
    }
    let run = converter().arg("inspect").arg(&path).arg("--json").output().unwrap();
    let shown: Value = serde_json::from_slice(&run.stdout).unwrap();
    let names: Vec<&str> =
        shown["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.ends_with(&["added_tokens.json", "chat_template.jinja"]), "{names:?}");
}

#[test]
fn a_model_file_s_tokenizer_follows_the_files_that_it_carries() {
    let copy = with_room();
    let (read, notes) = tokenizer(&copy);
    assert_eq!((read.prompt_prefix(), notes.len()), (&[1][..], 0));
    copy.edit_json("tokenizer_config.json", |json| {
        json["add_bos_token"] = false.into();
        json["added_tokens_decoder"]["511"] = end_token();
    });
    let (read, notes) = tokenizer(&copy);
    assert_eq!(read.encode_prompt("a<|im_end|>").unwrap(), [340, 511]);
    assert_eq!(read.decode(&[340, 511]).unwrap(), "a");
    // The other rule of transformers 5, in one line.
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("tokenizer_config.json: prompts begin with []"), "{notes:?}");
}

#[test]
fn rejects_added_tokens_outside_of_the_vocabulary() {
    let copy = with_room();
    copy.edit_json("tokenizer_config.json", |json| {
        json["added_tokens_decoder"]["512"] = end_token();
    });
    copy.fails(&["tokenizer_config.json: <|im_end|> has the id 512", "ids are 0 to 511"]);
    let copy = with_room();
    copy.edit_json("tokenizer_config.json", |json| {
        json.as_object_mut().unwrap().remove("added_tokens_decoder");
    });
    copy.write("added_tokens.json", r#"{"<|im_start|>": 511, "<|im_end|>": 512}"#);
    copy.fails(&["added_tokens.json: <|im_end|> has the id 512", "ids are 0 to 511"]);
}

#[test]
fn rejects_files_of_a_tokenizer_that_are_damaged() {
    let copy = with_room();
    copy.write("added_tokens.json", "{\"a\": }");
    copy.fails(&["added_tokens.json", "not valid JSON"]);
    copy.write("added_tokens.json", "[]");
    copy.fails(&["added_tokens.json", "is not a JSON object"]);
    std::fs::remove_file(copy.path().join("added_tokens.json")).unwrap();
    copy.write("chat_template.jinja", b"\xFF");
    copy.fails(&["chat_template.jinja", "is not UTF-8 text"]);
    std::fs::remove_file(copy.path().join("chat_template.jinja")).unwrap();
    copy.edit_json("tokenizer_config.json", |json| {
        json["added_tokens_decoder"] = json!({"x": end_token()});
    });
    copy.fails(&["tokenizer_config.json", "x is not a token id"]);
}

#[test]
fn rejects_tokenizers_that_make_very_much_of_little_text() {
    let replace = json!({"type": "Replace", "pattern": {"String": "q"}, "content": "qqqqqqqqqq"});
    for (part, list) in [("normalizer", "normalizers"), ("decoder", "decoders")] {
        let copy = Copy::of("a_basic_fp32");
        copy.edit_json("tokenizer.json", |json| {
            json[part] = json!({"type": "Sequence"});
            json[part][list] = vec![replace.clone(); 12].into();
        });
        copy.fails(&["tokenizer.json: is no tokenizer that can be used", "it makes a text of"]);
    }
}

#[test]
fn rejects_an_eos_that_is_to_be_added_and_is_not_named() {
    for named in [json!(null), json!("")] {
        let copy = Copy::of("a_basic_fp32");
        copy.edit_json("tokenizer_config.json", |json| {
            json["add_eos_token"] = true.into();
            json["eos_token"] = named;
        });
        copy.fails(&[
            "tokenizer_config.json",
            "add_eos_token is true, but there is no eos_token",
            "false",
        ]);
        copy.edit_json("tokenizer_config.json", |json| json["add_eos_token"] = false.into());
        tokenizer(&copy);
    }
}
