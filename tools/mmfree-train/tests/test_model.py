"""The model against the goldens of the original code, and its parts against plain loops."""

import json
import math

import pytest
import torch
from conftest import GOLDENS
from safetensors.torch import load_file

from mmfree_train import checkpoint
from mmfree_train.config import Config
from mmfree_train.model import HGRNBit, quantize, ternary
from mmfree_train.scan import scan

CASES = sorted(path.name for path in GOLDENS.iterdir())


def distances(got, expected):
    """Of each position: the relative distance over the vocabulary, the cosine, and the divergence."""
    got, expected = got.double().flatten(0, -2), expected.double().flatten(0, -2)
    live = expected.abs().amax(-1) > 0
    got, expected = got[live], expected[live]
    centred = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    relative = (got - expected).norm(dim=-1) / centred.clamp(min=1e-9)
    logs = torch.log_softmax(expected, -1)
    divergence = (logs.exp() * (logs - torch.log_softmax(got, -1))).sum(-1)
    top = expected.topk(2, -1).values
    clear = (top[:, 0] - top[:, 1]) / expected.std() > 0.25
    same = (got.argmax(-1) == expected.argmax(-1))[clear]
    return relative, torch.cosine_similarity(got, expected, -1), divergence, same


@torch.no_grad()
def run(model, tensors, run, prefix):
    """Distances of a golden's prompt, and of its decoding token by token."""
    ids = torch.tensor(run["input_ids"])
    mask = None if run["attention_mask"] is None else torch.tensor(run["attention_mask"]).float()
    caches = model.new_caches()
    logits = model(ids, caches=caches, mask=mask)
    expected = tensors[f"{prefix}prompt_logits"]
    if mask is not None:
        live = mask.bool()
        pairs = [(logits[live][None], expected[live][None])]
    else:
        pairs = [(logits, expected)]
    for layer, cache in enumerate(caches):
        state = tensors[f"{prefix}state_after_prompt.layer{layer}.h"].flatten(1)
        assert (cache["h"] - state).norm() <= 0.1 * state.norm()
    greedy = torch.tensor(run["greedy"])
    rows = [logits[:, -1]]
    for k in range(greedy.shape[1] - 1):
        rows.append(model(greedy[:, k : k + 1], caches=caches)[:, -1])
    pairs.append((torch.stack(rows, 1), tensors[f"{prefix}decode_logits"]))
    parts = [distances(*pair) for pair in pairs]
    return [torch.cat(part) for part in zip(*parts)]


def test_goldens_meet_the_criterion_in_every_variant():
    close, strict_close, by_kind = [], [], {"m": [], "n": []}
    for case in CASES:
        model = checkpoint.read(GOLDENS / case).model().eval()
        golden = json.loads((GOLDENS / case / "golden.json").read_text())
        tensors = load_file(GOLDENS / case / "golden.safetensors")
        for number, entry in enumerate(golden["runs"]):
            relative, cosine, divergence, same = run(model, tensors, entry, f"run{number}.")
            assert relative.max() <= 0.10 and cosine.min() >= 0.995, case
            assert divergence.mean() <= 5e-3 and same.all(), case
            near = relative < 1e-4
            close.append(near)
            if entry["strict"]:
                strict_close.append(near)
            if case[0] in by_kind:
                by_kind[case[0]].append(near)
    share = lambda parts: torch.cat(parts).float().mean().item()  # noqa: E731
    assert share(close) >= 0.97 and share(strict_close) >= 0.97
    assert share(by_kind["m"]) >= 0.80 and share(by_kind["n"]) >= 0.80


@pytest.mark.parametrize("case", CASES)
def test_a_state_dict_has_the_names_and_shapes_of_a_checkpoint(case):
    read = checkpoint.read(GOLDENS / case)
    ours = {name: tensor.shape for name, tensor in HGRNBit(read.config).state_dict().items()}
    # A tied head is no tensor of its own, and no query's convolution is read by anything.
    theirs = {name: tensor.shape for name, tensor in read.tensors.items() if "q_conv1d" not in name}
    if read.config.tie_word_embeddings:
        del ours["lm_head.weight"]
        theirs.pop("lm_head.weight", None)
    assert ours == theirs


def loop(x, f):
    h, rows = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = f[:, t] * h + x[:, t]
        rows.append(h)
    return torch.stack(rows, 1)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 16, 63, 64, 65, 512, 1000, 2053])
def test_the_scan_is_the_loop_in_values_and_gradients(length):
    torch.manual_seed(length)
    # Gates near 1 carry far, as those with high lower bounds.
    f = torch.sigmoid(4 * torch.rand(2, length, 3, dtype=torch.float64)).requires_grad_()
    x = torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, length, 3, dtype=torch.float64)
    expected = loop(x, f)
    expected_gradients = torch.autograd.grad(expected, (x, f), g)
    got = scan(x, f)
    gradients = torch.autograd.grad(got, (x, f), g)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(gradients, expected_gradients):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_activations_are_rounded_half_away_from_zero():
    # The largest is 127, so that the scale is 1.
    y = torch.tensor([[127.0, 0.5, -0.5, 0.49999997, 1.5, -2.5, 2.4999998]])
    assert quantize(y)[0].tolist() == [[127, 1, -1, 0, 2, -3, 2]]
    assert quantize(torch.zeros(1, 3))[0].tolist() == [[0, 0, 0]]


def test_a_weight_of_half_the_mean_is_zero():
    trits, size = ternary(torch.tensor([[0.5, -0.5, 1.5, -1.5]]))
    assert trits.tolist() == [[0, 0, 1, -1]] and size == 1


def small(**keys):
    config = Config(**{"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, **keys}).check()
    return HGRNBit(config).initialize(1)


def test_gradients_are_those_of_straight_through_estimators():
    model = small()
    layer = model.model.layers[0].mlp.down_proj
    x = torch.randn(3, 48, requires_grad=True)
    out = layer(x, torch.float32)
    g = torch.randn_like(out)
    got = torch.autograd.grad(out, (x, layer.weight, layer.norm.weight), g)
    y = layer.norm(x)
    q, scale = quantize(y)
    t, size = ternary(layer.weight)
    rounded = y + (q / scale - y).detach()
    weight = layer.weight + (t * size - layer.weight).detach()
    plain = rounded @ weight.t()
    torch.testing.assert_close(out, plain, rtol=1e-5, atol=1e-5)
    for one, other in zip(got, torch.autograd.grad(plain, (x, layer.weight, layer.norm.weight), g)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_sums_in_bfloat16_are_those_of_float32_but_for_the_last_rounding():
    layer = small().model.layers[0].mlp.gate_proj
    x = torch.randn(50, 32)
    exact, low = layer(x, torch.float32), layer(x, torch.bfloat16)
    assert ((low.float() - exact).abs() <= exact.abs() * 2**-7).all()


VARIANTS = [
    {},
    {"use_lower_bound": False},
    {"use_lower_bound": False, "expand_ratio": 2, "num_heads": 4},
    {"use_short_conv": True},
    {"use_short_conv": True, "share_conv_kernel": False, "conv_size": 1},
    {"tie_word_embeddings": True},
    {"num_hidden_layers": 1},
]


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
def test_every_variant_learns(keys):
    model = small(**keys)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ids = torch.arange(33).repeat(2, 1) % 7
    losses = []
    for _ in range(25):
        loss = model.loss(ids[:, :-1], ids[:, 1:], torch.float32) / 64
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert math.isfinite(losses[-1]) and losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("keys", VARIANTS, ids=str)
@torch.no_grad()
def test_a_sequence_in_parts_is_the_whole(keys):
    model = small(**keys)
    ids = torch.randint(0, 64, (2, 70))
    whole = model(ids)
    caches = model.new_caches()
    parts = [model(ids[:, a:b], caches=caches) for a, b in ((0, 1), (1, 30), (30, 70))]
    apart = (torch.cat(parts, 1) - whole).norm(dim=-1) / whole.norm(dim=-1)
    # A value next to a rounding step may fall on its other side.
    assert apart.median() < 1e-5 and apart.max() < 0.2


def test_one_compiled_block_gives_the_same_loss():
    model = small()
    ids = torch.randint(0, 64, (2, 33))
    plain = model.loss(ids[:, :-1], ids[:, 1:], torch.float32)
    model.compile()
    compiled = model.loss(ids[:, :-1], ids[:, 1:], torch.float32)
    assert abs(plain.item() / compiled.item() - 1) < 1e-3
    compiled.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
