//! How to choose tokens: the options of all filters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

use super::filters;
use crate::error::{Error, Result};

/// How to choose tokens. The default is greedy.
///
/// The filters work in the order of `docs/NUMERICS.md`, which has their formulas too: logit bias,
/// repetition, frequency and presence penalty, what is banned, then top-k, temperature, top-p,
/// min-p and typical-p.
///
/// As JSON it is an object of all options by the names that the fields have; a bias of minus
/// infinity, which JSON has no number for, is the string "-inf". `Display` names those that make a
/// difference, in the words of the command line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SamplerOptions {
    /// Divides the logits: below 1 the likely tokens become likelier. 0 is greedy: the likeliest
    /// token, the lowest id on a tie, of what the filters before top-k leave.
    pub temperature: f32,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability (after top-k), at least one; 1
    /// for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 for all.
    pub min_p: f32,
    /// Only the tokens whose log-probability is nearest to its own mean and that together have this
    /// probability (of what the other cuts leave), at least one; 1 for all (locally typical
    /// sampling, arXiv:2202.00666, as Hugging Face has it).
    pub typical_p: f32,
    /// Divides the logit, if positive, or multiplies it, if negative, of each token that is in the
    /// sequence already, prompt counted in and however often (the rule of CTRL, arXiv:1909.05858,
    /// as Hugging Face applies it); 1 for none.
    pub repeat_penalty: f32,
    /// How many of the last tokens the repetition penalty looks at; 0 for all.
    pub repeat_last_n: usize,
    /// Taken from the logit of each token that was generated (the prompt does not count), once for
    /// each time: -2 to 2, as OpenAI and vLLM have it; 0 for none.
    pub frequency_penalty: f32,
    /// Taken from the logit of each token that was generated, however often: -2 to 2; 0 for none.
    pub presence_penalty: f32,
    /// No token that would end a run of this many tokens that was there already, prompt counted in;
    /// 0 for none (Hugging Face's `no_repeat_ngram_size`).
    pub no_repeat_ngram: usize,
    /// Added to the logits of these tokens; minus infinity bans one.
    #[serde(serialize_with = "biases")]
    pub logit_bias: BTreeMap<u32, f32>,
    /// Tokens that are never chosen.
    pub suppress_tokens: BTreeSet<u32>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            no_repeat_ngram: 0,
            logit_bias: BTreeMap::new(),
            suppress_tokens: BTreeSet::new(),
            seed: 0,
        }
    }
}

impl SamplerOptions {
    /// Whether the likeliest token is taken, and nothing drawn.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// [`Error::Option`] for the first that is out of it.
    pub fn validate(&self) -> Result<()> {
        filters::all().try_for_each(|filter| filter.check(self))
    }

    /// Checks the tokens that options name against a vocabulary of this size. A sampler takes no
    /// notice of one outside.
    ///
    /// # Errors
    /// [`Error::Option`] for an option with a token outside.
    pub fn check_ids(&self, vocab_size: usize) -> Result<()> {
        filters::all().try_for_each(|filter| match filter.largest_id(self) {
            Some(id) if id as usize >= vocab_size => {
                let last = vocab_size.saturating_sub(1);
                let reason =
                    format!("token id {id} is outside the vocabulary: ids are 0 to {last}");
                Err(Error::Option { name: filter.name(), reason })
            }
            _ => Ok(()),
        })
    }

    /// Every option as a key and a text from which [`set`](Self::set) makes the same value, bit for
    /// bit.
    pub fn to_texts(&self) -> Vec<(&'static str, String)> {
        let texts = settings().map(|setting| (setting.key, (setting.text)(self)));
        texts.collect()
    }

    /// Sets the option of this key to the value that a text states; false where no option has the
    /// key. It may be out of range: [`validate`](Self::validate) tells.
    ///
    /// # Errors
    /// [`Error::Option`] for a text that states no value of this option.
    pub fn set(&mut self, key: &str, text: &str) -> Result<bool> {
        let Some(setting) = settings().find(|setting| setting.key == key) else {
            return Ok(false);
        };
        match (setting.set)(self, text) {
            Some(()) => Ok(true),
            None => {
                let shown: String = text.chars().take(40).collect();
                let reason = format!("is {shown:?}, must be {}", setting.right);
                Err(Error::Option { name: setting.key, reason })
            }
        }
    }
}

/// Characters of a value that `Display` shows.
const SHOWN: usize = 60;

impl fmt::Display for SamplerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counting, start) = if self.is_greedy() {
            (&filters::OF_LOGITS[..], "greedy".to_owned())
        } else {
            (
                &[&filters::OF_LOGITS[..], &filters::OF_DRAWS].concat()[..],
                format!("temperature {}", self.temperature),
            )
        };
        f.write_str(&start)?;
        let off = SamplerOptions { temperature: self.temperature, ..Default::default() };
        for setting in counting.iter().flat_map(|filter| filter.settings()) {
            let text = (setting.text)(self);
            if text != (setting.text)(&off) {
                let name = setting.key.replace('_', "-");
                match text.char_indices().nth(SHOWN) {
                    Some((end, _)) => write!(f, ", {name} {}...", &text[..end])?,
                    None => write!(f, ", {name} {text}")?,
                }
            }
        }
        Ok(())
    }
}

fn biases<S: Serializer>(biases: &BTreeMap<u32, f32>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Bias {
        Number(f32),
        Banned(&'static str),
    }
    serializer.collect_map(biases.iter().map(|(id, &bias)| match bias {
        f32::NEG_INFINITY => (id, Bias::Banned("-inf")),
        bias => (id, Bias::Number(bias)),
    }))
}

fn settings() -> impl Iterator<Item = &'static Setting> {
    filters::all().flat_map(|filter| filter.settings()).chain(&SEED)
}

const SEED: [Setting; 1] = [setting!(seed: WHOLE)];

/// An option as a text.
pub struct Setting {
    /// Its name, as the field has it.
    pub key: &'static str,
    /// What a text must be.
    pub right: &'static str,
    pub text: fn(&SamplerOptions) -> String,
    /// Sets it; `None` for a text that is no value of its kind.
    pub set: fn(&mut SamplerOptions, &str) -> Option<()>,
}

/// What texts must be.
pub const NUMBER: &str = "a number";
pub const WHOLE: &str = "a whole number, 0 or more";

/// The setting of a field that is a number: Rust writes floats with as many digits as make the same
/// bits again.
macro_rules! setting {
    ($field:ident: $right:expr) => {
        $crate::generate::sampler::options::Setting {
            key: stringify!($field),
            right: $right,
            text: |options| options.$field.to_string(),
            set: |options, text| {
                options.$field = text.parse().ok()?;
                Some(())
            },
        }
    };
}
pub(super) use setting;

/// The error of an option that is not in its range, in the words for what is.
pub fn in_range(name: &'static str, value: f32, good: bool, range: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::Option { name, reason: format!("is {value}, must be {range}") })
}
