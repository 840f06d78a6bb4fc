//! The fields of a request's JSON object. `null` is the same as absent, unknown ones are nobody's.

use serde_json::{Map, Value};

use super::errors::ApiError;

/// The object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

type Result<T> = std::result::Result<T, ApiError>;

impl Fields {
    pub fn parse(body: &[u8]) -> Result<Fields> {
        let bad = |reason: String| ApiError::new(axum::http::StatusCode::BAD_REQUEST, reason);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(other) => Err(bad(format!("the body is {}, must be a JSON object", kind(&other)))),
            Err(error) => Err(bad(format!("the body is no JSON: {error}"))),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub fn string(&self, name: &str) -> Result<Option<&str>> {
        self.read(name, "a string", Value::as_str)
    }

    pub fn float(&self, name: &str) -> Result<Option<f32>> {
        self.read(name, "a number", |value| Some(value.as_f64()? as f32))
    }

    /// A whole number from `least` to `most`; some clients write it as a float.
    pub fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
        self.read(name, &format!("a whole number from {least} to {most}"), |value| {
            whole(value).filter(|number| (least..=most).contains(number))
        })
    }

    /// An object, whose fields are named after it in errors.
    pub fn object(&self, name: &str) -> Result<Option<Fields>> {
        let object = self.read(name, "an object", Value::as_object)?;
        Ok(object.map(|object| Fields(object.clone())))
    }

    /// A value read by `get`; where that gives none, it is not what is `right`.
    pub fn read<'a, T>(
        &'a self,
        name: &str,
        right: &str,
        get: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match get(value) {
            Some(value) => Ok(Some(value)),
            None => Err(ApiError::field(name, format!("is {}, must be {right}", shown(value)))),
        }
    }

    /// An error where a field has a value that would change what the answer means, and cannot be honoured.
    pub fn refuse(
        &self,
        name: &str,
        reason: &str,
        is_default: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        match self.get(name) {
            Some(value) if !is_default(value) => {
                let reason = format!("is {}, but {reason}", shown(value));
                Err(ApiError::field(name, reason).code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }
}

/// A whole number, also if it is written as a float.
pub fn whole(value: &Value) -> Option<i64> {
    let float = |value: f64| (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64);
    value.as_i64().or_else(|| float(value.as_f64()?))
}

/// A value for an error, cut short.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        _ => {
            let text = value.to_string();
            let cut: String = text.chars().take(60).collect();
            if cut.len() < text.len() { cut + "..." } else { cut }
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
