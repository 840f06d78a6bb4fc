//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};
use mmfree::kernels::Isa;

#[path = "../../../src/bin/mmfree-infer/typed.rs"]
mod typed;

/// Serves a MatMul-free language model over HTTP, as OpenAI's clients expect it.
///
/// Once it is ready, its address is printed on stdout; everything else goes to stderr. The text for a prompt and a seed
/// is the same alone or among others, and the same as mmfree-infer's.
#[derive(Debug, Parser)]
#[command(
    name = "mmfree-serve",
    version,
    after_help = "Examples:\n  \
        mmfree-serve                                        the demo model on http://127.0.0.1:8080\n  \
        mmfree-serve -m model.mmfree --parallel 16\n  \
        mmfree-serve -m model.mmfree --host 0.0.0.0 --api-key-file keys\n\n\
        The first SIGTERM or Ctrl-C lets answers that have begun end, within --drain; a\n\
        second ends the program at once."
)]
pub struct Args {
    /// Model file, made by mmfree-convert [default: the demo model]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// Name of the model for clients; the first is the one that answers carry (repeatable) [default: the file's name
    /// without .mmfree]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub model_alias: Vec<String>,

    /// Threads [default: the physical cores]; makes no difference to the text
    #[arg(short, long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,

    /// Instruction set: auto, or a name that `mmfree-infer info` shows [default: MMFREE_ISA, else auto]
    #[arg(long, value_name = "NAME", value_parser = isa)]
    pub isa: Option<Isa>,

    /// Where to run: cpu, cuda (the first GPU), cuda:N, or auto, a GPU if there is one
    #[arg(long, value_name = "NAME", default_value = "cpu", hide_default_value = true)]
    pub device: String,

    /// Keep the model file in memory, so that the system never gives its pages to something else
    #[arg(long)]
    pub mlock: bool,

    /// Read the whole model file before the first request
    #[arg(long)]
    pub prefault: bool,

    /// Chat template: a file, or `plain` for lines of "role: content". [default: the model file's own]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,

    /// Log: error, warn, info (a line for each request, prompts never) or debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug"], hide_possible_values = true)]
    pub log: String,

    /// End when no one has asked anything for so long, as 90s, 10m or 2h, /health and /metrics aside: systemd's socket
    /// starts it again
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub exit_when_idle: Option<Duration>,

    /// Who may connect.
    #[command(flatten)]
    pub network: NetworkArgs,

    /// How much of everything.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Who may connect.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Address to listen on; one that others reach needs --api-key-file or --no-auth. With a socket of systemd's, that
    /// is listened on instead
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// Port; 0 for any free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,

    /// File of API keys, one in each line. Each has a prompt cache of its own
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub api_key_file: Option<PathBuf>,

    /// Serve whoever can reach the address
    #[arg(long)]
    pub no_auth: bool,

    /// Ask for a key at /tokenizer_info, /tokenize and /detokenize too, where lm-eval sends none
    #[arg(long, requires = "api_key_file")]
    pub protect_all: bool,

    /// Name under which the server may be reached without a key, besides addresses and localhost (repeatable)
    #[arg(long, value_name = "NAME")]
    pub allowed_host: Vec<String>,

    /// Origin of web pages that may use the server, as `https://example.org`, or * for all (repeatable) [default: none]
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
}

/// How much of everything.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Sequences that run at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub parallel: u32,

    /// Requests that wait for their turn; one more is answered 429
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queue: u32,

    /// Memory for the states of prompts, as 500M or 2G; 0 for none [default: an eighth of what the process may use, 2G
    /// at most]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub cache: Option<u64>,

    /// Memory that requests may hold together, as 500M or 2G: bodies, prompts, and what is kept of answers; one that
    /// finds no room is answered 429 [default: a quarter of what the process may use, 4G at most]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub request_memory: Option<u64>,

    /// Bytes of a request's body
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = size)]
    pub max_body: u64,

    /// Bytes of a body sent without a key to /tokenize and /detokenize
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = size)]
    pub max_open_body: u64,

    /// Tokens of a prompt
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_prompt: u32,

    /// Tokens of a text
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: u32,

    /// Tokens of a chat's answer that does not say how many
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens_default: u32,

    /// Texts of one request: prompts times n
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_texts: u32,

    /// Seconds until a text is cut off, those in the queue counted
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_time: u32,

    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Seconds for a request's header, its body, and for a client to take in what waits for it
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub io_timeout: u32,

    /// Seconds of silence after which a stream gets a comment, for proxies that take silence for death
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub heartbeat: u32,

    /// Seconds that answers have to end after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain: u32,
}

impl Args {
    /// What was typed; where it is wrong, or help was asked for, the program ends.
    pub fn read() -> Args {
        let typed = std::env::args_os().skip(1).collect();
        let parsed = typed::matches(Args::command(), typed);
        let args = parsed.and_then(|matches| Args::from_arg_matches(&matches));
        args.unwrap_or_else(|error| error.exit())
    }
}

fn name(text: &str) -> Result<String, String> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err("must be a name".into()),
        false => Ok(text.to_owned()),
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

/// A number of bytes, with K, M or G for thousands, millions and billions of them.
fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1_000),
        Some((at, 'M' | 'm')) => (&text[..at], 1_000_000),
        Some((at, 'G' | 'g')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "must be a number of bytes, as 500K, 16M or 2G".into())
}

/// A time: seconds, or a number with s, m or h.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let seconds = number.parse::<u32>().ok().filter(|&n| n > 0);
    let seconds = seconds.map(|number| u64::from(number) * unit);
    seconds.map(Duration::from_secs).ok_or_else(|| "must be a time, as 90s, 10m or 2h".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_value_may_begin_with_a_dash_and_an_option_is_none() {
        let read = |words: &[&str]| {
            let words = words.iter().map(Into::into).collect();
            typed::matches(Args::command(), words).and_then(|m| Args::from_arg_matches(&m))
        };
        let args = read(&["-m", "-x.mmfree", "--chat-template", "- y"]).unwrap();
        assert_eq!(args.model, Some("-x.mmfree".into()));
        assert_eq!(args.chat_template, Some("- y".into()));
        let error = read(&["-m", "--mlock"]).unwrap_err().to_string();
        assert!(error.contains("-m=--mlock"), "{error}");
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(time("1"), time("1s"));
        assert_eq!(time("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "m", "0", "0s", "-1", "1.5h", "10d", "99999999999", "é"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("16M"), Ok(16_000_000));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "M", "1.5G", "-1", "99999999999G", "1T", "é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
