//! What is served, how it is, and what it has counted.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::errors::ApiError;
use super::{App, json};

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    name: &'a str,
    vocab_size: usize,
    /// The model's context has no limit; a prompt has the server's.
    max_prompt_tokens: u32,
    /// Of a text.
    max_tokens: u32,
    /// Whether prompts can be text, and answers are.
    tokenizer: bool,
    /// Whether there is a chat template.
    chat: bool,
    eos_token_ids: &'a [u32],
    /// What holds of sampling where a request says nothing.
    sampling: Sampling,
    system_fingerprint: String,
}

/// Sampling options by their names in requests.
#[derive(Serialize)]
struct Sampling {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    typical_p: f32,
    repetition_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    no_repeat_ngram_size: usize,
}

#[derive(Serialize)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

fn model<'a>(app: &'a App, name: &'a str) -> Model<'a> {
    let own = app.defaults.defaults();
    Model {
        id: name,
        object: "model",
        created: app.created,
        owned_by: "mmfree",
        name,
        vocab_size: app.model.config().vocab_size,
        max_prompt_tokens: app.limits.max_prompt,
        max_tokens: app.limits.max_tokens,
        tokenizer: app.tokenizer.is_some(),
        chat: app.template.is_ok(),
        eos_token_ids: &app.defaults.eos,
        sampling: Sampling {
            temperature: own.temperature,
            top_k: own.top_k,
            top_p: own.top_p,
            min_p: own.min_p,
            typical_p: own.typical_p,
            repetition_penalty: own.repeat_penalty,
            frequency_penalty: own.frequency_penalty,
            presence_penalty: own.presence_penalty,
            no_repeat_ngram_size: own.no_repeat_ngram,
        },
        system_fingerprint: app.fingerprint(),
    }
}

pub async fn list(State(app): State<Arc<App>>) -> Response {
    let data = app.names.iter().map(|name| model(&app, name)).collect();
    json(&Models { object: "list", data })
}

pub async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    match app.names.iter().find(|known| **known == name) {
        Some(name) => Ok(json(&model(&app, name))),
        None => Err(app.no_model(&name)),
    }
}

pub async fn health(State(app): State<Arc<App>>) -> Response {
    match app.engine.is_ending() {
        false => json(&serde_json::json!({"status": "ok"})),
        true => {
            let mut response = json(&serde_json::json!({"status": "ending"}));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
    }
}

pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.metrics.request_memory.set(app.budget.used() as i64);
    let mut response = app.metrics.text().into_response();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The description of all of this for programs.
pub const OPENAPI: &str = include_str!("openapi.json");

pub async fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
