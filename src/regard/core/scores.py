"""The scores of a block of rows, and of what takes mass beside the keys of the call: extra keys and sink logits."""

import torch
from torch import Tensor

from .effects.effect import cut
from .mask import Span, pick
from .operands import Operands
from .terms import Block

MASKED = -1e30
"""Stands for a score of -inf inside a block: its exponential is 0, and 0 times it is 0 instead of NaN."""


def dots(op: Operands, k: Tensor, rows: Span) -> Tensor:
    """Return `softcap(scale * q k^T)` of a range of queries and keys k [batch, kv_head or head, col, dim]."""
    r = rows[1] - rows[0]
    q = op.q[:, :, rows[0] : rows[1]].to(op.work_dtype) * op.scale
    grouped = q.reshape(op.batch, k.shape[1], op.heads // k.shape[1] * r, q.shape[-1])
    s = (grouped @ k.transpose(-1, -2)).view(op.batch, op.heads, r, k.shape[2])
    return s if op.softcap is None else op.softcap * torch.tanh(s / op.softcap)


def scores(op: Operands, k: Tensor, rows: Span, cols: Span | Tensor) -> Tensor:
    """Return the scores of a block before laws, [batch, head, row, col], MASKED where the mask or a bias of -inf forbids.

    k [batch, kv_head, col, dim] are the keys at `cols` (a range, or indices [batch, col]), in the working dtype.
    """
    s = dots(op, k, rows)
    bias = op.bias
    if bias is not None:
        s = s + pick(bias[:, :, rows[0] : rows[1]] if bias.shape[2] > 1 else bias, cols).to(s.dtype)
    added = op.mask.added(rows, cols)
    if added is not None:
        s = s + added.to(s.dtype)
    if bias is not None or added is not None:
        s = s.clamp_min(MASKED)
    allowed = op.mask.allowed(rows, cols)
    return s if allowed is None else s.masked_fill(~allowed, MASKED)


def by_laws(op: Operands, s: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """Return the scores of a block after the laws, and which of its rows the last law has changed, [batch, head, row]."""
    s = before = s.masked_fill(s <= MASKED / 2, float("-inf"))
    for law in op.laws:
        before, s = s, law.on_scores(s, block)
    return s.clamp_min(MASKED), (s != before).any(-1)


def beside(op: Operands, rows: Span) -> Tensor | None:
    """Return the scores of the extra keys and then the sink, [batch, head, row, extra (+ 1)]; None if there are none."""
    columns = []
    for extra in op.extra:
        s = dots(op, extra.k.to(op.work_dtype).expand(op.batch, -1, -1, -1), rows)
        if extra.rows is not None:
            s = s.masked_fill(~cut(extra.rows, None, slice(*rows))[..., None], MASKED)
        columns.append(s)
    sink = op.row_sink()
    if sink is not None:
        sink = cut(sink, None, slice(*rows))[..., None].to(op.work_dtype)
        columns.append(sink.expand(op.batch, op.heads, rows[1] - rows[0], 1))
    return torch.cat(columns, -1) if columns else None


def values_beside(op: Operands) -> Tensor | None:
    """Return the values of the extra keys, [batch, head or kv_head, extra, value_dim]; None if there are none."""
    if not op.extra:
        return None
    heads = max(extra.v.shape[1] for extra in op.extra)
    vs = [extra.v.to(op.work_dtype).repeat_interleave(heads // extra.v.shape[1], 1) for extra in op.extra]
    return torch.cat([v.expand(op.batch, -1, -1, -1) for v in vs], 2)


def with_extra(op: Operands, out: Tensor, lse: Tensor) -> Tensor:
    """Add to what the call's own keys give to an output, [batch, head, query, value_dim], what the extra keys give."""
    others, v = beside(op, (0, op.q_len)), values_beside(op)
    if others is None or v is None:
        return out
    share = torch.exp(others[..., : v.shape[2]] - lse.masked_fill(lse.isneginf(), 0.0)[..., None])
    return out + values(share, v)


def values(e: Tensor, v: Tensor) -> Tensor:
    """Multiply unnormalised weights [batch, head, row, col] by values [batch, kv_head, col, value_dim]."""
    b, h, r, n = e.shape
    return (e.reshape(b, v.shape[1], -1, n) @ v).view(b, h, r, -1)
