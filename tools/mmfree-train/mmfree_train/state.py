"""What a run needs to go on: weights, the optimizer's moments, its step, its settings, and the best weights so far.

In the folder `training` of the checkpoint folder: `latest.safetensors`, `best.safetensors`, `log.csv`, `curve.svg`.
"""

import dataclasses
import json
from pathlib import Path

import torch

from .checkpoint import read_safetensors
from .config import Config
from .errors import Failure
from .files import write_tensors
from .model import HGRNBit
from .settings import Settings

FOLDER = "training"
LATEST = "latest.safetensors"
BEST = "best.safetensors"
VERSION = "1"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclasses.dataclass
class Progress:
    """How far a run has come."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    # Of the exponential mean of losses that is shown.
    mean_loss: float | None = None
    best: float | None = None
    best_step: int | None = None


def save(folder: Path, model: HGRNBit, optimizer, config: Config, settings: Settings, progress: Progress):
    """Writes `latest.safetensors`, whole or not at all."""
    tensors = dict(model.state_dict())
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    # Steps differ between parameters only where one was left out; all are kept.
    steps = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter)
        if state:
            for moment in MOMENTS:
                tensors[f"optimizer.{moment}.{name}"] = state[moment]
            steps[name] = float(state["step"])
    metadata = {
        "format": "pt",
        "mmfree-train.version": VERSION,
        "mmfree-train.config": config.to_json("float32"),
        "mmfree-train.settings": json.dumps(dataclasses.asdict(settings)),
        "mmfree-train.progress": json.dumps(dataclasses.asdict(progress)),
        "mmfree-train.steps": json.dumps(steps),
    }
    write_tensors(folder / LATEST, tensors, metadata)


def save_best(folder: Path, model: HGRNBit, config: Config, progress: Progress):
    """Writes `best.safetensors`."""
    tensors = dict(model.state_dict())
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    metadata = {"format": "pt", "mmfree-train.config": config.to_json("float32"), "mmfree-train.step": str(progress.step)}
    write_tensors(folder / BEST, tensors, metadata)


@dataclasses.dataclass
class Saved:
    """A run as it was saved."""

    config: Config
    settings: Settings
    progress: Progress
    tensors: dict[str, torch.Tensor]
    steps: dict[str, float]
    path: Path

    def restore(self, model: HGRNBit, optimizer):
        """Puts weights and moments where they were."""
        missing = {k: v for k, v in self.tensors.items() if not k.startswith("optimizer.")}
        if self.config.tie_word_embeddings:
            missing["lm_head.weight"] = missing["model.embeddings.weight"]
        model.load_state_dict(missing)
        for name, parameter in model.named_parameters():
            if name in self.steps:
                on = parameter.device if optimizer.defaults.get("fused") else "cpu"
                optimizer.state[parameter] = {
                    "step": torch.tensor(self.steps[name], dtype=torch.float32, device=on),
                    **{m: self.tensors[f"optimizer.{m}.{name}"].to(parameter.device) for m in MOMENTS},
                }


def metadata_of(path: Path) -> dict[str, str]:
    """The strings beside a file's tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Failure(f"{path}: {error}") from None


def load(folder: Path) -> Saved:
    """Reads `latest.safetensors`."""
    path = folder / LATEST
    if not path.is_file():
        raise Failure(f"{folder.parent}: has no run to go on with: there is no {FOLDER}/{LATEST}")
    metadata = metadata_of(path)
    if metadata.get("mmfree-train.version") != VERSION:
        raise Failure(f"{path}: is of version {metadata.get('mmfree-train.version')}, must be {VERSION}")
    settings = Settings(**json.loads(metadata["mmfree-train.settings"]))
    progress = Progress(**json.loads(metadata["mmfree-train.progress"]))
    config = Config.from_keys(json.loads(metadata["mmfree-train.config"]), str(path))
    steps = json.loads(metadata["mmfree-train.steps"])
    return Saved(config, settings, progress, read_safetensors(path), steps, path)
