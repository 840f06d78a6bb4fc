"""Texts, prepared data and a small run for the tests, and the programs of the runtime where they are built."""

import os
import random
import subprocess
from pathlib import Path

import pytest
import torch

from mmfree_train.cli import main

ROOT = Path(__file__).resolve().parents[3]
# For the runs that are processes of their own.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tools" / "mmfree-train"), os.environ.get("PYTHONPATH")]))
GOLDENS = ROOT / "tests" / "data" / "goldens"

# More of them wait for each other longer than such small models take.
torch.set_num_threads(1)


def sentences(seed: int, count: int) -> str:
    """Text that has something to learn."""
    random_ = random.Random(seed)
    people, things, places = ("Anna", "Ben", "the fox", "the old king"), ("a key", "an apple", "two coins"), ("wood", "mill", "sea")
    lines = []
    for _ in range(count):
        who, what, where = random_.choice(people), random_.choice(things), random_.choice(places)
        lines.append(f"One day {who} found {what} by the {where}. Then {who} went home with {what}.")
        if random_.random() < 0.3:
            lines.append(f'"Where is {what}?" said {random_.choice(people)}. It was {random_.randint(1, 99)} o\'clock — “late”.')
    return "\n".join(line[0].upper() + line[1:] for line in lines) + "\n"


def run_cli(*arguments) -> int:
    """The command line, in this process."""
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    """A folder of texts: stories.txt, one a line, and book.txt."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "stories.txt").write_text(sentences(1, 600), encoding="utf-8")
    (folder / "book.txt").write_text(sentences(2, 900), encoding="utf-8")
    (folder / "unseen.txt").write_text(sentences(3, 60), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def data(texts, tmp_path_factory) -> Path:
    """Prepared data of two sources with a named held-out text."""
    folder = tmp_path_factory.mktemp("data") / "data"
    code = run_cli(
        "prepare", "-o", folder, "--vocab", 400, "--split", "line", "--held-out", f"unseen={texts / 'unseen.txt'}",
        "--source", "stories:2", texts / "stories.txt", "--source", "book:1", texts / "book.txt",
    )  # fmt: skip
    assert code == 0
    return folder


SMALL = ("--hidden", 32, "--layers", 2, "--intermediate", 48, "--context", 32, "--batch-tokens", 256, "--device", "cpu")


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory) -> Path:
    """A model that was trained for some steps."""
    folder = tmp_path_factory.mktemp("model") / "model"
    assert run_cli("run", data, "-o", folder, *SMALL, "--steps", 40, "--log-every", 10) == 0
    return folder


def program(name: str) -> str:
    """A program of the runtime, from the folder in MMFREE_PROGRAMS."""
    folder = os.environ.get("MMFREE_PROGRAMS")
    if folder is None:
        pytest.skip("MMFREE_PROGRAMS does not say where mmfree-convert and mmfree-infer are")
    return str(Path(folder) / name)


def output_of(*command) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
