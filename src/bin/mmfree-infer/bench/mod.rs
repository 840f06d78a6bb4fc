//! `mmfree-infer bench`: how fast this machine is, beside what its memory and cores allow.

mod context;
mod duration;
mod forms;
mod kernels;
mod model;
mod sensors;
mod table;

use crate::args::{BenchArgs, BenchCommand, ModelArgs, ModelBenchArgs};
use crate::failure::Failure;
use crate::open::Opened;

pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    match &args.command {
        Some(BenchCommand::Kernels(args)) => kernels::run(args),
        None if !args.model.context.is_empty() => context::run(&args.model),
        None if args.model.duration.is_some() => duration::run(&args.model),
        None => model::run(&args.model),
    }
}

/// The thread counts asked for; `None` stands for the default.
fn thread_counts(given: &[usize]) -> Vec<Option<usize>> {
    if given.is_empty() { vec![None] } else { given.iter().copied().map(Some).collect() }
}

fn open(args: &ModelBenchArgs, threads: Option<usize>) -> Result<Opened, Failure> {
    let opened = Opened::new(&ModelArgs {
        model: args.model.clone(),
        threads,
        isa: args.isa,
        device: args.device.clone(),
        kernel: args.kernel.clone(),
        memory: args.memory.clone(),
    })?;
    opened.prepare(&args.memory, None, false)?;
    // A measurement does not begin while the first tokens still re-pack.
    opened.model.finish_repacking();
    Ok(opened)
}

/// The middle of the values, or the mean of the two in the middle; not a number for none.
fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let mid = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[mid],
        _ => (values[mid - 1] + values[mid]) / 2.0,
    }
}

/// The rate of the machine in each repetition, from those of every read loop before and after it:
/// the mean of both, of the loop which over all repetitions is the best. Its middle stands beside
/// the middle of what is measured; the largest of many rates that jump about would be one that
/// nothing reaches twice. A rate of 0 is one that could not be measured.
fn best_loop(looks: &[[Vec<f64>; 2]]) -> Vec<f64> {
    let loops = looks.first().map_or(0, |[before, _]| before.len());
    let rates = (0..loops).map(|i| -> Vec<f64> {
        let mean = |a: f64, b: f64| if a > 0.0 && b > 0.0 { (a + b) / 2.0 } else { a.max(b) };
        looks.iter().map(|[before, behind]| mean(before[i], behind[i])).collect()
    });
    rates.max_by(|a, b| median(a).total_cmp(&median(b))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_loop_is_the_best_in_the_middle() {
        // The first loop is the fastest once, the second three times of four.
        let looks: Vec<[Vec<f64>; 2]> = [(9.0, 4.0), (1.0, 5.0), (1.0, 6.0), (1.0, 7.0)]
            .map(|(a, b)| [vec![a, b], vec![a, b + 2.0]])
            .into();
        assert_eq!(best_loop(&looks), [5.0, 6.0, 7.0, 8.0]);
        assert_eq!(best_loop(&looks[..1]), [9.0]);
        // A look that failed does not halve the rate; prompts look at nothing.
        assert_eq!(best_loop(&[[vec![0.0], vec![3.0]], [vec![0.0], vec![0.0]]]), [3.0, 0.0]);
        assert!(best_loop(&[[vec![], vec![]]]).is_empty() && best_loop(&[]).is_empty());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
