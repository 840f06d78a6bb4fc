"""Runs: they repeat, go on where they stopped, and end well."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import SMALL, run_cli

from mmfree_train import checkpoint, data, run, state
from mmfree_train.config import Config
from mmfree_train.settings import Settings, rate_at


def start(output, prepared, *options, steps=40):
    return run_cli("run", prepared, "-o", output, *SMALL, "--steps", steps, "--log-every", 10, *options)


def weights_of(folder):
    return checkpoint.read_safetensors(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_seed_repeats_a_run_and_another_does_not(data, trained, tmp_path):
    assert start(tmp_path / "again", data) == 0
    assert start(tmp_path / "other", data, "--seed", 1) == 0
    best = [checkpoint.read_safetensors(folder / "training" / "best.safetensors") for folder in (trained, tmp_path / "again")]
    assert same(*best)
    assert not same(weights_of(tmp_path / "again"), weights_of(tmp_path / "other"))


def test_a_run_in_pieces_ends_bit_for_bit_as_one_that_was_not_stopped(data, trained, tmp_path, monkeypatch):
    whole = state.load(trained / "training")
    # Stopped after some steps as if the time were over.
    stops = iter([7, 20, 10**9])
    folder = tmp_path / "pieces"
    for piece in range(3):
        until = next(stops)
        real = run.Run.step

        def step(self, number, until=until, real=real):
            if number + 1 >= until:
                self.options.minutes = 0
            return real(self, number)

        monkeypatch.setattr(run.Run, "step", step)
        if piece == 0:
            assert start(folder, data) == 0
        else:
            assert run_cli("run", data, "-o", folder, "--resume", "--device", "cpu", "--log-every", 10) == 0
        monkeypatch.setattr(run.Run, "step", real)
    pieces = state.load(folder / "training")
    assert pieces.progress.step == 40 and pieces.progress.mean_loss == whole.progress.mean_loss
    assert same(pieces.tensors, whole.tensors) and pieces.steps == whole.steps
    rows = [list(csv.DictReader(open(path / "training" / "log.csv"))) for path in (trained, folder)]
    numbers = [[(row["step"], row["loss"], row["bits_per_byte:unseen"]) for row in part] for part in rows]
    assert numbers[0] == numbers[1]


def test_processes_and_parts_of_a_step_compute_the_same_step(data, tmp_path):
    """Two processes by torchrun, and one with two parts a step, give the losses of one that does all at once."""
    losses = {}
    for name, options in (("whole", []), ("parts", ["--accumulate", 2])):
        assert start(tmp_path / name, data, *options, "--eval-every", 1, steps=3) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mmfree_train", "run"]
    options = [data, "-o", tmp_path / "two", *SMALL, "--steps", 3, "--eval-every", 1, "--log-every", 10]
    done = subprocess.run([str(part) for part in (*command, *options)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    for name in ("whole", "parts", "two"):
        rows = list(csv.DictReader(open(tmp_path / name / "training" / "log.csv")))
        losses[name] = [float(row["loss"]) for row in rows]
    assert len(losses["whole"]) == 3
    for name in ("parts", "two"):
        assert losses[name] == pytest.approx(losses["whole"], rel=1e-3)


def test_the_best_weights_are_those_that_are_written(data, tmp_path):
    # A rate at which it gets worse before it is over.
    assert start(tmp_path / "m", data, "--lr", 0.5, "--warmup", 30, "--eval-every", 5) == 0
    rows = [row for row in csv.DictReader(open(tmp_path / "m" / "training" / "log.csv")) if row["bits_per_byte:unseen"]]
    best = min(float(row["bits_per_byte:unseen"]) for row in rows)
    assert float(rows[-1]["bits_per_byte:unseen"]) > best
    written = json.loads((tmp_path / "m" / "training" / "evaluation.json").read_text())
    assert written["unseen"]["bits_per_byte"] == pytest.approx(best, rel=1e-5)


def test_a_signal_leaves_a_checkpoint_that_goes_on(data, tmp_path):
    folder = tmp_path / "m"
    command = [sys.executable, "-m", "mmfree_train", "run", data, "-o", folder, *SMALL, "--steps", 100000, "--log-every", 5, "--eval-every", 0]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("step 10/"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.stdout.read()
    assert process.wait() == 128 + signal.SIGTERM and "--resume goes on" in rest
    assert state.load(folder / "training").progress.step >= 10
    assert (folder / "model.safetensors").is_file()


def test_a_run_that_is_killed_leaves_a_good_checkpoint(data, tmp_path):
    folder = tmp_path / "m"
    options = ["--steps", 100000, "--log-every", 5, "--eval-every", 0, "--save-minutes", 0.0001]
    command = [sys.executable, "-m", "mmfree_train", "run", data, "-o", folder, *SMALL, *options]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("step 20/"):
            break
    time.sleep(0.3)
    process.kill()
    process.wait()
    saved = state.load(folder / "training")
    assert saved.progress.step > 0 and all(torch.isfinite(tensor).all() for tensor in saved.tensors.values())


def run_of(prepared, output, **keys):
    settings = Settings(
        rows=8, context=32, steps=20, learning_rate=4e-3, floor=0.02, warmup=2, weight_decay=0.1, clip=1.0, beta1=0.9, beta2=0.95,
        seed=0, aligned=0.5, accumulate=1, precision="float32", mix=[], eval_every=0, best="mean",
        sources=[], held_out=[],
    )  # fmt: skip
    options = run.Options(output, "cpu", "off", None, 5.0, 5, "latent", "float32", "best")
    read = data.read(prepared)
    config = Config(vocab_size=read.vocab_size, hidden_size=32, num_hidden_layers=2, intermediate_size=48, **keys)
    this = run.Run(read, config, settings, options, run.Processes("cpu"))
    this.begin(None)
    return this


@pytest.mark.parametrize("poisoned, named", [("model.layers.1.attn.f_proj.weight", "model.layers.1.attn.f_proj"), ("model.norm.weight", "model.norm.weight")])
def test_not_a_number_stops_names_the_place_and_leaves_the_checkpoint(request, tmp_path, poisoned, named):
    this = run_of(request.getfixturevalue("data"), tmp_path / "m")
    real = this.step

    def step(number):
        if number == 12:
            with torch.no_grad():
                this.model.get_parameter(poisoned).view(-1)[0] = float("nan")
        if number == 10:
            this.save()
        return real(number)

    this.step = step
    with pytest.raises(run.Failure) as error:
        this.run()
    assert "step 13" in str(error.value) and named in str(error.value) and "latest.safetensors" in str(error.value)
    saved = state.load(tmp_path / "m" / "training")
    assert saved.progress.step == 10 and all(torch.isfinite(tensor).all() for tensor in saved.tensors.values())


def test_an_overflow_in_a_layer_is_named(request, tmp_path):
    this = run_of(request.getfixturevalue("data"), tmp_path / "m")
    with torch.no_grad():
        this.model.model.layers[1].mlp.down_proj.norm.weight.fill_(3e38)
        this.model.model.layers[1].mlp.down_proj.weight.mul_(1e6)
    place = run.find_not_finite(this.model, this.batches(0)[0], torch.float32)
    assert "layers.1.mlp" in place


def test_a_step_whose_gradient_is_not_finite_changes_nothing(request, tmp_path):
    this = run_of(request.getfixturevalue("data"), tmp_path / "m")
    before = {name: tensor.clone() for name, tensor in this.model.state_dict().items()}
    real = this.gradients

    def gradients(step):
        loss = real(step)
        this.model.model.norm.weight.grad[0] = float("inf")
        return loss

    this.gradients = gradients
    _, norm = this.step(0)
    assert not torch.isfinite(norm) and same(before, dict(this.model.state_dict()))


def test_passes_are_counted_and_too_many_are_warned_of(data, tmp_path, capsys):
    assert start(tmp_path / "m", data, "--mix", "stories:1", steps=120) == 0
    captured = capsys.readouterr()
    assert "source stories is in its pass 6" in captured.err and "book" not in captured.err
    assert "stories 7.8" in captured.out.split("step 120/120")[1]


def test_the_rate_warms_up_and_falls_as_a_cosine():
    settings = Settings(1, 1, 110, 1.0, 0.1, 10, 0, 1, 0.9, 0.95, 0, 0, 1, "float32", [], 0, "mean", [], [])
    assert [rate_at(step, settings) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate_at(10, settings) == pytest.approx(1.0)
    assert rate_at(60, settings) == pytest.approx(0.55)
    assert rate_at(110, settings) == pytest.approx(0.1)


def test_a_curve_is_drawn(trained):
    import xml.etree.ElementTree as xml

    svg = xml.parse(trained / "training" / "curve.svg").getroot()
    assert len(svg.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_fine_tuning_from_a_folder_and_from_a_model_file_learns(data, trained, texts, tmp_path):
    from conftest import output_of, program

    file = tmp_path / "m.mmfree"
    output_of(program("mmfree-convert"), "--quiet", trained, "-o", file)
    before = json.loads((trained / "training" / "evaluation.json").read_text())["unseen"]["bits_per_byte"]
    tuning = ["--context", 32, "--batch-tokens", 256, "--steps", 30, "--lr", "4e-3", "--device", "cpu"]
    for number, model in enumerate((trained, file)):
        folder = tmp_path / str(number)
        assert run_cli("run", data, "-o", folder, "--from", model, *tuning) == 0
        after = json.loads((folder / "training" / "evaluation.json").read_text())["unseen"]["bits_per_byte"]
        assert after < before


def test_where_compiling_fails_training_goes_on_without(request, tmp_path, capsys):
    this = run_of(request.getfixturevalue("data"), tmp_path / "m")
    plain = this.gradients(0).item()
    this.compiled = True

    def broken(*_):
        raise RuntimeError("no C++ compiler\nand more")

    this.model._head_loss = broken
    loss, _ = this.step(0)
    assert loss.item() == plain and not this.compiled
    assert "note: torch.compile does not work here, goes on without it, slower: no C++ compiler\n" in capsys.readouterr().err
    # Asked for, it is an error.
    this.options.compile, this.compiled, this.warm, this.model._head_loss = "on", True, False, broken
    with pytest.raises(RuntimeError):
        this.step(0)
