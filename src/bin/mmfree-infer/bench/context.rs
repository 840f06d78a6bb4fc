//! `mmfree-infer bench --context`: speed and memory of a sequence behind ever longer texts.

use std::time::Instant;

use mmfree::{Device, Model, State, Step, Want};
use serde::Serialize;

use super::table::{self, Cell, Format, Printer};
use super::{median, open, thread_counts};
use crate::args::ModelBenchArgs;
use crate::failure::Failure;
use crate::report;

/// Tokens that are read in a pass on the way to a length.
const CHUNK: usize = 512;

/// Speed behind a text of some length.
#[derive(Serialize)]
struct Row {
    /// Tokens read before those that are decoded.
    context: usize,
    device: String,
    threads: Option<usize>,
    /// Median over the repetitions.
    tokens_per_second: f64,
    /// Largest less smallest rate of the repetitions, in per cent of the median.
    spread_percent: f64,
    /// Median over the repetitions of the rate in per cent of that at the first length in the same repetition.
    percent_of_first: f64,
    /// All memory that the sequence takes.
    state_bytes: usize,
}

impl table::Row for Row {
    fn columns(&self) -> Vec<(&'static str, &'static str, Cell)> {
        vec![
            ("context", "context", Cell::Whole(self.context as u64)),
            ("device", "device", Cell::Text(self.device.clone())),
            ("threads", "threads", self.threads.map_or(Cell::None, |n| Cell::Whole(n as u64))),
            ("tokens/s", "tokens_per_second", Cell::Number(self.tokens_per_second, 1)),
            ("+- %", "spread_percent", Cell::Number(self.spread_percent / 2.0, 0)),
            ("% of the first", "percent_of_first", Cell::Number(self.percent_of_first, 1)),
            ("state bytes", "state_bytes", Cell::Whole(self.state_bytes as u64)),
        ]
    }
}

pub fn run(args: &ModelBenchArgs) -> Result<(), Failure> {
    let &[tokens] = &args.tokens[..] else {
        return Err(Failure::Usage("--context takes one number of tokens to decode (-n)".into()));
    };
    if tokens == 0 {
        return Err(Failure::Usage("--context decodes tokens; give -n above 0".into()));
    }
    let mut lengths = args.context.clone();
    lengths.sort_unstable();
    lengths.dedup();
    let mut printer = None;
    for threads in thread_counts(&args.threads) {
        let opened = open(args, threads)?;
        let model = &*opened.model;
        let title = || {
            let (file, place) = (model.file().path().display(), report::place(model));
            format!("{file}, {place}, {tokens} tokens decoded behind each text\n")
        };
        let printer =
            printer.get_or_insert_with(|| Printer::new(Format::of(args.json, args.csv), title()));
        for row in measure(model, &lengths, tokens, args.repetitions)? {
            printer.push(row)?;
        }
    }
    if let Some(printer) = printer {
        printer.finish()?;
    }
    Ok(())
}

fn measure(
    model: &Model,
    lengths: &[usize],
    tokens: usize,
    repetitions: u32,
) -> Result<Vec<Row>, Failure> {
    // One text, read once, whose state is kept at each length.
    let mut state = model.new_state();
    let mut states = Vec::with_capacity(lengths.len());
    for &length in lengths {
        read(model, &mut state, length)?;
        states.push(state.clone());
    }
    decode(model, states[0].clone(), tokens.min(4))?;
    let mut rates = vec![Vec::new(); lengths.len()];
    // All lengths in turn, so that what else the machine does meets them alike.
    for _ in 0..repetitions {
        for (state, rates) in states.iter().zip(&mut rates) {
            let state = state.clone();
            let start = Instant::now();
            decode(model, state, tokens)?;
            rates.push(tokens as f64 / start.elapsed().as_secs_f64());
        }
    }
    let row = |(i, state): (usize, &State)| {
        let (rate, first) = (median(&rates[i]), &rates[0]);
        let shares: Vec<f64> = rates[i].iter().zip(first).map(|(r, f)| 100.0 * r / f).collect();
        let most = rates[i].iter().copied().fold(0.0, f64::max);
        let least = rates[i].iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Row {
            context: lengths[i],
            device: model.device().to_string(),
            threads: (model.device() == Device::Cpu).then(|| model.threads()),
            tokens_per_second: rate,
            spread_percent: 100.0 * (most - least) / rate,
            percent_of_first: median(&shares),
            state_bytes: state.to_bytes()?.len(),
        })
    };
    states.iter().enumerate().map(row).collect()
}

/// Which tokens are fed makes no difference to the speed.
fn token(model: &Model, position: usize) -> u32 {
    (position % model.config().vocab_size) as u32
}

/// Reads on until the text has so many tokens.
fn read(model: &Model, state: &mut State, length: usize) -> Result<(), Failure> {
    let mut at = state.position() as usize;
    while at < length {
        let end = length.min(at + CHUNK);
        let tokens: Vec<u32> = (at..end).map(|position| token(model, position)).collect();
        forward(model, state, &tokens, &mut Vec::new())?;
        at = end;
    }
    Ok(())
}

fn decode(model: &Model, mut state: State, tokens: usize) -> Result<(), Failure> {
    let mut logits = Vec::new();
    for i in 0..tokens {
        forward(model, &mut state, &[token(model, 7 * i)], &mut logits)?;
    }
    Ok(())
}

fn forward(
    model: &Model,
    state: &mut State,
    tokens: &[u32],
    logits: &mut Vec<f32>,
) -> Result<(), Failure> {
    let step = Step { state, tokens, want: Want::Last, logits, states: None };
    Ok(model.forward(&mut [step])?)
}
