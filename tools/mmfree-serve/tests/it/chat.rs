//! `/v1/chat/completions`.

use mmfree::SamplerOptions;
use serde_json::{Value, json};

use crate::client::{Alone, Server, runner};

const PATH: &str = "/v1/chat/completions";

/// Whether templates can't be rendered here: an emulated program cannot start itself once more.
fn emulated() -> bool {
    runner().is_some()
}

fn content(answer: &Value) -> &str {
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_model_without_a_template_says_so_unless_one_is_given() {
    let server = Server::start(&[]);
    let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
    let answer = server.post(PATH, &body);
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "no_chat_template");
    assert!(error["message"].as_str().unwrap().contains("--chat-template plain"));
}

#[test]
fn the_answer_is_the_text_after_the_rendered_template() {
    if emulated() {
        return;
    }
    let (server, alone) = (Server::start(&["--chat-template", "plain"]), Alone::new());
    let rendered = "<s>system: Be brief.\nuser: Tell a tale\nof a king\nassistant:";
    let ids = alone.tokenizer.encode(rendered, false).unwrap();
    let options = SamplerOptions { seed: 9, ..alone.defaults.defaults() };
    let expected = alone.text_of(&ids, options, 30, &[]);
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Tell a tale"}, {"type": "text", "text": "of a king"}]},
        ],
        "seed": 9, "max_completion_tokens": 30, "model": "demo",
    });
    let answer = server.ask(PATH, &body);
    assert_eq!(content(&answer), expected);
    assert_eq!(answer["usage"]["prompt_tokens"], ids.len());
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["finish_reason"]),
        (&json!("chat.completion"), &json!("length"))
    );

    let chunks = server.stream(PATH, &body);
    assert_eq!(chunks.len(), 31);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let joined: String = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(joined, expected);
    assert_eq!(chunks[30]["choices"][0]["finish_reason"], "length");
}

#[test]
fn log_probabilities_have_bytes_and_the_likeliest() {
    if emulated() {
        return;
    }
    let server = Server::start(&["--chat-template", "plain"]);
    let body = json!({
        "messages": [{"role": "user", "content": "Hi"}], "seed": 1, "max_tokens": 10, "logprobs": true, "top_logprobs": 3,
    });
    let answer = server.ask(PATH, &body);
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 10);
    let mut bytes = Vec::new();
    for token in tokens {
        let likely = token["top_logprobs"].as_array().unwrap();
        assert_eq!(likely.len(), 3);
        assert!(likely[0]["logprob"].as_f64() >= likely[1]["logprob"].as_f64());
        for byte in token["bytes"].as_array().unwrap() {
            bytes.push(byte.as_u64().unwrap() as u8);
        }
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), content(&answer));
    let chunks = server.stream(PATH, &body);
    let streamed = chunks[1]["choices"][0]["logprobs"]["content"][0].clone();
    assert_eq!(streamed, tokens[0]);
}

#[test]
fn a_second_turn_finds_the_first_in_the_cache() {
    if emulated() {
        return;
    }
    let server = Server::start(&["--chat-template", "plain"]);
    let first =
        "Tell me a long story of a miller and his three sons, and of the cat that one of them had.";
    let mut messages = vec![json!({"role": "user", "content": first})];
    let body = |messages: &[Value]| json!({"messages": messages, "seed": 2, "max_tokens": 20});
    let answer = server.ask(PATH, &body(&messages));
    messages.push(answer["choices"][0]["message"].clone());
    messages.push(json!({"role": "user", "content": "And then?"}));
    let second = server.ask(PATH, &body(&messages));
    let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert!(cached + 2 >= answer["usage"]["prompt_tokens"].as_u64().unwrap(), "{second}");
}

#[test]
fn what_cannot_be_honoured_is_named() {
    if emulated() {
        return;
    }
    let server = Server::start(&["--chat-template", "plain"]);
    for (fields, param) in [
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"continue_final_message": true}), "continue_final_message"),
        (json!({"echo": true}), "echo"),
        (json!({"chat_template": "{{ 1 }}"}), "chat_template"),
        (json!({"documents": [{"text": "x"}]}), "documents"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"response_format": {"type": "json_schema"}}), "response_format"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            "messages",
        ),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"max_tokens": 0}), "max_tokens"),
    ] {
        let mut body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.post(PATH, &body);
        assert_eq!(answer.status, 400, "{fields}");
        assert_eq!(answer.json()["error"]["param"], param, "{fields}");
    }
    let ignored = json!({"messages": [{"role": "user", "content": "Hi"}], "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "max_tokens": 1, "min_tokens": 1, "ignore_eos": true});
    server.ask(PATH, &ignored);
}

/// A file with this template.
fn template(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_template_that_builds_lists_without_end_is_an_error_of_its_request_alone() {
    if emulated() {
        return;
    }
    let hostile = "{% if messages[0].content == 'grow' %}{% set ns = namespace(a=[1]) %}{% for i in range(40) %}\
                   {% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a | join }}{% elif messages[0].content == 'raise' %}\
                   {{ raise_exception('no such thing') }}{% else %}{{ bos_token }}{{ messages[0].content }}{% endif %}";
    let file = template(hostile);
    let server = Server::start(&["--chat-template", file.path().to_str().unwrap()]);
    let body =
        |text: &str| json!({"messages": [{"role": "user", "content": text}], "max_tokens": 1});
    for _ in 0..2 {
        let answer = server.post(PATH, &body("grow"));
        assert_eq!(answer.status, 400, "{}", answer.text());
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().unwrap().contains("takes more than"), "{error}");
        server.ask(PATH, &body("Hi"));
    }
    let answer = server.post(PATH, &body("raise"));
    assert_eq!(
        answer.json()["error"]["message"],
        "messages: the chat template says: no such thing"
    );
}

#[test]
fn a_template_that_does_not_compile_ends_the_start_with_a_line() {
    let file = template("{% if %}");
    let (code, said) = Server::refuse(&["--chat-template", file.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    // Behind what the log has to say of the demo model's generation config.
    let errors: Vec<&str> = said.lines().filter(|line| !line.contains(" WARN ")).collect();
    assert!(
        matches!(errors[..], [error] if error.starts_with("error: ") && error.contains("line 1")),
        "{said}"
    );
    assert_eq!(Server::refuse(&["--chat-template", "/nowhere/at/all"]).0, Some(1));
}
