"""The model, HGRN-Bit of "Scalable MatMul-free Language Modeling" (arXiv 2406.02528), as the original code computes it.

Two ways to run it. In `torch.float32` it gives the logits of the original in float32, which is what mmfree computes: for
evaluation, and on a CPU. In `torch.bfloat16` the products with ternary matrices take and give bfloat16, for a GPU's matrix
units: int8 values and trits are exact in it, and sums are scaled afterwards. Norms, gates, state, residual stream, weights and
their gradients are float32 in both.

Modules and parameters have the names of the original, so that a state dict is a checkpoint.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from .config import Config
from .scan import scan

# Epsilon of the norm before a ternary matrix, whatever rms_norm_eps says: the original's kernel does not get that.
BIT_EPS = 1e-6
# The least mean of weights, and the least maximum of activations, that is divided by.
LEAST = 1e-5
# The largest float32 below one half: with it `trunc(v + half)` rounds half away from zero, and 0.49999997 to 0.
HALF = 0.49999997


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """`x / sqrt(mean(x²) + eps) * weight` over the last dimension, in float32."""
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def ternary(weight: torch.Tensor, exact: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Trits -1, 0, 1 of a matrix, and the magnitude that one stands for: about the mean of |weight|.

    A trit is the weight's sign where the magnitude is more than half the mean. With `exact` the mean is summed in float64, as
    the converter does.
    """
    size = weight.abs()
    mean = (size.mean(dtype=torch.float64).float() if exact else size.mean()).clamp_min(LEAST)
    scale = 1.0 / mean
    # round() is half to even, so that a tie is 0.
    return (weight * scale).round().clamp(-1, 1), 1.0 / scale


def quantize(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as integers -127..127, rounded half away from zero, and what they were multiplied by."""
    scale = 127.0 / y.abs().amax(-1, keepdim=True).clamp_min(LEAST)
    v = y * scale
    return torch.trunc(v + torch.copysign(torch.full_like(v, HALF), v)).clamp(-128, 127), scale


class _TernaryProduct(torch.autograd.Function):
    """`y W^T` with y as int8 and W as trits; for the gradient both roundings are identities (straight-through)."""

    @staticmethod
    def forward(ctx, y, weight, dtype):
        q, scale = quantize(y.float())
        t, step = ternary(weight, exact=dtype == torch.float32)
        q, t = q.to(dtype), t.to(dtype)
        out = q @ t.t()
        ctx.save_for_backward(q.to(torch.int8), t.to(torch.int8), scale, step)
        ctx.dtype = dtype
        return (out.float() * (step / scale)).to(dtype)

    @staticmethod
    def backward(ctx, g):
        q, t, scale, step = ctx.saved_tensors
        dtype = ctx.dtype
        g = g.float()
        gy = (g * step).to(dtype) @ t.to(dtype)
        gw = (g / scale).to(dtype).flatten(0, -2).t() @ q.to(dtype).flatten(0, -2)
        return gy.float(), gw.float(), None


class RMSNorm(nn.Module):
    """A norm with a weight for each channel."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


class BitLinear(nn.Module):
    """Norm, int8 activations, ternary weights: `[.., inputs]` to `[.., outputs]`."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.norm = RMSNorm(inputs, BIT_EPS)

    def forward(self, x, dtype):
        return _TernaryProduct.apply(self.norm(x), self.weight, dtype)


class ShortConvolution(nn.Module):
    """Each channel's last inputs weighted and summed, then swish. The original means this, but cannot run it."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1, size))

    def forward(self, x, cache, name, mask):
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        width, _, size = self.weight.shape
        before = None if cache is None else cache.get(name)
        if before is None:
            before = x.new_zeros(x.shape[0], size - 1, width)
        padded = torch.cat([before, x], 1)
        if cache is not None:
            cache[name] = padded[:, padded.shape[1] - (size - 1) :]
        return F.silu(F.conv1d(padded.transpose(1, 2), self.weight, groups=width).transpose(1, 2))


class Attention(nn.Module):
    """Token mixing by a gated recurrence, one state of the width D for a sequence."""

    def __init__(self, config: Config):
        super().__init__()
        hidden, state = config.hidden_size, config.state_size
        self.i_proj, self.f_proj, self.g_proj = (BitLinear(hidden, state) for _ in range(3))
        self.g_norm = RMSNorm(state, config.rms_norm_eps)
        self.o_proj = BitLinear(state, hidden)
        self.conv = config.use_short_conv
        self.shared = config.share_conv_kernel
        if self.conv and self.shared:
            self.h_conv1d = ShortConvolution(hidden, config.conv_size)
        elif self.conv:
            # The original makes one for a query too, which nothing reads.
            self.f_conv1d = ShortConvolution(state, config.conv_size)
            self.i_conv1d = ShortConvolution(state, config.conv_size)

    def forward(self, a, bound, dtype, cache=None, mask=None):
        if self.conv and self.shared:
            a = self.h_conv1d(a, cache, "h_conv1d", mask)
        i, f = self.i_proj(a, dtype).float(), self.f_proj(a, dtype).float()
        if self.conv and not self.shared:
            i = self.i_conv1d(i, cache, "i_conv1d", mask)
            f = self.f_conv1d(f, cache, "f_conv1d", mask)
        f = torch.sigmoid(f)
        if bound is not None:
            f = bound + (1 - bound) * f
        i = F.silu(i) * (1 - f)
        if mask is not None:
            i = i * mask.unsqueeze(-1)
        if cache is not None and "h" in cache:
            # The carried state enters at the first position.
            i = torch.cat([i[:, :1] + f[:, :1] * cache["h"].unsqueeze(1), i[:, 1:]], 1)
        h = scan(i, f)
        if cache is not None:
            cache["h"] = h[:, -1]
        # The gate is what is normalised, and the recurrence's output goes through swish.
        return self.o_proj(self.g_norm(self.g_proj(a, dtype)) * F.silu(h), dtype)


class MLP(nn.Module):
    """Channel mixing: a gated linear unit."""

    def __init__(self, config: Config):
        super().__init__()
        self.gate_proj = BitLinear(config.hidden_size, 2 * config.mlp_size)
        self.down_proj = BitLinear(config.mlp_size, config.hidden_size)

    def forward(self, x, dtype):
        gate, value = self.gate_proj(x, dtype).chunk(2, -1)
        return self.down_proj(F.silu(gate.float()) * value.float(), dtype)


class Block(nn.Module):
    """A layer: the residual stream `[batch, positions, H]` in and out, float32."""

    def __init__(self, config: Config):
        super().__init__()
        self.attn_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = Attention(config)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x, bound, dtype, cache=None, mask=None):
        x = x + self.attn(self.attn_norm(x), bound, dtype, cache, mask)
        return x + self.mlp(self.mlp_norm(x), dtype)


class Body(nn.Module):
    """All but the head."""

    def __init__(self, config: Config):
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.use_lower_bound:
            self.lower_bounds = nn.Parameter(torch.zeros(config.num_hidden_layers, config.hidden_size))
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def bounds(self):
        """For each layer the least that its forget gate can be, `[D]`; zeros for the first layer. None without bounds."""
        if not hasattr(self, "lower_bounds"):
            return [None] * len(self.layers)
        shares = self.lower_bounds.softmax(0)
        bounds, total = [], torch.zeros_like(shares[0])
        for share in shares:
            total = total + share
            bounds.append(total - shares[0])
        # One layer alone may be wider than its bounds, which then bound nothing.
        return bounds if len(bounds) > 1 else [None]


class HGRNBit(nn.Module):
    """`HGRNBitForCausalLM`: token ids `[batch, positions]` to logits `[batch, positions, V]`."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.lm_head = BitLinear(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embeddings.weight
        self._head_loss = self.head_loss

    @torch.no_grad()
    def initialize(self, seed: int) -> "HGRNBit":
        """Weights to begin with: normal, and smaller where a layer adds to the residual stream, as the original's."""
        generator = torch.Generator().manual_seed(seed)
        residual = 1 / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2 and "lower_bounds" not in name:
                small = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = self.config.initializer_range * (residual if small else 1)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        return self

    def body(self, ids, dtype, caches=None, mask=None, compiled=False):
        """The residual stream after the last layer. `caches` holds a dict for each layer, which is read and updated."""
        x = self.model.embeddings(ids)
        for n, (layer, bound) in enumerate(zip(self.model.layers, self.model.bounds())):
            if compiled:
                x = layer(x, bound, dtype)
            else:
                # `forward`, not the call: that would run what was compiled for training.
                x = layer.forward(x, bound, dtype, None if caches is None else caches[n], mask)
        return x

    def head(self, x, dtype=torch.float32):
        """Logits of a residual stream."""
        return self.lm_head(self.model.norm(x), dtype).float()

    def new_caches(self) -> list[dict]:
        """The state before any token."""
        return [{} for _ in self.model.layers]

    def forward(self, ids, dtype=torch.float32, caches=None, mask=None):
        """Logits; `mask` is 1 for tokens and 0 for padding on the left."""
        return self.head(self.body(ids, dtype, caches, mask), dtype)

    def head_loss(self, x, targets, dtype):
        """Sum of the targets' negative log-probabilities; a target of -100 counts nothing."""
        return F.cross_entropy(self.head(x, dtype).flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100)

    def loss(self, ids, targets, dtype):
        """`head_loss` of ids, as it is trained."""
        return self._head_loss(self.body(ids, dtype, compiled=True), targets, dtype)

    def compile(self):
        """Has torch.compile make kernels for one block, which serve all layers, and for the head with the loss."""
        # The limit is on kinds of inputs to one piece of code; torch before 2.6 has another name for it.
        limits = torch._dynamo.config
        name = "recompile_limit" if hasattr(limits, "recompile_limit") else "cache_size_limit"
        setattr(limits, name, max(64, getattr(limits, name)))
        for layer in self.model.layers:
            layer.compile()
        self._head_loss = torch.compile(self.head_loss)
