//! A sequence that grows: a prompt goes in, tokens come out, one by one.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::limits::{Limits, StopReason};
use super::prefix_cache::CacheHit;
use super::sampler::{Constraint, Occurrences, Sampler, SamplerOptions, TokenMask};
use super::scored::Scored;
use crate::error::{Error, Result};
use crate::model::{Model, SavedState, State, Step, Want, saved};
#[cfg(feature = "mmap")]
use crate::storage::{Mapping, write_private};

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
    /// What sampling reads of the ids.
    occurrences: Occurrences,
    /// Spans of `ids` that were generated, in rising order.
    generated: Vec<[u32; 2]>,
    /// What may come next, where that is not everything.
    constraint: Option<Box<dyn Constraint>>,
    draws: u64,
    /// Logits after the last token fed, `[vocab_size]`; empty before the first, and while a prompt is fed.
    logits: Vec<f32>,
    /// How many of the likeliest tokens the prompt's scores have, if they are wanted.
    score_prompt: Option<usize>,
    /// The scores of ids, from the second on.
    prompt_scores: Vec<Scored>,
    /// How many of the likeliest tokens a generated token's score has, if it is wanted.
    score_tokens: Option<usize>,
    /// Whether its state came from a file or from bytes.
    loaded: bool,
    /// Whether that had no checksum.
    unchecked: bool,
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

impl Session {
    /// An empty session.
    ///
    /// # Errors
    /// [`Error::Option`] for a sampler option out of range.
    pub fn new(model: &Arc<Model>, options: SamplerOptions) -> Result<Session> {
        options.check_ids(model.config().vocab_size)?;
        Ok(Session {
            state: model.new_state(),
            ids: Vec::new(),
            sampler: Sampler::new(options)?,
            occurrences: Occurrences::new(),
            generated: Vec::new(),
            constraint: None,
            draws: 0,
            logits: Vec::new(),
            score_prompt: None,
            prompt_scores: Vec::new(),
            score_tokens: None,
            loaded: false,
            unchecked: false,
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
        options.check_ids(self.model.config().vocab_size)?;
        self.sampler = Sampler::new(options)?;
        Ok(())
    }

    /// Sets what may be generated from now on; `None` for everything. It is told of each token that is chosen; ids that are
    /// pushed are its caller's business. It is not saved with the session.
    pub fn set_constraint(&mut self, constraint: Option<Box<dyn Constraint>>) {
        self.constraint = constraint;
    }

    /// Whether a constraint has come to its end, so that nothing may follow.
    pub fn is_complete(&self) -> bool {
        self.constraint.as_ref().is_some_and(|constraint| constraint.is_done())
    }

    /// The tokens that the constraint allows next; `None` without one.
    fn allowed(&mut self) -> Result<Option<TokenMask>> {
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        let mut mask = TokenMask::none(self.model.config().vocab_size);
        constraint.allowed(&mut mask)?;
        Ok(Some(mask))
    }

    /// Appends ids: a prompt, or what a user says in between. They are fed when they are needed.
    ///
    /// # Errors
    /// [`Error::Token`] for one outside the vocabulary; then none is appended.
    pub fn push(&mut self, ids: &[u32]) -> Result<()> {
        let vocab_size = self.model.config().vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::Token { id, vocab_size });
        }
        // The logits that give the first one its score are there only until more is fed.
        if let (Some(n), Some(&id)) = (self.score_prompt, ids.first())
            && self.prompt_scores.len() + 1 == self.ids.len()
            && self.pending().is_empty()
            && !self.logits.is_empty()
        {
            let score = Scored::new(&self.logits, id, self.ids.len() as u64, n)?;
            self.prompt_scores.push(score);
        }
        ids.iter().for_each(|&id| self.occurrences.add_given(id));
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// The next piece of work: pending ids, `budget` of them at most, for [`Model::forward_each`] together with those of
    /// other sessions. `None` where none is pending, or the budget is 0.
    ///
    /// The step's outcome is to be told by [`finish_step`](Self::finish_step). How work is cut changes no bit.
    pub fn next_step(&mut self, budget: usize) -> Option<Step<'_>> {
        let most = self.most(budget);
        let tokens = &self.ids[self.fed()..];
        let want = match self.score_prompt {
            Some(_) if self.scores_next() => Want::All,
            _ if tokens.len() <= most => Want::Last,
            _ => Want::None,
        };
        let tokens = &tokens[..tokens.len().min(most)];
        if tokens.is_empty() {
            return None;
        }
        let (state, logits) = (&mut self.state, &mut self.logits);
        Some(Step { state, tokens, want, logits, states: None })
    }

    /// The most tokens of a step within a budget: where a prompt is scored there are logits for each.
    pub(super) fn most(&self, budget: usize) -> usize {
        if self.score_prompt.is_some() { budget.min(CHUNK) } else { budget }
    }

    /// Whether the tokens fed next are of the part that is scored: all before have been.
    fn scores_next(&self) -> bool {
        self.prompt_scores.len() == self.fed() && self.generated.is_empty()
    }

    /// Takes the outcome of the step that [`next_step`](Self::next_step) gave.
    ///
    /// # Errors
    /// The step's own: then the session cannot go on.
    pub fn finish_step(&mut self, outcome: Result<()>) -> Result<()> {
        outcome?;
        let vocab = self.model.config().vocab_size;
        let Some(n) = self.score_prompt.filter(|_| self.logits.len() >= vocab) else {
            return Ok(());
        };
        let rows = self.logits.len() / vocab;
        let first = self.fed() - rows;
        if self.prompt_scores.len() == first && self.generated.is_empty() {
            for (row, at) in self.logits.chunks_exact(vocab).zip(first + 1..) {
                let Some(&id) = self.ids.get(at) else { break };
                self.prompt_scores.push(Scored::new(row, id, at as u64, n)?);
            }
        }
        // The last row is that of the token to come; without one to come, there is none.
        let keep = if self.pending().is_empty() { vocab } else { 0 };
        self.logits.drain(..self.logits.len() - keep);
        self.logits.shrink_to(vocab);
        Ok(())
    }

    /// Asks for the scores of the prompt, with `n` of the likeliest tokens each. They are made chunk by chunk, while it is
    /// fed.
    ///
    /// # Errors
    /// [`Error::Option`] where some of it has been fed already.
    pub fn score_prompt(&mut self, n: usize) -> Result<()> {
        if self.fed() > 0 {
            let reason = "its first tokens have been fed, must be asked for before".to_owned();
            return Err(Error::Option { name: "prompt scores", reason });
        }
        self.score_prompt = Some(n);
        Ok(())
    }

    /// How many of the likeliest tokens the prompt's scores have, where they are wanted.
    pub fn prompt_scores_wanted(&self) -> Option<usize> {
        self.score_prompt
    }

    /// The scores of the prompt so far, from its second token on: the first has none.
    pub fn prompt_scores(&self) -> &[Scored] {
        &self.prompt_scores
    }

    /// Asks for the scores of generated tokens, with `n` of the likeliest each; `None` for none.
    pub fn score_tokens(&mut self, n: Option<usize>) {
        self.score_tokens = n;
    }

    /// The score of the token that [`choose`](Self::choose) gave last, where it was asked for.
    ///
    /// # Errors
    /// As [`Scored::new`].
    pub fn token_score(&self) -> Result<Option<Scored>> {
        let (Some(n), Some(&id)) = (self.score_tokens, self.ids.last()) else { return Ok(None) };
        let chosen = self.generated.last().is_some_and(|[_, end]| *end as usize == self.ids.len());
        if self.logits.is_empty() || self.pending().len() != 1 || !chosen {
            return Ok(None);
        }
        let position = self.ids.len() as u64 - 1;
        Scored::new(&self.logits, id, position, n).map(Some)
    }

    /// Takes on a state of the first ids from a cache.
    pub(super) fn resume(&mut self, hit: CacheHit) {
        debug_assert!(self.fed() == 0 && hit.state.position() < self.ids.len() as u64);
        self.state = hit.state;
        self.prompt_scores = hit.scores;
        if let Some(n) = self.score_prompt {
            self.prompt_scores.iter_mut().for_each(|score| score.likeliest.truncate(n));
        }
    }

    /// The logits of the token that comes next, or came last: those after the last token fed, `[vocab_size]`. Empty before
    /// the first, and while a prompt is fed.
    pub fn logits(&self) -> &[f32] {
        &self.logits
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
            self.feed(CHUNK)?;
        }
    }

    /// Feeds what is pending, then chooses the next token and appends it.
    ///
    /// # Errors
    /// As [`Model::forward`]; [`Error::Option`] where there is no id to go on from.
    pub fn next_token(&mut self) -> Result<u32> {
        let _ = self.prefill(|_| ControlFlow::Continue(()))?;
        self.feed(CHUNK)?;
        self.choose()
    }

    /// Chooses the next token by the logits and appends it, once nothing is pending.
    ///
    /// # Errors
    /// As [`Sampler::sample`]; [`Error::Option`] where ids are pending, or there are none.
    pub fn choose(&mut self) -> Result<u32> {
        if self.logits.is_empty() || !self.pending().is_empty() {
            let reason = match (self.ids.len(), self.pending().len()) {
                (0, _) => "is empty, must have one token at least (the BOS token, say)".to_owned(),
                (_, 0) => "is empty, but all ids of the saved session have been fed; give one token at least to go \
                           on from"
                    .to_owned(),
                (_, pending) => format!("has {pending} ids that have not been fed"),
            };
            return Err(Error::Option { name: "prompt", reason });
        }
        let allowed = self.allowed()?;
        let context = self.occurrences.context(&self.ids, allowed.as_ref());
        let id = self.sampler.sample(&self.logits, &context)?;
        if let Some(constraint) = &mut self.constraint {
            constraint.take(id)?;
        }
        let at = self.ids.len();
        self.occurrences.add_generated(id);
        self.ids.push(id);
        self.draws = self.draws.saturating_add(1);
        let at = at as u32;
        match self.generated.last_mut() {
            Some([_, end]) if *end == at => *end += 1,
            _ => self.generated.push([at, at + 1]),
        }
        Ok(id)
    }

    /// Generates tokens until a limit is reached. A token that ends the text is the last one given.
    pub fn generate(&mut self, limits: &Limits) -> Generate<'_> {
        Generate { session: self, limits: limits.clone(), count: 0, stop: None, failed: false }
    }

    /// The session as the bytes of a file: state, ids, sampler options, which ids were generated, and the number of draws,
    /// with a checksum over all. Scores and constraints are left out.
    ///
    /// # Errors
    /// [`Error::PoisonedState`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let options = self.sampler.options().to_texts().into_iter();
        let metadata = options
            .chain([(DRAWS, self.draws.to_string())])
            .map(|(name, value)| (format!("{PREFIX}{name}"), value))
            .collect();
        let (ids, generated) = (self.ids.clone(), self.generated.clone());
        saved::to_bytes(&self.state, &saved::Extra { metadata, ids, generated })
    }

    /// Saves the session to a file, whole or not at all; an existing file is replaced.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written, [`Error::PoisonedState`].
    #[cfg(feature = "mmap")]
    pub fn save(&self, path: &Path) -> Result<()> {
        write_private(path, &self.to_bytes()?)
    }

    /// Loads a session that [`save`](Self::save) wrote, to go on as if it had never ended.
    ///
    /// # Errors
    /// [`Error::StateMismatch`] where it belongs to another model, [`Error::Invalid`] where it is
    /// none, or damaged.
    #[cfg(feature = "mmap")]
    pub fn load(model: &Arc<Model>, path: &Path) -> Result<Session> {
        Session::read(model, &Mapping::open(path)?, path)
    }

    /// The session of which [`to_bytes`](Self::to_bytes) gave these bytes.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(model: &Arc<Model>, bytes: &[u8]) -> Result<Session> {
        Session::read(model, bytes, Path::new("the saved session"))
    }

    fn read(model: &Arc<Model>, bytes: &[u8], path: &Path) -> Result<Session> {
        let (state, extra, saved) =
            saved::from_bytes(bytes, path, model.config(), model.file().hash())?;
        let mut options = SamplerOptions::default();
        let mut draws = None;
        for (key, text) in &extra.metadata {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let invalid = |reason: &str| Error::invalid(path, format!("{key}: {reason}"));
            if name == DRAWS {
                draws = Some(text.parse().map_err(|_| invalid("not a number in range"))?);
            } else if !options.set(name, text).map_err(|error| invalid(&error.to_string()))? {
                return Err(invalid("no option of a session"));
            }
        }
        let draws: u64 = draws.ok_or_else(|| {
            Error::invalid(path, format!("a saved state, but not a session: no {PREFIX}{DRAWS}"))
        })?;
        let SavedState { position, checked, .. } = saved;
        let ids = extra.ids.len() as u64;
        if position > ids || draws > ids {
            let reason = format!(
                "the state has seen {position} tokens, {draws} of them drawn, of {ids} ids"
            );
            return Err(Error::invalid(path, reason));
        }
        let mut session =
            Session::new(model, options).map_err(|e| Error::invalid(path, e.to_string()))?;
        // Version 1 did not say which were generated: there, all count as given.
        let mut at = 0;
        for &[from, to] in &extra.generated {
            let (from, to) = (from as usize, to as usize);
            session.push(&extra.ids[at..from])?;
            extra.ids[from..to].iter().for_each(|&id| session.occurrences.add_generated(id));
            session.ids.extend_from_slice(&extra.ids[from..to]);
            at = to;
        }
        session.push(&extra.ids[at..])?;
        session.state = state;
        session.draws = draws;
        (session.loaded, session.unchecked) = (true, !checked);
        session.generated = extra.generated;
        Ok(session)
    }

    /// Whether it was loaded: its state is what a file or a client said, and need not follow from the ids.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether it was loaded from a file of version 1, which has no checksum: damage to it would not have been noticed.
    pub fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    fn fed(&self) -> usize {
        // A state never sees more than the ids there are; `load` checks it.
        (self.state.position() as usize).min(self.ids.len())
    }

    /// Feeds pending ids, `budget` of them at most.
    fn feed(&mut self, budget: usize) -> Result<()> {
        let model = Arc::clone(&self.model);
        let Some(step) = self.next_step(budget) else { return Ok(()) };
        let outcome = model.forward(&mut [step]);
        self.finish_step(outcome)
    }
}

/// What keys of a session's metadata begin with.
const PREFIX: &str = "mmfree.session.";

/// The one that is no option: how many tokens were generated.
const DRAWS: &str = "draws";

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
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }
}

impl Iterator for Generate<'_> {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        if self.stop.is_some() || self.failed {
            return None;
        }
        self.stop = match self.session.is_complete() {
            true => Some(StopReason::Complete),
            false => self.limits.reached(self.count, self.session.ids.len()),
        };
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
