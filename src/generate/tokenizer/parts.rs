//! Putting a tokenizer together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde_json::Value;
use tokenizers::{
    AddedToken, AddedVocabulary, DecoderWrapper, ModelWrapper, NormalizerWrapper,
    PostProcessorWrapper, PreTokenizerWrapper,
};

use super::added::merge;
use super::both_ways::BothWays;
use super::classes::PrefixSpace;
use super::decoder::Decoder;
use super::files::{CONFIG, Settings, TokenizerFiles, TokenizerNote};
use super::growth::Growth;
use super::post_processor::Template;
use super::vocabulary::Vocabulary;
use super::{Inner, normalizer, pre_tokenizer};

/// JSON objects that a normalizer, a pre-tokenizer or a decoder may have: one or two for each step. Real
/// ones have twenty at most.
const MAX_OBJECTS: usize = 512;

/// Regular expressions among them. A short one can take 10 MB.
const MAX_REGEXES: usize = 32;

/// A `tokenizer.json`. Truncation and padding are for training, and left out.
#[derive(Deserialize)]
struct Parts {
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<OwnToken>,
    #[serde(deserialize_with = "bounded", default)]
    normalizer: Option<NormalizerWrapper>,
    #[serde(deserialize_with = "bounded", default)]
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    #[serde(deserialize_with = "bounded", default)]
    decoder: Option<DecoderWrapper>,
    model: ModelWrapper,
}

#[derive(Deserialize)]
struct OwnToken {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// A part of the library's, once it is known how many steps it has: they take much more room than
/// their text.
fn bounded<'de, D: Deserializer<'de>, T: DeserializeOwned>(json: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(json)?;
    let (mut objects, mut regexes) = (0, 0);
    let mut rest = vec![&value];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(object) => {
                objects += 1;
                regexes += usize::from(object.contains_key("Regex"));
                rest.extend(object.values());
            }
            Value::Array(list) => rest.extend(list),
            _ => {}
        }
    }
    if objects > MAX_OBJECTS || regexes > MAX_REGEXES {
        return Err(Error::custom(format!(
            "a part has {objects} objects and {regexes} regular expressions; at most {MAX_OBJECTS} and \
             {MAX_REGEXES} are allowed"
        )));
    }
    serde_json::from_value(value).map_err(Error::custom)
}

/// The tokenizer of a `tokenizer.json` alone.
pub(super) fn from_json(json: &[u8]) -> tokenizers::Result<Inner> {
    Ok(assemble(Parts::read(json)?, json.len(), None)?.0)
}

/// The tokenizer of a checkpoint, for a model with this many ids and this BOS token, and what is to be
/// known of it.
pub(super) fn from_files(
    files: &TokenizerFiles<'_>,
    vocab_size: usize,
    bos: Option<u32>,
) -> tokenizers::Result<(Inner, Vec<TokenizerNote>)> {
    let mut parts = Parts::read(files.tokenizer())?;
    let mut notes = Vec::new();
    let settings = Settings::read(files, &mut notes);
    parts.set(&settings);
    let (mut inner, more) = assemble(parts, files.len(), Some((&settings, vocab_size)))?;
    notes.extend(more);
    inner.bos = bos;
    if settings.class.rebuilds.is_some() {
        let own = std::mem::take(&mut inner.template);
        let on = (settings.add_bos, settings.add_eos);
        inner.template = rebuilt(&settings, on, &inner, &mut notes);
        let later = match settings.class.rebuilds_later {
            Some(bos) => rebuilt(&settings, (bos, false), &inner, &mut Vec::new()),
            None => own,
        };
        if later != inner.template {
            let reason = format!(
                "prompts {}, as transformers 4.42 has it for {}; in transformers 5 they {}",
                inner.template, settings.class.name, later
            );
            notes.push(TokenizerNote::note(CONFIG, reason));
        }
        inner.prompt_prefix = inner.template.prefix.clone();
    }
    Ok((inner, notes))
}

impl Parts {
    fn read(json: &[u8]) -> tokenizers::Result<Parts> {
        let mut parts: Parts = serde_json::from_slice(json)?;
        if let Some(version) = parts.version.take_if(|version| version != "1.0") {
            return Err(
                format!("is of version {version:?}, and 1.0 is the one that is known").into()
            );
        }
        if let ModelWrapper::BPE(bpe) = &mut parts.model {
            bpe.dropout = None;
        }
        Ok(parts)
    }

    /// Applies what the class of the tokenizer makes of its settings.
    fn set(&mut self, settings: &Settings) {
        let Settings { class, add_prefix_space: on, .. } = settings;
        let set = |step| match class.prefix_space {
            PrefixSpace::Set => pre_tokenizer::set_prefix_space(step, *on, false),
            PrefixSpace::SetTrue if *on => pre_tokenizer::set_prefix_space(step, true, true),
            _ => step,
        };
        self.pre_tokenizer = self.pre_tokenizer.take().map(set);
        if let (true, Some(NormalizerWrapper::BertNormalizer(bert))) =
            (class.sets_bert_normalizer, &mut self.normalizer)
        {
            bert.lowercase = settings.lowercase;
            bert.strip_accents = settings.strip_accents;
            bert.handle_chinese_chars = settings.handle_chinese_chars;
        }
    }
}

/// Puts the parts of a file of `len` bytes together; with settings, the tokens that they add.
fn assemble(
    parts: Parts,
    len: usize,
    settings: Option<(&Settings, usize)>,
) -> tokenizers::Result<(Inner, Vec<TokenizerNote>)> {
    let Parts { model, pre_tokenizer, post_processor, decoder, .. } = parts;
    let normalizer = normalizer::steps(parts.normalizer)?;
    // Added tokens are normalized too, all of them together within the growth of the file.
    let growth = Growth::of(len);
    let steps = normalizer::Steps { steps: &normalizer, growth: &growth, continues: false };
    let own: BTreeMap<u32, AddedToken> =
        parts.added_tokens.iter().map(|own| (own.id, own.token.clone())).collect();
    let mut added = AddedVocabulary::new();
    added.add_tokens(parts.added_tokens.into_iter().map(|own| own.token), &model, Some(&steps))?;
    let (mut notes, mut both) = (Vec::new(), BTreeSet::new());
    if let Some((settings, vocab_size)) = settings {
        both = merge(&mut added, &own, &model, &steps, settings, vocab_size, &mut notes)?;
        added.set_encode_special_tokens(settings.split_special_tokens);
    }
    let both_ways = BothWays::new(&added, &both, &model, &steps)?;
    let template = Template::of(post_processor.as_ref())?;
    let by_bytes = normalizer.iter().any(normalizer::Step::is_byte_level);
    let inner = Inner {
        vocabulary: Vocabulary::new(model, added, both_ways, by_bytes)?,
        normalizer,
        pre_tokenizer: pre_tokenizer::steps(pre_tokenizer),
        decoder: Decoder::new(decoder)?,
        prompt_prefix: template.prefix.clone(),
        template,
        bos: None,
        path: None,
    };
    Ok((inner, notes))
}

/// The post-processor that the tokenizer's class makes, with a BOS and an EOS or without.
fn rebuilt(
    settings: &Settings,
    (bos, eos): (bool, bool),
    inner: &Inner,
    notes: &mut Vec<TokenizerNote>,
) -> Template {
    let mut ids = |key: &str, instead: Option<u32>| -> Vec<u32> {
        let token = settings.token(key).and_then(|token| inner.vocabulary.id(token));
        if key == "eos_token" && settings.token(key).is_none() {
            let reason = "add_eos_token is true, but there is no eos_token: transformers do not load such a \
                          tokenizer; name one, or set add_eos_token to false";
            notes.push(TokenizerNote::refusal(CONFIG, reason.to_owned()));
        } else if token.is_none() {
            // Transformers does not load such a tokenizer, or makes an id that the model lacks.
            let instead = instead.map_or("none".to_owned(), |id| format!("the model's own, {id}"));
            let reason = format!(
                "add_{key} is true, but {key} is none of the model's tokens: it is {instead}"
            );
            notes.push(TokenizerNote::note(CONFIG, reason));
        }
        token.or(instead).into_iter().collect()
    };
    Template {
        prefix: if bos { ids("bos_token", inner.bos) } else { Vec::new() },
        suffix: if eos { ids("eos_token", None) } else { Vec::new() },
    }
}
