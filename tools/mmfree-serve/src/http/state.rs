//! A session's state as a client carries it: given back at the end of a text, and brought along by a later request.
//!
//! It is a saved session, as `mmfree-infer --save-state` writes one, in base64. What a client brings is checked as such a
//! file is, and nothing of it, nor of what is computed from it, gets into the cache of prompts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmfree::{Error, Session};

use super::App;
use super::errors::ApiError;
use super::fields::Fields;

type Result<T> = std::result::Result<T, ApiError>;

const FIELD: &str = "state";

/// Texts whose states one request may ask for: each has all its ids, those of a long prompt too.
const MOST: usize = 16;

/// Whether the states of so many texts are wanted back.
pub fn is_wanted(fields: &Fields, texts: usize) -> Result<bool> {
    let name = "return_state";
    match fields.bool(name)?.unwrap_or(false) {
        true if texts > MOST => {
            Err(ApiError::field(name, format!("is for {MOST} texts at most, not for {texts}")))
        }
        wanted => Ok(wanted),
    }
}

/// The session that a request goes on from, if it brings one.
pub fn read(app: &App, fields: &Fields) -> Result<Option<Session>> {
    let Some(text) = fields.string(FIELD)? else { return Ok(None) };
    let bytes = STANDARD.decode(text).map_err(|error| {
        invalid(format!("is no base64, must be a state that was returned: {error}"))
    })?;
    let session = Session::from_bytes(&app.model, &bytes).map_err(|error| match error {
        Error::StateMismatch { .. } => {
            ApiError::field(FIELD, error.to_string()).code("state_mismatch")
        }
        Error::Version { found, .. } => invalid(format!(
            "has the version {found:?}, must be one that a server of this kind returned"
        )),
        other => invalid(other.to_string()),
    })?;
    // An older version, without a checksum: damage to it would go unnoticed.
    if session.is_unchecked() {
        return Err(invalid(
            "is of version 1, which has no checksum; must be of version 2".to_owned(),
        ));
    }
    Ok(Some(session))
}

fn invalid(reason: String) -> ApiError {
    ApiError::field(FIELD, reason).code("invalid_state")
}

/// A session as a client gets it. One whose text has ended as it should can be saved.
pub fn text(session: &Session) -> Result<String> {
    let bytes = session.to_bytes().map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(STANDARD.encode(bytes))
}

/// Whether a request reads as little as may be asked of one, with what its session has not read yet.
pub fn check_pending(app: &App, session: &Session, prompt: &[u32]) -> Result<()> {
    let most = app.limits.max_prompt as usize;
    let (pending, given) = (session.pending().len(), prompt.len());
    match pending.saturating_add(given) {
        0 => Err(ApiError::field(
            FIELD,
            "has read all of its tokens, so a prompt is needed to go on",
        )),
        sum if sum > most => {
            let reason = format!(
                "has {pending} tokens that have not been read, with the prompt {sum}; must be {most} at most"
            );
            Err(ApiError::field(FIELD, reason).code("context_length_exceeded"))
        }
        _ => Ok(()),
    }
}
