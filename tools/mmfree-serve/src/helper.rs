//! Work in a process of its own, whose time and memory are bounded.
//!
//! What comes from outside, a chat template or a grammar, can ask for more than there is in a dozen lines, and libraries that
//! count steps do not count what a step does. So the program starts itself once more, to do one kind of work and nothing
//! else, with limits that the system enforces; where it dies of them, the request is an error and the next one gets a new
//! process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Bytes of memory that the process may take, the program itself counted.
const MEMORY: u64 = 1 << 29;

/// Bytes of an answer at most.
const MOST: usize = 16 << 20;

/// What comes back, in a line.
#[derive(Deserialize, Serialize)]
enum Line {
    Text(String),
    Error(String),
}

/// A process for one kind of work, started when it is needed.
#[derive(Debug)]
pub struct Helper {
    /// The program's argument that asks for it.
    command: &'static str,
    /// What it is told before anything else.
    setup: String,
    seconds: u64,
    process: Mutex<Option<Process>>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The process refused, with a reason.
    Refused(String),
    /// It took more than it may, and is gone.
    Exhausted {
        /// Seconds of a processor that it may take.
        seconds: u64,
        /// Megabytes that it may take.
        megabytes: u64,
    },
    /// It cannot be started.
    Unstarted(String),
}

impl Helper {
    /// A helper that has so many seconds of a processor for each question.
    pub fn new(command: &'static str, setup: String, seconds: u64) -> Helper {
        Helper { command, setup, seconds, process: Mutex::new(None) }
    }

    /// What it is told before anything else.
    #[cfg(feature = "fuzzing")]
    pub fn setup(&self) -> &str {
        &self.setup
    }

    /// The answer to a question. Questions of several threads wait for each other.
    pub fn ask(&self, question: &str) -> Result<String, Unanswered> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = |running: &mut Process| matches!(running.child.try_wait(), Ok(None));
        let mut running = match process.take_if(alive) {
            Some(running) => running,
            None => Process::start(self.command, &self.setup)
                .map_err(|error| Unanswered::Unstarted(error.to_string()))?,
        };
        match running.ask(question) {
            Ok(answer) => {
                *process = Some(running);
                match answer {
                    Line::Text(text) => Ok(text),
                    Line::Error(reason) => Err(Unanswered::Refused(reason)),
                }
            }
            Err(_) => {
                running.end();
                Err(Unanswered::Exhausted { seconds: self.seconds, megabytes: MEMORY >> 20 })
            }
        }
    }
}

impl Process {
    fn start(command: &str, setup: &str) -> io::Result<Process> {
        // Also where the file has been replaced since.
        let program = if cfg!(target_os = "linux") {
            "/proc/self/exe".into()
        } else {
            std::env::current_exe()?
        };
        let mut child = Command::new(program)
            .arg(command)
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
        input.write_all(&line(&setup)?)?;
        Ok(Process { child, input, output })
    }

    fn ask(&mut self, question: &str) -> io::Result<Line> {
        self.input.write_all(&line(&question)?)?;
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

/// What the process does: reads the setup, then questions, and writes their answers, until there are no more.
///
/// # Errors
/// As reading and writing.
pub fn work<S>(
    seconds: u64,
    prepare: impl FnOnce(String) -> io::Result<S>,
    answer: impl Fn(&S, &str) -> Result<String, String>,
) -> io::Result<()> {
    setrlimit(Resource::As, limit(MEMORY))?;
    setrlimit(Resource::Core, limit(0))?;
    // Where the system has no memory left, this process is what can be spared.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let mut lines = io::stdin().lock().lines();
    let Some(setup) = lines.next() else { return Ok(()) };
    let setup = prepare(serde_json::from_str(&setup?)?)?;
    for question in lines {
        let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec as u64;
        setrlimit(Resource::Cpu, Rlimit { current: Some(used + seconds), maximum: None })?;
        let question: String = serde_json::from_str(&question?)?;
        let answer = match answer(&setup, &question) {
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
