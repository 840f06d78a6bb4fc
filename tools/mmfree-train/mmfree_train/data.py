"""Prepared data, and which part of it each step trains on.

What a step takes is a function of the seed and its number alone. So a run that goes on takes what it would have taken, and
several processes share a step without talking.
"""

import dataclasses
from pathlib import Path

import numpy as np

from .errors import Failure, UsageFailure
from .files import read_json
from .tokenizer import TextTokenizer

# A target that counts nothing (`ignore_index` of the loss).
IGNORED = -100


@dataclasses.dataclass
class Source:
    """Packed ids of a source."""

    name: str
    ids: np.ndarray
    mask: np.ndarray | None
    weight: float | None
    starts: np.ndarray


@dataclasses.dataclass
class HeldOut:
    """A text, or conversations, to evaluate on."""

    name: str
    path: Path
    chat: bool


@dataclasses.dataclass
class Data:
    """A folder of `mmfree-train prepare`."""

    path: Path
    vocab_size: int
    tokenizer: TextTokenizer
    sources: list[Source]
    held_out: list[HeldOut]

    @property
    def tokens(self) -> int:
        """Tokens of all sources."""
        return sum(len(source.ids) for source in self.sources)

    def summary(self) -> list[list]:
        """Name and tokens of each source."""
        return [[source.name, len(source.ids)] for source in self.sources]


def read(folder: Path) -> Data:
    """Opens a folder of prepared data; ids stay on disk."""
    if not (folder / "meta.json").is_file():
        unfinished = (folder / "settings.json").is_file()
        what = "is not complete: run `mmfree-train prepare` again, which goes on" if unfinished else "is no folder of prepared data"
        raise Failure(f"{folder}: {what}")
    meta = read_json(folder / "meta.json")
    if meta.get("version") != 1:
        raise Failure(f"{folder}: is of version {meta.get('version')}, must be 1: prepare it again")
    tokenizer = TextTokenizer.read(folder)
    begin = tokenizer.prefix()
    sources = []
    for entry in meta["sources"]:
        path = folder / f"{entry['name']}.bin"
        ids = _map(path, np.dtype(entry["dtype"]).newbyteorder("<"), entry["tokens"])
        mask = _map(folder / f"{entry['name']}.mask", np.dtype(np.uint8), entry["tokens"]) if entry["chat"] else None
        # Where documents begin; without a token that says it, wherever a window does.
        starts = np.flatnonzero(ids == begin[0]) if begin else np.empty(0, np.int64)
        sources.append(Source(entry["name"], ids, mask, entry["weight"], starts))
    held = [HeldOut(entry["name"], folder / entry["file"], entry["chat"]) for entry in meta["held_out"]]
    return Data(folder, meta["vocab_size"], tokenizer, sources, held)


def _map(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    try:
        size = path.stat().st_size
        if size != tokens * dtype.itemsize:
            raise Failure(f"{path}: has {size} bytes, must be {tokens * dtype.itemsize}: prepare the data again")
        return np.memmap(path, dtype, "r")
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None


def parse_mixes(texts: list[str], data: Data) -> list[tuple[float, dict[str, float]]]:
    """`name:weight,name:weight`, each with `SHARE=` before it if it holds from that share of the run on."""
    names = [source.name for source in data.sources]
    if not texts:
        given = [source.weight for source in data.sources]
        if any(weight is None for weight in given) and any(weight is not None for weight in given):
            raise UsageFailure(f"{data.path}: some sources have weights and some have none: name all in --mix")
        sizes = [len(source.ids) if source.weight is None else source.weight for source in data.sources]
        return [(0.0, dict(zip(names, sizes)))]
    mixes = []
    for text in texts:
        start, _, mix = text.rpartition("=")
        try:
            at = float(start) if start else 0.0
            weights = {name: float(weight or 1) for name, _, weight in (part.partition(":") for part in mix.split(","))}
        except ValueError:
            raise UsageFailure(f"--mix is {text!r}, must be as stories:2,prose:1 or 0.8=stories:1") from None
        for name, weight in weights.items():
            if name not in names:
                raise UsageFailure(f"--mix names the source {name!r}, but {data.path} has {', '.join(names)}")
            if not 0 <= weight < float("inf"):
                raise UsageFailure(f"--mix gives {name} the weight {weight}, must not be negative")
        if not 0 <= at < 1 or sum(weights.values()) <= 0:
            raise UsageFailure(f"--mix is {text!r}: it must begin at a share from 0 to below 1, and have a weight above 0")
        mixes.append((at, weights))
    mixes.sort(key=lambda mix: mix[0])
    if mixes[0][0] != 0.0:
        raise UsageFailure("--mix must say what is taken from the beginning: name one without a share")
    return mixes


def _shares(mixes, names: list[str], steps: int, rows: int) -> np.ndarray:
    """Rows of each source before each step, `[steps + 1, sources]`: `rows` more with every step, shared out by weight.

    What a step is too few rows for is made good in later ones.
    """
    taken = np.zeros((steps + 1, len(names)), np.int64)
    owed = np.zeros(len(names))
    starts = [int(at * steps) for at, _ in mixes]
    weights = None
    for step in range(steps):
        if step in starts:
            mix = mixes[len(starts) - 1 - starts[::-1].index(step)][1]
            weights = np.array([mix.get(name, 0.0) for name in names], np.float64)
            weights /= weights.sum()
        owed += weights * rows
        now = np.maximum(np.floor(owed), 0).astype(np.int64)
        # A source that has just lost its weight may be owed a fraction still: the others go first.
        order = np.argsort(-(owed - now + weights), kind="stable")
        for n in range(rows - int(now.sum())):
            now[order[n % len(order)]] += 1
        while now.sum() > rows:
            now[np.argmax(now)] -= 1
        owed -= now
        taken[step + 1] = taken[step] + now
    return taken


class Plan:
    """Which windows of which source each step takes.

    A source is cut into windows of `context` tokens, and each pass goes through all of them in an order of its own, cut at
    another place. Of the windows, the share `aligned` begin with the document that they lie in, if that is near.
    """

    def __init__(self, data: Data, mixes, steps: int, rows: int, context: int, seed: int, aligned: float):
        self.data, self.rows, self.context, self.seed, self.aligned = data, rows, context, seed, aligned
        self.windows = []
        for source in data.sources:
            if len(source.ids) <= context:
                raise Failure(f"source {source.name} has {len(source.ids)} tokens, must have more than --context {context}")
            self.windows.append(len(source.ids) // context)
        self.taken = _shares(mixes, [source.name for source in data.sources], steps, rows)
        self._orders: dict = {}

    def passes(self, step: int) -> dict[str, float]:
        """How often each source has been gone through before this step."""
        return {s.name: float(n) / w for s, n, w in zip(self.data.sources, self.taken[step], self.windows)}

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and targets of a step, int64 `[rows, context]`."""
        ids, targets = [], []
        for n, source in enumerate(self.data.sources):
            starts = self._starts(n, source, int(self.taken[step, n]), int(self.taken[step + 1, n]))
            if len(starts):
                # The last window goes on at the beginning.
                places = (starts[:, None] + np.arange(self.context + 1)) % len(source.ids)
                window = source.ids[places].astype(np.int64)
                target = window[:, 1:].copy()
                if source.mask is not None:
                    target[source.mask[places][:, 1:] == 0] = IGNORED
                ids.append(window[:, :-1])
                targets.append(target)
        return np.concatenate(ids), np.concatenate(targets)

    def _starts(self, n: int, source: Source, first: int, last: int) -> np.ndarray:
        numbers = np.arange(first, last)
        result = np.empty(len(numbers), np.int64)
        for number in np.unique(numbers // self.windows[n]):
            order, offset, aligned = self._order(n, int(number))
            chosen = numbers // self.windows[n] == number
            window = order[numbers[chosen] % self.windows[n]]
            start = (window * self.context + offset) % len(source.ids)
            if len(source.starts):
                at = np.searchsorted(source.starts, start, "right") - 1
                begin = source.starts[np.maximum(at, 0)]
                near = (at >= 0) & (start - begin < self.context) & aligned[window]
                start = np.where(near, begin, start)
            result[chosen] = start
        return result

    def _order(self, n: int, number: int):
        """Of a source's pass: the order of its windows, where they are cut, and which begin with a document."""
        key = (n, number)
        if key not in self._orders:
            random = np.random.default_rng([self.seed, n, number])
            windows = self.windows[n]
            share = 1.0 if self.data.sources[n].mask is not None else self.aligned
            order = random.permutation(windows)
            self._orders = {k: v for k, v in self._orders.items() if k[0] != n or k[1] >= number - 1}
            self._orders[key] = (order, int(random.integers(len(self.data.sources[n].ids))), random.random(windows) < share)
        return self._orders[key]
