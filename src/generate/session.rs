//! A sequence that grows: a prompt goes in, tokens come out, one by one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::sampler::{Sampler, SamplerOptions};
use crate::error::{Error, Result};
use crate::model::{Model, State, Step, Want};

/// Tokens of a prompt that are fed at a time: so long does it take until a wish to stop is heard.
const CHUNK: usize = 64;

/// One sequence: a model, the state, the ids so far and a sampler.
///
/// A session's ids are ahead of its state: the last one, at least, is *pending*, to be fed when the
/// next token is asked for. How the ids came in, in how many pieces, before or after a save,
/// changes no bit of what follows. A clone is a fork: both go on from here on their own.
///
/// ```
/// # #[cfg(feature = "demo")] {
/// use mmfree::{Limits, Model, ModelFile, Options, SamplerOptions, Session, StopStrings, Tokenizer};
///
/// let model = Model::new(ModelFile::demo()?, &Options::default())?;
/// let tokenizer = Tokenizer::from_file(model.file())?.expect("the demo model has one");
///
/// let sampling = SamplerOptions { temperature: 0.7, top_p: 0.9, seed: 1, ..Default::default() };
/// let mut session = Session::new(&model, sampling)?;
/// session.push(&tokenizer.encode_prompt("Once upon a time")?)?;
///
/// let mut decode = tokenizer.stream_after(session.ids())?;
/// let mut stops = StopStrings::new(vec![".".into()])?;
/// let mut text = String::new();
/// for id in session.generate(&Limits { max_tokens: Some(40), ..Default::default() }) {
///     text += &stops.push(&decode.push(id?)?);
///     if stops.found() {
///         break;
///     }
/// }
/// text += &stops.push(&decode.finish()?);
/// text += &stops.finish();
/// assert!(!text.is_empty() && !text.contains('.'));
/// # }
/// # Ok::<(), mmfree::Error>(())
/// ```
#[derive(Clone)]
pub struct Session {
    model: Arc<Model>,
    state: State,
    ids: Vec<u32>,
    sampler: Sampler,
    /// The ids so far, each once: what the repetition penalty reads.
    distinct: Vec<u32>,
    known: Vec<bool>,
    draws: u64,
    /// Logits behind the last token fed, `[vocab_size]`; empty before the first.
    logits: Vec<f32>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("ids", &self.ids.len())
            .field("pending", &self.pending().len())
            .field("sampler", self.sampler.options())
            .finish_non_exhaustive()
    }
}

/// When [`Session::generate`] ends. The default: never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So many new tokens.
    pub max_tokens: Option<usize>,
    /// A sequence of so many ids, all that went in before counted.
    pub max_length: Option<usize>,
    /// Tokens that end the text, once generated.
    pub eos: Vec<u32>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A token that ends the text.
    Eos,
    /// [`Limits::max_tokens`].
    MaxTokens,
    /// [`Limits::max_length`].
    MaxLength,
}

impl StopReason {
    /// A short name: `eos`, `max_tokens`, `max_length`.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Eos => "eos",
            StopReason::MaxTokens => "max_tokens",
            StopReason::MaxLength => "max_length",
        }
    }
}

impl Session {
    /// An empty session.
    ///
    /// # Errors
    /// [`Error::Option`] for a sampler option out of range.
    pub fn new(model: &Arc<Model>, options: SamplerOptions) -> Result<Session> {
        Ok(Session {
            state: model.new_state(),
            ids: Vec::new(),
            sampler: Sampler::new(options)?,
            distinct: Vec::new(),
            known: vec![false; model.config().vocab_size],
            draws: 0,
            logits: Vec::new(),
            model: Arc::clone(model),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// All ids, given and generated.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The ids that the state has not seen yet.
    pub fn pending(&self) -> &[u32] {
        &self.ids[self.fed()..]
    }

    /// The state, behind the ids that are not pending.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Tokens generated so far, those before a save counted.
    pub fn draws(&self) -> u64 {
        self.draws
    }

    /// How tokens are chosen.
    pub fn sampler_options(&self) -> &SamplerOptions {
        self.sampler.options()
    }

    /// Changes how tokens are chosen from now on.
    ///
    /// # Errors
    /// [`Error::Option`] for one out of range; then nothing changes.
    pub fn set_sampler_options(&mut self, options: SamplerOptions) -> Result<()> {
        self.sampler = Sampler::new(options)?;
        Ok(())
    }

    /// Appends ids: a prompt, or what a user says in between. They are fed when they are needed.
    ///
    /// # Errors
    /// [`Error::Token`] for one outside the vocabulary; then none is appended.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        let vocab_size = self.known.len();
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::Token { id, vocab_size });
        }
        for &id in ids {
            if !std::mem::replace(&mut self.known[id as usize], true) {
                self.distinct.push(id);
            }
        }
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// Feeds the pending ids a chunk at a time, all but the last chunk: the next token needs one
    /// forward pass in any case, which takes that chunk along. Before each chunk `go_on` is told how
    /// many ids are left, and may break off; the session is sound all the same, and goes on where it
    /// was with the next call.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn prefill(
        &mut self,
        mut go_on: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        loop {
            let left = self.pending().len();
            if left > 0 && go_on(left).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if left <= CHUNK {
                return Ok(ControlFlow::Continue(()));
            }
            self.feed(self.fed() + CHUNK, Want::None)?;
        }
    }

    /// Chooses the next token and appends it.
    ///
    /// # Errors
    /// As [`Model::forward`]; [`Error::Option`] where there is no id to go on from.
    pub fn next_token(&mut self) -> Result<u32> {
        let _ = self.prefill(|_| ControlFlow::Continue(()))?;
        if !self.pending().is_empty() {
            self.feed(self.ids.len(), Want::Last)?;
        }
        if self.logits.is_empty() {
            let reason = "is empty, must have one token at least (the BOS token, say)".into();
            return Err(Error::Option { name: "prompt", reason });
        }
        let position = self.ids.len() as u64;
        let id = self.sampler.sample(&self.logits, &self.distinct, position)?;
        self.push(&[id])?;
        self.draws += 1;
        Ok(id)
    }

    /// Generates tokens until a limit is reached. A token that ends the text is the last one given.
    pub fn generate(&mut self, limits: &Limits) -> Generate<'_> {
        Generate { session: self, limits: limits.clone(), count: 0, stop: None, failed: false }
    }

    /// Saves the session to a file, whole or not at all: state, ids, sampler options and the number
    /// of draws.
    ///
    /// # Errors
    /// As [`State::save`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let options = self.sampler.options();
        let extra = [
            ("mmfree.session.draws", self.draws.to_string()),
            ("mmfree.session.seed", options.seed.to_string()),
            ("mmfree.session.temperature", options.temperature.to_string()),
            ("mmfree.session.top_k", options.top_k.to_string()),
            ("mmfree.session.top_p", options.top_p.to_string()),
            ("mmfree.session.min_p", options.min_p.to_string()),
            ("mmfree.session.repeat_penalty", options.repeat_penalty.to_string()),
        ];
        self.state.save_with(path, &extra, &self.ids)
    }

    /// Loads a session that [`save`](Self::save) wrote, to go on as if it had never ended.
    ///
    /// # Errors
    /// [`Error::StateMismatch`] where it belongs to another model, [`Error::Invalid`] where it is
    /// none.
    pub fn load(model: &Arc<Model>, path: &Path) -> Result<Session> {
        let (state, metadata, ids) = State::load_with(path, model.config(), model.file().hash())?;
        let field = Fields { path, metadata: &metadata };
        let options = SamplerOptions {
            temperature: field.get("temperature")?,
            top_k: field.get("top_k")?,
            top_p: field.get("top_p")?,
            min_p: field.get("min_p")?,
            repeat_penalty: field.get("repeat_penalty")?,
            seed: field.get("seed")?,
        };
        let draws = field.get("draws")?;
        if state.position() >= ids.len() as u64 {
            return Err(Error::invalid(
                path,
                format!(
                    "the state has seen {} tokens of {}: none is pending",
                    state.position(),
                    ids.len()
                ),
            ));
        }
        let mut session =
            Session::new(model, options).map_err(|e| Error::invalid(path, e.to_string()))?;
        session.push(&ids)?;
        session.state = state;
        session.draws = draws;
        Ok(session)
    }

    fn fed(&self) -> usize {
        // A state never sees more than the ids there are; `load` checks it.
        (self.state.position() as usize).min(self.ids.len())
    }

    fn feed(&mut self, end: usize, want: Want) -> Result<()> {
        let tokens = &self.ids[self.fed()..end];
        let (state, logits) = (&mut self.state, &mut self.logits);
        self.model.forward(&mut [Step { state, tokens, want, logits, states: None }])
    }
}

/// The metadata of a saved session.
struct Fields<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, String>,
}

impl Fields<'_> {
    fn get<T: FromStr>(&self, name: &str) -> Result<T> {
        let key = format!("mmfree.session.{name}");
        match self.metadata.get(&key) {
            None => Err(Error::invalid(
                self.path,
                format!("a saved state, but not a session: no {key}"),
            )),
            Some(text) => text
                .parse()
                .map_err(|_| Error::invalid(self.path, format!("{key}: not a number in range"))),
        }
    }
}

/// Iterator over the tokens that a session generates; see [`Session::generate`].
#[derive(Debug)]
pub struct Generate<'a> {
    session: &'a mut Session,
    limits: Limits,
    count: usize,
    stop: Option<StopReason>,
    failed: bool,
}

impl Generate<'_> {
    /// Why it ended; `None` while it has not.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop
    }
}

impl Iterator for Generate<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        if self.stop.is_some() || self.failed {
            return None;
        }
        let reached = |limit: Option<usize>, now: usize| limit.is_some_and(|limit| now >= limit);
        if reached(self.limits.max_tokens, self.count) {
            self.stop = Some(StopReason::MaxTokens);
        } else if reached(self.limits.max_length, self.session.ids.len()) {
            self.stop = Some(StopReason::MaxLength);
        }
        if self.stop.is_some() {
            return None;
        }
        let token = self.session.next_token();
        match &token {
            Ok(id) if self.limits.eos.contains(id) => self.stop = Some(StopReason::Eos),
            Ok(_) => self.count += 1,
            Err(_) => self.failed = true,
        }
        Some(token)
    }
}
