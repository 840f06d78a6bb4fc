//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use mmfree::Scored;
use serde::Serialize;
use serde_json::Value;

use super::completions::MOST_LIKELIEST;
use super::errors::ApiError;
use super::fields::Fields;
use super::generate::{Ask, Finish, StreamOptions, Text, Usage, gather};
use super::sampling::Sampling;
use super::sse::{self, Chunks, Events};
use super::{App, Client, Head, blocking, json};
use crate::engine::{Update, What};
use crate::metrics::Stopwatch;
use crate::template::Conversation;

type Result<T> = std::result::Result<T, ApiError>;

pub async fn chat(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response> {
    let watch = Stopwatch::start();
    let body = super::body(&app, request, app.limits.max_body).await?;
    let read = {
        let app = Arc::clone(&app);
        blocking(move || {
            let asked = Asked::read(&app, &body)?;
            let request = asked.ask.request(&app, client.space)?;
            Ok((asked, request))
        })
    };
    let (asked, request) = read.await?;
    let updates = app.engine.submit(request)?;
    app.metrics.requests.inc();
    let streams = asked.stream.stream;
    let object = if streams { "chat.completion.chunk" } else { "chat.completion" };
    let head = Head::new(&app, "chatcmpl", object);
    if streams {
        let usage = Usage::new(&asked.ask);
        let chunks = Stream { app: Arc::clone(&app), asked, head, usage };
        return Ok(sse::response(&app, chunks, updates, watch));
    }
    let (texts, usage) = gather(&app, &asked.ask, updates, watch).await?;
    let choices = texts.into_iter().enumerate();
    let choices = choices.map(|(index, text)| asked.choice(&app, index, text)).collect();
    let seed = Some(asked.ask.sampling.options.seed);
    Ok(json(&Answer { head: &head, seed, choices, usage: Some(Some(&usage)) }).into_response())
}

/// A request that was read.
struct Asked {
    ask: Ask,
    stream: StreamOptions,
}

impl Asked {
    fn read(app: &App, body: &[u8]) -> Result<Asked> {
        let fields = Fields::parse(body)?;
        app.check_model(&fields)?;
        let reason = "this server cannot do that";
        let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        fields.refuse("tools", reason, none)?;
        fields.refuse("functions", reason, none)?;
        let choice = |value: &Value| matches!(value.as_str(), Some("none" | "auto"));
        fields.refuse("tool_choice", reason, choice)?;
        fields.refuse("function_call", reason, choice)?;
        fields.refuse("audio", reason, |_| false)?;
        fields.refuse("modalities", reason, |value| *value == serde_json::json!(["text"]))?;
        app.refuse_formats(&fields)?;
        let stream = StreamOptions::read(&fields)?;
        let sampling = Sampling::read(&fields, app)?;
        let most = i64::from(app.limits.max_tokens);
        let max_tokens = match fields.whole("max_completion_tokens", 1, most)? {
            Some(max_tokens) => Some(max_tokens),
            None => fields.whole("max_tokens", 1, most)?,
        };
        let default = app.limits.max_tokens_default.min(app.limits.max_tokens) as usize;
        let max_tokens = max_tokens.map_or(default, |n| n as usize);
        let likeliest = fields.whole("top_logprobs", 0, MOST_LIKELIEST)?;
        let logprobs = match (fields.bool("logprobs")?.unwrap_or(false), likeliest) {
            (true, n) => Some(n.unwrap_or(0) as usize),
            (false, None | Some(0)) => None,
            (false, Some(_)) => {
                return Err(ApiError::field("top_logprobs", "is for \"logprobs\": true alone"));
            }
        };
        let template = app.template.as_ref().map_err(|reason| {
            ApiError::new(axum::http::StatusCode::BAD_REQUEST, reason.clone())
                .code("no_chat_template")
        })?;
        let conversation = Conversation::read(body, &fields)?;
        let text =
            template.render(&conversation).map_err(|reason| ApiError::field("messages", reason))?;
        // The template writes special tokens itself.
        let ids = app.encode(&text, false)?;
        let prompt = app.prompt("messages", ids, text)?;
        app.check_texts(1, sampling.n)?;
        let prompts = vec![prompt];
        let ask = Ask { prompts, sampling, max_tokens, logprobs, score_prompts: false };
        Ok(Asked { ask, stream })
    }

    fn choice(&self, app: &App, index: usize, text: Text) -> Choice {
        let scores = text.tokens.iter().map(|token| &token.score);
        let logprobs = self.ask.logprobs.map(|_| LogProbs::new(app, scores));
        let message = Message { role: Some("assistant"), content: Some(text.text) };
        Choice { index, message: Some(message), delta: None, logprobs, finish_reason: text.finish }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    head: &'a Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<&'a Usage>>,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
    /// In place of a message, in a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Message>,
    logprobs: Option<LogProbs>,
    finish_reason: Option<Finish>,
}

#[derive(Debug, Serialize)]
struct Message {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// Scores in the form of chats.
#[derive(Debug, Serialize)]
struct LogProbs {
    content: Vec<TokenScore>,
}

#[derive(Debug, Serialize)]
struct TokenScore {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Serialize)]
struct Likely {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

impl LogProbs {
    fn new<'a>(app: &App, scores: impl Iterator<Item = &'a Scored>) -> LogProbs {
        let likely = |id: u32, logprob: f32| {
            let piece = app.piece(id);
            Likely { token: piece.text, logprob, bytes: piece.bytes }
        };
        let score = |score: &Scored| {
            let Likely { token, logprob, bytes } = likely(score.id, score.logprob);
            let top = score.likeliest.iter().map(|token| likely(token.id, token.logprob));
            TokenScore { token, logprob, bytes, top_logprobs: top.collect() }
        };
        LogProbs { content: scores.map(score).collect() }
    }
}

/// The chunks of a streamed answer: one that names the role, then one for each token.
struct Stream {
    app: Arc<App>,
    asked: Asked,
    head: Head,
    usage: Usage,
}

impl Stream {
    fn chunk(&self, choice: Choice, events: &mut Events) {
        let options = self.asked.stream;
        let usage = match (options.continuous_usage, options.include_usage) {
            (true, _) => Some(Some(&self.usage)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        let seed = Some(self.asked.ask.sampling.options.seed);
        events.push(&Answer { head: &self.head, seed, choices: vec![choice], usage });
    }
}

impl Chunks for Stream {
    fn begin(&mut self, events: &mut Events) {
        for index in 0..self.texts() {
            let delta = Some(Message { role: Some("assistant"), content: Some(String::new()) });
            let (message, logprobs, finish_reason) = (None, None, None);
            self.chunk(Choice { index, message, delta, logprobs, finish_reason }, events);
        }
    }

    fn update(&mut self, update: Update, events: &mut Events) {
        self.usage.count(&update, &self.asked.ask);
        let (text, logprobs, finish_reason) = match update.what {
            What::Token { text, score, end, .. } => {
                let scores =
                    score.as_ref().map(|score| LogProbs::new(&self.app, [score].into_iter()));
                (text, scores, end.as_ref().map(Finish::from))
            }
            What::End { text, end } => (text, None, Some(Finish::from(&end))),
            What::Prompt { .. } | What::Failed(_) => return,
        };
        let delta = Some(Message { role: None, content: Some(text) });
        let (index, message) = (update.sequence, None);
        self.chunk(Choice { index, message, delta, logprobs, finish_reason }, events);
    }

    fn finish(&mut self, events: &mut Events) {
        if self.asked.stream.include_usage {
            let (head, seed) = (&self.head, None);
            let usage = Some(Some(&self.usage));
            events.push(&Answer { head, seed, choices: Vec::new(), usage });
        }
    }

    fn texts(&self) -> usize {
        self.asked.ask.len()
    }
}
