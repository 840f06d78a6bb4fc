//! From a description to a parser.

use std::fmt::Display;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What describes a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A JSON schema.
    Schema(Value),
    /// A regular expression, for the whole text.
    Regex(String),
    /// A grammar in Lark's syntax, that begins with `start`.
    Grammar(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// Characters of a reason that is given to a client.
const REASON: usize = 300;

/// What a form may cost. llguidance's units; its documentation gives 14 to 50 steps of the lexer and 20 items of the
/// parser a microsecond.
pub fn limits() -> ParserLimits {
    ParserLimits {
        // Some kilobytes each.
        max_lexer_states: 10_000,
        max_grammar_size: 100_000,
        // A mask, which everything in the batch waits for: a few milliseconds at most.
        step_lexer_fuel: 30_000,
        step_max_items: 5_000,
        max_items_in_row: 500,
        verbose_errors: false,
        ..ParserLimits::default()
    }
}

/// A factory for this vocabulary.
///
/// # Errors
/// Where the library cannot use it.
pub fn factory(words: &[Vec<u8>]) -> Result<ParserFactory, String> {
    let made = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let env = super::vocabulary::env(words);
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)?;
        *factory.limits_mut() = limits();
        factory.quiet();
        Ok(factory)
    }));
    made.map_err(|error| one_line(&error))
}

/// The parser at the start of a text.
///
/// # Errors
/// What is wrong with the description, in a line.
pub fn compile(factory: &ParserFactory, source: &Source) -> Result<Matcher, String> {
    let made = panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut matcher = Matcher::new(factory.create_parser(grammar(source)));
        // Also notices a form that allows the empty text alone, and one that allows none at all.
        matcher.consume_tokens(&[])?;
        matcher.compute_mask_or_eos()?;
        Ok(matcher)
    }));
    made.map_err(|error| one_line(&error))
}

fn grammar(source: &Source) -> TopLevelGrammar {
    match source {
        Source::Schema(schema) => TopLevelGrammar::from_json_schema(spaced(schema.clone())),
        Source::Regex(regex) => TopLevelGrammar::from_regex(without_anchors(regex)),
        Source::Grammar(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        Source::Choice(texts) => {
            let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
            TopLevelGrammar::from_regex(&texts.join("|"))
        }
    }
}

/// A schema that says how its JSON is spaced: in one line, as Python's `json.dumps` does it. A model that may write any
/// space often writes nothing else.
fn spaced(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields.entry("x-guidance").or_insert_with(
            || json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    schema
}

/// The whole text is matched, so that an anchor at either end says nothing.
fn without_anchors(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    match regex.strip_suffix('$') {
        Some(rest) if rest.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0 => rest,
        _ => regex,
    }
}

/// A regular expression for this text alone.
fn literal(text: &str) -> String {
    let one = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(c)),
    };
    format!("(?:{})", text.chars().map(one).collect::<String>())
}

/// What a library says, in one line that is not too long.
pub fn one_line(error: &impl Display) -> String {
    let text = error.to_string();
    // Where it panicked and the like is nothing for a client.
    let text = text.split("\n<").next().unwrap_or_default();
    if text.starts_with("panic") {
        return "is more than the parser can work with".to_owned();
    }
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(REASON) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_at_the_ends_are_dropped_and_escaped_ones_stay() {
        assert_eq!(without_anchors("^a+$"), "a+");
        assert_eq!(without_anchors(r"a\$"), r"a\$");
        assert_eq!(without_anchors(r"a\\$"), r"a\\");
        assert_eq!(without_anchors("$"), "");
    }

    #[test]
    fn reasons_are_short_lines() {
        assert_eq!(one_line(&"a\n  b\n<state>\nc"), "a b");
        assert_eq!(one_line(&"x".repeat(1000)).len(), REASON + 3);
    }
}
