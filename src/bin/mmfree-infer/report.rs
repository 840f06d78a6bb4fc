//! What is said on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mmfree::{Device, Model};
use serde::Serialize;

use crate::failure::Failure;

/// Writes a line to stderr; where that fails there is no one left to tell.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes to stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::stdout)
}

/// Writes JSON to stdout.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::Message(format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// A number of bytes with its unit, in powers of 1000.
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

/// A time with its unit.
pub fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// A number of tokens with its unit.
pub fn tokens(count: usize) -> String {
    if count == 1 { "1 token".to_owned() } else { format!("{count} tokens") }
}

/// What a model runs on.
pub fn place(model: &Model) -> String {
    match (model.device(), model.threads()) {
        (Device::Cpu, 1) => format!("{}, 1 thread", model.isa().name()),
        (Device::Cpu, threads) => format!("{}, {threads} threads", model.isa().name()),
        (device, _) => device.to_string(),
    }
}

/// A number of tokens and how fast they were; for none, the number alone.
pub fn rate(count: usize, duration: Duration) -> String {
    match per_second(count, duration) {
        Some(rate) => format!("{} in {}, {rate:.1} tokens/s", tokens(count), time(duration)),
        None => tokens(count),
    }
}

/// Tokens per second; none without tokens or time.
pub fn per_second(count: usize, duration: Duration) -> Option<f64> {
    (count > 0 && !duration.is_zero()).then(|| count as f64 / duration.as_secs_f64())
}

/// Memory of this process in bytes, as the system counts it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// The most that was ever resident, the pages of the mapped model file counted that were read.
    pub peak: u64,
    /// Resident now and the process's own: without the model file.
    pub anonymous: u64,
}

impl Memory {
    /// The memory of this process; `None` where the system does not say.
    pub fn now() -> Option<Memory> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Memory { peak: field("VmHWM")?, anonymous: field("RssAnon")? })
    }
}

/// A progress bar on stderr over so many tokens, on a terminal and if `visible`; else nothing.
pub fn progress(title: &str, tokens: usize, visible: bool) -> ProgressBar {
    let template = "{msg} [{bar:40}] {pos}/{len} tokens, {eta} left";
    bar(title, tokens as u64, template, visible)
}

/// A progress bar on stderr up to `len`, on a terminal and if `visible`; else nothing.
pub fn bar(title: &str, len: u64, template: &str, visible: bool) -> ProgressBar {
    if !visible || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // Templates are fixed: the fallback is never taken.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style.progress_chars("=> ")).with_message(title.to_owned())
}
