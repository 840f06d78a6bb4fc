//! Answers that go out as they are made: server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::App;
use super::errors::ApiError;
use crate::engine::{Update, Updates, What};
use crate::metrics::Stopwatch;

/// Makes an answer's chunks.
pub trait Chunks: Send + Unpin + 'static {
    /// What comes before anything else.
    fn begin(&mut self, events: &mut Events);
    /// What an update gives; no failure.
    fn update(&mut self, update: Update, events: &mut Events);
    /// What comes when all texts have ended.
    fn finish(&mut self, events: &mut Events);
    /// Texts.
    fn texts(&self) -> usize;
}

/// Events in the making.
#[derive(Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
}

impl Events {
    /// Adds an event with this object.
    pub fn push(&mut self, value: &impl Serialize) {
        self.bytes.extend_from_slice(b"data: ");
        // Only maps with keys that are no strings, and our own writer, could fail.
        let _ = serde_json::to_writer(&mut self.bytes, value);
        self.bytes.extend_from_slice(b"\n\n");
    }

    /// Says what went wrong in place of what was to come.
    pub fn fail(&mut self, error: ApiError) {
        self.push_text(&error.json());
    }

    fn push_text(&mut self, text: &str) {
        self.bytes.extend_from_slice(b"data: ");
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\n\n");
    }
}

/// The response that streams these chunks.
pub fn response(
    app: &Arc<App>,
    mut chunks: impl Chunks,
    updates: Updates,
    watch: Stopwatch,
) -> Response {
    let mut events = Events::default();
    chunks.begin(&mut events);
    let mut heartbeat = interval(Duration::from_secs(app.limits.heartbeat.into()));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let left = chunks.texts();
    let app = Arc::clone(app);
    let stream =
        EventStream { app, chunks, updates: Some(updates), events, heartbeat, left, watch };
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would keep back what comes.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct EventStream<C> {
    app: Arc<App>,
    chunks: C,
    /// `None` after the end.
    updates: Option<Updates>,
    events: Events,
    heartbeat: Interval,
    /// Texts that have not ended.
    left: usize,
    watch: Stopwatch,
}

impl<C: Chunks> EventStream<C> {
    fn take(&mut self, update: Update) {
        match update.what {
            What::Failed(failure) => {
                self.events.push_text(&ApiError::from(failure).json());
                // The others are given up.
                self.updates = None;
                return;
            }
            What::Token { ref end, .. } => {
                self.watch.token(&self.app.metrics);
                self.left -= usize::from(end.is_some());
            }
            What::End { .. } => self.left -= 1,
            What::Prompt { .. } => {}
        }
        self.chunks.update(update, &mut self.events);
        if self.left == 0 {
            self.chunks.finish(&mut self.events);
            self.events.push_text("[DONE]");
            self.watch.end(&self.app.metrics);
            self.updates = None;
        }
    }
}

impl<C: Chunks> Stream for EventStream<C> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // All that has come since goes out together.
        while let Some(updates) = &mut this.updates {
            match updates.poll_recv(cx) {
                Poll::Ready(Some(update)) => this.take(update),
                Poll::Ready(None) => {
                    let error = ApiError::internal(
                        "the answer was given up: too much of it was left unread",
                    );
                    this.events.push_text(&error.json());
                    this.updates = None;
                }
                Poll::Pending => break,
            }
        }
        if !this.events.bytes.is_empty() {
            this.heartbeat.reset();
            let bytes = std::mem::take(&mut this.events.bytes);
            return Poll::Ready(Some(Ok(bytes.into())));
        }
        if this.updates.is_none() {
            return Poll::Ready(None);
        }
        match this.heartbeat.poll_tick(cx) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Bytes::from_static(b": reading\n\n")))),
            Poll::Pending => Poll::Pending,
        }
    }
}
