//! The program as a user runs it.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The emulator that Cargo runs programs of this architecture under, if any: `CARGO_TARGET_<TARGET>_RUNNER`.
pub fn runner() -> Option<String> {
    let prefix = format!("CARGO_TARGET_{}", std::env::consts::ARCH.to_uppercase());
    let mut variables = std::env::vars();
    variables
        .find(|(name, _)| name.starts_with(&prefix) && name.ends_with("_RUNNER"))
        .map(|(_, runner)| runner)
}

/// A program of this package, to be run under the emulator that Cargo runs the tests under, if it
/// does.
pub fn command(program: &str) -> Command {
    let runner = runner();
    let mut words = runner.iter().flat_map(|runner| runner.split_whitespace()).chain([program]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env_remove("MMFREE_ISA").stdin(Stdio::null());
    command
}

/// What a program did.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    fn new(output: Output) -> Run {
        let stderr = String::from_utf8(output.stderr).expect("stderr is text");
        Run { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Its stdout, after it ended well.
    #[track_caller]
    pub fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        String::from_utf8(self.stdout).expect("stdout is text")
    }

    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }
}

/// `mmfree-infer` with these arguments.
pub fn infer<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_mmfree-infer"));
    command.args(args);
    command
}

/// Runs it to its end.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    Run::new(infer(args).output().unwrap())
}

/// Runs it with something on stdin.
pub fn run_with_stdin<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, stdin: &[u8]) -> Run {
    let mut child = infer(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read it all.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    Run::new(child.wait_with_output().unwrap())
}
