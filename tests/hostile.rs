//! A model file is hostile until it is checked: whatever its bytes, opening and running it ends in a clean error or
//! in a valid model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mmfree::format::{Config, keys};
use mmfree::packing::Packing;
use mmfree::{AlignedBytes, Error, Model, ModelFile, Options, Step, Want};
use serde_json::{Value, json};

use crate::synthetic;

/// A model of a few KB.
fn tiny() -> Config {
    Config {
        vocab_size: 11,
        hidden_size: 8,
        num_layers: 1,
        state_size: 8,
        intermediate_size: 9,
        ..synthetic::config()
    }
}

fn open(bytes: &[u8]) -> Result<ModelFile, Error> {
    ModelFile::from_bytes("hostile.mmfree", bytes)
}

/// A file taken apart: header JSON and data.
struct Parts {
    header: BTreeMap<String, Value>,
    data: Vec<u8>,
}

fn parts() -> Parts {
    let bytes = synthetic::model(&tiny(), Packing::T5, 3);
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    Parts {
        header: serde_json::from_slice(&bytes[8..8 + len]).unwrap(),
        data: bytes[8 + len..].to_vec(),
    }
}

impl Parts {
    fn bytes(&self) -> Vec<u8> {
        self.bytes_padded_to(64)
    }

    fn bytes_padded_to(&self, multiple: usize) -> Vec<u8> {
        let mut json = serde_json::to_vec(&self.header).unwrap();
        json.resize((json.len() + 8).next_multiple_of(multiple) - 8, b' ');
        [&(json.len() as u64).to_le_bytes()[..], &json, &self.data].concat()
    }

    fn set(&mut self, key: &str, value: &str) {
        self.header.get_mut("__metadata__").unwrap()[key] = json!(value);
    }

    /// Changes a field of the config.
    fn set_config(&mut self, field: &str, value: Value) {
        let text = self.header["__metadata__"][keys::CONFIG].as_str().unwrap();
        let mut config: Value = serde_json::from_str(text).unwrap();
        config[field] = value;
        self.set(keys::CONFIG, &config.to_string());
    }
}

/// The message that opening gives, which must be one line that names the file.
#[track_caller]
fn refusal(bytes: &[u8]) -> String {
    let message = open(bytes).map(|_| ()).expect_err("must be refused").to_string();
    assert!(message.contains("hostile.mmfree") && !message.contains('\n'), "{message}");
    message
}

/// Where pointers have 32 bits, a larger number is refused before it is known what it is for.
fn too_large_to_read(value: &Value) -> bool {
    let numbers = [value, &value["size"]];
    numbers.into_iter().filter_map(Value::as_u64).any(|number| usize::try_from(number).is_err())
}

#[track_caller]
fn rejects(change: impl FnOnce(&mut Parts), expected: &str) {
    let mut parts = parts();
    change(&mut parts);
    let message = refusal(&parts.bytes());
    assert!(message.contains(expected), "{message}");
}

const MATRIX: &str = "model.layers.0.attn.i_proj.weight";

#[test]
fn the_untouched_file_opens() {
    open(&parts().bytes()).unwrap();
}

#[test]
fn bytes_in_memory_are_taken_without_a_copy_where_they_are_aligned() {
    let bytes = parts().bytes();
    // So many bytes after an address that is a multiple of 64.
    let placed = |off: usize| -> &'static [u8] {
        let room = vec![0; bytes.len() + 128].leak();
        let start = room.as_ptr().align_offset(64) + off;
        room[start..start + bytes.len()].copy_from_slice(&bytes);
        &room[start..start + bytes.len()]
    };
    let aligned = placed(0);
    let file = ModelFile::from_owner("in memory", aligned).unwrap();
    assert_eq!(file.bytes().as_ptr(), aligned.as_ptr());
    let owned = AlignedBytes::from(&bytes[..]);
    let address = owned.as_ptr();
    let file = ModelFile::from_owner("in memory", owned).unwrap();
    assert_eq!((file.bytes(), file.bytes().as_ptr()), (&bytes[..], address));
    for off in [1, 4, 32] {
        let error = ModelFile::from_owner("in memory", placed(off)).unwrap_err().to_string();
        assert_eq!(error, "in memory: in memory, it must start at a multiple of 64");
    }
}

/// Against what the documentation asks for; every length is checked again where it is used.
#[test]
fn an_owner_whose_bytes_get_fewer_is_a_panic_and_no_access_out_of_bounds() {
    let bytes = parts().bytes();
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    struct Shared(Arc<AtomicUsize>, AlignedBytes);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.1[..self.1.len().min(self.0.load(Ordering::Relaxed))]
        }
    }
    let owner = Shared(Arc::clone(&left), AlignedBytes::from(&bytes[..]));
    let file = ModelFile::from_owner("in memory", owner).unwrap();
    let model = Model::new(file, &Options { threads: Some(1), ..Options::default() }).unwrap();
    left.store(bytes.len() / 2, Ordering::Relaxed);
    let run = std::panic::AssertUnwindSafe(|| {
        let (mut state, mut logits) = (model.new_state(), Vec::new());
        let (state, logits) = (&mut state, &mut logits);
        let step = Step { state, tokens: &[1], want: Want::Last, logits, states: None };
        model.forward(&mut [step])
    });
    assert!(std::panic::catch_unwind(run).is_err());
}

#[test]
fn rejects_what_is_no_safetensors_file() {
    for bytes in [&b""[..], b"short", &[0; 4096], &[0xFF; 4096], b"GGUF\x03\0\0\0\0\0\0\0\0\0"] {
        assert!(refusal(bytes).contains("not a model file"));
    }
}

/// What people hand to `-m` by mistake.
#[test]
fn a_file_of_another_kind_is_named() {
    let state = {
        let mut parts = parts();
        parts.set(keys::FORMAT, "mmfree-state");
        parts.bytes()
    };
    for (bytes, expected) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..],
            "a Git LFS pointer, but not a model file; `git lfs pull` fetches the file itself",
        ),
        (
            b"<!doctype html><p>",
            "a page of HTML, but not a model file; download the file itself, not",
        ),
        (b"{\"error\": \"gone\"}", "the text \"gone\", but not a model file; if it was to be a"),
        (
            b"GGUF\x03\0\0\0",
            "a GGUF file of llama.cpp, but not a model file; convert the checkpoint",
        ),
        (b"PK\x03\x04\x14\0\0\0\0\0", "a zip archive, but not a model file; unpack it first"),
        (
            b"{\"model_type\": \"hgrn_bit\"}",
            "the config.json of a checkpoint, but not a model file; mmfree-convert makes one from a",
        ),
        (&state, "a saved session of mmfree, but not a model file; --load-state takes it"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn rejects_a_safetensors_file_that_is_no_model_file() {
    rejects(|p| p.set(keys::FORMAT, "pt"), "mmfree-convert makes one");
    rejects(|p| drop(p.header.remove("__metadata__")), "mmfree-convert makes one");
}

#[test]
fn rejects_another_version_as_such() {
    for version in ["2", "0", "1.5", "", "99999999999999999999"] {
        let mut parts = parts();
        parts.set(keys::VERSION, version);
        let error = open(&parts.bytes()).unwrap_err();
        assert!(matches!(error, Error::Version { .. }), "{error}");
    }
}

#[test]
fn rejects_another_architecture() {
    rejects(|p| p.set(keys::ARCHITECTURE, "llama"), "architecture llama");
}

#[test]
fn rejects_a_missing_metadata_field() {
    for key in [keys::VERSION, keys::ARCHITECTURE, keys::CONFIG, keys::HASH, keys::TERNARY] {
        rejects(
            |p| {
                drop(p.header.get_mut("__metadata__").unwrap().as_object_mut().unwrap().remove(key))
            },
            key,
        );
    }
}

#[test]
fn rejects_a_hash_that_is_none() {
    rejects(|p| p.set(keys::HASH, "abc"), keys::HASH);
    rejects(|p| p.set(keys::HASH, &"G".repeat(64)), keys::HASH);
}

#[test]
fn rejects_sizes_out_of_range() {
    for (field, value) in [
        ("vocab_size", json!(0)),
        ("vocab_size", json!(1u64 << 40)),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(u64::MAX)),
        ("state_size", json!(1 << 30)),
        ("intermediate_size", json!(0)),
        ("num_layers", json!(0)),
        ("num_layers", json!(1u64 << 40)),
        ("num_heads", json!(0)),
        ("num_heads", json!(3)),
        ("rms_norm_eps", json!(-1.0)),
        ("rms_norm_eps", json!(1e300)),
        ("short_conv", json!({"size": 0, "shared": true})),
        ("short_conv", json!({"size": 1u64 << 60, "shared": false})),
        ("bos_token_id", json!(11)),
        ("eos_token_ids", json!([1, 11])),
    ] {
        let mut parts = parts();
        parts.set_config(field, value.clone());
        let message = refusal(&parts.bytes());
        let named = message.contains(field)
            || field.ends_with("ids")
            || field.ends_with("id")
            || too_large_to_read(&value) && message.contains(keys::CONFIG);
        assert!(named, "{field} {value}: {message}");
    }
}

#[test]
fn rejects_config_fields_of_the_wrong_kind() {
    rejects(|p| p.set_config("hidden_size", json!("8")), keys::CONFIG);
    rejects(|p| p.set_config("hidden_size", json!(-8)), keys::CONFIG);
    rejects(|p| p.set_config("surprise", json!(1)), "surprise");
    rejects(|p| p.set(keys::CONFIG, "not json"), keys::CONFIG);
}

#[test]
fn rejects_more_layers_than_tensors_before_it_lists_them() {
    rejects(|p| p.set_config("num_layers", json!(60_000)), "60000 layers");
}

#[test]
fn rejects_bounds_with_a_wide_state_and_several_layers() {
    let change = |p: &mut Parts| {
        p.set_config("state_size", json!(16));
        p.set_config("num_layers", json!(2));
    };
    rejects(change, "lower bounds");
}

#[test]
fn rejects_sizes_against_the_tensors() {
    rejects(|p| p.set_config("vocab_size", json!(12)), "embeddings");
    rejects(|p| p.set_config("intermediate_size", json!(10)), "gate_proj");
}

#[test]
fn rejects_a_missing_tensor() {
    // Renamed, as the format allows no hole.
    let rename = |p: &mut Parts| {
        let info = p.header.remove(MATRIX).unwrap();
        p.header.insert("other".into(), info);
    };
    rejects(rename, &format!("tensor {MATRIX}: missing"));
}

#[test]
fn rejects_a_tensor_too_many() {
    let add = |p: &mut Parts| {
        let end = p.data.len();
        let info = json!({"dtype": "U8", "shape": [4], "data_offsets": [end, end + 4]});
        p.header.insert("extra".into(), info);
        p.data.extend([0; 4]);
    };
    rejects(add, "tensor extra: not part of this architecture");
}

#[test]
fn rejects_a_tensor_of_another_type() {
    rejects(|p| p.header.get_mut(MATRIX).unwrap()["dtype"] = json!("I8"), "must be one of [U8]");
    rejects(
        |p| p.header.get_mut("model.norm.weight").unwrap()["dtype"] = json!("I32"),
        "must be one of [F32]",
    );
}

#[test]
fn rejects_a_tensor_of_another_shape() {
    rejects(
        |p| p.header.get_mut("model.norm.weight").unwrap()["shape"] = json!([4, 2]),
        "tensor model.norm.weight: has shape [4, 2], must be [8]",
    );
}

#[test]
fn rejects_packed_sizes_against_the_config() {
    for (field, value) in [("rows", json!(9)), ("cols", json!(0)), ("cols", json!(u64::MAX))] {
        let expected = if too_large_to_read(&value) { keys::TERNARY } else { MATRIX };
        let change = |p: &mut Parts| {
            let text = p.header["__metadata__"][keys::TERNARY].as_str().unwrap();
            let mut ternary: Value = serde_json::from_str(text).unwrap();
            ternary[MATRIX][field] = value;
            p.set(keys::TERNARY, &ternary.to_string());
        };
        rejects(change, expected);
    }
}

#[test]
fn rejects_an_unknown_packing_and_entries_for_no_matrix() {
    let change = |change: fn(&mut Value)| {
        move |p: &mut Parts| {
            let text = p.header["__metadata__"][keys::TERNARY].as_str().unwrap();
            let mut ternary: Value = serde_json::from_str(text).unwrap();
            change(&mut ternary);
            p.set(keys::TERNARY, &ternary.to_string());
        }
    };
    rejects(change(|t| t[MATRIX]["packing"] = json!("q4\u{1b}[31m")), "unknown packing q4\\u{1b}");
    rejects(change(|t| drop(t.as_object_mut().unwrap().remove(MATRIX))), MATRIX);
    rejects(change(|t| t["other"] = t[MATRIX].clone()), "other is no matrix");
}

#[test]
fn rejects_a_scale_that_is_none() {
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let change = |p: &mut Parts| {
            let info = &p.header[&format!("{MATRIX}_scale")]["data_offsets"];
            let at = info[0].as_u64().unwrap() as usize;
            p.data[at..at + 4].copy_from_slice(&scale.to_le_bytes());
        };
        rejects(change, "scale");
    }
}

#[test]
fn rejects_overlapping_tensors_and_holes() {
    let info = |p: &mut Parts, by: i64| {
        let offsets = &mut p.header.get_mut("model.norm.weight").unwrap()["data_offsets"];
        for i in 0..2 {
            offsets[i] = json!(offsets[i].as_i64().unwrap() + by);
        }
    };
    rejects(|p| info(p, -4), "not a model file");
    rejects(|p| info(p, 4), "not a model file");
}

#[test]
fn rejects_misaligned_data() {
    // Eight bytes off: floats still lie right, packed matrices do not.
    let parts = parts();
    let bytes = parts.bytes();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let json = [&bytes[8..8 + len], b"        "].concat();
    let off = [&(json.len() as u64).to_le_bytes()[..], &json, &parts.data].concat();
    assert!(refusal(&off).contains("must be a multiple of 64"));
}

#[test]
fn rejects_a_tokenizer_that_is_not_flat() {
    rejects(
        |p| p.header.get_mut("tokenizer.json").unwrap()["shape"] = json!([1, 2]),
        "tokenizer.json",
    );
}

/// Without the limit a list of tensors that have no data takes 17 times the memory of its text.
#[test]
fn rejects_a_header_of_very_many_tensors_and_of_very_many_fields() {
    let header = |list: String| {
        let json = format!("{{{list}}}");
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    };
    let tensor = |n| format!(r#""t{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
    let tensors: Vec<String> = (0..300_000).map(tensor).collect();
    let message = refusal(&header(tensors.join(",")));
    let expected = "its header lists 2399999 entries and fields, must be 524288 at most";
    assert!(message.contains(expected), "{message}");
    let shape = "1,".repeat(600_000);
    let shape = format!(r#""t":{{"dtype":"F32","shape":[{shape}0],"data_offsets":[0,0]}}"#);
    assert!(refusal(&header(shape)).contains("entries and fields"));
    let metadata: Vec<String> = (0..300_000).map(|n| format!(r#""{n}":"""#)).collect();
    let metadata = format!(r#""__metadata__":{{{}}}"#, metadata.join(","));
    assert!(refusal(&header(metadata)).contains("entries and fields"));
    // Within strings they are text, after escaped quotes too.
    let text = r#"\\\",:"#.repeat(600_000);
    let metadata = format!(r#""__metadata__":{{"text":"{text}"}}"#);
    assert!(!refusal(&header(metadata)).contains("entries and fields"));
    rejects(
        |p| p.set(keys::TERNARY, &format!("{{{}}}", "\"\":1,".repeat(300_000))),
        "mmfree.ternary: lists 600000 entries and fields",
    );
}

#[test]
fn rejects_trailing_bytes() {
    rejects(|p| p.data.push(0), "not a model file");
}

/// Opens the bytes and, where that succeeds, runs the model over some tokens: an error or finite logits.
fn run(bytes: &[u8]) {
    let Ok(file) = open(bytes) else { return };
    let options = Options { threads: Some(1), ..Options::default() };
    let Ok(model) = Model::new(file, &options) else { return };
    let mut state = model.new_state();
    let mut logits = Vec::new();
    let step = Step {
        state: &mut state,
        tokens: &[1, 2, 3, 10],
        want: Want::All,
        logits: &mut logits,
        states: None,
    };
    match model.forward(&mut [step]) {
        Ok(()) => assert!(logits.iter().all(|v| v.is_finite())),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

/// Ends of sixteen tensors of 2^60 bytes, or of 2^28 where pointers have 32 bits, come round to 0: sums must not wrap.
#[test]
fn rejects_tensors_whose_ends_wrap_around() {
    let mut header = json!({"__metadata__": {}});
    let size = 1usize << (usize::BITS - 4);
    for i in 0..16 {
        let end = if i < 15 { (i + 1) * size } else { usize::MAX - 1000 };
        let len = end - i * size;
        let info = json!({"dtype": "U8", "shape": [len], "data_offsets": [i * size, end]});
        header[format!("t{i:02}")] = info;
    }
    // For every length of the rest: one of them is what a wrapped sum would call for.
    let json = serde_json::to_vec(&header).unwrap();
    for rest in 0..1200 {
        let bytes = [&(json.len() as u64).to_le_bytes()[..], &json, &vec![0; rest]].concat();
        assert!(refusal(&bytes).contains("cut short"));
    }
}

#[test]
fn every_truncation_is_refused_and_names_the_first_incomplete_tensor() {
    let parts = parts();
    let bytes = parts.bytes();
    let start = bytes.len() - parts.data.len();
    for len in 0..bytes.len() {
        let message = refusal(&bytes[..len]);
        let Some(data) = len.checked_sub(start) else { continue };
        let ends = parts.header.iter().filter(|(name, _)| *name != "__metadata__");
        let first = ends
            .map(|(name, info)| (info["data_offsets"][1].as_u64().unwrap() as usize, name))
            .filter(|&(end, _)| end > data)
            .min();
        let (_, name) = first.unwrap();
        let expected = format!("cut short: {len} bytes, but its header calls for {}", bytes.len());
        assert!(message.contains(&expected), "{message}");
        assert!(message.ends_with(&format!("not all there is {name}")), "{message}");
    }
}

#[test]
fn every_changed_byte_gives_an_error_or_a_valid_model() {
    for packing in Packing::ALL {
        let bytes = synthetic::model(&tiny(), packing, 3);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                run(&bytes);
            }
        }
    }
}

#[test]
fn opening_what_is_no_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &std::path::Path| ModelFile::open(path).unwrap_err().to_string();
    assert!(message(folder.path()).contains("a directory"));
    let missing = message(&folder.path().join("missing.mmfree"));
    assert!(missing.contains("missing.mmfree: No such file or directory"), "{missing}");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    assert!(message(&empty).contains("empty"));
}
