"""Files that appear under their name only when they are complete, and safetensors written with plain writes.

The `safetensors` package reads here; it does not write, as its error for a full disk tells neither the file nor the reason.
"""

import contextlib
import errno
import json
import os
from pathlib import Path

import torch

from .errors import Failure

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.uint8: "U8",
}


@contextlib.contextmanager
def writing(path: Path):
    """Turns errors of the system into one line about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(f"cannot write {path}: the disk is full; what was there before is as it was") from None
        raise Failure(f"cannot write {path}: {error.strerror or error}") from None


@contextlib.contextmanager
def atomic(path: Path):
    """A binary file to write, which replaces `path` once all of it is on disk; after an error nothing is left of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def write_text(path: Path, text: str):
    """A small text file, whole or not at all."""
    with atomic(path) as file:
        file.write(text.encode("utf-8"))


def make_folder(path: Path) -> Path:
    """The folder, with those above it."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def remove_unfinished(folder: Path):
    """Takes away what a killed process left."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]):
    """A safetensors file, one tensor after the other, so that no second copy of all is in memory."""
    header: dict = {"__metadata__": metadata}
    at = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    with atomic(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            bytes_of = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
            file.write(memoryview(bytes_of.numpy()))


def read_json(path: Path) -> dict:
    """A JSON object of a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise Failure(f"{path}: is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise Failure(f"{path}: must be a JSON object")
    return value
