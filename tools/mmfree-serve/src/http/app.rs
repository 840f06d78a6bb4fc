//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use mmfree::{GenerationConfig, Model, Tokenizer};
use serde::Serialize;
use serde_json::Value;

use super::completions::read_ids;
use super::errors::ApiError;
use super::fields::Fields;
use super::generate::Prompt;
use super::held::ENCODED;
use crate::args::LimitArgs;
use crate::constraint::Checker;
use crate::engine::Engine;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::template::Template;
use crate::token_text::{Piece, TokenText};

type Result<T> = std::result::Result<T, ApiError>;

/// The model that is served, and how.
#[derive(Debug)]
pub struct App {
    pub engine: Engine,
    pub metrics: Arc<Metrics>,
    pub model: Arc<Model>,
    /// `None` where the model file has none: then ids alone can be used.
    pub tokenizer: Option<Tokenizer>,
    pub token_text: Option<TokenText>,
    /// What the model is called, the name that answers carry first.
    pub names: Vec<String>,
    pub defaults: GenerationConfig,
    /// The chat template, or why there is none.
    pub template: std::result::Result<Template, String>,
    pub limits: LimitArgs,
    /// What requests may hold of memory together.
    pub budget: Arc<Budget>,
    /// What makes forms of texts.
    pub forms: Checker,
    /// When the server was started, in seconds since 1970.
    pub created: u64,
    /// What tells this run's answers from those of others.
    pub run: u64,
    /// Answers so far.
    pub answers: AtomicU64,
}

/// What every answer and chunk begins with.
#[derive(Debug, Serialize)]
pub struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: String,
}

impl Head {
    pub fn new(app: &App, prefix: &str, object: &'static str) -> Head {
        let n = app.answers.fetch_add(1, Ordering::Relaxed);
        Head {
            id: format!("{prefix}-{:08x}{n:08x}", app.run as u32),
            object,
            created: now(),
            model: app.names[0].clone(),
            system_fingerprint: app.fingerprint(),
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl App {
    /// The same text for a prompt and a seed: as long as this, made of the model, is the same.
    pub fn fingerprint(&self) -> String {
        format!("mmfree-{:.12}", self.model.file().hash())
    }

    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let reason = "the model file has no tokenizer; prompts can be given as token ids";
            ApiError::new(StatusCode::BAD_REQUEST, reason).code("no_tokenizer")
        })
    }

    /// Bytes of a session's state: the floats.
    pub fn state_bytes(&self) -> u64 {
        4 * self.model.config().state_len() as u64
    }

    /// What a token reads like; its number where there is no tokenizer.
    pub fn piece(&self, id: u32) -> Piece {
        match &self.token_text {
            Some(texts) => texts.piece(id),
            None => Piece { text: id.to_string(), bytes: None, special: false },
        }
    }

    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        let _held = self.budget.hold(ENCODED * text.len() as u64)?;
        let ids = tokenizer.encode(text, special);
        ids.map_err(|error| ApiError::internal(error.to_string()))
    }

    /// The ids of a prompt, as `mmfree-infer` makes them.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(self.model.config().bos_token_id.into_iter().collect());
        }
        let tokenizer = self.tokenizer()?;
        let _held = self.budget.hold(ENCODED * text.len() as u64)?;
        let ids = tokenizer.encode_prompt(text);
        ids.map_err(|error| ApiError::internal(error.to_string()))
    }

    /// The ids of a text that goes on after others.
    pub fn encode_continuation(&self, before: &[u32], text: &str) -> Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let tokenizer = self.tokenizer()?;
        let _held = self.budget.hold(ENCODED * text.len() as u64)?;
        let ids = tokenizer.encode_continuation(before, text);
        ids.map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Ids of a list that are all in the vocabulary.
    pub fn ids(&self, name: &str, list: &[Value]) -> Result<Vec<u32>> {
        let ids = read_ids(name, list)?;
        self.check_ids(name, &ids)?;
        Ok(ids)
    }

    pub fn check_ids(&self, name: &str, ids: &[u32]) -> Result<()> {
        let size = self.model.config().vocab_size;
        match ids.iter().find(|&&id| id as usize >= size) {
            Some(id) => {
                let reason =
                    format!("token id {id} is outside the vocabulary: ids are 0 to {}", size - 1);
                Err(ApiError::field(name, reason))
            }
            None => Ok(()),
        }
    }

    /// A prompt that is not empty and not too long.
    pub fn prompt(&self, name: &str, ids: Vec<u32>, text: String) -> Result<Prompt> {
        let most = self.limits.max_prompt as usize;
        if ids.is_empty() {
            return Err(ApiError::field(name, "is empty, and must have one token at least"));
        }
        if ids.len() > most {
            let reason = format!("has {} tokens, must be {most} at most", ids.len());
            return Err(ApiError::field(name, reason).code("context_length_exceeded"));
        }
        self.check_ids(name, &ids)?;
        Ok(Prompt { ids: ids.into(), text })
    }

    /// Whether a request may have so many texts.
    pub fn check_texts(&self, prompts: usize, n: usize) -> Result<()> {
        let most = self.limits.max_texts as usize;
        match prompts.saturating_mul(n) > most {
            true => Err(ApiError::field(
                "n",
                format!(
                    "{prompts} prompts times {n} are more texts than {most}, the most of one request"
                ),
            )),
            false => Ok(()),
        }
    }

    /// Whether the model that a request names is served; one that names none means the one there is.
    pub fn check_model(&self, fields: &Fields) -> Result<()> {
        match fields.string("model")? {
            Some(name) if self.names.iter().all(|known| known != name) => Err(self.no_model(name)),
            _ => Ok(()),
        }
    }

    pub fn no_model(&self, name: &str) -> ApiError {
        let name: String = name.chars().take(100).collect();
        let served = self.names.join(", ");
        let message = format!("the model \"{name}\" is not served here; there is: {served}");
        ApiError {
            param: Some("model".to_owned()),
            ..ApiError::new(StatusCode::NOT_FOUND, message).code("model_not_found")
        }
    }

    /// An error for what others' servers can do to a text and this one can't: the answer would not be what was asked for.
    pub fn refuse_others(&self, fields: &Fields) -> Result<()> {
        let reason = "this server cannot do that";
        let off = |value: &Value| value.as_bool() == Some(false);
        let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        let zero = |value: &Value| value.as_f64() == Some(0.0);
        for name in ["use_beam_search", "include_stop_str_in_output"] {
            fields.refuse(name, reason, off)?;
        }
        for name in ["stop_token_ids", "bad_words", "allowed_token_ids", "logits_processors"] {
            fields.refuse(name, reason, none)?;
        }
        for name in ["mirostat", "dry_multiplier", "xtc_probability", "dynatemp_range"] {
            fields.refuse(name, reason, zero)?;
        }
        fields.refuse("truncate_prompt_tokens", reason, |_| false)?;
        fields
            .refuse("prompt_logprobs", "echo with logprobs is what gives them here", |_| false)?;
        // Benchmarks that ask for an exact length send both.
        let exact = fields.bool("ignore_eos")? == Some(true);
        fields.refuse("min_tokens", reason, |value| exact || zero(value))
    }
}
