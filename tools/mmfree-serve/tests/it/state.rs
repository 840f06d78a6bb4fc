//! `state` and `return_state`: a text goes on anywhere, and nothing that a client brings does harm.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mmfree::{SamplerOptions, Session};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Alone, Server, runner};

const PATH: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap()
}

fn state(answer: &Value) -> &Value {
    let state = &answer["choices"][0]["state"];
    assert!(state.is_string(), "{answer}");
    state
}

/// With these fields besides.
fn with(body: &Value, fields: Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

#[test]
fn a_text_that_goes_on_by_its_state_on_another_server_is_the_one_without_a_break() {
    let servers = [Server::start(&["--cache", "0"]), Server::start(&[])];
    let settings = [
        json!({"seed": 5}),
        json!({"seed": -2, "temperature": 0.9, "top_p": 0.8, "frequency_penalty": 0.7, "presence_penalty": 0.3}),
        json!({"seed": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "logit_bias": {"300": 3}}),
        json!({"seed": 4, "temperature": 0}),
    ];
    for settings in settings {
        let first = with(
            &json!({"prompt": "Once upon a time", "logprobs": 2, "return_token_ids": true}),
            settings,
        );
        let whole = servers[0].ask(PATH, &with(&first, json!({"max_tokens": 48})));
        // Options are in the state: only what ends the text is said again.
        let mut body = with(&first, json!({"max_tokens": 1, "return_state": true}));
        let (mut joined, mut scores, mut ids) = (String::new(), Vec::new(), Vec::new());
        for (n, tokens) in [1, 2, 20, 7, 18].into_iter().enumerate() {
            body["max_tokens"] = tokens.into();
            let answer = servers[n % 2].ask(PATH, &body);
            joined += text(&answer);
            let choice = &answer["choices"][0];
            scores.extend(choice["logprobs"]["token_logprobs"].as_array().unwrap().clone());
            ids.extend(choice["token_ids"].as_array().unwrap().clone());
            assert_eq!(answer["seed"], whole["seed"]);
            body = json!({"state": state(&answer), "return_state": true, "logprobs": 2, "return_token_ids": true});
        }
        assert_eq!(joined, text(&whole));
        assert_eq!(Value::from(scores), whole["choices"][0]["logprobs"]["token_logprobs"]);
        assert_eq!(Value::from(ids), whole["choices"][0]["token_ids"]);
    }
}

#[test]
fn a_stream_has_the_state_in_its_last_chunk_and_the_same_one() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "The king", "seed": 1, "max_tokens": 9, "return_state": true, "return_token_ids": true});
    let whole = server.ask(PATH, &body);
    let chunks = server.stream(PATH, &body);
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk["choices"][0].get("state").is_none()));
    assert_eq!(state(last), state(&whole));
    let ids: Vec<Value> =
        chunks.iter().map(|chunk| chunk["choices"][0]["token_ids"][0].clone()).collect();
    assert_eq!(Value::from(ids), whole["choices"][0]["token_ids"]);
    assert_eq!(
        chunks[0]["choices"][0]["prompt_token_ids"],
        whole["choices"][0]["prompt_token_ids"]
    );
    assert!(chunks[1]["choices"][0].get("prompt_token_ids").is_none());
    // Not asked for, not there.
    let plain = server.ask(PATH, &json!({"prompt": "The king", "max_tokens": 1}));
    for name in ["state", "token_ids", "prompt_token_ids"] {
        assert!(plain["choices"][0].get(name).is_none());
    }
}

#[test]
fn a_character_that_is_cut_in_two_is_whole_in_the_text_together() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let smile = alone.tokenizer.encode("\u{1F642}", false).unwrap();
    assert!(smile.len() > 3, "the character is of several tokens");
    let (last, first) = smile.split_last().unwrap();
    let ids = [&alone.tokenizer.encode_prompt("He said").unwrap()[..], first].concat();
    // The one token that may come is the character's last.
    let bias: Value = json!({last.to_string(): 100});
    let body = json!({"prompt": ids[..ids.len() - 1], "temperature": 0, "max_tokens": 1, "return_state": true});
    let half = server
        .ask(PATH, &with(&body, json!({"logit_bias": {first.last().unwrap().to_string(): 100}})));
    assert_eq!(text(&half), "");
    let rest =
        server.ask(PATH, &json!({"state": state(&half), "max_tokens": 1, "logit_bias": bias}));
    assert_eq!(text(&rest), "\u{1F642}");
    // Without a state to go on from, what is left of it is shown.
    let alone = with(
        &body,
        json!({"return_state": false, "logit_bias": {first.last().unwrap().to_string(): 100}}),
    );
    assert!(text(&server.ask(PATH, &alone)).contains('\u{FFFD}'));
}

#[test]
fn a_prompt_after_a_state_goes_on_behind_it() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let first = server.ask(PATH, &json!({"prompt": "The wolf", "seed": 8, "max_tokens": 5, "return_state": true, "return_token_ids": true}));
    let choice = &first["choices"][0];
    let read = |ids: &Value| -> Vec<u32> { serde_json::from_value(ids.clone()).unwrap() };
    let mut session =
        Session::new(&alone.model, SamplerOptions { seed: 8, ..alone.defaults.defaults() })
            .unwrap();
    session.push(&read(&choice["prompt_token_ids"])).unwrap();
    for &id in &read(&choice["token_ids"]) {
        assert_eq!(session.next_token().unwrap(), id);
    }
    let more = alone.tokenizer.encode_continuation(session.ids(), ". And then the fox").unwrap();
    session.push(&more).unwrap();
    let expected: Vec<u32> = (0..12).map(|_| session.next_token().unwrap()).collect();
    for prompt in
        [json!(". And then the fox"), json!([". And then the fox"]), json!(more), json!([more])]
    {
        let body = json!({"state": state(&first), "prompt": prompt, "max_tokens": 12, "n": 2, "return_token_ids": true, "ignore_eos": true});
        let answer = server.ask(PATH, &body);
        assert_eq!(read(&answer["choices"][0]["token_ids"]), expected);
        assert_ne!(answer["choices"][1]["token_ids"], answer["choices"][0]["token_ids"]);
        // What the state has read need not be read again; its last token was never fed.
        let (usage, ids) = (&answer["usage"], session.ids().len() - 12);
        assert_eq!(usage["prompt_tokens"], ids);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], ids - more.len() - 1);
    }
}

#[test]
fn chat_goes_on_with_new_messages_or_without_any() {
    if runner().is_some() {
        return;
    }
    let server = Server::start(&["--chat-template", "plain"]);
    let ask = json!({"messages": [{"role": "user", "content": "Hi"}], "seed": 2, "max_completion_tokens": 20});
    let whole = server.ask(CHAT, &ask);
    let content =
        |answer: &Value| answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let half =
        server.ask(CHAT, &with(&ask, json!({"max_completion_tokens": 8, "return_state": true})));
    for messages in [json!(null), json!([])] {
        let body =
            json!({"messages": messages, "state": state(&half), "max_completion_tokens": 12});
        assert_eq!(content(&half) + &content(&server.ask(CHAT, &body)), content(&whole));
        let streamed = server.stream(CHAT, &body);
        let texts =
            streamed.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap());
        assert_eq!(content(&half) + &texts.collect::<String>(), content(&whole));
    }
    // New messages are what the template makes of them alone, without a second BOS.
    let body = json!({"messages": [{"role": "user", "content": "More"}], "state": state(&half), "max_completion_tokens": 9});
    let text_body =
        json!({"prompt": "user: More\nassistant:", "state": state(&half), "max_tokens": 9});
    assert_eq!(content(&server.ask(CHAT, &body)), text(&server.ask(PATH, &text_body)));
    // Without a template the answer itself can be gone on with all the same.
    let other = Server::start(&[]);
    let body = json!({"state": state(&half), "max_completion_tokens": 12});
    assert_eq!(content(&half) + &content(&other.ask(CHAT, &body)), content(&whole));
    assert_eq!(
        other.post(CHAT, &with(&ask, json!({"state": state(&half)}))).json()["error"]["code"],
        "no_chat_template"
    );
}

/// A saved session in parts: its header as JSON, and its data.
fn parts(state: &Value) -> (Value, Vec<u8>) {
    let bytes = STANDARD.decode(state.as_str().unwrap()).unwrap();
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + len]).unwrap(), bytes[8 + len..].to_vec())
}

/// One with a right checksum, as anyone can make it.
fn forge(mut header: Value, data: &[u8]) -> Value {
    let zeros = "0".repeat(64);
    header["__metadata__"]["mmfree.state.sha256"] = zeros.clone().into();
    let bytes = |header: &Value| {
        let mut text = header.to_string();
        text += &" ".repeat(text.len().next_multiple_of(8) - text.len());
        [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
    };
    let digest: String =
        Sha256::digest(bytes(&header)).iter().map(|byte| format!("{byte:02x}")).collect();
    header["__metadata__"]["mmfree.state.sha256"] = digest.into();
    STANDARD.encode(bytes(&header)).into()
}

#[test]
fn a_state_that_is_damaged_forged_or_of_another_model_is_an_error_of_its_request_alone() {
    let (server, alone) = (Server::start(&["--max-prompt", "40"]), Alone::new());
    let answer = server.ask(
        PATH,
        &json!({"prompt": "Once upon a time", "seed": 1, "max_tokens": 6, "return_state": true}),
    );
    let good = state(&answer).clone();
    let bytes = STANDARD.decode(good.as_str().unwrap()).unwrap();
    let (header, data) = parts(&good);
    assert_eq!(
        server.post(PATH, &json!({"state": forge(header.clone(), &data), "max_tokens": 1})).status,
        200
    );

    let refused = |fields: Value, code: Value, said: &str| {
        let answer = server.post(PATH, &with(&json!({"max_tokens": 2}), fields));
        assert_eq!(answer.status, 400, "{said}: {}", answer.text());
        let error = answer.json()["error"].clone();
        assert_eq!(error["code"], code, "{said}: {error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{said}: {error}");
    };
    let invalid = json!("invalid_state");
    for at in (0..bytes.len()).step_by(bytes.len() / 60).chain([0, 7, 8, 9, bytes.len() - 1]) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(json!({"state": STANDARD.encode(bytes)}), invalid.clone(), "state: ");
    }
    for len in [0, 1, 7, 8, 9, 200, bytes.len() / 2, bytes.len() - 1] {
        refused(json!({"state": STANDARD.encode(&bytes[..len])}), invalid.clone(), "state: ");
    }
    refused(
        json!({"state": STANDARD.encode([&bytes[..], b"more"].concat())}),
        invalid.clone(),
        "state: ",
    );
    for no_base64 in ["*", "QQ", "QUJD!", "\u{e9}"] {
        refused(json!({"state": no_base64}), invalid.clone(), "is no base64");
    }
    for no_text in [json!(5), json!([]), json!({}), json!(true)] {
        refused(json!({"state": no_text}), Value::Null, "must be a string");
    }

    let metadata = |key: &str, value: &str| {
        let mut header = header.clone();
        header["__metadata__"][key] = value.into();
        forge(header, &data)
    };
    let other = "0".repeat(64);
    refused(
        json!({"state": metadata("mmfree.hash", &other)}),
        json!("state_mismatch"),
        "is not of this model",
    );
    refused(
        json!({"state": metadata("mmfree.architecture", "gpt")}),
        json!("state_mismatch"),
        "is not of this model",
    );
    for (key, value) in [
        ("mmfree.state.version", "1"),
        ("mmfree.state.version", "3"),
        ("mmfree.state.position", "18446744073709551615"),
        ("mmfree.state.position", "1000"),
        ("mmfree.state.position", "-1"),
        ("mmfree.session.draws", "1e9"),
        ("mmfree.session.temperature", "NaN"),
        ("mmfree.session.top-k", "-5"),
        ("mmfree.session.unknown", "1"),
        ("format", "other"),
    ] {
        refused(json!({"state": metadata(key, value)}), invalid.clone(), "state: ");
    }

    // Ids: one that there is none of, and more than a prompt may have that were never read.
    let at = header["ids"]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut ids = data.clone();
    ids[at..at + 4].copy_from_slice(&2048u32.to_le_bytes());
    refused(
        json!({"state": forge(header.clone(), &ids)}),
        invalid.clone(),
        "outside the vocabulary",
    );
    let mut session = Session::new(&alone.model, alone.defaults.defaults()).unwrap();
    session.push(&[5; 41]).unwrap();
    let long = STANDARD.encode(session.to_bytes().unwrap());
    refused(
        json!({"state": long}),
        json!("context_length_exceeded"),
        "41 tokens that have not been read",
    );
    refused(
        json!({"state": good, "prompt": vec![5; 40]}),
        json!("context_length_exceeded"),
        "with the prompt 41",
    );
    // Nothing to go on from: no ids, or all of them read.
    let empty = Session::new(&alone.model, alone.defaults.defaults()).unwrap().to_bytes().unwrap();
    refused(json!({"state": STANDARD.encode(empty)}), Value::Null, "a prompt is needed");
    refused(
        json!({"state": metadata("mmfree.state.position", &header["ids"]["shape"][0].to_string())}),
        Value::Null,
        "a prompt is needed",
    );

    // Floats that are none, and so large ones that the model cannot go on.
    let floats = header["state"]["data_offsets"][1].as_u64().unwrap() as usize;
    for (value, is_invalid) in [(f32::NAN, true), (f32::INFINITY, true), (f32::MAX, false)] {
        let mut data = data.clone();
        data[..floats]
            .chunks_exact_mut(4)
            .for_each(|bytes| bytes.copy_from_slice(&value.to_le_bytes()));
        let state = forge(header.clone(), &data);
        match is_invalid {
            true => refused(json!({"state": state}), invalid.clone(), "not finite"),
            false => refused(json!({"state": state}), Value::Null, "state: "),
        }
    }

    refused(json!({"state": good, "echo": true}), Value::Null, "echo: ");
    refused(json!({"state": good, "prompt": ["a", "b"]}), Value::Null, "has 2 texts");
    refused(json!({"prompt": "a", "return_state": true, "n": 17}), Value::Null, "16 texts at most");
    refused(json!({"prompt": "a", "return_state": 1}), Value::Null, "true or false");
    // And all is as it was.
    let again =
        server.ask(PATH, &json!({"prompt": "Once upon a time", "seed": 1, "max_tokens": 6}));
    assert_eq!(text(&again), text(&answer));
}

#[test]
fn what_a_client_brought_never_reaches_the_cache() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let prompt = "Once there was a miller who was poor, but he had one beautiful daughter";
    let body = json!({"prompt": prompt, "seed": 1, "max_tokens": 3, "return_state": true, "return_token_ids": true});
    let first = server.ask(PATH, &body);
    // A state that lies: other floats behind the same ids.
    let (header, mut data) = parts(state(&first));
    let floats = header["state"]["data_offsets"][1].as_u64().unwrap() as usize;
    data[..floats].fill(0);
    // One before the prompt's end, and one at the text's: gauges come a little later than answers.
    let idle = || server.wait_for("mmfree_active_sequences", |n| n == 0.0);
    server.wait_for("mmfree_cache_entries", |n| n == 2.0);
    let more = " and she went to the mill and spun and spun the whole night long";
    let lie = json!({"state": forge(header, &data), "prompt": more, "max_tokens": 8});
    let (lied, honest) = (server.ask(PATH, &lie), with(&lie, json!({"state": state(&first)})));
    assert_ne!(text(&lied), text(&server.ask(PATH, &honest)));
    idle();
    assert_eq!(server.metric("mmfree_cache_entries"), 2.0);
    // The same ids without a state: what the model says, though a state that lies has gone this way.
    let ids = |name: &str| -> Vec<u32> {
        serde_json::from_value(first["choices"][0][name].clone()).unwrap()
    };
    let before = [ids("prompt_token_ids"), ids("token_ids")].concat();
    let all = [&before[..], &alone.tokenizer.encode_continuation(&before, more).unwrap()].concat();
    let options = SamplerOptions { seed: 1, ..alone.defaults.defaults() };
    let expected = alone.text_of(&all, options, 8, &[]);
    assert_eq!(
        text(&server.ask(PATH, &json!({"prompt": all, "seed": 1, "max_tokens": 8}))),
        expected
    );
}
