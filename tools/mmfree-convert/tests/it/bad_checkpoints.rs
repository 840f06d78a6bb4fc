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
    let what = "the config.json of a checkpoint, but not a model file";
    assert_fails(&output, &["config.json: ", what, "makes one from a checkpoint folder"]);
    let dir = temp_dir();
    let to = dir.path().join("m.mmfree");
    let output = converter().arg(&file).arg("-o").arg(&to).output().unwrap();
    assert_fails(&output, &["config.json: ", what]);
    let (_dir, model, _) = converted(&case(SINGLE), &Default::default());
    let output = converter().arg(&model).output().unwrap();
    assert_fails(&output, &["model.mmfree", "is a file: to pack it anew, give --output"]);
    // The output is looked at before anything is read.
    let output = converter().arg(&file).args(["-o", "/no/such/folder/m.mmfree"]).output().unwrap();
    assert_fails(&output, &["cannot write in /no/such/folder", "No such file or directory"]);
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
fn rejects_a_clone_without_its_large_files() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let copy = Copy::of(SINGLE);
    copy.write("model.safetensors", pointer);
    copy.fails(&["model.safetensors", "Git LFS pointer", "git lfs pull"]);
    std::fs::rename(copy.path().join("model.safetensors"), copy.path().join("pytorch_model.bin"))
        .unwrap();
    copy.fails(&["pytorch_model.bin", "Git LFS pointer"]);
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

#[test]
fn rejects_shards_without_name_or_twice_in_the_index() {
    let copy = Copy::of(SHARDED);
    copy.edit_json(INDEX, |json| json["weight_map"]["lm_head.weight"] = json!(""));
    copy.fails(&[INDEX, "names the shard \"\", must be"]);
    let copy = Copy::of(SHARDED);
    let text = std::fs::read_to_string(copy.path().join(INDEX)).unwrap();
    let twice = text.replacen(
        "\"weight_map\": {",
        "\"weight_map\": {\"lm_head.weight\": \"model-00001-of-00004.safetensors\",",
        1,
    );
    assert_ne!(twice, text);
    copy.write(INDEX, twice);
    copy.fails(&[INDEX, "lm_head.weight stands there twice"]);
}

#[test]
fn rejects_a_tensor_that_stands_twice() {
    let copy = Copy::of(SINGLE);
    let whole = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
    let len = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&whole[8..8 + len]).unwrap();
    // The same entry once more: the last one would win.
    let start = header.find("\"model.norm.weight\"").unwrap();
    let end = start + header[start..].find('}').unwrap() + 1;
    let header = format!("{{{},{}", &header[start..end], header.strip_prefix('{').unwrap());
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &whole[8 + len..]];
    copy.write(WEIGHTS, bytes.concat());
    copy.fails(&[WEIGHTS, "model.norm.weight stands there twice"]);
}

#[test]
fn rejects_generation_values_that_the_runtime_cannot_use() {
    const NAME: &str = "generation_config.json";
    for (key, value, message) in [
        ("temperature", json!(-1), "temperature is -1, must be 0 or more"),
        ("temperature", json!("hot"), "temperature is \"hot\", must be a number"),
        ("top_p", json!(1.5), "top_p is 1.5, must be above 0, and 1 at most"),
        ("top_k", json!(-1), "top_k is -1, must be a whole number, 0 or more"),
        ("top_k", json!("50"), "top_k is \"50\""),
        ("do_sample", json!(1), "do_sample is 1, must be true or false"),
        ("repetition_penalty", json!(0), "repetition_penalty is 0, must be above 0"),
        ("eos_token_id", json!(120), "eos_token_id is 120, must be below vocab_size 120"),
        ("eos_token_id", json!([2, -1]), "eos_token_id is [2,-1], must be a token id"),
        ("bos_token_id", json!("x"), "bos_token_id is \"x\""),
    ] {
        let copy = Copy::of(SINGLE);
        copy.edit_json(NAME, |json| {
            json["do_sample"] = json!(true);
            json[key] = value;
        });
        copy.fails(&[&format!("{NAME}: {message}")]);
    }
    let copy = Copy::of(SINGLE);
    copy.edit_json(NAME, |json| {
        for (key, value) in
            [("top_k", json!(50.0)), ("temperature", json!(1)), ("top_p", json!(null))]
        {
            json[key] = value;
        }
    });
    converted(copy.path(), &Default::default());
    copy.write("config.json", "{\"model_type\": \"llama\", \"vocab_size\": 1}");
    copy.fails(&["config.json: model_type is \"llama\""]);
}

#[test]
fn rejects_a_tokenizer_that_cannot_be_used() {
    for text in ["{}", "[]", "{\"model\": {\"type\": \"Nonsense\"}}"] {
        let copy = Copy::of(SINGLE);
        copy.write("tokenizer.json", text);
        copy.fails(&["tokenizer.json: is no tokenizer that can be used: "]);
    }
}

#[test]
fn a_tokenizer_that_is_missing_or_too_large_is_noted() {
    let copy = Copy::of(SINGLE);
    let notes = || converted(copy.path(), &Default::default()).2.notes;
    assert_eq!(notes(), ["the checkpoint has no tokenizer.json: the model runs from ids"]);
    // A vocabulary of 512, for a model of 120.
    std::fs::copy(case("b_bf16").join("tokenizer.json"), copy.path().join("tokenizer.json"))
        .unwrap();
    let notes = notes();
    assert!(notes.len() == 1 && notes[0].contains("up to id 511"), "{notes:?}");
    assert!(notes[0].contains("0 to 119"), "{notes:?}");
    assert_eq!(converted(&case("b_bf16"), &Default::default()).2.notes, [""; 0]);
}

#[test]
fn a_link_that_leads_nowhere_is_not_taken_for_no_file() {
    for name in [
        WEIGHTS,
        "tokenizer.json",
        "generation_config.json",
        "tokenizer_config.json",
        "config.json",
    ] {
        let copy = Copy::of(SINGLE);
        let path = copy.path().join(name);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        copy.fails(&[name, "is a link to nowhere, which is missing"]);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(name, &path).unwrap();
        // glibc: "Too many levels of symbolic links", musl: "Symbolic link loop".
        copy.fails(&[name, "ymbolic link"]);
    }
    let copy = Copy::of(SHARDED);
    for name in [INDEX, "model-00003-of-00004.safetensors"] {
        let path = copy.path().join(name);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        copy.fails(&[name, "is a link to nowhere"]);
        std::fs::remove_file(&path).unwrap();
        std::fs::copy(case(SHARDED).join(name), &path).unwrap();
    }
}

/// What people have in place of a file that was to be downloaded.
const STRAY: [(&str, &[u8], &[&str]); 8] = [
    (
        "pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        &["is a Git LFS pointer", "git lfs pull"],
    ),
    (
        "page",
        b"<!DOCTYPE html>\n<html><p>Sign in</html>",
        &["is a page of HTML", "download the file itself"],
    ),
    ("answer", b"Entry not found", &["is the text \"Entry not found\"", "download"]),
    (
        "error",
        b"{\"error\": \"Repository not found\"}",
        &["is the text \"Repository not found\"", "download"],
    ),
    ("gguf", b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0", &["is a GGUF file", "convert the checkpoint"]),
    ("zip", b"PK\x03\x04\x14\0\0\0\0\0", &["is a zip archive", "unpack it first"]),
    ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &["packed by gzip", "unpack it first"]),
    ("hdf5", b"\x89HDF\r\n\x1a\n\0\0\0\0", &["is an HDF5 file"]),
];

#[test]
fn a_small_file_that_is_something_else_is_named() {
    for name in
        ["config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json", INDEX]
    {
        for (_, bytes, parts) in STRAY {
            let copy = Copy::of(SHARDED);
            copy.write(name, bytes);
            let path = format!("{name}: is ");
            let parts: Vec<&str> =
                parts.iter().map(|part| part.trim_start_matches("is ")).collect();
            copy.fails(&[&[&path[..], "not JSON"], &parts[..]].concat());
        }
    }
}

#[test]
fn weights_that_are_something_else_are_named() {
    for (kind, bytes, parts) in STRAY {
        let copy = Copy::of(SINGLE);
        copy.write(WEIGHTS, bytes);
        copy.fails(&[&[WEIGHTS, "not a safetensors file"], parts].concat());
        std::fs::remove_file(copy.path().join(WEIGHTS)).unwrap();
        copy.write("pytorch_model.bin", bytes);
        // A zip is what it should be, but for what is in it.
        if kind != "zip" {
            let parts = parts.iter().map(|part| part.trim_start_matches("is "));
            copy.fails(
                &["pytorch_model.bin", "is no zip file"]
                    .into_iter()
                    .chain(parts)
                    .collect::<Vec<_>>(),
            );
        }
    }
    // Each under the other's name, and a model file that needs nothing done.
    let torch =
        std::fs::read(case("b_bf16").with_file_name("e_pytorch_bin_fp32/pytorch_model.bin"));
    let copy = Copy::of(SINGLE);
    let safetensors = std::fs::read(copy.path().join(WEIGHTS)).unwrap();
    copy.write(WEIGHTS, torch.unwrap());
    copy.fails(&[
        WEIGHTS,
        "is no safetensors file, but weights of torch.save",
        "pytorch_model.bin",
    ]);
    let (_dir, model, _) = converted(&case(SINGLE), &Default::default());
    copy.write(WEIGHTS, std::fs::read(model).unwrap());
    copy.fails(&[WEIGHTS, "is a model file of mmfree already"]);
    std::fs::remove_file(copy.path().join(WEIGHTS)).unwrap();
    copy.write("pytorch_model.bin", safetensors);
    copy.fails(&["pytorch_model.bin", "a safetensors file: call it model.safetensors"]);
}

/// `info`, `verify` and the rest have it from where model files are opened.
#[test]
fn a_file_that_is_no_model_file_is_named() {
    let dir = temp_dir();
    for (name, bytes, parts) in STRAY {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let parts: Vec<&str> = parts.iter().map(|part| part.trim_start_matches("is ")).collect();
        for command in ["inspect", "verify"] {
            let run = converter().arg(command).arg(&path).output().unwrap();
            assert_fails(&run, &[&[name, "but not a model file"], &parts[..]].concat());
        }
    }
    for (path, part) in [
        (case("b_bf16").join(WEIGHTS), "a safetensors file"),
        (case("b_bf16").join("config.json"), "the config.json of a checkpoint"),
        (case("b_bf16").join("tokenizer.json"), "a tokenizer.json"),
        (case(SHARDED).join(INDEX), "the index of a checkpoint's shards"),
    ] {
        let run = converter().arg("inspect").arg(path).output().unwrap();
        assert_fails(&run, &[part, "mmfree-convert makes one from a checkpoint folder"]);
    }
}

#[test]
fn rejects_adapters_that_were_not_merged() {
    let names: [fn(&str) -> Vec<String>; 2] = [
        // As PEFT has them in a whole model, and as they stand beside the weights elsewhere.
        |name| {
            let base = format!("base_model.model.{}", name.replace("_proj.", "_proj.base_layer."));
            let lora =
                format!("base_model.model.{}", name.replace("weight", "lora_A.default.weight"));
            if name.contains("_proj.weight") { vec![base, lora] } else { vec![base] }
        },
        |name| {
            let lora = name.replace(".weight", ".lora_B");
            if name.contains("_proj.weight") { vec![name.into(), lora] } else { vec![name.into()] }
        },
    ];
    for names in names {
        let copy = Copy::of(SINGLE);
        copy.edit_tensors(WEIGHTS, |tensors| {
            let old = std::mem::take(tensors);
            let all = old
                .iter()
                .flat_map(|(name, tensor)| names(name).into_iter().map(move |n| (n, tensor)));
            *tensors = all.map(|(name, tensor)| (name, tensor.clone())).collect();
        });
        copy.fails(&[WEIGHTS, "is of a PEFT adapter", "merge_and_unload"]);
    }
    let copy = Copy::of(SINGLE);
    std::fs::rename(copy.path().join(WEIGHTS), copy.path().join("adapter_model.safetensors"))
        .unwrap();
    copy.fails(&["has no weights but those of a PEFT adapter", "merge_and_unload"]);
    std::fs::rename(copy.path().join("config.json"), copy.path().join("adapter_config.json"))
        .unwrap();
    copy.fails(&["is a PEFT adapter, no checkpoint", "merge_and_unload"]);
}

#[test]
fn rejects_two_models_in_one_file() {
    let copy = Copy::of(SINGLE);
    copy.edit_tensors(WEIGHTS, |tensors| {
        let old = std::mem::take(tensors);
        for (name, tensor) in old {
            tensors.insert(format!("ema.{name}"), tensor.clone());
            tensors.insert(format!("student.{name}"), tensor);
        }
    });
    copy.fails(&[WEIGHTS, "behind ema. and behind student.", "save one of both alone"]);
}

#[test]
fn rejects_shards_without_an_index_that_are_not_all_there() {
    let copy = Copy::of(SHARDED);
    let shard = |n: usize, of: usize| format!("model-{n:05}-of-{of:05}.safetensors");
    std::fs::remove_file(copy.path().join(INDEX)).unwrap();
    std::fs::rename(copy.path().join(shard(3, 4)), copy.path().join("aside")).unwrap();
    copy.fails(&["has no model.safetensors.index.json", "not all of the shards", &shard(3, 4)]);
    std::fs::copy(copy.path().join(shard(2, 4)), copy.path().join(shard(3, 4))).unwrap();
    copy.fails(&[&shard(3, 4), "tensor ", &shard(2, 4), " too"]);
    std::fs::rename(copy.path().join(shard(3, 4)), copy.path().join(shard(1, 2))).unwrap();
    copy.fails(&["shards of two sets", &shard(1, 2), &shard(1, 4)]);
}

#[test]
fn rejects_a_chat_template_that_is_another_file() {
    let copy = Copy::of("a_basic_fp32");
    let name = "chat_template.jinja";
    copy.write(name, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
    copy.fails(&[name, "is a Git LFS pointer, not a template", "git lfs pull"]);
    copy.write(name, "<!doctype html><html></html>");
    copy.fails(&[name, "is a page of HTML, not a template"]);
    copy.write(name, "Entry not found");
    copy.fails(&[name, "is the text \"Entry not found\", not a template"]);
    for template in
        ["{{ messages[0].content }} and so on", "<s>{% for m in messages %}{{ m }}{% endfor %}", ""]
    {
        copy.write(name, template);
        converted(copy.path(), &Default::default());
    }
}

#[test]
fn rejects_a_model_without_its_head_and_names_behind_a_prefix_that_are_not_all() {
    let rename = |prefix: &'static str, left_out: &'static str| {
        let copy = Copy::of(SINGLE);
        copy.edit_tensors(WEIGHTS, |tensors| {
            let old = std::mem::take(tensors);
            let kept = old.into_iter().filter(|(name, _)| !name.starts_with(left_out));
            *tensors = kept
                .map(|(name, tensor)| match name.strip_prefix("model.") {
                    Some(rest) => (format!("{prefix}{rest}"), tensor),
                    None => (name, tensor),
                })
                .collect();
        });
        copy
    };
    rename("", "lm_head.").fails(&[
        WEIGHTS,
        "names as embeddings.weight",
        "no lm_head.weight",
        "ForCausalLM",
    ]);
    rename("transformer.", "lm_head.")
        .fails(&["names as transformer.embeddings.weight", "without its head"]);
    rename("transformer.", "model.norm.").fails(&[
        "names as transformer.embeddings.weight, where model.embeddings.weight is right",
        "not all are there: no transformer.norm.weight",
    ]);
    rename("model.", "lm_head.").fails(&["tensor lm_head.weight: missing"]);
}

#[test]
fn weights_under_a_name_that_is_not_looked_for_are_named() {
    for (name, part) in [
        (
            "weights.safetensors",
            "weights.safetensors is not looked at: if it has all of them, call it model.saf",
        ),
        ("consolidated.00.pth", "consolidated.00.pth is not looked at: if torch.save"),
        ("tf_model.h5", "tf_model.h5 cannot be read"),
    ] {
        let copy = Copy::of(SINGLE);
        std::fs::rename(copy.path().join(WEIGHTS), copy.path().join(name)).unwrap();
        copy.fails(&["has no weights: none of model.safetensors", part]);
    }
}
