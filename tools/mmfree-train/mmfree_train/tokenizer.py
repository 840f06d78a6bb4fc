"""Tokenizers: training one that `mmfree-convert` takes, and reading that of a checkpoint.

Ids 0 to 5 are the special tokens below, whichever kind it is. A text becomes `<s>` and its tokens, and its ids become the very
same text again.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from .errors import Failure, UsageFailure
from .files import read_json, write_text

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (UNKNOWN, BOS, EOS, *ROLES)
KINDS = ("byte-level", "llama")

# Turns of a conversation, each after its role's token; an answer ends with </s>, so that a server knows where to stop.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% elif message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# The same for a tokenizer that has no such tokens.
PLAIN_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '### Assistant:\\n' + message['content'] + eos_token + '\\n' }}"
    "{% elif message['role'] == 'system' %}{{ '### System:\\n' + message['content'] + '\\n' }}"
    "{% else %}{{ '### User:\\n' + message['content'] + '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Assistant:\\n' }}{% endif %}"
)

# Classes whose `add_bos_token` decides about a BOS, in place of the post-processor, and what it is where it is not there
# (docs/TOKENIZER.md).
BOS_CLASSES = {"Llama": True, "CodeLlama": True, "Gemma": True, "Cohere": True, "GPTNeoX": False}


def train(texts: Iterable[str], vocab: int, kind: str) -> Tokenizer:
    """A BPE tokenizer of `vocab` entries learned from texts, of whole words and less."""
    least = len(SPECIAL) + 256
    if vocab < least + 1:
        raise UsageFailure(f"--vocab is {vocab}, must be at least {least + 1}: special tokens and the 256 bytes come first")
    tokenizer = _byte_level(texts, vocab) if kind == "byte-level" else _llama(texts, vocab)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 1)])
    return tokenizer


def _byte_level(texts, vocab):
    tokenizer = Tokenizer(models.BPE())
    # Digits one by one, as numbers are read; words, spaces and punctuation apart, as GPT-2's.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=_special(),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _llama(texts, vocab):
    """As SentencePiece's with byte fallback: a space is part of the word after it, unknown characters are bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # For learning alone: no merge across words, and none of line breaks.
    parts = Regex(r"▁?[A-Za-z']+|▁?[0-9]|▁?[^A-Za-z0-9▁\s]+|▁|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(parts, "isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[*_special(), *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=max(1, min(1000, (vocab - 262) // 4)),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    keys = json.loads(tokenizer.to_str())
    keys["pre_tokenizer"] = None
    keys["added_tokens"] = [entry for entry in keys["added_tokens"] if entry["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(keys))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _special():
    return [AddedToken(token, special=True, normalized=False) for token in SPECIAL]


def config_keys() -> dict:
    """`tokenizer_config.json` of a tokenizer that was trained here."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }


def write(folder: Path, tokenizer: Tokenizer):
    """Writes the files of a tokenizer that was trained here."""
    write_text(folder / "tokenizer_config.json", json.dumps(config_keys(), indent=2) + "\n")
    keys = json.loads(tokenizer.to_str())
    # As one string, which every version of the library reads; those before 0.20, which the original code goes with, read no pairs.
    merges = keys["model"]["merges"]
    keys["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    write_text(folder / "tokenizer.json", json.dumps(keys, ensure_ascii=False))


class TextTokenizer:
    """The tokenizer of a checkpoint, from its files."""

    def __init__(self, files: dict[str, str], where: str):
        if "tokenizer.json" not in files:
            raise Failure(f"{where}: has no tokenizer.json")
        self.files = files
        self.where = where
        try:
            self.tokenizer = Tokenizer.from_str(files["tokenizer.json"])
            self.keys = json.loads(files.get("tokenizer_config.json", "{}"))
        except Exception as error:  # The library's errors are plain exceptions.
            raise Failure(f"{where}: its tokenizer cannot be read: {error}") from None
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocab_size = self.tokenizer.get_vocab_size()

    @staticmethod
    def read(folder: Path) -> "TextTokenizer":
        """The tokenizer of a folder."""
        names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja")
        if not folder.is_dir():
            raise Failure(f"cannot read {folder}: No such folder")
        files = {name: (folder / name).read_text(encoding="utf-8") for name in names if (folder / name).is_file()}
        return TextTokenizer(files, str(folder))

    def token(self, key: str) -> str | None:
        """The text of a special token as `bos_token` or `eos_token`."""
        value = self.keys.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        return value if isinstance(value, str) else None

    def id_of(self, key: str) -> int | None:
        """Its id."""
        token = self.token(key)
        return None if token is None else self.tokenizer.token_to_id(token)

    def bos_before_texts(self) -> list[int] | None:
        """The ids before a text where the tokenizer's class decides about them, and not its post-processor."""
        name = str(self.keys.get("tokenizer_class", "")).removesuffix("Fast").removesuffix("Tokenizer")
        if name not in BOS_CLASSES:
            return None
        add = self.keys.get("add_bos_token")
        add = BOS_CLASSES[name] if add is None else add
        bos = self.id_of("bos_token")
        return [bos] if add and bos is not None else []

    def encode(self, text: str) -> list[int]:
        """Ids of a text as a prompt, with what prompts begin with."""
        first = self.bos_before_texts()
        if first is None:
            return self.tokenizer.encode(text).ids
        return first + self.tokenizer.encode(text, add_special_tokens=False).ids

    def prefix(self) -> list[int]:
        """What prompts begin with."""
        return self.encode("a")[: -len(self.tokenizer.encode("a", add_special_tokens=False).ids)]

    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts as they stand, without special tokens around them."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def same_as(self, other: "TextTokenizer") -> bool:
        """Whether both give a text the same ids, as far as vocabulary and merges say."""
        mine, theirs = (json.loads(t.files["tokenizer.json"]) for t in (self, other))
        return all(mine.get(key) == theirs.get(key) for key in ("model", "normalizer", "pre_tokenizer"))

    def chat_template(self) -> str:
        """The template of conversations: the checkpoint's, or one for its tokens."""
        if "chat_template.jinja" in self.files:
            return self.files["chat_template.jinja"]
        template = self.keys.get("chat_template")
        if isinstance(template, str):
            return template
        known = all(self.tokenizer.token_to_id(role) is not None for role in ROLES)
        return CHAT_TEMPLATE if known else PLAIN_CHAT_TEMPLATE

    def files_with_template(self) -> dict[str, str]:
        """The tokenizer's files, with the template of conversations in them."""
        if "chat_template.jinja" in self.files:
            return self.files
        keys = {**self.keys, "chat_template": self.chat_template()}
        return {**self.files, "tokenizer_config.json": json.dumps(keys, indent=2, ensure_ascii=False) + "\n"}


def read_any(path: Path) -> TextTokenizer:
    """The tokenizer of a folder, of a model file, or of a `tokenizer.json`."""
    if path.is_file() and path.suffix == ".json":
        beside = path.parent
        files = {"tokenizer.json": path.read_text(encoding="utf-8")}
        if (beside / "tokenizer_config.json").is_file():
            files["tokenizer_config.json"] = json.dumps(read_json(beside / "tokenizer_config.json"))
        return TextTokenizer(files, str(path))
    if path.is_file():
        from . import modelfile

        return TextTokenizer(modelfile.read(path)[2], str(path))
    return TextTokenizer.read(path)
