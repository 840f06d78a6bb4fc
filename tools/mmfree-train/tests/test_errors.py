"""Bad input: one clear line, exit code 2 for usage and 1 for the rest, and nothing left behind."""

import errno
import json

import pytest
from conftest import ROOT, SMALL, run_cli

from mmfree_train import files


def fails(capsys, code, text, *arguments):
    capsys.readouterr()
    assert run_cli(*arguments) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith("error: "), captured.err
    assert text in lines[0], lines[0]


def test_usage(capsys, data, trained, texts, tmp_path):
    new = tmp_path / "new"
    book = texts / "book.txt"
    for text, arguments in [
        ("--hidden and --layers", ("run", data, "-o", new)),
        ("invalid choice", ("run", data, "-o", new, "--short-conv", "some")),
        ("'0' is not a whole number from 1", ("run", data, "-o", new, "--hidden", 0, "--layers", 1)),
        ("'nan' is not", ("run", data, "-o", new, "--hidden", 8, "--layers", 1, "--lr", "nan")),
        ("'12x'", ("run", data, "-o", new, *SMALL, "--tokens", "12x")),
        ("exclude each other", ("run", data, "-o", new, *SMALL, "--tokens", "1k", "--steps", 3)),
        ("'verse'", ("run", data, "-o", new, *SMALL, "--mix", "verse:1")),
        ("--mix is", ("run", data, "-o", new, *SMALL, "--mix", "stories:x")),
        ("from the beginning", ("run", data, "-o", new, *SMALL, "--mix", "0.5=stories:1")),
        ("--best is 'x'", ("run", data, "-o", new, *SMALL, "--best", "x")),
        ("--resume goes on", ("run", data, "-o", trained, *SMALL)),
        ("--lr with --resume", ("run", data, "-o", trained, "--resume", "--lr", 1)),
        ("--hidden with --from", ("run", data, "-o", new, "--from", trained, "--hidden", 8)),
        ("needs --vocab", ("prepare", book, "-o", new)),
        ("needs texts", ("prepare", "-o", new, "--vocab", 300)),
        ("at least 263", ("prepare", book, "-o", new, "--vocab", 200)),
        ("no files", ("prepare", "-o", new, "--vocab", 300, "--source", "a")),
        ("above 0", ("prepare", "-o", new, "--vocab", 300, "--source", "a:-1", book)),
        ("named twice", ("prepare", "-o", new, "--vocab", 300, "--source", "a", book, "--source", "a", book)),
        ("must be of letters", ("prepare", "-o", new, "--vocab", 300, "--source", "../a", book)),
        ("NAME=FILE", ("prepare", book, "-o", new, "--vocab", 300, "--held-out", "x")),
        ("exclude each other", ("prepare", book, "-o", new, "--vocab", 300, "--tokenizer", trained)),
        ("COMMAND", ()),
    ]:
        fails(capsys, 2, text, *arguments)


def test_files_and_models(capsys, data, trained, texts, tmp_path):
    new, book = tmp_path / "new", texts / "book.txt"
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "bad.txt").write_bytes(b"fine \xff not")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"messages": [{"role": "user", "content": "a"}]}\n')
    (tmp_path / "worse.jsonl").write_text("{\n")
    (tmp_path / "none.txt").write_text("\n")
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "cut.mmfree").write_bytes((ROOT / "models" / "demo.mmfree").read_bytes()[:-100])
    vocab = ("--vocab", 300)
    for text, arguments in [
        ("No such file", ("prepare", tmp_path / "no.txt", "-o", new, *vocab)),
        ("is a folder", ("prepare", empty, "-o", new, *vocab)),
        ("no UTF-8", ("prepare", tmp_path / "bad.txt", "-o", new, *vocab)),
        ("line 2: no message is of the assistant", ("prepare", tmp_path / "bad.jsonl", "-o", tmp_path / "n2", *vocab)),
        ("line 1: is no JSON", ("prepare", tmp_path / "worse.jsonl", "-o", tmp_path / "n3", *vocab)),
        ("no text for training", ("prepare", tmp_path / "none.txt", "-o", tmp_path / "n4", *vocab)),
        ("is not empty", ("prepare", book, "-o", texts, *vocab)),
        ("no folder of prepared data", ("run", empty, "-o", tmp_path / "m", *SMALL)),
        ("no run to go on with", ("run", data, "-o", empty, "--resume")),
        ("another tokenizer", ("run", data, "-o", tmp_path / "m", "--from", ROOT / "models" / "demo.mmfree", "--steps", 1)),
        ("--context 1000000", ("run", data, "-o", tmp_path / "m", *SMALL, "--context", 1000000, "--steps", 1)),
        ("there is no GPU" if not __import__("torch").cuda.is_available() else "", ("eval", trained, book, "--device", "cuda")),
        ("must be 1 with use_lower_bound", ("run", data, "-o", tmp_path / "m", *SMALL, "--expand-ratio", 2, "--steps", 1)),
        ("num_heads 5", ("run", data, "-o", tmp_path / "m", *SMALL, "--heads", 5, "--steps", 1)),
        ('"llama"', ("eval", tmp_path / "llama", book)),
        ("no config.json", ("eval", empty, book)),
        ("no model file", ("eval", trained / "model.safetensors", book)),
        ("cut.mmfree", ("eval", tmp_path / "cut.mmfree", book)),
        ("No such file", ("eval", trained, tmp_path / "no.txt")),
    ]:
        if text:
            fails(capsys, 1, text, *arguments)


def test_a_run_goes_on_with_its_own_data_alone(capsys, trained, texts, tmp_path):
    other = tmp_path / "other"
    assert run_cli("prepare", texts / "book.txt", "-o", other, "--tokenizer", trained) == 0
    fails(capsys, 1, "is not the data", "run", other, "-o", trained, "--resume", "--device", "cpu")


def test_a_damaged_model_file_is_found(capsys, texts, tmp_path):
    damaged = bytearray((ROOT / "models" / "demo.mmfree").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.mmfree").write_bytes(damaged)
    fails(capsys, 1, "SHA-256", "eval", tmp_path / "damaged.mmfree", texts / "book.txt")


def test_a_checkpoint_of_another_shape_is_refused(capsys, trained, texts, tmp_path):
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(trained, folder)
    keys = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**keys, "hidden_size": 64}))
    fails(capsys, 1, "has the shape", "eval", folder, texts / "book.txt")
    (folder / "config.json").write_text(json.dumps({**keys, "use_short_conv": True}))
    fails(capsys, 1, "is missing", "eval", folder, texts / "book.txt")
    (folder / "config.json").write_text(json.dumps({**keys, "rotary_embeddings": True}))
    fails(capsys, 1, "rotary_embeddings", "eval", folder, texts / "book.txt")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(capsys, data, tmp_path, monkeypatch):
    folder = tmp_path / "m"
    arguments = ("run", data, "-o", folder, *SMALL, "--eval-every", 0)
    assert run_cli(*arguments, "--steps", 4, "--minutes", 0) == 0
    before = (folder / "training" / "latest.safetensors").read_bytes()
    real = files.os.fsync

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    fails(capsys, 1, "the disk is full", "run", data, "-o", folder, "--resume", "--device", "cpu")
    monkeypatch.setattr(files.os, "fsync", real)
    assert (folder / "training" / "latest.safetensors").read_bytes() == before
    assert not list(folder.rglob(".*.tmp"))
