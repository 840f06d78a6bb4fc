//! Small JSON files of a checkpoint, read with suspicion.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use mmfree::Error;
use mmfree::format::{FileKind, shown, standard_json};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::text::clip;

/// The most that a small file may hold. Real ones have some KB; the index of a large model, some
/// hundred.
const MAX_LEN: u64 = 16 << 20;

/// The text of a small file; `None` where there is no such file.
///
/// # Errors
/// A file that cannot be read, is larger than 16 MiB or is not UTF-8.
pub fn read_text(path: &Path) -> mmfree::Result<Option<String>> {
    if !is_there(path)? {
        return Ok(None);
    }
    if !std::fs::metadata(path).map_err(Error::io("cannot open", path))?.is_file() {
        return Err(Error::invalid(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(Error::io("cannot open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_LEN + 1).read_to_end(&mut bytes).map_err(Error::io("cannot read", path))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(Error::invalid(path, format!("is larger than {MAX_LEN} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let known = FileKind::of(error.as_bytes()).map(|kind| mistaken(&kind, "JSON"));
        Error::invalid(path, known.unwrap_or_else(|| "is not UTF-8 text".to_owned()))
    })?;
    Ok(Some(text))
}

/// Whether there is a file, or anything else, at `path`.
///
/// # Errors
/// A link that leads nowhere: it was meant to be a file, and must not count as none.
pub fn is_there(path: &Path) -> mmfree::Result<bool> {
    match (std::fs::metadata(path), std::fs::read_link(path)) {
        (Ok(_), _) => Ok(true),
        (Err(error), Ok(target)) if error.kind() == std::io::ErrorKind::NotFound => {
            let target = clip(&target.display().to_string());
            Err(Error::invalid(path, format!("is a link to {target}, which is missing")))
        }
        (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        (Err(error), _) => Err(Error::io("cannot open", path)(error)),
    }
}

/// Checks that `bytes` are JSON in UTF-8, without keeping any of it.
///
/// # Errors
/// What they are in its place, or what is wrong, and where.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let is_json = |kind: &FileKind| matches!(kind, FileKind::Checkpoint(_) | FileKind::Json);
    let known = || {
        let kind = FileKind::of(bytes).filter(|kind| !is_json(kind))?;
        Some(mistaken(&kind, "JSON"))
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|e| known().unwrap_or_else(|| format!("is not UTF-8 text: {e}")))?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|e| known().unwrap_or_else(|| format!("is not valid JSON: {e}")))?;
    // An answer of a server may be JSON too, {"error": "not found"}, and is short then.
    let is_answer = text.len() <= 1 << 10
        && text.trim_start().starts_with('{')
        && matches!(FileKind::of(bytes), Some(FileKind::Answer(_)));
    if is_answer { known().map_or(Ok(()), Err) } else { Ok(()) }
}

/// Says what a file is in place of what is `needed`, and what would be right.
pub fn mistaken(kind: &FileKind, needed: &str) -> String {
    let separator = if kind.remedy().is_empty() { "" } else { ": " };
    format!("is {kind}, not {needed}{separator}{}", kind.remedy())
}

/// A JSON object, each key once.
#[derive(Debug, Default, Deserialize)]
pub struct Object(Unique<Value>);

/// The entries of a JSON object, each key once.
#[derive(Debug, Default)]
pub struct Unique<V>(pub BTreeMap<String, V>);

impl Object {
    /// Parses an object as Python writes it.
    ///
    /// # Errors
    /// Text that is not JSON, not an object, or has a key twice.
    pub fn parse(text: &str) -> Result<Object, String> {
        serde_json::from_str(&standard_json(text))
            .map_err(|e| format!("is not valid: {}", clip(&e.to_string())))
    }

    /// The value of `key`; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.value(key).filter(|value| !value.is_null())
    }

    /// The value of `key`, be it null; `None` where it is absent.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.0.get(key)
    }

    /// Whether `key` stands there, be it as null.
    pub fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.0.keys().map(String::as_str)
    }

    /// A whole number, or `default` where it is absent or null.
    ///
    /// # Errors
    /// Another kind of value, or one below 0 or too large.
    pub fn whole(&self, key: &str, default: usize) -> Result<usize, String> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = whole(value).and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| wrong(key, value, "a whole number, 0 or more"))
    }

    /// A number, with a fraction or without one; `None` where it is absent or null.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| wrong(key, value, "a number"))
    }

    /// A switch; absent is `default`, and null is false as it is in Python.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn switch(&self, key: &str, default: bool) -> Result<bool, String> {
        let Some(value) = self.get(key) else { return Ok(default && !self.has(key)) };
        value.as_bool().ok_or_else(|| wrong(key, value, "true or false"))
    }

    /// A text; `None` where it is absent or null.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn text(&self, key: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(key, value, "a text"))
    }

    /// Token ids, one or a list; empty where they are absent or null.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn token_ids(&self, key: &str) -> Result<Vec<u32>, String> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let id = |value: &Value| whole(value).and_then(|id| u32::try_from(id).ok());
        let ids = match value {
            Value::Array(list) => list.iter().map(id).collect(),
            one => id(one).map(|id| vec![id]),
        };
        ids.ok_or_else(|| wrong(key, value, "a token id or a list of them"))
    }
}

/// A whole number, be it written as a float, as 64.0: up to 2^53, where every float is one.
fn whole(value: &Value) -> Option<u64> {
    let is_whole =
        |number: &f64| number.fract() == 0.0 && (0.0..=9007199254740992.0).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(is_whole).map(|number| number as u64))
}

/// A message about a value: what it is, and what it must be.
pub fn wrong(key: &str, value: &Value, right: &str) -> String {
    format!("{key} is {}, must be {right}", clip(&shown(value)))
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Unique<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unique<V>, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = Unique<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<V>, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, V>()? {
                    // Which of the two is meant cannot be known.
                    if entries.contains_key(&key) {
                        let message = format!("the key {key} stands there twice");
                        return Err(serde::de::Error::custom(message));
                    }
                    entries.insert(key, value);
                }
                Ok(Unique(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_wrong_kind_are_named() {
        let object =
            Object::parse(r#"{"a": -1, "b": 1.5, "c": "x", "d": [1, "y"], "e": null}"#).unwrap();
        assert!(object.whole("a", 1).unwrap_err().contains("a is -1"));
        assert!(object.whole("b", 1).unwrap_err().contains("b is 1.5"));
        assert!(object.switch("c", true).unwrap_err().contains("c is \"x\""));
        assert!(object.token_ids("d").is_err());
        assert_eq!(object.number("b"), Ok(Some(1.5)));
        assert_eq!(object.whole("e", 7), Ok(7));
        assert_eq!(object.switch("e", true), Ok(false));
        assert_eq!(object.switch("f", true), Ok(true));
    }

    #[test]
    fn rejects_a_key_that_stands_twice() {
        assert!(Object::parse(r#"{"a": 1, "a": 2}"#).unwrap_err().contains("a stands there twice"));
    }

    #[test]
    fn rejects_what_is_no_object() {
        for text in ["", "[]", "1", "{", "{\"a\":}", "null"] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(Object::parse(&format!("{{\"a\":{deep}")).is_err());
        assert!(check(deep.as_bytes()).is_err());
        assert!(check(b"\"\xff\"").is_err());
    }
}
