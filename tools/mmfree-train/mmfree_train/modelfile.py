"""Model files of mmfree (`docs/FORMAT.md`), read back to weights that a training can go on from.

A matrix there is trits and a scale m. It becomes zeros and plus and minus m / p, with p the share of nonzeros: the mean of
their magnitudes is m, so that the same trits and the same scale come out of them.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from .config import Config
from .errors import Failure


def _unpack_i2(data: np.ndarray, rows: int, cols: int) -> np.ndarray:
    strips, groups = -(-rows // 64), -(-cols // 16)
    codes = (data.reshape(strips, groups, 64, 4)[..., None] >> np.array([0, 2, 4, 6], np.uint8)) & 3
    # strip, group, row, byte, pair of bits: column 4 * pair + byte
    codes = codes.transpose(0, 2, 1, 4, 3).reshape(strips * 64, groups * 16)
    return codes[:rows, :cols].astype(np.int8) - 1


def _unpack_t5(data: np.ndarray, rows: int, cols: int) -> np.ndarray:
    padded, groups = -(-rows // 64) * 64, -(-cols // 5)
    values = np.empty((padded, groups), np.int16)
    at = 0
    for first in range(0, groups, 50):
        last = min(first + 50, groups)
        for top in range(0, padded, 512):
            bottom = min(top + 512, padded)
            size = (last - first) * (bottom - top)
            block = data[at : at + size].reshape(last - first, bottom - top).astype(np.int16)
            values[top:bottom, first:last] = np.where(block < 128, block, 128 - block).T
            at += size
    trits = np.empty((padded, groups, 5), np.int8)
    for digit in range(5):
        trits[..., digit] = (values + 1) % 3 - 1
        values = (values - trits[..., digit]) // 3
    return trits.reshape(padded, groups * 5)[:rows, :cols]


_PACKINGS = {"i2": _unpack_i2, "t5": _unpack_t5}


def read(path: Path) -> tuple[Config, dict[str, torch.Tensor], dict[str, str]]:
    """Configuration, tensors by the names of a checkpoint, and the small files that the checkpoint had, by name."""
    try:
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != "mmfree":
                raise Failure(f"{path}: is no model file of mmfree")
            if metadata.get("mmfree.version") != "1":
                raise Failure(f"{path}: is of version {metadata.get('mmfree.version')}, must be 1; a newer mmfree-train may read it")
            if metadata.get("mmfree.architecture") != "hgrn_bit":
                raise Failure(f"{path}: its architecture is {metadata.get('mmfree.architecture')}, must be hgrn_bit")
            return _read(path, file, metadata)
    except FileNotFoundError:
        raise Failure(f"cannot read {path}: No such file") from None
    except (SafetensorError, OSError) as error:
        raise Failure(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise Failure(f"{path}: its header is damaged: {error!r}") from None


def _read(path, file, metadata):
    sums = json.loads(metadata["mmfree.sha256"])
    ternary = json.loads(metadata["mmfree.ternary"])
    files = {key.removeprefix("mmfree.file."): value for key, value in metadata.items() if key.startswith("mmfree.file.")}

    def get(name: str) -> np.ndarray:
        data = file.get_tensor(name)
        if hashlib.sha256(data.tobytes()).hexdigest() != sums.get(name):
            raise Failure(f"{path}: {name} is damaged: it has another SHA-256 than the header says")
        return data

    tensors = {}
    names = list(file.keys())
    for name in names:
        if name.endswith("_scale"):
            continue
        if name == "tokenizer.json":
            files[name] = get(name).tobytes().decode("utf-8")
        elif name in ternary:
            entry = ternary[name]
            trits = torch.from_numpy(_PACKINGS[entry["packing"]](get(name), entry["rows"], entry["cols"]))
            scale = float(get(name + "_scale")[0])
            share = trits.count_nonzero().item() / trits.numel()
            tensors[name] = trits.float() * (scale / share if share else 0.0)
        elif name + "_scale" in names:
            tensors[name] = torch.from_numpy(get(name).astype(np.float32) * get(name + "_scale")[:, None])
        else:
            tensors[name] = _floats(path, name, sums)
    return _config(path, json.loads(metadata["mmfree.config"])), tensors, files


def _floats(path: Path, name: str, sums: dict) -> torch.Tensor:
    # By torch, as numpy has no bfloat16.
    with safe_open(str(path), framework="pt") as file:
        tensor = file.get_tensor(name)
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if hashlib.sha256(data).hexdigest() != sums.get(name):
        raise Failure(f"{path}: {name} is damaged: it has another SHA-256 than the header says")
    return tensor.float()


def _config(path: Path, keys: dict) -> Config:
    conv = keys["short_conv"]
    eos = keys["eos_token_ids"]
    hidden, state = keys["hidden_size"], keys["state_size"]
    config = Config(
        vocab_size=keys["vocab_size"],
        hidden_size=hidden,
        num_hidden_layers=keys["num_layers"],
        num_heads=keys["num_heads"],
        # A hair more, as the product is rounded down.
        expand_ratio=state // hidden if state % hidden == 0 else (state + 1e-3) / hidden,
        intermediate_size=keys["intermediate_size"],
        use_lower_bound=keys["lower_bounds"],
        use_short_conv=conv is not None,
        conv_size=conv["size"] if conv else 4,
        share_conv_kernel=conv["shared"] if conv else True,
        rms_norm_eps=keys["rms_norm_eps"],
        # A head that was tied has its own trits in the file, and so becomes one of its own.
        tie_word_embeddings=False,
        bos_token_id=keys["bos_token_id"],
        eos_token_id=eos[0] if len(eos) == 1 else (eos or None),
    )
    return config.check(str(path))
