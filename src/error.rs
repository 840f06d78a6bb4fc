//! The library's errors. Each says what was wrong, where, and what would be right.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong. `Display` gives one line, fit to be shown to a user.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation.
    Io {
        /// What was tried, as "cannot open".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not what it should be: not a model file, damaged, or against its own header.
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, naming the tensor, field or offset.
        reason: String,
    },
    /// A model file of a format version that this program does not know.
    Version {
        /// The file.
        path: PathBuf,
        /// The version that the file states.
        found: String,
        /// The versions that this program reads.
        read: &'static str,
    },
    /// A saved state does not belong to the model.
    StateMismatch {
        /// What differs: expected and found.
        reason: String,
    },
    /// A token id outside the vocabulary.
    Token {
        /// The id.
        id: u32,
        /// The size of the vocabulary: ids are below it.
        vocab_size: usize,
    },
    /// A value that is infinite or not a number came up in the forward pass.
    NonFinite {
        /// Where: the layer and the operation.
        place: String,
        /// Which token of its sequence, from 0.
        position: u64,
    },
    /// Sampling options and constraint, taken together, leave no token to choose.
    NoToken {
        /// Which token of its sequence was to be chosen, from 0.
        position: u64,
        /// The size of the vocabulary: so many tokens are banned.
        vocab_size: usize,
        /// What bans them, as "logit bias, suppressed tokens".
        filters: String,
    },
    /// A state whose last forward pass failed.
    PoisonedState,
    /// An instruction set that this CPU, or this build, does not have, or an unknown name of one.
    Isa {
        /// What was asked for.
        name: String,
        /// The ones that would do.
        available: String,
    },
    /// A device that is not there, is too small, or failed.
    Device {
        /// Which, as `cuda:0`.
        device: String,
        /// What is wrong, in one line.
        reason: String,
    },
    /// An option outside its range.
    Option {
        /// Its name.
        name: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The tokenizer cannot be read, or cannot encode or decode.
    Tokenizer {
        /// Why.
        reason: String,
    },
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// For `map_err` on a file operation: `action` as in "cannot open".
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(path: &Path, reason: impl Into<String>) -> Error {
        Error::Invalid { path: path.to_owned(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line(&Plain(self).to_string()).fmt(f)
    }
}

/// The message as it is, whatever was in the file that it is about.
struct Plain<'a>(&'a Error);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Io { action, path, source } => {
                write!(f, "{action} {}: {}", path.display(), IoReason(source))
            }
            Error::Invalid { path, reason } => write!(f, "{}: {reason}", path.display()),
            Error::Version { path, found, read } => write!(
                f,
                "{}: format version {found}, but this program reads version {read}; a newer mmfree may \
                 read it",
                path.display()
            ),
            Error::StateMismatch { reason } => {
                write!(f, "the saved state is not of this model: {reason}")
            }
            Error::Token { id, vocab_size } => {
                write!(
                    f,
                    "token id {id} is outside the vocabulary: ids are 0 to {}",
                    vocab_size - 1
                )
            }
            Error::NonFinite { place, position } => {
                write!(f, "a value is infinite or not a number at token {position} in {place}")
            }
            Error::NoToken { position, vocab_size, filters } => write!(
                f,
                "no token can be chosen at token {position}: all {vocab_size} are banned, by {filters}; one at least \
                 must be left"
            ),
            Error::PoisonedState => {
                write!(f, "this state's last forward pass failed; reset it before it is used again")
            }
            Error::Isa { name, available } => {
                write!(f, "instruction set {name} is not available here; there is: {available}")
            }
            Error::Device { device, reason } => write!(f, "{device}: {reason}"),
            Error::Option { name, reason } => write!(f, "{name}: {reason}"),
            Error::Tokenizer { reason } => write!(f, "tokenizer: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The most characters of a message.
const LINE: usize = 600;

/// A text as one line for a terminal: control characters and those that change the direction of
/// writing are escaped, and a very long text loses its middle. File names and what stands in files
/// may hold anything.
pub struct Line<'a>(pub &'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.chars().count();
        for (i, c) in self.0.chars().enumerate() {
            if count > LINE && i == LINE / 2 {
                f.write_str(" ... ")?;
            }
            if count > LINE && i >= LINE / 2 && i < count - LINE / 2 {
                continue;
            }
            let direction = matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || direction {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

/// A system error without the "(os error 2)" that means nothing to a user.
pub struct IoReason<'a>(pub &'a io::Error);

impl fmt::Display for IoReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let end = text.find(" (os error").unwrap_or(text.len());
        f.write_str(&text[..end])
    }
}

/// A number of bytes with its unit, in powers of 1000.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0;
        match count {
            0..1_000 => write!(f, "{count} B"),
            1_000..1_000_000 => write!(f, "{:.1} kB", count as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", count as f64 / 1e6),
            _ => write!(f, "{:.2} GB", count as f64 / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line_whatever_the_file_holds() {
        let reason = format!("unknown key evil\n\u{1b}[31mRED\u{202E}\r{}", "x".repeat(100_000));
        let text = Error::invalid(Path::new("a\nb.mmfree"), reason).to_string();
        assert!(
            text.starts_with("a\\u{a}b.mmfree: unknown key evil\\u{a}\\u{1b}[31mRED"),
            "{text}"
        );
        assert!(text.chars().count() < 2 * LINE, "{}", text.len());
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202E}'));
        let plain = "ordinary \u{e9}\u{4e2d} text";
        assert_eq!(Line(plain).to_string(), plain);
    }
}
