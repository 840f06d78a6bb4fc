//! The main job: a prompt in, text out.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use mmfree::{
    Error, GenerationConfig, Limits, SamplerOptions, Session, StopReason, StopStrings, TextStream,
};
use serde::Serialize;

use crate::args::GenerateArgs;
use crate::failure::{Failure, no_prompt};
use crate::interrupt::Interrupt;
use crate::open::Opened;
use crate::output;
use crate::prompt::Prompt;
use crate::report::{self, Memory, bytes, rate, say, time, tokens};
use crate::sampling::{counts, instead, limits, sampling, seeded};

pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let prompt = Prompt::read(&args.prompt, args.load_state.is_some())?;
    // Not before: a prompt that is typed is given up at the first Ctrl-C.
    let interrupt = Interrupt::install();
    if let Some(path) = &args.save_state {
        output::check(path, output::STATE)?;
    }
    let opened = Opened::new(&args.model)?;
    let (defaults, faults) = GenerationConfig::from_file_lenient(opened.model.file());
    if let Some(fault) = faults.iter().find(|fault| counts(fault, args, &defaults)) {
        let mut reason = format!("generation_config.json: {fault}");
        if let Some(option) = fault.key.and_then(instead) {
            reason += &format!("; {option} goes without it");
        }
        return Err(Error::invalid(opened.model.file().path(), reason).into());
    }
    opened.prepare(&args.model.memory, Some(&interrupt), args.quiet)?;
    let mut session = match &args.load_state {
        Some(path) => load(&opened, path, args.quiet)?,
        None => Session::new(&opened.model, seeded(defaults.defaults()))?,
    };
    let options = sampling(&args.sampling, &defaults, session.sampler_options().clone());
    session.set_sampler_options(options)?;

    let given = session.ids().len();
    let before = args.load_state.is_some().then_some(session.ids());
    let ids = prompt_ids(&prompt, &opened, before)?;
    session.push(&ids)?;
    if session.ids().is_empty() {
        return Err(no_prompt());
    }
    let limits = limits(args, &defaults);
    let writer = Writer::new(args, &opened, &session, &prompt, limits)?;
    let mut job = Job { args, opened: &opened, session, given, writer };
    let outcome = job.run(&interrupt);
    // Also where no one reads the text any more, or a signal found it stuck: the session is sound, and to be gone on with.
    if let (Ok(_) | Err(Failure::ClosedPipe | Failure::Interrupted(_)), Some(path)) =
        (&outcome, &args.save_state)
    {
        job.session.save(path)?;
    }
    let outcome = outcome?;
    job.finish(&outcome)?;
    if outcome.stop == StopReason::Interrupted { Err(interrupt.failure()) } else { Ok(()) }
}

/// A prompt of so many tokens takes long enough to be told of.
const LONG: usize = 1000;

/// Loads a saved session, and says what there is to say of it.
fn load(opened: &Opened, path: &Path, quiet: bool) -> Result<Session, Failure> {
    let session = Session::load(&opened.model, path)?;
    let (name, pending) = (path.display(), session.pending().len());
    if session.is_unchecked() && !quiet {
        say(&format!("note: {name}: saved by an older version, it has no checksum"));
    }
    if pending > LONG && !quiet {
        say(&format!(
            "note: {name}: {pending} of its ids have not been read yet, that comes first"
        ));
    }
    Ok(session)
}

/// The ids of the prompt as one that begins a text, or as it goes on after those of a saved session.
fn prompt_ids(
    prompt: &Prompt,
    opened: &Opened,
    before: Option<&[u32]>,
) -> Result<Vec<u32>, Failure> {
    match (prompt, before) {
        (Prompt::Ids(ids), _) => Ok(ids.clone()),
        (Prompt::Text(text), Some(_)) if text.is_empty() => Ok(Vec::new()),
        (Prompt::Text(text), None) if text.is_empty() => match opened.try_tokenizer() {
            Ok(Some(tokenizer)) => Ok(tokenizer.encode_prompt(text)?),
            // There must be something, and a tokenizer is not needed for it.
            _ => Ok(opened.model.config().bos_token_id.into_iter().collect()),
        },
        (Prompt::Text(text), before) => {
            let tokenizer = opened.tokenizer("give the prompt as --ids")?;
            Ok(match before {
                Some(before) => tokenizer.encode_continuation(before, text)?,
                None => tokenizer.encode_prompt(text)?,
            })
        }
    }
}

/// What comes out, and how.
struct Writer {
    stream: TextStream,
    /// Whether the model has a tokenizer; else the ids themselves are shown.
    is_text: bool,
    /// Shown at once rather than kept in `out`.
    streams: bool,
    out: String,
    /// What was shown ends a line.
    at_line_start: bool,
}

impl Writer {
    fn new(
        args: &GenerateArgs,
        opened: &Opened,
        session: &Session,
        prompt: &Prompt,
        limits: Limits,
    ) -> Result<Writer, Failure> {
        if !args.stop.is_empty() {
            opened.tokenizer("so --stop cannot be used")?;
        }
        let stops = StopStrings::new(args.stop.clone())?;
        let tokenizer = opened.try_tokenizer().unwrap_or_else(|reason| {
            if !args.quiet {
                say(&format!("note: the text cannot be shown, so these are ids: {reason}"));
            }
            None
        });
        let decode = match tokenizer {
            Some(tokenizer) => Some(tokenizer.stream_after(session.ids())?),
            None => None,
        };
        let is_text = decode.is_some();
        let stream = TextStream::new(decode, stops, limits, session.ids().len());
        let streams = !args.json;
        let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        if let (Prompt::Text(text), true) = (prompt, terminal && streams && !args.quiet) {
            let _ = write!(io::stderr(), "{text}");
        }
        Ok(Writer { stream, is_text, streams, out: String::new(), at_line_start: false })
    }

    /// Shows what a token adds to the text.
    fn push(&mut self, id: u32) -> Result<(), Failure> {
        let piece = self.stream.push(id)?;
        if self.is_text { self.show(&piece) } else { self.show(&format!("{id} ")) }
    }

    /// Shows what was held back. With `more` to come from a saved session, incomplete characters
    /// are left to it.
    fn finish(&mut self, more: bool) -> Result<(), Failure> {
        let rest = if more { self.stream.release() } else { self.stream.finish()? };
        self.show(&rest)?;
        let ends_line = !self.is_text || io::stdout().is_terminal();
        if self.streams && ends_line && !self.at_line_start { self.show("\n") } else { Ok(()) }
    }

    fn show(&mut self, piece: &str) -> Result<(), Failure> {
        if !self.streams {
            self.out.push_str(piece);
        } else if !piece.is_empty() {
            self.at_line_start = piece.ends_with('\n');
            report::print(piece)?;
        }
        Ok(())
    }
}

struct Job<'a> {
    args: &'a GenerateArgs,
    opened: &'a Opened,
    session: Session,
    /// Ids that a loaded session brought along.
    given: usize,
    writer: Writer,
}

/// How it went.
struct Outcome {
    stop: StopReason,
    /// Ids behind which the generated ones begin.
    prompt_end: usize,
    /// Tokens of the prompt that were fed, and the time until the first new token was there.
    prompt: (usize, Duration),
    /// Tokens that followed, and the time they took.
    text: (usize, Duration),
}

impl Job<'_> {
    fn run(&mut self, interrupt: &Interrupt) -> Result<Outcome, Failure> {
        let prompt_end = self.session.ids().len();
        let pending = self.session.pending().len();
        let start = Instant::now();
        let bar = report::progress("prompt", pending, !self.args.quiet && pending > LONG);
        let flow = self.session.prefill(|left| {
            bar.set_position((pending - left) as u64);
            interrupt.flow()
        })?;
        bar.finish_and_clear();
        let mut prompt = (pending - self.session.pending().len(), start.elapsed());
        let mut text = (0, Duration::ZERO);
        let mut first = None;
        if flow.is_break() {
            self.writer.stream.end(StopReason::Interrupted);
        }
        while self.writer.stream.stop_reason().is_none() {
            if interrupt.hit() {
                self.writer.stream.end(StopReason::Interrupted);
                break;
            }
            let id = self.session.next_token()?;
            match first {
                None => {
                    prompt = (pending, start.elapsed());
                    first = Some(Instant::now());
                }
                Some(_) => text.0 += 1,
            }
            self.writer.push(id)?;
        }
        text.1 = first.map_or(Duration::ZERO, |first| first.elapsed());
        self.writer.finish(self.args.save_state.is_some())?;
        // The loop above ends with a reason.
        let stop = self.writer.stream.stop_reason().cloned().unwrap_or(StopReason::Interrupted);
        Ok(Outcome { stop, prompt_end, prompt, text })
    }

    fn finish(&self, outcome: &Outcome) -> Result<(), Failure> {
        let options = self.session.sampler_options();
        let memory = Memory::now();
        let ids = &self.session.ids()[outcome.prompt_end..];
        let model = &self.opened.model;
        if self.args.json {
            report::print_json(&Summary {
                text: self.writer.is_text.then_some(self.writer.out.as_str()),
                ids,
                prompt_ids: &self.session.ids()[self.given..outcome.prompt_end],
                stop: outcome.stop.name(),
                stop_string: match &outcome.stop {
                    StopReason::StopString(stop) => Some(stop),
                    _ => None,
                },
                seed: options.seed,
                sampling: options,
                device: model.device().to_string(),
                threads: model.threads(),
                isa: model.isa().name(),
                load_seconds: self.opened.time().as_secs_f64(),
                prompt_seconds: outcome.prompt.1.as_secs_f64(),
                prompt_tokens_per_second: report::per_second(outcome.prompt.0, outcome.prompt.1),
                text_seconds: outcome.text.1.as_secs_f64(),
                text_tokens_per_second: report::per_second(outcome.text.0, outcome.text.1),
                memory,
            })?;
        }
        if self.args.quiet {
            return Ok(());
        }
        let name = model.file().path().display();
        let ready = time(self.opened.time());
        say(&format!("model:  {name}, ready in {ready}; {}", report::place(model)));
        say(&format!("prompt: {}", rate(outcome.prompt.0, outcome.prompt.1)));
        let rate = match report::per_second(outcome.text.0, outcome.text.1) {
            Some(rate) => format!(", {rate:.1} tokens/s after the first"),
            None => String::new(),
        };
        say(&format!("text:   {}{rate}; ended by {}", tokens(ids.len()), outcome.stop.name()));
        say(&format!("sample: {options}"));
        let unused = if options.is_greedy() { " (greedy: not used)" } else { "" };
        say(&format!("seed:   {}{unused}", options.seed));
        if let Some(memory) = memory {
            let (peak, own) = (bytes(memory.peak), bytes(memory.anonymous));
            say(&format!("memory: {peak} at its peak, the model file counted; {own} without it"));
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    text: Option<&'a str>,
    ids: &'a [u32],
    prompt_ids: &'a [u32],
    stop: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_string: Option<&'a str>,
    seed: u64,
    sampling: &'a SamplerOptions,
    device: String,
    threads: usize,
    isa: &'a str,
    load_seconds: f64,
    prompt_seconds: f64,
    prompt_tokens_per_second: Option<f64>,
    text_seconds: f64,
    text_tokens_per_second: Option<f64>,
    memory: Option<Memory>,
}
