//! How far a conversion has come.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How progress is shown, on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// Not at all.
    #[default]
    Silent,
    /// As a bar on a terminal, else as a line now and then.
    Visible,
}

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(2);

/// A count of weights that grows to a known total.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: Option<Mutex<Lines>>,
}

struct Lines {
    done: u64,
    total: u64,
    next: Instant,
}

impl Progress {
    /// Begins to count to `total`.
    pub fn start(report: Report, title: &str, total: u64) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (report == Report::Visible && terminal).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            // A fixed template: the fallback is never taken.
            let style = ProgressStyle::with_template("{msg} [{bar:40}] {percent} % {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style.progress_chars("=> ")).with_message(title.to_owned())
        });
        let lines = (report == Report::Visible && !terminal).then(|| {
            line(title);
            Mutex::new(Lines { done: 0, total, next: Instant::now() + PERIOD })
        });
        Progress { bar, lines }
    }

    /// `count` more are done.
    pub fn add(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
        let Some(lines) = &self.lines else { return };
        // A poisoned lock means that a thread has panicked already: no one will read these lines.
        let Ok(mut lines) = lines.lock() else { return };
        lines.done += count;
        if Instant::now() >= lines.next {
            lines.next = Instant::now() + PERIOD;
            line(&format!("{} %", lines.done.saturating_mul(100) / lines.total.max(1)));
        }
    }

    /// `count` are done in all: fewer than before where something begins anew.
    #[cfg(feature = "hub")]
    pub fn set(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(count);
        }
        if let Some(Ok(mut lines)) = self.lines.as_ref().map(Mutex::lock) {
            lines.done = count;
        }
        self.add(0);
    }

    /// What comes after the count.
    pub fn message(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
            bar.tick();
        }
        if self.lines.is_some() {
            line(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to stderr; one that cannot be written is no reason to end the work.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
