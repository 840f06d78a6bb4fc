//! Errors as OpenAI's clients read them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::constraint::FIELDS;
use crate::engine::{Failure, Refused};

/// An answer that is an error: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// A word for programs.
    pub code: Option<&'static str>,
    /// Seconds after which to come again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        let message = message.into();
        ApiError { status, message, param: None, code: None, retry_after: None }
    }

    /// A field with a value that cannot be used; `reason` says what it is and what would be right.
    pub fn field(name: &str, reason: impl Into<String>) -> ApiError {
        let message = format!("{name}: {}", reason.into());
        ApiError { param: Some(name.to_owned()), ..ApiError::new(StatusCode::BAD_REQUEST, message) }
    }

    /// An error of ours.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub fn code(self, code: &'static str) -> ApiError {
        ApiError { code: Some(code), ..self }
    }

    /// The object that a stream carries, which has begun with another status.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            message: &'a str,
            #[serde(rename = "type")]
            kind: &'a str,
            param: Option<&'a str>,
            code: Option<&'a str>,
        }
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let (message, param) = (&self.message, self.param.as_deref());
        let error = Inner { message, kind, param, code: self.code };
        // Strings alone: it does not fail.
        serde_json::to_string(&Outer { error }).unwrap_or_default()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> ApiError {
        match refused {
            Refused::Busy(after) => ApiError {
                retry_after: Some(after.as_secs().max(1)),
                ..ApiError::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "the server is busy: its queue is full, come again later",
                )
                .code("rate_limit_exceeded")
            },
            Refused::Ending => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is about to end, and takes no requests any more",
            )
            .code("shutting_down"),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        match failure {
            Failure::Deadline => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the request's time was up before its first token",
            )
            .code("timeout"),
            Failure::Request(reason) => {
                let field = reason.split(':').next().unwrap_or_default();
                let param = FIELDS.contains(&field).then(|| field.to_owned());
                ApiError { param, ..ApiError::new(StatusCode::BAD_REQUEST, reason) }
            }
            Failure::Model(reason) => ApiError::internal(reason),
        }
    }
}
