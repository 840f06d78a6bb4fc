//! Forms over the demo model's tokenizer.

use std::sync::Arc;

use mmfree::{Constraint, ModelFile, TokenMask, Tokenizer};
use serde_json::json;
use tokio::sync::Semaphore;

use super::compile::compile;
use super::{Compiled, Source, Start, Vocabulary};
use crate::token_text::TokenText;

/// As many tokens as the demo model has.
const SIZE: usize = 2048;

fn vocabulary() -> (Tokenizer, TokenText, Arc<Vocabulary>) {
    let file = ModelFile::demo().unwrap();
    let tokenizer = Tokenizer::from_file(&file).unwrap().unwrap();
    let json = file.tokenizer_json().unwrap();
    let texts = TokenText::new(&tokenizer, json, SIZE);
    let vocabulary = Vocabulary::new(&tokenizer, &texts, json).unwrap();
    (tokenizer, texts, Arc::new(vocabulary))
}

fn start(vocabulary: &Arc<Vocabulary>, source: &Source, bare: bool) -> Start {
    let matcher = compile(vocabulary.factory(), source).unwrap();
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let vocabulary = Arc::clone(vocabulary);
    let compiled = Arc::new(Compiled { matcher, vocabulary, _place: place });
    Start { field: "guided_regex", compiled, eos: Arc::from([2]), bare }
}

fn allowed(text: &mut Box<dyn Constraint>) -> TokenMask {
    let mut mask = TokenMask::none(SIZE);
    text.allowed(&mut mask).unwrap();
    mask
}

fn ids(mask: &TokenMask) -> Vec<u32> {
    (0..SIZE as u32).filter(|&id| mask.contains(id)).collect()
}

#[test]
fn a_mask_has_the_tokens_that_fit_and_the_end_where_a_text_may_end() {
    let (_, texts, vocabulary) = vocabulary();
    let source = Source::Regex(" ?the( king)*".into());
    let mut text = start(&vocabulary, &source, false).begin();
    for id in ids(&allowed(&mut text)) {
        let piece = texts.piece(id).text;
        assert!(" the king".starts_with(&piece) || "the king".starts_with(&piece), "{piece:?}");
    }
    let all: Vec<u32> = (0..SIZE as u32).filter(|&id| texts.piece(id).text == " the").collect();
    text.take(all[0]).unwrap();
    let mask = allowed(&mut text);
    assert!(mask.contains(2) && !mask.contains(0) && !mask.contains(1) && !text.is_done());
    let mut fork = text.clone_box();
    fork.take(2).unwrap();
    assert!(fork.is_done() && !text.is_done());
}

#[test]
fn the_end_is_left_out_where_a_text_ends_by_itself() {
    let (_, texts, vocabulary) = vocabulary();
    let mut text = start(&vocabulary, &Source::Choice(vec!["a".into(), "b".into()]), false).begin();
    let pieces: Vec<String> =
        ids(&allowed(&mut text)).into_iter().map(|id| texts.piece(id).text).collect();
    assert!(pieces.iter().all(|piece| piece == "a" || piece == "b"), "{pieces:?}");
    let first = ids(&allowed(&mut text))[0];
    text.take(first).unwrap();
    assert!(text.is_done());
    let empty = start(&vocabulary, &Source::Regex(String::new()), false).begin();
    assert!(empty.is_done());
}

#[test]
fn a_space_that_the_start_of_a_text_would_lose_is_not_allowed_there() {
    let (_, texts, vocabulary) = vocabulary();
    let source = Source::Regex(" ?the king".into());
    let has_space = |bare| {
        let mut text = start(&vocabulary, &source, bare).begin();
        let mask = allowed(&mut text);
        ids(&mask).into_iter().any(|id| texts.piece(id).text.starts_with(' '))
    };
    assert!(has_space(false) && !has_space(true));
}

#[test]
fn the_bytes_of_tokens_are_those_of_texts() {
    let (tokenizer, _, vocabulary) = vocabulary();
    for text in ["Once upon a time", "{\"a\": [1, true]}", "ünïcödé \u{1F642}\n"] {
        let ids = tokenizer.encode(text, false).unwrap();
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| vocabulary.words()[id as usize].clone()).collect();
        assert_eq!(String::from_utf8(bytes).unwrap().trim_start(), text);
    }
}

#[test]
fn what_cannot_be_kept_to_is_said_in_a_line() {
    let (_, _, vocabulary) = vocabulary();
    for source in [
        Source::Regex("a(".into()),
        Source::Regex("(?=a)b".into()),
        Source::Regex("[^\\x00-\\u{10FFFF}]".into()),
        Source::Grammar(String::new()),
        Source::Grammar("begin: \"a\"".into()),
        Source::Grammar("start: start2".into()),
        Source::Grammar("start: start".into()),
        Source::Grammar(format!("start: {}", "\"a\" | ".repeat(200_000) + "\"b\"")),
        Source::Schema(json!(false)),
        Source::Schema(json!({"type": "flower"})),
        Source::Schema(json!({"$ref": "#/none"})),
        Source::Schema(json!({"$ref": "https://example.org/schema"})),
        Source::Schema(json!({"not": {"type": "string"}})),
        Source::Schema(json!({"type": "integer", "minimum": 5, "maximum": 3})),
        Source::Schema(json!({"x-guidance": 5})),
    ] {
        let Err(reason) = compile(vocabulary.factory(), &source).map(|_| ()) else {
            panic!("{source:?} was taken");
        };
        assert!(!reason.is_empty() && !reason.contains('\n') && reason.len() < 1300, "{reason:?}");
        assert!(!reason.contains("panic"), "{source:?}: {reason}");
    }
}
