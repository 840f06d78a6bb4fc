//! JSON as Python writes and reads it: with numbers that JSON has not.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// What Python's `json` writes for numbers that are not finite.
const NAMES: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// A JSON text of Python as JSON: each `NaN`, `Infinity` and `-Infinity`, and each number beyond a
/// float64, as a string of its name. Whoever reads such a key as a number finds none, and a text
/// that is no JSON either way stays none.
///
/// For the small files of a checkpoint, which Hugging Face's libraries read with Python's `json`;
/// `tokenizer.json` is read as strictly by them as here.
pub fn standard_json(text: &str) -> Cow<'_, str> {
    replace_numbers(text, |number| format!("\"{number}\""))
}

/// The same with something else than a string in the place of each.
pub fn replace_numbers(text: &str, mut with: impl FnMut(&str) -> String) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' {
            at = string_end(bytes, at);
            continue;
        }
        let word = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
        let len = bytes[at..].iter().take_while(word).count();
        // A word is ASCII, so both of its ends are between characters.
        if len > 0 && is_foreign(&text[at..at + len]) && !is_key(&bytes[at + len..]) {
            out.push_str(&text[copied..at]);
            out.push_str(&with(&text[at..at + len]));
            copied = at + len;
        }
        at += len.max(1);
    }
    if copied == 0 {
        return text.into();
    }
    out.push_str(&text[copied..]);
    out.into()
}

/// An object whose keys are in rising order, in those within it too. serde_json keeps the text's order instead where any crate
/// of a build asks it to, and no outcome may depend on that.
pub fn sorted(mut object: Map<String, Value>) -> Map<String, Value> {
    object.sort_keys();
    object.values_mut().for_each(Value::sort_all_objects);
    object
}

/// A value as it stood in the text that [`standard_json`] was made of.
pub fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(name) if NAMES.contains(&name) => name.to_owned(),
        _ => value.to_string(),
    }
}

/// A number that Python reads and JSON cannot hold.
fn is_foreign(word: &str) -> bool {
    let is_number = || serde_json::from_str::<IgnoredAny>(word).is_ok();
    NAMES.contains(&word) || word.parse::<f64>().is_ok_and(f64::is_infinite) && is_number()
}

/// Whether what is after a word makes a key of it, as no number can be one.
fn is_key(behind: &[u8]) -> bool {
    behind.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Where the string that begins at `start` ends: after its quote, or at the end of the text.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_only_python_has_become_strings() {
        let huge = "9".repeat(400);
        for (text, expected) in [
            ("NaN", "\"NaN\"".to_owned()),
            ("[NaN,-Infinity , Infinity]", "[\"NaN\",\"-Infinity\" , \"Infinity\"]".into()),
            ("{\"a\": 1e999, \"b\": 1e3}", "{\"a\": \"1e999\", \"b\": 1e3}".into()),
            (&huge, format!("\"{huge}\"")),
        ] {
            assert_eq!(standard_json(text), expected);
            serde_json::from_str::<Value>(&expected).unwrap();
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            "",
            "\"NaN\"",
            "\"a\\\"NaN\"",
            "\"\\",
            "\"NaN",
            "{NaN: 1}",
            "{NaN : 1}",
            "NaNs",
            "nan",
            "inf",
            "+Infinity",
            "--Infinity",
            "1NaN",
            "\u{e9}NaN\u{e9}x: NaN:",
            "01e999",
            "1.e999",
            "{\"a\": [1, -2.5e-3, true, null]}",
        ] {
            // A letter that is no ASCII ends a word, and makes no JSON of it either.
            if serde_json::from_str::<Value>(text).is_err() {
                let changed = standard_json(text);
                assert!(serde_json::from_str::<Value>(&changed).is_err(), "{changed}");
            } else {
                assert_eq!(standard_json(text), text);
            }
        }
    }

    #[test]
    fn a_value_is_shown_as_it_stood() {
        let value: Value = serde_json::from_str(&standard_json("[-Infinity, \"x\", 1]")).unwrap();
        let shown: Vec<String> = value.as_array().unwrap().iter().map(shown).collect();
        assert_eq!(shown, ["-Infinity", "\"x\"", "1"]);
    }
}
