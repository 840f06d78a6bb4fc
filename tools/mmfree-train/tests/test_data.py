"""Preparation and what the steps take of it; conversations."""

import json

import numpy as np
import pytest
from conftest import ROOT, run_cli, sentences

from mmfree_train import data as data_, evaluate
from mmfree_train.chat import Chat
from mmfree_train.tokenizer import TextTokenizer

STRANGE = ["Äöü — “quotes” 123 4567", "  two  spaces\n\n\nand lines\n\ttabs ", "日本語 🦊 e\u0301", "x" * 300, "\u0000\u0007", "a"]


@pytest.mark.parametrize("kind", ["byte-level", "llama"])
def test_texts_come_back_as_they_were(texts, tmp_path, kind):
    folder = tmp_path / "data"
    assert run_cli("prepare", texts / "book.txt", "-o", folder, "--vocab", 500, "--tokenizer-type", kind) == 0
    tokenizer = TextTokenizer.read(folder)
    # So that older versions of the library read them.
    assert all(isinstance(merge, str) for merge in json.loads(tokenizer.files["tokenizer.json"])["model"]["merges"])
    for text in [*STRANGE, sentences(9, 20)]:
        ids = tokenizer.encode(text)
        assert ids[0] == 1
        assert tokenizer.tokenizer.decode(ids) == text


def test_packed_ids_are_the_documents(data, texts):
    read = data_.read(data)
    stories = next(source for source in read.sources if source.name == "stories")
    ids = stories.ids.tolist()
    documents, at = [], 0
    while at < len(ids):
        end = ids.index(2, at)
        assert ids[at] == 1
        documents.append(read.tokenizer.tokenizer.decode(ids[at + 1 : end]))
        at = end + 1
    lines = (texts / "stories.txt").read_text(encoding="utf-8").splitlines()
    unseen = set((texts / "unseen.txt").read_text(encoding="utf-8").splitlines())
    held = [path for path in (data / "held-out").iterdir() if path.stem == "stories"]
    held = set(held[0].read_text(encoding="utf-8").split("\n\n")) if held else set()
    expected = [line for line in dict.fromkeys(lines) if line not in unseen and line not in {h.strip() for h in held}]
    assert documents == expected


def test_long_texts_are_held_out_in_part(tmp_path):
    text = sentences(5, 900)
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    folder = tmp_path / "data"
    assert run_cli("prepare", tmp_path / "book.txt", "-o", folder, "--vocab", 400, "--held-out-share", 0.05) == 0
    held = (folder / "held-out" / "text.txt").read_text(encoding="utf-8")
    read = data_.read(folder)
    kept = read.tokenizer.tokenizer.decode(read.sources[0].ids.tolist())
    assert 0.03 * len(text) < len(held) < 0.12 * len(text)
    assert kept + "\n" + held.strip("\n") == text.strip("\n")


def test_what_was_broken_off_goes_on(texts, tmp_path, monkeypatch, capsys):
    from mmfree_train import prepare

    monkeypatch.setattr(prepare, "PART", 4000)
    options = ["--vocab", 400, "--split", "line", "--source", "a", texts / "stories.txt", "--source", "b", texts / "book.txt", "--keep-duplicates"]
    assert run_cli("prepare", "-o", tmp_path / "whole", *options) == 0
    real, count = prepare._Parts._encode, [0]

    def encode(self):
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(prepare._Parts, "_encode", encode)
    assert run_cli("prepare", "-o", tmp_path / "broken", *options) == 130
    assert run_cli("run", tmp_path / "broken", "-o", tmp_path / "m", "--hidden", 32, "--layers", 1) == 1
    assert "prepare` again" in capsys.readouterr().err
    done = count[0]
    assert run_cli("prepare", "-o", tmp_path / "broken", *options) == 0
    parts = count[0] - done
    count[0] = -1000
    assert run_cli("prepare", "-o", tmp_path / "again", *options) == 0
    assert parts == count[0] + 1000 - 4
    for name in ("a.bin", "b.bin", "meta.json", "tokenizer.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    assert run_cli("prepare", "-o", tmp_path / "whole", *options) == 0
    assert "complete already" in capsys.readouterr().out
    assert run_cli("prepare", "-o", tmp_path / "whole", *options, "--held-out-share", 0.1) == 1
    assert "other options" in capsys.readouterr().err


def test_a_pass_takes_every_window_once_and_weights_hold(data):
    read = data_.read(data)
    plan = data_.Plan(read, [(0.0, {"stories": 2, "book": 1}), (0.5, {"book": 1})], 400, 7, 32, 0, 0.0)
    assert (np.diff(plan.taken, axis=0) >= 0).all() and (plan.taken.sum(1) == 7 * np.arange(401)).all()
    assert plan.taken[200].tolist() == pytest.approx([7 * 200 * 2 / 3, 7 * 200 / 3], abs=1)
    assert plan.taken[400, 0] == plan.taken[200, 0]
    source = read.sources[0]
    for number in (0, 1):
        starts = plan._starts(0, source, number * plan.windows[0], (number + 1) * plan.windows[0])
        seen = np.zeros(len(source.ids), int)
        for start in starts:
            seen[(start + np.arange(32)) % len(source.ids)] += 1
        assert seen.max() == 1 and (seen == 0).sum() < 32
    assert plan.passes(0) == {"stories": 0, "book": 0}


def test_aligned_windows_begin_with_a_document(data):
    read = data_.read(data)
    plan = data_.Plan(read, [(0.0, {"book": 1})], 20, 8, 64, 0, 1.0)
    ids, targets = plan.batch(3)
    assert (ids[:, 0] == 1).mean() > 0.9
    assert (ids[:, 1:] == targets[:, :-1]).all()


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who found a key?"},
    {"role": "assistant", "content": "The fox."},
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "By the sea — “late”."},
]


@pytest.mark.parametrize("model", ["ours", "demo"])
def test_the_loss_is_on_the_answers_alone(data, model):
    tokenizer = TextTokenizer.read(data)
    if model == "demo":
        from mmfree_train.tokenizer import read_any

        # A tokenizer without tokens for roles.
        tokenizer = read_any(ROOT / "models" / "demo.mmfree")
    ids, mask = Chat(tokenizer).encode(TALK)
    eos = tokenizer.id_of("eos_token")
    answers = tokenizer.tokenizer.decode([i for i, m in zip(ids, mask) if m], skip_special_tokens=False)
    flat = answers.replace(" ", "").replace("\n", "")
    assert flat == "Thefox.</s>Bythesea—“late”.</s>"
    assert sum(i == eos and m for i, m in zip(ids, mask)) == 2


def test_conversations_are_trained_on_and_the_template_is_in_the_checkpoint(data, trained, tmp_path):
    lines = []
    for number in range(40):
        lines.append(json.dumps({"messages": [{"role": "user", "content": f"Say {number}."}, {"role": "assistant", "content": f"{number} it is."}]}))
    (tmp_path / "chat.jsonl").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "chat"
    assert run_cli("prepare", tmp_path / "chat.jsonl", "-o", folder, "--tokenizer", trained, "--held-out-share", 0.2) == 0
    read = data_.read(folder)
    assert read.held_out[0].chat
    plan = data_.Plan(read, [(0.0, {"text": 1})], 5, 4, 32, 0, 0.5)
    ids, targets = plan.batch(0)
    assert (ids[:, 0] == 1).all()
    learned = targets != data_.IGNORED
    assert 0 < learned.sum() < learned.size / 2
    role = read.tokenizer.tokenizer.token_to_id("<|assistant|>")
    assert role not in targets[learned] and 2 in targets[learned]
    model = tmp_path / "tuned"
    options = ["--from", trained, "--steps", 40, "--lr", "4e-3", "--context", 32, "--batch-tokens", 256, "--device", "cpu"]
    assert run_cli("run", folder, "-o", model, *options) == 0
    keys = json.loads((model / "tokenizer_config.json").read_text())
    assert "add_generation_prompt" in keys["chat_template"]
    from mmfree_train import checkpoint

    tuned, before = checkpoint.read(model), checkpoint.read(trained)
    held = read.held_out[0]
    after = evaluate.held_out(tuned.model().eval(), read.tokenizer, held).bits_per_byte
    assert after < evaluate.held_out(before.model().eval(), read.tokenizer, held).bits_per_byte
