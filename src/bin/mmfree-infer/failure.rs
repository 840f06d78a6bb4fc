//! How the program ends where it does not end well.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use mmfree::error::IoReason;

use crate::report::say;

/// Exit code for what was typed wrongly, that of clap.
const USAGE: u8 = 2;

/// Why the program ends.
#[derive(Debug)]
pub enum Failure {
    /// An error to tell.
    Error(mmfree::Error),
    /// The same, of the command line's own.
    Message(String),
    /// Something was typed wrongly that only shows once the arguments are put together.
    Usage(String),
    /// A signal with this number; everything there is to say has been said.
    Interrupted(u8),
    /// Whoever read our output has seen enough.
    ClosedPipe,
}

/// For a prompt that is no token at all: a model needs one to begin with.
pub fn no_prompt() -> Failure {
    let reason = "the prompt is empty, and the model has no BOS token to begin with; give a text";
    Failure::Usage(reason.into())
}

impl From<mmfree::Error> for Failure {
    fn from(error: mmfree::Error) -> Failure {
        Failure::Error(error)
    }
}

impl Failure {
    /// For `map_err` on writes to stdout.
    pub fn stdout(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Message(format!("cannot write to stdout: {}", IoReason(&error))),
        }
    }

    /// Says what went wrong, in one line, and gives the exit code.
    pub fn tell(&self) -> ExitCode {
        let message = match self {
            Failure::Error(error) => error.to_string(),
            Failure::Message(message) => message.clone(),
            Failure::Usage(message) => message.clone(),
            // As shells have it.
            Failure::Interrupted(signal) => return ExitCode::from(128 + signal),
            Failure::ClosedPipe => return ExitCode::SUCCESS,
        };
        say(&format!("error: {message}"));
        match self {
            Failure::Usage(_) => ExitCode::from(USAGE),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs the program; a panic, which is a bug, ends in one line like any other failure. Panics of
/// libraries that `mmfree` contains and turns into errors are not shown.
pub fn contain(run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Failure::Message(format!("a bug in mmfree-infer, please report it: {last}")))
    })
}

/// Reads a whole UTF-8 file; `-` is stdin. A byte order mark at its beginning is none of the text.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let (bytes, name) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut bytes)
            .map_err(|e| Failure::Message(format!("cannot read stdin: {}", IoReason(&e))))?;
        (bytes, "stdin".to_owned())
    } else {
        let bytes = std::fs::read(path).map_err(mmfree::Error::io("cannot read", path))?;
        (bytes, path.display().to_string())
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Message(format!("{name}: not UTF-8 text: byte {at} is no part of a character"))
    })?;
    Ok(text.strip_prefix('\u{FEFF}').map_or_else(|| text.clone(), str::to_owned))
}
