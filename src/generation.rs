//! The defaults for generation that a checkpoint brings along.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::format::ModelFile;
use crate::sampler::SamplerOptions;

const NAME: &str = "generation_config.json";

/// What a checkpoint's `generation_config.json` says about sampling and the end of a text.
///
/// As in Hugging Face's `generate`, its temperature, top-k, top-p and min-p count only with
/// `"do_sample": true`; without it the default is greedy. A value that the file does not state is
/// off (`generate` would put a top-k of 50 there).
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Whether to sample, rather than take the likeliest token.
    pub do_sample: bool,
    /// The sampler's options were it to sample, the seed left at 0.
    pub sampler: SamplerOptions,
    /// Tokens that end a text: those of the configuration and those of the generation config.
    pub eos: Vec<u32>,
}

impl GenerationConfig {
    /// Reads it from a model file; one without it gives greedy and the configuration's EOS tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no JSON object, or a value has the wrong type.
    pub fn from_file(file: &ModelFile) -> Result<GenerationConfig> {
        let config = file.config();
        let text = file.checkpoint_file(NAME).unwrap_or("{}");
        let invalid = |reason: String| Error::invalid(file.path(), format!("{NAME}: {reason}"));
        parse(text, config.eos_token_ids.clone()).map_err(invalid)
    }

    /// The options to use unless told otherwise.
    pub fn defaults(&self) -> SamplerOptions {
        let temperature = if self.do_sample { self.sampler.temperature } else { 0.0 };
        SamplerOptions { temperature, ..self.sampler }
    }
}

fn parse(text: &str, mut eos: Vec<u32>) -> Result<GenerationConfig, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let object = json.as_object().ok_or("not a JSON object")?;
    let get = |key: &str| object.get(key).filter(|value| !value.is_null());
    let float = |key: &str, default: f32| match get(key) {
        None => Ok(default),
        Some(value) => value
            .as_f64()
            .map(|value| value as f32)
            .ok_or_else(|| format!("{key} is {value}, must be a number")),
    };
    let do_sample = match get("do_sample") {
        None => false,
        Some(value) => {
            value.as_bool().ok_or_else(|| format!("do_sample is {value}, must be true or false"))?
        }
    };
    let top_k = match get("top_k") {
        None => 0,
        Some(value) => value
            .as_u64()
            .map(|k| usize::try_from(k).unwrap_or(usize::MAX))
            .ok_or_else(|| format!("top_k is {value}, must be a whole number"))?,
    };
    let one_or_more = match get("eos_token_id") {
        None => &[],
        Some(Value::Array(ids)) => ids.as_slice(),
        Some(id) => std::slice::from_ref(id),
    };
    for id in one_or_more {
        let id = id
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| format!("eos_token_id is {id}, must be a token id"))?;
        if !eos.contains(&id) {
            eos.push(id);
        }
    }
    let sampler = SamplerOptions {
        temperature: float("temperature", 1.0)?,
        top_k,
        top_p: float("top_p", 1.0)?,
        min_p: float("min_p", 0.0)?,
        repeat_penalty: float("repetition_penalty", 1.0)?,
        seed: 0,
    };
    Ok(GenerationConfig { do_sample, sampler, eos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_values_count_only_with_do_sample() {
        let greedy = parse(r#"{"temperature": 0.7, "top_p": 0.9}"#, vec![2]).unwrap();
        assert!(greedy.defaults().is_greedy());
        assert_eq!(greedy.sampler.top_p, 0.9);
        let sampled = parse(r#"{"do_sample": true, "temperature": 0.7}"#, vec![2]).unwrap();
        assert_eq!(sampled.defaults().temperature, 0.7);
        assert_eq!(parse(r#"{"do_sample": true}"#, vec![]).unwrap().defaults().temperature, 1.0);
    }

    #[test]
    fn the_penalty_counts_for_greedy_too() {
        let config = parse(r#"{"repetition_penalty": 1.5}"#, vec![]).unwrap();
        assert_eq!(config.defaults().repeat_penalty, 1.5);
    }

    #[test]
    fn eos_tokens_of_both_files_end_a_text() {
        assert_eq!(parse(r#"{"eos_token_id": [5, 2]}"#, vec![2]).unwrap().eos, [2, 5]);
        assert_eq!(parse(r#"{"eos_token_id": 7}"#, vec![]).unwrap().eos, [7]);
        assert_eq!(parse(r#"{"eos_token_id": null}"#, vec![3]).unwrap().eos, [3]);
    }

    #[test]
    fn values_of_the_wrong_type_are_named() {
        for (text, key) in [
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"do_sample": 1}"#, "do_sample"),
            (r#"{"top_k": -1}"#, "top_k"),
            (r#"{"eos_token_id": -1}"#, "eos_token_id"),
            ("[]", "object"),
        ] {
            let reason = parse(text, vec![]).unwrap_err();
            assert!(reason.contains(key), "{reason}");
        }
        assert!(parse("{", vec![]).is_err());
    }
}
