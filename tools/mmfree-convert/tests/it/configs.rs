//! Keys of `config.json` that the original code does not read: those of Transformers, of forks, and
//! those that nobody knows.

use serde_json::{Value, json};

use crate::common::*;

const SMALL: &str = "m_small_activations_eps";

/// A copy of a small case with these keys in its `config.json`.
fn with(keys: &[(&str, Value)]) -> Copy {
    let copy = Copy::of(SMALL);
    copy.edit_json("config.json", |json| {
        for (key, value) in keys {
            json[*key] = value.clone();
        }
    });
    copy
}

/// Its notes on `config.json`.
fn notes(copy: &Copy) -> Vec<String> {
    let (_dir, _, summary) = converted(copy.path(), &Default::default());
    summary.notes.into_iter().filter(|note| note.starts_with("config.json: ")).collect()
}

/// The weights of each of these fit.
#[test]
fn rejects_configurations_of_forks_that_mean_another_model() {
    for (key, value, right) in [
        ("rotary_embeddings", json!(true), "false, null or absent"),
        ("rotary_embeddings", json!(1), "false, null or absent"),
        ("use_ternary_rope", json!(true), "false"),
        ("rope_parameters", json!({"rope_type": "linear"}), "false"),
        ("token_mixer", json!("hgrn2"), "\"hgrn\""),
        ("decay_mode", json!("independent"), "\"global_lower_bound\""),
        ("attn", json!({"layers": [1], "num_heads": 4}), "false"),
        ("moe", json!(true), "false"),
        ("use_moe", json!(true), "false"),
        ("num_experts", json!(8), "false, null or absent"),
        ("num_experts_per_tok", json!(2), "false"),
        ("moe_layer_indices", json!([1]), "false"),
        ("weight_quant_bits", json!(4), "2 or absent"),
        ("weight_quant_group_size", json!(128), "null or absent"),
        ("weight_quant_scale", json!("rms"), "\"mean_abs\""),
        ("activation_quant_bits", json!(4), "8 or absent"),
        ("activation_quant_bits", json!("8"), "8 or absent"),
        ("activation_quant_group_size", json!(64), "null or absent"),
        ("quantization_warmup_steps", json!(1000), "0 or absent"),
        ("quantize_embeddings", json!(true), "false"),
        ("quantize_lm_head", json!(false), "true or absent"),
        ("quantize_lm_head", Value::Null, "true or absent"),
        ("compressed_type", json!("NAIVE"), "null or absent"),
        ("compressed_type", json!(4), "null or absent"),
        ("quantization_cfg", json!({"act_quant_pow2scale": true}), "null or absent"),
        ("quantization_config", json!({"quant_method": "bitnet"}), "false, null or absent"),
        ("conv_bias", json!(true), "false"),
        ("norm_eps", json!(1e-6), "rms_norm_eps, 1e-5, or absent"),
        ("elementwise_affine", json!(false), "true or absent"),
        ("per_layer_config", json!({"1": {"hidden_size": 8}}), "false"),
    ] {
        let is = format!("config.json: {key} is {value}, must be {right}");
        with(&[(key, value)]).fails(&[&is, "what is computed here is the original model"]);
    }
}

/// As the forks' own `to_dict` writes them, with everything switched off that the original has not.
#[test]
fn configurations_of_forks_that_mean_the_original_convert_without_a_note() {
    let hash = |copy: &Copy| converted(copy.path(), &Default::default()).2.hash;
    let original = hash(&with(&[]));
    for keys in [
        &[
            ("rotary_embeddings", json!(false)),
            ("rope_theta", json!(10000.0)),
            ("use_ternary_rope", json!(true)),
            ("moe", json!(false)),
            ("num_experts", json!(8)),
            ("num_experts_per_tok", json!(2)),
            ("moe_intermediate_size", json!(256)),
        ][..],
        &[
            ("use_moe", json!(false)),
            ("moe_num_experts", json!(4)),
            ("moe_num_experts_per_tok", json!(2)),
            ("moe_layer_indices", json!([])),
            ("moe_router_aux_loss_coef", json!(0.01)),
            ("moe_noise_mode", json!("legacy_global_std")),
        ],
        &[
            ("token_mixer", json!("hgrn")),
            ("gla_chunk_size", json!(64)),
            ("decay_mode", json!("global_lower_bound")),
            ("decay_init", json!(0.5)),
            ("weight_quant_bits", json!(2)),
            ("weight_quant_group_size", Value::Null),
            ("weight_quant_scale", json!("mean_abs")),
            ("activation_quant_bits", json!(8.0)),
            ("activation_quant_group_size", Value::Null),
            ("quantization_warmup_steps", json!(0)),
            ("quantize_embeddings", json!(false)),
            ("quantize_lm_head", json!(true)),
            ("export_weight_format", json!("ternary_2bit")),
            ("conv_bias", json!(false)),
        ],
        &[
            ("compressed_type", Value::Null),
            ("quantization_config", Value::Null),
            ("norm_eps", json!(1e-5)),
            ("elementwise_affine", json!(true)),
            ("attn", Value::Null),
            ("fuse_norm", json!(true)),
        ],
    ] {
        let copy = with(keys);
        assert_eq!(notes(&copy), [""; 0]);
        assert_eq!(hash(&copy), original);
    }
}

#[test]
fn configurations_as_transformers_writes_them_convert_without_a_note() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files: Vec<String> =
        names(&data).into_iter().filter(|name| name.starts_with("config-")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for name in files {
        let copy = Copy::of(SMALL);
        copy.write("config.json", std::fs::read(data.join(&name)).unwrap());
        assert_eq!(notes(&copy), [""; 0], "{name}");
    }
    for case in cases() {
        assert_eq!(notes(&Copy::of_folder(&case)), [""; 0], "{}", case.display());
    }
    // As `ridger/MMfreeLM-370M` and its larger kin have it besides.
    let copy = with(&[
        ("_name_or_path", json!("/some/where")),
        ("auto_map", json!({"AutoConfig": "configuration_hgrn_bit.HGRNBitConfig"})),
        ("_attn_implementation_autoset", json!(true)),
    ]);
    assert_eq!(notes(&copy), [""; 0]);
}

#[test]
fn keys_that_nobody_knows_are_named_in_one_note() {
    let copy = with(&[
        ("condition_dim", json!(256)),
        ("a\nb", json!(null)),
        ("moe_extra", json!(1)),
        ("_private", json!(1)),
    ]);
    let note =
        "config.json: not known, and taken to change no number: a\\nb, condition_dim, moe_extra";
    assert_eq!(notes(&copy), [note]);

    let many: Vec<String> = (0..300).map(|n| format!("key{n:03}")).collect();
    let many: Vec<(&str, Value)> = many.iter().map(|key| (key.as_str(), json!(0))).collect();
    let note = notes(&with(&many)).remove(0);
    assert!(note.contains("key000, key001") && note.ends_with("key099 and 200 more"), "{note}");
}

/// The converter's program shows them.
#[test]
fn notes_on_keys_are_shown() {
    let copy = with(&[("condition_dim", json!(256))]);
    let to = temp_dir();
    let run = converter().arg(copy.path()).arg("-o").arg(to.path().join("m")).output().unwrap();
    assert!(run.status.success());
    let line = "note: config.json: not known, and taken to change no number: condition_dim\n";
    assert!(stderr(&run).contains(line), "{}", stderr(&run));
}

#[test]
fn values_that_are_not_looked_at_are_noted() {
    for (key, value, parts) in [
        ("hidden_act", json!("gelu"), &["hidden_act is \"gelu\"", "swish"][..]),
        ("architectures", json!(["HGRNBitForCausalLMFixed"]), &["[\"HGRNBitForCausalLMFixed\"]"]),
        ("temperature", json!(0.7), &["generation_config.json: temperature"]),
    ] {
        let notes = notes(&with(&[(key, value)]));
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(parts.iter().all(|part| notes[0].contains(part)), "{notes:?}");
    }
    let same =
        [("hidden_act", json!("silu")), ("architectures", json!(null)), ("top_k", json!(50))];
    assert_eq!(notes(&with(&same)), [""; 0]);
}

/// An unpacked checkpoint's own config counts, and what `unpack` and `synthesize` add is known.
#[test]
fn the_way_back_adds_no_note() {
    let dir = temp_dir();
    let (model, folder) = (dir.path().join("m.mmfree"), dir.path().join("back"));
    let size = "hidden=64,layers=2,vocab=96".parse().unwrap();
    mmfree_convert::synthesize(size, 1, &model, &Default::default()).unwrap();
    mmfree_convert::unpack(&model, &folder, &Default::default()).unwrap();
    assert_eq!(notes(&Copy::of_folder(&folder)), [""; 0]);
}
