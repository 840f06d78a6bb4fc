"""Checkpoints: trits are those that were trained, in every form, and the runtime computes what the trainer does."""

import json

import pytest
import torch
from conftest import ROOT, output_of, program, run_cli

from mmfree_train import checkpoint, modelfile
from mmfree_train.checkpoint import is_matrix, round_latent, snap
from mmfree_train.model import ternary
from mmfree_train.state import BEST, FOLDER

FORMS = [(weights, dtype) for weights in ("latent", "snapped") for dtype in ("float32", "bfloat16", "float16")]


def trained_trits(folder):
    tensors = checkpoint.read_safetensors(folder / FOLDER / BEST)
    return {name: ternary(tensor) for name, tensor in tensors.items() if is_matrix(name)}


@pytest.mark.parametrize("weights, dtype", FORMS)
def test_the_converter_packs_the_trits_that_were_trained(trained, data, tmp_path, weights, dtype):
    convert = program("mmfree-convert")
    expected = trained_trits(trained)
    assert run_cli("export", trained, "--weights", weights, "--dtype", dtype) == 0
    for pack in ("t5", "i2"):
        file = tmp_path / f"{pack}.mmfree"
        output_of(convert, "--quiet", trained, "--pack", pack, "-o", file)
        _, tensors, _ = modelfile.read(file)
        assert expected.keys() == {name for name in tensors if is_matrix(name)}
        for name, (trits, size) in expected.items():
            assert torch.equal(tensors[name].sign(), trits), name
            scale = ternary(tensors[name])[1]
            # Rounding a small matrix moves its mean; in snapped ones it is made good.
            assert abs(scale / size - 1) < (1e-3 if weights == "latent" and dtype != "float32" else 1e-4), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rounding_keeps_trits_where_plain_rounding_does_not(dtype):
    torch.manual_seed(1)
    weight = torch.randn(600, 400) * 0.02
    trits, size = ternary(weight)
    plain = weight.to(dtype).float()
    assert (ternary(plain)[0] != trits).any() or dtype == torch.float32
    rounded = round_latent(weight, dtype, "w").float()
    assert torch.equal(ternary(rounded)[0], trits)
    assert (rounded - weight).abs().max() <= 2**-7 * weight.abs().max()
    snapped = snap(weight, dtype, "w").float()
    assert torch.equal(ternary(snapped)[0], trits)
    assert abs(ternary(snapped)[1] / size - 1) < 1e-6
    assert len(snapped.unique()) <= 5


def test_a_matrix_of_zeros_stays_one():
    assert snap(torch.zeros(4, 4), torch.bfloat16, "w").count_nonzero() == 0
    assert round_latent(torch.zeros(4, 4), torch.bfloat16, "w").count_nonzero() == 0


def test_trainer_and_runtime_measure_the_same(trained, texts, tmp_path, capsys):
    convert, infer = program("mmfree-convert"), program("mmfree-infer")
    assert run_cli("export", trained) == 0
    file = tmp_path / "m.mmfree"
    output_of(convert, "--quiet", trained, "-o", file)
    text = texts / "unseen.txt"
    for context in ([], ["--context", "20"]):
        expected = json.loads(output_of(infer, "perplexity", "-m", file, "-f", text, "--json", "--quiet", *context))
        for model in (trained, file):
            capsys.readouterr()
            assert run_cli("eval", model, text, "--json", "--device", "cpu", *context) == 0
            got = json.loads(capsys.readouterr().out)
            for name in ("tokens", "predicted", "bytes"):
                assert got[name] == expected[name], name
            for name in ("bits_per_byte", "perplexity", "nats_per_token"):
                assert abs(got[name] / expected[name] - 1) < 1e-3, name


def test_the_demo_model_measures_as_the_runtime_says(capsys, tmp_path):
    infer = program("mmfree-infer")
    text = tmp_path / "text.txt"
    text.write_text((ROOT / "tests" / "data" / "heldout.txt").read_text(encoding="utf-8")[:3000], encoding="utf-8")
    model = ROOT / "models" / "demo.mmfree"
    expected = json.loads(output_of(infer, "perplexity", "-m", model, "-f", text, "--json", "--quiet"))
    assert run_cli("eval", model, text, "--json", "--device", "cpu") == 0
    got = json.loads(capsys.readouterr().out)
    assert got["tokens"] == expected["tokens"]
    assert abs(got["bits_per_byte"] / expected["bits_per_byte"] - 1) < 1e-3


def test_an_unpacked_checkpoint_has_the_weights_of_its_model_file(tmp_path):
    model = ROOT / "models" / "demo.mmfree"
    output_of(program("mmfree-convert"), "unpack", "--quiet", model, "-o", tmp_path / "unpacked")
    unpacked, packed = checkpoint.read(tmp_path / "unpacked"), checkpoint.read(model)
    assert packed.files["tokenizer.json"] == unpacked.files["tokenizer.json"]
    for name, tensor in packed.tensors.items():
        torch.testing.assert_close(tensor, unpacked.tensors[name], rtol=1e-6, atol=0)


def test_the_config_has_the_names_of_the_original(trained):
    keys = json.loads((trained / "config.json").read_text())
    assert keys["model_type"] == "hgrn_bit" and keys["architectures"] == ["HGRNBitForCausalLM"]
    assert (keys["hidden_size"], keys["num_hidden_layers"], keys["attn_mode"]) == (32, 2, "fused_recurrent")
    assert (keys["bos_token_id"], keys["eos_token_id"]) == (1, 2)


VARIANTS = [
    ["--no-lower-bound"],
    ["--no-lower-bound", "--expand-ratio", "1.5", "--heads", "4"],
    ["--short-conv", "shared"],
    ["--short-conv", "separate", "--conv-size", "3"],
    ["--tie-embeddings"],
]


@pytest.mark.parametrize("options", VARIANTS, ids=" ".join)
def test_every_variant_is_trained_converted_and_measured(data, texts, tmp_path, capsys, options):
    convert, infer = program("mmfree-convert"), program("mmfree-infer")
    model, file = tmp_path / "model", tmp_path / "m.mmfree"
    size = ["--hidden", 32, "--layers", 2, "--intermediate", 48, "--context", 32, "--batch-tokens", 256, "--device", "cpu"]
    assert run_cli("run", data, "-o", model, *size, "--steps", 3, "--eval-every", 0, *options) == 0
    output_of(convert, "--quiet", model, "-o", file)
    text = texts / "unseen.txt"
    expected = json.loads(output_of(infer, "perplexity", "-m", file, "-f", text, "--json", "--quiet"))
    # From the model file too: it knows its variant.
    for path in (model, file):
        capsys.readouterr()
        assert run_cli("eval", path, text, "--json", "--device", "cpu") == 0
        assert abs(json.loads(capsys.readouterr().out)["bits_per_byte"] / expected["bits_per_byte"] - 1) < 1e-3
