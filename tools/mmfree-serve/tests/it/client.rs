//! The program under test, and a client that knows as little HTTP as will do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mmfree::{
    GenerationConfig, Limits, Model, ModelFile, Options, SamplerOptions, Session, StopStrings,
    TextStream, Tokenizer,
};
use serde_json::Value;

/// How long anything may take: far longer than it does, under emulation too.
const PATIENCE: Duration = Duration::from_secs(300);

/// The emulator that Cargo runs programs of this architecture under, if any: `CARGO_TARGET_<TARGET>_RUNNER`.
pub fn runner() -> Option<String> {
    let prefix = format!("CARGO_TARGET_{}", std::env::consts::ARCH.to_uppercase());
    let mut variables = std::env::vars();
    let found = variables.find(|(name, _)| name.starts_with(&prefix) && name.ends_with("_RUNNER"));
    found.map(|(_, runner)| runner)
}

/// The program, under the emulator that the tests themselves run under, if any.
pub fn program() -> Command {
    let program = env!("CARGO_BIN_EXE_mmfree-serve");
    let runner = runner();
    let mut words = runner.iter().flat_map(|runner| runner.split_whitespace()).chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env_remove("MMFREE_ISA").stdin(Stdio::null());
    command
}

/// A running server, ended with the test.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts one with these arguments, on a free port.
    pub fn start(args: &[&str]) -> Server {
        Server::spawn(program().args(["--port", "0", "--threads", "1"]).args(args))
    }

    /// Starts one by this command.
    pub fn spawn(command: &mut Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("http://") else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("no address but {line:?}; {said}");
        };
        let address = address.parse().unwrap();
        // Read, so that what it logs never stops it.
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"));
        });
        Server { child, address }
    }

    /// One that is expected not to start: its exit code and what it said.
    pub fn refuse(args: &[&str]) -> (Option<i32>, String) {
        let output = program().args(["--port", "0"]).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends these bytes and takes the whole answer.
    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        Answer::read(stream)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.send(self.bytes(method, path, headers, body).as_bytes())
    }

    pub fn bytes(&self, method: &str, path: &str, headers: &[&str], body: &str) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("host:")) {
            head += &format!("host: {}\r\n", self.address);
        }
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if !headers.iter().any(|header| header.starts_with("content-length:")) {
            head += &format!("content-length: {}\r\n", body.len());
        }
        format!("{head}\r\n{body}")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &["content-type: application/json"], &body.to_string())
    }

    /// The same for an answer that is as it should be.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The chunks of a streamed answer.
    pub fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = true.into();
        let answer = self.post(path, &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        events(&answer.text())
    }

    /// The value of one of the metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until one of the metrics has become so large.
    pub fn wait_for(&self, name: &str, is_enough: impl Fn(f64) -> bool) {
        let start = Instant::now();
        while !is_enough(self.metric(name)) {
            assert!(start.elapsed() < PATIENCE, "{name} stays {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The events of a stream that ends as it should.
pub fn events(text: &str) -> Vec<Value> {
    let mut events: Vec<&str> =
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(events.pop(), Some("[DONE]"), "{text}");
    events.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads to the end of the connection.
    pub fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a header");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<(String, String)> =
            headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked") {
            body = unchunk(&body);
        }
        Answer { status, headers, body }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            return out;
        }
        out.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

/// The model under test as `mmfree-infer` runs it: alone.
pub struct Alone {
    pub model: Arc<Model>,
    pub tokenizer: Tokenizer,
    pub defaults: GenerationConfig,
}

impl Alone {
    pub fn new() -> Alone {
        let options = Options { threads: Some(1), ..Options::default() };
        let model = Model::new(ModelFile::demo().unwrap(), &options).unwrap();
        let tokenizer = Tokenizer::from_file(model.file()).unwrap().unwrap();
        let defaults = GenerationConfig::from_file(model.file()).unwrap();
        Alone { model, tokenizer, defaults }
    }

    /// The text that follows a prompt.
    pub fn text(&self, prompt: &str, seed: u64, max_tokens: usize) -> String {
        let ids = self.tokenizer.encode_prompt(prompt).unwrap();
        self.text_of(&ids, SamplerOptions { seed, ..self.defaults.defaults() }, max_tokens, &[])
    }

    pub fn text_of(
        &self,
        ids: &[u32],
        options: SamplerOptions,
        max_tokens: usize,
        stop: &[&str],
    ) -> String {
        let mut session = Session::new(&self.model, options).unwrap();
        session.push(ids).unwrap();
        let decode = self.tokenizer.stream_after(ids).unwrap();
        let stops = StopStrings::new(stop.iter().map(|stop| stop.to_string()).collect()).unwrap();
        let eos = self.defaults.eos.clone();
        let limits = Limits { max_tokens: Some(max_tokens), eos, ..Limits::default() };
        let mut text = TextStream::new(Some(decode), stops, limits, ids.len());
        let mut out = String::new();
        while text.stop_reason().is_none() {
            out += &text.push(session.next_token().unwrap()).unwrap();
        }
        out + &text.finish().unwrap()
    }
}
