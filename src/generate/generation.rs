//! The defaults for generation that a checkpoint brings along.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::generation_keys::not_applied;
use super::limits::Limits;
use super::sampler::SamplerOptions;
use crate::error::{Error, Result};
use crate::format::{ModelFile, shown, sorted, standard_json};

const NAME: &str = "generation_config.json";

/// The keys of values for sampling. A greedy text heeds a repetition penalty too, if it is one.
const SAMPLING: [&str; 6] =
    ["temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty"];

/// The top-k of `GenerationConfig` in transformers where a file does not state one; null is off. All its other
/// defaults for sampling are off.
const DEFAULT_TOP_K: usize = 50;

/// What a checkpoint's `generation_config.json` says about sampling and the end of a text.
///
/// As in Hugging Face's `generate`, its temperature, top-k, top-p, min-p and typical-p count
/// only with `"do_sample": true`; without it the default is greedy. A value that the file does not state is
/// off; `generate` would put a top-k of 50 there, which [`not_applied`](Self::not_applied) says then.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationConfig {
    /// Whether to sample, rather than take the likeliest token.
    pub do_sample: bool,
    /// The sampler's options were it to sample, the seed left at 0.
    pub sampler: SamplerOptions,
    /// Tokens that end a text: those of the configuration and those of the generation config.
    pub eos: Vec<u32>,
    /// New tokens at most.
    pub max_new_tokens: Option<usize>,
    /// Tokens of prompt and text at most. As in `generate`, it counts only where there is no
    /// `max_new_tokens`.
    pub max_length: Option<usize>,
    /// What would change the text in Hugging Face's `generate` and has no effect here, as
    /// "num_beams 4".
    pub not_applied: Vec<String>,
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
        let (mut config, faults) =
            GenerationConfig::parse(text, file.config().eos_token_ids.clone());
        // `generate` takes no notice of tokens that there are not.
        let vocab_size = file.config().vocab_size;
        config.sampler.suppress_tokens.retain(|&id| (id as usize) < vocab_size);
        config.sampler.logit_bias.retain(|&id, _| (id as usize) < vocab_size);
        (config, faults)
    }

    /// Reads the text of a `generation_config.json`; its EOS tokens go behind those of the
    /// configuration, `eos`. Values that cannot be used are off, and listed.
    pub fn parse(text: &str, eos: Vec<u32>) -> (GenerationConfig, Vec<GenerationFault>) {
        let off = SamplerOptions { temperature: 1.0, ..Default::default() };
        let mut config = GenerationConfig {
            do_sample: false,
            sampler: off,
            eos,
            max_new_tokens: None,
            max_length: None,
            not_applied: Vec::new(),
        };
        let json = serde_json::from_str(&standard_json(text)).map_err(|e| e.to_string());
        let object = match json {
            Ok(Value::Object(object)) => sorted(object),
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
        reader.option(sampler, "typical_p", FLOAT, |options, value| options.typical_p = value);
        let set = |options: &mut SamplerOptions, value| options.repeat_penalty = value;
        reader.option(sampler, "repetition_penalty", FLOAT, set);
        let eos = reader.read("eos_token_id", "a token id or a list of them", token_ids);
        for id in eos.unwrap_or_default() {
            if !config.eos.contains(&id) {
                config.eos.push(id);
            }
        }
        config.read_tokens(&mut reader);
        config.max_new_tokens = reader.read("max_new_tokens", COUNT.0, COUNT.1);
        config.max_length = reader.read("max_length", COUNT.0, COUNT.1);
        config.not_applied.extend(not_applied(&reader.object, config.do_sample));
        if config.do_sample && !reader.object.contains_key("top_k") {
            config
                .not_applied
                .push(format!("top_k {DEFAULT_TOP_K} (Transformers' default where none is given)"));
        }
        (config, reader.faults)
    }

    /// Reads what is said of single tokens. Words of several tokens are not applied.
    fn read_tokens(&mut self, reader: &mut Reader) {
        let set = |options: &mut SamplerOptions, value| options.no_repeat_ngram = value;
        reader.option(&mut self.sampler, "no_repeat_ngram_size", WHOLE, set);
        let suppressed = reader.read("suppress_tokens", "a list of token ids", numbers);
        let words = reader.read("bad_words_ids", "a list of lists of token ids", words);
        let (bad, long): (Vec<Word>, Vec<Word>) =
            words.unwrap_or_default().into_iter().partition(|word| word.len() == 1);
        // `generate` never bans what ends the text.
        let ends = |id: i64| self.eos.iter().any(|&eos| i64::from(eos) == id);
        let bad = bad.into_iter().flatten().filter(|&id| !ends(id));
        let ids = suppressed.into_iter().flatten().chain(bad);
        self.sampler.suppress_tokens = ids.filter_map(|id| u32::try_from(id).ok()).collect();
        self.leave_out("bad_words_ids", long.len());

        let right = "a list of pairs of token ids and a number";
        let biases = reader.read("sequence_bias", right, biases).unwrap_or_default();
        let (single, long): (Vec<_>, Vec<_>) =
            biases.into_iter().partition(|(word, _)| word.len() == 1);
        let id = |word: Word| u32::try_from(word[0]).ok();
        let single: BTreeMap<u32, f32> =
            single.into_iter().filter_map(|(word, bias)| Some((id(word)?, bias))).collect();
        reader.set(&mut self.sampler, "sequence_bias", |options| options.logit_bias = single);
        self.leave_out("sequence_bias", long.len());
    }

    fn leave_out(&mut self, key: &str, long: usize) {
        match long {
            0 => {}
            1 => self.not_applied.push(format!("{key} of several tokens")),
            _ => self.not_applied.push(format!("{key} of several tokens ({long} times)")),
        }
    }

    /// Whether a fault is in a value for sampling of a file that asks for none: it is off, and
    /// nothing is lost unless someone asks for sampling.
    pub fn leaves_unused(&self, fault: &GenerationFault) -> bool {
        !self.do_sample && fault.key.is_some_and(|key| SAMPLING.contains(&key))
    }

    /// When a text ends unless told otherwise; without end by its length where the file states none.
    pub fn limits(&self) -> Limits {
        let max_length = if self.max_new_tokens.is_some() { None } else { self.max_length };
        Limits { max_tokens: self.max_new_tokens, max_length, eos: self.eos.clone() }
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

const COUNT: Kind<usize> =
    ("a whole number, 1 or more", |value| WHOLE.1(value).filter(|&number| number > 0));

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

/// Token ids in a row; some files have -1 where they mean none.
type Word = Vec<i64>;

fn numbers(value: &Value) -> Option<Word> {
    let number = |value: &Value| value.as_i64().or_else(|| i64::try_from(whole(value)?).ok());
    value.as_array()?.iter().map(number).collect()
}

fn word(value: &Value) -> Option<Word> {
    numbers(value).filter(|word| !word.is_empty())
}

fn words(value: &Value) -> Option<Vec<Word>> {
    value.as_array()?.iter().map(word).collect()
}

fn biases(value: &Value) -> Option<Vec<(Word, f32)>> {
    let bias = |value: &Value| match value.as_str() {
        Some("-Infinity") => Some(f32::NEG_INFINITY),
        _ => Some(value.as_f64()? as f32),
    };
    let pair = |value: &Value| match value.as_array()?.as_slice() {
        [ids, number] => Some((word(ids)?, bias(number)?)),
        _ => None,
    };
    value.as_array()?.iter().map(pair).collect()
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
        if let Some(value) = self.read(key, right, get) {
            self.set(options, key, |options| set(options, value));
        }
    }

    /// Changes the sampler's options, if it takes them so.
    fn set(
        &mut self,
        options: &mut SamplerOptions,
        key: &'static str,
        change: impl FnOnce(&mut SamplerOptions),
    ) {
        let mut changed = options.clone();
        change(&mut changed);
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
    fn tokens_that_may_not_come_are_suppressed() {
        let config = read(
            r#"{"suppress_tokens": [7, 3.0, -1], "bad_words_ids": [[5], [2], [9, 10], [-1]],
                "no_repeat_ngram_size": 3,
                "sequence_bias": [[[4], -1.5], [[6], -Infinity], [[1, 2], 3.0], [[3, 4], 1]]}"#,
            vec![2],
        );
        let options = config.defaults();
        assert_eq!(options.suppress_tokens, [3, 5, 7].into(), "2 ends the text");
        assert_eq!(options.no_repeat_ngram, 3);
        assert_eq!(options.logit_bias, [(4, -1.5), (6, f32::NEG_INFINITY)].into());
        assert_eq!(
            config.not_applied,
            ["bad_words_ids of several tokens", "sequence_bias of several tokens (2 times)"]
        );
    }

    #[test]
    fn a_text_may_be_ended_by_its_length() {
        let config = read(r#"{"max_new_tokens": 50.0, "max_length": 2048}"#, vec![]);
        assert_eq!((config.max_new_tokens, config.max_length), (Some(50), Some(2048)));
        assert_eq!((config.limits().max_tokens, config.limits().max_length), (Some(50), None));
        let config = read(r#"{"max_length": 20, "eos_token_id": 3}"#, vec![]);
        let limits = Limits { max_tokens: None, max_length: Some(20), eos: vec![3] };
        assert_eq!(config.limits(), limits);
        let config = read(r#"{"max_length": null}"#, vec![]);
        assert_eq!((config.max_new_tokens, config.max_length), (None, None));
    }

    #[test]
    fn keys_that_change_the_text_and_are_not_applied_are_named() {
        let named = |text: &str| read(text, vec![2]).not_applied;
        for neutral in [
            r#"{"num_beams": 1, "penalty_alpha": null, "min_length": 0, "guidance_scale": 1.0}"#,
            r#"{"forced_eos_token_id": null, "begin_suppress_tokens": [], "typical_p": 1.0}"#,
            r#"{"eos_token_id": 2, "use_cache": true, "transformers_version": "4.42.4", "_x": 1}"#,
            r#"{"epsilon_cutoff": 0.1, "eta_cutoff": 0.1, "do_sample": false}"#,
            r#"{"epsilon_cutoff": 0.0, "eta_cutoff": 1.0, "do_sample": true, "top_k": 5}"#,
        ] {
            assert_eq!(named(neutral), [""; 0], "{neutral}");
        }
        for (text, name) in [
            (r#"{"num_beams": 4}"#, "num_beams 4"),
            (r#"{"forced_eos_token_id": 2}"#, "forced_eos_token_id 2"),
            (r#"{"forced_bos_token_id": 0}"#, "forced_bos_token_id 0"),
            (r#"{"begin_suppress_tokens": [220]}"#, "begin_suppress_tokens [220]"),
            (r#"{"penalty_alpha": 0.6}"#, "penalty_alpha 0.6"),
            (r#"{"epsilon_cutoff": 0.1, "do_sample": true, "top_k": null}"#, "epsilon_cutoff 0.1"),
            (r#"{"min_new_tokens": 5}"#, "min_new_tokens 5"),
            (r#"{"stop_strings": ["end"]}"#, "stop_strings [\"end\"]"),
            (r#"{"guidance_scale": 1.5}"#, "guidance_scale 1.5"),
            (r#"{"spice": true}"#, "spice true (unknown)"),
        ] {
            assert_eq!(named(text), [name], "{text}");
        }
        let long = format!(r#"{{"stop_strings": ["{}"]}}"#, "\u{e9}".repeat(9999));
        assert!(named(&long)[0].chars().count() < 70);
    }

    #[test]
    fn an_absent_top_k_is_off_and_named_where_transformers_would_take_their_default() {
        let config = read(r#"{"do_sample": true}"#, vec![]);
        assert_eq!(config.sampler.top_k, 0);
        assert_eq!(config.not_applied, ["top_k 50 (Transformers' default where none is given)"]);
        for text in [
            "{}",
            r#"{"do_sample": false}"#,
            r#"{"do_sample": true, "top_k": null}"#,
            r#"{"do_sample": true, "top_k": 0}"#,
            r#"{"do_sample": true, "top_k": 50}"#,
        ] {
            assert_eq!(read(text, vec![]).not_applied, [""; 0], "{text}");
        }
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
            (r#"{"typical_p": 0}"#, "typical_p is 0, must be above 0, and 1 at most"),
            (r#"{"no_repeat_ngram_size": -1}"#, "no_repeat_ngram_size is -1, must be a whole"),
            (r#"{"suppress_tokens": [1, "x"]}"#, "suppress_tokens is [1,\"x\"], must be a list"),
            (r#"{"bad_words_ids": [1]}"#, "bad_words_ids is [1], must be a list of lists"),
            (r#"{"bad_words_ids": [[]]}"#, "bad_words_ids is [[]], must be a list of lists"),
            (r#"{"sequence_bias": {"a": 1}}"#, "sequence_bias is {\"a\":1}, must be a list of"),
            (r#"{"sequence_bias": [[[1], Infinity]]}"#, "sequence_bias is [[[1],\"Infinity\"]]"),
            (r#"{"sequence_bias": [[[1], 1e300]]}"#, "sequence_bias of token 1 is inf, must be"),
            (r#"{"max_new_tokens": 0}"#, "max_new_tokens is 0, must be a whole number, 1 or more"),
            (r#"{"max_length": "long"}"#, "max_length is \"long\", must be a whole number"),
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
