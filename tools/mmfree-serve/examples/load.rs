//! A load generator: sends requests to a server and tells when each event of each answer came.
//!
//!     load 127.0.0.1:8080 <requests.json
//!
//! Standard input has a JSON list of requests: `{"path": "/v1/completions", "body": {..}}`, each sent on a connection of
//! its own, all at once; one with `"after": [i, n]` once request number i has had n events. Standard output gets a JSON
//! list in the same order: seconds since the first request was sent at which each was sent (`sent`) and each of its
//! `data:` events came (`events`), the HTTP status, and what came last (`last`). A thread for each request, no
//! dependency on the server's own HTTP code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

/// How many events each request has had, and who waits for them.
struct Progress {
    events: Mutex<Vec<usize>>,
    changed: Condvar,
}

impl Progress {
    fn wait(&self, request: usize, count: usize) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        while events[request] < count {
            events = self.changed.wait(events).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// `usize::MAX` at the end, so that no one waits for what does not come.
    fn set(&self, request: usize, count: usize) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)[request] = count;
        self.changed.notify_all();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: load ADDRESS <requests.json")?;
    let requests: Vec<Value> = serde_json::from_reader(std::io::stdin().lock())?;
    let progress =
        Progress { events: Mutex::new(vec![0; requests.len()]), changed: Condvar::new() };
    let awaited: Vec<bool> = (0..requests.len())
        .map(|i| requests.iter().any(|other| other["after"][0].as_u64() == Some(i as u64)))
        .collect();
    let start = Instant::now();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .iter()
            .enumerate()
            .map(|(i, request)| {
                let (address, progress, awaited) = (&address, &progress, awaited[i]);
                scope.spawn(move || {
                    if let (Some(other), Some(count)) =
                        (request["after"][0].as_u64(), request["after"][1].as_u64())
                    {
                        progress.wait(other as usize, count as usize);
                    }
                    let came = |count| awaited.then(|| progress.set(i, count));
                    let answer = answer(address, request, start, |count| {
                        came(count);
                    });
                    came(usize::MAX);
                    answer.unwrap_or_else(|error| json!({"error": error.to_string()}))
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Value>| {
            thread.join().unwrap_or_else(|_| json!({"error": "a bug in load"}))
        };
        threads.into_iter().map(join).collect()
    });
    println!("{}", Value::from(answers));
    Ok(())
}

/// Sends a request and reads its answer.
fn answer(
    address: &str,
    request: &Value,
    start: Instant,
    came: impl Fn(usize),
) -> Result<Value, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let body = request["body"].to_string();
    let path = request["path"].as_str().ok_or("a request without a path")?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let sent = start.elapsed().as_secs_f64();
    (&stream).write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    let (mut events, mut last) = (Vec::new(), String::new());
    // Where the chunks of the transfer end does not matter: events end with their line.
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break;
        }
        if let Some(data) = line.strip_prefix("data: ") {
            if data.trim_end() != "[DONE]" {
                events.push(start.elapsed().as_secs_f64());
                came(events.len());
                last.clear();
                last.push_str(data.trim_end());
            }
        } else if line.starts_with('{') {
            last.clone_from(&line);
        }
    }
    let mut rest = String::new();
    reader.read_to_string(&mut rest)?;
    Ok(json!({"sent": sent, "status": status, "events": events, "last": last}))
}
