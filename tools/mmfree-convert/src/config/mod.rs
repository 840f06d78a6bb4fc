//! `config.json` of a checkpoint, read as the original code reads it.

mod keys;

pub use keys::check as check_keys;
use mmfree::Config;
use mmfree::format::{ARCHITECTURE, ShortConv};

use crate::json::Object;
use crate::text::clip;

/// The keys of the tokens that begin and end a sequence.
const TOKENS: [&str; 2] = ["bos_token_id", "eos_token_id"];

/// V where the configuration does not give it.
const VOCAB_SIZE: usize = 32000;

/// The configuration that `config.json` states, absent keys filled in with the defaults of the
/// original code.
///
/// Where `generation_config.json` names the tokens that begin and end a sequence, they are taken
/// from there, as generation by the original code does. A null counts as absent, for a switch as
/// false. Keys that the original does not read are for [`check_keys`].
///
/// # Errors
/// The key, what it is, and what it must be: another architecture, a variant that the original
/// cannot run either, a size out of range.
pub fn parse(config: &Object, generation: Option<&Object>) -> Result<Config, String> {
    match config.text("model_type")? {
        Some(ARCHITECTURE) => {}
        Some(other) => {
            return Err(format!(
                "model_type is \"{}\", but only {ARCHITECTURE} models can be converted",
                clip(other)
            ));
        }
        None => return Err(format!("has no model_type, must be \"{ARCHITECTURE}\"")),
    }
    if let Some(mode) = config.text("attn_mode")?.filter(|&mode| mode != "fused_recurrent") {
        return Err(format!(
            "attn_mode is \"{}\", must be \"fused_recurrent\", the only one that there is",
            clip(mode)
        ));
    }

    let hidden_size = config.whole("hidden_size", 2048)?;
    let num_layers = config.whole("num_hidden_layers", 24)?;
    let lower_bounds = config.switch("use_lower_bound", true)?;
    let expand_ratio = config.number("expand_ratio")?.unwrap_or(1.0);
    // Casts from float saturate, and validate() refuses what comes of that.
    let state_size = (hidden_size as f64 * expand_ratio) as usize;
    if lower_bounds && state_size != hidden_size && num_layers > 1 {
        return Err(format!(
            "expand_ratio is {expand_ratio}, must be 1 where use_lower_bound is true and there is more than \
             one layer: bounds have the width of hidden_size, so the original code fails too"
        ));
    }
    let intermediate_size = match config.get("intermediate_size") {
        Some(_) => config.whole("intermediate_size", 0)?,
        None => default_intermediate_size(hidden_size, config.number("hidden_ratio")?),
    };
    let short_conv = match config.switch("use_short_conv", false)? {
        false => None,
        true => Some(ShortConv {
            size: config.whole("conv_size", 4)?,
            shared: config.switch("share_conv_kernel", true)?,
        }),
    };
    let vocab_size = config.whole("vocab_size", VOCAB_SIZE)?;
    let token_ids = |key: &str, default: u32| {
        match generation {
            Some(generation) if generation.get(key).is_some() => generation.token_ids(key),
            _ if config.has(key) => {
                let ids = config.token_ids(key)?;
                check_ids(key, &ids, vocab_size)?;
                Ok(ids)
            }
            // A default that the vocabulary has no room for is none.
            _ => Ok(vec![default].into_iter().filter(|&id| (id as usize) < vocab_size).collect()),
        }
    };
    let bos = token_ids("bos_token_id", 1)?;
    let config = Config {
        vocab_size,
        hidden_size,
        num_layers,
        num_heads: config.whole("num_heads", 1)?,
        state_size,
        intermediate_size,
        rms_norm_eps: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        lower_bounds,
        short_conv,
        tie_word_embeddings: config.switch("tie_word_embeddings", false)?,
        bos_token_id: bos.first().copied(),
        eos_token_ids: token_ids("eos_token_id", 2)?,
    };
    config.validate().map_err(|reason| with_own_keys(&reason))?;
    Ok(config)
}

/// Checks the tokens that `generation` names against the vocabulary of the configuration `config`.
///
/// # Errors
/// The key, what it is, and what it must be.
pub fn check_tokens(generation: &Object, config: &Object) -> Result<(), String> {
    let vocab_size = config.whole("vocab_size", VOCAB_SIZE).unwrap_or(usize::MAX);
    for key in TOKENS {
        check_ids(key, &generation.token_ids(key)?, vocab_size)?;
    }
    Ok(())
}

fn check_ids(key: &str, ids: &[u32], vocab_size: usize) -> Result<(), String> {
    match ids.iter().find(|&&id| id as usize >= vocab_size) {
        Some(id) => Err(format!("{key} is {id}, must be below vocab_size {vocab_size}")),
        None => Ok(()),
    }
}

/// A message about fields of [`Config`] in the words of `config.json`, where they differ.
fn with_own_keys(reason: &str) -> String {
    reason
        .replace("num_layers", "num_hidden_layers")
        .replace("state_size", "hidden_size * expand_ratio")
        .replace("short_conv.size", "conv_size")
}

/// I where the configuration does not give it: two thirds of H times the ratio, rounded up to a
/// multiple of 256.
pub fn default_intermediate_size(hidden_size: usize, hidden_ratio: Option<f64>) -> usize {
    let size = (hidden_size as f64 * hidden_ratio.unwrap_or(4.0) * 2.0 / 3.0) as usize;
    size.div_ceil(256).saturating_mul(256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        parse(&Object::parse(text)?, None)
    }

    #[test]
    fn absent_keys_take_the_defaults_of_the_original() {
        let config = read(r#"{"model_type": "hgrn_bit", "unknown": [1, {}]}"#).unwrap();
        assert_eq!((config.vocab_size, config.hidden_size, config.num_layers), (32000, 2048, 24));
        assert_eq!((config.state_size, config.intermediate_size), (2048, 5632));
        assert_eq!((config.bos_token_id, config.eos_token_ids), (Some(1), vec![2]));
        assert!(config.lower_bounds && config.short_conv.is_none() && !config.tie_word_embeddings);
        assert_eq!(config.rms_norm_eps, 1e-6);
    }

    #[test]
    fn published_intermediate_sizes_come_out() {
        for (hidden, intermediate) in [(1024, 2816), (2048, 5632), (2560, 6912)] {
            assert_eq!(default_intermediate_size(hidden, None), intermediate);
        }
    }

    #[test]
    fn ratios_may_be_whole_or_not() {
        let text = r#"{"model_type": "hgrn_bit", "hidden_size": 64, "use_lower_bound": false,
            "expand_ratio": 1.5, "hidden_ratio": 2, "eos_token_id": [2, 3], "bos_token_id": null}"#;
        let config = read(text).unwrap();
        assert_eq!((config.state_size, config.intermediate_size), (96, 256));
        assert_eq!((config.bos_token_id, config.eos_token_ids), (None, vec![2, 3]));
    }

    #[test]
    fn tokens_of_the_generation_config_win() {
        let config = Object::parse(r#"{"model_type": "hgrn_bit", "eos_token_id": 2}"#).unwrap();
        let generation =
            Object::parse(r#"{"eos_token_id": [5, 6], "bos_token_id": null}"#).unwrap();
        let config = parse(&config, Some(&generation)).unwrap();
        assert_eq!((config.bos_token_id, config.eos_token_ids), (Some(1), vec![5, 6]));
    }

    #[test]
    fn rejects_what_cannot_run() {
        for (text, reason) in [
            (r#"{"model_type": "llama"}"#, "\"llama\""),
            (r#"{}"#, "no model_type"),
            (r#"{"model_type": 3}"#, "model_type is 3"),
            (r#"{"model_type": "hgrn_bit", "attn_mode": "chunk"}"#, "attn_mode is \"chunk\""),
            (r#"{"model_type": "hgrn_bit", "expand_ratio": 2}"#, "expand_ratio is 2"),
            (r#"{"model_type": "hgrn_bit", "hidden_size": -5}"#, "hidden_size is -5"),
            (r#"{"model_type": "hgrn_bit", "hidden_size": 1e30}"#, "hidden_size is 1e+30"),
            (r#"{"model_type": "hgrn_bit", "hidden_size": 18446744073709551615}"#, "hidden_size"),
            (
                r#"{"model_type": "hgrn_bit", "num_hidden_layers": 0}"#,
                "num_hidden_layers is 0, must be",
            ),
            (r#"{"model_type": "hgrn_bit", "num_heads": 3}"#, "not divisible"),
            (r#"{"model_type": "hgrn_bit", "hidden_ratio": 1e300}"#, "intermediate_size"),
            (
                r#"{"model_type": "hgrn_bit", "expand_ratio": -1, "use_lower_bound": false}"#,
                "hidden_size * expand_ratio is 0, must be 1",
            ),
            (r#"{"model_type": "hgrn_bit", "rms_norm_eps": 1e300}"#, "rms_norm_eps"),
            (
                r#"{"model_type": "hgrn_bit", "eos_token_id": 32000}"#,
                "eos_token_id is 32000, must be below",
            ),
            (
                r#"{"model_type": "hgrn_bit", "use_short_conv": true, "conv_size": 0}"#,
                "conv_size is 0, must be 1",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
