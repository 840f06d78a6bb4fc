//! `mmfree-infer bench --duration`: speed over time, beside what may change it, heat above all.

use std::path::Path;
use std::time::{Duration, Instant};

use mmfree::{Model, State, Step, Want};
use serde::Serialize;

use super::open;
use super::sensors::{Reading, Sensors};
use super::table::{self, Cell, Format, Printer};
use crate::args::ModelBenchArgs;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::report::{self, say};

/// What happened since the row before.
#[derive(Serialize)]
struct Row {
    /// Seconds from the start to the end of the interval.
    seconds: f64,
    tokens: u64,
    tokens_per_second: f64,
    /// At the end of the interval, of the fastest core.
    mhz: Option<f64>,
    celsius: Option<f64>,
    /// What held the CPU back, empty for nothing.
    throttled: Option<Vec<&'static str>>,
    joules: Option<f64>,
    watts: Option<f64>,
    joules_per_token: Option<f64>,
}

impl table::Row for Row {
    fn columns(&self) -> Vec<(&'static str, &'static str, Cell)> {
        let throttled = match self.throttled.as_deref() {
            None => Cell::None,
            Some([]) => Cell::Text("no".into()),
            Some(reasons) => Cell::Text(reasons.join(", ")),
        };
        vec![
            ("s", "seconds", Cell::Number(self.seconds, 1)),
            ("tokens", "tokens", Cell::Whole(self.tokens)),
            ("tokens/s", "tokens_per_second", Cell::Number(self.tokens_per_second, 1)),
            ("MHz", "mhz", Cell::number(self.mhz, 0)),
            ("deg C", "celsius", Cell::number(self.celsius, 1)),
            ("throttled", "throttled", throttled),
            ("J", "joules", Cell::number(self.joules, 1)),
            ("W", "watts", Cell::number(self.watts, 2)),
            ("J/token", "joules_per_token", Cell::number(self.joules_per_token, 4)),
        ]
    }
}

pub fn run(args: &ModelBenchArgs) -> Result<(), Failure> {
    let (&[batch], [] | [_]) = (&args.batch[..], &args.threads[..]) else {
        let reason = "--duration takes one number of sequences (-b) and of threads (-t)";
        return Err(Failure::Usage(reason.into()));
    };
    let duration = args.duration.unwrap_or_default();
    let interrupt = Interrupt::install();
    let opened = open(args, args.threads.first().copied())?;
    let model = &*opened.model;
    let sensors = Sensors::find(Path::new("/"));
    sensors.notes().iter().for_each(|note| say(note));
    let (file, place) = (model.file().path().display(), report::place(model));
    let many = if batch == 1 { "" } else { "s" };
    let title =
        format!("{file}, {batch} sequence{many}, {place}, for {}\n", report::time(duration));
    let mut printer = Printer::new(Format::of(args.json, args.csv), title);
    let mut decoder = Decoder::new(model, batch);
    decoder.step()?;
    let mut interval = Interval::begin(&sensors);
    let start = interval.start;
    loop {
        decoder.step()?;
        interval.tokens += batch as u64;
        let over = start.elapsed() >= duration || interrupt.hit();
        if over || interval.start.elapsed() >= args.every {
            printer.push(interval.end(&sensors, start))?;
            if over {
                break;
            }
        }
    }
    let format = Format::of(args.json, args.csv);
    let rows = printer.finish()?;
    if format == Format::Table {
        report::print(&summary(&rows))?;
    }
    if interrupt.hit() { Err(interrupt.failure()) } else { Ok(()) }
}

/// The time since the last row.
struct Interval {
    start: Instant,
    tokens: u64,
    before: Reading,
}

impl Interval {
    fn begin(sensors: &Sensors) -> Interval {
        let before = sensors.read();
        Interval { start: Instant::now(), tokens: 0, before }
    }

    /// Makes a row of it, and begins the next.
    fn end(&mut self, sensors: &Sensors, start: Instant) -> Row {
        let (now, after) = (Instant::now(), sensors.read());
        let seconds = (now - self.start).as_secs_f64();
        let joules = sensors.joules(&self.before, &after);
        let row = Row {
            seconds: (now - start).as_secs_f64(),
            tokens: self.tokens,
            tokens_per_second: self.tokens as f64 / seconds,
            mhz: after.mhz,
            celsius: after.celsius,
            throttled: sensors.throttled(&self.before, &after),
            joules,
            watts: joules.map(|joules| joules / seconds),
            joules_per_token: joules.map(|joules| joules / self.tokens as f64),
        };
        (self.start, self.tokens, self.before) = (now, 0, after);
        row
    }
}

/// Sequences that are decoded on and on.
struct Decoder<'a> {
    model: &'a Model,
    states: Vec<State>,
    logits: Vec<Vec<f32>>,
    steps: usize,
}

impl Decoder<'_> {
    fn new(model: &Model, batch: usize) -> Decoder<'_> {
        let states = (0..batch).map(|_| model.new_state()).collect();
        Decoder { model, states, logits: vec![Vec::new(); batch], steps: 0 }
    }

    /// A token for each sequence. Which ones makes no difference to the speed.
    fn step(&mut self) -> Result<(), Failure> {
        let vocabulary = self.model.config().vocab_size;
        let tokens: Vec<u32> =
            (0..self.states.len()).map(|b| ((self.steps + 7 * b) % vocabulary) as u32).collect();
        let sequences = self.states.iter_mut().zip(&mut self.logits).zip(tokens.chunks(1));
        let mut steps: Vec<Step<'_>> = sequences
            .map(|((state, logits), tokens)| Step {
                state,
                tokens,
                want: Want::Last,
                logits,
                states: None,
            })
            .collect();
        self.model.forward(&mut steps)?;
        self.steps = self.steps.wrapping_add(1);
        Ok(())
    }
}

/// The whole in one line: how far the speed went up and down, and the energy.
fn summary(rows: &[Row]) -> String {
    let joules: Option<f64> = rows.iter().map(|row| row.joules).sum();
    let tokens: u64 = rows.iter().map(|row| row.tokens).sum();
    let seconds = rows.last().map_or(0.0, |row| row.seconds);
    let rates = || rows.iter().map(|row| row.tokens_per_second);
    let (slowest, fastest) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let energy = match joules {
        Some(joules) => {
            format!("{:.4} J/token at {:.2} W", joules / tokens as f64, joules / seconds)
        }
        None => "no energy counter".to_owned(),
    };
    format!(
        "\n{}, slowest interval {slowest:.1}, fastest {fastest:.1}; {energy}\n",
        report::rate(tokens as usize, Duration::from_secs_f64(seconds)),
    )
}
