//! Sequences that are run together get the bits that each has alone, whatever joins, leaves, forks or fails beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mmfree::packing::Packing;
use mmfree::{
    Batch, Error, Event, Limits, Model, ModelFile, Options, PrefixCache, SamplerOptions, Scored,
    SequenceId, Session, StopReason, StopStrings, TextStream,
};
use proptest::prelude::*;

use crate::synthetic::{self, Rng};

fn model() -> Arc<Model> {
    let bytes = synthetic::model(&synthetic::config(), Packing::T5, 3);
    let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
    Model::new(file, &Options { threads: Some(1), ..crate::util::options() }).unwrap()
}

fn sampling(seed: u64) -> SamplerOptions {
    SamplerOptions {
        temperature: 1.0,
        top_p: 0.98,
        repeat_penalty: 1.1,
        seed,
        ..Default::default()
    }
}

fn limits(max_tokens: usize) -> Limits {
    Limits { max_tokens: Some(max_tokens), ..Limits::default() }
}

fn text(limits: Limits, session: &Session) -> TextStream {
    TextStream::new(None, StopStrings::new(Vec::new()).unwrap(), limits, session.ids().len())
}

fn session(model: &Arc<Model>, prompt: &[u32], seed: u64) -> Session {
    let mut session = Session::new(model, sampling(seed)).unwrap();
    session.push(prompt).unwrap();
    session
}

/// The ids that follow when a session is alone.
fn alone(model: &Arc<Model>, ids: &[u32], seed: u64, count: usize) -> Vec<u32> {
    let mut session = session(model, ids, seed);
    (0..count).map(|_| session.next_token().unwrap()).collect()
}

/// The scores of a prompt when it is alone and fed token by token.
fn scores_alone(model: &Arc<Model>, prompt: &[u32], n: usize) -> Vec<Scored> {
    let mut session = session(model, prompt, 0);
    session.score_prompt(n).unwrap();
    while !session.pending().is_empty() {
        let outcome = model.forward(&mut [session.next_step(1).unwrap()]);
        session.finish_step(outcome).unwrap();
    }
    session.prompt_scores().to_vec()
}

/// Runs a batch to its end: the sessions by their number, and the tokens of all prompts that were read.
fn drain(batch: &mut Batch, budget: usize) -> BTreeMap<SequenceId, Session> {
    let mut ended = BTreeMap::new();
    while !batch.is_empty() {
        for event in batch.pass(budget) {
            if let Event::Ended { key, reason, session, .. } = event {
                reason.unwrap();
                ended.insert(key, *session);
            }
        }
    }
    ended
}

fn prompt(len: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..len).map(|_| 1 + rng.below(96) as u32).collect()
}

/// What was asked of a sequence, to be asked again alone.
struct Asked {
    ids: Vec<u32>,
    seed: u64,
    scores: Option<usize>,
    /// Tokens that came before the sequence left the batch and joined it again.
    earlier: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Deed {
    /// A prompt: how much of one of three long texts, and an end of its own.
    Join {
        text: u64,
        shared: usize,
        own: usize,
        seed: u64,
        tokens: usize,
        scores: Option<usize>,
    },
    Cancel(prop::sample::Index),
    Fork(prop::sample::Index, u64),
    /// A sequence leaves and joins again, and is saved and loaded in between or not.
    Rejoin(prop::sample::Index, bool),
    Pass(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let join = (0u64..3, 0usize..150, 0usize..4, 0u64..4, 0usize..12, prop::option::of(0usize..3));
    prop_oneof![
        3 => join.prop_map(|(text, shared, own, seed, tokens, scores)| {
            Deed::Join { text, shared, own, seed, tokens, scores }
        }),
        1 => any::<prop::sample::Index>().prop_map(Deed::Cancel),
        1 => (any::<prop::sample::Index>(), 0u64..4).prop_map(|(i, seed)| Deed::Fork(i, seed)),
        1 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(i, saved)| Deed::Rejoin(i, saved)),
        5 => (0usize..90).prop_map(Deed::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_joins_leaves_and_forks_every_sequence_has_the_bits_that_it_has_alone(
        deeds in prop::collection::vec(deed(), 1..40),
        // None, one that holds next to nothing, one with room.
        cache in prop::sample::select(vec![None, Some(2_000), Some(10_000), Some(1 << 20)]),
        interval in 0usize..50,
    ) {
        let model = model();
        let mut batch = match cache {
            None => Batch::new(&model),
            Some(budget) => {
                let mut cache = PrefixCache::new(budget);
                cache.set_interval(interval);
                Batch::with_cache(&model, cache)
            }
        };
        let mut asked: BTreeMap<SequenceId, Asked> = BTreeMap::new();
        let mut alive: Vec<SequenceId> = Vec::new();
        let mut ended: Vec<(SequenceId, Session)> = Vec::new();
        let mut tokens: BTreeMap<SequenceId, Vec<u32>> = BTreeMap::new();
        let mut pass = |batch: &mut Batch, budget: usize, alive: &mut Vec<SequenceId>| {
            for event in batch.pass(budget) {
                match event {
                    Event::Prompt { fed, total, cached, .. } => assert!(cached <= fed && fed < total),
                    Event::Token { key, id, score, .. } => {
                        assert!(score.is_none());
                        tokens.entry(key).or_default().push(id);
                    }
                    Event::Ended { key, reason, session, .. } => {
                        assert_eq!(reason.unwrap(), StopReason::MaxTokens);
                        alive.retain(|other| *other != key);
                        ended.push((key, *session));
                    }
                }
            }
            if let (Some(budget), Some(cache)) = (cache, batch.cache()) {
                assert!(cache.counts().bytes <= budget, "{:?}", cache.counts());
            }
        };
        for deed in deeds {
            match deed {
                Deed::Join { text: which, shared, own, seed, tokens, scores } => {
                    let ids = [prompt(shared, which), prompt(1 + own, 10 + seed)].concat();
                    let mut session = session(&model, &ids, seed);
                    if let Some(n) = scores {
                        session.score_prompt(n).unwrap();
                    }
                    let text = text(limits(tokens), &session);
                    let key = match seed {
                        0 => batch.join(session, text).unwrap(),
                        space => batch.join_cached(session, text, space % 2).unwrap(),
                    };
                    asked.insert(key, Asked { ids, seed, scores, earlier: Vec::new() });
                    alive.push(key);
                }
                Deed::Cancel(index) if !alive.is_empty() => {
                    let key = alive.remove(index.index(alive.len()));
                    let mut session = batch.cancel(key).unwrap();
                    // It goes on alone.
                    let Asked { ids, seed, .. } = &asked[&key];
                    while session.ids().len() < ids.len() + 3 {
                        session.next_token().unwrap();
                    }
                    let count = session.ids().len() - ids.len();
                    let expected = alone(&model, ids, *seed, count);
                    prop_assert_eq!(&session.ids()[ids.len()..], expected);
                }
                Deed::Fork(index, seed) if !alive.is_empty() => {
                    let from = alive[index.index(alive.len())];
                    let change = |session: &mut Session, _: &mut TextStream| {
                        session.set_sampler_options(sampling(seed)).unwrap();
                    };
                    let key = batch.fork(from, change).unwrap().unwrap();
                    let ids = batch.session(key).unwrap().ids().to_vec();
                    asked.insert(key, Asked { ids, seed, scores: None, earlier: Vec::new() });
                    alive.push(key);
                }
                Deed::Rejoin(index, saved) if !alive.is_empty() => {
                    let key = alive.remove(index.index(alive.len()));
                    let mut session = batch.cancel(key).unwrap();
                    let mut asked_before = asked.remove(&key).unwrap();
                    if saved {
                        // Scores are not saved.
                        asked_before.scores = None;
                        let bytes = session.to_bytes().unwrap();
                        session = Session::from_bytes(&model, &bytes).unwrap();
                    }
                    let earlier = session.ids()[asked_before.ids.len()..].to_vec();
                    let text = text(limits(5), &session);
                    let key = batch.join_cached(session, text, 1).unwrap();
                    asked.insert(key, Asked { earlier, ..asked_before });
                    alive.push(key);
                }
                Deed::Cancel(_) | Deed::Fork(..) | Deed::Rejoin(..) => {}
                Deed::Pass(budget) => pass(&mut batch, budget, &mut alive),
            }
        }
        while !batch.is_empty() {
            pass(&mut batch, 64, &mut alive);
        }
        for (key, session) in ended {
            let Asked { ids, seed, scores, earlier } = &asked[&key];
            let count = session.ids().len() - ids.len();
            let expected = alone(&model, ids, *seed, count);
            prop_assert_eq!(&session.ids()[ids.len()..], &expected[..]);
            let came = [&earlier[..], &tokens.remove(&key).unwrap_or_default()].concat();
            prop_assert_eq!(came, expected);
            if let Some(n) = scores {
                prop_assert_eq!(session.prompt_scores(), scores_alone(&model, ids, *n));
            }
        }
    }
}

#[test]
fn an_overflow_ends_its_own_sequence_alone() {
    let model = crate::forward::overflowing();
    let mut batch = Batch::new(&model);
    let sane = |len, seed| -> Vec<u32> {
        prompt(len, seed).into_iter().map(|id| if id == 3 { 4 } else { id }).collect()
    };
    // Greedy, so that none of the others comes upon token 3 by chance of the seed.
    let mut join = |ids: &[u32]| {
        let mut session = Session::new(&model, SamplerOptions::default()).unwrap();
        session.push(ids).unwrap();
        let text = text(limits(5), &session);
        (batch.join(session, text).unwrap(), ids.to_vec())
    };
    let good = [join(&sane(30, 1)), join(&sane(9, 2))];
    let bad = join(&[sane(20, 3), vec![3], sane(5, 4)].concat());
    let mut ended = BTreeMap::new();
    while !batch.is_empty() {
        for event in batch.pass(40) {
            if let Event::Ended { key, reason, session, .. } = event {
                ended.insert(key, (reason, session));
            }
        }
    }
    let (reason, mut session) = ended.remove(&bad.0).unwrap();
    assert!(matches!(reason, Err(Error::NonFinite { position: 20, .. })), "{reason:?}");
    assert!(matches!(session.next_token(), Err(Error::PoisonedState)));
    for (key, ids) in good {
        let (reason, session) = ended.remove(&key).unwrap();
        assert_eq!(reason.unwrap(), StopReason::MaxTokens);
        let mut alone = Session::new(&model, SamplerOptions::default()).unwrap();
        alone.push(&ids).unwrap();
        (0..5).for_each(|_| assert!(alone.next_token().is_ok()));
        assert_eq!(session.ids(), alone.ids());
    }
}

/// What of the prompts the batch had not to read.
fn saved(batch: &Batch) -> u64 {
    batch.cache().unwrap().counts().tokens_saved
}

#[test]
fn a_prompt_asked_for_many_times_at_once_is_read_once() {
    let model = model();
    let ids = prompt(200, 1);
    for budget in [17, 64, 500] {
        let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
        for seed in 0..5 {
            let session = session(&model, &ids, seed);
            let text = text(limits(4), &session);
            batch.join_cached(session, text, 0).unwrap();
        }
        for (seed, session) in drain(&mut batch, budget).into_values().enumerate() {
            assert_eq!(session.ids()[200..], alone(&model, &ids, seed as u64, 4));
        }
        assert_eq!(saved(&batch), 4 * 199, "budget {budget}");
    }
}

#[test]
fn prompts_that_begin_alike_are_read_apart_from_where_they_part() {
    let model = model();
    let common = prompt(100, 1);
    for scores in [None, Some(1)] {
        let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
        let prompts: Vec<Vec<u32>> =
            (0..4).map(|n| [common.clone(), vec![10 + n], prompt(6, 50)].concat()).collect();
        for ids in &prompts {
            let mut session = session(&model, ids, 0);
            if let Some(n) = scores {
                session.score_prompt(n).unwrap();
            }
            let text = text(limits(1), &session);
            batch.join_cached(session, text, 0).unwrap();
        }
        for (ids, session) in prompts.iter().zip(drain(&mut batch, 64).into_values()) {
            if scores.is_some() {
                assert_eq!(session.prompt_scores(), scores_alone(&model, ids, 1));
            }
        }
        // Places where prompts part are rounded down to multiples of 16.
        assert_eq!(saved(&batch), 3 * 96);
    }
}

#[test]
fn the_next_turn_goes_on_from_the_end_of_the_last() {
    let model = model();
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
    let first = session(&model, &prompt(50, 1), 7);
    let text_of = text(limits(20), &first);
    batch.join_cached(first, text_of, 0).unwrap();
    let first = drain(&mut batch, 64).into_values().next().unwrap();
    let ids = [first.ids(), &prompt(10, 2)].concat();
    let second = session(&model, &ids, 7);
    let text_of = text(limits(5), &second);
    batch.join_cached(second, text_of, 0).unwrap();
    let second = drain(&mut batch, 64).into_values().next().unwrap();
    assert_eq!(saved(&batch), 69, "all but the last token generated, which was never fed");
    assert_eq!(second.ids()[80..], alone(&model, &ids, 7, 5));
}

#[test]
fn one_space_sees_nothing_of_another() {
    let model = model();
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
    for (space, expected) in [(1, 0), (2, 0), (1, 49), (2, 98)] {
        let session = session(&model, &prompt(50, 1), 0);
        let text = text(limits(1), &session);
        batch.join_cached(session, text, space).unwrap();
        drain(&mut batch, 64);
        assert_eq!(saved(&batch), expected);
    }
    batch.cache_mut().unwrap().clear(1);
    assert_eq!(batch.cache().unwrap().find_len(1, &prompt(50, 1)), 0);
    assert_eq!(batch.cache().unwrap().find_len(2, &prompt(50, 1)), 49);
}

#[test]
fn scores_that_are_known_with_fewer_tokens_are_computed_anew() {
    let model = model();
    let ids = prompt(80, 1);
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
    for (n, expected) in [(Some(1), 0), (Some(3), 0), (Some(2), 79), (None, 158), (Some(3), 237)] {
        let mut session = session(&model, &ids, 0);
        if let Some(n) = n {
            session.score_prompt(n).unwrap();
        }
        let text = text(limits(1), &session);
        batch.join_cached(session, text, 0).unwrap();
        let session = drain(&mut batch, 64).into_values().next().unwrap();
        if let Some(n) = n {
            assert_eq!(session.prompt_scores(), scores_alone(&model, &ids, n));
        }
        assert_eq!(saved(&batch), expected, "{n:?}");
    }
}

#[test]
fn an_entry_costs_its_state_and_what_it_does_not_share() {
    let model = model();
    let mut cache = PrefixCache::new(1 << 30);
    let state = 4 * model.config().state_len();
    let mut fed = |ids: &[u32]| {
        let mut session = session(&model, ids, 0);
        let outcome = model.forward(&mut [session.next_step(ids.len()).unwrap()]);
        session.finish_step(outcome).unwrap();
        let before = cache.counts().bytes;
        cache.insert(0, ids, session.state(), None).unwrap();
        cache.counts().bytes - before
    };
    // A tenth of the smallest published model's state is 9830 bytes.
    let rest = 900;
    let common = prompt(3000, 1);
    let whole = fed(&common);
    assert!((state + 12_000..state + 12_000 + rest).contains(&whole), "{whole}");
    let more = fed(&[&common[..], &prompt(100, 2)].concat());
    assert!((state + 400..state + 400 + rest).contains(&more), "{more}");
    let other = fed(&[&common[..1000], &[5], &prompt(99, 3)].concat());
    assert!((state + 400..state + 400 + 2 * rest).contains(&other), "{other}");
}

#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let model = model();
    let entry = 4 * model.config().state_len() + 1000;
    let mut batch = Batch::with_cache(&model, PrefixCache::new(3 * entry));
    let ask = |batch: &mut Batch, which: u64| {
        let session = session(&model, &prompt(30, which), 0);
        let text = text(limits(1), &session);
        batch.join_cached(session, text, 0).unwrap();
        drain(batch, 64);
    };
    for which in [1, 2, 3, 1, 4] {
        ask(&mut batch, which);
    }
    let cache = batch.cache().unwrap();
    let there: Vec<usize> = (1..=4).map(|which| cache.find_len(0, &prompt(30, which))).collect();
    assert_eq!(there[1], 0, "{there:?}");
    assert_eq!((there[0], there[3]), (29, 29), "{there:?}");
    assert!(cache.counts().bytes <= 3 * entry && cache.counts().evicted > 0);
}

#[test]
fn a_text_of_no_tokens_ends_at_once_or_with_the_scores_of_its_prompt() {
    let model = model();
    let mut batch = Batch::new(&model);
    let plain = session(&model, &prompt(20, 1), 0);
    let mut scored = plain.clone();
    scored.score_prompt(1).unwrap();
    let join = |batch: &mut Batch, session: Session| {
        let text = text(limits(0), &session);
        batch.join(session, text).unwrap()
    };
    let (plain, scored) = (join(&mut batch, plain), join(&mut batch, scored));
    let ended = drain(&mut batch, 7);
    assert_eq!(ended[&plain].prompt_scores(), []);
    assert_eq!(ended[&scored].prompt_scores(), scores_alone(&model, &prompt(20, 1), 1));
    assert_eq!((ended[&plain].draws(), ended[&scored].draws()), (0, 0));
}

#[test]
fn texts_of_written_sequences_come_first_and_prompts_fill_the_rest() {
    let model = model();
    let mut batch = Batch::new(&model);
    let writing = session(&model, &prompt(1, 1), 0);
    let text_of = text(limits(50), &writing);
    let writing = batch.join(writing, text_of).unwrap();
    batch.pass(10);
    let long = session(&model, &prompt(100, 2), 0);
    let text_of = text(limits(5), &long);
    let long = batch.join(long, text_of).unwrap();
    for n in 1..=3 {
        let events = batch.pass(10);
        assert!(matches!(events[0], Event::Token { key, .. } if key == writing));
        let Event::Prompt { key, fed, total: 100, .. } = events[1] else { panic!("{events:?}") };
        assert_eq!((key, fed), (long, 9 * n));
    }
    // However small the budget, both go on.
    let events = batch.pass(0);
    assert!(matches!(events[..], [Event::Token { .. }, Event::Prompt { fed: 28, .. }]));
    assert_eq!((batch.len(), batch.decoding()), (2, 1));
}

#[test]
fn rejects_a_session_of_another_model_or_without_a_token() {
    let (model, other) = (model(), model());
    let mut batch = Batch::new(&model);
    let foreign = session(&other, &[1], 0);
    let text_of = text(limits(1), &foreign);
    let error = batch.join(foreign, text_of.clone()).unwrap_err();
    assert!(matches!(error, Error::StateMismatch { .. }), "{error}");
    let empty = Session::new(&model, sampling(0)).unwrap();
    assert!(matches!(batch.join(empty, text_of), Err(Error::Option { name: "prompt", .. })));
}

#[cfg(feature = "demo")]
#[test]
fn texts_of_the_demo_model_are_those_that_each_has_alone() {
    use mmfree::Tokenizer;
    let model = Model::new(ModelFile::demo().unwrap(), &crate::util::options()).unwrap();
    let tokenizer = Tokenizer::from_file(model.file()).unwrap().unwrap();
    let prompts = ["Once upon a time", "The king", "Once upon a midnight", "\u{e9}\u{4f60}"];
    let parts = |n: usize| {
        let options = SamplerOptions { temperature: 0.9, seed: n as u64, ..Default::default() };
        let mut session = Session::new(&model, options).unwrap();
        session.push(&tokenizer.encode_prompt(prompts[n % prompts.len()]).unwrap()).unwrap();
        let stops = StopStrings::new(vec![". ".into(), "\n".into()]).unwrap();
        let decode = tokenizer.stream_after(session.ids()).unwrap();
        let text = TextStream::new(Some(decode), stops, limits(40), session.ids().len());
        (session, text)
    };
    let alone = |n: usize| {
        let (mut session, mut stream) = parts(n);
        let mut text = String::new();
        while stream.stop_reason().is_none() {
            text += &stream.push(session.next_token().unwrap()).unwrap();
        }
        text += &stream.finish().unwrap();
        (text, stream.stop_reason().cloned().unwrap())
    };
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
    let keys: Vec<SequenceId> = (0..12)
        .map(|n| {
            let (session, text) = parts(n);
            batch.join_cached(session, text, 0).unwrap()
        })
        .collect();
    let mut texts: BTreeMap<SequenceId, (String, Option<StopReason>)> = BTreeMap::new();
    while !batch.is_empty() {
        for event in batch.pass(16) {
            match event {
                Event::Token { key, text, .. } => texts.entry(key).or_default().0 += &text,
                Event::Ended { key, text, reason, .. } => {
                    let entry = texts.entry(key).or_default();
                    entry.0 += &text;
                    entry.1 = Some(reason.unwrap());
                }
                Event::Prompt { .. } => {}
            }
        }
    }
    for (n, key) in keys.iter().enumerate() {
        let (text, reason) = alone(n);
        assert_eq!(texts[key], (text, Some(reason)), "{n}");
    }
}

#[cfg(feature = "demo")]
#[test]
fn an_interrupted_sequence_gives_what_it_held_back_and_leaves_its_state() {
    use mmfree::Tokenizer;
    let model = Model::new(ModelFile::demo().unwrap(), &crate::util::options()).unwrap();
    let tokenizer = Tokenizer::from_file(model.file()).unwrap().unwrap();
    let ids = tokenizer.encode_prompt("Once upon a time").unwrap();
    let read = |stops: Vec<String>| {
        let mut session = Session::new(&model, SamplerOptions::default()).unwrap();
        session.push(&ids).unwrap();
        let decode = tokenizer.stream_after(&ids).unwrap();
        let stops = StopStrings::new(stops).unwrap();
        let text = TextStream::new(Some(decode), stops, limits(100), ids.len());
        let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
        let key = batch.join_cached(session, text, 0).unwrap();
        let mut said = String::new();
        for event in (0..8).flat_map(|_| batch.pass(64)).collect::<Vec<_>>() {
            if let Event::Token { text, .. } = event {
                said += &text;
            }
        }
        let ended = batch.interrupt(key).unwrap();
        assert!(batch.is_empty() && batch.interrupt(key).is_none());
        let Event::Ended { text, reason, session, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(reason.unwrap(), StopReason::Interrupted);
        assert_eq!(batch.cache().unwrap().find_len(0, session.ids()), session.ids().len() - 1);
        (said, text)
    };
    let (whole, rest) = read(vec![]);
    assert_eq!(rest, "");
    // All of it might be the beginning of this one.
    let (said, held) = read(vec![format!("{whole}, never")]);
    assert_eq!((said.as_str(), held), ("", whole));
}

/// What a file or a client said must not become what others find.
#[test]
fn a_loaded_session_neither_fills_the_cache_nor_is_replaced_from_it() {
    let model = model();
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 20));
    let ids = prompt(60, 1);
    let mut early = session(&model, &ids[..58], 7);
    early.next_token().unwrap();
    let mut loaded = Session::from_bytes(&model, &early.to_bytes().unwrap()).unwrap();
    loaded.push(&ids[58..]).unwrap();
    let mut again = loaded.clone();
    let text_of = text(limits(3), &loaded);
    batch.join_cached(loaded, text_of, 0).unwrap();
    let ended = drain(&mut batch, 64).into_values().next().unwrap();
    (0..3).for_each(|_| assert!(again.next_token().is_ok()));
    assert_eq!(ended.ids(), again.ids());
    assert_eq!(batch.cache().unwrap().counts().entries, 0);
}

#[test]
fn an_entry_that_has_no_room_drives_out_no_other() {
    let model = model();
    let entry = 4 * model.config().state_len() + 1000;
    let mut batch = Batch::with_cache(&model, PrefixCache::new(8 * entry));
    let ask = |batch: &mut Batch, ids: &[u32], scores: Option<usize>| {
        let mut session = session(&model, ids, 0);
        if let Some(n) = scores {
            session.score_prompt(n).unwrap();
        }
        let text = text(limits(1), &session);
        batch.join_cached(session, text, 0).unwrap();
        drain(batch, 64);
    };
    ask(&mut batch, &prompt(30, 1), None);
    ask(&mut batch, &prompt(900, 2), Some(90));
    let cache = batch.cache().unwrap();
    assert_eq!(cache.find_len(0, &prompt(30, 1)), 29);
    // Without its scores it has room.
    assert_eq!(cache.find_len(0, &prompt(900, 2)), 899);
}

#[test]
fn scored_prompts_of_many_sequences_have_few_logits_at_a_time() {
    let model = model();
    let mut batch = Batch::new(&model);
    for n in 0..20 {
        let mut session = session(&model, &prompt(100, n), 0);
        session.score_prompt(1).unwrap();
        let text = text(limits(0), &session);
        batch.join(session, text).unwrap();
    }
    let read = |batch: &mut Batch| -> usize {
        let events = batch.pass(5000).into_iter();
        events.map(|event| if let Event::Prompt { fed, .. } = event { fed } else { 0 }).sum()
    };
    assert_eq!(read(&mut batch), 256);
    for session in drain(&mut batch, 5000).into_values() {
        assert_eq!(session.prompt_scores(), scores_alone(&model, session.ids(), 1));
    }
}

#[test]
fn many_prompts_that_part_at_many_places_are_read_in_few_passes() {
    let model = model();
    let mut batch = Batch::with_cache(&model, PrefixCache::new(1 << 24));
    let long = prompt(400, 1);
    let mut asked = vec![long.clone()];
    asked.extend((16..390).map(|at| [&long[..at], &[(long[at] + 1) % 97], &prompt(3, 2)].concat()));
    for ids in &asked {
        let session = session(&model, ids, 0);
        let text = text(limits(1), &session);
        batch.join_cached(session, text, 0).unwrap();
    }
    let mut passes = 0;
    while !batch.is_empty() {
        passes += 1;
        for event in batch.pass(512) {
            if let Event::Ended { session, reason, .. } = event {
                reason.unwrap();
                let (ids, last) = session.ids().split_at(session.ids().len() - 1);
                assert_eq!(last, alone(&model, ids, 0, 1));
            }
        }
    }
    assert!(passes < 60, "{passes}");
    // Of each some 16 tokens at most are read again.
    let all: usize = asked.iter().map(Vec::len).sum();
    assert!(all as u64 - saved(&batch) < 400 + 374 * 24, "{} of {all}", saved(&batch));
}

#[test]
fn a_fork_that_was_given_more_to_read_reads_it_as_a_prompt() {
    let model = model();
    let mut batch = Batch::new(&model);
    let first = session(&model, &prompt(20, 1), 3);
    let text_of = text(limits(30), &first);
    let first = batch.join(first, text_of).unwrap();
    (0..5).for_each(|_| drop(batch.pass(64)));
    let more = prompt(300, 2);
    let key = batch.fork(first, |session, _| session.push(&more).unwrap()).unwrap().unwrap();
    let ids = batch.session(key).unwrap().ids().to_vec();
    let events = batch.pass(512);
    assert!(matches!(events[..], [Event::Token { .. }, Event::Token { key: k, .. }] if k == key));
    let ended = drain(&mut batch, 64).remove(&key).unwrap();
    let count = ended.ids().len() - ids.len();
    assert_eq!(ended.ids()[ids.len()..], alone(&model, &ids, 3, count));
    // One that cannot go on is refused, and the batch is as before.
    let second = session(&model, &prompt(20, 1), 3);
    let text_of = text(limits(3), &second);
    let second = batch.join(second, text_of).unwrap();
    let emptied = batch.fork(second, |session, _| {
        *session = Session::new(&model, sampling(0)).unwrap();
    });
    assert!(matches!(emptied, Err(Error::Option { name: "prompt", .. })));
    assert_eq!(batch.len(), 1);
    drain(&mut batch, 64);
    assert!(batch.fork(second, |_, _| ()).unwrap().is_none());
}

/// Nothing may follow, from the start.
#[derive(Clone)]
struct Done;

impl mmfree::Constraint for Done {
    fn allowed(&mut self, _: &mut mmfree::TokenMask) -> Result<(), Error> {
        Ok(())
    }

    fn take(&mut self, _: u32) -> Result<(), Error> {
        unreachable!("no token is allowed")
    }

    fn is_done(&self) -> bool {
        true
    }

    fn clone_box(&self) -> Box<dyn mmfree::Constraint> {
        Box::new(Done)
    }
}

#[test]
fn a_constraint_that_is_complete_from_the_start_gives_an_empty_text() {
    let model = model();
    let mut session = session(&model, &prompt(20, 1), 3);
    session.set_constraint(Some(Box::new(Done)));
    let mut generate = session.generate(&Limits::default());
    assert!(generate.next().is_none());
    assert_eq!(generate.stop_reason(), Some(&StopReason::Complete));
    let mut batch = Batch::new(&model);
    let text_of = text(limits(5), &session);
    batch.join(session, text_of).unwrap();
    let events = batch.pass(64);
    let [Event::Ended { reason, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(reason.as_ref().unwrap(), &StopReason::Complete);
}
