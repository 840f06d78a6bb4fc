"""`mmfree-train prepare`: texts to a tokenizer and packed ids.

The folder that it makes:

    meta.json                 what is in it; written last
    tokenizer.json, ..        the tokenizer, as a checkpoint has it
    NAME.bin                  ids of a source, little-endian uint16 or uint32, each document with <s> before and </s> after it
    NAME.mask                 of conversations: for each id a byte, 1 where it belongs to an answer
    held-out/NAME.txt         texts for evaluation, which are in no source; .jsonl of conversations
    parts/, settings.json     work so far: a run that was broken off goes on
"""

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from . import tokenizer as tokenizers
from .chat import Chat
from .documents import Sifter, hash_of, read
from .errors import Failure, UsageFailure
from .files import atomic, make_folder, read_json, remove_unfinished, write_text

VERSION = 1
# Text that is encoded at a time, and that is done again after a break at most.
PART = 16 << 20
# Documents that the library encodes in one call, on all cores.
BATCH = 256


@dataclasses.dataclass
class SourceFiles:
    """A named source: its files, its weight in the mix if one was given, and where its documents end, likewise.

    `split` is one of `SPLITS`, or the text of a line that stands between documents.
    """

    name: str
    weight: float | None
    files: list[Path]
    split: str | None = None

    def documents(self, options: "Options"):
        """The documents of all files, in their order."""
        for path in self.files:
            yield from read(path, self.split or options.split)


@dataclasses.dataclass
class Options:
    """What `prepare` was asked for."""

    output: Path
    sources: list[SourceFiles]
    held_out: list[tuple[str, Path]]
    vocab: int | None
    kind: str
    tokenizer: Path | None
    split: str
    share: float
    held_out_bytes: int
    tokenizer_bytes: int
    deduplicate: bool


def check_name(name: str, what: str):
    """Names become file names."""
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise UsageFailure(f"{what} has the name {name!r}, must be of letters, digits, - and _")


def prepare(options: Options):
    """Makes the folder, or goes on with it."""
    _check(options)
    output = make_folder(options.output)
    settings = _settings(options)
    marker = output / "settings.json"
    if marker.is_file():
        if read_json(marker) != settings:
            raise Failure(f"{output}: was begun with other options, or its texts changed since; remove it, or name another folder")
        if (output / "meta.json").is_file():
            print(f"{output} is complete already")
            return
        print(f"going on with {output}")
    elif any(output.iterdir()):
        raise Failure(f"{output}: is not empty, and no folder of prepared data; name another")
    else:
        write_text(marker, json.dumps(settings, indent=2) + "\n")
    remove_unfinished(output)
    tokenizer = _tokenizer(options)
    for name, text in tokenizer.files_with_template().items():
        if not (output / name).is_file() or name != "tokenizer.json":
            write_text(output / name, text)
    make_folder(output / "held-out")
    make_folder(output / "parts")
    banned, seen = _named_held_out(options), set() if options.deduplicate else None
    entries = [_encode_source(options, source, tokenizer, banned, seen) for source in options.sources]
    held = _write_held_out(options, entries)
    meta = {
        "version": VERSION,
        "vocab_size": tokenizer.vocab_size,
        "sources": [entry.meta for entry in entries],
        "held_out": held,
    }
    write_text(output / "meta.json", json.dumps(meta, indent=2) + "\n")
    shutil.rmtree(output / "parts", ignore_errors=True)
    total = sum(entry.meta["tokens"] for entry in entries)
    print(f"{output}: {total:,} tokens of {tokenizer.vocab_size:,} entries; held out: {', '.join(h['name'] for h in held) or 'none'}")


def _check(options: Options):
    names = [source.name for source in options.sources]
    for name in names:
        check_name(name, "a source")
    held = [name for name, _ in options.held_out]
    for name in held:
        check_name(name, "a held-out text")
    for name in {*names, *held}:
        if names.count(name) > 1 or held.count(name) > 1:
            raise UsageFailure(f"{name} is named twice")
    if options.vocab is None and options.tokenizer is None:
        raise UsageFailure("needs --vocab SIZE to learn a tokenizer, or --tokenizer CHECKPOINT to take one")
    if options.vocab is not None and options.tokenizer is not None:
        raise UsageFailure("--vocab and --tokenizer exclude each other: the tokenizer has its vocabulary")
    for path in [file for source in options.sources for file in source.files] + [path for _, path in options.held_out]:
        if not path.is_file():
            raise Failure(f"cannot read {path}: {'is a folder' if path.is_dir() else 'No such file'}")


def _settings(options: Options) -> dict:
    """All that the result depends on, for a run that goes on."""

    def stamp(path: Path):
        status = path.stat()
        return [str(path), status.st_size, status.st_mtime_ns]

    return {
        "version": VERSION,
        "sources": [[s.name, s.weight, s.split, [stamp(path) for path in s.files]] for s in options.sources],
        "held_out": [[name, stamp(path)] for name, path in options.held_out],
        "vocab": options.vocab,
        "kind": options.kind,
        "tokenizer": str(options.tokenizer) if options.tokenizer else None,
        "split": options.split,
        "share": options.share,
        "held_out_bytes": options.held_out_bytes,
        "tokenizer_bytes": options.tokenizer_bytes,
        "deduplicate": options.deduplicate,
    }


def _tokenizer(options: Options) -> tokenizers.TextTokenizer:
    if (options.output / "tokenizer.json").is_file():
        return tokenizers.TextTokenizer.read(options.output)
    if options.tokenizer is not None:
        return tokenizers.read_any(options.tokenizer)
    start = time.monotonic()
    tokenizer = tokenizers.train(_tokenizer_texts(options), options.vocab, options.kind)
    size = tokenizer.get_vocab_size()
    note = f", fewer than {options.vocab}: the text has no more words" if size < options.vocab else ""
    print(f"tokenizer: {size} entries in {time.monotonic() - start:.1f} s{note}", flush=True)
    tokenizers.write(options.output, tokenizer)
    return tokenizers.TextTokenizer.read(options.output)


def _tokenizer_texts(options: Options):
    """Texts to learn the tokenizer from, as much of each source as its weight asks for."""
    sizes = [sum(path.stat().st_size for path in source.files) for source in options.sources]
    banned = _named_held_out(options)
    weights = [source.weight if source.weight is not None else max(1, size) for source, size in zip(options.sources, sizes)]
    for source, weight in zip(options.sources, weights):
        room = options.tokenizer_bytes * weight / sum(weights)
        sifter = Sifter(banned, set(), options.share, options.held_out_bytes)
        for document in sifter.sift(source.documents(options)):
            texts = [document] if isinstance(document, str) else [message["content"] for message in document]
            for text in texts:
                yield text
                room -= len(text)
            if room <= 0:
                break


def _named_held_out(options: Options) -> set[int]:
    """Documents of the files that were named to be held out: not learned from, whichever source has them."""
    splits = {options.split, *(source.split for source in options.sources if source.split)}
    files = [path for _, path in options.held_out]
    return {hash_of(document) for path in files for split in splits for document in read(path, split)}


class _Parts:
    """A source's ids in parts of some megabytes of text, each written once it is complete."""

    def __init__(self, options: Options, name: str, tokenizer: tokenizers.TextTokenizer):
        self.folder = options.output / "parts"
        self.name = name
        self.tokenizer = tokenizer
        self.dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
        self.before = tokenizer.prefix()
        eos = tokenizer.id_of("eos_token")
        self.after = [] if eos is None else [eos]
        self.chat = None
        self.number = 0
        self.pending: list = []
        self.size = 0
        self.changed = 0

    def path(self, number: int, kind: str) -> Path:
        return self.folder / f"{self.name}-{number:05d}.{kind}"

    def add(self, document):
        """Takes a document; encodes a part's once there are enough."""
        if self.chat is None:
            self.chat = not isinstance(document, str)
        if self.chat == isinstance(document, str):
            raise Failure(f"source {self.name} has both texts and conversations: make two sources of it")
        self.pending.append(document)
        self.size += len(document) if isinstance(document, str) else sum(len(m["content"]) for m in document)
        if self.size >= PART:
            self.flush()

    def flush(self):
        """Encodes what is pending, unless an earlier run has."""
        if not self.pending:
            return
        counts = self.path(self.number, "json")
        if counts.is_file():
            self.changed += read_json(counts)["changed"]
        else:
            ids, mask, changed = self._encode()
            with atomic(self.path(self.number, "bin")) as file:
                file.write(np.array(ids, self.dtype).tobytes())
            if self.chat:
                with atomic(self.path(self.number, "mask")) as file:
                    file.write(np.array(mask, np.uint8).tobytes())
            write_text(counts, json.dumps({"tokens": len(ids), "changed": changed}))
            self.changed += changed
            print(f"{self.name}: part {self.number + 1}, {len(ids):,} tokens", flush=True)
        self.number += 1
        self.pending, self.size = [], 0

    def _encode(self):
        ids, mask, changed = [], [], 0
        if self.chat:
            chat = Chat(self.tokenizer)
            for messages in self.pending:
                some, answers = chat.encode(messages)
                ids += some
                mask += answers
            return ids, mask, 0
        for at in range(0, len(self.pending), BATCH):
            texts = self.pending[at : at + BATCH]
            encoded = self.tokenizer.encode_documents(texts)
            if at == 0:
                # Of each part some, as decoding all would take as long again.
                decoded = self.tokenizer.tokenizer.decode_batch(encoded[:64], skip_special_tokens=False)
                changed += sum(text != back for text, back in zip(texts, decoded))
            for some in encoded:
                ids += self.before
                ids += some
                ids += self.after
        return ids, mask, changed

    def join(self, kind: str, output: Path):
        """All parts in one file."""
        with atomic(output) as file:
            for number in range(self.number):
                with open(self.path(number, kind), "rb") as part:
                    shutil.copyfileobj(part, file, 1 << 20)


@dataclasses.dataclass
class _Entry:
    """What came of a source."""

    meta: dict
    held: list


def _encode_source(options, source, tokenizer, banned, seen) -> _Entry:
    parts = _Parts(options, source.name, tokenizer)
    sifter = Sifter(banned, seen, options.share, options.held_out_bytes)
    text_bytes = 0
    for document in sifter.sift(source.documents(options)):
        texts = [document] if isinstance(document, str) else [message["content"] for message in document]
        text_bytes += sum(len(text.encode("utf-8")) for text in texts)
        parts.add(document)
    parts.flush()
    if parts.number == 0:
        raise Failure(f"source {source.name} has no text for training")
    if parts.changed and options.tokenizer is None:
        print(f"note: {source.name}: {parts.changed} of the tried documents do not come back as they were", file=sys.stderr)
    file = options.output / f"{source.name}.bin"
    parts.join("bin", file)
    if parts.chat:
        parts.join("mask", options.output / f"{source.name}.mask")
    tokens = file.stat().st_size // parts.dtype.itemsize
    meta = {
        "name": source.name,
        "tokens": tokens,
        "documents": sifter.documents - sifter.duplicates,
        "duplicates": sifter.duplicates,
        "bytes": text_bytes,
        "weight": source.weight,
        "dtype": parts.dtype.name,
        "chat": bool(parts.chat),
    }
    duplicates = f", {sifter.duplicates:,} that were there before left out" if sifter.duplicates else ""
    print(f"{source.name}: {meta['documents']:,} documents{duplicates}, {tokens:,} tokens, {text_bytes / tokens:.2f} bytes a token", flush=True)
    return _Entry(meta, sifter.held)


def _write_held_out(options: Options, entries: list[_Entry]) -> list[dict]:
    held = []
    folder = options.output / "held-out"
    for name, path in options.held_out:
        documents = list(read(path, "file"))
        held.append((name, documents))
    for entry in entries:
        if entry.held:
            name = entry.meta["name"]
            taken = any(name == other for other, _ in options.held_out)
            held.append((f"{name}-held-out" if taken else name, entry.held))
    result = []
    for name, documents in held:
        chat = bool(documents) and not isinstance(documents[0], str)
        if chat:
            text = "".join(json.dumps({"messages": messages}, ensure_ascii=False) + "\n" for messages in documents)
        else:
            text = "\n\n".join(documents) + "\n"
        file = f"{name}.jsonl" if chat else f"{name}.txt"
        write_text(folder / file, text)
        result.append({"name": name, "file": f"held-out/{file}", "bytes": len(text.encode("utf-8")), "chat": chat})
    return result
