//! `/v1/completions`.

use mmfree::{LogProbs, SamplerOptions, Session};
use serde_json::{Value, json};

use crate::client::{Alone, Server};

const PATH: &str = "/v1/completions";

fn text(answer: &Value, index: usize) -> &str {
    let choice = &answer["choices"][index];
    assert_eq!(choice["index"], index);
    choice["text"].as_str().unwrap()
}

#[test]
fn the_text_is_that_of_the_command_line_whatever_form_the_prompt_has() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let prompt = "Once upon a time";
    let expected = alone.text(prompt, 7, 40);
    let ids = alone.tokenizer.encode_prompt(prompt).unwrap();
    for prompt in [json!(prompt), json!([prompt]), json!(ids), json!([ids])] {
        let answer = server.ask(PATH, &json!({"prompt": prompt, "seed": 7, "max_tokens": 40}));
        assert_eq!(text(&answer, 0), expected);
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["prompt_tokens"], ids.len());
        assert_eq!(answer["usage"]["completion_tokens"], 40);
        assert_eq!(answer["usage"]["total_tokens"], ids.len() + 40);
        assert_eq!((&answer["seed"], &answer["object"]), (&json!(7), &json!("text_completion")));
        assert_eq!(answer["model"], "demo");
    }
}

#[test]
fn sampling_options_are_those_of_the_command_line() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let ids = alone.tokenizer.encode_prompt("The king").unwrap();
    let own = alone.defaults.defaults();
    for (fields, options) in [
        (json!({"temperature": 0}), SamplerOptions { temperature: 0.0, ..own.clone() }),
        (
            json!({"temperature": 1.3, "top_k": 20}),
            SamplerOptions { temperature: 1.3, top_k: 20, ..own.clone() },
        ),
        (
            json!({"top_p": 0.5, "min_p": 0.05}),
            SamplerOptions { top_p: 0.5, min_p: 0.05, ..own.clone() },
        ),
        (
            json!({"repetition_penalty": 1.2, "top_k": -1}),
            SamplerOptions { repeat_penalty: 1.2, ..own.clone() },
        ),
        (
            json!({"presence_penalty": 0.5, "frequency_penalty": -1}),
            SamplerOptions { presence_penalty: 0.5, frequency_penalty: -1.0, ..own.clone() },
        ),
        (
            json!({"typical_p": 0.7, "no_repeat_ngram_size": 3}),
            SamplerOptions { typical_p: 0.7, no_repeat_ngram: 3, ..own.clone() },
        ),
        (
            json!({"logit_bias": {"300": 4.5, "301": -100}, "suppress_tokens": [302]}),
            SamplerOptions {
                logit_bias: [(300, 4.5), (301, -100.0)].into(),
                suppress_tokens: [302].into(),
                ..own.clone()
            },
        ),
        (
            json!({"temperature": null, "presence_penalty": 0, "logit_bias": {}, "best_of": 1}),
            own.clone(),
        ),
        (json!({"min_tokens": 0, "stop_token_ids": [], "mirostat": 0, "bad_words": null}), own),
    ] {
        let mut body = json!({"prompt": ids, "max_tokens": 30, "seed": -3, "stop": ["zzz", "qqq"]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let expected =
            alone.text_of(&ids, SamplerOptions { seed: -3i64 as u64, ..options }, 30, &[]);
        assert_eq!(text(&server.ask(PATH, &body), 0), expected, "{fields}");
    }
}

#[test]
fn texts_of_many_prompts_and_of_n_are_those_that_each_has_alone() {
    let (server, alone) = (Server::start(&["--parallel", "5"]), Alone::new());
    let prompts =
        ["Once upon a time", "The wolf", "A miller had three sons", "", "Once upon a hill"];
    let body = json!({"prompt": prompts, "n": 3, "seed": 40, "max_tokens": 24});
    let answer = server.ask(PATH, &body);
    assert_eq!(answer["choices"].as_array().unwrap().len(), 15);
    for (p, prompt) in prompts.iter().enumerate() {
        for i in 0..3 {
            // An empty prompt is the BOS alone.
            let expected = alone.text(prompt, 40 + i as u64, 24);
            assert_eq!(text(&answer, 3 * p + i), expected, "{prompt} {i}");
        }
    }
}

#[test]
fn a_text_ends_before_a_stop_string_or_with_eos() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let ids = alone.tokenizer.encode_prompt("Once upon a time").unwrap();
    let options = SamplerOptions { seed: 1, ..alone.defaults.defaults() };
    let expected = alone.text_of(&ids, options, 200, &["."]);
    for stop in [json!("."), json!([".", "\u{0}never"])] {
        let body = json!({"prompt": ids, "seed": 1, "max_tokens": 200, "stop": stop});
        let answer = server.ask(PATH, &body);
        assert_eq!(
            (text(&answer, 0), &answer["choices"][0]["finish_reason"]),
            (&*expected, &json!("stop"))
        );
        assert!(!expected.contains('.'));
    }
    // The EOS token made certain.
    let body = json!({"prompt": ids, "seed": 1, "max_tokens": 50, "logit_bias": {"2": 100}});
    let ended = server.ask(PATH, &body);
    assert_eq!((text(&ended, 0), &ended["choices"][0]["finish_reason"]), ("", &json!("stop")));
    assert_eq!(ended["usage"]["completion_tokens"], 1);
    let mut body = body;
    body["ignore_eos"] = true.into();
    let longer = server.ask(PATH, &body);
    assert_eq!(longer["choices"][0]["finish_reason"], "length");
    assert_eq!(longer["usage"]["completion_tokens"], 50);
}

#[test]
fn a_stream_is_the_same_text_in_a_chunk_for_each_token() {
    let server = Server::start(&[]);
    let body = json!({"prompt": ["Once upon a time", "The wolf"], "n": 2, "seed": 5, "max_tokens": 20, "logprobs": 2});
    let whole = server.ask(PATH, &body);
    let chunks = server.stream(PATH, &body);
    assert_eq!(chunks.len(), 4 * 20);
    for index in 0..4 {
        let own: Vec<&Value> = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        let joined: String = own.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
        assert_eq!(joined, text(&whole, index));
        assert!(own[..19].iter().all(|choice| choice["finish_reason"].is_null()));
        assert_eq!(own[19]["finish_reason"], "length");
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            let parts: Vec<&Value> = own
                .iter()
                .flat_map(|choice| choice["logprobs"][list].as_array().unwrap())
                .collect();
            let all: Vec<&Value> =
                whole["choices"][index]["logprobs"][list].as_array().unwrap().iter().collect();
            assert_eq!(parts, all, "{list}");
        }
    }
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[test]
fn usage_comes_in_a_last_chunk_or_in_every_one_as_asked() {
    let server = Server::start(&[]);
    let ask = |options: Value| {
        server.stream(PATH, &json!({"prompt": "The", "max_tokens": 4, "stream_options": options}))
    };
    let chunks = ask(json!({"include_usage": true}));
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 4);
    let chunks = ask(json!({"include_usage": true, "continuous_usage_stats": true}));
    let counts: Vec<u64> =
        chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 2, 3, 4, 4]);
}

#[test]
fn echoed_log_probabilities_are_the_models_for_every_prompt_token_and_the_one_after() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let prompt = "The king had a daughter who was beautiful";
    let ids = alone.tokenizer.encode_prompt(prompt).unwrap();
    // Each token's from the logits of all before it, one by one.
    let mut expected = Vec::new();
    for at in 1..=ids.len() {
        let mut session = read(&alone, &ids[..at]);
        let row = session.logits().to_vec();
        let id = ids.get(at).copied().unwrap_or_else(|| session.choose().unwrap());
        expected.push(LogProbs::new(&row, at as u64).unwrap().of(id).unwrap());
    }
    let body = json!({"prompt": [ids], "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": true, "seed": 1234});
    // The second time the cache has it.
    for _ in 0..2 {
        let answer = server.ask(PATH, &body);
        let logprobs = &answer["choices"][0]["logprobs"];
        let list = |name: &str| logprobs[name].as_array().unwrap();
        assert_eq!(list("token_logprobs").len(), ids.len() + 1);
        assert!(list("token_logprobs")[0].is_null() && list("top_logprobs")[0].is_null());
        for (at, expected) in expected.iter().enumerate() {
            let number = list("token_logprobs")[at + 1].as_f64().unwrap();
            assert_eq!(number as f32, *expected, "token {}", at + 1);
            let top = list("top_logprobs")[at + 1].as_object().unwrap();
            let token = list("tokens")[at + 1].as_str().unwrap();
            // The same number, to the bit, as its text has it.
            assert_eq!(top[token].as_f64().unwrap().to_bits(), number.to_bits());
            assert!((1..=2).contains(&top.len()));
        }
        let generated = list("top_logprobs").last().unwrap().as_object().unwrap();
        assert_eq!(generated.len(), 1, "greedy: the chosen one is the likeliest");
        let whole = answer["choices"][0]["text"].as_str().unwrap();
        assert!(whole.starts_with(prompt), "{whole}");
    }
    // Nothing generated, only scored.
    let mut body = body;
    body["max_tokens"] = 0.into();
    let answer = server.ask(PATH, &body);
    let scores = answer["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().clone();
    assert_eq!(scores.len(), ids.len());
    assert_eq!(scores[1].as_f64().unwrap() as f32, expected[0]);
    assert_eq!(
        (text(&answer, 0), &answer["choices"][0]["finish_reason"]),
        (prompt, &json!("length"))
    );
}

/// A session that has read these ids and chosen nothing.
fn read(alone: &Alone, ids: &[u32]) -> Session {
    let mut session = Session::new(&alone.model, SamplerOptions::default()).unwrap();
    session.push(ids).unwrap();
    while let Some(step) = session.next_step(1) {
        let outcome = alone.model.forward(&mut [step]);
        session.finish_step(outcome).unwrap();
    }
    session
}

#[test]
fn offsets_are_those_of_the_tokens_in_the_text() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "The king of the hill", "max_tokens": 12, "seed": 3, "logprobs": 0, "echo": true});
    let answer = server.ask(PATH, &body);
    let choice = &answer["choices"][0];
    let chars: Vec<char> = text(&answer, 0).chars().collect();
    let offsets = choice["logprobs"]["text_offset"].as_array().unwrap();
    for (token, offset) in choice["logprobs"]["tokens"].as_array().unwrap().iter().zip(offsets) {
        let (token, offset) =
            (token.as_str().unwrap().trim_start(), offset.as_u64().unwrap() as usize);
        let there: String = chars[offset..].iter().collect();
        assert!(
            token == "<s>" || there.trim_start().starts_with(token),
            "{token:?} at {offset}: {there:?}"
        );
    }
}

#[test]
fn a_second_request_finds_the_first_ones_prompt_in_the_cache_and_says_the_same() {
    let (server, without) = (Server::start(&[]), Server::start(&["--cache", "0"]));
    let prompt = "There was once a poor miller who had a beautiful daughter. ".repeat(4);
    let body = json!({"prompt": prompt, "seed": 11, "max_tokens": 30});
    let first = server.ask(PATH, &body);
    let second = server.ask(PATH, &body);
    let never = without.ask(PATH, &body);
    let cached = |answer: &Value| {
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!((cached(&first), cached(&second), cached(&never)), (0, prompt - 1, 0));
    assert_eq!(text(&first, 0), text(&second, 0));
    assert_eq!(text(&first, 0), text(&never, 0));
    assert_eq!(server.metric("mmfree_cache_hits_total"), 1.0);
}

#[test]
fn without_a_seed_one_is_drawn_and_gives_the_text_again() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "The sea", "max_tokens": 20});
    let first = server.ask(PATH, &body);
    let mut again = body.clone();
    again["seed"] = first["seed"].clone();
    assert_eq!(text(&server.ask(PATH, &again), 0), text(&first, 0));
    assert_ne!(server.ask(PATH, &body)["seed"], first["seed"]);
    let chunks = server.stream(PATH, &again);
    assert!(chunks.iter().all(|chunk| chunk["seed"] == first["seed"]));
}
