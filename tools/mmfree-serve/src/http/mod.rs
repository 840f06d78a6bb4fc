//! What is spoken: OpenAI's interface, and what others have added to it.

mod activity;
mod app;
mod chat;
mod completions;
mod errors;
mod fields;
mod format;
mod generate;
mod guard;
mod held;
mod models;
mod page;
mod sampling;
mod scores;
mod sse;
mod state;
mod tokenize;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

pub use activity::Activity;
pub use app::{App, Head, now};
pub use errors::ApiError;
pub use fields::Fields;
pub use guard::{Client, Guard, HEADER};

use crate::memory::{Full, Held};

/// All routes, behind the guard.
pub fn router(app: Arc<App>, guard: Arc<Guard>, activity: Arc<Activity>) -> Router {
    let routes = Router::new()
        .route("/", get(page::index))
        .route("/page/{file}", get(page::file))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/chat/completions", post(chat::chat))
        .route("/health", get(models::health))
        .route("/metrics", get(models::metrics))
        .route("/openapi.json", get(models::openapi))
        .route("/tokenizer_info", get(tokenize::info))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(&app));
    let cors = guard.cors();
    let routes = routes.layer(middleware::from_fn_with_state((app, guard), guard::check));
    let routes = routes.layer(middleware::from_fn_with_state(activity, activity::watch));
    match cors {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

/// Whether a body asks for a text of some form.
#[cfg(feature = "fuzzing")]
pub fn asks_for_form(body: &[u8]) -> bool {
    Fields::parse(body).is_ok_and(|fields| matches!(format::Format::read(&fields), Ok(Some(_))))
}

async fn unknown(uri: Uri) -> ApiError {
    let path = uri.path();
    let reason = match path {
        "/v1/responses" => "; this server has chat at /v1/chat/completions",
        "/v1/embeddings" => "; a language model of this kind has no embeddings of texts",
        _ => "; /openapi.json lists what there is",
    };
    let shown: String = path.chars().take(100).collect();
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {shown} here{reason}"))
        .code("unknown_url")
}

async fn wrong_method(method: axum::http::Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not for {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed")
}

/// The body of a request that says it is JSON, of so many bytes at most, if it comes in time; and the memory for it and for what
/// is read of it, `readings` times.
async fn body(
    app: &App,
    request: Request,
    limit: u64,
    readings: u64,
) -> Result<(Vec<u8>, Held), ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    // Also against pages of others: a browser asks before it sends JSON, and is told no.
    if !essence.eq_ignore_ascii_case("application/json") {
        let shown: String = kind.chars().take(60).collect();
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content type is \"{shown}\", must be application/json"),
        ));
    }
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {limit} bytes, the most that is taken"),
        )
    };
    let stated = request.headers().get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|len| len > limit) {
        return Err(too_large());
    }
    let limited = Limited::new(request.into_body(), usize::try_from(limit).unwrap_or(usize::MAX));
    let time = Duration::from_secs(app.limits.io_timeout.into());
    let (body, mut held) = match tokio::time::timeout(time, collect(app, limited, stated)).await {
        Ok(collected) => collected.map_err(|uncollected| match uncollected {
            Uncollected::Full(full) => full.into(),
            Uncollected::Broken(error) if error.is::<LengthLimitError>() => too_large(),
            Uncollected::Broken(_) => ApiError::new(StatusCode::BAD_REQUEST, "the body broke off"),
        })?,
        Err(_) => {
            let message = format!("the body did not come within {} s", time.as_secs());
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    held.resize(body.capacity() as u64 + readings * held::tree(&body))?;
    Ok((body, held))
}

/// Why there is no body.
enum Uncollected {
    Full(Full),
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Full> for Uncollected {
    fn from(full: Full) -> Uncollected {
        Uncollected::Full(full)
    }
}

/// The bytes of a body, of a stated length. Memory is held for those that have come, not for those that were promised.
async fn collect(
    app: &App,
    mut body: Limited<Body>,
    stated: Option<u64>,
) -> Result<(Vec<u8>, Held), Uncollected> {
    let stated = stated.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
    let (mut bytes, mut held) = (Vec::new(), app.budget.hold(0)?);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Uncollected::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        let needed = bytes.len() + data.len();
        if needed > bytes.capacity() {
            let capacity = needed.max(stated.min(2 * bytes.capacity()));
            // While it moves both are there.
            held.resize((bytes.capacity() + capacity) as u64)?;
            bytes.reserve_exact(capacity - bytes.len());
            held.resize(bytes.capacity() as u64)?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, held))
}

/// Runs what takes a while aside, so that others' answers go on.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ApiError::internal("a bug in mmfree-serve: reading the request failed")),
    }
}

fn json(value: &impl Serialize) -> Response {
    // Only maps with keys that are no strings could fail.
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let text = include_str!("mod.rs");
        let routes = text.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let routes: BTreeSet<String> = routes
            .map(|rest| {
                let (path, rest) = rest.split_once("\", ").unwrap();
                let method = rest.split_once('(').unwrap().0;
                format!("{method} {}", path.replace("{*", "{"))
            })
            .collect();
        let described: serde_json::Value = serde_json::from_str(super::models::OPENAPI).unwrap();
        let paths = described["paths"].as_object().unwrap();
        let described: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert_eq!(routes, described);
        let files = &paths["/page/{file}"]["get"]["parameters"][0]["schema"]["enum"];
        let files: Vec<&str> =
            files.as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
        assert_eq!(files, super::page::FILES.map(|(name, _, _)| name));
    }

    #[test]
    fn the_description_has_every_field_that_is_read() {
        let both = [
            include_str!("sampling.rs"),
            include_str!("generate.rs"),
            include_str!("state.rs"),
            include_str!("format.rs"),
        ]
        .concat();
        let described: serde_json::Value = serde_json::from_str(super::models::OPENAPI).unwrap();
        for (schema, own) in
            [("Completion", include_str!("completions.rs")), ("Chat", include_str!("chat.rs"))]
        {
            let properties = described["components"]["schemas"][schema]["properties"].as_object();
            let mut read = BTreeSet::new();
            for text in [&both, own] {
                for before in ["bool(\"", "float(\"", "whole(\"", "string(\"", "let name = \""] {
                    read.extend(text.split(before).skip(1).filter_map(|rest| {
                        let name = rest.split('"').next()?;
                        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(name)
                    }));
                }
            }
            assert!(read.len() > 20, "{read:?}");
            // Fields of stream_options and structured_outputs, and llama.cpp's grammar, which is refused.
            for inner in ["continuous_usage_stats", "include_usage", "json_object", "grammar"] {
                assert!(read.remove(inner), "{inner}");
            }
            for name in read {
                assert!(properties.unwrap().contains_key(name), "{schema} has no {name}");
            }
        }
    }
}
