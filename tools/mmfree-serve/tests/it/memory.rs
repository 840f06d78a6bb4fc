//! What requests hold of memory is bounded for all of them together, not for each alone.

use std::io::Write;
use std::thread;

use serde_json::json;

use crate::client::{Server, events};

const KIND: &str = "content-type: application/json";

/// A connection that has sent some of a long body.
fn begun(server: &Server, length: usize, sent: usize) -> std::net::TcpStream {
    let body = format!("{{\"prompt\": \"{}\"}}", "x".repeat(length));
    let bytes = server.bytes("POST", "/v1/completions", &[KIND], &body);
    let mut stream = server.connect();
    stream.write_all(&bytes.as_bytes()[..bytes.len() - body.len() + sent]).unwrap();
    stream
}

#[test]
fn bodies_that_others_have_begun_leave_no_room_until_they_are_gone() {
    let server = Server::start(&["--request-memory", "8M", "--io-timeout", "300"]);
    let ask = || {
        let body = json!({"prompt": "Once", "max_tokens": 1, "user": "x".repeat(2_900_000)});
        server.post("/v1/completions", &body)
    };
    assert_eq!(ask().status, 200);
    let held = "mmfree_request_memory_bytes";
    server.wait_for(held, |bytes| bytes == 0.0);
    let other = begun(&server, 3_000_000, 2_900_000);
    server.wait_for(held, |bytes| bytes >= 2_900_000.0);
    let answer = ask();
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    assert!(server.metric("mmfree_refusals_total") >= 1.0);
    // Small ones find a place all the same.
    assert_eq!(server.post("/tokenize", &json!({"prompt": "a"})).status, 200);
    drop(other);
    server.wait_for(held, |bytes| bytes == 0.0);
    assert_eq!(ask().status, 200);
}

#[test]
fn what_never_fits_is_an_error_that_says_what_would() {
    let server = Server::start(&["--request-memory", "20M", "--chat-template", "plain"]);
    let scored = |n: u64, stream: bool| json!({"prompt": "Once", "n": n, "max_tokens": 2000, "logprobs": 20, "ignore_eos": true, "stream": stream});
    let objects = format!("{{\"messages\": [{}0]}}", "{\"\":0},".repeat(50_000));
    let long = json!({"prompt": "word ".repeat(100_000)});
    for answer in [
        server.post("/v1/completions", &scored(256, false)),
        server.request("POST", "/v1/chat/completions", &[KIND], &objects),
        server.post("/v1/completions", &long),
        server.post("/tokenize", &long),
        server.post("/v1/completions", &json!({"prompt": "a", "n": 256, "guided_regex": "a+"})),
    ] {
        assert_eq!(answer.status, 413, "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "request_too_large");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("MB") && message.contains("--request-memory"), "{message}");
    }
    // Fewer are answered, and given back what they took, time and again.
    for _ in 0..3 {
        let answer = server.post("/v1/completions", &scored(3, false));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = server.post("/v1/completions", &scored(1, true));
        assert_eq!(events(&answer.text()).len(), 2000);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_within_bounds_whatever_comes_at_once() {
    let server =
        Server::start(&["--request-memory", "60M", "--chat-template", "plain", "--cache", "1M"]);
    // Each would take 100 MB and more.
    let objects = format!("{{\"messages\": [{}0]}}", "{\"\":0},".repeat(200_000));
    let ids = format!("{{\"prompt\": [[{}1]]}}", "1,".repeat(1_000_000));
    let text = json!({"prompt": "x y".repeat(500_000)}).to_string();
    // And these add up in the queue.
    let bias: serde_json::Map<_, _> = (0..2000).map(|id| (format!("{id}"), 1.into())).collect();
    let many = json!({"prompt": ["a", "b"], "n": 128, "max_tokens": 2, "logit_bias": bias, "stop": vec!["y".repeat(1000); 60]}).to_string();
    let all = [
        ("/v1/chat/completions", &objects),
        ("/v1/completions", &ids),
        ("/tokenize", &text),
        ("/v1/completions", &many),
    ];
    thread::scope(|scope| {
        for (path, body) in all.iter().cycle().take(32) {
            let server = &server;
            scope.spawn(move || {
                let answer = server.request("POST", path, &[KIND], body);
                assert!(matches!(answer.status, 200 | 400 | 413 | 429), "{}", answer.text());
            });
        }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 160_000, "{peak} KB");
}
