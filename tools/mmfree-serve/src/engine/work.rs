//! What the engine's thread does.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use mmfree::{
    Batch, Event, Model, PrefixCache, SamplerOptions, Scored, SequenceId, Session, StopReason,
};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::pace::Pace;
use super::{End, EngineOptions, Failure, Job, Sequence, Shared, Update, What};

/// How far a sequence in the batch has come.
struct Active {
    /// Which of its request.
    number: usize,
    updates: Sender<Update>,
    deadline: Instant,
    joined: Instant,
    prompt: usize,
    fed: usize,
    cached: usize,
    /// Whether it goes on from a session that its client brought.
    brought: bool,
    /// Whether its session is wanted at its end.
    return_session: bool,
    /// When its last token came; `None` before the first.
    last: Option<Instant>,
}

impl Active {
    fn end(&self, reason: StopReason, session: Box<Session>) -> End {
        End { reason, session: self.return_session.then_some(session) }
    }
}

/// A request that waits, or some of it.
struct Waiting {
    /// The sequences that have not joined, and their numbers.
    sequences: VecDeque<(usize, Sequence)>,
    space: u64,
    deadline: Instant,
    updates: Sender<Update>,
    /// Whether none of it has joined yet.
    whole: bool,
}

pub struct Worker {
    model: Arc<Model>,
    batch: Batch,
    cached: bool,
    parallel: usize,
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    queue: VecDeque<Waiting>,
    active: HashMap<SequenceId, Active>,
    pace: Pace,
}

impl Worker {
    pub fn new(
        model: &Arc<Model>,
        options: EngineOptions,
        jobs: Receiver<Job>,
        shared: Arc<Shared>,
    ) -> Worker {
        let batch = match options.cache {
            0 => Batch::new(model),
            bytes => Batch::with_cache(model, PrefixCache::new(bytes)),
        };
        Worker {
            model: Arc::clone(model),
            batch,
            cached: options.cache > 0,
            parallel: options.parallel,
            jobs,
            shared,
            queue: VecDeque::new(),
            active: HashMap::new(),
            pace: Pace::new(),
        }
    }

    /// Runs until no one can send a request any more, and all are answered.
    pub fn run(mut self) {
        while self.receive() {
            self.drop_abandoned();
            self.admit();
            if !self.batch.is_empty() {
                self.pass();
            }
            self.report();
        }
    }

    /// Takes in the requests that have come, and waits for one where there is nothing else to do. `false` at the end.
    fn receive(&mut self) -> bool {
        let mut open = true;
        if self.batch.is_empty() && self.queue.is_empty() {
            match self.jobs.recv() {
                Ok(job) => self.enqueue(job),
                Err(_) => return false,
            }
        }
        loop {
            match self.jobs.try_recv() {
                Ok(job) => self.enqueue(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        open || !self.batch.is_empty() || !self.queue.is_empty()
    }

    fn enqueue(&mut self, Job { request, updates }: Job) {
        let sequences = request.sequences.into_iter().enumerate().collect();
        let (space, deadline) = (request.space, request.deadline);
        self.queue.push_back(Waiting { sequences, space, deadline, updates, whole: true });
    }

    /// Gives up what no one waits for any more, and what has run out of time.
    fn drop_abandoned(&mut self) {
        let now = Instant::now();
        let shared = &self.shared;
        self.queue.retain(|waiting| {
            let keep = if waiting.updates.is_closed() {
                shared.metrics.cancelled.inc_by(waiting.sequences.len() as u64);
                false
            } else if waiting.deadline <= now {
                for (number, _) in &waiting.sequences {
                    let what = What::Failed(Failure::Deadline);
                    let _ = waiting.updates.try_send(Update { sequence: *number, what });
                }
                false
            } else {
                true
            };
            if !keep && waiting.whole {
                shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            keep
        });
        let over = |active: &Active| active.updates.is_closed() || active.deadline <= now;
        let keys: Vec<SequenceId> =
            self.active.iter().filter(|(_, active)| over(active)).map(|(key, _)| *key).collect();
        for key in keys {
            let Some(active) = self.active.remove(&key) else { continue };
            if active.updates.is_closed() {
                self.batch.cancel(key);
                self.shared.metrics.cancelled.inc();
                continue;
            }
            let ended = self.batch.interrupt(key);
            let what = match (active.last, ended) {
                (Some(_), Some(Event::Ended { text, reason, session, .. })) => match reason {
                    Ok(reason) => What::End { text, end: active.end(reason, session) },
                    Err(error) => What::Failed(Failure::of(error, active.brought)),
                },
                _ => What::Failed(Failure::Deadline),
            };
            let _ = active.updates.try_send(Update { sequence: active.number, what });
        }
    }

    /// Lets sequences join, the first to come first, while there are places.
    fn admit(&mut self) {
        while self.active.len() < self.parallel
            && let Some(waiting) = self.queue.front_mut()
        {
            if std::mem::replace(&mut waiting.whole, false) {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            let Some((number, sequence)) = waiting.sequences.pop_front() else {
                self.queue.pop_front();
                continue;
            };
            let (updates, deadline, space) =
                (waiting.updates.clone(), waiting.deadline, waiting.space);
            if waiting.sequences.is_empty() {
                self.queue.pop_front();
            }
            self.join(number, sequence, updates, deadline, space);
        }
    }

    fn join(
        &mut self,
        number: usize,
        sequence: Sequence,
        updates: Sender<Update>,
        deadline: Instant,
        space: u64,
    ) {
        let Sequence { session, prompt, sampling, seed, text, return_session, .. } = sequence;
        let sampling = SamplerOptions { seed, ..Arc::unwrap_or_clone(sampling) };
        let text = Arc::unwrap_or_clone(text);
        let brought = session.is_some();
        let mut read = 0;
        let session = match session {
            Some(session) => {
                let mut session = session.lock().unwrap_or_else(PoisonError::into_inner).clone();
                read = session.ids().len() - session.pending().len();
                session.set_sampler_options(sampling).map(|()| session)
            }
            None => Session::new(&self.model, sampling),
        };
        let mut length = 0;
        let joined = session.and_then(|mut session| {
            session.push(&prompt)?;
            length = session.ids().len();
            if let Some(n) = sequence.score_prompt {
                session.score_prompt(n)?;
            }
            session.score_tokens(sequence.score_tokens);
            session.set_constraint(sequence.form.map(|form| form.begin()));
            match self.cached {
                true => self.batch.join_cached(session, text, space),
                false => self.batch.join(session, text),
            }
        });
        match joined {
            Ok(key) => {
                let joined = Instant::now();
                let active = Active {
                    number,
                    updates,
                    deadline,
                    joined,
                    prompt: length,
                    fed: read,
                    // What a session has read need not be read again, as what the cache has.
                    cached: read,
                    brought,
                    return_session,
                    last: None,
                };
                self.active.insert(key, active);
            }
            Err(error) => {
                let what = What::Failed(Failure::of(error, brought));
                let _ = updates.try_send(Update { sequence: number, what });
            }
        }
    }

    fn pass(&mut self) {
        let decoding = self.batch.decoding();
        let budget = self.pace.budget(decoding);
        self.shared.metrics.batch_size.observe(self.batch.len() as f64);
        let start = Instant::now();
        let events = match budget {
            Some(budget) => self.batch.pass(budget),
            None => self.batch.pass_without_prompts(),
        };
        let end = Instant::now();
        let mut prompts = 0;
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            match event {
                Event::Prompt { key, fed, cached, .. } => {
                    if let Some(active) = self.active.get_mut(&key) {
                        // What the cache had comes first, and took no time.
                        if active.cached == 0 && cached > 0 && active.fed == 0 {
                            active.fed = cached;
                        }
                        active.cached = active.cached.max(cached);
                        prompts += fed - active.fed;
                        active.fed = fed;
                    }
                }
                Event::Token { key, id, mut text, score } => {
                    let ended = events.next_if(
                        |next| matches!(next, Event::Ended { key: other, .. } if *other == key),
                    );
                    // One that ends with its first token has left the batch, and took its prompt's scores along.
                    let left = match &ended {
                        Some(Event::Ended { session, .. }) => Some(session.prompt_scores()),
                        _ => None,
                    };
                    prompts += self.prompt_read(key, left);
                    let (mut finish, mut failed) = (None, None);
                    if let Some(Event::Ended { text: rest, reason, session, .. }) = ended {
                        text += &rest;
                        match reason {
                            Ok(reason) => finish = self.end(key, reason, session),
                            Err(error) => failed = Some(self.failure(key, error)),
                        }
                    }
                    self.token_came(key, end);
                    let ended = finish.is_some() || failed.is_some();
                    self.send(key, What::Token { id, text, score, end: finish });
                    if let Some(failure) = failed {
                        self.send(key, What::Failed(failure));
                    }
                    if ended {
                        self.ended(key, end);
                    }
                }
                Event::Ended { key, text, reason, session } => {
                    match reason {
                        Ok(reason) => {
                            let scores = session.prompt_scores();
                            prompts += self.prompt_read(key, Some(scores));
                            if let Some(end) = self.end(key, reason, session) {
                                self.send(key, What::End { text, end });
                            }
                        }
                        Err(error) => {
                            let what = What::Failed(self.failure(key, error));
                            self.send(key, what);
                        }
                    }
                    self.ended(key, end);
                }
            }
        }
        let seconds = (end - start).as_secs_f64();
        self.pace.took(decoding, prompts, seconds);
        self.shared.metrics.prompt_tokens.inc_by(prompts as u64);
    }

    /// The end of a sequence that someone waits for still.
    fn end(&self, key: SequenceId, reason: StopReason, session: Box<Session>) -> Option<End> {
        Some(self.active.get(&key)?.end(reason, session))
    }

    fn failure(&self, key: SequenceId, error: mmfree::Error) -> Failure {
        Failure::of(error, self.active.get(&key).is_some_and(|active| active.brought))
    }

    /// Says, once, that a prompt has been read. `scores` are those of a session that has left the batch. Gives the ids
    /// that were read last.
    fn prompt_read(&mut self, key: SequenceId, scores: Option<&[Scored]>) -> usize {
        let Some(active) = self.active.get_mut(&key) else { return 0 };
        if active.last.is_some() {
            return 0;
        }
        let read = active.prompt.saturating_sub(active.fed);
        active.fed = active.prompt;
        let cached = active.cached;
        let scores = match scores {
            Some(scores) => scores.to_vec(),
            None => {
                self.batch.session(key).map(Session::prompt_scores).unwrap_or_default().to_vec()
            }
        };
        self.send(key, What::Prompt { cached, scores });
        read
    }

    fn token_came(&mut self, key: SequenceId, now: Instant) {
        let metrics = &self.shared.metrics;
        metrics.generated_tokens.inc();
        if let Some(active) = self.active.get_mut(&key)
            && let Some(last) = active.last.replace(now)
        {
            metrics.between_tokens.observe((now - last).as_secs_f64());
        }
    }

    fn ended(&mut self, key: SequenceId, now: Instant) {
        let Some(active) = self.active.remove(&key) else { return };
        let took = (now - active.joined).as_micros() as u64;
        let mean = self.shared.request_micros.load(Ordering::Relaxed);
        let mean = if mean == 0 { took } else { mean - mean / 8 + took / 8 };
        self.shared.request_micros.store(mean, Ordering::Relaxed);
    }

    /// Sends an update; one who has left too many unread is given up.
    fn send(&mut self, key: SequenceId, what: What) {
        let Some(active) = self.active.get(&key) else { return };
        let update = Update { sequence: active.number, what };
        if let Err(TrySendError::Full(_)) = active.updates.try_send(update) {
            self.active.remove(&key);
            self.batch.cancel(key);
            self.shared.metrics.cancelled.inc();
            tracing::warn!("a text was given up: its reader left too much of it unread");
        }
    }

    fn report(&self) {
        let metrics = &self.shared.metrics;
        metrics.active.set(self.active.len() as i64);
        metrics.waiting.set(self.shared.waiting.load(Ordering::Relaxed) as i64);
        if let Some(cache) = self.batch.cache() {
            metrics.set_cache(cache.counts());
        }
    }
}
