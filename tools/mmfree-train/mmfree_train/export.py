"""Checkpoint folders from a run, evaluated as they were written."""

import json
from pathlib import Path

import torch

from . import checkpoint, evaluate, state
from .config import Config
from .data import Data
from .errors import Failure
from .files import write_text


def from_run(output: Path, data: Data | None, weights: str, dtype: str, keep: str, device: torch.device):
    """Writes the checkpoint folder of the run in `output/training`: its best weights, or its last ones."""
    folder = output / state.FOLDER
    best = folder / state.BEST
    path = best if keep == "best" and best.is_file() else folder / state.LATEST
    if not path.is_file():
        raise Failure(f"{output}: has no run: there is no {state.FOLDER}/{state.LATEST}")
    metadata = state.metadata_of(path)
    config = Config.from_keys(json.loads(metadata["mmfree-train.config"]), str(path))
    tensors = {name: t for name, t in checkpoint.read_safetensors(path).items() if not name.startswith("optimizer.")}
    files = data.tokenizer.files_with_template() if data is not None else _files_beside(output)
    checkpoint.write(output, config, tensors, files, weights, dtype)
    print(f"{output}: {weights} weights in {dtype}, of step {_step(metadata)}", flush=True)
    if data is not None:
        report(output, data, device)


def _step(metadata: dict[str, str]) -> str:
    if "mmfree-train.step" in metadata:
        return metadata["mmfree-train.step"]
    return str(json.loads(metadata["mmfree-train.progress"])["step"])


def _files_beside(output: Path) -> dict[str, str]:
    names = checkpoint.SMALL_FILES
    return {name: (output / name).read_text(encoding="utf-8") for name in names if (output / name).is_file()}


def report(output: Path, data: Data, device: torch.device):
    """Evaluates the folder as anybody else would read it."""
    if not data.held_out:
        return
    model = checkpoint.read(output).model().to(device).eval()
    result = {what.name: evaluate.held_out(model, data.tokenizer, what).keys() for what in data.held_out}
    for name, keys in result.items():
        print(f"{output}: {name}: {keys['bits_per_byte']:.4f} bits per byte, perplexity {keys['perplexity']:.2f}", flush=True)
    write_text(output / state.FOLDER / "evaluation.json", json.dumps(result, indent=2) + "\n")
