//! The engine: one thread that owns the model's batch, and what the rest of the server says to it and hears from it.
//!
//! Nothing asynchronous lies beneath: requests come in by a channel, and what becomes of each goes out by a channel of
//! its own. The batch never waits for a reader.

mod pace;
mod work;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mmfree::{Model, SamplerOptions, Scored, Session, StopReason, TextStream};

use crate::constraint::{FIELDS, Start};
use crate::metrics::Metrics;

/// Updates that wait for a slow reader at most. Some hundred bytes each, more with log-probabilities; a text that has so
/// many tokens unread is given up.
pub const UNREAD: usize = 16_384;

/// How the engine runs.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Sequences that run at once.
    pub parallel: usize,
    /// Requests that wait for their turn.
    pub queue: usize,
    /// Bytes of the prefix cache; 0 for none.
    pub cache: usize,
}

/// One sequence of a request: a prompt and how it is gone on with.
#[derive(Debug)]
pub struct Sequence {
    /// What it goes on from, if not from nothing: a session that a client brought.
    pub session: Option<Brought>,
    /// The ids of the prompt, all in the vocabulary; together with those that the session has not read, one at least.
    pub prompt: Arc<[u32]>,
    /// How tokens are chosen; sound. Shared with others of its request, but for the seed.
    pub sampling: Arc<SamplerOptions>,
    /// The seed of its draws.
    pub seed: u64,
    /// Tokens to text, and when it ends, at the start.
    pub text: Arc<TextStream>,
    /// How many of the likeliest tokens the prompt's scores have, where they are wanted.
    pub score_prompt: Option<usize>,
    /// The same for generated tokens.
    pub score_tokens: Option<usize>,
    /// Whether its session is wanted at its end.
    pub return_session: bool,
    /// The form that its text must have.
    pub form: Option<Start>,
}

/// A session that a client brought, for all texts of its request: each takes a copy when it is its turn.
pub type Brought = Arc<Mutex<Session>>;

/// A request: sequences that are answered together, numbered from 0.
#[derive(Debug)]
pub struct Request {
    /// Its sequences.
    pub sequences: Vec<Sequence>,
    /// Whose prompts it may find in the cache, and leave its own for.
    pub space: u64,
    /// When it is cut off.
    pub deadline: Instant,
}

/// What became of a sequence.
#[derive(Debug)]
pub struct Update {
    /// Which of its request.
    pub sequence: usize,
    /// What became of it.
    pub what: What,
}

/// See [`Update`].
#[derive(Debug)]
pub enum What {
    /// Its prompt has been read: comes once, before any token.
    Prompt {
        /// Ids that the cache had.
        cached: usize,
        /// The prompt's scores from the second id on, where they are wanted.
        scores: Vec<Scored>,
    },
    /// It went on by a token, and may have ended with it.
    Token {
        /// Its id.
        id: u32,
        /// What it adds to the text.
        text: String,
        /// Its score, where it is wanted.
        score: Option<Scored>,
        /// The end of the text, if it has come.
        end: Option<End>,
    },
    /// It ended without another token.
    End {
        /// What was held back of the text.
        text: String,
        /// The end.
        end: End,
    },
    /// It failed: nothing comes after.
    Failed(Failure),
}

/// The end of a text.
#[derive(Debug)]
pub struct End {
    /// Why it came; [`StopReason::Interrupted`] where its time was up.
    pub reason: StopReason,
    /// The sequence as it stands, where it is wanted. It is sound.
    pub session: Option<Box<Session>>,
}

/// Why a sequence failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its time was up before its first token.
    Deadline,
    /// What was asked for cannot be.
    Request(String),
    /// The model could not go on.
    Model(String),
}

impl Failure {
    /// Of a sequence that goes on from a session which its client brought, if `brought`: what the model cannot go on from
    /// is that session.
    fn of(error: mmfree::Error, brought: bool) -> Failure {
        match Failure::from(error) {
            Failure::Model(reason) if brought => Failure::Request(format!("state: {reason}")),
            other => other,
        }
    }
}

impl From<mmfree::Error> for Failure {
    fn from(error: mmfree::Error) -> Failure {
        match error {
            // Its own options ban every token.
            mmfree::Error::NoToken { .. } => Failure::Request(error.to_string()),
            // The form that it asked for costs too much.
            mmfree::Error::Option { name, .. } if FIELDS.contains(&name) => {
                Failure::Request(error.to_string())
            }
            other => Failure::Model(other.to_string()),
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full; it is worth while to come again after so long.
    Busy(Duration),
    /// The server is about to end.
    Ending,
}

/// What requests hear from the engine.
pub type Updates = tokio::sync::mpsc::Receiver<Update>;

/// A request on its way, and where its updates go.
struct Job {
    request: Request,
    updates: tokio::sync::mpsc::Sender<Update>,
}

/// The way to the engine's thread, for all who have requests. The thread ends once the last of these is gone.
#[derive(Clone, Debug)]
pub struct Engine {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
    options: EngineOptions,
}

/// What both sides see.
#[derive(Debug)]
struct Shared {
    /// Requests sent of which no sequence has joined the batch yet.
    waiting: AtomicUsize,
    /// No more requests are taken.
    ending: AtomicBool,
    /// Microseconds that a request took from its first sequence's joining on, about.
    request_micros: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// Starts the thread. A panic on it ends the program, through `failed`: without it nothing would ever be answered.
    ///
    /// # Errors
    /// As starting a thread.
    pub fn start(
        model: &Arc<Model>,
        options: EngineOptions,
        metrics: Arc<Metrics>,
        failed: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Engine> {
        let (jobs, received) = mpsc::channel();
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            request_micros: AtomicU64::new(0),
            metrics,
        });
        let worker = work::Worker::new(model, options, received, Arc::clone(&shared));
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| worker.run());
            if std::panic::catch_unwind(run).is_err() {
                failed();
            }
        })?;
        Ok(Engine { jobs, shared, options })
    }

    /// Hands a request in. It is given up once the receiver of its updates is dropped.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is done.
    pub fn submit(&self, request: Request) -> Result<Updates, Refused> {
        if self.shared.ending.load(Ordering::Relaxed) {
            return Err(Refused::Ending);
        }
        // Beside those that can join at once, as many as the queue holds.
        let room = self.options.queue.max(1);
        let waiting = &self.shared.waiting;
        let taken = waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < room).then_some(n + 1));
        if taken.is_err() {
            return Err(Refused::Busy(self.retry_after()));
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(UNREAD);
        let job = Job { request, updates: sender };
        match self.jobs.send(job) {
            Ok(()) => Ok(receiver),
            Err(_) => {
                waiting.fetch_sub(1, Ordering::Relaxed);
                Err(Refused::Ending)
            }
        }
    }

    /// From now on no request is taken.
    pub fn end(&self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }

    /// Whether [`end`](Self::end) was called.
    pub fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::Relaxed)
    }

    /// About how long the queue takes to have room: a second at least, a minute at most.
    fn retry_after(&self) -> Duration {
        let one = Duration::from_micros(self.shared.request_micros.load(Ordering::Relaxed));
        (one / self.options.parallel as u32).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}
