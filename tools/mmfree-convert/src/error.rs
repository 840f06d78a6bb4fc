//! What can go wrong in a conversion.

use std::fmt;

/// An error of the converter. `Display` gives one line, fit to be shown to a user.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read or written, or is not what it should be.
    File(mmfree::Error),
    /// Options that do not go together with each other or with the input.
    Option(String),
    /// A checkpoint of the Hub that cannot be had.
    Hub {
        /// Its id.
        id: String,
        /// Why, and what would help.
        reason: String,
    },
    /// The work was cancelled; nothing is left behind.
    Cancelled,
}

/// The converter's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<mmfree::Error> for Error {
    fn from(error: mmfree::Error) -> Error {
        Error::File(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(error) => error.fmt(f),
            Error::Option(reason) => f.write_str(reason),
            Error::Hub { id, reason } => write!(f, "{id}: {reason}"),
            Error::Cancelled => f.write_str("interrupted; nothing was written"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::File(error) => Some(error),
            Error::Option(_) | Error::Hub { .. } | Error::Cancelled => None,
        }
    }
}
