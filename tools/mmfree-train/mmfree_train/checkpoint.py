"""Checkpoint folders as on the Hub, and model files: reading them, and writing one with the trits that were trained."""

import dataclasses
import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from . import modelfile
from .config import Config
from .errors import Failure
from .files import make_folder, read_json, write_tensors, write_text
from .model import HGRNBit, ternary

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
HEAD = "lm_head.weight"
EMBEDDING = "model.embeddings.weight"

# What goes from one checkpoint to the next as it is.
SMALL_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclasses.dataclass
class Checkpoint:
    """A model with the small files beside it."""

    config: Config
    tensors: dict[str, torch.Tensor]
    files: dict[str, str]
    path: Path

    def model(self) -> HGRNBit:
        """The model with these weights, in float32 on the CPU."""
        model = HGRNBit(self.config)
        wanted = dict(model.state_dict())
        if self.config.tie_word_embeddings:
            del wanted[HEAD]
        for name, tensor in wanted.items():
            if name not in self.tensors:
                raise Failure(f"{self.path}: tensor {name} is missing")
            found = self.tensors[name]
            if found.shape != tensor.shape:
                raise Failure(
                    f"{self.path}: tensor {name} has the shape {list(found.shape)}, but its config calls for {list(tensor.shape)}"
                )
            if not torch.isfinite(found).all():
                raise Failure(f"{self.path}: tensor {name} has values that are not finite")
            with torch.no_grad():
                tensor.copy_(found)
        return model


def read(path: Path) -> Checkpoint:
    """A checkpoint folder or a model file."""
    if not path.exists():
        raise Failure(f"cannot read {path}: No such file or folder")
    if path.is_file():
        config, tensors, files = modelfile.read(path)
        return Checkpoint(config, tensors, files, path)
    if not (path / "config.json").is_file():
        raise Failure(f"{path}: is no checkpoint folder: it has no config.json")
    config = Config.read(path / "config.json")
    files = {name: (path / name).read_text(encoding="utf-8") for name in SMALL_FILES if (path / name).is_file()}
    return Checkpoint(config, _read_weights(path), files, path)


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    if (folder / INDEX).is_file() and not (folder / WEIGHTS).is_file():
        parts = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
        for part in parts:
            tensors.update(read_safetensors(folder / Path(part).name))
    elif (folder / WEIGHTS).is_file():
        tensors = read_safetensors(folder / WEIGHTS)
    elif (folder / PICKLED).is_file() or (folder / f"{PICKLED}.index.json").is_file():
        index = folder / f"{PICKLED}.index.json"
        parts = sorted(set(read_json(index).get("weight_map", {}).values())) if index.is_file() else [PICKLED]
        for part in parts:
            try:
                tensors.update(torch.load(folder / Path(part).name, map_location="cpu", weights_only=True))
            except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
                raise Failure(f"{folder / part}: {str(error).splitlines()[0]}") from None
    else:
        raise Failure(f"{folder}: has no weights: no {WEIGHTS}, {INDEX} or {PICKLED}")
    return {name: tensor.float() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise Failure(f"cannot read {path}: No such file") from None
    except (SafetensorError, OSError) as error:
        raise Failure(f"{path}: {error}") from None


def is_matrix(name: str) -> bool:
    """Whether the tensor of this name is ternarised."""
    return name.endswith("_proj.weight") or name == HEAD


def write(folder: Path, config: Config, state: dict[str, torch.Tensor], files: dict[str, str], weights: str, dtype: str):
    """Writes a checkpoint folder.

    Of `weights`, "latent" are those that were trained, rounded to `dtype` without changing a trit, and "snapped" are zeros and
    two neighbouring magnitudes with the same mean: as small as trits once they are compressed. Norms and bounds stay float32.
    """
    kind = TYPES[dtype]
    tensors = {}
    for name, tensor in state.items():
        tensor = tensor.detach().float().cpu()
        if name == HEAD and config.tie_word_embeddings:
            continue
        if is_matrix(name):
            tensor = snap(tensor, kind, name) if weights == "snapped" else round_latent(tensor, kind, name)
        elif name == EMBEDDING:
            tied = config.tie_word_embeddings
            tensor = round_latent(tensor, kind, name) if tied else tensor.to(kind)
        tensors[name] = tensor
    make_folder(folder)
    for name, text in files.items():
        if name in SMALL_FILES:
            write_text(folder / name, text)
    if "generation_config.json" not in files:
        write_text(folder / "generation_config.json", generation_config(config))
    write_text(folder / "config.json", config.to_json(dtype))
    # Last: what finds this file finds the others.
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})


def generation_config(config: Config) -> str:
    """Sampling that suits small models, as the demo's."""
    keys = {
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "do_sample": True,
        "temperature": 0.7,
        # Transformers takes 50 where there is none.
        "top_k": 0,
        "top_p": 0.9,
    }
    return json.dumps({key: value for key, value in keys.items() if value is not None}, indent=2) + "\n"


def round_latent(weight: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """A float32 matrix rounded to `dtype`, with the trits that it had.

    Rounding moves the few weights that lie next to half the mean to the other side of it; each of these is put on the nearest
    value of `dtype` on its own side.
    """
    trits, _ = ternary(weight)
    rounded = weight.to(dtype)
    for _ in range(16):
        values = rounded.float()
        wrong = ternary(values)[0] != trits
        if not wrong.any():
            return rounded
        mean = values.abs().mean(dtype=torch.float64).float().clamp_min(1e-5)
        below, above = _beside(mean, dtype)
        sizes = torch.where(trits == 0, below.to(weight), above.to(weight))
        rounded = torch.where(wrong, torch.copysign(sizes, weight), values).to(dtype)
    raise Failure(f"{name}: cannot be written as {dtype} with the trits that it has; write float32")


def _beside(mean: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest value of `dtype` that becomes a zero trit beside this mean, and the least that does not."""
    scale = 1.0 / mean
    value = (mean / 2).to(dtype)
    while value.float() * scale > 0.5:
        value = _step(value, -1)
    while _step(value, 1).float() * scale <= 0.5:
        value = _step(value, 1)
    return value.float(), _step(value, 1).float()


def _step(value: torch.Tensor, by: int) -> torch.Tensor:
    """The next larger or smaller value of the same type, of a positive one: that of the next bits."""
    bits = torch.int32 if value.element_size() == 4 else torch.int16
    return (value.view(bits) + by).view(value.dtype)


def snap(weight: torch.Tensor, dtype: torch.dtype, name: str) -> torch.Tensor:
    """A matrix of zeros and magnitudes that gives the trits and the mean of `weight`.

    Nonzeros would have the magnitude m / p, with the mean m and the share p. Where `dtype` does not have it, the first of them
    take the value above and the others that below, as many of each as make the mean m to float32's accuracy.
    """
    trits, _ = ternary(weight)
    count = int(trits.count_nonzero())
    if count == 0:
        return torch.zeros_like(weight, dtype=dtype)
    mean = float(weight.abs().mean(dtype=torch.float64).float().clamp_min(1e-5))
    size = mean * weight.numel() / count
    low = torch.tensor(size, dtype=torch.float64).to(dtype)
    if low.double() > size:
        low = _step(low, -1)
    high = _step(low, 1)
    step = (high.double() - low.double()).item()
    ups = min(count, max(0, round((size - low.double().item()) * count / step)))
    flat = trits.flatten()
    place = flat.abs().cumsum(0, dtype=torch.int64)
    sizes = torch.where(place <= ups, high, low)
    snapped = (flat.to(dtype) * sizes).view_as(weight)
    if not torch.equal(ternary(snapped.float())[0], trits):
        raise Failure(f"{name}: cannot be written as snapped {dtype} with the trits that it has; write float32")
    return snapped
