//! What requests for text have in common: how tokens are chosen, how many texts there are and when they end.

use std::hash::{BuildHasher, Hasher, RandomState};

use mmfree::{Error, GenerationConfig, SamplerOptions, StopStrings};
use serde_json::Value;

use super::errors::ApiError;
use super::fields::{Fields, shown};

type Result<T> = std::result::Result<T, ApiError>;

/// Stop strings of a request, and bytes of one, at most: each token is compared with all.
const STOPS: usize = 64;
const STOP_LEN: usize = 1024;

/// How the texts of a request are made.
#[derive(Debug)]
pub struct Sampling {
    /// How tokens are chosen, with the seed of the first text.
    pub options: SamplerOptions,
    /// Texts for each prompt.
    pub n: usize,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    pub stops: StopStrings,
}

impl Sampling {
    /// Reads the fields; what is not given is the model's own, as in `mmfree-infer`.
    pub fn read(fields: &Fields, defaults: &GenerationConfig, most: usize) -> Result<Sampling> {
        let options = options(fields, defaults)?;
        check(&options)?;
        let n = fields.whole("n", 1, most as i64)?.unwrap_or(1) as usize;
        let eos = match fields.bool("ignore_eos")? {
            Some(true) => Vec::new(),
            _ => defaults.eos.clone(),
        };
        Ok(Sampling { options, n, eos, stops: stops(fields)? })
    }

    /// The options of a prompt's text number `i`: its seed is so much larger.
    pub fn of(&self, i: usize) -> SamplerOptions {
        let seed = self.options.seed.wrapping_add(i as u64);
        SamplerOptions { seed, ..self.options }
    }
}

fn options(fields: &Fields, defaults: &GenerationConfig) -> Result<SamplerOptions> {
    let own = defaults.defaults();
    let temperature = fields.float("temperature")?;
    // As vLLM has it, -1 is all of them.
    let top_k = fields.whole("top_k", -1, i64::from(u32::MAX))?.map(|k| k.max(0) as usize);
    let top_p = fields.float("top_p")?;
    let min_p = fields.float("min_p")?;
    let asks_to_sample = top_k.is_some() || top_p.is_some() || min_p.is_some();
    let temperature = match temperature {
        Some(temperature) => temperature,
        None if asks_to_sample && own.is_greedy() => defaults.sampler.temperature,
        None => own.temperature,
    };
    let reason = "this server cannot do that";
    let is_zero = |value: &Value| value.as_f64() == Some(0.0);
    let is_one = |value: &Value| value.as_f64() == Some(1.0);
    let is_empty = |value: &Value| {
        value.as_object().is_some_and(|all| all.is_empty())
            || value.as_array().is_some_and(|all| all.is_empty())
    };
    fields.refuse("presence_penalty", reason, is_zero)?;
    fields.refuse("frequency_penalty", reason, is_zero)?;
    fields.refuse("typical_p", reason, is_one)?;
    fields.refuse("logit_bias", reason, is_empty)?;
    fields.refuse("suppress_tokens", reason, is_empty)?;
    Ok(SamplerOptions {
        temperature,
        top_k: top_k.unwrap_or(own.top_k),
        top_p: top_p.unwrap_or(own.top_p),
        min_p: min_p.unwrap_or(own.min_p),
        repeat_penalty: fields.float("repetition_penalty")?.unwrap_or(own.repeat_penalty),
        seed: seed(fields)?,
    })
}

/// The library's check, with the names that requests have.
fn check(options: &SamplerOptions) -> Result<()> {
    options.validate().map_err(|error| match error {
        Error::Option { name: "repeat penalty", reason } => {
            ApiError::field("repetition_penalty", reason)
        }
        Error::Option { name, reason } => ApiError::field(&name.replace([' ', '-'], "_"), reason),
        other => ApiError::internal(other.to_string()),
    })
}

/// The seed: 64 bits, a negative one as its two's complement; one of 32 random bits where none is given.
fn seed(fields: &Fields) -> Result<u64> {
    let right = "a whole number of 64 bits";
    let get = |value: &Value| value.as_u64().or_else(|| Some(super::fields::whole(value)? as u64));
    let given = fields.read("seed", right, get)?;
    // The standard library's own source of random keys for hash maps.
    Ok(given.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32))
}

fn stops(fields: &Fields) -> Result<StopStrings> {
    let name = "stop";
    let stops = match fields.get(name) {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many
            .iter()
            .map(|value| match value {
                Value::String(stop) => Ok(stop.clone()),
                other => {
                    let reason = format!("holds {}, must be strings", shown(other));
                    Err(ApiError::field(name, reason))
                }
            })
            .collect::<Result<_>>()?,
        Some(other) => {
            let reason = format!("is {}, must be a string or a list of strings", shown(other));
            return Err(ApiError::field(name, reason));
        }
    };
    if stops.len() > STOPS {
        return Err(ApiError::field(name, format!("has {}, must be {STOPS} at most", stops.len())));
    }
    if stops.iter().any(|stop| stop.len() > STOP_LEN) {
        let reason = format!("one is longer than {STOP_LEN} bytes, the most that is taken");
        return Err(ApiError::field(name, reason));
    }
    StopStrings::new(stops)
        .map_err(|_| ApiError::field(name, "one is empty, must be one character at least"))
}
