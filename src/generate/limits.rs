//! When a text ends, and why it did.

/// When a text ends. The default: never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// So many new tokens.
    pub max_tokens: Option<usize>,
    /// A sequence of so many ids, all that went in before counted.
    pub max_length: Option<usize>,
    /// Tokens that end the text, once generated.
    pub eos: Vec<u32>,
}

impl Limits {
    /// Whether a text of `count` new tokens in a sequence of `length` ids is as long as it may be.
    pub fn reached(&self, count: usize, length: usize) -> Option<StopReason> {
        let reached = |limit: Option<usize>, now: usize| limit.is_some_and(|limit| now >= limit);
        if reached(self.max_tokens, count) {
            Some(StopReason::MaxTokens)
        } else if reached(self.max_length, length) {
            Some(StopReason::MaxLength)
        } else {
            None
        }
    }
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A token that ends the text.
    Eos,
    /// [`Limits::max_tokens`].
    MaxTokens,
    /// [`Limits::max_length`].
    MaxLength,
    /// This stop string came.
    StopString(String),
    /// The session's constraint is at its end: the text is complete.
    Complete,
    /// Whoever asked for it broke it off.
    Interrupted,
}

impl StopReason {
    /// A short name: `eos`, `max_tokens`, `max_length`, `stop_string`, `complete`, `interrupted`.
    pub fn name(&self) -> &'static str {
        match self {
            StopReason::Eos => "eos",
            StopReason::MaxTokens => "max_tokens",
            StopReason::MaxLength => "max_length",
            StopReason::StopString(_) => "stop_string",
            StopReason::Complete => "complete",
            StopReason::Interrupted => "interrupted",
        }
    }
}
