//! Python's methods on strings, lists and dicts.

use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// Python's methods, those that minijinja's own collection lacks first.
pub fn method(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(text), "removeprefix" | "removesuffix") = (value.as_str(), name) {
        let (affix, Rest(_), _): (&str, Rest<Value>, Kwargs) = from_args(args)?;
        let rest = match name {
            "removeprefix" => text.strip_prefix(affix),
            _ => text.strip_suffix(affix),
        };
        return Ok(Value::from(rest.unwrap_or(text)));
    }
    if let Some(text) = value.as_str() {
        match name {
            "rsplit" if !args.is_empty() => {
                let (separator, most): (&str, Option<usize>) = from_args(args)?;
                if separator.is_empty() {
                    return Err(Error::new(ErrorKind::InvalidOperation, "rsplit: empty separator"));
                }
                let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
                let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
                parts.reverse();
                return Ok(list(parts));
            }
            "partition" | "rpartition" => {
                let (separator,): (&str,) = from_args(args)?;
                let (parts, none) = match name {
                    "partition" => (text.split_once(separator), [text, "", ""]),
                    _ => (text.rsplit_once(separator), ["", "", text]),
                };
                let parts = match parts {
                    Some((before, after)) => [before, separator, after],
                    None => none,
                };
                return Ok(list(parts));
            }
            "zfill" => {
                let (width,): (usize,) = from_args(args)?;
                let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
                let zeros = width.min(1000).saturating_sub(text.chars().count());
                return Ok(Value::from(format!("{sign}{}{digits}", "0".repeat(zeros))));
            }
            "index" => {
                let (part,): (&str,) = from_args(args)?;
                let at = text.find(part).map(|at| text[..at].chars().count());
                return at.map(Value::from).ok_or_else(|| {
                    Error::new(ErrorKind::InvalidOperation, "index: substring not found")
                });
            }
            _ => {}
        }
    }
    match (value.kind(), name) {
        (ValueKind::Seq, "index") => {
            let (item,): (Value,) = from_args(args)?;
            let at = value.try_iter()?.position(|one| one == item);
            at.map(Value::from)
                .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "index: not in the list"))
        }
        (ValueKind::Seq | ValueKind::Map, "copy") if args.is_empty() => Ok(value.clone()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn list<'a>(parts: impl IntoIterator<Item = &'a str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}
