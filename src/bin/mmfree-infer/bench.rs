//! `mmfree-infer bench`: how fast a model runs, beside what the machine allows.
//!
//! Decoding reads every weight once for each token, so its bound is the rate at which the machine reads memory: that is
//! measured between the repetitions, with the same threads over the same bytes. Prompts and batches are bound by
//! arithmetic instead: beside them stands the rate of the CPU's int8 dot product.

use std::fmt::Write;
use std::time::Instant;

use mmfree::kernels::measure;
use mmfree::{Model, State, Step, Want};
use serde::Serialize;

use crate::args::{BenchArgs, ModelArgs};
use crate::failure::Failure;
use crate::open::Opened;
use crate::report;

/// The most tokens that a test may have.
const MAX_TOKENS: usize = 1 << 24;

/// One test's result. Rates are medians over the repetitions.
#[derive(Serialize)]
struct Row {
    /// `pp512`: a prompt of 512 tokens; `tg128`: 128 tokens decoded.
    test: String,
    threads: usize,
    /// Sequences that are run together.
    batch: usize,
    kernel: &'static str,
    tokens_per_second: f64,
    /// Largest less smallest rate of the repetitions, in per cent of the median.
    spread_percent: f64,
    /// Bytes of weights read for each pass over the model.
    bytes_per_pass: u64,
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
    /// `gmac_s` in per cent of `machine_gmac_s`.
    compute_percent: Option<f64>,
}

/// What a test runs.
#[derive(Clone, Copy)]
enum Test {
    Prompt(usize),
    Decode(usize, usize),
}

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let thread_counts: Vec<Option<usize>> = match args.threads[..] {
        [] => vec![None],
        _ => args.threads.iter().copied().map(Some).collect(),
    };
    let peak = measure::dot_peak();
    for threads in thread_counts {
        let opened = Opened::new(&ModelArgs {
            model: args.model.clone(),
            threads,
            isa: args.isa,
            device: args.device.clone(),
            kernel: args.kernel.clone(),
            memory: args.memory.clone(),
        })?;
        opened.prepare(&args.memory, None, false)?;
        let model = &opened.model;
        for test in tests(args)? {
            rows.push(measure_test(model, test, args.repetitions, peak)?);
            if !args.json && !args.csv {
                let first = rows.len() == 1;
                let text = if first { header(model) } else { String::new() };
                report::print(&(text + &line(&rows[rows.len() - 1])))?;
            }
        }
    }
    if args.json {
        report::print_json(&rows)?;
    } else if args.csv {
        report::print(&csv(&rows))?;
    }
    Ok(())
}

fn tests(args: &BenchArgs) -> Result<Vec<Test>, Failure> {
    let lengths = args.prompt.iter().chain(&args.tokens);
    if let Some(length) = lengths.copied().find(|&n| n > MAX_TOKENS) {
        return Err(Failure::Message(format!("{length} tokens, must be {MAX_TOKENS} at most")));
    }
    let mut tests: Vec<Test> = args.prompt.iter().map(|&p| Test::Prompt(p)).collect();
    for &batch in &args.batch {
        tests.extend(args.tokens.iter().map(|&n| Test::Decode(n, batch)));
    }
    tests.retain(|test| !matches!(test, Test::Prompt(0) | Test::Decode(0, _)));
    if tests.is_empty() {
        return Err(Failure::Message("nothing to measure; give -p or -n above 0".into()));
    }
    Ok(tests)
}

fn measure_test(model: &Model, test: Test, reps: u32, peak: Option<f64>) -> Result<Row, Failure> {
    let (name, batch, tokens) = match test {
        Test::Prompt(n) => (format!("pp{n}"), 1, n),
        Test::Decode(n, batch) => (format!("tg{n}"), batch, n * batch),
    };
    let bytes = model.weight_bytes() + batch as u64 * 2 * model.config().hidden_size as u64;
    let decodes = matches!(test, Test::Decode(_, 1));
    once(model, warm_up(test))?;
    let (mut rates, mut reads, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..reps {
        // Between two looks at the memory, so that both sides see the same minute.
        let before = if decodes { model.read_bandwidth() } else { 0.0 };
        let start = Instant::now();
        once(model, test)?;
        let rate = tokens as f64 / start.elapsed().as_secs_f64();
        rates.push(rate);
        if decodes {
            let read = before.max(model.read_bandwidth());
            shares.push(100.0 * rate * bytes as f64 / read);
            reads.push(read);
        }
    }
    let rate = median(&rates);
    let spread = rates.iter().copied().fold(0.0, f64::max)
        - rates.iter().copied().fold(f64::INFINITY, f64::min);
    let packing = model.file().matrices().filter_map(|name| model.file().matrix(name)).next();
    let rows = if let Test::Prompt(n) = test { n } else { batch };
    let kernel = packing.map_or("", |(matrix, _)| model.kernel_for(matrix.packing(), rows).name());
    let gmac = (!decodes).then(|| rate * macs(model, test) / 1e9);
    let machine_gmac = peak.filter(|_| !decodes).map(|peak| peak * model.threads() as f64 / 1e9);
    Ok(Row {
        test: name,
        threads: model.threads(),
        batch,
        kernel,
        tokens_per_second: rate,
        spread_percent: 100.0 * spread / rate,
        bytes_per_pass: bytes,
        read_gb_s: decodes.then(|| rate * bytes as f64 / 1e9),
        machine_gb_s: decodes.then(|| median(&reads) / 1e9),
        read_percent: decodes.then(|| median(&shares)),
        gmac_s: gmac,
        machine_gmac_s: machine_gmac,
        compute_percent: gmac.zip(machine_gmac).map(|(got, machine)| 100.0 * got / machine),
    })
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
fn once(model: &Model, test: Test) -> Result<(), Failure> {
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

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    if values.len() % 2 == 1 { values[mid] } else { (values[mid - 1] + values[mid]) / 2.0 }
}

fn header(model: &Model) -> String {
    format!(
        "{}, {}, {} read for each pass\n\n\
         | test | threads | batch | kernel | tokens/s | +- % | GB/s | machine | share % | Gmac/s | machine | share % |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        model.file().path().display(),
        model.isa().name(),
        report::bytes(model.weight_bytes()),
    )
}

fn line(row: &Row) -> String {
    let number = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.1}"));
    format!(
        "| {} | {} | {} | {} | {:.1} | {:.0} | {} | {} | {} | {} | {} | {} |\n",
        row.test,
        row.threads,
        row.batch,
        row.kernel,
        row.tokens_per_second,
        row.spread_percent / 2.0,
        number(row.read_gb_s),
        number(row.machine_gb_s),
        number(row.read_percent),
        number(row.gmac_s),
        number(row.machine_gmac_s),
        number(row.compute_percent)
    )
}

fn csv(rows: &[Row]) -> String {
    let mut out =
        "test,threads,batch,kernel,tokens_per_second,spread_percent,bytes_per_pass,read_gb_s,\
                   machine_gb_s,read_percent,gmac_s,machine_gmac_s,compute_percent\n"
            .to_owned();
    for row in rows {
        let number = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.3}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{},{},{},{},{:.3},{:.1},{},{},{},{},{},{},{}",
            row.test,
            row.threads,
            row.batch,
            row.kernel,
            row.tokens_per_second,
            row.spread_percent,
            row.bytes_per_pass,
            number(row.read_gb_s),
            number(row.machine_gb_s),
            number(row.read_percent),
            number(row.gmac_s),
            number(row.machine_gmac_s),
            number(row.compute_percent)
        );
    }
    out
}
