//! From a request's prompts to sequences for the engine, and from what comes back to an answer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mmfree::{Limits, Scored, Session, StopReason, TextStream};
use serde::Serialize;

use super::errors::ApiError;
use super::sampling::Sampling;
use super::{App, state};
use crate::engine::{End, Request, Sequence, UNREAD, Update, Updates, What};
use crate::metrics::Stopwatch;

/// A prompt: its ids, and what it reads like.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub ids: Arc<[u32]>,
    /// Empty where it is not echoed.
    pub text: String,
}

/// What is asked of the engine.
#[derive(Debug)]
pub struct Ask {
    /// Ids of the session that all go on from, where the client brought one.
    pub before: usize,
    pub prompts: Vec<Prompt>,
    pub sampling: Sampling,
    pub max_tokens: usize,
    /// How many of the likeliest tokens each token's score has, if scores are wanted.
    pub logprobs: Option<usize>,
    /// Whether the prompts' scores are wanted too.
    pub score_prompts: bool,
    /// Whether the session's state is to be returned.
    pub return_state: bool,
    /// Whether token ids are.
    pub return_ids: bool,
}

impl Ask {
    /// The request for the engine: for each prompt `n` texts after each other, all from the session on, if there is one.
    pub fn request(
        &self,
        app: &App,
        space: u64,
        session: Option<Session>,
    ) -> Result<Request, ApiError> {
        let limits = Limits {
            max_tokens: Some(self.max_tokens),
            eos: self.sampling.eos.clone(),
            ..Limits::default()
        };
        let ids_before = session.as_ref().map(|session| session.ids().to_vec());
        let session = session.map(|session| Arc::new(Mutex::new(session)));
        let mut sequences = Vec::with_capacity(self.prompts.len() * self.sampling.n);
        for prompt in &self.prompts {
            let before = match &ids_before {
                Some(ids) => &[ids, &*prompt.ids].concat(),
                None => &*prompt.ids,
            };
            let decode = match &app.tokenizer {
                Some(tokenizer) => Some(
                    tokenizer
                        .stream_after(before)
                        .map_err(|error| ApiError::internal(error.to_string()))?,
                ),
                None => None,
            };
            let (stops, length) = (self.sampling.stops.clone(), before.len());
            let mut text = TextStream::new(decode, stops, limits.clone(), length);
            text.set_goes_on(self.return_state);
            let text = Arc::new(text);
            for i in 0..self.sampling.n {
                sequences.push(Sequence {
                    session: session.clone(),
                    prompt: Arc::clone(&prompt.ids),
                    sampling: Arc::clone(&self.sampling.options),
                    seed: self.sampling.options.seed.wrapping_add(i as u64),
                    text: Arc::clone(&text),
                    score_prompt: self.logprobs.filter(|_| self.score_prompts),
                    score_tokens: self.logprobs,
                    return_session: self.return_state,
                    form: None,
                });
            }
        }
        let deadline = Instant::now() + Duration::from_secs(app.limits.max_time.into());
        Ok(Request { sequences, space, deadline })
    }

    /// The prompt of a sequence.
    pub fn prompt_of(&self, sequence: usize) -> &Prompt {
        &self.prompts[sequence / self.sampling.n]
    }

    /// Sequences.
    pub fn len(&self) -> usize {
        self.prompts.len() * self.sampling.n
    }
}

/// A token of an answer, with its score.
#[derive(Clone, Debug)]
pub struct Token {
    /// Characters of the answer before what it adds.
    pub offset: usize,
    pub score: Scored,
}

/// One text of an answer.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub text: String,
    /// Its characters.
    chars: usize,
    /// Kept only where scores are wanted.
    pub tokens: Vec<Token>,
    /// Scores of the prompt from its second token on.
    pub prompt_scores: Vec<Scored>,
    pub finish: Option<Finish>,
    /// The ids of its tokens.
    pub ids: Vec<u32>,
    /// The session's state, where it is wanted.
    pub state: Option<String>,
}

/// Why a text ended, in OpenAI's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    Stop,
    Length,
}

impl From<&End> for Finish {
    fn from(end: &End) -> Finish {
        match &end.reason {
            StopReason::Eos | StopReason::StopString(_) | StopReason::Complete => Finish::Stop,
            // Also where the request's time was up.
            StopReason::MaxTokens | StopReason::MaxLength | StopReason::Interrupted => {
                Finish::Length
            }
        }
    }
}

/// The state that is returned with the end of a text, where it is wanted.
pub fn state_of(end: &End) -> Result<Option<String>, ApiError> {
    end.session.as_deref().map(state::text).transpose()
}

/// How many tokens went in and out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: PromptDetails,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct PromptDetails {
    pub cached_tokens: usize,
}

impl Usage {
    pub fn new(ask: &Ask) -> Usage {
        let prompt_tokens = ask.prompts.iter().map(|prompt| ask.before + prompt.ids.len()).sum();
        Usage { prompt_tokens, total_tokens: prompt_tokens, ..Usage::default() }
    }

    /// Takes in an update. Of a prompt's texts the first tells what the cache had: the others find what it left.
    pub fn count(&mut self, update: &Update, ask: &Ask) {
        match &update.what {
            What::Prompt { cached, .. } if update.sequence.is_multiple_of(ask.sampling.n) => {
                self.prompt_tokens_details.cached_tokens += cached;
            }
            What::Token { .. } => {
                self.completion_tokens += 1;
                self.total_tokens += 1;
            }
            _ => {}
        }
    }
}

/// Waits for all texts. An error of one is the request's; the others are given up then.
pub async fn gather(
    app: &App,
    ask: &Ask,
    mut updates: Updates,
    mut watch: Stopwatch,
) -> Result<(Vec<Text>, Usage), ApiError> {
    let mut texts = vec![Text::default(); ask.len()];
    let mut usage = Usage::new(ask);
    let mut left = texts.len();
    while left > 0 {
        let Some(update) = updates.recv().await else {
            return Err(ApiError::internal(
                "the answer was given up: too much of it was left unread",
            ));
        };
        usage.count(&update, ask);
        let Some(text) = texts.get_mut(update.sequence) else { continue };
        let end = match update.what {
            What::Prompt { scores, .. } => {
                text.prompt_scores = scores;
                None
            }
            What::Token { id, text: piece, score, end } => {
                watch.token(&app.metrics);
                text.ids.push(id);
                if let Some(score) = score {
                    text.tokens.push(Token { offset: text.chars, score });
                }
                text.chars += piece.chars().count();
                text.text += &piece;
                end
            }
            What::End { text: piece, end } => {
                text.text += &piece;
                Some(end)
            }
            What::Failed(failure) => return Err(failure.into()),
        };
        if let Some(end) = end {
            text.finish = Some(Finish::from(&end));
            text.state = state_of(&end)?;
            left -= 1;
        }
    }
    watch.end(&app.metrics);
    Ok((texts, usage))
}

/// The parts of a stream's options.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamOptions {
    pub stream: bool,
    /// A chunk with the usage at the end.
    pub include_usage: bool,
    /// The usage so far in each chunk.
    pub continuous_usage: bool,
}

impl StreamOptions {
    /// Tokens that a stream keeps at most for a reader who lags; `None` where all are kept to the end.
    pub fn unread(self) -> Option<u64> {
        self.stream.then_some(UNREAD as u64)
    }

    pub fn read(fields: &super::fields::Fields) -> Result<StreamOptions, ApiError> {
        let stream = fields.bool("stream")?.unwrap_or(false);
        let name = "stream_options";
        let Some(options) = fields.object(name)? else {
            return Ok(StreamOptions { stream, ..StreamOptions::default() });
        };
        if !stream {
            return Err(ApiError::field(name, "is for \"stream\": true alone"));
        }
        let continuous_usage = options.bool("continuous_usage_stats")?.unwrap_or(false);
        let include_usage = options.bool("include_usage")?.unwrap_or(false);
        Ok(StreamOptions { stream, include_usage, continuous_usage })
    }
}
