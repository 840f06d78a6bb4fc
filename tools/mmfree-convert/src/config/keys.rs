//! The keys of `config.json` that say nothing to the original code, and may say a lot to a fork's.
//!
//! Forks write keys of their own under the same `model_type`, and their weights may fit all the
//! same: read as the original's, they give a text that is wrong, and nothing else shows it. Known
//! here are the keys of the original, those of Transformers 4.30 to 5.24 (`to_dict` of its base
//! class), and those of the public forks that were found: Sakib323/matmulfreellm and
//! Sakib323/AI-Game-Engine (rotation, experts, another decay, quantisation by groups),
//! Flash-sheep/moe-matmulfree (experts), eddyabban2/matmulfreellm (weights that are packed already),
//! stevenabreu7/matmulfreellm (fixed point), pol-arevalo-soler/PoT-LLM-MatMulFree (attention
//! layers).

use mmfree::Config;
use serde_json::Value;

use crate::json::{Object, wrong};
use crate::text::clip;

/// The class whose numbers are computed here.
const CLASS: &str = "HGRNBitForCausalLM";

/// Names in a note at most.
const NAMES: usize = 100;

/// What a key must be for a fork to compute what the original computes. Absent it is right.
enum Original {
    /// False, as Python takes it: null, 0 and what is empty too.
    Off,
    /// True, as Python takes it.
    On,
    /// Null: no value says it.
    Null,
    /// One of these, the first of which is named; or null.
    Number(&'static [f64]),
    /// This text, or null.
    Text(&'static str),
    /// The same as `rms_norm_eps`, or null.
    NormEps,
}

/// Keys that a fork computes by, what they must be, and what they mean.
struct Fork {
    keys: &'static [&'static str],
    original: Original,
    means: &'static str,
    /// Switches; where one of them is there and off, these keys are not looked at.
    switches: &'static [&'static str],
}

const fn fork(
    keys: &'static [&'static str],
    original: Original,
    means: &'static str,
    switches: &'static [&'static str],
) -> Fork {
    Fork { keys, original, means, switches }
}

const ROTARY: &[&str] = &["rotary_embeddings"];
const EXPERTS: &[&str] = &["moe", "use_moe"];

/// In the order in which they are reported: a switch before what it switches.
const FORKS: &[Fork] = &[
    fork(ROTARY, Original::Off, "rotary position embeddings", &[]),
    fork(&["use_ternary_rope"], Original::Off, "rotary position embeddings", ROTARY),
    fork(&["rope_scaling", "rope_parameters"], Original::Off, "rotary position embeddings", ROTARY),
    fork(&["token_mixer"], Original::Text("hgrn"), "the recurrence", &[]),
    fork(&["decay_mode"], Original::Text("global_lower_bound"), "the recurrence's decay", &[]),
    fork(&["attn"], Original::Off, "attention layers", &[]),
    fork(EXPERTS, Original::Off, "a mixture of experts", &[]),
    fork(
        &[
            "num_experts",
            "num_experts_per_tok",
            "num_local_experts",
            "moe_num_experts",
            "moe_num_experts_per_tok",
            "moe_layer_indices",
            "moe_layer_interval",
            "moe_intermediate_size",
            "moe_shared_expert",
        ],
        Original::Off,
        "a mixture of experts",
        EXPERTS,
    ),
    fork(&["weight_quant_bits"], Original::Number(&[2.0, 1.58]), "ternary weights", &[]),
    fork(&["weight_quant_group_size"], Original::Null, "weights with a scale for each group", &[]),
    fork(&["weight_quant_scale"], Original::Text("mean_abs"), "the scale of the weights", &[]),
    fork(&["activation_quant_bits"], Original::Number(&[8.0]), "the activations' integers", &[]),
    fork(
        &["activation_quant_group_size"],
        Original::Null,
        "activations with a scale for each group",
        &[],
    ),
    fork(&["quantization_warmup_steps"], Original::Number(&[0.0]), "weights that are floats", &[]),
    fork(&["quantize_embeddings"], Original::Off, "ternary embeddings", &[]),
    fork(&["quantize_lm_head"], Original::On, "whether the head is ternary", &[]),
    fork(&["compressed_type"], Original::Null, "weights that are packed already", &[]),
    fork(&["quantization_cfg"], Original::Null, "fixed-point numbers", &[]),
    fork(&["quantization_config"], Original::Off, "weights that are quantised already", &[]),
    fork(&["conv_bias"], Original::Off, "a bias of the convolutions", &[]),
    fork(&["norm_eps"], Original::NormEps, "the epsilon of the norms", &[]),
    fork(&["elementwise_affine"], Original::On, "whether norms have weights", &[]),
    // Of Transformers itself.
    fork(&["per_layer_config"], Original::Off, "layers that differ", &[]),
    fork(&["pruned_heads"], Original::Off, "heads that are left out", &[]),
    fork(&["is_encoder_decoder"], Original::Off, "an encoder besides", &[]),
    fork(&["add_cross_attention"], Original::Off, "attention layers", &[]),
];

/// Keys that change no number: of the original, of Transformers, of forks, and of our own.
const HARMLESS: &[&str] = &[
    // Read by `parse`.
    "model_type",
    "attn_mode",
    "hidden_size",
    "num_hidden_layers",
    "use_lower_bound",
    "expand_ratio",
    "intermediate_size",
    "hidden_ratio",
    "use_short_conv",
    "conv_size",
    "share_conv_kernel",
    "vocab_size",
    "bos_token_id",
    "eos_token_id",
    "num_heads",
    "rms_norm_eps",
    "tie_word_embeddings",
    // For training and caching alone.
    "max_position_embeddings",
    "use_cache",
    "initializer_range",
    "fuse_cross_entropy",
    // Looked at below.
    "architectures",
    "hidden_act",
    // Transformers: its bookkeeping, the form of its outputs, other tasks.
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "custom_pipelines",
    "decoder_start_token_id",
    "dtype",
    "experts_implementation",
    "finetuning_task",
    "gradient_checkpointing",
    "id2label",
    "is_decoder",
    "label2id",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "prefix",
    "problem_type",
    "return_dict",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_last_hidden_states",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_bfloat16",
    "xla_device",
    // Forks: sizes that the shapes of the tensors settle, how it is trained, run or exported, and
    // what is for rotation or another decay, which are refused.
    "decay_init",
    "export_scale_dtype",
    "export_weight_format",
    "fuse_linear_cross_entropy",
    "fuse_norm",
    "fuse_swiglu",
    "gla_chunk_size",
    "intermediate_multiple_of",
    "mlp_ratio",
    "rope_theta",
    // `synthesize` and `unpack`.
    "synthesized_with_seed",
];

/// Values for generation, which Transformers once kept here, and what it takes in their absence.
const GENERATION: &[(&str, &str)] = &[
    ("bad_words_ids", "null"),
    ("begin_suppress_tokens", "null"),
    ("diversity_penalty", "0"),
    ("do_sample", "false"),
    ("early_stopping", "false"),
    ("encoder_no_repeat_ngram_size", "0"),
    ("exponential_decay_length_penalty", "null"),
    ("forced_bos_token_id", "null"),
    ("forced_eos_token_id", "null"),
    ("length_penalty", "1"),
    ("max_length", "20"),
    ("min_length", "0"),
    ("no_repeat_ngram_size", "0"),
    ("num_beam_groups", "1"),
    ("num_beams", "1"),
    ("num_return_sequences", "1"),
    ("output_scores", "false"),
    ("remove_invalid_values", "false"),
    ("repetition_penalty", "1"),
    ("return_dict_in_generate", "false"),
    ("suppress_tokens", "null"),
    ("temperature", "1"),
    ("top_k", "50"),
    ("top_p", "1"),
    ("typical_p", "1"),
];

/// Looks at the keys that [`parse`](super::parse), which made `parsed` of the same text, does not.
/// Gives notes on those that may mean something.
///
/// # Errors
/// A key that makes another model of it: what it is, and what it must be.
pub fn check(config: &Object, parsed: &Config) -> Result<Vec<String>, String> {
    for fork in FORKS {
        // What is switched off is not looked at.
        if fork.switches.iter().any(|switch| is_off(config, switch)) {
            continue;
        }
        for key in fork.keys {
            let Some(value) = config.value(key) else { continue };
            if let Some(right) = fork.original.violated(value, parsed) {
                return Err(format!(
                    "{}: it stands for {}, but what is computed here is the original model, so the \
                     text would be wrong",
                    wrong(key, value, &right),
                    fork.means
                ));
            }
        }
    }
    let mut notes = Vec::new();
    notes.extend(class_note(config));
    let act = config.get("hidden_act");
    if let Some(act) = act.filter(|act| !["swish", "silu"].map(Value::from).contains(act)) {
        notes.push(format!(
            "config.json: hidden_act is {}, but the original code computes swish whatever it is, and \
             so does mmfree",
            clip(&act.to_string())
        ));
    }
    let moved: Vec<&str> = GENERATION
        .iter()
        .filter(|(key, default)| {
            config.get(key).is_some_and(|value| !same(value, &default.parse().unwrap_or_default()))
        })
        .map(|(key, _)| *key)
        .collect();
    if !moved.is_empty() {
        notes.push(format!(
            "config.json: values for generation are not read here, but in generation_config.json: {}",
            list(&moved)
        ));
    }
    let unknown: Vec<&str> = config.keys().filter(|key| !is_known(key, config)).collect();
    if !unknown.is_empty() {
        notes.push(format!(
            "config.json: not known, and taken to change no number: {}",
            list(&unknown)
        ));
    }
    Ok(notes)
}

/// What another class than the original's may mean.
fn class_note(config: &Object) -> Option<String> {
    let classes = config.get("architectures")?;
    let named = |class: &Value| class.as_str() == Some(CLASS);
    let known = classes.as_array().is_some_and(|list| list.is_empty() || list.iter().any(named));
    (!known).then(|| {
        format!(
            "config.json: architectures is {}, and its numbers are taken to be those of {CLASS}",
            clip(&classes.to_string())
        )
    })
}

fn is_known(key: &str, config: &Object) -> bool {
    // Keys that begin with an underscore are Transformers' own.
    key.starts_with('_')
        || HARMLESS.contains(&key)
        || GENERATION.iter().any(|(known, _)| *known == key)
        || FORKS.iter().any(|fork| fork.keys.contains(&key))
        || ["moe_", "router_"].iter().any(|prefix| key.starts_with(prefix))
            && EXPERTS.iter().any(|switch| is_off(config, switch))
}

/// Whether a switch is there, and off.
fn is_off(config: &Object, switch: &str) -> bool {
    config.value(switch).is_some_and(|value| !truthy(value))
}

impl Original {
    /// What the value must be, if it is not.
    fn violated(&self, value: &Value, parsed: &Config) -> Option<String> {
        let (fits, right) = match self {
            Original::Off => (!truthy(value), "false, null or absent".to_owned()),
            Original::On => (truthy(value), "true or absent".to_owned()),
            Original::Null => (value.is_null(), "null or absent".to_owned()),
            Original::Number(numbers) => {
                let number = value.as_f64();
                let fits = number.is_some_and(|number| numbers.contains(&number));
                (fits || value.is_null(), format!("{} or absent", numbers[0]))
            }
            Original::Text(text) => {
                let fits = value.as_str() == Some(text) || value.is_null();
                (fits, format!("\"{text}\" or absent"))
            }
            Original::NormEps => {
                let eps = value.as_f64().map(|eps| eps as f32);
                let right = format!("rms_norm_eps, {:e}, or absent", parsed.rms_norm_eps);
                (eps == Some(parsed.rms_norm_eps) || value.is_null(), right)
            }
        };
        (!fits).then_some(right)
    }
}

/// What Python takes for true.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// Equal, be it 1 or 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn list(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMES).map(|name| clip(name)).collect::<Vec<_>>().join(", ");
    if names.len() > NAMES {
        text += &format!(" and {} more", names.len() - NAMES);
    }
    text
}
