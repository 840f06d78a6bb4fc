//! What comes out of a conversion, held against an independent reading of the checkpoint.

use mmfree::ModelFile;
use mmfree::format::{Embedding, FloatType, Role, keys};
use mmfree::packing::Packing;
use mmfree_convert::{Embed, EmbeddingType, Options, Pack, convert};
use sha2::{Digest, Sha256};

use crate::common::*;

fn packed(packing: Packing) -> Options {
    Options { pack: Pack::Only(packing), ..Options::default() }
}

/// The rule of the paper, by another road: a serial float64 mean.
fn ternarise(weights: &[f32]) -> (Vec<i8>, f32) {
    let sum: f64 = weights.iter().map(|&w| f64::from(w.abs())).sum();
    let mean = ((sum / weights.len() as f64) as f32).max(1e-5);
    let s = 1.0 / mean;
    let trit = |&w: &f32| match w.abs() * s > 0.5 {
        true if w > 0.0 => 1,
        true => -1,
        false => 0,
    };
    (weights.iter().map(trit).collect(), 1.0 / s)
}

fn unpack(file: &ModelFile, name: &str) -> (Vec<i8>, f32) {
    let (matrix, scale) = file.matrix(name).unwrap();
    assert_eq!(matrix.first_invalid(), None, "{name}");
    let mut trits = vec![0; matrix.rows() * matrix.cols()];
    for (row, out) in trits.chunks_mut(matrix.cols()).enumerate() {
        matrix.unpack_row(row, out);
    }
    (trits, scale)
}

#[test]
fn every_golden_case_has_the_trits_and_floats_of_its_checkpoint() {
    for case in cases() {
        let tensors = read_checkpoint(&case);
        for packing in Packing::ALL {
            let (_dir, output, summary) = converted(&case, &packed(packing));
            let file = ModelFile::open(&output).unwrap();
            let config = file.config();
            let mut matrices = 0;
            for spec in config.tensors() {
                let tied = config.tie_word_embeddings && spec.name == "lm_head.weight";
                let name = if tied { "model.embeddings.weight" } else { &spec.name };
                let expected = values(&tensors[name]);
                let at = format!("{} {name}", case.display());
                match spec.role {
                    Role::Ternary => {
                        assert_eq!(unpack(&file, &spec.name), ternarise(&expected), "{at}");
                        let (matrix, _) = file.matrix(&spec.name).unwrap();
                        assert_eq!(matrix.packing(), packing);
                        matrices += 1;
                    }
                    Role::Float => assert_eq!(file.floats(&spec.name).unwrap(), expected, "{at}"),
                    Role::Embedding => {
                        let mut row = vec![0.0; config.hidden_size];
                        for (token, expected) in expected.chunks(config.hidden_size).enumerate() {
                            file.embedding_row(token, &mut row);
                            assert_eq!(row, expected, "{at}");
                        }
                    }
                }
            }
            assert_eq!(summary.matrices, matrices);
            assert_eq!(summary.sizes.file, output.metadata().unwrap().len());
            let sizes = summary.sizes;
            let sum =
                sizes.header + sizes.packed + sizes.floats + sizes.embedding + sizes.tokenizer;
            assert_eq!(sum, sizes.file);
            for name in ["config.json", "generation_config.json", "tokenizer_config.json"] {
                let text = std::fs::read_to_string(case.join(name)).ok();
                assert_eq!(file.checkpoint_file(name), text.as_deref(), "{name}");
            }
            let tokenizer = std::fs::read(case.join("tokenizer.json")).ok();
            assert_eq!(file.tokenizer_json(), tokenizer.as_deref());
        }
    }
}

#[test]
fn threads_and_a_second_run_do_not_change_a_byte() {
    for name in ["b_bf16", "j_odder_sizes", "k_tied_fp32"] {
        for packing in Packing::ALL {
            let bytes = |threads| {
                let options = Options { threads: Some(threads), ..packed(packing) };
                std::fs::read(converted(&case(name), &options).1).unwrap()
            };
            let one = bytes(1);
            for threads in [1, 2, 7] {
                assert!(bytes(threads) == one, "{name} {packing:?} {threads}");
            }
        }
    }
}

/// Pins the format: whoever changes a byte of it must mean to. Run on every CPU that is tested.
#[test]
fn the_bytes_are_the_same_on_every_machine() {
    let made_up = |packing| {
        let dir = temp_dir();
        let path = dir.path().join("m.mmfree");
        let size = "hidden=96,layers=2,vocab=100".parse().unwrap();
        let options = Options { embed: Embed::Only(EmbeddingType::Int8), ..packed(packing) };
        mmfree_convert::synthesize(size, 3, &path, &options).unwrap();
        std::fs::read(path).unwrap()
    };
    let from_bf16 =
        |packing| std::fs::read(converted(&case("b_bf16"), &packed(packing)).1).unwrap();
    let digests: Vec<String> = Packing::ALL
        .into_iter()
        .flat_map(|packing| [made_up(packing), from_bf16(packing)])
        .map(|bytes| mmfree_convert::text::hex(&Sha256::digest(&bytes)))
        .collect();
    let expected = [
        "a8a6123a84a31fae9d4cfb1c87a800673996acaea30a352711ceca8a0602c00d",
        "dfdc6fbcf16e254b08a7c2c023b81464721e179dc32f091e0f58675a08d3c1eb",
        "2e9139b8d5702bde9b601d3593046ebb6049bf679db44a1f6d1f146c8f6e9a4c",
        "2c4145f559a0ce6ee15d12776d47a6e5683f8ce997119868c019e110a2d592ed",
    ];
    assert_eq!(digests, expected);
}

#[test]
fn checksums_are_those_of_the_tensors() {
    let (_dir, output, _) = converted(&case("b_bf16"), &Options::default());
    let file = ModelFile::open(&output).unwrap();
    let digests: std::collections::BTreeMap<String, String> =
        serde_json::from_str(file.metadata(keys::SHA256).unwrap()).unwrap();
    let tensors = read_tensors(&output);
    assert_eq!(digests.len(), tensors.len());
    for (name, (_, _, bytes)) in tensors {
        assert_eq!(digests[&name], mmfree_convert::text::hex(&Sha256::digest(&bytes)), "{name}");
    }
    assert_eq!(mmfree_convert::hash::model_hash(&file), file.hash());
}

/// As `docs/FORMAT.md` defines it, from the checkpoint.
fn expected_hash(folder: &std::path::Path, file: &ModelFile) -> String {
    let (tensors, config) = (read_checkpoint(folder), file.config());
    let hex = |bytes: &[u8]| mmfree_convert::text::hex(&Sha256::digest(bytes));
    let mut text = format!(
        "mmfree model hash 1\narchitecture hgrn_bit\nvocab_size {}\nhidden_size {}\nnum_layers {}\n\
         state_size {}\nintermediate_size {}\nlower_bounds {}\nrms_norm_eps {:08x}\nshort_conv {}\n",
        config.vocab_size,
        config.hidden_size,
        config.num_layers,
        config.state_size,
        config.intermediate_size,
        if config.lower_bounds { 1 } else { 0 },
        config.rms_norm_eps.to_bits(),
        match config.short_conv {
            None => "none".to_owned(),
            Some(c) => format!("{} {}", if c.shared { "shared" } else { "separate" }, c.size),
        }
    );
    for spec in config.tensors() {
        let tied = config.tie_word_embeddings && spec.name == "lm_head.weight";
        let weights = values(&tensors[if tied { "model.embeddings.weight" } else { &spec.name }]);
        let shape: Vec<String> = spec.shape.iter().map(|n| n.to_string()).collect();
        let shape = shape.join("x");
        text += &match spec.role {
            Role::Ternary => {
                let (trits, scale) = ternarise(&weights);
                let mut bytes = Vec::new();
                for row in trits.chunks(spec.shape[1]) {
                    for group in row.chunks(5) {
                        let powers = [1, 3, 9, 27, 81];
                        let padded = group.iter().chain(&[0; 4]);
                        bytes.push(powers.iter().zip(padded).map(|(p, t)| p * (t + 1) as u8).sum());
                    }
                }
                format!("{} {shape} trits {:08x} {}\n", spec.name, scale.to_bits(), hex(&bytes))
            }
            _ => {
                let bytes: Vec<u8> = weights.iter().flat_map(|v| v.to_le_bytes()).collect();
                format!("{} {shape} floats {}\n", spec.name, hex(&bytes))
            }
        };
    }
    hex(text.as_bytes())
}

#[test]
fn the_model_hash_is_the_documented_one_whatever_the_packing() {
    for name in ["c_fp16", "g_heads4_expand2", "i_short_conv_separate", "k_tied_fp32"] {
        let folder = case(name);
        let hash = |options: Options| {
            let (_dir, output, summary) = converted(&folder, &options);
            let file = ModelFile::open(output).unwrap();
            assert_eq!(summary.hash, file.hash());
            (file.hash().to_owned(), expected_hash(&folder, &file))
        };
        let (i2, expected) = hash(packed(Packing::I2));
        assert_eq!(i2, expected, "{name}");
        assert_eq!(hash(packed(Packing::T5)).0, expected);
        let float = Embed::Only(EmbeddingType::Float(FloatType::F32));
        assert_eq!(hash(Options { embed: float, ..Options::default() }).0, expected);
        // Numbers that differ are another model.
        let int8 = Embed::Only(EmbeddingType::Int8);
        assert_ne!(hash(Options { embed: int8, ..Options::default() }).0, expected);
    }
}

#[test]
fn the_model_hash_depends_on_every_number_but_not_on_special_tokens() {
    let hash = |edit: &dyn Fn(&Copy)| {
        let copy = Copy::of("n_exact_ties");
        edit(&copy);
        converted(copy.path(), &Options::default()).2.hash
    };
    let plain = hash(&|_| ());
    let config = |key: &'static str, value: serde_json::Value| {
        hash(&|copy| copy.edit_json("config.json", |json| json[key] = value.clone()))
    };
    assert_ne!(config("rms_norm_eps", 1e-5.into()), plain);
    assert_eq!(config("num_heads", 4.into()), plain);
    assert_eq!(config("bos_token_id", serde_json::Value::Null), plain);
    for name in ["model.norm.weight", "model.lower_bounds", "model.embeddings.weight"] {
        let nudged = hash(&|copy| {
            copy.edit_tensors("model.safetensors", |tensors| {
                tensors.get_mut(name).unwrap().2[0] ^= 1;
            })
        });
        assert_ne!(nudged, plain, "{name}");
    }
}

#[test]
fn the_embedding_is_stored_as_asked() {
    let folder = case("c_fp16");
    let source = values(&read_checkpoint(&folder)["model.embeddings.weight"]);
    for (embedding, tolerance) in [
        (EmbeddingType::Float(FloatType::F32), 0.0),
        (EmbeddingType::Float(FloatType::F16), 0.0),
        (EmbeddingType::Float(FloatType::BF16), 1.0 / 256.0),
        (EmbeddingType::Int8, 0.5 / 127.0),
    ] {
        let options = Options { embed: Embed::Only(embedding), ..Options::default() };
        let (_dir, output, summary) = converted(&folder, &options);
        let file = ModelFile::open(output).unwrap();
        assert_eq!(summary.embedding, embedding.name());
        match (file.embedding(), embedding) {
            (Embedding::Float { float, .. }, EmbeddingType::Float(asked)) => {
                assert_eq!(*float, asked);
            }
            (Embedding::Int8 { .. }, EmbeddingType::Int8) => {}
            other => panic!("{other:?}"),
        }
        let width = file.config().hidden_size;
        let mut row = vec![0.0; width];
        for (token, expected) in source.chunks(width).enumerate() {
            file.embedding_row(token, &mut row);
            let max = expected.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            for (value, expected) in row.iter().zip(expected) {
                let error = (value - expected).abs();
                assert!(error <= tolerance * max * 1.0001, "{embedding:?} {value} {expected}");
            }
        }
    }
}

#[test]
fn a_duplicate_head_and_strange_tensors_do_not_get_in() {
    let plain = converted(Copy::of("k_tied_fp32").path(), &Options::default()).2;
    let copy = Copy::of("k_tied_fp32");
    copy.edit_tensors("model.safetensors", |tensors| {
        let head = tensors["model.embeddings.weight"].clone();
        tensors.insert("lm_head.weight".into(), head);
    });
    let with_head = converted(copy.path(), &Options::default()).2;
    assert_eq!((&with_head.hash, &with_head.notes), (&plain.hash, &plain.notes));
    copy.edit_tensors("model.safetensors", |tensors| {
        tensors.insert("a\nb".into(), ("I64".into(), vec![1], vec![0; 8]));
    });
    let strange = converted(copy.path(), &Options::default()).2;
    assert_eq!(strange.hash, plain.hash);
    let note = "tensor a\\nb is no part of the model and was left out";
    assert!(strange.notes.iter().any(|found| found == note), "{:?}", strange.notes);
}

#[test]
fn an_existing_file_is_kept_unless_forced() {
    let (folder, dir) = (case("m_small_activations_eps"), temp_dir());
    let output = dir.path().join("m.mmfree");
    std::fs::write(&output, "old").unwrap();
    let error = convert(&folder, &output, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("exists already") && error.contains("--force"), "{error}");
    assert_eq!(std::fs::read(&output).unwrap(), b"old");
    let forced = Options { force: true, ..Options::default() };
    convert(&folder, &output, &forced).unwrap();
    ModelFile::open(&output).unwrap();
    assert_eq!(names(dir.path()), ["m.mmfree"]);
}

#[test]
fn an_index_may_name_its_shards_as_of_this_folder() {
    let copy = Copy::of("d_sharded_fp32");
    copy.edit_json("model.safetensors.index.json", |json| {
        for (n, shard) in json["weight_map"].as_object_mut().unwrap().values_mut().enumerate() {
            if n % 3 > 0 {
                *shard = format!("./{}", shard.as_str().unwrap()).into();
            }
        }
    });
    let hash = |folder: &std::path::Path| converted(folder, &Options::default()).2.hash;
    assert_eq!(hash(copy.path()), hash(&case("d_sharded_fp32")));
}
