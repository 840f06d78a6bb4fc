//! A session goes on with the same bits, whatever happens in between.

use std::ops::ControlFlow;
use std::sync::Arc;

use mmfree::format::Header;
use mmfree::packing::Packing;
use mmfree::{
    Constraint, Error, Limits, Model, ModelFile, Options, SamplerOptions, Session, StopReason,
    TokenMask,
};

use crate::synthetic;
use crate::util::TempDir;

fn model(packing: Packing, seed: u64) -> Arc<Model> {
    let bytes = synthetic::model(&synthetic::config(), packing, seed);
    let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
    Model::new(file, &Options { threads: Some(1), ..crate::util::options() }).unwrap()
}

fn sampled() -> SamplerOptions {
    SamplerOptions {
        temperature: 1.3,
        top_k: 50,
        top_p: 0.97,
        min_p: 0.01,
        repeat_penalty: 1.1,
        seed: 0xDEAD_BEEF_0123_4567,
        ..Default::default()
    }
}

fn prompt() -> Vec<u32> {
    (0..150).map(|i| 1 + i * 7 % 96).collect()
}

fn tokens(session: &mut Session, count: usize) -> Vec<u32> {
    let limits = Limits { max_tokens: Some(count), ..Limits::default() };
    session.generate(&limits).map(|token| token.unwrap()).collect()
}

fn started(model: &Arc<Model>) -> Session {
    let mut session = Session::new(model, sampled()).unwrap();
    session.push(&prompt()).unwrap();
    session
}

#[test]
fn a_loaded_session_goes_on_as_if_never_stopped() {
    let dir = TempDir::new();
    let path = dir.path("saved.state");
    let model = model(Packing::T5, 3);
    let mut whole = started(&model);
    let expected = tokens(&mut whole, 40);
    // Before the prompt is fed, behind it, and in the middle of the text.
    for cut in [0, 1, 17] {
        let mut first = started(&model);
        let mut ids = tokens(&mut first, cut);
        first.save(&path).unwrap();
        let mut second = Session::load(&model, &path).unwrap();
        assert_eq!(second.ids(), first.ids());
        assert_eq!(second.pending(), first.pending());
        assert_eq!(second.sampler_options(), first.sampler_options());
        assert_eq!(second.draws(), cut as u64);
        ids.extend(tokens(&mut second, 40 - cut));
        assert_eq!(ids, expected, "saved after {cut}");
        assert_eq!(second.state(), whole.state(), "saved after {cut}");
    }
}

#[test]
fn a_session_goes_on_in_another_packing() {
    let dir = TempDir::new();
    let path = dir.path("saved.state");
    let (t5, i2) = (model(Packing::T5, 3), model(Packing::I2, 3));
    let mut session = started(&t5);
    tokens(&mut session, 5);
    session.save(&path).unwrap();
    let mut other = Session::load(&i2, &path).unwrap();
    assert_eq!(tokens(&mut other, 10), tokens(&mut session, 10));
    assert_eq!(other.state(), session.state());
}

#[test]
fn a_fork_goes_its_own_way_and_the_same_one() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    tokens(&mut session, 5);
    let mut fork = session.clone();
    let mut other = session.clone();
    other.set_sampler_options(SamplerOptions { seed: 1, ..sampled() }).unwrap();
    let expected = tokens(&mut session, 20);
    assert_eq!(tokens(&mut fork, 20), expected);
    assert_ne!(tokens(&mut other, 20), expected);
}

#[test]
fn a_prompt_in_pieces_equals_the_prompt_in_one() {
    let model = model(Packing::I2, 5);
    let mut whole = started(&model);
    let expected = tokens(&mut whole, 10);
    let mut pieces = Session::new(&model, sampled()).unwrap();
    for piece in prompt().chunks(11) {
        pieces.push(piece).unwrap();
        assert!(pieces.prefill(|_| ControlFlow::Continue(())).unwrap().is_continue());
        assert!(pieces.pending().len() <= 64, "a chunk at most waits for the next token");
    }
    assert_eq!(tokens(&mut pieces, 10), expected);
    assert_eq!(pieces.state(), whole.state());
}

#[test]
fn a_prefill_broken_off_can_be_saved_and_gone_on_with() {
    let dir = TempDir::new();
    let path = dir.path("saved.state");
    let model = model(Packing::T5, 3);
    let expected = tokens(&mut started(&model), 10);
    let mut session = started(&model);
    let mut left = Vec::new();
    let flow = session.prefill(|tokens| {
        left.push(tokens);
        if left.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(flow.unwrap().is_break());
    assert!(left[1] < left[0] && !session.pending().is_empty());
    session.save(&path).unwrap();
    assert_eq!(tokens(&mut Session::load(&model, &path).unwrap(), 10), expected);
    assert_eq!(tokens(&mut session, 10), expected);
}

#[test]
fn limits_end_a_text_and_say_why() {
    let model = model(Packing::T5, 3);
    let ids = tokens(&mut started(&model), 30);
    let run = |limits: Limits| {
        let mut session = started(&model);
        let mut generate = session.generate(&limits);
        let ids: Vec<u32> = generate.by_ref().map(|token| token.unwrap()).collect();
        (ids, generate.stop_reason().cloned())
    };
    let tokens = run(Limits { max_tokens: Some(7), ..Limits::default() });
    assert_eq!(tokens, (ids[..7].to_vec(), Some(StopReason::MaxTokens)));
    let length = run(Limits { max_length: Some(154), ..Limits::default() });
    assert_eq!(length, (ids[..4].to_vec(), Some(StopReason::MaxLength)));
    let short = run(Limits { max_length: Some(20), ..Limits::default() });
    assert_eq!(short, (vec![], Some(StopReason::MaxLength)));
    let first = ids.iter().position(|&id| id == ids[12]).unwrap();
    let eos = run(Limits { eos: vec![ids[12]], ..Limits::default() });
    assert_eq!(eos, (ids[..=first].to_vec(), Some(StopReason::Eos)));
}

#[test]
fn rejects_ids_outside_the_vocabulary_and_takes_none_of_them() {
    let model = model(Packing::T5, 3);
    let mut session = Session::new(&model, sampled()).unwrap();
    let error = session.push(&[1, 97]).unwrap_err();
    assert!(matches!(error, Error::Token { id: 97, vocab_size: 97 }), "{error}");
    assert!(session.ids().is_empty());
}

#[test]
fn rejects_to_go_on_from_nothing() {
    let model = model(Packing::T5, 3);
    let mut session = Session::new(&model, sampled()).unwrap();
    assert!(matches!(session.next_token(), Err(Error::Option { name: "prompt", .. })));
}

#[test]
fn rejects_a_session_of_another_model() {
    let dir = TempDir::new();
    let path = dir.path("saved.state");
    let mut session = started(&model(Packing::T5, 3));
    tokens(&mut session, 2);
    session.save(&path).unwrap();
    let error = Session::load(&model(Packing::T5, 4), &path).unwrap_err();
    assert!(matches!(error, Error::StateMismatch { .. }), "{error}");
}

#[test]
fn rejects_a_state_that_is_no_session() {
    let dir = TempDir::new();
    let path = dir.path("saved.state");
    let model = model(Packing::T5, 3);
    model.new_state().save(&path).unwrap();
    let error = Session::load(&model, &path).unwrap_err();
    assert!(error.to_string().contains("not a session"), "{error}");
}

/// Any bit of it: a text that went on with other numbers would show nothing.
#[test]
fn a_changed_bit_anywhere_in_a_saved_session_is_found() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    tokens(&mut session, 2);
    let good = session.to_bytes().unwrap();
    assert!(!Session::from_bytes(&model, &good).unwrap().is_unchecked());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Session::from_bytes(&model, &bad).is_err(), "byte {at}");
    }
    for len in (0..good.len()).step_by(97) {
        assert!(Session::from_bytes(&model, &good[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_changed_bit_of_a_saved_state_is_found() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    tokens(&mut session, 2);
    let good = session.state().to_bytes().unwrap();
    assert_eq!(model.state_from_bytes(&good).unwrap(), *session.state());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(model.state_from_bytes(&bad).is_err(), "byte {at}");
    }
}

/// As version 1 wrote it: no checksum, no spans of generated ids.
fn version_1(session: &Session) -> Vec<u8> {
    let state = session.state();
    let options = session.sampler_options();
    let mut header = Header::default();
    for (key, value) in [
        ("format", "mmfree-state".to_owned()),
        ("mmfree.state.version", "1".to_owned()),
        ("mmfree.architecture", "hgrn_bit".to_owned()),
        ("mmfree.hash", session.model().file().hash().to_owned()),
        ("mmfree.state.position", state.position().to_string()),
        ("mmfree.session.draws", session.draws().to_string()),
        ("mmfree.session.seed", options.seed.to_string()),
        ("mmfree.session.temperature", options.temperature.to_string()),
        ("mmfree.session.top_k", options.top_k.to_string()),
        ("mmfree.session.top_p", options.top_p.to_string()),
        ("mmfree.session.min_p", options.min_p.to_string()),
        ("mmfree.session.repeat_penalty", options.repeat_penalty.to_string()),
    ] {
        header.set(key, value);
    }
    let floats: Vec<u8> = state.recurrence().iter().flat_map(|v| v.to_le_bytes()).collect();
    let ids: Vec<u8> = session.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    header.push("state", "F32", &[3, 40], floats.len() as u64);
    header.push("ids", "U32", &[session.ids().len()], ids.len() as u64);
    [header.to_bytes(), floats, ids].concat()
}

#[test]
fn a_session_of_version_1_goes_on_and_is_known_to_be_unchecked() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    tokens(&mut session, 3);
    let old = version_1(&session);
    let mut loaded = Session::from_bytes(&model, &old).unwrap();
    assert!(loaded.is_unchecked());
    assert_eq!(tokens(&mut loaded, 10), tokens(&mut session, 10));
    // Damage that no checksum tells is an error or a session, never a panic.
    let header = 8 + u64::from_le_bytes(old[..8].try_into().unwrap()) as usize;
    for at in (0..header).chain((header..old.len()).step_by(13)) {
        let mut bad = old.clone();
        bad[at] ^= 0x11;
        if let Ok(mut session) = Session::from_bytes(&model, &bad) {
            let _ = session.next_token();
        }
    }
}

#[test]
fn a_session_of_a_version_to_come_is_refused() {
    let model = model(Packing::T5, 3);
    let text = String::from_utf8_lossy(&version_1(&started(&model))).into_owned();
    let newer = text.replace(r#"state.version":"1""#, r#"state.version":"3""#);
    let error = Session::from_bytes(&model, newer.as_bytes()).unwrap_err();
    assert!(matches!(error, Error::Version { .. }), "{error}");
    assert!(error.to_string().contains("1 and 2"), "{error}");
}

/// Only the ids of a list, one after the other, each or the one after it; complete behind the last.
#[derive(Clone)]
struct List(Vec<u32>);

impl Constraint for List {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<(), Error> {
        let id = self.0.first().copied().unwrap_or(0);
        [id, id + 1].into_iter().for_each(|id| mask.allow(id));
        Ok(())
    }

    fn take(&mut self, id: u32) -> Result<(), Error> {
        assert!(id == self.0[0] || id == self.0[0] + 1);
        self.0.remove(0);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    fn clone_box(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

#[test]
fn a_constraint_says_what_may_come_and_when_the_text_is_complete() {
    let model = model(Packing::T5, 3);
    let list = [20, 40, 60, 80];
    let mut session = started(&model);
    session.set_constraint(Some(Box::new(List(list.to_vec()))));
    let first = tokens(&mut session, 2);
    // A fork goes on from here with a constraint of its own.
    let mut fork = session.clone();
    for session in [&mut session, &mut fork] {
        let mut generate = session.generate(&Limits::default());
        let rest: Vec<u32> = generate.by_ref().map(|token| token.unwrap()).collect();
        assert_eq!(generate.stop_reason(), Some(&StopReason::Complete));
        for (id, allowed) in first.iter().chain(&rest).zip(list) {
            assert!([allowed, allowed + 1].contains(id), "{first:?} {rest:?}");
        }
        assert_eq!(rest.len(), 2);
        session.set_constraint(None);
        tokens(session, 3);
    }
    assert_eq!(session.ids(), fork.ids());
}

#[test]
fn rejects_options_with_ids_outside_the_vocabulary() {
    let model = model(Packing::T5, 3);
    let options = SamplerOptions { suppress_tokens: [97].into(), ..sampled() };
    let error = Session::new(&model, options.clone()).unwrap_err();
    assert!(error.to_string().contains("0 to 96"), "{error}");
    assert!(started(&model).set_sampler_options(options).is_err());
}

#[test]
fn a_saved_session_keeps_every_option_and_what_was_generated() {
    let model = model(Packing::T5, 3);
    let options = SamplerOptions {
        repeat_last_n: 7,
        frequency_penalty: 0.3,
        presence_penalty: -0.7,
        typical_p: 0.95,
        no_repeat_ngram: 3,
        logit_bias: [(4, 1.5), (90, f32::NEG_INFINITY)].into(),
        suppress_tokens: [5, 6].into(),
        ..sampled()
    };
    let mut whole = Session::new(&model, options.clone()).unwrap();
    let mut cut = whole.clone();
    let mut expected = Vec::new();
    for turn in 0..3 {
        for session in [&mut whole, &mut cut] {
            session.push(&prompt()[turn * 20..turn * 20 + 20]).unwrap();
        }
        expected.extend(tokens(&mut whole, 6));
        tokens(&mut cut, 6);
        cut = Session::from_bytes(&model, &cut.to_bytes().unwrap()).unwrap();
        assert_eq!(cut.sampler_options(), &options);
        assert_eq!(cut.ids(), whole.ids());
        assert_eq!(cut.to_bytes().unwrap(), whole.to_bytes().unwrap());
    }
    assert_eq!(tokens(&mut cut, 10), tokens(&mut whole, 10));
}

/// Whatever a batch or a caller leaves of a session can be saved and gone on with.
#[test]
fn a_session_that_was_fed_to_its_end_is_loaded_and_goes_on_after_a_push() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    while let Some(step) = session.next_step(64) {
        let outcome = model.forward(&mut [step]);
        session.finish_step(outcome).unwrap();
    }
    let mut loaded = Session::from_bytes(&model, &session.to_bytes().unwrap()).unwrap();
    let error = loaded.next_token().unwrap_err();
    assert!(error.to_string().contains("one token at least to go on from"), "{error}");
    for session in [&mut session, &mut loaded] {
        session.push(&[5, 6]).unwrap();
    }
    assert_eq!(tokens(&mut loaded, 5), tokens(&mut session, 5));
    let empty = Session::new(&model, sampled()).unwrap();
    let loaded = Session::from_bytes(&model, &empty.to_bytes().unwrap()).unwrap();
    assert!(loaded.ids().is_empty());
}

#[test]
fn more_draws_than_ids_are_refused() {
    let model = model(Packing::T5, 3);
    let text = String::from_utf8_lossy(&version_1(&started(&model))).into_owned();
    let hostile = text.replace(r#"draws":"0""#, r#"draws":"9""#);
    assert_eq!(text.len(), hostile.len());
    assert!(Session::from_bytes(&model, hostile.as_bytes()).is_ok());
    let session = {
        let mut session = Session::new(&model, sampled()).unwrap();
        session.push(&[1]).unwrap();
        session
    };
    let text = String::from_utf8_lossy(&version_1(&session)).into_owned();
    let hostile = text.replace(r#"draws":"0""#, r#"draws":"9""#);
    let error = Session::from_bytes(&model, hostile.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("9 of them drawn"), "{error}");
}

#[test]
fn a_prompt_in_two_pieces_is_scored_as_in_one() {
    let model = model(Packing::T5, 3);
    let scores = |pieces: &[&[u32]]| {
        let mut session = Session::new(&model, sampled()).unwrap();
        session.score_prompt(2).unwrap();
        for piece in pieces {
            session.push(piece).unwrap();
            while let Some(step) = session.next_step(64) {
                let outcome = model.forward(&mut [step]);
                session.finish_step(outcome).unwrap();
            }
        }
        session.prompt_scores().to_vec()
    };
    let ids = prompt();
    let whole = scores(&[&ids]);
    assert_eq!(whole.len(), ids.len() - 1);
    assert_eq!(scores(&[&ids[..20], &ids[20..21], &ids[21..]]), whole);
}

#[test]
fn only_a_token_that_was_chosen_has_a_score() {
    let model = model(Packing::T5, 3);
    let mut session = started(&model);
    session.score_tokens(Some(1));
    let id = session.next_token().unwrap();
    assert_eq!(session.token_score().unwrap().unwrap().id, id);
    session.push(&[7]).unwrap();
    assert_eq!(session.token_score().unwrap(), None);
}

#[test]
fn an_id_outside_of_the_vocabulary_is_named_with_its_file() {
    let model = model(Packing::T5, 3);
    let mut bytes = version_1(&started(&model));
    // The ids are what comes last but for the spans of generated ones, of which there are none here.
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
    let dir = TempDir::new();
    let path = dir.write("outside.state", bytes);
    let error = Session::load(&model, &path).unwrap_err().to_string();
    assert!(
        error.contains("outside.state: token id 4294967295 is outside the vocabulary"),
        "{error}"
    );
}
