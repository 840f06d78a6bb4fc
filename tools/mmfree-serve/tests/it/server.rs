//! Keys, signals, and what the server tells of itself.

use std::io::{Read, Write};

use serde_json::json;

use crate::client::{Server, program};

#[test]
fn health_metrics_and_the_description_are_there() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/health").json(), json!({"status": "ok"}));
    server.ask("/v1/completions", &json!({"prompt": "a", "max_tokens": 3, "ignore_eos": true}));
    let text = server.get("/metrics").text();
    for name in [
        "mmfree_time_to_first_token_seconds_bucket",
        "mmfree_time_between_tokens_seconds_count 2",
        "mmfree_request_seconds_count 1",
        "mmfree_batch_size_bucket",
        "mmfree_generated_tokens_total 3",
        "mmfree_requests_total 1",
        "mmfree_waiting_requests 0",
        "mmfree_cache_bytes ",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");
}

#[test]
fn a_request_id_comes_back() {
    let server = Server::start(&[]);
    let answer = server.request("GET", "/health", &["x-request-id: abc-1"], "");
    assert_eq!(answer.header("x-request-id"), Some("abc-1"));
}

#[test]
fn an_address_that_others_reach_needs_a_key_or_a_word() {
    let (code, said) = Server::refuse(&["--host", "0.0.0.0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--api-key-file") && said.contains("--no-auth"), "{said}");
}

#[test]
fn without_a_key_of_the_file_there_is_no_text_but_health_and_tokens() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "alpha\nbeta\n").unwrap();
    let path = keys.path().to_str().unwrap();
    let server = Server::start(&["--api-key-file", path, "--max-open-body", "100"]);
    let body = json!({"prompt": "Once upon a time there was a king who had a golden mountain", "max_tokens": 1, "seed": 1});
    let kind = "content-type: application/json";
    let ask = |auth: &[&str]| {
        server.request("POST", "/v1/completions", &[&[kind], auth].concat(), &body.to_string())
    };
    for auth in [&[][..], &["authorization: Bearer gamma"], &["authorization: alpha"]] {
        let answer = ask(auth);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["error"]["type"], "authentication_error");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let cached = |key: &str| {
        let answer = ask(&[&format!("authorization: Bearer {key}")]);
        answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    // What one has read is no one else's to find.
    assert_eq!(cached("alpha"), 0);
    assert!(cached("alpha") > 0);
    assert_eq!(cached("beta"), 0);
    for (path, status) in [
        ("/", 200),
        ("/page/page.js", 200),
        ("/health", 200),
        ("/tokenizer_info", 200),
        ("/metrics", 401),
        ("/v1/models", 401),
        ("/openapi.json", 401),
        ("/x", 401),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    let tokenize = |text: &str, auth: &[&str]| {
        let body = json!({"prompt": text}).to_string();
        server.request("POST", "/tokenize", &[&[kind], auth].concat(), &body).status
    };
    let long = "x".repeat(200);
    assert_eq!(tokenize("short", &[]), 200);
    assert_eq!(tokenize(&long, &[]), 413);
    assert_eq!(tokenize(&long, &["authorization: Bearer beta"]), 200);
}

#[test]
fn the_page_and_its_files_come_with_a_policy_that_lets_nothing_else_in() {
    let server = Server::start(&[]);
    let index = server.get("/").text();
    let files: Vec<&str> = index.split('"').filter(|part| part.starts_with("page/")).collect();
    assert!(files.contains(&"page/page.js") && files.contains(&"page/page.css"));
    for path in files.iter().map(|file| format!("/{file}")).chain(["/".to_owned()]) {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
        assert!(!policy.contains("http") && !policy.contains('*'));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let kind = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript",
            Some((_, "css")) => "text/css",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html",
        };
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
    }
    for path in ["/page/other.js", "/page/", "/page/../Cargo.toml", "/page/%2e%2e"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    // What the page wants to know.
    let model = &server.get("/v1/models").json()["data"][0];
    assert_eq!((&model["tokenizer"], &model["chat"]), (&json!(true), &json!(false)));
    assert_eq!(model["eos_token_ids"], json!([2]));
    assert!(model["sampling"]["temperature"].is_number());
    let answer = server.ask("/v1/completions", &json!({"prompt": "a", "max_tokens": 1}));
    assert_eq!(model["system_fingerprint"], answer["system_fingerprint"]);
}

#[test]
fn pages_of_others_may_use_it_only_where_they_are_named() {
    let ask = |server: &Server| {
        let headers = [
            "origin: https://page.example",
            "access-control-request-method: POST",
            "access-control-request-headers: content-type, x-stainless-os",
        ];
        let preflight = server.request("OPTIONS", "/v1/completions", &headers, "");
        preflight.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(ask(&Server::start(&[])), None);
    assert_eq!(ask(&Server::start(&["--cors-origin", "https://other.example"])), None);
    let named = Server::start(&["--cors-origin", "https://page.example"]);
    assert_eq!(ask(&named).as_deref(), Some("https://page.example"));
    let answer = named.request("GET", "/health", &["origin: https://page.example"], "");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://page.example"));
}

/// A streamed request that has begun.
fn begin(server: &Server, tokens: usize) -> (std::net::TcpStream, Vec<u8>) {
    let body = json!({"prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": true, "stream": true});
    let mut stream = server.connect();
    let request = server.bytes(
        "POST",
        "/v1/completions",
        &["content-type: application/json"],
        &body.to_string(),
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = vec![0; 1];
    stream.read_exact(&mut first).unwrap();
    (stream, first)
}

#[test]
fn the_first_signal_lets_what_has_begun_end_and_takes_nothing_new() {
    let mut server = Server::start(&[]);
    let (mut stream, mut bytes) = begin(&server, 3000);
    server.signal("TERM");
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("data: [DONE]"), "the answer is whole");
    assert!(server.wait().success());
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn a_second_signal_ends_it_at_once_and_so_does_the_limit() {
    let mut server = Server::start(&["--max-tokens", "10000000"]);
    let (stream, _) = begin(&server, 10_000_000);
    server.signal("TERM");
    // The second may not come before the first has been seen.
    while std::net::TcpStream::connect(server.address).is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(128 + 15));
    drop(stream);

    let mut server = Server::start(&["--max-tokens", "10000000", "--drain", "1"]);
    let (stream, _) = begin(&server, 10_000_000);
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(1));
    drop(stream);
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let mut server = Server::start(&[]);
    let mut idle = server.connect();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 12]).unwrap();
    let silent = server.connect();
    server.signal("TERM");
    assert!(server.wait().success());
    drop((idle, silent));
}

#[test]
fn a_port_that_is_taken_is_said_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = program().args(["--port", &port]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
}

#[test]
fn more_connections_than_may_be_are_answered_and_others_go_on() {
    let server = Server::start(&["--max-connections", "2"]);
    let (one, two) = (server.connect(), server.connect());
    // They are taken in the order in which they came.
    let mut third = server.connect();
    let mut answer = Vec::new();
    let _ = third.read_to_end(&mut answer);
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 503 "));
    drop((one, two));
}
