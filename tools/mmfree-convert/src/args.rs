//! What can be typed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mmfree::format::FloatType;
use mmfree::packing::Packing;
use mmfree_convert::{Embed, EmbeddingType, Options, Pack, Report, Size};

#[path = "../../../src/bin/mmfree-infer/typed.rs"]
mod typed;

/// Packs a MatMul-free language model (HGRN-Bit) into one file for mmfree-infer.
#[derive(Debug, Parser)]
#[command(
    name = "mmfree-convert",
    version = option_env!("MMFREE_VERSION").unwrap_or(env!("CARGO_PKG_VERSION")),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
        mmfree-convert ridger/MMfreeLM-370M            downloads it from the Hub first\n  \
        mmfree-convert MMfreeLM-370M                   writes ./MMfreeLM-370M.mmfree\n  \
        mmfree-convert MMfreeLM-370M -o m.mmfree --embed i8\n  \
        mmfree-convert synthesize --size 2.7b          random weights at a real size\n  \
        mmfree-convert m.mmfree --pack i2 -o fast.mmfree    the same model in another packing\n  \
        mmfree-convert inspect m.mmfree\n  \
        mmfree-convert verify m.mmfree                 checks every byte\n\n\
        A folder called as a subcommand is given as ./inspect.\n\n\
        Downloads heed HF_HOME, HF_HUB_CACHE, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_ENDPOINT,\n\
        HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT, as other tools of the Hub do;\n\
        https_proxy; and SSL_CERT_FILE or SSL_CERT_DIR in place of the system's certificates."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Checkpoint folder (config.json, safetensors or pickled weights, tokenizer.json), a Hub id as
    /// organisation/name, or a model file to pack anew
    #[arg(required = true, value_name = "CHECKPOINT")]
    pub checkpoint: Option<PathBuf>,

    /// Branch, tag or commit of a Hub id [default: main]
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,

    #[command(flatten)]
    pub output: OutputArgs,
}

impl Args {
    /// What was typed.
    ///
    /// # Errors
    /// What is wrong with it; or the help or version that was asked for, to be shown.
    pub fn read() -> Result<Args, clap::Error> {
        let typed = std::env::args_os().skip(1).collect();
        Args::from_arg_matches(&typed::matches(Args::command(), typed)?)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a model of random weights, to measure speed and memory without a download
    Synthesize {
        /// 370m, 1.3b, 2.7b, or hidden=..,layers=..[,intermediate=..][,vocab=..]
        #[arg(long, value_parser = parse_size)]
        size: NamedSize,

        /// Another seed gives other weights
        #[arg(long, default_value_t = 0)]
        seed: u64,

        #[command(flatten)]
        output: OutputArgs,
    },
    /// Shows what is in a model file
    Inspect {
        /// The model file
        file: PathBuf,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Turns a model file back into a checkpoint that the original code loads
    Unpack {
        /// The model file
        file: PathBuf,

        /// Folder to make
        #[arg(short, long, value_name = "FOLDER")]
        output: PathBuf,

        #[command(flatten)]
        threads: Threads,

        /// Show nothing but errors
        #[arg(long)]
        quiet: bool,
    },
    /// Checks every byte of a model file, or of a saved session, against its checksums, and says what is damaged
    Verify {
        /// The model file or saved session
        file: PathBuf,

        #[command(flatten)]
        threads: Threads,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Args)]
pub struct Threads {
    /// Threads [default: as many as the machine has]; where it gives fewer, with those
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    pub fn get(&self) -> Option<usize> {
        self.threads.map(usize::from)
    }
}

#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// File to write [default: NAME.mmfree in the current folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,

    /// How trits are packed: t5 takes 1.6 bits a weight, i2 takes 2
    #[arg(long, value_enum, default_value_t = PackArg::Auto)]
    pub pack: PackArg,

    /// How the embedding is stored; i8 has a scale for each row
    #[arg(long, value_enum, default_value_t = EmbedArg::Source)]
    pub embed: EmbedArg,

    #[command(flatten)]
    pub threads: Threads,

    /// Print a summary as JSON
    #[arg(long)]
    pub json: bool,

    /// Show nothing but errors
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PackArg {
    I2,
    T5,
    Auto,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum EmbedArg {
    Source,
    F32,
    F16,
    Bf16,
    I8,
}

impl OutputArgs {
    pub fn options(&self, cancel: Arc<AtomicBool>) -> Options {
        Options {
            pack: match self.pack {
                PackArg::I2 => Pack::Only(Packing::I2),
                PackArg::T5 => Pack::Only(Packing::T5),
                PackArg::Auto => Pack::Auto,
            },
            embed: match self.embed {
                EmbedArg::Source => Embed::Source,
                EmbedArg::F32 => Embed::Only(EmbeddingType::Float(FloatType::F32)),
                EmbedArg::F16 => Embed::Only(EmbeddingType::Float(FloatType::F16)),
                EmbedArg::Bf16 => Embed::Only(EmbeddingType::Float(FloatType::BF16)),
                EmbedArg::I8 => Embed::Only(EmbeddingType::Int8),
            },
            force: self.force,
            threads: self.threads.get(),
            report: if self.quiet { Report::Silent } else { Report::Visible },
            cancel: Some(cancel),
        }
    }
}

/// A size, and how it was written.
#[derive(Clone, Debug)]
pub struct NamedSize {
    pub size: Size,
    pub text: String,
}

fn parse_size(text: &str) -> Result<NamedSize, String> {
    Ok(NamedSize { size: text.parse()?, text: text.to_ascii_lowercase() })
}

/// Where a model of that size goes unless told otherwise.
pub fn synthesized_name(size: &NamedSize) -> PathBuf {
    PathBuf::from(format!("synthetic-{}.mmfree", size.text.replace([',', '='], "-")))
}
