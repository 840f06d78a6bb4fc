//! Many at once: each gets the text that it has alone, whoever leaves, lags or is refused beside it.

use std::io::{Read, Write};
use std::thread;

use serde_json::json;

use crate::client::{Alone, Answer, Server, events};

const PATH: &str = "/v1/completions";

fn streamed(server: &Server, prompt: &str, seed: u64, tokens: usize) -> String {
    let body = json!({"prompt": prompt, "seed": seed, "max_tokens": tokens});
    let chunks = server.stream(PATH, &body);
    chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect()
}

#[test]
fn texts_among_many_are_those_alone_with_prompts_long_and_short_and_clients_that_hang_up() {
    let (server, alone) = (Server::start(&["--parallel", "6"]), Alone::new());
    let long = "There was once a king whose wife had golden hair. ".repeat(20);
    let prompts = ["Once upon a time", &long, "The wolf said", "A fisherman", &long[..400]];
    let jobs: Vec<(usize, u64)> = (0..20).map(|n| (n % prompts.len(), n as u64 % 4)).collect();
    let texts: Vec<String> = thread::scope(|scope| {
        let server = &server;
        let handles: Vec<_> = jobs
            .iter()
            .enumerate()
            .map(|(n, &(p, seed))| {
                scope.spawn(move || {
                    if n % 3 == 0 {
                        // Another, which hangs up after a while.
                        let body = json!({"prompt": prompts[p], "seed": 99, "max_tokens": 5000, "stream": true, "ignore_eos": true});
                        let bytes = server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
                        let mut stream = server.connect();
                        stream.write_all(bytes.as_bytes()).unwrap();
                        let _ = stream.read(&mut [0; 100 + 50]);
                    }
                    streamed(server, prompts[p], seed, 25)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    for (&(p, seed), text) in jobs.iter().zip(&texts) {
        assert_eq!(*text, alone.text(prompts[p], seed, 25), "prompt {p}, seed {seed}");
    }
    server.wait_for("mmfree_active_sequences", |n| n == 0.0);
}

#[test]
fn one_that_hangs_up_frees_its_place_whether_it_streams_or_waits() {
    let server = Server::start(&["--parallel", "1", "--max-tokens", "10000000"]);
    for stream in [true, false] {
        let body = json!({"prompt": "Once", "max_tokens": 10_000_000, "ignore_eos": true, "stream": stream});
        let bytes =
            server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
        let before = server.metric("mmfree_cancellations_total");
        // An answer may be here before its sequence is gone from the gauge.
        server.wait_for("mmfree_active_sequences", |n| n == 0.0);
        let mut connection = server.connect();
        connection.write_all(bytes.as_bytes()).unwrap();
        server.wait_for("mmfree_active_sequences", |n| n == 1.0);
        drop(connection);
        // The one place is free again.
        server.ask(PATH, &json!({"prompt": "Once", "max_tokens": 2}));
        assert_eq!(server.metric("mmfree_cancellations_total"), before + 1.0);
    }
}

#[test]
fn one_that_does_not_read_stops_no_one() {
    let (server, alone) = (Server::start(&["--parallel", "2", "--io-timeout", "2"]), Alone::new());
    let body = json!({"prompt": "Once", "max_tokens": 60_000, "ignore_eos": true, "stream": true, "logprobs": 20});
    let bytes = server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
    let mut slow = server.connect();
    slow.write_all(bytes.as_bytes()).unwrap();
    server.wait_for("mmfree_active_sequences", |n| n == 1.0);
    for seed in 0..3 {
        assert_eq!(streamed(&server, "The wolf", seed, 20), alone.text("The wolf", seed, 20));
    }
    // It is given up, and does not hold its place for ever.
    server.wait_for("mmfree_cancellations_total", |n| n == 1.0);
    server.wait_for("mmfree_active_sequences", |n| n == 0.0);
}

#[test]
fn beyond_the_queue_a_request_is_refused_with_the_time_to_come_again() {
    let server = Server::start(&["--parallel", "1", "--queue", "1", "--max-tokens", "10000000"]);
    let body = json!({"prompt": "Once", "max_tokens": 10_000_000, "ignore_eos": true});
    let bytes = server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
    let mut running = server.connect();
    running.write_all(bytes.as_bytes()).unwrap();
    server.wait_for("mmfree_active_sequences", |n| n == 1.0);
    let mut waiting = server.connect();
    waiting.write_all(bytes.as_bytes()).unwrap();
    server.wait_for("mmfree_waiting_requests", |n| n == 1.0);
    let refused = server.post(PATH, &json!({"prompt": "Once", "max_tokens": 1}));
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&after));
    // One that waits leaves its place too.
    drop(waiting);
    server.wait_for("mmfree_waiting_requests", |n| n == 0.0);
    drop(running);
    server.ask(PATH, &json!({"prompt": "Once", "max_tokens": 1}));
}

#[test]
fn time_that_is_up_cuts_a_text_and_refuses_one_that_has_not_begun() {
    let server = Server::start(&["--parallel", "1", "--max-time", "1", "--max-tokens", "10000000"]);
    let body = json!({"prompt": "Once", "max_tokens": 10_000_000, "ignore_eos": true});
    let answers: Vec<Answer> = thread::scope(|scope| {
        let first = scope.spawn(|| server.post(PATH, &body));
        server.wait_for("mmfree_active_sequences", |n| n == 1.0);
        let mut second = body.clone();
        second["stream"] = true.into();
        let second = server.post(PATH, &second);
        vec![first.join().unwrap(), second]
    });
    let first = answers[0].json();
    assert_eq!(first["choices"][0]["finish_reason"], "length");
    assert!(first["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    // The second may have begun in the moment between; else the error is in its stream.
    let text = answers[1].text();
    assert!(text.contains("\"code\":\"timeout\"") || !events(&text).is_empty(), "{text}");
}

#[test]
fn a_stream_that_waits_gets_comments() {
    let server =
        Server::start(&["--parallel", "1", "--heartbeat", "1", "--max-tokens", "10000000"]);
    let body = json!({"prompt": "Once", "max_tokens": 10_000_000, "ignore_eos": true});
    let bytes = server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
    let mut running = server.connect();
    running.write_all(bytes.as_bytes()).unwrap();
    server.wait_for("mmfree_active_sequences", |n| n == 1.0);
    let body = json!({"prompt": "Once", "max_tokens": 3, "stream": true});
    let bytes = server.bytes("POST", PATH, &["content-type: application/json"], &body.to_string());
    let mut waiting = server.connect();
    waiting.write_all(bytes.as_bytes()).unwrap();
    let mut text = String::new();
    while text.matches(": reading").count() < 2 {
        let mut some = [0; 1000];
        let n = waiting.read(&mut some).unwrap();
        assert!(n > 0, "{text}");
        text += std::str::from_utf8(&some[..n]).unwrap();
    }
    assert!(!text.contains("data:"));
    drop(running);
    waiting.read_to_string(&mut text).unwrap();
    assert!(text.contains("data: [DONE]"), "{text}");
}
