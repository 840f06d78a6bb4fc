//! Descriptions from clients are compiled in a process with limits first, and here only once that went well.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use llguidance::ParserFactory;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::compile::{self, Source};
use super::{Compiled, Vocabulary};
use crate::helper::{self, Helper, Unanswered};

/// The argument with which the program compiles, and does nothing else.
pub const COMMAND: &str = "check-response-format";

/// Seconds of a processor that one description may take.
const SECONDS: u64 = 2;

/// Bytes of the stack on which it is compiled: half of what this process's threads have.
const STACK: usize = 1 << 20;

/// Forms that are held at once, those in the queue counted.
const HELD: usize = 64;

/// How long a request waits for those before it to be compiled.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The description cannot be used, for this reason.
    Source(String),
    /// Too many others: it is worth while to come again.
    Busy,
    /// The model's tokenizer is of a kind whose texts cannot be held to a form.
    Tokenizer(String),
}

/// Makes forms of descriptions.
#[derive(Debug)]
pub struct Checker {
    /// Made for the first request that wants a form: others need none of it.
    made: OnceLock<Result<Made, String>>,
    /// One at a time.
    turn: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

#[derive(Debug)]
struct Made {
    vocabulary: Arc<Vocabulary>,
    helper: Helper,
}

/// Leave to compile, and to hold what comes of it.
#[derive(Debug)]
pub struct Turn {
    turn: OwnedSemaphorePermit,
    place: OwnedSemaphorePermit,
}

impl Checker {
    pub fn new() -> Checker {
        let (turn, held) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(HELD)));
        Checker { made: OnceLock::new(), turn, held }
    }

    /// Waits for its turn to compile.
    ///
    /// # Errors
    /// [`Invalid::Busy`] where that takes too long, or too many are held already.
    pub async fn turn(&self) -> Result<Turn, Invalid> {
        let turn = Arc::clone(&self.turn).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, turn).await;
        let place = Arc::clone(&self.held).try_acquire_owned();
        match (turn, place) {
            (Ok(Ok(turn)), Ok(place)) => Ok(Turn { turn, place }),
            _ => Err(Invalid::Busy),
        }
    }

    /// The form of a description; takes a while. `vocabulary` makes that of the model, once.
    ///
    /// # Errors
    /// [`Invalid`]
    pub fn compile(
        &self,
        turn: Turn,
        source: &Source,
        vocabulary: impl FnOnce() -> Result<Vocabulary, String>,
    ) -> Result<Compiled, Invalid> {
        let made = self.made.get_or_init(|| Made::new(vocabulary()?));
        let Made { vocabulary, helper } =
            made.as_ref().map_err(|reason| Invalid::Tokenizer(reason.clone()))?;
        let question = serde_json::to_string(source).unwrap_or_default();
        helper.ask(&question).map_err(|unanswered| match unanswered {
            Unanswered::Refused(reason) => Invalid::Source(reason),
            Unanswered::Exhausted { seconds, megabytes } => Invalid::Source(format!(
                "takes more than {seconds} s, {megabytes} MB or the stack there is to be compiled"
            )),
            Unanswered::Unstarted(error) => Invalid::Source(format!("cannot be compiled: {error}")),
        })?;
        let matcher = compile::compile(vocabulary.factory(), source).map_err(Invalid::Source)?;
        let Turn { turn, place } = turn;
        drop(turn);
        Ok(Compiled { matcher, vocabulary: Arc::clone(vocabulary), _place: place })
    }
}

impl Made {
    fn new(vocabulary: Vocabulary) -> Result<Made, String> {
        let words = serde_json::to_string(vocabulary.words()).map_err(|error| error.to_string())?;
        let helper = Helper::new(COMMAND, words, SECONDS);
        Ok(Made { vocabulary: Arc::new(vocabulary), helper })
    }
}

/// What the process does: reads the tokens' bytes, then descriptions.
///
/// # Errors
/// As [`helper::work`].
pub fn work() -> io::Result<()> {
    let prepare = |words: String| {
        let words: Vec<Vec<u8>> = serde_json::from_str(&words)?;
        compile::factory(&words).map_err(io::Error::other)
    };
    helper::work(SECONDS, prepare, |factory: &ParserFactory, question| {
        let source: Source = serde_json::from_str(question).map_err(|error| error.to_string())?;
        let run = || compile::compile(factory, &source).map(|_| String::new());
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
            let thread = thread.map_err(|error| error.to_string())?;
            thread.join().unwrap_or_else(|_| Err("cannot be compiled".to_owned()))
        })
    })
}
