//! `mmfree-infer perplexity`: how well a model predicts a text.

use std::ops::ControlFlow;
use std::time::Instant;

use indicatif::ProgressBar;
use mmfree::{LogProbs, Model, Step, Want};
use serde::Serialize;

use crate::args::PerplexityArgs;
use crate::failure::{Failure, read_text};
use crate::interrupt::Interrupt;
use crate::open::Opened;
use crate::report;

/// Tokens that are fed at a time.
const CHUNK: usize = 64;

pub fn run(args: &PerplexityArgs) -> Result<(), Failure> {
    let text = read_text(&args.file)?;
    let opened = Opened::new(&args.model)?;
    let tokenizer = opened.tokenizer("a text cannot be measured without one")?;
    let ids = tokenizer.encode_prompt(&text)?;
    let windows = windows(&ids, tokenizer.prompt_prefix(), args.context);
    let tokens: usize = windows.iter().map(Vec::len).sum();
    if tokens <= windows.len() {
        let name = args.file.display();
        return Err(Failure::Message(format!("{name}: has no token to predict; needs more text")));
    }
    let interrupt = Interrupt::install();
    opened.prepare(&args.model.memory, Some(&interrupt), args.quiet)?;
    let start = Instant::now();
    let bar = report::progress("perplexity", tokens, !args.quiet);
    let mut tally = Tally::default();
    let mut flow = ControlFlow::Continue(());
    for window in &windows {
        flow = measure(&opened.model, window, &interrupt, &bar, &mut tally)?;
        if flow.is_break() {
            break;
        }
    }
    bar.finish_and_clear();
    if flow.is_break() && tally.predicted == 0 {
        return Err(interrupt.failure());
    }
    let bytes = match flow {
        ControlFlow::Continue(()) => text.len(),
        // That of the tokens read so far, windows' BOS tokens aside, which have no text.
        ControlFlow::Break(()) => {
            let fed: Vec<u32> = windows.concat().into_iter().take(tally.fed).collect();
            tokenizer.decode(&fed)?.len()
        }
    };
    let result = Measured::new(&tally, bytes, flow.is_break());
    if args.json {
        report::print_json(&result)?;
    } else {
        report::print(&result.to_string())?;
    }
    if !args.quiet {
        report::say(&report::rate(tally.fed, start.elapsed()));
    }
    if flow.is_break() {
        if !args.quiet {
            report::say(&format!("interrupted after {} of {tokens} tokens", tally.fed));
        }
        return Err(interrupt.failure());
    }
    Ok(())
}

/// What has been measured so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    fed: usize,
    predicted: usize,
    nats: f64,
}

/// The sequences to measure: one, or windows of `context` tokens that each begin with what prompts
/// begin with, a BOS mostly. Every token of the text is predicted once; where nothing stands before
/// it, the first of each window is not.
fn windows(ids: &[u32], prefix: &[u32], context: Option<usize>) -> Vec<Vec<u32>> {
    let Some(context) = context else { return vec![ids.to_vec()] };
    let text = ids.strip_prefix(prefix).unwrap_or(ids);
    let room = context.saturating_sub(prefix.len()).max(1);
    text.chunks(room).map(|text| [prefix, text].concat()).collect()
}

/// Adds the nats of all tokens of a sequence but the first, each given those before it; breaks off
/// when interrupted.
fn measure(
    model: &Model,
    ids: &[u32],
    interrupt: &Interrupt,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<ControlFlow<()>, Failure> {
    let mut state = model.new_state();
    let mut logits = Vec::new();
    let vocab_size = model.config().vocab_size;
    for (tokens, next) in ids.chunks(CHUNK).zip((1..).step_by(CHUNK)) {
        if interrupt.hit() {
            return Ok(ControlFlow::Break(()));
        }
        let (state, logits) = (&mut state, &mut logits);
        model.forward(&mut [Step { state, tokens, want: Want::All, logits, states: None }])?;
        let targets = ids.iter().zip(0u64..).skip(next);
        for (row, (&target, position)) in logits.chunks(vocab_size).zip(targets) {
            tally.nats -= f64::from(LogProbs::new(row, position)?.of(target)?);
            tally.predicted += 1;
        }
        tally.fed += tokens.len();
        bar.inc(tokens.len() as u64);
    }
    Ok(ControlFlow::Continue(()))
}

#[derive(Serialize)]
struct Measured {
    /// Tokens fed.
    tokens: usize,
    /// Tokens predicted: all but the first of each sequence.
    predicted: usize,
    /// Bytes of the text.
    bytes: usize,
    nats: f64,
    nats_per_token: f64,
    bits_per_byte: f64,
    perplexity: f64,
    /// Whether it was broken off: then the numbers are those of the text's beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

impl Measured {
    #[expect(
        clippy::disallowed_methods,
        reason = "a number for people: a last digit that differs between machines reaches no token"
    )]
    fn new(tally: &Tally, bytes: usize, interrupted: bool) -> Measured {
        let &Tally { fed: tokens, predicted, nats } = tally;
        let nats_per_token = nats / predicted as f64;
        Measured {
            tokens,
            predicted,
            bytes,
            nats,
            nats_per_token,
            bits_per_byte: nats / std::f64::consts::LN_2 / bytes as f64,
            perplexity: nats_per_token.exp(),
            interrupted,
        }
    }
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "tokens          {} ({} predicted)", self.tokens, self.predicted)?;
        writeln!(f, "nats per token  {:.6}", self.nats_per_token)?;
        writeln!(f, "bits per byte   {:.6}", self.bits_per_byte)?;
        writeln!(f, "perplexity      {:.4}", self.perplexity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_predict_every_token_once() {
        let ids = [1, 10, 11, 12, 13, 14];
        assert_eq!(windows(&ids, &[1], None), [ids.to_vec()]);
        let cut = windows(&ids, &[1], Some(3));
        assert_eq!(cut, [vec![1, 10, 11], vec![1, 12, 13], vec![1, 14]]);
        assert_eq!(windows(&ids[1..], &[], Some(3)), [vec![10, 11, 12], vec![13, 14]]);
    }
}
