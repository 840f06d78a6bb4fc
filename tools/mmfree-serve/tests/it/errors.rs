//! What is wrong is said in OpenAI's form, with the right status, and names the field.

use serde_json::{Value, json};

use crate::client::{Answer, Server};

/// The error of an answer, which has the form of one.
fn error(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error = answer.json()["error"].clone();
    assert!(error["message"].is_string() && error["type"].is_string(), "{error}");
    assert!(error.get("param").is_some() && error.get("code").is_some(), "{error}");
    error
}

#[test]
fn fields_with_values_that_cannot_be_used_are_named() {
    let server = Server::start(&["--max-prompt", "50", "--max-tokens", "100", "--max-texts", "8"]);
    let long = "word ".repeat(100);
    for (fields, param, said) in [
        (json!({"prompt": null}), "prompt", "is missing"),
        (json!({"prompt": []}), "prompt", "empty list"),
        (json!({"prompt": {}}), "prompt", "an object"),
        (json!({"prompt": 5}), "prompt", "is 5"),
        (json!({"prompt": [1, "a"]}), "prompt", "must be token ids"),
        (json!({"prompt": ["a", 1]}), "prompt", "must be a string"),
        (json!({"prompt": [[1], "a"]}), "prompt", "must be a string"),
        (json!({"prompt": [[]]}), "prompt", "is empty"),
        (
            json!({"prompt": [2048]}),
            "prompt",
            "token id 2048 is outside the vocabulary: ids are 0 to 2047",
        ),
        (json!({"prompt": [-1]}), "prompt", "holds -1"),
        (json!({"prompt": [1.5]}), "prompt", "holds 1.5"),
        (json!({"prompt": long}), "prompt", "must be 50 at most"),
        (json!({"max_tokens": -1}), "max_tokens", "is -1"),
        (json!({"max_tokens": 101}), "max_tokens", "from 0 to 100"),
        (json!({"max_tokens": "5"}), "max_tokens", "is \"5\""),
        (json!({"temperature": -1}), "temperature", "is -1, must be 0 or more"),
        (json!({"temperature": "hot"}), "temperature", "must be a number"),
        (json!({"temperature": 1e300}), "temperature", "0 or more"),
        (json!({"top_p": 0}), "top_p", "above 0"),
        (json!({"top_p": 1.01}), "top_p", "1 at most"),
        (json!({"min_p": 2}), "min_p", "0 to 1"),
        (json!({"top_k": -2}), "top_k", "from -1"),
        (json!({"repetition_penalty": 0}), "repetition_penalty", "above 0"),
        (json!({"n": 0}), "n", "from 1 to 8"),
        (json!({"n": 9}), "n", "from 1 to 8"),
        (json!({"n": 5, "prompt": ["a", "b"]}), "n", "more texts than 8"),
        (json!({"stop": 5}), "stop", "must be a string or a list"),
        (json!({"stop": [5]}), "stop", "must be strings"),
        (json!({"stop": ""}), "stop", "is empty"),
        (json!({"stop": vec!["x"; 65]}), "stop", "64 at most"),
        (json!({"seed": 1.5}), "seed", "64 bits"),
        (json!({"seed": "1"}), "seed", "64 bits"),
        (json!({"logprobs": 21}), "logprobs", "from 0 to 20"),
        (json!({"logprobs": true}), "logprobs", "is true"),
        (json!({"echo": 1}), "echo", "true or false"),
        (json!({"stream": "yes"}), "stream", "true or false"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options", "\"stream\": true"),
        (json!({"suffix": "x"}), "suffix", "cannot"),
        (json!({"best_of": 2}), "best_of", "cannot"),
        (json!({"min_tokens": 3}), "min_tokens", "cannot"),
        (json!({"stop_token_ids": [3]}), "stop_token_ids", "cannot"),
        (json!({"bad_words": ["x"]}), "bad_words", "cannot"),
        (json!({"truncate_prompt_tokens": 3}), "truncate_prompt_tokens", "cannot"),
        (json!({"prompt_logprobs": 0}), "prompt_logprobs", "echo"),
        (json!({"include_stop_str_in_output": true}), "include_stop_str_in_output", "cannot"),
        (json!({"mirostat": 2}), "mirostat", "cannot"),
        (json!({"model": 5}), "model", "must be a string"),
        (json!({"presence_penalty": 2.1}), "presence_penalty", "-2 to 2"),
        (json!({"frequency_penalty": "x"}), "frequency_penalty", "must be a number"),
        (json!({"logit_bias": {"5": 101}}), "logit_bias", "-100 to 100"),
        (json!({"logit_bias": {"x": 1}}), "logit_bias", "token ids"),
        (json!({"logit_bias": {"2048": 1}}), "logit_bias", "outside the vocabulary"),
        (json!({"suppress_tokens": [4000]}), "suppress_tokens", "outside the vocabulary"),
        (json!({"typical_p": 0}), "typical_p", "above 0"),
    ] {
        let mut body = json!({"prompt": "a", "max_tokens": 1});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = server.post("/v1/completions", &body);
        assert_eq!(answer.status, 400, "{fields}: {}", answer.text());
        let error = error(&answer);
        assert_eq!(error["param"], param, "{fields}: {error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{fields}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    // What shows only when the first token is to be chosen.
    let all: Vec<u32> = (0..2048).collect();
    let answer = server.post("/v1/completions", &json!({"prompt": "a", "suppress_tokens": all}));
    assert_eq!(answer.status, 400);
    assert!(error(&answer)["message"].as_str().unwrap().contains("no token can be chosen"));
    // Others have done no harm.
    server.ask(
        "/v1/completions",
        &json!({"prompt": "a", "max_tokens": 1, "unknown": {"x": [1]}, "user": "me"}),
    );
}

#[test]
fn a_model_that_is_not_served_is_a_404_that_names_the_one_that_is() {
    let server = Server::start(&["--model-alias", "tales", "--model-alias", "gpt-3.5-turbo"]);
    for path in ["/v1/completions", "/v1/chat/completions"] {
        let answer = server.post(path, &json!({"prompt": "a", "model": "other"}));
        assert_eq!(answer.status, 404);
        let error = error(&answer);
        assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")));
        assert!(error["message"].as_str().unwrap().contains("tales, gpt-3.5-turbo"), "{error}");
    }
    assert_eq!(server.get("/v1/models/demo").status, 404);
    assert_eq!(server.get("/v1/models/tales").json()["id"], "tales");
    let answer = server.ask("/v1/completions", &json!({"prompt": "a", "model": "gpt-3.5-turbo"}));
    assert_eq!(answer["model"], "tales");
    let models = server.get("/v1/models").json();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][1]["id"], "gpt-3.5-turbo");
    assert!(models["data"][0]["name"].is_string() && models["data"][0]["created"].is_u64());
}

#[test]
fn requests_that_are_none_of_ours_are_errors_of_the_same_form() {
    let server = Server::start(&["--max-body", "1000"]);
    let kind = "content-type: application/json";
    let large = format!("{{\"prompt\": \"{}\"}}", "x".repeat(2000));
    for (method, path, headers, body, status, said) in [
        ("GET", "/nothing", &[][..], "", 404, "there is no /nothing"),
        ("POST", "/v1/responses", &[kind], "{}", 404, "/v1/chat/completions"),
        ("POST", "/v1/embeddings", &[kind], "{}", 404, "no embeddings"),
        ("GET", "/v1/completions", &[], "", 405, "GET is not for /v1/completions"),
        ("DELETE", "/v1/models", &[], "", 405, "DELETE"),
        ("POST", "/v1/completions", &[], "{}", 415, "application/json"),
        ("POST", "/v1/completions", &["content-type: text/plain"], "{}", 415, "text/plain"),
        ("POST", "/v1/completions", &[kind], "{", 400, "no JSON"),
        ("POST", "/v1/completions", &[kind], "", 400, "no JSON"),
        ("POST", "/v1/completions", &[kind], "[1]", 400, "a list, must be a JSON object"),
        ("POST", "/v1/completions", &[kind], "{\"prompt\": \"\\ud800\"}", 400, "no JSON"),
        ("POST", "/v1/completions", &[kind], &large, 413, "1000 bytes"),
        ("POST", "/tokenize", &[kind], &large, 413, "1000 bytes"),
        ("GET", "/health", &["host: evil.example"], "", 403, "--allowed-host"),
        ("GET", "/health", &[&format!("x: {}", "a".repeat(70_000))], "", 431, "65536 at most"),
    ] {
        let answer = server.request(method, path, headers, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let error = error(&answer);
        assert!(error["message"].as_str().unwrap().contains(said), "{method} {path}: {error}");
    }
    let deep = "[".repeat(100_000);
    let answer = server.request("POST", "/tokenize", &[kind], &deep[..900]);
    assert_eq!(answer.status, 400);
    // A body without a length, too long.
    let chunk = format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000));
    let head = server.bytes(
        "POST",
        "/v1/completions",
        &[kind, "transfer-encoding: chunked", "content-length:"],
        "",
    );
    let head = head.replace("content-length:\r\n", "");
    let answer = server.send((head + &chunk).as_bytes());
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert_eq!(server.get("/v1/completions").header("allow"), Some("POST"));
}

#[test]
fn what_is_no_http_ends_its_own_connection_alone() {
    let server = Server::start(&["--io-timeout", "1"]);
    for bytes in [
        &b"\0\xff\x01\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\ncontent-length: x\r\n\r\n",
    ] {
        let answer = server.send(bytes);
        assert!((400..600).contains(&answer.status));
    }
    // A header, and a body, that do not come.
    use std::io::{Read, Write};
    let mut header = server.connect();
    header.write_all(b"GET /health HTTP/1.1\r\nhost: ").unwrap();
    let mut body = server.connect();
    let head = server.bytes(
        "POST",
        "/v1/completions",
        &["content-type: application/json", "content-length: 50"],
        "{",
    );
    body.write_all(head.as_bytes()).unwrap();
    let answer = Answer::read(body);
    assert_eq!(answer.status, 408, "{}", answer.text());
    let mut rest = Vec::new();
    header.read_to_end(&mut rest).unwrap();
    assert_eq!(server.get("/health").status, 200);
}
