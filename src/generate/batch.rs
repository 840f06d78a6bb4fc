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

/// Tokens that must be gained for a prompt to wait for another one that begins alike, or to leave
/// an entry where they part. The places where others part from a prompt are multiples of it, so
/// that it is read in chunks of that many at least.
const WORTH: usize = 16;

/// Tokens of a pass, of all sequences, that are scored at most: each has logits of its own.
const SCORED: usize = 256;

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
        /// Why it ended, or what went wrong. An error is this sequence's own: the others' results
        /// are unchanged.
        reason: Result<StopReason>,
        /// The session, to be gone on with, saved or dropped. After an error it cannot go on.
        session: Box<Session>,
    },
}

/// Sessions that are run together: they join and leave between passes, and each gets the bits that
/// it has alone.
///
/// A pass is one forward pass over all: a token for each sequence that is being written, and
/// prompts, the earliest first, in chunks that fill the rest of a budget of tokens. Nothing happens
/// between passes; a server calls [`pass`](Self::pass) in a loop on a thread of its own.
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
    /// Those that share prompts, while they are read, in the order of their space and ids: those
    /// that begin alike stand together.
    alike: Vec<SequenceId>,
}

#[derive(Debug)]
struct Sequence {
    session: Session,
    text: TextStream,
    /// Whose entries of the cache it sees, and leaves its own in; `None` for neither.
    space: Option<u64>,
    /// Ids of its prompt.
    prompt: usize,
    /// The one before it that begins alike, and the number of ids after which that one leaves its
    /// state.
    leader: Option<(SequenceId, usize)>,
    /// Whether the cache has been asked, which is done when its turn comes: others may have left
    /// something by then.
    asked: bool,
    cached: usize,
    /// Numbers of ids after which its state is kept, rising.
    keep: Vec<usize>,
}

impl Event {
    /// Which sequence it is about.
    pub fn key(&self) -> SequenceId {
        match self {
            Event::Prompt { key, .. } | Event::Token { key, .. } | Event::Ended { key, .. } => *key,
        }
    }
}

impl Sequence {
    fn is_prompt(&self) -> bool {
        self.fed() < self.prompt
    }

    fn fed(&self) -> usize {
        self.session.ids().len() - self.session.pending().len()
    }

    /// Where, `at` ids or a few less from the start, the state is kept; `None` where that has
    /// passed.
    fn place(&mut self, at: usize) -> Option<usize> {
        let fed = self.fed();
        let round = at - at % WORTH;
        let there = self.keep.iter().rev().copied().find(|&there| there <= at && there > fed);
        match there.filter(|&there| there >= round) {
            None if round > fed => {
                self.keep_at(round);
                Some(round)
            }
            there => there,
        }
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
        let (sequences, alike) = (BTreeMap::new(), Vec::new());
        Batch { model: Arc::clone(model), sequences, next: 0, cache: None, alike }
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

    /// Adds a sequence: its pending ids are its prompt, and `text` says when it ends. It sees no
    /// cache.
    ///
    /// # Errors
    /// [`Error::StateMismatch`] for a session of another model, [`Error::Option`] for one that has
    /// no pending id.
    pub fn join(&mut self, session: Session, text: TextStream) -> Result<SequenceId> {
        self.add(session, text, None)
    }

    /// Adds a sequence that uses the cache together with all of the same `space`: what others of it
    /// have read is not read again. No bit of any result depends on it. A session that was loaded
    /// uses none: what it goes on from is its own.
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
        mut text: TextStream,
        space: Option<u64>,
    ) -> Result<SequenceId> {
        self.check(&session)?;
        if session.is_complete() {
            text.end(StopReason::Complete);
        }
        let space = space.filter(|_| self.cache.is_some() && !session.is_loaded());
        let prompt = session.ids().len();
        let (leader, asked, cached, keep) = (None, false, 0, Vec::new());
        let mut sequence = Sequence { session, text, space, prompt, leader, asked, cached, keep };
        if let (Some(_), Some(cache)) = (space, &self.cache) {
            if cache.interval() > 0 {
                (cache.interval()..prompt - 1)
                    .step_by(cache.interval())
                    .for_each(|at| sequence.keep_at(at));
            }
            // One before the end, so that even the whole prompt, come again, has a token to be fed
            // and gives logits.
            sequence.keep_at(prompt - 1);
        }
        let key = self.insert(sequence);
        if space.is_some() {
            self.follow(key);
        }
        Ok(key)
    }

    fn check(&self, session: &Session) -> Result<()> {
        if !Arc::ptr_eq(session.model(), &self.model) {
            let reason = "the session was made with another model than the batch".to_owned();
            return Err(Error::StateMismatch { reason });
        }
        if session.pending().is_empty() {
            let reason = "has no token to go on from, must have one at least".to_owned();
            return Err(Error::Option { name: "prompt", reason });
        }
        Ok(())
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let key = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(key, sequence);
        key
    }

    /// Makes a copy of a sequence as it stands, which goes on on its own once `change` has had its
    /// way with it: another seed, say. `None` where there is no such sequence.
    ///
    /// # Errors
    /// As [`join`](Self::join), for what `change` made of it; then there is no copy.
    pub fn fork(
        &mut self,
        key: SequenceId,
        change: impl FnOnce(&mut Session, &mut TextStream),
    ) -> Result<Option<SequenceId>> {
        let Some(from) = self.sequences.get(&key) else { return Ok(None) };
        let (mut session, mut text) = (from.session.clone(), from.text.clone());
        change(&mut session, &mut text);
        self.check(&session)?;
        // What was pushed is a prompt to be read; a single id is one that was chosen, or the end of
        // one.
        let pushed = session.pending().len() > 1;
        let prompt = if pushed { session.ids().len() } else { from.prompt };
        let (space, keep) = (from.space.filter(|_| !session.is_loaded()), from.keep.clone());
        let copy = Sequence { session, text, space, prompt, leader: None, keep, ..*from };
        Ok(Some(self.insert(copy)))
    }

    /// Takes a sequence out, whatever it was doing; `None` where there is no such one. The session
    /// is sound.
    pub fn cancel(&mut self, key: SequenceId) -> Option<Session> {
        self.leave(key).map(|sequence| sequence.session)
    }

    /// Ends a sequence before its own end, with [`StopReason::Interrupted`]: as in a pass, what was
    /// held back of its text comes out, and its state stays in the cache. `None` where there is no
    /// such one.
    pub fn interrupt(&mut self, key: SequenceId) -> Option<Event> {
        self.sequences.get_mut(&key)?.text.end(StopReason::Interrupted);
        let mut events = Vec::new();
        self.end(key, Ok(StopReason::Interrupted), &mut events);
        events.pop()
    }

    fn leave(&mut self, key: SequenceId) -> Option<Sequence> {
        self.alike.retain(|other| *other != key);
        self.sequences.remove(&key)
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

    /// One forward pass: a token for each sequence that is being written, and as much of prompts as
    /// fits within `budget` tokens besides, one at least. Gives what became of each, in the order
    /// in which they joined.
    pub fn pass(&mut self, budget: usize) -> Vec<Event> {
        let mut events = Vec::new();
        self.end_those_without_work(&mut events);
        let mut work = self.decode();
        // Text that is being written must not stop prompts for good.
        let left = budget.saturating_sub(work.len()).max(1);
        self.read_prompts(left, &mut work, &mut events);
        self.run(work, events)
    }

    /// One forward pass of the sequences that are being written alone; prompts wait. What it takes tells what prompts may
    /// take beside it.
    pub fn pass_without_prompts(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.end_those_without_work(&mut events);
        let work = self.decode();
        self.run(work, events)
    }

    /// A forward pass of so many tokens of these sequences; adds what became of each to `events`.
    fn run(&mut self, work: BTreeMap<SequenceId, usize>, mut events: Vec<Event>) -> Vec<Event> {
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
        // In the order of joining; those of one sequence stay as they came.
        events.sort_by_key(Event::key);
        events
    }

    /// A token of each sequence that is being written, for the next pass.
    fn decode(&self) -> BTreeMap<SequenceId, usize> {
        let decoding = self.sequences.iter().filter(|(_, sequence)| !sequence.is_prompt());
        decoding.map(|(key, _)| (*key, 1)).collect()
    }

    /// Adds tokens of prompts, `left` at most, to the work of the next pass.
    fn read_prompts(
        &mut self,
        mut left: usize,
        work: &mut BTreeMap<SequenceId, usize>,
        events: &mut Vec<Event>,
    ) {
        let mut scored = SCORED;
        let prompts = self.sequences.iter().filter(|(_, sequence)| sequence.is_prompt());
        let prompts: Vec<SequenceId> = prompts.map(|(key, _)| *key).collect();
        for key in prompts {
            if left == 0 {
                break;
            }
            if self.waits(key) {
                continue;
            }
            self.ask_cache(key, events);
            let Some(sequence) = self.sequences.get(&key) else { continue };
            let is_scored = sequence.session.prompt_scores_wanted().is_some();
            let most = if is_scored { left.min(scored) } else { left };
            let pending = sequence.session.pending().len();
            let tokens = sequence.session.most(most).min(sequence.until_kept()).min(pending);
            if tokens > 0 {
                left -= tokens;
                scored -= if is_scored { tokens } else { 0 };
                work.insert(key, tokens);
            }
        }
    }

    /// Finds for a new prompt the one before it that begins most alike, and has it leave its state
    /// where they part: a neighbour among all in the order of their ids, or the one that this
    /// itself waits for.
    fn follow(&mut self, key: SequenceId) {
        let Some(sequence) = self.sequences.get(&key) else { return };
        let (space, ids) = (sequence.space, sequence.session.ids());
        let place = |other: &SequenceId| {
            let other = &self.sequences[other];
            (other.space, other.session.ids()) < (space, ids)
        };
        let at = self.alike.partition_point(place);
        let neighbours = [at.checked_sub(1), Some(at)].into_iter().flatten();
        let neighbours = neighbours.filter_map(|at| self.alike.get(at));
        let shared = neighbours.filter_map(|&other| {
            let its = self.sequences.get(&other).filter(|its| its.space == space)?;
            Some((common(its.session.ids(), ids), other))
        });
        let best = shared.max_by_key(|(shared, _)| *shared);
        let wanted = sequence.session.prompt_scores_wanted();
        // One token less where scores are wanted: that of the first token that differs needs the
        // logits before it.
        let usable =
            |shared: usize| (shared - usize::from(wanted.is_some()).min(shared)).min(ids.len() - 1);
        let best = best.map(|(shared, other)| (usable(shared), other));
        let fresh = sequence.fed() == 0;
        self.alike.insert(at, key);
        let Some((at, mut leader)) = best.filter(|(at, _)| fresh && *at >= WORTH) else { return };
        // Who waits for another until then gets it from there.
        while let Some(&(before, its)) =
            self.sequences.get(&leader).and_then(|leader| leader.leader.as_ref())
            && its >= at
        {
            leader = before;
        }
        let Some(leading) = self.sequences.get_mut(&leader) else { return };
        let scores = leading.session.prompt_scores_wanted();
        if wanted.is_none_or(|n| scores.is_some_and(|scores| scores >= n)) {
            let place = leading.place(at).filter(|&at| at >= WORTH);
            if let (Some(at), Some(sequence)) = (place, self.sequences.get_mut(&key)) {
                sequence.leader = Some((leader, at));
            }
        }
    }

    /// Whether a prompt had better wait: one before it is about to leave a state that saves it some
    /// tokens.
    fn waits(&self, key: SequenceId) -> bool {
        let Some(sequence) = self.sequences.get(&key) else { return false };
        let Some((leader, at)) = sequence.leader.filter(|_| !sequence.asked) else { return false };
        self.sequences.get(&leader).is_some_and(|leader| leader.keep.contains(&at))
    }

    /// Takes the longest beginning of a prompt from the cache, once, and adds to what it leaves
    /// there.
    fn ask_cache(&mut self, key: SequenceId, events: &mut Vec<Event>) {
        let (Some(sequence), Some(cache)) = (self.sequences.get_mut(&key), &mut self.cache) else {
            return;
        };
        let asked = std::mem::replace(&mut sequence.asked, true);
        let Some(space) = sequence.space.filter(|_| !asked && sequence.fed() == 0) else { return };
        let total = sequence.prompt;
        let wanted = sequence.session.prompt_scores_wanted();
        let hit = cache.find(space, sequence.session.ids(), wanted);
        // A cache may have come from a batch of another model.
        if let Some(hit) = hit.filter(|hit| hit.state.same_model(sequence.session.state())) {
            sequence.session.resume(hit);
            sequence.cached = sequence.fed();
            let (fed, cached) = (sequence.fed(), sequence.cached);
            sequence.keep.retain(|&at| at > fed);
            events.push(Event::Prompt { key, fed, total, cached });
        }
        // Where it leaves what is known, others may too.
        let scored = usize::from(wanted.is_some());
        let shared = cache.shared(space, sequence.session.ids());
        let at = shared.saturating_sub(scored).min(total - 1);
        if at >= sequence.fed() + WORTH {
            sequence.place(at);
        }
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
            self.alike.retain(|other| *other != key);
            if sequence.text.stop_reason().is_some() {
                // Only its prompt's scores were wanted.
                return Ok(());
            }
            let id = sequence.session.choose()?;
            let score = sequence.session.token_score()?;
            let (text, failed) = match sequence.text.push(id) {
                Ok(text) => (text, None),
                Err(error) => (String::new(), Some(error)),
            };
            if sequence.session.is_complete() {
                sequence.text.end(StopReason::Complete);
            }
            events.push(Event::Token { key, id, text, score });
            failed.map_or(Ok(()), Err)
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

    /// Ends those whose text is at its end before it began, unless their prompts' scores are
    /// wanted.
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
        let Some(mut sequence) = self.leave(key) else { return };
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
