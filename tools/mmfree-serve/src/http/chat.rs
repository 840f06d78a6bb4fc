//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use mmfree::{Scored, Session};
use serde::Serialize;
use serde_json::Value;

use super::completions::MOST_LIKELIEST;
use super::errors::ApiError;
use super::fields::Fields;
use super::generate::{Ask, Finish, Prompt, StreamOptions, Text, Usage, gather, state_of};
use super::held::until_sent;
use super::sampling::Sampling;
use super::scores::TokenScore;
use super::sse::{self, Chunks, Events};
use super::{App, Client, Head, blocking, json, state};
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
    let (body, mut held) = super::body(&app, request, app.limits.max_body, 2).await?;
    let read = {
        let app = Arc::clone(&app);
        blocking(move || {
            let (asked, session) = Asked::read(&app, &body)?;
            drop(body);
            held.resize(asked.holds(&app))?;
            let request = asked.ask.request(&app, client.space, session)?;
            Ok((asked, request, held))
        })
    };
    let (asked, mut request, held) = read.await?;
    app.constrain(&asked.ask.sampling, &mut request).await?;
    let updates = app.engine.submit(request)?;
    app.metrics.requests.inc();
    let streams = asked.stream.stream;
    let object = if streams { "chat.completion.chunk" } else { "chat.completion" };
    let head = Head::new(&app, "chatcmpl", object);
    if streams {
        let usage = Usage::new(&asked.ask);
        let prompt_ids = asked.prompt_ids();
        let chunks = Stream { app: Arc::clone(&app), asked, head, usage, prompt_ids };
        return Ok(until_sent(sse::response(&app, chunks, updates, watch), held));
    }
    let (texts, usage) = gather(&app, &asked.ask, updates, watch).await?;
    let choices = texts.into_iter().enumerate();
    let choices = choices.map(|(index, text)| asked.choice(&app, index, text)).collect();
    let seed = Some(asked.ask.sampling.options.seed);
    let (prompt_token_ids, usage) = (asked.prompt_ids(), Some(Some(&usage)));
    let answer = json(&Answer { head: &head, seed, prompt_token_ids, choices, usage });
    Ok(until_sent(answer, held))
}

/// A request that was read.
struct Asked {
    ask: Ask,
    stream: StreamOptions,
}

impl Asked {
    fn read(app: &App, body: &[u8]) -> Result<(Asked, Option<Session>)> {
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
        app.refuse_others(&fields)?;
        let off = |value: &Value| value.as_bool() == Some(false);
        fields.refuse("continue_final_message", reason, off)?;
        fields.refuse("echo", reason, off)?;
        fields.refuse("chat_template", "the server has one, --chat-template", |_| false)?;
        fields.refuse("documents", reason, none)?;
        let stream = StreamOptions::read(&fields)?;
        let session = state::read(app, &fields)?;
        let sampling = Sampling::read(&fields, app, session.as_ref())?;
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
        let prompt = match &session {
            Some(session) => continuation(app, &fields, body, session)?,
            None => {
                let text = rendered(app, &fields, body)?;
                // The template writes special tokens itself.
                let ids = app.encode(&text, false)?;
                app.prompt("messages", ids, String::new())?
            }
        };
        app.check_texts(1, sampling.n)?;
        let return_state = state::is_wanted(&fields, sampling.n)?;
        let ask = Ask {
            before: session.as_ref().map_or(0, |session| session.ids().len()),
            prompts: vec![prompt],
            sampling,
            max_tokens,
            logprobs,
            score_prompts: false,
            return_state,
            return_ids: fields.bool("return_token_ids")?.unwrap_or(false),
        };
        Ok((Asked { ask, stream }, session))
    }

    fn holds(&self, app: &App) -> u64 {
        self.ask.holds(app.state_bytes(), app.limits.parallel.into(), self.stream.unread())
    }

    fn choice(&self, app: &App, index: usize, text: Text) -> Choice {
        let scores = text.tokens.iter().map(|token| &token.score);
        let ids = self.ask.return_ids;
        let logprobs = self.ask.logprobs.map(|_| LogProbs::new(app, scores, ids));
        let message = Message { role: Some("assistant"), content: Some(text.text) };
        Choice {
            index,
            message: Some(message),
            delta: None,
            logprobs,
            finish_reason: text.finish,
            token_ids: ids.then_some(text.ids),
            state: text.state,
        }
    }

    /// The prompt's ids, where they are asked for.
    fn prompt_ids(&self) -> Option<Vec<u32>> {
        self.ask.return_ids.then(|| self.ask.prompt_of(0).ids.to_vec())
    }
}

/// The text of a conversation by the model's template.
fn rendered(app: &App, fields: &Fields, body: &[u8]) -> Result<String> {
    let template = app.template.as_ref().map_err(|reason| {
        ApiError::new(axum::http::StatusCode::BAD_REQUEST, reason.clone()).code("no_chat_template")
    })?;
    let conversation = Conversation::read(body, fields)?;
    template.render(&conversation).map_err(|reason| ApiError::field("messages", reason))
}

/// What goes on from a session: new messages by the template, without the BOS token in front, or nothing at all.
fn continuation(app: &App, fields: &Fields, body: &[u8], session: &Session) -> Result<Prompt> {
    let none = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let ids = match fields.get("messages") {
        value if value.is_none_or(none) => Vec::new(),
        _ => {
            let text = rendered(app, fields, body)?;
            let bos = app.template.as_ref().ok().and_then(|template| template.bos());
            let text = bos.and_then(|bos| text.strip_prefix(bos)).unwrap_or(&text);
            app.encode_continuation(session.ids(), text)?
        }
    };
    state::check_pending(app, session, &ids)?;
    Ok(Prompt { ids: ids.into(), text: String::new() })
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    head: &'a Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<u32>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
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

impl LogProbs {
    fn new<'a>(app: &App, scores: impl Iterator<Item = &'a Scored>, ids: bool) -> LogProbs {
        LogProbs { content: scores.map(|score| TokenScore::new(app, score, ids)).collect() }
    }
}

/// The chunks of a streamed answer: one that names the role, then one for each token.
struct Stream {
    app: Arc<App>,
    asked: Asked,
    head: Head,
    usage: Usage,
    /// Those of the prompt, for the first chunk.
    prompt_ids: Option<Vec<u32>>,
}

impl Stream {
    fn chunk(&mut self, choice: Choice, events: &mut Events) {
        let options = self.asked.stream;
        let usage = match (options.continuous_usage, options.include_usage) {
            (true, _) => Some(Some(&self.usage)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        let seed = Some(self.asked.ask.sampling.options.seed);
        let (prompt_token_ids, choices) = (self.prompt_ids.take(), vec![choice]);
        events.push(&Answer { head: &self.head, seed, prompt_token_ids, choices, usage });
    }
}

impl Chunks for Stream {
    fn begin(&mut self, events: &mut Events) {
        for index in 0..self.texts() {
            let delta = Some(Message { role: Some("assistant"), content: Some(String::new()) });
            let (message, logprobs, finish_reason) = (None, None, None);
            let (token_ids, state) = (None, None);
            let choice =
                Choice { index, message, delta, logprobs, finish_reason, token_ids, state };
            self.chunk(choice, events);
        }
    }

    fn update(&mut self, update: Update, events: &mut Events) {
        self.usage.count(&update, &self.asked.ask);
        let ids = self.asked.ask.return_ids;
        let (text, logprobs, end, id) = match update.what {
            What::Token { id, text, score, end } => {
                let scores =
                    score.as_ref().map(|score| LogProbs::new(&self.app, [score].into_iter(), ids));
                (text, scores, end, Some(id))
            }
            What::End { text, end } => (text, None, Some(end), None),
            What::Prompt { .. } | What::Failed(_) => return,
        };
        let delta = Some(Message { role: None, content: Some(text) });
        let (index, message) = (update.sequence, None);
        let state = match end.as_ref().map(state_of).transpose() {
            Ok(state) => state.flatten(),
            Err(error) => return events.fail(error),
        };
        let choice = Choice {
            index,
            message,
            delta,
            logprobs,
            finish_reason: end.as_ref().map(Finish::from),
            token_ids: ids.then(|| id.into_iter().collect()),
            state,
        };
        self.chunk(choice, events);
    }

    fn finish(&mut self, events: &mut Events) {
        if self.asked.stream.include_usage {
            let (head, seed) = (&self.head, None);
            let usage = Some(Some(&self.usage));
            let (prompt_token_ids, choices) = (None, Vec::new());
            events.push(&Answer { head, seed, prompt_token_ids, choices, usage });
        }
    }

    fn texts(&self) -> usize {
        self.asked.ask.len()
    }
}
