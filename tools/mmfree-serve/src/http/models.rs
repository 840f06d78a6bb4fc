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
}

#[derive(Serialize)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

fn model<'a>(app: &'a App, name: &'a str) -> Model<'a> {
    Model {
        id: name,
        object: "model",
        created: app.created,
        owned_by: "mmfree",
        name,
        vocab_size: app.model.config().vocab_size,
        max_prompt_tokens: app.limits.max_prompt,
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
