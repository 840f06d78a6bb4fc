//! Input that cannot be converted: one clear line each, and nothing left behind.

use serde_json::{Value, json};

use crate::common::*;

/// A small case in one file, and one in shards.
const SINGLE: &str = "m_small_activations_eps";
const SHARDED: &str = "d_sharded_fp32";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[test]
fn rejects_a_folder_that_is_none() {
    let output = converter().arg("/no/such/folder").output().unwrap();
    assert_fails(&output, &["/no/such/folder", "No such file or directory"]);
    let file = case(SINGLE).join("config.json");
    let output = converter().arg(&file).output().unwrap();
    assert_fails(&output, &["config.json", "is a file: to pack it anew, give --output"]);
    let output = converter().arg(&file).args(["-o", "/no/such/folder/m.mmfree"]).output().unwrap();
    assert_fails(&output, &["config.json", "not a model file"]);
}

#[test]
fn rejects_a_folder_without_a_checkpoint() {
    let copy = Copy::of(SINGLE);
    std::fs::remove_file(copy.path().join("config.json")).unwrap();
    copy.fails(&["is no checkpoint: it has no config.json"]);
    let copy = Copy::of(SINGLE);
    std::fs::remove_file(copy.path().join(WEIGHTS)).unwrap();
    copy.fails(&["has no weights: none of model.safetensors"]);
    copy.write("pytorch_model.bin", "x");
    copy.fails(&["pytorch_model.bin", "no zip file"]);
}

#[test]
fn rejects_another_architecture() {
    let copy = Copy::of(SINGLE);
    copy.edit_json("config.json", |json| json["model_type"] = json!("llama"));
    copy.fails(&["config.json", "model_type is \"llama\"", "hgrn_bit"]);
}

#[test]
fn rejects_configs_that_make_no_sense() {
    for (key, value, message) in [
        ("hidden_size", json!(1u64 << 60), "hidden_size is 1152921504606846976"),
        ("hidden_size", json!(-64), "hidden_size is -64"),
        ("hidden_size", json!(0), "hidden_size is 0"),
        ("hidden_size", json!("64"), "hidden_size is \"64\""),
        ("num_hidden_layers", json!(60000), "only 35 tensors"),
        ("num_hidden_layers", json!(u64::MAX), "num_"),
        (
            "num_hidden_layers",
            json!(3),
            "lower_bounds: has shape [2, 64], but config.json calls for [3, 64]",
        ),
        ("vocab_size", json!(121), "has shape [120, 64], but config.json calls for [121, 64]"),
        ("expand_ratio", json!(2), "expand_ratio is 2, must be 1"),
        ("attn_mode", json!("chunk"), "fused_recurrent"),
        ("use_short_conv", json!(true), "h_conv1d.weight: missing"),
        ("use_lower_bound", json!("yes"), "use_lower_bound is \"yes\", must be true or false"),
        ("eos_token_id", json!(-1), "eos_token_id is -1"),
    ] {
        let copy = Copy::of(SINGLE);
        // Token ids come from here if they may.
        std::fs::remove_file(copy.path().join("generation_config.json")).unwrap();
        copy.edit_json("config.json", |json| json[key] = value);
        copy.fails(&[message]);
    }
}

#[test]
fn rejects_small_files_that_are_no_json() {
    for (text, message) in [
        ("", "config.json: is not valid"),
        ("{", "config.json: is not valid"),
        ("[]", "a JSON object"),
        (
            "{\"model_type\": \"hgrn_bit\", \"model_type\": \"hgrn_bit\"}",
            "model_type stands there twice",
        ),
    ] {
        let copy = Copy::of(SINGLE);
        copy.write("config.json", text);
        copy.fails(&[message]);
    }
    for name in ["generation_config.json", "tokenizer_config.json", "tokenizer.json"] {
        for text in [&b"{\"a\": }"[..], b"\xff\xfe", b"{} x"] {
            let copy = Copy::of(SINGLE);
            copy.write(name, text);
            copy.fails(&[name]);
        }
    }
    let copy = Copy::of(SINGLE);
    copy.write("tokenizer.json", "");
    copy.fails(&["tokenizer.json", "empty"]);
    copy.write("config.json", vec![b' '; (16 << 20) + 1]);
    copy.fails(&["config.json", "larger than"]);
}

#[test]
fn rejects_weights_that_are_not_finite() {
    let last = |tensors: &mut Tensors, name: &str, value: f32| {
        let bytes = &mut tensors.get_mut(name).unwrap().2;
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&value.to_le_bytes());
    };
    for name in [
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.0.attn.g_norm.weight",
        "model.lower_bounds",
        "model.embeddings.weight",
    ] {
        for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let copy = Copy::of(SINGLE);
            copy.edit_tensors(WEIGHTS, |tensors| last(tensors, name, value));
            copy.fails(&[WEIGHTS, name, text, "must be finite"]);
        }
    }
    // The first in the order of the model is named, whatever the threads do.
    for _ in 0..5 {
        let copy = Copy::of(SINGLE);
        copy.edit_tensors(WEIGHTS, |tensors| {
            last(tensors, "lm_head.weight", f32::NAN);
            last(tensors, "model.layers.0.attn.f_proj.weight", f32::NAN);
        });
        copy.fails(&["model.layers.0.attn.f_proj.weight", "[63, 63]"]);
    }
}

#[test]
fn rejects_tensors_that_are_missing_or_of_another_kind() {
    let name = "model.layers.1.attn.o_proj.norm.weight";
    let copy = Copy::of(SINGLE);
    copy.edit_tensors(WEIGHTS, |tensors| drop(tensors.remove(name)));
    copy.fails(&[WEIGHTS, name, "missing"]);
    for (tensor, message) in [
        (("F32", vec![2, 32], 256), "has shape [2, 32], but config.json calls for [64]"),
        (("F64", vec![64], 512), "is F64, must be F32, F16 or BF16"),
        (("I8", vec![64], 64), "is I8, must be F32, F16 or BF16"),
    ] {
        let copy = Copy::of(SINGLE);
        let (dtype, shape, len) = tensor;
        copy.edit_tensors(WEIGHTS, |tensors| {
            tensors.insert(name.into(), (dtype.into(), shape, vec![0; len]));
        });
        copy.fails(&[WEIGHTS, name, message]);
    }
}

#[test]
fn rejects_damaged_weight_files() {
    let whole = std::fs::read(case(SINGLE).join(WEIGHTS)).unwrap();
    let header_len = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for len in [0, 1, 7, 8, 9, header_len - 1, header_len, header_len + 1, whole.len() - 1] {
        let copy = Copy::of(SINGLE);
        copy.write(WEIGHTS, &whole[..len]);
        copy.fails(&[WEIGHTS]);
    }
    for bytes in [vec![0; 4096], vec![0xFF; 4096], [&whole[..], b"x"].concat()] {
        let copy = Copy::of(SINGLE);
        copy.write(WEIGHTS, bytes);
        copy.fails(&[WEIGHTS]);
    }
    let copy = Copy::of(SINGLE);
    std::fs::remove_file(copy.path().join(WEIGHTS)).unwrap();
    std::fs::create_dir(copy.path().join(WEIGHTS)).unwrap();
    copy.fails(&[WEIGHTS, "a directory, where a file is needed"]);
}

/// Each byte of the header changed: an error, or the change was of no account; never a panic.
#[test]
fn a_changed_header_is_refused_or_harmless() {
    let copy = Copy::of(SINGLE);
    let whole = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
    let header_len = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in (0..header_len).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        copy.write(WEIGHTS, bytes);
        match mmfree_convert::Checkpoint::open(copy.path()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    }
}

#[test]
fn rejects_shards_that_do_not_fit_their_index() {
    let shard = |n: usize| format!("model-{n:05}-of-00004.safetensors");
    let copy = Copy::of(SHARDED);
    std::fs::remove_file(copy.path().join(shard(3))).unwrap();
    copy.fails(&[INDEX, &shard(3), "missing"]);

    let move_head = |to: Value| {
        let copy = Copy::of(SHARDED);
        copy.edit_json(INDEX, |json| json["weight_map"]["lm_head.weight"] = to);
        copy
    };
    move_head(json!(shard(1))).fails(&["lm_head.weight", &shard(1), "it is in", &shard(4)]);
    for outside in ["../x.safetensors", "/etc/passwd", "", ".", "a/b"] {
        move_head(json!(outside)).fails(&[INDEX, "must be a file of the same folder"]);
    }
    move_head(json!(3)).fails(&[INDEX, "is not valid"]);
    move_head(json!("\u{0}")).fails(&[INDEX]);

    let copy = Copy::of(SHARDED);
    copy.edit_tensors(&shard(2), |tensors| drop(tensors.pop_first()));
    copy.fails(&[INDEX, &shard(2), "no shard has it"]);

    let copy = Copy::of(SHARDED);
    copy.edit_json(INDEX, |json| {
        json["weight_map"].as_object_mut().unwrap().remove("model.norm.weight");
    });
    copy.fails(&["tensor model.norm.weight: missing"]);
    copy.write(INDEX, "{}");
    copy.fails(&[INDEX, "weight_map"]);
}
