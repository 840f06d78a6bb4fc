//! Rendering in a process of its own: a template comes with a model, from anywhere, and a dozen lines of one can build a
//! list of billions: minijinja counts steps, not what a step does.

use std::io;

use super::jinja;
#[cfg(not(feature = "fuzzing"))]
use crate::helper::Unanswered;
use crate::helper::{self, Helper};

/// The argument with which the program renders, and does nothing else.
pub const COMMAND: &str = "render-chat-template";

/// Seconds of a processor that one rendering may take.
const SECONDS: u64 = 3;

/// Renders one template.
#[derive(Debug)]
pub struct Worker {
    helper: Helper,
}

impl Worker {
    pub fn new(source: &str) -> Worker {
        Worker { helper: Helper::new(COMMAND, source.to_owned(), SECONDS) }
    }

    /// The text for a context, a JSON object in one line; an error says why there is none.
    pub fn render(&self, context: &str) -> Result<String, String> {
        // A fuzz target cannot start itself once more.
        #[cfg(feature = "fuzzing")]
        return jinja::render(self.helper.setup(), context);
        #[cfg(not(feature = "fuzzing"))]
        self.ask(context)
    }

    #[cfg(not(feature = "fuzzing"))]
    fn ask(&self, context: &str) -> Result<String, String> {
        self.helper.ask(context).map_err(|unanswered| match unanswered {
            Unanswered::Refused(reason) => reason,
            Unanswered::Exhausted { seconds, megabytes } => format!(
                "the chat template takes more than {seconds} s or {megabytes} MB with these messages"
            ),
            Unanswered::Unstarted(error) => {
                format!("the chat template cannot be rendered: {error}")
            }
        })
    }
}

/// What the process does.
///
/// # Errors
/// As [`helper::work`].
pub fn work() -> io::Result<()> {
    helper::work(SECONDS, Ok, |source, context| jinja::render(source, context))
}
