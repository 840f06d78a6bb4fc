//! What transformers' tokenizer classes add to a `tokenizer.json`.
//!
//! Read off the source of transformers 4.42.4, the version of the published checkpoints:
//! `models/*/tokenization_*_fast.py`, constructors and what they call. The tests hold this against
//! that version. Where transformers 5 differs, `docs/TOKENIZER.md` says.

/// A class of fast tokenizers. The name that a checkpoint gives may end in `Fast`, or not.
#[derive(Debug)]
pub(super) struct Class {
    pub name: &'static str,
    /// It makes its own post-processor, of nothing but `add_bos_token` and `add_eos_token`; these
    /// are their defaults. The others leave the one in the file as it is.
    pub rebuilds: Option<(bool, bool)>,
    /// Whether one that does still does it in transformers 5 (read off 5.24), whatever the flags
    /// say: with a BOS, or without one. The others have the one in the file there.
    pub rebuilds_later: Option<bool>,
    /// What its `add_prefix_space` does.
    pub prefix_space: PrefixSpace,
    /// Whether `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` set those of a
    /// BertNormalizer.
    pub sets_bert_normalizer: bool,
    /// Special tokens that it has unless told otherwise, by their key.
    pub tokens: &'static [(&'static str, &'static str)],
    /// Special tokens that it always has.
    pub additional: &'static [&'static str],
    /// Whether a special token named by its text alone is made one anew.
    pub renews: bool,
    /// Whether a mask token named by its text alone takes the spaces before it.
    pub mask_strips: bool,
}

/// What `add_prefix_space` does to a byte-level pre-tokenizer.
#[derive(Debug, PartialEq)]
pub(super) enum PrefixSpace {
    /// Nothing.
    Ignored,
    /// Where that is the whole pre-tokenizer, it is set; false unless told otherwise.
    Set,
    /// Where it is true, it is set, within sequences too.
    SetTrue,
}

const OTHER: Class = Class {
    name: "",
    rebuilds: None,
    rebuilds_later: None,
    prefix_space: PrefixSpace::Ignored,
    sets_bert_normalizer: false,
    tokens: &[],
    additional: &[],
    renews: false,
    mask_strips: false,
};

const LLAMA: &[(&str, &str)] =
    &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];

const GPT2: &[(&str, &str)] = &[
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
];

/// The classes of decoder language models. Besides those here, `MBart`, `MBart50`, `Nllb` and
/// `SeamlessM4T` make a post-processor of their own, of language codes for translation, and
/// `Whisper` does when it is told a language.
static CLASSES: [Class; 13] = [
    Class { name: "PreTrainedTokenizer", ..OTHER },
    Class { name: "LlamaTokenizer", rebuilds: Some((true, false)), tokens: LLAMA, ..OTHER },
    Class {
        name: "CodeLlamaTokenizer",
        rebuilds: Some((true, false)),
        rebuilds_later: Some(true),
        tokens: LLAMA,
        additional: &["\u{2581}<PRE>", "\u{2581}<MID>", "\u{2581}<SUF>", "\u{2581}<EOT>"],
        ..OTHER
    },
    Class {
        name: "GemmaTokenizer",
        rebuilds: Some((true, false)),
        tokens: &[
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        ..OTHER
    },
    Class {
        name: "CohereTokenizer",
        rebuilds: Some((true, false)),
        prefix_space: PrefixSpace::SetTrue,
        tokens: &[
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("unk_token", "<UNK>"),
        ],
        ..OTHER
    },
    Class {
        name: "GPTNeoXTokenizer",
        rebuilds: Some((false, false)),
        rebuilds_later: Some(false),
        prefix_space: PrefixSpace::Set,
        tokens: GPT2,
        ..OTHER
    },
    Class { name: "GPT2Tokenizer", prefix_space: PrefixSpace::Set, tokens: GPT2, ..OTHER },
    Class { name: "CodeGenTokenizer", prefix_space: PrefixSpace::Set, tokens: GPT2, ..OTHER },
    Class {
        name: "BloomTokenizer",
        prefix_space: PrefixSpace::SetTrue,
        tokens: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("pad_token", "<pad>"),
        ],
        ..OTHER
    },
    Class {
        name: "Qwen2Tokenizer",
        tokens: &[
            ("eos_token", "<|endoftext|>"),
            ("unk_token", "<|endoftext|>"),
            ("pad_token", "<|endoftext|>"),
        ],
        renews: true,
        ..OTHER
    },
    Class { name: "OpenAIGPTTokenizer", tokens: &[("unk_token", "<unk>")], ..OTHER },
    Class {
        name: "BertTokenizer",
        sets_bert_normalizer: true,
        tokens: &[
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
        ..OTHER
    },
    Class {
        name: "RobertaTokenizer",
        prefix_space: PrefixSpace::Set,
        tokens: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "<unk>"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "<mask>"),
        ],
        mask_strips: true,
        ..OTHER
    },
];

impl Class {
    /// The class of that name; `None` where it is none of these.
    pub fn named(name: &str) -> Option<&'static Class> {
        // What transformers 5 calls PreTrainedTokenizerFast.
        let name = if name == "TokenizersBackend" { "PreTrainedTokenizer" } else { name };
        let name = name.strip_suffix("Fast").unwrap_or(name);
        CLASSES.iter().find(|class| class.name == name)
    }

    /// One that adds nothing.
    pub fn plain() -> &'static Class {
        &CLASSES[0]
    }

    /// The special token that it has under a key unless told otherwise.
    pub fn token(&self, key: &str) -> Option<&'static str> {
        self.tokens.iter().find(|(name, _)| *name == key).map(|(_, token)| *token)
    }
}
