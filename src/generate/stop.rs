//! Stop strings: text that ends the text.

use crate::error::{Error, Result};

/// Watches a stream of text for stop strings. Gives out what certainly is before the first
/// one, and holds back what may be its beginning; a stop string itself is never given out.
///
/// The first stop string is the one that is complete first, and of those the longest: how the text
/// is cut into pieces makes no difference.
///
/// ```
/// let mut stops = mmfree::StopStrings::new(vec!["\nQ:".into()])?;
/// assert_eq!(stops.push("A: 42\n"), "A: 42");
/// assert_eq!(stops.push("\nQ"), "\n");
/// assert_eq!(stops.push(": and"), "");
/// assert!(stops.found());
/// # Ok::<(), mmfree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    /// Which of them has come.
    found: Option<usize>,
}

impl StopStrings {
    /// Watches for these strings; with none, all text goes straight through.
    ///
    /// # Errors
    /// [`Error::Option`] for an empty string.
    pub fn new(stops: Vec<String>) -> Result<StopStrings> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::Option {
                name: "stop",
                reason: "a stop string is empty, must be at least one character".into(),
            });
        }
        Ok(StopStrings { stops, held: String::new(), found: None })
    }

    /// Takes the next piece of text and gives what can be shown now. Behind a stop string, nothing.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found() {
            return String::new();
        }
        self.held.push_str(piece);
        let complete = self.stops.iter().enumerate().filter_map(|(n, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, n))
        });
        if let Some((_, start, n)) = complete.min() {
            self.found = Some(n);
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// What is still held back: at the end of the text it was no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Whether a stop string has come.
    pub fn found(&self) -> bool {
        self.found.is_some()
    }

    /// The stop string that has come.
    pub fn found_string(&self) -> Option<&str> {
        self.found.map(|n| self.stops[n].as_str())
    }
}

/// Bytes at the end of `text` that are the beginning of `stop`, but not all of it. Takes the time
/// that the text takes, however long the stop string is.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = text.char_indices().map(|(at, _)| &text[at..]);
    let mut ends = starts.skip_while(|end| end.len() >= stop.len());
    ends.find(|end| stop.starts_with(end)).map_or(0, str::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stops = StopStrings::new(stops.iter().map(|&s| s.into()).collect()).unwrap();
        let mut out: String = pieces.iter().map(|piece| stops.push(piece)).collect();
        out += &stops.finish();
        (out, stops.found())
    }

    #[test]
    fn text_without_a_stop_string_comes_out_whole() {
        assert_eq!(run(&[], &["ab", "c"]), ("abc".into(), false));
        assert_eq!(run(&["xy"], &["ax", "bx"]), ("axbx".into(), false));
    }

    #[test]
    fn a_stop_string_over_several_pieces_is_found() {
        assert_eq!(run(&["end."], &["the e", "n", "d", ". more"]), ("the ".into(), true));
    }

    #[test]
    fn a_false_start_is_given_out_once_it_is_one() {
        let mut stops = StopStrings::new(vec!["aab".into()]).unwrap();
        assert_eq!(stops.push("a"), "");
        assert_eq!(stops.push("a"), "");
        assert_eq!(stops.push("a"), "a");
        assert_eq!(stops.push("b"), "");
        assert_eq!(stops.found_string(), Some("aab"));
        assert_eq!(stops.push("more"), "");
    }

    #[test]
    fn the_string_complete_first_wins_and_of_those_the_longest() {
        assert_eq!(run(&["abc", "b"], &["xabc"]), ("xa".into(), true));
        assert_eq!(run(&["b", "ab"], &["xab"]), ("x".into(), true));
    }

    #[test]
    fn characters_of_several_bytes_are_never_cut() {
        assert_eq!(run(&["日本"], &["日", "日", "本x"]), ("日".into(), true));
        assert_eq!(run(&["é"], &["caf", "e"]), ("cafe".into(), false));
    }

    #[test]
    fn an_empty_stop_string_is_an_error() {
        assert!(StopStrings::new(vec!["a".into(), String::new()]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "[abé]{0,20}", cuts in proptest::collection::vec(0usize..20, 0..6),
            stops in proptest::collection::vec("[abé]{1,4}", 0..3),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> =
                cuts.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &pieces), run(&stops, &[&text]));
        }
    }
}
