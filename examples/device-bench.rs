//! Decode and prefill of random models at the published sizes, on a GPU and on the CPU.
//!
//! `cargo run --release --features cuda --example device-bench -- [SIZE..] [--device NAME] [--cpu]`

use std::error::Error;
use std::time::Instant;

use mmfree::format::Role;
use mmfree::packing::Packing;
use mmfree::{Config, Device, Model, ModelFile, Options, State, Step, Want};
use mmfree_convert::{Embed, Pack};

/// Prompt of the prefill.
const PROMPT: usize = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut sizes, mut device, mut cpu) = (Vec::new(), Device::Cuda(0), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--device" => device = Device::from_name(&args.next().ok_or("--device NAME")?)?,
            "--cpu" => cpu = true,
            "--bench" => (),
            size => sizes.push(size.to_owned()),
        }
    }
    if sizes.is_empty() {
        sizes = ["370m", "1.3b", "2.7b"].map(String::from).to_vec();
    }
    let bandwidth = match device {
        Device::Cpu => None,
        Device::Cuda(number) => {
            for info in mmfree::cuda::devices()? {
                println!("{info:?}");
            }
            let bandwidth = mmfree::cuda::copy_bandwidth(number, 2 << 30, 8)?;
            println!("copies move {:.0} GB/s, read and written\n", bandwidth / 1e9);
            Some(bandwidth)
        }
    };
    let folder = tempfile::tempdir()?;
    for size in sizes {
        let path = folder.path().join("model.mmfree");
        let options = mmfree_convert::Options {
            pack: Pack::Only(Packing::I2),
            embed: Embed::Source,
            force: true,
            ..mmfree_convert::Options::default()
        };
        mmfree_convert::synthesize(size.parse()?, 1, &path, &options)?;
        let load = |device| -> Result<_, Box<dyn Error>> {
            let start = Instant::now();
            let options = Options { device, ..Options::default() };
            let model = Model::new(ModelFile::open(&path)?, &options)?;
            Ok((model, start.elapsed()))
        };
        let (model, took) = load(device)?;
        println!("{size}: loaded on {device} in {took:.2?}");
        let bytes = bytes_per_token(model.config());
        let best = decode(&model, 300)?;
        print!("  decode {:.0} tokens/s ({:.1} us)", 1.0 / best, best * 1e6);
        if let Some(bandwidth) = bandwidth {
            let moved = bytes as f64 / best;
            let share = 100.0 * moved / bandwidth;
            print!(", {:.0} GB/s = {share:.1} % of the copy bandwidth", moved / 1e9);
        }
        println!();
        for batch in [1, 4, 16, 64, 256] {
            let seconds = batched(&model, batch, 20)?;
            println!("  batch of {batch}: {:.0} tokens/s", batch as f64 / seconds);
        }
        let seconds = prefill(&model, 4)?;
        println!(
            "  prefill of {PROMPT} tokens: {:.1} ms, {:.0} tokens/s",
            seconds * 1e3,
            PROMPT as f64 / seconds
        );
        if cpu {
            let (other, _) = load(Device::Cpu)?;
            let seconds = decode(&other, 20)?;
            println!(
                "  cpu ({} threads, {}): decode {:.1} tokens/s; the GPU has {:.1} times as many",
                other.threads(),
                other.isa().name(),
                1.0 / seconds,
                seconds / best
            );
            let (here, there) = (logits(&other)?, logits(&model)?);
            println!(
                "  the logits' bits are {}",
                if here == there { "equal" } else { "NOT EQUAL" }
            );
        }
    }
    Ok(())
}

/// Bytes of weights that one token reads at two bits a trit, the embedding's row left out.
fn bytes_per_token(config: &Config) -> usize {
    let size = |role: &Role, len: usize| match role {
        Role::Ternary => len / 4,
        Role::Float => 4 * len,
        Role::Embedding => 0,
    };
    config.tensors().iter().map(|t| size(&t.role, t.shape.iter().product())).sum()
}

fn feed(model: &Model, state: &mut State, tokens: &[u32], want: Want) -> mmfree::Result<Vec<f32>> {
    let mut logits = Vec::new();
    model.forward(&mut [Step { state, tokens, want, logits: &mut logits, states: None }])?;
    Ok(logits)
}

fn ids(model: &Model, len: usize) -> Vec<u32> {
    (0..len).map(|n| (n * 7919 % model.config().vocab_size) as u32).collect()
}

/// Median seconds of a token, logits on the host.
fn decode(model: &Model, count: usize) -> mmfree::Result<f64> {
    let mut state = model.new_state();
    let mut logits = Vec::new();
    let mut times = Vec::new();
    for id in ids(model, count) {
        let start = Instant::now();
        let tokens = &[id];
        let want = Want::Last;
        let state = &mut state;
        model.forward(&mut [Step { state, tokens, want, logits: &mut logits, states: None }])?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// Median seconds of a step of `batch` sequences, one token each.
fn batched(model: &Model, batch: usize, count: usize) -> mmfree::Result<f64> {
    let mut states: Vec<State> = (0..batch).map(|_| model.new_state()).collect();
    let mut logits = vec![Vec::new(); batch];
    let mut times = Vec::new();
    for id in ids(model, count) {
        let start = Instant::now();
        let tokens = [id];
        let mut steps: Vec<Step<'_>> = states
            .iter_mut()
            .zip(&mut logits)
            .map(|(state, logits)| Step {
                state,
                tokens: &tokens,
                want: Want::Last,
                logits,
                states: None,
            })
            .collect();
        model.forward(&mut steps)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

fn prefill(model: &Model, count: usize) -> mmfree::Result<f64> {
    let ids = ids(model, PROMPT);
    let mut times = Vec::new();
    for _ in 0..=count {
        let mut state = model.new_state();
        let start = Instant::now();
        feed(model, &mut state, &ids, Want::Last)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// The bits of the logits after a few tokens, in a chunk and one at a time.
fn logits(model: &Model) -> mmfree::Result<Vec<u32>> {
    let ids = ids(model, 40);
    let mut state = model.new_state();
    let mut all = feed(model, &mut state, &ids[..32], Want::Last)?;
    for &id in &ids[32..] {
        all.extend(feed(model, &mut state, &[id], Want::Last)?);
    }
    Ok(all.iter().map(|v| v.to_bits()).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
