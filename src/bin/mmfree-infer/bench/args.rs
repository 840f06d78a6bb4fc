//! What can be typed after `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use mmfree::kernels::Isa;

use super::{MemoryArgs, isa, threads, whole};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        mmfree-infer bench -m model.mmfree -p 128,512 -n 64 -t 1,2,4\n  \
        mmfree-infer bench -m model.mmfree -p 0 -n 64 -b 1,8 --csv\n  \
        mmfree-infer bench -m model.mmfree --duration 10m\n  \
        mmfree-infer bench -m model.mmfree --context 0,1k,8k,32k,128k\n  \
        mmfree-infer bench kernels --size 1.3b -b 1,8 avx2\n\n\
        Columns: MB/token, bytes of weights read for each token decoded; GB/s, those per\n\
        second; machine, the best of several plain read loops over the same bytes with\n\
        the same threads, between the repetitions; Gmac/s, activations added per second;\n\
        machine, the most int8 products that the same threads add with the instruction set\n\
        at hand. Rates are medians over the repetitions, +- half their spread."
)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub command: Option<BenchCommand>,

    #[command(flatten)]
    pub model: ModelBenchArgs,
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measures each kernel at the shapes of the published models, from memory and from the cache
    Kernels(KernelBenchArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct ModelBenchArgs {
    /// Model file [default: the demo model]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Prompt lengths to prefill, as 128,512; 0 for none
    #[arg(short = 'p', long, value_name = "LIST", value_delimiter = ',', value_parser = whole, default_value = "512")]
    pub prompt: Vec<usize>,

    /// Numbers of tokens to decode; 0 for none
    #[arg(short = 'n', long, value_name = "LIST", value_delimiter = ',', value_parser = whole, default_value = "128")]
    pub tokens: Vec<usize>,

    /// Numbers of sequences to decode together
    #[arg(short = 'b', long, value_name = "LIST", value_delimiter = ',', value_parser = batch, default_value = "1")]
    pub batch: Vec<usize>,

    /// Numbers of threads [default: the physical cores]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = threads)]
    pub threads: Vec<usize>,

    /// Repetitions of each test
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 5)]
    pub repetitions: u32,

    /// Decode behind texts of so many tokens, as 0,1k,8k,32k,128k (1k is 1024), and show speed and memory of the sequence
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = length, conflicts_with_all = ["prompt", "batch", "duration"])]
    pub context: Vec<usize>,

    /// Decode for so long, as 90s, 10m or 2h, and show speed, heat and energy over time
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["prompt", "tokens", "repetitions"])]
    pub duration: Option<Duration>,

    /// With --duration: the time between two lines
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s", requires = "duration")]
    pub every: Duration,

    /// Instruction set, as without `bench`
    #[arg(long, value_name = "NAME", value_parser = isa)]
    pub isa: Option<Isa>,

    /// Kernels, as without `bench`
    #[arg(long, value_name = "FAMILY", value_parser = ["add", "dot", "auto"], default_value = "auto", hide_default_value = true)]
    pub kernel: String,

    /// Device, as without `bench`
    #[arg(long, value_name = "NAME", default_value = "cpu", hide_default_value = true)]
    pub device: String,

    #[command(flatten)]
    pub memory: MemoryArgs,

    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
}

#[derive(Debug, clap::Args)]
pub struct KernelBenchArgs {
    /// Only kernels with this in their names, as t5, avx2, dot or t5-avx512-add
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Models whose shapes to take: 370m, 1.3b, 2.7b
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = ["370m", "1.3b", "2.7b"], default_value = "370m,1.3b,2.7b", hide_possible_values = true)]
    pub size: Vec<String>,

    /// Numbers of rows of activations
    #[arg(short = 'b', long, value_name = "LIST", value_delimiter = ',', value_parser = batch, default_value = "1,8,128")]
    pub batch: Vec<usize>,

    /// Numbers of threads [default: the physical cores]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', value_parser = threads)]
    pub threads: Vec<usize>,

    /// Repetitions of each measurement
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), default_value_t = 5)]
    pub repetitions: u32,

    /// Memory to read the matrices from, in MiB: more than the caches hold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(32..=1 << 16), default_value_t = 256)]
    pub mib: u32,

    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print comma-separated values
    #[arg(long)]
    pub csv: bool,
}

fn batch(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=4096).contains(n)).ok_or_else(|| "must be 1 to 4096".into())
}

/// A number of tokens as `8192` or `8k`.
fn length(text: &str) -> Result<usize, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1024),
        None => (text, 1),
    };
    let length = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    length
        .filter(|&length| length <= 1 << 24)
        .ok_or_else(|| "must be a number of tokens, 0 to 16384k, as 8192 or 8k".into())
}

/// A time as `90s`, `1.5m` or `2h`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * unit;
    // A year is as good as no end; anything under a tenth of a second is no measurement.
    if (0.1..=366.0 * 86400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be a time from 0.1s on, as 90s, 10m or 2h".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_may_count_in_thousands() {
        assert_eq!(length("0"), Ok(0));
        assert_eq!(length("100"), Ok(100));
        assert_eq!(length("128k"), Ok(128 << 10));
        for bad in ["", "k", "-1", "1.5k", "8m", "16385k", "99999999999999999999k"] {
            assert!(length(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        let seconds = |text| duration(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("90"), Ok(90.0));
        assert_eq!(seconds("0.5s"), Ok(0.5));
        assert_eq!(seconds("10m"), Ok(600.0));
        assert_eq!(seconds("1.5h"), Ok(5400.0));
        for bad in ["", "m", "0", "0.01s", "-5s", "10x", "nan", "inf", "1e99h", "5 m", "1d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
