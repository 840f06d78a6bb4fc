//! The forward pass gives the same bits however it is asked.

use std::sync::Arc;

use mmfree::format::{Config, ShortConv};
use mmfree::kernels::{Family, Isa};
use mmfree::packing::Packing;
use mmfree::{Error, Model, ModelFile, Options, Repack, Residency, State, Step, Want};

use crate::synthetic::{self, Rng};
use crate::util::options;

fn load(config: &Config, packing: Packing, options: &Options) -> Arc<Model> {
    let bytes = synthetic::model(config, packing, 7);
    Model::new(ModelFile::from_bytes("synthetic", &bytes).unwrap(), options).unwrap()
}

fn plain(config: &Config) -> Arc<Model> {
    load(config, Packing::T5, &options())
}

fn tokens(config: &Config, len: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..len).map(|_| rng.below(config.vocab_size) as u32).collect()
}

/// All logits of `ids` after `state`.
fn feed(model: &Model, state: &mut State, ids: &[u32]) -> Vec<f32> {
    let mut logits = Vec::new();
    let want = Want::All;
    model
        .forward(&mut [Step { state, tokens: ids, want, logits: &mut logits, states: None }])
        .unwrap();
    logits
}

fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|v| v.to_bits()).collect()
}

fn fnv(floats: &[f32]) -> u64 {
    floats.iter().flat_map(|v| v.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn chunked_prefill_equals_stepwise() {
    for (kind, config) in synthetic::kinds() {
        let model = plain(&config);
        // Longer than a pass takes rows.
        let ids = tokens(&config, 300, 1);
        let mut whole = model.new_state();
        let expected = feed(&model, &mut whole, &ids);
        for chunk in [1, 2, 7, 256, 299] {
            let mut state = model.new_state();
            let got: Vec<f32> =
                ids.chunks(chunk).flat_map(|ids| feed(&model, &mut state, ids)).collect();
            assert_eq!(bits(&got), bits(&expected), "{kind}, chunks of {chunk}");
            assert_eq!(state, whole, "{kind}, chunks of {chunk}");
            assert_eq!(state.position(), 300);
        }
    }
}

#[test]
fn a_batch_equals_each_sequence_alone() {
    for (kind, config) in synthetic::kinds() {
        let model = plain(&config);
        let prompts: Vec<Vec<u32>> =
            [1, 5, 0, 270, 2].iter().zip(1..).map(|(&len, s)| tokens(&config, len, s)).collect();
        let mut states: Vec<State> = prompts.iter().map(|_| model.new_state()).collect();
        let mut logits = vec![Vec::new(); prompts.len()];
        let mut steps: Vec<Step<'_>> = states
            .iter_mut()
            .zip(&mut logits)
            .zip(&prompts)
            .map(|((state, logits), tokens)| Step {
                state,
                tokens,
                want: Want::Last,
                logits,
                states: None,
            })
            .collect();
        model.forward(&mut steps).unwrap();
        for (i, prompt) in prompts.iter().enumerate() {
            let mut state = model.new_state();
            let all = feed(&model, &mut state, prompt);
            let last = all.len().saturating_sub(config.vocab_size);
            assert_eq!(bits(&logits[i]), bits(&all[last..]), "{kind}, sequence {i}");
            assert_eq!(states[i], state, "{kind}, sequence {i}");
        }
    }
}

#[test]
fn logits_replace_what_was_in_their_place() {
    let (_, config) = synthetic::kinds().remove(0);
    let model = plain(&config);
    // Whatever was there before: nothing, as much, more, less.
    let stale = |len: usize| vec![f32::NAN; len * config.vocab_size / 2];
    for lens in [[0, 0, 0], [2, 2, 2], [900, 900, 900], [1, 3, 0]] {
        let prompts = [tokens(&config, 300, 1), tokens(&config, 3, 2), Vec::new()];
        let wants = [Want::All, Want::Last, Want::Last];
        let mut states = [model.new_state(), model.new_state(), model.new_state()];
        let mut logits = lens.map(stale);
        let mut steps: Vec<Step<'_>> = states
            .iter_mut()
            .zip(&mut logits)
            .zip(prompts.iter().zip(wants))
            .map(|((state, logits), (tokens, want))| Step {
                state,
                tokens,
                want,
                logits,
                states: None,
            })
            .collect();
        model.forward(&mut steps).unwrap();
        let all = feed(&model, &mut model.new_state(), &prompts[0]);
        let last = feed(&model, &mut model.new_state(), &prompts[1]);
        assert_eq!(bits(&logits[0]), bits(&all));
        assert_eq!(bits(&logits[1]), bits(&last[2 * config.vocab_size..]));
        assert!(logits[2].is_empty());
        // And one sequence alone, a token at a time, over its own logits.
        let (mut state, mut logits) = (model.new_state(), stale(lens[1]));
        for (t, id) in prompts[1].iter().enumerate() {
            let tokens = std::slice::from_ref(id);
            let want = Want::Last;
            model
                .forward(&mut [Step {
                    state: &mut state,
                    tokens,
                    want,
                    logits: &mut logits,
                    states: None,
                }])
                .unwrap();
            let row = &last[t * config.vocab_size..][..config.vocab_size];
            assert_eq!(bits(&logits), bits(row), "token {t}");
        }
    }
}

#[test]
fn threads_instruction_sets_kernels_and_packings_change_no_bit() {
    for (kind, config) in synthetic::kinds() {
        let ids = tokens(&config, 70, 3);
        let reference = load(
            &config,
            Packing::I2,
            &Options { threads: Some(1), isa: Some(Isa::Scalar), ..options() },
        );
        let mut state = reference.new_state();
        let expected = feed(&reference, &mut state, &ids);
        for packing in Packing::ALL {
            for isa in Isa::available() {
                let dot = (isa != Isa::Scalar).then_some(Family::Dot);
                for (threads, kernel) in [(1, None), (2, Some(Family::Add)), (5, dot)] {
                    let options =
                        Options { threads: Some(threads), isa: Some(isa), kernel, ..options() };
                    let model = load(&config, packing, &options);
                    let mut got_state = model.new_state();
                    let got = feed(&model, &mut got_state, &ids);
                    let what = format!("{kind}, {packing:?}, {isa:?}, {threads} threads");
                    assert_eq!(bits(&got), bits(&expected), "{what}");
                    assert_eq!(got_state, state, "{what}");
                }
            }
        }
    }
}

#[test]
fn matrices_of_several_packings_in_one_file_change_no_bit() {
    // 32-bit ARM has no other kernels than the scalar ones.
    let dot = (Isa::available() != [Isa::Scalar]).then_some(Family::Dot);
    for (kind, config) in synthetic::kinds() {
        let ids = tokens(&config, 20, 3);
        let reference = plain(&config);
        let mut state = reference.new_state();
        let expected = feed(&reference, &mut state, &ids);
        for packings in [&[Packing::I2, Packing::T5][..], &[Packing::T5, Packing::T5, Packing::I2]]
        {
            let bytes = synthetic::mixed_model(&config, packings, 7);
            for (threads, kernel) in [(1, Some(Family::Add)), (2, dot), (3, Some(Family::Add))] {
                let options = Options { threads: Some(threads), kernel, ..options() };
                let file = ModelFile::from_bytes("mixed", &bytes).unwrap();
                let model = Model::new(file, &options).unwrap();
                // In one go, then token by token.
                for chunk in [ids.len(), 1] {
                    let mut got_state = model.new_state();
                    let mut got = Vec::new();
                    for ids in ids.chunks(chunk) {
                        got.extend(feed(&model, &mut got_state, ids));
                    }
                    let what = format!("{kind}, {packings:?}, {kernel:?}, {threads} threads");
                    assert_eq!(bits(&got), bits(&expected), "{what}");
                    assert_eq!(got_state, state, "{what}");
                }
            }
        }
    }
}

#[test]
fn repacking_changes_no_bit_from_the_first_token_on() {
    for (kind, config) in synthetic::kinds() {
        let ids = tokens(&config, 20, 3);
        let reference = plain(&config);
        let mut state = reference.new_state();
        let expected = feed(&reference, &mut state, &ids);
        for packings in [&[Packing::T5][..], &[Packing::I2, Packing::T5]] {
            let bytes = synthetic::mixed_model(&config, packings, 7);
            for (threads, chunk, at_once) in [(1, 1, false), (3, 1, true), (2, 6, false)] {
                let residency = Residency { repack: Repack::Always, ..Residency::default() };
                let options = Options { threads: Some(threads), residency, ..Options::default() };
                let file = ModelFile::from_bytes("repacked", &bytes).unwrap();
                let model = Model::new(file, &options).unwrap();
                assert!(model.repacked_bytes() > 0);
                assert_eq!(model.packing_in_use(Packing::T5), Packing::I2);
                if at_once {
                    model.finish_repacking();
                }
                // The second time all of it is re-packed.
                for _ in 0..2 {
                    let mut got_state = model.new_state();
                    let mut got = Vec::new();
                    for ids in ids.chunks(chunk) {
                        got.extend(feed(&model, &mut got_state, ids));
                    }
                    let what = format!("{kind}, {packings:?}, {threads} threads");
                    assert_eq!(bits(&got), bits(&expected), "{what}");
                    assert_eq!(got_state, state, "{what}");
                }
            }
        }
    }
}

#[test]
fn nothing_is_repacked_without_room_or_against_the_options() {
    let config = synthetic::config();
    let repacked = |packing, repack, budget| {
        let residency = Residency { repack, budget, ..Residency::default() };
        let options = Options { residency, ..Options::default() };
        load(&config, packing, &options).repacked_bytes()
    };
    for budget in [None, Some(0), Some(u64::MAX)] {
        assert_eq!(repacked(Packing::T5, Repack::Never, budget), 0);
        assert_eq!(repacked(Packing::I2, Repack::Always, budget), 0);
        assert!(repacked(Packing::T5, Repack::Always, budget) > 0);
    }
    assert_eq!(repacked(Packing::T5, Repack::Auto, Some(0)), 0);
}

/// Matrices so large that a thread's share of one row's weights may be a stretch of them, the sums of which are added up.
#[test]
fn shares_of_large_matrices_change_no_bit() {
    let config = Config {
        hidden_size: 1030,
        state_size: 1100,
        intermediate_size: 2100,
        vocab_size: 300,
        num_layers: 1,
        lower_bounds: false,
        ..synthetic::config()
    };
    let ids = tokens(&config, 3, 5);
    for packings in [&[Packing::T5][..], &[Packing::T5, Packing::T5, Packing::I2]] {
        let bytes = synthetic::mixed_model(&config, packings, 7);
        let step_by_step = |threads, isa| {
            let file = ModelFile::from_bytes("large", &bytes).unwrap();
            let options = Options { threads: Some(threads), isa, ..options() };
            let model = Model::new(file, &options).unwrap();
            let mut state = model.new_state();
            let logits: Vec<f32> =
                ids.chunks(1).flat_map(|id| feed(&model, &mut state, id)).collect();
            (bits(&logits), state)
        };
        let expected = step_by_step(1, Some(Isa::Scalar));
        for threads in [1, 2, 3, 7, 64] {
            let got = step_by_step(threads, None);
            assert!(got == expected, "{packings:?}, {threads} threads");
        }
    }
}

/// The same on x86-64 and aarch64: this hash was made on x86-64.
#[test]
fn logits_have_these_bits_on_every_machine() {
    let hashes: Vec<u64> = synthetic::kinds()
        .iter()
        .map(|(_, config)| {
            let model = plain(config);
            fnv(&feed(&model, &mut model.new_state(), &tokens(config, 50, 9)))
        })
        .collect();
    let expected = [
        8_747_182_227_653_827_285,
        7_783_342_366_034_342_594,
        872_794_055_102_858_070,
        11_606_698_588_939_663_775,
        885_696_779_830_802_483,
    ];
    assert_eq!(hashes, expected);
}

#[test]
fn the_state_behind_every_token_is_given() {
    for (kind, config) in synthetic::kinds() {
        let model = plain(&config);
        let ids = tokens(&config, 263, 4);
        let mut states = Vec::new();
        let mut state = model.new_state();
        let mut step = Step {
            state: &mut state,
            tokens: &ids,
            want: Want::None,
            logits: &mut Vec::new(),
            states: Some(&mut states),
        };
        model.forward(std::slice::from_mut(&mut step)).unwrap();
        assert!(step.logits.is_empty());
        assert_eq!(states.len(), ids.len());
        let mut stepwise = model.new_state();
        for (t, &id) in ids.iter().enumerate() {
            feed(&model, &mut stepwise, &[id]);
            assert_eq!(states[t], stepwise, "{kind}, token {t}");
        }
        assert_eq!(state, stepwise, "{kind}");
    }
}

#[test]
fn a_fork_equals_a_replay() {
    for (kind, config) in synthetic::kinds() {
        let model = plain(&config);
        let (common, left, right) =
            (tokens(&config, 9, 5), tokens(&config, 6, 6), tokens(&config, 6, 7));
        let mut state = model.new_state();
        feed(&model, &mut state, &common);
        let mut fork = state.clone();
        let first = feed(&model, &mut state, &left);
        let second = feed(&model, &mut fork, &right);
        for (branch, expected) in [(left, first), (right, second)] {
            let mut replay = model.new_state();
            feed(&model, &mut replay, &common);
            assert_eq!(bits(&feed(&model, &mut replay, &branch)), bits(&expected), "{kind}");
        }
        fork.reset();
        assert_eq!(fork, model.new_state());
    }
}

#[test]
fn a_saved_state_resumes_with_the_same_bits_in_another_packing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    for (kind, config) in synthetic::kinds() {
        let (t5, i2) = (plain(&config), load(&config, Packing::I2, &options()));
        let mut state = t5.new_state();
        feed(&t5, &mut state, &tokens(&config, 11, 1));
        state.save(&path).unwrap();
        let mut loaded = i2.load_state(&path).unwrap();
        assert_eq!(loaded, state, "{kind}");
        let more = tokens(&config, 5, 2);
        assert_eq!(
            bits(&feed(&t5, &mut state, &more)),
            bits(&feed(&i2, &mut loaded, &more)),
            "{kind}"
        );
    }
}

/// Models that state the same hash, whatever their sizes.
#[test]
fn a_state_of_another_shape_is_refused_whatever_the_hash() {
    let conv = |state_size, size, shared| Config {
        lower_bounds: false,
        state_size,
        short_conv: Some(ShortConv { size, shared }),
        ..synthetic::config()
    };
    let plain_of = |num_layers, state_size| Config {
        lower_bounds: false,
        num_layers,
        state_size,
        ..synthetic::config()
    };
    // As many floats in both states of a row, but for the first.
    let pairs = [
        (plain_of(3, 40), plain_of(2, 40)),
        (plain_of(3, 40), plain_of(2, 60)),
        (plain_of(3, 40), plain_of(6, 20)),
        (plain_of(3, 200), conv(40, 4, true)),
        (conv(40, 4, true), conv(40, 2, false)),
    ];
    for (a, b) in pairs {
        for (own, other) in [(&a, &b), (&b, &a)] {
            let (model, other) = (plain(own), plain(other));
            assert_eq!(model.file().hash(), other.file().hash());
            let mut state = other.new_state();
            let mut logits = Vec::new();
            let (state, logits) = (&mut state, &mut logits);
            let step = Step { state, tokens: &[1], want: Want::Last, logits, states: None };
            let error = model.forward(&mut [step]).unwrap_err();
            assert!(matches!(error, Error::StateMismatch { .. }), "{error}");
        }
    }
}

#[test]
fn a_state_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let model = plain(&synthetic::config());
    let other = Config { num_layers: 2, ..synthetic::config() };
    let other = plain(&other);
    other.new_state().save(&path).unwrap();
    let error = model.load_state(&path).unwrap_err();
    assert!(matches!(error, Error::StateMismatch { .. }), "{error}");
    assert!(error.to_string().contains("[2, 40]"), "{error}");
    // The same sizes, other weights.
    let bytes = synthetic::model(&synthetic::config(), Packing::T5, 8);
    let file = ModelFile::from_bytes("other weights", &bytes).unwrap();
    let other = Model::new(file, &options()).unwrap();
    other.new_state().save(&path).unwrap();
    let error = model.load_state(&path).unwrap_err();
    assert!(error.to_string().contains("hash"), "{error}");
    let mut state = other.new_state();
    let mut step = Step {
        state: &mut state,
        tokens: &[1],
        want: Want::None,
        logits: &mut Vec::new(),
        states: None,
    };
    let error = model.forward(std::slice::from_mut(&mut step)).unwrap_err();
    assert!(matches!(error, Error::StateMismatch { .. }), "{error}");
}

#[test]
fn an_id_outside_the_vocabulary_leaves_every_state_as_it_was() {
    let model = plain(&synthetic::config());
    let (mut good, mut bad) = (model.new_state(), model.new_state());
    feed(&model, &mut good, &[3]);
    let before = good.clone();
    let error = model
        .forward(&mut [
            Step {
                state: &mut good,
                tokens: &[4],
                want: Want::None,
                logits: &mut Vec::new(),
                states: None,
            },
            Step {
                state: &mut bad,
                tokens: &[5, 97],
                want: Want::None,
                logits: &mut Vec::new(),
                states: None,
            },
        ])
        .unwrap_err();
    assert!(matches!(error, Error::Token { id: 97, vocab_size: 97 }));
    assert_eq!(good, before);
}

/// A model whose embedding of token 3 overflows when squared.
pub fn overflowing() -> Arc<Model> {
    let config = synthetic::config();
    let mut bytes = synthetic::model(&config, Packing::T5, 7);
    let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
    let mmfree::format::Embedding::Float { data, .. } = file.embedding().clone() else { panic!() };
    let at = data.start + 3 * config.hidden_size * 4;
    bytes[at..at + 4].copy_from_slice(&3e38f32.to_le_bytes());
    let file = ModelFile::from_bytes("overflowing", &bytes).unwrap();
    Model::new(file, &options()).unwrap()
}

#[test]
fn a_value_that_overflows_is_an_error_that_says_where() {
    let model = overflowing();
    let mut state = model.new_state();
    let mut logits = Vec::new();
    let mut feed = |state: &mut State, tokens: &[u32]| {
        let step = Step { state, tokens, want: Want::Last, logits: &mut logits, states: None };
        model.forward(&mut [step])
    };
    feed(&mut state, &[1, 2]).unwrap();
    let error = feed(&mut state, &[4, 5, 3, 6]).unwrap_err();
    // Token 3 is the third of this call, after the two fed before.
    assert!(matches!(&error, Error::NonFinite { position: 4, .. }), "{error}");
    assert!(error.to_string().contains("layer 0"), "{error}");
    assert!(matches!(feed(&mut state, &[1]), Err(Error::PoisonedState)));
    assert!(matches!(state.save("/nowhere".as_ref()), Err(Error::PoisonedState)));
    state.reset();
    feed(&mut state, &[1]).unwrap();
}

/// In whatever pass, layer and company: 300 tokens are more than go through the layers together.
#[test]
fn an_overflow_ends_its_own_step_and_changes_no_bit_of_the_others() {
    let model = overflowing();
    let sane = |len: usize, seed| -> Vec<u32> {
        let ids = tokens(model.config(), len, seed).into_iter();
        ids.map(|id| if id == 3 { 4 } else { id }).collect()
    };
    let with = |mut ids: Vec<u32>, at: usize| {
        ids[at] = 3;
        ids
    };
    let (a, b) = (sane(300, 1), sane(7, 2));
    let alone = |ids: &[u32]| {
        let mut state = model.new_state();
        (bits(&feed(&model, &mut state, ids)), state)
    };
    let (alone_a, alone_b) = (alone(&a), alone(&b));
    for (len, at) in [(1, 0), (5, 4), (270, 0), (270, 100), (270, 269)] {
        let c = with(sane(len, 3), at);
        // The bad one first, in between, last.
        for order in [[2, 0, 1], [0, 2, 1], [0, 1, 2]] {
            let ids = order.map(|i| [&a, &b, &c][i]);
            let mut states = [(); 3].map(|()| model.new_state());
            let mut logits = [const { Vec::new() }; 3];
            let mut each = [const { Vec::new() }; 3];
            let mut steps: Vec<Step<'_>> = states
                .iter_mut()
                .zip(&mut logits)
                .zip(&mut each)
                .zip(ids)
                .map(|(((state, logits), each), tokens)| Step {
                    state,
                    tokens,
                    want: Want::All,
                    logits,
                    states: Some(each),
                })
                .collect();
            let outcomes = model.forward_each(&mut steps);
            for (i, outcome) in order.into_iter().zip(outcomes) {
                let place = order.iter().position(|&j| j == i).unwrap();
                let (state, logits) = (&states[place], &logits[place]);
                if i < 2 {
                    outcome.unwrap();
                    let (expected, end) = [&alone_a, &alone_b][i];
                    assert!(bits(logits) == *expected, "{len} {at} {order:?}");
                    assert!(state == end, "{len} {at} {order:?}");
                    assert!(each[place].last() == Some(end));
                } else {
                    let error = outcome.unwrap_err();
                    let position = at as u64;
                    assert!(
                        matches!(&error, Error::NonFinite { position: p, .. } if *p == position),
                        "{error}"
                    );
                    assert!(logits.is_empty() && each[place].is_empty());
                    let mut state = state.clone();
                    let again = model.forward(&mut [Step {
                        state: &mut state,
                        tokens: &[1],
                        want: Want::None,
                        logits: &mut Vec::new(),
                        states: None,
                    }]);
                    assert!(matches!(again, Err(Error::PoisonedState)));
                }
            }
        }
    }
}

#[test]
fn a_step_that_cannot_be_done_is_left_out_of_the_batch() {
    let model = plain(&synthetic::config());
    let mut expected = model.new_state();
    let logits = feed(&model, &mut expected, &[4, 5]);
    let (mut good, mut bad) = (model.new_state(), model.new_state());
    let (mut got, mut none) = (Vec::new(), Vec::new());
    let outcomes = model.forward_each(&mut [
        Step {
            state: &mut bad,
            tokens: &[5, 97],
            want: Want::All,
            logits: &mut none,
            states: None,
        },
        Step { state: &mut good, tokens: &[4, 5], want: Want::All, logits: &mut got, states: None },
    ]);
    assert!(matches!(outcomes[0], Err(Error::Token { id: 97, vocab_size: 97 })));
    assert!(outcomes[1].is_ok());
    assert_eq!((bits(&got), good), (bits(&logits), expected));
    assert_eq!(bad, model.new_state());
}

#[test]
fn the_number_of_threads_is_checked() {
    let bytes = synthetic::model(&synthetic::config(), Packing::T5, 7);
    for threads in [0, 1025] {
        let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
        let options = Options { threads: Some(threads), ..options() };
        let error = Model::new(file, &options).err().unwrap();
        assert!(error.to_string().contains("1 to 1024"), "{error}");
    }
}
