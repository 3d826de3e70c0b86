"""The contribution of key segments, computed over each segment's own keys (fact 4)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from . import blockwise, rowwise
from .operands import Operands
from .scores import MASKED, scores, values
from .terms import Part, Parts


def parts(op: Operands, term: Part, lse: Tensor) -> Parts:
    """Return mass and output part of every segment, reading only the keys that are in it.

    lse [batch, head, query] is the log-sum-exp over all keys. Keys of a segment are gathered per example, padded where
    examples differ; the cost is that of an attention over the segment.
    """
    masses, outs = [], []
    for keys, real in segments(term, op.batch):
        mass, out = (_by_kernel if rowwise.supports(op) else _by_blocks)(op, keys, real, lse)
        masses.append(mass)
        outs.append(out)
    return Parts(torch.stack(masses, -1), torch.stack(outs, -2))


def segments(term: Part, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the keys of each segment, ascending indices [batch, n], and which of them are not padding, bool."""
    for segment in range(term.n):
        chosen = (term.labels == segment).expand(batch, -1)
        width = max(1, int(chosen.sum(-1).max()))
        keys = chosen.int().topk(width, dim=-1).indices.sort(-1).values  # the chosen ones and padding
        yield keys, chosen.gather(-1, keys)


def _by_kernel(op: Operands, keys: Tensor, real: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    out, own = rowwise.attend_to(op, keys, real)
    mass = torch.exp(own - lse.masked_fill(lse.isneginf(), 0.0))
    return mass, out * mass[..., None]


def _by_blocks(op: Operands, keys: Tensor, real: Tensor, lse: Tensor) -> tuple[Tensor, Tensor]:
    index = keys[:, None, :, None]
    k = op.k.gather(2, index.expand(-1, op.k.shape[1], -1, op.k.shape[-1])).to(op.work_dtype)
    v = op.v.gather(2, index.expand(-1, op.v.shape[1], -1, op.v.shape[-1])).to(op.work_dtype)
    step = max(1, blockwise.BLOCK_ELEMENTS // (op.batch * op.heads * keys.shape[1]))
    masses, outs = [], []
    for start in range(0, op.q_len, step):
        rows = (start, min(start + step, op.q_len))
        s = scores(op, k, rows, keys).masked_fill(~real[:, None, None], MASKED)
        base = lse[:, :, rows[0] : rows[1], None]
        e = torch.exp(s - base.masked_fill(base.isneginf(), 0.0))
        masses.append(e.sum(-1))
        outs.append(values(e, v))
    return torch.cat(masses, 2), torch.cat(outs, 2)
