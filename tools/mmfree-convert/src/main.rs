//! The command line of the converter.

mod args;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use args::{Args, Command};
#[cfg(feature = "hub")]
use mmfree::storage::AtomicFile;
use mmfree_convert::{Error, Options, Report, Summary};

#[global_allocator]
static ALLOCATOR: mmfree::storage::EndWithoutMemory = mmfree::storage::EndWithoutMemory;

fn main() -> ExitCode {
    mmfree::storage::handle_signals();
    let args = match Args::read() {
        Ok(args) => args,
        // Help and version are output like any other; what was typed wrongly goes to stderr, with exit code 2.
        Err(error) if !error.use_stderr() => {
            return end(print(&error.render().to_string()));
        }
        Err(error) => error.exit(),
    };
    end(contain(|| run(args)))
}

/// Says what went wrong, if anything did, in one line; gives the exit code.
fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Convert(Error::Cancelled)) => {
            say(&format!("error: {}", Error::Cancelled));
            ExitCode::from(130)
        }
        Err(Failure::Convert(error)) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        // Whoever read our output has seen enough.
        Err(Failure::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Stdout(error)) => {
            say(&format!("error: cannot write to stdout: {}", mmfree::error::IoReason(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Runs the program; a panic, which is a bug, ends in one line like any other failure. Panics of the
/// tokenizers library, which are contained and turned into errors, are not shown.
fn contain(run: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let message = format!("a bug in mmfree-convert, please report it: {last}");
        Err(Failure::Convert(Error::Option(message)))
    })
}

enum Failure {
    Convert(Error),
    Stdout(io::Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Convert(error.into())
    }
}

fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Some(Command::Inspect { file, json }) => {
            let contents = mmfree_convert::inspect::inspect(&file)?;
            if json { print_json(&contents) } else { print(&format!("{contents}")) }
        }
        Some(Command::Unpack { file, output, threads, quiet }) => {
            let report = if quiet { Report::Silent } else { Report::Visible };
            let threads = threads.get();
            let options = Options { report, threads, cancel: Some(cancel()), ..Options::default() };
            mmfree_convert::unpack(&file, &output, &options)?;
            if quiet { Ok(()) } else { print(&format!("{}\n", output.display())) }
        }
        Some(Command::Verify { file, threads, json }) => {
            let found = mmfree_convert::verify::verify(&file, threads.get())?;
            if json {
                print_json(&found)?
            } else {
                print(&format!("{found}"))?
            }
            found.into_result()?;
            Ok(())
        }
        Some(Command::Synthesize { size, seed, output }) => {
            let path = match &output.output {
                Some(path) => path.clone(),
                None => args::synthesized_name(&size),
            };
            let options = output.options(cancel());
            let summary = mmfree_convert::synthesize(size.size, seed, &path, &options)?;
            finish(&summary, &output)
        }
        None => {
            let (output, folder) = (args.output, args.checkpoint.unwrap_or_default());
            let path = match &output.output {
                Some(path) => path.clone(),
                None => mmfree_convert::default_output(&folder)?,
            };
            let options = output.options(cancel());
            let (folder, notes) = fetched(folder, args.revision.as_deref(), &path, &options)?;
            let mut summary = mmfree_convert::convert(&folder, &path, &options)?;
            summary.notes.splice(..0, notes);
            finish(&summary, &output)
        }
    }
}

/// The folder of a Hub id that is no path, with notes; any other path as it is.
fn fetched(
    path: PathBuf,
    revision: Option<&str>,
    output: &Path,
    options: &Options,
) -> Result<(PathBuf, Vec<String>), Error> {
    let id = path.to_str().filter(|text| mmfree_convert::is_hub_id(text) && !path.exists());
    match (id, revision) {
        #[cfg(feature = "hub")]
        (Some(id), _) => {
            // An output that cannot be written is better known before the download.
            drop(AtomicFile::create(output, options.force)?);
            let found = mmfree_convert::hub::fetch(id, revision.unwrap_or("main"), options)?;
            Ok((found.folder, found.notes))
        }
        #[cfg(not(feature = "hub"))]
        (Some(id), _) => {
            let _ = (output, options);
            let reason =
                "there is no such folder, and this build cannot download from the Hub".into();
            Err(Error::Hub { id: id.to_owned(), reason })
        }
        (None, Some(_)) => {
            let path = path.display();
            Err(Error::Option(format!("--revision is for a Hub id, which {path} is not")))
        }
        (None, None) => Ok((path, Vec::new())),
    }
}

/// What [`cancel`] gave.
static CANCEL: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// A flag that Ctrl-C and a polite kill set, so that the unfinished file is removed; the second
/// time they end the program.
fn cancel() -> Arc<AtomicBool> {
    let flag = Arc::clone(CANCEL.get_or_init(Default::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Where they cannot be registered the signals end the program at once, as they do anyway.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone());
        let _ = signal_hook::flag::register(signal, flag.clone());
    }
    flag
}

fn finish(summary: &Summary, output: &args::OutputArgs) -> Result<(), Failure> {
    if !output.quiet {
        for note in &summary.notes {
            say(&format!("note: {note}"));
        }
    }
    match (output.json, output.quiet) {
        (true, _) => print_json(summary),
        (false, true) => Ok(()),
        (false, false) => print(&format!("{summary}\n")),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Failure::Stdout(io::Error::other(e)))?;
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let cancelled = || CANCEL.get().is_some_and(|flag| flag.load(Ordering::Relaxed));
    match mmfree::storage::write_stdout(text.as_bytes(), cancelled).map_err(Failure::Stdout)? {
        true => Ok(()),
        // The work is done by now: all that is lost is a text that nobody reads.
        false => Err(Failure::Stdout(io::ErrorKind::BrokenPipe.into())),
    }
}

/// Writes a line to stderr; where that fails there is no one left to tell.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
