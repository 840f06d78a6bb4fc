"""What a run is given, and what it takes where nothing is given."""

import dataclasses
import math

import torch

from .config import Config
from .errors import UsageFailure
from .model import HGRNBit

# Peak learning rate by number of parameters, up to each of them.
#
# - to 100 M: one GPU, 65 536 tokens a step, AdamW .9/.95. Of 2e-3, 4e-3 and 8e-3 the second was best on prose at 51 M, and the
#   first a little ahead on generated stories; none was unstable (docs/TRAINING.md).
# - to 400 M: a public recipe for models of this architecture, with warm-up 2000, decay .1 and clip 1, has 2e-3 from 21 to 46 M
#   and 5e-4 at 370 M, where 2e-2 was unstable.
# - above: ternary models take larger rates than others ("Scalable MatMul-free Language Modeling", arXiv 2406.02528, section 5),
#   but nothing was measured here: what is right at 370 M is kept.
LEARNING_RATES = ((100_000_000, 4e-3), (200_000_000, 2e-3))
LARGE_LEARNING_RATE = 5e-4

# Of the rate from scratch, what a model that has learned already is trained on with.
FINE_TUNING = 0.1

# Tokens for each parameter that are a good use of compute: "Training Compute-Optimal Large Language Models", arXiv 2203.15556.
TOKENS_PER_PARAMETER = 20
# Passes over the data beyond which more of them make a model worse: five over 83 MB of prose were fine for 51 M parameters, and
# 17 to 19 worse on every held-out text (docs/TRAINING.md). "Scaling Data-Constrained Language Models", arXiv 2305.16264, finds
# little to gain beyond four.
PASSES = 5


@dataclasses.dataclass
class Settings:
    """All that the numbers of a run depend on; it goes into its checkpoints."""

    rows: int
    context: int
    steps: int
    learning_rate: float
    floor: float
    warmup: int
    weight_decay: float
    clip: float
    beta1: float
    beta2: float
    seed: int
    aligned: float
    accumulate: int
    precision: str
    mix: list[str]
    eval_every: int
    best: str
    # Names and tokens of the sources, and names of the held-out texts: a run goes on with the same data.
    sources: list[list]
    held_out: list[str]
    started_from: str | None = None


def learning_rate(parameters: int, fine_tuning: bool) -> float:
    """The peak learning rate for a model of this size."""
    rate = next((rate for most, rate in LEARNING_RATES if parameters <= most), LARGE_LEARNING_RATE)
    return rate * FINE_TUNING if fine_tuning else rate


def rows_of(context: int, tokens: int) -> int:
    """Sequences of a step of about so many tokens."""
    return max(1, round(tokens / context))


def default_steps(parameters: int, tokens: int, step_tokens: int, fine_tuning: bool) -> tuple[int, str]:
    """Steps of a run that was given no length, and why so many."""
    if fine_tuning:
        return max(1, 2 * tokens // step_tokens), "two passes over the data"
    wanted = TOKENS_PER_PARAMETER * parameters
    most = PASSES * tokens
    if most < wanted:
        return max(1, most // step_tokens), f"{PASSES} passes over the data, fewer than {TOKENS_PER_PARAMETER} tokens for each parameter"
    return max(1, wanted // step_tokens), f"{TOKENS_PER_PARAMETER} tokens for each parameter"


def parse_count(text: str, option: str) -> int:
    """A number as 200M, 1.5G or 65536."""
    factor = {"k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}.get(text[-1:].lower(), 1)
    try:
        value = int(float(text[:-1] if factor > 1 else text) * factor)
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise UsageFailure(f"{option} is {text!r}, must be a number from 1, as 200M")
    return value


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate of a step: linear warm-up, then a cosine down to the floor at the last step."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    shape = settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return settings.learning_rate * shape


def parameters_of(config: Config) -> int:
    """Number of a model's parameters."""
    with torch.device("meta"):
        return sum(p.numel() for p in HGRNBit(config).parameters())
