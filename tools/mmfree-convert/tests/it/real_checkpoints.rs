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

fn hash(copy: &Copy) -> String {
    converted(copy.path(), &Default::default()).2.hash
}

/// What compiling, distributed training and wrapping leave in front of the names.
#[test]
fn prefixes_that_training_leaves_are_taken_off_with_a_note() {
    const WEIGHTS: &str = "model.safetensors";
    let original = hash(&Copy::of(FULL));
    type Rename = fn(&str) -> String;
    let prefixes: [(&str, Rename); 8] = [
        ("_orig_mod.", |name| format!("_orig_mod.{name}")),
        ("module.", |name| format!("module.{name}")),
        ("module._orig_mod.", |name| format!("module._orig_mod.{name}")),
        ("model.", |name| format!("model.{name}")),
        ("net.model.", |name| format!("net.model.{name}")),
        ("base_model.model.", |name| format!("base_model.model.{name}")),
        ("inside", |name| name.replace(".attn.", "._checkpoint_wrapped_module.attn._orig_mod.")),
        ("both", |name| format!("model.{}", name.replace(".mlp.", "._fsdp_wrapped_module.mlp."))),
    ];
    for (prefix, rename) in prefixes {
        let copy = Copy::of(FULL);
        copy.edit_tensors(WEIGHTS, |tensors| {
            let old = std::mem::take(tensors);
            *tensors = old.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect();
        });
        assert_eq!(hash(&copy), original, "{prefix}");
        let notes = notes(&copy);
        let all = notes.iter().all(|n| n.contains("names as ") && n.contains("was taken for "));
        assert!(!notes.is_empty() && all, "{prefix} {notes:?}");
        if prefix.ends_with('.') {
            assert!(notes[0].contains(&format!("names as {prefix}")), "{notes:?}");
        }
    }
    // In shards, and pickled.
    let copy = Copy::of(SHARDED);
    let prefixed = |name: &str| format!("module.{name}");
    for name in names(copy.path()).iter().filter(|name| name.ends_with(".safetensors")) {
        copy.edit_tensors(name, |tensors| {
            let old = std::mem::take(tensors);
            *tensors = old.into_iter().map(|(name, tensor)| (prefixed(&name), tensor)).collect();
        });
    }
    copy.edit_json(INDEX, |json| {
        let map = json["weight_map"].as_object().unwrap().clone();
        json["weight_map"] =
            map.into_iter().map(|(name, shard)| (prefixed(&name), shard)).collect();
    });
    assert_eq!(hash(&copy), hash(&Copy::of(SHARDED)));
}

/// `model.` may be another prefix or none, with the head beside or behind it.
#[test]
fn a_prefix_in_place_of_the_model_s_is_taken_with_a_note() {
    const WEIGHTS: &str = "model.safetensors";
    for (case, tied) in [(FULL, false), ("k_tied_fp32", true)] {
        let original = hash(&Copy::of(case));
        for (prefix, head) in [
            ("model.model.", ""),
            ("transformer.", ""),
            ("transformer.", "transformer."),
            ("net.backbone.", "net."),
            ("net.backbone.", "net.backbone."),
            ("", ""),
            ("model.", "model."),
        ] {
            let copy = Copy::of(case);
            copy.edit_tensors(WEIGHTS, |tensors| {
                let old = std::mem::take(tensors);
                let renamed =
                    old.into_iter().map(|(name, tensor)| match name.strip_prefix("model.") {
                        Some(rest) => (format!("{prefix}{rest}"), tensor),
                        None => (format!("{head}{name}"), tensor),
                    });
                *tensors = renamed.collect();
            });
            if prefix == "net.backbone." && head == "net." {
                // A head that is neither beside nor behind is not looked for.
                copy.fails(&["names as net.backbone.embeddings.weight", "there is no lm_head."]);
                continue;
            }
            assert_eq!(hash(&copy), original, "{case} {prefix} {head} {tied}");
            let notes = notes(&copy);
            let found =
                notes.iter().filter(|n| n.contains("names as ") && n.contains("was taken for "));
            assert_eq!(found.count(), 1, "{notes:?}");
        }
    }
}

#[test]
fn an_absent_top_k_is_noted_where_transformers_take_their_own() {
    const NAME: &str = "generation_config.json";
    let copy = Copy::of(FULL);
    copy.edit_json(NAME, |json| json["do_sample"] = json!(true));
    let top_k = "top_k 50 (Transformers' default where none is given)";
    let note =
        format!("{NAME}: without effect here, though Transformers' text depends on it: {top_k}");
    assert_eq!(notes(&copy), [note]);
    let (_dir, path, _) = converted(copy.path(), &Default::default());
    let config = GenerationConfig::from_file(&ModelFile::open(path).unwrap()).unwrap();
    assert_eq!((config.sampler.top_k, &config.not_applied[..]), (0, &[top_k.to_owned()][..]));
    copy.edit_json(NAME, |json| json["top_k"] = json!(null));
    assert_eq!(notes(&copy), [""; 0]);
}

#[test]
fn shards_without_an_index_are_taken_with_a_note() {
    let copy = Copy::of(SHARDED);
    std::fs::remove_file(copy.path().join(INDEX)).unwrap();
    let note = format!("there is no {INDEX}: all of the 4 shards was taken");
    assert_eq!(notes(&copy).iter().filter(|found| **found == note).count(), 1);
    assert_eq!(hash(&copy), hash(&Copy::of(SHARDED)));
}

/// A head that is tied is stored once, by whichever of its names.
#[test]
fn a_tied_model_converts_however_it_was_saved() {
    const TIED: &str = "k_tied_fp32";
    const WEIGHTS: &str = "model.safetensors";
    const EMBEDDING: &str = "model.embeddings.weight";
    const HEAD: &str = "lm_head.weight";
    let original = hash(&Copy::of(TIED));

    // An index may list what no shard has, if the model does not need it.
    let copy = Copy::of(TIED);
    let shard = "model-00001-of-00001.safetensors";
    std::fs::rename(copy.path().join(WEIGHTS), copy.path().join(shard)).unwrap();
    let tensors = read_tensors(&copy.path().join(shard));
    let mut map: serde_json::Map<_, _> =
        tensors.keys().map(|name| (name.clone(), json!(shard))).collect();
    map.insert(HEAD.into(), json!(shard));
    copy.write(INDEX, json!({"weight_map": map}).to_string());
    let others = |copy: &Copy| {
        let mut notes = notes(copy);
        notes.retain(|note| !note.contains("tokenizer.json"));
        notes
    };
    assert_eq!((hash(&copy), others(&copy)), (original.clone(), vec![]));
    map.insert("extra".into(), json!(shard));
    copy.write(INDEX, json!({"weight_map": map}).to_string());
    let note = "the index lists extra, which no shard has and the model does not need";
    assert_eq!((hash(&copy), others(&copy)), (original.clone(), vec![note.to_owned()]));
    map.insert("model.layers.0.attn.x".into(), json!(shard));
    map.remove("model.norm.weight");
    copy.write(INDEX, json!({"weight_map": map}).to_string());
    copy.fails(&["model.norm.weight: missing"]);

    // As safetensors.torch.save_model keeps one of two names, and notes the other.
    let copy = Copy::of(TIED);
    copy.edit_tensors(WEIGHTS, |tensors| {
        let embedding = tensors.remove(EMBEDDING).unwrap();
        tensors.insert(HEAD.into(), embedding);
    });
    let plain = others(&copy);
    assert_eq!(plain, ["the embedding, which is tied to the head, was taken from lm_head.weight"]);
    assert_eq!(hash(&copy), original);
    let bytes = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + len]).unwrap();
    header["__metadata__"] = json!({EMBEDDING: HEAD, "format": "pt"});
    let header = header.to_string();
    let len = (header.len() as u64).to_le_bytes();
    copy.write(WEIGHTS, [&len[..], header.as_bytes(), &bytes[8 + len_of(&bytes)..]].concat());
    assert_eq!((hash(&copy), others(&copy)), (original, vec![]));
    // Not tied, it is another tensor than the head.
    copy.edit_json("config.json", |json| json["tie_word_embeddings"] = json!(false));
    assert_eq!(others(&copy), [""; 0]);
}

/// The length of a safetensors file's header.
fn len_of(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

#[test]
fn a_tokenizer_of_another_kind_is_noted_with_what_makes_one() {
    for name in ["tokenizer.model", "vocab.json"] {
        let copy = Copy::of(SMALL);
        copy.write(name, "x");
        let notes = notes(&copy);
        assert_eq!(notes.len(), 1);
        for part in [
            "has no tokenizer.json",
            name,
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
        ] {
            assert!(notes[0].contains(part), "{notes:?}");
        }
    }
}

#[test]
fn keys_of_the_generation_config_without_effect_are_noted() {
    const NAME: &str = "generation_config.json";
    let copy = Copy::of(FULL);
    copy.edit_json(NAME, |json| {
        json["suppress_tokens"] = json!([5, 7]);
        json["bad_words_ids"] = json!([[9]]);
        json["no_repeat_ngram_size"] = json!(3);
        json["typical_p"] = json!(0.9);
        json["max_new_tokens"] = json!(50);
        json["num_beams"] = json!(1);
    });
    assert_eq!(notes(&copy), [""; 0]);
    copy.edit_json(NAME, |json| {
        json["num_beams"] = json!(4);
        json["forced_eos_token_id"] = json!(2);
        json["bad_words_ids"] = json!([[9], [10, 11]]);
    });
    let common = format!("{NAME}: without effect here, though Transformers' text depends on it: ");
    let keys = "bad_words_ids of several tokens, forced_eos_token_id 2, num_beams 4";
    assert_eq!(notes(&copy), [format!("{common}{keys}")]);
    copy.edit_json(NAME, |json| {
        for i in 0..1000 {
            json[format!("key{i:04}\n")] = json!("x".repeat(500));
        }
    });
    let notes = notes(&copy);
    assert!(notes.len() == 1 && notes[0].ends_with(" and 983 more"), "{notes:?}");
    assert!(notes[0].len() < 3000 && !notes[0].contains('\n'), "{}", notes[0]);
}
