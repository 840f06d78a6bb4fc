//! Which form of its matrices a model in packing `t5` decodes fastest from here: the file's, or
//! `i2` in memory.

use std::time::Instant;

use mmfree::packing::Packing;
use mmfree::storage::Allowance;
use mmfree::{Device, Model};

use super::median;
use super::model::{Test, once};
use crate::args::{MemoryArgs, ModelBenchArgs, RepackArg};
use crate::failure::Failure;

/// Rounds, in each of which both decode some tokens.
const ROUNDS: usize = 7;

/// Tokens that a round decodes.
const TOKENS: usize = 8;

/// A line that says by how much which form is the faster one; `None` where there is one form alone,
/// or no room for both.
pub fn compare(
    args: &ModelBenchArgs,
    threads: Option<usize>,
    model: &Model,
) -> Result<Option<String>, Failure> {
    let file = model.file();
    let mut matrices = file.matrices().filter_map(|name| file.matrix(name));
    if model.device() != Device::Cpu || !matrices.any(|(m, _)| m.packing() == Packing::T5) {
        return Ok(None);
    }
    // `i2` is a quarter larger than `t5`, and the model at hand may have it already.
    let room = Allowance::now().is_some_and(|a| a.bytes / 4 > file.packed_span().len() as u64);
    if !room {
        return Ok(None);
    }
    let with = |repack| {
        let memory = MemoryArgs { repack, ..args.memory.clone() };
        super::open(&ModelBenchArgs { memory, ..args.clone() }, threads)
    };
    let (as_is, repacked) = (with(RepackArg::Never)?, with(RepackArg::Always)?);
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..=ROUNDS {
        let mut times = [0.0; 2];
        // In turn, and each the first one in half of the rounds.
        for i in [round % 2, 1 - round % 2] {
            let start = Instant::now();
            once(&[&as_is, &repacked][i].model, Test::Decode(TOKENS, 1))?;
            times[i] = start.elapsed().as_secs_f64();
        }
        // The first round fills caches and buffers.
        if round > 0 {
            (0..2).for_each(|i| rates[i].push(TOKENS as f64 / times[i]));
            ratios.push(times[0] / times[1]);
        }
    }
    let ([as_is, repacked], ratio) = (rates.map(|rates| median(&rates)), median(&ratios));
    let fastest = match ratio {
        ratio if ratio > 1.0 => format!("i2 is {ratio:.2} times as fast"),
        ratio => format!("t5 is {:.2} times as fast", 1.0 / ratio),
    };
    let used = model.packing_in_use(Packing::T5).name();
    Ok(Some(format!(
        "decoding on {} threads from t5 as in the file: {as_is:.1} tokens/s; from i2 in memory: {repacked:.1}; \
         {fastest} here, {used} is what runs",
        model.threads()
    )))
}
