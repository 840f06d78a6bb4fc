//! What a request takes of memory, in bytes, before it takes it: estimates that are never far below what was measured.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

use super::errors::ApiError;
use super::generate::Ask;
use crate::memory::{Full, Held};

/// Of a value of JSON, in a list that grows while it is read.
const VALUE: u64 = 96;

/// Of an object of JSON with a field or a few, besides its values.
const OBJECT: u64 = 448;

/// Of a byte of text that is being encoded: pieces, offsets, ids.
pub const ENCODED: u64 = 128;

/// Of a token that an answer keeps: its id, its text, and the answer in JSON.
const TOKEN: u64 = 48;

/// Of its score, and of each of the likeliest tokens in it: as it is computed, in the answer's lists, and in JSON.
const SCORE: u64 = 256;
const LIKELY: u64 = 96;

/// Of a form, and of each text that is being held to one: the states of its lexer.
const FORM: u64 = 4 << 20;
const FORM_TEXT: u64 = 16 << 20;

/// Of a sequence that waits.
const SEQUENCE: u64 = 1024;

/// Of a token of a session that is returned, saved and in base64; and of the floats of a session that are brought or returned.
const SAVED: u64 = 24;

/// What is made of a body that is read as JSON.
pub fn tree(body: &[u8]) -> u64 {
    let (mut values, mut objects, mut inside) = (0, 0, false);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match (byte, inside) {
            (b'"', _) => inside = !inside,
            (b'\\', true) => drop(bytes.next()),
            (b',' | b':' | b'[', false) => values += 1,
            (b'{', false) => objects += 1,
            _ => {}
        }
    }
    VALUE * values + OBJECT * objects + body.len() as u64
}

impl Ask {
    /// What a request holds from now to the end of its answer. A stream keeps no more than `unread` tokens.
    pub fn holds(&self, state: u64, parallel: u64, unread: Option<u64>) -> u64 {
        let texts = self.len() as u64;
        let n = self.sampling.n as u64;
        let (mut prompts, mut scored) = (0, 0);
        for prompt in &self.prompts {
            prompts += 4 * prompt.ids.len() as u64 + prompt.text.len() as u64;
            scored += n * prompt.ids.len() as u64;
        }
        let generated = texts.saturating_mul(self.max_tokens as u64);
        let kept = unread.map_or(generated, |unread| generated.min(unread));
        let score = self.logprobs.map_or(0, |likely| SCORE + LIKELY * likely as u64);
        let scored = if self.score_prompts { scored } else { 0 };
        let mut bytes = prompts + SEQUENCE * texts + self.sampling.size();
        bytes +=
            kept.saturating_mul(TOKEN + score).saturating_add(scored.saturating_mul(TOKEN + score));
        // The session that was brought, and a copy for each text that runs.
        let runs = texts.min(parallel);
        if self.before > 0 {
            bytes += (1 + runs) * (state + SAVED * self.before as u64);
        }
        if self.return_state {
            let ids: u64 = self.prompts.iter().map(|prompt| n * prompt.ids.len() as u64).sum();
            bytes += texts * 4 * state + SAVED * (ids + generated + texts * self.before as u64);
        }
        if self.sampling.format.is_some() {
            bytes += FORM + FORM_TEXT * runs;
        }
        bytes
    }
}

impl From<Full> for ApiError {
    fn from(full: Full) -> ApiError {
        match full {
            Full::Busy => ApiError {
                retry_after: Some(1),
                ..ApiError::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "the server is busy: requests hold as much memory as they may, come again later",
                )
                .code("rate_limit_exceeded")
            },
            Full::Never { bytes, most } => {
                let (bytes, most) = (bytes.div_ceil(1_000_000), most / 1_000_000);
                let message = format!(
                    "the request and its answer may take {bytes} MB of memory, more than the {most} MB that there are for all \
                     (--request-memory): a shorter prompt, fewer tokens, texts or log-probabilities take less"
                );
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large")
            }
        }
    }
}

/// A response for which memory is held until it is out.
pub fn until_sent(response: Response, held: Held) -> Response {
    response.map(|body| Body::new(Holding { body, _held: held }))
}

struct Holding {
    body: Body,
    _held: Held,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_brackets_count_outside_of_strings_alone() {
        let of = |text: &str| tree(text.as_bytes()) - text.len() as u64;
        assert_eq!(of(r#"{"a": [1, 2]}"#), OBJECT + 3 * VALUE);
        assert_eq!(of(r#""{[,:\"{[,:\\""#), 0);
        assert_eq!(of(r#"["\\",1]"#), 2 * VALUE);
        assert_eq!(of("\"\\"), 0);
    }
}
