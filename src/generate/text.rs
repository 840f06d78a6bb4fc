//! Tokens to text, until something ends it.

use super::DecodeStream;
use super::limits::{Limits, StopReason};
use super::stop::StopStrings;
use crate::error::Result;

/// The text of one answer as its tokens come: decoding, stop strings, limits and the tokens that end it, and why it ended.
///
/// ```
/// # #[cfg(feature = "demo")] {
/// use mmfree::{Limits, Model, ModelFile, Options, SamplerOptions, Session, StopReason, StopStrings, TextStream, Tokenizer};
///
/// let model = Model::new(ModelFile::demo()?, &Options::default())?;
/// let tokenizer = Tokenizer::from_file(model.file())?.expect("the demo model has one");
/// let mut session = Session::new(&model, SamplerOptions::default())?;
/// session.push(&tokenizer.encode_prompt("Once upon a time")?)?;
///
/// let decode = tokenizer.stream_after(session.ids())?;
/// let stops = StopStrings::new(vec![".".into()])?;
/// let limits = Limits { max_tokens: Some(200), ..Default::default() };
/// let mut stream = TextStream::new(Some(decode), stops, limits, session.ids().len());
/// let mut text = String::new();
/// while stream.stop_reason().is_none() {
///     text += &stream.push(session.next_token()?)?;
/// }
/// text += &stream.finish()?;
/// assert!(!text.is_empty() && !text.contains('.'));
/// // By its stop string or its limit.
/// assert!(stream.stop_reason().is_some_and(|reason| *reason != StopReason::Eos));
/// # }
/// # Ok::<(), mmfree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TextStream {
    /// `None` where there is no tokenizer: then there is no text either, but limits and reasons all the same.
    decode: Option<DecodeStream>,
    stops: StopStrings,
    limits: Limits,
    /// Tokens that count against the limit: not the one that ends the text.
    count: usize,
    /// Ids of the sequence, those before the text counted in.
    length: usize,
    stop: Option<StopReason>,
    /// Whether incomplete characters at the end are left to those who go on.
    goes_on: bool,
}

impl TextStream {
    /// The text behind a sequence of `length` ids, which `decode` has seen. Without `decode` the text is empty.
    pub fn new(
        decode: Option<DecodeStream>,
        stops: StopStrings,
        limits: Limits,
        length: usize,
    ) -> TextStream {
        let stop = limits.reached(0, length);
        TextStream { decode, stops, limits, count: 0, length, stop, goes_on: false }
    }

    /// Has [`finish`](Self::finish) do as [`release`](Self::release) does: for a sequence that is gone on with later, so
    /// that its texts together are the one that it would have had without the break.
    pub fn set_goes_on(&mut self, goes_on: bool) {
        self.goes_on = goes_on;
    }

    /// Takes the next token and gives the text that is certain now, often none. A token that ends the text has none, and
    /// what comes after the end is nothing.
    ///
    /// # Errors
    /// As [`DecodeStream::push`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.stop.is_some() {
            return Ok(String::new());
        }
        self.length += 1;
        if self.limits.eos.contains(&id) {
            self.stop = Some(StopReason::Eos);
            return Ok(String::new());
        }
        self.count += 1;
        let piece = match &mut self.decode {
            Some(decode) => self.stops.push(&decode.push(id)?),
            None => String::new(),
        };
        self.stop = match self.stops.found_string() {
            Some(stop) => Some(StopReason::StopString(stop.to_owned())),
            None => self.limits.reached(self.count, self.length),
        };
        Ok(piece)
    }

    /// What was held back: at the end of the text it was no stop string, and bytes that are no whole character come out as
    /// U+FFFD, unless [`set_goes_on`](Self::set_goes_on) leaves them. They may complete a stop string yet.
    ///
    /// # Errors
    /// As [`DecodeStream::finish`].
    pub fn finish(&mut self) -> Result<String> {
        if self.goes_on {
            return Ok(self.release());
        }
        let rest = match &mut self.decode {
            Some(decode) => self.stops.push(&decode.finish()?),
            None => String::new(),
        };
        if let Some(stop) = self.stops.found_string() {
            self.stop = Some(StopReason::StopString(stop.to_owned()));
        }
        Ok(rest + &self.stops.finish())
    }

    /// As [`finish`](Self::finish), but bytes that are no whole character yet are left to those who go on with the sequence.
    pub fn release(&mut self) -> String {
        self.stops.finish()
    }

    /// Ends the text, unless it has ended.
    pub fn end(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    /// Why it ended; `None` while it has not.
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Tokens so far, the one that ends the text not counted.
    pub fn tokens(&self) -> usize {
        self.count
    }

    /// When it ends.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(limits: Limits) -> TextStream {
        TextStream::new(None, StopStrings::new(Vec::new()).unwrap(), limits, 5)
    }

    #[test]
    fn a_limit_ends_it_with_the_token_that_reaches_it() {
        let mut tokens = stream(Limits { max_tokens: Some(2), ..Limits::default() });
        let mut length = stream(Limits { max_length: Some(7), ..Limits::default() });
        for id in [1, 2] {
            assert_eq!((tokens.stop_reason(), length.stop_reason()), (None, None));
            tokens.push(id).unwrap();
            length.push(id).unwrap();
        }
        assert_eq!(tokens.stop_reason(), Some(&StopReason::MaxTokens));
        assert_eq!(length.stop_reason(), Some(&StopReason::MaxLength));
        assert_eq!((tokens.tokens(), length.tokens()), (2, 2));
    }

    #[test]
    fn a_text_of_no_tokens_has_ended_before_it_begins() {
        let none = stream(Limits { max_tokens: Some(0), ..Limits::default() });
        assert_eq!(none.stop_reason(), Some(&StopReason::MaxTokens));
        let long = stream(Limits { max_length: Some(5), ..Limits::default() });
        assert_eq!(long.stop_reason(), Some(&StopReason::MaxLength));
    }

    #[test]
    fn a_token_that_ends_the_text_is_none_of_it_and_the_first_reason_stays() {
        let mut text = stream(Limits { max_tokens: Some(1), eos: vec![9], ..Limits::default() });
        text.push(9).unwrap();
        text.end(StopReason::Interrupted);
        assert_eq!((text.stop_reason(), text.tokens()), (Some(&StopReason::Eos), 0));
    }
}
