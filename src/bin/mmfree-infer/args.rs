//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use mmfree::kernels::Isa;

#[path = "bench/args.rs"]
mod bench;
#[path = "sampling/args.rs"]
mod sampling;
#[path = "typed.rs"]
mod typed;

pub use bench::{BenchArgs, BenchCommand, KernelBenchArgs, ModelBenchArgs};
pub use sampling::{SamplingArgs, Suppressed};

/// Writes text with a MatMul-free language model.
///
/// The generated text goes to stdout as it is made, and nothing else does; everything else goes to
/// stderr. On a terminal the prompt is shown in front of the text.
#[derive(Debug, Parser)]
#[command(
    name = "mmfree-infer",
    version = version(),
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        mmfree-infer \"Once upon a time\"                    the demo model, built in\n  \
        mmfree-infer -m model.mmfree -n 200 --temp 0.8 --top-p 0.9 \"The sea\"\n  \
        mmfree-infer -m model.mmfree --stop \"\\n\" < question.txt\n  \
        mmfree-infer --save-state s.state \"There was a king\"; mmfree-infer --load-state s.state\n  \
        mmfree-infer perplexity -m model.mmfree -f book.txt\n  \
        mmfree-infer logits -m model.mmfree --ids 1,15043 -o logits.safetensors\n\n\
        Sampling is as the checkpoint's generation config has it, else greedy; any of\n\
        --temp, --top-k, --top-p, --min-p and --typical-p turns it on. The same seed\n\
        gives the same text on every machine.\n\n\
        A prompt that is the name of a command goes through -p, as in -p info."
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub generate: GenerateArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes the logits of every position, to compare with another implementation
    Logits(LogitsArgs),
    /// Measures how well a model predicts a text
    Perplexity(PerplexityArgs),
    /// Shows what a model is, how this machine runs it, and the memory it needs
    Info(InfoArgs),
    /// Measures how fast a model or the kernels run here, beside what the machine's memory and cores
    /// allow
    Bench(BenchArgs),
}

#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Model file, made by mmfree-convert [default: the demo model]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Threads [default: the physical cores]; makes no difference to the text
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,

    /// Instruction set: auto, or a name that `info` shows [default: MMFREE_ISA, else auto]
    #[arg(long, value_name = "NAME", value_parser = isa)]
    pub isa: Option<Isa>,

    /// Kernels: add (additions only), dot (int8 dot products), or auto, the faster; makes no
    /// difference to the text
    #[arg(long, value_name = "FAMILY", value_parser = ["add", "dot", "auto"], default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    pub kernel: String,

    /// Where to run: cpu, cuda (the first GPU), cuda:N, or auto, a GPU if there is one
    #[arg(long, value_name = "NAME", default_value = "cpu", hide_default_value = true)]
    pub device: String,

    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// How the pages of the model file come into memory. None of it makes a difference to the text.
#[derive(Clone, Debug, clap::Args)]
pub struct MemoryArgs {
    /// Keep the model file in memory, so that the system never gives its pages to something else
    #[arg(long, help_heading = "Memory")]
    pub mlock: bool,

    /// Read the whole model file before the first token, with progress on a terminal
    #[arg(long, help_heading = "Memory")]
    pub prefault: bool,

    /// Whether matrices in packing t5 are written as i2 in memory of the program's own, a layer with
    /// each of the first tokens: auto (where the CPU decodes that faster and it has room; not with
    /// --mlock), never or always
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = RepackArg::Auto, hide_default_value = true, hide_possible_values = true, help_heading = "Memory")]
    pub repack: RepackArg,

    /// What the kernel is told of how the model file will be read: hugepage, normal, sequential,
    /// random or willneed [default: hugepage]
    #[arg(long, value_name = "NAME", value_enum, default_value_t = AdviceArg::Hugepage, hide_default_value = true, hide_possible_values = true, help_heading = "Memory")]
    pub advice: AdviceArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RepackArg {
    Auto,
    Never,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AdviceArg {
    Hugepage,
    Normal,
    Sequential,
    Random,
    Willneed,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct PromptArgs {
    /// Prompt; `-` reads it from stdin, and so does none at all where stdin is not a terminal (not
    /// with --load-state: then only `-` does). An empty prompt is the BOS token
    #[arg(value_name = "PROMPT")]
    pub text: Option<String>,

    /// The same, for a prompt that is the name of a command
    #[arg(short, long = "prompt", value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Prompt from a file (`-` is stdin); one line end at its end is left out
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Prompt as token ids, as 1,15043; no BOS is added
    #[arg(long, value_name = "IDS", value_parser = ids)]
    pub ids: Option<Ids>,

    /// The same from a file (`-` is stdin), between commas, spaces or line ends
    #[arg(long, value_name = "FILE")]
    pub ids_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub prompt: PromptArgs,

    /// New tokens at most, -1 for no end [default: the checkpoint's, else 128, or without end under
    /// --max-length]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_most)]
    pub max_tokens: Option<AtMost>,

    /// Tokens of prompt and text at most
    #[arg(long, value_name = "N", value_parser = whole)]
    pub max_length: Option<usize>,

    /// End the text in front of this string; \n, \t and \\ are understood (repeatable)
    #[arg(long, value_name = "TEXT", value_parser = unescape)]
    pub stop: Vec<String>,

    /// Go on behind tokens that end a text
    #[arg(long)]
    pub ignore_eos: bool,

    /// Print one JSON object at the end instead of text
    #[arg(long)]
    pub json: bool,

    /// Nothing on stderr but errors
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// Save the session to go on with later; of files that exist, only a saved session is replaced
    #[arg(long, value_name = "FILE", help_heading = "Sessions")]
    pub save_state: Option<PathBuf>,

    /// Go on with a saved session; a prompt is appended as it is, without BOS
    #[arg(long, value_name = "FILE", help_heading = "Sessions")]
    pub load_state: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct LogitsArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub input: InputArgs,

    /// File to write: `ids` [tokens], `logits` [tokens, vocabulary], `state` [layers, width],
    /// `windows` where the model has convolutions. Of files that exist, only one of its kind is
    /// replaced
    #[arg(short, long, value_name = "OUT.safetensors")]
    pub output: PathBuf,

    /// Feed one token at a time instead of many; the bits are the same
    #[arg(long)]
    pub each_step: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct InputArgs {
    /// Token ids, as 1,15043
    #[arg(long, value_name = "IDS", value_parser = ids)]
    pub ids: Option<Ids>,

    /// Token ids from a file (`-` is stdin), between commas, spaces or line ends
    #[arg(long, value_name = "FILE")]
    pub ids_file: Option<PathBuf>,

    /// Text, in place of ids; BOS is put in front
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Text from a file (`-` is stdin); one line end at its end is left out
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct PerplexityArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Text to predict (`-` is stdin), taken as it is
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,

    /// Cut the text into windows of N tokens, a BOS in front of each counted in, every one
    /// predicted on its own [default: one sequence]
    #[arg(long, value_name = "N", value_parser = context)]
    pub context: Option<usize>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// No progress on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The version, and the commit that it was built from where that is known: not in a build without optimisation.
fn version() -> &'static str {
    option_env!("MMFREE_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"))
}

impl Args {
    /// What was typed.
    ///
    /// # Errors
    /// What is wrong with it; or the help or version that was asked for, to be shown.
    pub fn read() -> Result<Args, clap::Error> {
        let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
        let words = typed::words(&typed);
        let mut command = Args::command();
        let parsed = typed::matches(command.clone(), typed);
        let parsed = parsed.and_then(|matches| Args::from_arg_matches(&matches));
        let args = parsed.map_err(|error| explain(error, &words))?;
        match args.generate.prompt.text.as_deref() {
            Some(text) if args.command.is_none() && is_command(text) => {
                let message = format!(
                    "`{text}` behind other arguments: a command goes first, as in `mmfree-infer {text}`; a \
                     prompt of that name goes through -p"
                );
                Err(command.error(ErrorKind::ArgumentConflict, message))
            }
            _ => Ok(args),
        }
    }
}

fn is_command(text: &str) -> bool {
    text == "help" || Args::command().get_subcommands().any(|command| command.get_name() == text)
}

/// Says what was probably meant by arguments that clap takes for something else.
fn explain(mut error: clap::Error, typed: &[String]) -> clap::Error {
    if typed.first().is_none_or(|first| is_command(first)) {
        return error;
    }
    if let Some(command) = typed.iter().find(|arg| is_command(arg)) {
        let tip = format!("a command goes first, as in `mmfree-infer {command}`");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        return error;
    }
    match error.get(ContextKind::InvalidSubcommand) {
        // What follows a prompt can only be a command, clap thinks.
        Some(ContextValue::String(word)) if !word.starts_with('-') => {
            let message = format!(
                "`{word}` behind the prompt: a prompt of several words goes in quotes, as one argument"
            );
            Args::command().error(ErrorKind::UnknownArgument, message)
        }
        _ => error,
    }
}

/// A list of token ids, not empty.
#[derive(Clone, Debug)]
pub struct Ids(pub Vec<u32>);

impl Ids {
    /// Reads ids between commas, spaces or line ends.
    pub fn parse(text: &str) -> Result<Ids, String> {
        ids(text)
    }
}

/// A number of tokens; `None` for no end.
#[derive(Clone, Copy, Debug)]
pub struct AtMost(pub Option<usize>);

fn at_most(text: &str) -> Result<AtMost, String> {
    match text {
        "-1" => Ok(AtMost(None)),
        text => match text.parse() {
            Ok(count) => Ok(AtMost(Some(count))),
            Err(_) => Err("must be a whole number, 0 or more, or -1 for no end".into()),
        },
    }
}

fn whole(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("must be a whole number, 0 to {}", usize::MAX))
}

fn ids(text: &str) -> Result<Ids, String> {
    let parts = text.split([',', ' ', '\n', '\r', '\t']).filter(|part| !part.is_empty());
    let parsed: Result<Vec<u32>, String> = parts
        .map(|part| part.parse().map_err(|_| format!("`{part}` is no token id: 0 to {}", u32::MAX)))
        .collect();
    match parsed? {
        ids if ids.is_empty() => Err("no ids; give some as 1,15043".into()),
        ids => Ok(Ids(ids)),
    }
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if (1..=mmfree::MAX_THREADS).contains(&threads) => Ok(threads),
        _ => Err(format!("must be 1 to {}", mmfree::MAX_THREADS)),
    }
}

fn isa(text: &str) -> Result<Isa, String> {
    Isa::from_name(text).map_err(|error| error.to_string())
}

fn context(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n >= 2).ok_or_else(|| "must be 2 or more".into())
}

/// `\n`, `\t` and `\\`: a shell makes it hard to type them.
fn unescape(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("must be one character at least".into());
    }
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        if escaped.is_some() {
            chars.next();
        }
        out.push(escaped.unwrap_or(c));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn ids_are_numbers_between_commas() {
        assert_eq!(ids("1,2, 3").unwrap().0, [1, 2, 3]);
        assert_eq!(ids("4294967295").unwrap().0, [u32::MAX]);
        for bad in ["", ",", "1,x", "-1", "4294967296", "1.5"] {
            assert!(ids(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_backslash_makes_a_line_end_only_in_front_of_an_n() {
        assert_eq!(unescape(r"a\nb\\n\x\").unwrap(), "a\nb\\n\\x\\");
    }
}
