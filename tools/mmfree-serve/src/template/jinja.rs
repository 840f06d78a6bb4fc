//! Hugging Face's Jinja, as far as minijinja's differs.
//!
//! `apply_chat_template` renders with blocks trimmed and their lines' beginnings stripped, with loop controls, Python's
//! methods on strings, lists and dicts, and functions of its own.

use std::panic::AssertUnwindSafe;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Template, Value};

use super::{date, methods, python};

/// Steps of a rendering at most: some thousand messages of a large template.
const FUEL: u64 = 20_000_000;

/// Whether a template can be compiled.
pub fn check(source: &str) -> Result<(), String> {
    with_template(source, |_| Ok(()))
}

/// The text of a template, with variables from a JSON object.
pub fn render(source: &str, context: &str) -> Result<String, String> {
    let context: Value = serde_json::from_str(context).map_err(|error| error.to_string())?;
    with_template(source, |template| template.render(context))
}

/// What is done with a template once it is compiled. minijinja 2.24 panics at `''[::-1]`: what a template makes it do is an error
/// of the template.
fn with_template<T>(
    source: &str,
    run: impl FnOnce(&Template) -> Result<T, Error>,
) -> Result<T, String> {
    let source = without_generation_tags(source);
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let environment = environment();
        let template = environment.template_from_named_str("chat template", &source)?;
        run(&template)
    }));
    match done {
        Ok(done) => done.map_err(|error| said(&error)),
        Err(_) => Err("chat template: the engine that renders it failed".to_owned()),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(methods::method);
    environment.set_formatter(|out, _, value| {
        match value.as_str() {
            Some(text) => out.write_str(text)?,
            None => out.write_str(&python::text(value)?)?,
        }
        Ok(())
    });
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |value: Value| python::text(&value));
    environment.add_filter("join", join);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    // In Jinja2 what has a length and items is a sequence, undefined is an empty one, and a boolean is a number.
    environment.add_test("sequence", |value: &Value| is_sequence(value));
    environment.add_test("iterable", |value: &Value| {
        is_sequence(value) || value.kind() == ValueKind::Iterable
    });
    environment.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment.add_function("strftime_now", |format: String| date::now(&format));
    environment
}

/// What marks an error that the template itself raised.
const RAISED: &str = "the chat template says: ";

fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | Map | String | Undefined)
}

/// A text for HTML, with the numbers that Jinja2 has for quotes.
fn escape(value: Value) -> Result<String, Error> {
    let text = python::text(&value)?.replace('&', "&amp;").replace('<', "&lt;");
    Ok(text.replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&#34;"))
}

/// The texts of values with `separator` between them, or those of one of their attributes.
fn join(value: Value, separator: Option<String>, options: Kwargs) -> Result<String, Error> {
    let attribute: Option<String> = options.get("attribute")?;
    let d: Option<String> = options.get("d")?;
    options.assert_all_used()?;
    let separator = separator.or(d).unwrap_or_default();
    let mut out = String::new();
    for (n, item) in value.try_iter()?.enumerate() {
        if n > 0 {
            out += &separator;
        }
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        out += &python::text(&item)?;
    }
    Ok(out)
}

/// One line for an error.
fn said(error: &Error) -> String {
    let detail = error.detail().unwrap_or_default();
    let text = match detail.strip_prefix(RAISED) {
        Some(message) => format!("{RAISED}{message}"),
        None => {
            let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
            match detail {
                "" => format!("chat template: {line}{}", error.kind()),
                detail => format!("chat template: {line}{}: {detail}", error.kind()),
            }
        }
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// The template with the tags `generation` and `endgeneration`, which mark what a model is trained on, in the form of a
/// condition that always holds: what they say of white space around them stays.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out += before;
        // Behind its beginning: of "{%}" the % is no end.
        let Some(end) = tag[2..].find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 4);
        let inner = tag[2..tag.len() - 2].trim_matches(['-', '+']).trim();
        let put = match inner {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match put {
            Some(put) => out += &tag.replacen(inner, put, 1),
            None => out += tag,
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(template: &str) -> Result<String, String> {
        render(template, r#"{"messages": [{"role": "user", "content": " a "}], "n": 7}"#)
    }

    #[test]
    fn blocks_are_trimmed_and_their_lines_stripped() {
        assert_eq!(with("  {% if true %}\n  x\n  {% endif %}\ny\n").unwrap(), "  x\ny");
    }

    #[test]
    fn generation_tags_leave_what_is_between_them() {
        let template = "a\n{%- generation %}\nb\n{% endgeneration -%}\n c";
        assert_eq!(with(template).unwrap(), "ab\nc");
        for template in ["{% generation", "{%}", "{%%}", "{%}a%}b", "{%"] {
            assert_eq!(without_generation_tags(template), template);
            let _ = check(template);
        }
    }

    #[test]
    fn methods_and_loops_are_pythons() {
        for (template, text) in [
            ("{{ messages[0].content.strip() }}", "a"),
            ("{{ messages[0]['content'] | trim }}", "a"),
            ("{{ 'assistant: x'.removeprefix('assistant: ') }}", "x"),
            ("{{ 'x.py'.removesuffix('.py') }}", "x"),
            (
                "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}no{% endfor %}",
                "",
            ),
            ("{% for k, v in messages[0].items() %}{{ k }};{% endfor %}", "role;content;"),
            (
                "{% set ns = namespace(x=1) %}{% for m in messages %}{% set ns.x = 2 %}{% endfor %}{{ ns.x }}",
                "2",
            ),
            ("{{ messages[0].get('name', 'nobody') }}", "nobody"),
            ("{{ 'a,b'.split(',')[-1] }}", "b"),
            ("{{ messages | length % 2 }}", "1"),
            ("{{ messages[::-1][0].role }}", "user"),
            ("{% if tools is defined and tools is not none %}x{% endif %}", ""),
            ("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(1) }}", "[1]"),
            ("{{ '<b>' }}", "<b>"),
            ("{{ 'a-b-c'.rsplit('-', 1) }} {{ 'a-b'.rsplit('-') }}", "['a-b', 'c'] ['a', 'b']"),
            ("{{ 'a=b=c'.partition('=')[2] }} {{ 'a=b=c'.rpartition('=')[2] }}", "b=c c"),
            ("{{ 'x'.partition('=')[0] }} {{ 'x'.rpartition('=')[2] }}", "x x"),
            ("{{ '-7'.zfill(4) }} {{ 'é'.zfill(3) }}", "-007 00é"),
            ("{{ 'éb'.index('b') }} {{ [3, 4].index(4) }} {{ {'a': 1}.copy() }}", "1 1 {'a': 1}"),
            (
                "{{ messages[0] is sequence }} {{ 'x' is sequence }} {{ 1 is sequence }}",
                "True True False",
            ),
            ("{{ messages | join(', ', attribute='role') }}", "user"),
            ("{% if n is even %}e{% else %}o{% endif %}", "o"),
        ] {
            assert_eq!(with(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_a_template_raises_is_said_in_its_words() {
        let error = with("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(error, "the chat template says: roles must alternate");
        let error = with("a\n{{ nothing.at.all }}").unwrap_err();
        assert!(error.starts_with("chat template: line 2: "), "{error}");
        assert!(check("{% if %}").unwrap_err().starts_with("chat template: line 1: "));
    }

    #[test]
    fn a_panic_of_the_engine_is_an_error_of_the_template() {
        // Either an error or, once that is mended, the right text.
        let text = with("{{ ''[::-1] }}");
        assert!(text.as_deref() == Ok("") || text.unwrap_err().contains("the engine"));
    }

    #[test]
    fn a_loop_without_end_runs_out_of_fuel() {
        let template =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(with(template).unwrap_err().contains("fuel"));
    }
}
