//! API keys: which there are, and whose a request's is.

use std::path::Path;

use mmfree::Error;
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// The keys of a file, one in each line. Only their hashes are kept.
#[derive(Debug)]
pub struct Keys {
    hashes: Vec<[u8; 32]>,
}

impl Keys {
    /// Reads a file of keys: one in each line, empty lines and those that begin with `#` left out.
    ///
    /// # Errors
    /// Where it cannot be read, holds none, or one that no header could carry.
    pub fn read(path: &Path) -> Result<Keys, Failure> {
        let text = std::fs::read_to_string(path).map_err(Error::io("cannot read", path))?;
        let mut hashes = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Failure::Message(format!(
                    "{}: line {}: a key is made of visible ASCII characters, without spaces",
                    path.display(),
                    n + 1
                )));
            }
            hashes.push(hash(key));
        }
        if hashes.is_empty() {
            let path = path.display();
            return Err(Failure::Message(format!(
                "{path}: no key in it, must have one in a line at least"
            )));
        }
        Ok(Keys { hashes })
    }

    /// Which key this is. The time it takes tells nothing of the keys: hashes are compared, all of each, and with all.
    pub fn find(&self, key: &str) -> Option<usize> {
        let key = hash(key);
        let mut found = None;
        for (n, known) in self.hashes.iter().enumerate() {
            let differs = known.iter().zip(&key).fold(0, |all, (a, b)| all | (a ^ b));
            if std::hint::black_box(differs) == 0 {
                found = Some(n);
            }
        }
        found
    }
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Keys, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Keys::read(file.path())
    }

    #[test]
    fn each_line_is_a_key_but_for_empty_ones_and_comments() {
        let keys = keys("# of the house\n\nalpha\n  beta  \r\n").unwrap();
        assert_eq!(keys.find("alpha"), Some(0));
        assert_eq!(keys.find("beta"), Some(1));
        for none in ["", "alph", "alphabeta", "# of the house", "beta "] {
            assert_eq!(keys.find(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_file_without_a_key_or_with_an_unusable_one_is_an_error() {
        for (text, said) in [("", "no key"), ("# none\n", "no key"), ("a\nb c\n", "line 2")] {
            let Err(Failure::Message(message)) = keys(text) else { panic!("{text:?}") };
            assert!(message.contains(said), "{message}");
        }
    }
}
