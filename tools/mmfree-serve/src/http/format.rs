//! The form that a request asks of its texts: OpenAI's `response_format`, and what vLLM and llama.cpp have for it.

use std::sync::{Arc, PoisonError};

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::errors::ApiError;
use super::fields::{Fields, shown};
use super::sampling::Sampling;
use super::{App, blocking, held};
use crate::constraint::{Invalid, Source, Start, Vocabulary};
use crate::engine::Request;

type Result<T> = std::result::Result<T, ApiError>;

/// Bytes of a description at most.
const LONGEST: usize = 256 * 1024;

/// What a request asks for, and in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    field: &'static str,
    source: Source,
}

/// Fields in which vLLM had it before `structured_outputs`, and llama.cpp has it.
const ALONE: [(&str, &str); 5] = [
    ("guided_json", "json"),
    ("guided_regex", "regex"),
    ("guided_choice", "choice"),
    ("guided_grammar", "grammar"),
    ("json_schema", "json"),
];

impl Format {
    /// Bytes of its description at most, about.
    pub fn size(&self) -> u64 {
        held::tree(serde_json::to_string(&self.source).unwrap_or_default().as_bytes())
    }

    /// Reads the fields; `None` where they ask for any text.
    pub fn read(fields: &Fields) -> Result<Option<Format>> {
        let name = "grammar";
        let reason = "this server reads no GBNF: structured_outputs.grammar takes Lark's syntax";
        fields.refuse(name, reason, |value| value.as_str() == Some(""))?;
        let mut found: Vec<Format> = Vec::new();
        found.extend(response_format(fields)?);
        found.extend(structured_outputs(fields)?);
        for (field, kind) in ALONE {
            if let Some(value) = fields.get(field).filter(|value| value.as_str() != Some("")) {
                found.push(Format { field, source: source(field, "", kind, value)? });
            }
        }
        let format = found.pop();
        if let (Some(format), Some(other)) = (&format, found.first()) {
            let reason = format!("is given beside {}, must be one of them alone", other.field);
            return Err(ApiError::field(format.field, reason));
        }
        if let Some(Format { field, source }) = &format
            && serde_json::to_string(source).is_ok_and(|text| text.len() > LONGEST)
        {
            let reason = format!("is longer than {LONGEST} bytes, the most that is taken");
            return Err(ApiError::field(field, reason));
        }
        Ok(format)
    }

    /// An error where a text could end before it has its form.
    pub fn check_stops(&self, fields: &Fields) -> Result<()> {
        match fields.get("stop") {
            None => return Ok(()),
            Some(Value::Array(stops)) if stops.is_empty() => return Ok(()),
            Some(_) => {}
        }
        let reason = format!("would break off what {} asks for, must be left out", self.field);
        Err(ApiError::field("stop", reason))
    }
}

/// OpenAI's field, with llama.cpp's `schema` beside `json_object`.
fn response_format(fields: &Fields) -> Result<Option<Format>> {
    let field = "response_format";
    let Some(format) = fields.object(field)? else { return Ok(None) };
    let source = match format.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(None),
        Some("json_object") => match format.get("schema") {
            Some(schema) => source(field, "schema: ", "json", schema)?,
            None => Source::Schema(json!({"type": "object"})),
        },
        Some("json_schema") => {
            let described = format.object("json_schema");
            let described = described.map_err(|error| inner(field, error))?;
            match described.as_ref().and_then(|described| described.get("schema")) {
                Some(schema) => source(field, "json_schema.schema: ", "json", schema)?,
                None => {
                    let reason = "json_schema.schema: is missing, must be a JSON schema";
                    return Err(ApiError::field(field, reason));
                }
            }
        }
        _ => {
            let found = format.get("type").map_or("missing".to_owned(), shown);
            let reason =
                format!("type: is {found}, must be \"text\", \"json_object\" or \"json_schema\"");
            return Err(ApiError::field(field, reason));
        }
    };
    Ok(Some(Format { field, source }))
}

/// vLLM's field: one of several kinds.
fn structured_outputs(fields: &Fields) -> Result<Option<Format>> {
    let field = "structured_outputs";
    let Some(outputs) = fields.object(field)? else { return Ok(None) };
    let reason = "this server cannot do that";
    let is_off = |value: &Value| value.as_bool() == Some(false);
    for name in ["structural_tag", "whitespace_pattern", "disable_additional_properties"] {
        outputs.refuse(name, reason, is_off).map_err(|error| inner(field, error))?;
    }
    let mut found = Vec::new();
    for kind in ["json", "regex", "choice", "grammar"] {
        if let Some(value) = outputs.get(kind) {
            found.push(source(field, &format!("{kind}: "), kind, value)?);
        }
    }
    if outputs.bool("json_object").map_err(|error| inner(field, error))? == Some(true) {
        found.push(Source::Schema(json!({"type": "object"})));
    }
    match (found.pop(), found.is_empty()) {
        (Some(source), true) => Ok(Some(Format { field, source })),
        _ => {
            let reason = "must have one of json, regex, choice, grammar and json_object";
            Err(ApiError::field(field, reason))
        }
    }
}

/// An error of a field within another.
fn inner(field: &str, error: ApiError) -> ApiError {
    ApiError { code: error.code, ..ApiError::field(field, error.message) }
}

/// A description of some kind. `place` says where it is within the field.
fn source(field: &str, place: &str, kind: &str, value: &Value) -> Result<Source> {
    let wrong = |right: &str| {
        let found = shown(value);
        Err(ApiError::field(field, format!("{place}is {found}, must be {right}")))
    };
    match (kind, value) {
        ("json", Value::Object(_) | Value::Bool(_)) => Ok(Source::Schema(value.clone())),
        ("json", Value::String(text)) => match serde_json::from_str(text) {
            Ok(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Source::Schema(schema)),
            _ => wrong("a JSON schema"),
        },
        ("json", _) => wrong("a JSON schema"),
        ("regex", Value::String(regex)) => Ok(Source::Regex(regex.clone())),
        ("regex", _) => wrong("a regular expression"),
        ("grammar", Value::String(grammar)) => Ok(Source::Grammar(grammar.clone())),
        ("grammar", _) => wrong("a grammar in Lark's syntax"),
        (_, Value::Array(texts)) if !texts.is_empty() => {
            let texts: Option<Vec<String>> =
                texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.map(Source::Choice).map_or_else(|| wrong("a list of strings"), Ok)
        }
        _ => wrong("a list of strings, one at least"),
    }
}

impl App {
    /// Holds the texts of a request to the form that it asks for, if any. Compiling happens aside, one form at a time.
    ///
    /// # Errors
    /// Where there is no such form, or no room for it now.
    pub async fn constrain(
        self: &Arc<App>,
        sampling: &Sampling,
        request: &mut Request,
    ) -> Result<()> {
        let Some(Format { field, source }) = sampling.format.clone() else { return Ok(()) };
        self.tokenizer()?;
        let error = move |invalid| match invalid {
            Invalid::Source(reason) => ApiError::field(field, reason),
            Invalid::Busy => crate::engine::Refused::Busy(std::time::Duration::from_secs(1)).into(),
            Invalid::Tokenizer(reason) => {
                let message = format!("{field}: not with this model's tokenizer: {reason}");
                ApiError::new(StatusCode::BAD_REQUEST, message).code("unsupported_parameter")
            }
        };
        let turn = self.forms.turn().await.map_err(error)?;
        let compiled = {
            let app = Arc::clone(self);
            blocking(move || app.forms.compile(turn, &source, || app.vocabulary()).map_err(error))
        };
        let (compiled, eos) = (Arc::new(compiled.await?), Arc::from(&*sampling.eos));
        for sequence in &mut request.sequences {
            // What the text goes on from: a state that was brought, and the prompt.
            let mut before = match &sequence.session {
                Some(session) => {
                    session.lock().unwrap_or_else(PoisonError::into_inner).ids().to_vec()
                }
                None => Vec::new(),
            };
            before.extend_from_slice(&sequence.prompt);
            if self.breaks_off(&before) {
                let reason = "the prompt ends within a character: what comes next has no form";
                return Err(ApiError::field(field, reason));
            }
            let (compiled, eos) = (Arc::clone(&compiled), Arc::clone(&eos));
            let bare = self.is_bare(&before);
            sequence.form = Some(Start { field, compiled, eos, bare });
        }
        Ok(())
    }

    fn vocabulary(&self) -> std::result::Result<Vocabulary, String> {
        let json = self.model.file().tokenizer_json();
        match (&self.tokenizer, &self.token_text, json) {
            (Some(tokenizer), Some(texts), Some(json)) => Vocabulary::new(tokenizer, texts, json),
            _ => Err("there is none".to_owned()),
        }
    }

    /// Whether a prompt has no text.
    fn is_bare(&self, ids: &[u32]) -> bool {
        ids.iter().map(|&id| self.piece(id)).all(|piece| piece.special || piece.text.is_empty())
    }

    /// Whether a prompt ends with some bytes of a character.
    fn breaks_off(&self, ids: &[u32]) -> bool {
        let last = &ids[ids.len().saturating_sub(4)..];
        let text = self.tokenizer.as_ref().map(|tokenizer| tokenizer.decode(last));
        matches!(text, Some(Ok(text)) if text.ends_with('\u{FFFD}'))
    }
}
