//! Many sequences at once: continuous batching.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::limits::StopReason;
use super::prefix_cache::{PrefixCache, common};
use super::scored::Scored;
use super::session::Session;
use super::text::TextStream;
use crate::error::{Error, Result};
use crate::model::{Model, Step};

/// Tokens that must be gained for a prompt to wait for another one that begins alike, or to leave an entry where they part.
const WORTH: usize = 16;

/// A sequence in a [`Batch`]; later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// What became of a sequence in a pass.
#[derive(Debug)]
pub enum Event {
    /// Some of its prompt was read, or found in the cache.
    Prompt {
        /// Which sequence.
        key: SequenceId,
        /// Ids that its state has seen.
        fed: usize,
        /// Ids of the prompt.
        total: usize,
        /// Ids that did not have to be read, because the cache had them.
        cached: usize,
    },
    /// A token was chosen.
    Token {
        /// Which sequence.
        key: SequenceId,
        /// The token.
        id: u32,
        /// What it adds to the text, often nothing.
        text: String,
        /// Its score, where [`Session::score_tokens`] asked for it.
        score: Option<Scored>,
    },
    /// It has ended, and left the batch.
    Ended {
        /// Which sequence.
        key: SequenceId,
        /// What was held back of its text.
        text: String,
        /// Why it ended, or what went wrong. An error is this sequence's own: the others' results are unchanged.
        reason: Result<StopReason>,
        /// The session, to be gone on with, saved or dropped. After an error it cannot go on.
        session: Box<Session>,
    },
}

/// Sessions that are run together: they join and leave between passes, and each gets the bits that it has alone.
///
/// A pass is one forward pass over all: a token for each sequence that is being written, and prompts, the earliest
/// first, in chunks that fill the rest of a budget of tokens. Nothing happens between passes; a server calls
/// [`pass`](Self::pass) in a loop on a thread of its own.
///
/// ```
/// # #[cfg(feature = "demo")] {
/// use mmfree::{Batch, Event, Limits, Model, ModelFile, Options, SamplerOptions, Session, StopStrings, TextStream, Tokenizer};
///
/// let model = Model::new(ModelFile::demo()?, &Options::default())?;
/// let tokenizer = Tokenizer::from_file(model.file())?.expect("the demo model has one");
/// let mut batch = Batch::new(&model);
/// for prompt in ["Once upon a time", "The king"] {
///     let mut session = Session::new(&model, SamplerOptions::default())?;
///     session.push(&tokenizer.encode_prompt(prompt)?)?;
///     let decode = tokenizer.stream_after(session.ids())?;
///     let limits = Limits { max_tokens: Some(10), ..Default::default() };
///     let length = session.ids().len();
///     batch.join(session, TextStream::new(Some(decode), StopStrings::new(vec![])?, limits, length))?;
/// }
/// let mut ended = 0;
/// while !batch.is_empty() {
///     for event in batch.pass(64) {
///         ended += usize::from(matches!(event, Event::Ended { reason: Ok(_), .. }));
///     }
/// }
/// assert_eq!(ended, 2);
/// # }
/// # Ok::<(), mmfree::Error>(())
/// ```
pub struct Batch {
    model: Arc<Model>,
    /// In the order in which they joined.
    sequences: BTreeMap<SequenceId, Sequence>,
    next: u64,
    cache: Option<PrefixCache>,
}

#[derive(Debug)]
struct Sequence {
    session: Session,
    text: TextStream,
    /// Whose entries of the cache it sees, and leaves its own in; `None` for neither.
    space: Option<u64>,
    /// Ids of its prompt.
    prompt: usize,
    /// Whether those before it know where it parts from them.
    parted: bool,
    /// Whether the cache has been asked, which is done when its turn comes: others may have left something by then.
    asked: bool,
    cached: usize,
    /// Numbers of ids after which its state is kept, rising.
    keep: Vec<usize>,
}

impl Sequence {
    fn is_prompt(&self) -> bool {
        self.fed() < self.prompt
    }

    fn fed(&self) -> usize {
        self.session.ids().len() - self.session.pending().len()
    }

    /// Adds a number of ids after which the state is to be kept, if it is still to come.
    fn keep_at(&mut self, ids: usize) {
        if ids > self.fed()
            && let Err(at) = self.keep.binary_search(&ids)
        {
            self.keep.insert(at, ids);
        }
    }

    /// Ids to be fed until the state is to be kept.
    fn until_kept(&self) -> usize {
        let fed = self.fed();
        self.keep.iter().find(|&&at| at > fed).map_or(usize::MAX, |at| at - fed)
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("sequences", &self.sequences)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// An empty batch without a cache.
    pub fn new(model: &Arc<Model>) -> Batch {
        Batch { model: Arc::clone(model), sequences: BTreeMap::new(), next: 0, cache: None }
    }

    /// The same with a cache of prompts.
    pub fn with_cache(model: &Arc<Model>, cache: PrefixCache) -> Batch {
        Batch { cache: Some(cache), ..Batch::new(model) }
    }

    /// The cache.
    pub fn cache(&self) -> Option<&PrefixCache> {
        self.cache.as_ref()
    }

    /// The cache, to be changed.
    pub fn cache_mut(&mut self) -> Option<&mut PrefixCache> {
        self.cache.as_mut()
    }

    /// Adds a sequence: its pending ids are its prompt, and `text` says when it ends. It sees no cache.
    ///
    /// # Errors
    /// [`Error::StateMismatch`] for a session of another model, [`Error::Option`] for one that has no pending id.
    pub fn join(&mut self, session: Session, text: TextStream) -> Result<SequenceId> {
        self.add(session, text, None)
    }

    /// Adds a sequence that uses the cache together with all of the same `space`: what others of it have read is not read
    /// again. No bit of any result depends on it.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_cached(
        &mut self,
        session: Session,
        text: TextStream,
        space: u64,
    ) -> Result<SequenceId> {
        self.add(session, text, Some(space))
    }

    fn add(
        &mut self,
        session: Session,
        text: TextStream,
        space: Option<u64>,
    ) -> Result<SequenceId> {
        if !Arc::ptr_eq(session.model(), &self.model) {
            let reason = "the session was made with another model than the batch".to_owned();
            return Err(Error::StateMismatch { reason });
        }
        if session.pending().is_empty() {
            let reason = "has no token to go on from, must have one at least".to_owned();
            return Err(Error::Option { name: "prompt", reason });
        }
        let key = SequenceId(self.next);
        self.next += 1;
        let (prompt, keep) = (session.ids().len(), Vec::new());
        let (parted, asked, cached) = (false, false, 0);
        let sequence = Sequence { session, text, space, prompt, parted, asked, cached, keep };
        self.sequences.insert(key, sequence);
        Ok(key)
    }

    /// Makes a copy of a sequence as it stands, which goes on on its own once `change` has had its way with it: another
    /// seed, say. `None` where there is no such sequence.
    pub fn fork(
        &mut self,
        key: SequenceId,
        change: impl FnOnce(&mut Session),
    ) -> Option<SequenceId> {
        let from = self.sequences.get(&key)?;
        let mut session = from.session.clone();
        change(&mut session);
        let copy = Sequence { session, text: from.text.clone(), keep: from.keep.clone(), ..*from };
        let key = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(key, copy);
        Some(key)
    }

    /// Takes a sequence out, whatever it was doing; `None` where there is no such one. The session is sound.
    pub fn cancel(&mut self, key: SequenceId) -> Option<Session> {
        self.sequences.remove(&key).map(|sequence| sequence.session)
    }

    /// Ends a sequence before its own end, with [`StopReason::Interrupted`]: as in a pass, what was held back of its text
    /// comes out, and its state stays in the cache. `None` where there is no such one.
    pub fn interrupt(&mut self, key: SequenceId) -> Option<Event> {
        self.sequences.get_mut(&key)?.text.end(StopReason::Interrupted);
        let mut events = Vec::new();
        self.end(key, Ok(StopReason::Interrupted), &mut events);
        events.pop()
    }

    /// A sequence's session.
    pub fn session(&self, key: SequenceId) -> Option<&Session> {
        self.sequences.get(&key).map(|sequence| &sequence.session)
    }

    /// Sequences in it.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Sequences whose prompt has been read.
    pub fn decoding(&self) -> usize {
        self.sequences.values().filter(|sequence| !sequence.is_prompt()).count()
    }

    /// One forward pass: a token for each sequence that is being written, and as much of prompts as fits within `budget`
    /// tokens besides, one at least. Gives what became of each, in the order in which they joined.
    pub fn pass(&mut self, budget: usize) -> Vec<Event> {
        let mut events = Vec::new();
        self.end_those_without_work(&mut events);
        let work = self.plan(budget, &mut events);
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(work.len());
        let mut keys = Vec::with_capacity(work.len());
        for (key, sequence) in &mut self.sequences {
            if let Some(&tokens) = work.get(key)
                && let Some(step) = sequence.session.next_step(tokens)
            {
                steps.push(step);
                keys.push(*key);
            }
        }
        let outcomes = self.model.forward_each(&mut steps);
        drop(steps);
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            self.finish(key, outcome, &mut events);
        }
        events
    }

    /// How many tokens of which sequence go into the next pass.
    fn plan(&mut self, budget: usize, events: &mut Vec<Event>) -> BTreeMap<SequenceId, usize> {
        let mut work = BTreeMap::new();
        let decoding = self.sequences.iter().filter(|(_, sequence)| !sequence.is_prompt());
        work.extend(decoding.map(|(key, _)| (*key, 1)));
        // Text that is being written must not stop prompts for good.
        let mut left = budget.saturating_sub(work.len()).max(1);
        let prompts = self.sequences.iter().filter(|(_, sequence)| sequence.is_prompt());
        let prompts: Vec<SequenceId> = prompts.map(|(key, _)| *key).collect();
        for (n, &key) in prompts.iter().enumerate() {
            self.part_from(key, &prompts[..n]);
        }
        for (n, &key) in prompts.iter().enumerate() {
            if left == 0 {
                break;
            }
            if self.waits(key, &prompts[..n]) {
                continue;
            }
            self.ask_cache(key, events);
            let Some(sequence) = self.sequences.get(&key) else { continue };
            let pending = sequence.session.pending().len();
            let tokens = sequence.session.most(left).min(sequence.until_kept()).min(pending);
            left -= tokens;
            work.insert(key, tokens);
        }
        work
    }

    /// Where a new prompt parts from those before it, they are to leave their state.
    fn part_from(&mut self, key: SequenceId, before: &[SequenceId]) {
        let Some(sequence) = self.sequences.get_mut(&key) else { return };
        let parted = std::mem::replace(&mut sequence.parted, true);
        let fresh = !parted && sequence.fed() == 0;
        let (Some(space), true, true) = (sequence.space, fresh, self.cache.is_some()) else {
            return;
        };
        let Some(sequence) = self.sequences.get(&key) else { return };
        let ids: Vec<(SequenceId, usize)> = before
            .iter()
            .filter_map(|other| Some((*other, self.sequences.get(other)?)))
            .filter(|(_, other)| other.space == Some(space))
            .map(|(other, its)| (other, common(its.session.ids(), sequence.session.ids())))
            .collect();
        let last = sequence.session.ids().len() - 1;
        let scored = usize::from(sequence.session.prompt_scores_wanted().is_some());
        for (other, shared) in ids {
            // One token less where scores are wanted: that of the first token that differs needs the logits before it.
            let at = (shared - scored.min(shared)).min(last);
            if let Some(other) = self.sequences.get_mut(&other)
                && at >= other.fed() + WORTH
            {
                other.keep_at(at);
            }
        }
    }

    /// Whether a prompt had better wait: one before it is about to leave a state that saves it some tokens.
    fn waits(&self, key: SequenceId, before: &[SequenceId]) -> bool {
        let Some(sequence) = self.sequences.get(&key) else { return false };
        let (Some(space), false) = (sequence.space, sequence.asked) else { return false };
        if self.cache.is_none() || sequence.fed() > 0 {
            return false;
        }
        let wanted = sequence.session.prompt_scores_wanted();
        let last = sequence.session.ids().len() - 1;
        before.iter().filter_map(|other| self.sequences.get(other)).any(|other| {
            let scores = other.session.prompt_scores_wanted();
            let serves = wanted.is_none_or(|n| scores.is_some_and(|scores| scores >= n));
            let shared = common(other.session.ids(), sequence.session.ids());
            let usable = (shared - usize::from(wanted.is_some()).min(shared)).min(last);
            let fed = other.fed();
            let next = other.keep.iter().rev().find(|&&at| at <= usable && at > fed);
            other.space == Some(space) && serves && next.is_some_and(|&at| at >= WORTH)
        })
    }

    /// Takes the longest beginning of a prompt from the cache, once, and decides what it leaves there.
    fn ask_cache(&mut self, key: SequenceId, events: &mut Vec<Event>) {
        let (Some(sequence), Some(cache)) = (self.sequences.get_mut(&key), &mut self.cache) else {
            return;
        };
        let (Some(space), false) = (sequence.space, std::mem::replace(&mut sequence.asked, true))
        else {
            return;
        };
        let total = sequence.prompt;
        let fresh = sequence.fed() == 0;
        if fresh {
            let wanted = sequence.session.prompt_scores_wanted();
            if let Some(hit) = cache.find(space, sequence.session.ids(), wanted) {
                sequence.session.resume(hit);
                sequence.cached = sequence.fed();
                let (fed, cached) = (sequence.fed(), sequence.cached);
                events.push(Event::Prompt { key, fed, total, cached });
            }
            // Where it leaves what is known, others may too.
            let scored = usize::from(wanted.is_some());
            let shared = cache.shared(space, sequence.session.ids());
            let at = shared.saturating_sub(scored).min(total - 1);
            if at >= sequence.fed() + WORTH {
                sequence.keep_at(at);
            }
        }
        let interval = cache.interval();
        if interval > 0 {
            for at in (interval..total - 1).step_by(interval) {
                sequence.keep_at(at);
            }
        }
        // One before the end, so that even the whole prompt, come again, has a token to be fed and gives logits.
        sequence.keep_at(total - 1);
    }

    /// Takes in what a step gave.
    fn finish(&mut self, key: SequenceId, outcome: Result<()>, events: &mut Vec<Event>) {
        let Some(sequence) = self.sequences.get_mut(&key) else { return };
        let outcome = sequence.session.finish_step(outcome);
        let result = outcome.and_then(|()| {
            let fed = sequence.fed();
            if sequence.keep.first().is_some_and(|&at| at <= fed) {
                sequence.keep.retain(|&at| at > fed);
                remember(&mut self.cache, sequence)?;
            }
            if !sequence.session.pending().is_empty() {
                let (total, cached) = (sequence.prompt, sequence.cached);
                events.push(Event::Prompt { key, fed, total, cached });
                return Ok(());
            }
            if sequence.text.stop_reason().is_some() {
                // Only its prompt's scores were wanted.
                return Ok(());
            }
            let id = sequence.session.choose()?;
            let score = sequence.session.token_score()?;
            let text = sequence.text.push(id)?;
            if sequence.session.is_complete() {
                sequence.text.end(StopReason::Complete);
            }
            events.push(Event::Token { key, id, text, score });
            Ok(())
        });
        let ended = sequence.session.pending().is_empty() || !sequence.is_prompt();
        match result {
            Err(error) => self.end(key, Err(error), events),
            Ok(()) if !ended => {}
            Ok(()) => {
                if let Some(reason) = sequence.text.stop_reason().cloned() {
                    self.end(key, Ok(reason), events);
                }
            }
        }
    }

    /// Ends those whose text is at its end before it began, unless their prompts' scores are wanted.
    fn end_those_without_work(&mut self, events: &mut Vec<Event>) {
        let idle: Vec<(SequenceId, StopReason)> = self
            .sequences
            .iter()
            .filter(|(_, sequence)| sequence.session.prompt_scores_wanted().is_none())
            .filter_map(|(key, sequence)| Some((*key, sequence.text.stop_reason()?.clone())))
            .collect();
        for (key, reason) in idle {
            self.end(key, Ok(reason), events);
        }
    }

    fn end(&mut self, key: SequenceId, reason: Result<StopReason>, events: &mut Vec<Event>) {
        let Some(mut sequence) = self.sequences.remove(&key) else { return };
        let mut reason = reason;
        let mut text = String::new();
        if reason.is_ok() {
            // The end of a turn, from which the next one may go on.
            match remember(&mut self.cache, &mut sequence).and_then(|()| sequence.text.finish()) {
                Ok(rest) => {
                    text = rest;
                    // The rest may have held a stop string.
                    reason = sequence.text.stop_reason().cloned().map_or(reason, Ok);
                }
                Err(error) => reason = Err(error),
            }
        }
        events.push(Event::Ended { key, text, reason, session: Box::new(sequence.session) });
    }
}

/// Leaves a sequence's state in the cache, if it uses it.
fn remember(cache: &mut Option<PrefixCache>, sequence: &mut Sequence) -> Result<()> {
    let (Some(cache), Some(space)) = (cache, sequence.space) else { return Ok(()) };
    let session = &sequence.session;
    if session.state().position() == 0 {
        return Ok(());
    }
    let scores = session.prompt_scores_wanted().map(|_| session.prompt_scores());
    cache.insert(space, session.ids(), session.state(), scores)
}
