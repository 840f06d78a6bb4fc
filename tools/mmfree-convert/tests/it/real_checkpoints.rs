//! Checkpoints as people have them, though no library writes them quite so.

use mmfree::{GenerationConfig, ModelFile, Tokenizer};
use serde_json::json;

use crate::common::*;

/// A case with all small files, a small one, and one in shards.
const FULL: &str = "a_basic_fp32";
const SMALL: &str = "m_small_activations_eps";
const SHARDED: &str = "d_sharded_fp32";
const INDEX: &str = "model.safetensors.index.json";

fn notes(copy: &Copy) -> Vec<String> {
    converted(copy.path(), &Default::default()).2.notes
}

/// Puts a member at the end of a JSON file's object, as text.
fn add(copy: &Copy, name: &str, member: &str) {
    let text = std::fs::read_to_string(copy.path().join(name)).unwrap();
    let text = text.trim_end().strip_suffix('}').unwrap();
    copy.write(name, format!("{text}, {member}}}"));
}

#[test]
fn numbers_that_only_python_has_are_read_in_all_small_files() {
    let copy = Copy::of(FULL);
    let member = "\"_x\": [NaN, {\"y\": -Infinity}, Infinity, 1e999]";
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        add(&copy, name, member);
    }
    let (_dir, path, summary) = converted(copy.path(), &Default::default());
    assert_eq!(summary.notes, [""; 0]);
    assert_eq!(summary.hash, converted(&case(FULL), &Default::default()).2.hash);
    // As it was, and read again by whoever runs it.
    let file = ModelFile::open(&path).unwrap();
    let stored = file.checkpoint_file("tokenizer_config.json").unwrap();
    assert!(stored.contains(member));
    GenerationConfig::from_file(&file).unwrap();
    Tokenizer::from_file(&file).unwrap().unwrap();

    let folder = path.with_file_name("unpacked");
    mmfree_convert::unpack(&path, &folder, &Default::default()).unwrap();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config: String = config.split_whitespace().collect();
    assert!(config.contains("\"_x\":[NaN,{\"y\":-Infinity},Infinity,1e999]"), "{config}");

    let copy = Copy::of(SHARDED);
    add(&copy, INDEX, "\"metadata2\": {\"total_size\": NaN}");
    converted(copy.path(), &Default::default());
}

#[test]
fn a_number_that_is_used_must_be_one() {
    for (name, member, message) in [
        ("config.json", "\"hidden_ratio\": NaN", "hidden_ratio is NaN, must be a number"),
        ("generation_config.json", "\"repetition_penalty\": Infinity", "is Infinity, must be"),
        ("generation_config.json", "\"pad\": NaN, NaN: 1", "is not valid"),
    ] {
        let copy = Copy::of(FULL);
        if name == "config.json" {
            copy.edit_json(name, |json| {
                json.as_object_mut().unwrap().retain(|key, _| !member.contains(key.as_str()));
                json["intermediate_size"] = json!(null);
            });
        } else {
            copy.edit_json(name, |json| json["do_sample"] = json!(true));
        }
        add(&copy, name, member);
        copy.fails(&[name, message]);
    }
    // As strict as Hugging Face's own reader of it, which is no Python.
    let copy = Copy::of(FULL);
    add(&copy, "tokenizer.json", "\"_x\": NaN");
    copy.fails(&["tokenizer.json", "is not valid JSON"]);
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let copy = Copy::of(SMALL);
    copy.edit_json("config.json", |json| {
        for key in ["hidden_size", "num_hidden_layers", "vocab_size", "num_heads", "eos_token_id"] {
            json[key] = json!(json[key].as_u64().unwrap() as f64);
        }
    });
    copy.edit_json("generation_config.json", |json| json["eos_token_id"] = json!([2.0]));
    let (_dir, path, summary) = converted(copy.path(), &Default::default());
    assert_eq!(summary.hash, converted(&case(SMALL), &Default::default()).2.hash);
    GenerationConfig::from_file(&ModelFile::open(path).unwrap()).unwrap();
    for (value, shown) in [(json!(64.5), "64.5"), (json!(-64.0), "-64.0"), (json!(1e300), "1e+300")]
    {
        copy.edit_json("config.json", |json| json["hidden_size"] = value);
        copy.fails(&[&format!("hidden_size is {shown}, must be a whole number, 0 or more")]);
    }
}

/// Their model would be greedy, and is.
#[test]
fn sampling_values_that_do_sample_false_leaves_unused_are_noted() {
    const NAME: &str = "generation_config.json";
    for (key, value, shown) in [
        ("top_p", json!(0.0), "top_p is 0, must be above 0, and 1 at most"),
        ("top_k", json!(-1), "top_k is -1, must be a whole number, 0 or more"),
        ("repetition_penalty", json!(0), "repetition_penalty is 0, must be above 0"),
        ("temperature", json!(-1), "temperature is -1, must be 0 or more"),
    ] {
        for do_sample in [json!(false), json!(null)] {
            let copy = Copy::of(FULL);
            copy.edit_json(NAME, |json| {
                json["do_sample"] = do_sample;
                json[key] = value.clone();
            });
            assert_eq!(
                notes(&copy),
                [format!("{NAME}: {shown}: not used, as do_sample is not true")]
            );
            let (_dir, path, _) = converted(copy.path(), &Default::default());
            let (config, _) = GenerationConfig::from_file_lenient(&ModelFile::open(path).unwrap());
            assert!(config.defaults().is_greedy() && config.defaults().repeat_penalty == 1.0);
            copy.edit_json(NAME, |json| json["do_sample"] = json!(true));
            copy.fails(&[NAME, shown]);
        }
    }
    // A temperature of 0 is greedy, whatever the switch says.
    let copy = Copy::of(FULL);
    copy.edit_json(NAME, |json| json["temperature"] = json!(0));
    assert_eq!(notes(&copy), [""; 0]);
}
