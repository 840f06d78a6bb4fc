//! What each filter promises, on numbers that can be followed by hand.

use super::*;

fn greedy() -> SamplerOptions {
    SamplerOptions::default()
}

/// The likeliest token in a context.
fn choice(options: SamplerOptions, logits: &[f32], context: Context<'_>) -> u32 {
    sampler(options).sample(logits, &context).unwrap()
}

#[test]
fn a_bias_is_added_before_the_repetition_penalty() {
    let context = Context { ids: &[0], distinct: &[0], ..Default::default() };
    let biased = || SamplerOptions { logit_bias: [(0, 2.0)].into(), ..greedy() };
    assert_eq!(choice(biased(), &[0.0, 1.5], context), 0);
    // (-1 + 2) / 2 is more than .25; -1 * 2 + 2 would be less.
    let both = || SamplerOptions { repeat_penalty: 2.0, ..biased() };
    assert_eq!(choice(both(), &[-1.0, 0.25], context), 0);
    assert_eq!(choice(both(), &[-1.0, 0.75], context), 1);
}

#[test]
fn a_bias_of_minus_infinity_bans_and_a_penalty_does_not_bring_back() {
    let context = Context { ids: &[1], distinct: &[1], generated: &[(1, 3)], ..Default::default() };
    let options = SamplerOptions {
        logit_bias: [(1, f32::NEG_INFINITY)].into(),
        repeat_penalty: 0.1,
        frequency_penalty: -2.0,
        presence_penalty: -2.0,
        ..greedy()
    };
    assert_eq!(choice(options.clone(), &[f32::MIN, f32::MAX], context), 0);
    for seed in 0..50 {
        let options = SamplerOptions { temperature: f32::MAX, top_k: 2, seed, ..options.clone() };
        assert_eq!(choice(options, &[-9.0, 9.0, -9.0], context) & 1, 0);
    }
}

#[test]
fn frequency_counts_and_presence_does_not() {
    // Token 0 was generated three times, token 1 once, token 2 is of the prompt.
    let context = Context {
        ids: &[2, 0, 1, 0, 0],
        distinct: &[2, 0, 1],
        generated: &[(0, 3), (1, 1)],
        ..Default::default()
    };
    let frequency = |frequency_penalty| SamplerOptions { frequency_penalty, ..greedy() };
    assert_eq!(choice(frequency(1.0), &[4.0, 2.5, 1.25], context), 1);
    assert_eq!(choice(frequency(2.0), &[4.0, 2.5, 1.25], context), 2);
    assert_eq!(choice(frequency(-1.0), &[1.0, 2.5, 3.75], context), 0);
    let presence = |presence_penalty| SamplerOptions { presence_penalty, ..greedy() };
    assert_eq!(choice(presence(1.0), &[4.0, 3.5, 2.75], context), 0);
    assert_eq!(choice(presence(2.0), &[4.0, 3.5, 2.75], context), 2);
    assert_eq!(choice(presence(-2.0), &[1.0, 0.5, 2.75], context), 0);
}

#[test]
fn the_window_is_for_the_repetition_penalty_alone() {
    let context = Context {
        ids: &[0, 1, 1],
        distinct: &[0, 1],
        generated: &[(0, 1), (1, 2)],
        ..Default::default()
    };
    let window = |repeat_last_n| SamplerOptions { repeat_penalty: 4.0, repeat_last_n, ..greedy() };
    assert_eq!(choice(window(0), &[3.0, 2.0, 1.0], context), 2);
    assert_eq!(choice(window(3), &[3.0, 2.0, 1.0], context), 2);
    assert_eq!(choice(window(2), &[3.0, 2.0, 1.0], context), 0);
    assert_eq!(choice(window(usize::MAX), &[3.0, 2.0, 1.0], context), 2);
    let presence = SamplerOptions { presence_penalty: 2.0, ..window(1) };
    assert_eq!(choice(presence, &[2.5, 3.0, 0.75], context), 2);
}

#[test]
fn a_run_of_tokens_comes_once() {
    let logits = [5.0, 4.0, 3.0, 2.0, 1.0];
    let after = |n: usize, ids: &[u32]| {
        let context = Context { ids, distinct: ids, ..Default::default() };
        choice(SamplerOptions { no_repeat_ngram: n, ..greedy() }, &logits, context)
    };
    // Single tokens: each only once.
    assert_eq!(after(1, &[]), 0);
    assert_eq!(after(1, &[0, 1, 3]), 2);
    // Pairs: 2 was followed by 0 and by 1.
    assert_eq!(after(2, &[2, 0, 2, 1, 2]), 2);
    // The last token is no pair by itself, unless it came twice.
    assert_eq!(after(2, &[0]), 0);
    assert_eq!(after(2, &[0, 0]), 1);
    // Triples: only after the same two.
    assert_eq!(after(3, &[1, 2, 0, 1, 2]), 1);
    assert_eq!(after(3, &[1, 2, 0, 4, 2]), 0);
    assert_eq!(after(6, &[0, 0, 0, 0, 0]), 0);
    assert_eq!(after(usize::MAX, &[0, 0]), 0);
}

#[test]
fn a_constraint_holds_for_greedy_choice_and_for_draws() {
    let mut mask = TokenMask::none(4);
    mask.allow(0);
    mask.allow(2);
    let context = Context { allowed: Some(&mask), ..Default::default() };
    assert_eq!(choice(greedy(), &[0.0, 9.0, 1.0, 9.0], context), 2);
    // The mask comes before top-k: of the two likeliest that are allowed, both are drawn.
    let mut chosen = [0; 4];
    for seed in 0..200 {
        let options = SamplerOptions { top_k: 2, seed, ..sampled() };
        chosen[choice(options, &[1.0, 9.0, 1.0, 9.0], context) as usize] += 1;
    }
    assert!(chosen[0] > 50 && chosen[2] > 50 && chosen[1] + chosen[3] == 0, "{chosen:?}");
    // Tokens beyond the mask are not in it.
    assert_eq!(choice(greedy(), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], context), 2);
}

#[test]
fn typical_p_may_leave_out_the_likeliest() {
    // Of .5, .25, .125 and so on the mean log-probability is about -1.38: next to that of .25, then
    // of .5 and of .125.
    let logits: Vec<f32> = (0..20).map(|i| -(i as f32) * std::f32::consts::LN_2).collect();
    let left = |typical_p| chosen(SamplerOptions { typical_p, ..sampled() }, &logits);
    assert_eq!(left(0.2), [1]);
    assert_eq!(left(0.5), [0, 1]);
    assert_eq!(left(0.74), [0, 1]);
    assert_eq!(left(0.8), [0, 1, 2]);
    // Of equal distances all are kept.
    assert_eq!(chosen(SamplerOptions { typical_p: 0.1, ..sampled() }, &[0.0; 5]), [0, 1, 2, 3, 4]);
}

#[test]
fn typical_p_reads_what_the_cuts_before_it_leave() {
    // Of the two that top-k leaves, the likelier is next to the mean; of all, the second.
    let logits: Vec<f32> = (0..20).map(|i| -(i as f32) * std::f32::consts::LN_2).collect();
    let options = SamplerOptions { top_k: 2, typical_p: 0.2, ..sampled() };
    assert_eq!(chosen(options, &logits), [0]);
}

#[test]
fn where_everything_is_banned_the_error_says_by_what() {
    let context = Context { position: 7, ids: &[2], distinct: &[2], ..Default::default() };
    let options = SamplerOptions {
        logit_bias: [(0, f32::NEG_INFINITY), (1, 3.0)].into(),
        suppress_tokens: [1].into(),
        no_repeat_ngram: 1,
        presence_penalty: 1.0,
        ..sampled()
    };
    assert_eq!(choice(options.clone(), &[1.0; 4], context), 3);
    for temperature in [0.0, 1.0] {
        let options = SamplerOptions { temperature, ..options.clone() };
        let error = sampler(options).sample(&[1.0; 3], &context).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no token can be chosen at token 7: all 3 are banned, by logit bias, no-repeat n-gram, suppressed tokens; \
             one at least must be left"
        );
    }
    let mask = TokenMask::none(3);
    let context = Context { allowed: Some(&mask), ..Default::default() };
    let error = sampler(sampled()).sample(&[1.0; 3], &context).unwrap_err();
    assert!(error.to_string().contains("by the constraint;"), "{error}");
}

#[test]
fn ids_outside_the_vocabulary_are_nobodys_and_can_be_found() {
    let options = SamplerOptions {
        logit_bias: [(1, 1.0), (900, -1.0)].into(),
        suppress_tokens: [0, 70].into(),
        no_repeat_ngram: 1,
        repeat_penalty: 2.0,
        repeat_last_n: 5,
        ..greedy()
    };
    let context =
        Context { ids: &[99], distinct: &[99], generated: &[(99, 1)], ..Default::default() };
    assert_eq!(choice(options.clone(), &[1.0, 0.5], context), 1);
    let message = |options: &SamplerOptions, len| options.check_ids(len).unwrap_err().to_string();
    assert_eq!(
        message(&options, 900),
        "logit bias: token id 900 is outside the vocabulary: ids are 0 to 899"
    );
    let suppressed = SamplerOptions { logit_bias: [].into(), ..options.clone() };
    assert_eq!(
        message(&suppressed, 70),
        "suppressed tokens: token id 70 is outside the vocabulary: ids are 0 to 69"
    );
    options.check_ids(901).unwrap();
    suppressed.check_ids(71).unwrap();
}

#[test]
fn a_penalty_at_the_edge_of_floats_keeps_logits_finite() {
    let context =
        Context { ids: &[0], distinct: &[0], generated: &[(0, u32::MAX)], ..Default::default() };
    let options = SamplerOptions {
        logit_bias: [(0, -3e38), (1, 3e38)].into(),
        frequency_penalty: 2.0,
        presence_penalty: 2.0,
        temperature: f32::MIN_POSITIVE,
        ..Default::default()
    };
    assert_eq!(choice(options, &[f32::MIN, f32::MAX], context), 1);
}

#[test]
fn texts_that_state_no_value_are_errors() {
    let mut options = SamplerOptions::default();
    assert!(!options.set("draws", "5").unwrap());
    for (key, text, right) in [
        ("top_k", "-1", "a whole number, 0 or more"),
        ("seed", "18446744073709551616", "a whole number, 0 or more"),
        ("top_p", "half", "a number"),
        ("logit_bias", "3", "pairs of token id and number"),
        ("logit_bias", "3:x", "pairs"),
        ("suppress_tokens", "1,,x", "token ids"),
    ] {
        let error = options.set(key, text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key}: is {text:?}, must be {right}")), "{error}");
    }
    assert_eq!(options, SamplerOptions::default());
}

#[test]
fn every_option_has_a_text() {
    // A field that no filter lists is missing here: the pattern makes the compiler ask for each.
    let SamplerOptions {
        temperature: _,
        top_k: _,
        top_p: _,
        min_p: _,
        typical_p: _,
        repeat_penalty: _,
        repeat_last_n: _,
        frequency_penalty: _,
        presence_penalty: _,
        no_repeat_ngram: _,
        logit_bias: _,
        suppress_tokens: _,
        seed: _,
    } = SamplerOptions::default();
    let texts = SamplerOptions::default().to_texts();
    assert_eq!(texts.len(), 13);
    let keys: std::collections::HashSet<_> = texts.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 13);
}

#[test]
fn options_are_shown_where_they_make_a_difference() {
    assert_eq!(SamplerOptions::default().to_string(), "greedy");
    let options = SamplerOptions {
        top_p: 0.9,
        presence_penalty: -1.5,
        logit_bias: [(3, 2.5), (7, f32::NEG_INFINITY)].into(),
        suppress_tokens: (0..100).collect(),
        seed: 5,
        ..Default::default()
    };
    let common = "logit-bias 3:2.5,7:-inf, presence-penalty -1.5, suppress-tokens 0,1,2,3,";
    let greedy = options.to_string();
    assert!(
        greedy.starts_with(&format!("greedy, {common}")) && greedy.ends_with("..."),
        "{greedy}"
    );
    let drawn = SamplerOptions { temperature: 0.7, ..options }.to_string();
    assert!(drawn.starts_with(&format!("temperature 0.7, {common}")), "{drawn}");
    assert!(drawn.ends_with("..., top-p 0.9"), "{drawn}");
}

#[test]
fn options_as_json_have_all_fields() {
    let options = SamplerOptions {
        temperature: 0.7,
        logit_bias: [(3, 2.5), (7, f32::NEG_INFINITY)].into(),
        suppress_tokens: [4, 5].into(),
        seed: u64::MAX,
        ..Default::default()
    };
    let json = serde_json::to_value(&options).unwrap();
    assert_eq!(json["logit_bias"], serde_json::json!({"3": 2.5, "7": "-inf"}));
    assert_eq!(json["suppress_tokens"], serde_json::json!([4, 5]));
    assert_eq!(json["seed"], u64::MAX);
    for (key, _) in options.to_texts() {
        assert!(json.get(key).is_some(), "{key}");
    }
}

/// Allows one token after the other of a list, and nothing after it.
#[derive(Clone)]
struct Script(Vec<u32>);

impl Constraint for Script {
    fn allowed(&mut self, mask: &mut TokenMask) -> Result<()> {
        self.0.first().into_iter().for_each(|&id| mask.allow(id));
        Ok(())
    }

    fn take(&mut self, id: u32) -> Result<()> {
        assert_eq!(self.0.remove(0), id);
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
fn a_constraint_leads_and_its_clone_goes_its_own_way() {
    let mut constraint: Box<dyn Constraint> = Box::new(Script(vec![3, 1, 2]));
    let mut sampler = sampler(sampled());
    let mut next = |constraint: &mut Box<dyn Constraint>| {
        let mut mask = TokenMask::none(4);
        constraint.allowed(&mut mask).unwrap();
        let context = Context { allowed: Some(&mask), ..Default::default() };
        let id = sampler.sample(&[9.0, 1.0, 1.0, 0.0], &context).unwrap();
        constraint.take(id).unwrap();
        id
    };
    assert_eq!(next(&mut constraint), 3);
    let mut fork = constraint.clone();
    assert_eq!((next(&mut fork), next(&mut fork)), (1, 2));
    assert!(fork.is_done() && !constraint.is_done());
    assert_eq!(next(&mut constraint), 1);
}
