//! `mmfree-infer bench`: how fast a model runs.
//!
//! Decoding reads every weight once for each token, so its bound is the rate at which the machine
//! reads memory: that is measured between the repetitions, with the same threads over the same
//! bytes. Prompts and batches are bound by arithmetic instead: beside them stands the rate of the
//! CPU's int8 dot product.

use std::time::Instant;

use mmfree::format::Embedding;
use mmfree::{Device, Model, State, Step, Want};
use serde::Serialize;

use super::table::{self, Cell, Format, Printer};
use super::{best_loop, median, open, thread_counts};
use crate::args::ModelBenchArgs;
use crate::failure::Failure;
use crate::report;

/// The most tokens that a test may have.
const MAX_TOKENS: usize = 1 << 24;

/// One test's result. Rates are medians over the repetitions; on a GPU, nothing is said of the
/// machine.
#[derive(Serialize)]
struct Row {
    /// `pp512`: a prompt of 512 tokens; `tg128`: 128 tokens decoded.
    test: String,
    device: String,
    /// Where it runs on the CPU, as `isa` and `kernel`.
    threads: Option<usize>,
    /// Sequences that are run together.
    batch: usize,
    isa: Option<&'static str>,
    kernel: Option<&'static str>,
    tokens_per_second: f64,
    /// Largest less smallest rate of the repetitions, in per cent of the median.
    spread_percent: f64,
    /// Bytes of weights read for each pass over the model.
    bytes_per_pass: u64,
    /// Decoding: the same for each token.
    bytes_per_token: Option<f64>,
    /// Decoding: GB/s of weights read.
    read_gb_s: Option<f64>,
    /// The machine's own, GB/s.
    machine_gb_s: Option<f64>,
    /// `read_gb_s` in per cent of `machine_gb_s`, median over repetitions.
    read_percent: Option<f64>,
    /// Prompts and batches: 10^9 additions of a weighted activation per second.
    gmac_s: Option<f64>,
    /// The CPU's int8 dot product, all threads.
    machine_gmac_s: Option<f64>,
    /// `gmac_s` in per cent of `machine_gmac_s`, median over repetitions.
    compute_percent: Option<f64>,
}

impl table::Row for Row {
    fn columns(&self) -> Vec<(&'static str, &'static str, Cell)> {
        let number = |value: Option<f64>| Cell::number(value, 1);
        let text = |value: Option<&str>| value.map_or(Cell::None, |text| Cell::Text(text.into()));
        vec![
            ("test", "test", Cell::Text(self.test.clone())),
            ("device", "device", Cell::Text(self.device.clone())),
            ("threads", "threads", self.threads.map_or(Cell::None, |n| Cell::Whole(n as u64))),
            ("batch", "batch", Cell::Whole(self.batch as u64)),
            ("isa", "isa", text(self.isa)),
            ("kernel", "kernel", text(self.kernel)),
            ("tokens/s", "tokens_per_second", Cell::Number(self.tokens_per_second, 1)),
            ("+- %", "spread_percent", Cell::Number(self.spread_percent / 2.0, 0)),
            ("MB/token", "bytes_per_token", number(self.bytes_per_token.map(|b| b / 1e6))),
            ("GB/s", "read_gb_s", number(self.read_gb_s)),
            ("machine", "machine_gb_s", number(self.machine_gb_s)),
            ("share %", "read_percent", number(self.read_percent)),
            ("Gmac/s", "gmac_s", number(self.gmac_s)),
            ("machine", "machine_gmac_s", number(self.machine_gmac_s)),
            ("share %", "compute_percent", number(self.compute_percent)),
        ]
    }
}

/// What a test runs.
#[derive(Clone, Copy)]
pub(super) enum Test {
    Prompt(usize),
    Decode(usize, usize),
}

pub fn run(args: &ModelBenchArgs) -> Result<(), Failure> {
    let tests = tests(args)?;
    let (mut printer, mut forms) = (None, Vec::new());
    for threads in thread_counts(&args.threads) {
        let opened = open(args, threads)?;
        let model = &opened.model;
        let printer = printer
            .get_or_insert_with(|| Printer::new(Format::of(args.json, args.csv), title(model)));
        for &test in &tests {
            printer.push(measure(model, test, args.repetitions)?)?;
        }
        let decodes = tests.iter().any(|test| matches!(test, Test::Decode(_, 1)));
        if decodes && !(args.json || args.csv) {
            forms.extend(super::forms::compare(args, threads, model)?);
        }
    }
    if let Some(printer) = printer {
        printer.finish()?;
    }
    for form in forms {
        report::print(&format!("{form}\n"))?;
    }
    Ok(())
}

fn title(model: &Model) -> String {
    let (file, read) = (model.file().path().display(), report::bytes(model.weight_bytes()));
    let repacked = match model.repacked_bytes() {
        0 => String::new(),
        count => format!(", {} of them re-packed as i2 in memory", report::bytes(count)),
    };
    format!("{file}, {read} of weights read for each pass{repacked}\n")
}

fn tests(args: &ModelBenchArgs) -> Result<Vec<Test>, Failure> {
    let lengths = args.prompt.iter().chain(&args.tokens);
    if let Some(length) = lengths.copied().find(|&n| n > MAX_TOKENS) {
        return Err(Failure::Usage(format!("{length} tokens, must be {MAX_TOKENS} at most")));
    }
    let mut tests: Vec<Test> = args.prompt.iter().map(|&p| Test::Prompt(p)).collect();
    for &batch in &args.batch {
        tests.extend(args.tokens.iter().map(|&n| Test::Decode(n, batch)));
    }
    tests.retain(|test| !matches!(test, Test::Prompt(0) | Test::Decode(0, _)));
    if tests.is_empty() {
        return Err(Failure::Usage("nothing to measure; give -p or -n above 0".into()));
    }
    Ok(tests)
}

fn measure(model: &Model, test: Test, repetitions: u32) -> Result<Row, Failure> {
    let (name, batch, tokens) = match test {
        Test::Prompt(n) => (format!("pp{n}"), 1, n),
        Test::Decode(n, batch) => (format!("tg{n}"), batch, n * batch),
    };
    let pass = model.weight_bytes() + batch as u64 * embedding_row_bytes(model);
    let on_cpu = model.device() == Device::Cpu;
    let decodes = matches!(test, Test::Decode(..));
    // One sequence is not bound by arithmetic.
    let computes = !matches!(test, Test::Decode(_, 1));
    let bytes_per_token = pass as f64 / batch as f64;
    let macs = macs(model, test);
    once(model, warm_up(test))?;
    let (mut rates, mut reads, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repetitions {
        // Between two looks at the machine, so that both sides see the same minute.
        let look = || {
            let read = if decodes { model.read_rates() } else { Vec::new() };
            let peak = if computes && on_cpu { model.dot_peak() } else { f64::NAN };
            (read, peak)
        };
        let before = look();
        let start = Instant::now();
        once(model, test)?;
        rates.push(tokens as f64 / start.elapsed().as_secs_f64());
        let after = look();
        reads.push([before.0, after.0]);
        peaks.push(before.1.max(after.1));
    }
    let reads = best_loop(&reads);
    let rate = median(&rates);
    let spread = rates.iter().copied().fold(0.0, f64::max)
        - rates.iter().copied().fold(f64::INFINITY, f64::min);
    let packing = model.file().matrices().filter_map(|name| model.file().matrix(name)).next();
    let rows = if let Test::Prompt(n) = test { n } else { batch };
    let in_use = packing.map(|(matrix, _)| model.packing_in_use(matrix.packing()));
    let kernel = in_use.map(|packing| model.kernel_for(packing, rows).name());
    let share = |of: f64, machine: &[f64]| {
        let shares: Vec<f64> = rates.iter().zip(machine).map(|(r, m)| 100.0 * r * of / m).collect();
        median(&shares)
    };
    Ok(Row {
        test: name,
        device: model.device().to_string(),
        threads: on_cpu.then(|| model.threads()),
        batch,
        isa: on_cpu.then(|| model.isa().name()),
        kernel: kernel.filter(|_| on_cpu),
        tokens_per_second: rate,
        spread_percent: 100.0 * spread / rate,
        bytes_per_pass: pass,
        bytes_per_token: decodes.then_some(bytes_per_token),
        read_gb_s: decodes.then(|| rate * bytes_per_token / 1e9),
        machine_gb_s: decodes.then(|| median(&reads) / 1e9).filter(|&rate| rate > 0.0),
        read_percent: decodes.then(|| share(bytes_per_token, &reads)).filter(|p| p.is_finite()),
        gmac_s: computes.then(|| rate * macs / 1e9),
        machine_gmac_s: (computes && on_cpu).then(|| median(&peaks) / 1e9),
        compute_percent: (computes && on_cpu).then(|| share(macs, &peaks)),
    })
}

/// Bytes of the embedding that a token takes.
fn embedding_row_bytes(model: &Model) -> u64 {
    let (data, scale) = match model.file().embedding() {
        Embedding::Float { data, .. } => (data, 0),
        Embedding::Int8 { data, .. } => (data, size_of::<f32>()),
    };
    (data.len() / model.config().vocab_size + scale) as u64
}

/// A short form of a test, to fill caches and buffers.
fn warm_up(test: Test) -> Test {
    match test {
        Test::Prompt(n) => Test::Prompt(n.min(256)),
        Test::Decode(n, batch) => Test::Decode(n.min(4), batch),
    }
}

/// Weights met by a token: the head counts only where its logits are asked for.
fn macs(model: &Model, test: Test) -> f64 {
    let head = model.config().vocab_size * model.config().hidden_size;
    let all: usize = model
        .file()
        .matrices()
        .filter_map(|name| model.file().matrix(name))
        .map(|(matrix, _)| matrix.rows() * matrix.cols())
        .sum();
    match test {
        Test::Prompt(n) => (all - head) as f64 + head as f64 / n as f64,
        Test::Decode(..) => all as f64,
    }
}

/// Runs a test once, from new states. Which tokens it feeds makes no difference to the speed.
pub(super) fn once(model: &Model, test: Test) -> Result<(), Failure> {
    let token = |i: usize| (i % model.config().vocab_size) as u32;
    let mut logits = Vec::new();
    match test {
        Test::Prompt(n) => {
            let tokens: Vec<u32> = (0..n).map(token).collect();
            let mut state = model.new_state();
            let step = Step {
                state: &mut state,
                tokens: &tokens,
                want: Want::Last,
                logits: &mut logits,
                states: None,
            };
            model.forward(&mut [step])?;
        }
        Test::Decode(n, batch) => {
            let mut states: Vec<State> = (0..batch).map(|_| model.new_state()).collect();
            let mut logits = vec![Vec::new(); batch];
            for i in 0..n {
                let tokens: Vec<u32> = (0..batch).map(|b| token(i + 7 * b)).collect();
                let mut steps: Vec<Step<'_>> = states
                    .iter_mut()
                    .zip(&mut logits)
                    .zip(tokens.chunks(1))
                    .map(|((state, logits), tokens)| Step {
                        state,
                        tokens,
                        want: Want::Last,
                        logits,
                        states: None,
                    })
                    .collect();
                model.forward(&mut steps)?;
            }
        }
    }
    Ok(())
}
