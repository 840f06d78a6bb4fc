//! Rendering in a process of its own, whose time and memory are bounded.
//!
//! A template comes with a model, from anywhere, and a dozen lines of one can build a list of billions: minijinja counts
//! steps, not what a step does. So the program starts itself once more, to render and do nothing else, with limits that
//! the system enforces; where it dies of them, the request is an error and the next one gets a new process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::jinja;

/// The argument with which the program renders, and does nothing else.
pub const COMMAND: &str = "render-chat-template";

/// Bytes of memory that rendering may take, the program itself counted.
const MEMORY: u64 = 1 << 29;

/// Seconds of a processor that one rendering may take.
const SECONDS: u64 = 3;

/// Bytes of a text at most.
const MOST: usize = 16 << 20;

/// What is asked for, and what comes back, each a line.
#[derive(Deserialize, Serialize)]
enum Line {
    Text(String),
    Error(String),
}

/// Renders one template, in a process that is started when it is needed.
#[derive(Debug)]
pub struct Worker {
    source: String,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub fn new(source: &str) -> Worker {
        Worker { source: source.to_owned(), process: Mutex::new(None) }
    }

    /// The text for a context, a JSON object in one line; an error says why there is none.
    pub fn render(&self, context: &str) -> Result<String, String> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |running: &mut Process| matches!(running.child.try_wait(), Ok(None));
        let mut running = match process.take_if(alive) {
            Some(running) => running,
            None => Process::start(&self.source)
                .map_err(|error| format!("the chat template cannot be rendered: {error}"))?,
        };
        match running.ask(context) {
            Ok(answer) => {
                *process = Some(running);
                match answer {
                    Line::Text(text) => Ok(text),
                    Line::Error(reason) => Err(reason),
                }
            }
            Err(_) => {
                running.end();
                Err(format!(
                    "the chat template takes more than {SECONDS} s or {} MB with these messages",
                    MEMORY >> 20
                ))
            }
        }
    }
}

impl Process {
    fn start(source: &str) -> io::Result<Process> {
        // Also where the file has been replaced since.
        let program = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        let mut child = Command::new(program)
            .arg(COMMAND)
            .env_clear()
            // A Ctrl-C is for the server, which may have answers to end.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        input.write_all(&line(&source)?)?;
        Ok(Process { child, input, output })
    }

    fn ask(&mut self, context: &str) -> io::Result<Line> {
        self.input.write_all(&line(&context)?)?;
        let mut answer = String::new();
        (&mut self.output).take(2 * MOST as u64).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// What the process does: reads a template, then contexts, and writes their texts, until there are no more.
///
/// # Errors
/// As reading and writing.
pub fn work() -> io::Result<()> {
    setrlimit(Resource::As, limit(MEMORY))?;
    setrlimit(Resource::Core, limit(0))?;
    let mut lines = io::stdin().lock().lines();
    let Some(source) = lines.next() else { return Ok(()) };
    let source: String = serde_json::from_str(&source?)?;
    for context in lines {
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec as u64;
        setrlimit(Resource::Cpu, Rlimit { current: Some(used + SECONDS), maximum: None })?;
        let context: String = serde_json::from_str(&context?)?;
        let answer = match jinja::render(&source, &context) {
            Ok(text) if text.len() > MOST => {
                Line::Error(format!("the text has {} bytes, must be {MOST} at most", text.len()))
            }
            Ok(text) => Line::Text(text),
            Err(reason) => Line::Error(reason),
        };
        let mut out = io::stdout().lock();
        out.write_all(&line(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

fn limit(most: u64) -> Rlimit {
    Rlimit { current: Some(most), maximum: Some(most) }
}
