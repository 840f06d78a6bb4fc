//! Values as Python writes them: as JSON by `json.dumps`, which is what Hugging Face's `tojson` is, and as text by `str`.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Values inside each other at most.
const DEPTH: usize = 128;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let indent = match indent {
        Some(value) if value.kind() == ValueKind::Number => {
            Some(" ".repeat(usize::try_from(value).unwrap_or(0).min(64)))
        }
        Some(value) => value.as_str().map(str::to_owned),
        None => None,
    };
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        Some(value) if !value.is_none() => {
            let text = |n: usize| value.get_item_by_index(n).map(|one| one.to_string());
            Some((text(0)?, text(1)?))
        }
        _ => None,
    };
    let comma = if indent.is_some() { "," } else { ", " };
    let (item, key) = separators.unwrap_or_else(|| (comma.to_owned(), ": ".to_owned()));
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let mut writer = Writer { out: String::new(), indent, item, key, ascii, sort };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "tojson: too many values inside each other",
            ));
        }
        match value.kind() {
            ValueKind::None => self.out += "null",
            ValueKind::Bool => self.out += if value.is_true() { "true" } else { "false" },
            ValueKind::Number => self.out += &number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.list('[', ']', items, depth, |writer, item| writer.value(&item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list('{', '}', keys.into_iter(), depth, |writer, key| {
                    let item = value.get_item(&key)?;
                    writer.string(&key.to_string());
                    let separator = writer.key.clone();
                    writer.out += &separator;
                    writer.value(&item, depth + 1)
                })?;
            }
            kind => {
                let reason = format!("tojson: {kind} is no value of JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = Value>,
        depth: usize,
        mut write: impl FnMut(&mut Writer, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut empty = true;
        for item in items {
            if !std::mem::replace(&mut empty, false) {
                let separator = self.item.clone();
                self.out += &separator;
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out += &indent.repeat(depth);
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out += "\\\"",
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                '\u{8}' => self.out += "\\b",
                '\u{c}' => self.out += "\\f",
                c if (c as u32) < 0x20 => self.out += &format!("\\u{:04x}", c as u32),
                c if self.ascii && !(' '..='~').contains(&c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out += &format!("\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A value as Python's `str` has it: what a template prints.
///
/// # Errors
/// For values that lie too deep inside each other.
pub fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => {
            let mut out = String::new();
            repr(&mut out, value, 0)?;
            Ok(out)
        }
    }
}

/// A value as Python's `repr` has it. There are no tuples here: they are lists.
fn repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > DEPTH {
        let reason = "too many values inside each other";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    match value.kind() {
        ValueKind::Undefined => *out += "Undefined",
        ValueKind::None => *out += "None",
        ValueKind::Bool => *out += if value.is_true() { "True" } else { "False" },
        ValueKind::Number => match &*number(value) {
            "NaN" => *out += "nan",
            "Infinity" => *out += "inf",
            "-Infinity" => *out += "-inf",
            number => *out += number,
        },
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (n, item) in value.try_iter()?.enumerate() {
                *out += if n > 0 { ", " } else { "" };
                repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (n, key) in value.try_iter()?.enumerate() {
                *out += if n > 0 { ", " } else { "" };
                repr(out, &key, depth + 1)?;
                *out += ": ";
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => *out += &value.to_string(),
    }
    Ok(())
}

/// A string in quotes: single ones, unless it has such and no double ones.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match (c, c as u32) {
            ('\n', _) => *out += "\\n",
            ('\r', _) => *out += "\\r",
            ('\t', _) => *out += "\\t",
            ('\\', _) => *out += "\\\\",
            (c, _) if c == quote => out.extend(['\\', c]),
            (' ', _) => out.push(' '),
            (c, code) if c.is_control() || c.is_whitespace() => {
                *out += &match code {
                    ..0x100 => format!("\\x{code:02x}"),
                    _ => format!("\\u{code:04x}"),
                };
            }
            (c, _) => out.push(c),
        }
    }
    out.push(quote);
}

/// A number as Python's `repr` has it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else { return value.to_string() };
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if float != 0.0 && !(1e-4..1e16).contains(&float.abs()) {
        // Two digits of the exponent at least, and its sign.
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

#[cfg(test)]
mod tests {
    use super::super::jinja::render;

    #[test]
    fn json_is_what_pythons_dumps_writes() {
        let context = r#"{"x": {"b": [1, 2.0, "é\"\n\u0001", true, null], "a": {}}, "f": [1e16, 1e-5, 0.1, 123456789012345680.0, -0.0], "e": []}"#;
        for (template, text) in [
            ("{{ x | tojson }}", r#"{"b": [1, 2.0, "é\"\n\u0001", true, null], "a": {}}"#),
            (
                "{{ x | tojson(ensure_ascii=true, sort_keys=true) }}",
                r#"{"a": {}, "b": [1, 2.0, "\u00e9\"\n\u0001", true, null]}"#,
            ),
            ("{{ f | tojson }}", "[1e+16, 1e-05, 0.1, 1.2345678901234568e+17, -0.0]"),
            (
                "{{ {'k': [1, {'z': 2}]} | tojson(indent=2) }}",
                "{\n  \"k\": [\n    1,\n    {\n      \"z\": 2\n    }\n  ]\n}",
            ),
            ("{{ [1, {'z': 2}] | tojson(separators=(',', ':')) }}", "[1,{\"z\":2}]"),
            ("{{ e | tojson(indent=4) }}", "[]"),
            ("{{ '<&>' | tojson }}", "\"<&>\""),
        ] {
            assert_eq!(render(template, context).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_is_printed_is_what_pythons_str_gives() {
        let context = r#"{"x": {"b": [1, 2.0, "it's", "\"'\n\\ é\u00a0\u2028", true, null], "a": {}}, "f": [1e16, 1e-5], "t": true}"#;
        for (template, text) in [
            ("{{ x }}", r#"{'b': [1, 2.0, "it's", '"\'\n\\ é\xa0\u2028', True, None], 'a': {}}"#),
            ("{{ f }} {{ f[0] }}", "[1e+16, 1e-05] 1e+16"),
            ("{{ t }} {{ not t }} {{ none }} {{ nothing }}", "True False None "),
            (
                "{{ t | string + 'x' }} {{ [t, none, 1.0, ['a']] | join('|') }}",
                "Truex True|None|1.0|['a']",
            ),
            ("{{ 'a' }} {{ 'a' | safe }}", "a a"),
        ] {
            assert_eq!(render(template, context).as_deref(), Ok(text), "{template}");
        }
        let deep = format!("{{\"x\": {}{}}}", "[".repeat(120), "]".repeat(120));
        let nest = "{% set ns = namespace(x=x) %}{% for n in range(20) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}";
        assert!(render(nest, &deep).unwrap_err().contains("inside each other"));
    }

    #[test]
    fn unknown_options_are_errors() {
        assert!(render("{{ 1 | tojson(colour=2) }}", "{}").is_err());
    }
}
