//! What requests for text have in common: how tokens are chosen, how many texts there are and when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use mmfree::{Error, GenerationConfig, SamplerOptions, Session, StopStrings};
use serde_json::Value;

use super::App;
use super::completions::read_ids;
use super::errors::ApiError;
use super::fields::{Fields, shown};
use super::format::Format;

type Result<T> = std::result::Result<T, ApiError>;

/// Stop strings of a request, and bytes of one, at most: each token is compared with all.
const STOPS: usize = 64;
const STOP_LEN: usize = 1024;

/// How the texts of a request are made.
#[derive(Debug)]
pub struct Sampling {
    /// How tokens are chosen, with the seed of the first text.
    pub options: Arc<SamplerOptions>,
    /// Texts for each prompt.
    pub n: usize,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    pub stops: StopStrings,
    /// The form that texts must have.
    pub format: Option<Format>,
}

impl Sampling {
    /// Reads the fields; what is not given is the model's own, as in `mmfree-infer`, or that of the session which is gone
    /// on with.
    pub fn read(fields: &Fields, app: &App, session: Option<&Session>) -> Result<Sampling> {
        let (defaults, most) = (&app.defaults, app.limits.max_texts);
        let vocab_size = app.model.config().vocab_size;
        let own = session.map(|session| session.sampler_options().clone());
        let options = options(fields, defaults, own)?;
        check(&options, vocab_size)?;
        let n = fields.whole("n", 1, most.into())?.unwrap_or(1) as usize;
        let eos = match fields.bool("ignore_eos")? {
            Some(true) => Vec::new(),
            _ => defaults.eos.clone(),
        };
        let (stops, format) = (stops(fields)?, Format::read(fields)?);
        if let Some(format) = &format {
            format.check_stops(fields)?;
        }
        Ok(Sampling { options: Arc::new(options), n, eos, stops, format })
    }

    /// Bytes that it takes, about.
    pub fn size(&self) -> u64 {
        let form = self.format.as_ref().map_or(0, Format::size);
        let tokens = self.options.logit_bias.len() + self.options.suppress_tokens.len();
        form + 32 * tokens as u64 + (STOPS * STOP_LEN) as u64
    }
}

fn options(
    fields: &Fields,
    defaults: &GenerationConfig,
    session: Option<SamplerOptions>,
) -> Result<SamplerOptions> {
    let seed = seed(fields)?.or(session.as_ref().map(|own| own.seed)).unwrap_or_else(draw_seed);
    let own = session.unwrap_or_else(|| defaults.defaults());
    let temperature = fields.float("temperature")?;
    // As vLLM has it, -1 is all of them.
    let top_k = fields.whole("top_k", -1, i64::from(u32::MAX))?.map(|k| k.max(0) as usize);
    let top_p = fields.float("top_p")?;
    let min_p = fields.float("min_p")?;
    let typical_p = fields.float("typical_p")?;
    let asks_to_sample =
        top_k.is_some() || top_p.is_some() || min_p.is_some() || typical_p.is_some();
    let temperature = match temperature {
        Some(temperature) => temperature,
        None if asks_to_sample && own.is_greedy() => defaults.sampler.temperature,
        None => own.temperature,
    };
    let float = |name: &str, own: f32| Ok::<_, ApiError>(fields.float(name)?.unwrap_or(own));
    let ngram = fields.whole("no_repeat_ngram_size", 0, i64::from(u32::MAX))?;
    Ok(SamplerOptions {
        temperature,
        top_k: top_k.unwrap_or(own.top_k),
        top_p: top_p.unwrap_or(own.top_p),
        min_p: min_p.unwrap_or(own.min_p),
        typical_p: typical_p.unwrap_or(own.typical_p),
        repeat_penalty: float("repetition_penalty", own.repeat_penalty)?,
        frequency_penalty: float("frequency_penalty", own.frequency_penalty)?,
        presence_penalty: float("presence_penalty", own.presence_penalty)?,
        no_repeat_ngram: ngram.map_or(own.no_repeat_ngram, |n| n as usize),
        logit_bias: logit_bias(fields)?.unwrap_or(own.logit_bias),
        suppress_tokens: suppress_tokens(fields)?.unwrap_or(own.suppress_tokens),
        seed,
        ..own
    })
}

/// Token ids, as JSON has keys: strings. Values are OpenAI's, -100 to 100.
fn logit_bias(fields: &Fields) -> Result<Option<BTreeMap<u32, f32>>> {
    let name = "logit_bias";
    let right = "an object of token ids and numbers from -100 to 100";
    let Some(object) = fields.read(name, right, Value::as_object)? else { return Ok(None) };
    let pair = |(id, bias): (&String, &Value)| {
        let value = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        match (id.parse::<u32>(), value) {
            (Ok(id), Some(bias)) => Ok((id, bias as f32)),
            _ => {
                let id: String = id.chars().take(20).collect();
                let reason = format!("holds {id:?}: {}, must be {right}", shown(bias));
                Err(ApiError::field(name, reason))
            }
        }
    };
    object.iter().map(pair).collect::<Result<_>>().map(Some)
}

fn suppress_tokens(fields: &Fields) -> Result<Option<BTreeSet<u32>>> {
    let name = "suppress_tokens";
    let Some(list) = fields.read(name, "a list of token ids", Value::as_array)? else {
        return Ok(None);
    };
    Ok(Some(read_ids(name, list)?.into_iter().collect()))
}

/// The library's check, with the names that requests have.
fn check(options: &SamplerOptions, vocab_size: usize) -> Result<()> {
    options.validate().and_then(|()| options.check_ids(vocab_size)).map_err(|error| match error {
        Error::Option { name, reason } => {
            let field = match name {
                "repeat penalty" => "repetition_penalty",
                "no-repeat n-gram" => "no_repeat_ngram_size",
                "suppressed tokens" => "suppress_tokens",
                other => &other.replace([' ', '-'], "_"),
            };
            ApiError::field(field, reason)
        }
        other => ApiError::internal(other.to_string()),
    })
}

/// The seed: 64 bits, a negative one as its two's complement.
fn seed(fields: &Fields) -> Result<Option<u64>> {
    let right = "a whole number of 64 bits";
    let get = |value: &Value| value.as_u64().or_else(|| Some(super::fields::whole(value)? as u64));
    fields.read("seed", right, get)
}

/// A seed of 32 random bits.
fn draw_seed() -> u64 {
    // The standard library's own source of random keys for hash maps.
    RandomState::new().build_hasher().finish() >> 32
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
