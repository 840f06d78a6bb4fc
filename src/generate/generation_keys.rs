//! The keys of a `generation_config.json` that change the text and are not applied here.
//!
//! Known are those of Transformers 4.42 to 5.24, after the code of its `generate`: any other key
//! may change the text as well.

use serde_json::{Map, Value};

use crate::format::shown;

/// The value at which a key changes nothing; null and absent never do.
#[derive(Clone, Copy)]
enum Neutral {
    /// False, zero and what is empty.
    Off,
    One,
    /// Whatever is not between 0 and 1.
    NotAFraction,
    /// None: a token's id may be 0.
    None,
}

/// Keys that change the text.
const CHANGING: [(&str, Neutral); 25] = [
    ("num_beams", Neutral::One),
    ("num_beam_groups", Neutral::One),
    ("penalty_alpha", Neutral::Off),
    ("dola_layers", Neutral::Off),
    ("diversity_penalty", Neutral::Off),
    ("constraints", Neutral::Off),
    ("force_words_ids", Neutral::Off),
    ("min_length", Neutral::Off),
    ("min_new_tokens", Neutral::Off),
    ("max_time", Neutral::None),
    ("stop_strings", Neutral::Off),
    ("encoder_repetition_penalty", Neutral::One),
    ("encoder_no_repeat_ngram_size", Neutral::Off),
    ("forced_bos_token_id", Neutral::None),
    ("forced_eos_token_id", Neutral::None),
    ("forced_decoder_ids", Neutral::Off),
    ("exponential_decay_length_penalty", Neutral::Off),
    ("begin_suppress_tokens", Neutral::Off),
    ("token_healing", Neutral::Off),
    ("guidance_scale", Neutral::One),
    ("watermarking_config", Neutral::Off),
    ("generation_kwargs", Neutral::Off),
    ("top_h", Neutral::None),
    ("epsilon_cutoff", Neutral::NotAFraction),
    ("eta_cutoff", Neutral::NotAFraction),
];

/// Those of them that only sampling reads.
const SAMPLING: [&str; 3] = ["top_h", "epsilon_cutoff", "eta_cutoff"];

/// Keys that are applied.
const APPLIED: [&str; 14] = [
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
    "max_new_tokens",
    "max_length",
    "eos_token_id",
];

/// Keys that leave the text of one sequence as it is: other outputs, caches, how fast it is made,
/// what only an encoder or beam search reads.
const HARMLESS: [&str; 38] = [
    "bos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "transformers_version",
    "early_stopping",
    "length_penalty",
    "low_memory",
    "renormalize_logits",
    "remove_invalid_values",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "return_dict_in_generate",
    "return_legacy_cache",
    "use_cache",
    "use_mtp",
    "cache_implementation",
    "cache_config",
    "max_cache_len",
    "is_assistant",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "assistant_early_exit",
    "assistant_lookbehind",
    "assistant_ensemble_weight",
    "target_lookbehind",
    "speculation_type",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
    "compile_config",
    "disable_compile",
    "continuous_batching_config",
    "prefill_chunk_size",
    "trust_remote_code",
    "transformers.js_config",
];

/// Characters of a key or value that are shown.
const SHOWN: usize = 40;

/// The keys that would change the text, each with its value.
pub fn not_applied(object: &Map<String, Value>, do_sample: bool) -> Vec<String> {
    let named = |(key, value): (&String, &Value)| {
        let key = key.as_str();
        let known = APPLIED.contains(&key) || HARMLESS.contains(&key) || key.starts_with('_');
        if value.is_null() || known {
            return None;
        }
        let named = format!("{} {}", clip(key), clip(&shown(value)));
        match CHANGING.iter().find(|(changing, _)| *changing == key) {
            None => Some(format!("{named} (unknown)")),
            Some(_) if SAMPLING.contains(&key) && !do_sample => None,
            Some((_, neutral)) => (!is_neutral(value, *neutral)).then_some(named),
        }
    };
    object.iter().filter_map(named).collect()
}

fn is_neutral(value: &Value, neutral: Neutral) -> bool {
    let number = value.as_f64();
    match neutral {
        Neutral::None => false,
        Neutral::One => number == Some(1.0),
        Neutral::NotAFraction => number.is_some_and(|number| number <= 0.0 || number >= 1.0),
        Neutral::Off => match value {
            Value::Bool(on) => !on,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => number == Some(0.0),
        },
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
