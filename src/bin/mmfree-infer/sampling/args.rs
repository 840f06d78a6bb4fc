//! What can be typed of sampling.

use mmfree::SamplerOptions;

use super::{Ids, ids, whole};

/// Defaults are those of the checkpoint's generation config; where it has none, the likeliest token
/// is taken.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Take the likeliest token
    #[arg(long, conflicts_with_all = ["temp", "top_k", "top_p", "min_p", "typical_p"])]
    pub greedy: bool,

    /// Temperature; 0 is greedy
    #[arg(long, value_name = "T", value_parser = temp)]
    pub temp: Option<f32>,

    /// Only the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K", value_parser = whole)]
    pub top_k: Option<usize>,

    /// Only the likeliest tokens that together have probability P
    #[arg(long, value_name = "P", value_parser = top_p)]
    pub top_p: Option<f32>,

    /// Only tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", value_parser = min_p)]
    pub min_p: Option<f32>,

    /// Only the tokens that are about as likely as is to be expected and together have probability
    /// P
    #[arg(long, value_name = "P", value_parser = typical_p)]
    pub typical_p: Option<f32>,

    /// Make tokens that are there already less likely, those of the prompt too; 1 is off
    #[arg(long, value_name = "X", value_parser = repeat_penalty)]
    pub repeat_penalty: Option<f32>,

    /// Tokens that --repeat-penalty looks back at; 0 or -1 for all
    #[arg(long, value_name = "N", value_parser = last)]
    pub repeat_last_n: Option<usize>,

    /// Take X from the logits of tokens of the text, the prompt not counted; -2 to 2
    #[arg(long, value_name = "X", value_parser = presence_penalty)]
    pub presence_penalty: Option<f32>,

    /// The same, as often as a token is there
    #[arg(long, value_name = "X", value_parser = frequency_penalty)]
    pub frequency_penalty: Option<f32>,

    /// Add X to the logit of token ID, as 15043=-1.5; -inf bans it (repeatable)
    #[arg(long, value_name = "ID=X", value_parser = bias)]
    pub logit_bias: Vec<(u32, f32)>,

    /// Tokens that never come, as 1,15043; an empty list for none
    #[arg(long, value_name = "IDS", value_parser = suppressed)]
    pub suppress_tokens: Option<Suppressed>,

    /// No run of N tokens a second time, the prompt counted; 0 is off
    #[arg(long, value_name = "N", value_parser = whole)]
    pub no_repeat_ngram: Option<usize>,

    /// Seed of the draws [default: a random one, reported]
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("must be a whole number, 0 to {}", u64::MAX))
}

fn temp(text: &str) -> Result<f32, String> {
    in_range(text, |temperature| SamplerOptions { temperature, ..Default::default() })
}

fn top_p(text: &str) -> Result<f32, String> {
    in_range(text, |top_p| SamplerOptions { top_p, ..Default::default() })
}

fn min_p(text: &str) -> Result<f32, String> {
    in_range(text, |min_p| SamplerOptions { min_p, ..Default::default() })
}

fn typical_p(text: &str) -> Result<f32, String> {
    in_range(text, |typical_p| SamplerOptions { typical_p, ..Default::default() })
}

fn presence_penalty(text: &str) -> Result<f32, String> {
    in_range(text, |presence_penalty| SamplerOptions { presence_penalty, ..Default::default() })
}

fn frequency_penalty(text: &str) -> Result<f32, String> {
    in_range(text, |frequency_penalty| SamplerOptions { frequency_penalty, ..Default::default() })
}

fn last(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(0),
        text => text.parse().map_err(|_| "must be a whole number, or -1 for all".into()),
    }
}

/// A token and what is added to its logit: `15043=-1`, or `15043-1` as llama.cpp has it.
fn bias(text: &str) -> Result<(u32, f32), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (id, bias) = text.split_at(end);
    let bias = match bias.strip_prefix('=') {
        Some(bias) => bias,
        None if bias.starts_with(['+', '-']) => bias,
        None => return Err("must be a token id, =, and a number, as 15043=-1.5".into()),
    };
    let id = id.parse().map_err(|_| format!("`{id}` is no token id: 0 to {}", u32::MAX))?;
    let bias = bias.parse().map_err(|_| format!("`{bias}` is no number"))?;
    let options = SamplerOptions { logit_bias: [(id, bias)].into(), ..Default::default() };
    match options.validate() {
        Ok(()) => Ok((id, bias)),
        Err(_) => Err("must be a number or -inf".into()),
    }
}

/// Tokens that never come.
#[derive(Clone, Debug)]
pub struct Suppressed(pub Vec<u32>);

fn suppressed(text: &str) -> Result<Suppressed, String> {
    match text.trim() {
        "" => Ok(Suppressed(Vec::new())),
        text => ids(text).map(|Ids(ids)| Suppressed(ids)),
    }
}

fn repeat_penalty(text: &str) -> Result<f32, String> {
    in_range(text, |repeat_penalty| SamplerOptions { repeat_penalty, ..Default::default() })
}

/// A number that the sampler takes as the one option that `options` makes of it.
fn in_range(text: &str, options: impl Fn(f32) -> SamplerOptions) -> Result<f32, String> {
    let value = text.parse().map_err(|_| "must be a number")?;
    match options(value).validate() {
        Ok(()) => Ok(value),
        // The value is there already.
        Err(mmfree::Error::Option { reason, .. }) => {
            Err(reason.split_once(", ").map_or(reason.as_str(), |(_, right)| right).to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_a_token_and_a_number() {
        for (text, expected) in [
            ("15043=-1.5", (15043, -1.5)),
            ("3=2", (3, 2.0)),
            ("3=-inf", (3, f32::NEG_INFINITY)),
            ("3=+.5", (3, 0.5)),
            ("3+1", (3, 1.0)),
            ("3-1", (3, -1.0)),
            ("3-inf", (3, f32::NEG_INFINITY)),
        ] {
            assert_eq!(bias(text), Ok(expected), "{text}");
        }
        for bad in ["", "3", "=1", "-1=2", "3=", "3=x", "3=inf", "3=nan", "3:1", "4294967296=1"] {
            assert!(bias(bad).is_err(), "{bad:?}");
        }
    }
}
