//! How a text is sampled and when it ends: as typed, else as the checkpoint or the saved session
//! has it.

use std::hash::{BuildHasher, Hasher, RandomState};

use mmfree::{GenerationConfig, GenerationFault, Limits, SamplerOptions};

use crate::args::{AtMost, GenerateArgs, SamplingArgs, Suppressed};

/// New tokens unless told otherwise.
const MAX_TOKENS: usize = 128;

/// Whether a default that cannot be used would be, with these arguments.
pub fn counts(fault: &GenerationFault, args: &GenerateArgs, defaults: &GenerationConfig) -> bool {
    let given = &args.sampling;
    // A saved session has its own.
    let resumes = args.load_state.is_some();
    let samples = !given.greedy && given.temp != Some(0.0);
    let draws = samples && (asks_to_sample(given) || defaults.do_sample) && !resumes;
    match fault.key {
        Some("do_sample") => samples && !asks_to_sample(given) && !resumes,
        Some("temperature") => {
            samples && given.temp.is_none() && (draws || resumes && asks_to_sample(given))
        }
        Some("top_k") => draws && given.top_k.is_none(),
        Some("top_p") => draws && given.top_p.is_none(),
        Some("min_p") => draws && given.min_p.is_none(),
        Some("typical_p") => draws && given.typical_p.is_none(),
        Some("repetition_penalty") => {
            given.repeat_penalty.is_none() && !resumes && (draws || !defaults.leaves_unused(fault))
        }
        Some("no_repeat_ngram_size") => given.no_repeat_ngram.is_none() && !resumes,
        Some("suppress_tokens" | "bad_words_ids") => given.suppress_tokens.is_none() && !resumes,
        Some("sequence_bias") => given.logit_bias.is_empty() && !resumes,
        Some("max_new_tokens" | "max_length") => {
            args.max_tokens.is_none() && args.max_length.is_none()
        }
        Some("eos_token_id") => !args.ignore_eos,
        _ => samples && !asks_to_sample(given) && !resumes,
    }
}

/// The option that makes up for a default that cannot be used.
pub fn instead(key: &str) -> Option<&'static str> {
    Some(match key {
        "do_sample" => "--greedy or --temp",
        "temperature" => "--temp",
        "top_k" => "--top-k",
        "top_p" => "--top-p",
        "min_p" => "--min-p",
        "typical_p" => "--typical-p",
        "no_repeat_ngram_size" => "--no-repeat-ngram",
        "suppress_tokens" | "bad_words_ids" => "--suppress-tokens",
        "sequence_bias" => "--logit-bias",
        "max_new_tokens" | "max_length" => "-n",
        "repetition_penalty" => "--repeat-penalty",
        "eos_token_id" => "--ignore-eos",
        _ => return None,
    })
}

/// The options with a seed of 32 random bits: enough, and short enough to be typed again.
pub fn seeded(options: SamplerOptions) -> SamplerOptions {
    // The standard library's own source of random keys for hash maps.
    SamplerOptions { seed: RandomState::new().build_hasher().finish() >> 32, ..options }
}

/// Whether one of the options that turn sampling on was given.
fn asks_to_sample(args: &SamplingArgs) -> bool {
    let cuts = args.top_p.or(args.min_p).or(args.typical_p);
    args.temp.is_some() || args.top_k.is_some() || cuts.is_some()
}

/// The options as given over those of the session: the checkpoint's defaults, or what it was saved
/// with.
pub fn sampling(
    args: &SamplingArgs,
    defaults: &GenerationConfig,
    session: SamplerOptions,
) -> SamplerOptions {
    let temperature = match args.temp {
        _ if args.greedy => 0.0,
        Some(temperature) => temperature,
        None if asks_to_sample(args) && session.is_greedy() => defaults.sampler.temperature,
        None => session.temperature,
    };
    SamplerOptions {
        temperature,
        top_k: args.top_k.unwrap_or(session.top_k),
        top_p: args.top_p.unwrap_or(session.top_p),
        min_p: args.min_p.unwrap_or(session.min_p),
        typical_p: args.typical_p.unwrap_or(session.typical_p),
        repeat_penalty: args.repeat_penalty.unwrap_or(session.repeat_penalty),
        repeat_last_n: args.repeat_last_n.unwrap_or(session.repeat_last_n),
        frequency_penalty: args.frequency_penalty.unwrap_or(session.frequency_penalty),
        presence_penalty: args.presence_penalty.unwrap_or(session.presence_penalty),
        no_repeat_ngram: args.no_repeat_ngram.unwrap_or(session.no_repeat_ngram),
        logit_bias: match args.logit_bias.as_slice() {
            [] => session.logit_bias,
            given => given.iter().copied().collect(),
        },
        suppress_tokens: match &args.suppress_tokens {
            None => session.suppress_tokens,
            Some(Suppressed(ids)) => ids.iter().copied().collect(),
        },
        seed: args.seed.unwrap_or(session.seed),
    }
}

/// When the text ends: as told, else as the checkpoint has it.
pub fn limits(args: &GenerateArgs, defaults: &GenerationConfig) -> Limits {
    let mut limits = defaults.limits();
    match (args.max_tokens, args.max_length) {
        (None, None) if limits.max_tokens.is_none() && limits.max_length.is_none() => {
            limits.max_tokens = Some(MAX_TOKENS);
        }
        (None, None) => {}
        (max_tokens, max_length) => {
            limits.max_tokens = max_tokens.and_then(|AtMost(count)| count);
            limits.max_length = max_length;
        }
    }
    if args.ignore_eos {
        limits.eos.clear();
    }
    limits
}
