//! Text to ids and back, for clients that count or score tokens: the names of vLLM and of llama.cpp both.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use mmfree::Tokenizer;
use serde::Serialize;
use serde_json::{Value, json};

use super::completions::read_ids;
use super::errors::ApiError;
use super::fields::Fields;
use super::held::until_sent;
use super::{App, Client, blocking};

type Result<T> = std::result::Result<T, ApiError>;

/// The largest body that this client may send here.
fn limit(app: &App, client: Client) -> u64 {
    match client.known {
        true => app.limits.max_body,
        false => app.limits.max_body.min(app.limits.max_open_body),
    }
}

#[derive(Serialize)]
struct Tokens {
    count: usize,
    max_model_len: u32,
    tokens: Vec<u32>,
}

/// The ids of a text. As in vLLM, special tokens are added unless `add_special_tokens` (or `add_special`) says not to.
pub async fn tokenize(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response> {
    let (body, mut held) = super::body(&app, request, limit(&app, client), 1).await?;
    let answer = blocking(move || {
        let fields = Fields::parse(&body)?;
        let (prompt, content) = (fields.string("prompt")?, fields.string("content")?);
        let Some(text) = prompt.or(content) else {
            return Err(ApiError::field("prompt", "is missing, must be a string"));
        };
        let special = fields.bool("add_special_tokens")?.or(fields.bool("add_special")?);
        // llama.cpp adds none unless asked.
        let special = special.unwrap_or(content.is_none());
        let tokens = if special { app.encode_prompt(text)? } else { app.encode(text, false)? };
        // As JSON; the text has one byte for each token at least.
        held.resize(held.bytes().max(16 * tokens.len() as u64))?;
        let tokens = Tokens { count: tokens.len(), max_model_len: app.limits.max_prompt, tokens };
        Ok((super::json(&tokens), held))
    });
    let (response, held) = answer.await?;
    Ok(until_sent(response, held))
}

/// The text of ids, special tokens spelt out.
pub async fn detokenize(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response> {
    let (body, held) = super::body(&app, request, limit(&app, client), 1).await?;
    let answer = blocking(move || {
        let fields = Fields::parse(&body)?;
        let list = fields.read("tokens", "a list of token ids", Value::as_array)?;
        let Some(list) = list else {
            return Err(ApiError::field("tokens", "is missing, must be a list of token ids"));
        };
        let ids = read_ids("tokens", list)?;
        app.check_ids("tokens", &ids)?;
        let text = app
            .tokenizer()?
            .decode_with_special(&ids)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(super::json(&json!({"content": text, "prompt": text})))
    });
    Ok(until_sent(answer.await?, held))
}

/// What lm-eval wants to know of the tokenizer.
pub async fn info(State(app): State<Arc<App>>) -> Result<Response> {
    let tokenizer = app.tokenizer()?;
    let config = app.model.config();
    let text = |id: u32| Tokenizer::decode_with_special(tokenizer, &[id]).unwrap_or_default();
    let eos = app.defaults.eos.first().copied();
    let settings = app.model.file().checkpoint_file("tokenizer_config.json").unwrap_or("{}");
    let settings: Value = serde_json::from_str(settings).unwrap_or_default();
    // A token as a string, or as an object with its content.
    let stored = |name: &str| match &settings[name] {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        _ => None,
    };
    let template = app.template.as_ref().ok().and_then(|template| template.source());
    Ok(super::json(&json!({
        "tokenizer_class": settings["tokenizer_class"],
        "vocab_size": config.vocab_size,
        "bos_token": stored("bos_token").or(config.bos_token_id.map(text)),
        "bos_token_id": config.bos_token_id,
        "eos_token": stored("eos_token").or(eos.map(text)),
        "eos_token_id": eos,
        "pad_token": stored("pad_token"),
        "unk_token": stored("unk_token"),
        "chat_template": template,
        "model_max_length": app.limits.max_prompt,
    })))
}
