//! The defaults for generation that a checkpoint brings along.

use std::fmt;

use serde_json::Value;

use super::sampler::SamplerOptions;
use crate::error::{Error, Result};
use crate::format::{ModelFile, shown, standard_json};

const NAME: &str = "generation_config.json";

/// The keys of values for sampling. A greedy text heeds a repetition penalty too, if it is one.
const SAMPLING: [&str; 5] = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty"];

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

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationFault {
    /// Its key in `generation_config.json`; `None` where that is no JSON object at all.
    pub key: Option<&'static str>,
    /// What it is, and what it must be.
    pub reason: String,
}

impl fmt::Display for GenerationFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "{key} {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl GenerationConfig {
    /// Reads it from a model file; one without it gives greedy and the configuration's EOS tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is no JSON object, or a value has the wrong type or is out of
    /// range.
    pub fn from_file(file: &ModelFile) -> Result<GenerationConfig> {
        let (config, faults) = GenerationConfig::from_file_lenient(file);
        match faults.first() {
            Some(fault) => Err(Error::invalid(file.path(), format!("{NAME}: {fault}"))),
            None => Ok(config),
        }
    }

    /// The same for those who may have no need of the values that cannot be used: these are off,
    /// and listed.
    pub fn from_file_lenient(file: &ModelFile) -> (GenerationConfig, Vec<GenerationFault>) {
        let text = file.checkpoint_file(NAME).unwrap_or("{}");
        GenerationConfig::parse(text, file.config().eos_token_ids.clone())
    }

    /// Reads the text of a `generation_config.json`; its EOS tokens go behind those of the
    /// configuration, `eos`. Values that cannot be used are off, and listed.
    pub fn parse(text: &str, eos: Vec<u32>) -> (GenerationConfig, Vec<GenerationFault>) {
        let off = SamplerOptions { temperature: 1.0, ..Default::default() };
        let mut config = GenerationConfig { do_sample: false, sampler: off, eos };
        let json = serde_json::from_str(&standard_json(text)).map_err(|e| e.to_string());
        let object = match json {
            Ok(Value::Object(object)) => object,
            Ok(_) => {
                let reason = "is not a JSON object".to_owned();
                return (config, vec![GenerationFault { key: None, reason }]);
            }
            Err(error) => {
                let reason = format!("is not valid: {error}");
                return (config, vec![GenerationFault { key: None, reason }]);
            }
        };
        let mut reader = Reader { object, faults: Vec::new() };
        if let Some(do_sample) = reader.read("do_sample", "true or false", Value::as_bool) {
            config.do_sample = do_sample;
        }
        let sampler = &mut config.sampler;
        reader.option(sampler, "temperature", FLOAT, |options, value| options.temperature = value);
        reader.option(sampler, "top_k", WHOLE, |options, value| options.top_k = value);
        reader.option(sampler, "top_p", FLOAT, |options, value| options.top_p = value);
        reader.option(sampler, "min_p", FLOAT, |options, value| options.min_p = value);
        let set = |options: &mut SamplerOptions, value| options.repeat_penalty = value;
        reader.option(sampler, "repetition_penalty", FLOAT, set);
        let eos = reader.read("eos_token_id", "a token id or a list of them", token_ids);
        for id in eos.unwrap_or_default() {
            if !config.eos.contains(&id) {
                config.eos.push(id);
            }
        }
        (config, reader.faults)
    }

    /// Whether a fault is in a value for sampling of a file that asks for none: it is off, and
    /// nothing is lost unless someone asks for sampling.
    pub fn leaves_unused(&self, fault: &GenerationFault) -> bool {
        !self.do_sample && fault.key.is_some_and(|key| SAMPLING.contains(&key))
    }

    /// The options to use unless told otherwise.
    pub fn defaults(&self) -> SamplerOptions {
        let temperature = if self.do_sample { self.sampler.temperature } else { 0.0 };
        SamplerOptions { temperature, ..self.sampler.clone() }
    }
}

type Kind<T> = (&'static str, fn(&Value) -> Option<T>);

const FLOAT: Kind<f32> = ("a number", |value| Some(value.as_f64()? as f32));

const WHOLE: Kind<usize> = ("a whole number, 0 or more", |value| {
    Some(usize::try_from(whole(value)?).unwrap_or(usize::MAX))
});

/// Python's libraries write whole numbers as 50.0 at times.
fn whole(value: &Value) -> Option<u64> {
    let whole = |value: f64| (value >= 0.0 && value.fract() == 0.0).then_some(value as u64);
    value.as_u64().or_else(|| whole(value.as_f64()?))
}

fn token_ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| u32::try_from(whole(value)?).ok();
    match value {
        Value::Array(ids) => ids.iter().map(id).collect(),
        one => Some(vec![id(one)?]),
    }
}

/// The values, and what was wrong with those read so far.
struct Reader {
    object: serde_json::Map<String, Value>,
    faults: Vec<GenerationFault>,
}

impl Reader {
    /// A value; `None` where it is absent, null or of another kind than `right`.
    fn read<T>(
        &mut self,
        key: &'static str,
        right: &str,
        get: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.object.get(key).filter(|value| !value.is_null())?;
        let found = get(value);
        if found.is_none() {
            let shown: String = shown(value).chars().take(100).collect();
            let reason = format!("is {shown}, must be {right}");
            self.faults.push(GenerationFault { key: Some(key), reason });
        }
        found
    }

    /// Sets one of the sampler's options, if the sampler takes the value.
    fn option<T>(
        &mut self,
        options: &mut SamplerOptions,
        key: &'static str,
        (right, get): Kind<T>,
        set: impl FnOnce(&mut SamplerOptions, T),
    ) {
        let Some(value) = self.read(key, right, get) else { return };
        let mut changed = options.clone();
        set(&mut changed, value);
        match changed.validate() {
            Ok(()) => *options = changed,
            Err(Error::Option { reason, .. }) => {
                self.faults.push(GenerationFault { key: Some(key), reason });
            }
            Err(error) => {
                self.faults.push(GenerationFault { key: Some(key), reason: error.to_string() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, eos: Vec<u32>) -> GenerationConfig {
        let (config, faults) = GenerationConfig::parse(text, eos);
        assert_eq!(faults, [], "{text}");
        config
    }

    #[test]
    fn sampling_values_count_only_with_do_sample() {
        let greedy = read(r#"{"temperature": 0.7, "top_p": 0.9}"#, vec![2]);
        assert!(greedy.defaults().is_greedy());
        assert_eq!(greedy.sampler.top_p, 0.9);
        let sampled = read(r#"{"do_sample": true, "temperature": 0.7}"#, vec![2]);
        assert_eq!(sampled.defaults().temperature, 0.7);
        assert_eq!(read(r#"{"do_sample": true}"#, vec![]).defaults().temperature, 1.0);
    }

    #[test]
    fn the_penalty_counts_for_greedy_too() {
        let config = read(r#"{"repetition_penalty": 1.5}"#, vec![]);
        assert_eq!(config.defaults().repeat_penalty, 1.5);
    }

    #[test]
    fn values_that_do_sample_false_leaves_unused_are_told_from_others() {
        for (text, unused) in [
            (r#"{"top_p": 0.0}"#, true),
            (r#"{"top_k": -1, "do_sample": false}"#, true),
            (r#"{"repetition_penalty": 0}"#, true),
            (r#"{"top_p": 0.0, "do_sample": true}"#, false),
            (r#"{"repetition_penalty": 0, "do_sample": true}"#, false),
            (r#"{"do_sample": 1}"#, false),
            (r#"{"eos_token_id": -1}"#, false),
            ("[]", false),
        ] {
            let (config, faults) = GenerationConfig::parse(text, vec![]);
            assert_eq!(config.leaves_unused(&faults[0]), unused, "{text}");
        }
    }

    #[test]
    fn eos_tokens_of_both_files_end_a_text() {
        assert_eq!(read(r#"{"eos_token_id": [5, 2]}"#, vec![2]).eos, [2, 5]);
        assert_eq!(read(r#"{"eos_token_id": 7}"#, vec![]).eos, [7]);
        assert_eq!(read(r#"{"eos_token_id": null}"#, vec![3]).eos, [3]);
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_and_null_is_absent() {
        let text = r#"{"top_k": 50.0, "temperature": 1, "top_p": null, "eos_token_id": [2.0]}"#;
        let config = read(text, vec![]);
        assert_eq!((config.sampler.top_k, config.sampler.top_p), (50, 1.0));
        assert_eq!(config.eos, [2]);
    }

    /// As Python's `json` writes and reads them.
    #[test]
    fn numbers_that_json_has_not_may_stand_in_keys_that_nobody_uses() {
        let config = read(r#"{"a": NaN, "b": [Infinity, {"c": -Infinity}], "top_k": 5}"#, vec![]);
        assert_eq!(config.sampler.top_k, 5);
    }

    #[test]
    fn values_that_cannot_be_used_are_named_and_off() {
        for (text, shown) in [
            (r#"{"temperature": "hot"}"#, "temperature is \"hot\", must be a number"),
            (r#"{"temperature": -1}"#, "temperature is -1, must be 0 or more"),
            (r#"{"temperature": 1e300}"#, "temperature is inf, must be 0 or more"),
            (r#"{"do_sample": 1}"#, "do_sample is 1, must be true or false"),
            (r#"{"top_k": -1}"#, "top_k is -1, must be a whole number, 0 or more"),
            (r#"{"top_k": 0.5}"#, "top_k is 0.5"),
            (r#"{"top_k": "50"}"#, "top_k is \"50\""),
            (r#"{"top_p": 1.5}"#, "top_p is 1.5, must be above 0, and 1 at most"),
            (r#"{"top_p": 0}"#, "top_p is 0"),
            (r#"{"min_p": 2}"#, "min_p is 2, must be 0 to 1"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty is 0, must be above 0"),
            (r#"{"min_p": NaN}"#, "min_p is NaN, must be a number"),
            (r#"{"temperature": -Infinity}"#, "temperature is -Infinity, must be a number"),
            (r#"{"eos_token_id": -1}"#, "eos_token_id is -1, must be a token id"),
            (r#"{"eos_token_id": [2, "x"]}"#, "eos_token_id is [2,\"x\"]"),
            ("[]", "is not a JSON object"),
            ("{", "is not valid"),
        ] {
            let (config, faults) = GenerationConfig::parse(text, vec![2]);
            assert_eq!(faults.len(), 1, "{text}");
            let message = faults[0].to_string();
            assert!(message.starts_with(shown), "{message}");
            assert_eq!(config, read("{}", vec![2]), "{text}");
        }
    }
}
