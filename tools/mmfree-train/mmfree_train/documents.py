"""Documents of text files and JSONL, without those that were there before, and with some held out."""

import gzip
import hashlib
import json
import lzma
from collections.abc import Iterator
from pathlib import Path

from .chat import check_messages
from .errors import Failure

SPLITS = ("file", "blank", "line")

# From here on a document is long: a part of it is held out, and never the whole.
LONG = 20_000
# Of this many, the hash of a document decides whether it is held out.
BUCKETS = 1_000_000


def _open(path: Path):
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    return opener(path, "rt", encoding="utf-8", newline=None)


def read(path: Path, split: str) -> Iterator[str | list[dict]]:
    """The documents of a file in their order: a text, or the messages of a conversation.

    `split` says what a text's documents are: the whole file, what stands between empty lines, each line, or, where it is none
    of `SPLITS`, what stands between lines of this text.
    """
    try:
        with _open(path) as file:
            if ".jsonl" in path.suffixes[-2:]:
                yield from _jsonl(path, file)
            elif split == "file":
                text = file.read().strip("\n")
                if text:
                    yield text
            else:
                yield from _split(file, split)
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: is no UTF-8 text: {error.reason} at byte {error.start} of what was read") from None
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise Failure(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _split(file, split):
    lines: list[str] = []
    for line in file:
        line = line.rstrip("\n")
        if split == "line":
            ends = True
            lines.append(line)
        else:
            ends = not line.strip() if split == "blank" else line == split
            if not ends:
                lines.append(line)
        if ends:
            yield from _document(lines)
            lines = []
    yield from _document(lines)


def _document(lines):
    text = "\n".join(lines).strip("\n")
    if text.strip():
        yield text


def _jsonl(path, file):
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise Failure(f"{path}: line {number}: is no JSON: {error}") from None
        if isinstance(value, dict) and isinstance(value.get("text"), str):
            yield value["text"]
        elif isinstance(value, dict) and "messages" in value:
            try:
                check_messages(value["messages"])
            except Failure as error:
                raise Failure(f"{path}: line {number}: {error}") from None
            yield value["messages"]
        else:
            raise Failure(f'{path}: line {number}: must have "text", a string, or "messages", a list')


def hash_of(document: str | list[dict]) -> int:
    """64 bits that are the same for documents that differ in their spacing alone."""
    text = document if isinstance(document, str) else json.dumps(document, sort_keys=True)
    digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Sifter:
    """Goes through the documents of a source: drops those that were there before, and holds some out.

    The same documents in the same order give the same result, so that work which was broken off can be gone through again.
    """

    def __init__(self, banned: set[int], seen: set[int] | None, share: float, most: int):
        """`banned` are hashes of documents that are held out already; without `seen`, repeated ones are kept."""
        self.banned = banned
        self.seen = seen
        self.share = share
        self.most = most
        self.held: list[str | list[dict]] = []
        self.held_bytes = 0
        self.documents = 0
        self.duplicates = 0

    def sift(self, documents: Iterator[str | list[dict]]) -> Iterator[str | list[dict]]:
        """What is for training."""
        for document in documents:
            self.documents += 1
            value = hash_of(document)
            if value in self.banned or (self.seen is not None and value in self.seen):
                self.duplicates += 1
                continue
            if self.seen is not None:
                self.seen.add(value)
            long = isinstance(document, str) and len(document) > LONG
            if long and self.held_bytes < self.most and self.share > 0:
                document = self._cut(document)
            elif not long and value % BUCKETS < self.share * BUCKETS and self.held_bytes < self.most:
                self._hold(document)
                continue
            yield document

    def _cut(self, text: str) -> str:
        """Holds out the last part of a long document, from the beginning of a line or of a word on."""
        size = int(min(len(text) * self.share, self.most - self.held_bytes))
        at = max(text.rfind(mark, 0, len(text) - size) for mark in ("\n", " "))
        line = text.rfind("\n", len(text) - 2 * size, len(text) - size)
        at = line if line > 0 else at
        if size < 200 or at <= 0:
            return text
        self._hold(text[at + 1 :])
        return text[:at]

    def _hold(self, document: str | list[dict]):
        self.held.append(document)
        text = document if isinstance(document, str) else json.dumps(document)
        self.held_bytes += len(text.encode("utf-8"))
