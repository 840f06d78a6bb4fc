//! The files of a checkpoint that say how text becomes ids, and what they say.
//!
//! Besides `tokenizer.json` these are `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`, read as `from_pretrained` of transformers 4.42.4 reads them
//! (`tokenization_utils_base.py`).

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::classes::Class;
use crate::format::{ModelFile, sorted, standard_json};

pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
pub(super) const ADDITIONAL: &str = "additional_special_tokens";

/// The keys under which special tokens stand, in transformers' order.
const SPECIAL: [&str; 8] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    ADDITIONAL,
];

/// The texts of a checkpoint's files about its tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct TokenizerFiles<'a> {
    tokenizer: &'a [u8],
    tokenizer_config: Option<&'a str>,
    special_tokens_map: Option<&'a str>,
    added_tokens: Option<&'a str>,
    config: Option<&'a str>,
}

impl<'a> TokenizerFiles<'a> {
    /// Of a `tokenizer.json`, and of the other files as `text` gives them by name, `None` for those
    /// that are not there.
    pub fn new(tokenizer: &'a [u8], text: impl Fn(&str) -> Option<&'a str>) -> TokenizerFiles<'a> {
        TokenizerFiles {
            tokenizer,
            tokenizer_config: text(CONFIG),
            special_tokens_map: text(SPECIAL_TOKENS_MAP),
            added_tokens: text(ADDED_TOKENS),
            config: text("config.json"),
        }
    }

    /// Those that a model file carries; `None` where it has no tokenizer.
    pub fn of(file: &'a ModelFile) -> Option<TokenizerFiles<'a>> {
        let tokenizer = file.tokenizer_json()?;
        Some(TokenizerFiles::new(tokenizer, |name| file.checkpoint_file(name)))
    }

    /// The text of `tokenizer.json`.
    pub(super) fn tokenizer(&self) -> &'a [u8] {
        self.tokenizer
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> usize {
        let others = [self.tokenizer_config, self.special_tokens_map, self.added_tokens];
        self.tokenizer.len() + others.iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// Something about a checkpoint's tokenizer that whoever converts it should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerNote {
    /// The file that it is about.
    pub file: &'static str,
    /// What it is.
    pub reason: String,
    /// No model file should be made with it. One that has it is read as well as can be.
    pub refused: bool,
}

impl TokenizerNote {
    pub(super) fn note(file: &'static str, reason: String) -> TokenizerNote {
        TokenizerNote { file, reason, refused: false }
    }

    pub(super) fn refusal(file: &'static str, reason: String) -> TokenizerNote {
        TokenizerNote { file, reason, refused: true }
    }
}

impl fmt::Display for TokenizerNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.reason)
    }
}

/// A text from a file, short enough for a message and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// A token as the files describe it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    /// Where absent, true of tokens that are not special.
    pub normalized: Option<bool>,
    pub special: bool,
}

impl Described {
    fn new(content: &str) -> Described {
        Described {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: false,
        }
    }

    /// The arguments of Python's `AddedToken`.
    fn parse(value: &Value) -> Option<Described> {
        let flag = |key: &str| value.get(key).and_then(Value::as_bool);
        let is = |key: &str| flag(key).unwrap_or(false);
        Some(Described {
            content: value.get("content")?.as_str()?.to_owned(),
            single_word: is("single_word"),
            lstrip: is("lstrip"),
            rstrip: is("rstrip"),
            normalized: flag("normalized"),
            special: is("special"),
        })
    }
}

impl From<AddedToken> for Described {
    fn from(token: AddedToken) -> Described {
        let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
        let normalized = Some(normalized);
        Described { content, single_word, lstrip, rstrip, normalized, special }
    }
}

/// A special token by its key.
#[derive(Clone, Debug)]
pub(super) struct Special {
    pub key: &'static str,
    pub content: String,
    /// How it is to be found, where more than its text was given.
    pub described: Option<Described>,
    /// It stands in a file, and is no default of the class.
    pub explicit: bool,
}

/// What the files beside `tokenizer.json` say.
#[derive(Debug)]
pub(super) struct Settings {
    pub class: &'static Class,
    pub add_bos: bool,
    pub add_eos: bool,
    pub add_prefix_space: bool,
    pub split_special_tokens: bool,
    pub lowercase: bool,
    pub strip_accents: Option<bool>,
    pub handle_chinese_chars: bool,
    /// In the order of their keys.
    pub special: Vec<Special>,
    /// Their texts.
    contents: HashSet<String>,
    /// `added_tokens_decoder`, by id; where that is there, it is all that counts.
    pub decoder: Option<BTreeMap<u32, Described>>,
    /// `added_tokens.json`, by id.
    pub added: BTreeMap<u32, String>,
}

impl Settings {
    /// Reads the files; what of them cannot be used is noted, and taken for absent.
    pub fn read(files: &TokenizerFiles<'_>, notes: &mut Vec<TokenizerNote>) -> Settings {
        let mut object = |name, text: Option<&str>| match text.map(object) {
            None => Map::new(),
            Some(Some(object)) => object,
            Some(None) => {
                notes.push(TokenizerNote::refusal(name, "is not a JSON object".into()));
                Map::new()
            }
        };
        let config = object(CONFIG, files.tokenizer_config);
        let map = object(SPECIAL_TOKENS_MAP, files.special_tokens_map);
        let added = object(ADDED_TOKENS, files.added_tokens);
        let model = object("config.json", files.config);

        let class = class(&config, &model, notes);
        let decoder = config.get("added_tokens_decoder").map(|value| decoder(value, notes));
        let added = if decoder.is_some() { BTreeMap::new() } else { encoder(&added, notes) };
        // The map counts only without a decoder, which is what newer versions write.
        let map = if decoder.is_some() { Map::new() } else { map };
        let flag = |key: &str, default| config.get(key).map_or(default, truth);
        let (bos, eos) = class.rebuilds.unwrap_or_default();
        let special = special(class, &config, &map);
        Settings {
            class,
            add_bos: flag("add_bos_token", bos),
            add_eos: flag("add_eos_token", eos),
            add_prefix_space: flag("add_prefix_space", false),
            split_special_tokens: flag("split_special_tokens", false),
            lowercase: flag("do_lower_case", true),
            strip_accents: config.get("strip_accents").and_then(Value::as_bool),
            handle_chinese_chars: flag("tokenize_chinese_chars", true),
            contents: special.iter().map(|token| token.content.clone()).collect(),
            special,
            decoder,
            added,
        }
    }

    /// The special token under a key.
    pub fn token(&self, key: &str) -> Option<&str> {
        let token = self.special.iter().find(|token| token.key == key);
        token.map(|token| token.content.as_str())
    }

    /// Whether a token is a special one by its text.
    pub fn is_special(&self, content: &str) -> bool {
        self.contents.contains(content)
    }
}

/// A JSON object as Python reads it.
fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(&standard_json(text)).ok().map(sorted)
}

/// Whether Python takes a value for true.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// The class that `AutoTokenizer` takes: the one of the tokenizer's configuration, else of the
/// model's.
fn class(
    config: &Map<String, Value>,
    model: &Map<String, Value>,
    notes: &mut Vec<TokenizerNote>,
) -> &'static Class {
    let name =
        |object: &Map<String, Value>| Some(object.get("tokenizer_class")?.as_str()?.to_owned());
    // Without either, transformers has none for this kind of model, and needs to be told one. One
    // that adds nothing is what that can be for any file.
    let Some(name) = name(config).or_else(|| name(model)) else { return Class::plain() };
    Class::named(&name).unwrap_or_else(|| {
        let reason = format!(
            "tokenizer_class is {}: its added tokens and the post_processor are followed, but not what \
             else that class may do",
            shown(&name)
        );
        notes.push(TokenizerNote::note(CONFIG, reason));
        Class::plain()
    })
}

/// `added_tokens_decoder`: ids, as texts, and what they stand for.
fn decoder(value: &Value, notes: &mut Vec<TokenizerNote>) -> BTreeMap<u32, Described> {
    let mut tokens = BTreeMap::new();
    let mut wrong = |key: &str, right: &str| {
        let reason = format!("added_tokens_decoder: {} is not {right}", shown(key));
        notes.push(TokenizerNote::refusal(CONFIG, reason));
    };
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match (key.trim().parse(), Described::parse(value)) {
                    (Ok(id), Some(token)) => drop(tokens.insert(id, token)),
                    (Err(_), _) => wrong(key, "a token id"),
                    (_, None) => wrong(key, "a token with its content"),
                }
            }
        }
        _ => wrong("all of it", "an object of ids and tokens"),
    }
    tokens
}

/// `added_tokens.json`: texts and their ids.
fn encoder(object: &Map<String, Value>, notes: &mut Vec<TokenizerNote>) -> BTreeMap<u32, String> {
    let mut tokens = BTreeMap::new();
    for (content, id) in object {
        match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => drop(tokens.insert(id, content.clone())),
            None => {
                let reason = format!("{}: its id is not a token id", shown(content));
                notes.push(TokenizerNote::refusal(ADDED_TOKENS, reason));
            }
        }
    }
    tokens
}

/// The special tokens: those of the map, else of the configuration, else of the class.
fn special(class: &Class, config: &Map<String, Value>, map: &Map<String, Value>) -> Vec<Special> {
    let mut tokens: Vec<Special> = Vec::new();
    let mut push = |key: &'static str, value: &Value, explicit: bool| {
        let (content, described) = match value {
            Value::String(text) => (text.clone(), None),
            value => match Described::parse(value) {
                Some(token) => (token.content.clone(), Some(token)),
                None => return,
            },
        };
        let strips = key == "mask_token" && class.mask_strips;
        let described = described.or_else(|| {
            let token = Described { lstrip: strips, ..Described::new(&content) };
            (strips || class.renews && key != ADDITIONAL).then_some(token)
        });
        if !content.is_empty() {
            tokens.push(Special { key, content, described, explicit });
        }
    };
    for key in SPECIAL {
        if key == ADDITIONAL {
            let lists = [config.get(key), map.get(key)];
            for value in lists.into_iter().flatten().filter_map(Value::as_array).flatten() {
                push(key, value, true);
            }
            for token in class.additional {
                push(key, &Value::from(*token), false);
            }
        } else if let Some(value) = map.get(key).or_else(|| config.get(key)) {
            push(key, value, true);
        } else if let Some(token) = class.token(key) {
            push(key, &Value::from(token), false);
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (Settings, Vec<TokenizerNote>) {
        let text = |name: &str| Some(files.iter().find(|(known, _)| *known == name)?.1);
        let mut notes = Vec::new();
        let settings = Settings::read(&TokenizerFiles::new(b"", text), &mut notes);
        (settings, notes)
    }

    #[test]
    fn the_class_is_the_tokenizer_s_then_the_model_s_then_plain() {
        let named = |tokenizer: &str, model: &str| {
            let (settings, notes) = read(&[(CONFIG, tokenizer), ("config.json", model)]);
            assert_eq!(notes, []);
            (settings.class.name, settings.add_bos)
        };
        let llama = r#"{"tokenizer_class": "LlamaTokenizer"}"#;
        let neox = r#"{"tokenizer_class": "GPTNeoXTokenizerFast"}"#;
        assert_eq!(named(llama, neox), ("LlamaTokenizer", true));
        assert_eq!(named("{}", neox), ("GPTNeoXTokenizer", false));
        assert_eq!(named("{}", "{}"), ("PreTrainedTokenizer", false));
        let (settings, notes) = read(&[(CONFIG, r#"{"tokenizer_class": "Foo"}"#)]);
        assert_eq!(settings.class.name, "PreTrainedTokenizer");
        assert!(
            notes.len() == 1 && !notes[0].refused && notes[0].reason.contains("Foo"),
            "{notes:?}"
        );
    }

    #[test]
    fn values_are_true_as_in_python() {
        let add_bos = |value: &str| {
            let config = r#"{"tokenizer_class": "LlamaTokenizer", "add_bos_token": VALUE}"#;
            read(&[(CONFIG, &config.replace("VALUE", value))]).0.add_bos
        };
        for value in ["true", "1", "\"no\"", "[0]"] {
            assert!(add_bos(value), "{value}");
        }
        for value in ["false", "null", "0", "\"\""] {
            assert!(!add_bos(value), "{value}");
        }
    }

    #[test]
    fn numbers_that_only_python_knows_hide_nothing() {
        let config = r#"{"model_max_length": Infinity, "x": [NaN, -Infinity],
            "bos_token": "a \"NaN\" \\", "add_bos_token": false, "tokenizer_class": "LlamaTokenizer"}"#;
        let (settings, notes) = read(&[(CONFIG, config)]);
        assert_eq!(notes, []);
        assert_eq!((settings.class.name, settings.add_bos), ("LlamaTokenizer", false));
        assert_eq!(settings.token("bos_token"), Some(r#"a "NaN" \"#));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, text, part) in [
            (CONFIG, "[1]", "is not a JSON object"),
            (CONFIG, r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#, "x is not a token id"),
            (CONFIG, r#"{"added_tokens_decoder": {"7": "a"}}"#, "7 is not a token with its"),
            (CONFIG, r#"{"added_tokens_decoder": {"-1": {"content": "a"}}}"#, "-1 is not a token"),
            (CONFIG, r#"{"added_tokens_decoder": []}"#, "is not an object of ids"),
            (ADDED_TOKENS, r#"{"a": "7"}"#, "a: its id is not a token id"),
        ] {
            let (_, notes) = read(&[(name, text)]);
            assert!(notes.len() == 1 && notes[0].refused, "{notes:?}");
            let text = notes[0].to_string();
            assert!(text.starts_with(name) && text.contains(part), "{text}");
        }
    }
}
