"""How well a model predicts a text, as `mmfree-infer perplexity` measures it."""

import dataclasses
import math

import torch
import torch.nn.functional as F

from .chat import Chat
from .data import HeldOut
from .documents import read
from .errors import Failure
from .model import HGRNBit
from .tokenizer import TextTokenizer

# Tokens that go through the model at a time, the state carried on, and rows of logits that are made at a time.
TOKENS = 4096
ROWS = 1024


@dataclasses.dataclass
class Measured:
    """Of a text: tokens fed and predicted, its bytes, and the sum of negative log-probabilities in nats."""

    tokens: int
    predicted: int
    bytes: int
    nats: float

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.predicted

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats_per_token, 700.0))

    def keys(self) -> dict:
        """The names and numbers of `mmfree-infer perplexity --json`."""
        return {
            "tokens": self.tokens,
            "predicted": self.predicted,
            "bytes": self.bytes,
            "nats": self.nats,
            "nats_per_token": self.nats_per_token,
            "bits_per_byte": self.bits_per_byte,
            "perplexity": self.perplexity,
        }


@torch.no_grad()
def sequence_nats(model: HGRNBit, ids: list[int], counts: list[bool] | None = None) -> float:
    """Sum of the negative log-probabilities of all ids but the first, or of those that count, in float32."""
    device = model.model.embeddings.weight.device
    ids_ = torch.tensor(ids, device=device)
    targets = ids_.clone()
    if counts is not None:
        targets[~torch.tensor(counts, device=device)] = -100
    caches = model.new_caches()
    nats = 0.0
    for first in range(0, len(ids) - 1, TOKENS):
        last = min(first + TOKENS, len(ids) - 1)
        x = model.body(ids_[None, first:last], torch.float32, caches)[0]
        for at in range(first, last, ROWS):
            end = min(at + ROWS, last)
            logits = model.head(x[at - first : end - first])
            nats += F.cross_entropy(logits, targets[at + 1 : end + 1], reduction="sum", ignore_index=-100).double().item()
    return nats


def text(model: HGRNBit, tokenizer: TextTokenizer, text: str, context: int | None = None) -> Measured:
    """A text as one sequence, or in windows of `context` tokens that each begin as a prompt does."""
    ids = tokenizer.encode(text)
    sequences = windows(ids, tokenizer.prefix(), context)
    fed = sum(map(len, sequences))
    predicted = fed - len(sequences)
    if predicted < 1:
        raise Failure("has no token to predict; needs more text")
    top = max(ids)
    if top >= model.config.vocab_size:
        raise Failure(f"its tokenizer gives the id {top}, but the model has {model.config.vocab_size} entries")
    nats = sum(sequence_nats(model, sequence) for sequence in sequences if len(sequence) > 1)
    return Measured(fed, predicted, len(text.encode("utf-8")), nats)


def windows(ids: list[int], prefix: list[int], context: int | None) -> list[list[int]]:
    """The sequences to measure; every token of the text is predicted once."""
    if context is None:
        return [ids]
    rest = ids[len(prefix) :] if ids[: len(prefix)] == prefix else ids
    room = max(1, context - len(prefix))
    return [prefix + rest[at : at + room] for at in range(0, len(rest), room)]


def conversations(model: HGRNBit, tokenizer: TextTokenizer, documents: list[list[dict]]) -> Measured:
    """The answers of conversations, each given what stands before it."""
    chat = Chat(tokenizer)
    total = Measured(0, 0, 0, 0.0)
    for messages in documents:
        ids, mask = chat.encode(messages)
        total.tokens += len(ids)
        total.predicted += sum(mask)
        total.bytes += sum(len(m["content"].encode("utf-8")) for m in messages if m["role"] == "assistant")
        total.nats += sequence_nats(model, ids, mask)
    if total.predicted == 0 or total.bytes == 0:
        raise Failure("has no answer to predict")
    return total


def held_out(model: HGRNBit, tokenizer: TextTokenizer, what: HeldOut, context: int | None = None) -> Measured:
    """A held-out text, or a file of conversations."""
    try:
        if what.chat:
            return conversations(model, tokenizer, list(read(what.path, "file")))
        return text(model, tokenizer, what.path.read_text(encoding="utf-8"), context)
    except UnicodeDecodeError as error:
        raise Failure(f"{what.path}: is no UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise Failure(f"cannot read {what.path}: {error.strerror}") from None
    except Failure as error:
        raise Failure(f"{what.path}: {error}" if str(what.path) not in str(error) else str(error)) from None
