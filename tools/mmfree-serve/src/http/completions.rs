//! `POST /v1/completions`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use mmfree::{Scored, Session};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::errors::ApiError;
use super::fields::{Fields, shown, whole};
use super::generate::{Ask, Finish, Prompt, StreamOptions, Text, Usage, gather, state_of};
use super::held::until_sent;
use super::sampling::Sampling;
use super::scores::TokenScore;
use super::sse::{self, Chunks, Events};
use super::{App, Client, Head, blocking, json, state};
use crate::engine::{Update, What};
use crate::metrics::Stopwatch;

type Result<T> = std::result::Result<T, ApiError>;

/// Tokens unless told otherwise, OpenAI's.
const MAX_TOKENS: usize = 16;

/// The most of the likeliest tokens that a score may have.
pub const MOST_LIKELIEST: i64 = 20;

pub async fn completions(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response> {
    let watch = Stopwatch::start();
    let (body, mut held) = super::body(&app, request, app.limits.max_body, 1).await?;
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
    let head = Head::new(&app, "cmpl", "text_completion");
    if asked.stream.stream {
        let usage = Usage::new(&asked.ask);
        let texts = asked.ask.len();
        let (offsets, told) = (vec![0; texts], vec![false; texts]);
        let chunks = Stream { app: Arc::clone(&app), asked, head, usage, offsets, told };
        return Ok(until_sent(sse::response(&app, chunks, updates, watch), held));
    }
    let (texts, usage) = gather(&app, &asked.ask, updates, watch).await?;
    let choices = texts.into_iter().enumerate();
    let choices = choices.map(|(index, text)| asked.choice(&app, index, text)).collect();
    let seed = Some(asked.ask.sampling.options.seed);
    let answer = json(&Completion { head: &head, seed, choices, usage: Some(Some(&usage)) });
    Ok(until_sent(answer, held))
}

/// A request that was read.
struct Asked {
    ask: Ask,
    echo: bool,
    stream: StreamOptions,
}

impl Asked {
    fn read(app: &App, body: &[u8]) -> Result<(Asked, Option<Session>)> {
        let fields = Fields::parse(body)?;
        app.check_model(&fields)?;
        let reason = "this server cannot do that";
        fields.refuse("suffix", reason, |value| value.as_str() == Some(""))?;
        fields.refuse("best_of", reason, |value| whole(value).is_some_and(|n| n <= 1))?;
        app.refuse_others(&fields)?;
        let stream = StreamOptions::read(&fields)?;
        let session = state::read(app, &fields)?;
        let sampling = Sampling::read(&fields, app, session.as_ref())?;
        let most = i64::from(app.limits.max_tokens);
        let max_tokens = fields.whole("max_tokens", 0, most)?.map_or(MAX_TOKENS, |n| n as usize);
        let logprobs = fields.whole("logprobs", 0, MOST_LIKELIEST)?.map(|n| n as usize);
        let echo = fields.bool("echo")?.unwrap_or(false);
        let prompts = match &session {
            Some(_) if echo => {
                let reason = "is for a text from its start, not for one that goes on from a state";
                return Err(ApiError::field("echo", reason));
            }
            Some(session) => vec![continuation(app, &fields, session)?],
            None => prompts(app, &fields, echo)?,
        };
        app.check_texts(prompts.len(), sampling.n)?;
        let return_state = state::is_wanted(&fields, prompts.len() * sampling.n)?;
        let ask = Ask {
            before: session.as_ref().map_or(0, |session| session.ids().len()),
            prompts,
            sampling,
            max_tokens,
            logprobs,
            score_prompts: echo,
            return_state,
            return_ids: fields.bool("return_token_ids")?.unwrap_or(false),
        };
        Ok((Asked { ask, echo, stream }, session))
    }

    fn holds(&self, app: &App) -> u64 {
        self.ask.holds(app.state_bytes(), app.limits.parallel.into(), self.stream.unread())
    }

    fn choice(&self, app: &App, index: usize, text: Text) -> Choice {
        let mut logprobs = self.ask.logprobs.map(|_| LogProbs::new(self.ask.return_ids));
        let mut out = String::new();
        if self.echo {
            let prompt = self.ask.prompt_of(index);
            out += &prompt.text;
            if let Some(logprobs) = &mut logprobs {
                logprobs.prompt(app, prompt, &text.prompt_scores);
            }
        }
        let before = out.chars().count();
        if let Some(logprobs) = &mut logprobs {
            for token in &text.tokens {
                logprobs.push(app, &token.score, before + token.offset);
            }
        }
        out += &text.text;
        let ids = self.ask.return_ids;
        Choice {
            index,
            text: out,
            logprobs,
            finish_reason: text.finish,
            prompt_token_ids: ids.then(|| self.ask.prompt_of(index).ids.to_vec()),
            token_ids: ids.then_some(text.ids),
            state: text.state,
        }
    }
}

/// The prompts: a string, a list of strings, ids, or a list of ids. What they read like is kept to echo it alone.
fn prompts(app: &App, fields: &Fields, echo: bool) -> Result<Vec<Prompt>> {
    let name = "prompt";
    let right = "a string, a list of strings, token ids, or a list of lists of token ids";
    let Some(value) = fields.get(name) else {
        return Err(ApiError::field(name, format!("is missing, must be {right}")));
    };
    let wrong = |value: &Value| {
        let place = if value.is_array() || value.is_object() { "holds" } else { "is" };
        ApiError::field(name, format!("{place} {}, must be {right}", shown(value)))
    };
    match value {
        Value::String(text) => Ok(vec![text_prompt(app, text, echo)?]),
        Value::Array(list) => match list.first() {
            None => Err(ApiError::field(name, format!("is an empty list, must be {right}"))),
            Some(Value::String(_)) => list
                .iter()
                .map(|one| text_prompt(app, one.as_str().ok_or_else(|| wrong(one))?, echo))
                .collect(),
            Some(Value::Number(_)) => Ok(vec![id_prompt(app, list, echo)?]),
            Some(Value::Array(_)) => list
                .iter()
                .map(|one| id_prompt(app, one.as_array().ok_or_else(|| wrong(one))?, echo))
                .collect(),
            Some(other) => Err(wrong(other)),
        },
        other => Err(wrong(other)),
    }
}

/// The one prompt that goes on from a session, or nothing: a string, or ids.
fn continuation(app: &App, fields: &Fields, session: &Session) -> Result<Prompt> {
    let right = "a string or token ids, with a state";
    let one = |value: &Value| match value {
        Value::String(text) => {
            let ids = app.encode_continuation(session.ids(), text)?;
            Ok(Prompt { ids: ids.into(), text: String::new() })
        }
        Value::Array(list) => {
            Ok(Prompt { ids: app.ids("prompt", list)?.into(), text: String::new() })
        }
        other => Err(ApiError::field("prompt", format!("is {}, must be {right}", shown(other)))),
    };
    let prompt = match fields.get("prompt") {
        None => Prompt { ids: Vec::new().into(), text: String::new() },
        // A list of one text, or of one list of ids.
        Some(Value::Array(list)) if list.first().is_some_and(|one| !one.is_number()) => {
            match &list[..] {
                [single] => one(single)?,
                _ => {
                    let reason = format!("has {} texts, must be {right}", list.len());
                    return Err(ApiError::field("prompt", reason));
                }
            }
        }
        Some(value) => one(value)?,
    };
    state::check_pending(app, session, &prompt.ids)?;
    Ok(prompt)
}

fn text_prompt(app: &App, text: &str, echo: bool) -> Result<Prompt> {
    let ids = app.encode_prompt(text)?;
    app.prompt("prompt", ids, if echo { text.to_owned() } else { String::new() })
}

/// A prompt of ids: they are taken as they are, and no BOS is added.
fn id_prompt(app: &App, list: &[Value], echo: bool) -> Result<Prompt> {
    let ids = app.ids("prompt", list)?;
    let text = match &app.tokenizer {
        Some(tokenizer) if echo => {
            tokenizer.decode(&ids).map_err(|error| ApiError::internal(error.to_string()))?
        }
        _ => String::new(),
    };
    app.prompt("prompt", ids, text)
}

#[derive(Serialize)]
struct Completion<'a> {
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
    text: String,
    logprobs: Option<LogProbs>,
    finish_reason: Option<Finish>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// Scores in the form of completions: lists of equal length.
#[derive(Debug, Default, Serialize)]
struct LogProbs {
    text_offset: Vec<usize>,
    token_logprobs: Vec<Option<f32>>,
    tokens: Vec<String>,
    top_logprobs: Vec<Option<Top>>,
    /// The same in the form of chats, where ids are asked for: two tokens that read alike are two there.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Vec<Option<TokenScore>>>,
}

/// The likeliest tokens as an object, in their order.
#[derive(Debug, Default)]
struct Top(Vec<(String, f32)>);

impl Serialize for Top {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(text, logprob)| map.serialize_entry(text, logprob))?;
        map.end()
    }
}

impl LogProbs {
    fn new(ids: bool) -> LogProbs {
        LogProbs { content: ids.then(Vec::new), ..LogProbs::default() }
    }

    /// The tokens of a prompt; the first has no score.
    fn prompt(&mut self, app: &App, prompt: &Prompt, scores: &[Scored]) {
        let mut offset = 0;
        for (at, &id) in prompt.ids.iter().enumerate() {
            let piece = app.piece(id);
            match at.checked_sub(1).and_then(|at| scores.get(at)) {
                Some(score) => self.push(app, score, offset),
                None => {
                    self.text_offset.push(offset);
                    self.token_logprobs.push(None);
                    self.tokens.push(piece.text.clone());
                    self.top_logprobs.push(None);
                    self.content.iter_mut().for_each(|content| content.push(None));
                }
            }
            // A special token is none of the text.
            offset += if piece.special { 0 } else { piece.text.chars().count() };
        }
    }

    fn push(&mut self, app: &App, score: &Scored, offset: usize) {
        let mut top = Top::default();
        let likeliest = score.likeliest.iter().map(|token| (token.id, token.logprob));
        for (id, logprob) in likeliest.chain([(score.id, score.logprob)]) {
            let text = app.piece(id).text;
            match top.0.iter_mut().find(|(known, _)| *known == text) {
                // Two tokens of one text, or the chosen one again: the larger number stays.
                Some((_, known)) => *known = known.max(logprob),
                None => top.0.push((text, logprob)),
            }
        }
        self.text_offset.push(offset);
        self.token_logprobs.push(Some(score.logprob));
        self.tokens.push(app.piece(score.id).text);
        self.top_logprobs.push(Some(top));
        if let Some(content) = &mut self.content {
            content.push(Some(TokenScore::new(app, score, true)));
        }
    }
}

/// The chunks of a streamed answer: one for each token.
struct Stream {
    app: Arc<App>,
    asked: Asked,
    head: Head,
    usage: Usage,
    /// Characters of each text so far.
    offsets: Vec<usize>,
    /// Of which texts the prompt's ids have been given.
    told: Vec<bool>,
}

impl Stream {
    fn chunk(&self, choices: Vec<Choice>, events: &mut Events) {
        let options = self.asked.stream;
        let usage = match (options.continuous_usage, options.include_usage) {
            (true, _) => Some(Some(&self.usage)),
            (false, true) => Some(None),
            (false, false) => None,
        };
        let seed = Some(self.asked.ask.sampling.options.seed);
        events.push(&Completion { head: &self.head, seed, choices, usage });
    }
}

impl Chunks for Stream {
    fn begin(&mut self, _events: &mut Events) {}

    fn update(&mut self, update: Update, events: &mut Events) {
        self.usage.count(&update, &self.asked.ask);
        let index = update.sequence;
        let scored = self.asked.ask.logprobs.is_some();
        let ids = self.asked.ask.return_ids;
        let (text, logprobs, end, id) = match update.what {
            What::Prompt { scores, .. } => {
                if !self.asked.echo {
                    return;
                }
                let prompt = self.asked.ask.prompt_of(index).clone();
                let mut logprobs = scored.then(|| LogProbs::new(ids));
                if let Some(logprobs) = &mut logprobs {
                    logprobs.prompt(&self.app, &prompt, &scores);
                }
                (prompt.text, logprobs, None, None)
            }
            What::Token { id, text, score, end } => {
                let mut logprobs = None;
                if let Some(score) = &score {
                    let mut one = LogProbs::new(ids);
                    one.push(&self.app, score, self.offsets[index]);
                    logprobs = Some(one);
                }
                (text, logprobs, end, Some(id))
            }
            What::End { text, end } => (text, None, Some(end), None),
            What::Failed(_) => return,
        };
        self.offsets[index] += text.chars().count();
        let state = match end.as_ref().map(state_of).transpose() {
            Ok(state) => state.flatten(),
            Err(error) => return events.fail(error),
        };
        let first = !std::mem::replace(&mut self.told[index], true);
        let choice = Choice {
            index,
            text,
            logprobs,
            finish_reason: end.as_ref().map(Finish::from),
            prompt_token_ids: (ids && first).then(|| self.asked.ask.prompt_of(index).ids.to_vec()),
            token_ids: ids.then(|| id.into_iter().collect()),
            state,
        };
        self.chunk(vec![choice], events);
    }

    fn finish(&mut self, events: &mut Events) {
        if self.asked.stream.include_usage {
            let (head, seed) = (&self.head, None);
            let usage = Some(Some(&self.usage));
            events.push(&Completion { head, seed, choices: Vec::new(), usage });
        }
    }

    fn texts(&self) -> usize {
        self.asked.ask.len()
    }
}

/// Ids of a list, or an error that names the field.
pub fn read_ids(name: &str, list: &[Value]) -> Result<Vec<u32>> {
    let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok());
    let one = |value: &Value| {
        id(value).ok_or_else(|| {
            ApiError::field(name, format!("holds {}, must be token ids", shown(value)))
        })
    };
    list.iter().map(one).collect()
}
