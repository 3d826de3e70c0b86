"""Attention with a backward pass of its own: through the output and the log-sum-exp, by blocks of queries.

The fused kernels detach the log-sum-exp, and autograd would hold every block. Here only the operands, the output and
the log-sum-exp are saved; each block of weights is `exp(S - L)` again. With P the weights, dO and dL the two gradients:
`dS = P * (dO v^T - dO O + dL)`, of sink logits and extra keys too.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import blockwise, fused, rowwise
from .effects.effect import cut
from .mask import Span
from .operands import Extra, Operands
from .scores import beside, scores, values_beside


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Attend, differentiably: output [batch, head, query, value_dim] in v's dtype, log-sum-exp [batch, head, query].

    Second derivatives raise RuntimeError.
    """
    out, lse = _Attend.apply(op, *_tensors(op))
    return out, lse


def forward(op: Operands) -> tuple[Tensor, Tensor]:
    """Attend by one of the kernels where it is exact, by blocks elsewhere."""
    if rowwise.supports(op) and not op.dropout:
        out, lse = rowwise.attend(op)
        return out.to(op.v.dtype), lse
    if fused.supports(op) and not op.dropout:
        return fused.attend(op)
    out, lse = blockwise.attend(op)
    return out.to(op.v.dtype), lse


def _tensors(op: Operands) -> list[Tensor | None]:
    """Return all that can have a gradient, in a fixed order; a boolean table has none."""
    extras = [tensor for extra in op.extra for tensor in (extra.k, extra.v)]
    return [op.q, op.k, op.v, op.sink, op.bias, _table(op), *extras]


def _table(op: Operands) -> Tensor | None:
    table = op.mask.table
    return table if table is not None and table.is_floating_point() else None


def _of(op: Operands, tensors: list[Tensor | None]) -> Operands:
    """Return the operands with other tensors in the places of `_tensors`."""
    q, k, v, sink, bias, table, *rest = tensors
    assert q is not None and k is not None and v is not None
    extra = tuple(
        Extra(ek, ev, e.rows)
        for e, ek, ev in zip(op.extra, rest[::2], rest[1::2], strict=True)
        if ek is not None and ev is not None
    )
    mask = op.mask if table is None else replace(op.mask, table=table)
    return replace(op, q=q, k=k, v=v, sink=sink, bias=bias, mask=mask, extra=extra)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, op: Operands, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        out, lse = forward(op)
        ctx.op = _of(op, [None if t is None else t.detach() for t in tensors])
        ctx.save_for_backward(*tensors, out, lse)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_lse: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, out, lse = ctx.saved_tensors
        grads = _gradients(_of(ctx.op, tensors), out, lse, d_out, d_lse)
        needed = zip(grads, tensors, ctx.needs_input_grad[1:], strict=True)
        return None, *(grad.to(t.dtype) if need and grad is not None else None for grad, t, need in needed)


def _gradients(op: Operands, out: Tensor, lse: Tensor, d_out: Tensor, d_lse: Tensor) -> list[Tensor | None]:
    dtype = op.work_dtype
    d_out, base = d_out.to(dtype), lse.masked_fill(lse.isneginf(), 0.0)
    dead = lse.isneginf()
    less = torch.where(dead, 0.0, d_lse.to(dtype) - (d_out * out.to(dtype)).sum(-1))
    totals = [None if t is None else torch.zeros_like(t, dtype=dtype) for t in _tensors(op)]
    d_q, d_k, d_v, _, d_bias, d_table, *_ = totals
    assert d_q is not None and d_k is not None and d_v is not None
    work = _of(op, [None if t is None else t.to(dtype) for t in _tensors(op)])
    for rows, cols in blockwise.blocks(op):
        part = _cut(work, rows, cols)
        leaves = q, k, bias, table = _leaves([part.q, part.k, part.bias, _table(part)])
        with torch.enable_grad():
            shape = ((0, rows[1] - rows[0]), (0, cols[1] - cols[0]))
            mask = part.mask if table is None else replace(part.mask, table=table)
            assert q is not None and k is not None
            s = scores(replace(part, q=q, k=k, bias=bias, mask=mask), k, *shape)
        span, keys = slice(*rows), slice(*cols)
        p = torch.exp(s.detach() - base[:, :, span, None])
        b, h, r, n = p.shape
        g = d_out[:, :, span].reshape(b, part.k.shape[1], -1, part.v.shape[-1])
        d_v[:, :, keys] += p.reshape(b, part.k.shape[1], -1, n).transpose(-1, -2) @ g
        d_p = (g @ part.v.transpose(-1, -2)).view(b, h, r, n)
        d_s = p * (d_p + less[:, :, span, None])
        given = iter(torch.autograd.grad(s, [t for t in leaves if t is not None], d_s, allow_unused=True))
        for leaf, total in zip(leaves, (d_q[:, :, span], d_k[:, :, keys], d_bias, d_table), strict=True):
            if leaf is None or total is None or (grad := next(given)) is None:
                continue
            if leaf is bias or leaf is table:
                total = cut(total, None, span)[..., keys]
            total += grad
    _add_beside(work, base, d_out, less, totals)
    return totals


def _cut(op: Operands, rows: Span, cols: Span) -> Operands:
    return replace(op, extra=(), sink=None).select(None, slice(*rows)).narrow(cols)


def _leaves(tensors: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.detach().requires_grad_() for t in tensors]


def _add_beside(op: Operands, base: Tensor, d_out: Tensor, less: Tensor, totals: list[Tensor | None]) -> None:
    """Add the gradients that go through sink logits and extra keys; they are few, so all rows are done at once."""
    leaves = _leaves(_tensors(op))
    with torch.enable_grad():
        free = _of(op, leaves)
        s, v = beside(free, (0, op.q_len)), values_beside(free)
    if s is None:
        return
    p = torch.exp(s.detach() - base[..., None])
    d_s, outputs, gradients = less[..., None], [s], []
    if v is not None:
        b, h, r, n = *p.shape[:3], v.shape[2]
        g = d_out.reshape(b, v.shape[1], -1, v.shape[-1])
        d_p = (g @ v.detach().transpose(-1, -2)).view(b, h, r, n)
        d_s = torch.nn.functional.pad(d_p, (0, p.shape[-1] - n)) + d_s
        outputs.append(v)
        gradients.append(p[..., :n].reshape(b, v.shape[1], -1, n).transpose(-1, -2) @ g)
    there = [
        (leaf, total) for leaf, total in zip(leaves, totals, strict=True) if leaf is not None and total is not None
    ]
    given = torch.autograd.grad(outputs, [leaf for leaf, _ in there], [p * d_s, *gradients], allow_unused=True)
    for (_, total), grad in zip(there, given, strict=True):
        if grad is not None:
            total += grad
