"""The recurrence h[t] = f[t] h[t-1] + x[t] for all positions at once, element by element, with its gradients.

A plain loop over the positions is some hundred small operations in a row. Here the sequence is cut into chunks: all chunks
run the loop side by side from zero, beside the product of their gates so far; then what each chunk really starts from is a
recurrence over the chunks, and is added. Tensors are `[batch, positions, width]`.
"""

import torch
import torch.nn.functional as F

# Positions in a chunk. The chunks' recurrence is chunked itself where there are more than LOOP of them.
CHUNK = 16
LOOP = 32


def _scan(x: torch.Tensor, f: torch.Tensor, reverse: bool) -> torch.Tensor:
    batch, length, width = x.shape
    chunk = CHUNK if length >= 64 else 4
    chunks = -(-length // chunk)
    padding = chunks * chunk - length
    if padding:
        # Behind the end, so that in reverse it comes first: there 0 = 1 * 0 + 0.
        x = F.pad(x, (0, 0, 0, padding))
        f = F.pad(f, (0, 0, 0, padding), value=1.0)
    x, f = x.view(batch, chunks, chunk, width), f.view(batch, chunks, chunk, width)
    h, gates = torch.empty_like(x), torch.empty_like(f)
    order = range(chunk - 1, -1, -1) if reverse else range(chunk)
    before = None
    for t in order:
        if before is None:
            h[:, :, t].copy_(x[:, :, t])
            gates[:, :, t].copy_(f[:, :, t])
        else:
            torch.addcmul(x[:, :, t], f[:, :, t], h[:, :, before], out=h[:, :, t])
            torch.mul(f[:, :, t], gates[:, :, before], out=gates[:, :, t])
        before = t
    start = _starts(h[:, :, before], gates[:, :, before], reverse)
    h.addcmul_(gates, start.unsqueeze(2))
    return h.view(batch, chunks * chunk, width)[:, :length].contiguous()


def _starts(last: torch.Tensor, gates: torch.Tensor, reverse: bool) -> torch.Tensor:
    """What each chunk starts from, given where it ends when it starts from zero, and the product of its gates."""
    chunks = last.shape[1]
    if chunks > LOOP:
        ends = _scan(last.contiguous(), gates.contiguous(), reverse)
        zero = torch.zeros_like(ends[:, :1])
        return torch.cat([ends[:, 1:], zero], 1) if reverse else torch.cat([zero, ends[:, :-1]], 1)
    start = torch.zeros_like(last)
    order = list(range(chunks - 1, -1, -1) if reverse else range(chunks))
    for k, following in zip(order, order[1:]):
        torch.addcmul(last[:, k], gates[:, k], start[:, k], out=start[:, following])
    return start


# Operators of their own, which torch.compile takes as they are: traced, the loops would be as many small kernels again.
@torch.library.custom_op("mmfree::scan", mutates_args=())
def scan(x: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """h of `h[t] = f[t] * h[t - 1] + x[t]` from zero."""
    return _scan(x.contiguous(), f.contiguous(), False)


@torch.library.custom_op("mmfree::scan_gradient", mutates_args=())
def _scan_gradient(g: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    """The gradient d of x, from the last position on: `d[t] = g[t] + f[t + 1] * d[t + 1]`."""
    following = torch.cat([f[:, 1:], torch.zeros_like(f[:, :1])], 1)
    return _scan(g.contiguous(), following, True)


@scan.register_fake
def _(x, f):
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_scan_gradient.register_fake
def _(g, f):
    return torch.empty(g.shape, dtype=g.dtype, device=g.device)


def _setup(ctx, inputs, output):
    ctx.save_for_backward(inputs[1], output)


def _backward(ctx, g):
    f, h = ctx.saved_tensors
    d = _scan_gradient(g, f)
    return d, d * torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)


scan.register_autograd(_backward, setup_context=_setup)
