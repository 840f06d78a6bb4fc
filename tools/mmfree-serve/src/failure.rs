//! How the program ends where it does not end well.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Exit code for what was typed wrongly, that of clap.
const USAGE: u8 = 2;

/// Why the program ends.
#[derive(Debug)]
pub enum Failure {
    /// What went wrong.
    Message(String),
    /// Something was typed wrongly that only shows once the arguments are put together.
    Usage(String),
}

impl From<mmfree::Error> for Failure {
    fn from(error: mmfree::Error) -> Failure {
        Failure::Message(error.to_string())
    }
}

impl Failure {
    /// Says what went wrong, in one line, and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        let (message, code) = match self {
            Failure::Message(message) => (message, ExitCode::FAILURE),
            Failure::Usage(message) => (message, ExitCode::from(USAGE)),
        };
        say(&format!("error: {message}"));
        code
    }
}

/// Writes a line to stderr; where that fails there is no one left to tell.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What the last panic said.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Runs the program; a panic, which is a bug, ends in one line like any other failure. Panics of libraries that `mmfree`
/// contains and turns into errors are not shown.
pub fn contain(run: impl FnOnce() -> Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(bug()))
}

/// The failure after a panic.
pub fn bug() -> Failure {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    Failure::Message(format!("a bug in mmfree-serve, please report it: {last}"))
}
