//! What is said on stderr.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mmfree::storage::write_stdout;
use mmfree::{Device, Model};
use serde::Serialize;

use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// Whether what was printed last has not ended its line.
static MID_LINE: AtomicBool = AtomicBool::new(false);

/// Writes a line to stderr, a line of its own also where stdout goes to the same place; where that fails there is no one
/// left to tell.
pub fn say(text: &str) {
    let breaks = MID_LINE.load(Ordering::Relaxed) && same_place();
    let start = if breaks { "\n" } else { "" };
    MID_LINE.fetch_and(!breaks, Ordering::Relaxed);
    let _ = writeln!(io::stderr(), "{start}{text}");
}

/// Writes to stdout. A stdout that takes nothing any more is given up once a signal came.
pub fn print(text: &str) -> Result<(), Failure> {
    let written =
        write_stdout(text.as_bytes(), || Interrupt::current().is_some_and(Interrupt::hit));
    if !written.map_err(Failure::stdout)? {
        // It only gave up for an interrupt.
        return Err(Interrupt::current().map_or(Failure::ClosedPipe, Interrupt::failure));
    }
    if !text.is_empty() {
        MID_LINE.store(!text.ends_with('\n'), Ordering::Relaxed);
    }
    Ok(())
}

/// Whether stdout and stderr are shown in one place: the same file or pipe, or terminals.
fn same_place() -> bool {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::MetadataExt;
    let (out, err) = (io::stdout(), io::stderr());
    let file = |fd: BorrowedFd<'_>| {
        let meta = File::from(fd.try_clone_to_owned().ok()?).metadata().ok()?;
        Some((meta.dev(), meta.ino()))
    };
    let same = file(out.as_fd()).is_some_and(|place| file(err.as_fd()) == Some(place));
    same || out.is_terminal() && err.is_terminal()
}

/// Writes JSON to stdout.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::Message(format!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// A number of bytes with its unit, in powers of 1000.
pub fn bytes(count: u64) -> String {
    mmfree::error::Bytes(count).to_string()
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
