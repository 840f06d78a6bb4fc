//! Scores of tokens in the form that chats have.

use mmfree::Scored;
use serde::Serialize;

use super::App;

/// A token with its score, and the likeliest ones in its place.
#[derive(Debug, Serialize)]
pub struct TokenScore {
    #[serde(flatten)]
    token: Likely,
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Serialize)]
struct Likely {
    token: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
    /// Only where ids are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
}

impl TokenScore {
    pub fn new(app: &App, score: &Scored, ids: bool) -> TokenScore {
        let likely = |id: u32, logprob: f32| {
            let piece = app.piece(id);
            Likely { token: piece.text, logprob, bytes: piece.bytes, id: ids.then_some(id) }
        };
        let top = score.likeliest.iter().map(|token| likely(token.id, token.logprob));
        TokenScore { token: likely(score.id, score.logprob), top_logprobs: top.collect() }
    }
}
